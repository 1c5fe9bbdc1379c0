//! The queue of one instance: claims what is due, hands it over, settles the outcomes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use butler_plugin_api::{Delivery, Outcome};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::JoinSet;

use super::backoff::next_attempt;
use super::queues::{Queues, Straight};
use crate::plugins::{Condition, Instance};
use crate::stop::stopping;
use crate::store::{Claimed, Released, Settled, Settlement, Store, StoreError, now_ms, rfc3339, waiting_ms, wall_ms};

/// An event older than this is told as late.
const LATE_MS: i64 = 5 * 60 * 1000;
/// Longest progress that is kept.
const MAX_PROGRESS: usize = 16 << 10;
/// Outcomes that wait to be stored.
const OUTCOMES: usize = 256;
/// A claimed delivery is handed out within this time or given back.
const LONGEST_AHEAD: Duration = Duration::from_secs(30);
/// What a lease lasts beyond the deadline of a call: the time ahead of it and the time to store its outcome.
const LEASE_RESERVE_MS: i64 = 120_000;
/// Looked after at least so often, whatever was announced.
const ROUND: Duration = Duration::from_secs(30);
/// While the store is in trouble, it is looked so often whether it still is.
const TROUBLE_ROUND: Duration = Duration::from_millis(500);

/// The queue of one instance.
pub struct Queue {
    instance: Arc<Instance>,
    store: Store,
    queues: Queues,
    /// Told of deliveries and events that settling set free.
    released: Box<dyn Fn(Released) + Send + Sync>,
}

/// Claimed deliveries that wait for a free place.
#[derive(Default)]
struct Ahead {
    claimed: VecDeque<Waiting>,
    /// There may be more to claim.
    more: bool,
    /// When the next one is due, ms since 1970 by [`waiting_ms`].
    due: Option<i64>,
}

struct Waiting {
    claimed: Claimed,
    since: Instant,
    /// Its place on the short way, if it came so.
    _place: Option<OwnedSemaphorePermit>,
}

impl Ahead {
    fn arrived(&mut self, straight: Straight) {
        let Straight { claimed, place } = straight;
        self.claimed.push_back(Waiting { claimed, since: Instant::now(), _place: Some(place) });
    }

    /// Whether the next one has become due: arrivals that do not pause must not keep the timer from saying so.
    fn look(&mut self, now: i64) {
        self.more |= self.due.is_some_and(|due| due <= now);
    }

    /// How long there is nothing to claim, if nobody wakes the queue. What cannot be claimed yet waits for a free place or
    /// for the instance, not for a time.
    fn wait(&self, now: i64) -> Duration {
        let due = self.due.filter(|_| !self.more);
        due.map_or(ROUND, |due| Duration::from_millis((due - now).max(1).unsigned_abs()))
    }
}

