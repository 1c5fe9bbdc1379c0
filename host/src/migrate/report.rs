//! The report of a migration: in full as a file, in short for a terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use butler_plugin_api::kind;

use super::account::{Account, Entry, Outcome, Told};
use crate::file_rights::icacls;

/// What a migration came to.
pub(super) struct Report<'a> {
    /// The old file, as it was named.
    pub old: &'a Path,
    /// The new config.
    pub config: &'a Path,
    /// What became of each value.
    pub account: &'a Account,
    /// Plugins that could not be asked, or did not answer.
    pub problems: &'a [String],
    /// How many schedules were converted, and to which file.
    pub schedules: Option<(usize, PathBuf)>,
    /// What is wrong with the new config, if it is refused.
    pub refused: Option<&'a str>,
    /// What its check says of one that is taken.
    pub warnings: &'a [String],
    /// The folder of secrets, where others may read it.
    pub secrets: Option<PathBuf>,
}

/// Headings, and what they mean.
const SECTIONS: [(Outcome, &str, &str); 5] = [
    (Outcome::ToDo, "What you must do", "It does not work, or not well, until somebody has seen to it."),
    (Outcome::Differs, "What differs", "Taken over, and a little different from what it was."),
    (Outcome::Unknown, "What is not known", "Not taken over, since nobody knows it."),
    (Outcome::Dropped, "What is left out", "Not taken over, for the reason that is given."),
    (Outcome::NoEffect, "What never had an effect", "Butler 16 wanted these keys, and did nothing with them."),
];

