//! The settings, and the checked form of them.

use std::time::Duration;

use butler_plugin_api::{kind, settings};
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

/// The host gives a delivery 60 s in all.
const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(50);

/// Settings of a team of Signl4.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    /// Address of the team's or integration's webhook: `https://connect.signl4.com/webhook/SECRET`. It is a secret: write
    /// it as `${env:NAME}` or `${file:path}`, as a whole or its last part.
    #[schemars(extend("writeOnly" = true))]
    url: Url,
    /// Service or system category that alerts belong to (`X-S4-Service`).
    #[serde(default = "default_service_name")]
    service_name: String,
    /// What stands as `Severity`, by kinds of events; the first rule that fits decides. What no rule fits has 1 if
    /// something failed, else 10.
    #[serde(default)]
    severities: Vec<SeverityRule>,
    /// How the team is notified (`X-S4-AlertingScenario`): `single_ack` (one must acknowledge), `multi_ack` (everybody on
    /// duty) or `emergency` (everybody). Absent: as the category says.
    #[serde(default)]
    alerting_scenario: Option<AlertingScenario>,
    /// Resolves the alert of a task when the task succeeds again, and that of a service when it runs again. An own `on:`
    /// must name these events as well (`reload-task.succeeded`, `service.started`).
    #[serde(default = "default_resolve")]
    resolve: bool,
    /// Adds app, stream, node, user, error, time and link to alerts of failed and aborted reloads as well. Otherwise
    /// those have the fields of Butler 16 and no others; alerts of all other kinds have them always.
    #[serde(default)]
    details: bool,
    /// How many of the last lines of the script log are sent along, at most 100, of those that the event carries: there
    /// are some only if another instance wants the log, such as `email`.
    #[serde(default)]
    #[schemars(range(max = 100))]
    script_log_lines: usize,
    /// How long Signl4 may take: a whole number and `ms`, `s` or `m`; at most 50 s.
    #[serde(default = "default_timeout")]
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*(ms|s|m)\s*$"))]
    timeout: String,
    /// Name of a profile under `tls:` of Butler's config: an own CA, a client certificate, or no verification.
    #[serde(default)]
    tls: Option<String>,
}

fn default_service_name() -> String {
    "Qlik Sense".to_owned()
}

fn default_resolve() -> bool {
    true
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
    /// The number, as it is.
    severity: i64,
}

/// How Signl4 notifies a team.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AlertingScenario {
    SingleAck,
    MultiAck,
    Emergency,
}

impl AlertingScenario {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SingleAck => "single_ack",
            Self::MultiAck => "multi_ack",
            Self::Emergency => "emergency",
        }
    }
}

/// Checked settings.
#[derive(Debug)]
pub(crate) struct Team {
    pub(crate) url: Url,
    pub(crate) service_name: String,
    /// Pattern of kinds, and number.
    severities: Vec<(String, i64)>,
    pub(crate) alerting_scenario: Option<AlertingScenario>,
    pub(crate) resolve: bool,
    pub(crate) details: bool,
    pub(crate) script_log_lines: usize,
    pub(crate) timeout: Duration,
    pub(crate) tls: Option<String>,
}

impl TryFrom<Settings> for Team {
    /// For people: which setting is wrong, and what would be right. Never quotes the address.
    type Error = String;

    fn try_from(settings: Settings) -> Result<Self, String> {
        settings::http_address("url", &settings.url)?;
        if secret(&settings.url).is_none() {
            return Err("`url` ends without the secret of the team: it looks like \
                        `https://connect.signl4.com/webhook/SECRET`"
                .to_owned());
        }
        if settings.script_log_lines > 100 {
            return Err(format!("`scriptLogLines` is {}, but at most 100 are sent", settings.script_log_lines));
        }
        let mut severities = Vec::new();
        for rule in settings.severities {
            for pattern in rule.events {
                if let Some(fault) = kind::pattern_fault(&pattern) {
                    return Err(format!("`severities`: {fault}"));
                }
                severities.push((pattern, rule.severity));
            }
        }
        Ok(Self {
            url: settings.url,
            service_name: settings.service_name,
            severities,
            alerting_scenario: settings.alerting_scenario,
            resolve: settings.resolve,
            details: settings.details,
            script_log_lines: settings.script_log_lines,
            timeout: settings::duration("timeout", &settings.timeout, &TIMEOUTS)?,
            tls: settings.tls,
        })
    }
}

