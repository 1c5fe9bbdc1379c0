//! Texts in YAML, in block style, for people to read.

use saphyr::{Mapping, Scalar, ScalarStyle, Yaml, YamlEmitter};
use serde_json::Value;

/// The text of a value; keys by the alphabet. Ends with a line break.
pub(crate) fn of(value: &Value) -> String {
    of_yaml(&node(value, &[]))
}

/// The same with certain keys before the others, in this order, and without quotes around them: `on` is a text in YAML 1.2.
pub(crate) fn of_ordered(value: &Value, first: &[&str]) -> String {
    of_yaml(&node(value, first))
}

/// The text of a document.
pub(crate) fn of_yaml(document: &Yaml<'_>) -> String {
    let mut text = String::new();
    // A text takes whatever is written to it.
    let _ = YamlEmitter::new(&mut text).dump(document);
    let mut body = text.strip_prefix("---\n").unwrap_or(&text).to_owned();
    body.push('\n');
    body
}

fn node<'v>(value: &'v Value, first: &[&str]) -> Yaml<'v> {
    match value {
        Value::Null => Yaml::Value(Scalar::Null),
        Value::Bool(is) => Yaml::Value(Scalar::Boolean(*is)),
        Value::Number(number) => Yaml::Value(match number.as_i64() {
            Some(whole) => Scalar::Integer(whole),
            None => Scalar::FloatingPoint(number.as_f64().unwrap_or_default().into()),
        }),
        Value::String(text) => Yaml::Value(Scalar::String(text.into())),
        Value::Array(items) => Yaml::Sequence(items.iter().map(|item| node(item, first)).collect()),
        Value::Object(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by_key(|(name, _)| first.iter().position(|other| other == name).unwrap_or(first.len()));
            let key = |name: &'v str| {
                if first.contains(&name) {
                    Yaml::Representation(name.into(), ScalarStyle::Plain, None)
                } else {
                    Yaml::Value(Scalar::String(name.into()))
                }
            };
            Yaml::Mapping(
                entries.into_iter().map(|(name, entry)| (key(name), node(entry, first))).collect::<Mapping<'_>>(),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use saphyr::LoadableYamlNode;
    use serde_json::json;

    use super::*;
    use crate::config::yaml;

    #[test]
    fn yaml_means_the_same() {
        let texts = [
            "",
            " ",
            "yes",
            "null",
            "~",
            "5",
            "4XX",
            "0x1",
            "1e3",
            "a: b",
            "- a",
            "#",
            "a #b",
            "\"",
            "'",
            "a\nb\n",
            "\t",
            "{",
            "*a",
            "&a",
            "!a",
            "%",
            "@",
            "`",
            "ä",
            "\u{1f600}",
            "\u{7f}",
            "?",
            "-",
            ":",
            "...",
            "---",
            "${file:a}",
            "a\\b",
        ];
        let keyed: serde_json::Map<String, Value> =
            texts.iter().map(|text| ((*text).to_owned(), json!(text))).collect();
        let value = json!({ "texts": texts.as_slice(), "keyed": keyed, "none": null, "lists": [[], {}, [[1, -2.5], { "a": true }]],
            "numbers": [0, i64::MIN, u64::MAX, 1.0, 1e300] });
        let text = of(&value);
        let back = Yaml::load_from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(back, [node(&value, &[])], "{text}");
    }

    #[test]
    fn certain_keys_come_first() {
        let value = json!({ "a": 1, "use": "x", "on": [{ "b": 2, "events": ["*.failed"] }], "name": "n" });
        let text = of_ordered(&value, &["use", "name", "on", "events"]);
        assert_eq!(text, "use: x\nname: n\non:\n  - events:\n      - \"*.failed\"\n    b: 2\na: 1\n");
    }

    proptest! {
        #[test]
        fn any_text_is_read_back(text in "\\PC{0,40}|[^\\pC]{0,10}[\\n\\r\\t][^\\pC]{0,10}", key in "[^\\pC]{1,20}") {
            prop_assume!(key.trim() == key && key != "<<");
            let value = json!({ "key": [{ "x": text }], "keys": { key.clone(): 1 } });
            let written = of(&value);
            let back = yaml::parse(&written).unwrap_or_else(|errors| panic!("{errors:?}: {written}"));
            prop_assert_eq!(back.unwrap().value, value, "{}", written);
        }
    }
}
