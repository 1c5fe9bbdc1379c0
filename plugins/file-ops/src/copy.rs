//! Copying files and trees.
//!
//! A copy is made under another name beside its target, whole and synced, and gets the target's name by one rename: under that
//! there is a whole copy or what was there before. Into a directory that exists a tree is first copied beside it, and then its
//! files are moved in one by one.

use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cap_fs_ext::DirExt as _;
use cap_std::fs::{Dir, File, Metadata, OpenOptions};

use crate::inventory::{Folder, Inventory, Seen};
use crate::place::{self, Place, Source};
use crate::rename::rename_new;
use crate::settings::Spot;
use crate::temporary::{self, Part};
use crate::trouble::Trouble;

/// So many folders may be inside of each other: each holds three handles open.
const MOST_DEEP: u32 = 100;
/// So many files and folders of a tree are noted.
pub(crate) const MOST_NOTED: u64 = 500_000;
/// Bytes after which it is asked whether to go on.
const CHUNK: u64 = 16 << 20;

/// What a caller asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    pub(crate) overwrite: bool,
    pub(crate) preserve_timestamp: bool,
}

/// The way to end work that is under way, and what it has done.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The instance stops: one for all its work.
    pub(crate) is_ending: Arc<AtomicBool>,
    /// Bytes of files copied.
    bytes: AtomicU64,
    /// Files and folders noted.
    noted: AtomicU64,
    is_left: AtomicBool,
}

impl Progress {
    pub(crate) fn new(is_ending: &Arc<AtomicBool>) -> Self {
        Self { is_ending: is_ending.clone(), ..Self::default() }
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Something that was made on the way could not be removed.
    pub(crate) fn leave(&self) {
        self.is_left.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_left(&self) -> bool {
        self.is_left.load(Ordering::Relaxed)
    }
}

/// A copy that is being made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work<'a> {
    pub(crate) options: Options,
    pub(crate) progress: &'a Progress,
    /// How many files and folders of a tree may be noted, if they are; it takes memory.
    pub(crate) most_noted: Option<u64>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    Done,
    /// The target was there already and stays as it was.
    Unchanged,
}

/// Copies a file or a tree. `part` is the name that the copy has until it is whole.
pub(crate) fn copy(from: &Spot, to: &Spot, options: Options, part: &str, progress: &Progress) -> Result<Done, Trouble> {
    let source = place::source(from)?;
    let (Source::File(_, found) | Source::Folder(_, found)) = &source;
    if found.is_dir() && is_inside(from, to) {
        return Err(Trouble::Failed("a directory cannot be copied into itself".to_owned()));
    }
    let target = place::make(to)?;
    let there = place::look(&target.folder, &target.name).map_err(|error| Trouble::at_work(&error))?;
    if let Some(there) = &there {
        clash(found, there, "copied")?;
        if !options.overwrite {
            return Ok(Done::Unchanged);
        }
    }
    let part = Part::new(&target.folder, part, progress);
    Work { options, progress, most_noted: None }.copy(&source, &target.folder, part.name())?;
    match (&source, &there) {
        (Source::Folder(..), Some(_)) => {
            let folder = |name: &str| target.folder.open_dir_nofollow(name);
            let opened = folder(part.name()).and_then(|copy| Ok((copy, folder(&target.name)?)));
            let (copy, into) = opened.map_err(|error| Trouble::at_work(&error))?;
            merge(&copy, &into)?;
            place::sync_done(&target.folder);
            Ok(Done::Done)
        }
        _ => publish(part, &target, options.overwrite),
    }
}

/// Gives a whole copy its name.
fn publish(part: Part<'_>, target: &Place, overwrite: bool) -> Result<Done, Trouble> {
    let (folder, name) = (&target.folder, target.name.as_str());
    let renamed = if overwrite {
        folder.rename(part.name(), folder, name)
    } else {
        rename_new(folder, part.name(), folder, name)
    };
    match renamed {
        Ok(()) => part.keep(),
        // Somebody was quicker: as if it had been there before.
        Err(error) if !overwrite && error.kind() == io::ErrorKind::AlreadyExists => return Ok(Done::Unchanged),
        Err(error) => return Err(Trouble::at_work(&error)),
    }
    place::sync_done(folder);
    Ok(Done::Done)
}

/// What stands in the place of the target and cannot be replaced by the source.
pub(crate) fn clash(source: &Metadata, target: &Metadata, done: &str) -> Result<(), Trouble> {
    let fault = if place::is_same(source, target) {
        "fromFile and toFile are the same".to_owned()
    } else if source.is_dir() && !target.is_dir() {
        format!("toFile is a file or a link, and a directory cannot be {done} onto it")
    } else if !source.is_dir() && target.is_dir() {
        format!("toFile is a directory, and a file cannot be {done} onto it: name the file in it")
    } else {
        return Ok(());
    };
    Err(Trouble::Failed(fault))
}

/// Whether the target is below the source.
pub(crate) fn is_inside(from: &Spot, to: &Spot) -> bool {
    let [from, to] = [from, to].map(Spot::location);
    from.below(&to).is_some_and(|rest| !rest.is_empty())
}

impl Work<'_> {
    /// Copies what is open under a new name. It is on disk when this returns.
    pub(crate) fn copy(self, source: &Source, folder: &Dir, name: &str) -> Result<Inventory, Trouble> {
        match source {
            Source::File(file, found) => {
                self.file(file, found, folder, name.as_ref())?;
                Ok(Inventory::File(Seen::of(found)))
            }
            Source::Folder(from, found) => self.folder(from, found, folder, name.as_ref(), 0).map(Inventory::Folder),
        }
    }

