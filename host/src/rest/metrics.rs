//! `GET /metrics`: everything that can be counted, for Prometheus.
//!
//! Names follow its conventions: the prefix `butler_`, base units, `_total` for what only grows. The time on processors has the
//! name that it has for every process, which ready-made dashboards know.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::Response;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use butler_plugin_api::{Endpoint, Scope};

use super::answer::Answer;
use super::context::Context;
use super::own::{Declared, Own, text};
use crate::config::Secrets;
use crate::observe::exposition::{Exposition, Kind};
use crate::observe::{self, TaskState};
use crate::plugins::{Condition, Instance, Series, Statistics};
use crate::qlik::CertificateFacts;
use crate::store::now_ms;

/// States that every task has a series for, so that an alert on one ends when the task leaves it.
const OUTCOMES: [&str; 3] = ["aborted", "failed", "succeeded"];

type Count = fn(&Statistics) -> u64;
type Time = fn(&TaskState) -> Option<i64>;
type Labels = BTreeMap<String, String>;

pub(super) fn endpoint() -> Declared {
    let endpoint = Endpoint::new("GET", "/metrics", Scope::Read, "Metrics in the text format of Prometheus").answer(
        200,
        "The metrics",
        text("text/plain"),
    );
    Declared::new(endpoint, Own::Metrics)
}

