//! Renaming without a moment in which something else is lost.

use std::io;
use std::path::Path;

use cap_std::fs::Dir;

/// Gives something a new name where there is nothing by that name. [`io::ErrorKind::AlreadyExists`] if there is, whoever made
/// it in whatever moment.
pub(crate) fn rename_new(from: &Dir, name: &str, to: &Dir, new: &str) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(from, name, to, new, RenameFlags::NOREPLACE) {
            // Not every file system knows it.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            renamed => return renamed.map_err(io::Error::from),
        }
    }
    by_second_name(from, name, to, new)
}

/// The same for systems without such a call: a file gets the new name beside its old one, which fails if it is taken.
fn by_second_name(from: &Dir, name: &str, to: &Dir, new: &str) -> io::Result<()> {
    match from.hard_link(name, to, new) {
        Ok(()) => from.remove_file(name).inspect_err(|_| {
            // Else there would be two names, and the file could not be worked on any more.
            if let Err(error) = to.remove_file(new) {
                tracing::warn!("`{new}` is a second name of `{name}`, and cannot be removed: {error}");
            }
        }),
        Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::CrossesDevices) => {
            Err(error)
        }
        // A folder, or a file system without second names. A folder replaces at most an empty one.
        Err(_) => match to.symlink_metadata(Path::new(new)) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => from.rename(name, to, new),
            Err(error) => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use cap_std::ambient_authority;
    use tempfile::TempDir;

    use super::*;

    /// In a directory that is only appended to, files get names and lose none.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_name_that_cannot_be_removed_is_the_only_one() {
        let place = TempDir::new().unwrap();
        let [from, to] = ["from", "to"].map(|name| {
            std::fs::create_dir(place.path().join(name)).unwrap();
            Dir::open_ambient_dir(place.path().join(name), ambient_authority()).unwrap()
        });
        from.write("a", "text").unwrap();
        let append_only = |sign: &str| {
            let changed = std::process::Command::new("chattr").arg(sign).arg(place.path().join("from")).status();
            assert!(changed.unwrap().success());
        };
        append_only("+a");
        let renamed = by_second_name(&from, "a", &to, "b");
        append_only("-a");
        assert_eq!(renamed.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(from.read_to_string("a").unwrap(), "text");
        assert!(!to.exists("b"));
    }

    #[test]
    fn nothing_is_replaced_by_either_way() {
        for rename in [rename_new, by_second_name] {
            let place = TempDir::new().unwrap();
            let path = place.path();
            for folder in ["a", "b", "a/full"] {
                std::fs::create_dir(path.join(folder)).unwrap();
            }
            for (file, text) in [("a/one", "one"), ("a/two", "two"), ("b/taken", "taken"), ("a/full/x", "x")] {
                std::fs::write(path.join(file), text).unwrap();
            }
            let open = |name: &str| Dir::open_ambient_dir(path.join(name), ambient_authority()).unwrap();
            let (a, b) = (open("a"), open("b"));
            rename(&a, "one", &b, "free").unwrap();
            assert_eq!(rename(&a, "two", &b, "taken").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(rename(&a, "full", &b, "taken").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            rename(&a, "full", &b, "folder").unwrap();
            assert_eq!(rename(&a, "gone", &b, "new").unwrap_err().kind(), io::ErrorKind::NotFound);
            let read = |name: &str| std::fs::read_to_string(path.join(name)).ok();
            assert_eq!(read("b/free").as_deref(), Some("one"));
            assert_eq!(read("b/taken").as_deref(), Some("taken"));
            assert_eq!(read("a/two").as_deref(), Some("two"));
            assert_eq!(read("b/folder/x").as_deref(), Some("x"));
            assert!(!path.join("a/one").exists() && !path.join("a/full").exists());
        }
    }

    #[test]
    fn of_many_at_once_one_gets_the_name() {
        for rename in [rename_new, by_second_name] {
            let place = TempDir::new().unwrap();
            let folder = Dir::open_ambient_dir(place.path(), ambient_authority()).unwrap();
            for round in 0..200 {
                let new = format!("new{round}");
                for n in 0..4 {
                    folder.write(format!("{round}-{n}"), n.to_string()).unwrap();
                }
                let (folder, new, start) = (&folder, new.as_str(), &std::sync::Barrier::new(4));
                let winners: Vec<i32> = std::thread::scope(|scope| {
                    let threads: Vec<_> = (0..4)
                        .map(|n| {
                            scope.spawn(move || {
                                start.wait();
                                rename(folder, &format!("{round}-{n}"), folder, new).is_ok().then_some(n)
                            })
                        })
                        .collect();
                    threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
                });
                let [winner] = winners[..] else { panic!("round {round}: {winners:?}") };
                assert_eq!(folder.read_to_string(new).unwrap(), winner.to_string());
            }
        }
    }
}
