//! The service `qlik`: Qlik Sense as the user of the config, and Qlik Cloud's messages.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::ServiceError;
use crate::event::QlikVersion;
use crate::host::Host;

/// Qlik Sense, as the user of the config.
#[derive(Debug, Clone)]
pub struct Qlik(Host);

/// An answer of the repository service (QRS).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QlikReply {
    /// HTTP status.
    pub status: u16,
    /// JSON body, or a text where it is none.
    pub body: Value,
}

/// Which tasks are to be started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct StartTasks {
    /// Tasks by their ids, GUIDs.
    pub task_ids: Vec<String>,
    /// All tasks with one of these tags.
    pub tags: Vec<String>,
    /// All tasks with one of these values of a custom property.
    pub custom_properties: Vec<Property>,
    /// If one of the ids is that of no task, none is started by its id.
    pub all_task_ids_must_exist: bool,
}

/// A value of a custom property.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Property {
    /// Name of the custom property.
    pub name: String,
    /// One of its values.
    pub value: String,
}

impl StartTasks {
    /// No task yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// And the task with this id, a GUID.
    #[must_use]
    pub fn task_id(mut self, id: impl Into<String>) -> Self {
        self.task_ids.push(id.into());
        self
    }

    /// And all tasks with this tag.
    #[must_use]
    pub fn tag(mut self, name: impl Into<String>) -> Self {
        self.tags.push(name.into());
        self
    }

    /// And all tasks with this value of a custom property.
    #[must_use]
    pub fn custom_property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.custom_properties.push(Property { name: name.into(), value: value.into() });
        self
    }

    /// If an id is that of no task, none is started by its id.
    #[must_use]
    pub fn all_task_ids_must_exist(mut self) -> Self {
        self.all_task_ids_must_exist = true;
        self
    }
}

/// What became of a request to start tasks. Each is also an event, `task-start.succeeded` or `task-start.failed`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct TasksStarted {
    /// Tasks that were to be started, each once.
    pub tasks: Vec<StartedTask>,
    /// Ids of which there is no task.
    pub unknown: Vec<String>,
    /// What the config's `qlik.startTaskFilter` does not allow, and ids that were held back because others are unknown:
    /// ids, tags, `name=value` of custom properties.
    pub denied: Vec<String>,
}

/// A task that was to be started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct StartedTask {
    /// GUID.
    pub task_id: String,
    /// Name.
    pub task_name: String,
    /// Id of the execution, as execution results have it (`executionID`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Why it was not started; absent: it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl StartedTask {
    /// A task without an outcome yet.
    pub fn new(task_id: impl Into<String>, task_name: impl Into<String>) -> Self {
        Self { task_id: task_id.into(), task_name: task_name.into(), ..Self::default() }
    }
}

/// What became of a message of Qlik Cloud that was handed over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct HandedOver {
    /// Id of the event; absent: the message leads to none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The event was known already.
    pub duplicate: bool,
    /// Why the message leads to no event: the reload did not fail, or it is about something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignored: Option<String>,
}

impl Qlik {
    pub(crate) fn new(host: Host) -> Self {
        Self(host)
    }

    /// `GET /qrs/<path>` with query parameters, which are encoded by the host: `get("task/full", &[("filter", "id eq …")])`.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<QlikReply, ServiceError> {
        let query: Map<String, Value> = query.iter().map(|(k, v)| ((*k).to_owned(), Value::from(*v))).collect();
        self.ask(&json!({ "op": "get", "path": path, "query": query })).await
    }

    /// `POST /qrs/<path>`. As all writes it needs the path among `qlik_writes` of the manifest *and* among `qlik.writes`
    /// of the config; else [`ServiceError::Denied`]. It is sent once: after an error it may have arrived all the same.
    pub async fn post(&self, path: &str, body: &Value) -> Result<QlikReply, ServiceError> {
        self.write("POST", path, Some(body)).await
    }

    /// `PUT /qrs/<path>`; see [`Qlik::post`].
    pub async fn put(&self, path: &str, body: &Value) -> Result<QlikReply, ServiceError> {
        self.write("PUT", path, Some(body)).await
    }

    /// `DELETE /qrs/<path>`; see [`Qlik::post`].
    pub async fn delete(&self, path: &str) -> Result<QlikReply, ServiceError> {
        self.write("DELETE", path, None).await
    }

    /// Whether a write to this path is allowed; nothing is asked of Qlik Sense. [`ServiceError::Denied`] says what forbids
    /// it, and [`ServiceError::Unavailable`] that the config has no Qlik Sense. Older hosts answer
    /// [`ServiceError::Unsupported`].
    pub async fn may_write(&self, path: &str) -> Result<(), ServiceError> {
        self.0.invoke("qlik", &json!({ "op": "mayWrite", "path": path })).await.map(drop)
    }

    async fn write(&self, method: &str, path: &str, body: Option<&Value>) -> Result<QlikReply, ServiceError> {
        self.ask(&json!({ "op": "write", "method": method, "path": path, "body": body })).await
    }

    /// Starts tasks, if `qlik.startTaskFilter` of the config allows it, and waits until Qlik Sense has answered. Fails as
    /// a whole when Qlik Sense cannot be asked which tasks there are; then none was started.
    pub async fn start_tasks(&self, tasks: &StartTasks) -> Result<TasksStarted, ServiceError> {
        self.ask(&json!({ "op": "startTasks", "tasks": tasks })).await
    }

    /// Version and product of the server (`/v1/systeminfo` on the port `systemInfo`).
    pub async fn system_info(&self) -> Result<QlikVersion, ServiceError> {
        self.ask(&json!({ "op": "systemInfo" })).await
    }

    /// The whole script log that an event refers to ([`ScriptLog::reference`](crate::ScriptLog)).
    /// [`ServiceError::Invalid`] if it is not kept, or no longer.
    pub async fn script_log(&self, reference: &str) -> Result<String, ServiceError> {
        let answer = self.0.invoke("qlik", &json!({ "op": "scriptLog", "reference": reference })).await?;
        answer["text"].as_str().map(str::to_owned).ok_or_else(|| ServiceError::Failed("no text".to_owned()))
    }

    /// Hands over a message of Qlik Cloud as it came: the body of a webhook that was received by other means. Answers when
    /// the event is stored durably. [`ServiceError::Invalid`] if it is none, or of a tenant that the config does not name.
    pub async fn cloud_event(&self, message: &str) -> Result<HandedOver, ServiceError> {
        self.ask(&json!({ "op": "cloudEvent", "message": message })).await
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, input: &Value) -> Result<T, ServiceError> {
        let answer = self.0.invoke("qlik", input).await?;
        serde_json::from_value(answer).map_err(|error| ServiceError::Failed(error.to_string()))
    }
}
