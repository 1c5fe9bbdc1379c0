//! The folder on disk. Every path goes through a handle of it, so that neither `..` nor links lead out.
//!
//! A file is written under another name and synced before it gets its own: under that there is a whole file or none,
//! whatever happens.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use jiff::Timestamp;

use crate::index::{Entry, Index};
use crate::names;

/// So many logs may want the same name.
const MOST_OF_A_NAME: usize = 50;

/// The folder of an archive.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub(crate) path: Arc<PathBuf>,
    /// What names of own files begin with: several instances may share a folder.
    own: String,
    pub(crate) index: Index,
}

/// Why something is not on disk, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The setting names what can be no folder.
    NoFolder(String),
    /// It may be right later.
    Other(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::NoFolder(text) | Self::Other(text)) = self;
        f.write_str(text)
    }
}

/// A log to store.
#[derive(Debug)]
pub(crate) struct Log {
    /// Where it belongs, with `/`.
    pub(crate) path: String,
    /// Which log it is: the same when it is stored again.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// What became of a log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    Now(String),
    /// It is there already.
    Before(String),
}

impl Folder {
    pub(crate) fn new(path: PathBuf, instance: &str) -> Self {
        let name = names::clean(instance).replace(' ', "_");
        let own = format!("{}{name}-{:08x}", names::OWN, short_hash(instance));
        let index = Index(format!("{own}.index"));
        Self { path: Arc::new(path), own, index }
    }

    /// Makes it if it is missing.
    pub(crate) fn prepare(&self) -> Result<(), Trouble> {
        match std::fs::create_dir(&*self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Trouble::Other(format!(
                "there is no folder that `folder` ({}) could be made in: make it, or mount what it is on",
                self.path.display()
            ))),
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(self.trouble("be made", &error)),
            _ => self.open().map(drop),
        }
    }

    /// Opened for each piece of work: it may have been replaced, or something mounted there.
    pub(crate) fn open(&self) -> Result<Dir, Trouble> {
        Dir::open_ambient_dir(&*self.path, ambient_authority()).map_err(|error| match error.kind() {
            io::ErrorKind::NotADirectory => {
                Trouble::NoFolder(format!("`folder` ({}) is a file: name a folder", self.path.display()))
            }
            io::ErrorKind::NotFound => Trouble::Other(format!(
                "`folder` ({}) is gone: make it again, or mount what it is on",
                self.path.display()
            )),
            _ => self.trouble("be opened", &error),
        })
    }

    /// Stores a log. It is on disk when this returns.
    pub(crate) fn store(&self, log: &Log) -> Result<Stored, Trouble> {
        let dir = self.open()?;
        let fault = |error: io::Error| self.trouble(&format!("take {}", log.path), &error);
        let folder = log.path.rsplit_once('/').map(|(folder, _)| folder);
        if let Some(folder) = folder {
            make_folders(&dir, folder).map_err(fault)?;
        }
        for path in candidates(log) {
            match dir.symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.write(&dir, &path, log).map_err(fault)?;
                    return Ok(Stored::Now(path));
                }
                Err(error) => return Err(fault(error)),
                Ok(_) => {
                    let entry = self.index.find(&dir, &path).map_err(fault)?;
                    if let Some(entry) = entry.filter(|entry| entry.log == log.name)
                        && entry.is_there(&dir).map_err(fault)?
                    {
                        sync_folders(&dir, &path).map_err(fault)?;
                        return Ok(Stored::Before(path));
                    }
                }
            }
        }
        let text = format!("there are {MOST_OF_A_NAME} files called like {} in `folder` already", log.path);
        Err(Trouble::Other(text))
    }

    fn write(&self, dir: &Dir, path: &str, log: &Log) -> io::Result<()> {
        let temporary = self.temporary();
        let write = || {
            write_new(dir, &temporary, log.text.as_bytes())?;
            let bytes = log.text.len() as u64;
            let entry = Entry { path: path.to_owned(), log: log.name.clone(), bytes, stored_at: Timestamp::now() };
            self.index.add(dir, &entry)?;
            dir.rename(&temporary, dir, path)?;
            sync_folders(dir, path)
        };
        let written = write();
        if written.is_err() {
            let _ = dir.remove_file(&temporary);
        }
        written
    }

    /// Name for a file that is being written. Another process, such as `butler test-alert`, has another one.
    pub(crate) fn temporary(&self) -> String {
        format!("{}-{}.part", self.own, std::process::id())
    }

    /// Removes what processes that were killed have left; how many files.
    pub(crate) fn sweep(&self) -> Result<usize, Trouble> {
        let dir = self.open()?;
        let start = format!("{}-", self.own);
        let mut removed = 0;
        for entry in dir.entries().map_err(|error| self.trouble("be listed", &error))?.flatten() {
            let name = entry.file_name();
            let is_left = name
                .to_str()
                .and_then(|name| name.strip_prefix(&start)?.strip_suffix(".part"))
                .is_some_and(|pid| pid.parse::<u32>().is_ok());
            if is_left && dir.remove_file(&name).is_ok() {
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Writes a small file, reads it and removes it.
    pub(crate) fn probe(&self) -> Result<(), Trouble> {
        let dir = self.open()?;
        let name = format!("{}-{}.check", self.own, std::process::id());
        let tried = write_new(&dir, &name, b"check\n").and_then(|()| dir.read(&name));
        let _ = dir.remove_file(&name);
        match tried {
            Ok(bytes) if bytes == b"check\n" => Ok(()),
            Ok(_) => Err(Trouble::Other(format!("a file in {} does not hold what was written", self.path.display()))),
            Err(error) => Err(self.trouble("take a file", &error)),
        }
    }

    pub(crate) fn trouble(&self, what: &str, error: &io::Error) -> Trouble {
        let remedy = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "there is no room left: free some, or set `maxSize`".to_owned()
            }
            io::ErrorKind::ReadOnlyFilesystem => "it is read-only: mount it for writing".to_owned(),
            // The handle's own refusal, without a number of the system.
            io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => {
                "a link in it leads out of it: remove the link".to_owned()
            }
            io::ErrorKind::PermissionDenied => "Butler may not write there: let its user".to_owned(),
            io::ErrorKind::NotADirectory => "a file is where a folder must be: move it away".to_owned(),
            _ => error.to_string(),
        };
        Trouble::Other(format!("the folder {} cannot {what}: {remedy}", self.path.display()))
    }
}

