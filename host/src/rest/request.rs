//! A request on its way to a handler: body and query, read and held against what the route declares.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use futures_util::StreamExt;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::Failure;
use super::auth::Caller;
use super::routes::{Params, Route};

/// Longest body, in bytes.
pub(super) const MAX_BODY: usize = 1 << 20;
/// All bodies that are in memory at one time, in bytes.
const MAX_BODIES: usize = 128 << 20;
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
    /// A permit for each byte.
    room: Arc<Semaphore>,
}

impl Bodies {
    pub(super) fn new(deadline: Duration) -> Self {
        Self { deadline, room: Arc::new(Semaphore::new(MAX_BODIES)) }
    }

    /// Reads a whole body. What it takes of the room for all bodies is free again when the second value is dropped.
    pub(super) async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), Failure> {
        let too_large =
            || Failure::coded(StatusCode::PAYLOAD_TOO_LARGE, "FST_ERR_CTP_BODY_TOO_LARGE", "Request body is too large");
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > MAX_BODY as u64) {
            return Err(too_large());
        }
        let reading = async {
            let mut bytes = Vec::new();
            let mut room: Option<OwnedSemaphorePermit> = None;
            let mut chunks = body.into_data_stream();
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk.map_err(|error| Failure::bad_request(format!("the body cannot be read: {error}")))?;
                if bytes.len() + chunk.len() > MAX_BODY {
                    return Err(too_large());
                }
                let more = u32::try_from(chunk.len()).map_err(|_| too_large())?;
                let more = self.room.clone().try_acquire_many_owned(more).map_err(|_| busy())?;
                match &mut room {
                    Some(room) => room.merge(more),
                    None => room = Some(more),
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok((bytes, room))
        };
        let message = || format!("the body did not come within {} s", self.deadline.as_secs());
        tokio::time::timeout(self.deadline, reading)
            .await
            .unwrap_or_else(|_| Err(Failure::new(StatusCode::REQUEST_TIMEOUT, message())))
    }
}

fn busy() -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "the requests that come at this time are too large together: try again",
    )
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

    #[tokio::test]
    async fn all_bodies_together_have_a_limit() {
        let bodies = Bodies::new(Duration::from_secs(5));
        let read = async || bodies.read(&HeaderMap::new(), Body::from(vec![b'x'; MAX_BODY])).await;
        let mut rooms = Vec::new();
        for _ in 0..MAX_BODIES / MAX_BODY {
            rooms.push(read().await.unwrap().1.unwrap());
        }
        let refused = bodies.read(&HeaderMap::new(), Body::from("x")).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(bodies.read(&HeaderMap::new(), Body::empty()).await.is_ok());
        rooms.pop();
        assert_eq!(read().await.unwrap().0.len(), MAX_BODY);
        assert_eq!(read().await.unwrap().0.len(), MAX_BODY, "what was read is forgotten again");
    }
}
