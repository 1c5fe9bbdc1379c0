//! The settings, and the checked form of them.

use std::collections::BTreeMap;
use std::time::Duration;

use butler_plugin_api::{Event, kind, settings};
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

/// The host gives a delivery 60 s in all, and the Alertmanagers are asked one after the other.
const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(50);
const LASTING: std::ops::RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(365 * 24);
const RESENDS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
/// Most lines of the script log in an annotation.
const MOST_LINES: usize = 100;
/// Labels that Butler sets by itself.
const OWN: [&str; 14] = [
    "alertname",
    "severity",
    "kind",
    "task_id",
    "task",
    "app_id",
    "app",
    "stream",
    "node",
    "service",
    "tenant",
    "file",
    "destination",
    "test",
];

/// Settings of an Alertmanager, or of the members of a cluster of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    /// Addresses, with their prefix if they have one: `http://alertmanager:9093`. Of a cluster those of all members, since
    /// members do not hand alerts on to each other.
    #[schemars(length(min = 1))]
    urls: Vec<Url>,
    /// Labels of all alerts: name to value.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Labels from custom properties of the task, or else of its app: name of the label to name of the property. Several
    /// values are joined with commas.
    #[serde(default)]
    #[schemars(extend("x-qlik" = "customProperty"))]
    custom_property_labels: BTreeMap<String, String>,
    /// What the label `severity` says, by kinds of events; the first rule that fits decides. What no rule fits is
    /// `critical` if something failed, `warning` or `info`.
    #[serde(default)]
    severities: Vec<SeverityRule>,
    /// Resolves the alerts of a task when the task succeeds again, and those of a service when it runs again. An own `on:`
    /// must name these events as well (`reload-task.succeeded`, `service.started`).
    #[serde(default = "default_resolve")]
    resolve: bool,
    /// When an alert ends that a success would resolve, if none comes: a whole number and `m`, `h` or `d`. Longer than
    /// the time between two runs of a task.
    #[serde(default = "default_open_for")]
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*(ms|s|m|h|d)\s*$"))]
    open_for: String,
    /// How often alerts that a success would resolve are sent again, since an Alertmanager that is restarted forgets them.
    #[serde(default = "default_resend_every")]
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*(ms|s|m|h|d)\s*$"))]
    resend_every: String,
    /// When all other alerts end, such as those of licences and certificates.
    #[serde(default = "default_expire_after")]
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*(ms|s|m|h|d)\s*$"))]
    expire_after: String,
    /// How many of the last lines of the script log are in the annotation `description`, of those that the event
    /// carries. At most 100.
    #[serde(default = "default_lines")]
    #[schemars(range(max = 100))]
    script_log_lines: usize,
    /// Further headers, such as `Authorization: "Basic ${env:AM_BASIC}"`. Secrets belong here as `${env:NAME}` or
    /// `${file:path}`.
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    headers: BTreeMap<String, String>,
    /// How long one Alertmanager may take: a whole number and `ms`, `s` or `m`; for all `urls` together at most 50 s.
    #[serde(default = "default_timeout")]
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*(ms|s|m)\s*$"))]
    timeout: String,
    /// Name of a profile under `tls:` of Butler's config: an own CA, a client certificate, or no verification.
    #[serde(default)]
    tls: Option<String>,
}

fn default_resolve() -> bool {
    true
}

fn default_open_for() -> String {
    "14d".to_owned()
}

fn default_resend_every() -> String {
    "5m".to_owned()
}

fn default_expire_after() -> String {
    "24h".to_owned()
}

fn default_lines() -> usize {
    10
}

fn default_timeout() -> String {
    "10s".to_owned()
}

/// The severity of some kinds of events.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SeverityRule {
    /// Kinds; `*` stands for any text.
    events: Vec<String>,
    /// Value of the label, such as `page`.
    severity: String,
}

/// Checked settings.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) members: Vec<Member>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) custom_property_labels: BTreeMap<String, String>,
    severities: Vec<(String, String)>,
    pub(crate) resolve: bool,
    pub(crate) open_for: Duration,
    pub(crate) resend_every: Duration,
    pub(crate) expire_after: Duration,
    pub(crate) script_log_lines: usize,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) timeout: Duration,
    pub(crate) tls: Option<String>,
}

