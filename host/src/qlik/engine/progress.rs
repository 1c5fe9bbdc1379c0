//! How far a reload is, as the engine tells (`GetProgress`).

use serde::Deserialize;

/// Longest text that is kept, in characters.
const KEPT: usize = 500;

/// `qProgressData`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Told {
    /// What the script does at the moment.
    #[serde(rename = "qTransientProgress")]
    transient: String,
    /// Lines of its log since the last question.
    #[serde(rename = "qPersistentProgress")]
    persistent: String,
    #[serde(rename = "qErrorData")]
    errors: Vec<ScriptError>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ScriptError {
    #[serde(rename = "qErrorString")]
    text: String,
    #[serde(rename = "qLine")]
    line: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    #[serde(rename = "qProgressData")]
    told: Told,
}

/// What is known of a reload.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The last thing that the script was heard of doing.
    pub(super) text: Option<String>,
    /// The first error of the script.
    pub(super) error: Option<String>,
}

impl Progress {
    /// Takes in an answer.
    pub(super) fn hear(&mut self, answer: Answer) {
        let Told { transient, persistent, errors } = answer.told;
        let last = persistent.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let text = if transient.trim().is_empty() { last } else { &transient };
        if !text.trim().is_empty() {
            self.text = Some(short(text));
        }
        if self.error.is_none() {
            self.error = errors.first().map(|error| match error.line.trim() {
                "" => short(&error.text),
                line => short(&format!("{}, in `{line}`", error.text.trim())),
            });
        }
    }
}

/// One line of limited length.
fn short(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(KEPT).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_text_and_the_first_error_are_kept() {
        let mut progress = Progress::default();
        let mut hear = |told: serde_json::Value| {
            progress.hear(serde_json::from_value(json!({ "qProgressData": told })).unwrap());
            (progress.text.clone().unwrap_or_default(), progress.error.clone().unwrap_or_default())
        };
        let some = |text: &str, error: &str| (text.to_owned(), error.to_owned());
        assert_eq!(hear(json!({})), some("", ""));
        assert_eq!(
            hear(json!({ "qPersistentProgress": "Connected\r\nOrders\r\n\r\n", "qNew": 1 })),
            some("Orders", "")
        );
        assert_eq!(
            hear(json!({ "qTransientProgress": "Orders  12", "qPersistentProgress": "x" })),
            some("Orders 12", "")
        );
        let errors =
            json!([{ "qErrorString": "Field not found", "qLine": "LOAD  a\nFROM b" }, { "qErrorString": "2" }]);
        assert_eq!(hear(json!({ "qErrorData": errors })), some("Orders 12", "Field not found, in `LOAD a FROM b`"));
        assert_eq!(
            hear(json!({ "qTransientProgress": "y".repeat(10_000), "qErrorData": [{ "qErrorString": "3" }] })).0.len(),
            500
        );
    }
}
