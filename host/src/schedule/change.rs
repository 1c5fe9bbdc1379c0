//! Changes of schedules: store and memory change together, and whoever asks for one does not wait without end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use super::{Entry, Schedule, Scheduler};
use crate::store::{StoreError, now_ms};

/// Most schedules: one file of so many is not too long to be imported.
pub(super) const MAX_SCHEDULES: usize = 2000;
/// So long a change waits for its turn, and so long for the store.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// The trouble of the store is looked at so often.
const LOOK: Duration = Duration::from_millis(200);

/// Why schedules were not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is none with this id.
    #[error("there is no schedule `{0}`")]
    Unknown(String),
    /// There is one, but it cannot be read.
    #[error("the schedule `{id}` cannot run: {error}; replace or delete it")]
    Unread {
        /// Its id.
        id: String,
        /// What is wrong with it.
        error: String,
    },
    /// There are such.
    #[error("there is a schedule with this id already: {}", .0.join(", "))]
    Exist(Vec<String>),
    /// There would be too many.
    #[error("there may be at most {MAX_SCHEDULES} schedules: delete what is not needed")]
    TooMany,
    /// The store cannot be written.
    #[error(
        "the store cannot be written now, so nothing is changed: `/v5/health/ready` says why; try again when it is well"
    )]
    Busy,
    /// The store could not be written in time.
    #[error(
        "the store cannot be written now: the change is made when it is well again, which `/v5/health/ready` tells"
    )]
    Late,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Scheduler {
    /// Adds schedules, all or none. With `replace` those with the same id are replaced, otherwise it is an error.
    pub async fn add(self: &Arc<Self>, schedules: Vec<Schedule>, replace: bool) -> Result<(), ChangeError> {
        let changing = self.changing().await?;
        let (known, count) = {
            let (entries, unread) = (self.entries(), self.unread());
            let exists = |id: &String| {
                entries.iter().any(|entry| entry.schedule.id == *id) || unread.iter().any(|unread| unread.id == *id)
            };
            let known = schedules.iter().filter(|new| exists(&new.id)).map(|known| known.id.clone());
            (known.collect::<Vec<_>>(), entries.len() + unread.len())
        };
        if !known.is_empty() && !replace {
            return Err(ChangeError::Exist(known));
        }
        if count + schedules.len() - known.len() > MAX_SCHEDULES {
            return Err(ChangeError::TooMany);
        }
        self.put(changing, schedules).await
    }

    /// Replaces the schedule of this id. `change` gets it, unless it cannot be read.
    pub async fn replace(
        self: &Arc<Self>,
        id: &str,
        change: impl FnOnce(Option<&Schedule>) -> Schedule,
    ) -> Result<(), ChangeError> {
        let changing = self.changing().await?;
        let former = match self.known(id) {
            Err(ChangeError::Unread { .. }) => None,
            known => Some(known?),
        };
        self.put(changing, vec![change(former.as_deref())]).await
    }

    /// Removes the schedule of this id.
    pub async fn remove(self: &Arc<Self>, id: &str) -> Result<(), ChangeError> {
        let changing = self.changing().await?;
        if let Err(error @ ChangeError::Unknown(_)) = self.known(id) {
            return Err(error);
        }
        self.write(changing, Vec::new(), vec![id.to_owned()]).await
    }

    /// Switches one schedule on or off, or all. Unless it is to last, `startupState` decides again at the next start.
    pub async fn switch(
        self: &Arc<Self>,
        id: Option<&str>,
        enabled: bool,
        lasting: bool,
    ) -> Result<Vec<Arc<Schedule>>, ChangeError> {
        let changing = self.changing().await?;
        let chosen = id.map_or_else(|| Ok(self.all()), |id| self.known(id).map(|one| vec![one]))?;
        let mut switched = Vec::new();
        for schedule in &chosen {
            let mut new = Schedule::clone(schedule);
            new.switch(enabled, lasting);
            switched.extend((new != **schedule).then_some(new));
        }
        if !switched.is_empty() {
            self.put(changing, switched).await?;
        }
        Ok(chosen.iter().filter_map(|schedule| self.get(&schedule.id)).collect())
    }

    /// The schedule with this id, or why there is none.
    pub(super) fn known(&self, id: &str) -> Result<Arc<Schedule>, ChangeError> {
        if let Some(unread) = self.unread().into_iter().find(|unread| unread.id == id) {
            return Err(ChangeError::Unread { id: unread.id, error: unread.error });
        }
        self.get(id).ok_or_else(|| ChangeError::Unknown(id.to_owned()))
    }

    /// The right to change schedules, as soon as the store can be written.
    pub(super) async fn changing(&self) -> Result<OwnedMutexGuard<()>, ChangeError> {
        let changing = async {
            let changing = self.changes.clone().lock_owned().await;
            while self.store.trouble().is_some() {
                tokio::time::sleep(LOOK).await;
            }
            changing
        };
        tokio::time::timeout(PATIENCE, changing).await.map_err(|_| ChangeError::Busy)
    }

    /// Writes schedules. What is planned as it was goes on; all else begins now.
    async fn put(self: &Arc<Self>, changing: OwnedMutexGuard<()>, schedules: Vec<Schedule>) -> Result<(), ChangeError> {
        let now = now_ms();
        let former = self.entries().clone();
        let entries = schedules.into_iter().map(|schedule| {
            let same = former.iter().find(|former| {
                let former = &former.schedule;
                former.id == schedule.id
                    && former.enabled == schedule.enabled
                    && former.cron == schedule.cron
                    && former.zone == schedule.zone
            });
            Entry::new(schedule, same.map_or(now, |former| former.since))
        });
        let entries = entries.collect();
        self.write(changing, entries, Vec::new()).await
    }

    /// Makes a change, to its end also when the caller goes away: otherwise memory would not know what is stored.
    async fn write(
        self: &Arc<Self>,
        changing: OwnedMutexGuard<()>,
        put: Vec<Entry>,
        remove: Vec<String>,
    ) -> Result<(), ChangeError> {
        let this = self.clone();
        let writing = tokio::spawn(async move {
            let _changing = changing;
            this.store.change_schedules(put.iter().map(Entry::row).collect(), remove.clone()).await?;
            let gone = |id: &String| remove.contains(id) || put.iter().any(|entry| entry.schedule.id == *id);
            this.unread_mut(|unread| unread.retain(|unread| !gone(&unread.id)));
            this.entries_mut(|entries| {
                entries.retain(|entry| !remove.contains(&entry.schedule.id));
                for entry in put {
                    match entries.iter_mut().find(|one| one.schedule.id == entry.schedule.id) {
                        Some(one) => *one = entry,
                        None => entries.push(entry),
                    }
                }
            });
            Ok(())
        });
        let written = tokio::time::timeout(PATIENCE, writing).await.map_err(|_| ChangeError::Late)?;
        written.unwrap_or(Err(ChangeError::Store(StoreError::Closed)))
    }
}
