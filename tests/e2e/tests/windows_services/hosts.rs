//! Hosts whose services `fake-sc` tells of.

use std::path::PathBuf;

use e2e::target_dir;
use serde_json::{Value, json};
use tempfile::TempDir;

pub struct Hosts {
    folder: TempDir,
}

impl Hosts {
    pub fn new() -> Self {
        Self { folder: TempDir::new().expect("a folder can be made") }
    }

    /// The variable by which the program finds them.
    pub fn environment(&self) -> [(&str, &str); 1] {
        [("FAKE_SC", self.folder.path().to_str().expect("the folder has a plain name"))]
    }

    /// The setting `backend`.
    pub fn backend() -> String {
        let program = target_dir().join(format!("fake-sc{}", std::env::consts::EXE_SUFFIX));
        assert!(program.is_file(), "{} is missing: run `cargo build --workspace` first", program.display());
        json!({ "sc": { "program": program } }).to_string()
    }

    fn file(&self, host: &str) -> PathBuf {
        self.folder.path().join(format!("{host}.json"))
    }

    /// Puts a host there, in place of what it was.
    pub fn put(&self, host: &str, facts: &Value) {
        // As a whole: the program may read it at any time.
        let new = self.folder.path().join("new");
        std::fs::write(&new, facts.to_string()).expect("the folder can be written");
        std::fs::rename(new, self.file(host)).expect("the folder can be written");
    }

    /// Changes what is known of a host.
    pub fn change(&self, host: &str, change: impl FnOnce(&mut Value)) {
        let text = std::fs::read(self.file(host)).expect("the host is there");
        let mut facts = serde_json::from_slice(&text).expect("the host is JSON");
        change(&mut facts);
        self.put(host, &facts);
    }

    pub fn state(&self, host: &str, service: &str, state: u32) {
        self.change(host, |facts| facts["services"][service]["state"] = state.into());
    }

    /// How often the program was called with arguments that begin so.
    pub fn calls(&self, begin: &str) -> usize {
        let calls = std::fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default();
        calls.lines().filter(|line| line.starts_with(begin)).count()
    }

    /// Waits until a host has been looked at so many times more, with what is known of it now.
    pub async fn looks(&self, host: &str, count: usize) {
        let begin = format!(r"\\{host} query type=");
        let before = self.calls(&begin);
        e2e::wait_for(&format!("{count} looks at {host}"), || async {
            (self.calls(&begin) >= before + count).then_some(())
        })
        .await;
    }
}
