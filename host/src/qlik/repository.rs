//! The repository service (QRS): one client with kept connections.
//!
//! Every call goes with the client certificate, the user header and a fresh cross-site key. There are no redirects
//! and no proxies: the certificate must not travel to where somebody else points.

use std::net::Ipv6Addr;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderValue};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::certificates::CertificateFacts;
use super::connection::Connection;
use super::error::{QlikError, excerpt};
use super::explain::{self, Service};
use super::gate::{Gate, GateState};
use super::wire;
use crate::config;

/// Longest answer that is taken apart, in bytes. In memory it may be ten times as large, and some are read at a time.
const MAX_JSON: usize = 8 << 20;

/// How long and how much.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest time until there is a connection.
    pub connect: Duration,
    /// Longest time until the answer is there, whole.
    pub total: Duration,
    /// Longest answer in bytes.
    pub body: usize,
    /// How long the server is left alone after a failure; doubles with each further one, up to 10 s.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            total: Duration::from_secs(30),
            body: 64 << 20,
            pause: Duration::from_millis(500),
        }
    }
}

/// The repository service. Shared by all that ask it.
#[derive(Debug)]
pub struct Repository {
    connection: Connection,
    /// `https://host:port/qrs/`
    base: String,
    /// `host:port`, for messages.
    server: String,
    /// The same of the service that tells version and product.
    system_info: String,
    user: HeaderValue,
    limits: Limits,
    gate: Gate,
}

/// An answer, whatever its status, read whole.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// The path that was asked for, below `/qrs/`.
    pub path: String,
    /// The server's time when it answered, ms since 1970 UTC in whole seconds.
    pub date_ms: Option<i64>,
}

/// An answer whose body is still coming.
#[derive(Debug)]
pub(super) struct Incoming<'a> {
    pub(super) status: u16,
    response: reqwest::Response,
    path: &'a str,
    server: &'a str,
    service: &'static Service,
}

impl Repository {
    /// Reads the certificates; does not connect.
    pub fn new(config: &config::Qlik) -> Result<Self, QlikError> {
        Self::with_limits(config, Limits::default())
    }