    fn file(self, file: &File, found: &Metadata, folder: &Dir, name: &Path) -> Result<(), Trouble> {
        let error = |error: io::Error| Trouble::at_work(&error);
        let mut new = OpenOptions::new();
        new.write(true).create_new(true);
        // Nobody else's until it has the rights of its source.
        #[cfg(unix)]
        cap_std::fs::OpenOptionsExt::mode(&mut new, 0o600);
        let mut copy = folder.open_with(name, &new).map_err(error)?.into_std();
        let mut source = file.try_clone().map_err(error)?.into_std();
        loop {
            if self.progress.is_ending() {
                return Err(Trouble::Ending);
            }
            let bytes = io::copy(&mut source.by_ref().take(CHUNK), &mut copy).map_err(error)?;
            self.progress.bytes.fetch_add(bytes, Ordering::Relaxed);
            if bytes < CHUNK {
                break;
            }
        }
        #[cfg(unix)]
        copy.set_permissions(permissions(mode(found) & 0o777)).map_err(error)?;
        if self.options.preserve_timestamp {
            let mut times = std::fs::FileTimes::new();
            if let Ok(modified) = found.modified() {
                times = times.set_modified(modified.into_std());
            }
            if let Ok(accessed) = found.accessed() {
                times = times.set_accessed(accessed.into_std());
            }
            copy.set_times(times).map_err(error)?;
        }
        copy.sync_all().map_err(error)
    }

