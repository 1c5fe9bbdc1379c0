//! Removing what has a name, trees of any depth and width included.

use std::io;
use std::path::Path;

use cap_std::fs::Dir;

/// Removes whatever has a name: a folder with all that is in it, a link and not what it leads to. Only the name itself can be
/// [`io::ErrorKind::NotFound`]: what others take out of a folder meanwhile is gone as it should be.
pub(crate) fn remove(folder: &Dir, name: impl AsRef<Path>) -> io::Result<()> {
    let name = name.as_ref();
    if folder.symlink_metadata(name)?.is_dir() {
        remove_tree(folder, name)
    } else {
        cap_fs_ext::DirExt::remove_file_or_symlink(folder, name)
    }
}

/// Windows limits the depth by the length of paths, and the standard library goes down without recursion there.
#[cfg(not(unix))]
fn remove_tree(folder: &Dir, name: &Path) -> io::Result<()> {
    folder.remove_dir_all(name)
}

/// One folder is open at a time, however deep it is, and there is no recursion.
#[cfg(unix)]
fn remove_tree(folder: &Dir, name: &Path) -> io::Result<()> {
    use cap_fs_ext::DirExt as _;
    use cap_std::ambient_authority;

    let top = match folder.open_dir_nofollow(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let mut levels = vec![Level::of(&top, name.into())?];
    let mut here = top;
    while let Some(level) = levels.last_mut() {
        if level.folders.is_empty() && clear(&here, &mut level.folders)? {
            continue;
        }
        if let Some(next) = level.folders.pop() {
            let inner = match here.open_dir_nofollow(&next) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            levels.push(Level::of(&inner, next)?);
            here = inner;
            continue;
        }
        // It is empty.
        let done = levels.pop().map(|level| level.name).unwrap_or_default();
        let Some(around) = levels.last() else { return gone(folder.remove_dir(done)) };
        here = here.open_parent_dir(ambient_authority())?;
        // Else the way up could lead out of the tree.
        if Level::identity(&here)? != around.identity {
            return Err(io::Error::other("a directory in it was moved away while it was removed"));
        }
        gone(here.remove_dir(done))?;
    }
    Ok(())
}

/// A folder that is being emptied, with the others around it.
#[cfg(unix)]
struct Level {
    name: std::ffi::OsString,
    /// Device and number.
    identity: (u64, u64),
    /// Some of those in it.
    folders: Vec<std::ffi::OsString>,
}

#[cfg(unix)]
impl Level {
    fn of(folder: &Dir, name: std::ffi::OsString) -> io::Result<Self> {
        Ok(Self { name, identity: Self::identity(folder)?, folders: Vec::new() })
    }

    fn identity(folder: &Dir) -> io::Result<(u64, u64)> {
        use cap_fs_ext::MetadataExt as _;
        folder.dir_metadata().map(|found| (found.dev(), found.ino()))
    }
}

/// Removes what is no folder, and names some of those that are; whether there was anything. What an entry is, is asked for: not
/// every file system tells it with the name.
#[cfg(unix)]
fn clear(folder: &Dir, folders: &mut Vec<std::ffi::OsString>) -> io::Result<bool> {
    /// Names that are kept in memory for each folder.
    const MOST: usize = 100;
    let mut was_any = false;
    let entries = match folder.entries() {
        // Others have removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let is_folder = match folder.symlink_metadata(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found?.is_dir(),
        };
        was_any = true;
        if !is_folder {
            gone(folder.remove_file(&name))?;
            continue;
        }
        folders.push(name);
        if folders.len() >= MOST {
            break;
        }
    }
    Ok(was_any)
}

#[cfg(unix)]
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use cap_std::ambient_authority;
    use tempfile::TempDir;

    use super::*;

    /// As when two ask for it.
    #[test]
    fn what_goes_by_itself_meanwhile_is_no_error() {
        let place = TempDir::new().unwrap();
        for _ in 0..10 {
            for n in 0..100 {
                std::fs::create_dir_all(place.path().join(format!("t/{}/{n}", n % 7))).unwrap();
                std::fs::write(place.path().join(format!("t/{}/{n}/f", n % 7)), "x").unwrap();
            }
            let removers: Vec<_> = (0..3)
                .map(|_| {
                    let folder = Dir::open_ambient_dir(place.path(), ambient_authority()).unwrap();
                    std::thread::spawn(move || (remove(&folder, "t"), folder.exists("t")))
                })
                .collect();
            for remover in removers {
                match remover.join().unwrap() {
                    (Ok(()), _) => {}
                    (Err(error), is_there) => {
                        assert!(error.kind() == io::ErrorKind::NotFound && !is_there, "{error} {is_there}");
                    }
                }
            }
            assert!(!place.path().join("t").exists());
        }
    }

    #[test]
    fn a_tree_of_any_depth_and_width_goes_and_links_stay_links() {
        let place = TempDir::new().unwrap();
        let folder = Dir::open_ambient_dir(place.path(), ambient_authority()).unwrap();
        std::fs::create_dir(place.path().join("outside")).unwrap();
        std::fs::write(place.path().join("outside/x"), "x").unwrap();
        std::fs::create_dir(place.path().join("t")).unwrap();
        // By handles: such a path would be too long.
        let mut here = folder.open_dir("t").unwrap();
        for _ in 0..8_000 {
            here.create_dir("d").unwrap();
            here = here.open_dir("d").unwrap();
        }
        here.write("file", "x").unwrap();
        for n in 0..250 {
            here.create_dir(format!("{n}")).unwrap();
        }
        here.symlink("../outside", "link").unwrap();
        std::os::unix::fs::symlink(place.path().join("outside"), place.path().join("t/link")).unwrap();
        drop(here);
        // A stack that would not do for a call for each level.
        std::thread::Builder::new()
            .stack_size(256 << 10)
            .spawn(move || remove(&folder, "t"))
            .unwrap()
            .join()
            .unwrap()
            .unwrap();
        assert!(!place.path().join("t").exists());
        assert_eq!(std::fs::read_to_string(place.path().join("outside/x")).unwrap(), "x");
    }
}
