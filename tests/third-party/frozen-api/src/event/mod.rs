//! Events: facts with an id, a kind, a time and data.
//!
//! An event is immutable once it reaches a plugin. [`Data`] has a typed section for each subject; the sections are in a
//! module each: `task`, `site`, `cloud`, `butler`. Fields that this version does not know are kept in [`Data::other`], so
//! an older plugin passes them through unharmed.

mod butler;
mod cloud;
pub mod kind;
mod section;
mod site;
mod task;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use butler::{Audit, Butler, Dead, Ingest, LastDead, Memory, Posted, Udp};
pub use cloud::CloudReload;
pub use site::{
    AccessLicenses, AccessUse, CapacityUse, Certificate, LoginTokens, QlikVersion, ReleasedLicense, ServerLicense,
    Service, Session, Silence, TaskStart, Tokens, UserTokens,
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
    pub app: Option<Box<App>>,
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
    /// One line for people, for kinds whose other facts do not say it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The session, for `user-session.*`, `user-connection.*` and `app-reload.failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Box<Session>>,
    /// The service, for `service.*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Box<Service>>,
    /// The licence of the server, for `server-license.*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_license: Option<Box<ServerLicense>>,
    /// Use of access licences, for `access-license.usage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_licenses: Option<Box<AccessLicenses>>,
    /// The licence that was taken back, for `access-license.released`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_license: Option<Box<ReleasedLicense>>,
    /// The version, for `qlik-version.checked`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qlik_version: Option<Box<QlikVersion>>,
    /// The certificate, for `certificate.expiring`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Box<Certificate>>,
    /// The silence, for `node.silent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<Box<Silence>>,
    /// How the start came about, for `task-start.*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_start: Option<Box<TaskStart>>,
    /// What only Qlik Cloud tells, for `cloud-app-reload.failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<Box<CloudReload>>,
    /// Butler itself, for `butler.*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub butler: Option<Box<Butler>>,
    /// Counters, for `butler.ingest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingest: Option<Box<Ingest>>,
    /// The socket, for `udp.*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<Box<Udp>>,
    /// What was given up, for `delivery.dead`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead: Option<Box<Dead>>,
    /// The write, for `audit.write`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Box<Audit>>,
    /// The message, for `message.posted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posted: Option<Box<Posted>>,
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

impl Data {
    /// Reads facts from JSON, and loses none: a known field of another form than this version knows goes to
    /// [`Data::other`] under its name, and the rest is read as ever. What is no object has no facts.
    pub fn from_json(facts: Value) -> Self {
        if let Ok(data) = Self::deserialize(&facts) {
            return data;
        }
        let Value::Object(facts) = facts else { return Self::default() };
        let fits = |name: &String, fact: &Value| {
            Self::deserialize(&Value::Object(Map::from_iter([(name.clone(), fact.clone())]))).is_ok()
        };
        let (known, strange): (Map<_, _>, Map<_, _>) = facts.into_iter().partition(|(name, fact)| fits(name, fact));
        // Each was read by itself, and an object has a name once: they can be read together.
        let mut data = Self::deserialize(&Value::Object(known)).unwrap_or_default();
        data.other.extend(strange);
        data
    }

    /// The facts beyond task, app, run, script log, log line, node and user, as JSON by name: the sections of the kind,
    /// `message`, and what this version does not know. For plugins that show events of any kind.
    pub fn further(&self) -> Map<String, Value> {
        const KNOWN: [&str; 9] =
            ["task", "app", "execution", "scriptLog", "log", "node", "user", "missing", "kindAssumed"];
        match serde_json::to_value(self) {
            Ok(Value::Object(mut facts)) => {
                facts.retain(|name, _| !KNOWN.contains(&name.as_str()));
                facts
            }
            // Not possible: names are texts, and no value refuses to be written.
            _ => Map::new(),
        }
    }
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
    fn a_fact_of_another_form_is_kept_and_hurts_no_other() {
        let facts = serde_json::json!({
            "node": "sense1", "task": { "name": "without an id" }, "missing": "all",
            "app": { "id": "a", "name": "Sales", "tags": [], "customProperties": {} },
            "service": { "host": ["a", "b"] }, "kindAssumed": true, "user": 7, "moon": 1
        });
        let data = Data::from_json(facts.clone());
        assert_eq!((data.node.as_deref(), data.kind_assumed, data.app.is_some()), (Some("sense1"), true, true));
        assert_eq!((&data.task, &data.user, data.missing.is_empty()), (&None, &None, true));
        assert_eq!(data.other.keys().collect::<Vec<_>>(), ["missing", "moon", "service", "task", "user"]);
        assert_eq!(serde_json::to_value(&data).unwrap(), facts, "nothing is lost");

        let sound = serde_json::json!({ "node": "sense1", "moon": 1 });
        assert_eq!(Data::from_json(sound.clone()), serde_json::from_value(sound).unwrap());
        assert_eq!(Data::from_json(Value::from("text")), Data::default());
    }

    #[test]
    fn data_stays_small_since_the_host_moves_it_a_lot() {
        assert!(size_of::<Data>() <= 900, "{} bytes: box large sections", size_of::<Data>());
    }

    #[test]
    fn further_facts_are_the_sections_and_what_is_not_known() {
        let data: Data = serde_json::from_value(serde_json::json!({
            "node": "sense1", "task": { "id": "t", "name": "n" }, "message": "m", "moon": 1, "service": { "name": "x" }
        }))
        .unwrap();
        let expected = serde_json::json!({ "message": "m", "moon": 1, "service": { "name": "x" } });
        assert_eq!(Value::Object(data.further()), expected);
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
