//! What is posted.
//!
//! The names are those of the inbound webhook of Signl4: `X-S4-…` are keys of the body, not headers; all other keys are
//! shown to whoever is on duty, in this order. (Signl4: Integration with Webhook.) Failed and aborted reloads have the keys
//! that Butler 16 sent.

use butler_plugin_api::incidents::Incident;
use butler_plugin_api::{Delivery, Event, Links, kind};
use serde::Serialize;

use crate::settings::Team;

/// Longest title, message and other text, in characters.
const LONGEST_TITLE: usize = 200;
const LONGEST_MESSAGE: usize = 2000;
const LONGEST_DETAIL: usize = 500;
/// Longest line of the script log.
const LONGEST_LINE: usize = 400;
const LONGEST_ID: usize = 300;

#[derive(Debug, Serialize)]
pub(crate) struct Body {
    #[serde(rename = "Title")]
    title: String,
    #[serde(rename = "Message")]
    message: String,
    #[serde(rename = "Severity", skip_serializing_if = "Option::is_none")]
    severity: Option<i64>,
    #[serde(rename = "X-S4-Service")]
    service: String,
    #[serde(rename = "X-S4-ExternalID")]
    pub(crate) external_id: String,
    #[serde(rename = "X-S4-Status")]
    status: &'static str,
    #[serde(rename = "X-S4-AlertingScenario", skip_serializing_if = "Option::is_none")]
    alerting_scenario: Option<&'static str>,
    #[serde(flatten)]
    details: Details,
}

/// What else is known.
#[derive(Debug, Default, Serialize)]
struct Details {
    #[serde(rename = "App", skip_serializing_if = "Option::is_none")]
    app: Option<String>,
    #[serde(rename = "Stream", skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    #[serde(rename = "Node", skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(rename = "User", skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(rename = "Error", skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(rename = "Time", skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(rename = "Link", skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    #[serde(rename = "Script log", skip_serializing_if = "Option::is_none")]
    script_log: Option<String>,
}

impl Body {
    /// Raises an alert.
    pub(crate) fn trigger(delivery: &Delivery, team: &Team, links: &Links) -> Self {
        let event = &delivery.event;
        let is_of_butler_16 = matches!(event.kind.as_str(), kind::RELOAD_TASK_FAILED | kind::RELOAD_TASK_ABORTED);
        let mut details = if team.details || !is_of_butler_16 { Details::of(event, links) } else { Details::default() };
        details.script_log = script_log(event, team.script_log_lines);
        let mut message = subject(event);
        let note = delivery.note();
        if !note.is_empty() {
            message = format!("{message}\n{note}");
        }
        Self {
            title: text(&title(event), LONGEST_TITLE),
            message: text(&message, LONGEST_MESSAGE),
            severity: Some(team.severity(event)),
            service: team.service_name.clone(),
            external_id: external_id(event),
            status: "new",
            alerting_scenario: team.alerting_scenario.map(crate::settings::AlertingScenario::name),
            details,
        }
    }

    /// Resolves what was raised under an id.
    pub(crate) fn resolve(event: &Event, team: &Team, external_id: String) -> Self {
        Self {
            title: text(&title(event), LONGEST_TITLE),
            message: text(&subject(event), LONGEST_MESSAGE),
            severity: None,
            service: team.service_name.clone(),
            external_id,
            status: "resolved",
            alerting_scenario: None,
            details: Details::default(),
        }
    }
}

impl Details {
    fn of(event: &Event, links: &Links) -> Self {
        let data = &event.data;
        let known = |value: Option<&String>| {
            value.map(|value| text(value, LONGEST_DETAIL)).filter(|value| !value.trim().is_empty())
        };
        let app = data.app.as_ref();
        let cloud = data.cloud.as_ref();
        let error = cloud.and_then(|cloud| cloud.error_message.as_ref());
        let error = error.or(data.log.as_ref().map(|log| &log.message)).or(data.message.as_ref());
        // The message may say it already.
        let is_bad = matches!(event.severity(), "failure" | "warning");
        let error = error.filter(|error| is_bad && **error != subject(event));
        let link = cloud.and_then(|cloud| cloud.app_url.clone());
        let link = link.or_else(|| links.app(&app.filter(|app| !app.id.is_empty())?.id));
        Self {
            app: known(app.map(|app| &app.name)),
            stream: known(app.and_then(|app| app.stream.as_ref()).map(|stream| &stream.name)),
            node: known(data.node.as_ref()),
            user: known(data.user.as_ref().map(|user| user.replace('\\', "/")).as_ref()),
            error: known(error),
            time: known(Some(&event.time)),
            link: link.or_else(|| links.qmc.clone()),
            script_log: None,
        }
    }
}

