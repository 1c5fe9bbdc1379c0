//! The road by which nothing is missed: Qlik Sense is asked which executions have ended.
//!
//! Windows of time are gone through from a checkpoint in the store, with some overlap, up to two minutes before now, all by
//! the server's clock (`window`). What no other road has told becomes an event with the same keys as theirs would have, so
//! two roads tell once. After a stop the time in between is covered, as far as `qlik.reconcile.lookBack` allows.
//!
//! Which results are worth an event is decided in `judge`. `notifications` is the road by which Qlik Sense itself says which
//! results there are.

mod judge;
mod notifications;
mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use butler_plugin_api::{Data, Execution, Task};
use tokio::sync::{Notify, watch};

use crate::config::{AlertOn, Config};
use crate::current::Current;
use crate::observe::{Road, Roads};
use crate::qlik::{Ended, Lookups, QlikError};
use crate::stop::stopping;
use crate::store::{NewEvent, Store, StoreError, now_ms, rfc3339};
use judge::Verdict;
pub use notifications::{CallBack, Notifications};
use window::Windows;

/// The source of its events.
pub const SOURCE: &str = "qrs";
/// Results for which the store is asked at once.
const TOGETHER: usize = 500;
/// So often the same trouble is said again.
const SAID: Duration = Duration::from_mins(30);

/// What a [`Reconciler`] is made of.
pub struct ReconcilerParts {
    /// Qlik Sense.
    pub lookups: Arc<Lookups>,
    /// The store.
    pub store: Store,
    /// Told when an event was accepted.
    pub accepted: Arc<Notify>,
    /// `qlik.reconcile` and `qlik.alertOn`.
    pub config: Arc<Current<Config>>,
    /// Told of nodes.
    pub roads: Arc<Roads>,
}

/// Asks Qlik Sense for what was not heard of.
pub struct Reconciler {
    parts: ReconcilerParts,
    /// How wide a window may be, in ms, by the answers so far: a round that ended with too much in one does not begin with the
    /// same again.
    width: AtomicI64,
}

