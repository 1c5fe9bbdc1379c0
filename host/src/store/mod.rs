//! The store: events, deliveries and what belongs to them, in one SQLite file. All SQL of Butler is in this module.
//!
//! * One connection writes, in groups: operations that are waiting share a transaction and its one `fsync` (`writer`).
//! * A few connections read for pipeline and queues, and others for people (`history`), so that nobody who looks back
//!   far holds up an alert.
//! * The operations are those that a store shared by several hosts would need as well: accept, route, claim, settle.
//!
//! It is opened in two steps. [`LockedStore::take`] locks it and finds out what would refuse it, without changing anything (`look`);
//! [`LockedStore::open`] brings it to the present version (`migrations`, `copies`).
//!
//! An operation returns when it is committed. While the disk is full or read-only, operations wait and
//! [`Store::trouble`] says why; nothing is lost, and callers feel it as back-pressure.

mod accept;
mod clock;
mod copies;
mod deliveries;
mod disk;
mod history;
mod joins;
mod keys;
mod known;
mod lock;
mod look;
mod migrations;
mod numbers;
mod retention;
mod route;
mod rows;
mod schedules;
mod script_logs;
mod settle;
mod storage;
mod waiting;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqlitePool};

pub use accept::{Accepted, NewEvent};
pub use clock::{waiting_ms, wall_ms};
pub use deliveries::{Claimed, State};
pub use history::{DeliveryFilter, DeliveryRow, EventFilter, EventRow, QueueDepth};
pub use look::{LockedStore, Look, Megabytes};
pub use retention::{Limits, Place, Removed};
pub use route::{NewDelivery, Routed, RoutedDelivery, ThrottleKey};
pub use schedules::{Claim, Run, RunState, ScheduleRow};
pub use script_logs::NewScriptLog;
pub use settle::{Released, Settled, Settlement};
pub use storage::{StorageChange, StorageEntry, StorageError, StoragePage};
pub use waiting::{PutOff, Waiting};

pub(crate) use disk::LEAST_ROOM;

use copies::Hint;
use lock::{LOCK, Lock};
use writer::Writer;

/// The file with the room that is set aside ends so.
const RESERVE: &str = "reserve";

/// The store. Cheap to clone; closed when [`Store::close`] was called and all operations under way have ended.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    /// Random, made with the file: the first part of every id.
    id: String,
    path: PathBuf,
    writer: Writer,
    /// For what alerts wait for.
    readers: SqlitePool,
    /// For what people ask: any of their queries may look at everything, for a limited time.
    history: SqlitePool,
    /// The number of the next event.
    next_event: Arc<AtomicI64>,
    /// Lease tokens; unique within this process, and leases of earlier ones are freed at start.
    next_token: AtomicI64,
    /// Why the file is larger than it should be.
    overfull: Mutex<Option<String>>,
    /// How far the last round of forgetting has looked at the keys.
    keys_seen: Mutex<Vec<u8>>,
    /// Held for as long as the store is open.
    lock: Lock,
}

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder or file cannot be made or opened.
    #[error("the store {path} cannot be opened: {cause}; {remedy}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system or SQLite said.
        cause: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Its disk has no room for what a start writes.
    #[error(
        "the store {path} cannot be written: {cause}; make room on its disk, {} MB at least, and start Butler again",
        LEAST_ROOM >> 20
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        cause: String,
    },
    /// Another process uses it.
    #[error("the store {path} is in use by another Butler ({owner}); stop it, or give this one its own `store.path`")]
    Locked {
        /// The file.
        path: PathBuf,
        /// What the other process wrote about itself.
        owner: String,
    },
    /// It was written by a newer Butler.
    #[error(
        "the store {path} has version {found}, this Butler knows up to {known}, so it was left as it was: install the newer Butler \
         again, or go back to {copy}, as config/README.md says (\"The way back\")"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
        /// Which copy this Butler can use.
        copy: Hint,
    },
    /// It is of an older version, and its disk has no room to bring it to this one.
    #[error(
        "the store {path} has version {found}, and bringing it to {known} takes {needed} on its disk, where {free} are free; nothing \
         was changed: make room there, or go on with the former Butler"
    )]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
        /// What is needed.
        needed: Megabytes,
        /// What there is.
        free: Megabytes,
    },
    /// It is of an older version, and cannot be brought to this one.
    #[error("the store {path} cannot be brought from version {found} to {known}: {cause}; {remedy}")]
    Update {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
        /// What SQLite said.
        cause: String,
        /// How it is now, and what to do.
        remedy: String,
    },
    /// A question took too long.
    #[error(
        "the history is too large to be searched like that in {} s: ask for less, for example with `task` or `event`",
        history::LIMIT.as_secs()
    )]
    TooSlow,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// An operation failed by itself, not for want of the disk.
    #[error("the store refused an operation: {0}")]
    Database(#[source] sqlx::Error),
}

