//! Schedules of plugins: a plugin asks for the next time, and is answered when it has come.
//!
//! The last time that was handed out is in the store, by instance and name: an interval of a day does not begin anew at each
//! start of Butler. Since the plugin asks again when it is done, its work never overlaps itself.

use std::time::Duration;

use butler_plugin_api::settings::duration;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::plan::GRACE_MS;
use super::{Cron, Months, Zone};
use crate::store::{Store, StoreError, now_ms};

/// The clock is looked at so often: it may be set.
const LOOK: Duration = Duration::from_secs(1);
/// A clock that is back by less is adjusted, not set.
const JUMP_MS: i64 = 60_000;
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// When a plugin wants to do something.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    /// At intervals, for the first time at once; ms.
    Every(i64),
    /// By the clocks of a zone.
    Cron(Box<Cron>, Box<Zone>),
}

/// What a plugin asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// When.
    pub when: When,
    /// Up to so much later, by chance; ms.
    pub jitter: i64,
    /// Times that it was not there for are made up for once, and not left out.
    pub make_up: bool,
}

/// A time that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// The planned time, ms since 1970.
    pub planned: i64,
}

/// Why there is no next time.
#[derive(Debug, thiserror::Error)]
pub enum TickError {
    /// It never comes.
    #[error("the schedule never comes")]
    Never,
    /// The instance has been stopped.
    #[error("the instance has been stopped")]
    Stopped,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    every: Option<String>,
    cron: Option<String>,
    time_zone: Option<String>,
    jitter: Option<String>,
    missed: Option<String>,
}

impl Wish {
    /// Reads `{"every": "15m"}` or `{"cron": "0 6 * * *", "timeZone": "Europe/Oslo"}`, with `jitter` and `missed` if wanted.
    pub fn read(value: &Value) -> Result<Self, String> {
        let written: Written = serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
        let millis = |name: &str, text: &str, shortest: Duration| {
            let time = duration(name, text, &(shortest..=LONGEST))?;
            i64::try_from(time.as_millis()).map_err(|error| error.to_string())
        };
        let when = match (written.every, written.cron) {
            (Some(every), None) if written.time_zone.is_none() => When::Every(millis("every", &every, SHORTEST)?),
            (None, Some(cron)) => {
                let cron = Cron::parse(&cron, Months::FromOne).map_err(|error| format!("`cron` `{cron}`: {error}"))?;
                let zone = Zone::named(written.time_zone.as_deref().unwrap_or("UTC"));
                When::Cron(Box::new(cron), Box::new(zone.map_err(|error| format!("`timeZone`: {error}"))?))
            }
            _ => return Err("write either `every`, such as `15m`, or `cron` and `timeZone`".to_owned()),
        };
        let jitter = written.jitter.map_or(Ok(0), |jitter| millis("jitter", &jitter, Duration::ZERO))?;
        let make_up = match written.missed.as_deref() {
            None | Some("once") => true,
            Some("skip") => false,
            Some(other) => return Err(format!("`missed` is `{other}`, but must be `once` or `skip`")),
        };
        Ok(Self { when, jitter, make_up })
    }

    /// The time that is to be handed out next.
    fn planned(&self, last: Option<i64>, now: i64) -> Option<i64> {
        let timestamp = |ms| Timestamp::from_millisecond(ms).ok();
        // By the clock before it was set back.
        let last = last.map(|last| if last > now + JUMP_MS { now } else { last });
        let (latest, next) = match (&self.when, last) {
            (When::Every(_), None) => return Some(now),
            (When::Every(every), Some(last)) => {
                let passed = (now - last).max(0) / every;
                ((passed > 0).then_some(last + passed * every), last + (passed + 1) * every)
            }
            (When::Cron(cron, zone), last) => {
                let (zone, until) = (zone.zone(), timestamp(now)?);
                let last = last.map_or(Some(until), timestamp)?;
                let latest = cron.latest(last, until, zone).map(Timestamp::as_millisecond);
                let next = cron.next(last.max(until), zone).map(Timestamp::as_millisecond);
                match (latest, next) {
                    (latest, Some(next)) => (latest, next),
                    (latest, None) => return latest,
                }
            }
        };
        Some(latest.filter(|latest| self.make_up || now - latest <= GRACE_MS + self.jitter).unwrap_or(next))
    }
}

