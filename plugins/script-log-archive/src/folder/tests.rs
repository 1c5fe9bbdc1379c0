//! On a real disk.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::upkeep::{Limits, tidy};

fn folder(place: &TempDir) -> Folder {
    let folder = Folder::new(place.path().join("logs"), "archive one");
    folder.prepare().unwrap();
    folder
}

fn log(path: &str, name: &str, text: &str) -> Log {
    Log { path: path.to_owned(), name: name.to_owned(), text: text.to_owned() }
}

fn now(path: &str) -> Stored {
    Stored::Now(path.to_owned())
}

#[test]
fn instances_with_like_names_have_own_files_of_their_own() {
    let place = TempDir::new().unwrap();
    let names = ["archive one", "archive_one", "Archive one", "archive:one"];
    let own: std::collections::BTreeSet<String> =
        names.iter().map(|name| Folder::new(place.path().into(), name).index.0.to_lowercase()).collect();
    assert_eq!(own.len(), names.len());
}

/// All files below a folder, and empty folders.
fn tree(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() && !path.is_symlink() {
            let below = tree(&path);
            if below.is_empty() {
                found.push(format!("{name}/"));
            }
            found.extend(below.into_iter().map(|below| format!("{name}/{below}")));
        } else {
            found.push(name);
        }
    }
    found.sort();
    found
}

#[test]
fn the_same_log_has_one_file_and_another_one_of_its_own() {
    let place = TempDir::new().unwrap();
    let folder = folder(&place);
    assert_eq!(folder.store(&log("d/a.log", "e1", "one")), Ok(now("d/a.log")));
    assert_eq!(folder.store(&log("d/a.log", "e1", "one")), Ok(Stored::Before("d/a.log".to_owned())));
    assert_eq!(folder.store(&log("d/a.log", "e/2", "two")), Ok(now("d/a_executionId=e_2.log")));
    assert_eq!(folder.store(&log("d/a.log", "e/2", "two")), Ok(Stored::Before("d/a_executionId=e_2.log".to_owned())));
    fs::write(folder.path.join("d/b"), "of somebody").unwrap();
    assert_eq!(folder.store(&log("d/b", "e3", "three")), Ok(now("d/b_executionId=e3")));
    assert_eq!(fs::read_to_string(folder.path.join("d/b")).unwrap(), "of somebody");
    assert_eq!(fs::read_to_string(folder.path.join("d/a.log")).unwrap(), "one");
    // Somebody has edited it: that is theirs.
    fs::write(folder.path.join("d/b_executionId=e3"), "changed").unwrap();
    assert_eq!(folder.store(&log("d/b", "e3", "three")), Ok(now("d/b_executionId=e3_3")));
    assert_eq!(
        tree(&folder.path),
        [
            ".butler-archive_one-1a994f4d.index",
            "d/a.log",
            "d/a_executionId=e_2.log",
            "d/b",
            "d/b_executionId=e3",
            "d/b_executionId=e3_3"
        ]
    );
}

#[test]
fn only_whole_files_have_the_name_and_leftovers_are_swept() {
    let place = TempDir::new().unwrap();
    let folder = folder(&place);
    let path = |name: &str| folder.path.join(name);
    fs::write(path(".butler-archive_one-1a994f4d-4711.part"), "hal").unwrap();
    fs::write(path(".butler-other-4711.part"), "hal").unwrap();
    fs::write(path(".butler-archive_one-1a994f4d-x.part"), "of somebody").unwrap();
    assert_eq!(folder.sweep(), Ok(1));
    assert_eq!(tree(&folder.path), [".butler-archive_one-1a994f4d-x.part", ".butler-other-4711.part"]);
    // The entry was added, and the machine went down before the file had its name.
    let dir = folder.open().unwrap();
    let entry = Entry { path: "a.log".to_owned(), log: "e1".to_owned(), bytes: 3, stored_at: Timestamp::now() };
    folder.index.add(&dir, &entry).unwrap();
    assert_eq!(folder.store(&log("a.log", "e1", "one")), Ok(now("a.log")));
}

