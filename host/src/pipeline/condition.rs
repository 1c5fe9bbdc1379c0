//! Conditions of a rule: `where: { app.stream: "Finance*", execution.duration: "> 300s" }`.
//!
//! A condition names a field of the event by its path and says what its value must be. A field may have several values
//! (tags, values of a custom property): one of them must fit.

use std::borrow::Cow;

use butler_plugin_api::{Event, kind};
use serde_json::{Map, Value};

use crate::config::{Size, Span};

/// Paths that lead to no fact of the data.
pub(super) const BESIDE_DATA: &[&str] = &["kind", "source", "tags", "time"];
/// Short names for what people ask for most, which stand below `app`.
pub(super) const SHORT: &[&str] = &["owner", "stream"];

/// All conditions of one rule.
#[derive(Debug, Clone, Default)]
pub struct Conditions(Vec<Condition>);

#[derive(Debug, Clone)]
struct Condition {
    path: FieldPath,
    test: Test,
    /// The test as it was written.
    source: Value,
}

/// The path of a field: `task.name`, `task.customProperties['a.b']`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPath {
    text: String,
    parts: Vec<String>,
}

#[derive(Debug, Clone)]
enum Test {
    Any(Vec<Test>),
    Not(Box<Test>),
    Text(String),
    Glob(String),
    Number(f64),
    Bool(bool),
    Compare(Comparison, Quantity),
}

#[derive(Debug, Clone, Copy)]
enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy)]
enum Quantity {
    Number(f64),
    Millis(f64),
    Bytes(f64),
}

/// Whether conditions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All hold.
    Holds,
    /// One does not.
    Fails,
    /// None fails, but this path is of a fact that could not be fetched.
    Unknown(String),
}

/// The values of a field.
enum Found<'a> {
    /// These, perhaps none.
    Values(Vec<Cow<'a, Value>>),
    /// The event's kind does not have it.
    Foreign,
    /// It could not be fetched.
    Missing,
}

impl Conditions {
    /// Compiles the `where:` of a rule. Errors: pairs of path and what is wrong with it.
    pub fn compile(source: &Map<String, Value>) -> Result<Self, Vec<(String, String)>> {
        let mut conditions = Vec::with_capacity(source.len());
        let mut errors = Vec::new();
        for (path, test) in source {
            let compiled = FieldPath::parse(path)
                .and_then(|path| Ok(Condition { path, test: Test::compile(test)?, source: test.clone() }));
            match compiled {
                Ok(condition) => conditions.push(condition),
                Err(message) => errors.push((path.clone(), message)),
            }
        }
        if errors.is_empty() { Ok(Self(conditions)) } else { Err(errors) }
    }

    /// Whether they hold for an event.
    pub fn verdict(&self, event: &Event, document: &Value) -> Verdict {
        let mut unknown = None;
        for condition in &self.0 {
            match condition.path.find(event, document) {
                Found::Foreign => return Verdict::Fails,
                Found::Missing => unknown = unknown.or_else(|| Some(condition.path.text.clone())),
                Found::Values(values) => {
                    if !condition.test.holds(&values, &condition.path) {
                        return Verdict::Fails;
                    }
                }
            }
        }
        unknown.map_or(Verdict::Holds, Verdict::Unknown)
    }