impl Queue {
    /// The queue of an instance, which `queues` has.
    pub fn new(
        instance: Arc<Instance>,
        store: Store,
        queues: Queues,
        released: impl Fn(Released) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { instance, store, queues, released: Box::new(released) })
    }

    /// Works until `stop`; then hands out no more, and ends when what is in flight has ended and is settled. At `cut` what is
    /// in flight counts as failed.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>, mut cut: watch::Receiver<bool>) {
        let (outcomes, settling) = mpsc::channel(OUTCOMES);
        let settling = tokio::spawn(self.clone().settle_all(settling));
        let wake = self.queues.add(self.instance.name());
        let mut arrivals = self.queues.intake(self.instance.name(), self.lease_ms());
        let mut condition = self.instance.watch();
        let mut flying = JoinSet::new();
        let mut ahead = Ahead { more: true, ..Ahead::default() };
        let concurrency = self.instance.manifest().concurrency as usize;
        let batch = self.instance.manifest().batch.max as usize;
        while !*stop.borrow() {
            let running = *condition.borrow_and_update() == Condition::Running;
            self.return_old(&mut ahead, &outcomes).await;
            ahead.look(waiting_ms());
            // What is claimed already waits as well: an outcome that cannot be stored is an alert that comes twice.
            let held = self.store.trouble().is_some();
            while running && !held && flying.len() < concurrency && !ahead.claimed.is_empty() {
                let deliveries: Vec<_> =
                    ahead.claimed.drain(..batch.min(ahead.claimed.len())).map(|one| one.claimed).collect();
                flying.spawn(self.clone().hand_over(deliveries, outcomes.clone(), cut.clone()));
            }
            if running && ahead.more && ahead.claimed.len() < concurrency * batch {
                match self.claim(&mut ahead).await {
                    Ok(()) if !held && !ahead.claimed.is_empty() && flying.len() < concurrency => continue,
                    Ok(()) => {}
                    Err(StoreError::Closed) => break,
                    Err(error) => {
                        tracing::error!(instance = self.instance.name(), %error, "the queue cannot be read");
                    }
                }
            }
            // The short way is for those that overtake nobody. Those of one order key are handed out by the store alone.
            arrivals.set_open(running && !held && !ahead.more && !self.instance.manifest().ordered);
            let wait = ahead.wait(waiting_ms());
            tokio::select! {
                () = stopping(&mut stop) => {}
                () = wake.notified() => ahead.more = true,
                Some(straight) = arrivals.straight.recv() => {
                    ahead.arrived(straight);
                    while let Ok(straight) = arrivals.straight.try_recv() {
                        ahead.arrived(straight);
                    }
                }
                changed = condition.changed() => ahead.more |= changed.is_ok(),
                Some(_) = flying.join_next() => while flying.try_join_next().is_some() {},
                () = tokio::time::sleep(wait.min(if held { TROUBLE_ROUND } else { ROUND })) => ahead.more = true,
            }
        }
        arrivals.close();
        while let Ok(straight) = arrivals.straight.try_recv() {
            ahead.arrived(straight);
        }
        for Waiting { claimed, .. } in ahead.claimed {
            let back = Settled { id: claimed.id, token: claimed.token, settlement: Settlement::Return };
            let _ = outcomes.send(back).await;
        }
        let all = async { while flying.join_next().await.is_some() {} };
        tokio::select! {
            () = all => {}
            () = stopping(&mut cut) => {
                tracing::warn!(
                    instance = self.instance.name(),
                    calls = flying.len(),
                    "deliveries did not end before the stop; they are repeated"
                );
                while flying.join_next().await.is_some() {}
            }
        }
        drop(outcomes);
        let _ = settling.await;
    }

    /// Claims ahead, so that a free place does not wait for a commit.
    async fn claim(&self, ahead: &mut Ahead) -> Result<(), StoreError> {
        let manifest = self.instance.manifest();
        let limit = manifest.concurrency.saturating_mul(manifest.batch.max).saturating_mul(2).clamp(64, 2000);
        let claimed = self.store.claim(self.instance.name(), limit, manifest.ordered, self.lease_ms()).await?;
        ahead.more = claimed.len() >= limit as usize;
        let since = Instant::now();
        ahead.claimed.extend(claimed.into_iter().map(|claimed| Waiting { claimed, since, _place: None }));
        ahead.due = if ahead.more { None } else { self.store.next_due(self.instance.name(), manifest.ordered).await? };
        Ok(())
    }

    fn lease_ms(&self) -> i64 {
        i64::from(self.instance.manifest().deadline_seconds) * 1000 + LEASE_RESERVE_MS
    }

    /// Gives back what waited so long that its lease could run out before an outcome is there.
    async fn return_old(&self, ahead: &mut Ahead, outcomes: &mpsc::Sender<Settled>) {
        while ahead.claimed.front().is_some_and(|one| one.since.elapsed() > LONGEST_AHEAD) {
            if let Some(Waiting { claimed, .. }) = ahead.claimed.pop_front() {
                let back = Settled { id: claimed.id, token: claimed.token, settlement: Settlement::Return };
                // Fails only when settling has ended, with the store.
                let _ = outcomes.send(back).await;
                ahead.more = true;
            }
        }
    }

    async fn hand_over(
        self: Arc<Self>,
        claimed: Vec<Claimed>,
        settling: mpsc::Sender<Settled>,
        mut cut: watch::Receiver<bool>,
    ) {
        let now = now_ms();
        let deliveries = claimed
            .iter()
            .map(|claimed| {
                let late = now - claimed.event_time;
                Delivery {
                    delivery_id: self.store.delivery_id(claimed.id),
                    attempt: claimed.attempt,
                    first_attempt_at: rfc3339(wall_ms(claimed.first_attempt)),
                    late_seconds: (late > LATE_MS).then_some((late / 1000).unsigned_abs()),
                    suppressed: claimed.suppressed,
                    progress: claimed.progress.clone(),
                    event: claimed.event.clone(),
                }
            })
            .collect();
        let outcomes = tokio::select! {
            outcomes = self.instance.deliver(deliveries) => outcomes,
            () = stopping(&mut cut) => {
                for Claimed { id, token, .. } in claimed {
                    // It may have arrived. Whoever is next in its order does not wait for the end of the lease.
                    let error = "its instance was stopped before there was an outcome".to_owned();
                    let settlement = Settlement::Retry { due: waiting_ms(), error, progress: None };
                    let _ = settling.send(Settled { id, token, settlement }).await;
                }
                return;
            }
        };
        for (claimed, outcome) in claimed.iter().zip(outcomes) {
            // Fails only when settling has ended, with the store: then the lease is freed at the next start.
            let _ = settling.send(self.settlement(claimed, outcome)).await;
        }
    }

    /// Stores outcomes in groups. While the store is in trouble they wait here, and nothing more is handed out.
    async fn settle_all(self: Arc<Self>, mut outcomes: mpsc::Receiver<Settled>) {
        let mut group = Vec::with_capacity(OUTCOMES);
        while outcomes.recv_many(&mut group, OUTCOMES).await > 0 {
            let open = group.iter().any(|one| matches!(one.settlement, Settlement::Retry { .. } | Settlement::Return));
            match self.store.settle(std::mem::take(&mut group)).await {
                Ok(released) => {
                    if released != Released::default() {
                        (self.released)(released);
                    }
                    if open || self.instance.manifest().ordered {
                        // There is a new time to wait for, or the next one of an order key is free.
                        self.queues.wake(self.instance.name());
                    }
                }
                Err(StoreError::Closed) => return,
                // The leases run out, and the deliveries come again.
                Err(error) => tracing::error!(instance = self.instance.name(), %error, "outcomes cannot be stored"),
            }
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
            Outcome::Retry { message, after_ms, progress, .. } => self.retry(claimed, &id, message, after_ms, progress),
            Outcome::Reject { message } => {
                statistics.note(Some(&message));
                self.dead(claimed, &id, message)
            }
            // None of this version.
            other => {
                self.retry(claimed, &id, format!("an outcome that this Butler does not know: {other:?}"), None, None)
            }
        };
        Settled { id: claimed.id, token: claimed.token, settlement }
    }

    fn retry(
        &self,
        claimed: &Claimed,
        id: &str,
        message: String,
        after_ms: Option<u64>,
        progress: Option<Value>,
    ) -> Settlement {
        self.instance.statistics.note(Some(&message));
        let progress = progress.filter(|progress| self.keeps(progress));
        let retry = &self.instance.entry().retry;
        match next_attempt(retry, claimed.attempt, claimed.first_attempt, waiting_ms(), after_ms, random()) {
            Some(due) => {
                self.instance.statistics.retried.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    instance = self.instance.name(),
                    delivery = id,
                    event = claimed.event.id,
                    attempt = claimed.attempt,
                    next = rfc3339(wall_ms(due)),
                    error = message,
                    "not delivered yet: {}",
                    claimed.event.kind
                );
                Settlement::Retry { due, error: message, progress }
            }
            None => self.dead(claimed, id, format!("given up after {} attempts; the last: {message}", claimed.attempt)),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_falls_due_is_claimed_though_arrivals_do_not_pause() {
        let mut ahead = Ahead { due: Some(1000), ..Ahead::default() };
        ahead.look(999);
        assert!(!ahead.more);
        assert_eq!(ahead.wait(999), Duration::from_millis(1));
        // The timer of the last round was dropped by an arrival.
        ahead.look(1000);
        assert!(ahead.more);
    }

    #[test]
    fn what_is_due_and_cannot_be_claimed_yet_does_not_keep_the_queue_turning() {
        let ahead = Ahead { due: Some(1000), more: true, ..Ahead::default() };
        assert_eq!(ahead.wait(5000), ROUND);
    }
}
