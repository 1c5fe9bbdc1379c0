//! Finds out the facts of accepted events and routes them.
//!
//! Events are read from the store in the order of their numbers, a window of them at a time, so memory is bounded and a
//! crash loses nothing. Each waits for its facts by itself, so events that wait for a dead or slow Qlik Sense do not hold up
//! others, and those that wait for the same facts share the calls. What is ready is routed in batches. What has long to wait, and what
//! failed for no reason of Qlik Sense's, is put off: it leaves memory, and is read again when it is due.

mod lookups;
mod turns;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use butler_plugin_api::{Data, Event, kind};
use futures_util::FutureExt as _;
use serde_json::Value;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

use lookups::Asked;
use turns::{Busy, Place, Turns};

use super::app_reload::is_told;
use super::router::Router;
use crate::config::Config;
use crate::current::Current;
use crate::delivery::{Queues, Ticket};
use crate::ingest::{Counter, DISTRIBUTE_PENDING};
use crate::observe::TaskStates;
use crate::qlik::{Cloud, Enriched, Lookups};
use crate::stop::stopping;
use crate::store::{
    Claimed, NewScriptLog, PutOff, Routed, Settled, Settlement, Store, StoreError, Waiting, now_ms, rfc3339, waiting_ms,
};

/// Events in memory at once.
const WINDOW: usize = 500;
/// More are read when at least so many have a place.
const REFILL: usize = 125;
/// Events routed in one commit.
const ROUTE_BATCH: usize = 100;
/// An unfinished distribution is asked for again after this time.
const DISTRIBUTION_POLL: Duration = Duration::from_secs(30);
/// QRS writes results and logs late: so long it is asked again.
const RESULT_PATIENCE: Duration = Duration::from_secs(8);
/// Even an event whose time is over is looked up once, also where Qlik Sense takes seconds for a call.
const LEAST_PATIENCE: Duration = Duration::from_secs(10);
/// Longest pause after which a store that cannot be read is read again.
const LONGEST_READ_PAUSE: Duration = Duration::from_mins(1);
/// Events that were put off are looked for so often.
const LOOK: Duration = Duration::from_secs(1);
/// An event whose look-up or routing has failed is tried again after this time.
const TRY_AGAIN: Duration = Duration::from_mins(1);
/// After so many failures it goes on with the facts that came with it.
const TRIES: u32 = 5;
/// If even that fails, it is tried again after this time.
const TRY_LATER: Duration = Duration::from_hours(1);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// An event that waits for one server of several leaves memory before it has to wait longer than this.
const MOST_IN_MEMORY: Duration = Duration::from_secs(4);

/// What an [`Enricher`] is made of.
pub struct EnricherParts {
    /// The store.
    pub store: Store,
    /// Told when an event was accepted.
    pub accepted: Arc<Notify>,
    /// Qlik Sense, if the config has it.
    pub lookups: Option<Arc<Lookups>>,
    /// The tenants of Qlik Cloud that the config has.
    pub cloud: Arc<Cloud>,
    /// Time limits, and how script logs are kept.
    pub config: Arc<Current<Config>>,
    /// Routes.
    pub router: Arc<Current<Router>>,
    /// Told of deliveries that were made.
    pub queues: Queues,
    /// States of tasks, for metrics.
    pub tasks: Arc<TaskStates>,
    /// Counts failed reloads outside the scheduler that `appReload` leaves untold.
    pub untold: Arc<Counter>,
}

/// Enriches and routes.
pub struct Enricher {
    parts: EnricherParts,
}