/// One Alertmanager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    base: Url,
    /// Host, port and path: for people, and in progress. Without a password that the address may hold.
    pub(crate) name: String,
}

impl Member {
    fn new(base: Url) -> Self {
        let port = base.port().map(|port| format!(":{port}")).unwrap_or_default();
        let name = format!("{}{port}{}", base.host_str().unwrap_or_default(), base.path().trim_end_matches('/'));
        Self { base, name }
    }

    /// Address of a path below `/api/v2/`.
    pub(crate) fn api(&self, path: &str) -> String {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/api/v2/{path}", self.base.path().trim_end_matches('/')));
        url.into()
    }
}

impl TryFrom<Settings> for Site {
    /// For people: which setting is wrong, and what would be right.
    type Error = String;

    fn try_from(given: Settings) -> Result<Self, String> {
        if given.urls.is_empty() {
            return Err("`urls` is empty: name at least one Alertmanager".to_owned());
        }
        for url in &given.urls {
            settings::http_address("urls", url)?;
        }
        let members: Vec<Member> = given.urls.into_iter().map(Member::new).collect();
        for (number, member) in members.iter().enumerate() {
            if members[..number].iter().any(|other| other.name == member.name) {
                return Err(format!("`urls` names {} twice", member.name));
            }
        }
        for (setting, names) in [
            ("labels", given.labels.keys().collect::<Vec<_>>()),
            ("customPropertyLabels", given.custom_property_labels.keys().collect()),
        ] {
            names.into_iter().try_for_each(|name| check_label(setting, name))?;
        }
        if let Some(name) = given.labels.keys().find(|name| given.custom_property_labels.contains_key(*name)) {
            return Err(format!("`labels` and `customPropertyLabels` both set `{name}`"));
        }
        for (name, value) in &given.headers {
            settings::header("headers", name, value)?;
        }
        let mut severities = Vec::new();
        for rule in given.severities {
            for pattern in rule.events {
                if let Some(fault) = kind::pattern_fault(&pattern) {
                    return Err(format!("`severities`: {fault}"));
                }
                severities.push((pattern, rule.severity.clone()));
            }
        }
        if given.script_log_lines > MOST_LINES {
            return Err(format!("`scriptLogLines` is {}, but at most {MOST_LINES} are sent", given.script_log_lines));
        }
        let timeout = settings::duration("timeout", &given.timeout, &TIMEOUTS)?;
        let all = timeout.saturating_mul(u32::try_from(members.len()).unwrap_or(u32::MAX));
        if !TIMEOUTS.contains(&all) {
            return Err(format!(
                "`timeout` is `{}`, which is more than 50s for {} `urls` one after the other: make it shorter, or an \
                 instance for each",
                given.timeout,
                members.len()
            ));
        }
        Ok(Self {
            members,
            labels: given.labels,
            custom_property_labels: given.custom_property_labels,
            severities,
            resolve: given.resolve,
            resend_every: settings::duration("resendEvery", &given.resend_every, &RESENDS)?,
            open_for: settings::duration("openFor", &given.open_for, &LASTING)?,
            expire_after: settings::duration("expireAfter", &given.expire_after, &LASTING)?,
            script_log_lines: given.script_log_lines,
            headers: given.headers,
            timeout,
            tls: given.tls,
        })
    }
}

impl Site {
    /// The label `severity` of an event.
    pub(crate) fn severity(&self, event: &Event) -> String {
        let rule = self.severities.iter().find(|(pattern, _)| kind::matches(pattern, &event.kind));
        let by_kind = || match event.severity() {
            "failure" => "critical",
            "warning" => "warning",
            _ => "info",
        };
        rule.map_or_else(|| by_kind().to_owned(), |(_, severity)| severity.clone())
    }
}

