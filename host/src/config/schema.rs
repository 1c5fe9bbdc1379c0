//! The JSON schemas of the config, and those that are published.
//!
//! The host's schema comes from [`Config`](super::Config), the plugins' from their manifests. For editors they become one
//! document, in which the settings of an entry of `plugins:` depend on its `use`; the host itself takes the same parts
//! one by one, so that an error is about a setting.

use std::collections::BTreeMap;

use butler_plugin_api::{Delivery, Event, Manifest, Outcome};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::relax::{adopt, relax, visit};
use super::types::Config;

/// Fields of an entry of `plugins:` that must be written out, since they are needed before anything is resolved.
const LITERAL: [&str; 1] = ["use"];

/// The schema of the host's part of the config, without placeholders.
pub(super) fn host() -> Value {
    let mut schema = of::<Config>();
    visit(&mut schema, &[], &mut |node| {
        without_null(node);
        bound_integers(node);
    });
    schema
}

/// The same, with placeholders.
pub(super) fn host_relaxed() -> Value {
    let strict = host();
    let mut schema = strict.clone();
    relax(&mut schema);
    for field in LITERAL {
        let pointer = format!("/$defs/PluginEntry/properties/{field}");
        if let (Some(relaxed), Some(strict)) = (schema.pointer_mut(&pointer), strict.pointer(&pointer)) {
            *relaxed = strict.clone();
        }
    }
    schema
}

/// A plugin's settings, without placeholders.
pub(super) fn settings(schema: &Value) -> Value {
    // A plugin without a schema takes everything.
    let mut schema = if schema.is_null() { json!({}) } else { schema.clone() };
    visit(&mut schema, &[], &mut bound_integers);
    schema
}

/// The same, with placeholders.
pub(super) fn settings_relaxed(schema: &Value) -> Value {
    let mut schema = settings(schema);
    relax(&mut schema);
    schema
}

/// A validator. It fetches nothing: a schema that refers to another document is broken.
pub(super) fn validator(schema: &Value) -> Result<jsonschema::Validator, String> {
    jsonschema::options().should_validate_formats(true).offline().build(schema).map_err(|error| error.to_string())
}

/// One schema for the whole config with these plugins, for editors. Entries of other plugins pass with any settings.
pub fn compose(manifests: &[Manifest]) -> Value {
    let mut schema = host_relaxed();
    let plugins: BTreeMap<&str, &Value> =
        manifests.iter().map(|manifest| (manifest.name.as_str(), &manifest.settings_schema)).collect();
    let mut branches = Vec::new();
    let mut definitions = Map::new();
    for (name, own) in plugins {
        let relaxed = settings_relaxed(own);
        // A broken one would take the whole document with it.
        if !relaxed.is_object() || validator(&relaxed).is_err() {
            continue;
        }
        let needed = relaxed.get("required").and_then(Value::as_array).is_some_and(|names| !names.is_empty());
        let mut then = json!({ "properties": { "settings": { "$ref": format!("#/$defs/{name}") } } });
        if needed {
            then["required"] = json!(["settings"]);
        }
        branches.push(json!({
            "if": { "properties": { "use": { "const": name } }, "required": ["use"] },
            "then": then,
        }));
        definitions.extend(adopt(name, &relaxed));
    }
    if let Some(own) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
        if !branches.is_empty()
            && let Some(Value::Object(entry)) = own.get_mut("PluginEntry")
        {
            entry.insert("allOf".to_owned(), Value::Array(branches));
        }
        own.extend(definitions);
    }
    head(
        &mut schema,
        "config",
        "Butler's config",
        "The config file of Butler, with the settings of the plugins at hand.",
    );
    schema
}

/// The schemas that are published, by file name.
pub fn published(manifests: &[Manifest]) -> BTreeMap<&'static str, Value> {
    let mut schemas = BTreeMap::from([
        ("event.schema.json", of::<Event>()),
        ("delivery.schema.json", of::<Delivery>()),
        ("outcome.schema.json", of::<Outcome>()),
        ("manifest.schema.json", of::<Manifest>()),
    ]);
    for (file, schema) in &mut schemas {
        let name = file.split('.').next().unwrap_or(file);
        if let Some(node) = schema.as_object_mut() {
            node.insert("$id".to_owned(), id(name).into());
        }
    }
    schemas.insert("butler.schema.json", compose(manifests));
    schemas
}

/// The schema of a type, as it is read.
fn of<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().into()
}

/// The version is that of the format, not of the program.
fn id(name: &str) -> String {
    format!("urn:butler:schema:{name}:1")
}

fn head(schema: &mut Value, name: &str, title: &str, description: &str) {
    if let Some(node) = schema.as_object_mut() {
        for (keyword, value) in [("$id", id(name).as_str()), ("title", title), ("description", description)] {
            node.insert(keyword.to_owned(), value.into());
        }
    }
}

/// An optional field is left out and not empty: a section whose lines are all commented out is more likely a mistake.
fn without_null(node: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = node.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            node.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = node.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    let Some(Value::Array(forms)) = node.get_mut("anyOf") else { return };
    forms.retain(|form| *form != json!({ "type": "null" }));
    if let [only] = forms.as_slice() {
        let only = only.clone();
        if let Value::Object(only) = only {
            node.remove("anyOf");
            for (keyword, value) in only {
                // The field's description says more than the type's.
                node.entry(keyword).or_insert(value);
            }
        }
    }
    if node.get("default") == Some(&Value::Null) {
        node.remove("default");
    }
}

/// Says the range of an integer type, which `format` only hints at.
fn bound_integers(node: &mut Map<String, Value>) {
    let (least, most) = match node.get("format").and_then(Value::as_str) {
        Some("uint8") => (0, i64::from(u8::MAX)),
        Some("uint16") => (0, i64::from(u16::MAX)),
        Some("uint32") => (0, i64::from(u32::MAX)),
        Some("int8") => (i64::from(i8::MIN), i64::from(i8::MAX)),
        Some("int16") => (i64::from(i16::MIN), i64::from(i16::MAX)),
        Some("int32") => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => return,
    };
    node.entry("minimum").or_insert(least.into());
    node.entry("maximum").or_insert(most.into());
}