impl Enricher {
    /// An enricher that is not running yet.
    pub fn new(parts: EnricherParts) -> Arc<Self> {
        Arc::new(Self { parts })
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
        let mut look = Instant::now();
        let busy = Busy::default();
        let mut pause = Duration::from_secs(1);
        while !*stop.borrow() {
            let free = WINDOW.saturating_sub(waiting.len());
            let mut rows = Vec::new();
            let due = Instant::now() >= look;
            if (more || due) && free >= REFILL {
                let limit = u32::try_from(free).unwrap_or(1);
                rows = match self.read(due, &busy, seen, limit).await {
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
                if due {
                    look = Instant::now() + LOOK;
                }
            }
            for row in rows {
                if row.since.is_none() {
                    seen = row.seq;
                }
                let (this, ready) = (self.clone(), ready.clone());
                let (turn, place) = (turns.take(&row.event), busy.enter(row.seq));
                waiting.spawn(async move {
                    let outcome = this.find_out(row).await;
                    let _next = turn.mine().await;
                    // Fails only when routing has ended: then the event stays accepted.
                    let _ = ready.send((outcome, place)).await;
                });
            }
            tokio::select! {
                () = stopping(&mut stop) => {}
                () = self.parts.accepted.notified() => more = true,
                Some(_) = waiting.join_next() => while waiting.try_join_next().is_some() {},
                () = tokio::time::sleep_until(look.into()), if WINDOW - waiting.len().min(WINDOW) >= REFILL => {}
            }
        }
        waiting.shutdown().await;
        drop(ready);
        let _ = routing.await;
    }

    /// Reads events that were not read yet, and those that were put off and are due; those leave room for others.
    async fn read(&self, due: bool, busy: &Busy, seen: i64, limit: u32) -> Result<Vec<Waiting>, StoreError> {
        let mut rows = if due { self.parts.store.due_events(&busy.all(), limit / 2).await? } else { Vec::new() };
        let left = limit.saturating_sub(u32::try_from(rows.len()).unwrap_or(limit));
        rows.extend(self.parts.store.accepted_events(seen, left).await?);
        Ok(rows)
    }

    /// Finds out the facts and makes the deliveries, or says when to try again.
    async fn find_out(&self, row: Waiting) -> Outcome {
        let (seq, tries) = (row.seq, row.tries);
        let received = row.event.received_at.parse().map_or_else(|_| now_ms(), jiff::Timestamp::as_millisecond);
        // By the time of waits, which follows jumps of the wall clock once it has been written down.
        let since = row.since.unwrap_or_else(|| waiting_ms() - (now_ms() - received).max(0));
        match AssertUnwindSafe(self.enrich(row, received, since)).catch_unwind().await {
            Ok(Ok(ready)) => Outcome::Ready(Box::new(ready)),
            Ok(Err(pause)) => Outcome::PutOff(PutOff { seq, due: waiting_ms() + ms(pause), since, tries }),
            Err(_) => {
                tracing::error!(
                    event = self.parts.store.event_id(seq),
                    "the facts of an event cannot be found out; it is tried again; please report this"
                );
                Outcome::PutOff(failed(seq, since, tries))
            }
        }
    }

    /// Finds out the facts and makes the deliveries; or for how long it is to be put off.
    async fn enrich(&self, row: Waiting, received: i64, since: i64) -> Result<Ready, Duration> {
        let mut event = row.event;
        let mut keys = Vec::new();
        let mut script_log = None;
        match Asked::about(&event, self.parts.lookups.as_deref(), &self.parts.cloud) {
            Some(asked) if row.tries < TRIES => {
                let enriched = self.look_up(asked, &event, received, since, row.since.is_some()).await?;
                self.apply(&mut event, enriched, &mut keys, &mut script_log);
            }
            _ if lookups::of_sense(&event) => assume(&mut event),
            _ => {}
        }
        let told = is_told(&self.parts.config.get().app_reload, &event);
        let deliveries = if told { self.parts.router.get().route(&event) } else { Vec::new() };
        if !told {
            // Whoever looks for the alert finds why there was none.
            event.data.other.insert("untoldBy".to_owned(), "appReload".into());
            self.parts.untold.add(1);
        }
        let time = event.time.parse::<jiff::Timestamp>().map_or(received, jiff::Timestamp::as_millisecond);
        drop_doubles(&mut event.data);
        // The data of an event cannot fail to be written: its keys are texts.
        let data = serde_json::to_string(&event.data).unwrap_or_else(|_| "{}".to_owned());
        self.parts.tasks.note(&event, time);
        event.time = rfc3339(time);
        let task = event.data.task.as_ref().map(|task| task.id.clone());
        let kind = event.kind.clone();
        let routed = Routed { seq: row.seq, kind, time, task, data, keys, deliveries, script_log };
        Ok(Ready { routed, event, since, tries: row.tries })
    }

    /// Asks Qlik Sense until it has told everything, or the time for it is over. What is not over yet and was put off before,
    /// or has been asked for some times, is put off.
    async fn look_up(
        &self,
        asked: Asked<'_>,
        event: &Event,
        received: i64,
        since: i64,
        put_off: bool,
    ) -> Result<Enriched, Duration> {
        let outcome = event.outcome();
        let config = self.parts.config.get();
        let want_log = config.script_log.enabled
            && self.parts.router.get().wants_script_log(&event.kind)
            && (outcome == "failed" || outcome == "aborted" || outcome == "succeeded");
        // By the steady clock from here on: a jump of the other must neither end nor prolong the wait.
        let (begun, age) = (Instant::now(), Duration::from_millis((waiting_ms() - since).max(0).unsigned_abs()));
        let after = |span: Duration| begun + span.saturating_sub(age);
        let (give_up, limit) =
            (after(config.enrich.give_up_after.duration()), after(config.enrich.distribution_limit.duration()));
        let written = after(RESULT_PATIENCE).min(give_up);
        let mut wait = FIRST_WAIT;
        loop {
            let patience = give_up.saturating_duration_since(Instant::now()).max(LEAST_PATIENCE);
            // Boxed: only those that are being looked up need its room, not those that wait to be asked for again.
            let enriched = Box::pin(asked.enrich(event, received, want_log, patience)).await;
            let now = Instant::now();
            let pause = if enriched.pending {
                if now >= limit {
                    return Ok(enriched);
                }
                let left = limit.saturating_duration_since(now);
                if enriched.transient.is_none() {
                    return Err(DISTRIBUTION_POLL.min(left));
                }
                if put_off || wait == LONGEST_WAIT {
                    return Err(LONGEST_WAIT.min(left));
                }
                wait
            } else if enriched.transient.is_some() {
                if now >= give_up {
                    return Ok(enriched);
                }
                let left = give_up.saturating_duration_since(now);
                if let Some(pause) = asked.puts_off(&enriched, put_off || wait > MOST_IN_MEMORY) {
                    return Err(pause.min(left));
                }
                wait.min(give_up.saturating_duration_since(now))
            } else if enriched.not_yet && now < written {
                wait
            } else {
                return Ok(enriched);
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
        if was_pending {
            end_distribution(event, keys);
        }
        if let Some(time) = enriched.time {
            event.time = time;
        }
        if let Some(error) = &enriched.transient {
            tracing::warn!(event = event.id, missing = ?event.data.missing, %error,
                "goes on without the facts that could not be had in time");
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
    }

    /// Routes what is ready, in batches, and wakes the queues; puts off what is not.
    async fn route_all(self: Arc<Self>, mut queue: mpsc::Receiver<(Outcome, Place)>) {
        let mut batch = Vec::with_capacity(ROUTE_BATCH);
        while queue.recv_many(&mut batch, ROUTE_BATCH).await > 0 {
            let (mut routed, mut waits, mut events, mut put_off) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            // They keep their places until the store has all of this.
            let mut places = Vec::with_capacity(batch.len());
            for (outcome, place) in batch.drain(..) {
                places.push(place);
                match outcome {
                    Outcome::Ready(ready) => {
                        waits.push((ready.since, ready.tries));
                        routed.push(ready.routed);
                        events.push(ready.event);
                    }
                    Outcome::PutOff(event) => put_off.push(event),
                }
            }
            if !routed.is_empty() && !self.route_some(routed, events, &waits).await {
                return;
            }
            self.put_off(put_off).await;
        }
    }

    async fn put_off(&self, events: Vec<PutOff>) {
        if !events.is_empty()
            && let Err(error) = self.parts.store.put_off(events).await
        {
            tracing::error!(%error, "events that are to be tried again later are tried again at the next start");
        }
    }

    /// Routes events and hands their deliveries to the queues; false when the store is closed. `waits`: since when each of them
    /// waits, and how many attempts have failed.
    async fn route_some(&self, mut routed: Vec<Routed>, events: Vec<Event>, waits: &[(i64, u32)]) -> bool {
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
                let seq = routed[0].seq;
                let event = self.parts.store.event_id(seq);
                tracing::error!(%error, event, "an event cannot be routed; it is tried again; please report this");
                let (since, tries) = waits.first().copied().unwrap_or_else(|| (waiting_ms(), 0));
                self.put_off(vec![failed(seq, since, tries)]).await;
            }
            Err(_) => {
                // One of them is at fault: the others must not suffer.
                for ((one, event), wait) in routed.iter().zip(events).zip(waits) {
                    if !Box::pin(self.route_some(vec![one.clone()], vec![event], &[*wait])).await {
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
    /// Since when it has waited.
    since: i64,
    /// Attempts that had failed.
    tries: u32,
}

/// What became of an attempt.
enum Outcome {
    Ready(Box<Ready>),
    PutOff(PutOff),
}

/// Puts an event off after a failure.
fn failed(seq: i64, since: i64, tries: u32) -> PutOff {
    let pause = if tries < TRIES { TRY_AGAIN } else { TRY_LATER };
    PutOff { seq, due: waiting_ms() + ms(pause), since, tries: tries.saturating_add(1) }
}

fn ms(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// A distribution is over: now its outcome is known, and with it the key that other roads have.
fn end_distribution(event: &mut Event, keys: &mut Vec<String>) {
    if event.outcome() == "pending" {
        // Its time is over, and nobody knows how it ended: an alert too many beats one too few.
        event.kind = format!("{}.failed", event.subject());
        event.data.kind_assumed = true;
    }
    if let Some(id) = event.data.execution.as_ref().and_then(|execution| execution.id.as_ref()) {
        keys.push(format!("exec:{}:{}", id.to_lowercase(), event.outcome()));
    }
}

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

/// Without Qlik Sense in the config the kind of the wire is the best guess.
fn assume(event: &mut Event) {
    if event.kind == DISTRIBUTE_PENDING {
        kind::DISTRIBUTE_TASK_FAILED.clone_into(&mut event.kind);
    }
    if event.subject().ends_with("-task") {
        event.data.kind_assumed = true;
    }
}
