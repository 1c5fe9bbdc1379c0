//! Where the store and the log are kept: whether they can be written, and whether there is room for the store.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use super::super::findings::Findings;
use crate::config::{LogFile, Size, Store};
use crate::free_room::free_room;
use crate::observe;
use crate::store::{LEAST_ROOM, Look, Megabytes};

const LINK: &str = "store";
const LOG: &str = "log file";
const ROOM: &str = "disk space";

/// Looks at the store, its folder and its disk. Makes nothing that stays.
pub(super) async fn check(store: &Store, findings: &mut Findings) {
    let folder = existing(&store.path);
    match writable(&store.path, &folder) {
        Ok(()) => version(&store.path, findings).await,
        Err(error) => {
            let detail = format!("{} cannot be written by this account: {error}", store.path.display());
            let remedy = "let the account that Butler runs under write to the folder of `store.path`, and run this as that account";
            findings.failed(LINK, &detail, remedy);
        }
    }
    match free_room(&folder) {
        Ok(free) => room(free, used(&store.path), store.max_size.as_bytes(), findings),
        Err(error) => {
            let detail = format!("the room on the disk of {} cannot be told: {error}", folder.display());
            findings.note(ROOM, &detail, "");
        }
    }
}

/// Whether this Butler can open it, and what becomes of it then.
async fn version(path: &Path, findings: &mut Findings) {
    let look = match Look::at(path).await {
        Ok(look) => look,
        Err(error) => return findings.failed(LINK, &error.to_string(), ""),
    };
    let Look { found, known, .. } = look;
    if let Err(error) = look.check(path) {
        findings.failed(LINK, &error.to_string(), "");
    } else if look.is_older() {
        let detail = format!(
            "{} has version {found}: the next start of this Butler copies it and brings it to {known}, which takes {} on its disk",
            path.display(),
            Megabytes::from(look.room())
        );
        findings.note(LINK, &detail, "if you go back to the former Butler later, it needs that copy");
    } else {
        let what = if found == 0 { "is made by the first start".to_owned() } else { format!("has version {found}") };
        findings.ok(LINK, &format!("{} {what} and can be written by this account", path.display()));
    }
}

/// Looks whether the log's file can be written. Makes nothing that stays.
pub(super) fn check_log(log: &LogFile, findings: &mut Findings) {
    match observe::log_file_writable(&log.path) {
        Ok(file) => findings.ok(LOG, &format!("{} can be written by this account", file.display())),
        Err((detail, remedy)) => {
            let remedy = format!("{remedy}; run this as the account that Butler runs under, which works on without it");
            findings.failed(LOG, &detail, &remedy);
        }
    }
}

fn room(free: u64, used: u64, most: u64, findings: &mut Findings) {
    let (wanted, least) = (most.saturating_sub(used), LEAST_ROOM.min(most / 2));
    let (left, most) = (Megabytes::there(free), Size::bytes(most));
    let used = Megabytes::there(used);
    let detail = format!("{left} free; the store has {used} and may grow to {most} (`store.maxSize`)");
    // A store that does not grow any more writes its log all the same.
    if free < least || (free < wanted && free < LEAST_ROOM) {
        let remedy = "make room: when the disk is full, Butler keeps no new events";
        findings.failed(ROOM, &detail, remedy);
    } else if free >= wanted {
        findings.ok(ROOM, &detail);
    } else {
        let remedy = "make room, or set `store.maxSize` to what the disk has: Butler then removes old events in time";
        findings.note(ROOM, &detail, remedy);
    }
}

/// The folder of a file, or the nearest one above that is there.
fn existing(file: &Path) -> PathBuf {
    let above = file.ancestors().skip(1).find(|folder| folder.is_dir());
    above.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

fn writable(file: &Path, folder: &Path) -> io::Result<()> {
    match OpenOptions::new().append(true).open(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    tempfile::Builder::new().prefix(".butler-").tempfile_in(folder).map(drop)
}

/// What the files of the store have on the disk.
fn used(file: &Path) -> u64 {
    ["", "-wal"]
        .iter()
        .filter_map(|suffix| {
            let mut name = file.as_os_str().to_owned();
            name.push(suffix);
            Some(std::fs::metadata(name).ok()?.len())
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::super::super::findings::{Form, Verdict};
    use super::*;
    use crate::config::Secrets;

    #[test]
    fn room_is_what_the_store_may_still_take() {
        const MB: u64 = 1 << 20;
        let verdict = |free: u64, used: u64, most: u64| {
            let mut findings = Findings::new(Form::Json, Secrets::default());
            room(free * MB, used * MB, most * MB, &mut findings);
            findings.verdict()
        };
        assert_eq!(verdict(4096, 0, 4096), Verdict::Ok);
        assert_eq!(verdict(4095, 0, 4096), Verdict::Note);
        assert_eq!(verdict(110, 4000, 4096), Verdict::Ok, "there is as much as it may still take");
        assert_eq!(verdict(10, 4090, 4096), Verdict::Failed, "it writes more than it keeps");
        assert_eq!(verdict(0, 4096, 4096), Verdict::Failed);
        assert_eq!((verdict(4, 8, 8), verdict(3, 8, 8)), (Verdict::Ok, Verdict::Failed), "a small store needs less");
        assert_eq!(verdict(99, 0, 4096), Verdict::Failed);
        assert_eq!(verdict(100, 5000, 4096), Verdict::Ok, "it does not grow any more");
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_looked_for_above() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a/b/butler.db");
        assert_eq!(existing(&file), folder.path());
        writable(&file, folder.path()).unwrap();
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing stays");
        assert!(free_room(folder.path()).unwrap() > 0);
        std::fs::create_dir_all(&file).unwrap();
        assert!(writable(&file, &existing(&file)).is_err(), "a folder in its place");
    }
}
