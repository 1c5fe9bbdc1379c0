//! Who changed what by REST: counters, a bounded log in memory, and events for what an administrator must know for long.
//!
//! A write is a request with another method than GET and HEAD to a route with a scope. All are counted and kept in the log
//! (`GET /v5/audit`), those that were refused apart: a script that writes ten times a second drives out only its own kind, and
//! whoever knocks at closed doors drives out nothing that was done. Writes of tasks, schedules, deliveries and of the admin are
//! also events (`audit.write`), once the scope allowed them, whatever became of them then.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, Method};
use butler_plugin_api::{self as api, Data, Scope, kind};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::auth::scope_name;
use super::context::Context;
use crate::observe::exposition::{Exposition, Kind};
use crate::store::{NewEvent, Store, StoreError, now_ms};

/// So many writes of each scope are kept, and of those that were refused.
const KEPT: usize = 1000;
const KEPT_REFUSED: usize = 250;
/// An answer does not wait longer for its event to be stored: it is when the store can be written again.
const TELLING: Duration = Duration::from_secs(2);
/// So many events may wait for a store that cannot be written.
const WAITING: usize = 1000;
/// What a delivery carries: the id of the delivery.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Results, as the metrics name them.
const RESULTS: [&str; 4] = ["ok", "refused", "invalid", "failed"];

/// A write.
#[derive(Debug, Clone)]
pub(super) struct Write {
    /// When it came, ms since 1970.
    pub(super) time_ms: i64,
    pub(super) scope: Scope,
    /// Whether the caller has the scope.
    pub(super) allowed: bool,
    /// Name of the token or grant; `None`: not known.
    pub(super) caller: Option<String>,
    pub(super) address: IpAddr,
    pub(super) method: Method,
    /// Without query and secrets.
    pub(super) path: String,
    /// `None`: the caller went away before the answer.
    pub(super) status: Option<u16>,
    pub(super) duration: Duration,
}

/// The counters, the log, and the way of events into the store.
pub(super) struct Audit {
    context: Arc<Context>,
    scopes: BTreeMap<Scope, Mutex<Kept>>,
    /// Of the next write in the log: times may be the same.
    number: AtomicU64,
    waiting: Arc<Semaphore>,
    untold: AtomicU64,
    loop_told: AtomicBool,
}

/// The writes of a scope with their numbers, and how many had each result.
#[derive(Default)]
struct Kept {
    done: VecDeque<(u64, Write)>,
    refused: VecDeque<(u64, Write)>,
    results: [u64; RESULTS.len()],
}

impl Kept {
    fn push(&mut self, number: u64, write: &Write) {
        self.results[result(write)] += 1;
        let (log, most) = if write.allowed { (&mut self.done, KEPT) } else { (&mut self.refused, KEPT_REFUSED) };
        if log.len() == most {
            log.pop_front();
        }
        log.push_back((number, write.clone()));
    }
}

/// The delivery that sends a request, by its own word.
pub(super) fn delivery_of(headers: &HeaderMap, store: &Store) -> Option<i64> {
    store.parse_delivery_id(headers.get(IDEMPOTENCY_KEY)?.to_str().ok()?)
}

