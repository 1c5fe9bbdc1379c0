//! `/v5/events`: what Butler heard of.

use axum::http::StatusCode;
use butler_plugin_api::{Endpoint, Event, Scope};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::answer::{Answer, Failure, json as answer};
use super::super::context::Context;
use super::super::own::{Declared, Own, answered};
use super::super::request::Call;
use super::deliveries::{DeliveryItem, item};
use super::query::{self, MAX_LIMIT, Query, cut};
use crate::store::{DeliveryFilter, EventFilter, EventRow};

pub(super) fn endpoints() -> [Declared; 2] {
    let time = "A date with time and zone, such as `2026-01-31T12:00:00Z`, or how long ago, such as `90m`";
    let query = query::list(json!({
        "kind": { "type": "string", "description": "Kind; `*` stands for any text" },
        "task": { "type": "string", "description": "Id of the task" },
        "since": { "type": "string", "description": time },
        "until": { "type": "string", "description": time },
    }));
    let list = Endpoint::new("GET", "/v5/events", Scope::Read, "The history of events, the newest first")
        .query(query)
        .answer(200, "A page of them", answered::<Page>());
    let one = Endpoint::new("GET", "/v5/events/{id}", Scope::Read, "An event and its deliveries")
        .answer(200, "The event", answered::<Single>())
        .answer(404, "There is no such event; it may have been removed", Value::Null);
    [Declared::new(list, Own::Events), Declared::new(one, Own::Event)]
}

#[derive(Serialize, JsonSchema)]
struct EventItem {
    #[serde(flatten)]
    event: Event,
    /// `accepted`: waits for its facts; `routed`; `joined`: another event turned out to be the same; `unreadable`:
    /// its data cannot be read.
    state: &'static str,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Events")]
struct Page {
    events: Vec<EventItem>,
    /// For the next page: the value of `before`. Null: there is none.
    next: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EventWithDeliveries")]
struct Single {
    #[serde(flatten)]
    item: EventItem,
    deliveries: Vec<DeliveryItem>,
}

/// `GET /v5/events`
pub(in super::super) async fn events(context: &Context, call: &Call) -> Result<Answer, Failure> {
    let store = &context.store;
    let query = Query(&call.query);
    let limit = query.limit();
    let filter = EventFilter {
        kind: query.text("kind").map(str::to_owned),
        task: query.text("task").map(str::to_owned),
        since: query.time("since")?,
        until: query.time("until")?,
        before: query.id("before", "an event", |text| store.parse_event_id(text))?,
        // One more tells whether there is another page.
        limit: limit + 1,
    };
    let mut rows = store.events(&filter).await?;
    let next = cut(&mut rows, limit, |row: &EventRow| store.event_id(row.seq));
    let events = rows.into_iter().map(|row| EventItem { event: row.event, state: row.state }).collect();
    Ok(answer(&context.secrets(), StatusCode::OK, &Page { events, next }))
}

/// `GET /v5/events/{id}`
pub(in super::super) async fn event(context: &Context, call: &Call) -> Result<Answer, Failure> {
    let (store, id) = (&context.store, call.param("id"));
    let row = match store.parse_event_id(id) {
        Some(seq) => store.event(seq).await?,
        None => None,
    };
    let row = row.ok_or_else(|| {
        Failure::not_found(format!("there is no event `{id}`; it may have been removed (`store.keep`)"))
    })?;
    let filter = DeliveryFilter { event: Some(row.seq), limit: MAX_LIMIT, ..DeliveryFilter::default() };
    let deliveries = store.deliveries(&filter).await?.into_iter().map(|row| item(store, row)).collect();
    let single = Single { item: EventItem { event: row.event, state: row.state }, deliveries };
    Ok(answer(&context.secrets(), StatusCode::OK, &single))
}
