//! Facts in the forms of Butler 16, for destinations whose readers know them: dashboards, scripts, subscribers.
//!
//! Message templates have all of this as variables (module `message`); here it is for what is read by machines.

mod log;
pub(crate) mod time;

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::Execution;

pub use log::LogLines;
#[cfg(feature = "message")]
pub(crate) use log::whole;

/// A time zone, in which local times are shown.
#[derive(Debug, Clone)]
pub struct Zone(pub(crate) TimeZone);

impl Zone {
    /// From the setting `timeZone`: an IANA name; absent: that of the system.
    ///
    /// An error names the setting and says what would be right; it is meant for
    /// [`StartError::Config`](crate::StartError::Config).
    pub fn new(time_zone: Option<&str>) -> Result<Self, String> {
        let zone = match time_zone {
            None => TimeZone::system(),
            Some(name) => TimeZone::get(name).map_err(|_| {
                format!("`timeZone` is `{name}`, which is no time zone known here: write an IANA name such as `Europe/Berlin`")
            })?,
        };
        Ok(Self(zone))
    }

    /// A time of Qlik Sense, ISO 8601, as `{"<prefix>UTC": the text itself, "<prefix>Local1": "2026-03-04 06:06:07", …
    /// "<prefix>Local5": …}`, the further ones as people in the US write times. All are `-` for "never" (the year 1753); a
    /// text that is no time stays what it is.
    pub fn forms(&self, prefix: &str, text: &str) -> Map<String, Value> {
        time::forms(prefix, text, &self.0)
    }
}

/// `{year, month, day, hour, minute, second, millisecond}` of a time in UTC; empty for what is no time.
pub fn time_parts(text: &str) -> Map<String, Value> {
    time::parts(text)
}

/// Milliseconds as `{hours, minutes, seconds}`, seconds rounded down.
pub fn duration(millis: i64) -> Value {
    time::duration(millis)
}

/// A user with one separator, however many backslashes the log line had: `DIRECTORY\id`.
pub fn plain_user(user: &str) -> String {
    user.replace("\\\\", "\\")
}

/// A user with a slash in the place of each backslash: `DIRECTORY/id`.
pub fn slashed_user(user: &str) -> String {
    user.replace('\\', "/")
}

/// Custom properties, one object `{name, value}` for each value of each.
pub fn properties(properties: &BTreeMap<String, Vec<String>>) -> Value {
    let pairs = properties.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    pairs.map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

/// The steps of a run in order of time, a line each: time, tab, what happened (`executionDetailsConcatenated`).
pub fn details(execution: &Execution) -> String {
    let details = execution.details.iter();
    details.flat_map(|detail| [detail.time.as_str(), "\t", detail.message.as_str(), "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample_event;

    #[test]
    fn users_have_their_two_forms() {
        let users = [r"LAB\\anna", r"LAB\anna"];
        assert_eq!(users.map(plain_user), [r"LAB\anna", r"LAB\anna"]);
        assert_eq!(
            users.map(slashed_user),
            ["LAB//anna", "LAB/anna"],
            "as in InfluxDB, New Relic and Signl4 ever since"
        );
    }

    #[test]
    fn each_value_of_a_property_is_an_object() {
        let all = BTreeMap::from([("a".to_owned(), vec!["1".to_owned(), "2".to_owned()]), ("b".to_owned(), vec![])]);
        assert_eq!(properties(&all), json!([{ "name": "a", "value": "1" }, { "name": "a", "value": "2" }]));
    }

    #[test]
    fn steps_are_lines() {
        let event = sample_event(crate::kind::RELOAD_TASK_FAILED);
        let text = details(event.data.execution.as_ref().unwrap());
        assert!(text.starts_with("2026-03-04T05:05:00.900Z\tChanging task state to Triggered\n"), "{text}");
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn a_zone_that_is_none_is_refused() {
        assert!(Zone::new(Some("Mars/Olympus")).unwrap_err().contains("`timeZone` is `Mars/Olympus`"));
        let forms = Zone::new(Some("Europe/Berlin")).unwrap().forms("startTime", "2026-03-04T05:06:07.890Z");
        assert_eq!(forms["startTimeLocal1"], "2026-03-04 06:06:07");
    }
}
