//! What is done by the clock: leases taken back, old events removed, jumps of the wall clock noticed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::Config;
use crate::current::Current;
use crate::delivery::Queues;
use crate::stop::stopping;
use crate::store::{Limits, Place, Released, Store, StoreError, now_ms};

/// The clocks are compared so often: until then a wait may end too early or last too long.
const TICK: Duration = Duration::from_secs(1);
const ROUND_TICKS: u32 = 15;
/// Rounds between two removals of old events.
const RETENTION_ROUNDS: u32 = 20;

/// Works until `stop`.
pub async fn run(
    store: Store,
    config: Arc<Current<Config>>,
    queues: Queues,
    released: impl Fn(Released),
    mut stop: watch::Receiver<bool>,
) {
    let mut ticks: u32 = 0;
    loop {
        tokio::select! {
            () = stopping(&mut stop) => return,
            () = tokio::time::sleep(TICK) => {}
        }
        match store.follow_clock().await {
            Ok(None) => {}
            Ok(Some(jump)) => {
                tracing::warn!(seconds = jump / 1000, "the wall clock has jumped; waiting times are adjusted");
            }
            Err(StoreError::Closed) => return,
            Err(error) => tracing::error!(%error, "waiting times cannot be adjusted to a jump of the wall clock"),
        }
        ticks = ticks.wrapping_add(1);
        if !ticks.is_multiple_of(ROUND_TICKS) {
            continue;
        }
        // What was being routed during a reload may be for an instance that it removed.
        if let Err(error) = store.park(queues.names()).await {
            tracing::error!(%error, "deliveries without an instance cannot be parked");
        }
        match store.tend().await {
            Ok(tended) => released(tended),
            Err(StoreError::Closed) => return,
            Err(error) => tracing::error!(%error, "the store cannot be tended"),
        }
        if ticks == ROUND_TICKS
            || ticks.is_multiple_of(ROUND_TICKS * RETENTION_ROUNDS)
            || store.is_short_of_room().await
        {
            remove_old(&store, &config.get(), &stop).await;
        }
    }
}

async fn remove_old(store: &Store, config: &Config, stop: &watch::Receiver<bool>) {
    let (mut events, mut logs, mut place) = (0, 0, Place::default());
    while !*stop.borrow() {
        let limits = Limits {
            now: now_ms(),
            keep_ms: config.store.keep.millis(),
            keep_logs_ms: config.script_log.keep.millis(),
            max_bytes: config.store.max_size.as_bytes(),
        };
        match store.remove_old(place, limits).await {
            Ok(removed) => {
                events += removed.events;
                logs += removed.logs;
                match removed.next {
                    Some(next) => place = next,
                    None => break,
                }
            }
            Err(error) => {
                tracing::error!(%error, "old events cannot be removed");
                break;
            }
        }
        // Others first: a flood of events must not wait for the broom.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if events + logs > 0 {
        tracing::info!(events, script_logs = logs, "old events removed");
    }
    if let Some(overfull) = store.overfull() {
        tracing::warn!("the store {overfull}");
    }
}
