//! The body for the Metric API: figures of Butler itself and of licences.

use butler_plugin_api::{AccessLicenses, Delivery, Event, Ingest, kind};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::attributes::{Attributes, json as text};
use crate::facts;
use crate::relic::Rule;

/// Kinds that metrics are made of.
pub(crate) const KINDS: &[&str] =
    &[kind::BUTLER_UPTIME, kind::BUTLER_INGEST, kind::SERVER_LICENSE_STATUS, kind::ACCESS_LICENSE_USAGE];

/// Most attributes of a metric, and those of them that are its own.
const MOST: usize = 150;
const OWN: usize = 1;
const BYTES: usize = 500_000;
/// New Relic drops metrics that are older than 48 hours, or lie more than 24 hours ahead; an hour is kept for the way.
const OLDEST_MS: i64 = 47 * 3_600_000;
const AHEAD_MS: i64 = 23 * 3_600_000;

/// A figure.
#[derive(Debug, Serialize)]
struct Metric {
    name: String,
    #[serde(rename = "type")]
    form: &'static str,
    value: Value,
    #[serde(skip_serializing_if = "Map::is_empty")]
    attributes: Map<String, Value>,
}

impl Metric {
    fn gauge(name: &str, value: impl Into<Value>) -> Self {
        Self::new(name, "gauge", value.into())
    }

    fn new(name: &str, form: &'static str, value: Value) -> Self {
        // New Relic drops whole numbers that are larger than 64 bits with a sign can hold.
        let value = if value.is_u64() && !value.is_i64() { json!(value.as_f64()) } else { value };
        Self { name: name.to_owned(), form, value, attributes: Map::new() }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.attributes.insert(name.to_owned(), value.into());
        self
    }
}

/// What all metrics of a request have in common; in the order of Butler 16.
#[derive(Debug, Serialize)]
struct Common {
    timestamp: i64,
    #[serde(rename = "interval.ms", skip_serializing_if = "Option::is_none")]
    interval: Option<u64>,
    attributes: Attributes,
}

#[derive(Debug, Serialize)]
struct Body<'a> {
    common: Common,
    metrics: &'a [Metric],
}

/// The body. `now`: milliseconds since 1970. An error says why there is nothing to send.
pub(crate) fn body(delivery: &Delivery, rule: &Rule, version: &str, now: i64) -> Result<String, String> {
    let event = &delivery.event;
    let timestamp = facts::millis(event).unwrap_or(now);
    if now.saturating_sub(timestamp) > OLDEST_MS || timestamp.saturating_sub(now) > AHEAD_MS {
        return Err(format!(
            "the figures are of {}: New Relic keeps none that are older than 48 hours or more than 24 hours ahead",
            event.time
        ));
    }
    let (mut metrics, interval) = figures(event);
    metrics.retain(|metric| !rule.leave_out.iter().any(|pattern| kind::matches(pattern, &metric.name)));
    if metrics.is_empty() {
        return Err("the event has no figure that could be sent as a metric".to_owned());
    }
    let mut attributes = Attributes::new(&rule.attributes);
    attributes.set("version", version);
    attributes.fit(MOST - OWN, BYTES);
    Ok(text(&[Body { common: Common { timestamp, interval, attributes }, metrics: &metrics }]))
}

/// What a load script sends.
pub(crate) fn posted(
    timestamp: i64,
    name: &str,
    value: f64,
    given: &[(String, Value)],
    own: &[(String, String)],
) -> String {
    let mut attributes = Attributes::new(given);
    for (name, value) in own {
        attributes.set(name, value.as_str());
    }
    attributes.fit(MOST, BYTES);
    let metrics = &[Metric::gauge(name, value)];
    text(&[Body { common: Common { timestamp, interval: None, attributes }, metrics }])
}

