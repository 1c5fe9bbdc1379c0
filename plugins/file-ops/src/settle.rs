//! Giving what is whole the target's name, and what becomes of an old directory of that name.
//!
//! A directory cannot be replaced by a rename. The old one is put aside for the moment in which the new one gets the name, put
//! back if that fails, and removed only when it has not and the disk confirms that: it gets a second name before, so that
//! [`sweep`](crate::temporary::sweep) knows.

use std::io;

use cap_std::fs::{Dir, Metadata};

use crate::copy::Progress;
use crate::place::{self, Place};
use crate::rename::rename_new;
use crate::temporary::{self, Part};
use crate::trouble::explain;

/// What has the target's name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Old {
    /// Nothing, or it must stay.
    None,
    /// A file or a link, which is replaced.
    File,
    /// A directory, which is replaced.
    Folder,
}

/// Gives something the target's name. With `found` it must be that still, or another plain file in place of one, else it is put
/// back. [`io::ErrorKind::AlreadyExists`] and [`io::ErrorKind::CrossesDevices`] mean that nothing has changed. The inner error:
/// it has the name, but the disk does not confirm it.
pub(crate) fn settle(
    from: &Dir,
    name: &str,
    found: Option<&Metadata>,
    target: &Place,
    old: Old,
    part: &str,
    progress: &Progress,
) -> io::Result<io::Result<()>> {
    let (folder, new) = (&target.folder, target.name.as_str());
    let aside = if old == Old::Folder { Aside::put(target, part, progress)? } else { None };
    let renamed = match old {
        Old::File => from.rename(name, folder, new),
        Old::None | Old::Folder => rename_new(from, name, folder, new),
    };
    let settled = renamed.and_then(|()| match (found, place::look(folder, new)?) {
        // Somebody has put something else in its place between the look and the rename, such as a link.
        (Some(found), Some(moved)) if !may_be_instead(&moved, found) => Err(undo(target, from, name, old)),
        _ => Ok(()),
    });
    if let Err(error) = settled {
        return Err(match aside {
            Some(aside) => aside.back(error),
            None => error,
        });
    }
    let synced = place::sync(folder);
    match (aside, &synced) {
        (Some(aside), Ok(())) => aside.discard(),
        (Some(aside), Err(error)) => aside.leave(error),
        (None, _) => {}
    }
    Ok(synced)
}

/// Whether what was renamed is what was found, or a whole file in place of a file, as programs replace theirs: it was there by
/// that name, and what it has replaced is gone.
fn may_be_instead(moved: &Metadata, found: &Metadata) -> bool {
    place::is_moved(moved, found) || found.is_file() && place::special(moved).is_none()
}

/// Undoes a rename that moved something else than what was found.
fn undo(target: &Place, from: &Dir, name: &str, old: Old) -> io::Error {
    let back = rename_new(&target.folder, &target.name, from, name);
    let back = match (back.is_ok(), old) {
        (true, Old::File) => " and is put back; what toFile was is lost",
        (true, _) => "",
        (false, _) => "; what is there now was moved",
    };
    io::Error::other(format!("fromFile was replaced meanwhile{back}"))
}

/// An old directory that has made way.
struct Aside<'a> {
    target: &'a Place,
    name: String,
    discarded: String,
    progress: &'a Progress,
}

