//! What is known of a service, and when something is to be told.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::backend::State;

/// What a look has shown, as far as it can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// `STOPPED`, `RUNNING` or `PAUSED`.
    Settled(State),
    /// On the way from one to the other: says nothing, neither for nor against, unless it takes too long.
    Passing(State),
    /// It cannot be checked.
    Unknown,
}

impl Seen {
    /// None: it cannot be checked.
    pub(crate) fn of(state: Option<State>) -> Self {
        match state {
            None => Self::Unknown,
            Some(state @ (State::Stopped | State::Running | State::Paused)) => Self::Settled(state),
            Some(state) => Self::Passing(state),
        }
    }
}

/// How often in a row the same was seen. A settled state and that it cannot be checked are counted apart: a host that answers
/// every other time has stopped services as well.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Row {
    /// Ended by another settled state only.
    settled: Option<(State, u32)>,
    /// Ended by any answer.
    unknown: u32,
    /// Since when it is on its way. Ended by any other answer, and by looks without one that count.
    passing: Option<(State, Instant)>,
}

impl Row {
    /// Adds a look; whether it counts. States in passing neither add to a row nor end it, as a service that fails over and over
    /// is seen starting in between; one counts when it has lasted for `passing`.
    pub(crate) fn add(&mut self, seen: Seen, now: Instant, fail_after: u32, passing: Duration) -> bool {
        let count = match seen {
            Seen::Unknown => {
                self.unknown = self.unknown.saturating_add(1);
                let counts = self.unknown >= fail_after;
                if counts {
                    // What nobody saw for so long may be another way.
                    self.passing = None;
                }
                return counts;
            }
            Seen::Passing(state) => {
                self.unknown = 0;
                let since = match self.passing {
                    Some((before, since)) if before == state => since,
                    _ => now,
                };
                self.passing = Some((state, since));
                return now.duration_since(since) >= passing;
            }
            Seen::Settled(state) => match self.settled {
                Some((before, count)) if before == state => (state, count.saturating_add(1)),
                _ => (state, 1),
            },
        };
        *self = Self { settled: Some(count), unknown: 0, passing: None };
        count.1 >= fail_after
    }
}

/// What is to be told of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is stopped; before it was seen so, or never yet.
    Stopped { before: Option<State> },
    /// It runs, and was told as stopped or as hanging.
    Started { before: Option<State> },
    /// It runs, and was told as one that cannot be checked.
    Known { before: Option<State> },
    /// It cannot be checked any more.
    Unknown,
    /// It does not get from one state to another.
    Hangs,
}

/// What is kept of a service over restarts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(clippy::struct_excessive_bools, reason = "each of them may be so without the others")]
pub(crate) struct Kept {
    /// The last settled state that counted.
    state: Option<State>,
    /// It was told as stopped, and not yet as started.
    down: bool,
    /// It was told that it cannot be checked, and nothing since.
    unknown: bool,
    /// It was seen since then, neither running nor stopped: that it cannot be checked is news again.
    seen: bool,
    /// It was told that it hangs on its way, and nothing since.
    hangs: bool,
}