/// Why a round did not come to its end.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Qlik(#[from] QlikError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Reconciler {
    /// One that is not running yet.
    pub fn new(parts: ReconcilerParts) -> Arc<Self> {
        Arc::new(Self { parts, width: AtomicI64::new(window::FIRST_MS) })
    }

    /// Works until `stop`.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut said: Option<Instant> = None;
        loop {
            let reconcile =
                self.parts.config.get().qlik.as_ref().map(|qlik| qlik.reconcile.clone()).unwrap_or_default();
            if reconcile.enabled {
                let round = tokio::select! {
                    () = stopping(&mut stop) => return,
                    round = self.round() => round,
                };
                match round {
                    Ok(()) => said = None,
                    Err(RoundError::Store(StoreError::Closed)) => return,
                    Err(error) => {
                        // That Qlik Sense is down is said by whoever finds it first; it is asked again in the next round.
                        if said.is_none_or(|said| said.elapsed() > SAID) {
                            tracing::warn!(
                                "what has ended in Qlik Sense cannot be asked for at present; it is made up for later: {error}"
                            );
                            said = Some(Instant::now());
                        }
                    }
                }
            }
            tokio::select! {
                () = stopping(&mut stop) => return,
                () = tokio::time::sleep(reconcile.every.duration()) => {}
            }
        }
    }

    /// Looks at everything that has ended since the last round.
    async fn round(&self) -> Result<(), RoundError> {
        let Some(qlik) = self.parts.config.get().qlik.clone() else { return Ok(()) };
        let (lookups, store) = (&self.parts.lookups, &self.parts.store);
        let now = lookups.server_time().await?.unwrap_or_else(now_ms);
        let name = format!("reconcile {}", lookups.repository().server());
        let checkpoint = store.kept(&name).await?.and_then(|text| text.parse().ok());
        let Some(checkpoint) = checkpoint else {
            // What happened before Butler was there is none of its business.
            return Ok(store.keep(&name, &now.to_string()).await?);
        };
        let look_back = qlik.reconcile.look_back.millis();
        if now - checkpoint > look_back {
            tracing::warn!(
                from = rfc3339(checkpoint),
                to = rfc3339(now - look_back),
                "what ended in Qlik Sense in this time is not asked for: `qlik.reconcile.lookBack` is {}",
                qlik.reconcile.look_back
            );
        }
        let width = self.width.load(Ordering::Relaxed);
        let mut windows = Windows::new(checkpoint, now, look_back, qlik.reconcile.every.millis(), width);
        let mut found = 0;
        while let Some((from, to)) = windows.next() {
            let ended = match lookups.ended(from, to).await {
                Ok(ended) => ended,
                Err(error) if is_too_much(&error) => {
                    if !windows.narrow() {
                        tracing::error!(
                            from = rfc3339(from),
                            to = rfc3339(to),
                            "more has ended in Qlik Sense in this second than can be read, and is not looked at: {error}"
                        );
                    }
                    self.width.store(windows.width(), Ordering::Relaxed);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            windows.seen(ended.len());
            self.width.store(windows.width(), Ordering::Relaxed);
            for some in ended.chunks(TOGETHER) {
                found += self.look_at(some, now, Road::Qrs).await?;
            }
            // It is asked again from somewhat before.
            store.keep(&name, &to.to_string()).await?;
        }
        if found > 0 {
            tracing::info!(
                events = found,
                "asked Qlik Sense for what has ended, and found what no other road had told"
            );
        }
        self.parts.roads.reconciled(found, now_ms());
        Ok(())
    }

    /// Makes events of those that were not heard of; how many.
    async fn look_at(&self, ended: &[Ended], now: i64, road: Road) -> Result<u64, RoundError> {
        let (lookups, store) = (&self.parts.lookups, &self.parts.store);
        let alert_on = self.parts.config.get().qlik.as_ref().map_or_else(AlertOn::default, |qlik| qlik.alert_on);
        for result in ended {
            if let Some(node) = &result.node {
                self.parts.roads.heard(node, road, result.stopped_ms);
            }
        }
        let keys: Vec<Vec<String>> = ended.iter().map(|result| judge::keys(result, false)).collect();
        let known = store.known(&keys).await?;
        let mut events = Vec::new();
        for (result, _) in ended.iter().zip(known).filter(|(_, known)| !known) {
            let task = lookups.task(&result.task_id).await?;
            let attempts = match &task {
                Some(task) if judge::has_retries(result, task) => lookups.attempts(result).await?,
                _ => Vec::new(),
            };
            let attempt = match judge::judge(result, task.as_deref(), &attempts, now, alert_on) {
                Verdict::Tell => false,
                Verdict::TellAttempt => true,
                Verdict::Leave => continue,
            };
            let key = judge::result_key(result);
            if store.adopt(&result.task_id, result.outcome, result.stopped_ms, &key).await? {
                continue;
            }
            events.push(event(result, task.map(|task| task.task.name.clone()).unwrap_or_default(), attempt));
        }
        if events.is_empty() {
            return Ok(0);
        }
        let accepted = store.accept(events).await?;
        self.parts.accepted.notify_one();
        Ok(accepted.iter().filter(|one| matches!(one, crate::store::Accepted::New(_))).count() as u64)
    }
}

/// Whether a smaller window may help.
fn is_too_much(error: &QlikError) -> bool {
    use crate::qlik::Cause;
    matches!(error, QlikError::TooLarge { .. } | QlikError::Unreachable { cause: Cause::Timeout, .. })
}

/// The event of a result, with what is known; enrichment finds out the rest.
fn event(result: &Ended, task_name: String, attempt: bool) -> NewEvent {
    let data = Data {
        task: Some(Task { id: result.task_id.clone(), name: task_name, ..Task::default() }),
        execution: Some(Execution {
            id: result.execution_id.clone(),
            result_id: Some(result.result_id.clone()),
            ..Execution::default()
        }),
        node: result.node.clone(),
        ..Data::default()
    };
    NewEvent {
        kind: format!("reload-task.{}", result.outcome),
        time: result.stopped_ms,
        received: now_ms(),
        source: SOURCE.to_owned(),
        keys: judge::keys(result, attempt),
        data,
    }
}
