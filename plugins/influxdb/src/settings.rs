//! The settings, and what they describe once they are checked.

use std::collections::BTreeMap;
use std::time::Duration;

use butler_plugin_api::butler16::Zone;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use crate::points::{Maker, Marks, meant};
use crate::script::Wanted;
use crate::server::{Access, Server};

/// The longest time limit of a request: the host gives a delivery two minutes in all.
pub(crate) const LONGEST_TIMEOUT: Duration = Duration::from_secs(50);
const LONGEST_INTERVAL: Duration = Duration::from_secs(10);
/// Most lines of a script log, first or last ones.
pub(crate) const MOST_LINES: usize = 1000;
/// Most tags of the settings for one point: InfluxDB limits what a point is marked with.
pub(crate) const MOST_TAGS: usize = 30;

/// Settings of a database in InfluxDB.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-ask" = [["database"], ["org", "bucket", "token"], ["database", "token"]]))]
pub(crate) struct Settings {
    /// Address of InfluxDB, `http` or `https`: `http://influxdb.example.com:8086`.
    url: Url,
    /// Major version of InfluxDB: 1, 2 or 3.
    #[schemars(range(min = 1, max = 3))]
    version: u8,
    /// Versions 1 and 3: name of the database. Version 1 without it: `butler`. Version 3 takes letters without accents,
    /// digits, `_` and `-`, and begins with a letter or digit.
    #[serde(default)]
    database: Option<String>,
    /// Version 1: user, if InfluxDB asks for one.
    #[serde(default)]
    username: Option<String>,
    /// Version 1: password of the user. It is a secret: write it as `${env:NAME}` or `${file:path}`.
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    password: Option<String>,
    /// Version 2: name of the organisation.
    #[serde(default)]
    org: Option<String>,
    /// Version 2: name of the bucket.
    #[serde(default)]
    bucket: Option<String>,
    /// Versions 2 and 3: token that may write. It is a secret: write it as `${env:NAME}` or `${file:path}`.
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    token: Option<String>,
    /// Whether the database or bucket is created when it is missing, at the first write and when it was dropped.
    /// Absent: with version 1 yes, as in Butler 16; with versions 2 and 3 no, since it needs a token that may do more
    /// than write. Version 3 creates a missing database with any write, but then keeps its points for ever.
    #[serde(default)]
    create: Option<bool>,
    /// For how long points are kept, if Butler creates the database or bucket: a whole number and `h`, `d` or `w`, or
    /// `inf`, for ever. Absent: with version 1 `10d`, as in Butler 16; else for ever. What is there already is left as
    /// it is.
    #[serde(default)]
    #[schemars(regex(pattern = r"^([0-9]+(h|d|w)|inf)$"))]
    retention: Option<String>,
    /// Version 1: name of the retention policy that a database is created with. Absent: its duration.
    #[serde(default)]
    retention_policy: Option<String>,
    /// Tags of every point: name to value. Those of a measurement go before them.
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// What the points of single measurements are marked with, by the name of the measurement: `reload_task_failed`.
    #[serde(default)]
    measurements: BTreeMap<String, Measurement>,
    /// How many of the first lines of the script log are written with a successful reload. At most 1000.
    #[serde(default = "default_head")]
    #[schemars(range(max = MOST_LINES))]
    head_script_log_lines: usize,
    /// How many of the last lines of the script log are written with a reload. At most 1000.
    #[serde(default = "default_tail")]
    #[schemars(range(max = MOST_LINES))]
    tail_script_log_lines: usize,
    /// Measurement of the counters of UDP ingestion (`butler.ingest`).
    #[serde(default = "default_queue")]
    queue_measurement: String,
    /// Time zone of `startTimeLocal1` and the like, by its IANA name (`Europe/Stockholm`). Absent: that of the system.
    #[serde(default)]
    time_zone: Option<String>,
    /// When points are written.
    #[serde(default)]
    flush: Flush,
    /// How long InfluxDB may take for a request: a whole number and `ms` or `s`; at most 50 s.
    #[serde(default = "default_timeout")]
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*(ms|s)\s*$"))]
    timeout: String,
    /// Name of a profile under `tls:` of Butler's config: an own CA, a client certificate, or no verification.
    #[serde(default)]
    tls: Option<String>,
}

/// What the points of a measurement are marked with.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Measurement {
    /// Tags: name to value. They go before all others.
    tags: BTreeMap<String, String>,
    /// Whether tags of the task become tags `taskTag_<name>` with the value `true`.
    task_tags: bool,
    /// Whether tags of the app become tags `appTag_<name>` with the value `true`, for reloads.
    app_tags: bool,
}

