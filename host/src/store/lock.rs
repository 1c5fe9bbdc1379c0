//! The lock of a store: one process has it at a time, and says who it is.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::StoreError;

/// The file that is locked ends so.
pub(super) const LOCK: &str = "lock";

/// Held by this process until it is dropped, or the process ends.
///
/// `<store>.lock` is what is locked; `<store>.owner` says by whom, since Windows lets nobody read a file that is locked.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
    owner: PathBuf,
}

impl Lock {
    /// Locks the store of this path, whose folder is there. That it can be locked shows as well that files can be made beside it.
    pub(super) fn take(store: &Path) -> Result<Self, StoreError> {
        let failed = |cause: io::Error| StoreError::of_system(store, &cause);
        let file = File::options().write(true).create(true).truncate(false).open(store.with_extension(LOCK));
        let file = file.map_err(failed)?;
        file.try_lock().map_err(|error| not_locked(store, error))?;
        let lock = Self { _file: file, owner: owner_of(store) };
        match lock.say_whose() {
            // Nothing else that a start writes would have room.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Err(failed(error)),
            Err(error) => {
                tracing::warn!(file = %lock.owner.display(), %error, "another Butler is not told who has the store: this cannot be written");
            }
            Ok(()) => {}
        }
        Ok(lock)
    }

    fn say_whose(&self) -> io::Result<()> {
        // One that was left behind by a process that was killed.
        match fs::remove_file(&self.owner) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::create_new(&self.owner)?;
        writeln!(file, "process {}, Butler {}", std::process::id(), env!("CARGO_PKG_VERSION"))
    }

    /// The owner is about to end, perhaps without dropping this: what it has written about itself goes.
    pub(super) fn ending(&self) {
        // If it stays: nobody reads it while nobody has the lock.
        let _ = fs::remove_file(&self.owner);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.ending();
    }
}

fn owner_of(store: &Path) -> PathBuf {
    store.with_extension("owner")
}

/// Another process has it; or the file system has no locks, as some shares.
fn not_locked(store: &Path, error: TryLockError) -> StoreError {
    match error {
        TryLockError::Error(cause) => StoreError::of_system(store, &cause),
        TryLockError::WouldBlock => {
            let owner = fs::read_to_string(owner_of(store)).unwrap_or_default();
            let owner = if owner.trim().is_empty() { "unknown process" } else { owner.trim() };
            StoreError::Locked { path: store.to_owned(), owner: owner.to_owned() }
        }
    }
}

/// Who has the store of this path at present, in its own words. `None` if nobody has, as far as can be seen.
pub(super) fn holder(store: &Path) -> Option<String> {
    // Goes at the end. While it is not there the lock is not touched, which would be in the way of a start.
    let owner = fs::read_to_string(owner_of(store)).ok()?;
    let file = File::options().write(true).open(store.with_extension(LOCK)).ok()?;
    matches!(file.try_lock(), Err(TryLockError::WouldBlock)).then(|| owner.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_locks_is_not_another_butler() {
        let none = io::Error::from(io::ErrorKind::Unsupported);
        let error = not_locked(Path::new("s.db"), TryLockError::Error(none));
        assert!(matches!(error, StoreError::Open { .. }), "{error}");
        assert!(error.to_string().contains("a local disk"), "{error}");
        assert!(matches!(not_locked(Path::new("s.db"), TryLockError::WouldBlock), StoreError::Locked { .. }));
    }

    #[test]
    fn a_start_goes_on_when_it_cannot_say_whose_the_store_is() {
        let folder = tempfile::tempdir().unwrap();
        let (store, in_its_place) = (folder.path().join("s.db"), folder.path().join("s.owner"));
        fs::create_dir(&in_its_place).unwrap();
        let lock = Lock::take(&store).unwrap();
        let error = Lock::take(&store).unwrap_err().to_string();
        assert!(error.contains("in use by another Butler (unknown process)"), "{error}");
        drop(lock);
        assert!(in_its_place.is_dir());
    }

    #[test]
    fn who_has_the_store_is_known_while_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("s.db");
        assert_eq!(holder(&store), None);
        let lock = Lock::take(&store).unwrap();
        assert!(holder(&store).unwrap().starts_with(&format!("process {}, Butler ", std::process::id())));
        let owner = fs::read(folder.path().join("s.owner")).unwrap();
        drop(lock);
        assert_eq!(holder(&store), None);
        // One that was killed leaves it behind.
        fs::write(folder.path().join("s.owner"), owner).unwrap();
        assert_eq!(holder(&store), None);
    }
}