impl<'a> Aside<'a> {
    /// None if it has gone by itself.
    fn put(target: &'a Place, part: &str, progress: &'a Progress) -> io::Result<Option<Self>> {
        let aside = Self { target, name: temporary::aside(part), discarded: temporary::discarded(part), progress };
        match rename_new(&target.folder, &target.name, &target.folder, &aside.name) {
            Ok(()) => Ok(Some(aside)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes it. The new one is there: what fails here is told in the log, and tried again at the next start.
    fn discard(self) {
        let folder = &self.target.folder;
        match rename_new(folder, &self.name, folder, &self.discarded) {
            Ok(()) => drop(Part::new(folder, &self.discarded, self.progress)),
            Err(error) => self.leave(&error),
        }
    }

    fn leave(self, error: &io::Error) {
        self.progress.leave();
        tracing::warn!("`{}` is left beside `{}`, which it was: {}", self.name, self.target.name, explain(error));
    }

    /// Gives it its name back.
    fn back(self, error: io::Error) -> io::Error {
        let folder = &self.target.folder;
        let Err(fault) = rename_new(folder, &self.name, folder, &self.target.name) else { return error };
        self.progress.leave();
        let fault = explain(&fault);
        io::Error::other(format!(
            "{}; what toFile was is beside it as `{}`, since it cannot have its name again: {fault}",
            explain(&error),
            self.name
        ))
    }
}

#[cfg(test)]
mod tests {
    use cap_std::ambient_authority;
    use tempfile::TempDir;

    use super::*;

    const PART: &str = ".butler-file-ops-1-2-3.part";

    fn target(place: &TempDir) -> Place {
        std::fs::create_dir(place.path().join("t")).unwrap();
        std::fs::write(place.path().join("t/old"), "old").unwrap();
        Place { folder: Dir::open_ambient_dir(place.path(), ambient_authority()).unwrap(), name: "t".to_owned() }
    }

    #[test]
    fn an_old_directory_gets_its_name_back_when_nothing_comes() {
        let place = TempDir::new().unwrap();
        let (target, progress) = (target(&place), Progress::default());
        let settled = settle(&target.folder, "none", None, &target, Old::Folder, PART, &progress);
        assert_eq!(settled.unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(std::fs::read_to_string(place.path().join("t/old")).unwrap(), "old");
        assert!(!progress.has_left());
    }

    #[test]
    fn a_file_that_was_replaced_by_another_one_is_moved_and_no_link() {
        let place = TempDir::new().unwrap();
        let folder = Dir::open_ambient_dir(place.path(), ambient_authority()).unwrap();
        let target = Place { folder, name: "b".to_owned() };
        let folder = &target.folder;
        let attempt = |replace: &dyn Fn()| {
            folder.write("a", "found").unwrap();
            folder.write("b", "old").unwrap();
            let found = folder.symlink_metadata("a").unwrap();
            replace();
            settle(folder, "a", Some(&found), &target, Old::File, PART, &Progress::default())
        };
        attempt(&|| {
            folder.write("new", "new").unwrap();
            folder.rename("new", folder, "a").unwrap();
        })
        .unwrap()
        .unwrap();
        assert_eq!((folder.exists("a"), folder.read_to_string("b").unwrap().as_str()), (false, "new"));
        #[cfg(unix)]
        {
            let refused = attempt(&|| {
                folder.symlink("new", "link").unwrap();
                folder.rename("link", folder, "a").unwrap();
            });
            let told = refused.unwrap_err().to_string();
            assert!(
                told.contains("fromFile was replaced meanwhile and is put back; what toFile was is lost"),
                "{told}"
            );
            assert!(folder.symlink_metadata("a").unwrap().is_symlink() && !folder.exists("b"));
        }
    }

    #[test]
    fn an_old_directory_is_not_removed_while_the_disk_does_not_confirm_the_new_one() {
        let place = TempDir::new().unwrap();
        let (target, progress) = (target(&place), Progress::default());
        target.folder.create_dir("new").unwrap();
        place::SYNC_FAILS.set(true);
        let settled = settle(&target.folder, "new", None, &target, Old::Folder, PART, &progress);
        place::SYNC_FAILS.set(false);
        assert!(settled.unwrap().is_err() && progress.has_left());
        assert!(target.folder.is_dir("t") && !target.folder.exists("t/old"));
        assert_eq!(target.folder.read_to_string(format!("{}/old", temporary::aside(PART))).unwrap(), "old");
    }

    #[test]
    fn an_old_directory_whose_name_is_taken_is_kept_and_named() {
        let place = TempDir::new().unwrap();
        let (target, progress) = (target(&place), Progress::default());
        let aside = Aside::put(&target, PART, &progress).unwrap().unwrap();
        assert!(!place.path().join("t").exists());
        std::fs::write(place.path().join("t"), "somebody's").unwrap();
        let error = aside.back(io::ErrorKind::StorageFull.into()).to_string();
        let name = temporary::aside(PART);
        assert!(error.contains("no room left") && error.contains(&name), "{error}");
        assert_eq!(std::fs::read_to_string(place.path().join(name).join("old")).unwrap(), "old");
        assert_eq!(std::fs::read_to_string(place.path().join("t")).unwrap(), "somebody's");
        assert!(progress.has_left());
    }
}
