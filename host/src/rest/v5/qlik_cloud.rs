//! `POST /v5/qlik-cloud/events`: a webhook of Qlik Cloud tells of an event. Its signature is what shows who calls.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use butler_plugin_api::{Endpoint, Scope};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::super::answer::{Answer, Failure, json as answer};
use super::super::context::Context;
use super::super::own::{Declared, Own, answered};
use super::super::request::Call;
use crate::cloud::{HandedOver, Refused, SIGNATURE_HEADER};

/// While the store cannot be written it lets callers wait: this one sends the event again.
const PATIENCE: Duration = Duration::from_secs(20);

// Its body has no schema: nothing is said of it to who cannot sign it.
pub(super) fn endpoint() -> Declared {
    let path = "/v5/qlik-cloud/events";
    let endpoint =
        Endpoint::new("POST", path, Scope::Read, "Webhooks of Qlik Cloud: for whom can sign with their secret")
            .answer(200, "Known already, or not to be told", answered::<Taken>())
            .answer(202, "Stored", answered::<Taken>())
            .answer(400, "Signed, but no event", Value::Null)
            .answer(401, "Not signed as it should be", Value::Null)
            .answer(403, "Signed too long ago", Value::Null);
    Declared::new(endpoint, Own::QlikCloudEvents).open()
}

/// What became of a message.
#[derive(Debug, Default, Serialize, JsonSchema)]
#[schemars(rename = "CloudEventTaken")]
struct Taken {
    /// Id of the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// It was told before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
    /// Why it is not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    ignored: Option<String>,
}

/// `POST /v5/qlik-cloud/events`
///
/// A wrong signature, a tenant that is not known, and one without a secret have one and the same answer: a stranger does not
/// learn which tenants are told of here. The log and the metrics tell them apart.
pub(in super::super) async fn qlik_cloud_events(context: &Context, call: &Call) -> Result<Answer, Failure> {
    let signature = signature(&call.headers).map(str::to_owned);
    let (events, body) = (context.cloud_events.clone(), call.body.clone());
    // To its end, also when the caller goes away: what was stored is to be told.
    let receiving = tokio::spawn(async move { events.receive(signature.as_deref(), &body).await });
    let Ok(Ok(received)) = tokio::time::timeout(PATIENCE, receiving).await else {
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "the event cannot be stored now; send it again"));
    };
    let (status, value) = match received {
        Ok(HandedOver::Accepted(id)) => (StatusCode::ACCEPTED, Taken { id: Some(id), ..Taken::default() }),
        Ok(HandedOver::Duplicate(id)) => (StatusCode::OK, Taken { id: Some(id), duplicate: true, ..Taken::default() }),
        Ok(HandedOver::Ignored(why)) => (StatusCode::OK, Taken { ignored: Some(why), ..Taken::default() }),
        Err(refused) => return Err(failure(refused)),
    };
    Ok(answer(&context.secrets(), status, &value))
}

/// Before the body is read: what has no signature is none of Qlik Cloud's, and without tenants nothing is.
pub(in super::super) async fn before_cloud_event(context: &Context, headers: &HeaderMap) -> Result<(), Failure> {
    if !context.cloud_events.is_used() {
        return Err(failure(Refused::Signature));
    }
    if signature(headers).is_some() {
        return Ok(());
    }
    // It is counted, and the log is told.
    context.cloud_events.receive(None, &[]).await.map(drop).map_err(failure)
}

/// The signature of a message; of several none counts.
fn signature(headers: &HeaderMap) -> Option<&str> {
    let mut signatures = headers.get_all(SIGNATURE_HEADER).iter();
    signatures.next().filter(|_| signatures.next().is_none()).map(|value| value.to_str().unwrap_or("?"))
}

fn failure(refused: Refused) -> Failure {
    let status = match refused {
        Refused::Store(error) => return error.into(),
        Refused::Malformed(_) => StatusCode::BAD_REQUEST,
        Refused::Replay => StatusCode::FORBIDDEN,
        _ => StatusCode::UNAUTHORIZED,
    };
    Failure::new(status, refused.to_string())
}
