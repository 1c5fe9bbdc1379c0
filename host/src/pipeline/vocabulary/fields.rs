//! Fields that events have, by their published schema.

use std::sync::LazyLock;

use butler_plugin_api::Data;
use serde_json::{Map, Value};

use super::super::condition::{BESIDE_DATA, FieldPath, SHORT, UNITS};
use super::{Makers, Unknown};
use crate::config::schema_nodes::{forms, referred};
use crate::config::{push_key, similar};
use crate::plugins::CHAIN_DEPTH;

/// The schema of what a path leads through.
static DATA: LazyLock<Value> = LazyLock::new(|| schemars::schema_for!(Data).into());

/// Where a path leads to nothing.
struct Lost {
    /// How many of its parts lead to something.
    depth: usize,
    /// What there is instead; `None`: it has no fields.
    fields: Option<&'static Map<String, Value>>,
    /// It is a value in a mapping of any names, which may have dots.
    is_named: bool,
}

/// Why no event has the field of a path.
pub(super) fn unknown(path: &FieldPath, makers: Makers) -> Option<Unknown> {
    let parts: Vec<&str> = path.parts().iter().map(String::as_str).collect();
    let lost = find(&parts).err()?;
    let name = parts.get(lost.depth).copied().unwrap_or_default();
    let above = join(parts.get(..lost.depth).unwrap_or_default());
    let near = near(&parts, &lost);
    let is_root = lost.depth == 0;
    // A plugin may have facts of its own, and add to those of Butler what Butler's have not.
    let is_fault = makers == Makers::Butler || makers == Makers::Plugins && !is_root && near.is_some();
    // Many words are nearly one of Butler's: `version` is `session`. That it is meant is sure where the rest fits as well.
    let is_meant = near.as_ref().is_some_and(|near| !is_root || near.contains('.'));
    if makers == Makers::OwnKinds && !is_meant {
        return None;
    }
    let message = match (is_root, is_fault) {
        (true, true) => format!("events have no field `{name}`"),
        (true, false) => format!("Butler's events have no field `{name}`"),
        (false, _) => format!("`{above}` has no field `{name}`"),
    };
    let suggestion = near.map(|meant| format!("did you mean `{meant}`?")).or_else(|| instead(&parts, &lost));
    Some(Unknown { message, suggestion, is_fault })
}

fn find(parts: &[&str]) -> Result<(), Lost> {
    if let [only] = parts
        && (BESIDE_DATA.contains(only) || *only == CHAIN_DEPTH)
    {
        return Ok(());
    }
    let (mut node, mut is_named) = (resolve(&DATA), false);
    for (depth, part) in parts.iter().enumerate() {
        let fields = node.get("properties").and_then(Value::as_object);
        let any = node.get("additionalProperties");
        let inner = match (fields, any) {
            (Some(fields), _) => field(fields, part, depth),
            (None, Some(Value::Object(_))) => any,
            // Anything.
            (None, Some(Value::Bool(true))) => return Ok(()),
            (None, _) if node.get("type").is_none() => return Ok(()),
            (None, _) => None,
        };
        let inner = inner.ok_or(Lost { depth, fields, is_named })?;
        is_named = fields.is_none();
        node = resolve(inner);
    }
    Ok(())
}

/// As events are looked through: quantities are also found without their unit, but not at the root.
fn field<'a>(fields: &'a Map<String, Value>, name: &str, depth: usize) -> Option<&'a Value> {
    let with_unit = || UNITS.iter().filter(|_| depth > 0).find_map(|(unit, _)| fields.get(&format!("{name}{unit}")));
    fields.get(name).or_else(with_unit)
}

