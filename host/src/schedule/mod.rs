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
//! | the start fails | tried again, up to five times in ten minutes and never beyond the next run; then it is told |
//!
//! `cron` and `zone` say when, `record` and `file` how a schedule is written, `ticks` serves the plugins.

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
use tokio::sync::{Mutex, Notify, Semaphore};

pub use cron::{Cron, CronError, Months};
pub use file::{Read, read as read_file, write as write_file};
pub use record::{Fault, Form, Missed, Overlap, STARTUP_STATES, Schedule};
pub use start::RunNow;
pub use ticks::{Tick, TickError, When, Wish, next_tick};
pub use zone::{Zone, ZoneError};

use crate::start_tasks::TaskStarter;
use crate::store::{Run, ScheduleRow, Store, StoreError, now_ms};

/// Most schedules.
const MAX_SCHEDULES: usize = 5000;
/// Tasks that are being started at once.
const STARTS: usize = 16;

/// The scheduler. It works while [`Scheduler::run`] does.
pub struct Scheduler {
    store: Store,
    /// Absent: the config has no Qlik Sense.
    starter: Option<Arc<TaskStarter>>,
    accepted: Arc<Notify>,
    entries: RwLock<Vec<Entry>>,
    /// Whoever changes schedules or claims runs holds it: store and memory change together.
    changes: Mutex<()>,
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

/// Why schedules were not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is none with this id.
    #[error("there is no schedule `{0}`")]
    Unknown(String),
    /// There are such.
    #[error("there is a schedule with this id already: {}", .0.join(", "))]
    Exist(Vec<String>),
    /// There would be too many.
    #[error("there may be at most {MAX_SCHEDULES} schedules: delete what is not needed")]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
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
        let mut entries = Vec::new();
        for row in store.schedules().await? {
            let record = serde_json::from_str(&row.record).unwrap_or_default();
            match Schedule::read(&record, Form::Own) {
                Ok(schedule) => entries.push(Entry::new(schedule.at_start(), row.since)),
                Err(faults) => {
                    let faults: Vec<String> =
                        faults.iter().map(|fault| format!("`{}` {}", fault.field, fault.message)).collect();
                    // It stays in the store: a database of time zones that lacks one may be mended.
                    tracing::error!(schedule = row.id, "the schedule does not run: {}", faults.join("; "));
                }
            }
        }
        Ok(Arc::new(Self {
            store,
            starter,
            accepted,
            entries: RwLock::new(entries),
            changes: Mutex::default(),
            changed: Notify::new(),
            places: Semaphore::new(STARTS),
        }))
    }

    /// All schedules, the oldest first.
    pub fn all(&self) -> Vec<Arc<Schedule>> {
        self.entries().iter().map(|entry| entry.schedule.clone()).collect()
    }

    /// The schedule with this id.
    pub fn get(&self, id: &str) -> Option<Arc<Schedule>> {
        self.entries().iter().find(|entry| entry.schedule.id == id).map(|entry| entry.schedule.clone())
    }

    /// The last run of each schedule, or of one.
    pub async fn last_runs(&self, id: Option<&str>) -> Result<Vec<Run>, StoreError> {
        self.store.last_runs(id).await
    }

    /// Adds schedules, all or none. With `replace` those with the same id are replaced, otherwise it is an error.
    pub async fn add(&self, schedules: Vec<Schedule>, replace: bool) -> Result<(), ChangeError> {
        let _changing = self.changes.lock().await;
        let (known, count) = {
            let entries = self.entries();
            let known = schedules.iter().filter(|new| entries.iter().any(|entry| entry.schedule.id == new.id));
            (known.map(|known| known.id.clone()).collect::<Vec<_>>(), entries.len())
        };
        if !known.is_empty() && !replace {
            return Err(ChangeError::Exist(known));
        }
        if count + schedules.len() - known.len() > MAX_SCHEDULES {
            return Err(ChangeError::TooMany);
        }
        self.put(schedules).await
    }

    /// Replaces the schedule of this id.
    pub async fn replace(&self, id: &str, change: impl FnOnce(&Schedule) -> Schedule) -> Result<(), ChangeError> {
        let _changing = self.changes.lock().await;
        let former = self.get(id).ok_or_else(|| ChangeError::Unknown(id.to_owned()))?;
        self.put(vec![change(&former)]).await
    }

    /// Removes the schedule of this id.
    pub async fn remove(&self, id: &str) -> Result<(), ChangeError> {
        let _changing = self.changes.lock().await;
        self.get(id).ok_or_else(|| ChangeError::Unknown(id.to_owned()))?;
        self.store.change_schedules(Vec::new(), vec![id.to_owned()]).await?;
        self.entries_mut(|entries| entries.retain(|entry| entry.schedule.id != id));
        Ok(())
    }

    /// Switches one schedule on or off, or all. Unless it is to last, `startupState` decides again at the next start.
    pub async fn switch(
        &self,
        id: Option<&str>,
        enabled: bool,
        lasting: bool,
    ) -> Result<Vec<Arc<Schedule>>, ChangeError> {
        let _changing = self.changes.lock().await;
        let chosen: Vec<Arc<Schedule>> =
            self.all().into_iter().filter(|schedule| id.is_none_or(|id| schedule.id == id)).collect();
        if let (Some(id), true) = (id, chosen.is_empty()) {
            return Err(ChangeError::Unknown(id.to_owned()));
        }
        let mut switched = Vec::new();
        for schedule in &chosen {
            let mut new = Schedule::clone(schedule);
            new.switch(enabled, lasting);
            switched.extend((new != **schedule).then_some(new));
        }
        if !switched.is_empty() {
            self.put(switched).await?;
        }
        Ok(chosen.iter().filter_map(|schedule| self.get(&schedule.id)).collect())
    }

    /// Writes schedules. What is planned as it was goes on; all else begins now.
    async fn put(&self, schedules: Vec<Schedule>) -> Result<(), ChangeError> {
        let now = now_ms();
        let former = self.entries().clone();
        let entries: Vec<Entry> = schedules
            .into_iter()
            .map(|schedule| {
                let same = former.iter().find(|former| {
                    let former = &former.schedule;
                    former.id == schedule.id
                        && former.enabled == schedule.enabled
                        && former.cron == schedule.cron
                        && former.zone == schedule.zone
                });
                Entry::new(schedule, same.map_or(now, |former| former.since))
            })
            .collect();
        self.store.change_schedules(entries.iter().map(Entry::row).collect(), Vec::new()).await?;
        self.entries_mut(|all| {
            for entry in entries {
                match all.iter_mut().find(|one| one.schedule.id == entry.schedule.id) {
                    Some(one) => *one = entry,
                    None => all.push(entry),
                }
            }
        });
        Ok(())
    }

    fn entries(&self) -> std::sync::RwLockReadGuard<'_, Vec<Entry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
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
