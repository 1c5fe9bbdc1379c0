//! Times of points, in nanoseconds since 1970.
//!
//! InfluxDB keeps one point for each measurement, set of tags and time; a later one replaces it. So the time of a point is
//! always the same when its delivery is repeated, and differs from that of other events in the same millisecond: the digits
//! below the millisecond come from the id of the event and the number of the point in it.

use butler_plugin_api::{Delivery, butler16};

/// An event cannot have happened so long after it was heard of, in milliseconds: a clock was wrong.
const FUTURE: i64 = 3_600_000;
const BELOW_A_MILLISECOND: u64 = 1_000_000;

/// The time of the first point of a delivery; the others follow, a nanosecond each. When it happened, else when Butler heard
/// of it, else when the first attempt was made; none of these: InfluxDB takes its own.
pub(crate) fn nanos(delivery: &Delivery) -> Option<i64> {
    let event = &delivery.event;
    let received = millis(&event.received_at);
    let happened =
        millis(&event.time).filter(|time| received.is_none_or(|received| *time <= received.saturating_add(FUTURE)));
    let millis = happened.or(received).or_else(|| millis(&delivery.first_attempt_at))?;
    // Six points of one event are to stay within the millisecond: hence not the last digits.
    let digits = hash(&event.id) % (BELOW_A_MILLISECOND - 1000);
    millis.checked_mul(1_000_000)?.checked_add(i64::try_from(digits).ok()?)
}

/// Milliseconds since 1970 of a time of RFC 3339; none before that, or for what is no time.
fn millis(text: &str) -> Option<i64> {
    let parts = butler16::time_parts(text);
    let part = |name: &str| parts.get(name).and_then(serde_json::Value::as_i64);
    let (year, month, day) = (part("year")?, part("month")?, part("day")?);
    // Days since 1970-01-01 in the Gregorian calendar, with years that begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day
            - 719_469;
    let seconds = days * 86_400 + part("hour")? * 3600 + part("minute")? * 60 + part("second")?;
    let millis = seconds * 1000 + part("millisecond")?;
    // The last millisecond that fits into 64 bits of nanoseconds is in 2262.
    (1..9_223_372_036_000).contains(&millis).then_some(millis)
}

/// FNV-1a: the same on every machine and in every version.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::testing::sample_delivery;

    use super::*;

    #[test]
    fn milliseconds_are_those_of_the_calendar() {
        for (text, expected) in [
            ("1970-01-01T00:00:00.001Z", Some(1)),
            ("2000-02-29T12:00:00Z", Some(951_825_600_000)),
            ("2026-03-04T05:06:07.890Z", Some(1_772_600_767_890)),
            ("2026-03-04T06:06:07.890+01:00", Some(1_772_600_767_890)),
            ("2100-03-01T00:00:00Z", Some(4_107_542_400_000)),
            ("1753-01-01T00:00:00.000Z", None),
            ("2300-01-01T00:00:00Z", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(millis(text), expected, "{text}");
        }
    }

    #[test]
    fn a_time_that_cannot_be_is_replaced_by_the_next_best() {
        let mut delivery = sample_delivery("reload-task.failed");
        let of = |delivery: &Delivery| nanos(delivery).map(|nanos| nanos / 1_000_000);
        assert_eq!(of(&delivery), millis("2026-03-04T05:06:07.890Z"));
        delivery.event.time = "2033-01-01T00:00:00Z".to_owned();
        assert_eq!(of(&delivery), millis("2026-03-04T05:06:07.912Z"), "the clock of the server was wrong");
        delivery.event.time = "1753-01-01T00:00:00Z".to_owned();
        assert_eq!(of(&delivery), millis("2026-03-04T05:06:07.912Z"));
        delivery.event.received_at = String::new();
        assert_eq!(of(&delivery), millis("2026-03-04T05:06:08.000Z"));
        delivery.first_attempt_at = String::new();
        assert_eq!(nanos(&delivery), None);
    }

    #[test]
    fn a_repeated_event_has_the_same_time_and_another_one_another() {
        let (one, mut other) = (sample_delivery("reload-task.failed"), sample_delivery("reload-task.failed"));
        other.attempt = 9;
        assert_eq!(nanos(&one), nanos(&other));
        other.event.id = "sample-2".to_owned();
        assert_ne!(nanos(&one), nanos(&other));
        assert_eq!(nanos(&one).map(|nanos| nanos / 1_000_000), nanos(&other).map(|nanos| nanos / 1_000_000));
    }
}
