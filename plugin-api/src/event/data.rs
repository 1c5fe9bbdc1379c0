//! The facts of an event.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::section::{self, sections};
use super::{
    AccessLicenses, ActiveUsers, App, Audit, Butler, Certificate, CloudReload, Dead, Execution, Ingest, LicenseRelease,
    LogLine, Posted, QlikVersion, ScriptLog, ServerLicense, Service, Session, Silence, Task, TaskStart, Udp,
};

/// The facts of an event. What the kind does not have, or what could not be found out, is absent.
///
/// No JSON is refused when it is read, and nothing of it is lost: a known fact of another form than this version knows goes to
/// [`Data::other`] under its name. What is no object has no facts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Data {
    /// The task, for task events.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "section::serialize_optional")]
    pub task: Option<Task>,
    /// The app that the task works on.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "section::serialize_optional")]
    pub app: Option<Box<App>>,
    /// The run of the task.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "section::serialize_optional")]
    pub execution: Option<Execution>,
    /// The script log of the run, in part.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "section::serialize_optional")]
    pub script_log: Option<ScriptLog>,
    /// The log line of Qlik Sense that told of the event.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "section::serialize_optional")]
    pub log: Option<LogLine>,
    /// Host name of the Sense node where it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The user on whose behalf, `DIRECTORY\id`; for aborts the user who aborted. In Qlik Cloud the id alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// One line for people, for kinds whose other facts do not say it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The session, for `user-session.*`, `user-connection.*` and `app-reload.failed`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "section::serialize_optional")]
    pub session: Option<Box<Session>>,
    /// Who uses Qlik Sense, for `active-users.counted`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "section::serialize_optional")]
    pub active_users: Option<Box<ActiveUsers>>,
    /// The service, for `service.*`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "section::serialize_optional")]
    pub service: Option<Box<Service>>,
    /// The licence of the server, for `server-license.*`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "section::serialize_optional")]
    pub server_license: Option<Box<ServerLicense>>,
    /// Use of access licences, for `access-license.usage` and, those that are low, `access-license.low`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "section::serialize_optional")]
    pub access_licenses: Option<Box<AccessLicenses>>,
    /// What was taken back, for `access-license.released`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "section::serialize_optional")]
    pub license_release: Option<Box<LicenseRelease>>,
    /// The version, for `qlik-version.checked`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "section::serialize_optional")]
    pub qlik_version: Option<Box<QlikVersion>>,
    /// The certificate, for `certificate.expiring`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "section::serialize_optional")]
    pub certificate: Option<Box<Certificate>>,
    /// The silence, for `node.silent`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "section::serialize_optional")]
    pub silence: Option<Box<Silence>>,
    /// How the start came about, for `task-start.*`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "section::serialize_optional")]
    pub task_start: Option<Box<TaskStart>>,
    /// What only Qlik Cloud tells, for `cloud-app-reload.failed`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "section::serialize_optional")]
    pub cloud: Option<Box<CloudReload>>,
    /// Butler itself, for `butler.*`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "section::serialize_optional")]
    pub butler: Option<Box<Butler>>,
    /// Counters, for `butler.ingest`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "section::serialize_optional")]
    pub ingest: Option<Box<Ingest>>,
    /// The socket, for `udp.*`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "section::serialize_optional")]
    pub udp: Option<Box<Udp>>,
    /// What was given up, for `delivery.dead`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "section::serialize_optional")]
    pub dead: Option<Box<Dead>>,
    /// The write, for `audit.write`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "section::serialize_optional")]
    pub audit: Option<Box<Audit>>,
    /// The message, for `message.posted`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "section::serialize_optional")]
    pub posted: Option<Box<Posted>>,
    /// Facts that should be here but could not be fetched from Qlik Sense: `task`, `app`, `owner`, `execution`, `scriptLog`;
    /// of Qlik Cloud also `tags` (with the app's size) and `user` (the name of who started the reload).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// The kind is a guess, since Qlik Sense could not be asked for the type of the task.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kind_assumed: bool,
    /// Everything else, by name.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

sections!(
    Task,
    App,
    Execution,
    ScriptLog,
    LogLine,
    Session,
    Service,
    ServerLicense,
    AccessLicenses,
    LicenseRelease,
    ActiveUsers,
    QlikVersion,
    Certificate,
    Silence,
    TaskStart,
    CloudReload,
    Butler,
    Ingest,
    Udp,
    Dead,
    Audit,
    Posted,
);

