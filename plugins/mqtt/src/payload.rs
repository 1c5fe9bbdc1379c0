//! What messages say: the forms of Butler 16, the whole event, or a name.

mod service;
mod users;

use butler_plugin_api::butler16::{plain_user, properties, slashed_user};
use butler_plugin_api::{Event, LogLine, kind};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::metadata::{Metadata, Object};

pub(crate) use service::service_state;
pub(crate) use users::{occasions, user_count, user_count_of, user_ids};

use service::service_change;

/// A payload, and what it is: for MQTT 5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) bytes: Vec<u8>,
    pub(crate) content_type: &'static str,
}

impl Payload {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self { bytes: text.into().into_bytes(), content_type: "text/plain; charset=utf-8" }
    }

    fn json(value: &impl Serialize) -> Self {
        // Facts have string keys and finite numbers, so this cannot fail.
        let bytes = serde_json::to_vec(value).unwrap_or_default();
        Self { bytes, content_type: "application/json" }
    }
}

/// The whole event.
pub(crate) fn event(event: &Event) -> Payload {
    Payload::json(event)
}

/// What it is about, in one word: task, app, service, node; or the kind.
pub(crate) fn name(event: &Event) -> Payload {
    let data = &event.data;
    let names = [
        data.task.as_ref().map(|task| if task.name.is_empty() { &task.id } else { &task.name }),
        data.app.as_ref().map(|app| if app.name.is_empty() { &app.id } else { &app.name }),
        data.service.as_ref().and_then(|service| service.name.as_ref()),
        data.node.as_ref(),
    ];
    let name = names.into_iter().flatten().find(|name| !name.is_empty());
    Payload::text(name.unwrap_or(&event.kind))
}

/// The form of Butler 16; of kinds that it had no messages for, the whole event. Without `metadata` nobody is asked.
pub(crate) async fn butler16(event: &Event, metadata: Option<&Metadata>) -> Payload {
    match event.kind.as_str() {
        kind::SERVICE_STOPPED | kind::SERVICE_STARTED => service_change(event),
        kind::SERVICE_STATE => service_state(event),
        kind::SERVER_LICENSE_STATUS => Payload::json(&License::of(event)),
        kind::SERVER_LICENSE_EXPIRED | kind::SERVER_LICENSE_EXPIRING => Payload::text(license_text(event)),
        kind::ACTIVE_USERS_COUNTED if event.data.active_users.is_some() => user_count(event),
        kind::UDP_LISTENING => Payload::text("start"),
        kind::UDP_FAILED => Payload::text("error"),
        kind::MESSAGE_POSTED => match event.data.posted.as_ref().and_then(|posted| posted.text.clone()) {
            Some(text) => Payload::text(text),
            None => self::event(event),
        },
        kind if kind.starts_with("user-session.") || kind.starts_with("user-connection.") => {
            let data = &event.data;
            let user = data.user.as_deref().map(|user| slashed_user(&plain_user(user))).unwrap_or_default();
            Payload::text(format!("{}: {user}", data.node.as_deref().unwrap_or_default()))
        }
        _ if event.data.task.is_some() && event.subject().ends_with("-task") => task(event, metadata).await,
        _ => self::event(event),
    }
}

/// A task's failure or abort, in the order of the original. What is not known is left out; what was not to be had from the
/// repository is `null`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TaskMessage<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    host_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_time_stamp: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_level: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_message: Option<&'a str>,
    #[serde(rename = "qs_appTags", skip_serializing_if = "Option::is_none")]
    app_tags: Option<&'a [String]>,
    #[serde(rename = "qs_appCustomProperties", skip_serializing_if = "Option::is_none")]
    app_custom_properties: Option<Value>,
    #[serde(rename = "qs_taskTags", skip_serializing_if = "Option::is_none")]
    task_tags: Option<&'a [String]>,
    #[serde(rename = "qs_taskCustomProperties", skip_serializing_if = "Option::is_none")]
    task_custom_properties: Option<Value>,
    #[serde(rename = "qs_appMetadata")]
    app_metadata: Option<&'a RawValue>,
    #[serde(rename = "qs_taskMetadata")]
    task_metadata: Option<&'a RawValue>,
}

async fn task(event: &Event, metadata: Option<&Metadata>) -> Payload {
    let data = &event.data;
    let (task, app) = (data.task.as_ref(), data.app.as_deref());
    let of_log = |field: fn(&LogLine) -> &String| data.log.as_ref().map(|log| field(log).as_str());
    let (mut app_metadata, mut task_metadata): (Object, Object) = (None, None);
    if let Some(metadata) = metadata {
        let app_id = app.map(|app| app.id.as_str()).unwrap_or_default();
        let task_id = task.map(|task| task.id.as_str()).unwrap_or_default();
        (app_metadata, task_metadata) =
            tokio::join!(metadata.get("app/full", app_id), metadata.get("task/full", task_id));
    }
    // Tags that could not be asked for are not "none".
    let known = |fact: &str| !data.missing.iter().any(|missing| missing == fact);
    Payload::json(&TaskMessage {
        host_name: data.node.as_deref(),
        user: data.user.as_deref().map(plain_user),
        task_name: task.map(|task| task.name.as_str()),
        task_id: task.map(|task| task.id.as_str()),
        app_name: app.map(|app| app.name.as_str()),
        app_id: app.map(|app| app.id.as_str()),
        log_time_stamp: of_log(|log| &log.timestamp),
        log_level: of_log(|log| &log.level),
        execution_id: data.execution.as_ref().and_then(|execution| execution.id.as_deref()),
        log_message: of_log(|log| &log.message),
        app_tags: app.filter(|_| known("app")).map(|app| app.tags.as_slice()),
        app_custom_properties: app.filter(|_| known("app")).map(|app| properties(&app.custom_properties)),
        task_tags: task.filter(|_| known("task")).map(|task| task.tags.as_slice()),
        task_custom_properties: task.filter(|_| known("task")).map(|task| properties(&task.custom_properties)),
        app_metadata: app_metadata.as_deref(),
        task_metadata: task_metadata.as_deref(),
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_field_names, reason = "the names are those of the members")]
struct License<'a> {
    license_expired: Option<bool>,
    expiry_date_str: Option<&'a str>,
    days_until_expiry: Option<i64>,
}

impl<'a> License<'a> {
    fn of(event: &'a Event) -> Self {
        let license = event.data.server_license.as_deref();
        Self {
            license_expired: license.and_then(|license| license.expired),
            expiry_date_str: license.and_then(|license| license.expiry_date.as_deref()),
            days_until_expiry: license.and_then(|license| license.days_until_expiry),
        }
    }
}

/// The original's words. Without a date they say as much as is known.
fn license_text(event: &Event) -> String {
    let license = License::of(event);
    let date = license.expiry_date_str.map(|date| format!(" on {date}")).unwrap_or_default();
    if event.kind == kind::SERVER_LICENSE_EXPIRED {
        return format!("Qlik Sense server license expired{date}");
    }
    let days = license.days_until_expiry.map(|days| format!(" in {days} days")).unwrap_or_default();
    let comma = if days.is_empty() || date.is_empty() { "" } else { "," };
    format!("Qlik Sense server license is about to expire{days}{comma}{date}")
}
