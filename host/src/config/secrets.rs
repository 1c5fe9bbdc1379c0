//! Placeholders: `${env:NAME}` and `${file:PATH}` in the texts of a config, and what they stand for.
//!
//! A placeholder may be the whole text or a part of it; `$${` stands for a literal `${`. What is put in is a secret: no
//! error quotes it, and [`Secrets`] takes it out of every text that comes back from elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::redact::{SHORTEST, Secrets};
use super::report::{Problem, join, similar};

/// Longest file that a placeholder may name, in bytes.
const LONGEST_FILE: u64 = 64 << 10;
/// Where secrets are: a short host name or port is no reason to warn.
const SETTINGS: &str = "/plugins/";
/// JSON pointers of what is a secret even if it is written out.
const ALWAYS: [&str; 1] = ["/qlik/certificates/passphrase"];
/// Most placeholders in a config.
const MOST_PLACEHOLDERS: usize = 1000;
/// Most bytes that the secrets of a config have together.
const MOST_BYTES: usize = 1 << 20;

/// What a text with a placeholder looks like, for schemas.
pub(super) const PATTERN: &str = r"\$\{(env|file):[^}]+\}";

/// Where the values of placeholders come from.
pub(super) struct Source<'a> {
    /// Environment variables.
    pub env: &'a dyn Fn(&str) -> Option<OsString>,
    /// Folder at which relative paths start.
    pub base_dir: &'a Path,
}

/// A value of which the placeholders were put in.
pub(super) struct Resolved {
    /// The value. Texts that could not be resolved are unchanged.
    pub value: Value,
    /// What was put in.
    pub secrets: Secrets,
    /// JSON pointers of the texts with something put in, and of what is a secret in any case; `true`: the text is one
    /// placeholder and nothing else.
    pub tainted: BTreeMap<String, bool>,
    /// JSON pointers of the texts that could not be resolved.
    pub unresolved: BTreeSet<String>,
    /// Why they could not.
    pub problems: Vec<Problem>,
    /// JSON pointers and what should be known about the value there.
    pub remarks: Vec<(String, String)>,
}

/// Why a placeholder has no value, and what would be right.
struct Failure {
    message: String,
    suggestion: Option<String>,
}

fn failure(message: impl Into<String>, suggestion: &str) -> Failure {
    Failure { message: message.into(), suggestion: Some(suggestion.to_owned()) }
}

/// A part of a text.
enum Part {
    Literal(String),
    Placeholder { name: String, value: Result<String, Failure> },
}

impl<'a> Source<'a> {
    /// The environment of this process.
    pub fn system(base_dir: &'a Path) -> Self {
        Self { env: &|name| std::env::var_os(name), base_dir }
    }

    /// A text with its placeholders put in or, if that fails, as it is.
    pub fn lenient(&self, text: &str) -> String {
        if text.matches("${").count() > MOST_PLACEHOLDERS {
            return text.to_owned();
        }
        let parts = self.parts(text).into_iter().map(|part| match part {
            Part::Literal(text) | Part::Placeholder { value: Ok(text), .. } => Some(text),
            Part::Placeholder { .. } => None,
        });
        parts.collect::<Option<String>>().unwrap_or_else(|| text.to_owned())
    }

    /// Puts in the placeholders of all texts in a value.
    pub fn resolve(&self, value: &Value) -> Resolved {
        let mut resolved = Resolved {
            value: value.clone(),
            secrets: Secrets::default(),
            tainted: BTreeMap::new(),
            unresolved: BTreeSet::new(),
            problems: Vec::new(),
            remarks: Vec::new(),
        };
        let mut values = BTreeSet::new();
        let mut texts = Vec::new();
        find_texts(value, "", &mut texts);
        if texts.iter().map(|(_, text)| text.matches("${").count()).sum::<usize>() > MOST_PLACEHOLDERS {
            resolved.problems.push(Problem::new("", format!("more than {MOST_PLACEHOLDERS} placeholders")));
            resolved.unresolved = texts.into_iter().map(|(pointer, _)| pointer).collect();
            return resolved;
        }
        for (pointer, text) in texts {
            if let Some(text) = self.text(&pointer, text, &mut resolved, &mut values)
                && let Some(place) = resolved.value.pointer_mut(&pointer)
            {
                *place = Value::String(text);
            }
        }
        for pointer in ALWAYS {
            if let Some(value) = resolved.value.pointer(pointer) {
                resolved.tainted.entry(pointer.to_owned()).or_insert(false);
                let written = value.as_str().filter(|_| !resolved.unresolved.contains(pointer));
                values.extend(written.filter(|text| !text.is_empty()).map(str::to_owned));
            }
        }
        if values.iter().map(String::len).sum::<usize>() > MOST_BYTES {
            resolved.problems.push(Problem::new("", "the secrets have more than 1 MB together"));
            values.clear();
        }
        resolved.secrets = Secrets::new(values);
        resolved
    }

