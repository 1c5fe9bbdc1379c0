//! Working time: how much of a span of time counts.
//!
//! What counts is what the clock on the wall shows: a moment is working time if, in the time zone, its day is a working day
//! and its time of day is within the working hours. So an hour that comes twice when clocks are set back counts twice, and one
//! that is left out does not count.

use std::collections::BTreeSet;

use jiff::civil::{Date, Weekday, date};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

const DAY_MS: i64 = 86_400_000;
/// Longer spans are not gone through: only their end counts.
const LONGEST_MS: i64 = 400 * DAY_MS;

/// Which time is working time.
#[derive(Debug, Clone)]
pub(crate) struct Hours {
    pub(crate) days: Vec<Weekday>,
    /// Milliseconds since midnight, as clocks show them.
    pub(crate) from: i64,
    /// The same; up to 24 hours.
    pub(crate) to: i64,
    pub(crate) zone: TimeZone,
    pub(crate) holidays: BTreeSet<Date>,
}

impl Hours {
    /// Working time in a span, in milliseconds; none if it ends before it begins.
    pub(crate) fn between(&self, from: Timestamp, to: Timestamp) -> u64 {
        let end = to.as_millisecond();
        let mut at = from.as_millisecond().max(end.saturating_sub(LONGEST_MS));
        let mut sum = 0;
        // Between two changes of the clocks their time goes as all time goes.
        while at < end {
            // Cannot fail: it lies between two moments that there are.
            let Ok(moment) = Timestamp::from_millisecond(at) else { break };
            let change = self.zone.following(moment).map(|change| change.timestamp().as_millisecond());
            let next = change.into_iter().find(|change| *change > at).map_or(end, |change| change.min(end));
            let offset = i64::from(self.zone.to_offset(moment).seconds()) * 1000;
            sum += self.on_clock(at + offset, next + offset);
            at = next;
        }
        u64::try_from(sum).unwrap_or_default()
    }

    /// The same by the time that clocks show, in milliseconds since 1970, while they are not changed.
    fn on_clock(&self, from: i64, to: i64) -> i64 {
        let days = from.div_euclid(DAY_MS)..=(to - 1).div_euclid(DAY_MS);
        let worked = days.filter(|day| self.is_working_day(*day)).map(|day| {
            let (begin, end) = (day * DAY_MS + self.from, day * DAY_MS + self.to);
            (to.min(end) - from.max(begin)).max(0)
        });
        worked.sum()
    }

