//! The service `schedule`: doing something at planned times.

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ServiceError;
use crate::host::Host;
use crate::settings::duration;

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// When something is to be done: at intervals, or by a cron expression in a time zone. Fit for settings:
///
/// ```
/// use butler_plugin_api::When;
/// use serde_json::json;
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Settings {
///     /// When the licences are looked at.
///     when: When,
/// }
///
/// for when in [json!({ "every": "15m" }), json!({ "cron": "0 6 * * 1-5", "timeZone": "Europe/Oslo", "jitter": "2m" })] {
///     serde_json::from_value::<Settings>(json!({ "when": when })).unwrap();
/// }
/// ```
///
/// The host reads the cron expression: have it do so in `start`, by [`Schedule::check`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct When(Written);

/// When something is to be done: either `every`, or `cron`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Written {
    /// At intervals: a whole number and a unit (s, m, h, d), such as `15m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^[0-9]{1,10} ?(ms|s|m|h|d)$"))]
    every: Option<String>,
    /// At times: a cron expression of 5 fields, or of 6 with seconds first.
    #[serde(skip_serializing_if = "Option::is_none")]
    cron: Option<String>,
    /// Name of the time zone that `cron` goes by, such as `Europe/Oslo`; `UTC` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_zone: Option<String>,
    /// Up to so much later, by chance.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^[0-9]{1,10} ?(ms|s|m|h|d)$", "default" = "0s"))]
    jitter: Option<String>,
    /// What becomes of times that Butler or the instance was not there for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "once"))]
    missed: Option<Missed>,
}

/// What becomes of missed times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Missed {
    /// However many there were, one is made up for.
    Once,
    /// They are left out.
    Skip,
}

impl TryFrom<Written> for When {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match (&written.every, &written.cron) {
            (Some(every), None) => {
                duration("every", every, &(SHORTEST..=LONGEST))?;
                if written.time_zone.is_some() {
                    return Err("`timeZone` belongs to `cron`: intervals have none".to_owned());
                }
            }
            (None, Some(_)) => {}
            _ => return Err("write either `every`, such as `15m`, or `cron`, such as `0 6 * * *`".to_owned()),
        }
        if let Some(jitter) = &written.jitter {
            duration("jitter", jitter, &(Duration::ZERO..=LONGEST))?;
        }
        Ok(Self(written))
    }
}

impl From<When> for Written {
    fn from(when: When) -> Self {
        when.0
    }
}

impl JsonSchema for When {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "When".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Written::json_schema(generator)
    }
}

impl When {
    /// At intervals, in milliseconds; the first time at once, if it is the first time ever.
    pub fn every(interval: Duration) -> Self {
        Self(Written { every: Some(written(interval)), ..Written::default() })
    }

    /// At the times of a cron expression in a zone of the IANA database.
    pub fn cron(expression: &str, time_zone: &str) -> Self {
        let (cron, time_zone) = (Some(expression.to_owned()), Some(time_zone.to_owned()));
        Self(Written { cron, time_zone, ..Written::default() })
    }

    /// Up to so much later, by chance: so that not all ask the same server in the same second.
    #[must_use]
    pub fn jitter(mut self, most: Duration) -> Self {
        self.0.jitter = Some(written(most));
        self
    }

    /// Leaves missed times out instead of making up for them once.
    #[must_use]
    pub fn skip_missed(mut self) -> Self {
        self.0.missed = Some(Missed::Skip);
        self
    }
}

/// A span as one would write it: `6h`, not `21600000ms`.
fn written(span: Duration) -> String {
    let millis = span.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    let (unit, size) =
        units.into_iter().find(|(_, size)| millis > 0 && millis.is_multiple_of(*size)).unwrap_or(("ms", 1));
    format!("{}{unit}", millis / size)
}

/// A time that has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tick {
    /// The planned time, RFC 3339. It may be long past, if it was missed.
    pub planned: String,
}

/// Planned times of one instance, by names of its own. The last one of each is kept by the host: an interval of a day does
/// not begin anew when Butler is started.
///
/// ```
/// # use butler_plugin_api::{Host, ServiceError, When};
/// # async fn run(host: Host, when: When) {
/// // In `Plugin::run`:
/// while let Ok(tick) = host.schedule().next("licences", &when).await {
///     // Never two at once: the next wait begins when this is done.
///     tracing::info!(planned = tick.planned, "looks at the licences");
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Schedule(Host);

impl Schedule {
    pub(crate) fn new(host: Host) -> Self {
        Self(host)
    }

    /// Waits for the next time, also while the host cannot read or write its store. At most 64 names at once, and each once at a
    /// time; of more names that an instance has had, the one of which the last time is longest past begins anew. Ends with
    /// [`ServiceError::Stopped`] when the instance stops, with [`ServiceError::Invalid`] when the host cannot read `when`, and
    /// with [`ServiceError::Quota`] at once when too many are waited for.
    pub async fn next(&self, name: &str, when: &When) -> Result<Tick, ServiceError> {
        let answer = self.0.invoke("schedule", &json!({ "op": "next", "name": name, "when": when })).await?;
        serde_json::from_value(answer).map_err(|error| ServiceError::Failed(error.to_string()))
    }

    /// Has the host read `when`, and waits for nothing: [`ServiceError::Invalid`] says what is wrong with it.
    pub async fn check(&self, when: &When) -> Result<(), ServiceError> {
        self.0.invoke("schedule", &json!({ "op": "check", "when": when })).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn read(value: Value) -> Result<When, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_are_read_and_crossed_as_they_are_written() {
        for value in [
            json!({ "every": "15m" }),
            json!({ "every": "1d", "jitter": "10m", "missed": "skip" }),
            json!({ "cron": "0 6 * * *", "timeZone": "Europe/Oslo" }),
        ] {
            assert_eq!(json!(read(value.clone()).unwrap()), value);
        }
        assert_eq!(
            json!(When::every(Duration::from_mins(1)).skip_missed()),
            json!({ "every": "1m", "missed": "skip" })
        );
        assert_eq!(
            json!(When::cron("0 6 * * *", "UTC").jitter(Duration::from_secs(1))),
            json!({ "cron": "0 6 * * *", "timeZone": "UTC", "jitter": "1s" })
        );
    }

    #[test]
    fn what_is_neither_or_both_is_refused() {
        for (value, part) in [
            (json!({}), "either `every`"),
            (json!({ "every": "1h", "cron": "* * * * *" }), "either `every`"),
            (json!({ "every": "1h", "timeZone": "UTC" }), "`timeZone` belongs to `cron`"),
            (json!({ "every": "500ms" }), "between 1s and 366d"),
            (json!({ "cron": "* * * * *", "jitter": "much" }), "`jitter` is `much`"),
            (json!({ "every": "1h", "missed": "twice" }), "twice"),
            (json!({ "hourly": true }), "hourly"),
        ] {
            let error = read(value.clone()).unwrap_err();
            assert!(error.contains(part), "{value}: {error}");
        }
    }
}