    /// Copies an open folder with all that is in it under a new name. A link in it, or what is no file, fails it: a copy with
    /// holes that nobody sees would be worse.
    fn folder(self, source: &Dir, found: &Metadata, folder: &Dir, name: &Path, depth: u32) -> Result<Folder, Trouble> {
        let error = |error: io::Error| Trouble::at_work(&error);
        if depth >= MOST_DEEP {
            let fault = format!("there are more than {MOST_DEEP} directories inside of each other");
            return Err(Trouble::Failed(fault));
        }
        make_private(folder, name).map_err(error)?;
        let copy = folder.open_dir_nofollow(name).map_err(error)?;
        let mut noted = Folder::of(found);
        for entry in source.entries().map_err(error)? {
            let entry = entry.map_err(error)?.file_name();
            // Also what this copy is being made under, should it be inside of its source by way of a link.
            if entry.to_str().is_some_and(temporary::is_one) {
                continue;
            }
            let (path, shown) = (Path::new(&entry), entry.to_string_lossy());
            let inside = |error: io::Error| Trouble::inside(&shown, &error);
            let Some(found) = place::look(source, path).map_err(inside)? else { continue };
            if found.is_dir() {
                let next = source.open_dir_nofollow(path).map_err(inside)?;
                let found = next.dir_metadata().map_err(inside)?;
                let is_noted = self.is_noted()?;
                let inner = self.folder(&next, &found, &copy, path, depth + 1)?;
                if is_noted {
                    noted.folders.push((entry, inner));
                }
                continue;
            }
            let refused = |what: &str| Trouble::Refused(format!("`{shown}` in fromFile is {what}"));
            if let Some(what) = place::special(&found) {
                return Err(refused(what));
            }
            let (file, found) = place::file_in(source, path).map_err(inside)?;
            if let Some(what) = place::special(&found) {
                return Err(refused(what));
            }
            let is_noted = self.is_noted()?;
            self.file(&file, &found, &copy, path)?;
            if is_noted {
                noted.files.push((entry, Seen::of(&found)));
            }
        }
        finish(&copy, found).map_err(error)?;
        Ok(noted)
    }

    /// Whether one more is noted.
    fn is_noted(self) -> Result<bool, Trouble> {
        let Some(most) = self.most_noted else { return Ok(false) };
        if self.progress.noted.fetch_add(1, Ordering::Relaxed) < most {
            return Ok(true);
        }
        Err(Trouble::Failed(format!(
            "fromFile holds more than {most} files and directories, too many for one move to another disk: move its parts one by one"
        )))
    }
}

/// Makes a folder that is nobody else's until all is in it.
fn make_private(folder: &Dir, name: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        let mut new = cap_std::fs::DirBuilder::new();
        cap_std::fs::DirBuilderExt::mode(&mut new, 0o700);
        folder.create_dir_with(name, &new)
    }
    #[cfg(not(unix))]
    folder.create_dir(name)
}

/// Gives a folder the rights of its source and has it last.
fn finish(copy: &Dir, found: &Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        // Its own user must be able to remove it again.
        copy.open(".")?.into_std().set_permissions(permissions(mode(found) & 0o777 | 0o700))?;
    }
    #[cfg(not(unix))]
    let _ = found;
    place::sync(copy)
}

#[cfg(unix)]
fn mode(found: &Metadata) -> u32 {
    cap_std::fs::MetadataExt::mode(found)
}

#[cfg(unix)]
fn permissions(mode: u32) -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(mode)
}

/// Moves what is in one folder into another one: files replace files, folders become one. What is left stays in the first.
fn merge(from: &Dir, into: &Dir) -> Result<(), Trouble> {
    let error = |error: io::Error| Trouble::at_work(&error);
    for entry in from.entries().map_err(error)? {
        let name = entry.map_err(error)?.file_name();
        let shown = name.to_string_lossy();
        let name = Path::new(&name);
        let inside = |error: io::Error| Trouble::inside(&shown, &error);
        let is_folder = from.symlink_metadata(name).map_err(inside)?.is_dir();
        match place::look(into, name).map_err(inside)? {
            Some(there) if is_folder && there.is_dir() => {
                let folders = from.open_dir_nofollow(name).and_then(|one| Ok((one, into.open_dir_nofollow(name)?)));
                let (one, other) = folders.map_err(inside)?;
                merge(&one, &other)?;
                continue;
            }
            Some(there) if is_folder || there.is_dir() => {
                let fault = format!("`{shown}` is a file on one side and a directory on the other");
                return Err(Trouble::Failed(fault));
            }
            _ => {}
        }
        from.rename(name, into, name).map_err(inside)?;
    }
    place::sync_done(into);
    Ok(())
}
