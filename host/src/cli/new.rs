//! `butler plugins new`: writes the crate of a plugin to begin with.
//!
//! Its files are templates in the folder `new` beside this one. `{{name}}` and a few others are replaced; lines between
//! `{{#endpoint}}` and `{{/endpoint}}` stay when there is to be an endpoint, likewise those of `source`.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, bail};
use butler_plugin_api::{API_VERSION, Manifest};
use clap::Args;

use crate::plugins::file_name;

/// Longest name: with it the lines of the templates are still short enough for rustfmt.
const MAX_NAME: usize = 40;

/// What is written always: file in the crate and template.
const FILES: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("new/Cargo.toml.template")),
    ("README.md", include_str!("new/README.md.template")),
    (".gitignore", include_str!("new/gitignore.template")),
    ("src/lib.rs", include_str!("new/lib.rs.template")),
    ("src/tests.rs", include_str!("new/tests.rs.template")),
    ("tests/end_to_end.rs", include_str!("new/end_to_end.rs.template")),
];
const FEED: (&str, &str) = ("src/feed.rs", include_str!("new/feed.rs.template"));

/// Which crate to write.
#[derive(Debug, Args)]
pub(super) struct New {
    /// Name of the plugin, as `use:` of the config will have it: lower-case letters, digits and `-`.
    name: Name,
    /// With an endpoint on Butler's REST server.
    #[arg(long)]
    endpoint: bool,
    /// With background work that emits events.
    #[arg(long)]
    source: bool,
    /// Where the crate `butler-plugin-api` comes from: a version in the registry, the address of a git repository, or a
    /// folder: a checkout of Butler. By default the registry has the version of this Butler.
    #[arg(long, value_name = "VERSION|GIT|FOLDER", visible_alias = "api-path")]
    api: Option<Api>,
}

/// The name of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name(String);

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > MAX_NAME {
            return Err(format!("a plugin's name has at most {MAX_NAME} characters"));
        }
        Manifest::new(text, "").fault().map_or_else(|| Ok(Self(text.to_owned())), Err)
    }
}

/// Where the crate `butler-plugin-api` comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Api {
    Version(String),
    Git(String),
    Folder(PathBuf),
}

impl FromStr for Api {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains("://") || text.starts_with("git@") {
            return Ok(Self::Git(text.to_owned()));
        }
        let number = text.trim_start_matches(['=', '~', '^']);
        if number.starts_with(|c: char| c.is_ascii_digit()) && !Path::new(text).exists() {
            return Ok(Self::Version(text.to_owned()));
        }
        let folder = fs::canonicalize(text).map_err(|error| format!("there is no folder {text}: {error}"))?;
        let is_api = |folder: &PathBuf| {
            let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
            manifest.lines().any(|line| line.trim() == "name = \"butler-plugin-api\"")
        };
        let found = [folder.join("plugin-api"), folder].into_iter().find(is_api);
        found.map(Self::Folder).ok_or_else(|| {
            format!("{text} is neither a checkout of Butler nor its folder `plugin-api`: there is no butler-plugin-api")
        })
    }
}

impl Default for Api {
    /// This host's minor version, since a host refuses plugins that were built against a newer one.
    fn default() -> Self {
        let minor = API_VERSION.rsplit_once('.').map_or(API_VERSION, |(minor, _)| minor);
        Self::Version(format!("~{minor}"))
    }
}

