//! What a plugin says, made fit to be kept, shown and logged: secrets are taken out, and what has no end is cut.
//!
//! Runs on the thread of the instance, so that a plugin with a hundred megabytes to say keeps only itself busy.

use std::borrow::Cow;
use std::fmt::Write;

use butler_plugin_api::abi::WireResponse;
use butler_plugin_api::{Health, OperationError, Outcome, StartError};
use serde_json::Value;

use crate::config::Secrets;

/// Longest text of an error, a panic, a health.
const MAX_TEXT: usize = 8 << 10;
/// Longest answer of an operation, as JSON.
const MAX_OPERATION: usize = 1 << 20;
/// Longest body of an endpoint's answer.
const MAX_BODY: usize = 64 << 20;

/// A text for people. First the secrets, then the cut: half a secret would not be found.
pub(super) fn text(secrets: &Secrets, text: String) -> String {
    let text = match secrets.redact(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(redacted) => redacted,
    };
    cut(text, MAX_TEXT)
}

/// At most `most` bytes, and a word on what is left out.
pub(super) fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let length = text.len();
        text.truncate(text.floor_char_boundary(most));
        // Writing to a text cannot fail.
        let _ = write!(text, "… ({length} bytes, cut)");
        text.shrink_to_fit();
    }
    text
}

pub(super) fn outcome(secrets: &Secrets, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Delivered => Outcome::Delivered,
        Outcome::Retry { message, after_ms, progress, panicked } => {
            Outcome::Retry { message: text(secrets, message), after_ms, progress, panicked }
        }
        Outcome::Reject { message } => Outcome::Reject { message: text(secrets, message) },
        // None of this version. Nothing of it gets out before it is thought of here.
        other => {
            let message = text(secrets, format!("an outcome that this Butler does not know: {other:?}"));
            Outcome::Retry { message, after_ms: None, progress: None, panicked: false }
        }
    }
}

pub(super) fn start_error(secrets: &Secrets, error: StartError) -> StartError {
    match error {
        StartError::Config(message) => StartError::Config(text(secrets, message)),
        StartError::Unavailable(message) => StartError::Unavailable(text(secrets, message)),
        StartError::Panicked(message) => StartError::Panicked(text(secrets, message)),
        other => StartError::Unavailable(text(secrets, other.to_string())),
    }
}

pub(super) fn health(secrets: &Secrets, health: Health) -> Health {
    match health {
        Health::Good => Health::Good,
        Health::Degraded(message) => Health::Degraded(text(secrets, message)),
        Health::Bad(message) => Health::Bad(text(secrets, message)),
        other => Health::Bad(text(secrets, format!("{other:?}"))),
    }
}

pub(super) fn operation(secrets: &Secrets, answer: Result<Value, OperationError>) -> Result<Value, OperationError> {
    match answer {
        Ok(mut value) => {
            let length = value.to_string().len();
            if length > MAX_OPERATION {
                return Err(OperationError::Failed(format!(
                    "the plugin answered with {length} bytes, at most {MAX_OPERATION} are taken"
                )));
            }
            secrets.redact_json(&mut value);
            Ok(value)
        }
        Err(OperationError::Unsupported(message)) => Err(OperationError::Unsupported(text(secrets, message))),
        Err(OperationError::Failed(message)) => Err(OperationError::Failed(text(secrets, message))),
        Err(OperationError::Panicked(message)) => Err(OperationError::Panicked(text(secrets, message))),
        Err(other) => Err(OperationError::Failed(text(secrets, other.to_string()))),
    }
}

/// An endpoint's answer; the error says what is wrong with it.
pub(super) fn response(secrets: &Secrets, mut response: WireResponse) -> Result<WireResponse, String> {
    if response.body.len() > MAX_BODY {
        let length = response.body.len();
        return Err(format!("the plugin answered with {length} bytes, at most {MAX_BODY} are taken"));
    }
    let redact = |text: String| match secrets.redact(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(redacted) => redacted,
    };
    response.headers = response.headers.into_iter().map(|(name, value)| (redact(name), redact(value))).collect();
    response.options = redact(response.options);
    if !secrets.is_empty()
        && let Some(body) = redact_bytes(secrets, &response.body)
    {
        response.body = body;
    }
    Ok(response)
}

/// The bytes without the secrets, where there were any. Bytes that are no text stand between texts.
fn redact_bytes(secrets: &Secrets, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut redacted = Vec::new();
    let mut found = false;
    for chunk in bytes.utf8_chunks() {
        let text = secrets.redact(chunk.valid());
        found |= matches!(text, Cow::Owned(_));
        redacted.extend_from_slice(text.as_bytes());
        redacted.extend_from_slice(chunk.invalid());
    }
    found.then_some(redacted)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secrets() -> Secrets {
        Secrets::new(["s3cret-1".to_owned(), "123456789".to_owned()])
    }

    #[test]
    fn a_secret_at_the_cut_is_gone_before_it() {
        let said = text(&secrets(), format!("{}s3cret-1", "x".repeat(MAX_TEXT - 4)));
        assert!(said.contains("[red") && !said.contains("s3c"), "{}", &said[MAX_TEXT - 20..]);
        let long = text(&secrets(), "é".repeat(MAX_TEXT));
        assert!(long.len() < MAX_TEXT + 40 && long.ends_with("(16384 bytes, cut)"), "{}", long.len());
    }

    #[test]
    fn answers_stay_json_without_secrets_in_texts_keys_and_numbers() {
        let answer = operation(&secrets(), Ok(json!({ "s3cret-1": ["a s3cret-1", 123_456_789] })));
        assert_eq!(answer, Ok(json!({ "[redacted]": ["a [redacted]", "[redacted]"] })));
        let unsupported = operation(&secrets(), Err(OperationError::Unsupported("s3cret-1".to_owned())));
        assert_eq!(unsupported, Err(OperationError::Unsupported("[redacted]".to_owned())));
        assert!(operation(&secrets(), Ok(json!("x".repeat(MAX_OPERATION)))).is_err());
    }

    #[test]
    fn headers_and_bodies_that_are_no_text_tell_no_secret_either() {
        let said = WireResponse {
            status: 200,
            headers: vec![("x-s3cret-1".to_owned(), "Bearer s3cret-1".to_owned())],
            body: b"\xff\xfes3cret-1\xff".to_vec(),
            options: String::new(),
        };
        let told = response(&secrets(), said).unwrap();
        assert_eq!(told.headers, [("x-[redacted]".to_owned(), "Bearer [redacted]".to_owned())]);
        assert_eq!(told.body, b"\xff\xfe[redacted]\xff");
        let huge = WireResponse { body: vec![0; MAX_BODY + 1], ..WireResponse::default() };
        assert!(response(&secrets(), huge).is_err());
    }
}
