//! `POST /v5/qlik-cloud/events`: a webhook of Qlik Cloud tells of an event. Its signature is what shows who calls.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;

use super::super::answer::{Answer, Failure, json as answer};
use super::super::context::Context;
use super::super::request::Call;
use crate::cloud::{HandedOver, Refused, SIGNATURE_HEADER};

/// While the store cannot be written it lets callers wait: this one sends the event again.
const PATIENCE: Duration = Duration::from_secs(20);

/// `POST /v5/qlik-cloud/events`
///
/// A wrong signature, a tenant that is not known, and one without a secret have one and the same answer: a stranger does not
/// learn which tenants are told of here. The log and the metrics tell them apart.
pub(in super::super) async fn qlik_cloud_events(context: &Context, call: &Call) -> Result<Answer, Failure> {
    let mut signatures = call.headers.get_all(SIGNATURE_HEADER).iter();
    // Of several none counts.
    let signature =
        signatures.next().filter(|_| signatures.next().is_none()).map(|value| value.to_str().unwrap_or("?"));
    let (events, signature, body) = (context.cloud_events.clone(), signature.map(str::to_owned), call.body.clone());
    // To its end, also when the caller goes away: what was stored is to be told.
    let receiving = tokio::spawn(async move { events.receive(signature.as_deref(), &body).await });
    let Ok(Ok(received)) = tokio::time::timeout(PATIENCE, receiving).await else {
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "the event cannot be stored now; send it again"));
    };
    let (status, value) = match received {
        Ok(HandedOver::Accepted(id)) => (StatusCode::ACCEPTED, json!({ "id": id })),
        Ok(HandedOver::Duplicate(id)) => (StatusCode::OK, json!({ "id": id, "duplicate": true })),
        Ok(HandedOver::Ignored(why)) => (StatusCode::OK, json!({ "ignored": why })),
        Err(Refused::Store(error)) => return Err(error.into()),
        Err(refused) => {
            let status = match refused {
                Refused::Malformed(_) => StatusCode::BAD_REQUEST,
                Refused::Replay => StatusCode::FORBIDDEN,
                _ => StatusCode::UNAUTHORIZED,
            };
            return Err(Failure::new(status, refused.to_string()));
        }
    };
    Ok(answer(&context.secrets(), status, &value))
}