/// What happened.
fn title(event: &Event) -> String {
    match event.kind.as_str() {
        // The words of Butler 16.
        kind::RELOAD_TASK_FAILED => "Qlik Sense reload task failed".to_owned(),
        kind::RELOAD_TASK_ABORTED => "Qlik Sense task aborted".to_owned(),
        kind::APP_RELOAD_FAILED => "Qlik Sense app reload failed".to_owned(),
        kind::CLOUD_APP_RELOAD_FAILED => "Qlik Cloud app reload failed".to_owned(),
        kind::SERVICE_STOPPED => "Qlik Sense service has stopped".to_owned(),
        kind::SERVICE_STARTED => "Qlik Sense service is running again".to_owned(),
        kind::SERVER_LICENSE_EXPIRING => "Qlik Sense licence expires soon".to_owned(),
        kind::SERVER_LICENSE_EXPIRED => "Qlik Sense licence has expired".to_owned(),
        kind::ACCESS_LICENSE_LOW => "Qlik Sense access licences run low".to_owned(),
        kind::CERTIFICATE_EXPIRING => "Certificate for Qlik Sense expires soon".to_owned(),
        kind::NODE_SILENT => "Qlik Sense node is silent".to_owned(),
        kind::TASK_START_FAILED => "Qlik Sense task could not be started".to_owned(),
        kind::DELIVERY_DEAD => "Butler could not deliver alerts".to_owned(),
        kind::UDP_FAILED => "Butler does not hear Qlik Sense".to_owned(),
        kind::MESSAGE_POSTED => "Message".to_owned(),
        other => {
            let words = other.replace(['-', '.'], " ");
            if event.subject().ends_with("-task") { format!("Qlik Sense {words}") } else { capital(&words) }
        }
    }
}

fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// What it happened to.
fn subject(event: &Event) -> String {
    let data = &event.data;
    let name = |name: &str, id: &str| if name.is_empty() { id.to_owned() } else { name.to_owned() };
    if let Some(task) = &data.task {
        return format!("Task: {}", name(&task.name, &task.id));
    }
    if let Some(app) = &data.app {
        return format!("App: {}", name(&app.name, &app.id));
    }
    if let Some(service) = &data.service {
        let names = [&service.friendly_name, &service.display_name, &service.name];
        let shown = names.into_iter().flatten().find(|name| !name.is_empty());
        let host = service.host.as_ref().map(|host| format!(" on {host}")).unwrap_or_default();
        return format!("Service: {}{host}", shown.map_or("?", String::as_str));
    }
    data.message.clone().filter(|message| !message.is_empty()).unwrap_or_else(|| event.summary())
}

/// By what Signl4 knows the alert: that which it is resolved by. A test has one of its own, so that it never touches a real
/// alert.
fn external_id(event: &Event) -> String {
    let data = &event.data;
    if event.source == Event::TEST {
        return format!("test/{}", event.id);
    }
    let id = if let Some(incident) = Incident::of(event) {
        // Tasks as Butler 16 sent them.
        incident.key.strip_prefix("task/").map(str::to_owned).unwrap_or(incident.key)
    } else {
        let of_what = data.task.as_ref().map(|task| task.id.clone());
        let of_what = of_what.or_else(|| data.app.as_ref().map(|app| app.id.clone()));
        let of_what = of_what.or_else(|| data.dead.as_ref()?.instance.clone());
        let of_what = of_what.or_else(|| data.certificate.as_ref()?.file.clone());
        let of_what = of_what.or_else(|| data.node.clone()).filter(|what| !what.is_empty());
        of_what.map_or_else(|| event.kind.clone(), |what| format!("{}/{what}", event.kind))
    };
    text(&id, LONGEST_ID)
}

/// The last lines of the script log, of those that the event carries.
fn script_log(event: &Event, lines: usize) -> Option<String> {
    let tail = &event.data.script_log.as_ref()?.tail;
    let last = &tail[tail.len().saturating_sub(lines)..];
    let last: Vec<String> = last.iter().map(|line| text(line, LONGEST_LINE)).collect();
    (!last.is_empty()).then(|| last.join("\n"))
}

/// Without control characters but line breaks, and cut.
fn text(text: &str, longest: usize) -> String {
    let mut letters = text.chars();
    let clean = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
    let mut short: String = letters.by_ref().take(longest).map(clean).collect();
    if letters.next().is_some() {
        short.push('…');
    }
    short
}
