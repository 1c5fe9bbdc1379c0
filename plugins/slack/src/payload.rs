//! The body of a message: who, where, and what, in the order of Butler 16.

use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use crate::settings::Post;

/// A JSON object whose keys keep their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Payload(Vec<(String, Box<RawValue>)>);

impl Payload {
    /// With what the settings say: `username`, `channel`, `icon_emoji`.
    pub(crate) fn new(post: &Post) -> Self {
        let mut payload = Self::default();
        let settings = [("username", &post.from_user), ("channel", &post.channel), ("icon_emoji", &post.icon_emoji)];
        for (name, value) in settings {
            if let Some(value) = value {
                payload.set(name, value);
            }
        }
        payload
    }

    /// With the keys of a message, which go before those of the settings.
    pub(crate) fn with(mut self, message: Map<String, Value>) -> Self {
        for (name, value) in message {
            self.set(&name, &value);
        }
        self
    }

    /// Sets a key, or replaces its value.
    pub(crate) fn set(&mut self, name: &str, value: &impl Serialize) {
        // Texts, and structs of texts: no value here refuses to be written.
        let value = to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned());
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// A value that is a text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let (_, value) = self.0.iter().find(|(key, _)| key == name)?;
        serde_json::from_str(value.get()).ok()
    }

    /// As it is sent.
    pub(crate) fn json(&self) -> String {
        // Cannot fail: keys are texts, and the values are JSON already.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