impl Default for Measurement {
    fn default() -> Self {
        Self { tags: BTreeMap::new(), task_tags: true, app_tags: true }
    }
}

/// When points are written: whichever comes first.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Flush {
    /// So long after the first of them: a whole number and `ms` or `s`; at most 10 s. A backlog does not wait.
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*(ms|s)\s*$"))]
    interval: String,
    /// When there are so many. Also the most points of one request.
    #[schemars(range(min = 1, max = 20_000))]
    points: usize,
}

impl Default for Flush {
    fn default() -> Self {
        Self { interval: "200ms".to_owned(), points: 5000 }
    }
}

fn default_head() -> usize {
    15
}

fn default_tail() -> usize {
    20
}

fn default_queue() -> String {
    "butler_udp_queue".to_owned()
}

fn default_timeout() -> String {
    "10s".to_owned()
}

/// Checked settings.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) server: Server,
    pub(crate) maker: Maker,
    pub(crate) interval: Duration,
    pub(crate) points: usize,
}

impl TryFrom<Settings> for Checked {
    /// For people: which setting is wrong, and what would be right.
    type Error = String;

    fn try_from(settings: Settings) -> Result<Self, String> {
        let access = access(&settings)?;
        let is_v1 = settings.version == 1;
        let retention = match &settings.retention {
            Some(text) if text == "inf" => Some((text.clone(), None)),
            Some(text) => Some((text.clone(), Some(hours("retention", text)?))),
            None => is_v1.then(|| ("10d".to_owned(), Some(240))),
        };
        let server = Server::new(
            base(&settings.url)?,
            access,
            settings.create.unwrap_or(is_v1),
            retention,
            duration("timeout", &settings.timeout, LONGEST_TIMEOUT)?,
            settings.tls,
        );
        check_tags("tags", &settings.tags)?;
        let queue = settings.queue_measurement;
        if queue.is_empty() || queue.starts_with(['_', '#']) || queue.chars().any(char::is_control) || queue.len() > 200
        {
            return Err(
                "`queueMeasurement` must be a name: not empty, not beginning with `_` or `#`, of at most 200 letters"
                    .to_owned(),
            );
        }
        let mut measurements = BTreeMap::new();
        for (name, Measurement { tags, task_tags, app_tags }) in settings.measurements {
            if name.is_empty() {
                return Err("`measurements` has an empty name: write that of a measurement, or remove it".to_owned());
            }
            if let Some(right) = meant(&name, &queue) {
                return Err(format!("`measurements`: `{name}` is no measurement of Butler's; write `{right}`"));
            }
            check_tags(&format!("measurements.{name}.tags"), &tags)?;
            measurements.insert(name, Marks { tags, task_tags, app_tags });
        }
        let points = settings.flush.points;
        if !(1..=20_000).contains(&points) {
            return Err(format!("`flush.points` is {points}, but 1 to 20000 are possible"));
        }
        let maker = Maker {
            tags: settings.tags,
            measurements,
            script_log: Wanted { head: settings.head_script_log_lines, tail: settings.tail_script_log_lines },
            queue_measurement: queue,
            zone: Zone::new(settings.time_zone.as_deref())?,
        };
        let interval = duration("flush.interval", &settings.flush.interval, LONGEST_INTERVAL)?;
        Ok(Self { server, maker, interval, points })
    }
}

