//! How values are escaped beyond HTML.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

/// As part of a JSON string, without the quotes.
pub(super) fn json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

/// As part of a JSON string that is a text of Slack, where three characters are control characters
/// (Slack: Formatting text for app surfaces).
pub(super) fn slack_json(text: &str) -> String {
    json(&text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"))
}

/// As a part of an address: all but the unreserved characters of RFC 3986 is percent-encoded.
pub(super) fn url(text: &str) -> String {
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(text, RESERVED).to_string()
}
