//! Events: facts with an id, a kind, a time and data.
//!
//! An event is immutable once it reaches a plugin. Fields that this version does not know are kept in
//! [`Data::other`], so an older plugin passes them through unharmed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Names of the kinds of events that this version knows. An event's kind is a text: more may come.
pub mod kind {
    macro_rules! kinds {
        ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
            $($(#[$doc])* pub const $name: &str = $text;)*
            /// Every kind of this version.
            pub const ALL: &[&str] = &[$($text),*];
        };
    }
    kinds! {
        /// A reload task failed for good (all retries used).
        RELOAD_TASK_FAILED = "reload-task.failed";
        /// A reload task was aborted.
        RELOAD_TASK_ABORTED = "reload-task.aborted";
        /// A reload task succeeded.
        RELOAD_TASK_SUCCEEDED = "reload-task.succeeded";
        /// A distribution task failed.
        DISTRIBUTE_TASK_FAILED = "distribute-task.failed";
        /// A distribution task was aborted.
        DISTRIBUTE_TASK_ABORTED = "distribute-task.aborted";
        /// A distribution task succeeded.
        DISTRIBUTE_TASK_SUCCEEDED = "distribute-task.succeeded";
        /// A preload task failed.
        PRELOAD_TASK_FAILED = "preload-task.failed";
        /// A preload task was aborted.
        PRELOAD_TASK_ABORTED = "preload-task.aborted";
        /// A preload task succeeded.
        PRELOAD_TASK_SUCCEEDED = "preload-task.succeeded";
        /// An external program task failed.
        EXTERNAL_PROGRAM_TASK_FAILED = "external-program-task.failed";
        /// An external program task was aborted.
        EXTERNAL_PROGRAM_TASK_ABORTED = "external-program-task.aborted";
        /// An external program task succeeded.
        EXTERNAL_PROGRAM_TASK_SUCCEEDED = "external-program-task.succeeded";
        /// A user synchronisation task failed.
        USER_SYNC_TASK_FAILED = "user-sync-task.failed";
        /// A user synchronisation task was aborted.
        USER_SYNC_TASK_ABORTED = "user-sync-task.aborted";
        /// A user synchronisation task succeeded.
        USER_SYNC_TASK_SUCCEEDED = "user-sync-task.succeeded";
        /// A reload outside the scheduler (editor, hub, API) failed in the engine.
        APP_RELOAD_FAILED = "app-reload.failed";
        /// An app reload failed in Qlik Cloud.
        CLOUD_APP_RELOAD_FAILED = "cloud-app-reload.failed";
        /// A user session began.
        USER_SESSION_STARTED = "user-session.started";
        /// A user session ended.
        USER_SESSION_STOPPED = "user-session.stopped";
        /// A connection of a session was opened.
        USER_CONNECTION_OPENED = "user-connection.opened";
        /// A connection of a session was closed.
        USER_CONNECTION_CLOSED = "user-connection.closed";
        /// A watched service stopped.
        SERVICE_STOPPED = "service.stopped";
        /// A watched service runs again.
        SERVICE_STARTED = "service.started";
        /// Periodic state of a watched service.
        SERVICE_STATE = "service.state";
        /// A watched service cannot be checked.
        SERVICE_UNKNOWN = "service.unknown";
        /// Periodic state of the server licence.
        SERVER_LICENSE_STATUS = "server-license.status";
        /// The server licence expires soon.
        SERVER_LICENSE_EXPIRING = "server-license.expiring";
        /// The server licence has expired.
        SERVER_LICENSE_EXPIRED = "server-license.expired";
        /// Periodic use of access licences.
        ACCESS_LICENSE_USAGE = "access-license.usage";
        /// An access licence was released.
        ACCESS_LICENSE_RELEASED = "access-license.released";
        /// The version of Qlik Sense was read.
        QLIK_VERSION_CHECKED = "qlik-version.checked";
        /// A certificate expires soon.
        CERTIFICATE_EXPIRING = "certificate.expiring";
        /// A node has not been heard from.
        NODE_SILENT = "node.silent";
        /// A task was started through Butler.
        TASK_START_SUCCEEDED = "task-start.succeeded";
        /// A task could not be started through Butler.
        TASK_START_FAILED = "task-start.failed";
        /// Butler has started.
        BUTLER_STARTED = "butler.started";
        /// Butler is stopping.
        BUTLER_STOPPING = "butler.stopping";
        /// Periodic: Butler's memory and uptime.
        BUTLER_UPTIME = "butler.uptime";
        /// Periodic: counters of the UDP ingestion.
        BUTLER_INGEST = "butler.ingest";
        /// The UDP socket listens.
        UDP_LISTENING = "udp.listening";
        /// The UDP socket failed.
        UDP_FAILED = "udp.failed";
        /// Deliveries of an instance ended dead.
        DELIVERY_DEAD = "delivery.dead";
        /// A write by REST worth an audit.
        AUDIT_WRITE = "audit.write";
        /// A message was posted by REST.
        MESSAGE_POSTED = "message.posted";
    }
    /// Kinds that come by the clock; never part of an instance's default events.
    pub const PERIODIC: &[&str] = &[
        SERVICE_STATE,
        SERVER_LICENSE_STATUS,
        ACCESS_LICENSE_USAGE,
        QLIK_VERSION_CHECKED,
        BUTLER_UPTIME,
        BUTLER_INGEST,
    ];
}

/// A fact with an id, a kind, a time and data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Unique over all time and all hosts. The same when a delivery is repeated: destinations can de-duplicate by it.
    pub id: String,
    /// What happened, as in [`kind`]; unknown kinds are possible.
    pub kind: String,
    /// When it happened, RFC 3339 in UTC with milliseconds.
    pub time: String,
    /// When Butler heard of it, RFC 3339 in UTC with milliseconds.
    pub received_at: String,
    /// By which road Butler heard of it first: `udp`, `qrs`, `butler`, or `instance:<name>`.
    pub source: String,
    /// The facts.
    pub data: Data,
}

