//! Names of custom properties and tags of Qlik Sense in the settings of plugins, and secrets in them.
//!
//! Which settings hold some, the plugin's schema says by the keyword `x-qlik`: `customProperty` (the texts there are names of
//! custom properties), `customPropertyValue` (a value of the custom property that is named beside it in the same object)
//! or `tag`. It may stand at a text, and at a list or a mapping, whose texts are meant then.
//!
//! What is a secret the schema says by `writeOnly`, at a text or at a list of texts. At a mapping it does not count here: of
//! headers, say, only some are secrets.

use serde_json::{Map, Value};

use crate::config::schema_nodes::parts;

const KEYWORD: &str = "x-qlik";
const SECRET: &str = "writeOnly";
/// Schemas may refer to themselves.
const DEEPEST: usize = 20;

/// A name in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mention {
    /// Of a custom property, perhaps with a value that it must be able to have.
    Property { name: String, value: Option<String> },
    /// Of a tag.
    Tag(String),
}

/// The names in settings, with their places in them.
pub(super) fn mentions(schema: &Value, settings: &Value) -> Vec<(String, Mention)> {
    let (mut found, mut secrets) = (Vec::new(), Vec::new());
    Walk { root: schema, found: &mut found, secrets: &mut secrets }.value(schema, settings, "", 0);
    found.dedup();
    found
}

/// The secrets in settings: their places, and the texts as they are written there.
pub(super) fn secrets(schema: &Value, settings: &Value) -> Vec<(String, String)> {
    let (mut found, mut secrets) = (Vec::new(), Vec::new());
    Walk { root: schema, found: &mut found, secrets: &mut secrets }.value(schema, settings, "", 0);
    secrets.dedup();
    secrets
}

struct Walk<'a> {
    root: &'a Value,
    found: &'a mut Vec<(String, Mention)>,
    secrets: &'a mut Vec<(String, String)>,
}

impl<'a> Walk<'a> {
    fn value(&mut self, node: &'a Value, value: &Value, place: &str, depth: usize) {
        if depth > DEEPEST {
            return;
        }
        let parts = parts(node, self.root);
        match value {
            Value::Object(entries) => {
                for part in &parts {
                    self.object(part, entries, place, depth);
                }
            }
            Value::Array(items) => {
                if is_secret(&parts) {
                    for (index, text) in items.iter().enumerate().filter_map(|(n, item)| Some((n, item.as_str()?))) {
                        self.secrets.push((format!("{place}[{index}]"), text.to_owned()));
                    }
                }
                for part in parts.iter().filter_map(|part| part.get("items")) {
                    for (index, item) in items.iter().enumerate() {
                        self.value(part, item, &format!("{place}[{index}]"), depth + 1);
                    }
                }
            }
            Value::String(text) if is_secret(&parts) => self.secrets.push((place.to_owned(), text.clone())),
            _ => {}
        }
    }

    fn object(&mut self, part: &'a Value, entries: &Map<String, Value>, place: &str, depth: usize) {
        let Some(properties) = part.get("properties").and_then(Value::as_object) else {
            if let Some(rest) = part.get("additionalProperties") {
                for (name, entry) in entries {
                    self.value(rest, entry, &below(place, name), depth + 1);
                }
            }
            return;
        };
        let marked = |mark: &str| -> Vec<(String, String)> {
            let fields = properties.iter().filter(|(_, node)| mark_of(node) == Some(mark));
            let fields = fields.filter_map(|(name, _)| Some((name, entries.get(name)?)));
            fields.flat_map(|(name, value)| texts(value).into_iter().map(|text| (below(place, name), text))).collect()
        };
        let values = marked("customPropertyValue");
        for (place, name) in marked("customProperty") {
            if values.is_empty() {
                self.found.push((place, Mention::Property { name, value: None }));
                continue;
            }
            for (_, value) in &values {
                let mention = Mention::Property { name: name.clone(), value: Some(value.clone()) };
                self.found.push((place.clone(), mention));
            }
        }
        let tags = marked("tag");
        self.found.extend(tags.into_iter().map(|(place, tag)| (place, Mention::Tag(tag))));
        for (name, node) in properties {
            if let Some(entry) = entries.get(name) {
                self.value(node, entry, &below(place, name), depth + 1);
            }
        }
    }
}

