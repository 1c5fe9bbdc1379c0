//! The queue of one instance: claims what is due, hands it over, settles the outcomes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use butler_plugin_api::{Delivery, Outcome};
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::backoff::next_attempt;
use crate::plugins::{Condition, Instance};
use crate::stop::stopping;
use crate::store::{Claimed, Released, Settled, Settlement, Store, StoreError, now_ms, rfc3339};

/// An event older than this is told as late.
const LATE_MS: i64 = 5 * 60 * 1000;
/// Longest progress that is kept.
const MAX_PROGRESS: usize = 16 << 10;
/// Looked after at least so often, whatever was announced.
const ROUND: Duration = Duration::from_secs(30);

/// The queue of one instance.
pub struct Queue {
    instance: Arc<Instance>,
    store: Store,
    wake: Arc<Notify>,
    /// Told of deliveries and events that settling set free.
    released: Box<dyn Fn(Released) + Send + Sync>,
}

impl Queue {
    /// A queue; `wake` is notified when a delivery was made for it.
    pub fn new(
        instance: Arc<Instance>,
        store: Store,
        wake: Arc<Notify>,
        released: impl Fn(Released) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { instance, store, wake, released: Box::new(released) })
    }

    /// Works until `stop`; then claims no more, and ends when what is in flight has ended.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut condition = self.instance.watch();
        let mut flying = JoinSet::new();
        let concurrency = self.instance.manifest().concurrency as usize;
        while !*stop.borrow() {
            let mut due = None;
            if flying.len() < concurrency && *condition.borrow_and_update() == Condition::Running {
                match self.claim(concurrency - flying.len()).await {
                    Ok(claimed) if claimed.is_empty() => due = self.next_due().await.ok().flatten(),
                    Ok(claimed) => {
                        let batch = self.instance.manifest().batch.max as usize;
                        let mut claimed = claimed.into_iter().peekable();
                        while claimed.peek().is_some() {
                            let deliveries: Vec<_> = claimed.by_ref().take(batch).collect();
                            flying.spawn(self.clone().hand_over(deliveries));
                        }
                        continue;
                    }
                    Err(StoreError::Closed) => break,
                    Err(error) => {
                        tracing::error!(instance = self.instance.name(), %error, "the queue cannot be read");
                    }
                }
            }
            let wait =
                due.map_or(ROUND, |due| Duration::from_millis((due - now_ms()).max(1).unsigned_abs())).min(ROUND);
            tokio::select! {
                () = stopping(&mut stop) => {}
                () = self.wake.notified() => {}
                _ = condition.changed() => {}
                Some(_) = flying.join_next() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        while flying.join_next().await.is_some() {}
    }

    async fn next_due(&self) -> Result<Option<i64>, StoreError> {
        self.store.next_due(self.instance.name(), self.instance.manifest().ordered).await
    }

    async fn claim(&self, free: usize) -> Result<Vec<Claimed>, StoreError> {
        let manifest = self.instance.manifest();
        let limit = u32::try_from(free).unwrap_or(1).saturating_mul(manifest.batch.max);
        let lease_ms = i64::from(manifest.deadline_seconds) * 1000 + 60_000;
        self.store.claim(self.instance.name(), limit, manifest.ordered, lease_ms).await
    }

    async fn hand_over(self: Arc<Self>, claimed: Vec<Claimed>) {
        let now = now_ms();
        let deliveries = claimed
            .iter()
            .map(|claimed| {
                let late = now - claimed.event_time;
                Delivery {
                    delivery_id: self.store.delivery_id(claimed.id),
                    attempt: claimed.attempt,
                    first_attempt_at: rfc3339(claimed.first_attempt),
                    late_seconds: (late > LATE_MS).then_some((late / 1000).unsigned_abs()),
                    suppressed: claimed.suppressed,
                    progress: claimed.progress.clone(),
                    event: claimed.event.clone(),
                }
            })
            .collect();
        let outcomes = self.instance.deliver(deliveries).await;
        let settled =
            claimed.iter().zip(outcomes).map(|(claimed, outcome)| self.settlement(claimed, outcome)).collect();
        match self.store.settle(settled).await {
            Ok(released) => {
                if released != Released::default() {
                    (self.released)(released);
                }
            }
            // The lease runs out, and the delivery comes again.
            Err(StoreError::Closed) => {}
            Err(error) => tracing::error!(instance = self.instance.name(), %error, "outcomes cannot be stored"),
        }
    }

    fn settlement(&self, claimed: &Claimed, outcome: Outcome) -> Settled {
        let (statistics, name) = (&self.instance.statistics, self.instance.name());
        let id = self.store.delivery_id(claimed.id);
        let settlement = match outcome {
            Outcome::Delivered => {
                statistics.delivered.fetch_add(1, Ordering::Relaxed);
                statistics.note(None);
                tracing::debug!(
                    instance = name,
                    delivery = id,
                    event = claimed.event.id,
                    attempt = claimed.attempt,
                    "delivered"
                );
                Settlement::Delivered
            }
            Outcome::Retry { message, after_ms, progress, .. } => {
                statistics.note(Some(&message));
                let progress = progress.filter(|progress| self.keeps(progress));
                let retry = &self.instance.entry().retry;
                match next_attempt(retry, claimed.attempt, claimed.first_attempt, now_ms(), after_ms, random()) {
                    Some(due) => {
                        statistics.retried.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(
                            instance = name,
                            delivery = id,
                            event = claimed.event.id,
                            attempt = claimed.attempt,
                            next = rfc3339(due),
                            error = message,
                            "not delivered yet: {}",
                            claimed.event.kind
                        );
                        Settlement::Retry { due, error: message, progress }
                    }
                    None => self.dead(
                        claimed,
                        &id,
                        format!("given up after {} attempts; the last: {message}", claimed.attempt),
                    ),
                }
            }
            Outcome::Reject { message } => {
                statistics.note(Some(&message));
                self.dead(claimed, &id, message)
            }
        };
        Settled { id: claimed.id, token: claimed.token, settlement }
    }

    fn dead(&self, claimed: &Claimed, id: &str, error: String) -> Settlement {
        self.instance.statistics.dead.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            instance = self.instance.name(),
            delivery = id,
            event = claimed.event.id,
            error,
            "delivery is dead: {}; `butler deliveries retry {id}` sends it again",
            claimed.event.summary()
        );
        Settlement::Dead { error }
    }

    fn keeps(&self, progress: &Value) -> bool {
        let keeps = progress.to_string().len() <= MAX_PROGRESS;
        if !keeps {
            tracing::warn!(
                instance = self.instance.name(),
                "the plugin's progress is longer than 16 KB and is not kept"
            );
        }
        keeps
    }
}

/// Between 0 and 1.
fn random() -> f64 {
    let mut bytes = [0_u8; 4];
    // Without randomness the waits lose their jitter, no more.
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}
