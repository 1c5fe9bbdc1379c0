//! The silence of one node: since when, how much of it counts, what was told of it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::hours::Hours;
use crate::settings::Limits;

/// By so much the clocks of Butler and Qlik Sense may differ.
pub(crate) const SLACK: SignedDuration = SignedDuration::from_mins(5);

/// What is remembered of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Silence {
    /// When it was heard last; if never, when the watch over it began.
    pub(crate) since: Timestamp,
    /// Whether it was ever heard.
    pub(crate) heard: bool,
    /// Working time since then in which Butler listened, in milliseconds.
    pub(crate) counted_ms: u64,
    /// What was told of this silence last: 0, and then the number of the reminder.
    pub(crate) told: Option<u64>,
}

impl Silence {
    /// Of a node that comes under watch now. What was before is not counted: whether Butler listened is not known.
    pub(crate) fn new(heard: Option<Timestamp>, now: Timestamp) -> Self {
        Self { since: heard.unwrap_or(now), heard: heard.is_some(), counted_ms: 0, told: None }
    }

    /// Time goes on. `heard`: when the node was heard last; `listened`: since when, up to `now`, Butler has listened.
    /// A time in the future is of a clock that has been set back since, and counts as now. Whether a silence has ended that was
    /// told.
    pub(crate) fn go_on(
        &mut self,
        heard: Option<Timestamp>,
        listened: Option<Timestamp>,
        now: Timestamp,
        hours: &Hours,
    ) -> bool {
        self.since = not_ahead(self.since, now);
        let mut ended = false;
        if let Some(heard) = heard.map(|heard| not_ahead(heard, now)).filter(|heard| !self.heard || *heard > self.since)
        {
            ended = self.told.is_some();
            *self = Self::new(Some(heard), now);
        }
        if let Some(listened) = listened {
            self.counted_ms = self.counted_ms.saturating_add(hours.between(listened.max(self.since), now));
        }
        ended
    }

    /// The number of what is to be told now, if anything.
    pub(crate) fn due(&self, limits: Limits) -> Option<u64> {
        let over = self.counted_ms.checked_sub(limits.after)?;
        let number = limits.again.map_or(0, |again| over / again);
        self.told.is_none_or(|told| told < number).then_some(number)
    }
}

fn not_ahead(time: Timestamp, now: Timestamp) -> Timestamp {
    if time.duration_since(now) > SLACK { now } else { time }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::settings::Settings;

    fn at(text: &str) -> Timestamp {
        format!("2026-03-{text}:00Z").parse().unwrap()
    }

    fn office() -> (Limits, Hours) {
        let settings = json!({ "remindEvery": "8h", "workingTime": { "from": "08:00", "to": "17:00" } });
        serde_json::from_value::<Settings>(settings).unwrap().check().unwrap()
    }

    #[test]
    fn working_time_is_counted_in_pieces_and_told_at_the_limit_and_at_each_reminder() {
        let (limits, hours) = office();
        // Friday, 15:00.
        let mut node = Silence::new(Some(at("06T14:00")), at("06T15:00"));
        let mut go_to = |text: &str, from: &str| {
            node.go_on(Some(at("06T14:00")), Some(at(from)), at(text), &hours);
            (node.counted_ms / 60_000, node.due(limits))
        };
        assert_eq!(go_to("06T18:00", "06T15:00"), (120, None));
        assert_eq!(go_to("09T09:59", "06T18:00"), (239, None), "a weekend later");
        assert_eq!(go_to("09T10:00", "09T09:59"), (240, Some(0)));
        node.told = Some(0);
        let mut go_to = |text: &str, from: &str| {
            node.go_on(Some(at("06T14:00")), Some(at(from)), at(text), &hours);
            node.due(limits)
        };
        assert_eq!(go_to("10T08:59", "09T10:00"), None);
        assert_eq!(go_to("10T09:00", "10T08:59"), Some(1));
        assert_eq!(Silence { told: Some(1), ..node.clone() }.due(limits), None);
        let once = Limits { again: None, ..limits };
        assert_eq!((node.due(once), Silence { told: None, ..node }.due(once)), (None, Some(0)));
    }

    #[test]
    fn who_is_heard_begins_anew_and_time_without_listening_does_not_count() {
        let (limits, hours) = office();
        let mut node = Silence::new(None, at("09T08:00"));
        assert!(!node.go_on(None, None, at("09T12:30"), &hours));
        assert_eq!(node.counted_ms, 0, "Butler did not listen");
        node.go_on(None, Some(at("09T12:30")), at("09T16:30"), &hours);
        assert_eq!(node.due(limits), Some(0));
        node.told = Some(0);
        assert!(node.go_on(Some(at("09T16:40")), Some(at("09T16:30")), at("09T16:50"), &hours), "its end is told");
        assert_eq!(node, Silence { since: at("09T16:40"), heard: true, counted_ms: 600_000, told: None });
        assert!(!node.go_on(Some(at("09T16:55")), Some(at("09T16:50")), at("09T17:00"), &hours), "nothing was told");
        // A time before the watch began is still the first.
        let mut never = Silence::new(None, at("09T08:00"));
        never.go_on(Some(at("09T07:59")), None, at("09T08:10"), &hours);
        assert_eq!((never.since, never.heard), (at("09T07:59"), true));
    }

    #[test]
    fn times_of_a_clock_that_was_ahead_count_as_now() {
        let (limits, hours) = office();
        let mut node = Silence::new(None, at("20T08:00"));
        node.go_on(None, None, at("09T08:00"), &hours);
        assert_eq!(node.since, at("09T08:00"), "the watch began by it");
        node.go_on(Some(at("20T08:00")), None, at("09T09:00"), &hours);
        assert_eq!((node.since, node.heard), (at("09T09:00"), true));
        node.go_on(Some(at("09T09:10")), Some(at("09T09:00")), at("09T13:10"), &hours);
        assert_eq!((node.since, node.due(limits)), (at("09T09:10"), Some(0)));
        node.go_on(Some(at("09T13:25")), None, at("09T13:20"), &hours);
        assert_eq!(node.since, at("09T13:25"), "clocks differ");
    }
}
