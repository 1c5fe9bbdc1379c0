//! One user on one node: how many sessions, and when the last event was.
//!
//! The last events are kept and read in the order in which Butler heard of them, whatever order they come in; one that is there
//! already changes nothing. So events that are delivered late, twice or in another order come to the same in the end. Of
//! events before those only the number of sessions is kept.
//!
//! A proxy's messages name no session, so they are counted: each start is one more, each stop one less. A connection tells
//! that there is at least one, also if its start was not heard; its end tells nothing but that the user was there. After a
//! time without any event no session is left, since a proxy that has crashed reports no ends.

use serde::{Deserialize, Serialize};

/// Events of a presence that are kept.
pub(crate) const MOST_MARKS: usize = 8;

/// When an event happened, in milliseconds since 1970, and its id. The one of which Butler heard first is first: ids of one
/// store end with a number that grows. Times would not do: proxies send none, and Butler's clock may be set back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Moment(pub(crate) i64, pub(crate) String);

impl Ord for Moment {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.1.len(), &self.1).cmp(&(other.1.len(), &other.1))
    }
}

impl PartialEq for Moment {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1
    }
}

impl Eq for Moment {}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// What a user did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Deed {
    Started,
    Stopped,
    Opened,
    Closed,
}

/// An event of a presence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark(pub(crate) Moment, pub(crate) Deed);

/// A user on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Presence {
    /// Sessions before the first of `marks`.
    sessions: u32,
    /// The last event that `sessions` counts in.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Moment>,
    /// The events since then, in their order.
    marks: Vec<Mark>,
}

impl Presence {
    /// Takes an event in; whether that changes anything. One that comes later than [`MOST_MARKS`] events that were heard after
    /// it is passed over. `expire_ms`: the time without an event after which no session is left.
    pub(crate) fn add(&mut self, mark: Mark, expire_ms: i64) -> bool {
        if self.before.as_ref().is_some_and(|before| *before >= mark.0) {
            return false;
        }
        let Err(place) = self.marks.binary_search_by(|known| known.0.cmp(&mark.0)) else { return false };
        self.marks.insert(place, mark);
        if self.marks.len() > MOST_MARKS {
            let first = self.marks.remove(0);
            self.sessions = step(self.sessions, self.before.as_ref(), &first, expire_ms);
            self.before = Some(first.0);
        }
        true
    }

    /// How many sessions there are at a time.
    pub(crate) fn sessions(&self, now_ms: i64, expire_ms: i64) -> u32 {
        if self.is_over(now_ms, expire_ms) {
            return 0;
        }
        let (mut sessions, mut before) = (self.sessions, self.before.as_ref());
        for mark in &self.marks {
            sessions = step(sessions, before, mark, expire_ms);
            before = Some(&mark.0);
        }
        sessions
    }

    /// When the last event was, in milliseconds since 1970.
    pub(crate) fn last_ms(&self) -> i64 {
        let last = self.marks.last().map(|mark| &mark.0).or(self.before.as_ref());
        last.map_or(i64::MIN, |moment| moment.0)
    }

    /// Whether it is of no more use: no event for too long. One that lies as far ahead is of a clock that was set back.
    pub(crate) fn is_over(&self, now_ms: i64, expire_ms: i64) -> bool {
        now_ms.abs_diff(self.last_ms()) > expire_ms.unsigned_abs()
    }
}

/// Sessions after an event.
fn step(sessions: u32, before: Option<&Moment>, mark: &Mark, expire_ms: i64) -> u32 {
    let is_gone = before.is_some_and(|before| mark.0.0.saturating_sub(before.0) > expire_ms);
    let sessions = if is_gone { 0 } else { sessions };
    match mark.1 {
        Deed::Started => sessions.saturating_add(1),
        Deed::Stopped => sessions.saturating_sub(1),
        Deed::Opened => sessions.max(1),
        Deed::Closed => sessions,
    }
}

