//! `POST /v4/newrelic/event` and `POST /v4/newrelic/metric`: load scripts send figures of their own, as with Butler 16.

use std::time::Duration;

use butler_plugin_api::{DeliveryError, Endpoint, Request, Response, Scope};
use futures_util::future::join_all;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::{self, Api, Body};
use crate::relic::Post;
use crate::{NewRelic, event, metric};

pub(crate) const EVENT: &str = "/v4/newrelic/event";
pub(crate) const METRIC: &str = "/v4/newrelic/metric";
/// A load script waits.
const TIMEOUT: Duration = Duration::from_secs(5);
const HOUR_MS: i64 = 3_600_000;
/// What is less is a time in seconds: in milliseconds it would be one of before 1974.
const SECONDS: f64 = 1e11;
/// From here on it is one in microseconds, and then in nanoseconds: in milliseconds it would be one of after 5138.
const MICROSECONDS: f64 = 1e14;
const NANOSECONDS: f64 = 1e17;
/// Longest type of an event, in characters.
const LONGEST_TYPE: usize = 254;

/// An event.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PostedEvent {
    /// Type of the event, the name of its table: letters, digits, `_`, `:` and blanks.
    #[schemars(length(max = 254))]
    event_type: String,
    /// When it happened, milliseconds since 1970 (seconds, micro- or nanoseconds by their size). Absent, 0 or less: now.
    #[serde(default)]
    timestamp: f64,
    /// Attributes; of those with the same name the last one counts.
    #[serde(default)]
    attributes: Vec<EventAttribute>,
}

/// An attribute of an event.
#[derive(Debug, Deserialize, JsonSchema)]
struct EventAttribute {
    /// Name.
    #[schemars(length(max = 254))]
    name: String,
    /// Value.
    #[schemars(length(max = 4096))]
    value: String,
}

/// A metric.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct PostedMetric {
    /// Name.
    #[schemars(length(max = 254))]
    name: String,
    /// Type of the metric.
    #[serde(rename = "type")]
    #[allow(dead_code, reason = "there is one")]
    metric_type: MetricType,
    /// Value.
    value: f64,
    /// When it was measured, milliseconds since 1970 (seconds, micro- or nanoseconds by their size). Absent, 0 or less: now.
    #[serde(default)]
    timestamp: f64,
    /// Milliseconds that it covers. Not used, since gauges cover none.
    #[serde(default)]
    #[allow(dead_code, reason = "load scripts may send it")]
    interval: f64,
    /// Attributes; of those with the same name the last one counts.
    #[serde(default)]
    attributes: Vec<MetricAttribute>,
}

/// Types of metrics.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum MetricType {
    // Documented, it would be a constant in the schema, and the message about a wrong one another than that of Butler 16.
    Gauge,
}

/// An attribute of a metric.
#[derive(Debug, Deserialize, JsonSchema)]
struct MetricAttribute {
    /// Name.
    #[schemars(length(max = 254))]
    name: String,
    /// Value.
    value: String,
}

/// What became of it at an account.
#[derive(Debug, Serialize, JsonSchema)]
struct AccountResult<'a> {
    account: &'a str,
    sent: bool,
    /// HTTP status of New Relic's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// The error form of the REST API with the accounts at its end.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Failed<'a> {
    status_code: u16,
    error: &'static str,
    message: String,
    accounts: Vec<AccountResult<'a>>,
}