impl Report<'_> {
    /// In full, in Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("# From Butler 16: {}\n\n", one_line(&self.old.display().to_string()));
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{}\n", self.verdict());
        let _ = writeln!(text, "The new config is `{}`. Lines are those of the old file.\n", name(self.config));
        for line in self.next_steps() {
            let _ = writeln!(text, "* {line}");
        }
        if let Some(refused) = self.refused {
            let _ = writeln!(
                text,
                "\n## What is wrong with the new config\n\n```text\n{}\n```",
                refused.replace("```", "'''")
            );
        }
        if !self.problems.is_empty() {
            text.push_str("\n## Plugins that were not asked\n\nTheir keys are among those that are not known, or not taken over.\n\n");
            for problem in self.problems {
                let _ = writeln!(text, "* {}", one_line(problem));
            }
        }
        for (outcome, heading, meaning) in SECTIONS {
            let told: Vec<&Told> = self.account.of(outcome).collect();
            if told.is_empty() {
                continue;
            }
            let _ = writeln!(text, "\n## {heading}\n\n{meaning}\n");
            let mark = if outcome == Outcome::ToDo { "* [ ] " } else { "* " };
            for told in told {
                let _ = writeln!(text, "{mark}{}", Self::line(told));
            }
        }
        if !self.warnings.is_empty() {
            text.push_str("\n## What `butler check` notes of the new config\n\nLines are those of the new file.\n\n");
            for warning in self.warnings {
                let _ = writeln!(text, "* {}", one_line(warning));
            }
        }
        self.taken(&mut text);
        text.push_str("\n## Every key\n\n| line | key | what became of it | by |\n| ---: | --- | --- | --- |\n");
        for Entry { line, path, outcome, by } in &self.account.entries {
            let _ = writeln!(text, "| {line} | {} | {} | {} |", cell(path), word(*outcome), by.join(", "));
        }
        text
    }

    /// What was taken over, by section of the old file.
    fn taken(&self, text: &mut String) {
        let mut sections: BTreeMap<(usize, &str), (usize, Vec<&str>)> = BTreeMap::new();
        let first = |section: &str| {
            let of_section = self.account.entries.iter().filter(|entry| section_of(&entry.path) == section);
            of_section.map(|entry| entry.line).min().unwrap_or_default()
        };
        for entry in self.account.entries.iter().filter(|entry| entry.outcome == Outcome::Taken) {
            let section = section_of(&entry.path);
            let (count, by) = sections.entry((first(section), section)).or_default();
            *count += 1;
            by.extend(entry.by.iter().map(String::as_str));
        }
        text.push_str("\n## What is taken over\n\n");
        if sections.is_empty() {
            text.push_str("Nothing.\n");
        }
        for ((line, section), (count, mut by)) in sections {
            by.sort_unstable();
            by.dedup();
            let noun = if count == 1 { "key" } else { "keys" };
            let _ = writeln!(text, "* line {line}, {}: {count} {noun}, by {}", code(section), by.join(", "));
        }
    }

    /// For a terminal.
    pub fn short(&self, report: &Path) -> String {
        let mut text = format!("{}\n\n", self.verdict());
        let counted = [
            (Outcome::Taken, "taken over"),
            (Outcome::Differs, "taken over, and a little different"),
            (Outcome::ToDo, "somebody must do something"),
            (Outcome::Dropped, "left out"),
            (Outcome::NoEffect, "never had an effect"),
            (Outcome::Unknown, "not known"),
        ];
        for (outcome, words) in counted {
            let _ = writeln!(text, "{:>6}  {words}", self.account.count(outcome));
        }
        for problem in self.problems {
            let _ = writeln!(text, "\n{}", one_line(problem));
        }
        for (outcome, heading) in [(Outcome::ToDo, "What you must do"), (Outcome::Unknown, "What is not known")] {
            let told: Vec<&Told> = self.account.of(outcome).collect();
            if !told.is_empty() {
                let _ = writeln!(text, "\n{heading}:");
                for Told { line, path, text: words, .. } in told {
                    let line = line.map(|line| format!("line {line}, ")).unwrap_or_default();
                    let _ = writeln!(text, "  {}{}: {}", line, one_line(path), one_line(words));
                }
            }
        }
        let _ = writeln!(text, "\nAll of it, with reasons: {}", report.display());
        if self.refused.is_none() {
            for line in self.next_steps() {
                let _ = writeln!(text, "Then: {}", line.replace('`', ""));
            }
        }
        text
    }

    fn verdict(&self) -> String {
        let count = self.account.entries.len();
        let noun = if count == 1 { "key" } else { "keys" };
        let old = one_line(&self.old.display().to_string());
        match self.refused {
            None => format!("{count} {noun} of {old} were looked at; the new config is valid."),
            Some(_) => format!("{count} {noun} of {old} were looked at; the new config is NOT valid yet."),
        }
    }

    fn next_steps(&self) -> Vec<String> {
        let config = self.config.display();
        let mut steps =
            vec![format!("`butler check -c {config}` tries Qlik Sense and every destination, and sends no alert")];
        if let Some((count, file)) = &self.schedules {
            let noun = if *count == 1 { "schedule" } else { "schedules" };
            steps.push(format!(
                "when Butler runs, `butler schedules import {} -c {config}` adds the {count} {noun}: their times are by their time \
                 zones now, where Butler 16 went by the clock of its machine",
                file.display()
            ));
        }
        let troubles = [kind::DELIVERY_DEAD, kind::CERTIFICATE_EXPIRING, kind::NODE_SILENT, kind::APP_RELOAD_FAILED];
        let troubles = troubles.map(|kind| format!("`{kind}`")).join(", ");
        steps.push(format!(
            "no destination is told of {troubles} yet, which the old config could not name: add them to the `on:` of one, to hear of \
             alerts that do not arrive, among others"
        ));
        if let Some(folder) = &self.secrets {
            steps.push(format!(
                "`{}`, with the account that Butler runs as, keeps the secrets from the other users of this machine: until then they \
                 may read what the folder around lets them read",
                icacls(folder, true)
            ));
        }
        steps
    }

    fn line(told: &Told) -> String {
        let line = told.line.map(|line| format!("line {line}, ")).unwrap_or_default();
        let by = match told.by.as_slice() {
            [] => String::new(),
            by if by == [super::sections::HOST] => String::new(),
            by => format!(" ({})", by.join(", ")),
        };
        format!("{line}{}: {}{by}", code(&told.path), one_line(&told.text))
    }
}

fn section_of(path: &str) -> &str {
    path.split(['.', '[']).next().unwrap_or(path)
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::ToDo => "to do",
        Outcome::Differs => "differs",
        Outcome::Taken => "taken over",
        Outcome::Dropped => "left out",
        Outcome::NoEffect => "never had an effect",
        Outcome::Unknown => "not known",
    }
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_control()).collect::<Vec<_>>().join(" ")
}

