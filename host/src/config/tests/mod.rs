//! Tests of the config as a whole; helpers for them.

mod certificates;
mod cloud;
mod faults;
mod reading;
mod redaction;
mod schemas;
mod values;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use serde_json::{Value, json};

use super::secrets::Source;
use super::{Checks, Document, Loaded, PluginSchema, Report, Rule, RuleRemark, ServerTls};

/// Settings of the plugin `chat` of these tests.
fn chat_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings",
        "type": "object",
        "additionalProperties": false,
        "required": ["url"],
        "properties": {
            "url": { "type": "string", "format": "uri", "description": "Incoming webhook URL.\nMore of it." },
            "port": { "type": "integer", "format": "uint16", "minimum": 0 },
            "ratio": { "type": "number", "exclusiveMaximum": 1 },
            "bold": { "type": "boolean" },
            "color": { "$ref": "#/$defs/Color" },
            "channel": { "type": "string", "pattern": "^#[a-z]+$", "description": "A channel, such as `#alerts`." },
            "retries": { "type": ["integer", "null"] },
            "auth": { "$ref": "#/$defs/Auth" },
            "to": { "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }] },
        },
        "$defs": {
            "Color": { "oneOf": [
                { "const": "red", "type": "string", "description": "Danger." },
                { "const": "green", "type": "string", "description": "Fine." },
            ] },
            "Auth": { "oneOf": [
                {
                    "type": "object",
                    "properties": {
                        "type": { "const": "basic", "type": "string" },
                        "user": { "type": "string" },
                        "pin": { "type": "integer" },
                    },
                    "required": ["type", "user"],
                    "additionalProperties": false,
                },
                {
                    "type": "object",
                    "properties": {
                        "type": { "const": "token", "type": "string" },
                        "token": { "type": "string", "minLength": 20 },
                    },
                    "required": ["type", "token"],
                    "additionalProperties": false,
                },
            ] },
        },
    })
}

fn plugins() -> BTreeMap<String, PluginSchema> {
    let schema = |settings_schema| PluginSchema { settings_schema };
    BTreeMap::from([
        ("chat".to_owned(), schema(chat_schema())),
        ("free".to_owned(), schema(Value::Null)),
        ("broken".to_owned(), schema(json!({ "properties": { "a": { "type": "colour" } } }))),
    ])
}

/// Refuses rules with the field `bad`, has doubts about the kind `doubtful`, and refuses endpoints.
struct NoBad;

impl Checks for NoBad {
    fn rule(&self, rule: &Rule) -> Vec<RuleRemark> {
        let remark =
            |at, message: String, is_fault| RuleRemark { at, message, suggestion: Some("better".to_owned()), is_fault };
        let fields = rule.conditions.keys().filter(|key| key.contains("bad"));
        let fields = fields.map(|key| remark(format!("where/{key}"), "no such field".to_owned(), true));
        let kinds = rule.events.iter().enumerate().filter(|(_, kind)| kind.contains("doubtful"));
        fields
            .chain(kinds.map(|(index, kind)| remark(format!("events/{index}"), format!("no {kind}"), false)))
            .collect()
    }

    fn endpoint(&self, entry: &str) -> Result<(), Option<String>> {
        if entry.contains("bad") { Err((entry == "bad1").then(|| "good1".to_owned())) } else { Ok(()) }
    }

    fn server_tls(&self, tls: &ServerTls) -> Result<Option<String>, String> {
        match tls.certificate.to_str() {
            Some("bad.pem") => Err("no certificate in it".to_owned()),
            Some("old.pem") => Ok(Some("has expired".to_owned())),
            _ => Ok(None),
        }
    }
}

fn env(name: &str) -> Option<OsString> {
    let value = match name {
        "URL" => "https://chat.example.com/hook/s3cr3t-p4th",
        "PORT" => "8443",
        "WORD" => "correct horse",
        "YES" => "true",
        "PIN" => "1234",
        "EMPTY" => "",
        "HOST_NAME" => "sense.example.com",
        "LITERAL" => "${env:NOT_AGAIN}",
        _ => return None,
    };
    Some(value.into())
}

fn parse(text: &str) -> Result<Document, Report> {
    Document::parse(Path::new("butler.yaml"), text.as_bytes())
}

fn load(text: &str) -> Result<Loaded, Report> {
    let document = parse(text)?;
    let source = Source { env: &env, base_dir: document.base_dir() };
    document.validate_with(&plugins(), Vec::new(), &NoBad, &source)
}

/// The settings of the only instance, whose config this is.
fn settings(text: &str) -> Result<Value, Report> {
    let indented = text.lines().map(|line| format!("      {line}")).collect::<Vec<_>>().join("\n");
    let text = format!("version: 1\nplugins:\n  - use: chat\n    settings:\n{indented}\n");
    load(&text).map(|loaded| loaded.config.plugins[0].settings.clone())
}
