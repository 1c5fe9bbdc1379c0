//! As much of JSON Schema as settings need: is a schema sound, and does a value fit it?
//!
//! The host checks settings with a whole validator. This one knows the keywords that derived schemas are made of; what it
//! does not know it lets pass.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

const TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];
const SINGLE: [&str; 9] = [
    "items",
    "additionalProperties",
    "contains",
    "propertyNames",
    "then",
    "else",
    "if",
    "not",
    "unevaluatedProperties",
];
const LISTS: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
const MAPS: [&str; 5] = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];
const NUMBERS: [&str; 11] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
];
const TEXTS: [&str; 6] = ["$ref", "$schema", "description", "format", "pattern", "title"];
/// A value that refers to itself ends here.
const DEEPEST: usize = 64;

/// What is wrong with a schema, each with its place.
pub(super) fn faults(schema: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    walk(schema, schema, "", &mut faults);
    faults
}

fn walk(root: &Value, schema: &Value, at: &str, faults: &mut Vec<String>) {
    let Value::Object(node) = schema else {
        if !schema.is_boolean() {
            faults.push(format!("{}: a schema is an object or a truth, not {schema}", place(at)));
        }
        return;
    };
    for (keyword, value) in node {
        let keyword = keyword.as_str();
        let inner = format!("{at}/{keyword}");
        let mut wrong = |needed: &str| faults.push(format!("{}: `{keyword}` must be {needed}", place(at)));
        match value {
            Value::Object(map) if MAPS.contains(&keyword) => {
                map.iter().for_each(|(name, schema)| walk(root, schema, &format!("{inner}/{name}"), faults));
            }
            Value::Array(list) if LISTS.contains(&keyword) => {
                if list.is_empty() {
                    wrong("a list with at least one schema");
                }
                for (index, schema) in list.iter().enumerate() {
                    walk(root, schema, &format!("{inner}/{index}"), faults);
                }
            }
            _ if MAPS.contains(&keyword) => wrong("an object of schemas"),
            _ if LISTS.contains(&keyword) => wrong("a list of schemas"),
            _ if SINGLE.contains(&keyword) => walk(root, value, &inner, faults),
            _ if NUMBERS.contains(&keyword) && !value.is_number() => wrong("a number"),
            _ if TEXTS.contains(&keyword) && !value.is_string() => wrong("a text"),
            _ => match keyword {
                "type" if !types(value).is_some_and(|types| types.iter().all(|name| TYPES.contains(name))) => {
                    wrong(&format!("one of {}", TYPES.join(", ")));
                }
                "required" if !value.as_array().is_some_and(|names| names.iter().all(Value::is_string)) => {
                    wrong("a list of names");
                }
                "enum" if !value.is_array() => wrong("a list of values"),
                "$ref" if resolve(root, value).is_none() => {
                    wrong("a place in this schema: the host fetches no other documents");
                }
                _ => {}
            },
        }
    }
}

fn place(at: &str) -> &str {
    if at.is_empty() { "the root" } else { at }
}

/// The names of a `type`, which is one or a list.
fn types(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(name) => Some(vec![name]),
        Value::Array(names) => names.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

fn resolve<'a>(root: &'a Value, reference: &Value) -> Option<&'a Value> {
    root.pointer(reference.as_str()?.strip_prefix('#')?)
}

/// The settings that a schema describes, by their place (`proxy.url`), without those whose value is given by the schema.
pub(super) fn properties(root: &Value) -> BTreeMap<String, &Map<String, Value>> {
    let mut found = BTreeMap::new();
    collect(root, root, "", 0, &mut found);
    found
}

