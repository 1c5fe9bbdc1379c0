//! Messages: JSON-RPC 2.0 with handles.

use serde::Deserialize;
use serde_json::{Value, json};

/// A call, as far as it can be understood.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: u64,
    pub(super) handle: i64,
    pub(super) method: String,
    pub(super) params: Vec<Value>,
}

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: i64,
    pub(super) parameter: String,
    pub(super) message: String,
}

pub(super) type Outcome = Result<Value, Refusal>;

impl Refusal {
    pub(super) fn new(code: i64, parameter: &str, message: &str) -> Self {
        Self { code, parameter: parameter.to_owned(), message: message.to_owned() }
    }

    pub(super) fn invalid_params(parameter: &str) -> Self {
        Self::new(-32_602, parameter, "Invalid Params")
    }
}

#[derive(Deserialize)]
struct Raw {
    jsonrpc: Option<String>,
    id: Option<u64>,
    handle: Option<i64>,
    method: Option<String>,
    params: Option<Value>,
}

/// The call in a text; else the id, if there is one, and the refusal.
pub(super) fn read(text: &str) -> Result<Call, (Option<u64>, Refusal)> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| (None, Refusal::new(-32_700, &error.to_string(), "Parse Error")))?;
    let invalid = |id, what: &str| (id, Refusal::new(-32_600, what, "Invalid Request"));
    let raw: Raw = serde_json::from_value(value).map_err(|_| invalid(None, "kinds"))?;
    let Some(id) = raw.id else { return Err(invalid(None, "id")) };
    if raw.jsonrpc.as_deref() != Some("2.0") {
        return Err(invalid(Some(id), "jsonrpc"));
    }
    let Some(handle) = raw.handle else { return Err(invalid(Some(id), "handle")) };
    let Some(method) = raw.method else { return Err(invalid(Some(id), "method")) };
    // The real one takes named ones, too; no client of ours sends them.
    let Some(Value::Array(params)) = raw.params else { return Err((Some(id), Refusal::invalid_params("params"))) };
    Ok(Call { id, handle, method, params })
}

/// The text of an answer.
pub(super) fn answer(id: u64, outcome: &Outcome) -> String {
    match outcome {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string(),
        Err(refusal) => self::refusal(Some(id), refusal),
    }
}

/// The text of a refusal.
pub(super) fn refusal(id: Option<u64>, refusal: &Refusal) -> String {
    let error = json!({ "code": refusal.code, "parameter": refusal.parameter, "message": refusal.message });
    json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string()
}

pub(super) fn notification(method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string()
}

/// What a parameter must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Flag,
    Object,
}

impl Kind {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Number => value.is_i64() || value.is_u64(),
            Self::Flag => value.is_boolean(),
            Self::Object => value.is_object(),
        }
    }
}

/// Checks number and kinds of parameters; the first `needed` must be there.
pub(super) fn check(params: &[Value], kinds: &[Kind], needed: usize) -> Result<(), Refusal> {
    if params.len() < needed || params.len() > kinds.len() {
        return Err(Refusal::invalid_params(&format!("{} instead of {needed}", params.len())));
    }
    match params.iter().zip(kinds).position(|(param, kind)| !kind.fits(param)) {
        Some(at) => Err(Refusal::invalid_params(&format!("number {at}"))),
        None => Ok(()),
    }
}
