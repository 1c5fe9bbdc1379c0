//! `/v5/deliveries`: who was told what, when, and what waits; and sending again.

use axum::http::StatusCode;
use butler_plugin_api::{Endpoint, Scope};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::answer::{Answer, Failure, json as answer};
use super::super::context::Context;
use super::super::own::{Declared, Own, answered, sent};
use super::super::request::Call;
use super::query::{self, Query, cut};
use crate::store::{DeliveryFilter, DeliveryRow, State, Store};

pub(super) fn endpoints() -> Vec<Declared> {
    let endpoint = |method: &str, path: &str, summary: &str| Endpoint::new(method, path, Scope::Deliveries, summary);
    let states = State::ALL.map(State::name);
    let query = query::list(json!({
        "state": { "type": "string", "enum": states, "errorMessage": format!("must be one of {}", states.join(", ")) },
        "instance": { "type": "string", "description": "Name of the instance" },
        "task": { "type": "string", "description": "Id of the task" },
        "event": { "type": "string", "description": "Id of the event" },
    }));
    let list = endpoint("GET", "/v5/deliveries", "Deliveries, the newest first").query(query);
    let one = endpoint("GET", "/v5/deliveries/{id}", "A delivery");
    let retry = endpoint("POST", "/v5/deliveries/{id}/retry", "Sends a delivery again that has ended").answer(
        409,
        "It is open, or its instance is not in the config",
        Value::Null,
    );
    let moved = endpoint("POST", "/v5/deliveries/move", "Gives deliveries of an instance that is gone to another one")
        .body(sent::<Move>())
        .answer(200, "So many were moved", answered::<MoveDone>())
        .answer(404, "There is no such instance in the config", Value::Null)
        .answer(409, "The former instance is in the config", Value::Null);
    let unknown = "There is no such delivery; it may have been removed";
    vec![
        Declared::new(list.answer(200, "A page of them", answered::<Page>()), Own::Deliveries),
        Declared::new(moved, Own::Move),
        Declared::new(
            one.answer(200, "The delivery", answered::<DeliveryItem>()).answer(404, unknown, Value::Null),
            Own::Delivery,
        ),
        Declared::new(
            retry.answer(200, "It waits to be sent", answered::<Retried>()).answer(404, unknown, Value::Null),
            Own::Retry,
        ),
    ]
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Delivery")]
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

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Deliveries")]
struct Page {
    deliveries: Vec<DeliveryItem>,
    /// For the next page: the value of `before`. Null: there is none.
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
    let query = Query(&call.query);
    let limit = query.limit();
    let filter = DeliveryFilter {
        state: query.text("state").and_then(State::parse),
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

#[derive(Deserialize, JsonSchema)]
struct Move {
    /// The instance that is gone from the config.
    from: String,
    /// One that is in the config.
    to: String,
}

#[derive(Serialize, JsonSchema)]
struct MoveDone<'a> {
    from: &'a str,
    to: &'a str,
    /// So many.
    moved: u64,
}

#[derive(Serialize, JsonSchema)]
struct Retried<'a> {
    id: &'a str,
    /// `pending`.
    state: &'static str,
    instance: &'a str,
}

/// `POST /v5/deliveries/move` with `{"from": INSTANCE, "to": INSTANCE}`: gives the deliveries of an instance that is gone
/// from the config to another one, as after a change of its name.
pub(in super::super) async fn move_deliveries(context: &Context, call: &Call) -> Result<Answer, Failure> {
    // Cannot fail: the body fits the schema.
    let Move { from, to } =
        serde_json::from_slice(&call.body).map_err(|error| Failure::bad_request(error.to_string()))?;
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
    Ok(answer(&context.secrets(), StatusCode::OK, &MoveDone { from: &from, to: &to, moved }))
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
    let retried = Retried { id, state: State::Pending.name(), instance: &instance };
    Ok(answer(&context.secrets(), StatusCode::OK, &retried))
}

async fn find(context: &Context, id: &str) -> Result<DeliveryRow, Failure> {
    let missing =
        || Failure::not_found(format!("there is no delivery `{id}`; it may have been removed (`store.keep`)"));
    let number = context.store.parse_delivery_id(id).ok_or_else(missing)?;
    let filter = DeliveryFilter { id: Some(number), limit: 1, ..DeliveryFilter::default() };
    context.store.deliveries(&filter).await?.pop().ok_or_else(missing)
}
