//! Whether [`Plugin::import`](crate::Plugin::import) leaves out keys of the old config.

use serde_json::Value;

/// The leaves of an old config (what stands below `Butler`) of which the answer of `import` says nothing: neither its
/// `usedKeys` nor its `remarks` name them or what they are part of. Paths as `import` has them, such as
/// `influxDb.tag.static[0].name`; null and what is empty are leaves.
#[must_use]
pub fn uncovered(butler: &Value, imported: &Value) -> Vec<String> {
    let used = imported["usedKeys"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let remarked = imported["remarks"].as_array().into_iter().flatten().filter_map(|remark| remark["key"].as_str());
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
        let used = json!({ "usedKeys": ["smtp.host", "hooks[1]"], "remarks": [{ "key": "debug" }, { "key": "smtp.tls" }] });
        assert_eq!(left(used), ["hooks[0].cert", "hooks[0].url", "smtp.hosts"]);
    }
}
