//! Events: facts with an id, a kind, a time and data.
//!
//! An event is immutable once it reaches a plugin. [`Data`] has a typed section for each subject; the sections are in a
//! module each: `task`, `site`, `cloud`, `butler`. Facts that this version does not know are kept in [`Data::other`], so
//! an older plugin passes them through unharmed.

mod butler;
mod cloud;
mod data;
pub mod kind;
mod section;
mod site;
mod task;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use butler::{Audit, Butler, Dead, Ingest, LastDead, Memory, Posted, Udp};
pub use cloud::CloudReload;
pub use data::Data;
pub use site::{
    AccessLicenses, AccessUse, ActiveUsers, CapacityUse, Certificate, KeptLicense, LicenseRelease, LoginTokens,
    QlikVersion, ReleasedLicense, ServerLicense, Service, Session, Silence, TaskStart, Tokens, UserTokens,
};
pub use task::{App, Detail, Execution, LogLine, NamedRef, Owner, ScriptLog, Task};

/// A fact with an id, a kind, a time and data.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// By which road Butler heard of it first: `udp`, `qrs`, `butler`, `rest`, `instance:<name>`; `test` for one that tells of
    /// nothing real.
    pub source: String,
    /// The facts.
    pub data: Data,
}

impl Event {
    /// The [`source`](Self::source) of an event that tells of nothing real, as those of `butler test-alert`.
    pub const TEST: &str = "test";

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
        if let Some(message) = message.or(self.data.message.as_deref()) {
            text.push_str(": ");
            text.push_str(message);
        }
        text
    }

    /// The kind without its last part: `reload-task` of `reload-task.failed`.
    pub fn subject(&self) -> &str {
        self.kind.rsplit_once('.').map_or(self.kind.as_str(), |(subject, _)| subject)
    }

    /// How bad it is, by the kind: `failure`, `warning`, `success` or `information`.
    pub fn severity(&self) -> &'static str {
        match self.kind.as_str() {
            kind::SERVICE_STOPPED | kind::SERVER_LICENSE_EXPIRED | kind::DELIVERY_DEAD => "failure",
            kind::SERVICE_UNKNOWN
            | kind::SERVER_LICENSE_EXPIRING
            | kind::ACCESS_LICENSE_LOW
            | kind::CERTIFICATE_EXPIRING
            | kind::NODE_SILENT => "warning",
            kind::SERVICE_STARTED => "success",
            _ => match self.outcome() {
                "failed" => "failure",
                "aborted" => "warning",
                "succeeded" => "success",
                _ => "information",
            },
        }
    }

    /// The last part of the kind: `failed` of `reload-task.failed`; empty without a dot.
    pub fn outcome(&self) -> &str {
        self.kind.rsplit_once('.').map_or("", |(_, outcome)| outcome)
    }
}

/// `reload-task.failed` as `Reload task failed`.
pub(crate) fn headline(kind: &str) -> String {
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
