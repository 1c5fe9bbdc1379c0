//! What may be a topic, and what values of events become in one.

use serde_json::Value;

/// Longest topic in bytes.
const LONGEST: usize = 65_535;
/// In the place of what a topic cannot hold.
const PLACEHOLDER: char = '_';

/// A value that stands for one level of a topic: separators, wildcards and control characters become `_`, and so does a
/// value that is empty.
pub(crate) fn level(value: &str) -> String {
    if value.is_empty() { PLACEHOLDER.to_string() } else { value.chars().map(allowed).collect() }
}

fn allowed(c: char) -> char {
    // Unicode says of these that they are no characters, and so does MQTT.
    let is_no_character = matches!(c, '\u{fdd0}'..='\u{fdef}') || (u32::from(c) & 0xfffe) == 0xfffe;
    if matches!(c, '/' | '+' | '#') || c.is_control() || is_no_character { PLACEHOLDER } else { c }
}

/// Cleans all texts within a value, so that whatever a template takes from it stands for one level.
pub(crate) fn clean(value: &mut Value) {
    match value {
        Value::String(text) if text.chars().any(|c| allowed(c) != c) => *text = text.chars().map(allowed).collect(),
        Value::Array(items) => items.iter_mut().for_each(clean),
        Value::Object(fields) => fields.values_mut().for_each(clean),
        _ => {}
    }
}

/// Why a text is no topic to publish to.
pub(crate) fn fault(topic: &str) -> Option<String> {
    if topic.is_empty() {
        return Some("the topic is empty".to_owned());
    }
    if topic.len() > LONGEST {
        return Some(format!("the topic has {} bytes, at most {LONGEST} are possible", topic.len()));
    }
    if topic.contains(['+', '#']) {
        return Some(format!(
            "the topic `{}` has a wildcard (`+` or `#`), which is for subscriptions only",
            shown(topic)
        ));
    }
    let not_allowed = |c: char| c != '/' && allowed(c) != c;
    topic.chars().any(not_allowed).then(|| format!("the topic `{}` has a control character", shown(topic)))
}

/// Why a text is nothing to subscribe to.
pub(crate) fn filter_fault(filter: &str) -> Option<String> {
    let levels: Vec<&str> = filter.split('/').collect();
    for (index, level) in levels.iter().enumerate() {
        if level.contains('#') && (*level != "#" || index + 1 != levels.len()) {
            return Some(format!("`{}`: `#` can only stand alone as the last level", shown(filter)));
        }
        if level.contains('+') && *level != "+" {
            return Some(format!("`{}`: `+` can only stand alone as a level", shown(filter)));
        }
    }
    // What is left is that of a topic.
    fault(&filter.replace(['+', '#'], "x"))
}

/// Whether a topic fits a filter.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    let (mut wanted, mut given) = (filter.split('/'), topic.split('/'));
    // By the rules of MQTT, wildcards at the beginning do not stand for `$SYS` and the like.
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    loop {
        match (wanted.next(), given.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(given)) if wanted == given => {}
            _ => return false,
        }
    }
}

/// For messages: a text cut to what one reads, without control characters.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST_SHOWN: usize = 100;
    let mut shown: String = text.chars().take(LONGEST_SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn any_value_becomes_one_level(value in "\\PC*|.*|[/+#\\x00-\\x1f$a]{0,20}") {
            let level = level(&value);
            let topic = format!("a/{level}/b");
            prop_assert_eq!(fault(&topic), None);
            prop_assert_eq!(topic.split('/').count(), 3);
            prop_assert!(matches("a/+/b", &topic) && !matches("a/+", &topic));
        }

        #[test]
        fn filters_never_panic_and_a_topic_fits_itself(filter in ".*|[/+#ab$]{0,12}", topic in "[/ab$]{1,12}") {
            let _ = filter_fault(&filter);
            let _ = matches(&filter, &topic);
            prop_assert!(matches(&topic, &topic));
            prop_assert_eq!(filter_fault(&topic), None);
        }
    }

    #[test]
    fn what_separates_or_matches_is_replaced_in_values() {
        for (value, expected) in [
            ("Load sales", "Load sales"),
            ("a/b", "a_b"),
            ("50% + tax #1", "50% _ tax _1"),
            ("x\0y\r\n\u{1b}z\u{85}", "x_y___z_"),
            ("\u{fdd0}\u{ffff}\u{10fffe}", "___"),
            ("Grüße 😀", "Grüße 😀"),
            ("", "_"),
        ] {
            assert_eq!(level(value), expected, "{value:?}");
        }
        let mut value = json!({ "a": ["x/y", { "b": "+", "n": 1 }], "c": null });
        clean(&mut value);
        assert_eq!(value, json!({ "a": ["x_y", { "b": "_", "n": 1 }], "c": null }));
    }

    #[test]
    fn what_is_no_topic_is_told() {
        for (topic, part) in [
            ("", "empty"),
            ("a/+/b", "wildcard"),
            ("a#", "wildcard"),
            ("a\0b", "control character"),
            ("a\nb", "control character"),
        ] {
            assert!(fault(topic).unwrap().contains(part), "{topic:?}");
        }
        assert!(fault(&"x".repeat(LONGEST + 1)).unwrap().contains("65536 bytes"));
        assert_eq!(fault(&"x".repeat(LONGEST)), None);
        for topic in ["a", "/", "/a//b", "$aws/rules/x", "a b"] {
            assert_eq!(fault(topic), None, "{topic}");
        }
        for filter in ["a/#/b", "a#", "a+/b", "", "a/b\0"] {
            assert!(filter_fault(filter).is_some(), "{filter:?}");
        }
        for filter in ["#", "+", "a/+/b/#", "+/+"] {
            assert_eq!(filter_fault(filter), None, "{filter}");
        }
    }

    #[test]
    fn filters_match_as_mqtt_says() {
        for (filter, topic, expected) in [
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/#", "ab", false),
            ("a/+", "a/b", true),
            ("a/+", "a/b/c", false),
            ("a/b", "a/b", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }
}
