//! The old file: what stands below `Butler`, and in which line.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::config::yaml::{Place, parse_merging};
use crate::config::{Report, escape, parse_mapping, read_bytes};

/// Longest old file in bytes; one with every key and a comment for each has a tenth of it.
const LONGEST: usize = 1_000_000;

/// What is shown to somebody whose file is none of Butler 16.
const EXAMPLE: &str = "a config of Butler 16 begins so:\n  Butler:\n    logLevel: info\n    …";

/// An old config file.
#[derive(Debug)]
pub(super) struct Old {
    /// As it was named by the caller.
    pub path: PathBuf,
    /// What stands below `Butler`.
    pub butler: Map<String, Value>,
    /// Other keys of the file.
    pub others: Vec<String>,
    place: Place,
}

impl Old {
    /// Reads it. What keeps it from being understood as a whole is an error, with its line.
    pub fn read(path: &Path) -> Result<Self, Report> {
        let bytes = read_bytes(path)?;
        let refuse = |message: &str| Report::whole(path, message.to_owned(), Some(EXAMPLE.to_owned()));
        if bytes.len() > LONGEST {
            return Err(refuse("the file is larger than 1 MB, which no config of Butler 16 is"));
        }
        let parsed = parse_mapping(path, &bytes, parse_merging, EXAMPLE)?;
        let Value::Object(mut root) = parsed.value else { return Err(refuse("the file has no key `Butler`")) };
        let butler = match root.remove("Butler") {
            Some(Value::Object(butler)) if !butler.is_empty() => butler,
            Some(_) => return Err(refuse("there is nothing below `Butler`, or no mapping (`key: value` lines)")),
            None if root.contains_key("version") && root.contains_key("plugins") => {
                let message = "this is no config of Butler 16: it has the form of this Butler already";
                let remedy = "check it with `butler check -c FILE`".to_owned();
                return Err(Report::whole(path, message.to_owned(), Some(remedy)));
            }
            None => return Err(refuse("the file has no key `Butler`")),
        };
        let others = root.into_iter().map(|(name, _)| name).collect();
        Ok(Self { path: path.to_owned(), butler, others, place: parsed.place })
    }

    /// The line of a path below `Butler`, or of the nearest part of it that is there.
    pub fn line(&self, path: &str) -> usize {
        self.line_of(&format!("/Butler{}", pointer(path)))
    }

    /// Whether there is something at a path below `Butler`.
    pub fn has(&self, path: &str) -> bool {
        self.place.find(&format!("/Butler{}", pointer(path))).1
    }

    /// The line of a key beside `Butler`.
    pub fn line_beside(&self, name: &str) -> usize {
        self.line_of(&format!("/{}", escape(name)))
    }

    fn line_of(&self, pointer: &str) -> usize {
        let (place, _) = self.place.find(pointer);
        place.key.unwrap_or(place.value).0
    }
}

/// `a.b[0].c` as a JSON pointer.
fn pointer(path: &str) -> String {
    let mut pointer = String::new();
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let (name, items) = part.split_once('[').unwrap_or((part, ""));
        pointer.push('/');
        pointer.push_str(&escape(name));
        for item in items.split(['[', ']']).filter(|item| !item.is_empty()) {
            pointer.push('/');
            pointer.push_str(item);
        }
    }
    pointer
}

/// The paths of all values of a config that hold no others: scalars, what is empty, lists and mappings without entries.
pub(super) fn leaves(butler: &Map<String, Value>) -> Vec<String> {
    let mut paths = Vec::new();
    for (name, value) in butler {
        collect(name, value, &mut paths);
    }
    paths
}

fn collect(path: &str, value: &Value, paths: &mut Vec<String>) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (name, value) in entries {
                collect(&format!("{path}.{name}"), value, paths);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (item, value) in items.iter().enumerate() {
                collect(&format!("{path}[{item}]"), value, paths);
            }
        }
        _ => paths.push(path.to_owned()),
    }
}

/// Whether a path is another one, or stands for something above it.
pub(super) fn covers(key: &str, path: &str) -> bool {
    path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Old, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.yaml");
        std::fs::write(&path, text).unwrap();
        Old::read(&path).map_err(|report| {
            let told = report.to_string();
            told.replace(&path.display().to_string(), "old.yaml")
        })
    }

    #[test]
    fn lines_of_keys_and_items() {
        let old = read("# x\nButler:\n  a:\n    - b: 1\n      c: {}\n    - 7\n  e.f: 2\nother: 1\n").unwrap();
        assert_eq!(leaves(&old.butler), ["a[0].b", "a[0].c", "a[1]", "e.f"]);
        let lines = ["a", "a[0].b", "a[0].c", "a[1]", "a[0].absent", "absent"].map(|path| old.line(path));
        assert_eq!(lines, [3, 4, 5, 6, 4, 2]);
        assert_eq!((old.others.as_slice(), old.line_beside("other")), (["other".to_owned()].as_slice(), 8));
    }

    #[test]
    fn merge_keys_work_as_they_did() {
        let text = "Butler:\n  a: &a { x: 1, y: 2 }\n  b: &b { y: 3, z: { w: 1 } }\n  c:\n    <<: *a\n    y: 9\n  d:\n    <<: [*a, *b]\n";
        let old = read(text).unwrap();
        assert_eq!(Value::Object(old.butler.clone())["c"], serde_json::json!({ "x": 1, "y": 9 }));
        assert_eq!(Value::Object(old.butler.clone())["d"], serde_json::json!({ "x": 1, "y": 2, "z": { "w": 1 } }));
        assert_eq!(["c.x", "c.y", "d.z.w"].map(|path| old.line(path)), [5, 6, 8]);
        assert!(read("Butler:\n  c:\n    <<: 5\n").unwrap_err().contains("old.yaml:3:5"));
    }

    #[test]
    fn what_is_no_old_config_is_refused() {
        let many = format!("Butler:\n  a: {}\n", "x".repeat(LONGEST));
        for (text, part) in [
            ("", "the file is empty\n    a config of Butler 16 begins so:"),
            ("# nothing\n", "the file is empty"),
            ("a", "old.yaml:1:1 the file must hold a mapping"),
            ("a: 1\n", "the file has no key `Butler`"),
            ("butler:\n  a: 1\n", "the file has no key `Butler`"),
            ("Butler:\n", "there is nothing below `Butler`"),
            ("Butler: {}\n", "there is nothing below `Butler`"),
            ("Butler: [1]\n", "there is nothing below `Butler`"),
            ("version: 1\nplugins: []\n", "it has the form of this Butler already"),
            ("Butler:\n  a: 1\n  a: 2\n", "old.yaml:3:3 Butler.a: the key is here a second time, first in line 2"),
            ("Butler:\n\ta: 1\n", "old.yaml:2:1 a tab in the indentation"),
            ("Butler:\n  a: [\n", "this is no valid YAML"),
            (&many, "larger than 1 MB"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text:.40}: {error}");
        }
    }

    #[test]
    fn a_key_stands_for_what_is_below_it() {
        assert!(covers("a.b", "a.b") && covers("a.b", "a.b.c") && covers("a.b", "a.b[0]"));
        assert!(!covers("a.b", "a.bc") && !covers("a.b", "a"));
    }
}