impl Data {
    /// Reads facts from JSON. Never fails; see above.
    pub fn from_json(facts: &Value) -> Self {
        Self::read(&facts.to_string())
    }

    fn read(json: &str) -> Self {
        let mut data = Self::default();
        for (name, fact) in serde_json::from_str::<BTreeMap<String, &RawValue>>(json).unwrap_or_default() {
            if data.take(&name, fact.get()).is_err() {
                // Cannot fail: it was JSON before.
                data.other.insert(name, serde_json::from_str(fact.get()).unwrap_or_default());
            }
        }
        data
    }

    /// Takes a fact over; an error if it has another form, or is not known.
    fn take(&mut self, name: &str, json: &str) -> serde_json::Result<()> {
        match name {
            "task" => self.task = section::read(json)?,
            "app" => self.app = section::read(json)?,
            "execution" => self.execution = section::read(json)?,
            "scriptLog" => self.script_log = section::read(json)?,
            "log" => self.log = section::read(json)?,
            "session" => self.session = section::read(json)?,
            "service" => self.service = section::read(json)?,
            "serverLicense" => self.server_license = section::read(json)?,
            "accessLicenses" => self.access_licenses = section::read(json)?,
            "licenseRelease" => self.license_release = section::read(json)?,
            "activeUsers" => self.active_users = section::read(json)?,
            "qlikVersion" => self.qlik_version = section::read(json)?,
            "certificate" => self.certificate = section::read(json)?,
            "silence" => self.silence = section::read(json)?,
            "taskStart" => self.task_start = section::read(json)?,
            "cloud" => self.cloud = section::read(json)?,
            "butler" => self.butler = section::read(json)?,
            "ingest" => self.ingest = section::read(json)?,
            "udp" => self.udp = section::read(json)?,
            "dead" => self.dead = section::read(json)?,
            "audit" => self.audit = section::read(json)?,
            "posted" => self.posted = section::read(json)?,
            "node" => self.node = serde_json::from_str(json)?,
            "user" => self.user = serde_json::from_str(json)?,
            "message" => self.message = serde_json::from_str(json)?,
            "missing" => self.missing = serde_json::from_str(json)?,
            "kindAssumed" => self.kind_assumed = serde_json::from_str(json)?,
            _ => return Err(serde::de::Error::custom("not known")),
        }
        Ok(())
    }

    /// The facts beyond task, app, run, script log, log line, node and user, as JSON by name: the sections of the kind,
    /// `message`, and what this version does not know. For plugins that show events of any kind.
    pub fn further(&self) -> Map<String, Value> {
        const KNOWN: [&str; 9] =
            ["task", "app", "execution", "scriptLog", "log", "node", "user", "missing", "kindAssumed"];
        // Cannot fail: names are texts, and no value refuses to be written.
        let json = serde_json::to_string(self).unwrap_or_default();
        let mut facts: Map<String, Value> = serde_json::from_str(&json).unwrap_or_default();
        facts.retain(|name, _| !KNOWN.contains(&name.as_str()));
        facts
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::read(Box::<RawValue>::deserialize(deserializer)?.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_of_another_form_is_kept_and_hurts_no_other() {
        let facts = serde_json::json!({
            "node": "sense1", "task": { "name": "without an id" }, "missing": "all",
            "app": { "id": "a", "name": "Sales", "tags": [], "customProperties": {} },
            "service": { "host": ["a", "b"] }, "kindAssumed": true, "user": 7, "moon": 1
        });
        let data = Data::from_json(&facts);
        assert_eq!((data.node.as_deref(), data.kind_assumed, data.app.is_some()), (Some("sense1"), true, true));
        assert_eq!((&data.task, &data.user, data.missing.is_empty()), (&None, &None, true));
        assert_eq!(data.other.keys().collect::<Vec<_>>(), ["missing", "moon", "service", "task", "user"]);
        assert_eq!(serde_json::to_value(&data).unwrap(), facts, "nothing is lost");

        let sound = serde_json::json!({ "node": "sense1", "moon": 1 });
        assert_eq!(Data::from_json(&sound), serde_json::from_value(sound).unwrap());
        assert_eq!(Data::from_json(&Value::from("text")), Data::default());
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
}
