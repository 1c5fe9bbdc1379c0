//! Makes input fit its JSON schema where that is safe, and says what does not fit.
//!
//! Load scripts send booleans and numbers as texts (`"overwrite":"true"`), and a query has nothing but texts: such values
//! become what the schema asks for. Messages are those that clients of `/v4` know: the part, the place, the reason
//! (`body/overwrite must be boolean`). Only the first fault is told.

#[cfg(test)]
mod tests;

use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind as Kind;
use serde_json::{Map, Number, Value};

/// Schemas may refer to themselves; input is not nested deeper than this.
const MAX_DEPTH: u32 = 200;
/// Largest number below which all integers are exact.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A schema that input is held against.
#[derive(Debug)]
pub(super) struct Shape {
    schema: Value,
    /// For the keywords that are not looked at here.
    validator: Validator,
}

struct Fault {
    pointer: String,
    reason: String,
}

type Checked = Result<(), Fault>;

impl Shape {
    /// The shape of a schema; `None` for `null`, which asks for nothing.
    pub(super) fn new(schema: &Value) -> Result<Option<Self>, String> {
        if schema.is_null() {
            return Ok(None);
        }
        let validator = jsonschema::validator_for(schema).map_err(|error| error.to_string())?;
        Ok(Some(Self { schema: schema.clone(), validator }))
    }

    /// Whether there may be nothing at all.
    pub(super) fn accepts_null(&self) -> bool {
        self.validator.is_valid(&Value::Null)
    }

    /// Makes a value fit. `part` begins the message: `body` or `querystring`.
    pub(super) fn apply(&self, part: &str, value: &mut Value) -> Result<(), String> {
        self.walk(&self.schema, value, "", 0)
            .map_err(|Fault { pointer, reason }| format!("{part}{pointer} {reason}"))?;
        self.validator.validate(value).map_err(|error| {
            let reason = match error.kind() {
                Kind::Pattern { pattern } => format!("must match pattern \"{pattern}\""),
                Kind::Format { format } => format!("must match format \"{format}\""),
                _ => error.to_string().chars().take(300).collect(),
            };
            format!("{part}{} {reason}", error.instance_path().as_str())
        })
    }

    fn walk(&self, schema: &Value, value: &mut Value, pointer: &str, depth: u32) -> Checked {
        let Some(keywords) = schema.as_object().filter(|_| depth < MAX_DEPTH) else { return Ok(()) };
        if let Some(target) = keywords.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#')) {
            self.walk(self.schema.pointer(target).unwrap_or(&Value::Null), value, pointer, depth + 1)?;
        }
        let types: Vec<&str> = match keywords.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !types.is_empty() && !coerce(value, &types) {
            return fault(pointer, format!("must be {}", types.join(",")));
        }
        match value {
            Value::Number(number) => numbers(keywords, number, pointer)?,
            Value::String(text) => texts(keywords, text, pointer)?,
            Value::Array(items) => {
                let count = items.len() as u64;
                between(keywords, ["minItems", "maxItems"], count, "items", pointer)?;
                if let Some(schema) = keywords.get("items") {
                    for (n, item) in items.iter_mut().enumerate() {
                        self.walk(schema, item, &format!("{pointer}/{n}"), depth + 1)?;
                    }
                }
            }
            Value::Object(entries) => self.object(keywords, entries, pointer, depth)?,
            _ => {}
        }
        if let Some(allowed) = keywords.get("enum").and_then(Value::as_array)
            && !allowed.iter().any(|allowed| same(allowed, value))
        {
            // A schema may have better words than those of Butler 16.
            let reason = keywords.get("errorMessage").and_then(Value::as_str);
            return fault(pointer, reason.unwrap_or("must be equal to one of the allowed values"));
        }
        if keywords.get("const").is_some_and(|constant| !same(constant, value)) {
            return fault(pointer, "must be equal to constant");
        }
        for schema in keywords.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.walk(schema, value, pointer, depth + 1)?;
        }
        for choice in ["anyOf", "oneOf"] {
            if let Some(schemas) = keywords.get(choice).and_then(Value::as_array) {
                self.choose(schemas, value, pointer, depth)?;
            }
        }
        Ok(())
    }

    /// Takes the first schema that the value fits or can be made to fit; one that it fits as it is comes first.
    fn choose(&self, schemas: &[Value], value: &mut Value, pointer: &str, depth: u32) -> Checked {
        let mut first = Ok(());
        let mut made = None;
        for (n, schema) in schemas.iter().enumerate() {
            let mut attempt = value.clone();
            match self.walk(schema, &mut attempt, pointer, depth + 1) {
                Ok(()) if attempt == *value => return Ok(()),
                Ok(()) => made = made.or(Some(attempt)),
                Err(fault) if n == 0 => first = Err(fault),
                Err(_) => {}
            }
        }
        match made {
            Some(made) => {
                *value = made;
                Ok(())
            }
            None => first,
        }
    }

    fn object(
        &self,
        keywords: &Map<String, Value>,
        entries: &mut Map<String, Value>,
        pointer: &str,
        depth: u32,
    ) -> Checked {
        let properties = keywords.get("properties").and_then(Value::as_object);
        for (name, schema) in properties.into_iter().flatten() {
            if let (false, Some(default)) = (entries.contains_key(name), schema.get("default")) {
                entries.insert(name.clone(), default.clone());
            }
        }
        for name in keywords.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !entries.contains_key(name) {
                return fault(pointer, format!("must have required property '{name}'"));
            }
        }
        let declared = |name: &str| properties.is_some_and(|properties| properties.contains_key(name));
        match keywords.get("additionalProperties") {
            Some(Value::Bool(false)) if !keywords.contains_key("patternProperties") => {
                if let Some(name) = entries.keys().find(|name| !declared(name)) {
                    let known: Vec<&str> = properties.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
                    let known = known.join(", ");
                    return fault(
                        pointer,
                        format!("must NOT have additional properties ('{name}'); known are {known}"),
                    );
                }
            }
            Some(schema @ Value::Object(_)) => {
                for (name, entry) in entries.iter_mut().filter(|(name, _)| !declared(name)) {
                    self.walk(schema, entry, &join(pointer, name), depth + 1)?;
                }
            }
            _ => {}
        }
        for (name, schema) in properties.into_iter().flatten() {
            if let Some(entry) = entries.get_mut(name) {
                self.walk(schema, entry, &join(pointer, name), depth + 1)?;
            }
        }
        Ok(())
    }
}

