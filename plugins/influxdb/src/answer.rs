//! What InfluxDB answers to a write.
//!
//! A success is a success of every line. When it refuses some lines it has written the others (version 1, and version 2 for
//! all but faults of the protocol), and says which only in version 3. So what a refusal means for a line is known when that line
//! was written alone; [`write`](super::write) sees to that.

use std::time::Duration;

use butler_plugin_api::{DeliveryError, HttpError, HttpReply};
use serde_json::Value;

/// Longest reason that is passed on: some answers quote the whole line.
const LONGEST_REASON: usize = 400;

/// Why it is tried again later.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Later {
    pub(crate) message: String,
    pub(crate) after: Option<Duration>,
}

impl Later {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), after: None }
    }

    pub(crate) fn from_reply(reply: &HttpReply) -> Self {
        let after = reply.header("retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let remedy = match reply.status() {
            401 => " (correct `username` and `password`, or `token`)",
            403 => " (the user or token may not do this: give it the right in InfluxDB)",
            500.. => " (see the log of InfluxDB)",
            _ => "",
        };
        Self { message: reason(reply) + remedy, after }
    }
}

impl From<HttpError> for Later {
    /// An address or TLS profile that does not work may be put right: not a reason to give points up.
    fn from(error: HttpError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<Later> for DeliveryError {
    fn from(later: Later) -> Self {
        match later.after {
            Some(after) => Self::retry_after(later.message, after),
            None => Self::retry(later.message),
        }
    }
}

/// What an answer means for the lines that were sent.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    /// All are written.
    Written,
    /// Some, or all, are refused: why. `lines`: which ones and why, counted from 0; empty if it is not said. `dropped`: how many, if
    /// that is said.
    Refused { message: String, lines: Vec<(usize, String)>, dropped: Option<usize> },
    /// Too much for one request.
    TooLarge(String),
    /// The database or bucket is not there.
    Missing(Later),
    /// InfluxDB is away, busy, or does not let us in.
    Later(Later),
}

impl From<&HttpReply> for Answer {
    fn from(reply: &HttpReply) -> Self {
        let body = serde_json::from_slice::<Value>(reply.bytes()).unwrap_or_default();
        match reply.status() {
            204 => Self::Written,
            200..300 if reply.bytes().iter().all(u8::is_ascii_whitespace) => Self::Written,
            // A cloud answers with a success too when it has not written all of it.
            200..300 | 400 | 422 if body["error"].is_string() || body["message"].is_string() => refused(reply, &body),
            200..300 | 400 | 422 => Self::Later(Later::new(format!(
                "what answers is no InfluxDB: {} and `{}`; is it https instead of http, or is there a proxy in between?",
                reply.status(),
                shortened(reply.text().trim())
            ))),
            413 => Self::TooLarge(reason(reply)),
            404 => Self::Missing(Later::from_reply(reply)),
            // All else, 401 and 405 too, is not about the points.
            _ => Self::Later(Later::from_reply(reply)),
        }
    }
}

fn refused(reply: &HttpReply, body: &Value) -> Answer {
    let message = reason(reply);
    let line = |entry: &Value| {
        let number = usize::try_from(entry["line_number"].as_u64()?).ok()?.checked_sub(1)?;
        Some((number, shortened(entry["error_message"].as_str()?)))
    };
    // Version 3. What is no list names the first fault only, and nothing was written.
    let lines = body["data"].as_array().and_then(|entries| entries.iter().map(line).collect::<Option<Vec<_>>>());
    let dropped = message.rsplit_once("dropped=").and_then(|(_, number)| {
        let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
        number[..digits].parse().ok()
    });
    Answer::Refused { message, lines: lines.unwrap_or_default(), dropped }
}

/// Why, in InfluxDB's words.
pub(crate) fn reason(reply: &HttpReply) -> String {
    let body = serde_json::from_slice::<Value>(reply.bytes()).unwrap_or_default();
    // Version 1: `error`. Version 2: `message` and `code`. Version 3: `error` and what is wrong with each line in `data`.
    let text = body["message"].as_str().or_else(|| body["error"].as_str()).map_or_else(|| reply.text(), str::to_owned);
    let first = [&body["data"][0], &body["data"]].into_iter().find_map(|data| data["error_message"].as_str());
    let text = first.map_or_else(|| text.clone(), |first| format!("{text}: {first}"));
    let text = shortened(text.trim());
    if text.is_empty() {
        return format!("InfluxDB answered {}", reply.status());
    }
    format!("InfluxDB answered {}: {text}", reply.status())
}

/// The beginning and the end of a text: the reason stands behind the line that it is about.
fn shortened(text: &str) -> String {
    let line = text.replace(['\r', '\n'], " ");
    if line.len() <= LONGEST_REASON {
        return line;
    }
    let (head, tail) =
        (line.floor_char_boundary(LONGEST_REASON / 2), line.ceil_char_boundary(line.len() - LONGEST_REASON / 2));
    format!("{}…{}", &line[..head], &line[tail..])
}