    /// The new text at a pointer, if there is one.
    fn text(
        &self,
        pointer: &str,
        text: &str,
        resolved: &mut Resolved,
        values: &mut BTreeSet<String>,
    ) -> Option<String> {
        let parts = self.parts(text);
        let whole = matches!(parts.as_slice(), [Part::Placeholder { .. }]);
        let mut result = String::new();
        let mut failed = false;
        let mut placeholders = 0;
        for part in parts {
            match part {
                Part::Literal(text) => result.push_str(&text),
                Part::Placeholder { name, value } => {
                    placeholders += 1;
                    match value {
                        Ok(value) => {
                            if value.is_empty() {
                                resolved.remarks.push((pointer.to_owned(), format!("{name} is empty")));
                            } else if value.len() < SHORTEST
                                && (pointer.starts_with(SETTINGS) || ALWAYS.contains(&pointer))
                            {
                                let remark = format!(
                                    "{name} is shorter than {SHORTEST} bytes and will not be hidden in logs and answers"
                                );
                                resolved.remarks.push((pointer.to_owned(), remark));
                            }
                            result.push_str(&value);
                            values.insert(value);
                        }
                        Err(Failure { message, suggestion }) => {
                            failed = true;
                            let problem = Problem::new(pointer, message);
                            resolved.problems.push(Problem { suggestion, ..problem });
                        }
                    }
                }
            }
        }
        if failed {
            resolved.unresolved.insert(pointer.to_owned());
            return None;
        }
        if placeholders > 0 {
            resolved.tainted.insert(pointer.to_owned(), whole);
        }
        Some(result)
    }

    /// Cuts a text, from left to right, and looks the placeholders up.
    fn parts(&self, text: &str) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            literal.push_str(&rest[..dollar]);
            rest = &rest[dollar..];
            if let Some(after) = rest.strip_prefix("$${") {
                literal.push_str("${");
                rest = after;
            } else if let Some(after) = rest.strip_prefix("${") {
                let (inner, after) = match after.split_once('}') {
                    Some((inner, after)) => (Some(inner), after),
                    None => (None, ""),
                };
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                parts.push(self.placeholder(inner));
                rest = after;
            } else {
                literal.push('$');
                rest = &rest[1..];
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        parts
    }

    /// Looks up what stands between the braces; `None`: there is no closing brace.
    fn placeholder(&self, inner: Option<&str>) -> Part {
        const FORMS: &str = "write `${env:NAME}` or `${file:PATH}`; a literal `${` is written `$${`";
        let unknown = |value| Part::Placeholder { name: String::new(), value: Err(value) };
        // What is here may be a password with odd characters, so only the kind of the placeholder is ever quoted.
        match inner.map(|inner| inner.split_once(':').unwrap_or((inner, ""))) {
            None => unknown(failure("a placeholder is not closed: after `${` there is no `}`", FORMS)),
            Some(("env" | "file", "")) => unknown(failure("a placeholder names nothing", FORMS)),
            Some(("env", name)) => {
                let name_for_people = format!("the environment variable `{name}`");
                let value = self.variable(name);
                Part::Placeholder { name: name_for_people, value }
            }
            Some(("file", path)) => {
                let name = format!("the file `{path}`");
                let value = self.file(path);
                Part::Placeholder { name, value }
            }
            Some((kind, _)) => unknown(match similar(kind, ["env", "file"]) {
                Some(right) => {
                    failure(format!("unknown placeholder `${{{kind}:…}}`"), &format!("did you mean `{right}`?"))
                }
                None => failure("unknown placeholder", FORMS),
            }),
        }
    }

    fn variable(&self, name: &str) -> Result<String, Failure> {
        // The system's own function is not asked for names that it could not take.
        let value = if name.contains(['=', '\0']) { None } else { (self.env)(name) };
        let Some(value) = value else {
            let message = format!("the environment variable `{name}` is not set");
            return Err(failure(message, "set it for the account that Butler runs under"));
        };
        value.into_string().map_err(|_| Failure {
            message: format!("the environment variable `{name}` is not valid UTF-8"),
            suggestion: None,
        })
    }

    fn file(&self, path: &str) -> Result<String, Failure> {
        let full = self.base_dir.join(path);
        let fail = |what: String| Failure {
            message: format!("the file `{path}` {what}"),
            suggestion: (full != Path::new(path)).then(|| format!("the full path is {}", full.display())),
        };
        text_of_secret_file(&full).map_err(fail)
    }
}

/// What a file with a secret has, in UTF-8: without the ends of lines at its end. The error says what is wrong with the file (`is no …`).
pub fn text_of_secret_file(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    // Looked at before it is opened: opening a pipe waits for its other end.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(LONGEST_FILE + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err("is larger than 64 kB".to_owned());
    }
    // What `>` of an older PowerShell writes.
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("is encoded as UTF-16: save it as UTF-8".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8: save it as UTF-8".to_owned())?;
    // Editors of Windows put a mark at the beginning, which nobody sees.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// What the placeholders of a kind (`env` or `file`) in the texts of a config name.
pub fn placeholders(config: &Value, kind: &str) -> BTreeSet<String> {
    let mut texts = Vec::new();
    find_texts(config, "", &mut texts);
    texts.into_iter().flat_map(|(_, text)| named(text, kind)).map(str::to_owned).collect()
}

/// The names in the placeholders of a kind in a text; `$${` begins none.
pub(crate) fn named<'t>(text: &'t str, kind: &str) -> impl Iterator<Item = &'t str> {
    let begin = format!("${{{kind}:");
    let begins: Vec<usize> = text.match_indices(&begin).map(|(at, _)| at).collect();
    begins.into_iter().filter_map(move |at| {
        let escaped = text[..at].ends_with('$');
        let (name, _) = text[at + begin.len()..].split_once('}')?;
        (!escaped).then_some(name)
    })
}

/// The texts in a value that may have a placeholder.
fn find_texts<'v>(value: &'v Value, pointer: &str, texts: &mut Vec<(String, &'v str)>) {
    match value {
        Value::String(text) if text.contains("${") => texts.push((pointer.to_owned(), text)),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                find_texts(item, &join(pointer, index), texts);
            }
        }
        Value::Object(entries) => {
            for (name, entry) in entries {
                find_texts(entry, &join(pointer, name), texts);
            }
        }
        _ => {}
    }
}
