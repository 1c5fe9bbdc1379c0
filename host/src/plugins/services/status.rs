//! The service `status`: how Butler is doing.

use std::collections::BTreeMap;
use std::time::Duration;

use butler_plugin_api::{HeardNode, Ingest, PartStatus, ServiceError, Status};
use serde_json::Value;

use super::Shared;
use crate::ingest;
use crate::observe::{self, Heard, Road};
use crate::store::{StoreError, now_ms, rfc3339};

/// So long the figures of the queues may take, which people's long queries hold up. The answer comes without them then.
const COUNTS: Duration = Duration::from_secs(1);

/// What the service answers.
pub(super) async fn answer(shared: &Shared) -> Result<Value, ServiceError> {
    let store = &shared.store;
    let (waiting, depths) = tokio::join!(in_time(store.accepted_count()), in_time(store.queue_depths()));
    let sum = |count: fn(&crate::store::QueueDepth) -> i64| {
        depths.as_ref().map(|depths| depths.iter().map(count).sum::<i64>().unsigned_abs())
    };
    let mut status = Status::default();
    env!("CARGO_PKG_VERSION").clone_into(&mut status.version);
    status.started_at = rfc3339(shared.started_ms);
    status.uptime_ms = u64::try_from(now_ms() - shared.started_ms).unwrap_or_default();
    let usage = observe::process_usage();
    (status.memory, status.cpu_ms) = (usage.memory, usage.cpu_ms);
    status.store = PartStatus::new(store.trouble());
    status.udp = shared.udp.as_ref().map(|udp| PartStatus::new(udp.trouble()));
    status.qlik = qlik(shared);
    status.ingest = shared.udp.as_ref().map(|udp| counters(udp));
    status.events_waiting = waiting.and_then(|count| u64::try_from(count).ok());
    status.deliveries_open = sum(|depth| depth.open);
    status.deliveries_dead = sum(|depth| depth.dead);
    status.nodes = shared.roads.nodes().into_iter().map(|(name, heard)| node(name, &heard)).collect();
    serde_json::to_value(status).map_err(|error| ServiceError::Failed(error.to_string()))
}

/// Qlik Sense, if the config has it.
fn qlik(shared: &Shared) -> Option<PartStatus> {
    let trouble = if let Some(lookups) = &shared.qlik {
        let state = lookups.repository().state();
        (!state.reachable).then(|| state.last_error.unwrap_or_default())
    } else {
        // `butler check` goes on without usable certificates. The daemon has no Qlik Sense before it is started anew with it.
        shared.config.get().qlik.as_ref().filter(|_| shared.only_looks)?;
        Some("the certificates of `qlik.certificates` cannot be used".to_owned())
    };
    Some(PartStatus::new(trouble.map(|text| shared.secrets.redact(&text).into_owned())))
}

async fn in_time<T>(count: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
    tokio::time::timeout(COUNTS, count).await.ok()?.ok()
}

fn counters(udp: &ingest::Running) -> Ingest {
    let counts = udp.snapshot();
    let by_reason = |counts: BTreeMap<&'static str, u64>| {
        counts.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect()
    };
    Ingest {
        received: counts.received,
        queued: counts.queued,
        queued_bytes: counts.queued_bytes,
        processed: counts.processed,
        duplicates: counts.duplicates,
        receive_errors: counts.receive_errors,
        dropped: by_reason(counts.dropped),
        rejected: by_reason(counts.rejected),
        buffered: counts.buffered as u64,
        buffered_bytes: counts.buffered_bytes as u64,
        capacity_bytes: Some(counts.capacity_bytes as u64),
        pending: Some(counts.pending),
        processing_average_us: counts.took.map(|took| micros(took.average)),
        processing_p95_us: counts.took.map(|took| micros(took.p95)),
        processing_max_us: counts.took.map(|took| micros(took.max)),
        per_minute: counts.per_minute.map(u64::from),
        kernel_drops: counts.kernel_drops,
        interval_ms: None,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn node(name: String, heard: &Heard) -> HeardNode {
    let mut node = HeardNode::new(name);
    node.udp = heard.get(&Road::Udp).copied().map(rfc3339);
    node.qrs = [Road::Qrs, Road::Notifications].iter().filter_map(|road| heard.get(road)).max().copied().map(rfc3339);
    node
}
