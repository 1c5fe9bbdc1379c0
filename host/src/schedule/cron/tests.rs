//! What expressions mean, and when they come next: by example, and against a clock that is watched minute by minute.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{Cron, Months};

fn cron(text: &str) -> Cron {
    Cron::parse(text, Months::FromOne).unwrap()
}

fn error(text: &str, months: Months) -> String {
    Cron::parse(text, months).unwrap_err().to_string()
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

/// The next times, as the zone writes them.
fn coming(cron: &Cron, after: &str, zone_name: &str, n: usize) -> Vec<String> {
    let zone = zone(zone_name);
    let mut last = after.parse::<Timestamp>().unwrap();
    let mut times = Vec::new();
    for _ in 0..n {
        last = cron.next(last, &zone).unwrap();
        times.push(last.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string());
    }
    times
}

#[test]
fn what_is_accepted_and_what_is_not() {
    for text in [
        "*/30 * * * * *",
        "0,30 6-18 * * 1-5",
        "0 6 * jan mon",
        "0 6 * JAN-Mar Mon-FRI",
        " 0\t6 * * * ",
        "0 6 * * 7",
        "0 6 * * 0-7",
        "0 6 * * sat-sun",
        "0 6 * * fri-7",
        "5/10 */6 1-31/2 * *",
        "0 0 29 2 *",
        "0 0 30 2 mon",
        "0 0 31 1,2 *",
    ] {
        for months in [Months::FromOne, Months::FromZero] {
            assert!(Cron::parse(text, months).is_ok(), "{text}");
        }
    }
    for (text, message) in [
        (
            "* * * *",
            "column 8: 4 fields, but there must be 5 (minute, hour, day of month, month, day of week) or 6 (with the second before them)",
        ),
        ("", "column 1: 0 fields"),
        ("* * * * * * *", "column 13: 7 fields"),
        ("@daily", "column 1: names such as `@daily` are not known: write fields, such as `0 0 * * *`"),
        ("60 * * * *", "column 1 (minute): `60` stands where a number from 0 to 59 must be"),
        ("0 24 * * *", "column 3 (hour): `24` stands"),
        ("0 6,18,30 * * *", "column 8 (hour): `30` stands"),
        ("0 6-18-20 * * *", "column 5 (hour): `18-20` stands"),
        ("0 0 0 * *", "column 5 (day of month): `0` stands where a number from 1 to 31 must be"),
        ("0 0 1 0 *", "column 7 (month): `0` stands where a number from 1 to 12 or a name from `jan` to `dec` must be"),
        ("0 0 1 13 *", "column 7 (month): `13`"),
        (
            "0 0 * * 8",
            "column 9 (day of week): `8` stands where a number from 0 to 7 or a name from `sun` to `sat` must be",
        ),
        ("0 0 * * monday", "column 9 (day of week): `monday`"),
        ("*/0 * * * *", "column 3 (minute): `0` is no step: write a number from 1 on, such as `*/5`"),
        ("*/ * * * *", "column 3 (minute): `` is no step"),
        ("*/2/3 * * * *", "column 3 (minute): `2/3` is no step"),
        ("30-10 * * * *", "column 4 (minute): `30-10` ends before it begins: write the smaller first"),
        ("0,, * * * *", "column 3 (minute): nothing stands where"),
        ("+5 * * * *", "column 1 (minute): `+5`"),
        ("-5 * * * *", "column 1 (minute): nothing"),
        ("? * * * *", "column 1 (minute): `?`"),
        ("0 0 L * *", "column 5 (day of month): `L`"),
        ("0 0 30 2 *", "column 5 (day of month): no such day: none of the months has it, so it would never come"),
        ("0 0 31 apr,jun *", "column 5 (day of month): no such day"),
        ("ä ö * * *", "column 1 (minute): `ä`"),
        ("0 ö * * *", "column 3 (hour): `ö`"),
        ("99999999999999999999 * * * *", "column 1 (minute)"),
    ] {
        assert!(error(text, Months::FromOne).starts_with(message), "{text}: {}", error(text, Months::FromOne));
    }
}

#[test]
fn months_of_butler_16_begin_with_0() {
    let of = |text: &str| Cron::parse(text, Months::FromZero).unwrap();
    let next = |text: &str| coming(&of(text), "2026-01-01T12:00:00Z", "UTC", 1).remove(0);
    assert_eq!(next("0 6 1 1 *"), "2026-02-01T06:00:00+00:00");
    assert_eq!(next("0 6 1 mar *"), "2026-03-01T06:00:00+00:00");
    assert_eq!(next("0 6 1 11 *"), "2026-12-01T06:00:00+00:00");
    assert_eq!(
        error("0 0 1 12 *", Months::FromZero),
        "column 7 (month): `12` stands where a number from 0 (jan) to 11 (dec) or a name must be"
    );
    assert!(error("0 0 30 1 *", Months::FromZero).contains("no such day"));
    for (from_zero, from_one) in [
        ("0 6 1 1 *", "0 6 1 2 *"),
        ("0 0 6 1 0-5/2,jan,3-NOV,*/2 sun", "0 0 6 1 1-6/2,jan,4-NOV,*/2 sun"),
        ("*/5 6 * * 1-5", "*/5 6 * * 1-5"),
    ] {
        let cron = of(from_zero);
        assert_eq!(
            (cron.text(Months::FromOne), cron.text(Months::FromZero)),
            (from_one.to_owned(), from_zero.to_owned())
        );
        assert_eq!(cron, self::cron(from_one));
    }
}

#[test]
fn either_field_of_days_counts_where_both_leave_days_out() {
    // 2026-06-05 is a Friday.
    let both = coming(&cron("0 0 13 * fri"), "2026-06-01T00:00:00Z", "UTC", 4);
    assert_eq!(
        both.iter().map(|time| &time[..10]).collect::<Vec<_>>(),
        ["2026-06-05", "2026-06-12", "2026-06-13", "2026-06-19"]
    );
    for (text, day) in [
        ("0 0 13 * *", "2026-06-13"),
        ("0 0 * * 7", "2026-06-07"),
        ("0 0 * * 0", "2026-06-07"),
        ("0 0 13 * 0-7", "2026-06-13"),
    ] {
        assert_eq!(&coming(&cron(text), "2026-06-01T00:00:00Z", "UTC", 1)[0][..10], day, "{text}");
    }
}

#[test]
fn far_away_and_never() {
    assert_eq!(coming(&cron("0 0 29 2 *"), "2096-02-28T00:00:00Z", "UTC", 1), ["2096-02-29T00:00:00+00:00"]);
    // 2100 has none.
    assert_eq!(cron("0 0 29 2 *").next("2096-03-01T00:00:00Z".parse().unwrap(), &TimeZone::UTC), None);
    assert_eq!(cron("* * * * *").next("2101-01-01T00:00:00Z".parse().unwrap(), &zone("Europe/Oslo")), None);
    assert_eq!(&coming(&cron("0 * 29 2 *"), "2024-03-01T00:00:00Z", "Europe/Oslo", 1)[0], "2028-02-29T00:00:00+01:00");
}

#[test]
fn a_time_that_there_is_not_comes_in_the_first_moment_after() {
    let oslo = |text: &str, after: &str, n| coming(&cron(text), after, "Europe/Oslo", n);
    let before = "2026-03-28T12:00:00Z";
    assert_eq!(oslo("30 2 * * *", before, 2), ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]);
    assert_eq!(
        oslo("*/20 1-3 * * *", before, 7)[2..],
        [
            "2026-03-29T01:40:00+01:00",
            "2026-03-29T03:00:00+02:00",
            "2026-03-29T03:20:00+02:00",
            "2026-03-29T03:40:00+02:00",
            "2026-03-30T01:00:00+02:00"
        ]
    );
    assert_eq!(
        oslo("*/30 * * * *", "2026-03-29T00:15:00Z", 3),
        ["2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"]
    );
    // A day without midnight.
    assert_eq!(
        coming(&cron("0 0 * * *"), "2018-11-03T12:00:00Z", "America/Sao_Paulo", 1),
        ["2018-11-04T01:00:00-02:00"]
    );
    // A day that there never was.
    assert_eq!(coming(&cron("0 6 30 12 *"), "2011-12-29T00:00:00Z", "Pacific/Apia", 1), ["2011-12-31T00:00:00+14:00"]);
}

