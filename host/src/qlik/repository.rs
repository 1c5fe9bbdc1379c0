//! The repository service (QRS): one client with kept connections.
//!
//! Every call is a GET with the client certificate, the user header and a fresh cross-site key. There are no redirects
//! and no proxies: the certificate must not travel to where somebody else points.

use std::net::Ipv6Addr;
use std::time::Duration;

use reqwest::header::{DATE, HeaderValue};
use reqwest::redirect;
use serde::Deserialize;
use serde_json::Value;

use super::error::{QlikError, excerpt};
use super::gate::{Gate, GateState};
use super::{explain, tls, wire};
use crate::config;

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
    client: reqwest::Client,
    /// `https://host:port/qrs/`
    base: String,
    /// `host:port`, for messages.
    server: String,
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
}

impl Repository {
    /// Reads the certificates; does not connect.
    pub fn new(config: &config::Qlik) -> Result<Self, QlikError> {
        Self::with_limits(config, Limits::default())
    }

    /// As [`Repository::new`], with other limits.
    pub fn with_limits(config: &config::Qlik, limits: Limits) -> Result<Self, QlikError> {
        let tls =
            tls::qlik(&config.certificates, config.verify).map_err(|error| QlikError::Setup(error.to_string()))?;
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
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            // QRS answers by HTTP/1.1; some front ends of Windows ask for client certificates only there.
            .http1_only()
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .pool_idle_timeout(Duration::from_secs(90))
            .tcp_keepalive(Duration::from_secs(30))
            .connect_timeout(limits.connect)
            .timeout(limits.total)
            .user_agent(concat!("Butler/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| QlikError::Setup(format!("the client for Qlik Sense cannot be set up: {error}")))?;
        Ok(Self { client, base, server, user: wire::user_header(&config.user)?, limits, gate: Gate::new(limits.pause) })
    }

    /// Host and port.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Whether it answers, for health.
    pub fn state(&self) -> GateState {
        self.gate.state()
    }

    /// `GET /qrs/<path>`: the answer, whatever its status. The query's values are encoded here.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Reply, QlikError> {
        self.get_at_most(self.limits.body, path, query).await
    }

    /// The same, if the body has at most `limit` bytes.
    pub async fn get_at_most(&self, limit: usize, path: &str, query: &[(&str, &str)]) -> Result<Reply, QlikError> {
        let mut incoming = self.open(path, query).await?;
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
        self.get(path, query).await?.success()?.json()
    }

    /// `GET /qrs/<path>`: the text of a successful answer; invalid UTF-8 is replaced.
    pub async fn get_text(&self, path: &str, query: &[(&str, &str)]) -> Result<String, QlikError> {
        Ok(self.get(path, query).await?.success()?.text())
    }

    /// The objects of a list that pass a filter.
    pub(super) async fn list(&self, path: &str, filter: &str) -> Result<Vec<Value>, QlikError> {
        let reply = self.get(path, &[("filter", filter)]).await?.success()?;
        match reply.json()? {
            Value::Array(objects) => Ok(objects),
            _ => Err(reply.not_json()),
        }
    }

    /// Asks for the version, to see whether everything is in order.
    pub async fn probe(&self) -> Result<String, QlikError> {
        let reply = self.get("about", &[]).await?.success()?;
        match reply.json()?["buildVersion"].as_str() {
            Some(version) => Ok(version.to_owned()),
            None => Err(reply.not_json()),
        }
    }

    /// Sends a GET and waits for the beginning of the answer.
    pub(super) async fn open<'a>(&'a self, path: &'a str, query: &[(&str, &str)]) -> Result<Incoming<'a>, QlikError> {
        let pass = self.gate.admit()?;
        let mut first = true;
        loop {
            let key = wire::xrf_key();
            let url = wire::address(&self.base, path, query, &key)?;
            let request = self.client.get(url).header("X-Qlik-Xrfkey", key).header("X-Qlik-User", self.user.clone());
            let error = match request.send().await {
                Ok(response) => {
                    let status = response.status().as_u16();
                    let incoming = Incoming { status, response, path, server: &self.server };
                    // The service is not there, though something in front of it answers.
                    if matches!(status, 502..=504) {
                        pass.failed(&format!("Qlik Sense at {} answers {status}", self.server));
                    } else {
                        pass.succeeded();
                    }
                    return Ok(incoming);
                }
                Err(error) => error,
            };
            if error.is_builder() {
                return Err(QlikError::BadRequest { path: path.to_owned(), reason: error.without_url().to_string() });
            }
            // A kept connection may have been closed by the other side just now: that says nothing about a new one.
            if first && !error.is_connect() && !error.is_timeout() && !explain::is_tls(&error) {
                first = false;
                continue;
            }
            let error = explain::unreachable(&self.server, &error);
            pass.failed(&error.to_string());
            return Err(error);
        }
    }
}

impl Incoming<'_> {
    /// The next piece of the body.
    pub(super) async fn chunk(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, QlikError> {
        // The server is there, so trouble here is none of the gate's.
        self.response.chunk().await.map_err(|error| explain::unreachable(self.server, &error))
    }

    /// The error of an answer that is no success, with the beginning of its body.
    pub(super) async fn into_error(mut self) -> QlikError {
        let mut body = Vec::new();
        while body.len() < 1_024
            && let Ok(Some(chunk)) = self.chunk().await
        {
            body.extend_from_slice(chunk.as_ref());
        }
        QlikError::Status { status: self.status, path: self.path.to_owned(), body: excerpt(&body) }
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
        serde_json::from_slice(body).map_err(|_| self.not_json())
    }

    /// The body as text; invalid UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn not_json(&self) -> QlikError {
        QlikError::NotJson { path: self.path.clone(), start: excerpt(&self.body) }
    }
}