fn figures(event: &Event) -> (Vec<Metric>, Option<u64>) {
    let data = &event.data;
    match event.kind.as_str() {
        kind::BUTLER_UPTIME => {
            let butler = data.butler.as_deref().cloned().unwrap_or_default();
            let memory = butler.memory.unwrap_or_default();
            let named = [
                ("qs_butlerHeapUsed", memory.heap_used_bytes),
                ("qs_butlerHeapTotal", memory.heap_total_bytes),
                ("qs_butlerExternalMem", memory.external_bytes),
                ("qs_butlerProcessMem", memory.process_bytes),
                ("qs_butlerUptimeMillisec", butler.uptime_ms),
                // Beyond Butler 16:
                ("qs_butlerCpuMillisec", butler.cpu_ms),
                ("qs_butlerEventsWaiting", butler.events_waiting),
                ("qs_butlerDeliveriesOpen", butler.deliveries_open),
                ("qs_butlerDeliveriesDead", butler.deliveries_dead),
            ];
            let mut metrics = gauges(named);
            metrics.extend(butler.cpu_percent.map(|percent| Metric::gauge("qs_butlerCpuPercent", percent)));
            (metrics, butler.interval_ms.filter(|interval| *interval > 0))
        }
        kind::BUTLER_INGEST => {
            let interval = data.ingest.as_ref().and_then(|ingest| ingest.interval_ms).filter(|interval| *interval > 0);
            (data.ingest.as_deref().map(|ingest| counters(ingest, interval.is_some())).unwrap_or_default(), interval)
        }
        kind::SERVER_LICENSE_STATUS => {
            let license = data.server_license.as_deref().cloned().unwrap_or_default();
            let days = license.days_until_expiry.map(|days| Metric::gauge("qs_serverLicenseDaysUntilExpiry", days));
            let expired = license.expired.map(|expired| Metric::gauge("qs_serverLicenseExpired", i64::from(expired)));
            (days.into_iter().chain(expired).collect(), None)
        }
        kind::ACCESS_LICENSE_USAGE => (data.access_licenses.as_deref().map(licenses).unwrap_or_default(), None),
        _ => (Vec::new(), None),
    }
}

