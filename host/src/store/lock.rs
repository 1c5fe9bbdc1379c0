//! The lock of a store: one process has it at a time, and says who it is.

use std::fs::{self, File};
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
        let owner = store.with_extension("owner");
        let file = File::options().write(true).create(true).truncate(false).open(store.with_extension(LOCK));
        let file = file.map_err(failed)?;
        if file.try_lock().is_err() {
            let owner = fs::read_to_string(owner).unwrap_or_default();
            let owner = if owner.trim().is_empty() { "unknown process" } else { owner.trim() };
            return Err(StoreError::Locked { path: store.to_owned(), owner: owner.to_owned() });
        }
        // One that was left behind by a process that was killed.
        match fs::remove_file(&owner) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let lock = Self { _file: file, owner };
        let written = File::create_new(&lock.owner).and_then(|mut file| {
            writeln!(file, "process {}, Butler {}", std::process::id(), env!("CARGO_PKG_VERSION"))
        });
        written.map_err(failed)?;
        Ok(lock)
    }
}

impl Lock {
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
