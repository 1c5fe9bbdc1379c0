//! Moving files and trees: by a rename where source and target are on one disk, else by a copy after whose end that is removed
//! which was copied.

// By links of Unix, and a disk in memory.
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

use std::io;

use cap_fs_ext::DirExt as _;
use cap_std::fs::Metadata;

use crate::copy::{self, MOST_NOTED, Options, Progress, Work};
use crate::place::{self, Place, Source};
use crate::settings::Spot;
use crate::settle::{Old, settle};
use crate::temporary::Part;
use crate::trouble::{Trouble, explain};

/// Moves a file or a tree. `part` is the name that a copy has until it is whole.
pub(crate) fn relocate(
    from: &Spot,
    to: &Spot,
    overwrite: bool,
    part: &str,
    progress: &Progress,
) -> Result<(), Trouble> {
    let error = |error: io::Error| Trouble::at_work(&error);
    let source = place::find(from)?;
    let found = source.folder.symlink_metadata(&source.name).map_err(|error| Trouble::of(&error))?;
    if !found.is_dir() {
        place::refuse_special(&found)?;
    }
    if found.is_dir() && copy::is_inside(from, to) {
        return Err(Trouble::Failed("a directory cannot be moved into itself".to_owned()));
    }
    let target = place::make(to)?;
    let there = place::look(&target.folder, &target.name).map_err(error)?;
    let old = match there {
        None => Old::None,
        Some(there) if place::is_same(&found, &there) && is_other_case(from, to) => {
            return source.folder.rename(&source.name, &target.folder, &target.name).map_err(error);
        }
        Some(there) => {
            copy::clash(&found, &there, "moved")?;
            if !overwrite {
                return Err(exists());
            }
            if there.is_dir() && (copy::is_inside(to, from) || place::is_in(&source.folder, &there)) {
                let fault = "a directory cannot be moved onto one that it is in, which would be removed: move it elsewhere first";
                return Err(Trouble::Failed(fault.to_owned()));
            }
            if there.is_dir() { Old::Folder } else { Old::File }
        }
    };
    let renamed = settle(&source.folder, &source.name, Some(&found), &target, old, part, progress);
    match renamed {
        Ok(synced) => {
            place::tell_sync(synced);
            place::sync_done(&source.folder);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            carry(&source, &found, &target, old, part, progress)
        }
        Err(error) => Err(unsettled(&error)),
    }
}

fn unsettled(error: &io::Error) -> Trouble {
    if error.kind() == io::ErrorKind::AlreadyExists { exists() } else { Trouble::at_work(error) }
}

fn exists() -> Trouble {
    Trouble::Failed("toFile exists, and `overwrite` is false".to_owned())
}

/// On Windows the same file may be asked for by names that differ in case, to give it the other one.
fn is_other_case(from: &Spot, to: &Spot) -> bool {
    let [from, to] = [from, to].map(Spot::location);
    from.to_string() != to.to_string() && from.below(&to).is_some_and(<[_]>::is_empty)
}

/// From one disk to another. The target gets its name when the copy is whole; then, if that is certain, what was copied is
/// removed. What has come or was changed meanwhile stays.
fn carry(
    source: &Place,
    found: &Metadata,
    target: &Place,
    old: Old,
    part: &str,
    progress: &Progress,
) -> Result<(), Trouble> {
    let changed = || Trouble::Failed("fromFile was changed while it was copied to the other disk".to_owned());
    let opened = open(source, found)?.ok_or_else(changed)?;
    let options = Options { overwrite: old != Old::None, preserve_timestamp: true };
    let copy = Part::new(&target.folder, part, progress);
    let copied = Work { options, progress, most_noted: Some(MOST_NOTED) }.copy(&opened, &target.folder, copy.name())?;
    drop(opened);
    let now = place::look(&source.folder, &source.name).map_err(|error| Trouble::at_work(&error))?;
    if !now.is_some_and(|now| copied.is(&now)) {
        return Err(changed());
    }
    let settled = settle(&target.folder, copy.name(), None, target, old, part, progress);
    let synced = settled.map_err(|error| unsettled(&error))?;
    copy.keep();
    // Else a power failure might take the one when the other is gone.
    synced.map_err(|error| {
        let why = explain(&error);
        Trouble::Failed(format!("toFile is there, but its disk does not confirm it, and fromFile stays: {why}"))
    })?;
    let removed = copied.remove(&source.folder, &source.name);
    place::sync_done(&source.folder);
    removed.map_err(|stays| Trouble::Failed(format!("toFile is there, but something of fromFile stays: {stays}")))
}

/// Opens what was found by its plain name; nothing if that is something else by now.
fn open(source: &Place, found: &Metadata) -> Result<Option<Source>, Trouble> {
    let error = |error: io::Error| Trouble::of(&error);
    let opened = if found.is_dir() {
        let folder = source.folder.open_dir_nofollow(&source.name).map_err(error)?;
        let opened = folder.dir_metadata().map_err(error)?;
        Source::Folder(folder, opened)
    } else {
        let (file, opened) = place::file_in(&source.folder, source.name.as_ref()).map_err(error)?;
        place::refuse_special(&opened)?;
        Source::File(file, opened)
    };
    let (Source::File(_, now) | Source::Folder(_, now)) = &opened;
    Ok(place::is_same(now, found).then_some(opened))
}
