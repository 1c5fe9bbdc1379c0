//! Nodes of JSON Schemas as they are derived from types: what they refer to, and their forms.

use serde_json::{Map, Value};

/// Schemas that refer to one another more often than this are broken.
const MOST_REFERENCES: usize = 16;

/// What a node refers to by `$ref`, with the reference.
pub(crate) fn referred<'a>(node: &'a Value, root: &'a Value) -> Option<(&'a str, &'a Value)> {
    let reference = node.get("$ref")?.as_str()?;
    Some((reference, root.pointer(reference.strip_prefix('#')?)?))
}

/// The forms of which a value has one, but `null`.
pub(crate) fn forms(node: &Value) -> Vec<&Value> {
    let listed = ["anyOf", "oneOf"].into_iter().filter_map(|keyword| node.get(keyword)?.as_array()).flatten();
    listed.filter(|form| !is_null(form)).collect()
}

/// A node with all that it refers to, and all of its forms; each once.
pub(crate) fn parts<'a>(node: &'a Value, root: &'a Value) -> Vec<&'a Value> {
    let (mut parts, mut open): (Vec<&Value>, Vec<&Value>) = (Vec::new(), vec![node]);
    while let Some(node) = open.pop() {
        if parts.iter().any(|known| std::ptr::eq(*known, node)) {
            continue;
        }
        parts.push(node);
        open.extend(referred(node, root).map(|(_, inner)| inner));
        open.extend(forms(node));
        open.extend(node.get("allOf").and_then(Value::as_array).into_iter().flatten());
    }
    parts
}

/// One node of a node and what it refers to; that a value may be null is left out. What stands nearer goes first.
pub(crate) fn merged(node: &Value, root: &Value) -> Value {
    let mut node = node.clone();
    for _ in 0..MOST_REFERENCES {
        let Some((keyword, inner)) = inner(&node, root) else { break };
        let (Value::Object(near), Some(mut far)) = (node, inner) else { return Value::Null };
        far.extend(near.into_iter().filter(|(name, _)| name != keyword));
        node = Value::Object(far);
    }
    node
}

/// What a node stands for by this keyword; absent inside: it is no object.
fn inner(node: &Value, root: &Value) -> Option<(&'static str, Option<Map<String, Value>>)> {
    if let Some((_, inner)) = referred(node, root) {
        return Some(("$ref", inner.as_object().cloned()));
    }
    match node.get("anyOf")?.as_array()?.as_slice() {
        [form, null] | [null, form] if is_null(null) => Some(("anyOf", form.as_object().cloned())),
        _ => None,
    }
}

fn is_null(form: &Value) -> bool {
    form.get("type").is_some_and(|it| it == "null")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_and_forms_are_followed() {
        let root = json!({ "$defs": {
            "A": { "type": "object", "description": "A.", "properties": {} },
            "B": { "anyOf": [{ "type": "null" }, { "$ref": "#/$defs/A" }] },
            "Endless": { "$ref": "#/$defs/Endless" },
        } });
        let node = json!({ "$ref": "#/$defs/B", "description": "Mine." });
        let expected = json!({ "type": "object", "description": "Mine.", "properties": {} });
        assert_eq!(merged(&node, &root), expected);
        assert_eq!(forms(&root["$defs"]["B"]), [&json!({ "$ref": "#/$defs/A" })]);
        assert_eq!(
            parts(&node, &root),
            [&node, &root["$defs"]["B"], &root["$defs"]["B"]["anyOf"][1], &root["$defs"]["A"]]
        );
        // Several forms stay.
        let several = json!({ "anyOf": [{ "type": "integer" }, { "type": "string" }] });
        assert_eq!(merged(&several, &root), several);
        for endless in [&root["$defs"]["Endless"], &json!({ "$ref": "#/$defs/None" })] {
            merged(endless, &root);
            assert!(parts(endless, &root).len() < 3);
        }
    }
}
