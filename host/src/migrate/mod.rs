//! Configs of older versions of Butler (8 to 16): what `butler migrate` does.
//!
//! The old file is read (`old`) and brought into the form of Butler 16 (`names`). The host translates its own sections
//! (`sections`), the plugins that are found theirs (`ask`); nobody else knows what they are. What became of each value of the
//! old file is put together (`account`), the new config is written (`compose`, `schedules`) and validated as
//! `butler check` does, and a report (`report`) says what a person should know.

mod account;
mod ask;
mod compose;
mod names;
mod old;
mod report;
mod schedules;
mod sections;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use serde_json::{Map, Value, json};

use self::account::{Account, Note, Outcome, Reader};
use self::ask::Found;
use self::names::Named;
use self::old::Old;
use self::report::Report;
use crate::config::compose as schema;
use crate::daemon::{Failure, load};
use crate::new_files::{File, Made, refuse_existing};
use crate::plugins::SearchPath;
use crate::rest::Known;

const CONFIG: &str = "butler.yaml";
const SCHEMA: &str = "butler.schema.json";
const SCHEDULES: &str = "schedules.yaml";
const REPORT: &str = "migration.md";
const SECRETS: &str = "secrets";

/// What is to be migrated.
#[derive(Debug)]
pub struct Order {
    /// The old config file.
    pub old: PathBuf,
    /// A file of schedules, instead of the one that the old config names.
    pub schedules: Option<PathBuf>,
    /// Where the new files go.
    pub out: PathBuf,
    /// Where relative paths of the old file start: the folder that Butler 16 was started in. Absent: it is looked for.
    pub base: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug)]
pub struct Migrated {
    /// For a terminal.
    pub summary: String,
    /// Why it is not ready to be used, if it is not.
    pub failure: Option<String>,
}

/// Migrates. A file that cannot be understood is a [`Failure::Config`]; nothing is written then.
pub fn migrate(order: &Order) -> Result<Migrated, Failure> {
    let old = Old::read(&order.old)?;
    let named = Named::new(old.butler.clone());
    let folders = folders(order).context("relative paths cannot be looked up")?;
    let folders: Vec<String> = folders.iter().map(|folder| folder.to_string_lossy().into_owned()).collect();
    let input = json!({ "butler": named.butler, "folders": folders });

    let mut found = Found::open(&SearchPath::new(&[]));
    let manifests = found.manifests();
    let endpoints = Known::new(&manifests);
    let own = sections::translate(input.clone(), &endpoints, order.schedules.is_some());
    let mut own = own.map_err(|error| anyhow!("the host's sections: {error}"))?;
    let schedule_file = order.schedules.clone().or(own.schedules.take().map(PathBuf::from));
    let mut files = Vec::new();
    let schedules = schedule_file.map(|path| convert(order, &path, &mut files, &mut own.reader)).transpose()?.flatten();

    let mut readers = vec![own.reader];
    let (mut plugins, mut profiles) = (Vec::new(), Map::new());
    let mut secrets = own.secrets;
    let mut asked = false;
    for (name, answer) in found.ask(&input) {
        asked = true;
        match answer {
            Ok(imported) => {
                readers.push(Reader::new(&name, &imported));
                secrets.extend(imported.secrets);
                found.problems.extend(add_profiles(&mut profiles, &name, imported.tls));
                plugins.push((name, imported.instances));
            }
            Err(problem) => {
                found.problems.push(format!("the plugin `{name}` could not translate its sections: {problem}"));
            }
        }
    }
    if !asked {
        let text = "no plugin was found that knows Butler 16: put the plugin files beside the executable, or into `plugins` there";
        found.problems.push(text.to_owned());
    }
    if !profiles.is_empty() {
        own.config.insert("tls".to_owned(), profiles.into());
    }
    let account = Account::new(&old, &named, &readers, found.problems.is_empty());
    let config = compose::config(own.config, plugins);
    files.push(open_to_all(CONFIG, compose::text(&config, &head(&old.path))));
    let schema = serde_json::to_string_pretty(&schema(&manifests)).map_err(anyhow::Error::from)?;
    files.push(open_to_all(SCHEMA, schema + "\n"));
    let has_secrets = !secrets.is_empty();
    files.extend(secrets.into_iter().map(|(file, secret)| File {
        path: file.into(),
        text: secret + "\n",
        private: true,
    }));
    let reserved = files.iter().map(|file| file.path.as_path()).chain([Path::new(REPORT)]);
    refuse_existing(&order.out, reserved)?;
    let mut made = Made::default();
    made.write(&order.out, &files)?;

    let new = order.out.join(CONFIG);
    let checked = load(&new, None);
    let (refused, warnings) = match &checked {
        Ok(setup) => (None, setup.loaded.warnings.clone()),
        Err(report) => (Some(report.to_string()), Vec::new()),
    };
    let report = Report {
        old: &old.path,
        config: &new,
        account: &account,
        problems: &found.problems,
        schedules: schedules.map(|count| (count, order.out.join(SCHEDULES))),
        refused: refused.as_deref(),
        warnings: &warnings,
        // Elsewhere they are their owner's from the beginning.
        secrets: (cfg!(windows) && has_secrets).then(|| order.out.join(SECRETS)),
    };
    let path = order.out.join(REPORT);
    made.write(&order.out, &[open_to_all(REPORT, report.markdown())])?;
    made.keep();
    let failure = match (&refused, found.problems.is_empty()) {
        (Some(refused), _) => Some(refused.clone()),
        (None, false) => Some("not every plugin could be asked: see above".to_owned()),
        (None, true) => None,
    };
    Ok(Migrated { summary: report.short(&path), failure })
}

