//! The settings of the destination: those that its schema demands, asked one by one.
//!
//! Beside `required` of JSON Schema two annotations count: `writeOnly` (JSON Schema's own: a secret), and `x-ask`: settings that
//! are asked for although they may be absent, as a list of ways; of several ways a person takes one.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use serde_json::{Map, Value};

use super::terminal::{Question, Terminal};
use crate::config::schema_nodes::merged;
use crate::config::{setting_faults, similar};

/// A setting that is given by flag: `NAME=VALUE`, parts of the name with dots between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    name: String,
    value: String,
}

impl FromStr for Given {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() && !value.is_empty() => {
                Ok(Self { name: name.trim().to_owned(), value: value.to_owned() })
            }
            _ => Err("write NAME=VALUE: the name of a setting of the destination, and its value"),
        }
    }
}

/// Settings with a value.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Filled {
    /// As they may stand in the config.
    pub(super) value: Value,
    /// Those that better stand in files of their own: JSON pointer and text.
    pub(super) secrets: BTreeMap<String, String>,
    /// Whether some were asked for: they can be asked for again.
    pub(super) asked: bool,
}

/// Why there are no settings.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lacking {
    /// Flags that are missing, and what they are.
    pub(super) missing: Vec<(String, String)>,
    /// What is wrong with those that are given.
    pub(super) faults: Vec<String>,
}

/// A text as it may stand in the config: what is a placeholder there stays one.
pub(super) fn config_text(text: &str) -> String {
    if is_placeholder(text) { text.to_owned() } else { text.replace("${", "$${") }
}

/// Whether a text says where a secret is, rather than being it.
pub(super) fn is_placeholder(text: &str) -> bool {
    ["${env:", "${file:"].iter().any(|begin| text.contains(begin))
}

/// Fills in the settings that a schema demands: by what is given, else by asking. Without a terminal what is missing is told.
pub(super) fn fill(
    schema: &Value,
    given: &[Given],
    terminal: Option<Terminal>,
) -> anyhow::Result<Result<Filled, Lacking>> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Given { name, value } in given {
        texts.entry(name.clone()).or_default().push(value.clone());
    }
    let (root, secrets, lacking) = (schema, BTreeMap::new(), Lacking::default());
    let mut filler = Filler { root, given: texts, terminal, secrets, asked: false, lacking };
    let value = filler.object(&merged(schema, schema), "", "")?;
    let Filler { secrets, asked, mut lacking, .. } = filler;
    lacking.faults.dedup();
    let complete = lacking == Lacking::default();
    Ok(if complete { Ok(Filled { value, secrets, asked }) } else { Err(lacking) })
}

struct Filler<'a> {
    root: &'a Value,
    given: BTreeMap<String, Vec<String>>,
    terminal: Option<Terminal>,
    secrets: BTreeMap<String, String>,
    asked: bool,
    lacking: Lacking,
}