fn collect<'a>(
    root: &'a Value,
    schema: &'a Value,
    at: &str,
    depth: usize,
    found: &mut BTreeMap<String, &'a Map<String, Value>>,
) {
    let Value::Object(node) = schema else { return };
    // A type that holds itself is described once.
    if depth > 8 {
        return;
    }
    for (name, property) in node.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        if let Value::Object(fields) = property
            && !fields.contains_key("const")
        {
            found.entry(path.clone()).or_insert(fields);
        }
        collect(root, property, &path, depth + 1, found);
    }
    let lists = LISTS.iter().filter_map(|keyword| node.get(*keyword)).filter_map(Value::as_array).flatten();
    let single = ["items", "additionalProperties"].iter().filter_map(|keyword| node.get(*keyword));
    let target = node.get("$ref").and_then(|reference| resolve(root, reference));
    for inner in lists.chain(single).chain(target) {
        collect(root, inner, at, depth + 1, found);
    }
}

/// Whether a setting says what it is: itself, or its type.
pub(super) fn is_described(root: &Value, property: &Map<String, Value>) -> bool {
    let has = |node: &Map<String, Value>| {
        node.get("description").and_then(Value::as_str).is_some_and(|text| !text.trim().is_empty())
    };
    let forms = property.get("anyOf").or_else(|| property.get("allOf")).and_then(Value::as_array);
    let forms = forms.into_iter().flatten().filter_map(Value::as_object);
    has(property)
        || std::iter::once(property)
            .chain(forms)
            .filter_map(|node| resolve(root, node.get("$ref")?)?.as_object())
            .any(has)
}

/// Where a value does not fit a schema.
pub(super) fn misfits(root: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut misfits = Vec::new();
    check(root, schema, value, "", 0, &mut misfits);
    misfits
}

fn fits(root: &Value, schema: &Value, value: &Value, depth: usize) -> bool {
    let mut misfits = Vec::new();
    check(root, schema, value, "", depth, &mut misfits);
    misfits.is_empty()
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, depth: usize, misfits: &mut Vec<String>) {
    let at_text = if at.is_empty() { "the settings" } else { at };
    let Value::Object(node) = schema else {
        if *schema == Value::Bool(false) {
            misfits.push(format!("{at_text}: nothing may be here"));
        }
        return;
    };
    if depth > DEEPEST {
        return;
    }
    let depth = depth + 1;
    let mut say = |text: String| misfits.push(format!("{at_text}: {text}"));
    if let Some(names) = node.get("type").and_then(types)
        && !names.iter().any(|name| is_type(name, value))
    {
        say(format!("must be of type {}", names.join(" or ")));
        return;
    }
    if let Some(list) = node.get("enum").and_then(Value::as_array)
        && !list.contains(value)
    {
        say(format!("must be one of {}", list.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")));
    }
    if node.get("const").is_some_and(|only| only != value) {
        say(format!("must be {}", node["const"]));
    }
    let limit = |keyword: &str| node.get(keyword).and_then(Value::as_f64);
    if let Some(number) = value.as_f64() {
        let low = limit("minimum").is_some_and(|least| number < least)
            || limit("exclusiveMinimum").is_some_and(|least| number <= least);
        let high = limit("maximum").is_some_and(|most| number > most)
            || limit("exclusiveMaximum").is_some_and(|most| number >= most);
        if low || high {
            say("is out of range".to_owned());
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "no settings are that long")]
    let length = match value {
        Value::String(text) => Some((text.chars().count() as f64, "minLength", "maxLength")),
        Value::Array(items) => Some((items.len() as f64, "minItems", "maxItems")),
        _ => None,
    };
    if let Some((length, least, most)) = length
        && (limit(least).is_some_and(|least| length < least) || limit(most).is_some_and(|most| length > most))
    {
        say("is too short or too long".to_owned());
    }
    let list = |keyword: &str| node.get(keyword).and_then(Value::as_array);
    if let Some(forms) = list("anyOf")
        && !forms.iter().any(|form| fits(root, form, value, depth))
    {
        say("fits none of the forms that are possible".to_owned());
    }
    if let Some(forms) = list("oneOf")
        && forms.iter().filter(|form| fits(root, form, value, depth)).count() != 1
    {
        say("must fit exactly one of the forms that are possible".to_owned());
    }
    if let Value::Object(fields) = value {
        for name in list("required").into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                say(format!("`{name}` is missing"));
            }
        }
    }
    for form in list("allOf").into_iter().flatten() {
        check(root, form, value, at, depth, misfits);
    }
    if let Some(target) = node.get("$ref").and_then(|reference| resolve(root, reference)) {
        check(root, target, value, at, depth, misfits);
    }
    match value {
        Value::Object(fields) => {
            let known = node.get("properties").and_then(Value::as_object);
            for (name, value) in fields {
                let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                let own = known.and_then(|known| known.get(name));
                let rest = node.get("additionalProperties").filter(|_| !node.contains_key("patternProperties"));
                if let Some(schema) = own.or(rest) {
                    check(root, schema, value, &path, depth, misfits);
                }
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                if let Some(schema) = node.get("items") {
                    check(root, schema, value, &format!("{at}[{index}]"), depth, misfits);
                }
            }
        }
        _ => {}
    }
}

fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "object" => value.is_object(),
        "string" => value.is_string(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn broken_schemas_are_found() {
        for (schema, part) in [
            (json!({ "type": "nonsense" }), "the root: `type` must be one of"),
            (json!({ "properties": { "a": 1 } }), "/properties/a: a schema is an object"),
            (json!({ "properties": [] }), "`properties` must be an object"),
            (json!({ "anyOf": [] }), "at least one schema"),
            (json!({ "anyOf": {} }), "a list of schemas"),
            (json!({ "items": { "minimum": "1" } }), "/items: `minimum` must be a number"),
            (json!({ "required": "a" }), "a list of names"),
            (json!({ "enum": "a" }), "a list of values"),
            (json!({ "$ref": "#/$defs/none" }), "a place in this schema"),
            (json!({ "$ref": "https://a.test/schema" }), "a place in this schema"),
            (json!({ "pattern": 1 }), "`pattern` must be a text"),
        ] {
            let faults = faults(&schema);
            assert!(faults.len() == 1 && faults[0].contains(part), "{schema}: {faults:?}");
        }
        let sound = json!({ "$defs": { "a": true }, "items": { "$ref": "#/$defs/a" }, "type": ["string", "null"] });
        assert_eq!(faults(&sound), Vec::<String>::new());
    }

    #[test]
    fn misfits_name_their_place() {
        let schema = json!({
            "type": "object", "required": ["url"], "additionalProperties": false,
            "properties": {
                "url": { "type": "string", "minLength": 2 },
                "count": { "type": ["integer", "null"], "minimum": 0, "maximum": 5 },
                "mode": { "$ref": "#/$defs/mode" },
                "list": { "type": "array", "items": { "anyOf": [{ "const": 1 }, { "type": "string" }] } },
                "one": { "oneOf": [{ "type": "integer" }, { "type": "number" }] }
            },
            "$defs": { "mode": { "enum": ["a", "b"] } }
        });
        let misfits = |value: Value| misfits(&schema, &schema, &value);
        assert_eq!(misfits(json!({ "url": "ab", "count": null, "mode": "a", "list": [1, "x"], "one": 0.5 })), [""; 0]);
        for (value, text) in [
            (json!([]), "the settings: must be of type object"),
            (json!({}), "the settings: `url` is missing"),
            (json!({ "url": "a" }), "url: is too short or too long"),
            (json!({ "url": "ab", "count": 6 }), "count: is out of range"),
            (json!({ "url": "ab", "count": 1.5 }), "count: must be of type integer or null"),
            (json!({ "url": "ab", "mode": "c" }), "mode: must be one of \"a\", \"b\""),
            (json!({ "url": "ab", "list": [2] }), "list[0]: fits none"),
            (json!({ "url": "ab", "one": 1 }), "one: must fit exactly one"),
            (json!({ "url": "ab", "more": 1 }), "more: nothing may be here"),
        ] {
            let found = misfits(value);
            assert!(found.len() == 1 && found[0].starts_with(text), "{text}: {found:?}");
        }
    }
}
