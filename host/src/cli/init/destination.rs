//! Where alerts go: the plugin, its settings, and whether both can work.

use std::path::Path;

use butler_plugin_api::{Manifest, StartError, kind};
use serde_json::Value;

use super::super::progress::waiting;
use super::document::{Connection, Contents, with_files};
use super::settings::{self, Filled, Lacking, is_placeholder};
use super::terminal::Question;
use super::{CONFIG, Interview, PASSPHRASE, SECRETS, no_terminal};
use crate::config::{self, Document, similar};
use crate::daemon::{self, Alone, Failure};
use crate::new_files::{self, File};

impl Interview {
    /// The plugin that alerts go to.
    pub(super) fn destination<'m>(&self, destinations: &[&'m Manifest]) -> Result<&'m Manifest, Failure> {
        if destinations.is_empty() {
            let remedy = "put plugins beside the executable, or name their folder (`--plugin-dir`)";
            return Err(Failure::Config(format!("there is no plugin that alerts could go to: {remedy}")));
        }
        let widest = destinations.iter().map(|manifest| manifest.name.len()).max().unwrap_or_default();
        let list: Vec<String> = destinations
            .iter()
            .enumerate()
            .map(|(n, manifest)| format!("  {:>2}  {:<widest$}  {}", n + 1, manifest.name, manifest.description))
            .collect();
        let about = format!(
            "Where alerts go, by number or name; further destinations can be added later.\n{}",
            list.join("\n")
        );
        let question = Question { about: &about, name: "use", default: None, hidden: false };
        self.answer(self.flags.destination.as_deref(), question, |text| {
            let by_number = text.parse::<usize>().ok().and_then(|number| destinations.get(number.checked_sub(1)?));
            let found = by_number.or_else(|| destinations.iter().find(|manifest| manifest.name == text));
            found.copied().ok_or_else(|| {
                let names: Vec<&str> = destinations.iter().map(|manifest| manifest.name.as_str()).collect();
                match similar(text, names.iter().copied()) {
                    Some(meant) => format!("there is no destination `{text}`; did you mean `{meant}`?"),
                    None => format!("there is no destination `{text}`, but {}", names.join(", ")),
                }
            })
        })
    }

    pub(super) fn settings(&self, manifest: &Manifest) -> Result<Filled, Failure> {
        match settings::fill(&manifest.settings_schema, &self.flags.set, self.terminal)? {
            Ok(filled) => Ok(filled),
            Err(Lacking { missing, faults }) if faults.is_empty() => Err(no_terminal(&missing)),
            Err(Lacking { faults, .. }) => Err(Failure::Config(faults.join("\n"))),
        }
    }

    /// Takes the config as the daemon would, and starts the destination without sending anything. What the destination has
    /// against its settings is answered; that it cannot be reached now is only told.
    pub(super) fn try_out(
        &self,
        contents: &Contents<'_>,
        filled: &Filled,
        instance: &str,
    ) -> Result<Option<String>, Failure> {
        let path = new_files::shown(&self.flags.out, Path::new(CONFIG));
        let document = Document::parse(&path, contents.text(&path).as_bytes())?;
        let mut setup = match daemon::take(&document, None) {
            Ok(setup) => setup,
            Err(report) if report.errors.iter().all(|error| error.path.starts_with("plugins[0].settings")) => {
                let faults = report.errors.into_iter().map(|error| {
                    let path = error.path.trim_start_matches("plugins[0].settings").trim_start_matches('.').to_owned();
                    let suggestion = error.suggestion.map(|text| format!(" ({text})")).unwrap_or_default();
                    format!("{path}: {}{suggestion}", error.message)
                });
                return Ok(Some(faults.collect::<Vec<_>>().join("; ")));
            }
            Err(report) => return Err(report.into()),
        };
        // They stand in the config written out yet, and no plugin must bring them back.
        let secrets = config::Secrets::new(filled.secrets.values().cloned());
        setup.loaded.secrets = setup.loaded.secrets.and(&secrets);
        let what = format!("the start of {instance}");
        match self.runtime.block_on(waiting(&what, Alone::start(&setup, instance, None))) {
            Ok(alone) => {
                self.runtime.block_on(waiting(&format!("the stop of {instance}"), alone.stop()));
                Ok(None)
            }
            Err(error) => match error.downcast_ref::<StartError>() {
                Some(StartError::Config(reason)) => Ok(Some(reason.clone())),
                Some(error) => {
                    eprintln!("\n`{instance}` does not start at present, which is no obstacle: {error}");
                    Ok(None)
                }
                None => Err(Failure::Other(error.context("the destination cannot be tried out"))),
            },
        }
    }
}

/// Whether a plugin is told of failed tasks unless the config says otherwise.
pub(super) fn takes_alerts(manifest: &Manifest) -> bool {
    manifest.fault().is_none()
        && manifest.default_events.iter().any(|pattern| kind::matches(pattern, kind::RELOAD_TASK_FAILED))
}

/// Connection and settings as they stand in the config, and the files of the secrets in them: new ones, whatever is below
/// `out` already.
pub(super) fn secrets(
    out: &Path,
    connection: &Connection,
    instance: &str,
    filled: &Filled,
    files: &mut Vec<File>,
) -> (Connection, Value) {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name = |pointer: &str| -> String { pointer.replace('/', "-").chars().map(plain).collect() };
    let file = |pointer: &str| free(out, &format!("{SECRETS}/{instance}{}", name(pointer)));
    for (pointer, text) in &filled.secrets {
        files.push(File { path: file(pointer).into(), text: format!("{text}\n"), private: true });
    }
    let mut connection = connection.clone();
    if let Some(passphrase) = connection.passphrase.take_if(|text| !is_placeholder(text)) {
        // In the config `${` would be written with one sign more.
        let text = passphrase.replace("$${", "${");
        let path = free(out, PASSPHRASE);
        connection.passphrase = Some(format!("${{file:{path}}}"));
        files.push(File { path: path.into(), text: format!("{text}\n"), private: true });
    }
    (connection, with_files(filled, file))
}

/// A path that nothing has yet: this one, or with a number. A secret of somebody else must not be in the way of one that
/// was typed.
fn free(out: &Path, path: &str) -> String {
    let numbered = (2..).map(|number: u32| format!("{path}-{number}"));
    let mut paths = std::iter::once(path.to_owned()).chain(numbered);
    paths.find(|path| out.join(path).symlink_metadata().is_err()).unwrap_or_else(|| path.to_owned())
}
