//! What is known of a service, and when something is to be told.

use serde::{Deserialize, Serialize};

use crate::backend::State;

/// What a look has shown, as far as it can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// `STOPPED`, `RUNNING` or `PAUSED`.
    Settled(State),
    /// On the way from one to the other: says nothing, neither for nor against.
    Passing,
    /// It cannot be checked.
    Unknown,
}

impl Seen {
    /// None: it cannot be checked.
    pub(crate) fn of(state: Option<State>) -> Self {
        match state {
            None => Self::Unknown,
            Some(state @ (State::Stopped | State::Running | State::Paused)) => Self::Settled(state),
            Some(_) => Self::Passing,
        }
    }
}

/// How often in a row the same was seen.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Row(Option<(Seen, u32)>);

impl Row {
    /// Adds a look; how many there are in a row now. States in passing neither add to a row nor end it: a service that fails
    /// over and over is seen starting in between.
    pub(crate) fn add(&mut self, seen: Seen) -> u32 {
        if seen == Seen::Passing {
            return 0;
        }
        let count = match self.0 {
            Some((before, count)) if before == seen => count.saturating_add(1),
            _ => 1,
        };
        self.0 = Some((seen, count));
        count
    }
}

/// What is to be told of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is stopped; before it was seen so, or never yet.
    Stopped { before: Option<State> },
    /// It runs, and was told as stopped.
    Started { before: Option<State> },
    /// It cannot be checked any more.
    Unknown,
}

/// What is kept of a service over restarts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Kept {
    /// The last settled state that counted.
    state: Option<State>,
    /// It was told as stopped, and not yet as started.
    down: bool,
    /// It was told that it cannot be checked.
    unknown: bool,
}

impl Kept {
    /// Takes what counts now; what is to be told of it.
    pub(crate) fn take(&mut self, seen: Seen) -> Option<Change> {
        let state = match seen {
            Seen::Passing => return None,
            Seen::Unknown => {
                let news = !std::mem::replace(&mut self.unknown, true);
                return news.then_some(Change::Unknown);
            }
            Seen::Settled(state) => state,
        };
        self.unknown = false;
        let before = self.state.replace(state);
        match state {
            State::Stopped if !std::mem::replace(&mut self.down, true) => Some(Change::Stopped { before }),
            State::Running if std::mem::take(&mut self.down) => Some(Change::Started { before }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use State::{Paused, Running, StartPending, StopPending, Stopped};

    /// What is told of looks, `U` for those that fail.
    fn told(fail_after: u32, looks: &[Option<State>]) -> Vec<Option<Change>> {
        let (mut kept, mut row) = (Kept::default(), Row::default());
        looks
            .iter()
            .map(|state| {
                let seen = Seen::of(*state);
                if row.add(seen) >= fail_after { kept.take(seen) } else { None }
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
            (vec![U, U, Some(Running), U], vec![UNKNOWN, None, None, UNKNOWN]),
            (vec![Some(Running), U, Some(Stopped)], vec![None, UNKNOWN, stopped(Running)]),
            (vec![Some(Stopped), U, Some(Running)], vec![stopped(None), UNKNOWN, started(Stopped)]),
            (vec![Some(Stopped), U, Some(Stopped)], vec![stopped(None), UNKNOWN, None]),
            (vec![Some(Running), U, Some(Running)], vec![None, UNKNOWN, None]),
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
            (vec![Some(Stopped), Some(Stopped), U, Some(Stopped), Some(Stopped)], vec![None; 5]),
            (vec![U, U, U, U], vec![None, None, UNKNOWN, None]),
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
        assert_eq!(text, r#"{"state":"STOPPED","down":true,"unknown":true}"#);
        assert_eq!(serde_json::from_str::<Kept>(&text).unwrap(), kept);
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
                    Change::Unknown => {}
                }
            }
            if after == 1 && let Some(last) = looks.iter().flatten().rfind(|state| matches!(state, Running | Stopped)) {
                prop_assert_eq!(down, *last == Stopped);
            }
        }
    }
}