impl Api {
    /// As it stands in a `Cargo.toml`.
    fn dependency(&self) -> String {
        // The texts of JSON are texts of TOML as well.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        match self {
            Self::Version(version) => format!("version = {}", quoted(version)),
            Self::Git(address) => format!("git = {}", quoted(address)),
            Self::Folder(folder) => {
                let folder = folder.to_string_lossy();
                // What Windows puts before a whole path.
                format!("path = {}", quoted(folder.strip_prefix(r"\\?\").unwrap_or(&folder)))
            }
        }
    }
}

impl New {
    /// Writes the crate into the present folder and says what to do next.
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let package = format!("butler-plugin-{}", self.name.0);
        let folder = std::env::current_dir().context("the present folder cannot be found")?.join(&package);
        self.write(&folder)?;
        let file = file_name(&self.name.0);
        let name = &self.name.0;
        println!(
            "{} is the crate of the plugin `{name}`.

  cd {package}
  cargo test               its unit tests, and one with the executable `butler`: on PATH, or named by BUTLER
  cargo build --release    the plugin: target/release/{file}

Copy that file into a folder of `pluginDirs`, add the plugin to `plugins:` of the config, and start Butler:

  - use: {name}
    settings: {{ url: \"https://alerts.example.com/hook\" }}

{package}/README.md says more. The guide is the README of the crate butler-plugin-api.",
            folder.display()
        );
        Ok(())
    }

    fn write(&self, folder: &Path) -> anyhow::Result<()> {
        match fs::create_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                bail!("{} exists already: remove it, or take another name", folder.display())
            }
            other => other.with_context(|| format!("cannot make the folder {}", folder.display()))?,
        }
        for (file, template) in FILES.iter().chain(self.source.then_some(&FEED)) {
            let path = folder.join(file);
            let written = path.parent().map_or(Ok(()), fs::create_dir_all);
            let written = written.and_then(|()| fs::write(&path, self.fill(template)));
            written.with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    fn fill(&self, template: &str) -> String {
        let text = section(template, "endpoint", self.endpoint);
        let text = section(&text, "source", self.source);
        let api = self.api.clone().unwrap_or_default().dependency();
        let stem = self.name.0.replace('-', "_");
        text.replace("{{name}}", &self.name.0).replace("{{stem}}", &stem).replace("{{api}}", &api)
    }
}

/// Keeps or drops the lines of a section, and its marks in any case.
fn section(template: &str, name: &str, keep: bool) -> String {
    let (begin, end) = (format!("{{{{#{name}}}}}"), format!("{{{{/{name}}}}}"));
    let mut text = String::with_capacity(template.len());
    let mut inside = false;
    for line in template.lines() {
        if line == begin || line == end {
            inside = line == begin;
        } else if keep || !inside {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        for good in ["chat", "big-chat", "3cx", "a", &"x".repeat(40)] {
            assert_eq!(good.parse(), Ok(Name(good.to_owned())));
        }
        for bad in ["", "Chat", "big_chat", "-chat", "chat-", "big--chat", "../chat", "chät"] {
            let error = bad.parse::<Name>().unwrap_err();
            assert!(error.contains("lower-case letters and digits, with single `-` between"), "{bad}: {error}");
        }
        assert!("x".repeat(41).parse::<Name>().unwrap_err().contains("at most 40"));
        assert!("events".parse::<Name>().unwrap_err().contains("that of a part of Butler"));
    }

    #[test]
    fn the_api_comes_from_where_it_is_said() {
        let dependency = |text: &str| text.parse::<Api>().map(|api| api.dependency());
        assert_eq!(dependency("0.3").unwrap(), r#"version = "0.3""#);
        assert_eq!(dependency("=1.2.3").unwrap(), r#"version = "=1.2.3""#);
        assert_eq!(dependency("https://x.test/b.git").unwrap(), r#"git = "https://x.test/b.git""#);
        let checkout = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let folder = dependency(checkout).unwrap();
        assert!(folder.starts_with("path = \"") && folder.ends_with("plugin-api\""), "{folder}");
        assert_eq!(dependency(&format!("{checkout}/plugin-api")).unwrap(), folder);
        assert!(dependency(env!("CARGO_MANIFEST_DIR")).unwrap_err().contains("no butler-plugin-api"));
        assert!(dependency("nowhere").unwrap_err().contains("there is no folder nowhere"));
    }

    #[test]
    fn by_default_no_newer_api_than_the_hosts_is_taken() {
        let mut numbers = API_VERSION.split('.');
        let minor = [numbers.next().unwrap(), numbers.next().unwrap()].join(".");
        assert_eq!(Api::default(), Api::Version(format!("~{minor}")));
    }

    #[test]
    fn nothing_of_a_template_is_left() {
        for (endpoint, source) in [(false, false), (true, false), (false, true), (true, true)] {
            let new = New { name: Name("big-chat".to_owned()), endpoint, source, api: None };
            for (file, template) in FILES.iter().chain(Some(&FEED)) {
                let text = new.fill(template);
                assert!(!text.contains("{{#") && !text.contains("{{/"), "{file}");
                for word in ["{{name}}", "{{stem}}", "{{api}}"] {
                    assert!(!text.contains(word), "{file}: {word}");
                }
            }
        }
    }
}
