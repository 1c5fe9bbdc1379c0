//! JSON that is put together from pieces of other JSON, without taking these apart.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::config::Secrets;

/// A JSON object by its entries, in their order.
#[derive(Debug, Default)]
pub(super) struct Entries<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Entries<'a> {
    /// The JSON of an entry.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, json)| &**json)
    }

    /// Replaces an entry, or adds it at the end.
    pub(super) fn set(&mut self, name: &'a str, json: impl Into<Cow<'a, str>>) {
        let json = json.into();
        match self.0.iter_mut().find(|(other, _)| other == name) {
            Some((_, old)) => *old = json,
            None => self.0.push((name.into(), json)),
        }
    }

    /// The object as JSON.
    pub(super) fn to_json(&self) -> String {
        let mut text =
            String::with_capacity(2 + self.0.iter().map(|(name, json)| name.len() + json.len() + 4).sum::<usize>());
        text.push('{');
        for (n, (name, json)) in self.0.iter().enumerate() {
            if n > 0 {
                text.push(',');
            }
            text.push_str(&quoted(name));
            text.push(':');
            text.push_str(json);
        }
        text.push('}');
        text
    }
}

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut entries = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    let json: &'de RawValue = map.next_value()?;
                    entries.push((name, Cow::Borrowed(json.get())));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A text that is borrowed where it has no escapes; `Cow` itself is always copied.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Borrowing<'a>(#[serde(borrow)] Cow<'a, str>);
        Borrowing::deserialize(deserializer).map(|name| Self(name.0))
    }
}

fn quoted(text: &str) -> String {
    // A text can always be written.
    serde_json::to_string(text).unwrap_or_default()
}

/// A JSON object that is written entry by entry, without secrets.
pub(super) struct Document<'s> {
    text: String,
    secrets: &'s Secrets,
    /// Whether the next entry or item is the first.
    first: bool,
}

impl<'s> Document<'s> {
    pub(super) fn new(secrets: &'s Secrets) -> Self {
        Self { text: "{".to_owned(), secrets, first: true }
    }

    /// Adds an entry.
    pub(super) fn entry(&mut self, name: &str, json: &str) {
        self.name(name);
        self.json(json);
    }

    /// Begins an entry that is a list.
    pub(super) fn begin_list(&mut self, name: &str) {
        self.name(name);
        self.text.push('[');
        self.first = true;
    }

    /// Adds an item to the list.
    pub(super) fn item(&mut self, json: &str) {
        self.separate();
        self.json(json);
    }

    /// Ends the list.
    pub(super) fn end_list(&mut self) {
        self.text.push(']');
        self.first = false;
    }

    /// The whole.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.text.push('}');
        self.text.shrink_to_fit();
        self.text.into_bytes()
    }

    fn name(&mut self, name: &str) {
        self.separate();
        self.text.push_str(&quoted(name));
        self.text.push(':');
    }

    fn separate(&mut self) {
        if !self.first {
            self.text.push(',');
        }
        self.first = false;
    }

    fn json(&mut self, json: &str) {
        if matches!(self.secrets.redact(json), Cow::Borrowed(_)) {
            self.text.push_str(json);
            return;
        }
        // Hidden value by value, not in the text: so it stays JSON whatever the secret is.
        let mut value: Value = serde_json::from_str(json).unwrap_or_default();
        self.secrets.redact_json(&mut value);
        self.text.push_str(&value.to_string());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn entries_are_replaced_in_their_place_or_added() {
        let text = r#"{ "z" : [1, 2] ,"q\"ä\n":{"x":null},"a":1.50}"#;
        let mut entries: Entries = serde_json::from_str(text).unwrap();
        assert_eq!(entries.get("z"), Some("[1, 2]"));
        assert_eq!(entries.get("q\"ä\n"), Some(r#"{"x":null}"#));
        assert_eq!(entries.get("b"), None);
        entries.set("z", "true");
        entries.set("b", "\"new\"".to_owned());
        assert_eq!(entries.to_json(), r#"{"z":true,"q\"ä\n":{"x":null},"a":1.50,"b":"new"}"#);
        assert_eq!(Entries::default().to_json(), "{}");
        assert!(serde_json::from_str::<Entries>("[1]").is_err());
    }

    proptest! {
        #[test]
        fn objects_come_out_as_they_went_in(object in prop::collection::btree_map(".*", ".*", 0..6)) {
            let text = serde_json::to_string(&object).unwrap();
            let entries: Entries = serde_json::from_str(&text).unwrap();
            let back: BTreeMap<String, String> = serde_json::from_str(&entries.to_json()).unwrap();
            prop_assert_eq!(back, object);
        }
    }

    #[test]
    fn a_document_has_no_secrets_and_is_json() {
        let secrets = Secrets::new(["s3cret-value".to_owned(), "1234567".to_owned()]);
        let mut document = Document::new(&secrets);
        document.begin_list("empty");
        document.end_list();
        document.begin_list("list");
        document.item(r#"{"password":"s3cret-value","n":1234567}"#);
        document.item("2");
        document.end_list();
        document.entry("last", "null");
        let value: Value = serde_json::from_slice(&document.end()).unwrap();
        let wanted =
            json!({ "empty": [], "list": [{ "password": "[redacted]", "n": value["list"][0]["n"] }, 2], "last": null });
        assert_eq!(value, wanted);
        assert_ne!(value["list"][0]["n"], 1_234_567);
    }
}