/// Several instances may be there: the first one of the config serves them.
pub(crate) fn endpoints() -> [Endpoint; 2] {
    let endpoint = |path: &str, name: &str, summary: &str, body: Value| {
        Endpoint::new("POST", path, Scope::Messages, summary)
            .shared()
            .named(name)
            .body(body)
            .answer(202, "New Relic has it", json!({ "type": "string", "contentMediaType": "text/plain" }))
            .answer(502, "Not all accounts took it", schemars::schema_for!(Failed<'_>).to_value())
    };
    let event = schemars::schema_for!(PostedEvent).to_value();
    let metric = schemars::schema_for!(PostedMetric).to_value();
    [
        endpoint(EVENT, "postNewRelicEvent", "Sends an event to New Relic", event),
        endpoint(METRIC, "postNewRelicMetric", "Sends a metric to New Relic", metric),
    ]
}

impl NewRelic {
    pub(crate) async fn post_event(&self, request: &Request) -> Response {
        let posted: PostedEvent = match read(request) {
            Ok(posted) => posted,
            Err(response) => return response,
        };
        let (mut event_type, mut timestamp) = (posted.event_type, posted.timestamp);
        let mut own = Vec::new();
        // As in Butler 16 attributes go before all others, also of these names.
        for EventAttribute { name, value } in posted.attributes {
            match name.as_str() {
                "eventType" => event_type = value,
                "timestamp" => match value.trim().parse() {
                    Ok(time) => timestamp = time,
                    Err(_) => {
                        return Response::error(
                            400,
                            "the attribute `timestamp` is no number: New Relic drops such events",
                        );
                    }
                },
                _ => own.push((name, value)),
            }
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | ' ');
        if event_type.trim().is_empty() || event_type.len() > LONGEST_TYPE || !event_type.chars().all(fits) {
            let message = format!(
                "`eventType` may hold up to {LONGEST_TYPE} letters, digits, `_`, `:` and blanks only: New Relic drops others"
            );
            return Response::error(400, &message);
        }
        let time = match time(timestamp, 24) {
            Ok(time) => time,
            Err(response) => return response,
        };
        let post = &self.relic.rest_event;
        let body = event::posted(time, &event_type, &post.attributes, &own);
        self.post(Api::Event, post, body, &request.caller).await
    }

    pub(crate) async fn post_metric(&self, request: &Request) -> Response {
        let posted: PostedMetric = match read(request) {
            Ok(posted) => posted,
            Err(response) => return response,
        };
        if posted.name.trim().is_empty() {
            return Response::error(400, "`name` is empty: a metric needs one");
        }
        let time = match time(posted.timestamp, 48) {
            Ok(time) => time,
            Err(response) => return response,
        };
        let own: Vec<_> = posted.attributes.into_iter().map(|own| (own.name, own.value)).collect();
        let post = &self.relic.rest_metric;
        let body = metric::posted(time, &posted.name, posted.value, &post.attributes, &own);
        self.post(Api::Metric, post, body, &request.caller).await
    }

    /// Sends a body to all accounts of an endpoint. The answer is a success if each has it.
    async fn post(&self, api: Api, post: &Post, body: String, caller: &str) -> Response {
        let body = Body::from(body);
        let accounts = post.accounts.iter().map(|index| &self.relic.accounts[*index]);
        let sent = join_all(
            accounts
                .clone()
                .map(|account| api::send(&self.host, &self.relic, (api, account), &post.headers, &body, TIMEOUT)),
        )
        .await;
        let mut first = None;
        let mut after: Option<Duration> = None;
        let mut results = Vec::new();
        for (account, sent) in accounts.zip(sent) {
            let account = account.name.as_str();
            results.push(match sent {
                Ok(status) => {
                    first = first.or(Some(status));
                    AccountResult { account, sent: true, status: Some(status), error: None }
                }
                Err(refusal) => {
                    if let DeliveryError::Retry { after: Some(time), .. } = &refusal.error {
                        after = after.max(Some(*time));
                    }
                    let error = Some(refusal.error.to_string());
                    AccountResult { account, sent: false, status: refusal.status, error }
                }
            });
        }
        let failed = results.iter().find(|result| !result.sent);
        let Some(failed) = failed else {
            let reason = if first == Some(202) { "Accepted" } else { "OK" };
            return Response::status(202).header("content-type", "text/plain; charset=utf-8").body(reason);
        };
        let message = format!(
            "Failed posting {} to New Relic: account `{}`: {}",
            api.name(),
            failed.account,
            failed.error.as_deref().unwrap_or_default()
        );
        tracing::warn!(caller, "by REST: {message}");
        let response =
            Response::json(502, &Failed { status_code: 502, error: "Bad Gateway", message, accounts: results });
        match after {
            Some(after) => response.header("retry-after", after.as_secs().max(1).to_string()),
            None => response,
        }
    }
}

fn read<T: DeserializeOwned>(request: &Request) -> Result<T, Response> {
    serde_json::from_slice(&request.body)
        .map_err(|error| Response::error(400, &format!("the body is not as it should be: {error}")))
}

/// Milliseconds since 1970, now if none are given. Butler 16 promised to take seconds, micro- and nanoseconds as well. What New Relic would take and drop is refused: it tells nobody.
#[allow(clippy::cast_possible_truncation, reason = "a cast of floats saturates")]
fn time(given: f64, oldest_hours: i64) -> Result<i64, Response> {
    let now = Timestamp::now().as_millisecond();
    if given < 1.0 {
        return Ok(now);
    }
    let factor = match given {
        _ if given < SECONDS => 1e3,
        _ if given < MICROSECONDS => 1.0,
        _ if given < NANOSECONDS => 1e-3,
        _ => 1e-6,
    };
    let millis = (given * factor).round() as i64;
    if now.saturating_sub(millis) > oldest_hours * HOUR_MS || millis.saturating_sub(now) > 24 * HOUR_MS {
        return Err(Response::error(
            400,
            &format!(
                "`timestamp` is {given}, {millis} milliseconds since 1970: New Relic drops what is older than {oldest_hours} hours or \
                 more than 24 hours ahead"
            ),
        ));
    }
    Ok(millis)
}