    /// As [`Repository::new`], with other limits.
    pub fn with_limits(config: &config::Qlik, limits: Limits) -> Result<Self, QlikError> {
        let connection = Connection::new(config, limits)?;
        let host = match config.host.parse::<Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) => config.host.clone(),
        };
        let server = format!("{host}:{}", config.ports.repository);
        let base = format!("https://{server}/qrs/");
        let proper = reqwest::Url::parse(&base).is_ok_and(|url| url.path() == "/qrs/" && url.username().is_empty());
        if !proper {
            let remedy = "write a name or an address, without `https://`, port or path";
            return Err(QlikError::Setup(format!("`qlik.host` is \"{}\": {remedy}", config.host)));
        }
        let user = wire::user_header(&config.user)?;
        let system_info = format!("{host}:{}", config.ports.system_info);
        Ok(Self { connection, base, server, system_info, user, limits, gate: Gate::new(limits.pause) })
    }

    /// Host and port.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The certificates and what is made of them.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The user header.
    pub(super) fn user(&self) -> &HeaderValue {
        &self.user
    }

    /// Whether it answers, for health.
    pub fn state(&self) -> GateState {
        self.gate.state()
    }

    /// The certificates whose end matters: client, authority, and the server's once there was a connection.
    pub fn certificates(&self) -> Vec<CertificateFacts> {
        self.connection.certificates()
    }

    /// Looks whether the certificate files have changed, and uses them for new connections if they can be used.
    pub async fn renew(&self) {
        self.connection.renew(&self.connection.made(), Duration::ZERO).await;
    }

    /// `GET /qrs/<path>`: the answer, whatever its status. The query's values are encoded here.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Reply, QlikError> {
        self.get_at_most(self.limits.body, path, query).await
    }

    /// The same, if the body has at most `limit` bytes.
    pub async fn get_at_most(&self, limit: usize, path: &str, query: &[(&str, &str)]) -> Result<Reply, QlikError> {
        self.read_at_most(limit, self.open(path, query).await?).await
    }

    /// `POST /qrs/<path>` with a JSON body: the answer, whatever its status.
    pub async fn post(&self, path: &str, query: &[(&str, &str)], body: &Value) -> Result<Reply, QlikError> {
        self.read_at_most(MAX_JSON, self.send(Method::POST, path, query, Some(body)).await?).await
    }

    /// `PUT /qrs/<path>` with a JSON body: the answer, whatever its status.
    pub async fn put(&self, path: &str, query: &[(&str, &str)], body: &Value) -> Result<Reply, QlikError> {
        self.read_at_most(MAX_JSON, self.send(Method::PUT, path, query, Some(body)).await?).await
    }

    /// `DELETE /qrs/<path>`: the answer, whatever its status.
    pub async fn delete(&self, path: &str, query: &[(&str, &str)]) -> Result<Reply, QlikError> {
        self.read_at_most(MAX_JSON, self.send(Method::DELETE, path, query, None).await?).await
    }

    async fn read_at_most(&self, limit: usize, mut incoming: Incoming<'_>) -> Result<Reply, QlikError> {
        let path = incoming.path;
        let too_large = || QlikError::TooLarge { path: path.to_owned(), limit };
        if incoming.response.content_length().is_some_and(|length| length > limit as u64) {
            return Err(too_large());
        }
        let date =
            incoming.response.headers().get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
        let mut body = Vec::new();
        while let Some(chunk) = incoming.chunk().await? {
            if body.len() + chunk.as_ref().len() > limit {
                return Err(too_large());
            }
            body.extend_from_slice(chunk.as_ref());
        }
        let date_ms = date.and_then(|date| jiff::Timestamp::try_from(date).ok()).map(jiff::Timestamp::as_millisecond);
        Ok(Reply { status: incoming.status, body, path: path.to_owned(), date_ms })
    }

    /// `GET /qrs/<path>`: the JSON of a successful answer.
    pub async fn get_json(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, QlikError> {
        self.get_at_most(self.limits.body.min(MAX_JSON), path, query).await?.success()?.json()
    }

    /// `GET /qrs/<path>`: the text of a successful answer; invalid UTF-8 is replaced.
    pub async fn get_text(&self, path: &str, query: &[(&str, &str)]) -> Result<String, QlikError> {
        Ok(self.get(path, query).await?.success()?.text())
    }

    /// Calls `read` for each of the objects of a list that pass a filter. They are taken apart one after the other: as a
    /// whole they would be ten times as large as their text.
    pub(super) async fn each(&self, path: &str, filter: &str, mut read: impl FnMut(&Value)) -> Result<(), QlikError> {
        let limit = self.limits.body.min(MAX_JSON);
        let reply = self.get_at_most(limit, path, &[("filter", filter)]).await?.success()?;
        let objects: Vec<&RawValue> = match reply.read() {
            Ok(objects) => objects,
            Err(error) => return Err(reply.json().map_or(error, |other| QlikError::odd(path, "a list", &other))),
        };
        for object in objects {
            // Cannot fail: it was JSON as a part of the list.
            read(&serde_json::from_str(object.get()).unwrap_or_default());
        }
        Ok(())
    }

    /// Asks for the version, to see whether everything is in order.
    pub async fn probe(&self) -> Result<String, QlikError> {
        let about = self.get_json("about", &[]).await?;
        match about["buildVersion"].as_str() {
            Some(version) => Ok(version.to_owned()),
            None => Err(QlikError::odd("about", "an object with `buildVersion`", &about)),
        }
    }

    /// Version and product of the server: the JSON of `/v1/systeminfo`, which another service than QRS answers.
    pub async fn system_info(&self) -> Result<Value, QlikError> {
        const PATH: &str = "v1/systeminfo";
        let (service, server) = (&explain::SYSTEM_INFO, self.system_info.as_str());
        let answer = self.connection.made().client.get(format!("https://{server}/{PATH}")).send().await;
        let response = answer.map_err(|error| explain::unreachable(service, server, &error))?;
        let incoming = Incoming { status: response.status().as_u16(), response, path: PATH, server, service };
        self.read_at_most(MAX_JSON, incoming).await?.success()?.json()
    }

    /// Sends a GET and waits for the beginning of the answer.
    pub(super) async fn open<'a>(&'a self, path: &'a str, query: &[(&str, &str)]) -> Result<Incoming<'a>, QlikError> {
        self.send(Method::GET, path, query, None).await
    }

    async fn send<'a>(
        &'a self,
        method: Method,
        path: &'a str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Incoming<'a>, QlikError> {
        let pass = self.gate.admit()?;
        // What changes something is sent once: it may have arrived.
        let (mut again, mut renewed) = (method == Method::GET, false);
        let mut made = self.connection.made();
        loop {
            let key = wire::xrf_key();
            let url = wire::address(&self.base, path, query, &key)?;
            let request = made.client.request(method.clone(), url);
            let mut request = request.header("X-Qlik-Xrfkey", key).header("X-Qlik-User", self.user.clone());
            if let Some(body) = body {
                request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
            }
            let answer = request.send().await;
            // A kept connection may have been closed by the other side just now: that says nothing about a new one.
            let broken = |error: &reqwest::Error| !error.is_builder() && !error.is_connect() && !error.is_timeout();
            if again && answer.as_ref().is_err_and(|error| broken(error) && !explain::is_tls(error)) {
                again = false;
                continue;
            }
            // Maybe there are new certificates, and these were refused for that.
            let refused = match &answer {
                Ok(response) => matches!(response.status().as_u16(), 401 | 403),
                // Other than in a handshake it may have arrived.
                Err(error) => (method == Method::GET && broken(error)) || explain::is_tls(error),
            };
            if refused && !renewed && self.connection.renew(&made, self.limits.pause).await {
                renewed = true;
                made = self.connection.made();
                continue;
            }
            return match answer {
                Ok(response) => {
                    let status = response.status().as_u16();
                    // The service is not there, though something in front of it answers.
                    if matches!(status, 502..=504) {
                        pass.failed(&format!("Qlik Sense at {} answers {status}", self.server));
                    } else {
                        pass.succeeded();
                    }
                    Ok(Incoming { status, response, path, server: &self.server, service: &explain::REPOSITORY })
                }
                Err(error) if error.is_builder() => {
                    Err(QlikError::BadRequest { path: path.to_owned(), reason: error.without_url().to_string() })
                }
                Err(error) => {
                    let error = explain::unreachable(&explain::REPOSITORY, &self.server, &error);
                    pass.failed(&error.to_string());
                    Err(error)
                }
            };
        }
    }
}