impl StoreError {
    /// What is wrong if nothing else is known.
    const PLACE: &str = "`store.path` must be a file on a local disk that Butler may write";

    fn of_system(path: &Path, cause: &std::io::Error) -> Self {
        if cause.kind() == std::io::ErrorKind::StorageFull {
            return Self::Full { path: path.to_owned(), cause: cause.to_string() };
        }
        Self::Open { path: path.to_owned(), cause: cause.to_string(), remedy: Self::PLACE }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolClosed => Self::Closed,
            error => Self::Database(error),
        }
    }
}

impl LockedStore {
    /// Opens it, making or migrating it, and frees leases of an earlier process.
    pub async fn open(self) -> Result<Store, StoreError> {
        let Self { path, look, lock } = self;
        let failed = |error: sqlx::Error| disk::not_opened(&path, &error);
        if std::fs::metadata(&path).is_ok_and(|file| file.len() == 0) {
            tracing::warn!(store = %path.display(), "the store's file was empty; it is made anew");
        }
        let plain = plain(&path);
        let mut options = plain
            .clone()
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // In KiB: a large group must not be spilled to the log page by page before its commit.
            .pragma("cache_size", "-8192")
            // In pages: a flood writes the same pages of its indexes over and over; in the log they are cheap.
            .pragma("wal_autocheckpoint", "4000");
        if look.found == 0 {
            // A file has this from its beginning. Saying it again would be written into it.
            options = options.auto_vacuum(SqliteAutoVacuum::Incremental);
        }
        let mut connection = SqliteConnection::connect_with(&options).await.map_err(failed)?;
        if let Err(error) = migrations::run(&look, &mut connection, &path).await {
            // Its log goes with it.
            let _ = connection.close().await;
            return Err(error);
        }
        let id = numbers::store_id(&mut connection).await.map_err(failed)?;
        let next_event = numbers::next_event(&mut connection).await.map_err(failed)?;
        numbers::advance_deliveries(&mut connection).await.map_err(failed)?;
        clock::resume(&mut connection).await.map_err(failed)?;
        deliveries::free_leases(&mut connection).await.map_err(failed)?;
        storage::prepare(&mut connection).await.map_err(failed)?;
        let read_only = plain.read_only(true);
        let readers = SqlitePoolOptions::new().max_connections(2).connect_lazy_with(read_only.clone());
        let history = history::pool(read_only);
        // A file that has gone must not be made anew under the feet of this process.
        let writer = Writer::start(connection, options.create_if_missing(false), path.with_extension(RESERVE));
        Ok(Store {
            inner: Arc::new(Inner {
                id,
                path,
                writer,
                readers,
                history,
                next_event: Arc::new(AtomicI64::new(next_event)),
                next_token: AtomicI64::new(1),
                overfull: Mutex::default(),
                keys_seen: Mutex::default(),
                lock,
            }),
        })
    }
}

/// Who has the store of this path at present: `process 7, Butler 1.0.0`. `None` if nobody has, as far as can be seen.
pub fn holder(path: &Path) -> Option<String> {
    lock::holder(path)
}

/// The files that a Butler with the store of this path goes on writing, if they are there: the store with those of SQLite, its lock, the
/// room that is set aside. Others beside it are only replaced or removed, which is a right of the folder.
pub fn written_files(path: &Path) -> Vec<PathBuf> {
    let path = file_of(path);
    let beside = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let [lock, reserve] = [LOCK, RESERVE].map(|extension| path.with_extension(extension));
    vec![beside(""), beside("-wal"), beside("-shm"), lock, reserve]
}

