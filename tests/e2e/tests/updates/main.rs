//! A new version over what an old one has left: it works, or refuses before it touches anything and says what to do; and the way
//! back. That stores of all versions are complete after it is in `store_versions.rs`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod back;
mod disks;
mod interrupted;
mod refused;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use e2e::{STORE_VERSION as PRESENT, StoreLock, butler_exe, go_on, stand_still, wait_for};
use tempfile::NamedTempFile;

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

/// A daemon that starts, and may never be ready. It is killed when it is dropped.
struct Starting {
    child: Child,
    log: NamedTempFile,
}

impl Starting {
    fn new(config: &Path) -> Self {
        let log = NamedTempFile::new().unwrap();
        let child = Command::new(butler_exe())
            .args(["run", "-c"])
            .arg(config)
            .env_remove("BUTLER_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// A start that stands still between copying a store and the end of its changes, of which none is made yet that counts.
    async fn held(config: &Path, store: &Path) -> Self {
        // Without it a quick start could be over before this test has a turn.
        let lock = StoreLock::take(store);
        let starting = Self::new(config);
        starting.wait_log(EARLIER).await;
        stand_still(&starting.child);
        assert!(!starting.log().contains("the store is migrated"), "{}", starting.log());
        drop(lock);
        starting
    }

    fn go_on(&self) {
        go_on(&self.child);
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    async fn wait_log(&self, text: &str) {
        let until = tokio::time::Instant::now() + e2e::PATIENCE;
        while !self.log().contains(text) {
            assert!(tokio::time::Instant::now() < until, "`{text}` is not in the log:\n{}", self.log());
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    async fn wait_end(&mut self) -> ExitStatus {
        let child = std::cell::RefCell::new(&mut self.child);
        wait_for("the end of a start", || async { child.borrow_mut().try_wait().unwrap() }).await
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
