//! What a connection is doing, as far as it decides whether it may be closed.
//!
//! A connection waits for its client unless a handler is at work: then it is never closed, since a request would be done by
//! half.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

/// What a request is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its body is on the way.
    Receiving,
    /// A handler is at work.
    Working,
    /// The client is to take the answer.
    Sending,
}

/// What the task of a connection is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Go on.
    Serve,
    /// No further requests; end when those under way have ended.
    Retire,
    /// End at once.
    Close,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Activity {
    state: Mutex<State>,
    order: watch::Sender<Order>,
}

#[derive(Debug)]
struct State {
    /// When there was any progress last.
    since: Instant,
    retired: Option<Instant>,
    closed: bool,
    next: u64,
    /// Requests under way: number, phase, last progress. More than one only with HTTP/2.
    exchanges: Vec<(u64, Phase, Instant)>,
}

impl State {
    fn is_working(&self) -> bool {
        self.exchanges.iter().any(|(_, phase, _)| *phase == Phase::Working)
    }
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        let state = State { since: Instant::now(), retired: None, closed: false, next: 0, exchanges: Vec::new() };
        Arc::new(Self { state: Mutex::new(state), order: watch::Sender::new(Order::Serve) })
    }

    /// For the connection's task.
    pub(super) fn orders(&self) -> watch::Receiver<Order> {
        self.order.subscribe()
    }

    /// A request begins; not on a connection that is being closed.
    pub(super) fn begin(self: &Arc<Self>, phase: Phase) -> Option<Arc<Exchange>> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        let (number, now) = (state.next, Instant::now());
        state.next += 1;
        state.since = now;
        state.exchanges.push((number, phase, now));
        Some(Arc::new(Exchange { activity: self.clone(), number, unread: Mutex::new(false) }))
    }

    /// Since when the client keeps it waiting, if it does.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        let state = self.lock();
        (!state.is_working()).then_some(state.since)
    }

    /// Closes it, unless a handler is at work meanwhile.
    pub(super) fn give_way(&self) -> bool {
        let mut state = self.lock();
        if state.is_working() {
            return false;
        }
        state.closed = true;
        self.order.send_replace(Order::Close);
        true
    }

    /// Ends it if its client is too slow: no request for `head`, or an answer that it takes none of for `answer`.
    pub(super) fn look(&self, now: Instant, head: std::time::Duration, answer: std::time::Duration) {
        let mut state = self.lock();
        let over = |since: Instant, limit| now.saturating_duration_since(since) >= limit;
        if state.exchanges.is_empty() {
            match state.retired {
                None if over(state.since, head) => {
                    state.retired = Some(now);
                    self.order.send_if_modified(|order| {
                        let serving = *order == Order::Serve;
                        *order = if serving { Order::Retire } else { *order };
                        serving
                    });
                }
                // What is left of an answer is not taken.
                Some(retired) if over(retired, answer) => {
                    drop(state);
                    self.give_way();
                }
                _ => {}
            }
        } else if state.exchanges.iter().any(|(_, phase, since)| *phase == Phase::Sending && over(*since, answer)) {
            drop(state);
            self.give_way();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way, until its answer has been handed over.
#[derive(Debug)]
pub(super) struct Exchange {
    activity: Arc<Activity>,
    number: u64,
    unread: Mutex<bool>,
}

impl Exchange {
    /// There was progress, and this is the phase now; false on a connection that is being closed.
    pub(super) fn enter(&self, phase: Phase) -> bool {
        self.step(None, phase)
    }

    /// The same, if it is in the phase `from`.
    pub(super) fn turn(&self, from: Phase, to: Phase) -> bool {
        self.step(Some(from), to)
    }

    fn step(&self, from: Option<Phase>, to: Phase) -> bool {
        let mut state = self.activity.lock();
        let (now, closed) = (Instant::now(), state.closed);
        let own = state.exchanges.iter_mut().find(|(number, ..)| *number == self.number);
        if let Some((_, phase, since)) = own.filter(|(_, phase, _)| !closed && from.is_none_or(|from| from == *phase)) {
            (*phase, *since) = (to, now);
            state.since = now;
        }
        !closed
    }

    /// The body was not read to its end.
    pub(super) fn leave_unread(&self) {
        *self.unread.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Whether the body was not read to its end.
    pub(super) fn is_unread(&self) -> bool {
        *self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut state = self.activity.lock();
        state.exchanges.retain(|(number, ..)| *number != self.number);
        state.since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HEAD: Duration = Duration::from_secs(15);
    const ANSWER: Duration = Duration::from_secs(30);

    fn after(activity: &Activity, time: Duration) -> Order {
        activity.look(Instant::now() + time, HEAD, ANSWER);
        *activity.order.borrow()
    }

    #[test]
    fn without_a_request_it_retires_and_then_closes() {
        let activity = Activity::new();
        assert_eq!(after(&activity, HEAD * 9 / 10), Order::Serve);
        assert_eq!(after(&activity, HEAD), Order::Retire);
        assert_eq!(after(&activity, HEAD + ANSWER * 9 / 10), Order::Retire);
        assert_eq!(after(&activity, HEAD + ANSWER + Duration::from_secs(1)), Order::Close);
        assert!(activity.begin(Phase::Working).is_none());
    }

    #[test]
    fn a_handler_at_work_is_left_alone_and_an_answer_is_to_be_taken() {
        let activity = Activity::new();
        let exchange = activity.begin(Phase::Receiving).unwrap();
        assert!(activity.waiting_since().is_some());
        assert!(exchange.turn(Phase::Receiving, Phase::Working));
        assert_eq!((activity.waiting_since(), activity.give_way()), (None, false));
        assert_eq!(after(&activity, HEAD * 100), Order::Serve);
        exchange.enter(Phase::Sending);
        // Not back to where it was.
        exchange.turn(Phase::Receiving, Phase::Working);
        assert_eq!(after(&activity, ANSWER * 9 / 10), Order::Serve);
        let other = activity.begin(Phase::Working).unwrap();
        assert_eq!(after(&activity, ANSWER + Duration::from_secs(1)), Order::Serve, "another request is at work");
        drop(other);
        assert_eq!(after(&activity, ANSWER + Duration::from_secs(1)), Order::Close);
        assert!(!exchange.enter(Phase::Working), "the handler is told");
        assert!(activity.give_way(), "and nothing counts as at work any more");
    }

    #[test]
    fn progress_counts() {
        let activity = Activity::new();
        let begun = activity.waiting_since().unwrap();
        let exchange = activity.begin(Phase::Receiving).unwrap();
        drop(exchange);
        assert!(activity.waiting_since().unwrap() > begun);
    }
}
