//! Fields of a message and what is done to each: cut, clean, recognise.

use std::borrow::Cow;

/// Longest field but the message, in characters.
pub(super) const FIELD_CHARS: usize = 500;
/// Longest message, in bytes.
const MESSAGE_BYTES: usize = 8 << 10;
/// Fields told apart; what comes behind belongs to the last. Bounds the search for ids in hostile messages.
const MAX_FIELDS: usize = 256;

/// A text split at `;`. Spans of fields are slices of the text, separators included.
pub(super) struct Fields<'a> {
    text: &'a str,
    /// Where each field begins, and behind the last where another would.
    starts: Vec<usize>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let mut starts = Vec::with_capacity(16);
        starts.push(0);
        starts.extend(text.match_indices(';').map(|(at, _)| at + 1).take(MAX_FIELDS - 1));
        starts.push(text.len() + 1);
        Self { text, starts }
    }

    /// Number of fields, at least 1.
    pub(super) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Field `at`; empty when there is none.
    pub(super) fn get(&self, at: usize) -> &'a str {
        self.span(at, at + 1)
    }

    /// Fields `from..to` with their separators.
    pub(super) fn span(&self, from: usize, to: usize) -> &'a str {
        let to = to.min(self.len());
        if from >= to { "" } else { &self.text[self.starts[from]..self.starts[to] - 1] }
    }

    /// Everything from field `from` on.
    pub(super) fn rest(&self, from: usize) -> &'a str {
        self.span(from, self.len())
    }
}

/// The text with every run of control characters turned into one blank; those at its ends vanish.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    let text = text.trim_matches(char::is_control);
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len());
    let mut in_run = false;
    for c in text.chars() {
        let control = c.is_control();
        if !control {
            cleaned.push(c);
        } else if !in_run {
            cleaned.push(' ');
        }
        in_run = control;
    }
    Cow::Owned(cleaned)
}

/// At most `max` characters of the text.
pub(super) fn clip(text: &str, max: usize) -> &str {
    // A text of so many bytes has no more characters.
    if text.len() <= max {
        return text;
    }
    text.char_indices().nth(max).map_or(text, |(end, _)| &text[..end])
}

/// A name: cleaned, clipped, and empty for `(null)`. Blanks stay, they may be part of it.
pub(super) fn name(field: &str) -> String {
    if blank(field) { String::new() } else { clip(&clean(field), FIELD_CHARS).to_owned() }
}

/// A log message: cleaned, without trailing blanks, at most [`MESSAGE_BYTES`] long.
pub(super) fn message(rest: &str) -> String {
    let cleaned = clean(rest);
    let text = cleaned.trim_end();
    if text.eq_ignore_ascii_case("(null)") {
        return String::new();
    }
    text[..text.floor_char_boundary(MESSAGE_BYTES)].to_owned()
}

/// An id; `None` when there is none: empty, `(null)`, all zeros.
pub(super) fn id(field: &str) -> Option<String> {
    let field = clean(field);
    let field = field.trim();
    let zeros = is_guid(field) && field.bytes().all(|byte| matches!(byte, b'0' | b'-'));
    (!blank(field) && !zeros).then(|| clip(field, FIELD_CHARS).to_owned())
}

/// Whether a field says nothing: empty, blanks, or log4net's `(null)` for a property that is not set.
pub(super) fn blank(field: &str) -> bool {
    let field = field.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    field.is_empty() || field.eq_ignore_ascii_case("(null)")
}

/// Whether a field is a GUID of the form `8-4-4-4-12`.
pub(super) fn is_guid(field: &str) -> bool {
    let field = field.trim().as_bytes();
    field.len() == 36
        && field.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Whether a field looks like log4net's dates: `2026-03-04 05:06:07,890` or `20260304T050607.890+0200`.
pub(super) fn is_date(field: &str) -> bool {
    let field = field.trim();
    (10..=40).contains(&field.len())
        && field.starts_with(|c: char| c.is_ascii_digit())
        && field.contains([':', 'T'])
        && field.bytes().all(|byte| byte.is_ascii_digit() || b"-:,. /T+Z".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_control_characters_become_one_blank() {
        assert_eq!(clean("a\u{7}b\r\n\tc\u{7f}"), "a b c");
        assert_eq!(clean("\nplain "), "plain ");
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(name(&"ä".repeat(600)), "ä".repeat(500));
        assert_eq!(clip("abc", 3), "abc");
        let long = format!("a{}", "€".repeat(4000));
        assert_eq!(message(&long).len(), 8191);
    }

    #[test]
    fn ids_and_dates_are_told_from_other_texts() {
        let guid = "11111111-2222-3333-4444-555555555555";
        assert!(is_guid(guid) && is_guid(" AAAAAAAA-bbbb-cccc-dddd-eeeeeeeeeeee "));
        assert!(!is_guid("{1111111-2222-3333-4444-55555555555}") && !is_guid("not-a-guid"));
        assert!(is_date("2026-03-04 05:06:07,890") && is_date("20110805T145657.000+0200"));
        assert!(!is_date(guid) && !is_date("Totals") && !is_date("") && !is_date("2026-03-04-05"));
        assert_eq!(id("00000000-0000-0000-0000-000000000000"), None);
        assert_eq!((id("(NULL)"), id(" \t"), id(" x ")), (None, None, Some("x".to_owned())));
    }
}