#[cfg(unix)]
#[test]
fn links_lead_nowhere() {
    use std::os::unix::fs::symlink;

    let place = TempDir::new().unwrap();
    let folder = folder(&place);
    let outside = place.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept.log"), "kept").unwrap();
    let at = |name: &str| folder.path.join(name);
    symlink(&outside, at("out")).unwrap();
    symlink("../outside", at("up")).unwrap();
    symlink(outside.join("new.log"), at("file.log")).unwrap();
    for path in ["out/a.log", "up/a.log", "out/b/a.log"] {
        let trouble = folder.store(&log(path, "e1", "one")).unwrap_err();
        assert!(trouble.to_string().contains("a link in it leads out of it"), "{path}: {trouble}");
    }
    // A link in the place of the file is no file of ours, and is not written through.
    assert_eq!(folder.store(&log("file.log", "e1", "one")), Ok(now("file_executionId=e1.log")));
    symlink(outside.join("kept.log"), at(&folder.temporary())).unwrap();
    assert_eq!(folder.store(&log("plain.log", "e2", "two")), Ok(now("plain.log")));
    // Nor is anything removed through one, whatever the index says.
    let dir = folder.open().unwrap();
    for path in ["out/kept.log", "../outside/kept.log"] {
        let entry = Entry { path: path.to_owned(), log: "e9".to_owned(), bytes: 4, stored_at: Timestamp::UNIX_EPOCH };
        folder.index.add(&dir, &entry).unwrap();
    }
    tidy(&folder, Limits { max_age: Some(std::time::Duration::from_secs(1)), max_size: Some(1) }).unwrap();
    assert_eq!(tree(&outside), ["kept.log"]);
    assert_eq!(fs::read_to_string(outside.join("kept.log")).unwrap(), "kept");
}

#[test]
fn a_folder_that_is_none_is_told_from_one_that_may_come() {
    let place = TempDir::new().unwrap();
    fs::write(place.path().join("file"), "").unwrap();
    let trouble = Folder::new(place.path().join("file"), "a").prepare().unwrap_err();
    assert!(matches!(&trouble, Trouble::NoFolder(text) if text.contains("is a file")), "{trouble}");
    let trouble = Folder::new(place.path().join("no/logs"), "a").prepare().unwrap_err();
    assert!(matches!(&trouble, Trouble::Other(text) if text.contains("no folder that `folder`")), "{trouble}");
    let folder = folder(&place);
    fs::remove_dir_all(&*folder.path).unwrap();
    let trouble = folder.store(&log("a.log", "e1", "one")).unwrap_err();
    assert!(trouble.to_string().contains("is gone"), "{trouble}");
    fs::create_dir(&*folder.path).unwrap();
    assert_eq!(folder.store(&log("a.log", "e1", "one")), Ok(now("a.log")));
    fs::write(folder.path.join("day"), "").unwrap();
    let trouble = folder.store(&log("day/a.log", "e1", "one")).unwrap_err();
    assert!(trouble.to_string().contains("a file is where a folder must be"), "{trouble}");
}

#[test]
fn what_goes_is_the_oldest_of_ours() {
    let place = TempDir::new().unwrap();
    let folder = folder(&place);
    let dir = folder.open().unwrap();
    let text = "x".repeat(1000);
    for number in 0..5 {
        let path = format!("day{number}/a.log");
        assert_eq!(folder.store(&log(&path, &format!("e{number}"), &text)), Ok(now(&path)));
    }
    fs::write(folder.path.join("day0/notes.txt"), "x".repeat(100_000)).unwrap();
    fs::write(folder.path.join("2020-01-01_00-00-00_appId=a_taskId=t.log"), "of somebody").unwrap();
    // Changed by somebody, so it is theirs.
    fs::write(folder.path.join("day1/a.log"), "my remarks").unwrap();
    let limits = Limits { max_age: None, max_size: Some(2500) };
    assert_eq!(tidy(&folder, limits), Ok(2));
    assert_eq!(
        tree(&folder.path),
        [
            ".butler-archive_one-1a994f4d.index",
            "2020-01-01_00-00-00_appId=a_taskId=t.log",
            "day0/notes.txt",
            "day1/a.log",
            "day3/a.log",
            "day4/a.log"
        ]
    );
    assert_eq!(folder.index.all(&dir).unwrap().len(), 2);
    // What need not go is not looked at.
    fs::remove_file(folder.path.join("day4/a.log")).unwrap();
    assert_eq!(tidy(&folder, limits), Ok(0));
    assert_eq!(folder.index.all(&dir).unwrap().len(), 2);
}
