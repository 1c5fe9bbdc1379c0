//! What callers may have done: read from a request, approved, and performed where it may take its time.

use crate::copy::{self, Done, Options, Progress};
use crate::path::Location;
use crate::place;
use crate::relocate::relocate;
use crate::remove::remove;
use crate::settings::{Directory, Pair, Spot, find, find_or_itself, find_pair};
use crate::temporary::Note;
use crate::trouble::Trouble;

/// An approved operation.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Copy { from: Spot, to: Spot, options: Options },
    Move { from: Spot, to: Spot, overwrite: bool },
    Delete(Spot),
    CreateFolder(Spot),
}

impl Operation {
    /// Where it makes something that may be left behind if the process is killed.
    pub(crate) fn note(&self) -> Option<Note> {
        match self {
            Self::Copy { to, .. } | Self::Move { to, .. } => Some(Note::beside(to)),
            Self::Delete(_) | Self::CreateFolder(_) => None,
        }
    }

    /// Does it; blocks while it does. `part` is a name that nothing else has.
    pub(crate) fn perform(&self, part: &str, progress: &Progress) -> Result<Done, Trouble> {
        if progress.is_ending() {
            return Err(Trouble::Ending);
        }
        match self {
            Self::Copy { from, to, options } => copy::copy(from, to, *options, part, progress),
            Self::Move { from, to, overwrite } => relocate(from, to, *overwrite, part, progress).map(|()| Done::Done),
            Self::Delete(spot) => delete(spot).map(|()| Done::Done),
            Self::CreateFolder(spot) => create(spot).map(|()| Done::Done),
        }
    }
}

/// Removes a file, or a directory with all that is in it. Of a link it removes the link.
fn delete(spot: &Spot) -> Result<(), Trouble> {
    let place = place::find(spot)?;
    if place::look(&place.folder, &place.name).map_err(|error| Trouble::of(&error))?.is_none() {
        return Err(Trouble::Missing);
    }
    remove(&place.folder, &place.name).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Trouble::Missing,
        _ => Trouble::at_work(&error),
    })?;
    place::sync_done(&place.folder);
    Ok(())
}

/// Makes a directory and those around it. One that is there is fine.
fn create(spot: &Spot) -> Result<(), Trouble> {
    let top = place::open(&spot.directory)?;
    place::make_folders(&top, &place::below(&spot.steps)).map(drop).map_err(|error| Trouble::at_work(&error))
}

/// The approved copy, if there is one.
pub(crate) fn copy(pairs: &[Pair], from: &Location, to: &Location, options: Options) -> Option<Operation> {
    let (from, to) = find_pair(pairs, from, to)?;
    Some(Operation::Copy { from, to, options })
}

/// The same for moving.
pub(crate) fn moving(pairs: &[Pair], from: &Location, to: &Location, overwrite: bool) -> Option<Operation> {
    let (from, to) = find_pair(pairs, from, to)?;
    Some(Operation::Move { from, to, overwrite })
}

/// The same for deleting.
pub(crate) fn deletion(directories: &[Directory], path: &Location) -> Option<Operation> {
    find(directories, path).map(Operation::Delete)
}

/// The same for creating a directory.
pub(crate) fn creation(directories: &[Directory], path: &Location) -> Option<Operation> {
    find_or_itself(directories, path).map(Operation::CreateFolder)
}

// By links, rights and pipes of Unix.
#[cfg(test)]
#[cfg(unix)]
mod tests;