impl Incoming<'_> {
    /// The next piece of the body.
    pub(super) async fn chunk(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, QlikError> {
        // The server is there, so trouble here is none of the gate's.
        self.response.chunk().await.map_err(|error| explain::unreachable(self.service, self.server, &error))
    }

    /// Whether it is a page for people, which QRS never sends.
    pub(super) fn is_page(&self) -> bool {
        let content_type = self.response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        content_type.to_ascii_lowercase().starts_with(b"text/html")
    }

    /// The error of an answer that should have been a text and is a page.
    pub(super) async fn into_page_error(self) -> QlikError {
        let path = self.path.to_owned();
        QlikError::Page { path, start: excerpt(&self.beginning().await) }
    }

    /// The error of an answer that is no success, with the beginning of its body.
    pub(super) async fn into_error(self) -> QlikError {
        let (status, path) = (self.status, self.path.to_owned());
        QlikError::Status { status, path, body: excerpt(&self.beginning().await) }
    }

    async fn beginning(mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while body.len() < 1_024
            && let Ok(Some(chunk)) = self.chunk().await
        {
            body.extend_from_slice(chunk.as_ref());
        }
        body
    }
}

impl Reply {
    /// The answer itself if its status is 2xx.
    pub fn success(self) -> Result<Self, QlikError> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        Err(QlikError::Status { status: self.status, body: excerpt(&self.body), path: self.path })
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value, QlikError> {
        self.read()
    }

    /// The body as JSON of a form.
    pub(super) fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, QlikError> {
        let body = self.body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&self.body);
        serde_json::from_slice(body).map_err(|error| {
            let path = self.path.clone();
            if error.is_eof() {
                return QlikError::Incomplete { path, length: self.body.len() };
            }
            QlikError::NotJson { path, start: excerpt(&self.body) }
        })
    }

    /// The body as text; invalid UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
