//! Starting the task of a claimed run.
//!
//! A start that fails is tried again, and told when it is given up, once. Before another attempt Qlik Sense is asked whether the
//! task has begun to run since the claim: a call whose answer was lost may have started it. A run that was claimed when Butler
//! ended is treated the same way where missed runs are made up for, and no later one stands for it; otherwise it is told that
//! nobody knows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::change::PATIENCE;
use super::record::{Missed, Overlap};
use super::{ChangeError, Schedule, Scheduler, next_ms};
use crate::qlik::is_final;
use crate::start_tasks::events::not_started;
use crate::start_tasks::{Outcome, Request, Selection, TaskStarter};
use crate::stop::stopping;
use crate::store::{Claim, NewEvent, Run, RunState, StoreError, now_ms, rfc3339};

/// Waits before the second attempt and those after it.
const WAITS: [Duration; 4] =
    [Duration::from_secs(2), Duration::from_secs(30), Duration::from_mins(2), Duration::from_mins(7)];
/// The clocks of the Sense servers and ours may be apart by so much.
const SKEW_MS: i64 = 10_000;
/// A run whose claim took too long.
pub(super) const TOO_LATE: &str = "the store could not be written in time";
const IN_DOUBT: &str = "Butler ended before it knew whether Qlik Sense had started the task: look in the QMC, and start it by \
                        hand if need be (`missed: once` has Butler do so)";

/// What became of an attempt.
enum Attempt {
    Started(String, Vec<NewEvent>),
    Skipped(String),
    /// Another attempt may help.
    Failed(String, Vec<NewEvent>),
    /// None would.
    Refused(String, Vec<NewEvent>),
}

/// What became of a run that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunNow {
    /// When it was asked for, ms since 1970.
    pub planned: i64,
    /// What became of it.
    pub state: RunState,
    /// Id of the execution session, or why it was not started.
    pub message: String,
}

