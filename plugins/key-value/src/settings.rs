//! The settings, and the checked form of them.

use schemars::JsonSchema;
use serde::Deserialize;

/// Most keys of a namespace that can be set.
pub(crate) const MOST_KEYS: u32 = 99_000;
/// Longest name of a namespace or key, in bytes.
pub(crate) const MAX_NAME: usize = 4 << 10;
/// Longest value, as UTF-8: a whole number and `kB` or `MB`, at most `1MB`. Longer ones are refused. A request has at
/// most 1 MB together with all else in its body.
const MAX_VALUE: usize = 1 << 20;

/// Settings of the key-value store.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[allow(clippy::struct_field_names, reason = "the names of the config, where each stands alone")]
pub(crate) struct Settings {
    /// Most keys of a namespace, 1 to 99,000. Further ones are refused until others are deleted or expire.
    #[schemars(range(min = 1, max = 99_000))]
    max_keys_per_namespace: u32,
    /// Most namespaces, 1 to 10,000. Further ones are refused until others are deleted.
    #[schemars(range(min = 1, max = 10_000))]
    max_namespaces: u32,
    /// Longest value, as UTF-8: a whole number and `kB` or `MB`, at most `1MB`. Longer ones are refused. A request has
    /// at most 1 MB together with all else in its body.
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*(kB|MB)\s*$"))]
    max_value_size: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_keys_per_namespace: 1_000, max_namespaces: 1_000, max_value_size: "1MB".to_owned() }
    }
}

/// How much there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Keys of a namespace.
    pub(crate) keys: usize,
    pub(crate) namespaces: usize,
    /// Bytes of a value.
    pub(crate) value: usize,
}

impl Settings {
    /// An error says for people which setting is wrong, and what would be right.
    pub(crate) fn check(&self) -> Result<Limits, String> {
        Ok(Limits {
            keys: within("maxKeysPerNamespace", self.max_keys_per_namespace, MOST_KEYS)?,
            namespaces: within("maxNamespaces", self.max_namespaces, 10_000)?,
            value: size(&self.max_value_size)?,
        })
    }
}

fn within(name: &str, value: u32, most: u32) -> Result<usize, String> {
    let fits = (1..=most).contains(&value);
    let number = usize::try_from(value).ok().filter(|_| fits);
    number.ok_or_else(|| format!("`{name}` is {value}, but must be between 1 and {most}"))
}

fn size(text: &str) -> Result<usize, String> {
    let trimmed = text.trim();
    let (number, unit) = trimmed.split_at(trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len()));
    let factor = match unit.trim_start() {
        "kB" => Some(1 << 10),
        "MB" => Some(1 << 20),
        _ => None,
    };
    let bytes = number.parse::<usize>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    bytes.filter(|bytes| (1..=MAX_VALUE).contains(bytes)).ok_or_else(|| {
        format!(
            "`maxValueSize` is `{text}`: write a whole number above 0 and `kB` or `MB`, at most `1MB`, such as `64kB`"
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(settings: Value) -> Result<Limits, String> {
        let settings: Settings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
        settings.check()
    }

    #[test]
    fn limits_are_read_and_what_cannot_work_is_refused() {
        assert_eq!(check(json!({})), Ok(Limits { keys: 1_000, namespaces: 1_000, value: 1 << 20 }));
        let all = json!({ "maxKeysPerNamespace": 99_000, "maxNamespaces": 1, "maxValueSize": " 64 kB" });
        assert_eq!(check(all), Ok(Limits { keys: 99_000, namespaces: 1, value: 64 << 10 }));
        for (settings, part) in [
            (json!({ "maxKeysPerNamespace": 0 }), "`maxKeysPerNamespace` is 0, but must be between 1 and 99000"),
            (json!({ "maxNamespaces": 10_001 }), "`maxNamespaces` is 10001"),
            (json!({ "maxValueSize": "2MB" }), "at most `1MB`"),
            (json!({ "maxValueSize": "0kB" }), "above 0"),
            (json!({ "maxValueSize": "1000" }), "`kB` or `MB`"),
            (json!({ "maxValueSize": "99999999999999999999MB" }), "`maxValueSize`"),
            (json!({ "maxKeys": 5 }), "unknown field"),
        ] {
            let error = check(settings).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
