//! The schemas that others refer to, under their names in the document.
//!
//! A schema of a plugin or of the host is a document of its own, with its definitions in `$defs`. Within another document its
//! references would lead nowhere: so the definitions become components, and references are turned to them.

use serde_json::{Map, Value};

const PLACE: &str = "#/components/schemas/";

/// Named schemas.
#[derive(Default)]
pub(super) struct Components(Map<String, Value>);

impl Components {
    pub(super) fn add(&mut self, name: &str, schema: Value) {
        self.0.insert(name.to_owned(), schema);
    }

    pub(super) fn into_schemas(self) -> Value {
        Value::Object(self.0)
    }

    /// A schema as it may stand in the document. `owner` begins the names of its definitions; `whole` is its own name, if
    /// something in it refers to itself.
    pub(super) fn place(&mut self, owner: &str, whole: &str, schema: &Value) -> Value {
        let mut schema = schema.clone();
        let mut definitions = Map::new();
        if let Some(entries) = schema.as_object_mut() {
            // The document says which dialect it is, and that nothing is elsewhere.
            entries.remove("$schema");
            entries.remove("$id");
            for keyword in ["$defs", "definitions"] {
                if let Some(Value::Object(found)) = entries.remove(keyword) {
                    definitions.extend(found);
                }
            }
        }
        // A name that another schema has given to something else gets a number.
        let mut number = 1;
        let (name, placed) = loop {
            let end = if number == 1 { String::new() } else { number.to_string() };
            let name = |definition: &str| plain(&format!("{owner}{definition}{end}"));
            let placed: Map<String, Value> = definitions
                .iter()
                .map(|(definition, schema)| {
                    let mut schema = schema.clone();
                    redirect(&mut schema, &name, whole);
                    (name(definition), schema)
                })
                .collect();
            if placed.iter().all(|(name, schema)| self.0.get(name).is_none_or(|other| other == schema)) {
                break (end, placed);
            }
            number += 1;
        };
        let name = |definition: &str| plain(&format!("{owner}{definition}{name}"));
        redirect(&mut schema, &name, whole);
        let itself = format!("{PLACE}{whole}");
        let refers_to_itself = refers(&schema, &itself) || placed.values().any(|schema| refers(schema, &itself));
        self.0.extend(placed);
        if !refers_to_itself {
            return schema;
        }
        self.0.insert(whole.to_owned(), schema);
        serde_json::json!({ "$ref": itself })
    }
}

/// What a name of a component may have.
fn plain(name: &str) -> String {
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    name.chars().map(|c| if sound(c) { c } else { '_' }).collect()
}

/// Turns the references within a schema's own document to where its parts are now.
fn redirect(schema: &mut Value, name: &impl Fn(&str) -> String, whole: &str) {
    match schema {
        Value::Object(entries) => {
            for (keyword, value) in entries {
                match value {
                    Value::String(target) if keyword == "$ref" => {
                        if let Some(pointer) = target.strip_prefix('#') {
                            *target = redirected(pointer, name, whole);
                        }
                    }
                    _ => redirect(value, name, whole),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redirect(item, name, whole)),
        _ => {}
    }
}

fn redirected(pointer: &str, name: &impl Fn(&str) -> String, whole: &str) -> String {
    let definition = ["/$defs/", "/definitions/"].iter().find_map(|prefix| pointer.strip_prefix(prefix));
    match definition {
        Some(rest) => {
            let (definition, inner) =
                rest.split_once('/').map_or((rest, ""), |(first, _)| (first, &rest[first.len()..]));
            let definition = definition.replace("~1", "/").replace("~0", "~");
            format!("{PLACE}{}{inner}", name(&definition))
        }
        None => format!("{PLACE}{whole}{pointer}"),
    }
}

fn refers(schema: &Value, target: &str) -> bool {
    match schema {
        Value::Object(entries) => entries.iter().any(|(keyword, value)| match value {
            Value::String(text) if keyword == "$ref" => {
                text.strip_prefix(target).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            other => refers(other, target),
        }),
        Value::Array(items) => items.iter().any(|item| refers(item, target)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn definitions_become_components() {
        let mut components = Components::default();
        let page = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": { "rows": { "type": "array", "items": { "$ref": "#/$defs/Row" } } },
            "$defs": {
                "Row": { "properties": { "at": { "$ref": "#/$defs/Time" }, "up": { "$ref": "#/$defs/Row" } } },
                "Time": { "type": "string" },
            },
        });
        let placed = components.place("", "GET.rows.200", &page);
        let expected = json!({
            "type": "object",
            "properties": { "rows": { "type": "array", "items": { "$ref": "#/components/schemas/Row" } } },
        });
        assert_eq!(placed, expected);
        // The same again is the same; another of that name gets a number, and so does what goes with it.
        assert_eq!(components.place("", "GET.rows.201", &page), expected);
        let other = json!({ "$ref": "#/$defs/Row/properties/x", "$defs": { "Row": { "type": "integer" } } });
        assert_eq!(components.place("", "x", &other), json!({ "$ref": "#/components/schemas/Row2/properties/x" }));
        let foreign = components.place("chat.", "x", &other);
        assert_eq!(foreign, json!({ "$ref": "#/components/schemas/chat.Row/properties/x" }));
        let names: Vec<String> = components.0.keys().cloned().collect();
        assert_eq!(names, ["Row", "Row2", "Time", "chat.Row"]);
        let row = &components.0["Row"]["properties"];
        assert_eq!(row["up"]["$ref"], "#/components/schemas/Row");
    }

    #[test]
    fn what_refers_to_itself_becomes_a_component_as_a_whole() {
        let mut components = Components::default();
        let tree = json!({ "properties": { "children": { "type": "array", "items": { "$ref": "#" } },
            "name": { "type": "string" }, "alias": { "$ref": "#/properties/name" } } });
        let placed = components.place("tree.", "tree.PUT.v5.tree.body", &tree);
        assert_eq!(placed, json!({ "$ref": "#/components/schemas/tree.PUT.v5.tree.body" }));
        let whole = &components.0["tree.PUT.v5.tree.body"]["properties"];
        assert_eq!(whole["children"]["items"]["$ref"], "#/components/schemas/tree.PUT.v5.tree.body");
        assert_eq!(whole["alias"]["$ref"], "#/components/schemas/tree.PUT.v5.tree.body/properties/name");
    }

    #[test]
    fn null_stays_null() {
        assert_eq!(Components::default().place("", "x", &Value::Null), Value::Null);
    }
}