    /// Which of them does not hold for an event, in words; `None` when none fails.
    pub fn refusal(&self, event: &Event, document: &Value) -> Option<String> {
        self.0.iter().find_map(|Condition { path, test, source }| {
            let is = match path.find(event, document) {
                Found::Foreign => format!("events {} have no such field", event.kind),
                Found::Values(values) if test.holds(&values, path) => return None,
                Found::Values(values) if values.is_empty() => "has no value".to_owned(),
                Found::Values(values) => {
                    format!("is {}", values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
                }
                Found::Missing => return None,
            };
            Some(format!("`{}` must be {source}, and {is}", path.text))
        })
    }
}

impl FieldPath {
    /// Parses a path.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            if let Some(quoted) = rest.strip_prefix("['") {
                let (name, after) = quoted.split_once("']").ok_or_else(|| format!("`{text}` has `['` without `']`"))?;
                parts.push(name.to_owned());
                rest = after;
            } else {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                if end == 0 {
                    return Err(format!("`{text}` is no path: write names with dots between, such as `task.name`"));
                }
                parts.push(rest[..end].to_owned());
                rest = &rest[end..];
            }
            rest = match rest.strip_prefix('.') {
                Some("") => return Err(format!("`{text}` ends with a dot")),
                Some(after) => after,
                None if rest.is_empty() || rest.starts_with('[') => rest,
                None => return Err(format!("`{text}` is no path: write names with dots between, such as `task.name`")),
            };
        }
        if parts.is_empty() || parts.iter().any(String::is_empty) {
            return Err(format!("`{text}` is no path: write names with dots between, such as `task.name`"));
        }
        if SHORT.contains(&parts[0].as_str()) {
            parts.insert(0, "app".to_owned());
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// Its names, from the outside to the inside; `stream` and `owner` stand in their place, below `app`.
    pub fn parts(&self) -> &[String] {
        &self.parts
    }

    /// The one value that stands for the field in a throttle key; `None` when it has none.
    pub fn key(&self, event: &Event, document: &Value) -> Option<String> {
        let Found::Values(values) = self.find_raw(event, document) else { return None };
        let texts: Vec<String> = values
            .iter()
            .filter_map(|value| match &**value {
                Value::Object(object) => {
                    let text = |name: &str| object.get(name).and_then(Value::as_str);
                    // A service has no id: its host and its name are what tells it from others.
                    text("id").map(str::to_owned).or_else(|| Some(format!("{}|{}", text("host")?, text("name")?)))
                }
                Value::String(text) => Some(text.clone()),
                Value::Null => None,
                other => Some(other.to_string()),
            })
            .filter(|text| !text.is_empty())
            .collect();
        (!texts.is_empty()).then(|| texts.join(","))
    }

    /// The values to compare: objects stand for their names.
    fn find<'a>(&self, event: &Event, document: &'a Value) -> Found<'a> {
        match self.find_raw(event, document) {
            // What is known of it, an id, is not what it is called.
            Found::Values(values)
                if !values.is_empty()
                    && values.iter().all(|value| is_nameless(value))
                    && self.is_missing(event, self.parts.len()) =>
            {
                Found::Missing
            }
            Found::Values(values) => Found::Values(values.into_iter().flat_map(names_of).collect()),
            other => other,
        }
    }

    fn find_raw<'a>(&self, event: &Event, document: &'a Value) -> Found<'a> {
        let root = self.parts[0].as_str();
        match (root, self.parts.len()) {
            ("kind" | "source" | "time", 1) => {
                return Found::Values(vec![Cow::Borrowed(&document[root])]);
            }
            ("tags", 1) => {
                let data = &document["data"];
                let tags = [&data["task"]["tags"], &data["app"]["tags"]];
                let values: Vec<_> =
                    tags.into_iter().filter_map(Value::as_array).flatten().map(Cow::Borrowed).collect();
                let missing = values.is_empty()
                    && event.data.missing.iter().any(|fact| matches!(fact.as_str(), "task" | "app" | "tags"));
                return if missing { Found::Missing } else { Found::Values(values) };
            }
            _ => {}
        }
        let Some(mut value) = document["data"].get(root) else {
            let missing = event.data.missing.iter().any(|fact| fact == root);
            return if missing { Found::Missing } else { Found::Foreign };
        };
        for (depth, part) in self.parts.iter().enumerate().skip(1) {
            let Some(inner) = lookup(value, part) else {
                return if self.is_missing(event, depth) { Found::Missing } else { Found::Values(Vec::new()) };
            };
            value = inner;
        }
        let values: Vec<_> = match value {
            Value::Array(values) => values.iter().map(Cow::Borrowed).collect(),
            value => vec![Cow::Borrowed(value)],
        };
        if values.is_empty() && self.is_missing(event, self.parts.len()) {
            Found::Missing
        } else {
            Found::Values(values)
        }
    }

    /// Whether the fact that a part of this path belongs to could not be fetched.
    fn is_missing(&self, event: &Event, depth: usize) -> bool {
        let is = |fact: &str| event.data.missing.iter().any(|missing| missing == fact);
        is(&self.parts[0])
            || self.parts.iter().take(depth + 1).any(|part| part == "owner") && is("owner")
            || self.parts.get(1).and_then(|part| fact_of(&self.parts[0], part)).is_some_and(is)
    }
}

