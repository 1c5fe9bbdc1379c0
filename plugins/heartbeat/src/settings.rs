//! The settings, and the checked form of them.

use std::ops::RangeInclusive;
use std::time::Duration;

use butler_plugin_api::settings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

pub(crate) const INTERVALS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(50);

/// Settings of a heartbeat.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    /// Address that is called. If it holds a secret, write that as `${env:NAME}` or `${file:path}`.
    url: Url,
    /// The time between two beats: a whole number and `s`, `m` or `h`, from `1s` to one day. The first comes when
    /// Butler starts.
    #[serde(default = "default_every")]
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*(ms|s|m|h|d)\s*$"))]
    every: String,
    /// `plain`: success is a call of `url`. `healthchecks`: as healthchecks.io has it, with `/start` when Butler starts and
    /// `/fail` while a part is not well.
    #[serde(default)]
    style: Style,
    /// How the addresses are called. Absent: `GET`, and with the style `healthchecks` `POST`: only then the reason goes
    /// along.
    #[serde(default)]
    method: Option<Method>,
    /// Called in place of `url` while a part is not well, with the style `plain`. Absent: nothing is called then.
    #[serde(default)]
    fail_url: Option<Url>,
    /// Which parts must be well: `store`, `udp`, `qlik`. Absent: all that the config has. `[]`: none, it is enough that Butler
    /// runs.
    #[serde(default)]
    require: Option<Vec<Part>>,
    /// How long an answer may take, and Qlik Sense and the store likewise: a whole number and `ms` or `s`; at most 50 s.
    #[serde(default = "default_timeout")]
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*(ms|s|m)\s*$"))]
    timeout: String,
    /// Name of a profile under `tls:` of Butler's config: an own CA, a client certificate, or no verification.
    #[serde(default)]
    tls: Option<String>,
}

fn default_every() -> String {
    "30s".to_owned()
}

fn default_timeout() -> String {
    "10s".to_owned()
}

/// What the far end understands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Style {
    #[default]
    Plain,
    Healthchecks,
}

/// A method of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Method {
    Get,
    Head,
    Post,
}

impl Method {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
        }
    }
}

/// A part of Butler, or what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    Store,
    Udp,
    Qlik,
}

/// Checked settings.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) every: Duration,
    pub(crate) timeout: Duration,
    pub(crate) method: Method,
    pub(crate) success: Url,
    pub(crate) start: Option<Url>,
    pub(crate) fail: Option<Url>,
    pub(crate) require: Option<Vec<Part>>,
    pub(crate) tls: Option<String>,
}

impl TryFrom<Settings> for Plan {
    /// For people: which setting is wrong, and what would be right. Never quotes an address.
    type Error = String;

    fn try_from(settings: Settings) -> Result<Self, String> {
        settings::http_address("url", &settings.url)?;
        let healthchecks = settings.style == Style::Healthchecks;
        if let Some(fail) = &settings.fail_url {
            settings::http_address("failUrl", fail)?;
            if healthchecks {
                return Err(
                    "`failUrl` belongs to the style `plain`: with `healthchecks` it is `url` with `/fail`".to_owned()
                );
            }
        }
        let of_style = |step: &str| healthchecks.then(|| below(&settings.url, step));
        let default = if healthchecks { Method::Post } else { Method::Get };
        Ok(Self {
            every: settings::duration("every", &settings.every, &INTERVALS)?,
            timeout: settings::duration("timeout", &settings.timeout, &TIMEOUTS)?,
            method: settings.method.unwrap_or(default),
            start: of_style("start"),
            fail: of_style("fail").or(settings.fail_url),
            success: settings.url,
            require: settings.require,
            tls: settings.tls,
        })
    }
}

/// The address one step further down; its query stays.
fn below(url: &Url, step: &str) -> Url {
    let mut url = url.clone();
    // Cannot fail: addresses of http and https have a path.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push(step);
    }
    url
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn plan(more: &Value) -> Result<Plan, String> {
        let mut settings = json!({ "url": "https://hc.test/ping/abc/?rid=1" });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value::<Settings>(settings).map_err(|error| error.to_string()).and_then(Plan::try_from)
    }

    #[test]
    fn the_address_alone_is_enough() {
        let plan = plan(&json!({})).unwrap();
        assert_eq!((plan.every, plan.timeout), (Duration::from_secs(30), Duration::from_secs(10)));
        assert_eq!((plan.method, plan.start, plan.fail, plan.require), (Method::Get, None, None, None));
    }

    #[test]
    fn healthchecks_has_addresses_below_its_own() {
        let text = |url: Option<Url>| url.map(String::from).unwrap();
        let plan = plan(&json!({ "style": "healthchecks" })).unwrap();
        assert_eq!(plan.success.as_str(), "https://hc.test/ping/abc/?rid=1", "as it is written");
        assert_eq!(text(plan.start), "https://hc.test/ping/abc/start?rid=1");
        assert_eq!((text(plan.fail).as_str(), plan.method), ("https://hc.test/ping/abc/fail?rid=1", Method::Post));
        let bare = below(&Url::parse("http://h.test").unwrap(), "fail");
        assert_eq!(bare.as_str(), "http://h.test/fail");
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_name_of_the_setting() {
        for (more, part) in [
            (json!({ "url": "ftp://h.test/secret" }), "`url` begins with `ftp:`"),
            (json!({ "failUrl": "mailto:secret@h.test" }), "`failUrl` begins with `mailto:`"),
            (
                json!({ "failUrl": "https://h.test/secret", "style": "healthchecks" }),
                "`failUrl` belongs to the style `plain`",
            ),
            (json!({ "every": "500ms" }), "`every` is `500ms`, but must be between 1s and 1d"),
            (json!({ "every": "every 30 seconds" }), "`every` is `every 30 seconds`: write a whole number"),
            (json!({ "timeout": "2m" }), "`timeout` is `2m`"),
            (json!({ "method": "PUT" }), "unknown variant `PUT`"),
            (json!({ "require": ["mqtt"] }), "unknown variant `mqtt`"),
            (json!({ "remoteURL": "https://h.test" }), "unknown field `remoteURL`"),
        ] {
            let error = plan(&more).unwrap_err();
            assert!(error.contains(part) && !error.contains("secret"), "{error}");
        }
    }
}
