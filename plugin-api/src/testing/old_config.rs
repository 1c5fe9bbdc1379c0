//! Tests of [`Plugin::import`]: whether it leaves out keys of the old config, and whether the host can use what it answers.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::schema;
use crate::abi::plugin::settings_schema;
use crate::{Plugin, kind};

/// What the host takes from an entry.
const OF_ENTRIES: [&str; 4] = ["name", "on", "retry", "settings"];
const FATES: [&str; 4] = ["differs", "dropped", "noEffect", "toDo"];

/// Has a plugin translate an old config, holds the answer against what the host asks of it, and returns it.
///
/// `butler`: what stands below `Butler`, without keys that are none of the plugin's business. Each leaf has to be accounted for;
/// entries must have settings that fit the schema and can be read, with secrets filled in, `on:` with kinds that are known, and
/// names of their own.
///
/// # Panics
/// When the answer is not so.
pub fn import_of<P: Plugin>(butler: &Value) -> Value {
    let manifest = P::manifest();
    assert!(manifest.operations.iter().any(|it| it == "import"), "the manifest does not offer the operation `import`");
    let answer = P::import(json!({ "butler": butler, "folders": [] })).unwrap_or_else(|error| panic!("{error}"));
    let left = uncovered(butler, &answer);
    assert!(left.is_empty(), "nothing is said of {left:?}");
    for remark in list(&answer["remarks"]) {
        let is_sound = remark["text"].as_str().is_some_and(|text| !text.is_empty())
            && remark["fate"].as_str().is_some_and(|fate| FATES.contains(&fate));
        assert!(is_sound, "{remark} is no remark");
    }
    let mut names = BTreeSet::new();
    for entry in list(&answer["instances"]) {
        let foreign = fields(entry).filter(|name| !OF_ENTRIES.contains(&name.as_str())).collect::<Vec<_>>();
        assert!(foreign.is_empty(), "the host does not take {foreign:?} of an entry");
        let name = entry["name"].as_str().unwrap_or(&manifest.name);
        let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        assert!(!name.is_empty() && name.len() <= 64 && name.chars().all(is_name), "`{name}` is no name");
        assert!(names.insert(name.to_owned()), "two entries are called `{name}`");
        for pattern in list(&entry["on"]).flat_map(|rule| list(&rule["events"])).map(|it| it.as_str().unwrap_or("")) {
            let is_known = kind::ALL.iter().any(|kind| kind::matches(pattern, kind));
            assert!(is_known, "`{pattern}` in `on` is no kind of event");
        }
    }
    let schema = settings_schema::<P>();
    for settings in filled_settings(&answer) {
        let misfits = schema::misfits(&schema, &schema, &settings);
        assert!(misfits.is_empty(), "{settings} does not fit the schema: {misfits:?}");
        if let Err(error) = serde_json::from_value::<P::Settings>(settings.clone()) {
            panic!("{settings} cannot be read: {error}");
        }
    }
    answer
}

/// The settings of the entries in an answer of `import`, with secrets and what else a placeholder stands for filled in.
///
/// # Panics
/// When a secret is named that the answer does not have.
#[must_use]
pub fn filled_settings(answer: &Value) -> Vec<Value> {
    list(&answer["instances"])
        .map(|entry| {
            let mut settings = entry.get("settings").cloned().unwrap_or_else(|| json!({}));
            fill(&mut settings, &answer["secrets"]);
            settings
        })
        .collect()
}

fn fill(value: &mut Value, secrets: &Value) {
    match value {
        Value::String(text) if text.starts_with("${file:") => {
            let file = text.trim_start_matches("${file:").trim_end_matches('}').to_owned();
            let secret = secrets[&file].as_str().unwrap_or_else(|| panic!("`{file}` is no file of a secret"));
            secret.clone_into(text);
        }
        Value::String(text) => {
            let left = text.replace("$${", "");
            assert!(!left.contains("${"), "`{text}` has a placeholder that the host would fill in");
            *text = text.replace("$${", "${");
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, secrets)),
        Value::Object(fields) => fields.values_mut().for_each(|field| fill(field, secrets)),
        _ => {}
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

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn fields(value: &Value) -> impl Iterator<Item = &String> {
    value.as_object().into_iter().flat_map(Map::keys)
}

/// The leaves of an old config (what stands below `Butler`) of which the answer of `import` says nothing: neither its
/// `usedKeys` nor its `remarks` name them or what they are part of. Paths as `import` has them, such as
/// `influxDb.tag.static[0].name`; null and what is empty are leaves.
#[must_use]
pub fn uncovered(butler: &Value, imported: &Value) -> Vec<String> {
    let used = list(&imported["usedKeys"]).filter_map(Value::as_str);
    let remarked = list(&imported["remarks"]).filter_map(|remark| remark["key"].as_str());
    let covered: Vec<&str> = used.chain(remarked).collect();
    let mut leaves = Vec::new();
    collect("", butler, &mut leaves);
    leaves.retain(|leaf| !covered.iter().any(|key| covers(key, leaf)));
    leaves
}

fn covers(key: &str, leaf: &str) -> bool {
    leaf.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn collect(path: &str, value: &Value, leaves: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect(&path, value, leaves);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (item, value) in items.iter().enumerate() {
                collect(&format!("{path}[{item}]"), value, leaves);
            }
        }
        _ if path.is_empty() => {}
        _ => leaves.push(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn leaves_that_nobody_read() {
        let butler = json!({
            "smtp": { "host": "a", "hosts": [], "tls": {} },
            "hooks": [{ "url": "b", "cert": null }, { "url": "c", "cert": { "enable": true } }],
            "debug": true,
        });
        assert!(uncovered(&json!({}), &json!({})).is_empty());
        let left = |imported| uncovered(&butler, &imported);
        let all = ["debug", "hooks[0].cert", "hooks[0].url", "hooks[1].cert.enable", "hooks[1].url"];
        let smtp = ["smtp.host", "smtp.hosts", "smtp.tls"];
        assert_eq!(left(json!({})), [all.as_slice(), &smtp].concat());
        // A key stands for what is below it, and not for one that begins alike.
        let used =
            json!({ "usedKeys": ["smtp.host", "hooks[1]"], "remarks": [{ "key": "debug" }, { "key": "smtp.tls" }] });
        assert_eq!(left(used), ["hooks[0].cert", "hooks[0].url", "smtp.hosts"]);
    }

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
            for how in 0..14 {
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
