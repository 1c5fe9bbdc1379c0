//! `POST /v5/messages`: what a script or a person wants to be said, as an event like any other.

use std::time::Duration;

use axum::http::StatusCode;
use butler_plugin_api::{Data, Endpoint, Event, Posted, Scope, kind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::answer::{Answer, Failure, json as answer};
use super::super::context::Context;
use super::super::own::{Declared, Own, answered, sent};
use super::super::request::Call;
use crate::store::{NewEvent, now_ms, rfc3339};

/// Longest text, in bytes.
const MAX_TEXT: usize = 64 << 10;
/// Longest of the others, in bytes.
const MAX_NAME: usize = 500;
/// While the store cannot be written it lets callers wait.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn endpoint() -> Declared {
    let summary = "Posts a message to the instances that want such";
    let endpoint = Endpoint::new("POST", "/v5/messages", Scope::Messages, summary).body(sent::<Message>()).answer(
        202,
        "It is stored, and on its way",
        answered::<Stored>(),
    );
    Declared::new(endpoint, Own::PostMessage)
}

/// A message.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Message {
    /// What is to be said; at most 64 KiB.
    #[schemars(length(min = 1), extend("examples" = ["Stock loaded"]))]
    text: String,
    /// Where it should go, for destinations with channels. This and the others: at most 500 bytes, without line breaks.
    channel: Option<String>,
    /// Its topic, for destinations with topics.
    topic: Option<String>,
    /// Who says it.
    from: Option<String>,
    /// A sign beside it.
    emoji: Option<String>,
}

/// That it is stored.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MessageStored")]
#[serde(rename_all = "camelCase")]
struct Stored<'a> {
    event_id: &'a str,
    /// So many instances get it, if no throttle holds it back.
    deliveries: usize,
}

impl Message {
    fn read(call: &Call) -> Result<Self, Failure> {
        // Cannot fail: the body fits the schema.
        let message: Self =
            serde_json::from_slice(&call.body).map_err(|error| Failure::bad_request(error.to_string()))?;
        if message.text.trim().is_empty() {
            return Err(Failure::bad_request("`text` must not be empty: it is what is to be said"));
        }
        if message.text.len() > MAX_TEXT {
            let length = message.text.len();
            return Err(Failure::bad_request(format!(
                "`text` has {length} bytes, at most {MAX_TEXT} are taken: post a part of it, or where the rest is"
            )));
        }
        let Self { channel, topic, from, emoji, .. } = &message;
        for (name, value) in [("channel", channel), ("topic", topic), ("from", from), ("emoji", emoji)] {
            let Some(value) = value else { continue };
            if value.len() > MAX_NAME {
                return Err(Failure::bad_request(format!(
                    "`{name}` has {} bytes, at most {MAX_NAME} are taken",
                    value.len()
                )));
            }
            // They end up in headers and topics.
            if value.chars().any(char::is_control) {
                return Err(Failure::bad_request(format!("`{name}` must not hold line breaks and the like")));
            }
        }
        Ok(message)
    }

    fn data(self) -> Data {
        let Self { text, channel, topic, from, emoji } = self;
        let named = |value: Option<String>| value.filter(|value| !value.trim().is_empty());
        let posted = Posted {
            text: Some(text.clone()),
            channel: named(channel),
            topic: named(topic),
            from: named(from),
            emoji: named(emoji),
        };
        Data { message: Some(text), posted: Some(Box::new(posted)), ..Data::default() }
    }
}

/// `POST /v5/messages` with `{"text": …}` and, if wanted, `channel`, `topic`, `from`, `emoji`: makes an event
/// `message.posted`, which goes to the instances whose routes have that kind.
///
/// 202 with `{"eventId": ID, "deliveries": N}`: so many instances get it by their routes, if no throttle holds it back;
/// what became of it says `GET /v5/events/ID`.
pub(in super::super) async fn post_message(context: &Context, call: &Call) -> Result<Answer, Failure> {
    let data = Message::read(call)?.data();
    let (now, kind, source) = (now_ms(), kind::MESSAGE_POSTED.to_owned(), "rest".to_owned());
    let new = NewEvent { kind, time: now, received: now, source, keys: Vec::new(), data };
    let mut event = Event {
        id: String::new(),
        kind: new.kind.clone(),
        time: rfc3339(now),
        received_at: rfc3339(now),
        source: new.source.clone(),
        data: new.data.clone(),
    };
    let (store, accepted) = (context.store.clone(), context.accepted.clone());
    // To its end, also when the caller goes away: what was stored is to be told.
    let accepting = tokio::spawn(async move {
        let stored = store.accept(vec![new]).await;
        accepted.notify_one();
        stored
    });
    let Ok(Ok(stored)) = tokio::time::timeout(PATIENCE, accepting).await else {
        let message = "the message cannot be stored now; it may be told later, when the store is well again";
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, message));
    };
    let stored = stored?;
    event.id = stored.first().map(|one| context.store.event_id(one.seq())).unwrap_or_default();
    // By the same rules as the event itself: nothing has to be found out about it before.
    let deliveries = context.router.get().route(&event).len();
    let who = call.caller.as_ref().map(|caller| caller.name.as_str()).unwrap_or_default();
    tracing::info!(event = event.id, deliveries, caller = who, "a message was posted");
    let stored = Stored { event_id: &event.id, deliveries };
    Ok(answer(&context.secrets(), StatusCode::ACCEPTED, &stored))
}
