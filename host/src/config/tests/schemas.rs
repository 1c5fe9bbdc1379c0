//! The published schemas.

use butler_plugin_api::Manifest;

use super::*;
use crate::config::{compose, published, schema::validator};

fn manifests() -> Vec<Manifest> {
    let manifest = |name: &str, settings_schema| {
        let mut manifest = Manifest::new(name, "for tests");
        manifest.settings_schema = settings_schema;
        manifest
    };
    vec![
        manifest("free", Value::Null),
        manifest("chat", chat_schema()),
        manifest("broken", json!({ "$ref": "#/$defs/Nothing" })),
        manifest("tree", json!({ "properties": { "child": { "$ref": "#" }, "$ref": { "type": "integer" } } })),
    ]
}

/// Entries of `plugins:` that the schema for editors takes.
const GOOD: &[&str] = &[
    "{ use: chat, settings: { url: 'https://example.com', port: 5, color: red, to: [a] } }",
    "{ use: chat, settings: { url: '${env:X}', port: '${file:x}', bold: '${env:X}', color: '${env:X}' } }",
    "{ use: chat, settings: { url: '${env:X}', channel: '#${env:X}', ratio: '${env:X}', retries: '${env:X}' } }",
    "{ use: chat, settings: { url: 'a://b', auth: { type: basic, user: u, pin: '${env:X}' } } }",
    "{ use: chat, settings: { url: 'a://b', auth: { type: token, token: '${env:X}' } } }",
    "{ use: chat, name: '${env:X}', retry: { max: '${env:X}' }, logLevel: '${env:X}', settings: { url: 'a://b' } }",
    "{ use: unknown-third-party, settings: { anything: [goes] } }",
    "{ use: broken, settings: { anything: goes } }",
    "{ use: free }",
    "{ use: tree, settings: { child: { child: { $ref: 5 } } } }",
];

/// Entries that it does not take.
const BAD: &[&str] = &[
    "{ use: chat }",
    "{ use: chat, settings: { url: nowhere } }",
    "{ use: chat, settings: { url: '${nev:X}' } }",
    "{ use: chat, settings: { url: 'a://b', port: '5' } }",
    "{ use: chat, settings: { url: 'a://b', port: 70000 } }",
    "{ use: chat, settings: { url: 'a://b', color: blue } }",
    "{ use: chat, settings: { url: 'a://b', unknown: 1 } }",
    "{ use: chat, settings: { url: 'a://b', auth: { type: basic } } }",
    "{ use: chat, settings: { url: 'a://b', auth: { type: '${env:X}', user: u } } }",
    "{ use: chat, settings: { url: 'a://b', channel: x } }",
    "{ use: chat, unknown: 1, settings: { url: 'a://b' } }",
    "{ use: chat, retry: { max: 5 }, settings: { url: 'a://b' } }",
    "{ use: '${env:X}' }",
    "{ use: tree, settings: { child: { child: { $ref: x } } } }",
];

#[test]
fn the_schema_for_editors_takes_what_is_right() {
    let validator = validator(&compose(&manifests())).unwrap();
    let entry = |text: &str| parse(&format!("version: 1\nplugins: [{text}]\n")).unwrap().raw().clone();
    for text in GOOD {
        let errors: Vec<_> = validator.iter_errors(&entry(text)).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{text}: {errors:?}");
    }
    for text in BAD {
        assert!(!validator.is_valid(&entry(text)), "{text}");
    }
}

#[test]
fn what_the_host_takes_the_schema_for_editors_takes() {
    let validator = validator(&compose(&manifests())).unwrap();
    for text in [
        "version: 1\n",
        "version: 1\nudp: { listen: 0.0.0.0:9998, allowFrom: [10.1.0.0/16], maxSize: 8kB }\nstore: { keep: 30d }\n",
        "version: 1\nrest: { listen: '127.0.0.1:${env:PORT}', insecure: '${env:YES}' }\nlog: { format: json }\n",
        "version: 1\nqlik: { host: a, user: 'A\\b', verify: chain, certificates: { client: c, key: k, ca: r } }\n",
        "version: 1\nplugins: [{ use: chat, on: [{ events: ['*'], where: { a: { not: 5 } } }], settings: { url: 'a://b' } }]\n",
    ] {
        load(text).unwrap();
        let errors: Vec<_> = validator.iter_errors(parse(text).unwrap().raw()).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{text}: {errors:?}");
    }
}

#[test]
fn the_published_schemas_are_schemas_and_always_the_same() {
    let schemas = published(&manifests());
    let names: Vec<_> = schemas.keys().copied().collect();
    assert_eq!(
        names,
        [
            "butler.schema.json",
            "delivery.schema.json",
            "event.schema.json",
            "manifest.schema.json",
            "outcome.schema.json"
        ]
    );
    for (name, schema) in &schemas {
        validator(schema).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{name}");
        assert!(schema["title"].is_string() && schema["$id"].as_str().unwrap().starts_with("urn:butler:"), "{name}");
    }
    let mut reversed = manifests();
    reversed.reverse();
    assert_eq!(serde_json::to_string(&schemas).unwrap(), serde_json::to_string(&published(&reversed)).unwrap());
}

#[test]
fn real_values_fit_the_published_schemas() {
    let schemas = published(&[]);
    let manifest = serde_json::to_value(Manifest::new("a", "b").default_events(Manifest::ALERTS)).unwrap();
    assert!(validator(&schemas["manifest.schema.json"]).unwrap().is_valid(&manifest));
    let outcome = validator(&schemas["outcome.schema.json"]).unwrap();
    assert!(outcome.is_valid(&json!({ "outcome": "retry", "message": "m", "afterMs": 5 })));
    assert!(!outcome.is_valid(&json!({ "outcome": "later" })));
}
