//! Reading the config anew.

use axum::http::StatusCode;
use butler_plugin_api::{Endpoint, Scope};
use serde_json::{Value, json};

use super::super::answer::{Answer, Failure, json as answer};
use super::super::context::Context;
use super::super::own::{Declared, Own, object};
use super::super::request::Call;

pub(super) fn endpoint() -> Declared {
    let names = json!({ "type": "array", "items": { "type": "string" } });
    let done = object(json!({
        "started": names, "restarted": names, "stopped": names, "unchanged": names,
        "needRestart": { "type": "array", "items": { "type": "string" }, "description": "What takes a restart of Butler" },
    }));
    let endpoint = Endpoint::new("POST", "/v5/reload", Scope::Admin, "Reads the config anew")
        .answer(200, "Names of instances, by what became of them", done)
        .answer(422, "The config has faults; nothing has changed", Value::Null);
    Declared::new(endpoint, Own::Reload)
}

/// `POST /v5/reload`: `{"started": [], "restarted": [], "stopped": [], "unchanged": [], "needRestart": []}`, names of
/// instances and, last, what is changed in the file and takes a restart of Butler. 422 with what is wrong when the config
/// cannot work: then nothing has changed.
pub(in super::super) async fn reload(context: &Context, call: &Call) -> Result<Answer, Failure> {
    let who = call.caller.as_ref().map(|caller| caller.name.as_str()).unwrap_or_default();
    tracing::info!(caller = who, "the config is read anew on request");
    match (context.reload)().await {
        Ok(reloaded) => Ok(answer(&context.secrets(), StatusCode::OK, &reloaded)),
        Err(message) => Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, message)),
    }
}