/// The fact, as it is called where it is missing, that a field in a section of other facts belongs to: each is a look-up of its
/// own in Qlik Cloud.
fn fact_of(section: &str, field: &str) -> Option<&'static str> {
    match (section, field) {
        ("app", "tags" | "fileSize" | "fileSizeBytes") => Some("tags"),
        ("cloud", "userName") => Some("user"),
        ("cloud", "ownerPicture") => Some("owner"),
        ("cloud", "appHasSectionAccess" | "appThumbnail" | "usage") => Some("app"),
        ("cloud", "reloadTrigger" | "errorCode" | "errorMessage" | "log" | "isPartialReload" | "appUrl") => {
            Some("execution")
        }
        _ => None,
    }
}

/// Whether a value is there only because its id was heard of.
fn is_nameless(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Object(object) => object.get("name").is_some_and(|name| name == ""),
        _ => false,
    }
}

/// A member of an object; quantities are also found without their unit (`duration` for `durationMs`).
fn lookup<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let object = value.as_object()?;
    object.get(name).or_else(|| UNITS.iter().find_map(|(unit, _)| object.get(&format!("{name}{unit}"))))
}

/// Units in names of fields, with their milliseconds or bytes.
pub(super) const UNITS: [(&str, f64); 4] = [("Ms", 1.0), ("Seconds", 1000.0), ("Minutes", 60_000.0), ("Bytes", 1.0)];

