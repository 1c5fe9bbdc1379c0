//! Alerts: labels say which one it is, annotations what people read. (Alertmanager: API v2, `postableAlert`.)

use std::collections::BTreeMap;
use std::time::Duration;

use butler_plugin_api::{Delivery, Event, Links};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::settings::Site;

/// Longest value of a label, longest annotation, and longest line in one, in characters.
const LONGEST_LABEL: usize = 500;
const LONGEST_ANNOTATION: usize = 4000;
const LONGEST_LINE: usize = 400;
/// What is beside a test is real: it must not be seen for long.
const TEST_LASTS: Duration = Duration::from_mins(15);

/// An alert, as it is posted and as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Alert {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) starts_at: Timestamp,
    /// Alertmanager takes an alert without it for resolved after 5 minutes, unless it is sent again.
    pub(crate) ends_at: Timestamp,
    #[serde(rename = "generatorURL", default, skip_serializing_if = "Option::is_none")]
    pub(crate) generator_url: Option<String>,
}

impl Alert {
    /// The alert of a delivery, which lasts for so long from now on.
    pub(crate) fn of(delivery: &Delivery, site: &Site, links: &Links, lasting: Duration, now: Timestamp) -> Self {
        let event = &delivery.event;
        Self {
            labels: labels(event, site),
            annotations: annotations(delivery, site, links),
            starts_at: event.time.parse().unwrap_or(now),
            ends_at: later(now, lasting),
            generator_url: generator(event, links),
        }
    }

    /// The same, moved to the clock of an Alertmanager that is ahead of ours so far that it would be over there.
    pub(crate) fn at(&self, now: Timestamp, lasting: Duration) -> Self {
        Self { starts_at: self.starts_at.min(now), ends_at: later(now, lasting), ..self.clone() }
    }

    /// How long it still lasts.
    pub(crate) fn left(&self, now: Timestamp) -> Duration {
        Duration::try_from(self.ends_at.duration_since(now)).unwrap_or_default()
    }

    /// The same, resolved at a time. What ends in the future is not resolved for Alertmanager, so it is no later than now;
    /// and what ends before it starts is refused. In whole seconds, as the clock of the other side is known.
    pub(crate) fn resolved(&self, at: Timestamp, now: Timestamp) -> Self {
        let ends_at = whole_second(at.max(self.starts_at).min(now));
        Self { starts_at: self.starts_at.min(ends_at), ends_at, ..self.clone() }
    }
}

/// How long the alert of an event lasts if nothing resolves it.
pub(crate) fn lasting(event: &Event, is_resolved_later: bool, site: &Site) -> Duration {
    let lasting = if is_resolved_later { site.open_for } else { site.expire_after };
    if event.source == Event::TEST { lasting.min(TEST_LASTS) } else { lasting }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// What tells alerts apart. Nothing that changes from run to run: the same labels are the same alert.
fn labels(event: &Event, site: &Site) -> BTreeMap<String, String> {
    let data = &event.data;
    let task = data.task.as_ref();
    let app = data.app.as_ref();
    let service = data.service.as_ref();
    let own = [
        ("alertname", Some(alert_name(event))),
        ("severity", Some(site.severity(event))),
        ("kind", Some(event.kind.clone())),
        ("task_id", task.map(|task| task.id.clone())),
        ("task", task.map(|task| task.name.clone())),
        ("app_id", app.map(|app| app.id.clone())),
        ("app", app.map(|app| app.name.clone())),
        ("stream", app.and_then(|app| app.stream.as_ref()).map(|stream| stream.name.clone())),
        ("node", data.node.clone().or_else(|| service.and_then(|service| service.host.clone()))),
        ("service", service.and_then(|service| service.name.clone())),
        ("tenant", data.cloud.as_ref().and_then(|cloud| cloud.tenant_id.clone())),
        ("file", data.certificate.as_ref().and_then(|certificate| certificate.file.clone())),
        ("destination", data.dead.as_ref().and_then(|dead| dead.instance.clone())),
        // Else it would be the real alert of the task that it tells of.
        ("test", (event.source == Event::TEST).then(|| "true".to_owned())),
    ];
    let own = own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let of_property = |(label, property): (&String, &String)| {
        let of_task = task.and_then(|task| task.custom_properties.get(property));
        let values = of_task.or_else(|| app.and_then(|app| app.custom_properties.get(property)))?;
        Some((label.clone(), values.join(",")))
    };
    let set = site.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
    let all = set.chain(site.custom_property_labels.iter().filter_map(of_property)).chain(own);
    let clean = all.map(|(name, value)| (name, text(&value, LONGEST_LABEL, false)));
    // An empty label is none for Alertmanager.
    clean.filter(|(_, value)| !value.trim().is_empty()).collect()
}

/// `QlikReloadTaskFailed`, `ButlerDeliveryDead`.
fn alert_name(event: &Event) -> String {
    let subject = event.subject();
    let is_qlik = subject.ends_with("-task")
        || ["app-reload", "cloud-app-reload", "service", "server-license", "access-license", "qlik-version"]
            .contains(&subject)
        || ["certificate", "node", "task-start", "user-session", "user-connection", "active-users"].contains(&subject);
    let words = event.kind.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let name: String = words
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>()).unwrap_or_default()
        })
        .collect();
    match () {
        () if name.starts_with("Butler") || name.starts_with("Qlik") => name,
        () if is_qlik => format!("Qlik{name}"),
        () => format!("Butler{name}"),
    }
}

