//! Which runs are due: one look at the clock after the other.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::record::Missed;
use super::start::TOO_LATE;
use super::{Entry, Schedule, Scheduler, next_ms};
use crate::stop::stopping;
use crate::store::{Claim, Run, RunState, StoreError, now_ms, rfc3339};

/// The clock is looked at so often: it may be set.
const LOOK: Duration = Duration::from_secs(1);
/// So late still counts as on time.
pub(super) const GRACE_MS: i64 = 60_000;
/// A clock that is back by less is adjusted, not set.
const JUMP_MS: i64 = 60_000;
/// Who set the clock back further has mended it; what ran by the wrong one says nothing.
const MENDED_MS: i64 = 3 * 3_600_000;
/// Starts under way get so long at a stop; what they leave is dealt with at the next start.
const END: Duration = Duration::from_secs(2);
/// While the store fails by itself.
const PAUSE: Duration = Duration::from_secs(5);

/// A run that is due.
#[derive(Debug, PartialEq)]
pub(super) struct Due {
    pub(super) schedule: Arc<Schedule>,
    pub(super) planned: i64,
    /// It is too late, and not made up for.
    pub(super) missed: bool,
    /// The first one that it stands for, if that is an earlier one.
    first: Option<i64>,
}

/// What a look at the clock leads to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Look {
    pub(super) due: Vec<Due>,
    /// Schedules that go on from the present time, since the clock was set back.
    pub(super) rewound: Vec<String>,
}

/// What is claimed.
#[derive(Debug, Default)]
pub(super) struct Claimed {
    /// To be started.
    pub(super) runs: Vec<(Arc<Schedule>, i64)>,
    /// Claimed too late, and to be left out.
    pub(super) late: Vec<Run>,
}

/// Looks at the clock.
pub(super) fn look(entries: &[Entry], now: i64) -> Look {
    let mut look = Look::default();
    for entry in entries.iter().filter(|entry| entry.schedule.enabled) {
        let (schedule, back) = (&entry.schedule, entry.since - now);
        if back > MENDED_MS || back > JUMP_MS && schedule.cron.is_hourly() {
            look.rewound.push(schedule.id.clone());
            continue;
        }
        let Some(next) = entry.next.filter(|next| *next <= now) else { continue };
        let planned = latest(schedule, entry.since, now).unwrap_or(next);
        let missed = now - planned > GRACE_MS && schedule.missed == Missed::Skip;
        let first = (next < planned).then_some(next);
        look.due.push(Due { schedule: schedule.clone(), planned, missed, first });
    }
    look
}

fn latest(schedule: &Schedule, after: i64, until: i64) -> Option<i64> {
    let (after, until) = (Timestamp::from_millisecond(after).ok()?, Timestamp::from_millisecond(until).ok()?);
    schedule.cron.latest(after, until, schedule.zone.zone()).map(Timestamp::as_millisecond)
}

impl Due {
    /// Says what is left out.
    fn tell(&self) {
        let Schedule { id, name, .. } = &*self.schedule;
        let planned = rfc3339(self.planned);
        match (self.first.map(rfc3339), self.missed) {
            (None, false) => {}
            (None, true) => {
                tracing::warn!(schedule = id, name, planned, "a run was missed and is left out (`missed: skip`)");
            }
            (Some(first), true) => {
                tracing::warn!(
                    schedule = id,
                    name,
                    first,
                    last = planned,
                    "runs were missed and are left out (`missed: skip`)"
                );
            }
            (Some(first), false) => {
                tracing::warn!(schedule = id, name, first, "runs were missed; one is made instead of them");
            }
        }
    }
}

impl Scheduler {
    /// Works until `stop`.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut starts = JoinSet::new();
        tokio::select! {
            () = stopping(&mut stop) => return,
            () = self.keep_states() => {}
        }
        self.recover(&mut starts, &stop).await;
        loop {
            tokio::select! {
                () = stopping(&mut stop) => break,
                () = self.changed.notified() => {}
                () = tokio::time::sleep(self.wait()) => {}
                Some(_) = starts.join_next() => continue,
            }
            let now = now_ms();
            let runs = tokio::select! {
                // What is claimed by then is found at the next start.
                () = stopping(&mut stop) => break,
                runs = self.claim(now) => runs,
            };
            match runs {
                Ok(Claimed { runs, late }) => {
                    for (schedule, planned) in runs {
                        starts.spawn(self.clone().start(schedule, planned, now, stop.clone()));
                    }
                    if !late.is_empty() {
                        starts.spawn(self.clone().leave_out(late));
                    }
                }
                Err(StoreError::Closed) => break,
                Err(error) => {
                    tracing::error!(%error, "no task can be started by schedule");
                    tokio::select! {
                        () = stopping(&mut stop) => break,
                        () = tokio::time::sleep(PAUSE) => {}
                    }
                }
            }
        }
        let ending = async { while starts.join_next().await.is_some() {} };
        if tokio::time::timeout(END, ending).await.is_err() {
            tracing::warn!("tasks are being started by schedule; what became of that is found out at the next start");
        }
    }

    /// Until the next look.
    fn wait(&self) -> Duration {
        let next = self.entries().iter().filter_map(|entry| entry.next).min();
        let wait = next.map_or(i64::MAX, |next| next - now_ms());
        u64::try_from(wait).map_or(Duration::ZERO, Duration::from_millis).min(LOOK)
    }

    /// Claims what is due. It waits for nothing behind that: a stop would drop what is claimed.
    pub(super) async fn claim(&self, now: i64) -> Result<Claimed, StoreError> {
        let _changing = self.changes.lock().await;
        let Look { due, rewound } = look(&self.entries(), now);
        if !rewound.is_empty() {
            self.store.rewind_schedules(rewound.clone(), now).await?;
            tracing::warn!(schedules = rewound.len(), "the clock was set back: schedules go on from the present time");
            self.go_on(|entry| rewound.contains(&entry.schedule.id).then_some(now));
        }
        if due.is_empty() {
            return Ok(Claimed::default());
        }
        let claims = due.iter().map(|due| Claim {
            schedule: due.schedule.id.clone(),
            planned: due.planned,
            at: now,
            missed: due.missed,
        });
        let claimed = self.store.claim_runs(claims.collect()).await?;
        self.go_on(|entry| due.iter().find(|due| due.schedule.id == entry.schedule.id).map(|due| due.planned));
        let mut all = Claimed::default();
        for (mut due, _) in due.into_iter().zip(claimed).filter(|(_, claimed)| *claimed) {
            // The store may have been in trouble for long.
            if !due.missed && due.schedule.missed == Missed::Skip && now_ms() - due.planned > GRACE_MS {
                due.missed = true;
                let (schedule, planned) = (due.schedule.id.clone(), due.planned);
                all.late.push(Run { schedule, planned, claimed: now, state: RunState::Claimed, message: None });
            }
            due.tell();
            if !due.missed {
                all.runs.push((due.schedule, due.planned));
            }
        }
        Ok(all)
    }

    /// Keeps that runs are missed.
    pub(super) async fn leave_out(self: Arc<Self>, late: Vec<Run>) {
        for run in late {
            self.settle(&run, RunState::Missed, TOO_LATE, Vec::new()).await;
        }
    }

    /// Notes until where schedules are dealt with.
    fn go_on(&self, until: impl Fn(&Entry) -> Option<i64>) {
        let mut entries = self.entries.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        for entry in entries.iter_mut() {
            if let Some(until) = until(entry) {
                entry.since = until;
                entry.next = next_ms(&entry.schedule, until);
            }
        }
    }
}