/// A key as code: keys are texts of the old file, which may be anything.
fn code(path: &str) -> String {
    format!("`{}`", one_line(path).replace('`', "'"))
}

/// The same within a table.
fn cell(path: &str) -> String {
    code(path).replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: usize, path: &str, outcome: Outcome, by: &[&str]) -> Told {
        let by = by.iter().map(|name| (*name).to_owned()).collect();
        Told { line: Some(line), path: path.to_owned(), outcome, text: "why\nso".to_owned(), by }
    }

    #[test]
    fn everything_is_told_in_its_place() {
        let entry = |line, path: &str, outcome, by: &[&str]| Entry {
            line,
            path: path.to_owned(),
            outcome,
            by: by.iter().map(|name| (*name).to_owned()).collect(),
        };
        let account = Account {
            entries: vec![
                entry(2, "chat.url", Outcome::Taken, &["chat", "desk"]),
                entry(3, "chat.`a|b", Outcome::Taken, &["chat"]),
                entry(4, "udp.port", Outcome::ToDo, &["butler"]),
                entry(5, "udp.odd", Outcome::Unknown, &[]),
                entry(6, "chat.x", Outcome::Differs, &["desk", "mail"]),
            ],
            told: vec![
                told(4, "udp.port", Outcome::ToDo, &["butler"]),
                told(5, "udp.odd", Outcome::Unknown, &[]),
                told(6, "chat.x", Outcome::Differs, &["chat"]),
                Told { line: None, ..told(0, "qlik", Outcome::ToDo, &["butler"]) },
            ],
        };
        let problems = ["the plugin `x` is left out".to_owned()];
        let mut report = Report {
            old: Path::new("old.yaml"),
            config: Path::new("out/butler.yaml"),
            account: &account,
            problems: &problems,
            schedules: Some((2, PathBuf::from("out/schedules.yaml"))),
            refused: None,
            warnings: &["line 1, x: y".to_owned()],
            secrets: Some(PathBuf::from("out/secrets")),
        };
        let text = report.markdown();
        for part in [
            "# From Butler 16: old.yaml\n\n5 keys of old.yaml were looked at; the new config is valid.\n",
            "## Plugins that were not asked\n\nTheir keys are among those that are not known, or not taken over.\n\n* the plugin `x` is left out\n",
            "* [ ] line 4, `udp.port`: why so\n* [ ] `qlik`: why so\n",
            "## What differs\n\nTaken over, and a little different from what it was.\n\n* line 6, `chat.x`: why so (chat)\n",
            "* line 5, `udp.odd`: why so\n",
            "## What is taken over\n\n* line 2, `chat`: 2 keys, by chat, desk\n",
            "* no destination is told of `delivery.dead`, `certificate.expiring`, `node.silent`, `app-reload.failed` yet",
            "* `icacls \"out/secrets\" /inheritance:r /grant:r \"*S-1-5-18:(OI)(CI)F\"",
            "| 3 | `chat.'a\\|b` | taken over | chat |\n| 4 | `udp.port` | to do | butler |\n| 5 | `udp.odd` | not known |  |\n",
            "`butler schedules import out/schedules.yaml -c out/butler.yaml` adds the 2 schedules",
            "* line 1, x: y\n",
        ] {
            assert!(text.contains(part), "{part}\n\n{text}");
        }
        assert!(!text.contains("What is left out"), "{text}");
        let short = report.short(Path::new("out/migration.md"));
        for part in [
            "     2  taken over\n",
            "What you must do:\n  line 4, udp.port: why so\n  qlik: why so\n",
            "\nThen: icacls \"out/secrets\" ",
            "out/migration.md\nThen: butler check -c out/butler.yaml tries",
        ] {
            assert!(short.contains(part), "{part}\n\n{short}");
        }
        report.secrets = None;
        assert!(!report.markdown().contains("icacls"));
        report.refused = Some("bad");
        assert!(report.markdown().contains("NOT valid yet.\n") && report.markdown().contains("```text\nbad\n```"));
        assert!(report.short(Path::new("m")).contains("NOT valid"));
    }
}