impl Team {
    /// The number of an event's kind. Without a rule it is that of Butler 16's sample config: 1 for what failed, 10 for
    /// what was aborted.
    pub(crate) fn severity(&self, event: &butler_plugin_api::Event) -> i64 {
        let rule = self.severities.iter().find(|(pattern, _)| kind::matches(pattern, &event.kind));
        rule.map_or(if event.severity() == "failure" { 1 } else { 10 }, |(_, severity)| *severity)
    }

    /// A text that comes back from elsewhere, without the secret of the team. Signl4 names it where it does not know it.
    pub(crate) fn without_secret(&self, text: &str) -> String {
        match secret(&self.url) {
            Some(secret) => text.replace(secret, "[redacted]"),
            None => text.to_owned(),
        }
    }
}

/// The last part of the path.
fn secret(url: &Url) -> Option<&str> {
    url.path_segments()?.rfind(|segment| !segment.is_empty() && *segment != "webhook")
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::sample_event;
    use serde_json::{Value, json};

    use super::*;

    fn team(more: &Value) -> Result<Team, String> {
        let mut settings = json!({ "url": "https://connect.signl4.test/webhook/abcde12345" });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value::<Settings>(settings).map_err(|error| error.to_string()).and_then(Team::try_from)
    }

    #[test]
    fn the_address_alone_is_enough() {
        let team = team(&json!({})).unwrap();
        assert_eq!((team.service_name.as_str(), team.resolve, team.timeout.as_secs()), ("Qlik Sense", true, 10));
    }

    #[test]
    fn the_first_rule_that_fits_says_the_severity() {
        let severity = |team: &Team, kind: &str| team.severity(&sample_event(kind));
        let plain = team(&json!({})).unwrap();
        let numbers = ["reload-task.failed", "reload-task.aborted", "service.stopped", "butler.started"]
            .map(|kind| severity(&plain, kind));
        assert_eq!(numbers, [1, 10, 1, 10]);
        let ruled = team(&json!({ "severities": [
            { "events": ["reload-task.aborted", "service.*"], "severity": 3 }, { "events": ["*-task.*"], "severity": -7 }
        ] }));
        let ruled = ruled.unwrap();
        assert_eq!(severity(&ruled, "reload-task.aborted"), 3);
        assert_eq!(severity(&ruled, "reload-task.failed"), -7);
        assert_eq!(severity(&ruled, "node.silent"), 10);
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_name_of_the_setting() {
        for (more, part) in [
            (json!({ "url": "mailto:a@b.test" }), "`url` begins with `mailto:`"),
            (json!({ "url": "https://connect.signl4.test/webhook/" }), "ends without the secret"),
            (json!({ "severities": [{ "events": ["moon"], "severity": 1 }] }), "`severities`: `moon`"),
            (json!({ "severities": [{ "events": ["*"], "severity": "high" }] }), "expected i64"),
            (json!({ "alertingScenario": "panic" }), "unknown variant"),
            (json!({ "scriptLogLines": 101 }), "`scriptLogLines` is 101"),
            (json!({ "timeout": "2m" }), "`timeout` is `2m`"),
            (json!({ "teamSecret": "x" }), "unknown field"),
        ] {
            let error = team(&more).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn the_secret_is_taken_out_of_what_comes_back() {
        let team = team(&json!({})).unwrap();
        let text = "An event source with ID abcde12345 was not found.";
        assert_eq!(team.without_secret(text), "An event source with ID [redacted] was not found.");
    }
}