fn open_to_all(name: &str, text: String) -> File {
    File { path: name.into(), text, private: false }
}

/// Adds the TLS profiles of a plugin; what to tell of those that another plugin has otherwise, which keeps its own.
fn add_profiles(profiles: &mut Map<String, Value>, plugin: &str, new: BTreeMap<String, Value>) -> Vec<String> {
    let mut problems = Vec::new();
    for (profile, content) in new {
        if profiles.get(&profile).is_some_and(|other| *other != content) {
            problems.push(format!(
                "two plugins have a profile `tls.{profile}`, and another one each: that of `{plugin}` is left out, give it another name"
            ));
        } else {
            profiles.insert(profile, content);
        }
    }
    problems
}

/// The first lines of the new config.
fn head(old: &Path) -> Vec<String> {
    let name = old.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    vec![
        format!("yaml-language-server: $schema={SCHEMA}"),
        String::new(),
        format!("Made by `butler migrate` from {name}; {REPORT} says what became of each key, and what you must do."),
        format!("Check it with: butler check -c {CONFIG}"),
    ]
}

/// Where relative paths of the old file may start, the likeliest first; one that is named counts alone.
fn folders(order: &Order) -> std::io::Result<Vec<PathBuf>> {
    if let Some(base) = &order.base {
        return Ok(vec![std::path::absolute(base)?]);
    }
    let file = std::path::absolute(&order.old)?;
    let folder = file.parent().map(Path::to_owned);
    // `config/…` within it are paths from the folder above.
    let above = folder
        .as_deref()
        .filter(|folder| folder.file_name().is_some_and(|name| name == "config"))
        .and_then(Path::parent);
    let mut folders = Vec::new();
    for folder in [above.map(Path::to_owned), folder, std::env::current_dir().ok()].into_iter().flatten() {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    Ok(folders)
}

/// Converts a file of schedules; how many there are.
fn convert(order: &Order, path: &Path, files: &mut Vec<File>, reader: &mut Reader) -> Result<Option<usize>, Failure> {
    const KEY: &str = "scheduler.configfile";
    match schedules::convert(path) {
        Ok(converted) => {
            reader.notes.extend(converted.warnings.iter().map(|warning| note(KEY, Outcome::Differs, path, warning)));
            files.push(open_to_all(SCHEDULES, converted.text));
            Ok(Some(converted.count))
        }
        Err(faults) if order.schedules.is_some() => {
            Err(Failure::Config(format!("{}: {}", path.display(), faults.join(&format!("\n{}: ", path.display())))))
        }
        Err(faults) => {
            let all = faults.join("; ");
            let text = format!("no schedule is taken over, mend the file and name it with `--schedule`: {all}");
            reader.notes.push(note(KEY, Outcome::ToDo, path, &text));
            Ok(None)
        }
    }
}

fn note(key: &str, outcome: Outcome, path: &Path, text: &str) -> Note {
    Note { key: key.to_owned(), outcome, text: format!("{}: {text}", path.display()) }
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::import::Import;

    use super::*;
    use crate::schedule::Wish;

    #[test]
    fn of_two_profiles_with_one_name_the_first_stays() {
        let answer = |content: Value| BTreeMap::from([("webhook".to_owned(), content)]);
        let mut profiles = Map::new();
        assert!(add_profiles(&mut profiles, "webhook", answer(json!({ "ca": "ca.pem" }))).is_empty());
        assert!(add_profiles(&mut profiles, "third", answer(json!({ "ca": "ca.pem" }))).is_empty(), "the same");
        let problems = add_profiles(&mut profiles, "other", answer(json!({ "verify": "none" })));
        assert!(problems.len() == 1 && problems[0].contains("that of `other` is left out"), "{problems:?}");
        assert_eq!(Value::from(profiles), json!({ "webhook": { "ca": "ca.pem" } }));
    }

    /// Plugins do not look at cron expressions: what the host refuses is found only when Butler starts.
    #[test]
    fn every_frequency_that_is_translated_is_one_that_the_host_takes() {
        let days = ["sun", "monday", "tue", "wed", "thursday", "fri", "saturday"];
        let pairs = days.iter().flat_map(|first| days.iter().map(move |last| (first, last)));
        let mut texts: Vec<String> = pairs.map(|(first, last)| format!("on {first} to {last} at 8:00")).collect();
        for (unit, most) in
            [("seconds", 90), ("minutes", 90), ("hours", 90), ("days", 31), ("weeks", 52), ("months", 12), ("years", 1)]
        {
            texts.extend((1..=most).map(|number| format!("every {number} {unit}")));
        }
        texts.extend(["every weekday", "every weekend", "every day", "every hour"].map(str::to_owned));
        texts.extend(["at 10:15 am and 5:15 pm", "on mon-wed, fri and sun at 7:30"].map(str::to_owned));
        for text in texts {
            let mut import = Import::new(json!({ "butler": { "frequency": text } })).unwrap();
            let when = import.when("frequency").unwrap_or_else(|| panic!("{text} is not translated"));
            Wish::read(&when).unwrap_or_else(|error| panic!("{text}, {when}: {error}"));
        }
    }

    #[test]
    fn relative_paths_start_where_it_is_said_or_at_the_likeliest_places() {
        let order = |base: Option<&str>| Order {
            old: "/site/config/old.yaml".into(),
            schedules: None,
            out: "new".into(),
            base: base.map(PathBuf::from),
        };
        let here = std::env::current_dir().unwrap();
        assert_eq!(folders(&order(None)).unwrap(), [Path::new("/site"), Path::new("/site/config"), &here]);
        assert_eq!(folders(&order(Some("/opt/butler"))).unwrap(), [Path::new("/opt/butler")]);
    }
}
