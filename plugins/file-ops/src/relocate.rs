//! Moving files and trees: by a rename where source and target are on one disk, else by a copy after whose end the source is
//! removed.

use std::io;

use cap_std::fs::Metadata;

use crate::copy::{self, Done, Options, Progress};
use crate::place::{self, Place};
use crate::rename::rename_new;
use crate::settings::Spot;
use crate::temporary::{self, Part};
use crate::trouble::Trouble;

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
    let Some(there) = there else {
        return transfer(from, &source, &found, &target, overwrite, part, progress);
    };
    if place::is_same(&found, &there) && is_other_case(from, to) {
        return source.folder.rename(&source.name, &target.folder, &target.name).map_err(error);
    }
    copy::clash(&found, &there, "moved")?;
    if !overwrite {
        return Err(exists());
    }
    if !there.is_dir() {
        return transfer(from, &source, &found, &target, true, part, progress);
    }
    // The old directory makes way, and is removed when the new one is there.
    let old = Part::new(&target.folder, &temporary::aside(part));
    target.folder.rename(&target.name, &target.folder, old.name()).map_err(error)?;
    let moved = transfer(from, &source, &found, &target, false, part, progress);
    if moved.is_err() && rename_new(&target.folder, old.name(), &target.folder, &target.name).is_ok() {
        old.keep();
    }
    moved
}

fn exists() -> Trouble {
    Trouble::Failed("toFile exists, and `overwrite` is false".to_owned())
}

/// On Windows the same file may be asked for by names that differ in case, to give it the other one.
fn is_other_case(from: &Spot, to: &Spot) -> bool {
    let [one, other] = [from, to].map(|spot| spot.directory.join(&spot.steps).to_string());
    one != other && from.directory.join(&from.steps).below(&to.directory.join(&to.steps)).is_some_and(<[_]>::is_empty)
}

fn transfer(
    from: &Spot,
    source: &Place,
    found: &Metadata,
    target: &Place,
    overwrite: bool,
    part: &str,
    progress: &Progress,
) -> Result<(), Trouble> {
    let renamed = if overwrite && !found.is_dir() {
        source.folder.rename(&source.name, &target.folder, &target.name)
    } else {
        rename_new(&source.folder, &source.name, &target.folder, &target.name)
    };
    match renamed {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            return carry(from, source, found, target, overwrite, part, progress);
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists()),
        Err(error) => return Err(Trouble::at_work(&error)),
    }
    let moved = place::look(&target.folder, &target.name).map_err(|error| Trouble::at_work(&error))?;
    // Somebody has put something else in its place between the look and the rename, such as a link.
    if moved.is_some_and(|moved| !place::is_same(&moved, found)) {
        let back = rename_new(&target.folder, &target.name, &source.folder, &source.name);
        let back = if back.is_ok() { "" } else { "; what is there now was moved" };
        return Err(Trouble::Failed(format!("fromFile was replaced meanwhile{back}")));
    }
    let synced = place::sync(&target.folder).and_then(|()| place::sync(&source.folder));
    synced.map_err(|error| Trouble::at_work(&error))
}

/// From one disk to another. The source is removed when its copy has the target's name, if it is what was copied still.
fn carry(
    from: &Spot,
    source: &Place,
    found: &Metadata,
    target: &Place,
    overwrite: bool,
    part: &str,
    progress: &Progress,
) -> Result<(), Trouble> {
    let error = |error: io::Error| Trouble::at_work(&error);
    let opened = place::source(from)?;
    let options = Options { overwrite, preserve_timestamp: true };
    let part = Part::new(&target.folder, part);
    copy::copy_to(&opened, target, part.name(), options, progress)?;
    drop(opened);
    let now = place::look(&source.folder, &source.name).map_err(error)?;
    let is_unchanged = now.is_some_and(|now| {
        place::is_same(&now, found)
            && (now.is_dir() || (now.len(), now.modified().ok()) == (found.len(), found.modified().ok()))
    });
    if !is_unchanged {
        return Err(Trouble::Failed("fromFile was changed while it was copied to the other disk".to_owned()));
    }
    if copy::publish(part, target, overwrite)? == Done::Unchanged {
        return Err(exists());
    }
    let removed = place::remove(&source.folder, &source.name);
    removed.map_err(|error| {
        Trouble::Failed(format!("toFile is there, but fromFile cannot be removed: {}", crate::trouble::explain(&error)))
    })
}