#[test]
fn a_time_that_comes_twice_counts_once_except_for_intervals() {
    let oslo = |text: &str, n| coming(&cron(text), "2026-10-24T23:15:00Z", "Europe/Oslo", n);
    assert_eq!(oslo("30 2 * * *", 2), ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]);
    assert_eq!(
        oslo("30 * * * *", 4),
        [
            "2026-10-25T01:30:00+02:00",
            "2026-10-25T02:30:00+02:00",
            "2026-10-25T02:30:00+01:00",
            "2026-10-25T03:30:00+01:00"
        ]
    );
    let asked_in_the_second = "2026-10-25T01:10:00Z";
    assert_eq!(coming(&cron("30 2 * * *"), asked_in_the_second, "Europe/Oslo", 1), ["2026-10-26T02:30:00+01:00"]);
    // Half an hour.
    assert_eq!(
        coming(&cron("*/15 * * * *"), "2026-04-04T14:44:00Z", "Australia/Lord_Howe", 4),
        [
            "2026-04-05T01:45:00+11:00",
            "2026-04-05T01:30:00+10:30",
            "2026-04-05T01:45:00+10:30",
            "2026-04-05T02:00:00+10:30"
        ]
    );
}

#[test]
fn the_latest_of_many_is_found_at_once() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let oslo = zone("Europe/Oslo");
    let latest = |text: &str, after: &str, until: &str| {
        cron(text).latest(at(after), at(until), &oslo).map(|time| time.to_string())
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(latest("* * * * * *", "1990-01-01T00:00:00Z", "2026-07-01T12:00:00.5Z"), some("2026-07-01T12:00:00Z"));
    assert_eq!(latest("0 6 * * *", "2026-06-01T00:00:00Z", "2026-07-01T12:00:00Z"), some("2026-07-01T04:00:00Z"));
    assert_eq!(latest("0 6 * * *", "2026-07-01T04:00:00Z", "2026-07-01T12:00:00Z"), None);
    assert_eq!(latest("0 6 1 1 *", "2020-07-01T04:00:00Z", "2026-07-01T12:00:00Z"), some("2026-01-01T05:00:00Z"));
    assert_eq!(latest("0 6 * * *", "2026-07-01T03:00:00Z", "2026-07-01T04:00:00Z"), some("2026-07-01T04:00:00Z"));
}

