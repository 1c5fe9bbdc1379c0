//! HTTP requests that reach an endpoint of the plugin, and its answers.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

/// A request to an endpoint of the plugin. The host has checked scope, method and the declared schemas before.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Request {
    /// Method, upper case.
    pub method: String,
    /// The declared path, with its braces: which endpoint was called.
    pub route: String,
    /// Path parameters by name, percent-decoded.
    pub params: BTreeMap<String, String>,
    /// Query parameters, coerced by the declared schema.
    pub query: Map<String, Value>,
    /// Header names in lower case with their values; credentials are left out.
    pub headers: Vec<(String, String)>,
    /// Body; empty when there is none.
    pub body: Vec<u8>,
    /// Name of the token or grant of the caller.
    pub caller: String,
}

impl Request {
    /// A request to a declared path, for tests; the rest is set by its fields.
    pub fn new(method: &str, route: &str) -> Self {
        Self { method: method.to_owned(), route: route.to_owned(), ..Self::default() }
    }

    /// The body as JSON; `Null` when there is none.
    pub fn json(&self) -> Result<Value, serde_json::Error> {
        if self.body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&self.body) }
    }
}

/// The error form of the REST API, in the order of its keys.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody<'a> {
    status_code: u16,
    error: &'a str,
    message: &'a str,
}

/// The answer of an endpoint.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Headers; the host adds what belongs to the connection.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Response {
    /// An answer without a body.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// A JSON answer. A value that cannot be serialised becomes a 500.
    pub fn json(status: u16, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => {
                let content_type = ("content-type".to_owned(), "application/json; charset=utf-8".to_owned());
                Self { status, headers: vec![content_type], body }
            }
            Err(error) => Self::error(500, &error.to_string()),
        }
    }

    /// The error form of the REST API: `{"statusCode":…,"error":…,"message":…}`.
    pub fn error(status: u16, message: &str) -> Self {
        let reason = match status {
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            409 => "Conflict",
            413 => "Payload Too Large",
            415 => "Unsupported Media Type",
            429 => "Too Many Requests",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            code if code < 500 => "Client Error",
            _ => "Internal Server Error",
        };
        Self::json(status, &ErrorBody { status_code: status, error: reason, message })
    }
}
