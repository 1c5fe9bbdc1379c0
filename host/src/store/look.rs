//! A look at the file of a store, which changes nothing: of what version it is, and what bringing it to this one takes.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use super::lock::Lock;
use super::{StoreError, copies, disk, file_of, migrations, plain};
use crate::free_room::free_room;

/// On top of what goes with the size of a store: for what grows by a migration.
const TO_GROW: u64 = 4 << 20;

/// What a look at the file of a store has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Its version; 0 if there is none yet.
    pub found: i64,
    /// The version that this Butler has.
    pub known: i64,
    /// What it has in it, in bytes, without what a start that was killed has left in SQLite's log.
    pub(super) size: u64,
    /// What is on its disk already of that which an update takes, in bytes: SQLite's log is written over, and what an interrupted
    /// update has left goes before it is made again.
    pub(super) reused: u64,
}

impl Look {
    /// Looks at the store of this path. A daemon may be using it.
    pub async fn at(store: &Path) -> Result<Self, StoreError> {
        let (store, known) = (&file_of(store), migrations::known());
        let length = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
        let log = length(&log_of(store));
        if length(store) == 0 {
            return Ok(Self { found: 0, known, size: 0, reused: 0 });
        }
        // With an empty log all is in the file itself; a connection that takes it for immutable makes no files beside it. What is in
        // the log, SQLite finds by an index of its own beside it.
        let options = plain(store).read_only(true).immutable(log == 0);
        let failed = |error: sqlx::Error| disk::not_read(store, &error);
        let mut connection = options.connect().await.map_err(failed)?;
        let read = read(&mut connection).await.map_err(failed);
        // Whatever becomes of it: nothing was to be written.
        let _ = connection.close().await;
        let (found, size) = read?;
        Ok(Self { found, known, size, reused: log + copies::of_no_use(store, found) })
    }

    /// Whether it was written by a newer Butler.
    pub fn is_newer(&self) -> bool {
        self.found > self.known
    }

    /// Whether the next start changes its form.
    pub fn is_older(&self) -> bool {
        0 < self.found && self.found < self.known
    }

    /// Room on its disk that this takes on top of what is taken, in bytes: for the copy, and for SQLite's log, which has every changed
    /// page once until all changes are made.
    pub fn room(&self) -> u64 {
        if !self.is_older() {
            return 0;
        }
        self.size.saturating_mul(2).saturating_add(TO_GROW).saturating_sub(self.reused)
    }

    /// That it is newer, if it is.
    pub(super) fn refuse_newer(&self, store: &Path) -> Result<(), StoreError> {
        let Self { found, known, .. } = *self;
        if !self.is_newer() {
            return Ok(());
        }
        let copy = copies::Hint(copies::newest_up_to(store, known));
        Err(StoreError::Newer { path: store.to_owned(), found, known, copy })
    }

    /// Why it cannot be opened as it is: it is newer, or there is no room to bring it to this version.
    pub fn check(&self, store: &Path) -> Result<(), StoreError> {
        let (store, Self { found, known, .. }) = (&file_of(store), *self);
        self.refuse_newer(store)?;
        match free_room(&folder_of(store)) {
            Ok(free) if free < self.room() => Err(StoreError::NoRoom {
                path: store.clone(),
                found,
                known,
                needed: Megabytes::from(self.room()),
                free: Megabytes::there(free),
            }),
            // Where nobody can tell, the update shows it.
            _ => Ok(()),
        }
    }
}

/// The version of a store, and the bytes of its pages.
async fn read(connection: &mut SqliteConnection) -> sqlx::Result<(i64, u64)> {
    let found = migrations::version(connection).await?;
    let size = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()";
    let size: i64 = sqlx::query_scalar(size).fetch_one(connection).await?;
    Ok((found, u64::try_from(size).unwrap_or(0)))
}

/// Bytes, as people are told of them: in MB. What is needed is rounded up.
#[derive(Debug, Clone, Copy)]
pub struct Megabytes(u64);

impl std::fmt::Display for Megabytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} MB", self.0.div_ceil(1 << 20))
    }
}

impl Megabytes {
    /// Bytes that there are: rounded down.
    pub fn there(bytes: u64) -> Self {
        Self(bytes >> 20 << 20)
    }
}

impl From<u64> for Megabytes {
    fn from(bytes: u64) -> Self {
        Self(bytes)
    }
}

/// A store that this process has locked and looked at. Nothing in it is changed yet.
#[derive(Debug)]
pub struct LockedStore {
    pub(super) path: PathBuf,
    pub(super) look: Look,
    pub(super) lock: Lock,
}

impl LockedStore {
    /// Locks the store of this path and looks whether it can be opened, so that what refuses it is known before anything in it
    /// is changed. Its folder is made if it is not there.
    pub async fn take(path: &Path) -> Result<Self, StoreError> {
        let failed = |cause: io::Error| StoreError::of_system(path, &cause);
        make_folder(&folder_of(path)).map_err(failed)?;
        // What is beside it has its name from what is locked here: by whichever link it is opened, it has one lock.
        let path = file_of(path);
        let lock = Lock::take(&path)?;
        match File::options().append(true).open(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let found = Look::at(&path).await?;
        found.check(&path)?;
        Ok(Self { path, look: found, lock })
    }
}

/// The folder of a store.
pub(super) fn folder_of(store: &Path) -> PathBuf {
    let folder = store.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// Makes a folder, and those around it that are missing, for nobody else: what is told to whom is nobody else's business.
fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    // Elsewhere a new folder has the access list of the one around it.
    builder.recursive(true).create(folder)
}

/// SQLite's log of a store.
fn log_of(store: &Path) -> PathBuf {
    let mut name = OsString::from(store);
    name.push("-wal");
    name.into()
}
