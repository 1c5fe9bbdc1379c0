//! Typed wrappers of the host's services.
//!
//! Everything but HTTP crosses the boundary by `invoke(service, JSON) -> JSON`; the forms are given at each call.

mod qlik;
mod schedule;
mod status;
mod storage;

use std::time::Duration;

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::abi::{WireRequest, WireResponse};
use crate::host::{Host, Labels};

pub use qlik::{HandedOver, Property, Qlik, QlikReply, StartTasks, StartedTask, TasksStarted};
pub use schedule::{Schedule, Tick, When};
pub use status::{HeardNode, PartStatus, Status};
pub use storage::{Storage, StorageChange, StorageEntry, StoragePage};

/// Why a service did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The instance has been stopped or abandoned.
    #[error("the instance has been stopped")]
    Stopped,
    /// This host has no such service, or the service no such operation: a newer one may have it.
    #[error("{0}")]
    Unsupported(String),
    /// The service does not take this input.
    #[error("{0}")]
    Invalid(String),
    /// The config, or the plugin's own manifest, does not allow it.
    #[error("{0}")]
    Denied(String),
    /// What it needs is not there now.
    #[error("{0}")]
    Unavailable(String),
    /// A quota is used up.
    #[error("{0}")]
    Quota(String),
    /// It was tried and failed.
    #[error("{0}")]
    Failed(String),
}

impl ServiceError {
    /// From `{"kind": "denied", "message": "…"}`.
    pub(crate) fn from_wire(text: &str) -> Self {
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        let message = value["message"].as_str().unwrap_or(text).to_owned();
        match value["kind"].as_str() {
            Some("stopped") => Self::Stopped,
            Some("unsupported") => Self::Unsupported(message),
            Some("invalid") => Self::Invalid(message),
            Some("denied") => Self::Denied(message),
            Some("unavailable") => Self::Unavailable(message),
            Some("quota") => Self::Quota(message),
            _ => Self::Failed(message),
        }
    }

    /// The form in which it crosses the boundary.
    pub fn to_wire(&self) -> String {
        let kind = match self {
            Self::Stopped => "stopped",
            Self::Unsupported(_) => "unsupported",
            Self::Invalid(_) => "invalid",
            Self::Denied(_) => "denied",
            Self::Unavailable(_) => "unavailable",
            Self::Quota(_) => "quota",
            Self::Failed(_) => "failed",
        };
        json!({ "kind": kind, "message": self.to_string() }).to_string()
    }
}

/// The answer to an emitted event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Emitted {
    /// Id of the event; of the earlier one if its key was known.
    pub id: String,
    /// The key was known: nothing was emitted.
    #[serde(default)]
    pub duplicate: bool,
}

pub(crate) async fn emit(host: &Host, kind: &str, data: Value, key: Option<&str>) -> Result<Emitted, ServiceError> {
    // By the delivery the host knows which event led to this one, ends chains that never would, and makes the key where
    // there is none: so the delivery and what is emitted count, not the order of calls, which may differ in a repetition.
    let place = crate::abi::plugin::emitted_in(kind, &data);
    let (delivery, repetition) = place.unzip();
    let input = json!({
        "kind": kind, "data": data, "key": key, "delivery": delivery.as_deref(), "repetition": repetition,
    });
    let answer = host.invoke("emit", &input).await?;
    serde_json::from_value(answer).map_err(|error| ServiceError::Failed(error.to_string()))
}

/// Counters and gauges of one instance, shown on the host's `/metrics` as `butler_plugin_<plugin>_<name>` with the
/// instance as label.
///
/// Callable on any thread. There is nothing to wait for and nothing to handle: a metric is never a reason to repeat a
/// delivery. What the host refuses it logs, once for each name.
#[derive(Debug, Clone)]
pub struct Metrics(Host);

impl Metrics {
    pub(crate) fn new(host: Host) -> Self {
        Self(host)
    }

    /// Adds to a counter. At most 100 names and 1,000 series an instance.
    pub fn count(&self, name: &str, labels: &[(&str, &str)], add: u64) {
        self.tell("count", name, labels, &add.into());
    }

    /// Sets a gauge to a finite number.
    pub fn gauge(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.tell("gauge", name, labels, &value.into());
    }