impl Filler<'_> {
    /// An object at a path for people and its JSON pointer.
    fn object(&mut self, schema: &Value, path: &str, pointer: &str) -> anyhow::Result<Value> {
        let mut names = texts(&schema["required"]);
        names.extend(self.way(schema, path)?);
        names.extend(self.given_below(path));
        let mut object = Map::new();
        for name in names {
            if object.contains_key(&name) {
                continue;
            }
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let Some(property) = schema["properties"].get(&name) else {
                self.unknown(&path, &name, &schema["properties"]);
                continue;
            };
            let pointer = deeper(pointer, &name);
            if let Some(value) = self.value(&merged(property, self.root), &path, &pointer)? {
                object.insert(name, value);
            }
        }
        Ok(Value::Object(object))
    }

    fn value(&mut self, schema: &Value, path: &str, pointer: &str) -> anyhow::Result<Option<Value>> {
        let has_parts = |schema: &Value| schema["properties"].is_object();
        if has_parts(schema) {
            return self.object(schema, path, pointer).map(Some);
        }
        if schema["additionalProperties"].is_object() && self.given.keys().any(|name| below(name, path).is_some()) {
            return self.mapping(schema, path, pointer).map(Some);
        }
        let items = merged(&schema["items"], self.root);
        if has_parts(&items) {
            // One is enough to begin with.
            let first = self.object(&items, path, &format!("{pointer}/0"))?;
            return Ok(Some(Value::Array(vec![first])));
        }
        self.plain(schema, path, pointer)
    }

    /// A mapping with names that are not the schema's, each given by a flag of its own. Names may have dots in them.
    fn mapping(&mut self, schema: &Value, path: &str, pointer: &str) -> anyhow::Result<Value> {
        let mut inner = merged(&schema["additionalProperties"], self.root);
        if is_secret(schema) {
            inner["writeOnly"] = true.into();
        }
        let names: Vec<String> = self.given.keys().filter_map(|name| below(name, path)).map(str::to_owned).collect();
        let mut mapping = Map::new();
        for name in names {
            if let Some(value) = self.plain(&inner, &format!("{path}.{name}"), &deeper(pointer, &name))? {
                mapping.insert(name, value);
            }
        }
        Ok(Value::Object(mapping))
    }

    /// A setting without parts.
    fn plain(&mut self, schema: &Value, path: &str, pointer: &str) -> anyhow::Result<Option<Value>> {
        let (root, form) = (self.root, Form::of(schema, self.root));
        let inner = |keyword: &str| is_secret(&merged(&schema[keyword], root));
        let secret = is_secret(schema) || inner("items") || inner("additionalProperties");
        let take = |texts: &[String]| form.read(texts, schema, root);
        let value = if let Some(given) = self.given.get(path) {
            match take(given) {
                Ok(value) => value,
                Err(reason) => {
                    self.lacking.faults.push(format!("--set {path}: {reason}"));
                    return Ok(None);
                }
            }
        } else if let Some(terminal) = self.terminal {
            let about = form.about(schema);
            let default = default(schema);
            let question = Question { about: &about, name: path, default: default.as_deref(), hidden: secret };
            self.asked = true;
            terminal.ask(question, |text| take(&[text.to_owned()]))?
        } else {
            if default(schema).is_none() {
                self.lacking.missing.push((format!("--set {path}={}", form.word()), form.about(schema)));
            }
            return Ok(None);
        };
        Ok(Some(self.kept(value, secret, pointer)))
    }

    /// The value as it may stand in the config; secrets are noted.
    fn kept(&mut self, value: Value, secret: bool, pointer: &str) -> Value {
        match value {
            Value::String(text) => {
                if secret && !is_placeholder(&text) {
                    self.secrets.insert(pointer.to_owned(), text.clone());
                }
                Value::String(config_text(&text))
            }
            Value::Array(items) => {
                let items = items.into_iter().enumerate();
                items.map(|(index, item)| self.kept(item, secret, &format!("{pointer}/{index}"))).collect()
            }
            Value::Object(entries) => {
                let entries = entries.into_iter().map(|(name, value)| {
                    let value = self.kept(value, secret, &deeper(pointer, &name));
                    (name, value)
                });
                Value::Object(entries.collect())
            }
            other => other,
        }
    }

    /// The settings of the way that is taken, of those that an object offers.
    fn way(&mut self, schema: &Value, path: &str) -> anyhow::Result<Vec<String>> {
        let ways: Vec<Vec<String>> = schema["x-ask"].as_array().into_iter().flatten().map(texts).collect();
        if ways.len() < 2 {
            return Ok(ways.into_iter().next().unwrap_or_default());
        }
        let given: BTreeSet<String> = self.given_below(path).into_iter().collect();
        let asks = self.terminal.is_some();
        // Where nobody can be asked, a default is taken.
        let settled =
            |name: &String| given.contains(name) || (!asks && default(&self.property(schema, name)).is_some());
        let whole = ways.iter().filter(|way| way.iter().all(settled) && !(asks && way.is_empty()));
        let begun = ways.iter().filter(|way| way.iter().any(|name| given.contains(name)));
        if let Some(way) = whole.max_by_key(|way| way.len()).or_else(|| begun.max_by_key(|way| way.len())) {
            return Ok(way.clone());
        }
        let described = |way: &Vec<String>| {
            let part = |name: &String| {
                let about = about(&self.property(schema, name));
                format!("{name} ({})", first_sentence(&about))
            };
            if way.is_empty() { "nothing more".to_owned() } else { way.iter().map(part).collect::<Vec<_>>().join("; ") }
        };
        if let Some(terminal) = self.terminal {
            let list: Vec<String> =
                ways.iter().enumerate().map(|(n, way)| format!("  {}  {}", n + 1, described(way))).collect();
            let what = if path.is_empty() { String::new() } else { format!(" of `{path}`") };
            let about = format!("Which settings{what}?\n{}", list.join("\n"));
            let question = Question { about: &about, name: "number", default: Some("1"), hidden: false };
            self.asked = true;
            return terminal.ask(question, |text| {
                let number: Option<usize> = text.parse().ok();
                let way = number.and_then(|number| ways.get(number.checked_sub(1)?));
                way.cloned().ok_or_else(|| format!("write a number from 1 to {}", ways.len()))
            });
        }
        let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
        let flags =
            |way: &Vec<String>| way.iter().map(|name| format!("--set {prefix}{name}=…")).collect::<Vec<_>>().join(" ");
        let all = ways.iter().map(flags).collect::<Vec<_>>().join(", or ");
        self.lacking.missing.push((all, ways.iter().map(described).collect::<Vec<_>>().join(", or ")));
        Ok(Vec::new())
    }

    /// A part of an object.
    fn property(&self, schema: &Value, name: &str) -> Value {
        merged(&schema["properties"][name], self.root)
    }

    /// The names of what is given directly below a path.
    fn given_below(&self, path: &str) -> Vec<String> {
        let below = self.given.keys().filter_map(|name| below(name, path));
        below.filter_map(|name| name.split('.').next()).map(str::to_owned).collect()
    }

    fn unknown(&mut self, path: &str, name: &str, properties: &Value) {
        let known = properties.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
        let meant = similar(name, known).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
        self.lacking.faults.push(format!("--set {path}: the destination has no such setting{meant}"));
    }
}