/// Waits for the next time of a schedule of an instance. `waiting`: the names that the instance waits for; `alive`: whether it
/// is there still.
pub async fn next_tick(
    store: &Store,
    instance: &str,
    name: &str,
    wish: &Wish,
    waiting: impl Fn() -> Vec<String>,
    alive: impl Fn() -> bool,
) -> Result<Tick, TickError> {
    let late = late(wish.jitter);
    let mut told = false;
    while alive() {
        match tick(store, instance, name, wish, late, &waiting, &alive).await {
            // The plugin could do no more about it.
            Err(TickError::Store(error)) if !matches!(error, StoreError::Closed) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::error!(instance, name, %error, "the schedule of a plugin waits: its last time cannot be read or kept");
                }
                tokio::time::sleep(LOOK).await;
            }
            done => return done,
        }
    }
    Err(TickError::Stopped)
}

async fn tick(
    store: &Store,
    instance: &str,
    name: &str,
    wish: &Wish,
    late: i64,
    waiting: &impl Fn() -> Vec<String>,
    alive: &impl Fn() -> bool,
) -> Result<Tick, TickError> {
    let last = store.last_tick(instance, name).await?;
    'plan: loop {
        let begun = now_ms();
        let planned = wish.planned(last, begun).ok_or(TickError::Never)?;
        loop {
            if !alive() {
                return Err(TickError::Stopped);
            }
            let now = now_ms();
            if now < begun - JUMP_MS {
                continue 'plan;
            }
            let wait = planned + late - now;
            if wait > 0 {
                let wait = Duration::from_millis(u64::try_from(wait).unwrap_or_default());
                tokio::time::sleep(wait.min(LOOK)).await;
            } else if store.trouble().is_some() {
                // Kept when the store is well again, it would be used up although nobody may be there to get it.
                tokio::time::sleep(LOOK).await;
                continue 'plan;
            } else {
                store.keep_tick(instance, name, planned, &waiting()).await?;
                return Ok(Tick { planned });
            }
        }
    }
}