    /// The host has noted it when the call returns, at the latest when its answer is polled for the first time: so
    /// gauges that are set one after the other end as the last one says.
    fn tell(&self, op: &str, name: &str, labels: &[(&str, &str)], value: &Value) {
        let labels: Labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let input = json!({ "op": op, "name": name, "labels": labels, "value": value });
        let _ = self.0.handle.invoke("metrics", input.to_string()).now_or_never();
    }
}

/// The host's HTTP client.
#[derive(Debug, Clone)]
pub struct Http(Host);

impl Http {
    pub(crate) fn new(host: Host) -> Self {
        Self(host)
    }

    /// Begins a request.
    pub fn request(&self, method: &str, url: impl Into<String>) -> HttpRequest {
        HttpRequest {
            host: self.0.clone(),
            wire: WireRequest {
                method: method.to_ascii_uppercase(),
                url: url.into(),
                headers: Vec::new(),
                body: Vec::new(),
                options: String::new(),
            },
            options: Map::new(),
            error: None,
        }
    }

    /// Begins a GET.
    pub fn get(&self, url: impl Into<String>) -> HttpRequest {
        self.request("GET", url)
    }

    /// Begins a POST.
    pub fn post(&self, url: impl Into<String>) -> HttpRequest {
        self.request("POST", url)
    }

    /// Begins a PUT.
    pub fn put(&self, url: impl Into<String>) -> HttpRequest {
        self.request("PUT", url)
    }
}

/// A request being built.
#[derive(Debug)]
pub struct HttpRequest {
    host: Host,
    wire: WireRequest,
    options: Map<String, Value>,
    error: Option<String>,
}

impl HttpRequest {
    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.wire.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sets a JSON body and its content type, unless one was set.
    #[must_use]
    pub fn json(mut self, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(bytes) => self.wire.body = bytes,
            Err(error) => self.error = Some(format!("the body cannot be written as JSON: {error}")),
        }
        if !self.wire.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            self = self.header("content-type", "application/json");
        }
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.wire.body = body.into();
        self
    }

    /// Limits the time until the whole answer is there; the host's default is 30 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.options.insert("timeoutMs".to_owned(), Value::from(millis));
        self
    }

    /// Uses a profile under `tls:` of the host's config: its own CA, client certificate, or no verification.
    #[must_use]
    pub fn tls(mut self, profile: &str) -> Self {
        self.options.insert("tls".to_owned(), Value::from(profile));
        self
    }

    /// Sends it and reads the whole answer, at most 16 MB. Any status is an answer; see [`HttpReply::error_for_status`].
    pub async fn send(mut self) -> Result<HttpReply, HttpError> {
        if let Some(error) = self.error {
            return Err(HttpError::Invalid(error));
        }
        if !self.options.is_empty() {
            self.wire.options = Value::Object(self.options).to_string();
        }
        let origin = origin(&self.wire.url);
        match self.host.handle.http(self.wire).await {
            Ok(reply) => Ok(HttpReply { reply, origin }),
            Err(text) => Err(HttpError::from_wire(&text)),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The request cannot be sent as it is: bad address or header.
    #[error("{0}")]
    Invalid(String),
    /// It took too long.
    #[error("{0}")]
    Timeout(String),
    /// No connection, TLS failed or its profile cannot be used, or the connection broke.
    #[error("{0}")]
    Connection(String),
    /// The answer is larger than the host reads.
    #[error("{0}")]
    TooLarge(String),
    /// The instance has been stopped.
    #[error("the instance has been stopped")]
    Stopped,
}

impl HttpError {
    pub(crate) fn from_wire(text: &str) -> Self {
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        let message = value["message"].as_str().unwrap_or(text).to_owned();
        match value["kind"].as_str() {
            Some("invalid") => Self::Invalid(message),
            Some("timeout") => Self::Timeout(message),
            Some("tooLarge") => Self::TooLarge(message),
            Some("stopped") => Self::Stopped,
            _ => Self::Connection(message),
        }
    }

    /// The form in which it crosses the boundary.
    pub fn to_wire(&self) -> String {
        let kind = match self {
            Self::Invalid(_) => "invalid",
            Self::Timeout(_) => "timeout",
            Self::Connection(_) => "connection",
            Self::TooLarge(_) => "tooLarge",
            Self::Stopped => "stopped",
        };
        json!({ "kind": kind, "message": self.to_string() }).to_string()
    }
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct HttpReply {
    reply: WireResponse,
    /// Scheme, host and port that were asked.
    origin: String,
}

impl HttpReply {
    /// HTTP status.
    pub fn status(&self) -> u16 {
        self.reply.status
    }

    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.reply.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body.
    pub fn bytes(&self) -> &[u8] {
        &self.reply.body
    }

    /// The body as text; invalid UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.reply.body).into_owned()
    }

    /// The body as JSON.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.reply.body)
    }

    /// The answer itself if its status is 2xx, else an error that a `?` in `deliver` turns into retry or reject.
    pub fn error_for_status(self) -> Result<Self, StatusError> {
        if (200..300).contains(&self.status()) {
            return Ok(self);
        }
        let retry_after = self.header("retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let body: String = self.text().chars().take(200).collect();
        Err(StatusError { status: self.status(), body, retry_after, origin: self.origin })
    }
}

/// An answer whose status is not a success.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatusError {
    /// HTTP status.
    pub status: u16,
    /// First 200 characters of the body.
    pub body: String,
    /// What `Retry-After` asked for, in its form of seconds.
    pub retry_after: Option<Duration>,
    /// Scheme, host and port of the destination.
    pub origin: String,
}