/// What values of a setting look like.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    Text,
    Integer,
    Number,
    Truth,
    Choice(Vec<String>),
    List(Box<Form>),
    /// Anything: JSON, or else a text.
    Other,
}

impl Form {
    fn of(schema: &Value, root: &Value) -> Self {
        let constants = schema["oneOf"].as_array().into_iter().flatten();
        let constants: Vec<String> = constants
            .flat_map(|form| form["const"].as_str().map_or_else(|| texts(&form["enum"]), |text| vec![text.to_owned()]))
            .chain(texts(&schema["enum"]))
            .collect();
        if !constants.is_empty() {
            return Self::Choice(constants);
        }
        let types = match &schema["type"] {
            Value::String(name) => vec![name.clone()],
            several => texts(several),
        };
        match types.iter().find(|name| *name != "null").map(String::as_str) {
            Some("string") => Self::Text,
            Some("integer") => Self::Integer,
            Some("number") => Self::Number,
            Some("boolean") => Self::Truth,
            Some("array") => Self::List(Box::new(Self::of(&merged(&schema["items"], root), root))),
            _ => Self::Other,
        }
    }

    /// What stands for a value in a flag that is missing.
    fn word(&self) -> String {
        match self {
            Self::Text | Self::Other => "TEXT".to_owned(),
            Self::Integer | Self::Number => "NUMBER".to_owned(),
            Self::Truth => "true|false".to_owned(),
            Self::Choice(values) => values.join("|"),
            Self::List(inner) => format!("{0},{0}", inner.word()),
        }
    }

    /// The words of the question.
    fn about(&self, schema: &Value) -> String {
        let about = about(schema);
        match self {
            Self::Choice(values) => format!("{about} One of: {}.", values.join(", ")),
            Self::List(_) => format!("{about} Several with commas between."),
            Self::Truth => format!("{about} true or false."),
            _ => about,
        }
    }

    /// A value from texts: several are parts of a list. The error says what would be right.
    fn read(&self, texts: &[String], schema: &Value, root: &Value) -> Result<Value, String> {
        let value = match self {
            Self::List(inner) => {
                let parts = texts.iter().flat_map(|text| text.split(',')).map(str::trim);
                parts.filter(|part| !part.is_empty()).map(|part| inner.one(part)).collect::<Result<Value, _>>()?
            }
            _ => match texts {
                [text] => self.one(text)?,
                _ => return Err("takes one value".to_owned()),
            },
        };
        // What a placeholder stands for is looked at with the whole config.
        if texts.iter().any(|text| is_placeholder(text)) {
            return Ok(value);
        }
        let faults = setting_faults(schema, root, &value);
        if faults.is_empty() { Ok(value) } else { Err(faults.join("; ")) }
    }

    fn one(&self, text: &str) -> Result<Value, String> {
        // The texts in a list or mapping may have placeholders.
        let parts = matches!(self, Self::Other).then(|| serde_json::from_str::<Value>(text).ok()).flatten();
        if let Some(parts) = parts.filter(|parts| parts.is_object() || parts.is_array()) {
            return Ok(parts);
        }
        if is_placeholder(text) {
            return Ok(Value::String(text.to_owned()));
        }
        match self {
            Self::Text => Ok(Value::String(text.to_owned())),
            Self::Integer => text.parse::<i64>().map(Value::from).map_err(|_| "must be a whole number".to_owned()),
            Self::Number => {
                let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
                number.map(Value::from).ok_or_else(|| "must be a number".to_owned())
            }
            Self::Truth => text.parse::<bool>().map(Value::from).map_err(|_| "must be true or false".to_owned()),
            Self::Choice(values) => {
                let found = values.iter().find(|value| value.eq_ignore_ascii_case(text));
                found.cloned().map(Value::String).ok_or_else(|| format!("must be one of {}", values.join(", ")))
            }
            Self::List(_) | Self::Other => Ok(serde_json::from_str(text).unwrap_or_else(|_| text.into())),
        }
    }
}

/// The JSON pointer of a part.
fn deeper(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// What is left of the name of a setting below a path, if it is below it.
fn below<'a>(name: &'a str, path: &str) -> Option<&'a str> {
    if path.is_empty() { Some(name) } else { name.strip_prefix(path)?.strip_prefix('.') }
}

/// What a setting is if it is absent, where that can be said in a word.
fn default(schema: &Value) -> Option<String> {
    match &schema["default"] {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

fn is_secret(schema: &Value) -> bool {
    schema["writeOnly"].as_bool().unwrap_or_default()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// What a setting is, in one line, without advice that is followed here anyway.
fn about(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    let text = text.split("It is a secret").next().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn first_sentence(text: &str) -> &str {
    text.split(". ").next().unwrap_or(text).trim_end_matches('.')
}

#[cfg(test)]
mod tests;
