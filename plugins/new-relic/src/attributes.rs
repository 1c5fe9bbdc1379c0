//! Attributes: names with texts or numbers, within the limits of New Relic.
//!
//! Source of the limits: *Data requirements and limits for custom event data*, *Log event data* and *Metric API limits and
//! restricted attributes* in New Relic's documentation. What is beyond them is cut here: New Relic would drop it, often
//! without a word.

use butler_plugin_api::kind;
use serde::{Serialize, Serializer};
use serde_json::Value;

/// Longest name, in characters.
pub(crate) const LONGEST_NAME: usize = 255;
/// Longest text of events and metrics, in UTF-16 units.
pub(crate) const LONGEST_TEXT: usize = 4096;
/// Longest text of logs that can be searched, in UTF-16 units.
pub(crate) const LONGEST_IN_LOGS: usize = 4094;
/// No more are gathered; the APIs take fewer.
const MOST: usize = 1000;
/// To what texts are cut, step by step, where all together are too much.
const SHORTER: [usize; 4] = [1000, 250, 60, 20];

/// Attributes in order.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Attributes(Vec<(String, Value)>);

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Attributes {
    /// With static attributes, of which later ones go before earlier ones.
    pub(crate) fn new(given: &[(String, Value)]) -> Self {
        let mut attributes = Self::default();
        for (name, value) in given {
            attributes.set(name, value.clone());
        }
        attributes
    }

    /// Sets a text or a number, or replaces it in its place. `true` and `false` become texts; null, lists and objects are no
    /// attributes.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) {
        let value = match value.into() {
            Value::Bool(truth) => Value::from(truth.to_string()),
            Value::String(text) => Value::from(cut(text, LONGEST_TEXT)),
            Value::Number(number) => Value::from(number),
            Value::Null | Value::Array(_) | Value::Object(_) => return,
        };
        let name: String = name.chars().take(LONGEST_NAME).collect();
        match self.0.iter().position(|(known, _)| *known == name) {
            Some(place) => self.0[place].1 = value,
            None if self.0.len() < MOST && !name.is_empty() => self.0.push((name, value)),
            None => {}
        }
    }

    /// Sets what is known: neither nothing nor an empty text.
    pub(crate) fn set_known(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.set(name, text);
        }
    }

    /// Leaves out names that fit one of the patterns.
    pub(crate) fn leave_out(&mut self, patterns: &[String]) {
        self.0.retain(|(name, _)| !patterns.iter().any(|pattern| kind::matches(pattern, name)));
    }

    /// Cuts down to so many attributes, the first ones, and so many bytes of JSON.
    pub(crate) fn fit(&mut self, most: usize, bytes: usize) {
        self.0.truncate(most);
        for longest in SHORTER {
            if self.bytes() <= bytes {
                return;
            }
            self.cut_texts(longest);
        }
        while self.bytes() > bytes && self.0.pop().is_some() {}
    }

    /// Cuts texts to so many UTF-16 units.
    pub(crate) fn cut_texts(&mut self, longest: usize) {
        for (_, value) in &mut self.0 {
            if let Value::String(text) = value {
                *text = cut(std::mem::take(text), longest);
            }
        }
    }

    /// Size as JSON.
    fn bytes(&self) -> usize {
        json(self).len()
    }

    #[cfg(test)]
    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }
}

/// JSON of what is made of texts, numbers, lists and objects with texts as names.
pub(crate) fn json(value: &impl Serialize) -> String {
    // Cannot fail for such values.
    serde_json::to_string(value).unwrap_or_default()
}

/// At most so many UTF-16 units of a text, of which the last is `…` where it was cut.
pub(crate) fn cut(text: String, most: usize) -> String {
    // No text has more units than bytes.
    if text.len() <= most || text.encode_utf16().count() <= most {
        return text;
    }
    let mut units = 1;
    let mut kept: String = text
        .chars()
        .take_while(|c| {
            units += c.len_utf16();
            units <= most
        })
        .collect();
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn later_ones_replace_earlier_ones_in_their_place() {
        let mut attributes =
            Attributes::new(&[("a".into(), json!(1)), ("b".into(), json!("x")), ("a".into(), json!(2))]);
        attributes.set("b", true);
        attributes.set("c", json!([1]));
        attributes.set("d", Value::Null);
        attributes.set_known("e", Some(""));
        attributes.set("", "nameless");
        assert_eq!(json(&attributes), r#"{"a":2,"b":"true"}"#);
        attributes.set("qs_taskTag_x", "true");
        attributes.leave_out(&["qs_taskTag_*".to_owned(), "a".to_owned()]);
        assert_eq!(attributes.names(), ["b"]);
    }

    #[test]
    fn long_names_and_texts_are_cut() {
        let mut attributes = Attributes::default();
        attributes.set(&"n".repeat(300), "ä".repeat(5000));
        let (name, value) = attributes.0.remove(0);
        assert_eq!(name.len(), 255);
        let text = value.as_str().unwrap();
        assert_eq!((text.chars().count(), text.ends_with("ä…")), (4096, true));
        assert_eq!(cut("\u{1F600}\u{1F600}".to_owned(), 4), "\u{1F600}\u{1F600}");
        assert_eq!(cut("\u{1F600}\u{1F600}".to_owned(), 3), "\u{1F600}…", "two units each");
        assert_eq!(cut("ab".to_owned(), 1), "…");
    }

    proptest! {
        #[test]
        fn whatever_comes_fits_in_the_end(
            given in prop::collection::vec((".{0,400}", "[a\u{1}\\\\\"\u{1F600}]{0,5000}"), 0..40),
            most in 0_usize..300, bytes in 2_usize..100_000,
        ) {
            let mut attributes = Attributes::default();
            for (name, text) in &given {
                attributes.set(name, text.as_str());
            }
            let first = attributes.names().first().map(ToString::to_string);
            attributes.fit(most, bytes);
            prop_assert!(json(&attributes).len() <= bytes.max(2) && attributes.0.len() <= most);
            for (name, value) in &attributes.0 {
                prop_assert!(name.chars().count() <= 255 && value.as_str().unwrap().encode_utf16().count() <= 4096);
            }
            if let Some(kept) = attributes.names().first() {
                prop_assert_eq!(Some(*kept), first.as_deref(), "the first ones stay");
            }
        }
    }
}