#[cfg(test)]
mod tests {
    use super::Deed::{Closed, Opened, Started, Stopped};
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn after(events: &[(i64, Deed)]) -> Presence {
        let mut presence = Presence::default();
        for (index, (ms, deed)) in events.iter().enumerate() {
            presence.add(Mark(Moment(*ms, format!("x-{index}")), *deed), HOUR);
        }
        presence
    }

    #[test]
    fn sessions_are_counted_and_connections_only_tell_of_one() {
        for (events, sessions) in [
            (&[(1, Started)][..], 1),
            (&[(1, Started), (2, Started), (3, Stopped)], 1),
            (&[(1, Started), (2, Started), (3, Stopped), (4, Stopped)], 0),
            (&[(1, Started), (2, Opened), (3, Opened), (4, Closed), (5, Closed)], 1),
            (&[(1, Started), (2, Opened), (3, Stopped)], 0),
            (&[(1, Opened)], 1),
            (&[(1, Opened), (2, Stopped)], 0),
            (&[(1, Closed)], 0),
            (&[(1, Stopped)], 0),
            (&[(1, Stopped), (2, Started)], 1),
            (&[(1, Started), (HOUR + 1, Started)], 2),
            (&[(1, Started), (HOUR + 2, Started)], 1),
            (&[(1, Started), (HOUR, Closed), (2 * HOUR, Stopped)], 0),
        ] {
            let presence = after(events);
            assert_eq!(presence.sessions(presence.last_ms(), HOUR), sessions, "{events:?}");
        }
    }

    #[test]
    fn without_an_event_for_long_nobody_is_there() {
        let presence = after(&[(1000, Started), (2000, Closed)]);
        assert_eq!(presence.sessions(2000 + HOUR, HOUR), 1);
        assert_eq!(presence.sessions(2001 + HOUR, HOUR), 0);
        assert_eq!(presence.sessions(2000 - HOUR, HOUR), 1, "a clock that was set back a little");
        assert_eq!(presence.sessions(1999 - HOUR, HOUR), 0);
        assert!(Presence::default().is_over(0, HOUR));
    }

    #[test]
    fn a_clock_that_is_set_back_changes_nothing_in_their_order() {
        // Logged in while the clock was six hours ahead.
        let mut presence = after(&[(6 * HOUR, Started), (10, Stopped)]);
        assert_eq!((presence.sessions(10, 8 * HOUR), presence.last_ms()), (0, 10));
        assert!(presence.add(Mark(Moment(20, "x-2".to_owned()), Started), HOUR));
        assert_eq!(presence.sessions(20, HOUR), 1);
        // More than are kept.
        let mut busy = after(&[(6 * HOUR, Opened); 20]);
        assert!(busy.add(Mark(Moment(10, "x-20".to_owned()), Stopped), HOUR));
        assert_eq!(busy.sessions(10, HOUR), 0);
    }

    #[test]
    fn events_have_an_order_and_known_ones_do_nothing() {
        let mark = |number: u32, deed| Mark(Moment(7, format!("x-{number}")), deed);
        let mut presence = Presence::default();
        assert!(presence.add(mark(10, Stopped), HOUR) && presence.add(mark(9, Started), HOUR));
        assert_eq!(presence.sessions(7, HOUR), 0, "9 is before 10");
        assert!(!presence.add(mark(9, Started), HOUR) && !presence.add(mark(10, Stopped), HOUR));
        for number in 11..40 {
            assert!(presence.add(mark(number, Started), HOUR));
            assert!(!presence.add(mark(9, Started), HOUR) && !presence.add(mark(number, Started), HOUR));
        }
        assert_eq!((presence.sessions(7, HOUR), presence.marks.len()), (29, MOST_MARKS));
        let text = serde_json::to_string(&presence).unwrap();
        assert_eq!(serde_json::from_str::<Presence>(&text).unwrap(), presence);
        assert!(text.len() < 400, "{text}");
    }
}