/// Refuses what is no name of a label (Prometheus: Data model), and those that have a meaning of their own.
fn check_label(setting: &str, name: &str) -> Result<(), String> {
    if !is_label(name) {
        return Err(format!("`{setting}`: `{name}` is no name of a label: letters, digits and `_`, no digit first"));
    }
    if name.starts_with("__") {
        return Err(format!("`{setting}`: `{name}` begins with `__`, which is reserved"));
    }
    if OWN.contains(&name) {
        return Err(format!("`{setting}`: `{name}` is set by Butler; take another name"));
    }
    Ok(())
}

/// Whether Alertmanager takes a text as name of a label.
pub(crate) fn is_label(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::sample_event;
    use serde_json::{Value, json};

    use super::*;

    fn site(more: &Value) -> Result<Site, String> {
        let mut settings = json!({ "urls": ["http://am.test:9093"] });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value::<Settings>(settings).map_err(|error| error.to_string()).and_then(Site::try_from)
    }

    #[test]
    fn an_address_alone_is_enough_and_may_have_a_prefix() {
        let plain = site(&json!({})).unwrap();
        assert_eq!((plain.resolve, plain.expire_after.as_secs(), plain.timeout.as_secs()), (true, 86_400, 10));
        let member = &plain.members[0];
        assert_eq!(
            (member.name.as_str(), member.api("alerts")),
            ("am.test:9093", "http://am.test:9093/api/v2/alerts".to_owned())
        );
        let prefixed = site(&json!({ "urls": ["https://user:pw@am.test/prefix/"] })).unwrap();
        assert_eq!(prefixed.members[0].name, "am.test/prefix");
        assert_eq!(prefixed.members[0].api("status"), "https://user:pw@am.test/prefix/api/v2/status");
    }

    #[test]
    fn the_severity_is_by_kind_or_rule() {
        let severity = |site: &Site, kind: &str| site.severity(&sample_event(kind));
        let plain = site(&json!({})).unwrap();
        let words = ["reload-task.failed", "reload-task.aborted", "butler.started"].map(|kind| severity(&plain, kind));
        assert_eq!(words, ["critical", "warning", "info"]);
        let ruled = site(&json!({ "severities": [{ "events": ["reload-task.*"], "severity": "page" }] })).unwrap();
        assert_eq!(
            (severity(&ruled, "reload-task.failed"), severity(&ruled, "udp.failed")),
            ("page".into(), "critical".into())
        );
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_name_of_the_setting() {
        for (more, part) in [
            (json!({ "urls": [] }), "`urls` is empty"),
            (json!({ "urls": ["ftp://a.test"] }), "`urls` begins with `ftp:`"),
            (json!({ "urls": ["http://a.test", "http://a.test/"] }), "names a.test twice"),
            (json!({ "labels": { "a-b": "x" } }), "`labels`: `a-b` is no name"),
            (json!({ "labels": { "1a": "x" } }), "no name of a label"),
            (json!({ "labels": { "": "x" } }), "no name of a label"),
            (json!({ "labels": { "größe": "x" } }), "no name of a label"),
            (json!({ "labels": { "__name__": "x" } }), "reserved"),
            (json!({ "customPropertyLabels": { "task": "X" } }), "`customPropertyLabels`: `task` is set by Butler"),
            (json!({ "labels": { "t": "x" }, "customPropertyLabels": { "t": "X" } }), "both set `t`"),
            (json!({ "severities": [{ "events": ["moon"], "severity": "x" }] }), "`severities`: `moon`"),
            (json!({ "expireAfter": "5s" }), "`expireAfter` is `5s`, but must be between 1m and 365d"),
            (json!({ "resendEvery": "0s" }), "`resendEvery` is `0s`, but must be between 1s and 1d"),
            (json!({ "openFor": "forever" }), "`openFor` is `forever`"),
            (json!({ "timeout": "30s", "urls": ["http://a.test", "http://b.test"] }), "for 2 `urls`"),
            (json!({ "headers": { "a b": "x" } }), "no name of a header"),
            (json!({ "scriptLogLines": 101 }), "at most 100"),
            (json!({ "url": "http://a.test" }), "unknown field"),
        ] {
            let error = site(&more).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
