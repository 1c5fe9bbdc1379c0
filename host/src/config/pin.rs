//! Writes `sha256:` of entries under `plugins:` into the text of a config file, and changes nothing else of it.
//!
//! The text is edited, not written anew: comments, order and style are the administrator's. What an edit did is read back,
//! and one that did not do exactly what it should is not made.

use serde_json::Value;

use super::document::Document;
use super::yaml::{self, Spot};

/// Why a text could not be edited.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PinError {
    /// The hash comes from somewhere else.
    #[error("the pin of `{instance}` is a placeholder; put {sha256} where it comes from")]
    Placeholder {
        /// Name of the instance.
        instance: String,
        /// The hash.
        sha256: String,
    },
    /// An anchor, or a form that is too unusual.
    #[error(
        "the entry of `{instance}` is written in a way that cannot be edited safely; write there: sha256: \"{sha256}\""
    )]
    Form {
        /// Name of the instance.
        instance: String,
        /// The hash.
        sha256: String,
    },
}

impl Document {
    /// The text of this document with other pins: index in `plugins:`, hash in hexadecimal digits.
    pub fn with_pins(&self, text: &str, pins: &[(usize, String)]) -> Result<String, PinError> {
        let mut text = text.to_owned();
        for (index, sha256) in pins {
            let instance = || {
                let used = self.uses().into_iter().find(|used| used.index == *index);
                used.map_or_else(String::new, |used| used.instance)
            };
            let old = self.raw().pointer(&format!("/plugins/{index}/sha256")).and_then(Value::as_str);
            if old.is_some_and(|old| old.contains("${")) {
                return Err(PinError::Placeholder { instance: instance(), sha256: sha256.clone() });
            }
            text = with_pin(&text, *index, sha256)
                .ok_or_else(|| PinError::Form { instance: instance(), sha256: sha256.clone() })?;
        }
        Ok(text)
    }
}

fn with_pin(text: &str, index: usize, sha256: &str) -> Option<String> {
    let parsed = yaml::parse(text.trim_start_matches('\u{feff}')).ok()??;
    let entry = format!("/plugins/{index}");
    let mut wanted = parsed.value.clone();
    let fields = wanted.pointer_mut(&entry)?.as_object_mut()?;
    let old = fields.insert("sha256".to_owned(), Value::from(sha256));
    if old.as_ref().and_then(Value::as_str) == Some(sha256) {
        return Some(text.to_owned());
    }
    let spot = |field: &str| {
        let (place, itself) = parsed.place.find(&format!("{entry}/{field}"));
        itself.then_some(place)
    };
    let quoted = format!("\"{sha256}\"");
    let edits = if old.is_some() {
        let start = offset(text, spot("sha256")?.value)?;
        vec![(start, end_of_scalar(text, start), quoted)]
    } else {
        let place = spot("use")?;
        let (_, column) = place.key?;
        let end = end_of_scalar(text, offset(text, place.value)?);
        let line_end = text[end..].find('\n').map_or(text.len(), |length| end + length);
        let line_end = if text[..line_end].ends_with('\r') { line_end - 1 } else { line_end };
        let new_line = if text[line_end..].starts_with('\r') { "\r\n" } else { "\n" };
        let line = format!("{new_line}{}sha256: {quoted}", " ".repeat(column - 1));
        // An entry over several lines, or one within braces: only one of them reads back as it should.
        vec![(line_end, line_end, line), (end, end, format!(", sha256: {quoted}"))]
    };
    edits.into_iter().find_map(|(start, end, new)| {
        let edited = format!("{}{new}{}", &text[..start], &text[end..]);
        let read = yaml::parse(edited.trim_start_matches('\u{feff}')).ok()??;
        (read.value == wanted).then_some(edited)
    })
}

/// The byte at which a place stands.
fn offset(text: &str, (line, column): Spot) -> Option<usize> {
    let bom = text.len() - text.trim_start_matches('\u{feff}').len();
    let mut start = bom;
    for _ in 1..line {
        start += text[start..].find('\n')? + 1;
    }
    let column = text[start..].char_indices().map(|(at, _)| at).nth(column - 1)?;
    Some(start + column)
}

/// Where a text that begins at a byte ends, as far as it is on one line.
fn end_of_scalar(text: &str, start: usize) -> usize {
    let rest = &text[start..];
    let length = match rest.chars().next() {
        Some(quote @ ('"' | '\'')) => rest[1..].find(quote).map(|length| length + 2),
        _ => rest.find([',', '}', ' ', '\t', '\r', '\n']),
    };
    start + length.unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn pinned(text: &str, pins: &[(usize, &str)]) -> Result<String, PinError> {
        let document = Document::parse(Path::new("butler.yaml"), text.as_bytes()).unwrap();
        let pins: Vec<_> = pins.iter().map(|(index, hash)| (*index, (*hash).to_owned())).collect();
        document.with_pins(text, &pins)
    }

    #[test]
    fn pins_are_added_and_changed_and_all_else_stays() {
        let text = "# mine\nversion: 1\nplugins:\n  - use: teams   # chat\n    settings: { a: 1 }\n  - { use: 'webhook', settings: { b: 2 } }\n  \
                    - name: last\n    use: \"console\"\n    sha256: old # of May\n  - sha256: \"\"\n    use: ä # é\n  - use: x";
        let expected = "# mine\nversion: 1\nplugins:\n  - use: teams   # chat\n    sha256: \"aa\"\n    settings: { a: 1 }\n  \
                        - { use: 'webhook', sha256: \"bb\", settings: { b: 2 } }\n  \
                        - name: last\n    use: \"console\"\n    sha256: \"cc\" # of May\n  - sha256: \"dd\"\n    use: ä # é\n  - use: x\n    sha256: \"ee\"";
        let pins = [(0, "aa"), (1, "bb"), (2, "cc"), (3, "dd"), (4, "ee")];
        assert_eq!(pinned(text, &pins).unwrap(), expected);
        assert_eq!(pinned(expected, &pins).unwrap(), expected, "nothing to do");
    }

    #[test]
    fn line_ends_and_a_byte_order_mark_stay() {
        let text = "\u{feff}version: 1\r\nplugins:\r\n- use: a\r\n  name: b\r\n";
        let expected = "\u{feff}version: 1\r\nplugins:\r\n- use: a\r\n  sha256: \"aa\"\r\n  name: b\r\n";
        assert_eq!(pinned(text, &[(0, "aa")]).unwrap(), expected);
    }

    #[test]
    fn braces_over_several_lines() {
        let text = "plugins: [\n  {\n    use: a,\n    name: b\n  },\n  { name: c, use: d }\n]\n";
        let expected = "plugins: [\n  {\n    use: a, sha256: \"aa\",\n    name: b\n  },\n  { name: c, use: d, sha256: \"dd\" }\n]\n";
        assert_eq!(pinned(text, &[(0, "aa"), (1, "dd")]).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_edited_says_what_to_write() {
        let text = "x: &entry { use: a, name: b }\nplugins: [*entry]\n";
        let error = pinned(text, &[(0, "aa")]).unwrap_err().to_string();
        assert!(error.contains("`b`") && error.ends_with("sha256: \"aa\""), "{error}");
        let error = pinned("plugins:\n- use: a\n  sha256: ${env:PIN}\n", &[(0, "aa")]).unwrap_err().to_string();
        assert!(error.contains("`a`") && error.contains("put aa where it comes from"), "{error}");
    }
}
