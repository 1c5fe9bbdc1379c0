//! What is done by the clock: leases taken back, old events removed, jumps of the wall clock noticed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::parts::NODES;

use crate::config::Config;
use crate::current::Current;
use crate::delivery::Queues;
use crate::observe::Roads;
use crate::stop::stopping;
use crate::store::{Limits, Place, Released, Store, StoreError, now_ms};

/// The clocks are compared so often: until then a wait may end too early or last too long.
const TICK: Duration = if cfg!(test) { Duration::from_millis(5) } else { Duration::from_secs(1) };
const ROUND_TICKS: u32 = 15;
/// Rounds between two removals of old events.
const RETENTION_ROUNDS: u32 = 20;

/// After a start, what is too old may still be delivered in this time: Butler itself may have been away.
const CHANCE: Duration = if cfg!(test) { Duration::from_millis(500) } else { Duration::from_hours(1) };
/// Others first: a flood of events must not wait for the broom.
const YIELD: Duration = Duration::from_millis(20);
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
    roads: Arc<Roads>,
    released: impl Fn(Released),
    mut stop: watch::Receiver<bool>,
) {
    let mut ticks: u32 = 0;
    let (begun, mut doubt) = (Instant::now(), Doubt::default());
    loop {
        tokio::select! {
            () = stopping(&mut stop) => return,
            () = tokio::time::sleep(TICK) => {}
        }
        match store.follow_clock().await {
            Ok(None) => {}
            Ok(Some(jump)) => {
                doubt.jumped(jump, Instant::now());
                tracing::warn!(seconds = jump / 1000, "the wall clock has jumped; waits keep their length");
            }
            Err(StoreError::Closed) => return,
            Err(error) => tracing::error!(%error, "a jump of the wall clock cannot be kept for the next start"),
        }
        ticks = ticks.wrapping_add(1);
        if !ticks.is_multiple_of(ROUND_TICKS) {
            continue;
        }
        // What was being routed during a reload may be for an instance that it removed.
        match store.park(queues.names()).await {
            Ok(_) => {}
            Err(StoreError::Closed) => return,
            Err(error) => tracing::error!(%error, "deliveries without an instance cannot be parked"),
        }
        match store.tend().await {
            Ok(tended) => released(tended),
            Err(StoreError::Closed) => return,
            Err(error) => tracing::error!(%error, "the store cannot be tended"),
        }
        roads.follow_clock(now_ms());
        if let Some(nodes) = roads.changed()
            && let Err(error) = store.keep(NODES, &nodes).await
        {
            tracing::debug!(%error, "when nodes were heard of is not kept");
        }
        if ticks == ROUND_TICKS
            || ticks.is_multiple_of(ROUND_TICKS * RETENTION_ROUNDS)
            || store.is_short_of_room().await
        {
            if begun.elapsed() >= CHANCE {
                expire(&store, &config.get(), &released, &stop).await;
            }
            remove_old(&store, &config.get(), doubt.ahead_ms(Instant::now()), &stop).await;
        }
    }
}

/// Buries what has waited for longer than events are kept, and longer than any instance may try.
async fn expire(store: &Store, config: &Config, released: &impl Fn(Released), stop: &watch::Receiver<bool>) {
    let tries = config.plugins.iter().map(|entry| entry.retry.max_age.millis()).max().unwrap_or_default();
    let age = config.store.keep.millis().max(tries);
    let mut expired = 0;
    while !*stop.borrow() {
        match store.expire(age).await {
            Ok((0, _)) | Err(StoreError::Closed) => break,
            Ok((some, freed)) => {
                expired += some;
                released(freed);
            }
            Err(error) => {
                tracing::error!(%error, "deliveries that are too old cannot be ended");
                break;
            }
        }
        tokio::time::sleep(YIELD).await;
    }
    if expired > 0 {
        tracing::error!(
            deliveries = expired,
            "deliveries are dead: they waited longer than events are kept (`store.keep`); `butler deliveries` shows them"
        );
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
            Err(StoreError::Closed) => break,
            Err(error) => {
                tracing::error!(%error, "old events cannot be removed");
                break;
            }
        }
        tokio::time::sleep(YIELD).await;
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
    use butler_plugin_api::kind;
    use sqlx::Connection as _;

    use super::*;
    use crate::store::{NewDelivery, NewEvent, Routed};

    #[tokio::test]
    async fn what_nobody_takes_is_ended_once_there_was_time_to_take_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.db");
        let store = Store::open(&path).await.unwrap();
        let kind = kind::RELOAD_TASK_FAILED.to_owned();
        let (source, data) = ("udp".to_owned(), butler_plugin_api::Data::default());
        let event = NewEvent { kind: kind.clone(), time: 0, received: now_ms(), source, keys: Vec::new(), data };
        let seq = store.accept(vec![event]).await.unwrap()[0].seq();
        let (instance, data) = ("x".to_owned(), "{}".to_owned());
        let deliveries = vec![NewDelivery { instance, order_key: None, throttle: None, unknown: None, lease_ms: None }];
        let routed = Routed { seq, kind, time: 0, task: None, data, keys: Vec::new(), deliveries, script_log: None };
        store.route(vec![routed]).await.unwrap();
        let mut connection = sqlx::SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
        sqlx::raw_sql("UPDATE deliveries SET created = 0").execute(&mut connection).await.unwrap();
        let config: Config = serde_json::from_value(serde_json::json!({ "version": 1, "plugins": [] })).unwrap();
        let (config, queues) = (Arc::new(Current::new(config)), Queues::default());
        queues.add("x");
        let (stop, stopping) = watch::channel(false);
        let begun = Instant::now();
        let released = |released: Released| {
            if released.noticed {
                stop.send_replace(true);
            }
        };
        run(store, config, queues, Arc::default(), released, stopping).await;
        assert!(begun.elapsed() >= CHANCE, "the first round comes before");
        let state: i64 = sqlx::query_scalar("SELECT state FROM deliveries").fetch_one(&mut connection).await.unwrap();
        assert_eq!(state, 3);
    }

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
