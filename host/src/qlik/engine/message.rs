//! Messages of the engine: JSON-RPC 2.0 with handles (8.2), and what it says without being asked.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::{Bytes, Utf8Bytes};

use super::error::EngineError;

/// The handle of the engine itself.
pub(super) const GLOBAL: i64 = -1;

/// A call on its way.
#[derive(Serialize)]
struct Request<'a, P> {
    jsonrpc: &'static str,
    id: u64,
    handle: i64,
    method: &'a str,
    params: &'a P,
}

/// The text of a call.
pub(super) fn request(id: u64, handle: i64, method: &str, params: &impl Serialize) -> String {
    let request = Request { jsonrpc: "2.0", id, handle, method, params };
    // Texts, numbers and JSON can always be written.
    serde_json::to_string(&request).unwrap_or_default()
}

/// What a message is.
#[derive(Debug)]
pub(super) enum Incoming {
    /// The answer to a call, by its id: the JSON of `result`.
    Answer(u64, Bytes),
    /// The call with this id has failed.
    Failure(u64, Fault),
    /// The session is over, or cannot be used: why, and what to do.
    End(String),
    /// Nothing that matters here.
    Other,
}

/// The engine's words about a failed call.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Fault {
    pub(super) code: i64,
    pub(super) parameter: Option<String>,
    pub(super) message: Option<String>,
}

