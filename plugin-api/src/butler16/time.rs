//! Times as templates show them: the text of Qlik Sense, and five forms in a time zone, as people in the US write them.

use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};
use serde_json::{Map, Value, json};

/// Qlik Sense says "never" with a date of this year.
const NEVER: &str = "1753-";

/// `{<prefix>UTC, <prefix>Local1 … <prefix>Local5}`; all `-` for "never". A text that is no time stays what it is.
pub(crate) fn forms(prefix: &str, text: &str, zone: &TimeZone) -> Map<String, Value> {
    let mut forms = Map::new();
    let mut put = |suffix: &str, text: &str| forms.insert(format!("{prefix}{suffix}"), Value::from(text));
    let locals = if is_never(text) { None } else { local(text, zone) };
    let otherwise = if is_never(text) { "-" } else { text };
    put("UTC", otherwise);
    for number in 1..=5 {
        let form = locals.as_ref().map_or(otherwise, |locals: &[String; 5]| locals[number - 1].as_str());
        put(&format!("Local{number}"), form);
    }
    forms
}

/// `{year, month, day, hour, minute, second, millisecond}` in UTC; empty for what is no time.
pub(crate) fn parts(text: &str) -> Map<String, Value> {
    let Ok(time) = text.parse::<Timestamp>() else { return Map::new() };
    let time = time.to_zoned(TimeZone::UTC);
    let mut parts = Map::new();
    parts.insert("year".to_owned(), time.year().into());
    let others = [
        ("month", time.month()),
        ("day", time.day()),
        ("hour", time.hour()),
        ("minute", time.minute()),
        ("second", time.second()),
    ];
    parts.extend(others.map(|(name, value)| (name.to_owned(), value.into())));
    parts.insert("millisecond".to_owned(), time.millisecond().into());
    parts
}

/// Whether a time of Qlik Sense means that there is none.
pub(crate) fn is_never(text: &str) -> bool {
    text.starts_with(NEVER)
}

/// `2026-03-04 06:06:07`, or the text itself if it is no time.
#[cfg(feature = "message")]
pub(crate) fn short(text: &str, zone: &TimeZone) -> String {
    local(text, zone).map_or_else(|| text.to_owned(), |[first, ..]| first)
}

fn local(text: &str, zone: &TimeZone) -> Option<[String; 5]> {
    let time = text.parse::<Timestamp>().ok()?.to_zoned(zone.clone());
    let name = zone_name(&time);
    let form = |pattern: &str| time.strftime(pattern).to_string();
    let long = form("%B %-d, %Y at %-I:%M:%S %p");
    Some([
        form("%Y-%m-%d %H:%M:%S"),
        form("%-m/%-d/%Y, %-I:%M:%S %p"),
        form("%b %-d, %Y, %-I:%M:%S %p"),
        format!("{long} {name}"),
        format!("{}, {long} {name}", form("%A")),
    ])
}

/// American zones by their abbreviation, all others by their offset, as usual in American English.
fn zone_name(time: &Zoned) -> String {
    let abbreviation = time.strftime("%Z").to_string();
    let zone = time.time_zone().iana_name().unwrap_or_default();
    let american = ["EST", "EDT", "CST", "CDT", "MST", "MDT", "PST", "PDT", "AKST", "AKDT", "HST"];
    let in_america = ["America/", "US/", "Pacific/Honolulu"].iter().any(|start| zone.starts_with(start));
    if (in_america && american.contains(&abbreviation.as_str())) || abbreviation == "UTC" {
        return abbreviation;
    }
    offset_name(time.offset())
}

/// `GMT`, `GMT+1`, `GMT-3:30`.
fn offset_name(offset: Offset) -> String {
    let minutes = offset.seconds() / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    match (minutes.abs() / 60, minutes.abs() % 60) {
        (0, 0) => "GMT".to_owned(),
        (hours, 0) => format!("GMT{sign}{hours}"),
        (hours, minutes) => format!("GMT{sign}{hours}:{minutes:02}"),
    }
}

/// Milliseconds as `{hours, minutes, seconds}`, seconds rounded down.
pub(crate) fn duration(millis: i64) -> Value {
    let seconds = millis.max(0) / 1000;
    json!({ "hours": seconds / 3600, "minutes": seconds / 60 % 60, "seconds": seconds % 60 })
}

/// Milliseconds as `1 h 2 min 3 s`, from the first unit that is not zero.
#[cfg(feature = "message")]
pub(crate) fn duration_text(millis: i64) -> String {
    let seconds = millis.max(0) / 1000;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, seconds) => format!("{hours} h {minutes} min {seconds} s"),
    }
}

/// A time in a zone by a pattern of strftime; none for what is no time, an error for what is no pattern.
#[cfg(feature = "message")]
pub(crate) fn by_pattern(text: &str, pattern: &str, zone: &TimeZone) -> Result<Option<String>, jiff::Error> {
    let Ok(time) = text.parse::<Timestamp>() else { return Ok(None) };
    jiff::fmt::strtime::format(pattern, &time.to_zoned(zone.clone())).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locals(text: &str, zone: &str) -> Vec<String> {
        let forms = forms("t", text, &TimeZone::get(zone).unwrap());
        ["tUTC", "tLocal1", "tLocal2", "tLocal3", "tLocal4", "tLocal5"]
            .iter()
            .map(|name| forms[*name].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn six_forms() {
        assert_eq!(
            locals("2026-03-04T05:06:07.890Z", "Europe/Stockholm"),
            [
                "2026-03-04T05:06:07.890Z",
                "2026-03-04 06:06:07",
                "3/4/2026, 6:06:07 AM",
                "Mar 4, 2026, 6:06:07 AM",
                "March 4, 2026 at 6:06:07 AM GMT+1",
                "Wednesday, March 4, 2026 at 6:06:07 AM GMT+1",
            ]
        );
    }

    #[test]
    fn zones_are_named_as_in_american_english() {
        for (zone, name) in [
            ("UTC", "UTC"),
            ("Europe/London", "GMT+1"),
            ("America/New_York", "EDT"),
            ("Asia/Kolkata", "GMT+5:30"),
            ("America/St_Johns", "GMT-2:30"),
            ("Asia/Shanghai", "GMT+8"),
        ] {
            let form = &locals("2026-07-04T22:06:07Z", zone)[4];
            assert!(form.ends_with(&format!("M {name}")), "{zone}: {form}");
        }
    }

    #[test]
    fn never_and_nonsense() {
        assert_eq!(locals("1753-01-01T00:00:00.000Z", "UTC"), ["-"; 6]);
        assert_eq!(locals("soon", "UTC"), ["soon"; 6]);
    }

    #[test]
    fn durations() {
        assert_eq!(duration(3_725_999), json!({ "hours": 1, "minutes": 2, "seconds": 5 }));
        assert_eq!(duration(-5), json!({ "hours": 0, "minutes": 0, "seconds": 0 }));
        assert_eq!([999, 61_000, 3_723_999].map(duration_text), ["0 s", "1 min 1 s", "1 h 2 min 3 s"]);
    }
}
