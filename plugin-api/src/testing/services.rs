//! What the services of the fake host answer. They refuse what the real ones refuse.

mod qlik;
mod storage;

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use serde_json::{Value, json};

use super::fake::{Shared, State};
use crate::abi::WireLogRecord;
use crate::event::kind;
use crate::services::{ServiceError, When};

/// Forgets stored values whose time is over.
pub(super) fn expire(state: &mut State, now: Duration) {
    state.storage.retain(|_, (_, end)| end.is_none_or(|end| end > now));
}

/// `service` with `input`, at the time `now`.
pub(super) fn answer(state: &mut State, now: Duration, service: &str, input: &Value) -> Result<Value, ServiceError> {
    if let Some(error) = state.failing.get(service) {
        return Err(error.clone());
    }
    let answer = match service {
        "storage" => {
            expire(state, now);
            storage::answer(state, now, input)
        }
        "emit" => emit(state, input),
        "metrics" => metrics(state, input),
        "qlik" => qlik::answer(state, input),
        // Cannot fail: names are texts, and no value refuses to be written.
        "status" => Ok(serde_json::to_value(&state.status).unwrap_or_default()),
        other => Err(ServiceError::Unsupported(format!("the fake host has no service `{other}`"))),
    };
    // Nobody reads the answer.
    if service == "metrics"
        && let Err(error) = &answer
    {
        let message = format!("a metric was refused: {error}");
        let target = "butler".to_owned();
        state.records.push(WireLogRecord { level: 2, target, message, fields: String::new() });
    }
    answer
}

fn text(input: &Value, name: &str) -> String {
    input[name].as_str().unwrap_or_default().to_owned()
}

fn emit(state: &mut State, input: &Value) -> Result<Value, ServiceError> {
    let event = text(input, "kind");
    if let Some(fault) = kind::fault(&event) {
        return Err(ServiceError::Invalid(fault));
    }
    if let Some(fault) = state.manifest.as_ref().and_then(|manifest| manifest.emit_fault(&event)) {
        state.denied.insert(fault.clone());
        return Err(ServiceError::Denied(fault));
    }
    let data = input["data"].clone();
    if !data.is_object() {
        return Err(ServiceError::Invalid("the data of an event must be a JSON object".to_owned()));
    }
    let key = match (input["key"].as_str(), input["delivery"].as_str()) {
        (Some(key), _) => Some(key.to_owned()),
        (None, Some(delivery)) => Some(format!("{delivery}/{event}/{data}/{}", input["repetition"])),
        (None, None) => None,
    };
    if let Some(id) = key.as_ref().and_then(|key| state.keys.get(key)) {
        return Ok(json!({ "id": id, "duplicate": true }));
    }
    let id = format!("fake-{}", state.emitted.len() + 1);
    state.emitted.push((event, data));
    if let Some(key) = key {
        state.keys.insert(key, id.clone());
    }
    Ok(json!({ "id": id }))
}

/// Ends when the test says that the time has come. The host's reading of cron expressions is not done here.
pub(super) async fn schedule(shared: Arc<Shared>, input: Value) -> Result<String, ServiceError> {
    if let Err(error) = serde_json::from_value::<When>(input["when"].clone()) {
        return Err(ServiceError::Invalid(error.to_string()));
    }
    let name = match input["op"].as_str() {
        Some("check") => return Ok(json!({}).to_string()),
        Some("next") => text(&input, "name"),
        _ => return Err(ServiceError::Unsupported("the service `schedule` has no such operation".to_owned())),
    };
    std::future::poll_fn(|cx| {
        let mut state = shared.state();
        if state.is_stopped() {
            return Poll::Ready(Err(ServiceError::Stopped));
        }
        let (come, waiting) = state.ticks.entry(name.clone()).or_default();
        if *come == 0 {
            waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        *come -= 1;
        Poll::Ready(Ok(()))
    })
    .await?;
    Ok(json!({ "planned": "2026-01-31T06:00:00.000Z" }).to_string())
}

fn metrics(state: &mut State, input: &Value) -> Result<Value, ServiceError> {
    let name = text(input, "name");
    let labels = input["labels"].as_object();
    let sound = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    if !sound(&name) || !labels.into_iter().flatten().all(|(label, _)| sound(label) && label != "instance") {
        let message = format!("`{name}` or one of its labels is no name for a metric: use a to z, 0 to 9 and _");
        return Err(ServiceError::Quota(message));
    }
    let Some(value) = input["value"].as_f64() else {
        return Err(ServiceError::Invalid(format!("the value of the metric `{name}` is no finite number")));
    };
    let labels: Vec<_> = labels.into_iter().flatten().map(|(name, value)| format!("{name}={value}")).collect();
    let series = if labels.is_empty() { name } else { format!("{name}{{{}}}", labels.join(",")) };
    let entry = state.metrics.entry(series).or_default();
    *entry = if input["op"] == "count" { *entry + value } else { value };
    Ok(json!({}))
}