    /// By days since 1970.
    fn is_working_day(&self, day: i64) -> bool {
        let Ok(date) = date(1970, 1, 1).checked_add(day.days()) else { return false };
        self.days.contains(&date.weekday()) && !self.holidays.contains(&date)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3_600_000;
    const WEEK: [Weekday; 7] = [
        Weekday::Monday,
        Weekday::Tuesday,
        Weekday::Wednesday,
        Weekday::Thursday,
        Weekday::Friday,
        Weekday::Saturday,
        Weekday::Sunday,
    ];

    fn hours(zone: &str, days: &[Weekday], from: i64, to: i64) -> Hours {
        let zone = TimeZone::get(zone).unwrap();
        Hours { days: days.to_vec(), from: from * 60_000, to: to * 60_000, zone, holidays: BTreeSet::new() }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_weekend_and_a_holiday_do_not_count() {
        let mut hours = hours("UTC", &WEEK[..5], 0, 24 * 60);
        // A Friday and a Monday.
        let (friday, monday) = (at("2026-03-06T17:00:00Z"), at("2026-03-09T09:00:00Z"));
        assert_eq!(hours.between(friday, monday), (7 + 9) * HOUR);
        hours.holidays.insert(date(2026, 3, 9));
        assert_eq!(hours.between(friday, monday), 7 * HOUR);
        assert_eq!((hours.between(monday, friday), hours.between(friday, friday)), (0, 0));
    }

    #[test]
    fn only_the_hours_of_the_zone_count() {
        let office = hours("America/New_York", &WEEK[..5], 8 * 60, 17 * 60);
        // 12:00 UTC is 07:00 there in winter.
        assert_eq!(office.between(at("2026-01-14T12:00:00Z"), at("2026-01-14T14:30:00Z")), 3 * HOUR / 2);
        assert_eq!(office.between(at("2026-01-09T12:00:00Z"), at("2026-01-12T14:00:00Z")), (9 + 1) * HOUR);
        let kiritimati = hours("Pacific/Kiritimati", &[Weekday::Saturday], 0, 24 * 60);
        assert_eq!(kiritimati.between(at("2026-01-09T10:00:00Z"), at("2026-01-09T12:00:00Z")), 2 * HOUR);
    }

    #[test]
    fn weekends_on_which_clocks_are_changed_are_an_hour_shorter_or_longer() {
        let sunday = hours("Europe/Oslo", &[Weekday::Sunday], 0, 24 * 60);
        // Set forward on 2026-03-29, set back on 2026-10-25.
        assert_eq!(sunday.between(at("2026-03-27T00:00:00Z"), at("2026-03-31T00:00:00Z")), 23 * HOUR);
        assert_eq!(sunday.between(at("2026-10-23T00:00:00Z"), at("2026-10-27T00:00:00Z")), 25 * HOUR);
        // The hour from 2 to 3 is left out, or comes twice.
        let third = hours("Europe/Oslo", &[Weekday::Sunday], 2 * 60, 3 * 60);
        assert_eq!(third.between(at("2026-03-28T12:00:00Z"), at("2026-03-30T12:00:00Z")), 0);
        assert_eq!(third.between(at("2026-10-24T12:00:00Z"), at("2026-10-26T12:00:00Z")), 2 * HOUR);
        // A change on a weekend moves the working week by an hour of UTC.
        let office = hours("Europe/Oslo", &WEEK[..5], 8 * 60, 16 * 60);
        assert_eq!(office.between(at("2026-03-27T14:00:00Z"), at("2026-03-30T07:00:00Z")), 2 * HOUR);
    }

    #[test]
    fn of_a_span_that_no_clock_had_only_the_end_counts() {
        let always = hours("UTC", &WEEK, 0, 24 * 60);
        assert_eq!(always.between(Timestamp::MIN, at("2026-03-06T17:00:00Z")), 400 * 24 * HOUR);
    }

    /// The simplest that could be right: minute by minute.
    fn by_minutes(hours: &Hours, from: i64, minutes: i64) -> u64 {
        let counts = |minute: &i64| {
            let shown = Timestamp::from_second((from + minute) * 60).unwrap().to_zoned(hours.zone.clone());
            let of_day = (i64::from(shown.hour()) * 60 + i64::from(shown.minute())) * 60_000;
            hours.days.contains(&shown.weekday())
                && !hours.holidays.contains(&shown.date())
                && (hours.from..hours.to).contains(&of_day)
        };
        (0..minutes).filter(counts).count() as u64 * 60_000
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn working_time_is_that_of_a_count_of_minutes(
            zone in prop::sample::select(vec![
                "UTC", "Europe/Oslo", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Chatham",
                "America/Santiago", "Africa/Casablanca",
            ]),
            days in prop::sample::subsequence(WEEK.to_vec(), 1..=7),
            bounds in (0_i64..1440, 1_i64..=1440).prop_filter("in order", |(from, to)| from < to),
            near in prop::sample::select(vec![
                // Changes of clocks in Europe and America, Lord Howe's of half an hour, and any time.
                "2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z", "2026-03-08T07:00:00Z", "2026-11-01T06:00:00Z",
                "2026-04-04T15:00:00Z", "2026-10-03T15:30:00Z", "2026-06-10T00:00:00Z", "1969-12-31T20:00:00Z",
            ]),
            before in 0_i64..4000, minutes in 0_i64..8000, holiday in prop::option::of(0_i64..6),
        ) {
            let near = at(near);
            let mut hours = hours(zone, &days, bounds.0, bounds.1);
            if let Some(holiday) = holiday {
                hours.holidays.insert(near.to_zoned(hours.zone.clone()).date().checked_sub(holiday.days()).unwrap());
            }
            let from = near.as_second() / 60 - before;
            let (begin, end) = (Timestamp::from_second(from * 60).unwrap(), Timestamp::from_second((from + minutes) * 60).unwrap());
            prop_assert_eq!(hours.between(begin, end), by_minutes(&hours, from, minutes));
            // In two parts it is the same.
            let middle = Timestamp::from_millisecond(i64::midpoint(begin.as_millisecond(), end.as_millisecond())).unwrap();
            prop_assert_eq!(hours.between(begin, middle) + hours.between(middle, end), hours.between(begin, end));
        }
    }
}
