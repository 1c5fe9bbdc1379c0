//! Why Qlik Sense gave no usable answer.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::cloud::CloudError;

/// Longest part of an answer's body that an error quotes, in characters.
const QUOTED: usize = 200;

/// Why Qlik Sense gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QlikError {
    /// The connection cannot be set up as the config says: certificates, user, host.
    #[error("{0}")]
    Setup(String),
    /// The path or a parameter cannot be sent.
    #[error("`{path}` cannot be asked for: {reason}")]
    BadRequest {
        /// The path below `/qrs/`.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There was no answer.
    #[error("Qlik Sense at {server} gives no answer: {reason}")]
    Unreachable {
        /// Host and port.
        server: String,
        /// What kind of failure.
        cause: Cause,
        /// The failure and what to do about it.
        reason: String,
    },
    /// The answer's status is not a success.
    #[error("{}", status_message(*.status, .path, .body))]
    Status {
        /// HTTP status.
        status: u16,
        /// The path below `/qrs/`.
        path: String,
        /// Beginning of the body, one line.
        body: String,
    },
    /// The answer should have been JSON.
    #[error(
        "the answer to `{path}` is not JSON but begins with \"{start}\" \
         (is `ports.repository` that of QRS, without a proxy in between?)"
    )]
    NotJson {
        /// The path below `/qrs/`.
        path: String,
        /// Beginning of the body, one line.
        start: String,
    },
    /// The answer ends before its JSON does.
    #[error(
        "the answer to `{path}` is cut off after {length} bytes (did the repository service restart, or a proxy in between \
         break off?)"
    )]
    Incomplete {
        /// The path below `/qrs/`.
        path: String,
        /// Bytes that came.
        length: usize,
    },
    /// The answer is JSON of another form.
    #[error(
        "the answer to `{path}` should be {wanted} but begins with \"{start}\" (is `ports.repository` that of QRS, and its \
         release one that Butler knows?)"
    )]
    Odd {
        /// The path below `/qrs/`.
        path: String,
        /// What it should have been.
        wanted: &'static str,
        /// Beginning of the JSON.
        start: String,
    },
    /// The answer is a web page where a text was asked for.
    #[error("the answer to `{path}` is a web page that begins with \"{start}\" (is there a proxy in between?)")]
    Page {
        /// The path below `/qrs/`.
        path: String,
        /// Beginning of the page, one line.
        start: String,
    },
    /// The answer is larger than what is read.
    #[error("the answer to `{path}` is larger than {limit} bytes (narrow the filter)")]
    TooLarge {
        /// The path below `/qrs/`.
        path: String,
        /// What would have been read.
        limit: usize,
    },
    /// A tenant of Qlik Cloud gave no usable answer.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// Qlik Sense was down a moment ago and is not asked again yet.
    #[error("{last_error} (it is asked again in {} ms at the earliest)", .retry_in.as_millis())]
    Gated {
        /// The failure that closed the way.
        last_error: String,
        /// When the next call has a chance.
        retry_in: Duration,
    },
}

/// Kinds of failures without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The name cannot be resolved, or nothing accepts connections there.
    Connect,
    /// It took too long.
    Timeout,
    /// The two sides do not accept each other's certificates, or TLS failed otherwise.
    Tls,
    /// The connection broke.
    Broken,
}

impl QlikError {
    /// Whether the same question may have an answer later, without a change in the question: Qlik Sense is down or
    /// busy, or its administrator puts rights right (401, 403).
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Gated { .. }
            | Self::NotJson { .. }
            | Self::Incomplete { .. }
            | Self::Odd { .. }
            | Self::Page { .. } => true,
            Self::Status { status, .. } => matches!(status, 300..=399 | 401 | 403 | 407 | 408 | 425 | 429 | 500..),
            Self::Cloud(error) => error.is_transient(),
            Self::Setup(_) | Self::BadRequest { .. } | Self::TooLarge { .. } => false,
        }
    }

    /// The error of an answer to `path` that should be something else.
    pub(super) fn odd(path: &str, wanted: &'static str, answer: &Value) -> Self {
        Self::Odd { path: path.to_owned(), wanted, start: excerpt(answer.to_string().as_bytes()) }
    }

    /// The HTTP status, if there was an answer with one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}

fn status_message(status: u16, path: &str, body: &str) -> String {
    let mut text = format!("Qlik Sense answers {status} to `{path}`");
    if !body.is_empty() {
        let _ = write!(text, ": {body}");
    }
    let remedy = match status {
        300..=399 => "it redirects: `qlik.host` and `ports.repository` must lead to QRS itself, not to the proxy",
        400 => "it does not understand the request",
        401 | 403 => "check that `qlik.user` exists and may read this, and that the client certificate is of this site",
        404 => "there is no such object, or no such call in this release",
        429 | 503 => "it is overloaded or starting",
        500.. => "see the repository's log on the Sense server",
        _ => return text,
    };
    let _ = write!(text, " ({remedy})");
    text
}

/// The beginning of a body on one line, for errors.
pub(super) fn excerpt(body: &[u8]) -> String {
    let head = &body[..body.len().min(QUOTED * 4)];
    let text = String::from_utf8_lossy(head);
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    words.join(" ").chars().take(QUOTED).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16) -> QlikError {
        QlikError::Status { status, path: "task/full".to_owned(), body: "Access denied".to_owned() }
    }

    #[test]
    fn texts_name_the_remedy() {
        let text = status(403).to_string();
        assert!(text.starts_with("Qlik Sense answers 403 to `task/full`: Access denied ("), "{text}");
        assert!(text.contains("`qlik.user`"), "{text}");
        assert!(status(302).to_string().contains("`ports.repository`"));
    }

    #[test]
    fn what_may_pass_is_transient() {
        for transient in [301, 401, 403, 408, 429, 500, 502, 503] {
            assert!(status(transient).is_transient(), "{transient}");
        }
        for lasting in [400, 404, 405, 410] {
            assert!(!status(lasting).is_transient(), "{lasting}");
        }
        assert!(QlikError::Gated { last_error: String::new(), retry_in: Duration::ZERO }.is_transient());
        assert!(!QlikError::TooLarge { path: String::new(), limit: 1 }.is_transient());
    }

    #[test]
    fn excerpts_are_one_short_line() {
        assert_eq!(excerpt(b" <html>\r\n\t<b>no\0no</b>\n"), "<html> <b>no no</b>");
        assert_eq!(excerpt("å".repeat(1_000).as_bytes()).chars().count(), QUOTED);
    }
}
