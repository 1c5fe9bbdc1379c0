//! What the writer knows of its disk: whether it can be written, since when, and the room that is set aside on it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::StoreError;

/// Room that is set aside and given back to the file system when it is full, so that outcomes can still be written.
const RESERVE: u64 = 4 << 20;

/// Room without which no start is of any use, in bytes: SQLite's log alone may take a good part of it, and then an event more or
/// less fills the disk.
pub(crate) const LEAST_ROOM: u64 = 100 << 20;

const DAMAGED: &str =
    "its file is damaged: stop Butler, keep the file, and restore a backup or let Butler make a new one";

/// The disk of a store.
pub(super) struct Disk {
    health: Mutex<Health>,
    reserve: PathBuf,
}

#[derive(Default)]
struct Health {
    /// Why the last commit failed.
    trouble: Option<String>,
    since: Option<Instant>,
    /// When a commit failed last.
    last: Option<Instant>,
    /// Length of outages that have ended and were not made up for yet.
    past: Duration,
    /// The room that was set aside is used up.
    short: bool,
}

impl Disk {
    /// The disk on which this file takes room, to be given back when it is full.
    pub(super) fn new(reserve: PathBuf) -> Self {
        Self { health: Mutex::default(), reserve }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why it cannot be written.
    pub(super) fn trouble(&self) -> Option<String> {
        self.health().trouble.clone()
    }

    /// When a commit failed last, while it cannot be written.
    pub(super) fn tried_in_vain(&self) -> Option<Instant> {
        let health = self.health();
        health.trouble.as_ref().and(health.last)
    }

    /// How long it could not be written, in ms, until now; since [`Self::forget_outage`].
    pub(super) fn outage(&self) -> i64 {
        let health = self.health();
        let present = health.since.map(|since| since.elapsed()).unwrap_or_default();
        i64::try_from((health.past + present).as_millis()).unwrap_or(i64::MAX)
    }

    /// What the outage did has been made up for.
    pub(super) fn forget_outage(&self) {
        self.health().past = Duration::ZERO;
    }

    /// Sets room aside, where there is as much again; false when there is not. Written, not just sized: a file with holes
    /// would reserve nothing.
    pub(super) fn set_aside(&self) -> bool {
        if self.trouble().is_some() {
            return !self.health().short;
        }
        let filled = self.fill();
        self.health().short = !filled;
        filled
    }

    fn fill(&self) -> bool {
        let Ok(size) = usize::try_from(RESERVE) else { return false };
        if std::fs::metadata(&self.reserve).is_ok_and(|file| file.len() == RESERVE) {
            return true;
        }
        let written = std::fs::write(&self.reserve, vec![0x42; 2 * size])
            .and_then(|()| std::fs::File::options().write(true).open(&self.reserve)?.set_len(RESERVE));
        if let Err(error) = written {
            tracing::debug!(%error, "no room for the reserve file");
            let _ = std::fs::remove_file(&self.reserve);
            return false;
        }
        true
    }

    /// Notes that a commit failed; true when room was given back for it.
    pub(super) fn failed(&self, error: &sqlx::Error) -> bool {
        let mut health = self.health();
        let mut freed = false;
        if health.trouble.is_none() {
            health.since = Some(Instant::now());
            freed = result_code(error) == Some(FULL) && std::fs::remove_file(&self.reserve).is_ok();
            health.short |= freed;
            let remedy = match result_code(error) {
                Some(CORRUPT | NOTADB) => DAMAGED,
                _ if is_of_disk(error) => "make room on its disk or mend its permissions",
                _ => "its connection is made anew; if this lasts, restart Butler and report it, please",
            };
            tracing::error!(%error, "the store cannot be written: nothing is sent until it can; {remedy}");
        }
        health.trouble = Some(error.to_string());
        health.last = Some(Instant::now());
        freed
    }

    /// Notes that a commit went well.
    pub(super) fn recovered(&self) {
        let mut health = self.health();
        if health.trouble.take().is_none() {
            return;
        }
        let outage = health.since.take().map(|since| since.elapsed()).unwrap_or_default();
        health.past += outage;
        if health.short {
            tracing::warn!(
                "the store can be written again, in the room that was set aside; make room on its disk soon"
            );
        } else {
            tracing::info!("the store can be written again");
        }
    }
}

// SQLite's primary result codes.
const ERROR: i32 = 1;
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const READONLY: i32 = 8;
const INTERRUPT: i32 = 9;
const IOERR: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const TOOBIG: i32 = 18;
const CONSTRAINT: i32 = 19;
const MISMATCH: i32 = 20;
const RANGE: i32 = 25;
const NOTADB: i32 = 26;

/// The extended result code of an error that is none of the store's disk: SQLite finds no folder for its temporary files.
const IOERR_GETTEMPPATH: i32 = IOERR | 25 << 8;

fn extended_code(error: &sqlx::Error) -> Option<i32> {
    let sqlx::Error::Database(error) = error else { return None };
    error.code()?.parse().ok()
}

fn result_code(error: &sqlx::Error) -> Option<i32> {
    extended_code(error).map(|code| code & 0xff)
}

/// An error of the system, which SQLite tells in the same way when the disk is full.
fn is_of_system(error: &sqlx::Error) -> bool {
    result_code(error) == Some(IOERR) && extended_code(error) != Some(IOERR_GETTEMPPATH)
}

/// An error of a start for people. A full disk is one of input and output as well: the file that SQLite shares with other
/// processes cannot grow then.
pub(super) fn told(error: &sqlx::Error) -> String {
    let hint = if is_of_system(error) { " (is its disk full?)" } else { "" };
    format!("{error}{hint}")
}

/// What to do at a start about an error that does not come from the place of the store.
pub(super) fn remedy(error: &sqlx::Error) -> Option<&'static str> {
    match result_code(error)? {
        CORRUPT | NOTADB => Some(DAMAGED),
        IOERR if !is_of_system(error) => Some(
            "SQLite finds no folder for its temporary files that it may write: set the variable SQLITE_TMPDIR to the store's folder, and \
             start Butler again",
        ),
        BUSY | LOCKED => Some("another program has it open (a backup, `sqlite3`): end that, and start Butler again"),
        _ => None,
    }
}

