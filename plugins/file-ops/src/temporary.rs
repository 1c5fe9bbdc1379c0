//! Names of copies that are being made, and what removes those that a killed process has left.
//!
//! A name tells by whom and when it was made: `.butler-file-ops-<process>-<number>.part`. Before one is used, the host's storage
//! notes where; after that it is forgotten. What is noted at the next start was left. With `-0` before `.part` it is an old
//! directory that has made way and belongs to the target's name unless there is another; with `-1` one that has been replaced.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use butler_plugin_api::{Host, ServiceError};
use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::copy::Progress;
use crate::path::Flavour;
use crate::place;
use crate::remove::remove;
use crate::rename::rename_new;
use crate::settings::{Directory, Spot};

const START: &str = ".butler-file-ops-";
const END: &str = ".part";
/// What keys in the storage begin with; the name follows.
const KEY: &str = "part/";
/// How long the storage is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether something is called like a copy that is being made.
pub(crate) fn is_one(name: &str) -> bool {
    name.strip_prefix(START)
        .and_then(|rest| rest.strip_suffix(END))
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'))
}

/// The name of an old directory that makes way in the same operation.
pub(crate) fn aside(name: &str) -> String {
    format!("{}-0{END}", name.strip_suffix(END).unwrap_or(name))
}

/// The name that it has when it is replaced, and to be removed.
pub(crate) fn discarded(name: &str) -> String {
    format!("{}-1{END}", name.strip_suffix(END).unwrap_or(name))
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
    progress: &'a Progress,
    is_kept: bool,
}

impl<'a> Part<'a> {
    pub(crate) fn new(folder: &'a Dir, name: &str, progress: &'a Progress) -> Self {
        Self { folder, name: name.to_owned(), progress, is_kept: false }
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
        match remove(self.folder, &self.name) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                self.progress.leave();
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
    /// Of the target.
    name: String,
}

impl Note {
    /// Of what is being made beside a target.
    pub(crate) fn beside(target: &Spot) -> Self {
        let (name, folders) =
            target.steps.split_last().map(|(name, folders)| (name.clone(), folders.to_vec())).unwrap_or_default();
        Self { directory: target.directory.location.to_string(), folders, name }
    }
}

/// Notes that a name is about to be used. A store that does not take it is no reason to refuse the work.
pub(crate) async fn note(host: &Host, name: &str, note: &Note) {
    let (storage, key, note) = (host.storage(), format!("{KEY}{name}"), json!(note));
    if let Err(error) = in_time(host, storage.set(&key, &note, None)).await {
        tracing::warn!("`{name}` would be left in the directory of the target if Butler ended now: {error}");
    }
}

/// The name is used no more.
pub(crate) async fn forget(host: &Host, name: &str) {
    let (storage, key) = (host.storage(), format!("{KEY}{name}"));
    if let Err(error) = in_time(host, storage.delete(&key)).await {
        tracing::debug!("`{name}` stays noted until the next start: {error}");
    }
}

/// The store may be held up by a full disk or somebody's lock, which is no business of the files.
async fn in_time<T>(host: &Host, asked: impl Future<Output = Result<T, ServiceError>>) -> Result<T, String> {
    tokio::select! {
        biased;
        answer = asked => answer.map_err(|error| error.to_string()),
        () = host.sleep(PATIENCE) => Err("Butler's store does not answer".to_owned()),
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
pub(crate) fn sweep(name: &str, note: &Note, approved: &[Directory]) -> bool {
    let Some(directory) = approved.iter().find(|directory| directory.location.to_string() == note.directory) else {
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
        Err(error) => return error.kind() == ErrorKind::NotFound,
    };
    let is_gone = [name, &discarded(name)].into_iter().all(|name| match remove(&folder, name) {
        Ok(()) => {
            tracing::info!("`{name}`, the unfinished copy of a former run, is removed from {}", note.directory);
            true
        }
        Err(error) => error.kind() == ErrorKind::NotFound,
    });
    put_back(&folder, &aside(name), note) && is_gone
}

/// A directory that had made way for another one, which has not come, gets its name again.
fn put_back(folder: &Dir, aside: &str, note: &Note) -> bool {
    let Note { directory, name, .. } = note;
    match place::look(folder, aside)
        .and_then(|found| found.map(|_| rename_new(folder, aside, folder, name)).transpose())
    {
        Ok(None) => true,
        Ok(Some(())) => {
            tracing::info!("`{name}` in {directory} was to be replaced when a former run ended, and is there again");
            true
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            tracing::warn!("`{aside}` in {directory} is what `{name}` was before: remove it if the new one is right");
            true
        }
        Err(_) => false,
    }
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
        let names_of_one = [one.clone(), aside(&one), discarded(&one)];
        assert!(names_of_one.iter().all(|name| is_one(name)));
        assert_eq!(names_of_one.iter().collect::<std::collections::HashSet<_>>().len(), 3);
        for name in [".butler-file-ops-.part", ".butler-file-ops-1-2-3", ".butler-file-ops-x y.part", "a.part", ""] {
            assert!(!is_one(name), "{name}");
        }
        assert!(is_one(".butler-file-ops-4d2-18f0-1.part") && !names.made(".butler-file-ops-4d2-18f0-1.part"));
    }
}