impl Scheduler {
    /// Deals with what was claimed when Butler ended.
    pub(super) async fn recover(self: &Arc<Self>, starts: &mut JoinSet<()>, stop: &watch::Receiver<bool>) {
        let runs = match self.store.claimed_runs().await {
            Ok(runs) => runs,
            // They are dealt with at the next start.
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::error!(%error, "runs of schedules that were under way cannot be found");
                return;
            }
        };
        let (now, unread) = (now_ms(), self.unread());
        // In the order of their times.
        let newest: HashMap<String, i64> = runs.iter().map(|run| (run.schedule.clone(), run.planned)).collect();
        for run in runs {
            if let Some(unread) = unread.iter().find(|unread| unread.id == run.schedule) {
                let reason = format!("{IN_DOUBT}; its schedule cannot run: {}", unread.error);
                let task = unread.record.get("taskId").and_then(|task| task.as_str()).unwrap_or_default();
                let event = not_started(task, &format!("schedule:{}", unread.id), &reason);
                self.settle(&run, RunState::Failed, &reason, vec![event]).await;
                continue;
            }
            let entry = self.entries().iter().find(|entry| entry.schedule.id == run.schedule).cloned();
            let Some(entry) = entry else {
                self.settle(&run, RunState::Failed, "it has no schedule", Vec::new()).await;
                continue;
            };
            let later = newest.get(&run.schedule) != Some(&run.planned) || entry.next.is_some_and(|next| next <= now);
            let schedule = entry.schedule;
            match schedule.missed {
                Missed::Once if schedule.enabled && later => {
                    let reason = "Butler ended before it knew whether Qlik Sense had started the task; a later run stands for it";
                    tracing::warn!(schedule = schedule.id, planned = rfc3339(run.planned), "{reason}");
                    self.settle(&run, RunState::Missed, reason, Vec::new()).await;
                }
                Missed::Once if schedule.enabled => {
                    starts.spawn(self.clone().try_until_done(schedule, run, true, stop.clone()));
                }
                Missed::Once | Missed::Skip => {
                    let event = not_started(&schedule.task_id, &caller(&schedule), IN_DOUBT);
                    self.settle(&run, RunState::Failed, IN_DOUBT, vec![event]).await;
                }
            }
        }
    }

    /// Starts the task of a run that was claimed just now.
    pub(super) async fn start(
        self: Arc<Self>,
        schedule: Arc<Schedule>,
        planned: i64,
        claimed: i64,
        stop: watch::Receiver<bool>,
    ) {
        let run = Run { schedule: schedule.id.clone(), planned, claimed, state: RunState::Claimed, message: None };
        self.try_until_done(schedule, run, false, stop).await;
    }

    async fn try_until_done(
        self: Arc<Self>,
        mut schedule: Arc<Schedule>,
        run: Run,
        in_doubt: bool,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut waits = WAITS.iter();
        let mut failed: Option<(String, Vec<NewEvent>)> = None;
        loop {
            let again = in_doubt || failed.is_some();
            let attempt = {
                // Never closed.
                let _place = self.places.acquire().await;
                match self.as_claimed(&schedule, run.planned) {
                    Ok(present) => {
                        schedule = present;
                        Ok(self.attempt(&schedule, &caller(&schedule), again.then_some(run.claimed)).await)
                    }
                    Err(given_up) => Err(given_up),
                }
            };
            let (reason, events) = match attempt {
                Ok(Attempt::Started(session, events)) => {
                    return self.settle(&run, RunState::Started, &session, events).await;
                }
                Ok(Attempt::Skipped(reason)) => {
                    tracing::warn!(schedule = schedule.id, name = schedule.name, "a run is left out: {reason}");
                    return self.settle(&run, RunState::Skipped, &reason, Vec::new()).await;
                }
                Ok(Attempt::Refused(reason, events)) => {
                    return self.settle(&run, RunState::Failed, &reason, events).await;
                }
                Ok(Attempt::Failed(reason, events)) => (reason, events),
                Err((state, reason)) => {
                    tracing::warn!(schedule = schedule.id, name = schedule.name, "a run is left out: {reason}");
                    let doubt =
                        || (IN_DOUBT.to_owned(), vec![not_started(&schedule.task_id, &caller(&schedule), IN_DOUBT)]);
                    return match failed.or_else(|| in_doubt.then(doubt)) {
                        Some((reason, events)) => self.settle(&run, RunState::Failed, &reason, events).await,
                        None => self.settle(&run, state, reason, Vec::new()).await,
                    };
                }
            };
            let next_run = next_ms(&schedule, run.planned).unwrap_or(i64::MAX);
            let wait =
                waits.next().filter(|wait| now_ms() + i64::try_from(wait.as_millis()).unwrap_or(i64::MAX) < next_run);
            let Some(wait) = wait.filter(|_| self.as_claimed(&schedule, run.planned).is_ok()) else {
                return self.settle(&run, RunState::Failed, &reason, events).await;
            };
            tracing::warn!(
                schedule = schedule.id,
                name = schedule.name,
                in_seconds = wait.as_secs(),
                "the start of the task is tried again: {reason}"
            );
            failed = Some((reason, events));
            tokio::select! {
                () = tokio::time::sleep(*wait) => {}
                // It stays claimed.
                () = stopping(&mut stop) => return,
            }
        }
    }

    /// The schedule of a claimed run as it is now, or what becomes of the run: it may have waited for long.
    fn as_claimed(&self, claimed: &Schedule, planned: i64) -> Result<Arc<Schedule>, (RunState, &'static str)> {
        let same = |now: &Arc<Schedule>| {
            now.enabled && now.task_id == claimed.task_id && now.cron == claimed.cron && now.zone == claimed.zone
        };
        let Some(present) = self.get(&claimed.id).filter(same) else {
            return Err((
                RunState::Skipped,
                "its schedule was stopped, changed or deleted before its task was started",
            ));
        };
        if next_ms(&present, planned).is_some_and(|next| next <= now_ms()) {
            return Err((RunState::Missed, "the next run came before its task was started"));
        }
        Ok(present)
    }

    /// Runs a schedule now, whether it is on or not, and says what became of it.
    pub async fn run_now(self: &Arc<Self>, id: &str, who: &str) -> Result<RunNow, ChangeError> {
        // So that nobody deletes it before the run is claimed.
        let changing = self.changing().await?;
        let schedule = self.known(id)?;
        let (this, who) = (self.clone(), format!("{}, run by {who}", caller(&schedule)));
        let (claimed, is_claimed) = oneshot::channel();
        // To its end, also when the caller goes away.
        let work = tokio::spawn(async move {
            let begun = Instant::now();
            let planned = this.claim_now(&schedule.id).await?;
            drop(changing);
            let id = schedule.id.clone();
            let run = Run { schedule: id, planned, claimed: planned, state: RunState::Claimed, message: None };
            if begun.elapsed() >= PATIENCE {
                this.settle(&run, RunState::Missed, TOO_LATE, Vec::new()).await;
                return Err(ChangeError::Busy);
            }
            // Nobody listens when the caller went away.
            let _ = claimed.send(());
            let attempt = {
                let _place = this.places.acquire().await;
                this.attempt(&schedule, &who, None).await
            };
            let (state, message, events) = match attempt {
                Attempt::Started(session, events) => (RunState::Started, session, events),
                Attempt::Skipped(reason) => (RunState::Skipped, reason, Vec::new()),
                Attempt::Failed(reason, events) | Attempt::Refused(reason, events) => {
                    (RunState::Failed, reason, events)
                }
            };
            this.settle(&run, state, &message, events).await;
            Ok(RunNow { planned, state, message })
        });
        // An error when it failed, which it says itself.
        if tokio::time::timeout(PATIENCE + Duration::from_secs(1), is_claimed).await.is_err() {
            return Err(ChangeError::Busy);
        }
        work.await.unwrap_or(Err(ChangeError::Store(StoreError::Closed)))
    }

    /// Claims a run that is not planned: for a moment that no run has.
    async fn claim_now(&self, id: &str) -> Result<i64, StoreError> {
        let mut planned = now_ms();
        loop {
            let claim = Claim { schedule: id.to_owned(), planned, at: planned, missed: false };
            if self.store.claim_runs(vec![claim]).await? == [true] {
                return Ok(planned);
            }
            planned += 1;
        }
    }

    /// `in_doubt`: the task may have been started already, since this time.
    async fn attempt(&self, schedule: &Schedule, caller: &str, in_doubt: Option<i64>) -> Attempt {
        let task = &schedule.task_id;
        let Some(starter) = &self.starter else {
            let reason = "the config has no `qlik:`, so Butler cannot ask Qlik Sense";
            return Attempt::Refused(reason.to_owned(), vec![not_started(task, caller, reason)]);
        };
        if in_doubt.is_some() || schedule.overlap == Overlap::Skip {
            match last_execution(starter, task).await {
                Err(reason) => return Attempt::Failed(reason.clone(), vec![not_started(task, caller, &reason)]),
                Ok(None) => {}
                Ok(Some(last)) => {
                    // One that is to begin is the one that was asked for.
                    let begun = |since: i64| last.begun.map_or(last.running, |begun| begun >= since - SKEW_MS);
                    if let Some(since) = in_doubt.filter(|since| begun(*since)) {
                        tracing::info!(
                            schedule = schedule.id,
                            since,
                            "the task has begun to run since: it is not started again"
                        );
                        return Attempt::Started(String::new(), Vec::new());
                    }
                    if schedule.overlap == Overlap::Skip && last.running {
                        return Attempt::Skipped("the task is running still (`overlap: skip`)".to_owned());
                    }
                }
            }
        }
        let request = Request {
            selections: vec![Selection::TaskId(task.clone())],
            all_task_ids_must_exist: false,
            caller: caller.to_owned(),
        };
        let (report, events) = starter.attempt(&request).await;
        let outcome = match report {
            Ok(mut report) => report.pop().map(|(_, outcome)| outcome),
            Err(error) => return Attempt::Failed(error.to_string(), events),
        };
        match outcome {
            Some(Outcome::Tasks(tasks)) => match tasks.first().map(|started| &started.result) {
                Some(Ok(session)) => Attempt::Started(session.clone(), events),
                Some(Err(reason)) => Attempt::Failed(reason.clone(), events),
                None => Attempt::Failed("Qlik Sense does not say what became of it".to_owned(), events),
            },
            Some(Outcome::Denied) => Attempt::Refused("`qlik.startTaskFilter` does not allow it".to_owned(), events),
            Some(Outcome::Unknown | Outcome::HeldBack) | None => {
                Attempt::Refused("Qlik Sense has no task with this id".to_owned(), events)
            }
        }
    }

    /// Keeps what became of a run, and tells of it once.
    pub(super) async fn settle(&self, run: &Run, state: RunState, message: &str, mut events: Vec<NewEvent>) {
        for event in &mut events {
            // Whatever is repeated after a crash.
            event.keys = vec![format!("schedule:{}:{}:{}", run.schedule, run.planned, run.claimed)];
        }
        if !events.is_empty() {
            match self.store.accept(events).await {
                Ok(_) => self.accepted.notify_one(),
                Err(error) => {
                    tracing::error!(%error, "what became of the run of a schedule cannot be stored as an event");
                }
            }
        }
        let message = (!message.is_empty()).then(|| message.to_owned());
        if let Err(error) = self.store.settle_run(&run.schedule, run.planned, state, message).await {
            tracing::error!(%error, schedule = run.schedule, "what became of the run of a schedule cannot be stored");
        }
    }
}

/// How events name a schedule as the one that asks.
fn caller(schedule: &Schedule) -> String {
    let Schedule { id, name, .. } = schedule;
    if name.is_empty() || name == id { format!("schedule:{id}") } else { format!("schedule:{id} ({name})") }
}

/// What Qlik Sense knows of a task's last execution.
struct Last {
    running: bool,
    /// Ms since 1970 by the clock of the Sense server.
    begun: Option<i64>,
}

async fn last_execution(starter: &TaskStarter, task: &str) -> Result<Option<Last>, String> {
    let facts = starter.lookups().task_as_it_is(&task.to_ascii_lowercase()).await.map_err(|error| error.to_string())?;
    let Some(last) = facts.and_then(|facts| facts.last.clone()) else { return Ok(None) };
    let running = last.execution.status.is_some_and(|status| status != 0 && !is_final(status));
    let begun = last.execution.start_time.and_then(|time| time.parse::<Timestamp>().ok());
    Ok(Some(Last { running, begun: begun.map(Timestamp::as_millisecond) }))
}
