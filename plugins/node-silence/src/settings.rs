//! The settings, and the checked form of them.

use std::collections::BTreeSet;
use std::time::Duration;

use butler_plugin_api::{When, settings::duration};
use jiff::SignedDuration;
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::hours::Hours;

const SHORTEST: Duration = Duration::from_mins(1);
const LONGEST: Duration = Duration::from_hours(30 * 24);
const DAY_MS: i64 = 86_400_000;
/// So late a look may be on a machine that is busy.
const LATE: SignedDuration = SignedDuration::from_mins(5);

/// Settings of the watch over silent nodes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// When to look.
    pub(crate) when: When,
    /// For how much working time a node must have sent nothing: a whole number and a unit (s, m, h, d), `1m` to `30d`.
    #[schemars(extend("pattern" = "^[0-9]{1,10} ?(ms|s|m|h|d)$"))]
    silent_after: String,
    /// After how much more working time a silence that lasts is told again; absent: it is told once.
    #[schemars(extend("pattern" = "^[0-9]{1,10} ?(ms|s|m|h|d)$"))]
    remind_every: Option<String>,
    /// The time that counts.
    working_time: WorkingTime,
    /// Whether the log appenders tell of tasks that succeed as well; `false` where the files on the nodes leave these
    /// out. Then only failed and aborted ones show that a node should have been heard of.
    pub(crate) successes: bool,
    /// Host names of nodes that are not watched; the first part of a name is enough.
    pub(crate) ignore_nodes: Vec<String>,
}

/// The time that counts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct WorkingTime {
    /// Working days.
    #[schemars(length(min = 1))]
    days: BTreeSet<Day>,
    /// When working days begin, `HH:MM`; absent: at midnight.
    #[schemars(extend("pattern" = "^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    from: Option<String>,
    /// When working days end, `HH:MM`; absent: at midnight.
    #[schemars(extend("pattern" = "^([01][0-9]|2[0-3]):[0-5][0-9]$"))]
    to: Option<String>,
    /// Name of the time zone of all this in the IANA database, such as `Europe/Oslo`.
    time_zone: String,
    /// Days that are no working days, `YYYY-MM-DD`.
    #[schemars(inner(regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")))]
    holidays: Vec<String>,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl From<Day> for Weekday {
    fn from(day: Day) -> Self {
        match day {
            Day::Mon => Self::Monday,
            Day::Tue => Self::Tuesday,
            Day::Wed => Self::Wednesday,
            Day::Thu => Self::Thursday,
            Day::Fri => Self::Friday,
            Day::Sat => Self::Saturday,
            Day::Sun => Self::Sunday,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            when: When::every(Duration::from_mins(15)),
            silent_after: "4h".to_owned(),
            remind_every: None,
            working_time: WorkingTime::default(),
            successes: true,
            ignore_nodes: Vec::new(),
        }
    }
}

impl Default for WorkingTime {
    fn default() -> Self {
        Self {
            days: BTreeSet::from([Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri]),
            from: None,
            to: None,
            time_zone: "UTC".to_owned(),
            holidays: Vec::new(),
        }
    }
}

/// After how much working time a silence is told, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) after: u64,
    pub(crate) again: Option<u64>,
}