impl Kept {
    /// Takes what counts now; what is to be told of it.
    pub(crate) fn take(&mut self, seen: Seen) -> Option<Change> {
        let once = |told: &mut bool, change| (!std::mem::replace(told, true)).then_some(change);
        let state = match seen {
            Seen::Unknown => {
                self.unknown &= !std::mem::take(&mut self.seen);
                return once(&mut self.unknown, Change::Unknown);
            }
            Seen::Passing(_) => {
                self.seen = self.unknown;
                return once(&mut self.hangs, Change::Hangs);
            }
            Seen::Settled(state) => state,
        };
        let before = self.state.replace(state);
        if state == State::Paused {
            // Nothing is told of it: what is open stays so until it runs or is stopped.
            self.seen = self.unknown;
            return None;
        }
        self.seen = false;
        let (hung, unknown) = (std::mem::take(&mut self.hangs), std::mem::take(&mut self.unknown));
        if state == State::Stopped {
            return once(&mut self.down, Change::Stopped { before });
        }
        if std::mem::take(&mut self.down) || hung {
            return Some(Change::Started { before });
        }
        unknown.then_some(Change::Known { before })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use State::{Paused, Running, StartPending, StopPending, Stopped};

    /// What is told of looks, `U` for those that fail.
    fn told(fail_after: u32, looks: &[Option<State>]) -> Vec<Option<Change>> {
        let (mut kept, mut row, now) = (Kept::default(), Row::default(), Instant::now());
        looks
            .iter()
            .map(|state| {
                let seen = Seen::of(*state);
                if row.add(seen, now, fail_after, Duration::from_mins(10)) { kept.take(seen) } else { None }
            })
            .collect()
    }

    const U: Option<State> = None;
    const UNKNOWN: Option<Change> = Some(Change::Unknown);

    #[allow(clippy::unnecessary_wraps, reason = "as it is compared")]
    fn stopped(before: impl Into<Option<State>>) -> Option<Change> {
        Some(Change::Stopped { before: before.into() })
    }

    #[allow(clippy::unnecessary_wraps, reason = "as it is compared")]
    fn started(before: impl Into<Option<State>>) -> Option<Change> {
        Some(Change::Started { before: before.into() })
    }

    #[allow(clippy::unnecessary_wraps, reason = "as it is compared")]
    fn known(before: impl Into<Option<State>>) -> Option<Change> {
        Some(Change::Known { before: before.into() })
    }

    #[test]
    fn one_that_hangs_on_its_way_is_told_once() {
        let (mut kept, mut row, begun) = (Kept::default(), Row::default(), Instant::now());
        let mut look = |minute: u64, state: Option<State>| {
            let (seen, now) = (Seen::of(state), begun + Duration::from_mins(minute));
            if row.add(seen, now, 1, Duration::from_mins(10)) { kept.take(seen) } else { None }
        };
        for (minute, state, expected) in [
            (0, Some(Running), None),
            (1, Some(StopPending), None),
            (10, Some(StopPending), None),
            (11, Some(StopPending), Some(Change::Hangs)),
            (12, Some(StopPending), None),
            (13, U, UNKNOWN),
            (14, Some(StartPending), None),
            (23, Some(StartPending), None),
            (24, Some(Running), started(Running)),
            (25, Some(StartPending), None),
            (30, U, UNKNOWN),
            // It may have been restarted twice while nobody saw it.
            (35, Some(StartPending), None),
            (44, Some(StartPending), None),
            (45, Some(StartPending), Some(Change::Hangs)),
            (46, Some(Stopped), stopped(Running)),
            // A service that fails over and over.
            (47, Some(StartPending), None),
            (56, Some(Stopped), None),
            (58, Some(StartPending), None),
            (68, Some(StartPending), Some(Change::Hangs)),
            (69, U, UNKNOWN),
            // It still hangs, and days later it cannot be checked once more.
            (70, Some(StartPending), None),
            (75, U, None),
            (76, Some(StartPending), None),
            (86, Some(StartPending), None),
            (4000, U, UNKNOWN),
            (4001, Some(Running), started(Stopped)),
        ] {
            assert_eq!(look(minute, state), expected, "{minute}");
        }
    }

    #[test]
    fn changes_are_told_and_nothing_else() {
        for (looks, expected) in [
            (vec![Some(Running), Some(Running)], vec![None, None]),
            (vec![Some(Stopped), Some(Stopped)], vec![stopped(None), None]),
            // Check 20.
            (
                vec![Some(Running), Some(Stopped), Some(Stopped), Some(Running)],
                vec![None, stopped(Running), None, started(Stopped)],
            ),
            // What is on the way is no news, and the state before is the one before the way.
            (
                vec![Some(Running), Some(StopPending), Some(Stopped), Some(StartPending), Some(Running)],
                vec![None, None, stopped(Running), None, started(Stopped)],
            ),
            (vec![Some(Running), Some(StopPending), Some(Running)], vec![None; 3]),
            (
                vec![Some(Running), Some(Paused), Some(Stopped), Some(Paused), Some(Stopped), Some(Running)],
                vec![None, None, stopped(Paused), None, None, started(Stopped)],
            ),
            // Cannot be checked: once; then the truth.
            (vec![U, U, Some(Running), Some(Running), U], vec![UNKNOWN, None, known(None), None, UNKNOWN]),
            (vec![Some(Running), U, Some(Stopped)], vec![None, UNKNOWN, stopped(Running)]),
            (vec![Some(Stopped), U, Some(Running)], vec![stopped(None), UNKNOWN, started(Stopped)]),
            (vec![Some(Stopped), U, Some(Stopped)], vec![stopped(None), UNKNOWN, None]),
            (vec![Some(Running), U, Some(Running)], vec![None, UNKNOWN, known(Running)]),
            (
                vec![U, Some(Paused), Some(Paused), U, U, Some(Paused), Some(Running)],
                vec![UNKNOWN, None, None, UNKNOWN, None, None, known(Paused)],
            ),
            (vec![U, Some(Paused), Some(Stopped), U], vec![UNKNOWN, None, stopped(Paused), UNKNOWN]),
            (vec![U, Some(StartPending), U], vec![UNKNOWN, None, None]),
        ] {
            assert_eq!(told(1, &looks), expected, "{looks:?}");
        }
    }

    #[test]
    fn a_state_counts_after_so_many_looks_in_a_row() {
        for (looks, expected) in [
            (vec![Some(Stopped), Some(Running), Some(Stopped), Some(Running)], vec![None; 4]),
            (vec![Some(Stopped); 4], vec![None, None, stopped(None), None]),
            // Fails over and over.
            (
                vec![Some(Stopped), Some(StartPending), Some(Stopped), Some(StartPending), Some(Stopped)],
                vec![None, None, None, None, stopped(None)],
            ),
            // On a host that answers now and then.
            (
                vec![Some(Stopped), U, Some(Stopped), U, U, Some(Stopped)],
                vec![None, None, None, None, None, stopped(None)],
            ),
            (vec![U, U, U, U], vec![None, None, UNKNOWN, None]),
            (vec![U, U, Some(StartPending), U, U], vec![None; 5]),
            // One answer of a service that is paused does not count either.
            (vec![U, U, U, Some(Paused), U, U, U], vec![None, None, UNKNOWN, None, None, None, None]),
            // Nobody knows that it could not be checked.
            (vec![U, Some(Running), Some(Running), Some(Running)], vec![None; 4]),
        ] {
            assert_eq!(told(3, &looks), expected, "{looks:?}");
        }
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let mut kept = Kept::default();
        kept.take(Seen::Settled(Stopped));
        kept.take(Seen::Unknown);
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(text, r#"{"state":"STOPPED","down":true,"unknown":true,"seen":false,"hangs":false}"#);
        assert_eq!(serde_json::from_str::<Kept>(&text).unwrap(), kept);
        let older = r#"{"state":"STOPPED","down":true,"unknown":true,"hangs":false}"#;
        assert_eq!(serde_json::from_str::<Kept>(older).unwrap(), kept);
        assert_eq!(serde_json::from_str::<Kept>(r#"{"newer":1}"#).unwrap(), Kept::default());
    }

    proptest! {
        /// Stops and starts come in turns, whatever is seen; the last one says how it is.
        #[test]
        fn every_stop_that_is_told_is_followed_by_its_start(numbers in proptest::collection::vec(0u32..=7, 0..60), after in 1u32..4) {
            let looks: Vec<_> = numbers.iter().map(|number| State::from_number(*number)).collect();
            let changes = told(after, &looks);
            let mut down = false;
            for change in changes.into_iter().flatten() {
                match change {
                    Change::Stopped { .. } => prop_assert!(!std::mem::replace(&mut down, true)),
                    Change::Started { .. } => prop_assert!(std::mem::take(&mut down)),
                    Change::Known { .. } => prop_assert!(!down),
                    Change::Unknown | Change::Hangs => {}
                }
            }
            if after == 1 && let Some(last) = looks.iter().flatten().rfind(|state| matches!(state, Running | Stopped)) {
                prop_assert_eq!(down, *last == Stopped);
            }
        }
    }
}
