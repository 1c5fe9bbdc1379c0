//! What was copied for a move to another disk: exactly that is removed afterwards, if it is as it was.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use cap_fs_ext::{DirExt as _, MetadataExt as _};
use cap_std::fs::{Dir, Metadata};
use cap_std::time::SystemTime;

use crate::place;
use crate::trouble::explain;

/// So many names of what stays are told.
const MOST_TOLD: usize = 5;

/// By what a file is known again, and that nobody has written to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    device: u64,
    number: u64,
    /// Bytes.
    length: u64,
    modified: Option<SystemTime>,
}

impl Seen {
    pub(crate) fn of(found: &Metadata) -> Self {
        Self { device: found.dev(), number: found.ino(), length: found.len(), modified: found.modified().ok() }
    }
}

/// A folder that was copied.
#[derive(Debug)]
pub(crate) struct Folder {
    device: u64,
    number: u64,
    pub(crate) files: Vec<(OsString, Seen)>,
    pub(crate) folders: Vec<(OsString, Folder)>,
}

/// What was copied.
#[derive(Debug)]
pub(crate) enum Inventory {
    File(Seen),
    Folder(Folder),
}

impl Folder {
    pub(crate) fn of(found: &Metadata) -> Self {
        Self { device: found.dev(), number: found.ino(), files: Vec::new(), folders: Vec::new() }
    }

    fn is(&self, found: &Metadata) -> bool {
        (self.device, self.number) == (found.dev(), found.ino())
    }
}

impl Inventory {
    /// Whether what has the name is what was copied still: a file unchanged, a folder the same one.
    pub(crate) fn is(&self, found: &Metadata) -> bool {
        match self {
            Self::File(seen) => *seen == Seen::of(found),
            Self::Folder(folder) => folder.is(found),
        }
    }

    /// Removes what was copied; tells what stays, and why.
    pub(crate) fn remove(&self, folder: &Dir, name: &str) -> Result<(), String> {
        let mut stays = Stays::default();
        match self {
            Self::File(seen) => stays.file(seen, folder, name.as_ref(), "fromFile"),
            Self::Folder(copied) => stays.folder(copied, folder, name.as_ref(), "fromFile"),
        }
        match stays.count {
            0 => Ok(()),
            count if count > MOST_TOLD => Err(format!("{}, and {} more", stays.told.join(", "), count - MOST_TOLD)),
            _ => Err(stays.told.join(", ")),
        }
    }
}

/// What is not removed.
#[derive(Default)]
struct Stays {
    count: usize,
    told: Vec<String>,
}

impl Stays {
    fn add(&mut self, path: &str, why: &str) {
        self.count += 1;
        if self.count <= MOST_TOLD {
            self.told.push(format!("{path} {why}"));
        }
    }

    fn failed(&mut self, path: &str, error: &io::Error) {
        if error.kind() != io::ErrorKind::NotFound {
            self.add(path, &format!("cannot be removed: {}", explain(error)));
        }
    }

    fn file(&mut self, seen: &Seen, folder: &Dir, name: &Path, path: &str) {
        match place::look(folder, name) {
            Ok(None) => {}
            Ok(Some(found)) if *seen == Seen::of(&found) => {
                if let Err(error) = folder.remove_file(name) {
                    self.failed(path, &error);
                }
            }
            Ok(Some(_)) => self.add(path, "was changed meanwhile"),
            Err(error) => self.failed(path, &error),
        }
    }

    /// As deep as what was copied, which is limited.
    fn folder(&mut self, copied: &Folder, around: &Dir, name: &Path, path: &str) {
        let opened = around.open_dir_nofollow(name).and_then(|folder| Ok((folder.dir_metadata()?, folder)));
        let folder = match opened {
            Ok((found, folder)) if copied.is(&found) => folder,
            Ok(_) => return self.add(path, "was replaced meanwhile"),
            Err(error) => return self.failed(path, &error),
        };
        let before = self.count;
        let below = |name: &OsString| format!("{path}/{}", name.to_string_lossy());
        for (name, seen) in &copied.files {
            self.file(seen, &folder, name.as_ref(), &below(name));
        }
        for (name, inner) in &copied.folders {
            self.folder(inner, &folder, name.as_ref(), &below(name));
        }
        if self.count > before {
            return;
        }
        match folder.entries().and_then(|mut entries| entries.next().transpose()) {
            Ok(None) => {}
            Ok(Some(entry)) => return self.add(&below(&entry.file_name()), "was not copied"),
            Err(error) => return self.failed(path, &error),
        }
        drop(folder);
        // Fails if something has come in by now.
        if let Err(error) = around.remove_dir(name) {
            self.failed(path, &error);
        }
    }
}
