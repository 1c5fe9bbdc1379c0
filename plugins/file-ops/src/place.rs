//! Approved directories on disk. Everything below one is reached through its handle, which lets nothing lead out: neither `..`
//! nor links, whoever makes them when.
//!
//! What is to be done is done by a folder's handle and one plain name, so that nobody can change what the path means while it is
//! under way.

use std::io;
use std::path::{Path, PathBuf};

use cap_fs_ext::{DirExt as _, FollowSymlinks, MetadataExt as _, OpenOptionsFollowExt as _};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, Metadata, OpenOptions};

use crate::settings::{Directory, Spot};
use crate::trouble::{Trouble, explain};

/// A folder, and the name of something in it that need not exist.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) folder: Dir,
    pub(crate) name: String,
}

/// Something to copy, opened.
#[derive(Debug)]
pub(crate) enum Source {
    File(File, Metadata),
    Folder(Dir, Metadata),
}

/// Opened for each operation: it may have been replaced, or something mounted there.
pub(crate) fn open(directory: &Directory) -> Result<Dir, Trouble> {
    open_raw(directory).map_err(|error| Trouble::directory(&directory.location, &error))
}

/// What is above the outermost approved directory is the system's. From there on callers may have made links, which lead
/// nowhere.
pub(crate) fn open_raw(directory: &Directory) -> io::Result<Dir> {
    let Directory { location, outermost } = directory;
    let mut folder = Dir::open_ambient_dir(outermost.to_path(), ambient_authority())?;
    for step in outermost.below(location).unwrap_or_default() {
        folder = folder.open_dir_nofollow(step).map_err(|error| {
            if folder.symlink_metadata(step).is_ok_and(|found| found.is_symlink()) {
                let fault = format!(
                    "`{step}` on the way to it is a link, and {outermost} is approved, too: name what the link leads to"
                );
                return io::Error::other(fault);
            }
            error
        })?;
    }
    Ok(folder)
}

/// The folder that something is in. The folder must exist.
pub(crate) fn find(spot: &Spot) -> Result<Place, Trouble> {
    let top = open(&spot.directory)?;
    let (folder, name) = way(spot)?;
    let folder = top.open_dir(folder).map_err(|error| Trouble::of(&error))?;
    Ok(Place { folder, name })
}

/// The same; the folder is made, with those around it, if it is missing.
pub(crate) fn make(spot: &Spot) -> Result<Place, Trouble> {
    let top = open(&spot.directory)?;
    let (folder, name) = way(spot)?;
    let folder = make_folders(&top, &folder).map_err(|error| Trouble::at_work(&error))?;
    Ok(Place { folder, name })
}

/// Path of the folder from the approved directory, and the last name.
fn way(spot: &Spot) -> Result<(PathBuf, String), Trouble> {
    let (name, folders) = spot
        .steps
        .split_last()
        .ok_or_else(|| Trouble::Refused("the approved directory itself is out of reach".to_owned()))?;
    Ok((below(folders), name.clone()))
}

/// A path for a handle; `.` for the folder itself.
pub(crate) fn below(steps: &[String]) -> PathBuf {
    if steps.is_empty() { PathBuf::from(".") } else { steps.iter().collect() }
}

/// Makes folders from the outside in and opens the last one.
pub(crate) fn make_folders(top: &Dir, path: &Path) -> io::Result<Dir> {
    let mut made = PathBuf::new();
    for step in path {
        made.push(step);
        match top.create_dir(&made) {
            Ok(()) => {
                let around = made.parent().filter(|around| !around.as_os_str().is_empty());
                sync_done(&top.open_dir(around.unwrap_or(Path::new(".")))?);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // Where it is there, some systems find another reason to refuse.
            Err(_) if top.is_dir(&made) => {}
            Err(error) => return Err(error),
        }
    }
    top.open_dir(path)
}

/// Opens a file or folder to be copied. Links on the way are followed as long as they stay in the approved directory.
pub(crate) fn source(spot: &Spot) -> Result<Source, Trouble> {
    let top = open(&spot.directory)?;
    let path = below(&spot.steps);
    let error = |error: io::Error| Trouble::of(&error);
    let found = top.metadata(&path).map_err(error)?;
    if found.is_dir() {
        let folder = top.open_dir(&path).map_err(error)?;
        let found = folder.dir_metadata().map_err(error)?;
        return Ok(Source::Folder(folder, found));
    }
    refuse_special(&found)?;
    let file = top.open_with(&path, &reading(FollowSymlinks::Yes)).map_err(error)?;
    let found = file.metadata().map_err(error)?;
    refuse_special(&found)?;
    Ok(Source::File(file, found))
}

/// Opens a file in a folder by its plain name, and no link.
pub(crate) fn file_in(folder: &Dir, name: &Path) -> io::Result<(File, Metadata)> {
    let file = folder.open_with(name, &reading(FollowSymlinks::No))?;
    let found = file.metadata()?;
    Ok((file, found))
}

fn reading(follow: FollowSymlinks) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).follow(follow);
    // A pipe without a writer would hold up the open for ever.
    #[cfg(unix)]
    cap_fs_ext::OpenOptionsSyncExt::nonblock(&mut options, true);
    options
}