/// What tells names of instances apart that become the same name of a file, or that a file system takes for the same. (FNV-1a,
/// 32 bits.)
fn short_hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The names for a log: its own, and others if that is taken by another log or by somebody's file.
fn candidates(log: &Log) -> impl Iterator<Item = String> {
    let name_at = log.path.rfind('/').map_or(0, |slash| slash + 1);
    let dot = log.path[name_at..].rfind('.').filter(|dot| *dot > 0).map_or(log.path.len(), |dot| name_at + dot);
    let (stem, extension) = log.path.split_at(dot);
    let mut execution = names::clean(&log.name);
    if execution.len() > 48 {
        let end = (0..=48).rev().find(|end| execution.is_char_boundary(*end)).unwrap_or_default();
        execution.truncate(end);
    }
    (1..=MOST_OF_A_NAME).map(move |number| match number {
        1 => format!("{stem}{extension}"),
        2 => format!("{stem}_executionId={execution}{extension}"),
        _ => format!("{stem}_executionId={execution}_{number}{extension}"),
    })
}

/// Writes a file in the place of any; it is on disk when this returns. After an error half of it may be there.
pub(crate) fn write_new(dir: &Dir, name: &str, bytes: &[u8]) -> io::Result<()> {
    // A leftover, or a link that somebody has put there to be written through.
    let _ = dir.remove_file(name);
    let mut file = dir.open_with(name, OpenOptions::new().write(true).create_new(true))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes a folder and those around it, or says what stands in its place.
fn make_folders(dir: &Dir, path: &str) -> io::Result<()> {
    let ends = path.match_indices('/').map(|(slash, _)| slash).chain([path.len()]);
    for end in ends {
        match dir.create_dir(&path[..end]) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => drop(dir.open_dir(&path[..end])?),
            made => made?,
        }
    }
    Ok(())
}

/// Syncs the folders that a path goes through, so that the names in them last.
#[cfg(unix)]
fn sync_folders(dir: &Dir, path: &str) -> io::Result<()> {
    // Opened as files: a handle that serves to go through a folder cannot be synced.
    dir.open(".")?.sync_all()?;
    path.match_indices('/').try_for_each(|(slash, _)| dir.open(&path[..slash])?.sync_all())
}

/// Windows syncs no folders.
#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps, reason = "the signature of all platforms")]
fn sync_folders(_: &Dir, _: &str) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests;
