//! Why the engine did not do what it was asked.

use std::fmt::Write as _;
use std::time::Duration;

/// Why the engine did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// There is no connection, or none any more.
    #[error("the engine of Qlik Sense at {server} gives no answer: {reason}")]
    Unreachable {
        /// Host and port.
        server: String,
        /// The failure and what to do about it.
        reason: String,
    },
    /// The engine ends the session, or begins none, and says why.
    #[error("the engine of Qlik Sense at {server} ends the session: {reason}")]
    Ended {
        /// Host and port.
        server: String,
        /// Why, and what to do about it.
        reason: String,
    },
    /// A call has failed.
    #[error("{}", call_message(.method, *.code, .parameter, .message))]
    Call {
        /// Method of the call.
        method: &'static str,
        /// The engine's number of the error; below -32000 those of JSON-RPC.
        code: i64,
        /// What the error is about; may be empty.
        parameter: String,
        /// The engine's words.
        message: String,
    },
    /// An object that is listed is not there.
    #[error("`{method}` finds no `{id}` (was it removed just now? Try again)")]
    Gone {
        /// Method of the call.
        method: &'static str,
        /// What it was asked for.
        id: String,
    },
    /// A call had no answer in time.
    #[error(
        "the engine has not answered `{method}` within {} (is the server overloaded, or the app very large?)",
        seconds(*.limit)
    )]
    Late {
        /// Method of the call.
        method: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// An answer is of another form than it should be.
    #[error("the engine's answer to `{method}` is odd: {reason} (is its release one that Butler knows?)")]
    Odd {
        /// Method of the call.
        method: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// More than Butler takes into memory.
    #[error("{what} is larger than {} MB, which Butler does not take into memory", .limit >> 20)]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
    /// The script of an app ended in failure.
    #[error("the load script failed: {0} (its log on the Sense server says more)")]
    Script(String),
    /// All places are taken.
    #[error("all {places} places for {what} are taken (try again later)")]
    Busy {
        /// What they are for.
        what: &'static str,
        /// How many there are.
        places: usize,
    },
    /// Butler ends.
    #[error("Butler is stopping")]
    Stopping,
}

impl EngineError {
    /// Whether the engine itself was never asked: Butler has no place for it now.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Stopping)
    }
}

fn seconds(limit: Duration) -> String {
    if limit.as_secs() > 0 { format!("{} s", limit.as_secs()) } else { format!("{} ms", limit.as_millis()) }
}

/// The engine's numbers are in Qlik's documentation of its JSON API.
fn call_message(method: &str, code: i64, parameter: &str, message: &str) -> String {
    let mut text = format!("the engine refuses `{method}` with error {code}: {message}");
    if !parameter.is_empty() && parameter != message {
        let _ = write!(text, " ({parameter})");
    }
    let remedy = match code {
        4 => "the id is none of an app on this server",
        5 => "`qlik.user` may not do this to the app: look at the security rules in the QMC",
        15 => "the app is busy with something else, such as another reload: try again later",
        1002 => "the session has this app open already: try again later",
        1003 => "there is no such app, or `qlik.user` may not see it",
        1005 => {
            "the app was not saved: is it locked or open elsewhere, is it published and `qlik.user` may not change it, is \
             the disk full?"
        }
        1009 => "the app is locked: somebody has it open in another way, with or without its data; try again later",
        9003 => "it is not there any more",
        -32_700 | -32_602..=-32_600 => "is its release one that Butler knows?",
        _ => return text,
    };
    let _ = write!(text, " ({remedy})");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_say_what_to_do() {
        let call = |code| EngineError::Call {
            method: "OpenDoc",
            code,
            parameter: "some-app".to_owned(),
            message: "App not found".to_owned(),
        };
        assert_eq!(
            call(1003).to_string(),
            "the engine refuses `OpenDoc` with error 1003: App not found (some-app) (there is no such app, or `qlik.user` may \
             not see it)"
        );
        assert!(call(5).to_string().contains("`qlik.user` may not"));
        assert!(call(1009).to_string().contains("locked"));
        assert!(call(77).to_string().ends_with("(some-app)"));
        let late = |limit| EngineError::Late { method: "GetLayout", limit }.to_string();
        assert!(late(Duration::from_mins(1)).contains("within 60 s"));
        assert!(late(Duration::from_millis(50)).contains("within 50 ms"));
    }
}
