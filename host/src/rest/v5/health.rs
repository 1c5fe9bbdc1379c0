//! Health, for load balancers and service managers. Everybody may ask; only who may read is told details.

use axum::http::StatusCode;
use butler_plugin_api::Scope;
use serde::Serialize;
use serde_json::json;

use super::super::answer::{Answer, json as answer};
use super::super::context::Context;
use super::super::request::Call;
use crate::plugins::Condition;
use crate::store::rfc3339;

/// Something that is not as it should be.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Note {
    subject: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    message: String,
}

/// `GET /v5/health/live`
pub(in super::super) fn live(context: &Context) -> Answer {
    answer(context.secrets(), StatusCode::OK, &json!({ "status": "live" }))
}

/// `GET /v5/health/ready`: not ready while nothing can be stored. Qlik Sense or an instance that is away is worth a note,
/// but events are accepted and wait for it.
pub(in super::super) fn ready(context: &Context, call: &Call) -> Answer {
    let told = call.caller.as_ref().is_some_and(|caller| caller.may(Scope::Read));
    let reasons = reasons(context, told);
    let notes = notes(context, told);
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let word = if reasons.is_empty() { "ready" } else { "not ready" };
    answer(context.secrets(), status, &json!({ "status": word, "reasons": reasons, "notes": notes }))
}

fn reasons(context: &Context, told: bool) -> Vec<Note> {
    let trouble = context.store.trouble();
    let note = trouble.map(|trouble| {
        let message = if told { trouble } else { "the store cannot be written; Butler's log says why".to_owned() };
        Note { subject: "store", instance: None, state: None, message }
    });
    note.into_iter().collect()
}

fn notes(context: &Context, told: bool) -> Vec<Note> {
    let mut notes = Vec::new();
    if let Some(lookups) = &context.lookups {
        let state = lookups.repository().state();
        if !state.reachable {
            let since = state.down_since_ms.map(|since| format!(" since {}", rfc3339(since))).unwrap_or_default();
            let error = state.last_error.filter(|_| told).map(|error| format!(": {error}")).unwrap_or_default();
            let message = format!("Qlik Sense does not answer{since}{error}");
            notes.push(Note { subject: "qlik", instance: None, state: None, message });
        }
    }
    for instance in &context.instances {
        let condition = instance.condition();
        if condition == Condition::Running {
            continue;
        }
        let state = serde_json::to_value(&condition).ok().and_then(|value| value["state"].as_str().map(str::to_owned));
        let message = match condition {
            Condition::Unavailable { message } | Condition::Failed { message } if told => message,
            _ => "does not run; its deliveries wait".to_owned(),
        };
        notes.push(Note { subject: "instance", instance: Some(instance.name().to_owned()), state, message });
    }
    notes
}
