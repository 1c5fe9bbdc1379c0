//! Old configs and answers of [`Plugin::import`](crate::Plugin::import) as JSON, for tests of whole sections.

use serde_json::{Value, json};

use super::import::{filled, imported, unread};
use crate::Plugin;
use crate::import::Imported;

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