/// What an object is called, in each way that people write it; other values stand for themselves.
fn names_of(value: Cow<'_, Value>) -> Vec<Cow<'_, Value>> {
    let Value::Object(object) = &*value else { return vec![value] };
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    let mut names = Vec::new();
    for name in ["name", "id"] {
        names.extend(text(name).map(|text| Cow::Owned(Value::from(text))));
    }
    if let (Some(directory), Some(id)) = (text("userDirectory"), text("userId")) {
        names.push(Cow::Owned(Value::from(format!("{directory}\\{id}"))));
    }
    names
}

impl Test {
    fn compile(source: &Value) -> Result<Self, String> {
        match source {
            Value::Array(tests) if tests.is_empty() => {
                Err("an empty list fits nothing: name at least one value".to_owned())
            }
            Value::Array(tests) => tests.iter().map(Self::compile).collect::<Result<_, _>>().map(Self::Any),
            Value::Object(object) => match object.iter().next() {
                Some((name, test)) if name == "not" && object.len() == 1 => {
                    Ok(Self::Not(Box::new(Self::compile(test)?)))
                }
                _ => Err("only `{ not: … }` may stand here".to_owned()),
            },
            Value::Bool(value) => Ok(Self::Bool(*value)),
            Value::Number(value) => Ok(Self::Number(value.as_f64().unwrap_or(f64::NAN))),
            Value::Null => Err("a value is missing".to_owned()),
            Value::String(text) => Self::compile_text(text),
        }
    }

    fn compile_text(text: &str) -> Result<Self, String> {
        let operators = [
            (">=", Comparison::GreaterOrEqual),
            ("<=", Comparison::LessOrEqual),
            (">", Comparison::Greater),
            ("<", Comparison::Less),
        ];
        for (operator, comparison) in operators {
            if let Some(quantity) = text.strip_prefix(operator) {
                let quantity = Quantity::parse(quantity.trim()).ok_or_else(|| {
                    format!("`{text}` is no comparison: write a number or a quantity, such as `> 300s` or `>= 4MB`")
                })?;
                return Ok(Self::Compare(comparison, quantity));
            }
        }
        Ok(if text.contains('*') { Self::Glob(text.to_owned()) } else { Self::Text(text.to_owned()) })
    }

    fn holds(&self, values: &[Cow<'_, Value>], path: &FieldPath) -> bool {
        match self {
            Self::Not(test) => !test.holds(values, path),
            Self::Any(tests) => tests.iter().any(|test| test.holds(values, path)),
            single => values.iter().any(|value| single.fits(value, path)),
        }
    }

    fn fits(&self, value: &Value, path: &FieldPath) -> bool {
        match self {
            Self::Any(_) | Self::Not(_) => self.holds(&[Cow::Borrowed(value)], path),
            Self::Text(text) => match value {
                Value::String(value) => value == text,
                Value::Number(value) => text.parse::<f64>().is_ok_and(|number| value.as_f64() == Some(number)),
                Value::Bool(value) => value.to_string() == *text,
                _ => false,
            },
            Self::Glob(pattern) => value.as_str().is_some_and(|value| kind::matches(pattern, value)),
            Self::Number(number) => {
                value.as_f64() == Some(*number) || value.as_str().and_then(|text| text.parse().ok()) == Some(*number)
            }
            Self::Bool(expected) => value.as_bool() == Some(*expected),
            Self::Compare(comparison, quantity) => {
                let value = value.as_f64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
                value.is_some_and(|value| comparison.holds(value, quantity.in_unit_of(path)))
            }
        }
    }
}

impl Comparison {
    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

impl Quantity {
    #[allow(clippy::cast_precision_loss, reason = "spans and sizes of practice are exact in 53 bits")]
    fn parse(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse::<f64>() {
            return number.is_finite().then_some(Self::Number(number));
        }
        if let Ok(span) = text.parse::<Span>() {
            return Some(Self::Millis(span.millis() as f64));
        }
        text.parse::<Size>().ok().map(|size| Self::Bytes(size.as_bytes() as f64))
    }

    /// The number to compare a field with, by the unit in the field's name; without one a span counts in milliseconds.
    fn in_unit_of(self, path: &FieldPath) -> f64 {
        let name = path.parts.last().map_or("", String::as_str);
        match self {
            Self::Number(number) | Self::Bytes(number) => number,
            Self::Millis(millis) => {
                let unit = UNITS.iter().find(|(unit, _)| name.ends_with(unit)).map_or(1.0, |(_, millis)| *millis);
                millis / unit
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn event() -> Event {
        serde_json::from_value(json!({
            "id": "x-1", "kind": "reload-task.failed", "time": "2026-03-04T05:06:07.890Z", "receivedAt": "", "source": "udp",
            "data": {
                "task": { "id": "t1", "name": "Nightly", "type": "reload", "tags": ["night", "eu"], "maxRetries": 2,
                          "customProperties": { "Butler_Mail": ["Yes", "Maybe"], "a.b": ["dot"] }, "sessionTimeoutMinutes": 1440 },
                "app": { "id": "a1", "name": "Sales", "stream": { "id": "s1", "name": "Finance EU" }, "tags": ["gold"],
                         "fileSizeBytes": 5_000_000, "customProperties": {},
                         "owner": { "id": "u", "name": "Ann Berg", "userId": "ann", "userDirectory": "LAB", "emails": [] } },
                "execution": { "durationMs": 301_000, "details": [] },
                "node": "sense1", "user": "LAB\\sa"
            }
        }))
        .unwrap()
    }

    fn verdict(event: &Event, conditions: &Value) -> Verdict {
        let conditions = Conditions::compile(conditions.as_object().unwrap()).unwrap();
        conditions.verdict(event, &serde_json::to_value(event).unwrap())
    }

    #[test]
    fn every_form_of_the_grammar() {
        let event = event();
        for (holds, conditions) in [
            (true, json!({ "task.name": "Nightly" })),
            (false, json!({ "task.name": "nightly" })),
            (true, json!({ "task": "Nightly" })),
            (true, json!({ "task": "t1" })),
            (true, json!({ "task.tags": "eu", "tags": "gold" })),
            (false, json!({ "tags": "silver" })),
            (true, json!({ "task.customProperties.Butler_Mail": "Yes" })),
            (true, json!({ "task.customProperties['a.b']": "dot" })),
            (false, json!({ "task.customProperties.None": "Yes" })),
            (true, json!({ "app.stream": "Finance*", "stream": "*EU" })),
            (true, json!({ "owner": "LAB\\ann" })),
            (true, json!({ "app.owner": ["Bob", "Ann Berg"] })),
            (true, json!({ "app.stream": { "not": ["Test*", "Dev*"] } })),
            (false, json!({ "app.stream": { "not": "Finance*" } })),
            (true, json!({ "execution.durationMs": "> 300s" })),
            (true, json!({ "execution.duration": ">= 301s" })),
            (false, json!({ "execution.duration": "> 5m", "node": "sense2" })),
            (true, json!({ "task.sessionTimeoutMinutes": "< 25h" })),
            (true, json!({ "app.fileSize": "> 4MB" })),
            (true, json!({ "task.maxRetries": 2 })),
            (true, json!({ "kind": "reload-task.*", "source": "udp", "user": "LAB\\*" })),
            (false, json!({ "service.name": "x" })),
            (false, json!({ "service.name": { "not": "x" } })),
        ] {
            let expected = if holds { Verdict::Holds } else { Verdict::Fails };
            assert_eq!(verdict(&event, &conditions), expected, "{conditions}");
        }
    }

    #[test]
    fn an_absent_stream_is_not_a_test_stream() {
        let mut event = event();
        event.data.app.as_mut().unwrap().stream = None;
        assert_eq!(verdict(&event, &json!({ "app.stream": { "not": "Test*" } })), Verdict::Holds);
        assert_eq!(verdict(&event, &json!({ "app.stream": "*" })), Verdict::Fails);
    }

    #[test]
    fn only_what_could_not_be_fetched_is_unknown() {
        let mut event = event();
        event.data.missing = vec!["owner".to_owned(), "execution".to_owned()];
        event.data.app.as_mut().unwrap().owner = None;
        event.data.execution = None;
        let unknown = |path: &str| Verdict::Unknown(path.to_owned());
        assert_eq!(verdict(&event, &json!({ "app.owner.name": "Ann" })), unknown("app.owner.name"));
        assert_eq!(verdict(&event, &json!({ "execution.duration": "> 1s" })), unknown("execution.duration"));
        assert_eq!(verdict(&event, &json!({ "app.stream": "X", "app.owner": "Ann" })), Verdict::Fails);
        event.data.missing = vec!["app".to_owned()];
        assert_eq!(verdict(&event, &json!({ "app.description": "x" })), unknown("app.description"));
        assert_eq!(verdict(&event, &json!({ "app.name": "Sales" })), Verdict::Holds, "the log line has the name");
    }

    #[test]
    fn faults_are_named() {
        let errors = Conditions::compile(
            json!({ "task..name": 1, "x['": 1, "a": { "nott": 1 }, "b": "> soon", "c": [], "d": null, "e.": 1 })
                .as_object()
                .unwrap(),
        );
        assert_eq!(errors.unwrap_err().len(), 7);
    }

    #[test]
    fn throttle_keys() {
        let event = event();
        let document = serde_json::to_value(&event).unwrap();
        let key = |path: &str| FieldPath::parse(path).unwrap().key(&event, &document);
        assert_eq!(key("task").as_deref(), Some("t1"));
        assert_eq!(key("task.tags").as_deref(), Some("night,eu"));
        assert_eq!(key("node").as_deref(), Some("sense1"));
        assert_eq!(key("service"), None);
    }

    #[test]
    fn the_same_service_of_two_hosts_has_two_throttle_keys() {
        let key = |host: &str| {
            let mut event = event();
            event.data = serde_json::from_value(json!({ "service": { "host": host, "name": "Engine" } })).unwrap();
            FieldPath::parse("service").unwrap().key(&event, &serde_json::to_value(&event).unwrap())
        };
        assert_eq!(key("sense1").as_deref(), Some("sense1|Engine"));
        assert_eq!(key("sense2").as_deref(), Some("sense2|Engine"));
    }

    proptest! {
        #[test]
        fn a_pattern_made_of_pieces_of_a_text_fits_it(pieces in prop::collection::vec("[a-c]{0,3}", 1..5), gap in "[a-c]{0,2}") {
            prop_assert!(kind::matches(&pieces.join("*"), &pieces.join(&gap)));
        }

        #[test]
        fn paths_and_tests_never_panic(path in ".{0,20}", text in ".{0,20}") {
            let mut source = Map::new();
            source.insert(path, Value::from(text));
            if let Ok(conditions) = Conditions::compile(&source) {
                let event = event();
                conditions.verdict(&event, &serde_json::to_value(&event).unwrap());
            }
        }
    }
}