impl Audit {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            scopes: Scope::ALL.iter().map(|scope| (*scope, Mutex::default())).collect(),
            number: AtomicU64::new(0),
            waiting: Arc::new(Semaphore::new(WAITING)),
            untold: AtomicU64::new(0),
            loop_told: AtomicBool::new(false),
        }
    }

    /// Takes down a write; `delivery` as of [`delivery_of`]. Waits a little for the store, if there is an event to be kept;
    /// never fails.
    pub(super) async fn record(self: &Arc<Self>, write: Write, delivery: Option<i64>) {
        let telling = self.take_down(write, delivery);
        if let Some(telling) = telling.filter(|_| self.context.store.trouble().is_none()) {
            let _ = tokio::time::timeout(TELLING, telling).await;
        }
    }

    /// Takes down a write. What is to be stored is, whether somebody waits for it or not.
    pub(super) fn take_down(self: &Arc<Self>, write: Write, delivery: Option<i64>) -> Option<JoinHandle<()>> {
        if !self.keep(&write) {
            return None;
        }
        let Ok(place) = self.waiting.clone().try_acquire_owned() else {
            self.untold.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        // Without a runtime the process is ending.
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        let this = self.clone();
        Some(runtime.spawn(async move {
            if let Err(error) = this.tell(write, delivery).await {
                this.untold.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, "a write by REST is only in the log of `GET /v5/audit`: its event cannot be stored");
            }
            drop(place);
        }))
    }

    /// Counts it and puts it into the log; answers whether it is to be an event.
    fn keep(&self, write: &Write) -> bool {
        tracing::debug!(
            target: "butler::audit",
            scope = scope_name(write.scope),
            allowed = write.allowed,
            caller = write.caller,
            address = %write.address,
            method = %write.method,
            path = write.path,
            status = write.status,
            duration_ms = u64::try_from(write.duration.as_millis()).unwrap_or(u64::MAX),
            "REST write"
        );
        if let Some(kept) = self.scopes.get(&write.scope) {
            let number = self.number.fetch_add(1, Ordering::Relaxed);
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(number, write);
        }
        let told = matches!(write.scope, Scope::Tasks | Scope::Scheduler | Scope::Admin | Scope::Deliveries);
        write.allowed && told
    }

    /// The log, the newest first: of one scope, or of all.
    pub(super) fn writes(&self, scope: Option<Scope>, limit: usize) -> Vec<Write> {
        let mut writes = Vec::new();
        for (_, kept) in self.scopes.iter().filter(|(known, _)| scope.is_none_or(|scope| scope == **known)) {
            let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            writes.extend(kept.done.iter().rev().take(limit).cloned());
            writes.extend(kept.refused.iter().rev().take(limit).cloned());
        }
        writes.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        writes.truncate(limit);
        writes.into_iter().map(|(_, write)| write).collect()
    }

    pub(super) fn expose(&self, page: &mut Exposition) {
        let help = "Requests other than GET and HEAD, by the scope that they need and what became of them";
        page.metric("butler_rest_writes_total", Kind::Counter, help);
        for (scope, kept) in &self.scopes {
            let results = kept.lock().unwrap_or_else(PoisonError::into_inner).results;
            for (result, count) in RESULTS.into_iter().zip(results) {
                page.sample("butler_rest_writes_total", &[("scope", &scope_name(*scope)), ("result", result)], count);
            }
        }
        let help = "Writes that should have been the event `audit.write` and could not be stored";
        let untold = self.untold.load(Ordering::Relaxed);
        page.single("butler_rest_audit_untold_total", Kind::Counter, help, untold);
    }

    /// Whether this delivery is one of an `audit.write` and under way: an event would be delivered in turn, and so on without
    /// end. That it is under way keeps others from hiding behind its id.
    async fn comes_from_an_audit(&self, delivery: i64) -> Result<bool, StoreError> {
        let Some((kind, instance)) = self.context.store.under_way(delivery).await? else { return Ok(false) };
        let is_audit = kind == kind::AUDIT_WRITE;
        if is_audit && !self.loop_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                instance,
                "the instance answers `audit.write` with a write to this Butler: such writes are in `GET /v5/audit`, but no \
                 further events; take `audit.write` out of its `on:`"
            );
        }
        Ok(is_audit)
    }

    async fn tell(&self, write: Write, delivery: Option<i64>) -> Result<(), StoreError> {
        // When that cannot be found out, an event too few is better than events without end.
        if let Some(delivery) = delivery
            && self.comes_from_an_audit(delivery).await?
        {
            return Ok(());
        }
        self.context.store.accept(vec![event(write)]).await?;
        self.context.accepted.notify_one();
        Ok(())
    }
}

/// The place of its result in [`RESULTS`].
fn result(write: &Write) -> usize {
    match write.status {
        _ if !write.allowed => 1,
        None | Some(500..) => 3,
        Some(400..) => 2,
        Some(_) => 0,
    }
}

fn event(write: Write) -> NewEvent {
    let caller = write.caller.unwrap_or_else(|| write.address.to_string());
    let audit = api::Audit {
        caller: Some(caller),
        address: Some(write.address.to_string()),
        method: Some(write.method.to_string()),
        path: Some(write.path),
        status: write.status,
    };
    NewEvent {
        kind: kind::AUDIT_WRITE.to_owned(),
        time: write.time_ms,
        received: now_ms(),
        source: "rest".to_owned(),
        keys: Vec::new(),
        data: Data { audit: Some(Box::new(audit)), ..Data::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(allowed: bool, status: Option<u16>) -> Write {
        Write {
            time_ms: 1,
            scope: Scope::Kv,
            allowed,
            caller: None,
            address: IpAddr::from([10, 0, 0, 1]),
            method: Method::PUT,
            path: "/v4/x".to_owned(),
            status,
            duration: Duration::ZERO,
        }
    }

    #[test]
    fn the_last_are_kept_and_who_knocks_drives_nothing_out() {
        let mut kept = Kept::default();
        for number in 0..3000 {
            kept.push(number, &write(number < 1500, Some(200)));
        }
        let numbers = |log: &VecDeque<(u64, Write)>| (log[0].0, log[log.len() - 1].0, log.len());
        assert_eq!(numbers(&kept.done), (500, 1499, 1000));
        assert_eq!(numbers(&kept.refused), (2750, 2999, 250));
        assert_eq!(kept.results, [1500, 1500, 0, 0]);
    }

    #[test]
    fn results() {
        for (allowed, status, expected) in [
            (true, Some(204), "ok"),
            (true, Some(302), "ok"),
            (true, Some(400), "invalid"),
            // By the handler, not by the scope.
            (true, Some(403), "invalid"),
            (true, Some(503), "failed"),
            (true, None, "failed"),
            (false, Some(401), "refused"),
            (false, Some(429), "refused"),
        ] {
            assert_eq!(RESULTS[result(&write(allowed, status))], expected, "{allowed} {status:?}");
        }
    }
}
