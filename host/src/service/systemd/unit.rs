//! The unit: the one that the package has, with the paths and the account of a machine put in.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::bail;

/// What the package installs, and what other units are made of.
const PACKAGED: &str = include_str!("../../../../config/systemd/butler.service");
/// The first line of every unit that is ours.
const MARK: &str = "# Butler as a service of systemd.";
/// Home folders: a service does not see them unless it must.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
/// Folders of which a service has its own, empty ones.
const PRIVATE: [&str; 2] = ["/tmp", "/var/tmp"];

/// The account of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Account {
    /// One that systemd makes for the run.
    Dynamic,
    /// One that there is.
    Named(String),
}

/// What differs between units. All paths are absolute.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) name: String,
    pub(super) executable: PathBuf,
    pub(super) config: PathBuf,
    pub(super) account: Account,
    /// Folders that it writes to, beside those that systemd makes for it.
    pub(super) writable: Vec<PathBuf>,
    /// What it reads beside executable and config.
    pub(super) readable: Vec<PathBuf>,
}

impl Unit {
    /// The file.
    pub(super) fn text(&self) -> anyhow::Result<String> {
        let [executable, config] = [usable(&self.executable)?, usable(&self.config)?];
        for path in self.paths() {
            usable(path)?;
        }
        if self.is_packaged() {
            return Ok(PACKAGED.to_owned());
        }
        let mut text = format!(
            "{MARK}\n# `butler service install` writes this file anew. What is to be otherwise belongs into a file of its own: \
             `systemctl edit {}`.\n",
            self.name
        );
        let (name, config) = (&self.name, argument(config));
        let program = program(executable);
        let mut comments = String::new();
        for line in PACKAGED.lines().skip_while(|line| line.starts_with('#')) {
            if line.starts_with('#') {
                comments += line;
                comments.push('\n');
                continue;
            }
            let key = line.split_once('=').map_or(line, |(key, _)| key);
            let line = match (key, &self.account) {
                ("ExecStart", _) => format!("ExecStart={program} service run --name {name} --config {config}"),
                ("ExecReload", _) => format!("ExecReload={program} reload --config {config}"),
                ("EnvironmentFile", _) => format!("EnvironmentFile=-{}", file_pattern(&self.environment_file())),
                ("StateDirectory" | "LogsDirectory", _) => format!("{key}={name}"),
                ("User", Account::Dynamic) => format!("User={name}"),
                ("User", Account::Named(account)) => format!("User={account}"),
                ("DynamicUser", Account::Named(_)) => {
                    comments.clear();
                    continue;
                }
                ("ProtectHome", _) if self.paths().any(|path| HOMES.iter().any(|home| path.starts_with(home))) => {
                    "ProtectHome=read-only".to_owned()
                }
                _ => line.to_owned(),
            };
            text += &std::mem::take(&mut comments);
            text += &line;
            text.push('\n');
            match key {
                "After" => {
                    let _ = writeln!(text, "RequiresMountsFor={}", list(self.paths()));
                }
                "ProtectSystem" if !self.writable.is_empty() => {
                    let _ = writeln!(text, "ReadWritePaths={}", list(self.writable.iter().map(PathBuf::as_path)));
                }
                _ => {}
            }
        }
        Ok(text)
    }

    /// Whether it is the one of the package.
    pub(super) fn is_packaged(&self) -> bool {
        self.name == "butler"
            && self.executable == Path::new("/usr/lib/butler/butler")
            && self.config == Path::new("/etc/butler/butler.yaml")
            && self.account == Account::Dynamic
            && self.writable.is_empty()
            && !self.readable.iter().any(|path| HOMES.iter().any(|home| path.starts_with(home)))
    }

    /// Where systemd reads secrets that the config takes from the environment.
    pub(super) fn environment_file(&self) -> PathBuf {
        self.config.with_file_name(format!("{}.env", self.name))
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        let all = [&self.executable, &self.config].into_iter().chain(&self.writable).chain(&self.readable);
        all.map(PathBuf::as_path)
    }
}

/// Whether a unit is one of ours.
pub(super) fn is_ours(text: &str) -> bool {
    text.starts_with(MARK)
}

/// The text of a path that a unit can name and that its service can see.
fn usable(path: &Path) -> anyhow::Result<&str> {
    let Some(text) = path.to_str().filter(|text| !text.contains(char::is_control)) else {
        bail!("a unit of systemd cannot name {}: give the file or a folder above it another name", path.display());
    };
    if let Some(folder) = PRIVATE.iter().find(|folder| path.starts_with(folder)) {
        bail!("a service sees nothing of {folder}, which is emptied at times: move {text} elsewhere");
    }
    Ok(text)
}

/// A program in a command line (`systemd.service(5)`). Variables are not put in there.
fn program(text: &str) -> String {
    format!("\"{}\"", quotable(text))
}

/// An argument in a command line, as it is for systemd: `%` begins a specifier, `$` a variable.
fn argument(text: &str) -> String {
    format!("\"{}\"", quotable(text).replace('$', "$$"))
}

