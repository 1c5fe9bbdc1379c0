//! The new config, as a text that people like to read.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::config::yaml_text;

/// Sections in the order of `config/butler.yaml`.
const SECTIONS: [&str; 16] = [
    "version",
    "qlik",
    "qlikCloud",
    "udp",
    "rest",
    "scheduler",
    "store",
    "pluginDirs",
    "links",
    "tls",
    "enrich",
    "appReload",
    "scriptLog",
    "log",
    "shutdownTimeout",
    "plugins",
];
/// Within them: what an entry is comes before how it is. All others go by the alphabet.
const KEYS: [&str; 31] = [
    "use",
    "name",
    "id",
    "on",
    "events",
    "where",
    "per",
    "settings",
    "retry",
    "onStuck",
    "host",
    "url",
    "webhookUrl",
    "listen",
    "allowFrom",
    "user",
    "certificates",
    "client",
    "certificate",
    "key",
    "ca",
    "verify",
    "ports",
    "startTaskFilter",
    "grants",
    "network",
    "scopes",
    "disabledEndpoints",
    "comment",
    "token",
    "linkText",
];
/// Longest name of an instance.
const LONGEST_NAME: usize = 64;

/// Adds the plugins' entries to the host's sections: by plugin and its entries, each with a name of its own.
pub(super) fn config(mut config: Map<String, Value>, plugins: Vec<(String, Vec<Value>)>) -> Map<String, Value> {
    let mut names = BTreeSet::new();
    let mut entries = Vec::new();
    for (plugin, instances) in plugins {
        for entry in instances {
            let Value::Object(mut entry) = entry else { continue };
            let wished = entry.get("name").and_then(Value::as_str).unwrap_or(&plugin).to_owned();
            let name = unique(&wished, &names);
            names.insert(name.clone());
            if name == plugin {
                entry.remove("name");
            } else {
                entry.insert("name".to_owned(), name.into());
            }
            entry.insert("use".to_owned(), plugin.clone().into());
            entries.push(Value::Object(entry));
        }
    }
    if !entries.is_empty() {
        config.insert("plugins".to_owned(), entries.into());
    }
    config
}

fn unique(wished: &str, taken: &BTreeSet<String>) -> String {
    let numbered = |number: usize| {
        let end = format!("-{number}");
        let begin: String = wished.chars().take(LONGEST_NAME - end.len()).collect();
        begin + &end
    };
    let names = std::iter::once(wished.to_owned()).chain((2..).map(numbered));
    // As many names as there are entries are enough.
    names.take(taken.len() + 2).find(|name| !taken.contains(name)).unwrap_or_else(|| wished.to_owned())
}

/// The text: `head` as comments, then a section after the other.
pub(super) fn text(config: &Map<String, Value>, head: &[String]) -> String {
    let mut text = String::new();
    for line in head {
        // A line break in the name of a file must not end the comment.
        let line = line.replace(|c: char| c.is_control(), " ");
        text.push_str(format!("# {line}").trim_end());
        text.push('\n');
    }
    let mut sections: Vec<(&String, &Value)> = config.iter().collect();
    sections.sort_by_key(|(name, _)| SECTIONS.iter().position(|other| other == name));
    for (name, section) in sections {
        let alone = Value::Object(Map::from_iter([(name.clone(), section.clone())]));
        let written = yaml_text::of_ordered(&alone, &KEYS);
        if name != "version" {
            text.push('\n');
        }
        // A blank line between entries.
        text.push_str(&if name == "plugins" {
            written.replace("\n  - ", "\n\n  - ").replacen("\n\n", "\n", 1)
        } else {
            written
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::yaml;

    #[allow(clippy::needless_pass_by_value, reason = "called with `json!`")]
    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn each_instance_has_a_name_of_its_own() {
        let long = "x".repeat(70);
        let plugins = vec![
            (
                "chat".to_owned(),
                vec![json!({}), json!({ "name": "chat" }), json!({ "name": "other" }), json!({ "name": "chat" })],
            ),
            ("mail".to_owned(), vec![json!({ "name": "other" }), json!({ "name": long }), json!({ "name": long })]),
        ];
        let config = config(map(json!({ "version": 1 })), plugins);
        let entries = config["plugins"].as_array().unwrap().iter();
        let names: Vec<(&str, Option<&str>)> =
            entries.map(|it| (it["use"].as_str().unwrap(), it["name"].as_str())).collect();
        let second = format!("{}-2", "x".repeat(62));
        assert_eq!(
            names,
            [
                ("chat", None),
                ("chat", Some("chat-2")),
                ("chat", Some("other")),
                ("chat", Some("chat-3")),
                ("mail", Some("other-2")),
                ("mail", Some(long.as_str())),
                ("mail", Some(second.as_str())),
            ]
        );
        assert!(!super::config(map(json!({ "version": 1 })), Vec::new()).contains_key("plugins"));
    }

    #[test]
    fn sections_and_entries_stand_apart() {
        let value = json!({
            "version": 1,
            "plugins": [
                { "use": "chat", "settings": { "url": "${file:secrets/a}", "when": { "every": "1m" } }, "on": [{ "events": ["a.b"], "throttle": { "per": "task", "every": "5m" } }] },
                { "use": "mail", "name": "mail-2", "settings": { "to": ["a", "b\n  - c"] } },
            ],
            "udp": { "listen": "0.0.0.0:9998", "allowFrom": ["10.0.0.1"] },
            "log": { "level": "debug" },
        });
        let text = text(&map(value.clone()), &["One.".to_owned(), "a\nb".to_owned()]);
        let expected = "# One.\n# a b\nversion: 1\n\nudp:\n  listen: \"0.0.0.0:9998\"\n  allowFrom:\n    - 10.0.0.1\n\nlog:\n  level: debug\n\n\
                        plugins:\n  - use: chat\n    on:\n      - events:\n          - a.b\n        throttle:\n          per: task\n          \
                        every: 5m\n    settings:\n      url: \"${file:secrets/a}\"\n      when:\n        every: 1m\n\n  - use: mail\n    name: mail-2\n    \
                        settings:\n      to:\n        - a\n        - \"b\\n  - c\"\n";
        assert_eq!(text, expected);
        assert_eq!(yaml::parse(&text).unwrap().unwrap().value, value);
    }
}
