//! What the service manager is told: that the start is through, that the main loop goes round and the store answers, how
//! things are.

use std::fmt::Write as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, timeout};

use super::parts::Core;
use crate::plugins::{Condition, Instance};
use crate::service::{Manager, State};
use crate::store::Store;

/// A start tells so often that it goes on, and takes so much longer at most until it tells again.
const START_ROUND: Duration = Duration::from_secs(10);
const START_MORE: Duration = Duration::from_mins(1);
/// Instances get so long for their first start, before Butler is ready without them.
const FIRST_STARTS: Duration = Duration::from_secs(10);
/// While the store does not answer it is looked so often whether that is known trouble.
const LOOK: Duration = Duration::from_secs(1);
/// What a stop takes beyond its limit, for the store and the log.
const STOP_MORE: Duration = Duration::from_secs(5);

/// Does what comes before the daemon is at work, and tells that it goes on.
pub(super) async fn starting<T>(manager: &dyn Manager, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        manager.tell(State::Starting(START_MORE));
        tokio::select! {
            done = &mut work => return done,
            () = sleep(START_ROUND) => {}
        }
    }
}

/// The daemon at work, as the manager sees it.
pub(super) struct Managed<'a> {
    manager: &'a dyn Manager,
    core: Core,
    rounds: Option<Rounds>,
    /// Until they are through.
    first_starts: Option<BoxFuture<'static, ()>>,
    status: String,
}

impl<'a> Managed<'a> {
    pub(super) fn new(manager: &'a dyn Manager, core: &Core) -> Self {
        let instances = core.instances.get();
        let first_starts = Box::pin(async move { drop(timeout(FIRST_STARTS, first_starts(&instances)).await) });
        Self {
            manager,
            core: core.clone(),
            rounds: manager.every().map(Rounds::new),
            first_starts: Some(first_starts),
            status: String::new(),
        }
    }

    /// Waits for the next thing to tell, and tells it; to be called again and again. May be dropped before it has ended.
    pub(super) async fn next(&mut self) {
        let Self { core, rounds, first_starts, .. } = self;
        let state = tokio::select! {
            () = or_never(first_starts.as_mut()) => {
                *first_starts = None;
                State::Ready
            }
            () = or_never(rounds.as_mut().map(|rounds| rounds.next(&core.store))) => State::Alive,
        };
        let status = self.core.status();
        if self.status != status {
            self.manager.tell(State::Status(&status));
            self.status = status;
        }
        self.manager.tell(state);
    }

    /// A reload begins. Before the manager has heard that the start is through, it hears nothing of it.
    pub(super) fn reloading(&self) {
        if self.first_starts.is_none() {
            self.manager.tell(State::Reloading);
        }
    }

    /// A reload is over.
    pub(super) fn reloaded(&self) {
        if self.first_starts.is_none() {
            self.manager.tell(State::Ready);
        }
    }

    /// Does what a stop takes. The store is being closed, so the main loop speaks for itself; the stop has a limit of its own.
    pub(super) async fn stopping<T>(self, work: impl Future<Output = T>) -> T {
        let limit = self.core.config.get().shutdown_timeout.duration();
        self.manager.tell(State::Stopping(limit + STOP_MORE));
        let Some(Rounds { mut ticks, .. }) = self.rounds else { return work.await };
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = ticks.tick() => self.manager.tell(State::Alive),
            }
        }
    }
}

/// When the manager is to hear that the daemon is alive.
struct Rounds {
    ticks: Interval,
    /// When the present round began, while it waits for the store.
    since: Option<Instant>,
    /// A commit that was asked for; while the disk does not let it, over several rounds.
    answer: Option<BoxFuture<'static, bool>>,
}

impl Rounds {
    fn new(every: Duration) -> Self {
        let mut ticks = interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, since: None, answer: None }
    }

    /// Waits until it is time, and then for the store: until its writer has committed, or has tried in vain. That commit is empty, so a
    /// disk that hangs shows as soon as there is something to write before it. A disk that is full or cannot be written is no
    /// reason to be started anew, which would not mend it.
    async fn next(&mut self, store: &Store) {
        if self.since.is_none() {
            self.ticks.tick().await;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let answer = self.answer.get_or_insert_with(|| {
            let store = store.clone();
            Box::pin(async move { store.answers().await })
        });
        loop {
            tokio::select! {
                answered = &mut *answer => {
                    self.answer = None;
                    if answered {
                        break;
                    }
                    // It is closed: nothing will be stored any more.
                    return std::future::pending().await;
                }
                () = sleep(LOOK) => if store.tried_in_vain_since(since.into_std()) {
                    break;
                }
            }
        }
        self.since = None;
    }
}

/// Waits for what may not be there.
async fn or_never<T>(future: Option<impl Future<Output = T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Waits until no instance is in its first start any more. One that has failed there has refused its settings, which ends the daemon: that
/// is never ready, and one of them has not heard of it yet.
async fn first_starts(instances: &[Arc<Instance>]) {
    let is_through = |condition: &Condition| !matches!(condition, Condition::Starting | Condition::Failed { .. });
    for instance in instances {
        // Fails when the instance is gone.
        let _ = instance.watch().wait_for(is_through).await;
    }
}

impl Core {
    /// How the daemon is, in one line for people.
    fn status(&self) -> String {
        let instances = self.instances.get();
        let not_running = instances.iter().filter(|one| one.condition() != Condition::Running);
        let names: Vec<&str> = not_running.map(|one| one.name()).collect();
        let running = instances.len() - names.len();
        let mut status = match instances.len() {
            1 => format!("{running} of 1 instance runs"),
            all => format!("{running} of {all} instances run"),
        };
        if !names.is_empty() {
            let _ = write!(status, "; not {}", names.join(", "));
        }
        if let Some(trouble) = self.store.trouble() {
            let _ = write!(status, "; the store cannot be written: {trouble}");
        }
        status
    }
}