/// Numbers of a field, and the text for them.
fn field(min: u8, max: u8) -> BoxedStrategy<(Vec<u8>, String)> {
    let all = (Just((min..=max).collect::<Vec<u8>>()), Just("*".to_owned()));
    let steps =
        (1..=max).prop_map(move |step| ((min..=max).step_by(step.into()).collect::<Vec<u8>>(), format!("*/{step}")));
    let range = (min..=max, min..=max, 1..5_u8).prop_map(|(one, other, step)| {
        let (first, last) = (one.min(other), one.max(other));
        ((first..=last).step_by(step.into()).collect::<Vec<u8>>(), format!("{first}-{last}/{step}"))
    });
    let list = prop::collection::vec(min..=max, 1..4).prop_map(|list| {
        let text = list.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
        (list, text)
    });
    prop_oneof![2 => all, 1 => steps, 1 => range, 3 => list].boxed()
}

/// The beginnings of days around which clocks are set, and ordinary ones.
const PLACES: [(&str, &str); 9] = [
    ("Europe/Oslo", "2026-03-28T00:00:00Z"),
    ("Europe/Oslo", "2026-10-24T00:00:00Z"),
    ("America/New_York", "2026-03-07T05:00:00Z"),
    ("America/New_York", "2026-10-31T04:00:00Z"),
    ("Australia/Lord_Howe", "2026-04-03T13:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-02T13:00:00Z"),
    ("America/Sao_Paulo", "2018-11-03T03:00:00Z"),
    ("America/Sao_Paulo", "2018-02-17T02:00:00Z"),
    ("Asia/Kolkata", "2026-02-27T00:00:00Z"),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 150 } else { 2000 }))]

    #[test]
    fn it_comes_when_somebody_who_watches_the_clock_would_say_so(
        minute in field(0, 59), hour in field(0, 23), day in field(1, 31), month in field(1, 12), weekday in field(0, 6),
        place in 0..PLACES.len(),
    ) {
        let text = format!("{} {} {} {} {}", minute.1, hour.1, day.1, month.1, weekday.1);
        let Ok(cron) = Cron::parse(&text, Months::FromOne) else { return Ok(()) };
        let full = |set: &[u8], n: usize| (0..64).filter(|number| set.contains(number)).count() == n;
        let fits = |wall: DateTime| {
            let (by_day, by_weekday) =
                (day.0.contains(&wall.day().unsigned_abs()), weekday.0.contains(&wall.weekday().to_sunday_zero_offset().unsigned_abs()));
            let days = if full(&day.0, 31) || full(&weekday.0, 7) { by_day && by_weekday } else { by_day || by_weekday };
            days && minute.0.contains(&wall.minute().unsigned_abs())
                && hour.0.contains(&wall.hour().unsigned_abs())
                && month.0.contains(&wall.month().unsigned_abs())
        };
        let (zone, begin) = (zone(PLACES[place].0), PLACES[place].1.parse::<Timestamp>().unwrap());
        let (a_minute, end) = (SignedDuration::from_mins(1), begin + SignedDuration::from_hours(72));
        let mut expected = Vec::new();
        let mut reached = zone.to_datetime(begin);
        let mut now = begin;
        while now < end {
            now += a_minute;
            let wall = zone.to_datetime(now);
            if full(&hour.0, 24) {
                expected.extend(fits(wall).then_some(now));
            } else if wall > reached {
                let mut shown = reached;
                let mut due = false;
                while shown < wall {
                    shown += a_minute;
                    due |= fits(shown);
                }
                expected.extend(due.then_some(now));
                reached = wall;
            }
        }
        let times: Vec<Timestamp> =
            std::iter::successors(cron.next(begin, &zone), |last| cron.next(*last, &zone)).take_while(|time| *time <= end).collect();
        prop_assert_eq!(&times, &expected, "{} in {}", text, PLACES[place].0);
        prop_assert_eq!(cron.latest(begin, end, &zone), expected.last().copied());
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,40}", seconds in 0_i64..4_000_000_000) {
        for months in [Months::FromOne, Months::FromZero] {
            match Cron::parse(&text, months) {
                Ok(cron) => {
                    prop_assert_eq!(&Cron::parse(&cron.text(months), months).unwrap(), &cron);
                    cron.next(Timestamp::from_second(seconds).unwrap(), &zone("Europe/Oslo"));
                }
                Err(error) => prop_assert!(error.column <= text.chars().count() + 1),
            }
        }
    }

    #[test]
    fn what_looks_like_an_expression_is_read_or_refused(text in "[-*/,0-9a-z]{1,6}( [-*/,0-9a-z]{1,4}){4,5}") {
        if let Ok(cron) = Cron::parse(&text, Months::FromZero) {
            prop_assert_eq!(&Cron::parse(&cron.text(Months::FromZero), Months::FromZero).unwrap(), &cron);
            prop_assert_eq!(&Cron::parse(&cron.text(Months::FromOne), Months::FromOne).unwrap(), &cron);
        }
    }
}
