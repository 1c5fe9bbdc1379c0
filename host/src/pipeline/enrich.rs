//! Finds out the facts of accepted events and routes them.
//!
//! Events are read from the store in the order of their numbers, a window of them at a time, so memory is bounded and a
//! crash loses nothing. Each waits for its facts by itself; a place for look-ups is taken only while one is made, so events
//! that wait for a dead Qlik Sense do not hold up others. What is ready is routed in batches.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use butler_plugin_api::{Data, Event, kind};
use serde_json::Value;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::router::Router;
use crate::config::Config;
use crate::current::Current;
use crate::delivery::{Queues, Ticket};
use crate::ingest::DISTRIBUTE_PENDING;
use crate::observe::TaskStates;
use crate::qlik::{Enriched, Lookups};
use crate::stop::stopping;
use crate::store::{Claimed, EventRow, NewScriptLog, Routed, Settled, Settlement, Store, StoreError, now_ms, rfc3339};

/// Events in memory at once.
const WINDOW: usize = 1000;
/// More are read when at least so many have a place.
const REFILL: usize = 250;
/// Events routed in one commit.
const ROUTE_BATCH: usize = 100;
/// An unfinished distribution is asked for again after this time.
const DISTRIBUTION_POLL: Duration = Duration::from_secs(30);
/// QRS writes results and logs late: so long it is asked again.
const RESULT_PATIENCE: Duration = Duration::from_secs(8);
/// Even an event whose time is over is looked up once.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);
/// Longest pause after which a store that cannot be read is read again.
const LONGEST_READ_PAUSE: Duration = Duration::from_mins(1);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What an [`Enricher`] is made of.
pub struct EnricherParts {
    /// The store.
    pub store: Store,
    /// Told when an event was accepted.
    pub accepted: Arc<Notify>,
    /// Qlik Sense, if the config has it.
    pub lookups: Option<Arc<Lookups>>,
    /// Time limits, and how script logs are kept.
    pub config: Arc<Current<Config>>,
    /// Routes.
    pub router: Arc<Current<Router>>,
    /// Told of deliveries that were made.
    pub queues: Queues,
    /// States of tasks, for metrics.
    pub tasks: Arc<TaskStates>,
}

/// Enriches and routes.
pub struct Enricher {
    parts: EnricherParts,
    places: Semaphore,
}

impl Enricher {
    /// An enricher that is not running yet.
    pub fn new(parts: EnricherParts) -> Arc<Self> {
        let places = Semaphore::new(parts.config.get().enrich.concurrency as usize);
        Arc::new(Self { parts, places })
    }