fn is_secret(parts: &[&Value]) -> bool {
    parts.iter().any(|part| part.get(SECRET).and_then(Value::as_bool).unwrap_or_default())
}

fn mark_of(node: &Value) -> Option<&str> {
    node.get(KEYWORD).and_then(Value::as_str)
}

fn below(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

/// The texts of a value: itself, or those in a list or a mapping.
fn texts(value: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let found: Vec<String> = match value {
        Value::Array(items) => items.iter().filter_map(text).collect(),
        Value::Object(entries) => entries.values().filter_map(text).collect(),
        value => text(value).into_iter().collect(),
    };
    found.into_iter().filter(|text| !text.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_found_where_the_schema_says_so() {
        let schema = json!({
            "properties": {
                "from": { "type": "string", "x-qlik": "customProperty" },
                "labels": { "type": "object", "additionalProperties": { "type": "string" }, "x-qlik": "customProperty" },
                "if": { "anyOf": [{ "$ref": "#/$defs/If" }, { "type": "null" }] },
                "never": { "properties": {
                    "tags": { "type": "array", "x-qlik": "tag" },
                    "properties": { "type": "array", "items": { "$ref": "#/$defs/If" } },
                } },
                "routes": { "additionalProperties": { "$ref": "#/$defs/If" } },
                "text": { "type": "string" },
            },
            "$defs": { "If": { "properties": {
                "name": { "type": ["string", "null"], "x-qlik": "customProperty" },
                "value": { "x-qlik": "customPropertyValue" },
                "again": { "$ref": "#/$defs/If" },
            } } },
        });
        let property =
            |name: &str, value: Option<&str>| Mention::Property { name: name.into(), value: value.map(str::to_owned) };
        let settings = json!({
            "from": "A", "labels": { "x": "B" }, "if": { "name": "C", "value": "1", "again": { "name": "D" } }, "text": "no",
            "never": { "tags": ["t", ""], "properties": [{ "name": "E", "value": "2" }] }, "routes": { "r": { "name": "F" } },
        });
        let mut found = mentions(&schema, &settings);
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = [
            ("from", property("A", None)),
            ("if.again.name", property("D", None)),
            ("if.name", property("C", Some("1"))),
            ("labels", property("B", None)),
            ("never.properties[0].name", property("E", Some("2"))),
            ("never.tags", Mention::Tag("t".to_owned())),
            ("routes.r.name", property("F", None)),
        ];
        assert_eq!(found, expected.map(|(place, mention)| (place.to_owned(), mention)));
        assert_eq!(mentions(&Value::Null, &settings), []);
        let endless = json!({ "$ref": "#" });
        assert_eq!(secrets(&endless, &settings), []);
        assert_eq!(mentions(&endless, &settings), []);
    }

    #[test]
    fn secrets_are_what_the_schema_says() {
        let schema = json!({
            "properties": {
                "webhookUrl": { "type": "string", "writeOnly": true },
                "services": { "type": "array", "items": { "type": "string" }, "writeOnly": true },
                "accounts": { "type": "array", "items": { "$ref": "#/$defs/Account" } },
                "headers": { "type": "object", "additionalProperties": { "type": "string" }, "writeOnly": true },
                "open": { "type": "string", "writeOnly": false },
            },
            "$defs": { "Account": { "properties": {
                "key": { "anyOf": [{ "$ref": "#/$defs/Key" }, { "type": "null" }] }, "name": { "type": "string" },
            } }, "Key": { "type": "string", "writeOnly": true } },
        });
        let settings = json!({
            "webhookUrl": "https://a", "services": ["slack://b", 7], "open": "no", "headers": { "Accept": "d" },
            "accounts": [{ "name": "n" }, { "key": "c" }],
        });
        let mut found = secrets(&schema, &settings);
        found.sort();
        let expected = [("accounts[1].key", "c"), ("services[0]", "slack://b"), ("webhookUrl", "https://a")];
        assert_eq!(found, expected.map(|(place, text)| (place.to_owned(), text.to_owned())));
    }
}