fn quotable(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%")
}

/// Paths in a list, each once.
fn list<'a>(paths: impl Iterator<Item = &'a Path>) -> String {
    let mut texts: Vec<String> = paths.filter_map(Path::to_str).map(program).collect();
    texts.sort();
    texts.dedup();
    texts.join(" ")
}

/// A file where systemd takes a pattern to the end of the line.
fn file_pattern(path: &Path) -> String {
    let mut pattern = String::new();
    for c in path.to_string_lossy().chars() {
        match c {
            '%' => pattern.push('%'),
            '*' | '?' | '[' | ']' | '\\' => pattern.push('\\'),
            _ => {}
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packaged() -> Unit {
        Unit {
            name: "butler".to_owned(),
            executable: "/usr/lib/butler/butler".into(),
            config: "/etc/butler/butler.yaml".into(),
            account: Account::Dynamic,
            writable: Vec::new(),
            readable: Vec::new(),
        }
    }

    fn lines(unit: &Unit) -> Vec<String> {
        unit.text().unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_packages_unit_is_the_file_itself() {
        assert_eq!(packaged().text().unwrap(), PACKAGED);
        assert!(is_ours(PACKAGED));
        // Each of them is put in elsewhere.
        for key in
            ["ExecStart=", "ExecReload=", "EnvironmentFile=", "StateDirectory=", "LogsDirectory=", "User=", "After="]
        {
            assert_eq!(PACKAGED.lines().filter(|line| line.starts_with(key)).count(), 1, "{key}");
        }
        for once in ["DynamicUser=yes", "ProtectHome=yes", "ProtectSystem=strict"] {
            assert_eq!(PACKAGED.lines().filter(|line| *line == once).count(), 1, "{once}");
        }
    }

    #[test]
    fn another_name_changes_what_names_it_and_nothing_else() {
        let unit = Unit { name: "butler-test".to_owned(), ..packaged() };
        let (ours, packages) = (lines(&unit), PACKAGED.lines().map(str::to_owned).collect::<Vec<_>>());
        let new: Vec<&str> = ours.iter().filter(|line| !packages.contains(line)).map(String::as_str).collect();
        let expected = [
            ours[1].as_str(),
            r#"RequiresMountsFor="/etc/butler/butler.yaml" "/usr/lib/butler/butler""#,
            r#"ExecStart="/usr/lib/butler/butler" service run --name butler-test --config "/etc/butler/butler.yaml""#,
            r#"ExecReload="/usr/lib/butler/butler" reload --config "/etc/butler/butler.yaml""#,
            "EnvironmentFile=-/etc/butler/butler-test.env",
            "User=butler-test",
            "StateDirectory=butler-test",
            "LogsDirectory=butler-test",
        ];
        assert_eq!(new, expected);
        assert!(is_ours(&unit.text().unwrap()));
    }

    #[test]
    fn an_account_that_there_is_takes_the_place_of_a_dynamic_one() {
        let unit = Unit {
            account: Account::Named("sense".to_owned()),
            writable: vec!["/srv/b/data".into(), "/srv/b/data".into(), "/srv/b/logs".into()],
            readable: vec!["/home/sense/key.pem".into()],
            ..packaged()
        };
        let text = unit.text().unwrap();
        assert!(!text.contains("DynamicUser") && !text.contains("The account is made"), "{text}");
        assert!(text.contains("\nUser=sense\n") && text.contains("\nProtectHome=read-only\n"), "{text}");
        assert!(text.contains("\nProtectSystem=strict\nReadWritePaths=\"/srv/b/data\" \"/srv/b/logs\"\n"), "{text}");
    }

    #[test]
    fn paths_reach_systemd_as_they_are() {
        let odd = r#"/srv/50% "b" $HOME \ [x]/"#;
        let unit =
            Unit { executable: format!("{odd}butler").into(), config: format!("{odd}b.yaml").into(), ..packaged() };
        let text = unit.text().unwrap();
        let program = r#"/srv/50%% \"b\" $HOME \\ [x]/butler"#;
        let config = r#"/srv/50%% \"b\" $$HOME \\ [x]/b.yaml"#;
        assert!(
            text.contains(&format!("\nExecStart=\"{program}\" service run --name butler --config \"{config}\"\n")),
            "{text}"
        );
        assert!(text.contains("\nEnvironmentFile=-/srv/50%% \"b\" $HOME \\\\ \\[x\\]/butler.env\n"), "{text}");
    }

    #[test]
    fn paths_that_no_unit_can_name_or_no_service_sees_are_refused() {
        for (path, part) in [("/srv/a\nb/b.yaml", "another name"), ("/tmp/b.yaml", "nothing of /tmp")] {
            let error = Unit { config: path.into(), ..packaged() }.text().unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
        let elsewhere = Unit { writable: vec!["/var/tmp/x".into()], ..packaged() };
        assert!(elsewhere.text().is_err());
    }
}
