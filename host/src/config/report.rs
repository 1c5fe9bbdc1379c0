//! What is wrong with a config file, said so that the file can be mended: where, what, and what would be right.
//!
//! Inside this module tree faults are [`Problem`]s, which name a node by its JSON pointer; a document turns them into
//! [`ConfigError`]s, which name it by line, column and a path for people.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

/// At most so many errors are kept: beyond that a list helps nobody.
const MOST_ERRORS: usize = 200;

/// One fault of a config file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigError {
    /// Line, from 1; 0 when the fault is about the file as a whole.
    pub line: usize,
    /// Column in characters, from 1; 0 when the fault is about the file as a whole.
    pub column: usize,
    /// Where in the document: `plugins[1].settings.url`. Empty for the whole document.
    pub path: String,
    /// What is wrong. Never holds the value of a secret.
    pub message: String,
    /// What would be right, if that can be told. May have several lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

/// All faults of a config file, by line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The file, as it was named by the caller.
    pub file: PathBuf,
    /// The faults, by line and column; at least one.
    pub errors: Vec<ConfigError>,
    /// How many further faults were left out.
    pub omitted: usize,
}

impl Report {
    /// A report of these errors: sorted, each once, and limited in number.
    pub(super) fn new(file: &Path, mut errors: Vec<ConfigError>) -> Self {
        errors.sort();
        errors.dedup();
        let omitted = errors.len().saturating_sub(MOST_ERRORS);
        errors.truncate(MOST_ERRORS);
        Self { file: file.to_owned(), errors, omitted }
    }

    /// A report of one error about the file as a whole.
    pub(crate) fn whole(file: &Path, message: String, suggestion: Option<String>) -> Self {
        let error = ConfigError { line: 0, column: 0, path: String::new(), message, suggestion };
        Self { file: file.to_owned(), errors: vec![error], omitted: 0 }
    }
}

impl std::error::Error for Report {}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match self.errors.len() + self.omitted {
            1 => write!(f, "1 error in {file}")?,
            n => write!(f, "{n} errors in {file}")?,
        }
        for error in &self.errors {
            write!(f, "\n{file}")?;
            if error.line > 0 {
                write!(f, ":{}:{}", error.line, error.column)?;
            } else {
                write!(f, ":")?;
            }
            if !error.path.is_empty() {
                write!(f, " {}:", error.path)?;
            }
            write!(f, " {}", error.message)?;
            for line in error.suggestion.iter().flat_map(|text| text.lines()) {
                write!(f, "\n    {line}")?;
            }
        }
        if self.omitted > 0 {
            write!(f, "\n… and {} more", self.omitted)?;
        }
        Ok(())
    }
}

/// A fault at a node of the document.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    /// JSON pointer of the node. Of what is not in the document, the nearest part that is counts.
    pub pointer: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub suggestion: Option<String>,
    /// Whether the key is meant and not what stands at it.
    pub on_key: bool,
}

impl Problem {
    /// A fault of the value at `pointer`.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into(), suggestion: None, on_key: false }
    }

    /// Adds what would be right.
    pub fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    /// Says that the key is meant.
    pub fn on_key(mut self) -> Self {
        self.on_key = true;
        self
    }
}

/// A JSON pointer with one more segment.
pub(super) fn join(pointer: &str, segment: impl fmt::Display) -> String {
    format!("{pointer}/{}", escape(&segment.to_string()))
}

/// A name as a segment of a JSON pointer.
pub(crate) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The name in a segment of a JSON pointer.
pub(super) fn unescape(segment: &str) -> String {
    segment.replace("~1", "/").replace("~0", "~")
}

/// A JSON pointer for people: `plugins[0].on[1].where['task.name']`.
pub(super) fn readable(root: &Value, pointer: &str) -> String {
    let mut path = String::new();
    let mut node = Some(root);
    for segment in pointer.split('/').skip(1) {
        let name = unescape(segment);
        if let Some(Value::Array(items)) = node {
            let _ = write!(path, "[{name}]");
            node = name.parse().ok().and_then(|index: usize| items.get(index));
        } else {
            push_key(&mut path, &name);
            node = node.and_then(|node| node.get(&name));
        }
    }
    path
}

/// Adds a key to a path for people.
pub(crate) fn push_key(path: &mut String, name: &str) {
    if name.is_empty() || name.contains(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-' || c == '$')) {
        let _ = write!(path, "['{name}']");
    } else {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(name);
    }
}

/// The candidate that a misspelt word probably stands for.
pub(crate) fn similar<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
    let word = plain(word);
    let length = word.chars().count();
    let limit = match length {
        0..=2 => 0,
        3..=5 => 1,
        6..=8 => 2,
        _ => 3,
    };
    candidates
        .into_iter()
        // The time that a comparison takes, and the memory, grow with both lengths: a word may be a megabyte.
        .filter(|candidate| plain(candidate).chars().count().abs_diff(length) <= limit)
        .map(|candidate| (strsim::damerau_levenshtein(&word, &plain(candidate)), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
