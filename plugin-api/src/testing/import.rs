//! Tests of [`Plugin::import`]: what a config of Butler 16 becomes, whole or damaged.

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

/// Has a plugin translate an old config, holds the answer against what the host asks of it, as [`imported`] does, and returns
/// it.
///
/// `butler`: what stands below `Butler`, without keys that are none of the plugin's business, since each leaf has to be
/// accounted for.
///
/// # Panics
/// When the answer is not so.
pub fn import_of<P: Plugin>(butler: &Value) -> Value {
    let (imported, _) = imported::<P>(butler, &[]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(unread(butler, &imported), Vec::<String>::new(), "nothing is said of these");
    json!(imported)
}

/// The settings of the entries in an answer of `import`, with secrets and what else a placeholder stands for filled in.
///
/// # Panics
/// When a secret is named that the answer does not have.
#[must_use]
pub fn filled_settings(answer: &Value) -> Vec<Value> {
    let imported: Imported = serde_json::from_value(answer.clone()).expect("the answer has the form of `Imported`");
    let settings = |entry: &Value| filled(entry.get("settings").unwrap_or(&json!({})), &imported);
    imported.instances.iter().map(settings).collect()
}

/// An instance with the secrets in the place of their files, and `${` as it was.
fn filled(value: &Value, imported: &Imported) -> Value {
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

/// Breaks an old config as people do who edit by hand: takes the value number `place` out, or puts another one there. Both
/// numbers may be any: they count on from the beginning.
pub fn damage(butler: &mut Value, place: usize, how: usize) {
    let others = [
        json!(null),
        json!(""),
        json!("every now and then"),
        json!("${env:HOME} ü"),
        json!(-1),
        json!(0),
        json!(1.5),
        json!(1e18),
        json!(true),
        json!(false),
        json!([]),
        json!([[], null]),
        json!({}),
        json!("${x} <\u{e4}> \"{{"),
        json!([null, {}, 1e300, "a"]),
        json!(u64::MAX),
    ];
    let mut places = Vec::new();
    nodes("", butler, &mut places);
    let Some(pointer) = places.get(place.checked_rem(places.len()).unwrap_or_default()) else { return };
    let how = how % (others.len() + 1);
    if let Some(other) = others.get(how) {
        if let Some(value) = butler.pointer_mut(pointer) {
            value.clone_from(other);
        }
    } else if let Some((parent, name)) = pointer.rsplit_once('/') {
        match butler.pointer_mut(parent) {
            Some(Value::Object(fields)) => drop(fields.remove(name)),
            Some(Value::Array(items)) => drop(name.parse().map(|item: usize| items.remove(item))),
            _ => {}
        }
    }
}

/// Pointers to all values below the root. Names in an old config have neither `/` nor `~`.
fn nodes(at: &str, value: &Value, places: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (format!("{at}/{name}"), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(item, value)| (format!("{at}/{item}"), value)).collect(),
        _ => Vec::new(),
    };
    for (pointer, value) in inner {
        nodes(&pointer, value, places);
        places.push(pointer);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_filled_in() {
        let answer = json!({
            "instances": [{ "settings": { "key": "${file:secrets/a.key}", "texts": ["$${b} and $${c}"] } }, {}],
            "secrets": { "secrets/a.key": "p$${w" },
        });
        assert_eq!(filled_settings(&answer), [json!({ "key": "p$${w", "texts": ["${b} and ${c}"] }), json!({})]);
    }

    #[test]
    fn every_place_is_damaged_in_every_way() {
        let whole = json!({ "a": { "b": [1, { "c": "d" }] }, "e": true });
        let mut damaged = BTreeSet::new();
        for place in 0..6 {
            for how in 0..17 {
                let mut config = whole.clone();
                damage(&mut config, place, how);
                assert!(config != whole || (place, how) == (5, 8), "{place} {how}");
                damaged.insert(config.to_string());
            }
        }
        assert!(damaged.contains(r#"{"a":{"b":[1]},"e":true}"#) && damaged.contains(r#"{"e":true}"#), "{damaged:?}");
        assert!(damaged.contains(r#"{"a":{"b":[1,{"c":-1}]},"e":true}"#));
        damage(&mut json!({}), 3, 3);
    }
}
