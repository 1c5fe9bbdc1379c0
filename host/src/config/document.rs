//! A config file that was read, but not yet checked against its schemas.
//!
//! Which plugins it uses must be known before it can be checked, since their schemas are part of the check; so that much
//! can be asked of a document that is otherwise full of faults.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::report::{ConfigError, Problem, Report, join, readable};
use super::secrets::Source;
use super::types::Store;
use super::yaml::{self, Parsed, Place};

/// Longest config file in bytes.
const LONGEST: u64 = 4 << 20;

/// What is shown to somebody whose config is empty.
const MINIMAL: &str = "a small config:\n  version: 1\n  udp: { listen: 0.0.0.0:9998 }\n  plugins:\n    - use: PLUGIN\n      \
                       settings: { … }";

/// A config file: YAML that was understood, whatever it says.
#[derive(Debug, Clone)]
pub struct Document {
    path: PathBuf,
    base_dir: PathBuf,
    raw: Value,
    place: Place,
}

/// An entry of `plugins:` as far as it is needed to open the plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Index in `plugins:`.
    pub index: usize,
    /// Name of the plugin.
    pub plugin: String,
    /// Name of the instance.
    pub instance: String,
    /// What stands under `sha256`, unchecked.
    pub sha256: Option<String>,
}

/// The content of a file; of larger ones than are taken, a little more than that.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, Report> {
    let fail = |message: String| Report::whole(path, message, None);
    let unreadable = |error: std::io::Error| fail(format!("the file cannot be read: {error}"));
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(fail("this is a folder: name the config file in it".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// The mapping in a file of YAML. `example` is for those whose file has none.
pub(crate) fn parse_mapping(
    path: &Path,
    bytes: &[u8],
    parse: fn(&str) -> Result<Option<Parsed>, Vec<ConfigError>>,
    example: &str,
) -> Result<Parsed, Report> {
    if bytes.len() as u64 > LONGEST {
        return Err(Report::whole(path, "the file is larger than 4 MB".to_owned(), None));
    }
    let at = |line, column, message: &str, suggestion: &str| {
        let suggestion = Some(suggestion.to_owned());
        let error = ConfigError { line, column, path: String::new(), message: message.to_owned(), suggestion };
        Report::new(path, vec![error])
    };
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(at(1, 1, "the file is encoded as UTF-16", "save it as UTF-8"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = before.split(|&byte| byte == b'\n').count();
        let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |index| index + 1);
        let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
        at(line, column, "a byte here is not UTF-8", "save the file as UTF-8")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(index) = text.find('\0') {
        let line = text[..index].matches('\n').count() + 1;
        return Err(at(line, 1, "a NUL character: the file is encoded as UTF-16, or is no text", "save it as UTF-8"));
    }
    let parsed = parse(text).map_err(|errors| Report::new(path, errors))?;
    let Some(parsed) = parsed else {
        return Err(Report::whole(path, "the file is empty".to_owned(), Some(example.to_owned())));
    };
    if !parsed.value.is_object() {
        let (line, column) = parsed.place.value;
        return Err(at(line, column, "the file must hold a mapping (`key: value` lines)", example));
    }
    Ok(parsed)
}

impl Document {
    /// Reads a file of at most 4 MB.
    pub fn read(path: &Path) -> Result<Self, Report> {
        Self::parse(path, &read_bytes(path)?)
    }

    /// Takes the content of a file. `path` names it in reports, and relative paths in it start at its folder.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Report> {
        let parsed = parse_mapping(path, bytes, yaml::parse, MINIMAL)?;
        // Fails only without a current folder, where relative paths mean nothing anyway.
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let base_dir = absolute.parent().unwrap_or(&absolute).to_owned();
        Ok(Self { path: path.to_owned(), base_dir, raw: parsed.value, place: parsed.place })
    }

    /// The file, as it was named by the caller.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of the file, absolute: where relative paths in it start.
    pub fn base_dir(&self) -> &Path {
        &self.base_dir
    }

    /// The content, placeholders not resolved.
    pub fn raw(&self) -> &Value {
        &self.raw
    }

    /// The plugins that are used, in the order of the file. Entries without a readable `use` are left out; they are
    /// reported by [`validate`](Self::validate).
    pub fn uses(&self) -> Vec<Use> {
        let source = Source::system(&self.base_dir);
        let entries = self.raw.get("plugins").and_then(Value::as_array).into_iter().flatten();
        let uses = entries.enumerate().filter_map(|(index, entry)| {
            let plugin = entry.get("use")?.as_str()?.to_owned();
            // A pin that cannot be understood must fit no file, rather than be taken for none.
            let sha256 = entry.get("sha256").map(|pin| match pin {
                Value::String(text) => source.lenient(text),
                other => other.to_string(),
            });
            let instance = entry.get("name").and_then(Value::as_str).map(|name| source.lenient(name));
            let instance = instance.unwrap_or_else(|| plugin.clone());
            Some(Use { index, plugin, instance, sha256 })
        });
        uses.collect()
    }

    /// `pluginDirs`, absolute.
    pub fn plugin_dirs(&self) -> Vec<PathBuf> {
        let source = Source::system(&self.base_dir);
        let entries = self.raw.get("pluginDirs").and_then(Value::as_array).into_iter().flatten();
        entries.filter_map(Value::as_str).map(|dir| self.base_dir.join(source.lenient(dir))).collect()
    }

    /// `store.path`, absolute; for commands that look for the running daemon.
    pub fn store_path(&self) -> PathBuf {
        let source = Source::system(&self.base_dir);
        let named = self.raw.pointer("/store/path").and_then(Value::as_str);
        self.base_dir.join(named.map_or_else(|| Store::default().path, |path| source.lenient(path).into()))
    }

    /// The line of the node at a JSON pointer, or of the nearest one around it.
    pub(super) fn line(&self, pointer: &str) -> usize {
        let place = self.place.find(pointer).0;
        place.key.unwrap_or(place.value).0
    }

    /// Faults at nodes as faults in lines.
    pub(super) fn report(&self, problems: Vec<Problem>) -> Report {
        let errors = problems.into_iter().map(|problem| {
            let (place, itself) = self.place.find(&problem.pointer);
            // Of a list or mapping the key says more than its first entry; and what is empty has no place of its own.
            let value_is_plain = itself
                && match self.raw.pointer(&problem.pointer) {
                    Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => false,
                    Some(_) => true,
                };
            let (line, column) = match place.key {
                Some(key) if problem.on_key || !value_is_plain => key,
                _ => place.value,
            };
            let path = readable(&self.raw, &problem.pointer);
            ConfigError { line, column, path, message: problem.message, suggestion: problem.suggestion }
        });
        Report::new(&self.path, errors.collect())
    }

    /// The name of a node for people, for texts that are no errors.
    pub(super) fn name_of(&self, pointer: &str) -> String {
        readable(&self.raw, pointer)
    }

    /// The entries of `plugins:` with their pointers.
    pub(super) fn plugin_entries(value: &Value) -> impl Iterator<Item = (usize, String, &Value)> {
        let entries = value.get("plugins").and_then(Value::as_array).into_iter().flatten();
        entries.enumerate().map(|(index, entry)| (index, join("/plugins", index), entry))
    }
}