/// Only whole files of the approved directory are worked on.
///
/// One with several names may have another one outside, and nobody can tell: its content would be somebody else's.
pub(crate) fn refuse_special(found: &Metadata) -> Result<(), Trouble> {
    match special(found) {
        Some(what) => Err(Trouble::Refused(format!("fromFile is {what}"))),
        None => Ok(()),
    }
}

/// What keeps something from being copied or moved, unless it is a folder.
pub(crate) fn special(found: &Metadata) -> Option<&'static str> {
    if found.is_symlink() {
        Some("a link: name what it leads to")
    } else if !found.is_file() {
        Some("neither a file nor a directory")
    } else if found.nlink() > 1 {
        Some("a file with several names (hard links), which may be one from outside of the approved directory")
    } else {
        None
    }
}

/// Whether two are the same on disk.
pub(crate) fn is_same(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Whether something that was renamed is what was found before.
pub(crate) fn is_moved(moved: &Metadata, found: &Metadata) -> bool {
    // Where Windows has FAT, a file's number changes with its name.
    let is_alike = || {
        let what = |one: &Metadata| (one.file_type(), one.len(), one.modified().ok());
        what(moved) == what(found)
    };
    is_same(moved, found) || (cfg!(windows) && is_alike())
}

/// Whether a folder is in another one, at whatever depth, or is that; not by paths, which links may lead to the same place.
/// One that cannot be told is not.
pub(crate) fn is_in(folder: &Dir, outer: &Metadata) -> bool {
    let look = || -> io::Result<bool> {
        let mut folder = folder.try_clone()?;
        let mut found = folder.dir_metadata()?;
        loop {
            if is_same(&found, outer) {
                return Ok(true);
            }
            folder = folder.open_parent_dir(ambient_authority())?;
            let around = folder.dir_metadata()?;
            // The root is in itself.
            if is_same(&around, &found) {
                return Ok(false);
            }
            found = around;
        }
    };
    look().unwrap_or(false)
}

/// What is there by a name, without following it.
pub(crate) fn look(folder: &Dir, name: impl AsRef<Path>) -> io::Result<Option<Metadata>> {
    match folder.symlink_metadata(name) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Has the names in a folder last, where the file system can do that.
#[cfg(unix)]
pub(crate) fn sync(folder: &Dir) -> io::Result<()> {
    #[cfg(test)]
    if SYNC_FAILS.get() {
        return Err(io::Error::from_raw_os_error(5));
    }
    // Opened as a file: a handle that serves to go through a folder cannot be synced.
    match folder.open(".")?.sync_all() {
        Err(error) if knows_no_sync(&error) => Ok(()),
        synced => synced,
    }
}

/// What file systems answer that cannot sync a folder: some of the network, and of user space.
#[cfg(unix)]
fn knows_no_sync(error: &io::Error) -> bool {
    const EBADF: i32 = 9;
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(EBADF)
}

/// Windows syncs no folders.
#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps, reason = "the signature of all platforms")]
pub(crate) fn sync(_: &Dir) -> io::Result<()> {
    Ok(())
}

/// The same when all is done: that it failed is no reason to say that it was not.
pub(crate) fn sync_done(folder: &Dir) {
    tell_sync(sync(folder));
}

/// Tells of a sync that failed.
pub(crate) fn tell_sync(synced: io::Result<()>) {
    if let Err(error) = synced {
        tracing::warn!("what was done to a directory may be undone if the power fails now: {}", explain(&error));
    }
}

#[cfg(test)]
thread_local! {
    /// On this thread, directories cannot be synced: a disk in memory always can.
    pub(crate) static SYNC_FAILS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_synced_is_no_fault_of_the_disk() {
        for (number, is_known) in [(22, true), (95, true), (9, true), (5, false), (28, false)] {
            assert_eq!(knows_no_sync(&io::Error::from_raw_os_error(number)), is_known, "{number}");
        }
    }
}
