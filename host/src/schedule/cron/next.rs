//! When a cron expression comes next in a time zone.
//!
//! Clocks are set, and there are two ways to go on, as with Vixie's cron:
//!
//! * Expressions that leave hours out (`30 2 * * *`) mean what a clock on the wall shows. A time that is left out when clocks
//!   are set forward comes in the first moment after it, once, however many were left out. A time that comes twice when
//!   clocks are set back counts the first time only.
//! * Those that come in every hour (`*/15 * * * *`) are to come at intervals. They go by what the clock shows as time passes:
//!   also in the hour that comes twice, and nothing is made up for an hour that there never was.

use chrono::{DateTime as ChronoTime, Utc};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::Cron;

/// How far back the latest time is looked for, one after the other: whoever comes often is found among the last of them.
const BACK: [SignedDuration; 4] = [
    SignedDuration::from_mins(5),
    SignedDuration::from_hours(2),
    SignedDuration::from_hours(2 * 24),
    SignedDuration::from_hours(62 * 24),
];

impl Cron {
    /// The first time after one. `None`: there is none until 2100.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        if self.hourly { self.next_as_time_passes(after, zone) } else { self.next_on_the_wall(after, zone) }
    }

    /// The last time that is after one and not after another.
    pub fn latest(&self, after: Timestamp, until: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let begins = BACK.iter().filter_map(|back| until.checked_sub(*back).ok()).filter(|begin| *begin > after);
        begins.chain([after]).find_map(|begin| {
            let times = std::iter::successors(self.next(begin, zone), |last| self.next(*last, zone));
            times.take_while(|time| *time <= until).last()
        })
    }

    fn next_on_the_wall(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut wall = zone.to_datetime(after);
        loop {
            // Times on the wall are in the order of their first moments, so the first that is late enough is the next.
            wall = self.on_the_wall(wall)?;
            let time = first_moment(wall, zone)?;
            if time > after {
                return Some(time);
            }
        }
    }

    fn next_as_time_passes(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let (mut from, mut offset) = (after, zone.to_offset(after));
        let mut wall = offset.to_datetime(after);
        loop {
            let time = offset.to_timestamp(self.on_the_wall(wall)?).ok()?;
            match zone.following(from).next().filter(|change| change.timestamp() <= time) {
                None => return Some(time),
                Some(change) => {
                    (from, offset) = (change.timestamp(), change.offset());
                    // The moment of the change itself is one to look at.
                    wall = offset.to_datetime(from).checked_sub(SignedDuration::from_secs(1)).ok()?;
                }
            }
        }
    }

    /// The first time on the wall after one, in whole seconds.
    fn on_the_wall(&self, after: DateTime) -> Option<DateTime> {
        let seconds = TimeZone::UTC.to_timestamp(after).ok()?.as_second();
        let after: ChronoTime<Utc> = ChronoTime::from_timestamp(seconds, 0)?;
        let next = self.schedules.iter().filter_map(|schedule| schedule.after(&after).next()).min()?;
        Some(TimeZone::UTC.to_datetime(Timestamp::from_second(next.timestamp()).ok()?))
    }
}

/// The first moment at which a clock on the wall shows a time or, if it never does, a later one.
fn first_moment(wall: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
            offset.to_timestamp(wall).ok()
        }
        AmbiguousOffset::Gap { before, .. } => {
            let inside = before.to_timestamp(wall).ok()?.checked_add(SignedDuration::from_secs(1)).ok()?;
            Some(zone.preceding(inside).next()?.timestamp())
        }
    }
}
