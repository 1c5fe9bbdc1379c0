//! A new version over what an old one has left: it works, or refuses before it touches anything and says what to do; and the way
//! back. That stores of all versions are complete after it is in `store_versions.rs`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod back;
mod disks;
mod interrupted;
mod refused;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use e2e::{STORE_VERSION as PRESENT, Starting, StoreLock, stand_still};

/// Sections for a store that is there, without anything that asks others.
const PLAIN: &str =
    "version: 1\nstore: { path: butler.db }\nrest: { listen: \"127.0.0.1:0\" }\npluginDirs: [plugins]\n";

/// What a start says before it changes an older store.
const EARLIER: &str = "the store is of an earlier version";

/// What a folder has, file by file. The lock is no part of the store.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_none_or(|end| end != "lock") {
                files.insert(path.clone(), std::fs::read(path).unwrap());
            }
        }
    }
    files
}

/// The folder has what it had.
fn assert_as_before(folder: &Path, before: &BTreeMap<PathBuf, Vec<u8>>, what: &str) {
    let now = contents(folder);
    let changed: Vec<_> = before.keys().chain(now.keys()).filter(|path| before.get(*path) != now.get(*path)).collect();
    assert!(changed.is_empty(), "{what}: changed, made or removed: {changed:?}");
}

/// Names of the copies that are beside the store of a folder, finished or not.
fn copies(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.contains(".bak")).collect();
    names.sort();
    names
}

fn write_config(folder: &Path, config: &str) -> PathBuf {
    let path = folder.join("butler.yaml");
    std::fs::write(&path, config).unwrap();
    e2e::provide_test_plugins(folder, config);
    path
}

/// A start that stands still between copying a store and the end of its changes, of which none is made yet that counts.
async fn held(config: &Path, store: &Path) -> Starting {
    // Without it a quick start could be over before this test has a turn.
    let lock = StoreLock::take(store);
    let starting = Starting::new(config, &[]);
    starting.wait_log(EARLIER).await;
    stand_still(starting.child());
    assert!(!starting.log().contains("the store is migrated"), "{}", starting.log());
    drop(lock);
    starting
}
