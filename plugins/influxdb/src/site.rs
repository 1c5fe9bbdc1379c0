//! Points of licences, services, the version of Qlik Sense, and Butler itself.

use butler_plugin_api::{AccessUse, CapacityUse, Event, LoginTokens, ReleasedLicense, Service, Tokens, UserTokens};

use crate::line::Point;
use crate::task::number;

/// Measurement with a point for each type of licence.
pub(crate) const ACCESS_LICENSES: &str = "qlik_sense_license";
/// The tag that tells them apart.
pub(crate) const LICENSE_TYPE: &str = "license_type";

/// Measurement beside that of all users, with a point for each proxy: a sum over it counts who uses two of them twice.
pub(crate) const ACTIVE_USERS_BY_NODE: &str = "active_users_by_node";
/// The tag that tells them apart.
pub(crate) const HOST: &str = "host";

/// Measurement beside that of Butler's memory.
pub(crate) const UPTIME: &str = "butler_uptime";

/// Butler 17's name for the type of the queue, which dashboards filter by.
const QUEUE_TYPE: &str = "task_results";
/// Percent of the buffer from which it counts as under pressure: Butler 16's template.
const PRESSURE: f64 = 80.0;

/// State of a Windows service, or a change of it.
pub(crate) fn service(event: &Event, measurement: &str) -> Point {
    let service = event.data.service.as_deref().cloned().unwrap_or_default();
    let Service { host, name, display_name, friendly_name, start_type, state, previous_state, .. } = service;
    let mut point = Point::new(measurement);
    point.tag("host", host.or_else(|| event.data.node.clone()));
    point.tag("service_name", name);
    point.tag("display_name", display_name);
    point.tag("friendly_name", friendly_name);
    // A state that could not be read is a point as well: the gap is seen.
    point.float("state_num", Some(state_number(state.as_deref().unwrap_or_default())));
    if let Some(start_type) = start_type {
        let startup = match start_type.as_str() {
            "Automatic" => 0.0,
            "Automatic (delayed start)" => 1.0,
            "Manual" => 2.0,
            "Disabled" => 3.0,
            _ => -1.0,
        };
        point.float("startup_mode_num", Some(startup));
        point.text("startup_mode_text", Some(start_type));
    }
    if state.is_none() {
        point.text("message", event.data.message.clone());
    }
    point.text("state_text", state);
    if let Some(previous) = previous_state {
        point.float("previous_state_num", Some(state_number(&previous)));
        point.text("previous_state_text", Some(previous));
    }
    point
}

fn state_number(state: &str) -> f64 {
    match state {
        "STOPPED" => 1.0,
        "START_PENDING" => 2.0,
        "STOP_PENDING" => 3.0,
        "RUNNING" => 4.0,
        "CONTINUE_PENDING" => 5.0,
        "PAUSE_PENDING" => 6.0,
        "PAUSED" => 7.0,
        _ => -1.0,
    }
}

/// The licence of the server. What is not known of it is left out.
pub(crate) fn server_license(event: &Event, measurement: &str) -> Point {
    let license = event.data.server_license.as_deref().cloned().unwrap_or_default();
    let mut point = Point::new(measurement);
    point.flag("license_expired", license.expired);
    point.text("expiry_date", license.expiry_date);
    point.float("days_until_expiry", license.days_until_expiry.map(number));
    point
}