/// Who writes what where. Settings of other versions are mistakes: they would have no effect.
fn access(settings: &Settings) -> Result<Access, String> {
    let foreign: &[(&str, bool)] = match settings.version {
        1 => &[
            ("org", settings.org.is_some()),
            ("bucket", settings.bucket.is_some()),
            ("token", settings.token.is_some()),
        ],
        2 => &[
            ("database", settings.database.is_some()),
            ("username", settings.username.is_some()),
            ("password", settings.password.is_some()),
            ("retentionPolicy", settings.retention_policy.is_some()),
        ],
        3 => &[
            ("org", settings.org.is_some()),
            ("bucket", settings.bucket.is_some()),
            ("username", settings.username.is_some()),
            ("password", settings.password.is_some()),
            ("retentionPolicy", settings.retention_policy.is_some()),
        ],
        other => return Err(format!("`version` is {other}, but InfluxDB has 1, 2 and 3")),
    };
    if let Some((name, _)) = foreign.iter().find(|(_, is_set)| *is_set) {
        let version = settings.version;
        return Err(format!("`{name}` has no meaning with `version: {version}`: remove it, or put the version right"));
    }
    let version = settings.version;
    let needed = |name: &str, value: &Option<String>| match value.as_deref().map(str::trim) {
        Some(value) if value.chars().any(char::is_control) => {
            Err(format!("`{name}` holds a line break or another control character"))
        }
        Some(value) if !value.is_empty() => Ok(value.to_owned()),
        _ => Err(format!("`{name}` is missing: `version: {version}` needs it")),
    };
    match version {
        1 => {
            let database = match &settings.database {
                None => "butler".to_owned(),
                given => needed("database", given)?,
            };
            let user = match (&settings.username, &settings.password) {
                (None, None) => None,
                (Some(name), Some(_)) if name.contains(':') => {
                    return Err("`username` holds a colon, which HTTP does not allow".to_owned());
                }
                (name, password) => {
                    let name = needed("username", name)?;
                    // It may begin or end with a blank; a file ends with a line break.
                    let password = password.as_deref().map(|text| text.strip_suffix('\n').unwrap_or(text));
                    let password = password.map(|text| text.strip_suffix('\r').unwrap_or(text));
                    needed("password", &password.map(str::to_owned))?;
                    Some((name, password.unwrap_or_default().to_owned()))
                }
            };
            let policy = settings.retention_policy.as_ref().map(|name| needed("retentionPolicy", &Some(name.clone())));
            Ok(Access::V1 { database, user, policy: policy.transpose()? })
        }
        2 => Ok(Access::V2 {
            org: needed("org", &settings.org)?,
            bucket: needed("bucket", &settings.bucket)?,
            token: needed("token", &settings.token)?,
        }),
        _ => {
            let database = needed("database", &settings.database)?;
            check_database(&database)?;
            Ok(Access::V3 { database, token: needed("token", &settings.token)? })
        }
    }
}

/// Version 3 would refuse every point for a name that it does not allow. Behind a slash is a retention policy of version 1.
fn check_database(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/');
    let is_name = name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(allowed);
    if is_name && !name.ends_with('/') && name.matches('/').count() < 2 {
        return Ok(());
    }
    Err(format!(
        "`database` is `{name}`, but InfluxDB 3 allows letters without accents, digits, `_` and `-` only, and a letter or digit at \
         the beginning"
    ))
}

