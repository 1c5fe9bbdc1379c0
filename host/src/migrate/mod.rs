//! Configs of older versions of Butler (8 to 16): what `butler migrate` does.
//!
//! The old file is read (`old`) and brought into the form of Butler 16 (`names`). The host translates its own sections
//! (`sections`), the plugins that are found theirs (`ask`); nobody else knows what they are. What became of each value of the
//! old file is put together (`account`), the new config is written (`compose`, `schedules`, `write`) and validated as
//! `butler check` does, and a report (`report`) says what a person should know.

mod account;
mod ask;
mod compose;
mod names;
mod old;
mod report;
mod schedules;
mod sections;
mod write;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use serde_json::{Map, json};

use self::account::{Account, Note, Outcome, Reader};
use self::ask::Found;
use self::names::Named;
use self::old::Old;
use self::report::Report;
use self::write::{Files, Readers};
use crate::config::compose as schema;
use crate::daemon::{Failure, load};
use crate::plugins::SearchPath;
use crate::rest::Known;

const CONFIG: &str = "butler.yaml";
const SCHEMA: &str = "butler.schema.json";
const SCHEDULES: &str = "schedules.yaml";
const REPORT: &str = "migration.md";

/// What is to be migrated.
#[derive(Debug)]
pub struct Order {
    /// The old config file.
    pub old: PathBuf,
    /// A file of schedules, instead of the one that the old config names.
    pub schedules: Option<PathBuf>,
    /// Where the new files go.
    pub out: PathBuf,
    /// Where relative paths of the old file start: the folder that Butler 16 was started in.
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
    let mut files = Files::default();
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
                for (profile, content) in imported.tls {
                    if profiles.insert(profile.clone(), content.clone()).is_some_and(|other| other != content) {
                        found.problems.push(format!(
                            "two plugins have a profile `tls.{profile}`, and another one each: give that of `{name}` another name"
                        ));
                    }
                }
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
    files.add(CONFIG, compose::text(&config, &head(&old.path)), Readers::Usual);
    let schema = serde_json::to_string_pretty(&schema(&manifests)).map_err(anyhow::Error::from)?;
    files.add(SCHEMA, schema + "\n", Readers::Usual);
    for (file, secret) in secrets {
        files.add(&file, secret + "\n", Readers::Owner);
    }
    files.write(&order.out, REPORT)?;

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
    };
    let path = order.out.join(REPORT);
    write::write(&path, &report.markdown(), Readers::Usual)?;
    let failure = match (&refused, found.problems.is_empty()) {
        (Some(refused), _) => Some(refused.clone()),
        (None, false) => Some("not every plugin could be asked: see above".to_owned()),
        (None, true) => None,
    };
    Ok(Migrated { summary: report.short(&path), failure })
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

/// Where relative paths of the old file may start, the likeliest first.
fn folders(order: &Order) -> std::io::Result<Vec<PathBuf>> {
    let file = std::path::absolute(&order.old)?;
    let folder = file.parent().map(Path::to_owned);
    // `config/…` within it are paths from the folder above.
    let above = folder
        .as_deref()
        .filter(|folder| folder.file_name().is_some_and(|name| name == "config"))
        .and_then(Path::parent);
    let base = order.base.as_ref().map(std::path::absolute).transpose()?;
    let mut folders = Vec::new();
    for folder in [base, above.map(Path::to_owned), folder, std::env::current_dir().ok()].into_iter().flatten() {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    Ok(folders)
}

/// Converts a file of schedules; how many there are.
fn convert(order: &Order, path: &Path, files: &mut Files, reader: &mut Reader) -> Result<Option<usize>, Failure> {
    const KEY: &str = "scheduler.configfile";
    match schedules::convert(path) {
        Ok(converted) => {
            reader.notes.extend(converted.warnings.iter().map(|warning| note(KEY, Outcome::Differs, path, warning)));
            files.add(SCHEDULES, converted.text, Readers::Usual);
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
