//! Answers: JSON, and the forms of errors that clients of `/v4` know.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, Response, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::Secrets;
use crate::qlik::short;
use crate::store::StoreError;

pub(super) type Answer = Response<Body>;

/// So much of a request that nobody serves is told to whoever sent it, in characters: of the method, and of the rest.
const SHOWN: [usize; 2] = [100, 2000];

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// Why a request is not done: what the caller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    /// A stable name, for the errors that have one in `/v4`.
    pub(super) code: Option<&'static str>,
    pub(super) message: String,
    /// After how many seconds it is worth trying again, for the header of that name.
    pub(super) retry_after: Option<u64>,
}

// Fields in the order in which they are written.
/// Why a request was not done.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ErrorBody<'a> {
    status_code: u16,
    /// A stable name, for errors that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    /// The phrase of the status.
    error: &'a str,
    message: &'a str,
}

/// JSON Schema of all errors.
pub(super) fn error_schema() -> serde_json::Value {
    let mut schema = super::own::answered::<ErrorBody<'_>>();
    if let Some(entries) = schema.as_object_mut() {
        entries.remove("$schema");
    }
    schema
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NoRouteBody<'a> {
    message: &'a str,
    error: &'a str,
    status_code: u16,
}

impl Failure {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, code: None, message: message.into(), retry_after: None }
    }

    pub(super) fn coded(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { code: Some(code), ..Self::new(status, message) }
    }

    pub(super) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait.as_secs());
        self
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// `part` and pointer are in the message already.
    pub(super) fn validation(message: String) -> Self {
        Self::coded(StatusCode::BAD_REQUEST, "FST_ERR_VALIDATION", message)
    }

    pub(super) fn into_answer(self, secrets: &Secrets) -> Answer {
        let message = secrets.redact(&self.message);
        let body = ErrorBody {
            status_code: self.status.as_u16(),
            code: self.code,
            error: self.status.canonical_reason().unwrap_or("Error"),
            message: &message,
        };
        let mut answer = written(self.status, &body);
        if self.status == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        answer
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::Closed) {
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, "Butler is stopping");
        }
        if matches!(error, StoreError::TooSlow) {
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
        }
        tracing::error!(%error, "a REST request cannot be answered");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

/// The answer to a path, or a method on a path, that is not served. `uri` with its query.
pub(super) fn no_route(method: &Method, uri: &str) -> Answer {
    let message = format!("Route {}:{} not found", short(method.as_str(), SHOWN[0]), short(uri, SHOWN[1]));
    written(StatusCode::NOT_FOUND, &NoRouteBody { message: &message, error: "Not Found", status_code: 404 })
}

/// A JSON answer without secrets. The order of keys is the one of the value, unless there was something to hide.
pub(super) fn json(secrets: &Secrets, status: StatusCode, value: &impl Serialize) -> Answer {
    let text = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
    if matches!(secrets.redact(&text), Cow::Borrowed(_)) {
        return with_body(status, text.into());
    }
    // Hidden value by value, not in the text: so it stays JSON whatever the secret is.
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    secrets.redact_json(&mut value);
    written(status, &value)
}

/// Headers that every answer of the host has.
pub(super) fn finish(answer: &mut Answer) {
    let headers = answer.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// A text without secrets.
pub(super) fn text(secrets: &Secrets, content_type: HeaderValue, text: &str) -> Answer {
    let mut answer = Response::new(Body::from(secrets.redact(text).into_owned()));
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

/// An answer that is a status.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

/// A JSON answer that is written already, and has no secrets in it.
pub(super) fn ready(body: Body) -> Answer {
    with_body(StatusCode::OK, body)
}

fn written(status: StatusCode, body: &impl Serialize) -> Answer {
    // Texts and numbers can always be written.
    with_body(status, serde_json::to_vec(body).unwrap_or_default().into())
}

fn with_body(status: StatusCode, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, JSON);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(answer: Answer) -> String {
        let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn errors_have_their_keys_in_order() {
        let none = Secrets::default();
        assert_eq!(
            text(Failure::bad_request("Namespace not found: budget").into_answer(&none)).await,
            r#"{"statusCode":400,"error":"Bad Request","message":"Namespace not found: budget"}"#
        );
        assert_eq!(
            text(Failure::validation("body must be object".to_owned()).into_answer(&none)).await,
            r#"{"statusCode":400,"code":"FST_ERR_VALIDATION","error":"Bad Request","message":"body must be object"}"#
        );
        assert_eq!(
            text(no_route(&Method::GET, "/v4/nothing?a=1")).await,
            r#"{"message":"Route GET:/v4/nothing?a=1 not found","error":"Not Found","statusCode":404}"#
        );
        let long = "X".repeat(60_000);
        let answer = text(no_route(&Method::from_bytes(long.as_bytes()).unwrap(), &long)).await;
        assert!(answer.contains("…:XXX") && answer.contains("… not found"), "{answer}");
        assert!(answer.len() < 2_500, "{} bytes", answer.len());
        let refused = Failure::new(StatusCode::UNAUTHORIZED, "no").into_answer(&none);
        assert_eq!(refused.headers()[WWW_AUTHENTICATE], "Bearer");
    }

    #[tokio::test]
    async fn secrets_are_hidden_and_json_stays_json() {
        let secrets = Secrets::new(["s3cret-value".to_owned(), "1234567".to_owned(), "{\"z\":1".to_owned()]);
        let value = serde_json::json!({ "z": 1, "error": "401 for s3cret-value", "number": 1_234_567 });
        let text = text(json(&secrets, StatusCode::OK, &value)).await;
        let back: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["error"], "401 for [redacted]");
        assert!(!text.contains("1234567"), "{text}");
        let failure = Failure::not_found("no s3cret-value").into_answer(&secrets);
        assert!(self::text(failure).await.contains("no [redacted]"));
    }
}
