//! `config/butler.yaml`, the commented reference: it has every key of the published schema, and all of it is valid.
//!
//! `#` directly before something is config that is switched off, `# ` is a comment: see the head of the file.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use butler::config::Document;
use e2e::run_with;
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;

/// Keys that cannot stand beside others of their section, and what a comment says of them.
const BESIDE: [(&str, &str); 1] =
    [("qlik.certificates.pfx", "certificates: { pfx: certs/client.pfx, ca: certs/root.cer, passphrase: ")];
/// Values that are not the default, and the comment that says so.
const OTHERS: [(&str, &str); 12] = [
    ("apprise.format", "# text (default), markdown or html."),
    ("email.priority", "# high, normal or low. Default: normal."),
    (
        "influxdb.measurements.*.appTags",
        "# Of each: tags of its own; tags of task and app, which are there unless switched off.",
    ),
    ("licenses.unusedLicenses.professional.unusedDays", "# Default: 30 days."),
    ("mqtt.version", "# 3.1.1, or better 5 where the broker has it. Default: 3.1.1."),
    ("new-relic.region", "# us (default) or eu."),
    ("node-silence.workingTime.timeZone", "# Default: whole days from Monday to Friday, in UTC."),
    ("signl4.details", "# App, node, user and error as well. Default: false."),
    ("webhook.format", "# butler16 (the default), event, cloudevents or none."),
    ("webhook.signature.scheme", "# Standard Webhooks; with `scheme: body` one header as GitHub's."),
    ("when.jitter", "one is made up for (once) or none (skip). Default: every 30s, no jitter, once."),
    ("when.missed", "one is made up for (once) or none (skip). Default: every 30s, no jitter, once."),
];
/// Deepest that is looked; no config is so deep.
const MOST_DEPTH: usize = 20;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn reference() -> String {
    std::fs::read_to_string(workspace().join("config/butler.yaml")).unwrap()
}

/// With everything switched on.
fn switched_on() -> String {
    let line = |line: &str| match line.trim_start().strip_prefix('#') {
        Some(rest) if rest.starts_with(|first: char| !first.is_whitespace()) => line.replacen('#', "", 1) + "\n",
        _ => line.to_owned() + "\n",
    };
    reference().lines().map(line).collect()
}

fn schema() -> Value {
    serde_json::from_slice(&std::fs::read(workspace().join("schemas/butler.schema.json")).unwrap()).unwrap()
}

/// A node of the schema with all that it refers to and all alternatives, each with the path of what is in it.
fn alternatives<'a>(schema: &'a Value, node: &'a Value, path: &str) -> Vec<(&'a Value, String)> {
    let mut found = Vec::new();
    let mut open = vec![(node, path.to_owned())];
    while let Some((node, path)) = open.pop() {
        if let Some(name) = node["$ref"].as_str().and_then(|it| it.strip_prefix("#/$defs/")) {
            // Times are the same in all plugins: that their keys are shown once is enough.
            let path = if name.ends_with(".When") { "when".to_owned() } else { path.clone() };
            open.push((&schema["$defs"][name], path));
        }
        let several = ["anyOf", "oneOf"].into_iter().filter_map(|keyword| node[keyword].as_array()).flatten();
        open.extend(several.map(|one| (one, path.clone())));
        found.push((node, path));
    }
    found
}

/// The settings of the plugins by their names, in the node of the entries of `plugins`.
fn settings(node: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let branches = node["allOf"].as_array().into_iter().flatten();
    branches.filter_map(|it| {
        let plugin = it["if"]["properties"]["use"]["const"].as_str()?;
        Some((plugin, &it["then"]["properties"]["settings"]))
    })
}

/// Paths of all keys of the schema; settings of plugins begin with the plugin's name.
fn all(schema: &Value, node: &Value, path: &str, depth: usize, keys: &mut BTreeSet<String>) {
    assert!(depth < MOST_DEPTH, "{path} does not end");
    for (node, path) in alternatives(schema, node, path) {
        for (name, property) in node["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            keys.insert(path.trim_start_matches('.').to_owned());
            all(schema, property, &path, depth + 1, keys);
        }
        for (plugin, settings) in settings(node) {
            all(schema, settings, plugin, depth + 1, keys);
        }
        for (of, suffix) in [("items", "[]"), ("additionalProperties", ".*")] {
            if node[of].is_object() {
                all(schema, &node[of], &format!("{path}{suffix}"), depth + 1, keys);
            }
        }
    }
}

/// Those of them that a config has, each with what the schema says of it and its value.
fn used<'v>(
    schema: &'v Value,
    node: &'v Value,
    value: &'v Value,
    path: &str,
    found: &mut Vec<(String, &'v Value, &'v Value)>,
) {
    for (node, path) in alternatives(schema, node, path) {
        for (name, value) in value.as_object().into_iter().flatten() {
            if let Some(property) = node["properties"].get(name) {
                let path = format!("{path}.{name}");
                found.push((path.trim_start_matches('.').to_owned(), property, value));
                used(schema, property, value, &path, found);
            } else if node["additionalProperties"].is_object() {
                used(schema, &node["additionalProperties"], value, &format!("{path}.*"), found);
            }
        }
        for (plugin, settings) in settings(node).filter(|(plugin, _)| value["use"] == *plugin) {
            used(schema, settings, &value["settings"], plugin, found);
        }
        if node["items"].is_object() {
            value.as_array().into_iter().flatten().for_each(|it| {
                used(schema, &node["items"], it, &format!("{path}[]"), found);
            });
        }
    }
}