impl Fault {
    pub(super) fn of(self, method: &'static str) -> EngineError {
        let short = |text: Option<String>| text.unwrap_or_default().chars().take(300).collect();
        EngineError::Call { method, code: self.code, parameter: short(self.parameter), message: short(self.message) }
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<Fault>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// What a message is; an error if it is none of this protocol. Nothing is copied.
pub(super) fn read(text: Utf8Bytes) -> Result<Incoming, serde_json::Error> {
    let message: Message = serde_json::from_str(text.as_str())?;
    let (error, id) = (message.error, message.id);
    Ok(match (id, error, message.method) {
        (Some(id), Some(fault), _) => Incoming::Failure(id, fault),
        (Some(id), None, _) => {
            let found = message.result.map(|result| {
                let start = result.get().as_ptr() as usize - text.as_str().as_ptr() as usize;
                start..start + result.get().len()
            });
            let bytes = Bytes::from(text);
            Incoming::Answer(id, found.map(|range| bytes.slice(range)).unwrap_or_default())
        }
        (None, Some(fault), _) => Incoming::End(format!("error {}: {}", fault.code, fault.message.unwrap_or_default())),
        (None, None, Some(method)) => match end(&method, message.params) {
            Some(reason) => Incoming::End(reason),
            None => Incoming::Other,
        },
        (None, None, None) => Incoming::Other,
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Params {
    #[serde(rename = "qSessionState")]
    session_state: String,
    #[serde(rename = "mustAuthenticate")]
    must_authenticate: bool,
    message: String,
}

/// Whether a notification means that the session is of no use: why, and what to do.
fn end(method: &str, params: Option<&RawValue>) -> Option<String> {
    let params: Params = params.and_then(|params| serde_json::from_str(params.get()).ok()).unwrap_or_default();
    let remedy = match method {
        "OnConnected" => match params.session_state.as_str() {
            state if state.starts_with("SESSION_ERROR") || state.ends_with("_FAILURE") => {
                return Some(format!("{state} (see the engine's log on the Sense server)"));
            }
            _ => return None,
        },
        "OnAuthenticationInformation" if params.must_authenticate => {
            "it wants a login: `ports.engine` must lead to the engine itself, not to the proxy"
        }
        "OnMaxParallelSessionsExceeded" => {
            "`qlik.user` has too many sessions: try again when others have ended, or give Butler a user of its own"
        }
        "OnNoEngineAvailable" => "no engine has room for this app: see the load balancing rules in the QMC",
        "OnLicenseAccessDenied" => "`qlik.user` has no licence for this",
        "OnSessionTimedOut" | "OnSessionClosed" => "it was ended on the Sense server",
        _ => return None,
    };
    let message: String = params.message.chars().take(300).collect();
    Some(if message.is_empty() { format!("{method} ({remedy})") } else { format!("{method}: {message} ({remedy})") })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_text(text: &str) -> Incoming {
        read(text.into()).unwrap()
    }

    #[test]
    fn answers_are_told_from_failures_and_notifications() {
        let Incoming::Answer(7, result) = read_text(r#"{"jsonrpc":"2.0","id":7,"change":[1], "result": {"a":"å"} }"#)
        else {
            panic!("an answer")
        };
        assert_eq!(result, r#"{"a":"å"}"#);
        let failure = read_text(r#"{"id":8,"error":{"code":1003,"parameter":"p","message":"m","more":1}}"#);
        let Incoming::Failure(8, fault) = failure else { panic!("a failure") };
        assert_eq!((fault.code, fault.parameter.as_deref(), fault.message.as_deref()), (1003, Some("p"), Some("m")));
        let Incoming::Failure(8, fault) = read_text(r#"{"id":8,"error":{"code":5,"parameter":null}}"#) else {
            panic!("a failure")
        };
        assert_eq!((fault.code, fault.parameter, fault.message), (5, None, None));
        for other in [
            r#"{"method":"OnConnected","params":{"qSessionState":"SESSION_CREATED"}}"#,
            r#"{"method":"OnConnected","params":{"qSessionState":"SESSION_ATTACHED"}}"#,
            r#"{"method":"OnAuthenticationInformation","params":{"mustAuthenticate":false,"userId":"x"}}"#,
            r#"{"method":"OnSomethingNew","params":[1,2]}"#,
            r#"{"method":"OnSomethingNew"}"#,
            "{}",
        ] {
            assert!(matches!(read_text(other), Incoming::Other), "{other}");
        }
        for (text, word) in [
            (r#"{"method":"OnMaxParallelSessionsExceeded","params":{"message":"too many"}}"#, "too many"),
            (r#"{"method":"OnNoEngineAvailable"}"#, "no engine"),
            (r#"{"method":"OnAuthenticationInformation","params":{"mustAuthenticate":true}}"#, "not to the proxy"),
            (r#"{"method":"OnSessionTimedOut","params":{"message":""}}"#, "OnSessionTimedOut"),
            (r#"{"method":"OnConnected","params":{"qSessionState":"SESSION_ERROR_NO_LICENSE"}}"#, "NO_LICENSE"),
            (r#"{"error":{"code":-32700,"message":"Parse error"}}"#, "-32700"),
        ] {
            let Incoming::End(reason) = read_text(text) else { panic!("{text}") };
            assert!(reason.contains(word), "{reason}");
        }
        for wrong in ["", "no JSON", "[1]", "{\"id\":1", "{\"id\":\"x\"}"] {
            assert!(read(wrong.into()).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in r#"[{}\[\]":,a-z0-9 åé€\\]{0,60}"#) {
            let _ = read(text.as_str().into());
        }

        #[test]
        fn results_come_out_as_they_went_in(text in ".*", before in " {0,3}", id in any::<u64>()) {
            let result = serde_json::json!({ "qReturn": [text, { "ä": null }] }).to_string();
            let message = format!("{before}{{\"id\":{id},{before}\"result\":{before}{result}{before},\"change\":[1]}}");
            let Incoming::Answer(found, json) = read_text(&message) else { panic!("{message}") };
            prop_assert_eq!((found, &json[..]), (id, result.as_bytes()));
        }
    }

    #[test]
    fn requests_are_positional() {
        assert_eq!(
            request(3, GLOBAL, "OpenDoc", &("id", "", "", "", true)),
            r#"{"jsonrpc":"2.0","id":3,"handle":-1,"method":"OpenDoc","params":["id","","","",true]}"#
        );
        let none: [(); 0] = [];
        assert!(request(3, 1, "DoSave", &none).ends_with(r#""params":[]}"#));
    }
}
