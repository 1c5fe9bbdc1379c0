//! `/v5/deliveries`: who was told what, when, and what waits; and sending again.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::answer::{Answer, Failure, json as answer};
use super::super::context::Context;
use super::super::request::Call;
use super::query::{Query, cut};
use crate::store::{DeliveryFilter, DeliveryRow, State, Store};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeliveryItem {
    id: String,
    event: String,
    kind: String,
    task_name: Option<String>,
    instance: String,
    state: &'static str,
    attempt: u32,
    first_attempt_at: Option<String>,
    due: Option<String>,
    suppressed: i64,
    unknown: Option<String>,
    error: Option<String>,
    created_at: String,
    updated_at: String,
}

#[derive(Serialize)]
struct Page {
    deliveries: Vec<DeliveryItem>,
    next: Option<String>,
}

pub(super) fn item(store: &Store, row: DeliveryRow) -> DeliveryItem {
    DeliveryItem {
        id: store.delivery_id(row.id),
        event: store.event_id(row.event),
        kind: row.kind,
        task_name: row.task_name,
        instance: row.instance,
        state: row.state.name(),
        attempt: row.attempt,
        first_attempt_at: row.first_attempt_at,
        due: row.due,
        suppressed: row.suppressed,
        unknown: row.unknown,
        error: row.error,
        created_at: row.created_at,
        updated_at: row.updated_at,
    }
}

/// `GET /v5/deliveries`
pub(in super::super) async fn deliveries(context: &Context, call: &Call) -> Result<Answer, Failure> {
    let store = &context.store;
    let query = Query::new(&call.query, &["state", "instance", "task", "event", "before", "limit"])?;
    let state = query.text("state").map(|name| {
        State::parse(name).ok_or_else(|| {
            let known = State::ALL.map(State::name).join(", ");
            Failure::bad_request(format!("`state` must be one of {known}; it is `{name}`"))
        })
    });
    let limit = query.limit()?;
    let filter = DeliveryFilter {
        state: state.transpose()?,
        instance: query.text("instance").map(str::to_owned),
        task: query.text("task").map(str::to_owned),
        event: query.id("event", "an event", |text| store.parse_event_id(text))?,
        id: None,
        before: query.id("before", "a delivery", |text| store.parse_delivery_id(text))?,
        limit: limit + 1,
    };
    let mut rows = store.deliveries(&filter).await?;
    let next = cut(&mut rows, limit, |row| store.delivery_id(row.id));
    let deliveries = rows.into_iter().map(|row| item(store, row)).collect();
    Ok(answer(&context.secrets(), StatusCode::OK, &Page { deliveries, next }))
}

/// `GET /v5/deliveries/{id}`
pub(in super::super) async fn delivery(context: &Context, call: &Call) -> Result<Answer, Failure> {
    let row = find(context, call.param("id")).await?;
    Ok(answer(&context.secrets(), StatusCode::OK, &item(&context.store, row)))
}

#[derive(Deserialize)]
struct Move {
    from: String,
    to: String,
}

/// `POST /v5/deliveries/move` with `{"from": INSTANCE, "to": INSTANCE}`: gives the deliveries of an instance that is gone
/// from the config to another one, as after a change of its name.
pub(in super::super) async fn move_deliveries(context: &Context, call: &Call) -> Result<Answer, Failure> {
    let Move { from, to } = serde_json::from_slice(&call.body)
        .map_err(|error| Failure::bad_request(format!("the body must be {{\"from\": …, \"to\": …}}: {error}")))?;
    if context.queues.has(&from) {
        let message = format!("`{from}` is in the config: only deliveries of an instance that is gone can be moved");
        return Err(Failure::new(StatusCode::CONFLICT, message));
    }
    if !context.queues.has(&to) {
        return Err(Failure::not_found(format!("there is no instance `{to}` in the config")));
    }
    let moved = context.store.move_deliveries(&from, &to).await?;
    context.queues.wake(&to);
    let who = call.caller.as_ref().map(|caller| caller.name.as_str()).unwrap_or_default();
    tracing::info!(from, to, moved, caller = who, "deliveries were moved on request");
    Ok(answer(&context.secrets(), StatusCode::OK, &json!({ "from": from, "to": to, "moved": moved })))
}

/// `POST /v5/deliveries/{id}/retry`
pub(in super::super) async fn retry(context: &Context, call: &Call) -> Result<Answer, Failure> {
    let id = call.param("id");
    let conflict = |reason: String| Failure::new(StatusCode::CONFLICT, format!("the delivery `{id}` {reason}"));
    let row = find(context, id).await?;
    if matches!(row.state, State::Pending | State::Leased) {
        return Err(conflict(format!("is still open ({}): it is tried again by itself", row.state.name())));
    }
    if !context.queues.has(&row.instance) {
        return Err(conflict(format!("was for the instance `{}`, which is not in the config", row.instance)));
    }
    // Between the look and this it may have been retried by somebody else.
    let Some(instance) = context.store.retry(row.id).await? else {
        return Err(conflict("has just been made pending by another request".to_owned()));
    };
    context.queues.wake(&instance);
    let who = call.caller.as_ref().map(|caller| caller.name.as_str()).unwrap_or_default();
    tracing::info!(instance, delivery = id, caller = who, "the delivery is sent again on request");
    let body = json!({ "id": id, "state": State::Pending.name(), "instance": instance });
    Ok(answer(&context.secrets(), StatusCode::OK, &body))
}

async fn find(context: &Context, id: &str) -> Result<DeliveryRow, Failure> {
    let missing =
        || Failure::not_found(format!("there is no delivery `{id}`; it may have been removed (`store.keep`)"));
    let number = context.store.parse_delivery_id(id).ok_or_else(missing)?;
    let filter = DeliveryFilter { id: Some(number), limit: 1, ..DeliveryFilter::default() };
    context.store.deliveries(&filter).await?.pop().ok_or_else(missing)
}