    /// Works until `stop`. Events that were not routed by then stay accepted, for the next start.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let (ready, queue) = mpsc::channel(ROUTE_BATCH);
        let routing = tokio::spawn(self.clone().route_all(queue));
        let mut waiting: JoinSet<()> = JoinSet::new();
        let mut turns = Turns::default();
        // There may be events that were not read yet.
        let mut more = true;
        let mut seen = 0;
        let mut pause = Duration::from_secs(1);
        while !*stop.borrow() {
            let free = WINDOW.saturating_sub(waiting.len());
            let mut rows = Vec::new();
            if more && free >= REFILL {
                rows = match self.parts.store.accepted_events(seen, u32::try_from(free).unwrap_or(1)).await {
                    Ok(rows) => rows,
                    Err(error) => {
                        tracing::error!(%error, again_in = ?pause, "accepted events cannot be read from the store");
                        tokio::select! {
                            () = stopping(&mut stop) => {}
                            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_READ_PAUSE),
                        }
                        continue;
                    }
                };
                more = rows.len() == free;
            }
            for row in rows {
                seen = row.seq;
                let (this, ready) = (self.clone(), ready.clone());
                let turn = turns.take(&row.event);
                waiting.spawn(async move {
                    let routed = this.enrich(row).await;
                    let _next = turn.mine().await;
                    if let Some(routed) = routed {
                        // Fails only when routing has ended: then the event stays accepted.
                        let _ = ready.send(routed).await;
                    }
                });
            }
            tokio::select! {
                () = stopping(&mut stop) => {}
                () = self.parts.accepted.notified() => more = true,
                Some(_) = waiting.join_next() => while waiting.try_join_next().is_some() {},
            }
        }
        waiting.shutdown().await;
        drop(ready);
        let _ = routing.await;
    }

    /// Finds out the facts and makes the deliveries.
    async fn enrich(&self, row: EventRow) -> Option<Ready> {
        let received: i64 = row.event.received_at.parse::<jiff::Timestamp>().ok()?.as_millisecond();
        let mut event = row.event;
        let mut keys = Vec::new();
        let mut script_log = None;
        let task_event =
            event.subject().ends_with("-task") && event.source != "butler" && !event.source.starts_with("instance:");
        if task_event || event.kind == kind::APP_RELOAD_FAILED {
            match &self.parts.lookups {
                Some(lookups) => {
                    let enriched = self.look_up(lookups, &event, received).await;
                    self.apply(&mut event, enriched, &mut keys, &mut script_log);
                }
                None => assume(&mut event),
            }
        }
        let deliveries = self.parts.router.get().route(&event);
        let time = event.time.parse::<jiff::Timestamp>().map_or(received, jiff::Timestamp::as_millisecond);
        drop_doubles(&mut event.data);
        let data = serde_json::to_string(&event.data).ok()?;
        self.parts.tasks.note(&event, time);
        event.time = rfc3339(time);
        let task = event.data.task.as_ref().map(|task| task.id.clone());
        let kind = event.kind.clone();
        let routed = Routed { seq: row.seq, kind, time, task, data, keys, deliveries, script_log };
        Some(Ready { routed, event })
    }

    /// Asks Qlik Sense until it has told everything, or the time for it is over.
    async fn look_up(&self, lookups: &Lookups, event: &Event, received: i64) -> Enriched {
        let outcome = event.outcome();
        let config = self.parts.config.get();
        let want_log = config.script_log.enabled
            && self.parts.router.get().wants_script_log()
            && (outcome == "failed" || outcome == "aborted" || outcome == "succeeded");
        // By the steady clock from here on: a jump of the other must neither end nor prolong the wait.
        let (begun, age) = (Instant::now(), Duration::from_millis((now_ms() - received).max(0).unsigned_abs()));
        let after = |span: Duration| begun + span.saturating_sub(age);
        let (give_up, limit) =
            (after(config.enrich.give_up_after.duration()), after(config.enrich.distribution_limit.duration()));
        let written = after(RESULT_PATIENCE).min(give_up);
        let mut wait = FIRST_WAIT;
        loop {
            let enriched = {
                // The semaphore is never closed; without a place the look-up is made all the same.
                let _place = self.places.acquire().await.ok();
                let patience = give_up.saturating_duration_since(Instant::now()).max(LEAST_PATIENCE);
                // Boxed: only those that are being looked up need its room, not the whole window.
                Box::pin(lookups.enrich(&event.data, &event.kind, received, want_log, patience)).await
            };
            let now = Instant::now();
            let pause = if enriched.pending {
                if now >= limit {
                    return enriched;
                }
                if enriched.transient.is_some() { wait } else { DISTRIBUTION_POLL }
            } else if enriched.transient.is_some() {
                if now >= give_up {
                    return enriched;
                }
                wait.min(give_up.saturating_duration_since(now))
            } else if enriched.not_yet && now < written {
                wait
            } else {
                return enriched;
            };
            tokio::time::sleep(pause).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    fn apply(
        &self,
        event: &mut Event,
        enriched: Enriched,
        keys: &mut Vec<String>,
        script_log: &mut Option<NewScriptLog>,
    ) {
        let was_pending = event.kind == DISTRIBUTE_PENDING;
        event.kind = enriched.kind;
        event.data = enriched.data;
        *keys = enriched.keys;
        if was_pending && let Some(id) = event.data.execution.as_ref().and_then(|execution| execution.id.as_ref()) {
            // At accept the outcome was not known: other roads know it.
            keys.push(format!("exec:{}:{}", id.to_lowercase(), event.outcome()));
        }
        if let Some(time) = enriched.time {
            event.time = time;
        }
        if let Some(error) = &enriched.transient {
            tracing::warn!(event = event.id, missing = ?event.data.missing, %error,
                "goes on without the facts that Qlik Sense did not give in time");
        }
        if let Some(log) = enriched.script_log {
            let result = event.data.execution.as_ref().and_then(|execution| execution.result_id.clone());
            let reference = result.unwrap_or_else(|| event.id.clone());
            match NewScriptLog::new(&reference, &log.text) {
                Ok(packed) => *script_log = Some(packed),
                Err(error) => {
                    tracing::warn!(event = event.id, %error, "the script log cannot be compressed and is not kept");
                }
            }
            event.data.script_log = Some(log.to_event(self.parts.config.get().script_log.lines as usize, reference));
        }
        if event.kind == DISTRIBUTE_PENDING {
            // Its time is over, and nobody knows how it ended: an alert too many beats one too few.
            kind::DISTRIBUTE_TASK_FAILED.clone_into(&mut event.kind);
            event.data.kind_assumed = true;
        }
    }

    /// Routes what is ready, in batches, and wakes the queues.
    async fn route_all(self: Arc<Self>, mut queue: mpsc::Receiver<Ready>) {
        let mut batch = Vec::with_capacity(ROUTE_BATCH);
        while queue.recv_many(&mut batch, ROUTE_BATCH).await > 0 {
            let (routed, events) = batch.drain(..).map(|Ready { routed, event }| (routed, event)).unzip();
            if !self.route_some(routed, events).await {
                return;
            }
        }
    }

    /// Routes events and hands their deliveries to the queues; false when the store is closed.
    async fn route_some(&self, mut routed: Vec<Routed>, events: Vec<Event>) -> bool {
        let mut tickets: HashMap<(i64, String), Ticket> = HashMap::new();
        for Routed { seq, deliveries, .. } in &mut routed {
            for delivery in deliveries {
                let ticket = self.parts.queues.ticket(&delivery.instance);
                delivery.lease_ms = ticket.as_ref().map(|ticket| ticket.lease_ms);
                tickets.extend(ticket.map(|ticket| ((*seq, delivery.instance.clone()), ticket)));
            }
        }
        let routed: Arc<[Routed]> = routed.into();
        match self.parts.store.route(routed.clone()).await {
            Ok(answers) => {
                let mut woken: HashSet<String> = HashSet::new();
                let mut refused = Vec::new();
                for ((routed, event), made) in routed.iter().zip(events).zip(answers) {
                    for made in made.into_iter().flatten().filter(|made| !made.suppressed) {
                        let Some(token) = made.token else {
                            woken.insert(made.instance);
                            continue;
                        };
                        let claimed = Claimed {
                            id: made.id,
                            token,
                            attempt: 1,
                            first_attempt: made.made,
                            suppressed: made.stands_for,
                            progress: None,
                            event_time: routed.time,
                            event: event.clone(),
                        };
                        let ticket = tickets.remove(&(routed.seq, made.instance.clone()));
                        if !ticket.is_some_and(|ticket| ticket.hand_over(claimed)) {
                            refused.push(Settled { id: made.id, token, settlement: Settlement::Return });
                            woken.insert(made.instance);
                        }
                    }
                }
                if !refused.is_empty() && self.parts.store.settle(refused).await.is_err() {
                    tracing::debug!("deliveries of a queue that has ended are taken back later");
                }
                for instance in &woken {
                    self.parts.queues.wake(instance);
                }
            }
            Err(StoreError::Closed) => return false,
            Err(error) if routed.len() == 1 => {
                tracing::error!(%error, event = routed[0].seq, "an event cannot be routed before the next start; please report this");
            }
            Err(_) => {
                // One of them is at fault: the others must not suffer.
                for (one, event) in routed.iter().zip(events) {
                    if !Box::pin(self.route_some(vec![one.clone()], vec![event])).await {
                        return false;
                    }
                }
            }
        }
        true
    }
}

/// An event that is ready for its deliveries.
struct Ready {
    routed: Routed,
    event: Event,
}

/// Lets events of one task be routed in the order of their numbers, however long the look-ups of each take: an ordered
/// instance hands out deliveries in the order in which they were made.
#[derive(Default)]
struct Turns(HashMap<String, oneshot::Receiver<()>>);

/// The place of one event among those of its task.
struct Turn {
    before: Option<oneshot::Receiver<()>>,
    /// Dropped when it is the next one's turn.
    done: Option<oneshot::Sender<()>>,
}

impl Turns {
    fn take(&mut self, event: &Event) -> Turn {
        // An unfinished distribution may take hours: nobody waits for it, and it waits for nobody.
        let Some(task) = event.data.task.as_ref().filter(|_| event.kind != DISTRIBUTE_PENDING) else {
            return Turn { before: None, done: None };
        };
        if self.0.len() > WINDOW {
            self.0.retain(|_, last| matches!(last.try_recv(), Err(TryRecvError::Empty)));
        }
        let (done, last) = oneshot::channel();
        Turn { before: self.0.insert(task.id.clone(), last), done: Some(done) }
    }
}

impl Turn {
    /// Waits until those before it are routed or given up. What it returns is to be held until this one is routed.
    async fn mine(self) -> Option<oneshot::Sender<()>> {
        if let Some(before) = self.before {
            // The sender is dropped, never used.
            let _ = before.await;
        }
        self.done
    }
}

/// Without Qlik Sense in the config the kind of the wire is the best guess.
/// A fact that was given in a form of another version, and has been found out since: ours counts.
fn drop_doubles(data: &mut Data) {
    let mut other = std::mem::take(&mut data.other);
    if !other.is_empty()
        && let Ok(Value::Object(known)) = serde_json::to_value(&*data)
    {
        other.retain(|name, _| !known.contains_key(name));
    }
    data.other = other;
}

fn assume(event: &mut Event) {
    if event.kind == DISTRIBUTE_PENDING {
        kind::DISTRIBUTE_TASK_FAILED.clone_into(&mut event.kind);
    }
    if event.subject().ends_with("-task") {
        event.data.kind_assumed = true;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn event(kind: &str, task: &str) -> Event {
        serde_json::from_value(
            serde_json::json!({ "id": "x-1", "kind": kind, "time": "", "receivedAt": "", "source": "udp",
            "data": { "task": { "id": task, "name": "T" } } }),
        )
        .unwrap()
    }

    #[test]
    fn what_was_found_out_counts_more_than_what_could_not_be_read() {
        let mut event = event("reload-task.failed", "t");
        event.data.other = Data::from_json(serde_json::json!({ "task": "T", "app": "A", "moon": 1 })).other;
        drop_doubles(&mut event.data);
        assert_eq!(event.data.other.keys().collect::<Vec<_>>(), ["app", "moon"]);
        let text = serde_json::to_string(&event.data).unwrap();
        assert_eq!(Data::from_json(serde_json::from_str(&text).unwrap()).task, event.data.task, "{text}");
    }

    #[tokio::test]
    async fn events_of_one_task_keep_their_order_and_those_of_others_do_not_wait() {
        let mut turns = Turns::default();
        let order = Arc::new(Mutex::new(Vec::new()));
        let slow = Arc::new(Notify::new());
        let mut tasks = JoinSet::new();
        for (n, kind, task) in [
            (1, "reload-task.failed", "a"),
            (2, "reload-task.succeeded", "a"),
            (3, "reload-task.failed", "b"),
            (4, DISTRIBUTE_PENDING, "a"),
        ] {
            let (turn, order, slow) = (turns.take(&event(kind, task)), order.clone(), slow.clone());
            tasks.spawn(async move {
                if n == 1 {
                    slow.notified().await;
                }
                let _next = turn.mine().await;
                order.lock().unwrap().push(n);
            });
        }
        while order.lock().unwrap().len() < 2 {
            tokio::task::yield_now().await;
        }
        slow.notify_one();
        tasks.join_all().await;
        let order = order.lock().unwrap().clone();
        assert_eq!(order[2..], [1, 2], "{order:?}");
    }
}