impl StatusError {
    /// What is likely behind it, and what helps.
    fn remedy(&self) -> Option<&'static str> {
        Some(match self.status {
            300..=399 => "it redirects, which is not followed: use the address that it leads to",
            400 | 422 => "it refuses the content: `butler render` shows what is sent",
            401 | 403 => {
                "it does not let Butler in: check the credentials, or the address if that holds the secret, in the settings of \
                 the instance"
            }
            404 | 410 => "there is nothing at this address: check it in the settings of the instance",
            407 => "the proxy on the way wants a login",
            413 => "the message is too large for it",
            429 => "it gets too many requests",
            500.. => "it is in trouble itself: see its log or its status page",
            _ => return None,
        })
    }
}

/// Scheme, host and port of an address, without what may be secret in it.
fn origin(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}")
}

impl std::fmt::Display for StatusError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the destination answered {}", self.status)?;
        let body = self.body.trim();
        if !body.is_empty() {
            write!(f, ": {}", body.replace(['\r', '\n'], " "))?;
        }
        write!(f, " ({}", self.origin)?;
        if let Some(remedy) = self.remedy() {
            write!(f, "; {remedy}")?;
        }
        f.write_str(")")
    }
}

impl std::error::Error for StatusError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_whose_it_is_and_what_helps() {
        let error = |status| StatusError {
            status,
            body: "bad\ntoken ".to_owned(),
            retry_after: None,
            origin: origin("https://me:secret@hooks.example.com:8443/T0/secret?key=secret"),
        };
        assert_eq!(
            error(401).to_string(),
            "the destination answered 401: bad token (https://hooks.example.com:8443; it does not let Butler in: check the \
             credentials, or the address if that holds the secret, in the settings of the instance)"
        );
        assert!(error(503).to_string().contains("its status page"));
        assert!(error(418).to_string().ends_with("(https://hooks.example.com:8443)"));
    }

    #[test]
    fn an_error_comes_out_of_the_wire_as_it_went_in() {
        let text = || "why".to_owned();
        for (error, kind) in [
            (ServiceError::Stopped, "stopped"),
            (ServiceError::Unsupported(text()), "unsupported"),
            (ServiceError::Invalid(text()), "invalid"),
            (ServiceError::Denied(text()), "denied"),
            (ServiceError::Unavailable(text()), "unavailable"),
            (ServiceError::Quota(text()), "quota"),
            (ServiceError::Failed(text()), "failed"),
        ] {
            let wire = error.to_wire();
            assert_eq!(serde_json::from_str::<Value>(&wire).unwrap()["kind"], kind);
            assert_eq!(ServiceError::from_wire(&wire), error);
        }
        // Of a newer host.
        let newer = ServiceError::from_wire(r#"{ "kind": "moonstruck", "message": "why" }"#);
        assert_eq!(newer, ServiceError::Failed(text()));
    }
}
