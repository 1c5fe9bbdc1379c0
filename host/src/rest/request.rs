//! A request on its way to a handler: body and query, read and held against what the route declares.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use futures_util::StreamExt;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::answer::Failure;
use super::auth::Caller;
use super::room::{Held, Room};
use super::routes::{Params, Route};
use crate::observe::exposition::{Exposition, Kind};

/// Longest body, in bytes.
pub(super) const MAX_BODY: usize = 1 << 20;
/// All bodies that are in memory at one time, in bytes.
const MAX_BODIES: usize = 128 << 20;
/// The same for what comes without a token: it must not keep out who has one, nor the other way round.
const MAX_OPEN_BODIES: usize = 32 << 20;
/// Some programs put it before their JSON, where it means nothing.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Clients that can only do GET and POST name the method that they mean here.
const OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");

/// A request that has passed all checks.
pub(super) struct Call {
    /// Path and query as they came.
    pub(super) uri: String,
    pub(super) headers: HeaderMap,
    /// `None` only on routes for everybody.
    pub(super) caller: Option<Caller>,
    pub(super) params: Params,
    pub(super) query: Map<String, Value>,
    pub(super) body: Vec<u8>,
}

impl Call {
    /// A parameter of the path. Each route knows its own.
    pub(super) fn param(&self, name: &str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }
}

/// The method that is meant.
pub(super) fn method(method: &Method, headers: &HeaderMap) -> Method {
    let named = headers.get(OVERRIDE).filter(|_| *method == Method::POST);
    let named =
        named.and_then(|name| Method::from_bytes(name.to_str().ok()?.trim().to_ascii_uppercase().as_bytes()).ok());
    named.unwrap_or_else(|| method.clone())
}

/// Reads bodies, within limits of size and time.
pub(super) struct Bodies {
    deadline: Duration,
    common: Room,
    open: Room,
    refused: AtomicU64,
}

/// Where a body comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sender {
    pub(super) peer: IpAddr,
    /// The route is for everybody.
    pub(super) open: bool,
}

impl Bodies {
    pub(super) fn new(deadline: Duration) -> Self {
        let (common, open) = (Room::new(MAX_BODIES), Room::new(MAX_OPEN_BODIES));
        Self { deadline, common, open, refused: AtomicU64::new(0) }
    }

    pub(super) fn expose(&self, page: &mut Exposition) {
        let help = "Requests that were answered 503, since too many bytes of bodies came at one time";
        page.single("butler_rest_bodies_refused_total", Kind::Counter, help, self.refused.load(Ordering::Relaxed));
    }

    /// Reads a whole body. What it takes of the room for all bodies is free again when the second value is dropped.
    pub(super) async fn read(
        &self,
        sender: Sender,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(Vec<u8>, Held), Failure> {
        let too_large =
            || Failure::coded(StatusCode::PAYLOAD_TOO_LARGE, "FST_ERR_CTP_BODY_TOO_LARGE", "Request body is too large");
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > MAX_BODY as u64) {
            return Err(too_large());
        }
        let reading = async {
            let room = if sender.open { &self.open } else { &self.common };
            let share = room.share(sender.peer);
            let take = |bytes| room.take(&share, bytes).ok_or_else(|| self.busy());
            let (mut bytes, mut held) = (Vec::new(), take(0)?);
            let mut chunks = body.into_data_stream();
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk.map_err(|error| Failure::bad_request(format!("the body cannot be read: {error}")))?;
                if bytes.len() + chunk.len() > MAX_BODY {
                    return Err(too_large());
                }
                held.merge(take(chunk.len())?);
                bytes.extend_from_slice(&chunk);
            }
            Ok((bytes, held))
        };
        let message = || format!("the body did not come within {} s", self.deadline.as_secs());
        tokio::time::timeout(self.deadline, reading)
            .await
            .unwrap_or_else(|_| Err(Failure::new(StatusCode::REQUEST_TIMEOUT, message())))
    }

    fn busy(&self) -> Failure {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let message = "the requests that come at this time are too large together: try again";
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, message).retry_after(Duration::from_secs(1))
    }
}

/// The body as the handler gets it: checked and coerced where the route declares a schema, else as it came.
pub(super) fn check_body(
    route: &Route,
    method: &Method,
    headers: &mut HeaderMap,
    bytes: Vec<u8>,
) -> Result<Vec<u8>, Failure> {
    let Some(shape) = &route.body else { return Ok(bytes) };
    let sent = parse(method, headers, &bytes, shape.accepts_null())?;
    let mut value = sent.clone().unwrap_or_default();
    if value.is_null() && shape.accepts_null() {
        return Ok(bytes);
    }
    shape.apply("body", &mut value).map_err(Failure::validation)?;
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    let plain = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
    if sent.as_ref() == Some(&value) && serde_json::from_slice::<IgnoredAny>(plain).is_ok() {
        // As it came: with the order of its keys. A text is not yet JSON.
        return Ok(if plain.len() == bytes.len() { bytes } else { plain.to_vec() });
    }
    serde_json::to_vec(&value).map_err(|error| Failure::bad_request(error.to_string()))
}

