//! `butler migrate`: configs of Butler 16 and of versions before it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod complete;
mod faults;
mod plugins;
mod shapes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use butler::config::Document;
use e2e::{Output, run};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// A folder in which an old Butler lived.
struct Site {
    folder: TempDir,
}

/// A row of the report's table of all keys.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    line: usize,
    outcome: String,
    by: Vec<String>,
}

impl Site {
    /// With all files that the fixture's config names.
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let site = Self { folder };
        let certified = rcgen::generate_simple_self_signed(["butler.example.com".to_owned()]).unwrap();
        let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
        for (name, text) in [
            ("cert/client.pem", certificate.as_str()),
            ("cert/client_key.pem", &key),
            ("cert/root.pem", &certificate),
            ("cert/rest.pem", &certificate),
            ("cert/rest_key.pem", &key),
            ("templates/message.handlebars", "{}"),
            ("templates/mail.handlebars", "<p>{{taskName}}</p>"),
        ] {
            site.write(name, text);
        }
        for name in ["files/from", "files/to", "files/old", "qvd", "scriptlogs/client-managed", "scriptlogs/cloud"] {
            std::fs::create_dir_all(site.path(name)).unwrap();
        }
        let schedule = "butlerSchedule:\n  - id: morning\n    name: Morning load\n    cronSchedule: '0 6 * 0 1-5'\n    timezone: Europe/Oslo\n    \
                        qlikSenseTaskId: 5d2c7f10-1111-4a2b-9c3d-0123456789ab\n    startupState: started\n";
        site.write("schedule.yaml", schedule);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        let path = self.path(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Writes an old config, one key a line.
    fn write_old(&self, butler: &Value) {
        self.write("old.yaml", &serde_json::to_string_pretty(&json!({ "Butler": butler })).unwrap());
    }

    /// Migrates `old.yaml` into `new`.
    fn migrate(&self, more: &[&str]) -> Output {
        let (old, out) = (self.path("old.yaml"), self.path("new"));
        let mut arguments = vec!["migrate", old.to_str().unwrap(), "--out", out.to_str().unwrap()];
        arguments.extend(more);
        run(&arguments)
    }

    /// The new config.
    fn config(&self) -> Value {
        Document::read(&self.path("new/butler.yaml")).unwrap().raw().clone()
    }

    /// The report's table of all keys. Each is in it once.
    fn rows(&self) -> BTreeMap<String, Row> {
        let report = self.read("new/migration.md");
        let (_, table) = report.split_once("## Every key\n\n").unwrap();
        let mut rows = BTreeMap::new();
        for line in table.lines().skip(2) {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [number, key, outcome, by] = cells[..] else { panic!("{line}") };
            let by = by.split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect();
            let row = Row { line: number.parse().unwrap(), outcome: outcome.to_owned(), by };
            let key = key.trim_matches('`').to_owned();
            assert_eq!(rows.insert(key.clone(), row), None, "{key} is there twice");
        }
        rows
    }

    /// All new files by name.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(&self.path("new"), "", &mut files);
        files
    }
}

fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{name}/"), files);
        } else {
            files.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
}

/// Every key that Butler 16 knows, with a value: all is switched on.
fn complete() -> Value {
    let keys: Vec<Value> = serde_json::from_str(include_str!("keys.json")).unwrap();
    let mut butler = json!({});
    for key in &keys {
        set(&mut butler, key["path"].as_str().unwrap(), key["sample"].clone());
    }
    butler
}

/// Puts a value in; `[]` in a path is the only item of a list.
fn set(value: &mut Value, path: &str, new: Value) {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let (name, is_list) = name.strip_suffix("[]").map_or((name, false), |name| (name, true));
    let entries = value.as_object_mut().unwrap();
    let place = entries.entry(name).or_insert_with(|| if is_list { json!([{}]) } else { json!({}) });
    match rest {
        Some(rest) if is_list => set(&mut place[0], rest, new),
        Some(rest) => set(place, rest, new),
        None => *place = new,
    }
}

/// Takes a value out; it must be there.
fn cut(value: &mut Value, path: &str) -> Value {
    let (above, name) = path.rsplit_once('.').map_or(("", path), |(above, name)| (above, name));
    let pointer = if above.is_empty() { String::new() } else { format!("/{}", above.replace('.', "/")) };
    let entries = value.pointer_mut(&pointer).and_then(Value::as_object_mut);
    let entries: &mut Map<String, Value> = entries.unwrap_or_else(|| panic!("nothing at {above}"));
    entries.remove(name).unwrap_or_else(|| panic!("nothing at {path}"))
}

/// The paths of all values that hold no others.
fn leaves(value: &Value) -> Vec<String> {
    fn walk(path: &str, value: &Value, leaves: &mut Vec<String>) {
        match value {
            Value::Object(entries) if !entries.is_empty() => {
                for (name, value) in entries {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    walk(&path, value, leaves);
                }
            }
            Value::Array(items) if !items.is_empty() => {
                for (n, value) in items.iter().enumerate() {
                    walk(&format!("{path}[{n}]"), value, leaves);
                }
            }
            _ => leaves.push(path.to_owned()),
        }
    }
    let mut leaves = Vec::new();
    walk("", value, &mut leaves);
    leaves
}

/// Migrates a config in which nothing is odd, and holds the report against it: every key is told of once, with its line, and
/// none is unknown.
fn migrate_all(site: &Site, butler: &Value) -> Output {
    site.write_old(butler);
    let output = site.migrate(&[]);
    assert_eq!(output.code, 0, "{}\n{}\n{}", output.stdout, output.stderr, site.read("new/migration.md"));
    let rows = site.rows();
    let mut expected = leaves(butler);
    expected.sort();
    assert_eq!(rows.keys().cloned().collect::<Vec<_>>(), expected);
    let unknown: Vec<&String> = rows.iter().filter(|(_, row)| row.outcome == "not known").map(|(key, _)| key).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
    let words = ["taken over", "differs", "to do", "left out", "never had an effect"];
    let text = site.read("old.yaml");
    let lines: Vec<&str> = text.lines().collect();
    for (key, row) in &rows {
        assert!(words.contains(&row.outcome.as_str()) && !row.by.is_empty(), "{key}: {row:?}");
        let name = key.rsplit('.').next().unwrap();
        let is_item = name.ends_with(']');
        let line = lines[row.line - 1];
        assert!(is_item || line.contains(&format!("\"{name}\":")), "{key}: line {} is `{line}`", row.line);
    }
    output
}