fn fault(pointer: &str, reason: impl Into<String>) -> Checked {
    Err(Fault { pointer: pointer.to_owned(), reason: reason.into() })
}

fn join(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Compares a number with a limit.
type Fits = fn(f64, f64) -> bool;

fn numbers(keywords: &Map<String, Value>, number: &Number, pointer: &str) -> Checked {
    let value = number.as_f64().unwrap_or_default();
    let rules: [(&str, &str, Fits); 4] = [
        ("minimum", ">=", |value, limit| value >= limit),
        ("maximum", "<=", |value, limit| value <= limit),
        ("exclusiveMinimum", ">", |value, limit| value > limit),
        ("exclusiveMaximum", "<", |value, limit| value < limit),
    ];
    for (keyword, sign, fits) in rules {
        if let Some(limit) = keywords.get(keyword)
            && !limit.as_f64().is_none_or(|limit| fits(value, limit))
        {
            return fault(pointer, format!("must be {sign} {limit}"));
        }
    }
    Ok(())
}

fn texts(keywords: &Map<String, Value>, text: &str, pointer: &str) -> Checked {
    between(keywords, ["minLength", "maxLength"], text.chars().count() as u64, "characters", pointer)
}

fn between(keywords: &Map<String, Value>, names: [&str; 2], count: u64, noun: &str, pointer: &str) -> Checked {
    let limit = |name: &str| keywords.get(name).and_then(Value::as_u64);
    if let Some(least) = limit(names[0]).filter(|least| count < *least) {
        return fault(pointer, format!("must NOT have fewer than {least} {noun}"));
    }
    if let Some(most) = limit(names[1]).filter(|most| count > *most) {
        return fault(pointer, format!("must NOT have more than {most} {noun}"));
    }
    Ok(())
}

/// Makes a value one of the types; false when it cannot be.
fn coerce(value: &mut Value, types: &[&str]) -> bool {
    if types.iter().any(|name| is(value, name)) {
        return true;
    }
    // A lone element stands for itself.
    if let Value::Array(items) = value
        && let [item] = items.as_mut_slice()
    {
        *value = item.take();
        if types.iter().any(|name| is(value, name)) {
            return true;
        }
    }
    for name in types {
        let made = match (*name, &*value) {
            ("string", Value::Number(number)) => Some(Value::String(number_text(number))),
            ("string", Value::Bool(_)) => Some(Value::String(value.to_string())),
            ("string", Value::Null) => Some(Value::String(String::new())),
            ("number", Value::String(text)) => number_of(text).map(Value::Number),
            ("integer", Value::String(text)) => {
                number_of(text).map(Value::Number).filter(|number| is(number, "integer"))
            }
            ("number" | "integer", Value::Bool(is)) => Some(Value::from(u8::from(*is))),
            ("number" | "integer", Value::Null) => Some(Value::from(0)),
            ("boolean", Value::Null) => Some(Value::Bool(false)),
            ("boolean", Value::String(text)) => text.parse().ok().map(Value::Bool),
            ("boolean", Value::Number(number)) => match number.as_f64() {
                Some(1.0) => Some(Value::Bool(true)),
                Some(0.0) => Some(Value::Bool(false)),
                _ => None,
            },
            ("null", Value::String(text)) if text.is_empty() => Some(Value::Null),
            ("null", Value::Bool(false)) => Some(Value::Null),
            ("null", Value::Number(number)) if number.as_f64() == Some(0.0) => Some(Value::Null),
            ("array", Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null) => {
                Some(Value::Array(vec![value.clone()]))
            }
            _ => None,
        };
        if let Some(made) = made {
            *value = made;
            return true;
        }
    }
    false
}

fn is(value: &Value, name: &str) -> bool {
    match name {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => false,
    }
}

fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}

/// A decimal number; whole ones become integers, however they are written.
fn number_of(text: &str) -> Option<Number> {
    let text = text.trim();
    if !text.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E')) {
        return None;
    }
    if let Ok(whole) = text.parse::<i64>() {
        return Some(whole.into());
    }
    let number: f64 = text.parse().ok()?;
    whole(number).map(Number::from).or_else(|| Number::from_f64(number))
}

#[allow(clippy::cast_possible_truncation, reason = "checked to be whole and within the exact integers")]
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64)
}

/// As a script would print it: `5`, not `5.0`.
fn number_text(number: &Number) -> String {
    match number.as_f64().and_then(whole) {
        Some(whole) if number.is_f64() => whole.to_string(),
        _ => number.to_string(),
    }
}