/// The address without a final slash.
fn base(url: &Url) -> Result<String, String> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("`url` begins with `{}:`, but only http and https lead to InfluxDB", url.scheme()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("`url` is the address of InfluxDB alone, without `?` and `#`".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "`url` holds a user or password: write them as `username` and `password`, or use a `token`".to_owned()
        );
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

pub(crate) fn check_tags(setting: &str, tags: &BTreeMap<String, String>) -> Result<(), String> {
    if tags.len() > MOST_TAGS {
        return Err(format!("`{setting}` has {} tags, but at most {MOST_TAGS} are possible", tags.len()));
    }
    for name in tags.keys() {
        let is_name = !name.is_empty() && !name.starts_with('_') && !name.chars().any(char::is_control);
        if !is_name || name == "time" || name.len() > 200 {
            return Err(format!("`{setting}`: InfluxDB does not allow a tag with the name `{name}`"));
        }
    }
    Ok(())
}

fn duration(setting: &str, text: &str, most: Duration) -> Result<Duration, String> {
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let millis = match unit.trim_start() {
        "ms" => Some(1),
        "s" => Some(1000),
        _ => None,
    };
    match number.parse::<u64>().ok().zip(millis).and_then(|(number, millis)| number.checked_mul(millis)) {
        Some(millis) if millis == 0 || Duration::from_millis(millis) > most => {
            Err(format!("`{setting}` is `{text}`, but must be more than nothing and at most {}s", most.as_secs()))
        }
        Some(millis) => Ok(Duration::from_millis(millis)),
        None => Err(format!("`{setting}` is `{text}`: write a whole number and a unit, such as `10s` or `500ms`")),
    }
}

pub(crate) fn hours(setting: &str, text: &str) -> Result<u64, String> {
    let unit = match text.chars().last() {
        Some('h') => 1,
        Some('d') => 24,
        Some('w') => 168,
        _ => 0,
    };
    let number = text.get(..text.len().saturating_sub(1)).and_then(|number| number.parse::<u64>().ok());
    let hours = number.and_then(|number| number.checked_mul(unit)).filter(|hours| (1..=876_000).contains(hours));
    hours.ok_or_else(|| {
        format!(
            "`{setting}` is `{text}`: write a whole number and h, d or w, such as `10d`, at most 100 years; or `inf`"
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn checked(settings: Value) -> Result<Checked, String> {
        serde_json::from_value::<Settings>(settings).map_err(|error| error.to_string()).and_then(Checked::try_from)
    }

    #[test]
    fn little_is_enough() {
        let v1 = checked(json!({ "url": "http://influx.test:8086/", "version": 1 })).unwrap();
        assert_eq!(v1.server.write_url(), "http://influx.test:8086/write?db=butler&precision=ns");
        let v2 = json!({ "url": "https://a.test/influx", "version": 2, "org": "my org", "bucket": "b", "token": "t" });
        assert_eq!(
            checked(v2).unwrap().server.write_url(),
            "https://a.test/influx/api/v2/write?org=my+org&bucket=b&precision=ns"
        );
        let v3 = json!({ "url": "http://a.test", "version": 3, "database": "butler", "token": "my-v3-token" });
        assert_eq!(checked(v3).unwrap().server.write_url(), "http://a.test/api/v2/write?bucket=butler&precision=ns");
        for name in ["7-b_C", "db/autogen"] {
            checked(json!({ "url": "http://a.test", "version": 3, "database": name, "token": "t" })).unwrap();
        }
        assert_eq!((v1.interval, v1.points), (Duration::from_millis(200), 5000));
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_name_of_the_setting() {
        let v1 = |more: Value| {
            let mut settings = json!({ "url": "http://a.test", "version": 1 });
            settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            settings
        };
        let v2 = json!({ "url": "http://a.test", "version": 2, "org": "o", "bucket": " ", "token": "geheim" });
        for (settings, part) in [
            (v1(json!({ "url": "udp://a.test" })), "only http and https"),
            (v1(json!({ "url": "http://a.test/?db=x" })), "without `?`"),
            (v1(json!({ "url": "http://u:geheim@a.test/" })), "as `username` and `password`"),
            (v1(json!({ "version": 4 })), "`version` is 4"),
            (v1(json!({ "token": "geheim" })), "`token` has no meaning with `version: 1`"),
            (v1(json!({ "version": 2, "database": "x" })), "`database` has no meaning"),
            (v1(json!({ "version": 2 })), "`org` is missing"),
            (v2, "`bucket` is missing"),
            (v1(json!({ "version": 3, "database": "d", "token": "" })), "`token` is missing"),
            (v1(json!({ "version": 3, "database": "d", "token": "ge\r\nheim" })), "`token` holds a line break"),
            (v1(json!({ "username": "u" })), "`password` is missing"),
            (v1(json!({ "username": "u:v", "password": "geheim" })), "`username` holds a colon"),
            (v1(json!({ "database": "" })), "`database` is missing"),
            (v1(json!({ "version": 3, "database": "my db", "token": "t" })), "`database` is `my db`"),
            (v1(json!({ "version": 3, "database": "_b", "token": "t" })), "`database` is `_b`"),
            (v1(json!({ "version": 3, "database": "bütler", "token": "t" })), "`database` is `bütler`"),
            (v1(json!({ "version": 3, "database": "b/r/x", "token": "t" })), "`database` is `b/r/x`"),
            (v1(json!({ "version": 3, "database": "b/", "token": "t" })), "`database` is `b/`"),
            (v1(json!({ "retention": "10 days" })), "`retention` is `10 days`"),
            (v1(json!({ "retention": "0d" })), "`retention` is `0d`"),
            (v1(json!({ "retention": "ä" })), "`retention` is `ä`"),
            (v1(json!({ "tags": { "time": "x" } })), "the name `time`"),
            (v1(json!({ "tags": { "_x": "x" } })), "the name `_x`"),
            (v1(json!({ "measurements": { "reload-task.succeeded": {} } })), "write `reload_task_success`"),
            (v1(json!({ "measurements": { "a": { "tags": { "": "x" } } } })), "`measurements.a.tags`"),
            (v1(json!({ "measurements": { "a": { "tag": {} } } })), "unknown field"),
            (v1(json!({ "queueMeasurement": "#x" })), "`queueMeasurement`"),
            (v1(json!({ "timeZone": "Mars/Olympus" })), "`timeZone`"),
            (v1(json!({ "flush": { "interval": "1m" } })), "`flush.interval` is `1m`"),
            (v1(json!({ "flush": { "interval": "11s" } })), "at most 10s"),
            (v1(json!({ "flush": { "points": 0 } })), "`flush.points` is 0"),
            (v1(json!({ "timeout": "0s" })), "more than nothing"),
            (v1(json!({ "hostIP": "a.test" })), "unknown field"),
        ] {
            let error = checked(settings).unwrap_err();
            assert!(error.contains(part), "{part}: {error}");
            assert!(!error.contains("geheim") && !error.contains("heim"), "{error}");
        }
    }
}