/// A time up to the jitter.
fn late(jitter: i64) -> i64 {
    let mut random = [0_u8; 8];
    // Without random numbers all come at the planned time, which is no harm.
    let _ = getrandom::fill(&mut random);
    let most = u64::try_from(jitter).unwrap_or_default();
    i64::try_from(u64::from_le_bytes(random) % (most + 1)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;

    fn wish(value: &Value) -> Wish {
        Wish::read(value).unwrap()
    }

    #[test]
    fn intervals_go_on_over_restarts_and_make_up_once() {
        let hourly = wish(&json!({ "every": "1h" }));
        let now = 1_000 * HOUR + 5 * MINUTE;
        assert_eq!(hourly.planned(None, now), Some(now), "the first at once");
        assert_eq!(hourly.planned(Some(now - 20 * MINUTE), now), Some(now + 40 * MINUTE), "not anew at a start");
        let long_ago = now - 5 * HOUR - MINUTE;
        assert_eq!(hourly.planned(Some(long_ago), now), Some(now - MINUTE), "one for five");
        let skipping = wish(&json!({ "every": "1h", "missed": "skip" }));
        assert_eq!(skipping.planned(Some(long_ago - MINUTE), now), Some(now + 58 * MINUTE));
        assert_eq!(skipping.planned(Some(now - HOUR), now), Some(now), "on time");
        assert_eq!(hourly.planned(Some(now + 40 * 24 * HOUR), now), Some(now + HOUR), "the clock was set back");
    }

    #[test]
    fn expressions_go_by_their_zone() {
        let six = wish(&json!({ "cron": "0 6 * * *", "timeZone": "Europe/Oslo" }));
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        let now = at("2026-07-01T12:00:00Z");
        assert_eq!(six.planned(None, now), Some(at("2026-07-02T04:00:00Z")));
        assert_eq!(six.planned(Some(at("2026-07-01T04:00:00Z")), now), Some(at("2026-07-02T04:00:00Z")));
        assert_eq!(six.planned(Some(at("2026-06-20T04:00:00Z")), now), Some(at("2026-07-01T04:00:00Z")));
        let skipping = wish(&json!({ "cron": "0 6 * * *", "timeZone": "Europe/Oslo", "missed": "skip" }));
        assert_eq!(skipping.planned(Some(at("2026-06-20T04:00:00Z")), now), Some(at("2026-07-02T04:00:00Z")));
        assert_eq!(wish(&json!({ "cron": "0 6 * * *" })).planned(None, now), Some(at("2026-07-02T06:00:00Z")));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (value, part) in [
            (json!({}), "write either"),
            (json!({ "every": "1h", "cron": "* * * * *" }), "write either"),
            (json!({ "every": "1h", "timeZone": "UTC" }), "write either"),
            (json!({ "every": "10ms" }), "between 1s and 366d"),
            (json!({ "every": "soon" }), "a whole number and a unit"),
            (json!({ "cron": "0 25 * * *" }), "`cron` `0 25 * * *`: column 3 (hour)"),
            (json!({ "cron": "0 6 * * *", "timeZone": "Mars" }), "`timeZone`: there is no time zone"),
            (json!({ "every": "1h", "jitter": "x" }), "`jitter`"),
            (json!({ "every": "1h", "missed": "twice" }), "must be `once` or `skip`"),
            (json!({ "hourly": true }), "hourly"),
        ] {
            let error = Wish::read(&value).unwrap_err();
            assert!(error.contains(part), "{value}: {error}");
        }
        for _ in 0..100 {
            assert!((0..=5).contains(&late(5)));
        }
        assert_eq!(late(0), 0);
    }

    #[tokio::test]
    async fn a_time_is_handed_out_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("s.db")).await.unwrap();
        let second = wish(&json!({ "every": "1s" }));
        let next = || next_tick(&store, "one", "x", &second, Vec::new, || true);
        let first = next().await.unwrap().planned;
        assert_eq!(next().await.unwrap().planned, first + 1000);
        assert!(now_ms() >= first + 1000);
        let gone = next_tick(&store, "one", "x", &wish(&json!({ "every": "1h" })), Vec::new, || false).await;
        assert!(matches!(gone, Err(TickError::Stopped)));
    }
    #[test]
    fn a_time_that_chance_puts_off_is_not_missed_at_a_restart() {
        let nightly = wish(&json!({ "cron": "0 6 * * *", "jitter": "30m", "missed": "skip" }));
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        let (last, six) = (Some(at("2026-07-01T06:00:00Z")), at("2026-07-02T06:00:00Z"));
        assert_eq!(nightly.planned(last, six + 20 * MINUTE), Some(six));
        assert_eq!(nightly.planned(last, six + 31 * MINUTE), Some(six), "on time");
        assert_eq!(nightly.planned(last, six + 32 * MINUTE), Some(six + 24 * HOUR));
    }

    async fn sql(folder: &tempfile::TempDir) -> sqlx::SqliteConnection {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path().join("s.db"));
        <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&options).await.unwrap()
    }

    #[tokio::test]
    async fn a_time_is_not_used_up_while_the_store_is_in_trouble_and_errors_end_no_schedule() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("s.db")).await.unwrap();
        let second = wish(&json!({ "every": "1s" }));
        let first = next_tick(&store, "one", "x", &second, Vec::new, || true).await.unwrap().planned;
        // It cannot be read for a while.
        let mut other = sql(&folder).await;
        sqlx::raw_sql("ALTER TABLE plugin_ticks RENAME TO gone").execute(&mut other).await.unwrap();
        let mut next = Box::pin(next_tick(&store, "one", "x", &second, Vec::new, || true));
        let early = tokio::time::timeout(Duration::from_millis(2500), &mut next).await;
        assert!(early.is_err(), "{early:?}");
        sqlx::raw_sql("ALTER TABLE gone RENAME TO plugin_ticks").execute(&mut other).await.unwrap();
        let second_time = next.await.unwrap().planned;
        assert!(second_time > first);
        // It cannot be written, and the instance ends meanwhile.
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
        let kept = store.keep_tick("two", "x", 1, &[]);
        let ends = async {
            while store.trouble().is_none() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let alive = std::cell::Cell::new(true);
            let next = next_tick(&store, "one", "x", &second, Vec::new, || alive.get());
            let end = async {
                tokio::time::sleep(Duration::from_millis(2500)).await;
                alive.set(false);
            };
            let patient = tokio::time::timeout(Duration::from_secs(10), next);
            let ended = tokio::join!(patient, end).0;
            sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
            ended
        };
        let (kept, ended) = tokio::join!(kept, ends);
        kept.unwrap();
        assert!(matches!(ended, Ok(Err(TickError::Stopped))), "{ended:?}");
        assert_eq!(store.last_tick("one", "x").await.unwrap(), Some(second_time));
    }
}