/// The file of the store that is opened by this path. SQLite follows a symbolic link, on Windows not, and has its log beside the file
/// that it finds: so there all the others are as well.
fn file_of(path: &Path) -> PathBuf {
    let is_link = cfg!(unix) && std::fs::symlink_metadata(path).is_ok_and(|file| file.is_symlink());
    let file = if is_link { std::fs::canonicalize(path).ok() } else { None };
    file.unwrap_or_else(|| path.to_owned())
}

/// How every connection opens the file.
fn plain(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(Duration::from_secs(5))
        .foreign_keys(false)
        .disable_statement_logging()
}

impl Store {
    /// Opens the store of this path: [`LockedStore::take`] and [`LockedStore::open`] in one.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        LockedStore::take(path).await?.open().await
    }

    /// Why the store cannot commit at present; `None` when all is well.
    pub fn trouble(&self) -> Option<String> {
        self.inner.writer.disk().trouble()
    }

    /// Waits until the writer has committed; false when the store is closed. While the disk does not let it, there is no answer.
    pub async fn answers(&self) -> bool {
        self.inner.writer.run((), |(), _| Box::pin(async { Ok(()) })).await.is_ok()
    }

    /// Whether the writer has tried since then, and its disk or connection did not let it.
    pub fn tried_in_vain_since(&self, then: Instant) -> bool {
        self.inner.writer.disk().tried_in_vain().is_some_and(|last| last > then)
    }

    /// Whether its disk is so full that no reserve can be set aside.
    pub async fn is_short_of_room(&self) -> bool {
        let disk = self.inner.writer.disk().clone();
        !tokio::task::spawn_blocking(move || disk.set_aside()).await.unwrap_or(false)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The text form of an event's number.
    pub fn event_id(&self, seq: i64) -> String {
        format!("{}-{seq}", self.inner.id)
    }

    /// The text form of a delivery's number.
    pub fn delivery_id(&self, id: i64) -> String {
        format!("{}-d{id}", self.inner.id)
    }

    /// The number in an event id of this store.
    pub fn parse_event_id(&self, text: &str) -> Option<i64> {
        text.strip_prefix(&self.inner.id)?.strip_prefix('-')?.parse().ok()
    }

    /// The number in a delivery id of this store.
    pub fn parse_delivery_id(&self, text: &str) -> Option<i64> {
        text.strip_prefix(&self.inner.id)?.strip_prefix("-d")?.parse().ok()
    }

    /// Ends the writer after all waiting operations, unless the disk does not let it; later operations fail.
    pub async fn close(&self) {
        // No reading is ended before the last writing is: whoever settles something may have to read.
        let connection = self.inner.writer.end().await;
        self.inner.readers.close().await;
        self.inner.history.close().await;
        // The last one brings SQLite's log into the file, if it may write: after this the file alone is the store.
        if let Some(connection) = connection
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the store was not closed cleanly; it repairs itself at the next start");
        }
        self.inner.lock.ending();
    }

    /// Takes all connections that read: nobody reads until they are dropped. The second ones are those of people.
    #[cfg(test)]
    pub(crate) async fn hold_readers(&self) -> [Vec<sqlx::pool::PoolConnection<sqlx::Sqlite>>; 2] {
        let mut held = [Vec::new(), Vec::new()];
        for (pool, held) in [&self.inner.readers, &self.inner.history].into_iter().zip(&mut held) {
            for _ in 0..pool.options().get_max_connections() {
                held.push(pool.acquire().await.unwrap());
            }
        }
        held
    }

    fn next_token(&self) -> i64 {
        self.inner.next_token.fetch_add(1, Ordering::Relaxed)
    }
}

/// Milliseconds since 1970 by the wall clock.
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// RFC 3339 in UTC with milliseconds.
pub fn rfc3339(ms: i64) -> String {
    let timestamp = jiff::Timestamp::from_millisecond(ms).unwrap_or_default();
    format!("{timestamp:.3}")
}
