//! Tests of [`Plugin::import`]: what a config of Butler 16 becomes.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{manifest_of, schema};
use crate::event::kind;
use crate::import::Imported;
use crate::{OperationError, Plugin};

/// What a plugin makes of the keys below `Butler` of an old config; relative paths start at `folders`. Beside it each
/// instance with its secrets put in.
///
/// # Errors
/// As the plugin answers.
///
/// # Panics
/// If the manifest does not offer the operation `import`; if an instance has settings that the plugin's schema or type
/// refuses, an event of a kind that is not known, or a name that cannot be or is there twice; if it names a secret that is
/// not there, or there is one that none names. It says so.
pub fn imported<P: Plugin>(butler: &Value, folders: &[PathBuf]) -> Result<(Imported, Vec<Value>), OperationError> {
    let manifest = manifest_of::<P>();
    assert!(manifest.operations.iter().any(|it| it == "import"), "the manifest does not offer `import`");
    let answer = P::import(json!({ "butler": butler, "folders": folders }))?;
    let imported: Imported = serde_json::from_value(answer).expect("the answer has the form of `Imported`");
    let mut names = Vec::new();
    let mut instances = Vec::new();
    for instance in &imported.instances {
        let name = instance["name"].as_str().unwrap_or(&manifest.name);
        let letters = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        assert!(name.len() <= 64 && name.chars().all(letters) && !names.contains(&name), "bad name: {instance}");
        names.push(name);
        for event in
            instance["on"].as_array().into_iter().flatten().filter_map(|rule| rule["events"].as_array()).flatten()
        {
            let is_known = |event: &str| kind::ALL.iter().any(|kind| kind::matches(event, kind));
            assert!(event.as_str().is_some_and(is_known), "unknown kind {event}: {instance}");
        }
        let filled = filled(instance, &imported);
        let settings = &filled["settings"];
        let misfits = schema::misfits(&manifest.settings_schema, &manifest.settings_schema, settings);
        assert_eq!(misfits, Vec::<String>::new(), "the schema refuses {settings}");
        let read = serde_json::from_value::<P::Settings>(settings.clone());
        assert_eq!(read.err().map(|error| error.to_string()), None, "the type of the settings refuses {settings}");
        instances.push(filled);
    }
    let text = Value::from(imported.instances.clone()).to_string();
    for file in imported.secrets.keys() {
        assert!(text.contains(&format!("${{file:{file}}}")), "no instance names {file}");
    }
    Ok((imported, instances))
}

/// An instance with the secrets in the place of their files, and `${` as it was.
pub(super) fn filled(value: &Value, imported: &Imported) -> Value {
    match value {
        Value::String(text) => {
            // A secret is taken as it is.
            let file = text.strip_prefix("${file:").and_then(|text| text.strip_suffix('}'));
            if let Some(secret) = file.and_then(|file| imported.secrets.get(file)) {
                return secret.as_str().into();
            }
            let mut text = text.clone();
            for (file, secret) in &imported.secrets {
                text = text.replace(&format!("${{file:{file}}}"), secret);
            }
            assert!(!text.contains("${file:secrets/"), "a secret is missing: {text}");
            text.replace("$${", "${").into()
        }
        Value::Array(items) => items.iter().map(|item| filled(item, imported)).collect(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, field)| (name.clone(), filled(field, imported)));
            fields.collect::<serde_json::Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// The leaves of a config that were neither read nor remarked.
pub fn unread(butler: &Value, imported: &Imported) -> Vec<String> {
    let covers = |key: &str, leaf: &str| {
        leaf.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let keys: Vec<&str> = imported.used_keys.iter().map(String::as_str).collect();
    leaves("", butler).into_iter().filter(|leaf| !keys.iter().any(|key| covers(key, leaf))).collect()
}

/// The paths of all values that hold no others.
fn leaves(path: &str, value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let of = |name: &String| if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            fields.iter().flat_map(|(name, field)| leaves(&of(name), field)).collect()
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().flat_map(|(index, item)| leaves(&format!("{path}[{index}]"), item)).collect()
        }
        _ if path.is_empty() => Vec::new(),
        _ => vec![path.to_owned()],
    }
}

/// How many values there are, sections and lists counted as well.
fn places(value: &Value) -> usize {
    1 + match value {
        Value::Object(fields) => fields.values().map(places).sum(),
        Value::Array(items) => items.iter().map(places).sum(),
        _ => 0,
    }
}

/// Makes one value of an old config, chosen by any number, a wrong one, or takes it out of its section; in one of eight ways.
pub fn spoil(butler: &mut Value, number: usize, way: u8) {
    let wrong = match way % 8 {
        0 => Value::Null,
        1 => json!(-1.5),
        2 => json!("${x} <\u{e4}> \"{{"),
        3 => json!([]),
        4 => json!([null, {}, 1e300, "a"]),
        5 => json!({ "enable": "yes", "user": 5, "": null }),
        6 => json!(u64::MAX),
        // Taken out.
        _ => json!("\u{0}"),
    };
    // Not the whole config: the host refuses that.
    let below = places(butler) - 1;
    if let Some(place) = number.checked_rem(below) {
        put(butler, &mut (place + 1), &wrong);
    }
}

/// Whether the value is to be taken out.
fn put(value: &mut Value, left: &mut usize, wrong: &Value) -> bool {
    if *left == 0 {
        *left = usize::MAX;
        *value = wrong.clone();
        return wrong == "\u{0}";
    }
    *left -= 1;
    match value {
        Value::Object(fields) => {
            let names: Vec<String> = fields.keys().cloned().collect();
            for name in names {
                if fields.get_mut(&name).is_some_and(|field| put(field, left, wrong)) {
                    fields.remove(&name);
                }
                if *left == usize::MAX {
                    break;
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                put(item, left, wrong);
                if *left == usize::MAX {
                    break;
                }
            }
        }
        _ => {}
    }
    false
}