fn gauges(named: impl IntoIterator<Item = (&'static str, Option<u64>)>) -> Vec<Metric> {
    named.into_iter().filter_map(|(name, value)| Some(Metric::gauge(name, value?))).collect()
}

/// Counters are counts of an interval, or, where they count since Butler started, gauges.
fn counters(ingest: &Ingest, of_an_interval: bool) -> Vec<Metric> {
    let form = if of_an_interval { "count" } else { "gauge" };
    let count = |name: &str, value: u64| Metric::new(name, form, value.into());
    let mut metrics = vec![
        count("qs_butlerUdpReceived", ingest.received),
        count("qs_butlerUdpQueued", ingest.queued),
        count("qs_butlerUdpQueuedBytes", ingest.queued_bytes),
        count("qs_butlerUdpProcessed", ingest.processed),
        count("qs_butlerUdpDuplicates", ingest.duplicates),
        count("qs_butlerUdpReceiveErrors", ingest.receive_errors),
    ];
    for (name, by_reason) in [("qs_butlerUdpDropped", &ingest.dropped), ("qs_butlerUdpRejected", &ingest.rejected)] {
        metrics.extend(by_reason.iter().map(|(reason, value)| count(name, *value).with("reason", reason)));
    }
    metrics.extend(ingest.kernel_drops.map(|value| count("qs_butlerUdpKernelDrops", value)));
    metrics.extend(gauges([
        ("qs_butlerUdpBuffered", Some(ingest.buffered)),
        ("qs_butlerUdpBufferedBytes", Some(ingest.buffered_bytes)),
        ("qs_butlerUdpCapacityBytes", ingest.capacity_bytes),
        ("qs_butlerUdpPending", ingest.pending),
        ("qs_butlerUdpProcessingAverageMicrosec", ingest.processing_average_us),
        ("qs_butlerUdpProcessingP95Microsec", ingest.processing_p95_us),
        ("qs_butlerUdpProcessingMaxMicrosec", ingest.processing_max_us),
        ("qs_butlerUdpPerMinute", ingest.per_minute),
    ]));
    metrics
}

/// `qs_accessLicenseUsed` with the attribute `licenseType`, and so on.
fn licenses(licenses: &AccessLicenses) -> Vec<Metric> {
    let types = serde_json::to_value(licenses).unwrap_or_default();
    let types = types.as_object().into_iter().flatten();
    let figures = types.flat_map(|(license, figures)| {
        figures.as_object().into_iter().flatten().filter(|(_, value)| value.is_number()).map(move |(name, value)| {
            let (first, rest) = name.split_at(1);
            let name = format!("qs_accessLicense{}{rest}", first.to_ascii_uppercase());
            Metric::gauge(&name, value.clone()).with("licenseType", license)
        })
    });
    figures.collect()
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::testing::sample_delivery;

    use super::*;

    const NOW: i64 = 1_772_600_800_000;

    fn made(delivery: &Delivery, rule: &Value) -> Result<Value, String> {
        let rule = crate::tests::rule(rule);
        body(delivery, &rule, "17.0.0", NOW).map(|body| serde_json::from_str(&body).unwrap())
    }

    fn all() -> Value {
        json!({ "kinds": ["*"], "attributes": { "service": "butler" } })
    }

    #[test]
    fn figures_of_every_kind() {
        for kind in KINDS {
            let mut delivery = sample_delivery(kind);
            if let Some(butler) = &mut delivery.event.data.butler {
                butler.interval_ms = Some(900_000);
            }
            let rule = crate::tests::rule(&all());
            let body = body(&delivery, &rule, "17.0.0", NOW).unwrap();
            insta::assert_snapshot!(
                *kind,
                body.replace("},{\"name\"", "},\n {\"name\"").replace("\"metrics\":[", "\n\"metrics\":[\n ")
            );
        }
    }

    #[test]
    fn counters_without_an_interval_are_gauges() {
        let mut delivery = sample_delivery(kind::BUTLER_INGEST);
        for interval in [None, Some(0)] {
            delivery.event.data.ingest.as_mut().unwrap().interval_ms = interval;
            let body = made(&delivery, &all()).unwrap();
            assert_eq!(body[0]["common"].get("interval.ms"), None);
            assert!(body[0]["metrics"].as_array().unwrap().iter().all(|metric| metric["type"] == "gauge"), "{body}");
        }
    }

    #[test]
    fn metrics_can_be_left_out_and_absent_figures_are_absent() {
        let beyond = ["qs_butlerCpu*", "qs_butlerEvents*", "qs_butlerDeliveries*"];
        let left_out = [["qs_butlerHeap*", "qs_butlerExternalMem"].as_slice(), &beyond].concat();
        let rule = json!({ "kinds": ["*"], "leaveOut": left_out });
        let mut delivery = sample_delivery(kind::BUTLER_UPTIME);
        delivery.event.data.butler.as_mut().unwrap().interval_ms = None;
        let names = |body: &Value| -> Vec<String> {
            body[0]["metrics"]
                .as_array()
                .unwrap()
                .iter()
                .map(|metric| metric["name"].as_str().unwrap().to_owned())
                .collect()
        };
        let body = made(&delivery, &rule).unwrap();
        assert_eq!(names(&body), ["qs_butlerProcessMem", "qs_butlerUptimeMillisec"]);
        assert_eq!(body[0]["common"].get("interval.ms"), None);
        delivery.event.data.butler.as_mut().unwrap().memory = None;
        assert_eq!(names(&made(&delivery, &rule).unwrap()), ["qs_butlerUptimeMillisec"]);
        delivery.event.data.butler = None;
        assert!(made(&delivery, &rule).unwrap_err().contains("no figure"));

        let mut license = sample_delivery(kind::SERVER_LICENSE_STATUS);
        let facts = license.event.data.server_license.as_mut().unwrap();
        (facts.days_until_expiry, facts.expiry_date) = (None, None);
        assert_eq!(names(&made(&license, &all()).unwrap()), ["qs_serverLicenseExpired"]);
    }

    #[test]
    fn numbers_beyond_new_relics_become_others() {
        let mut delivery = sample_delivery(kind::BUTLER_UPTIME);
        delivery.event.data.butler.as_mut().unwrap().uptime_ms = Some(u64::MAX);
        let body = made(&delivery, &all()).unwrap();
        assert_eq!(body[0]["metrics"][4]["value"], json!(18_446_744_073_709_551_615_f64));
    }

    #[test]
    fn figures_that_new_relic_would_drop_are_refused() {
        let mut delivery = sample_delivery(kind::BUTLER_UPTIME);
        for (time, sent) in [
            ("2026-03-02T06:06:40Z", true),
            ("2026-03-02T06:06:39Z", false),
            ("2026-03-05T04:06:40Z", true),
            ("2026-03-05T04:06:41Z", false),
            ("soon", true),
        ] {
            delivery.event.time = time.to_owned();
            assert_eq!(made(&delivery, &all()).is_ok(), sent, "{time}");
        }
    }

    #[test]
    fn a_metric_of_a_load_script() {
        let body = posted(5, "rows", 2.5, &[("a".into(), json!(1))], &[("b".into(), "x".into())]);
        assert_eq!(
            body,
            r#"[{"common":{"timestamp":5,"attributes":{"a":1,"b":"x"}},"metrics":[{"name":"rows","type":"gauge","value":2.5}]}]"#
        );
    }
}