/// The facts of an event. What the kind does not have, or what could not be found out, is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Data {
    /// The task, for task events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// The app that the task works on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<App>,
    /// The run of the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<Execution>,
    /// The script log of the run, in part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script_log: Option<ScriptLog>,
    /// The log line of Qlik Sense that told of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogLine>,
    /// Host name of the Sense node where it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The user on whose behalf, `DIRECTORY\id`; for aborts the user who aborted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Facts that should be here but could not be fetched from Qlik Sense: `task`, `app`, `owner`, `execution`, `scriptLog`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// The kind is a guess, since Qlik Sense could not be asked for the type of the task.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kind_assumed: bool,
    /// Everything else, by name.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// An object of Qlik Sense of which id and name are known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamedRef {
    /// GUID.
    pub id: String,
    /// Name.
    pub name: String,
}

/// A task of Qlik Sense (QRS `task/full`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// GUID.
    pub id: String,
    /// Name.
    pub name: String,
    /// `reload`, `external-program`, `user-sync`, `distribute` or `preload`; absent while not known.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub task_type: Option<String>,
    /// Whether the task is switched on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Names of the tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Custom properties: name to values.
    #[serde(default)]
    pub custom_properties: BTreeMap<String, Vec<String>>,
    /// Whether it was started by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_manually_triggered: Option<bool>,
    /// Whether it does a partial reload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_partial_reload: Option<bool>,
    /// Retries before it counts as failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<i64>,
    /// Time-out in minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_timeout_minutes: Option<i64>,
    /// Who changed it last, `DIRECTORY\id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_by: Option<String>,
    /// When it was changed last, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_date: Option<String>,
    /// When it runs next, ISO 8601; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_execution: Option<String>,
}

/// An app of Qlik Sense (QRS `app/full`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct App {
    /// GUID.
    pub id: String,
    /// Name.
    pub name: String,
    /// Description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_size_bytes: Option<u64>,
    /// Last successful reload, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reload_time: Option<String>,
    /// Last change, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_date: Option<String>,
    /// Who changed it last, `DIRECTORY\id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_by: Option<String>,
    /// When it was published, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish_time: Option<String>,
    /// Whether it is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<bool>,
    /// Its stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<NamedRef>,
    /// Names of the tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Custom properties: name to values.
    #[serde(default)]
    pub custom_properties: BTreeMap<String, Vec<String>>,
    /// Its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
}

/// The owner of an app (QRS `user`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// GUID.
    pub id: String,
    /// Display name.
    pub name: String,
    /// User id within the directory.
    pub user_id: String,
    /// User directory.
    pub user_directory: String,
    /// Email addresses of the directory's attributes; often none.
    #[serde(default)]
    pub emails: Vec<String>,
}