/// Why a store cannot be opened.
pub(super) fn not_opened(path: &Path, error: &sqlx::Error) -> StoreError {
    if may_be_full(error) {
        return StoreError::Full { path: path.to_owned(), cause: told(error) };
    }
    not_read(path, error)
}

/// Why a store cannot be looked at.
pub(super) fn not_read(path: &Path, error: &sqlx::Error) -> StoreError {
    StoreError::Open { path: path.to_owned(), cause: told(error), remedy: remedy(error).unwrap_or(StoreError::PLACE) }
}

/// Whether the disk is full.
pub(super) fn is_full(error: &sqlx::Error) -> bool {
    result_code(error) == Some(FULL)
}

/// Whether the disk is full, or may be by what is known.
pub(super) fn may_be_full(error: &sqlx::Error) -> bool {
    let of_system = matches!(error, sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::StorageFull);
    of_system || is_full(error) || is_of_system(error)
}

/// Whether a statement was ended because it took too long.
pub(super) fn is_interrupt(error: &sqlx::Error) -> bool {
    result_code(error) == Some(INTERRUPT)
}

/// Whether the disk is at fault, as far as its error tells.
pub(super) fn is_of_disk(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(_))
        || matches!(result_code(error), Some(BUSY | LOCKED | READONLY | IOERR | CORRUPT | FULL | CANTOPEN | NOTADB))
}

/// Whether this error proves an operation wrong: it would fail again, whatever the disk and the connection do. Everything
/// else passes, and what was to be stored must wait for that.
pub(super) fn is_fault(error: &sqlx::Error) -> bool {
    use sqlx::Error as E;
    match error {
        E::Database(_) => matches!(result_code(error), Some(ERROR | TOOBIG | CONSTRAINT | MISMATCH | RANGE)),
        E::Encode(_)
        | E::Decode(_)
        | E::ColumnDecode { .. }
        | E::ColumnIndexOutOfBounds { .. }
        | E::ColumnNotFound(_)
        | E::TypeNotFound { .. }
        | E::RowNotFound
        | E::InvalidArgument(_)
        // What SQLite is not even asked, such as a text of SQL with a zero byte.
        | E::Protocol(_) => true,
        _ => false,
    }
}
