//! What the archive has stored: a file in its folder with a JSON object a line, which files are added to before they are there.
//!
//! Only what is in it is ever removed, so files of others are safe, wherever they lie and whatever they are called. If it is
//! lost, the files stay.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};

use cap_std::fs::{Dir, OpenOptions};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Longest line in bytes: paths have at most 16 steps.
const LONGEST_LINE: u64 = 16 << 10;

/// A stored file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    /// Below the folder, with `/`.
    pub(crate) path: String,
    /// Which log it is.
    pub(crate) log: String,
    pub(crate) bytes: u64,
    pub(crate) stored_at: Timestamp,
}

impl Entry {
    /// Whether the file is there as it was stored: a file that somebody has changed is theirs.
    pub(crate) fn is_there(&self, dir: &Dir) -> io::Result<bool> {
        match dir.symlink_metadata(&self.path) {
            Ok(found) => Ok(found.is_file() && found.len() == self.bytes),
            // A folder that is a file now, or a link.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The index of an archive, by the name of its file.
#[derive(Debug, Clone)]
pub(crate) struct Index(pub(crate) String);

impl Index {
    /// Adds an entry; it is on disk when this returns. After an error the index is as before.
    pub(crate) fn add(&self, dir: &Dir, entry: &Entry) -> io::Result<()> {
        let mut file = dir.open_with(&self.0, OpenOptions::new().read(true).write(true).create(true))?;
        let end = file.seek(SeekFrom::End(0))?;
        let mut line = Vec::new();
        if end > 0 {
            file.seek(SeekFrom::Start(end - 1))?;
            let mut last = [0];
            file.read_exact(&mut last)?;
            // Half a line, of a time when the machine went down.
            if last != *b"\n" {
                line.push(b'\n');
            }
        }
        serde_json::to_writer(&mut line, entry)?;
        line.push(b'\n');
        let written = file.write_all(&line).and_then(|()| file.sync_data());
        if written.is_err() {
            // Half a line costs no other entry.
            let _ = file.set_len(end);
        }
        written
    }

    /// Calls `each` with every entry in turn; what is none is passed over.
    fn read(&self, dir: &Dir, mut each: impl FnMut(Entry)) -> io::Result<()> {
        let file = match dir.open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut lines = BufReader::new(file);
        let mut line = Vec::new();
        loop {
            line.clear();
            if lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            if let Ok(entry) = serde_json::from_slice(&line) {
                each(entry);
            }
        }
    }

    /// The last entry of a path.
    pub(crate) fn find(&self, dir: &Dir, path: &str) -> io::Result<Option<Entry>> {
        let mut found = None;
        self.read(dir, |entry| {
            if entry.path == path {
                found = Some(entry);
            }
        })?;
        Ok(found)
    }

    /// The last entry of every path, the oldest first.
    pub(crate) fn all(&self, dir: &Dir) -> io::Result<Vec<Entry>> {
        let mut entries: HashMap<String, Entry> = HashMap::new();
        self.read(dir, |entry| drop(entries.insert(entry.path.clone(), entry)))?;
        let mut entries: Vec<Entry> = entries.into_values().collect();
        entries.sort_by(|a, b| (a.stored_at, &a.path).cmp(&(b.stored_at, &b.path)));
        Ok(entries)
    }

    /// Replaces all entries. What another process adds meanwhile is lost from it, and the file of that stays for good.
    pub(crate) fn replace(&self, dir: &Dir, temporary: &str, entries: &[Entry]) -> io::Result<()> {
        let mut text = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut text, entry)?;
            text.push(b'\n');
        }
        let written =
            crate::folder::write_new(dir, temporary, &text).and_then(|()| dir.rename(temporary, dir, &self.0));
        if written.is_err() {
            let _ = dir.remove_file(temporary);
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use cap_std::ambient_authority;

    use super::*;

    fn entry(path: &str, second: i64) -> Entry {
        let stored_at = Timestamp::from_second(second).unwrap();
        Entry { path: path.to_owned(), log: "e1".to_owned(), bytes: 1, stored_at }
    }

    #[test]
    fn entries_outlive_half_lines_and_nonsense() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(folder.path(), ambient_authority()).unwrap();
        let index = Index(".index".to_owned());
        assert_eq!((index.all(&dir).unwrap(), index.find(&dir, "a").unwrap()), (Vec::new(), None));
        index.add(&dir, &entry("b", 7)).unwrap();
        let file = folder.path().join(".index");
        let mut text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text, "{\"path\":\"b\",\"log\":\"e1\",\"bytes\":1,\"storedAt\":\"1970-01-01T00:00:07Z\"}\n");
        text.push_str("\u{0}\n{}\n");
        text.push_str(&"x".repeat(40_000));
        std::fs::write(&file, text).unwrap();
        index.add(&dir, &entry("a", 7)).unwrap();
        index.add(&dir, &entry("c", 1)).unwrap();
        index.add(&dir, &entry("b", 9)).unwrap();
        assert_eq!(index.all(&dir).unwrap(), [entry("c", 1), entry("a", 7), entry("b", 9)]);
        assert_eq!(index.find(&dir, "b").unwrap(), Some(entry("b", 9)));
        index.replace(&dir, ".new", &[entry("a", 7)]).unwrap();
        assert_eq!(index.all(&dir).unwrap(), [entry("a", 7)]);
        assert!(!folder.path().join(".new").exists());
    }
}
