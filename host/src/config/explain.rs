//! Says in plain words what a value has that its schema does not allow.
//!
//! Of a choice between several forms the one is picked that the value was probably meant to have, so that the error is
//! about a field and not about the choice.

use std::collections::{BTreeMap, BTreeSet};

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{JsonType, ValidationError};
use serde_json::Value;

use super::relax::placeholder;
use super::report::{Problem, escape, join, similar};

/// Keyword with the words for a pattern, as some editors know it: "must be …".
const WORDS: &str = "patternErrorMessage";
/// Keyword with the words for what must not be there, as some editors know it.
const REFUSAL: &str = "errorMessage";

/// Explains errors against one schema.
pub(super) struct Explainer<'a> {
    /// The schema.
    pub schema: &'a Value,
    /// JSON pointer of the value in the document.
    pub prefix: &'a str,
    /// Whether values may be quoted: never those of settings, of which any could be a password.
    pub quote: bool,
    /// Tells which values are secrets, by their pointer in the document.
    pub secret: &'a dyn Fn(&str) -> bool,
}

impl Explainer<'_> {
    /// Adds the faults that are behind an error.
    pub fn explain(&self, error: &ValidationError<'_>, problems: &mut Vec<Problem>) {
        let pointer = format!("{}{}", self.prefix, error.instance_path().as_str());
        let schema_path = error.schema_path().as_str();
        let node = schema_path.rsplit_once('/').and_then(|(node, _)| self.schema.pointer(node));
        let say = |message: String| Problem::new(pointer.clone(), message);
        let value = error.instance();
        let problem = match error.kind() {
            Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
                let known = node.map(|node| self.known_keys(node)).unwrap_or_default();
                problems.extend(unexpected.iter().map(|name| unknown_key(&pointer, name, &known)));
                return;
            }
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
                return self.choice(error, node, context, problems);
            }
            Kind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                let problem = say(format!("`{name}` is missing"));
                // In a branch of a condition only the name is asked for: the schema around it describes the field.
                let around = schema_path.rsplitn(3, '/').nth(2).and_then(|around| self.schema.pointer(around));
                let about = format!("/properties/{}/description", escape(name));
                let about = [node, around].into_iter().flatten().find_map(|node| node.pointer(&about));
                match about.and_then(Value::as_str).and_then(|text| text.lines().next()) {
                    Some(about) => problem.suggest(format!("add `{name}:` ({})", about.trim_end_matches('.'))),
                    None => problem.suggest(format!("add `{name}:`")),
                }
            }
            Kind::Type { kind } => {
                let types: Vec<JsonType> = match kind {
                    TypeKind::Single(one) => vec![*one],
                    TypeKind::Multiple(set) => set.iter().collect(),
                };
                self.wrong_type(&pointer, value, &types, node)
            }
            Kind::Enum { options } => {
                let options = options.as_array().map(|options| options.iter().collect()).unwrap_or_default();
                self.none_of(&pointer, value, options)
            }
            Kind::Constant { expected_value } => self.none_of(&pointer, value, vec![expected_value.as_ref()]),
            Kind::Pattern { pattern } => {
                let words = node.and_then(|node| node.get(WORDS)).and_then(Value::as_str);
                let about = node.and_then(|node| node.get("description")).and_then(Value::as_str);
                match (words, about) {
                    (Some(words), _) => say(self.with_value(&pointer, value, words)),
                    (None, Some(about)) => say(self.with_value(&pointer, value, "does not have the right form"))
                        .suggest(about.trim_end_matches('.').to_owned()),
                    (None, None) => say(self.with_value(&pointer, value, &format!("does not match `{pattern}`"))),
                }
            }
            Kind::Format { format } => {
                let words = match format.as_str() {
                    "uri" | "url" => "must be a URL with its scheme, such as `https://example.com/path`",
                    "email" => "must be an e-mail address",
                    "hostname" => "must be the name of a host",
                    "ipv4" => "must be an IPv4 address",
                    "ipv6" => "must be an IPv6 address",
                    "date-time" => "must be a date with time, such as `2026-01-31T12:00:00Z`",
                    "date" => "must be a date, such as `2026-01-31`",
                    "time" => "must be a time, such as `12:00:00Z`",
                    "regex" => "must be a regular expression",
                    other => &format!("must have the format `{other}`"),
                };
                say(self.with_value(&pointer, value, words))
            }
            Kind::Minimum { limit } => say(self.with_value(&pointer, value, &format!("must be at least {limit}"))),
            Kind::Maximum { limit } => {
                let problem = say(self.with_value(&pointer, value, &format!("must be at most {limit}")));
                if pointer == "/version" {
                    problem.suggest("this Butler knows no later form: run the newer one that the file was written for")
                } else {
                    problem
                }
            }
            Kind::ExclusiveMinimum { limit } => {
                say(self.with_value(&pointer, value, &format!("must be more than {limit}")))
            }
            Kind::ExclusiveMaximum { limit } => {
                say(self.with_value(&pointer, value, &format!("must be less than {limit}")))
            }
            Kind::MultipleOf { multiple_of } => {
                say(self.with_value(&pointer, value, &format!("must be a multiple of {multiple_of}")))
            }
            Kind::MinLength { limit: 1 } => say("must not be empty".to_owned()),
            Kind::MinLength { limit } => say(format!("must have at least {limit} characters")),
            Kind::MaxLength { limit } => say(format!("must have at most {limit} characters")),
            Kind::MinItems { limit: 1 } => say("must have at least one entry".to_owned()),
            Kind::MinItems { limit } | Kind::MinProperties { limit } => {
                say(format!("must have at least {limit} entries"))
            }
            Kind::MaxItems { limit } | Kind::MaxProperties { limit } => {
                say(format!("must have at most {limit} entries"))
            }
            Kind::AdditionalItems { limit } => say(format!("must have at most {limit} entries")),
            Kind::UniqueItems => say("has an entry twice".to_owned()),
            Kind::Contains => say("lacks an entry that is needed".to_owned()),
            Kind::PropertyNames { error } => say(match error.instance().as_str() {
                Some(name) => format!("the key `{name}` is not allowed here"),
                None => "has a key that is not allowed here".to_owned(),
            }),
            Kind::FalseSchema | Kind::Not { .. } => {
                let words = node.and_then(|node| node.get(REFUSAL)).and_then(Value::as_str);
                say(words.unwrap_or("is not allowed here").to_owned())
            }
            Kind::OneOfMultipleValid { .. } => say("fits several of the allowed forms at once".to_owned()),
            // The texts of the rest would quote the value.
            _ => say(format!("does not fit the schema (`{}`)", error.kind().keyword())),
        };
        problems.push(problem);
    }

    /// None of several forms fits.
    fn choice(
        &self,
        error: &ValidationError<'_>,
        node: Option<&Value>,
        context: &[Vec<ValidationError<'static>>],
        problems: &mut Vec<Problem>,
    ) {
        let forms = node.and_then(|node| node.get("anyOf")).and_then(Value::as_array);
        if let (Some([_, second]), [first, _]) = (forms.map(Vec::as_slice), context)
            && *second == placeholder()
        {
            return first.iter().for_each(|error| self.explain(error, problems));
        }
        let here = error.instance_path().as_str();
        let meant = context.iter().filter(|form| !form.iter().any(|error| rules_out(error, here)));
        if let Some(form) = meant.min_by_key(|form| form.len()) {
            return form.iter().for_each(|error| self.explain(error, problems));
        }
        // Every form is ruled out: by its type, by its fixed value, or by a field that tells the forms apart.
        let mut types = BTreeSet::new();
        let mut options: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        let mut tag = error.instance().as_ref();
        for reason in context.iter().flatten() {
            let at = reason.instance_path().as_str();
            match reason.kind() {
                Kind::Type { kind: TypeKind::Single(one) } if at == here => {
                    types.insert(*one);
                }
                Kind::Type { kind: TypeKind::Multiple(set) } if at == here => types.extend(set.iter()),
                Kind::Enum { options: more } if rules_out(reason, here) => {
                    options.entry(at).or_default().extend(more.as_array().into_iter().flatten());
                }
                Kind::Constant { expected_value } if rules_out(reason, here) => {
                    options.entry(at).or_default().push(expected_value);
                }
                _ => {}
            }
        }
        types.remove(&JsonType::Null);
        let at = options.keys().copied().max_by_key(|at| options[at].len());
        if let Some(at) = at
            && (at == here || error.instance().is_object())
        {
            if let Some(inner) = error.instance().pointer(&at[here.len()..]) {
                tag = inner;
            }
            let allowed = options.remove(at).unwrap_or_default();
            problems.push(self.none_of(&format!("{}{at}", self.prefix), tag, allowed));
        } else {
            let types: Vec<JsonType> = types.into_iter().collect();
            problems.push(self.wrong_type(&format!("{}{here}", self.prefix), tag, &types, node));
        }
    }

    fn wrong_type(&self, pointer: &str, value: &Value, types: &[JsonType], node: Option<&Value>) -> Problem {
        if value.is_null() {
            return Problem::new(pointer, "has no value").suggest("give it one, or remove the line");
        }
        let names: Vec<&str> = types
            .iter()
            .map(|one| match one {
                JsonType::Null => "empty",
                JsonType::Boolean => "`true` or `false`",
                JsonType::Integer => "a whole number",
                JsonType::Number => "a number",
                JsonType::String => "a text",
                JsonType::Array => "a list",
                JsonType::Object => "a mapping",
            })
            .collect();
        let is = match value {
            Value::Null => "empty",
            Value::Bool(_) => "`true` or `false`",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "a mapping",
        };
        let shown = self.shown(pointer, value);
        let words = node.and_then(|node| node.get(WORDS)).and_then(Value::as_str);
        if let (Some(words), [JsonType::String], true) = (words, types, value.is_number()) {
            return Problem::new(pointer, self.with_value(pointer, value, words));
        }
        let wanted = if names.is_empty() { "something else".to_owned() } else { names.join(" or ") };
        let problem = Problem::new(pointer, format!("must be {wanted}, not {is}"));
        let wants = |one| types.contains(&one);
        let number = |text: &str| text.trim().parse::<f64>().is_ok();
        match value {
            Value::Number(_) | Value::Bool(_) if wants(JsonType::String) => match shown {
                Some(shown) => problem.suggest(format!("quote it: \"{shown}\"")),
                None => problem.suggest("put it into quotes"),
            },
            Value::String(text) if (wants(JsonType::Integer) || wants(JsonType::Number)) && number(text) => {
                problem.suggest("write it without quotes")
            }
            Value::String(text) if wants(JsonType::Boolean) && matches!(text.as_str(), "true" | "false") => {
                problem.suggest("write it without quotes")
            }
            Value::String(text) if wants(JsonType::Boolean) => match text.to_lowercase().as_str() {
                "yes" | "on" | "y" => problem.suggest("write `true`"),
                "no" | "off" | "n" => problem.suggest("write `false`"),
                _ => problem,
            },
            Value::String(_) | Value::Number(_) if wants(JsonType::Array) => match shown {
                Some(shown) => problem.suggest(format!("write it as a list: [{shown}]")),
                None => problem.suggest("write it as a list: [ … ]"),
            },
            _ => problem,
        }
    }

    /// A value that is none of those that are allowed.
    fn none_of(&self, pointer: &str, value: &Value, options: Vec<&Value>) -> Problem {
        let mut names: Vec<String> = Vec::new();
        for option in options {
            let name = option.as_str().map_or_else(|| option.to_string(), str::to_owned);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let words = match quoted.as_slice() {
            [one] => format!("must be {one}"),
            _ => format!("must be one of {}", quoted.join(", ")),
        };
        let problem = Problem::new(pointer, self.with_value(pointer, value, &words));
        let secret = (self.secret)(pointer);
        let right = value.as_str().filter(|_| !secret).and_then(|text| similar(text, names.iter().map(String::as_str)));
        match right {
            Some(right) => problem.suggest(format!("did you mean `{right}`?")),
            None => problem,
        }
    }

    fn with_value(&self, pointer: &str, value: &Value, words: &str) -> String {
        match self.shown(pointer, value) {
            Some(shown) if !shown.is_empty() => format!("{words}, not `{shown}`"),
            _ => words.to_owned(),
        }
    }

    /// A value for an error text, if it is short and may be shown.
    fn shown(&self, pointer: &str, value: &Value) -> Option<String> {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            _ => return None,
        };
        let fit = text.len() <= 60 && !text.contains(char::is_control);
        (self.quote && fit && !(self.secret)(pointer)).then_some(text)
    }

    /// The keys that a schema knows, those of its parts included.
    fn known_keys<'s>(&'s self, node: &'s Value) -> BTreeSet<&'s str> {
        let mut known = BTreeSet::new();
        let mut nodes = vec![node];
        // A schema may refer to itself.
        let mut steps = 0;
        while let Some(node) = nodes.pop() {
            steps += 1;
            if steps > 200 {
                break;
            }
            let properties = node.get("properties").and_then(Value::as_object);
            known.extend(properties.into_iter().flat_map(|properties| properties.keys().map(String::as_str)));
            if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
                nodes.extend(reference.strip_prefix('#').and_then(|pointer| self.schema.pointer(pointer)));
            }
            for keyword in ["allOf", "anyOf", "oneOf"] {
                nodes.extend(node.get(keyword).and_then(Value::as_array).into_iter().flatten());
            }
        }
        known
    }
}

fn unknown_key(pointer: &str, name: &str, known: &BTreeSet<&str>) -> Problem {
    let problem = Problem::new(join(pointer, name), "unknown key").on_key();
    let names: Vec<&str> = known.iter().copied().collect();
    match similar(name, names.iter().copied()) {
        Some(right) => problem.suggest(format!("did you mean `{right}`?")),
        None if (1..=16).contains(&names.len()) => problem.suggest(format!("known here: {}", names.join(", "))),
        None => problem,
    }
}

/// Whether an error shows that a form was not meant at all: another type, or another value in the field that tells the
/// forms apart.
fn rules_out(error: &ValidationError<'_>, here: &str) -> bool {
    let at = error.instance_path().as_str();
    let field = at.strip_prefix(here).is_some_and(|rest| rest.matches('/').count() == 1);
    match error.kind() {
        Kind::Type { .. } => at == here,
        Kind::Constant { .. } => at == here || field,
        Kind::Enum { options } => at == here || (field && options.as_array().is_some_and(|options| options.len() == 1)),
        _ => false,
    }
}
