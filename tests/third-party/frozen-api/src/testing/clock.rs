//! The time of a fake host.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Either jumps to the end of each sleep at once, or stands still until it is advanced.
#[derive(Debug, Default)]
pub(super) struct Clock(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    manual: bool,
    now: Duration,
    numbers: u64,
    /// By the time of their end.
    sleepers: BTreeMap<(Duration, u64), Waker>,
    slept: Vec<Duration>,
}

impl Clock {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stand_still(&self) {
        self.state().manual = true;
    }

    /// Time since the clock was made.
    pub(super) fn now(&self) -> Duration {
        self.state().now
    }

    pub(super) fn slept(&self) -> Vec<Duration> {
        self.state().slept.clone()
    }

    pub(super) fn sleeping(&self) -> usize {
        self.state().sleepers.len()
    }

    pub(super) fn sleep(self: &Arc<Self>, duration: Duration) -> Sleep {
        let mut state = self.state();
        state.slept.push(duration);
        state.numbers += 1;
        let key = (state.now.saturating_add(duration), state.numbers);
        Sleep { clock: self.clone(), key, polled: false }
    }

    pub(super) fn advance(&self, by: Duration) {
        let to = self.now().saturating_add(by);
        self.advance_to(to);
    }

    /// Goes on to the next end of a sleep, if that is not after `limit`; whether there was one.
    pub(super) fn advance_to_next(&self, limit: Duration) -> bool {
        let next = self.state().sleepers.keys().next().map(|(until, _)| *until);
        match next.filter(|until| *until <= limit) {
            Some(until) => {
                self.advance_to(until);
                true
            }
            None => false,
        }
    }

    fn advance_to(&self, to: Duration) {
        let awake = {
            let mut state = self.state();
            state.now = state.now.max(to);
            let later = state.sleepers.split_off(&(to.saturating_add(Duration::from_nanos(1)), 0));
            std::mem::replace(&mut state.sleepers, later)
        };
        awake.into_values().for_each(Waker::wake);
    }
}

/// A sleep under way.
pub(super) struct Sleep {
    clock: Arc<Clock>,
    key: (Duration, u64),
    polled: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (key, clock) = (self.key, self.clock.clone());
        let mut state = clock.state();
        if !state.manual {
            // Once pending, so that others get their turn in a loop that only sleeps.
            if !std::mem::replace(&mut self.polled, true) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            state.now = state.now.max(key.0);
        }
        if state.now >= key.0 {
            state.sleepers.remove(&key);
            return Poll::Ready(());
        }
        state.sleepers.insert(key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let waker = self.clock.state().sleepers.remove(&self.key);
        // A waker may run code when it is dropped: not under the lock.
        drop(waker);
    }
}
