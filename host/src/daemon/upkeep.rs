//! What is done by the clock: leases taken back, old events removed, jumps of the wall clock noticed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

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

/// What is removed by its age is gone for good: for so long a clock that jumped ahead is not believed.
const DOUBT: Duration = Duration::from_hours(6);

/// How far the wall clock may be wrong.
#[derive(Default)]
struct Doubt {
    ahead_ms: i64,
    until: Option<Instant>,
}

impl Doubt {
    fn jumped(&mut self, by_ms: i64, now: Instant) {
        self.ahead_ms = self.ahead_ms(now).saturating_add(by_ms).max(0);
        if by_ms > 0 {
            self.until = Some(now + DOUBT);
        }
    }

    /// How far it jumped ahead lately and was not set back since.
    fn ahead_ms(&self, now: Instant) -> i64 {
        self.until.filter(|until| now < *until).map_or(0, |_| self.ahead_ms)
    }
}

/// Works until `stop`.
pub async fn run(
    store: Store,
    config: Arc<Current<Config>>,
    queues: Queues,
    released: impl Fn(Released),
    mut stop: watch::Receiver<bool>,
) {
    let mut ticks: u32 = 0;
    let mut doubt = Doubt::default();
    loop {
        tokio::select! {
            () = stopping(&mut stop) => return,
            () = tokio::time::sleep(TICK) => {}
        }
        match store.follow_clock().await {
            Ok(None) => {}
            Ok(Some(jump)) => {
                doubt.jumped(jump, Instant::now());
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
            remove_old(&store, &config.get(), doubt.ahead_ms(Instant::now()), &stop).await;
        }
    }
}

async fn remove_old(store: &Store, config: &Config, ahead_ms: i64, stop: &watch::Receiver<bool>) {
    let (mut events, mut logs, mut place) = (0, 0, Place::default());
    while !*stop.borrow() {
        let limits = Limits {
            now: now_ms() - ahead_ms,
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
    if ahead_ms > 0 {
        tracing::info!(seconds = ahead_ms / 1000, "what is old is told by the time before the jump of the wall clock");
    }
    if events + logs > 0 {
        tracing::info!(events, script_logs = logs, "old events removed");
    }
    if let Some(overfull) = store.overfull() {
        tracing::warn!("the store {overfull}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumped_ahead_is_not_believed_for_some_hours() {
        let (mut doubt, now) = (Doubt::default(), Instant::now());
        assert_eq!(doubt.ahead_ms(now), 0);
        doubt.jumped(5000, now);
        assert_eq!(doubt.ahead_ms(now), 5000);
        doubt.jumped(-4000, now);
        assert_eq!(doubt.ahead_ms(now), 1000);
        doubt.jumped(-4000, now);
        assert_eq!(doubt.ahead_ms(now), 0, "a clock that was set back makes nothing old");
        doubt.jumped(5000, now);
        assert_eq!(doubt.ahead_ms(now + DOUBT), 0, "the time may be right after all");
        doubt.jumped(7000, now + DOUBT);
        assert_eq!(doubt.ahead_ms(now + DOUBT), 7000);
    }
}
