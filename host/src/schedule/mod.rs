//! The scheduler: starts tasks of Qlik Sense at planned times.
//!
//! Each run is claimed in the store before its task is started, once (`Store::claim_runs`), so that a crash neither doubles
//! nor loses it; what was claimed and not settled is dealt with at the next start ([`start`]). Time is the wall clock's, looked
//! at every second at least: a clock that is set, or a machine that slept, moves the next runs and never makes a burst.
//!
//! | when | what becomes of it |
//! | --- | --- |
//! | Butler looks up to a minute late | it counts as on time |
//! | later, for Butler was away or the machine slept | `missed`: left out and told, or made up for once |
//! | the clock was set back by less than three hours | what ran does not run again, except for those that come every hour |
//! | it was set back by more | all runs are planned anew from the new time |
//! | Butler ended in the middle of a start | see [`start`]; a later run that is due stands for it |
//! | the schedule is stopped, deleted or changed before the task is started | it is not started |
//! | the start fails | tried again, up to five times in ten minutes and never beyond the next run; then it is told |
//!
//! `cron` and `zone` say when, `record` and `file` how a schedule is written, `change` changes them, `plan` claims runs and `start`
//! starts their tasks; `ticks` serves the plugins.

mod change;
mod cron;
mod file;
mod plan;
mod record;
mod start;
#[cfg(test)]
mod tests;
mod ticks;
mod zone;

use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::sync::{Mutex, Notify, Semaphore};

pub use change::ChangeError;
pub use cron::{Cron, CronError, Months};
pub use file::{Read, read as read_file, write as write_file};
pub use record::{Fault, Form, Missed, Overlap, STARTUP_STATES, Schedule};
pub use start::RunNow;
pub use ticks::{Tick, TickError, When, Wish, next_tick};
pub use zone::{Zone, ZoneError};

use crate::start_tasks::TaskStarter;
use crate::store::{Run, ScheduleRow, Store, StoreError, now_ms};

/// Tasks that are being started at once.
const STARTS: usize = 16;

/// The scheduler. It works while [`Scheduler::run`] does.
pub struct Scheduler {
    store: Store,
    /// Absent: the config has no Qlik Sense.
    starter: Option<Arc<TaskStarter>>,
    accepted: Arc<Notify>,
    entries: RwLock<Vec<Entry>>,
    unread: RwLock<Vec<Unread>>,
    /// Whoever changes schedules or claims runs holds it: store and memory change together.
    changes: Arc<Mutex<()>>,
    /// Told when something else comes next.
    changed: Notify,
    places: Semaphore,
}

/// A schedule at work.
#[derive(Debug, Clone)]
struct Entry {
    schedule: Arc<Schedule>,
    /// Planned times up to here are dealt with, ms since 1970.
    since: i64,
    /// The next run. `None`: it is stopped, or there is no other.
    next: Option<i64>,
}

/// A schedule of the store that cannot be read, such as one of a time zone that the system no longer knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Unread {
    /// Its id.
    pub id: String,
    /// As it is stored; empty when it is no JSON.
    pub record: Map<String, Value>,
    /// What is wrong with it.
    pub error: String,
}

impl Entry {
    fn new(schedule: Schedule, since: i64) -> Self {
        let next = if schedule.enabled { next_ms(&schedule, since) } else { None };
        Self { schedule: Arc::new(schedule), since, next }
    }

    fn row(&self) -> ScheduleRow {
        let record = serde_json::to_string(&self.schedule.own()).unwrap_or_default();
        ScheduleRow { id: self.schedule.id.clone(), since: self.since, record }
    }
}

impl Scheduler {
    /// The schedules of the store; nothing runs yet. Their states are those of a start.
    pub async fn open(
        store: Store,
        starter: Option<Arc<TaskStarter>>,
        accepted: Arc<Notify>,
    ) -> Result<Arc<Self>, StoreError> {
        let (mut entries, mut unread) = (Vec::new(), Vec::new());
        for row in store.schedules().await? {
            let record: Map<String, Value> = serde_json::from_str(&row.record).unwrap_or_default();
            match Schedule::read(&record, Form::Own) {
                Ok(schedule) => {
                    let stopped = !schedule.enabled;
                    let schedule = schedule.at_start();
                    // While it was stopped it missed nothing.
                    let since = if stopped && schedule.enabled { now_ms() } else { row.since };
                    entries.push(Entry::new(schedule, since));
                }
                Err(faults) => {
                    let faults: Vec<String> =
                        faults.iter().map(|fault| format!("`{}` {}", fault.field, fault.message)).collect();
                    let error = faults.join("; ");
                    // It stays in the store: a database of time zones that lacks one may be mended.
                    tracing::error!(schedule = row.id, "the schedule does not run: {error}");
                    unread.push(Unread { id: row.id, record, error });
                }
            }
        }
        Ok(Arc::new(Self {
            store,
            starter,
            accepted,
            entries: RwLock::new(entries),
            unread: RwLock::new(unread),
            changes: Arc::default(),
            changed: Notify::new(),
            places: Semaphore::new(STARTS),
        }))
    }

    /// All schedules, the oldest first.
    pub fn all(&self) -> Vec<Arc<Schedule>> {
        self.entries().iter().map(|entry| entry.schedule.clone()).collect()
    }

    /// Those that cannot be read, and so do not run.
    pub fn unread(&self) -> Vec<Unread> {
        self.unread.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The schedule with this id.
    pub fn get(&self, id: &str) -> Option<Arc<Schedule>> {
        self.entries().iter().find(|entry| entry.schedule.id == id).map(|entry| entry.schedule.clone())
    }

    /// The last run of each schedule, or of one.
    pub async fn last_runs(&self, id: Option<&str>) -> Result<Vec<Run>, StoreError> {
        self.store.last_runs(id).await
    }

    /// Keeps what a start has made of states: what runs from now on, and is missed by a later start, is made up for.
    async fn keep_states(&self) {
        let _changing = self.changes.lock().await;
        let decided =
            self.entries().iter().filter(|entry| entry.schedule.startup_state.is_some()).map(Entry::row).collect();
        match self.store.change_schedules(decided, Vec::new()).await {
            // After the close: the next start decides anew.
            Ok(()) | Err(StoreError::Closed) => {}
            Err(error) => tracing::error!(%error, "the states of schedules cannot be kept"),
        }
    }

    fn entries(&self) -> std::sync::RwLockReadGuard<'_, Vec<Entry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn unread_mut(&self, change: impl FnOnce(&mut Vec<Unread>)) {
        change(&mut self.unread.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn entries_mut(&self, change: impl FnOnce(&mut Vec<Entry>)) {
        change(&mut self.entries.write().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler").field("schedules", &self.entries().len()).finish_non_exhaustive()
    }
}

impl Schedule {
    /// The next runs after now, if it runs: ms since 1970.
    pub fn next_runs(&self, n: usize) -> Vec<i64> {
        if !self.enabled {
            return Vec::new();
        }
        std::iter::successors(next_ms(self, now_ms()), |last| next_ms(self, *last)).take(n).collect()
    }
}

/// The next planned time after one, ms since 1970.
fn next_ms(schedule: &Schedule, after: i64) -> Option<i64> {
    let after = Timestamp::from_millisecond(after).ok()?;
    schedule.cron.next(after, schedule.zone.zone()).map(Timestamp::as_millisecond)
}
