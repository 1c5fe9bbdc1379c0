//! Makes input fit its JSON schema where that is safe, and says what does not fit.
//!
//! Load scripts send booleans and numbers as texts (`"overwrite":"true"`), and a query has nothing but texts: such values
//! become what the schema asks for. Messages are those that clients of `/v4` know: the part, the place, the reason
//! (`body/overwrite must be boolean`). Only the first fault is told.

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
            return fault(pointer, "must be equal to one of the allowed values");
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
                    return fault(pointer, format!("must NOT have additional properties ('{name}')"));
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

fn numbers(keywords: &Map<String, Value>, number: &Number, pointer: &str) -> Checked {
    let value = number.as_f64().unwrap_or_default();
    type Fits = fn(f64, f64) -> bool;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn apply(schema: &Value, mut value: Value) -> Result<Value, String> {
        Shape::new(schema).unwrap().unwrap().apply("body", &mut value).map(|()| value)
    }

    #[test]
    fn single_values() {
        // Type, what is sent, what it becomes (`None`: refused).
        let table = [
            ("string", json!(5), Some(json!("5"))),
            ("string", json!(5.0), Some(json!("5"))),
            ("string", json!(1.5), Some(json!("1.5"))),
            ("string", json!(true), Some(json!("true"))),
            ("string", json!(null), Some(json!(""))),
            ("string", json!(["x"]), Some(json!("x"))),
            ("string", json!([7]), Some(json!("7"))),
            ("string", json!(["x", "y"]), None),
            ("string", json!({}), None),
            ("number", json!("250"), Some(json!(250))),
            ("number", json!(" 2.50 "), Some(json!(2.5))),
            ("number", json!("1e3"), Some(json!(1000))),
            ("number", json!("-7"), Some(json!(-7))),
            ("number", json!(true), Some(json!(1))),
            ("number", json!(null), Some(json!(0))),
            ("number", json!(""), None),
            ("number", json!(" "), None),
            ("number", json!("abc"), None),
            ("number", json!("inf"), None),
            ("number", json!("1e999"), None),
            ("integer", json!("5"), Some(json!(5))),
            ("integer", json!("5.0"), Some(json!(5))),
            ("integer", json!("5.5"), None),
            ("integer", json!(5.5), None),
            ("integer", json!(false), Some(json!(0))),
            ("boolean", json!("true"), Some(json!(true))),
            ("boolean", json!("false"), Some(json!(false))),
            ("boolean", json!(1), Some(json!(true))),
            ("boolean", json!(0), Some(json!(false))),
            ("boolean", json!(null), Some(json!(false))),
            ("boolean", json!(""), None),
            ("boolean", json!("1"), None),
            ("boolean", json!("yes"), None),
            ("boolean", json!("TRUE"), None),
            ("boolean", json!(2), None),
            ("array", json!("a"), Some(json!(["a"]))),
            ("array", json!(1), Some(json!([1]))),
            ("array", json!(null), Some(json!([null]))),
            ("array", json!({}), None),
            ("object", json!(null), None),
            ("object", json!("x"), None),
            ("object", json!([]), None),
        ];
        for (name, sent, expected) in table {
            let got = apply(&json!({ "type": name }), sent.clone());
            assert_eq!(got, expected.ok_or(format!("body must be {name}")), "{name} from {sent}");
        }
    }

    #[test]
    fn messages() {
        let schema = json!({
            "type": "object",
            "required": ["key", "type"],
            "properties": {
                "key": { "type": "string", "minLength": 1 },
                "type": { "type": "string", "enum": ["a", "b"] },
                "overwrite": { "type": "boolean", "default": false },
                "eventType": { "type": "string", "maxLength": 3 },
                "ttl": { "type": "number", "minimum": 0 },
                "tags": { "type": "array", "items": { "type": "string" }, "maxItems": 2 },
                "color": { "type": "string", "pattern": "^#" },
                "a/b": { "type": ["integer", "null"] },
            },
        });
        let table = [
            (json!(null), "body must be object"),
            (json!("text"), "body must be object"),
            (json!({}), "body must have required property 'key'"),
            (json!({ "key": "k" }), "body must have required property 'type'"),
            (json!({ "key": "k", "type": "c" }), "body/type must be equal to one of the allowed values"),
            (json!({ "key": "", "type": "a" }), "body/key must NOT have fewer than 1 characters"),
            (json!({ "key": "k", "type": "a", "overwrite": "yes" }), "body/overwrite must be boolean"),
            (
                json!({ "key": "k", "type": "a", "eventType": "äöüß" }),
                "body/eventType must NOT have more than 3 characters",
            ),
            (json!({ "key": "k", "type": "a", "ttl": "" }), "body/ttl must be number"),
            (json!({ "key": "k", "type": "a", "ttl": "-1" }), "body/ttl must be >= 0"),
            (json!({ "key": "k", "type": "a", "tags": [{}] }), "body/tags/0 must be string"),
            (json!({ "key": "k", "type": "a", "tags": [1, 2, 3] }), "body/tags must NOT have more than 2 items"),
            (json!({ "key": "k", "type": "a", "color": "red" }), "body/color must match pattern \"^#\""),
            (json!({ "key": "k", "type": "a", "a/b": "x" }), "body/a~1b must be integer,null"),
        ];
        for (sent, expected) in table {
            assert_eq!(apply(&schema, sent.clone()), Err(expected.to_owned()), "{sent}");
        }
        let good = json!({ "key": 5, "type": "a", "tags": "t", "other": { "kept": true } });
        let made = json!({ "key": "5", "type": "a", "tags": ["t"], "overwrite": false, "other": { "kept": true } });
        assert_eq!(apply(&schema, good), Ok(made));
    }

    #[test]
    fn lists_of_items_with_references_and_choices() {
        let schema = json!({
            "type": "array",
            "items": { "$ref": "#/$defs/item" },
            "$defs": { "item": { "type": "object", "properties": {
                "type": { "enum": ["starttaskid", "keyvaluestore"] },
                "ttl": { "anyOf": [{ "type": "null" }, { "type": "integer" }] },
                "self": { "$ref": "#/$defs/item" },
            } } },
        });
        assert_eq!(apply(&schema, json!({ "type": "x" })), Err("body must be array".to_owned()));
        assert_eq!(apply(&schema, json!(null)), Err("body/0 must be object".to_owned()));
        let wrong = json!([{ "self": { "type": "x" } }]);
        assert_eq!(
            apply(&schema, wrong),
            Err("body/0/self/type must be equal to one of the allowed values".to_owned())
        );
        assert_eq!(
            apply(&schema, json!([{ "ttl": "50" }, { "ttl": null }])),
            Ok(json!([{ "ttl": 50 }, { "ttl": null }]))
        );
        let endless = json!({ "$ref": "#" });
        assert!(
            Shape::new(&endless)
                .map(|shape| shape.map(|shape| shape.walk(&endless, &mut json!(1), "", 0).is_ok()))
                .is_ok()
        );
    }

    #[test]
    fn a_closed_object_names_what_is_too_much() {
        let schema = json!({ "type": "object", "properties": { "a": {} }, "additionalProperties": false });
        assert_eq!(
            apply(&schema, json!({ "a": 1, "b": 2 })),
            Err("body must NOT have additional properties ('b')".to_owned())
        );
        assert!(!Shape::new(&schema).unwrap().unwrap().accepts_null());
        assert!(Shape::new(&json!({ "type": ["array", "null"] })).unwrap().unwrap().accepts_null());
        assert!(Shape::new(&json!({ "type": "nonsense" })).is_err());
        assert!(Shape::new(&Value::Null).unwrap().is_none());
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(|number| json!(number)),
            any::<i64>().prop_map(Value::from),
            "[a-z0-9.+eE -]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_let_through_fits_the_schema_and_is_left_alone_afterwards(value in values()) {
            let schema = json!({ "type": "object", "required": ["a"], "properties": {
                "a": { "type": "number", "maximum": 1000 },
                "b": { "type": "array", "items": { "type": "boolean" } },
                "c": { "type": ["string", "null"], "maxLength": 4 },
            } });
            let shape = Shape::new(&schema).unwrap().unwrap();
            let mut made = value.clone();
            if shape.apply("body", &mut made).is_ok() {
                prop_assert!(jsonschema::is_valid(&schema, &made));
                let once = made.clone();
                prop_assert!(shape.apply("body", &mut made).is_ok());
                prop_assert_eq!(once, made);
            } else {
                // What fits as it is is never refused.
                prop_assert!(!jsonschema::is_valid(&schema, &value));
            }
        }
    }
}