/// What a node of the schema refers to, without `null`.
fn resolve(mut node: &'static Value) -> &'static Value {
    // No type of events refers to itself.
    while let Some(inner) = referred(node, &DATA).map(|(_, inner)| inner).or_else(|| forms(node).first().copied()) {
        node = inner;
    }
    node
}

/// The path that is probably meant.
fn near(parts: &[&str], lost: &Lost) -> Option<String> {
    let (before, rest) = parts.split_at_checked(lost.depth)?;
    let (name, after) = rest.split_first()?;
    // As in the event's JSON.
    if lost.depth == 0 && *name == "data" && !after.is_empty() && find(after).is_ok() {
        return Some(join(after));
    }
    let names = names(lost.fields?, lost.depth);
    let right = similar(name, names)?;
    let whole = [before, &[right], after].concat();
    Some(if find(&whole).is_ok() { join(&whole) } else { join(&[before, &[right]].concat()) })
}

/// How the fields may be called.
fn names(fields: &'static Map<String, Value>, depth: usize) -> Vec<&'static str> {
    let mut names: Vec<&str> = fields.keys().map(String::as_str).collect();
    if depth == 0 {
        names.extend(BESIDE_DATA.iter().chain(SHORT));
    } else {
        names.extend(fields.keys().filter_map(|name| UNITS.iter().find_map(|(unit, _)| name.strip_suffix(unit))));
    }
    names
}

/// What can be written instead, where nothing is near.
fn instead(parts: &[&str], lost: &Lost) -> Option<String> {
    let Some(fields) = lost.fields else {
        let (end, before) = parts.get(..lost.depth)?.split_last()?;
        let rest = parts.get(lost.depth..)?.join(".");
        return lost.is_named.then(|| format!("a name with dots is written `{}['{end}.{rest}']`", join(before)));
    };
    let mut names: Vec<&str> = fields.keys().map(String::as_str).collect();
    if lost.depth == 0 {
        names.extend(BESIDE_DATA.iter().chain(SHORT));
        names.sort_unstable();
    }
    Some(format!("there are {}", names.join(", ")))
}

fn join(parts: &[&str]) -> String {
    let mut text = String::new();
    for part in parts {
        push_key(&mut text, part);
    }
    text
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::sample_events;

    use super::*;

    fn said(path: &str, makers: Makers) -> Option<(bool, String, String)> {
        let unknown = unknown(&FieldPath::parse(path).unwrap(), makers)?;
        Some((unknown.is_fault, unknown.message, unknown.suggestion.unwrap_or_default()))
    }

    /// The paths of a value and of all that is in it; lists have none.
    fn paths(value: &Value, above: &str, all: &mut Vec<String>) {
        for (name, inner) in value.as_object().into_iter().flatten() {
            let mut path = above.to_owned();
            push_key(&mut path, name);
            paths(inner, &path, all);
            all.push(path);
        }
    }

    #[test]
    fn each_fact_of_each_kind_is_known() {
        let mut all: Vec<String> = ["kind", "source", "time", "tags", "stream", "owner.userId", "app.fileSize"]
            .into_iter()
            .chain([
                "chainDepth",
                "execution.duration",
                "task.customProperties['a.b']",
                "task.sessionTimeout",
                "ingest.dropped.x",
            ])
            .map(str::to_owned)
            .collect();
        for event in sample_events() {
            paths(&serde_json::to_value(&event.data).unwrap(), "", &mut all);
        }
        assert!(all.len() > 200);
        for path in all {
            assert_eq!(said(&path, Makers::Butler), None, "{path}");
        }
    }

    #[test]
    fn what_no_event_has_is_said_with_what_is_meant() {
        for (path, message, suggestion) in [
            ("task.nmae", "`task` has no field `nmae`", "did you mean `task.name`?"),
            ("taks.name", "events have no field `taks`", "did you mean `task.name`?"),
            ("taks.nme", "events have no field `taks`", "did you mean `task`?"),
            ("data.task.name", "events have no field `data`", "did you mean `task.name`?"),
            ("streem", "events have no field `streem`", "did you mean `stream`?"),
            ("stream.nmae", "`app.stream` has no field `nmae`", "did you mean `app.stream.name`?"),
            ("execution.duraton", "`execution` has no field `duraton`", "did you mean `execution.duration`?"),
            ("app.customProperty.A", "`app` has no field `customProperty`", "did you mean `app.customProperties.A`?"),
            ("app.group", "`app` has no field `group`", "there are customProperties, description, "),
            ("app.custmProperties.A.b", "`app` has no field `custmProperties`", "did you mean `app.customProperties`?"),
            (
                "task.customProperties.a.b",
                "`task.customProperties.a` has no field `b`",
                "a name with dots is written `task.customProperties['a.b']`",
            ),
            ("execution.details.message", "`execution.details` has no field `message`", ""),
            ("node.name", "`node` has no field `name`", ""),
            ("receivedAt", "events have no field `receivedAt`", "there are accessLicenses, "),
            ("duration", "events have no field `duration`", "there are "),
        ] {
            let (is_fault, text, meant) = said(path, Makers::Butler).unwrap_or_else(|| panic!("{path} is known"));
            assert!(is_fault && text == message && meant.starts_with(suggestion), "{path}: {text}; {meant}");
            assert_eq!(meant.is_empty(), suggestion.is_empty(), "{path}: {meant}");
        }
    }

    #[test]
    fn what_a_plugin_may_have_is_no_fault() {
        let is_fault = |path: &str, makers| said(path, makers).map(|(is_fault, ..)| is_fault);
        assert_eq!(is_fault("phase.full", Makers::Butler), Some(true));
        assert_eq!(is_fault("phase.full", Makers::Plugins), Some(false));
        assert_eq!(is_fault("phase.full", Makers::OwnKinds), None);
        assert_eq!(is_fault("taks.name", Makers::OwnKinds), Some(false));
        // A word of its own, though Butler has `session`, `node` and `service`.
        for path in ["version", "code", "device.id", "node.rack", "task.group"] {
            assert_eq!(is_fault(path, Makers::OwnKinds), None, "{path}");
        }
        // Facts that are added to one of Butler's.
        for path in ["version", "node.rack", "task.group"] {
            assert_eq!(is_fault(path, Makers::Plugins), Some(false), "{path}");
        }
        assert_eq!(is_fault("task.nmae", Makers::Plugins), Some(true));
        assert_eq!(is_fault("task.nmae", Makers::OwnKinds), Some(false));
    }
}