/// The page. `guards`: what those who watch over the requests have counted.
pub(super) async fn page(context: &Context, guards: impl FnOnce(&mut Exposition)) -> Answer {
    let mut page = Exposition::default();
    own(&mut page, context);
    guards(&mut page);
    udp(&mut page, context);
    let help = "Failed reloads outside the scheduler that `appReload` leaves untold";
    page.single("butler_app_reloads_untold_total", Kind::Counter, help, context.untold.get());
    qlik_cloud(&mut page, context);
    store(&mut page, context).await;
    instances(&mut page, context);
    tasks(&mut page, context.tasks.all(), &context.secrets());
    plugins(&mut page, context.metrics.series(), &context.secrets());
    let text = page.finish();
    let mut answer = Response::new(Body::from(text));
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

/// Milliseconds as seconds.
#[allow(clippy::cast_precision_loss, reason = "milliseconds of this age are exact")]
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

fn own(page: &mut Exposition, context: &Context) {
    page.metric("butler_build_info", Kind::Gauge, "Version of Butler; always 1");
    page.sample("butler_build_info", &[("version", context.version)], 1);
    page.single(
        "butler_start_time_seconds",
        Kind::Gauge,
        "When Butler started, since 1970",
        seconds(context.started_ms),
    );
    let uptime = seconds((now_ms() - context.started_ms).max(0));
    page.single("butler_uptime_seconds", Kind::Gauge, "How long Butler has been running", uptime);
    process(page);
    if let Some(lookups) = &context.lookups {
        let state = lookups.repository().state();
        let help = "Whether the last call to Qlik Sense got an answer";
        page.single("butler_qlik_reachable", Kind::Gauge, help, u8::from(state.reachable));
        if let Some(last) = state.last_success_ms {
            let help = "When Qlik Sense answered last, since 1970";
            page.single("butler_qlik_last_success_timestamp_seconds", Kind::Gauge, help, seconds(last));
        }
        let (last, found) = context.roads.last_reconciled();
        if let Some(last) = last {
            let help = "When Qlik Sense was last asked for all that had ended, since 1970";
            page.single("butler_reconcile_last_success_timestamp_seconds", Kind::Gauge, help, seconds(last));
        }
        let help = "Events that no other road had told";
        page.single("butler_reconcile_found_total", Kind::Counter, help, found);
    }
    let qlik = context.lookups.iter().flat_map(|lookups| lookups.repository().certificates());
    certificates(page, qlik.chain(context.tls.as_ref().and_then(|tls| tls.certificate())));
    let help = "Open connections of the REST server";
    page.single("butler_rest_connections", Kind::Gauge, help, context.connections.open());
    let name = "butler_rest_connections_turned_away_total";
    page.metric(name, Kind::Counter, "Connections that were closed for new ones, and new ones without a place");
    for (what, count) in ["closed", "refused"].into_iter().zip(context.connections.turned_away()) {
        page.sample(name, &[("what", what)], count);
    }
}

fn process(page: &mut Exposition) {
    let usage = observe::process_usage();
    let memory = usage.memory.unwrap_or_default();
    for (name, help, bytes) in [
        ("butler_resident_memory_bytes", "Memory of the process in use, plugins included", memory.process_bytes),
        ("butler_own_memory_bytes", "What of that is its own: heap and stacks", memory.heap_used_bytes),
        ("butler_mapped_memory_bytes", "What of that is of files, or shared", memory.external_bytes),
        (
            "butler_committed_memory_bytes",
            "Memory of its own that the system provides, used or not",
            memory.heap_total_bytes,
        ),
    ] {
        if let Some(bytes) = bytes {
            page.single(name, Kind::Gauge, help, bytes);
        }
    }
    if let Some(cpu_ms) = usage.cpu_ms.and_then(|cpu_ms| i64::try_from(cpu_ms).ok()) {
        let help = "Time on processors, of all threads, plugins' own included";
        page.single("process_cpu_seconds_total", Kind::Counter, help, seconds(cpu_ms));
    }
    if let Some(threads) = usage.threads {
        page.single("butler_threads", Kind::Gauge, "Threads of the process, plugins' own included", threads);
    }
}

fn certificates(page: &mut Exposition, certificates: impl Iterator<Item = CertificateFacts>) {
    let help =
        "When a certificate of the connection to Qlik Sense, or of the REST server, ends to be valid, since 1970";
    page.metric("butler_certificate_expiry_timestamp_seconds", Kind::Gauge, help);
    for facts in certificates {
        let labels = [("certificate", facts.role.label())];
        page.sample("butler_certificate_expiry_timestamp_seconds", &labels, seconds(facts.ends_ms));
    }
}

fn qlik_cloud(page: &mut Exposition, context: &Context) {
    if !context.cloud_events.is_used() {
        return;
    }
    let help = "Messages of Qlik Cloud's webhooks, and those that plugins handed over, by what became of them";
    page.metric("butler_qlik_cloud_events_total", Kind::Counter, help);
    for (outcome, count) in context.cloud_events.counts() {
        page.sample("butler_qlik_cloud_events_total", &[("outcome", outcome)], count);
    }
    let states: Vec<_> = context.cloud.states().collect();
    page.metric("butler_qlik_cloud_reachable", Kind::Gauge, "Whether the last call to the tenant got an answer");
    for state in &states {
        page.sample("butler_qlik_cloud_reachable", &[("tenant", &state.id)], u8::from(state.gate.reachable));
    }
    let help = "How often the tenant has refused Butler's token or what it asked for (401, 403)";
    page.metric("butler_qlik_cloud_refusals_total", Kind::Counter, help);
    for state in &states {
        page.sample("butler_qlik_cloud_refusals_total", &[("tenant", &state.id)], state.refusals);
    }
}

fn udp(page: &mut Exposition, context: &Context) {
    let Some(udp) = &context.udp else { return };
    let counts = udp.snapshot();
    let counters = [
        ("butler_udp_received_total", "Datagrams from allowed senders", counts.received),
        ("butler_udp_queued_total", "Datagrams put into the buffer", counts.queued),
        ("butler_udp_queued_bytes_total", "Bytes put into the buffer", counts.queued_bytes),
        ("butler_udp_processed_total", "Messages that became events", counts.processed),
        ("butler_udp_duplicates_total", "Messages whose event was known", counts.duplicates),
        ("butler_udp_excluded_total", "Messages about users in `udp.sessions.excludeUsers`", counts.excluded),
        ("butler_udp_receive_errors_total", "Errors of the system while receiving", counts.receive_errors),
    ];
    for (name, help, value) in counters {
        page.single(name, Kind::Counter, help, value);
    }
    let by_reason = [
        ("butler_udp_dropped_total", "Datagrams dropped before they were read", &counts.dropped),
        ("butler_udp_rejected_total", "Datagrams that are no events", &counts.rejected),
    ];
    for (name, help, reasons) in by_reason {
        page.metric(name, Kind::Counter, help);
        for (reason, count) in reasons {
            page.sample(name, &[("reason", reason)], count);
        }
    }
    if let Some(drops) = counts.kernel_drops {
        let help = "Datagrams that the kernel dropped since the socket was bound";
        page.single("butler_udp_kernel_dropped_total", Kind::Counter, help, drops);
    }
    page.single("butler_udp_buffer_datagrams", Kind::Gauge, "Datagrams in the buffer", counts.buffered);
    page.single("butler_udp_buffer_bytes", Kind::Gauge, "Bytes of the buffer in use", counts.buffered_bytes);
    page.single("butler_udp_buffer_capacity_bytes", Kind::Gauge, "Bytes that it can hold", counts.capacity_bytes);
    let help = "Messages that were taken from the buffer and are not stored yet";
    page.single("butler_udp_pending", Kind::Gauge, help, counts.pending);
    if let Some(used) = counts.per_minute {
        let help = "Messages of the current minute that `udp.maxPerMinute` counts";
        page.single("butler_udp_minute_used", Kind::Gauge, help, used);
    }
    if let Some(took) = counts.took {
        let name = "butler_udp_processing_seconds";
        page.metric(name, Kind::Gauge, "Time from receipt to store of the last 1,000 messages");
        for (figure, time) in [("average", took.average), ("p95", took.p95), ("max", took.max)] {
            page.sample(name, &[("figure", figure)], time.as_secs_f64());
        }
    }
}

async fn store(page: &mut Exposition, context: &Context) {
    let trouble = u8::from(context.store.trouble().is_some());
    page.single("butler_store_trouble", Kind::Gauge, "1 while the store cannot be written", trouble);
    match context.store.accepted_count().await {
        Ok(count) => page.single("butler_events_waiting", Kind::Gauge, "Events that wait for their facts", count),
        // The rest of the page is still worth having.
        Err(error) => tracing::warn!(%error, "waiting events cannot be counted"),
    }
    let mut depths: BTreeMap<String, (i64, i64)> =
        context.instances().iter().map(|instance| (instance.name().to_owned(), (0, 0))).collect();
    match context.store.queue_depths().await {
        Ok(known) => depths.extend(known.into_iter().map(|depth| (depth.instance, (depth.open, depth.dead)))),
        Err(error) => {
            tracing::warn!(%error, "queues cannot be counted");
            return;
        }
    }
    page.metric("butler_deliveries_open", Kind::Gauge, "Deliveries that wait or are under way");
    for (instance, (open, _)) in &depths {
        page.sample("butler_deliveries_open", &[("instance", instance)], open);
    }
    page.metric("butler_deliveries_dead", Kind::Gauge, "Dead deliveries that are still kept");
    for (instance, (_, dead)) in &depths {
        page.sample("butler_deliveries_dead", &[("instance", instance)], dead);
    }
}

fn instances(page: &mut Exposition, context: &Context) {
    let instances = context.instances();
    if instances.is_empty() {
        return;
    }
    page.metric("butler_instance_up", Kind::Gauge, "Whether the instance runs");
    for instance in &*instances {
        let labels = [("instance", instance.name()), ("plugin", instance.manifest().name.as_str())];
        page.sample("butler_instance_up", &labels, u8::from(instance.condition() == Condition::Running));
    }
    let help = "Threads that the plugin blocked and that were given up: they are there until Butler ends";
    page.metric("butler_instance_abandoned_threads", Kind::Gauge, help);
    for instance in &*instances {
        let labels = [("instance", instance.name())];
        page.sample("butler_instance_abandoned_threads", &labels, instance.abandoned_threads());
    }
    let help = "Events of the instance that go to nobody, since they end a chain of events that is too long";
    page.metric("butler_chains_cut_total", Kind::Counter, help);
    for instance in &*instances {
        page.sample("butler_chains_cut_total", &[("instance", instance.name())], instance.chains_cut());
    }
    let counters: [(&str, &str, Count); 3] = [
        ("butler_deliveries_delivered_total", "Deliveries that arrived", |counts| {
            counts.delivered.load(Ordering::Relaxed)
        }),
        ("butler_deliveries_retried_total", "Attempts that failed and are repeated", |counts| {
            counts.retried.load(Ordering::Relaxed)
        }),
        ("butler_deliveries_died_total", "Deliveries that were given up", |counts| counts.dead.load(Ordering::Relaxed)),
    ];
    for (name, help, count) in counters {
        page.metric(name, Kind::Counter, help);
        for instance in &*instances {
            let instance: &Instance = instance;
            page.sample(name, &[("instance", instance.name())], count(&instance.statistics));
        }
    }
}

// Secrets are hidden in labels, not in the page: a number of them would make it unreadable.

fn tasks(page: &mut Exposition, mut tasks: BTreeMap<String, TaskState>, secrets: &Secrets) {
    if tasks.is_empty() {
        return;
    }
    for task in tasks.values_mut() {
        task.name = secrets.redact(&task.name).into_owned();
    }
    page.metric("butler_task_state", Kind::Gauge, "1 for the outcome of the task's last run");
    for (id, task) in &tasks {
        let other = (!OUTCOMES.contains(&task.outcome.as_str())).then_some(task.outcome.as_str());
        for state in OUTCOMES.into_iter().chain(other) {
            let labels = [("task_id", id.as_str()), ("task_name", task.name.as_str()), ("state", state)];
            page.sample("butler_task_state", &labels, u8::from(state == task.outcome));
        }
    }
    let times: [(&str, &str, Time); 3] = [
        ("butler_task_last_run_timestamp_seconds", "End of the task's last run, since 1970", |task| Some(task.last_ms)),
        ("butler_task_last_success_timestamp_seconds", "End of the task's last successful run, since 1970", |task| {
            task.last_success_ms
        }),
        ("butler_task_last_run_duration_seconds", "Duration of the task's last run", |task| task.duration_ms),
    ];
    for (name, help, time) in times {
        page.metric(name, Kind::Gauge, help);
        for (id, task) in &tasks {
            if let Some(ms) = time(task) {
                page.sample(name, &[("task_id", id), ("task_name", &task.name)], seconds(ms));
            }
        }
    }
}

/// Metrics of plugins, each name once.
fn plugins(page: &mut Exposition, series: Vec<Series>, secrets: &Secrets) {
    let mut families: BTreeMap<String, (bool, BTreeMap<Labels, f64>)> = BTreeMap::new();
    for one in series {
        let (_, samples) = families.entry(one.name).or_insert_with(|| (one.counter, BTreeMap::new()));
        // Labels that differed in a secret only may meet: the first stays.
        let labels = one.labels.into_iter().map(|(label, text)| (label, secrets.redact(&text).into_owned()));
        samples.entry(labels.collect()).or_insert(one.value);
    }
    for (name, (counter, samples)) in families {
        page.metric(&name, if counter { Kind::Counter } else { Kind::Gauge }, "Kept by a plugin");
        for (labels, value) in samples {
            let labels: Vec<(&str, &str)> =
                labels.iter().map(|(label, text)| (label.as_str(), text.as_str())).collect();
            page.sample(&name, &labels, number(value));
        }
    }
}

/// As Prometheus writes numbers that are none.
fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_plugins_are_told_without_secrets() {
        let series = |name: &str, counter, instance: &str, value| Series {
            name: format!("butler_plugin_chat_{name}"),
            counter,
            labels: BTreeMap::from([("instance".to_owned(), instance.to_owned())]),
            value,
        };
        let mut page = Exposition::default();
        plugins(
            &mut page,
            vec![
                series("sent_total", true, "a", 3.0),
                series("sent_total", true, "b", 4.0),
                series("size_bytes", false, "a", f64::INFINITY),
                series("size_bytes", false, "b-s3cret-1", 1_234_567.0),
                series("size_bytes", false, "b-s3cret-2", 2.0),
            ],
            &Secrets::new(["s3cret-1".to_owned(), "s3cret-2".to_owned(), "234567".to_owned()]),
        );
        let text = page.finish().replace("butler_plugin_chat_", "");
        assert_eq!(
            text,
            "# HELP sent_total Kept by a plugin\n# TYPE sent_total counter\n\
             sent_total{instance=\"a\"} 3\nsent_total{instance=\"b\"} 4\n\
             # HELP size_bytes Kept by a plugin\n# TYPE size_bytes gauge\n\
             size_bytes{instance=\"a\"} +Inf\nsize_bytes{instance=\"b-[redacted]\"} 1234567\n"
        );
    }

    #[test]
    fn a_task_has_one_state_of_all_and_only_times_that_are_known() {
        let state = TaskState {
            name: "Sales \"nightly\"".to_owned(),
            outcome: "failed".to_owned(),
            last_ms: 1_700_000_000_500,
            last_success_ms: None,
            duration_ms: Some(1500),
        };
        let mut page = Exposition::default();
        tasks(&mut page, BTreeMap::from([("t1".to_owned(), state)]), &Secrets::default());
        let text = page.finish();
        let labels = "task_id=\"t1\",task_name=\"Sales \\\"nightly\\\"\"";
        for line in [
            format!("butler_task_state{{{labels},state=\"failed\"}} 1"),
            format!("butler_task_state{{{labels},state=\"aborted\"}} 0"),
            format!("butler_task_last_run_timestamp_seconds{{{labels}}} 1700000000.5"),
            format!("butler_task_last_run_duration_seconds{{{labels}}} 1.5"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("butler_task_last_success_timestamp_seconds{"));
    }
}