fn parsed() -> Document {
    let text = switched_on();
    Document::parse(Path::new("butler.yaml"), text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
}

/// Paths of the plain values, and lists of them, that are others than the default.
fn others(path: &str, default: &Value, value: &Value, found: &mut BTreeSet<String>) {
    match default {
        Value::Object(entries) => {
            for (name, default) in entries {
                others(&format!("{path}.{name}"), default, &value[name], found);
            }
        }
        // Nothing is what an example is for.
        Value::Null => {}
        Value::Array(items) if items.is_empty() => {}
        Value::String(text) if text.is_empty() => {}
        _ if value.is_null() || value == default => {}
        _ => {
            found.insert(path.to_owned());
        }
    }
}

#[test]
fn what_is_not_the_default_is_said() {
    let (schema, document) = (schema(), parsed());
    let (mut shown, mut found) = (Vec::new(), BTreeSet::new());
    used(&schema, &schema, document.raw(), "", &mut shown);
    let defaults = shown.iter().filter(|(_, property, _)| !property["default"].is_null()).count();
    assert!(defaults >= 130, "the schema has only {defaults} defaults of what is shown");
    for (path, property, value) in shown {
        others(&path, &property["default"], value, &mut found);
    }
    let expected: Vec<&str> = OTHERS.iter().map(|(path, _)| *path).collect();
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected, "values that are not the default");
    for (path, comment) in OTHERS {
        assert!(reference().contains(comment), "no comment tells of `{path}`: {comment}");
    }
}

#[test]
fn the_reference_has_every_key() {
    let schema = schema();
    let mut keys = BTreeSet::new();
    all(&schema, &schema, "", 0, &mut keys);
    for known in ["version", "plugins[].on[].throttle.per", "tls.*.verify", "mqtt.topics[].publish[].qos", "when.cron"]
    {
        assert!(keys.contains(known), "{known} is not among {keys:#?}");
    }
    let document = parsed();
    let mut shown = Vec::new();
    used(&schema, &schema, document.raw(), "", &mut shown);
    let shown = shown.into_iter().map(|(path, ..)| path).collect();
    let missing: Vec<_> = keys.difference(&shown).map(String::as_str).collect();
    assert_eq!(
        missing,
        BESIDE.map(|(key, _)| key),
        "config/butler.yaml lacks keys, or has what is thought to exclude others"
    );
    for (key, comment) in BESIDE {
        assert!(reference().contains(comment), "no comment tells of `{key}`");
    }
}

/// Configs of released versions, with every key that there was.
fn released() -> Vec<PathBuf> {
    let files = std::fs::read_dir(workspace().join("tests/configs/released")).unwrap();
    let files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    assert!(files.iter().any(|file| file.ends_with("0.1.0.yaml")), "{files:?}");
    files
}

#[test]
fn everything_switched_on_fits_the_schema() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("butler.yaml");
    std::fs::write(&file, switched_on()).unwrap();
    let schema = workspace().join("schemas/butler.schema.json");
    let output = Command::new("check-jsonschema").arg("--schemafile").arg(schema).arg(file).args(released()).output();
    let output = output.expect("check-jsonschema is installed (tests/requirements.txt)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_host_takes_everything_switched_on() {
    host_takes(&switched_on());
}

/// What is promised about updates: a config that was valid stays valid.
#[test]
fn the_host_takes_every_config_that_was_released() {
    for file in released() {
        host_takes(&std::fs::read_to_string(file).unwrap());
    }
}

/// The host takes it up to the certificates of Qlik Sense, which are not there.
fn host_takes(text: &str) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("certs")).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(folder.path().join("certs/butler.pem"), certificate.pem()).unwrap();
    std::fs::write(folder.path().join("certs/butler_key.pem"), key.serialize_pem()).unwrap();
    // No plugin file has this sum.
    let (before, pinned) = text.split_once("\n    sha256: ").unwrap();
    let text = format!("{before}\n{}", pinned.split_once('\n').unwrap().1);
    let file = folder.path().join("butler.yaml");
    std::fs::write(&file, &text).unwrap();
    let names = text.split("${env:").skip(1).map(|rest| rest.split_once('}').unwrap().0);
    let value = |name: &str| if name.ends_with("_URL") { "http://127.0.0.1:1/hook" } else { "any-secret-text" };
    let environment: Vec<(&str, &str)> = names.map(|name| (name, value(name))).collect();
    let output = run_with(&["run", "-c", file.to_str().unwrap()], &environment);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("client.pem cannot be read"), "{output:?}");
}
