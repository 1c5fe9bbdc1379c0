//! Secrets do not come back, however they are encoded.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::*;
use crate::config::Secrets;

fn secrets(values: &[&str]) -> Secrets {
    Secrets::new(values.iter().map(ToString::to_string))
}

#[test]
fn secrets_are_found_in_all_forms() {
    let secrets = secrets(&["pa\"ss/wörd +1", "hunter22"]);
    for (text, expected) in [
        ("nothing here, 100% sure \\o/", "nothing here, 100% sure \\o/"),
        ("x hunter22 y", "x [redacted] y"),
        ("hunter22hunter22", "[redacted][redacted]"),
        ("(pa\"ss/wörd +1)", "([redacted])"),
        (r#"{"a":"pa\"ss/wörd +1"}"#, r#"{"a":"[redacted]"}"#),
        (r#"{"a":"pa\"ss\/w\u00f6rd +1"}"#, r#"{"a":"[redacted]"}"#),
        (r#"pa\"ss/w\u{f6}rd +1!"#, "[redacted]!"),
        (r#""{\"a\":\"pa\\\"ss/wörd +1\"}""#, r#""{\"a\":\"[redacted]\"}""#),
        ("?p=pa%22ss%2Fw%C3%B6rd%20%2B1&q", "?p=[redacted]&q"),
        ("?p=pa%22ss%2fw%c3%b6rd+%2b1&q", "?p=[redacted]&q"),
        ("?p=pa%22ss/w%C3%B6rd%20+1&q", "?p=[redacted]&q"),
        ("%68unter2%32", "[redacted]"),
        ("100%, 5%2, %", "100%, 5%2, %"),
        ("\\u12, \\ud83d\\u, \\", "\\u12, \\ud83d\\u, \\"),
    ] {
        assert_eq!(secrets.redact(text), expected);
    }
}

#[test]
fn overlapping_secrets_go_together() {
    assert_eq!(secrets(&["abcdefgh", "efghijkl"]).redact("-abcdefghijkl-"), "-[redacted]-");
    assert_eq!(secrets(&["abcdef", "abcdefghi"]).redact("-abcdefghi-"), "-[redacted]-");
}

#[test]
fn short_secrets_are_let_through_and_nothing_is_shown() {
    let secrets = secrets(&["abc", "12345"]);
    assert!(secrets.is_empty());
    assert!(matches!(secrets.redact("abc 12345"), Cow::Borrowed("abc 12345")));
    let secrets = Secrets::new(["topsecret".to_owned()]);
    assert_eq!(format!("{secrets:?}"), "Secrets { count: 1, .. }");
    assert!(matches!(secrets.redact("innocent"), Cow::Borrowed(_)));
}

#[test]
fn sets_are_joined() {
    let joined = secrets(&["first-one"]).and(&secrets(&["second-one"]));
    assert_eq!(joined.redact("first-one, second-one"), "[redacted], [redacted]");
    assert_eq!(joined.and(&Secrets::default()).redact("first-one"), "[redacted]");
    assert_eq!(Secrets::default().and(&joined).redact("first-one"), "[redacted]");
}

#[test]
fn json_is_redacted_in_place() {
    let mut value = json!({ "a": ["x hunter22", 1], "hunter22": { "b": "y" }, "n": 123_456_789, "k": true });
    secrets(&["hunter22", "123456789"]).redact_json(&mut value);
    assert_eq!(value, json!({ "a": ["x [redacted]", 1], "[redacted]": { "b": "y" }, "n": "[redacted]", "k": true }));
}

proptest! {
    #[test]
    fn base64_hides_no_secret(
        secret in "[ -~éß]{6,40}", before in ".{0,9}", after in ".{0,9}", safe in any::<bool>(), pad in any::<bool>(),
    ) {
        let engine = match (safe, pad) {
            (false, false) => STANDARD_NO_PAD,
            (false, true) => STANDARD,
            (true, false) => URL_SAFE_NO_PAD,
            (true, true) => URL_SAFE,
        };
        let encoded = engine.encode(format!("{before}{secret}{after}"));
        let redacted = Secrets::new([secret.clone()]).redact(&encoded).into_owned();
        // What is left are characters that no part of the secret went into.
        let (head, tail) = redacted.split_once("[redacted]").expect("the secret is found");
        prop_assert!(head.len() <= before.len() * 8 / 6, "{head}");
        let tail = tail.trim_end_matches('=');
        prop_assert!(tail.len() <= (after.len() * 8).div_ceil(6) , "{tail}");
        prop_assert!(encoded.starts_with(head) && encoded.trim_end_matches('=').ends_with(tail));
    }

    #[test]
    fn urls_and_json_hide_no_secret(secret in "[ -~éß\n\t]{6,40}", before in "[ -~]{0,9}", after in "[ -~]{0,9}") {
        let secrets = Secrets::new([secret.clone()]);
        let text = format!("{before}{secret}{after}");
        let url = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let form: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let json = Value::String(text.clone()).to_string();
        let twice = Value::String(json.clone()).to_string();
        for encoded in [text.clone(), url, form, json, twice, format!("{text:?}")] {
            let redacted = secrets.redact(&encoded);
            prop_assert!(redacted.contains("[redacted]"), "{encoded}");
            prop_assert!(!redacted.contains(&secret) || "[redacted]".contains(&secret), "{redacted}");
        }
    }

    #[test]
    fn any_text_can_be_redacted(text in r"([a-c]|\\|%|\+|u|\{|\}|[0-9]|é|\\u|%[0-9a-f]){0,60}", secret in "([abc]|é|%|u){6,9}") {
        let _ = secrets(&[&secret, "a b c d"]).redact(&text);
    }
}
