//! Rewrites JSON schemas: walks through the schemas in a schema, lets placeholders pass, takes a plugin's schema into
//! the host's.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::secrets;

/// Keywords that hold one schema.
const SINGLE: [&str; 12] = [
    "items",
    "additionalProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
    "additionalItems",
    "contains",
    "propertyNames",
    "contentSchema",
    "then",
    "else",
    "if",
    "not",
];
/// Keywords that hold a list of schemas.
const LISTS: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
/// Keywords that hold schemas by name.
const MAPS: [&str; 5] = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];
/// Keywords that hold conditions: what is weaker in them makes the whole stricter.
const CONDITIONS: [&str; 2] = ["if", "not"];
/// Keywords that say something about a schema without being part of it.
const ANNOTATIONS: [&str; 8] =
    ["title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment"];

/// Visits a schema and all schemas in it, the inner ones first. `skip`: keywords whose schemas are left alone.
pub(super) fn visit(schema: &mut Value, skip: &[&str], visitor: &mut dyn FnMut(&mut Map<String, Value>)) {
    let Value::Object(node) = schema else { return };
    for (keyword, value) in node.iter_mut() {
        let keyword = keyword.as_str();
        if skip.contains(&keyword) {
            continue;
        }
        match value {
            Value::Object(map) if MAPS.contains(&keyword) => {
                for inner in map.values_mut() {
                    visit(inner, skip, visitor);
                }
            }
            // `items` may be a list in older drafts.
            Value::Array(list) if LISTS.contains(&keyword) || keyword == "items" => {
                for inner in list {
                    visit(inner, skip, visitor);
                }
            }
            _ if SINGLE.contains(&keyword) => visit(value, skip, visitor),
            _ => {}
        }
    }
    visitor(node);
}

/// The schema of a text with a placeholder.
pub(super) fn placeholder() -> Value {
    json!({ "type": "string", "pattern": secrets::PATTERN })
}

/// Lets a text with a placeholder stand wherever a text, a number, `true` or `false` may.
pub(super) fn relax(schema: &mut Value) {
    visit(schema, &CONDITIONS, &mut |node| {
        // With placeholders a value may fit several forms, of which nobody can say yet which one it will be.
        if !only_constants(node.get("oneOf"))
            && !node.contains_key("anyOf")
            && let Some(forms) = node.remove("oneOf")
        {
            node.insert("anyOf".to_owned(), forms);
        }
        if refuses_placeholders(node) {
            let mut outer: Map<String, Value> = Map::new();
            let mut inner = std::mem::take(node);
            for keyword in ANNOTATIONS {
                if let Some(value) = inner.remove(keyword) {
                    outer.insert(keyword.to_owned(), value);
                }
            }
            outer.insert("anyOf".to_owned(), json!([inner, placeholder()]));
            *node = outer;
        }
    });
}

/// Whether these are the forms of a choice between fixed values.
fn only_constants(forms: Option<&Value>) -> bool {
    let forms = forms.and_then(Value::as_array);
    forms.is_some_and(|forms| forms.iter().all(|form| form.get("const").is_some() || form.get("enum").is_some()))
}

fn refuses_placeholders(node: &Map<String, Value>) -> bool {
    if only_constants(node.get("oneOf")) {
        return true;
    }
    let types: Option<Vec<&str>> = match node.get("type") {
        Some(Value::String(name)) => Some(vec![name]),
        Some(Value::Array(names)) => Some(names.iter().filter_map(Value::as_str).collect()),
        _ => None,
    };
    if let Some(types) = types
        && !types.contains(&"string")
    {
        return types.iter().any(|name| matches!(*name, "integer" | "number" | "boolean"));
    }
    // The shortest placeholder, `${env:X}`, has 8 characters.
    ["pattern", "format", "maxLength"].iter().any(|keyword| node.contains_key(*keyword))
        || node.get("minLength").and_then(Value::as_u64).is_some_and(|length| length > 8)
        // An enum of one, like `const`, tells forms from each other and is no choice.
        || node.get("enum").and_then(Value::as_array).is_some_and(|values| values.len() > 1)
}

/// Takes a plugin's schema apart into definitions for another schema: its own under the plugin's name, and those that it
/// had under that name and theirs.
pub(super) fn adopt(plugin: &str, schema: &Value) -> BTreeMap<String, Value> {
    let mut schema = schema.clone();
    visit(&mut schema, &[], &mut |node| {
        if let Some(Value::String(reference)) = node.get_mut("$ref") {
            let local = reference.strip_prefix('#').map(|local| {
                let definition = ["/$defs/", "/definitions/"].iter().find_map(|folder| local.strip_prefix(folder));
                match definition {
                    Some(name) => format!("#/$defs/{plugin}.{name}"),
                    None if local.is_empty() || local.starts_with('/') => format!("#/$defs/{plugin}{local}"),
                    None => format!("#{local}"),
                }
            });
            if let Some(local) = local {
                *reference = local;
            }
        }
    });
    let mut definitions = BTreeMap::new();
    if let Some(node) = schema.as_object_mut() {
        node.remove("$schema");
        node.remove("$id");
        for folder in ["$defs", "definitions"] {
            if let Some(Value::Object(inner)) = node.remove(folder) {
                definitions.extend(inner.into_iter().map(|(name, schema)| (format!("{plugin}.{name}"), schema)));
            }
        }
    }
    definitions.insert(plugin.to_owned(), schema);
    definitions
}
