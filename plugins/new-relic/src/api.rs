//! Requests to New Relic's three APIs, and what its answers mean.
//!
//! Sources: *Introduction to the Event API*, *Introduction to the Log API*, *Report metrics via the Metric API* in New Relic's
//! documentation. All three take JSON, plain or as gzip, with the key in a header, and answer before they have looked into it:
//! 200 or 202 with an id. What they drop later on (wrong forms, unknown names) is an event `NrIntegrationError` in the account.

use std::io::Write;
use std::time::Duration;

use butler_plugin_api::{DeliveryError, Host, HttpReply};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::accounts::Account;
use crate::relic::Relic;

/// Bodies beyond so many bytes are compressed.
const COMPRESS: usize = 1000;
/// How long an answer to a delivery may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// One of the APIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    Event,
    Log,
    Metric,
}

impl Api {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Log => "log",
            Self::Metric => "metric",
        }
    }

    /// Where it is for an account.
    pub(crate) fn url(self, relic: &Relic, account: &Account) -> String {
        match self {
            Self::Event => format!("{}/v1/accounts/{}/events", relic.addresses.event, account.id),
            Self::Log => relic.addresses.log.clone(),
            Self::Metric => relic.addresses.metric.clone(),
        }
    }
}

/// A body, compressed if that is worth it.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) text: String,
    gzip: Option<Vec<u8>>,
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        let gzip = (text.len() > COMPRESS).then(|| compress(&text)).flatten();
        Self { text, gzip }
    }
}

/// Nothing if it cannot be done, which writing to memory can.
fn compress(text: &str) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).ok()?;
    encoder.finish().ok()
}

/// Why New Relic does not have it.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// HTTP status; none without an answer.
    pub(crate) status: Option<u16>,
    pub(crate) error: DeliveryError,
}

/// The headers of a request, the key among them: those of the settings may replace the content type.
pub(crate) fn headers(account: &Account, given: &[(String, String)], body: &Body) -> Vec<(String, String)> {
    let mut headers = given.to_vec();
    let mut add = |name: &str, value: &str| headers.push((name.to_owned(), value.to_owned()));
    if !given.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        add("Content-Type", "application/json; charset=utf-8");
    }
    if body.gzip.is_some() {
        add("Content-Encoding", "gzip");
    }
    add("Api-Key", &account.key);
    headers
}

/// Sends a body to an account; the status that New Relic took it with.
pub(crate) async fn send(
    host: &Host,
    relic: &Relic,
    (api, account): (Api, &Account),
    given: &[(String, String)],
    body: &Body,
    timeout: Duration,
) -> Result<u16, Refusal> {
    let mut request = host.http().post(api.url(relic, account)).timeout(timeout);
    for (name, value) in headers(account, given, body) {
        request = request.header(&name, value);
    }
    if let Some(profile) = &relic.tls {
        request = request.tls(profile);
    }
    let bytes = body.gzip.clone().unwrap_or_else(|| body.text.clone().into_bytes());
    let reply = request.body(bytes).send().await.map_err(|error| Refusal { status: None, error: error.into() })?;
    let status = reply.status();
    let refusal = |error| Refusal { status: Some(status), error: explain(status, error) };
    let reply = reply.error_for_status().map_err(|error| refusal(error.into()))?;
    is_taken(&reply).map_err(|why| refusal(DeliveryError::retry(why)))?;
    Ok(status)
}

/// Adds what helps.
fn explain(status: u16, error: DeliveryError) -> DeliveryError {
    match error {
        DeliveryError::Retry { message, after, .. } if matches!(status, 401 | 403) => {
            let message = format!(
                "{message}; check `apiKey` and `accountId`, and `region`: the addresses of one region do not know keys of the other"
            );
            match after {
                Some(after) => DeliveryError::retry_after(message, after),
                None => DeliveryError::retry(message),
            }
        }
        other => other,
    }
}

/// Whether a success is one of New Relic: it answers JSON, or nothing. A proxy may answer with a page for people.
fn is_taken(reply: &HttpReply) -> Result<(), String> {
    if reply.bytes().iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let shown: String = reply.text().chars().take(200).collect();
    match reply.json::<Value>() {
        Ok(body) if body["success"] == false => Err(format!("the answer was {}, but says: {shown}", reply.status())),
        Ok(body) if body.is_object() => Ok(()),
        _ => Err(format!("the answer {} is not New Relic's: {shown}", reply.status())),
    }
}