/// One run of a task (QRS `executionresult`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Execution {
    /// Execution id of the log line; absent when the line had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Id of the execution result in QRS, one per attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_id: Option<String>,
    /// Status number of QRS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<i64>,
    /// Its name: `FinishedFail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_text: Option<String>,
    /// Start, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// End, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_time: Option<String>,
    /// Duration in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i64>,
    /// The node that ran it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What happened on the way, in order of time.
    #[serde(default)]
    pub details: Vec<Detail>,
    /// Size of the script log in bytes, as QRS gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script_log_size: Option<i64>,
}

/// One step of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Detail {
    /// When, ISO 8601.
    pub time: String,
    /// What.
    pub message: String,
    /// QRS's `detailsType`.
    #[serde(rename = "type", default)]
    pub detail_type: i64,
}

/// First and last lines of a script log. The whole is fetched by [`Qlik::script_log`](crate::Qlik::script_log).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScriptLog {
    /// First lines.
    pub head: Vec<String>,
    /// Last lines; may overlap with `head`.
    pub tail: Vec<String>,
    /// Number of lines in all.
    pub rows: u64,
    /// Number of characters in all, line ends included.
    pub characters: u64,
    /// Names the stored log.
    pub reference: String,
    /// The log was longer than the host keeps; its middle is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// A log line of Qlik Sense.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// Time stamp as in the line, local time of the Sense server.
    pub timestamp: String,
    /// Level: `WARN`.
    pub level: String,
    /// Text.
    pub message: String,
}

impl Event {
    /// One line for people: what happened to what, and the reason where it is known.
    ///
    /// For example `Reload task failed: Sales nightly (app Sales) on sense1: Max retries reached`.
    pub fn summary(&self) -> String {
        let mut text = headline(&self.kind);
        if let Some(task) = &self.data.task {
            text.push_str(": ");
            text.push_str(if task.name.is_empty() { &task.id } else { &task.name });
        }
        if let Some(app) = self.data.app.as_ref().filter(|app| !app.name.is_empty()) {
            text.push_str(if self.data.task.is_some() { " (app " } else { ": " });
            text.push_str(&app.name);
            if self.data.task.is_some() {
                text.push(')');
            }
        }
        if let Some(node) = &self.data.node {
            text.push_str(" on ");
            text.push_str(node);
        }
        let message = self.data.log.as_ref().map(|log| log.message.as_str()).filter(|message| !message.is_empty());
        if let Some(message) = message.or_else(|| self.data.other.get("message").and_then(Value::as_str)) {
            text.push_str(": ");
            text.push_str(message);
        }
        text
    }

    /// The kind without its last part: `reload-task` of `reload-task.failed`.
    pub fn subject(&self) -> &str {
        self.kind.rsplit_once('.').map_or(self.kind.as_str(), |(subject, _)| subject)
    }

    /// The last part of the kind: `failed` of `reload-task.failed`; empty without a dot.
    pub fn outcome(&self) -> &str {
        self.kind.rsplit_once('.').map_or("", |(_, outcome)| outcome)
    }
}

/// `reload-task.failed` as `Reload task failed`.
fn headline(kind: &str) -> String {
    let mut text = kind.replace(['-', '.'], " ");
    if let Some(first) = text.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_says_what_happened_to_what_and_why() {
        let event: Event = serde_json::from_value(serde_json::json!({
            "id": "a-1", "kind": kind::RELOAD_TASK_FAILED, "time": "2026-03-04T05:06:07.890Z",
            "receivedAt": "2026-03-04T05:06:07.900Z", "source": "udp",
            "data": { "task": { "id": "t", "name": "Sales nightly" }, "app": { "id": "a", "name": "Sales" },
                      "node": "sense1", "log": { "timestamp": "", "level": "WARN", "message": "Max retries reached" } }
        }))
        .unwrap();
        assert_eq!(event.summary(), "Reload task failed: Sales nightly (app Sales) on sense1: Max retries reached");
        assert_eq!((event.subject(), event.outcome()), ("reload-task", "failed"));
    }

    #[test]
    fn unknown_kinds_and_fields_pass_through() {
        let text =
            r#"{"id":"a-1","kind":"moon.risen","time":"","receivedAt":"","source":"x","data":{"phase":{"full":true}}}"#;
        let event: Event = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&event).unwrap(), text);
        assert_eq!(event.summary(), "Moon risen");
    }
}