/// Use of access licences, a point for each type that the site uses.
pub(crate) fn access_licenses(event: &Event) -> Vec<Point> {
    let all = event.data.access_licenses.as_deref().cloned().unwrap_or_default();
    let point = |license_type: &str, fields: Vec<(&str, Option<f64>)>| {
        let mut point = Point::new(ACCESS_LICENSES);
        point.tag(LICENSE_TYPE, Some(license_type));
        for (name, value) in fields {
            point.float(name, value);
        }
        point
    };
    let assigned =
        |license_type: &str, AccessUse { allocated, available, excess, quarantined, total, used }: AccessUse| {
            let fields = [
                ("allocated", allocated),
                ("available", available),
                ("excess", excess),
                ("quarantined", quarantined),
                ("total", total),
                ("used", used),
            ];
            point(license_type, fields.map(|(name, value)| (name, value.map(number))).to_vec())
        };
    let capacity = |CapacityUse { allocated_minutes, unavailable_minutes, used_minutes }: CapacityUse| {
        let fields = [
            ("allocated_minutes", allocated_minutes),
            ("unavailable_minutes", unavailable_minutes),
            ("used_minutes", used_minutes),
        ];
        point("analyzer_capacity", fields.map(|(name, value)| (name, value.map(number))).to_vec())
    };
    let login = |LoginTokens { allocated_tokens, token_cost, unavailable_tokens, used_tokens }: LoginTokens| {
        let fields = [
            ("allocated_tokens", allocated_tokens),
            ("token_cost", token_cost),
            ("unavailable_tokens", unavailable_tokens),
            ("used_tokens", used_tokens),
        ];
        point("token_login", fields.to_vec())
    };
    let user = |UserTokens { allocated_tokens, quarantined_tokens, token_cost, used_tokens }: UserTokens| {
        let fields = [
            ("allocated_tokens", allocated_tokens),
            ("quarantined_tokens", quarantined_tokens),
            ("token_cost", token_cost),
            ("used_tokens", used_tokens),
        ];
        point("token_user", fields.to_vec())
    };
    let tokens = |Tokens { available, total }: Tokens| {
        point("tokens_available", vec![("available_tokens", available), ("total_tokens", total)])
    };
    [
        all.analyzer.map(|used| assigned("analyzer", used)),
        all.analyzer_capacity.map(capacity),
        all.professional.map(|used| assigned("professional", used)),
        all.token_login.map(login),
        all.token_user.map(user),
        all.tokens.map(tokens),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The licences that were taken back. A dry run takes none back, and writes nothing.
pub(crate) fn released_licenses(event: &Event, measurement: &str) -> Vec<Point> {
    let release = event.data.license_release.as_deref().cloned().unwrap_or_default();
    if release.dry_run == Some(true) {
        return Vec::new();
    }
    let point = |license: ReleasedLicense| {
        let mut point = Point::new(measurement);
        point.tag(LICENSE_TYPE, license.license_type);
        point.tag("user", license.user);
        // Of one that was never used the days are not known.
        point.float("days_since_last_use", license.days_since_last_use.map(number));
        if license.days_since_last_use.is_none() {
            point.flag("never_used", Some(true));
        }
        point
    };
    release.released.unwrap_or_default().into_iter().map(point).collect()
}

/// How many users Qlik Sense has, and each of its proxies.
pub(crate) fn active_users(event: &Event, measurement: &str) -> Vec<Point> {
    let Some(users) = event.data.active_users.as_deref() else { return Vec::new() };
    let mut all = Point::new(measurement);
    all.float("count", users.count.map(whole));
    let of_node = |(node, count): (&String, &u64)| {
        let mut point = Point::new(ACTIVE_USERS_BY_NODE);
        point.tag(HOST, Some(node.as_str()));
        point.float("count", Some(whole(*count)));
        point
    };
    std::iter::once(all).chain(users.nodes.iter().flatten().map(of_node)).collect()
}

/// The version of Qlik Sense.
pub(crate) fn qlik_version(event: &Event, measurement: &str) -> Point {
    let version = event.data.qlik_version.as_deref().cloned().unwrap_or_default();
    let mut point = Point::new(measurement);
    for (name, text) in [
        ("content_hash", version.content_hash),
        ("sense_id", version.sense_id),
        ("version", version.version),
        ("deployment_type", version.deployment_type),
        ("release_label", version.release_label),
        ("deprecated_product_version", version.deprecated_product_version),
        ("product_name", version.product_name),
        ("copyright_year_range", version.copyright_year_range),
    ] {
        point.text(name, text);
    }
    point
}

/// Memory of Butler in MB of 1024 * 1024 bytes; for how long it has been running, its load and its queues.
pub(crate) fn butler(event: &Event, measurement: &str) -> Vec<Point> {
    let butler = event.data.butler.as_deref().cloned().unwrap_or_default();
    let (memory, mut uptime) = (butler.memory.unwrap_or_default(), Point::new(UPTIME));
    let mut point = Point::new(measurement);
    for (name, bytes) in [
        ("external", memory.external_bytes),
        ("heap_total", memory.heap_total_bytes),
        ("heap_used", memory.heap_used_bytes),
        ("process_memory", memory.process_bytes),
    ] {
        point.float(name, bytes.map(|bytes| hundredths(whole(bytes) / 1_048_576.0)));
    }
    for (name, value) in [
        ("cpu_ms", butler.cpu_ms),
        ("deliveries_dead", butler.deliveries_dead),
        ("deliveries_open", butler.deliveries_open),
        ("events_waiting", butler.events_waiting),
        ("uptime_ms", butler.uptime_ms),
    ] {
        uptime.float(name, value.map(whole));
    }
    uptime.float("cpu_percent", butler.cpu_percent);
    let mut points = vec![point, uptime];
    for point in &mut points {
        point.tag("version", butler.version.clone());
    }
    points
}

/// Counters of the UDP ingestion, by the names of Butler 17. They count for the interval of the event.
pub(crate) fn ingest(event: &Event, measurement: &str) -> Point {
    let ingest = event.data.ingest.as_deref().cloned().unwrap_or_default();
    let dropped = |reason: &str| ingest.dropped.get(reason).copied().unwrap_or_default();
    let (size, rate, full) = (dropped("size"), dropped("rate-limit"), dropped("buffer-full"));
    let used = ingest
        .capacity_bytes
        .filter(|capacity| *capacity > 0)
        .map(|capacity| hundredths(whole(ingest.buffered_bytes) / whole(capacity) * 100.0));
    // As in Butler 17 they are 0 in an interval without messages.
    let millis = |micros: Option<u64>| Some(whole(micros.unwrap_or_default()) / 1000.0);
    let mut point = Point::new(measurement);
    point.tag("queue_type", Some(QUEUE_TYPE));
    for (name, value) in [
        ("messages_received", Some(ingest.received)),
        // Butler knows a duplicate only when it takes it from the queue; Butler 17 does not queue it.
        ("messages_queued", Some(ingest.queued.saturating_sub(ingest.duplicates))),
        ("messages_processed", Some(ingest.processed)),
        ("messages_failed", Some(sum(ingest.rejected.values().copied()))),
        ("messages_dropped_total", Some(sum([size, rate, full, ingest.duplicates]))),
        ("messages_dropped_queue_full", Some(full)),
        ("messages_dropped_rate_limit", Some(rate)),
        ("messages_dropped_size", Some(size)),
        ("messages_dropped_duplicate", Some(ingest.duplicates)),
        ("queue_size", Some(ingest.buffered)),
        ("queue_pending", ingest.pending),
        ("rate_limit_current", Some(ingest.per_minute.unwrap_or_default())),
        // Beyond Butler 17:
        ("messages_dropped_source", Some(dropped("source"))),
        ("messages_dropped_kernel", ingest.kernel_drops),
        ("receive_errors", Some(ingest.receive_errors)),
        ("queue_bytes", Some(ingest.buffered_bytes)),
        ("queue_max_bytes", ingest.capacity_bytes),
    ] {
        point.float(name, value.map(whole));
    }
    point.float("queue_utilization_pct", used);
    point.float("backpressure_active", used.map(|used| if used >= PRESSURE { 1.0 } else { 0.0 }));
    point.float("processing_time_avg_ms", millis(ingest.processing_average_us));
    point.float("processing_time_p95_ms", millis(ingest.processing_p95_us));
    point.float("processing_time_max_ms", millis(ingest.processing_max_us));
    point
}

fn sum(counts: impl IntoIterator<Item = u64>) -> u64 {
    counts.into_iter().fold(0, u64::saturating_add)
}

#[allow(clippy::cast_precision_loss, reason = "beyond 2^53 nobody counts")]
fn whole(value: u64) -> f64 {
    value as f64
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
