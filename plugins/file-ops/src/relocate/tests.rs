use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

use tempfile::TempDir;

use super::*;
use crate::path::{Flavour, Location};
use crate::settings::Directory;

const PART: &str = ".butler-file-ops-1-2-3.part";

/// Two approved directories on two disks.
struct Disks {
    from: TempDir,
    to: TempDir,
}

impl Disks {
    fn new() -> Self {
        let disks = Self { from: TempDir::new().unwrap(), to: TempDir::new_in("/dev/shm").unwrap() };
        let device = |place: &TempDir| fs::metadata(place.path()).unwrap().dev();
        assert_ne!(device(&disks.from), device(&disks.to), "/dev/shm must be a disk in memory");
        disks
    }

    fn source(&self, name: &str) -> PathBuf {
        self.from.path().join(name)
    }

    fn target(&self, name: &str) -> PathBuf {
        self.to.path().join(name)
    }

    fn relocate(&self, from: &str, to: &str, progress: &Progress) -> Result<(), Trouble> {
        relocate(&spot(self.from.path(), from), &spot(self.to.path(), to), true, PART, progress)
    }
}

fn spot(directory: &Path, path: &str) -> Spot {
    let location = Location::parse(Flavour::Unix, directory.to_str().unwrap()).unwrap();
    Spot { directory: Directory::from(location), steps: path.split('/').map(str::to_owned).collect() }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn failed(done: Result<(), Trouble>, parts: &[&str]) {
    match done {
        Err(Trouble::Failed(why)) => assert!(parts.iter().all(|part| why.contains(part)), "{why}"),
        other => panic!("{other:?} instead of {parts:?}"),
    }
}

/// Waits until the copy is under way, as others see it.
fn wait_for_part(folder: &Path) {
    while !folder.join(PART).exists() {
        std::thread::yield_now();
    }
}

#[test]
fn an_old_directory_is_there_until_the_new_one_is_whole() {
    let disks = Disks::new();
    write(&disks.source("t/a"), "new");
    write(&disks.target("t/old"), "old");
    // It fails: nothing has changed.
    let progress = Progress::default();
    progress.is_ending.store(true, Ordering::Relaxed);
    assert_eq!(disks.relocate("t", "t", &progress), Err(Trouble::Ending));
    assert_eq!((names(&disks.target("")), names(&disks.target("t"))), (vec!["t".to_owned()], vec!["old".to_owned()]));
    assert_eq!(names(&disks.source("t")), ["a"]);

    fs::File::create(disks.source("t/large")).unwrap().set_len(200 << 20).unwrap();
    let disks = Arc::new(disks);
    let moving = {
        let disks = disks.clone();
        std::thread::spawn(move || disks.relocate("t", "t", &Progress::default()))
    };
    wait_for_part(disks.to.path());
    assert!(!moving.is_finished());
    assert_eq!(fs::read_to_string(disks.target("t/old")).unwrap(), "old");
    assert_eq!(moving.join().unwrap(), Ok(()));
    assert_eq!(names(&disks.target("t")), ["a", "large"]);
    assert_eq!((names(&disks.target("")), names(&disks.source(""))), (vec!["t".to_owned()], Vec::new()));
}

#[test]
fn what_comes_or_changes_while_a_tree_is_copied_is_not_lost() {
    let disks = Arc::new(Disks::new());
    for name in ["t/changed", "t/same", "t/sub/gone", "t/sub/replaced", "t/empty/x/y"] {
        write(&disks.source(name), name);
    }
    fs::File::create(disks.source("t/large")).unwrap().set_len(200 << 20).unwrap();
    let moving = {
        let disks = disks.clone();
        std::thread::spawn(move || disks.relocate("t", "t", &Progress::default()))
    };
    // All of the rest is copied when the large one is known to be whole, or else copied as it is by then.
    wait_for_part(disks.to.path());
    write(&disks.source("t/new"), "new");
    write(&disks.source("t/changed"), "has changed");
    let done = moving.join().unwrap();
    for (name, text) in [("t/new", "new"), ("t/changed", "has changed")] {
        let read = |path: PathBuf| fs::read_to_string(path).ok();
        let kept = [read(disks.source(name)), read(disks.target(name))];
        assert!(kept.contains(&Some(text.to_owned())), "{name}: {kept:?} {done:?}");
    }
    if disks.source("t").exists() {
        failed(done, &["toFile is there, but something of fromFile stays: fromFile/"]);
    }
    for name in ["t/same", "t/sub", "t/empty", "t/large"] {
        assert!(!disks.source(name).exists() && disks.target(name).exists(), "{name}");
    }
}

/// The same without luck: all happens between the copy and the removal.
#[test]
fn exactly_what_was_copied_is_removed() {
    let disks = Disks::new();
    for name in ["t/changed", "t/same", "t/sub/gone", "t/replaced/x", "t/more/x"] {
        write(&disks.source(name), name);
    }
    let source = place::find(&spot(disks.from.path(), "t")).unwrap();
    let target = place::make(&spot(disks.to.path(), "t")).unwrap();
    let found = source.folder.symlink_metadata("t").unwrap();
    let copy = || {
        let progress = Progress::default();
        let work = Work { options: Options::default(), progress: &progress, most_noted: Some(MOST_NOTED) };
        work.copy(&open(&source, &found).unwrap().unwrap(), &target.folder, "t").unwrap()
    };
    let copied = copy();
    write(&disks.source("t/changed"), "has changed");
    fs::remove_file(disks.source("t/sub/gone")).unwrap();
    fs::rename(disks.source("t/replaced"), disks.source("elsewhere")).unwrap();
    write(&disks.source("t/replaced/x"), "t/replaced/x");
    write(&disks.source("t/more/y/z"), "new");
    assert!(copied.is(&found));
    let stays = copied.remove(&source.folder, "t").unwrap_err();
    for part in [
        "fromFile/changed was changed meanwhile",
        "fromFile/replaced was replaced meanwhile",
        "fromFile/more/y was not copied",
    ] {
        assert!(stays.contains(part), "{stays}");
    }
    assert_eq!(names(&disks.source("t")), ["changed", "more", "replaced"]);
    assert_eq!(names(&disks.source("t/more")), ["y"]);
    fs::remove_dir_all(disks.target("t")).unwrap();
    copy().remove(&source.folder, "t").unwrap();
    assert!(!disks.source("t").exists());
    assert_eq!(fs::read_to_string(disks.target("t/changed")).unwrap(), "has changed");
}

#[test]
fn what_the_other_disk_does_not_confirm_stays() {
    let disks = Disks::new();
    write(&disks.source("a"), "a");
    place::SYNC_FAILS.set(true);
    let done = disks.relocate("a", "a", &Progress::default());
    place::SYNC_FAILS.set(false);
    failed(done, &["toFile is there, but its disk does not confirm it, and fromFile stays"]);
    for path in [disks.source("a"), disks.target("a")] {
        assert_eq!(fs::read_to_string(path).unwrap(), "a");
    }
    assert_eq!(disks.relocate("a", "a", &Progress::default()), Ok(()));
    assert!(!disks.source("a").exists());
}

#[test]
fn a_tree_with_too_much_to_be_noted_is_refused() {
    let disks = Disks::new();
    for name in ["t/a", "t/b/c"] {
        write(&disks.source(name), name);
    }
    let source = place::source(&spot(disks.from.path(), "t")).unwrap();
    let target = place::make(&spot(disks.to.path(), "t")).unwrap();
    for (most, is_taken) in [(Some(2), false), (Some(3), true), (None, true)] {
        let progress = Progress::default();
        let work = Work { options: Options::default(), progress: &progress, most_noted: most };
        let copied = work.copy(&source, &target.folder, &format!("{most:?}"));
        match copied {
            Ok(_) => assert!(is_taken, "{most:?}"),
            Err(trouble) => {
                assert!(!is_taken, "{most:?}");
                failed(Err(trouble), &["more than 2 files and directories", "move its parts one by one"]);
            }
        }
    }
}

#[test]
fn what_is_called_like_a_copy_under_way_stays() {
    let disks = Disks::new();
    let name = ".butler-file-ops-9-9-9.part";
    write(&disks.source("t/a"), "a");
    write(&disks.source(&format!("t/{name}")), "somebody's");
    failed(disks.relocate("t", "t", &Progress::default()), &["stays", name, "was not copied"]);
    assert_eq!((names(&disks.source("t")), names(&disks.target("t"))), (vec![name.to_owned()], vec!["a".to_owned()]));
}

#[test]
fn nothing_else_than_what_was_found_is_opened() {
    let disks = Disks::new();
    for name in ["a", "b", "t/x", "u/x"] {
        write(&disks.source(name), name);
    }
    for (name, other) in [("a", "b"), ("t", "u"), ("a", "t"), ("t", "a")] {
        let source = place::find(&spot(disks.from.path(), name)).unwrap();
        let found = |name: &str| source.folder.symlink_metadata(name).unwrap();
        assert!(open(&source, &found(name)).unwrap().is_some());
        assert!(!matches!(open(&source, &found(other)), Ok(Some(_))), "{name} {other}");
    }
}

#[test]
fn a_directory_is_not_moved_onto_one_that_it_is_in() {
    let place = TempDir::new().unwrap();
    write(&place.path().join("a/b/c/x"), "x");
    write(&place.path().join("a/own"), "own");
    std::os::unix::fs::symlink("a/b", place.path().join("way")).unwrap();
    let attempt = |from: &str, to: &str| {
        let (from, to) = (spot(place.path(), from), spot(place.path(), to));
        relocate(&from, &to, true, PART, &Progress::default())
    };
    for (from, to) in [("a/b", "a"), ("a/b/c", "a"), ("way/c", "a"), ("way/c", "a/b")] {
        failed(attempt(from, to), &["onto one that it is in"]);
    }
    assert_eq!(fs::read_to_string(place.path().join("a/own")).unwrap(), "own");
    assert_eq!(attempt("a/b/c", "c"), Ok(()));
}

/// The directories that others may look into have the rights of their sources at the end, and none until then.
#[test]
fn a_private_tree_is_private_while_it_is_copied() {
    let disks = Arc::new(Disks::new());
    write(&disks.source("t/sub/x"), "x");
    fs::File::create(disks.source("t/sub/large")).unwrap().set_len(200 << 20).unwrap();
    for folder in ["t", "t/sub"] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o750);
        fs::set_permissions(disks.source(folder), mode).unwrap();
    }
    let (ended, end) = mpsc::channel();
    let moving = {
        let disks = disks.clone();
        std::thread::spawn(move || {
            let done = disks.relocate("t", "t", &Progress::default());
            ended.send(()).unwrap();
            done
        })
    };
    let mut seen = Vec::new();
    while end.try_recv().is_err() {
        let modes = [PART.to_owned(), format!("{PART}/sub")]
            .map(|name| fs::metadata(disks.target(&name)).ok().map(|found| found.mode() & 0o777));
        if !seen.contains(&modes) {
            seen.push(modes);
        }
    }
    assert_eq!(moving.join().unwrap(), Ok(()));
    assert!(seen.contains(&[Some(0o700), Some(0o700)]), "{seen:?}");
    let opened = seen.iter().flatten().flatten().any(|mode| mode & 0o007 != 0);
    assert!(!opened, "{seen:?}");
    for folder in ["t", "t/sub"] {
        assert_eq!(fs::metadata(disks.target(folder)).unwrap().mode() & 0o777, 0o750, "{folder}");
    }
}
