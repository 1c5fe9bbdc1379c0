//! Reading the config anew.

use axum::http::StatusCode;

use super::super::answer::{Answer, Failure, json as answer};
use super::super::context::Context;
use super::super::request::Call;

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