impl Settings {
    /// An error says for people which setting is wrong, and what would be right.
    pub(crate) fn check(&self) -> Result<(Limits, Hours), String> {
        let time = |name, text: &str| {
            let time = duration(name, text, &(SHORTEST..=LONGEST))?;
            Ok::<_, String>(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
        };
        let limits = Limits {
            after: time("silentAfter", &self.silent_after)?,
            again: self.remind_every.as_deref().map(|text| time("remindEvery", text)).transpose()?,
        };
        Ok((limits, self.working_time.check()?))
    }

    /// How late a look may be, with what chance puts it off.
    pub(crate) fn late(&self) -> SignedDuration {
        let when = json!(self.when);
        let jitter =
            when["jitter"].as_str().and_then(|text| duration("jitter", text, &(Duration::ZERO..=Duration::MAX)).ok());
        let jitter = jitter.and_then(|jitter| SignedDuration::try_from(jitter).ok());
        LATE.saturating_add(jitter.unwrap_or_default())
    }
}

impl WorkingTime {
    fn check(&self) -> Result<Hours, String> {
        if self.days.is_empty() {
            return Err("`workingTime.days` is empty: name one day at least, such as `[mon, tue]`".to_owned());
        }
        let from = self.from.as_deref().map_or(Ok(0), |text| of_day("from", text))?;
        let to = self.to.as_deref().map_or(Ok(DAY_MS), |text| of_day("to", text))?;
        if from >= to {
            return Err(
                "`workingTime.to` is not after `workingTime.from`: both are times of one day, without `to` it ends at midnight"
                    .to_owned(),
            );
        }
        let zone = TimeZone::get(&self.time_zone).map_err(|_| {
            format!(
                "`workingTime.timeZone` is `{}`: write a name of the IANA database, such as `Europe/Oslo` or `UTC`",
                self.time_zone
            )
        })?;
        let holidays = self.holidays.iter().map(|text| day(text)).collect::<Result<_, _>>()?;
        let days = self.days.iter().copied().map(Weekday::from).collect();
        Ok(Hours { days, from, to, zone, holidays })
    }
}

/// A time of day, in milliseconds since midnight.
fn of_day(name: &str, text: &str) -> Result<i64, String> {
    let time = Time::strptime("%H:%M", text).map_err(|_| {
        format!("`workingTime.{name}` is `{text}`: write hours and minutes, such as `08:00`, from `00:00` to `23:59`")
    })?;
    Ok(i64::from(time.hour()) * 3_600_000 + i64::from(time.minute()) * 60_000)
}

fn day(text: &str) -> Result<Date, String> {
    Date::strptime("%Y-%m-%d", text).map_err(|_| {
        format!("`workingTime.holidays` has `{text}`: write year, month and day of a day that there is, such as `2026-12-25`")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(settings: Value) -> Result<(Limits, Hours), String> {
        let settings: Settings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
        settings.check()
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let (limits, hours) = check(json!({})).unwrap();
        assert_eq!(limits, Limits { after: 4 * 3_600_000, again: None });
        assert_eq!((hours.days.len(), hours.from, hours.to, hours.holidays.len()), (5, 0, DAY_MS, 0));
        assert!(!hours.days.contains(&Weekday::Saturday) && !hours.days.contains(&Weekday::Sunday));
        assert_eq!(hours.zone.iana_name(), Some("UTC"));
    }

    #[test]
    fn all_can_be_set_and_what_cannot_work_is_refused() {
        let (limits, hours) = check(json!({
            "when": { "cron": "0 8-17 * * 1-5", "timeZone": "Europe/Oslo" },
            "silentAfter": "90m", "remindEvery": "1d", "successes": false, "ignoreNodes": ["sense9"],
            "workingTime": {
                "days": ["sun", "mon"], "from": "08:00", "to": "17:30", "timeZone": "Asia/Kolkata",
                "holidays": ["2028-02-29"]
            }
        }))
        .unwrap();
        assert_eq!(limits, Limits { after: 5_400_000, again: Some(86_400_000) });
        assert_eq!((hours.from, hours.to), (8 * 3_600_000, 17 * 3_600_000 + 1_800_000));
        for (settings, part) in [
            (json!({ "silentAfter": "59s" }), "`silentAfter` is `59s`, but must be between 1m and 30d"),
            (json!({ "remindEvery": "0m" }), "`remindEvery` is `0m`"),
            (json!({ "workingTime": { "days": [] } }), "`workingTime.days` is empty"),
            (json!({ "workingTime": { "days": ["monday"] } }), "unknown variant"),
            (json!({ "workingTime": { "from": "8" } }), "`workingTime.from` is `8`: write hours and minutes"),
            (json!({ "workingTime": { "to": "24:00" } }), "`workingTime.to` is `24:00`"),
            (json!({ "workingTime": { "from": "17:00", "to": "17:00" } }), "`workingTime.to` is not after"),
            (json!({ "workingTime": { "timeZone": "Oslo" } }), "`workingTime.timeZone` is `Oslo`"),
            (json!({ "workingTime": { "holidays": ["2026-02-29"] } }), "`workingTime.holidays` has `2026-02-29`"),
            (json!({ "nodes": [] }), "unknown field"),
        ] {
            let error = check(settings).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
