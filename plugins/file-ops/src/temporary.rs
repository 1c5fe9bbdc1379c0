//! Names of copies that are being made, and what removes those that a killed process has left.
//!
//! A name tells by whom and when it was made: `.butler-file-ops-<process>-<number>.part`. Before one is used, the host's storage
//! notes where; after that it is forgotten. What is noted at the next start was left.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use butler_plugin_api::Host;
use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::path::{Flavour, Location};
use crate::place;
use crate::settings::Spot;

const START: &str = ".butler-file-ops-";
const END: &str = ".part";
/// What keys in the storage begin with; the name follows.
const KEY: &str = "part/";

/// Whether something is called like a copy that is being made.
pub(crate) fn is_one(name: &str) -> bool {
    name.strip_prefix(START)
        .and_then(|rest| rest.strip_suffix(END))
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'))
}

/// The name of something else that the same operation puts aside.
pub(crate) fn aside(name: &str) -> String {
    format!("{}-0{END}", name.strip_suffix(END).unwrap_or(name))
}

/// Makes names that nothing else has.
#[derive(Debug)]
pub(crate) struct Names {
    process: String,
    next: AtomicU64,
}

impl Names {
    pub(crate) fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Self { process: format!("{:x}-{now:x}", std::process::id()), next: AtomicU64::new(1) }
    }

    pub(crate) fn make(&self) -> String {
        format!("{START}{}-{:x}{END}", self.process, self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn made(&self, name: &str) -> bool {
        name.strip_prefix(START).is_some_and(|rest| rest.starts_with(&format!("{}-", self.process)))
    }
}

/// Something that is being made. It is removed when this is dropped, unless it is kept.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    folder: &'a Dir,
    name: String,
    is_kept: bool,
}

impl<'a> Part<'a> {
    pub(crate) fn new(folder: &'a Dir, name: &str) -> Self {
        Self { folder, name: name.to_owned(), is_kept: false }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// It has another name by now.
    pub(crate) fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        match place::remove(self.folder, &self.name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(
                    "`{}` is left in the directory of the target, and cannot be removed: {error}",
                    self.name
                );
            }
            _ => {}
        }
    }
}

/// Where something is being made, in the storage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Note {
    directory: String,
    folders: Vec<String>,
}

impl Note {
    /// Of what is being made beside a target.
    pub(crate) fn beside(target: &Spot) -> Self {
        let folders = target.steps.split_last().map(|(_, folders)| folders.to_vec()).unwrap_or_default();
        Self { directory: target.directory.to_string(), folders }
    }
}

/// Notes that a name is about to be used. A store that does not take it is no reason to refuse the work.
pub(crate) async fn note(host: &Host, name: &str, note: &Note) {
    if let Err(error) = host.storage().set(&format!("{KEY}{name}"), &json!(note), None).await {
        tracing::warn!("`{name}` would be left in the directory of the target if Butler ended now: {error}");
    }
}

/// The name is used no more.
pub(crate) async fn forget(host: &Host, name: &str) {
    if let Err(error) = host.storage().delete(&format!("{KEY}{name}")).await {
        tracing::debug!("`{name}` stays noted until the next start: {error}");
    }
}

/// What was left by processes before this one: the names, with the places that they were noted for.
pub(crate) async fn left(host: &Host, own: &Names) -> Vec<(String, Note)> {
    let keys = match host.storage().list(KEY).await {
        Ok(keys) => keys,
        Err(error) => {
            tracing::warn!("unfinished copies of a former run may be left: {error}");
            return Vec::new();
        }
    };
    let mut left = Vec::new();
    for key in keys {
        let name = key.strip_prefix(KEY).unwrap_or_default().to_owned();
        if own.made(&name) || !is_one(&name) {
            continue;
        }
        let note = host.storage().get(&key).await.ok().flatten().and_then(|note| serde_json::from_value(note).ok());
        match note {
            Some(note) => left.push((name, note)),
            None => forget(host, &name).await,
        }
    }
    left
}

/// Removes what was left; whether nothing of it is there any more. Only in directories that are approved still.
pub(crate) fn sweep(name: &str, note: &Note, approved: &[Location]) -> bool {
    let Some(directory) = approved.iter().find(|directory| directory.to_string() == note.directory) else {
        tracing::warn!(
            "`{name}` may be left in {}, which is no approved directory any more: remove it",
            note.directory
        );
        return true;
    };
    let Ok(steps) = crate::path::relative(Flavour::HERE, &note.folders.join("/")) else { return true };
    let Ok(top) = place::open_raw(directory) else { return false };
    let folder = match top.open_dir(place::below(&steps)) {
        Ok(folder) => folder,
        Err(error) => return error.kind() == std::io::ErrorKind::NotFound,
    };
    [name, &aside(name)].into_iter().all(|name| match place::remove(&folder, name) {
        Ok(()) => {
            tracing::info!("`{name}`, the unfinished copy of a former run, is removed from {}", note.directory);
            true
        }
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_again() {
        let names = Names::new();
        let (one, two) = (names.make(), names.make());
        assert_ne!(one, two);
        assert!(is_one(&one) && names.made(&one));
        assert!(is_one(&aside(&one)) && aside(&one) != one);
        for name in [".butler-file-ops-.part", ".butler-file-ops-1-2-3", ".butler-file-ops-x y.part", "a.part", ""] {
            assert!(!is_one(name), "{name}");
        }
        assert!(is_one(".butler-file-ops-4d2-18f0-1.part") && !names.made(".butler-file-ops-4d2-18f0-1.part"));
    }
}