fn annotations(delivery: &Delivery, site: &Site, links: &Links) -> BTreeMap<String, String> {
    let event = &delivery.event;
    let data = &event.data;
    let app_url = app_url(event, links);
    let all = [
        ("summary", Some(event.summary())),
        ("description", Some(description(event, site))),
        ("note", Some(delivery.note())),
        ("user", data.user.clone()),
        ("owner", data.app.as_ref().and_then(|app| app.owner.as_ref()).map(|owner| owner.name.clone())),
        ("time", Some(event.time.clone())),
        ("event_id", Some(event.id.clone())),
        ("app_url", app_url),
        ("qmc_url", data.cloud.as_ref().map_or(links.qmc.clone(), |cloud| cloud.qmc_url.clone())),
        ("hub_url", data.cloud.as_ref().map_or(links.hub.clone(), |cloud| cloud.hub_url.clone())),
    ];
    let known = all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let clean = known.map(|(name, value)| (name, text(&value, LONGEST_ANNOTATION, true)));
    clean.filter(|(_, value)| !value.trim().is_empty()).collect()
}

/// Why, and how the script log ends.
fn description(event: &Event, site: &Site) -> String {
    let data = &event.data;
    let reason = data.cloud.as_ref().and_then(|cloud| cloud.error_message.as_ref());
    let reason = reason.or(data.log.as_ref().map(|log| &log.message)).or(data.message.as_ref());
    let tail = data.script_log.as_ref().map(|log| log.tail.as_slice()).unwrap_or_default();
    let tail = &tail[tail.len().saturating_sub(site.script_log_lines)..];
    let mut left = LONGEST_ANNOTATION;
    // The last lines tell most.
    let lines = tail.iter().rev().map(|line| text(line, LONGEST_LINE, false)).take_while(|line| {
        let fits = left > line.chars().count() + 1;
        left = left.saturating_sub(line.chars().count() + 1);
        fits
    });
    let mut lines: Vec<String> = lines.collect();
    lines.extend(reason.map(|reason| text(reason, LONGEST_LINE, true)));
    lines.reverse();
    lines.join("\n")
}

fn app_url(event: &Event, links: &Links) -> Option<String> {
    let cloud = event.data.cloud.as_ref().and_then(|cloud| cloud.app_url.clone());
    cloud.or_else(|| links.app(&event.data.app.as_ref().filter(|app| !app.id.is_empty())?.id))
}

/// Where people look next. Alertmanager refuses what is no address.
fn generator(event: &Event, links: &Links) -> Option<String> {
    let addresses = [app_url(event, links), links.qmc.clone()];
    let sound = |address: &String| Url::parse(address).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    addresses.into_iter().flatten().find(sound)
}

/// Without control characters, but line breaks where there may be such, and cut.
fn text(text: &str, longest: usize, lines: bool) -> String {
    let mut letters = text.chars();
    let clean = |c: char| if c.is_control() && !(lines && c == '\n') { ' ' } else { c };
    let mut short: String = letters.by_ref().take(longest).map(clean).collect();
    if letters.next().is_some() {
        short.push('…');
    }
    short
}