/// The value of a body; `None` when there is none.
pub(super) fn parse(
    method: &Method,
    headers: &HeaderMap,
    bytes: &[u8],
    optional: bool,
) -> Result<Option<Value>, Failure> {
    let content_type = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
    let media = content_type.map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let is_json = media.as_deref() == Some("application/json");
    if bytes.is_empty() {
        // A connector may name the type on every call, also where there is nothing to send.
        if is_json && !optional && *method != Method::DELETE {
            let message = "Body cannot be empty when content-type is set to 'application/json'";
            return Err(Failure::coded(StatusCode::BAD_REQUEST, "FST_ERR_CTP_EMPTY_JSON_BODY", message));
        }
        return Ok(None);
    }
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    match media.as_deref() {
        None | Some("application/json") => {
            let message = "Body is not valid JSON but content-type is set to 'application/json'";
            let invalid = |_| Failure::coded(StatusCode::BAD_REQUEST, "FST_ERR_CTP_INVALID_JSON_BODY", message);
            serde_json::from_slice(bytes).map(Some).map_err(invalid)
        }
        // Qlik's REST connector may say so of any body.
        Some("text/plain") => Ok(Some(match serde_json::from_slice(bytes) {
            Ok(value @ (Value::Object(_) | Value::Array(_))) => value,
            _ => Value::String(String::from_utf8_lossy(bytes).into_owned()),
        })),
        Some(_) => Err(Failure::coded(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "FST_ERR_CTP_INVALID_MEDIA_TYPE",
            "Unsupported Media Type",
        )),
    }
}

/// The query by name, checked and coerced where the route declares a schema. A name that comes twice is a list.
pub(super) fn check_query(route: &Route, query: &str) -> Result<Map<String, Value>, Failure> {
    let mut entries = Map::new();
    for (name, text) in url::form_urlencoded::parse(query.as_bytes()) {
        let text = Value::from(text);
        match entries.get_mut(&*name) {
            None => {
                entries.insert(name.into_owned(), text);
            }
            Some(Value::Array(texts)) => texts.push(text),
            Some(first) => *first = Value::Array(vec![first.take(), text]),
        }
    }
    let Some(shape) = &route.query else { return Ok(entries) };
    let mut value = Value::Object(entries);
    shape.apply("querystring", &mut value).map_err(Failure::validation)?;
    match value {
        Value::Object(entries) => Ok(entries),
        _ => Ok(Map::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bodies: &Bodies, client: u8, open: bool) -> Result<Held, Failure> {
        let sender = Sender { peer: [10, 0, 0, client].into(), open };
        let (bytes, held) = bodies.read(sender, &HeaderMap::new(), Body::from(vec![b'x'; MAX_BODY])).await?;
        assert_eq!(bytes.len(), MAX_BODY);
        Ok(held)
    }

    #[tokio::test]
    async fn all_bodies_together_have_a_limit_and_those_of_a_client_too() {
        for (open, size) in [(false, MAX_BODIES), (true, MAX_OPEN_BODIES)] {
            let bodies = Bodies::new(Duration::from_secs(5));
            let mut held = Vec::new();
            for client in 0..4 {
                for _ in 0..size / MAX_BODY / 4 {
                    held.push(read(&bodies, client, open).await.unwrap());
                }
                let refused = read(&bodies, client, open).await.unwrap_err();
                assert_eq!((refused.status, refused.retry_after), (StatusCode::SERVICE_UNAVAILABLE, Some(1)));
            }
            assert_eq!(read(&bodies, 9, open).await.unwrap_err().status, StatusCode::SERVICE_UNAVAILABLE);
            let sender = Sender { peer: [10, 0, 0, 9].into(), open };
            assert!(bodies.read(sender, &HeaderMap::new(), Body::empty()).await.is_ok());
            assert!(read(&bodies, 9, !open).await.is_ok(), "they do not keep each other out");
            held.pop();
            for _ in 0..2 {
                assert!(read(&bodies, 9, open).await.is_ok(), "what was read is forgotten again");
            }
            assert_eq!(bodies.refused.load(Ordering::Relaxed), 5);
        }
    }
}
