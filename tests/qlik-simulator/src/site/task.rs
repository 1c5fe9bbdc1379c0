//! Tasks of all types.

use serde_json::{Value, json};

use super::{CREATED, ExecutionResult, MODIFIED_BY, NO_REFERENCE, NO_TIME, app, meta, state::State, table::Identified};
use crate::ids;

/// The type of a task. The numbers are those of QRS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// Reload of an app.
    Reload = 0,
    /// External program.
    ExternalProgram = 1,
    /// Synchronisation of users.
    UserSync = 2,
    /// Distribution of an app to the cloud.
    Distribute = 3,
    /// Preload of an app into the engines' memory.
    Preload = 4,
}

impl TaskKind {
    /// Whether tasks of this type belong to an app; those are all served as `reloadtask`.
    pub fn has_app(self) -> bool {
        matches!(self, Self::Reload | Self::Distribute | Self::Preload)
    }

    pub(crate) fn object_type(self) -> &'static str {
        match self {
            Self::Reload | Self::Distribute | Self::Preload => "ReloadTask",
            Self::ExternalProgram => "ExternalProgramTask",
            Self::UserSync => "UserSyncTask",
        }
    }
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Identifier, a GUID.
    pub id: String,
    /// What people see.
    pub name: String,
    /// Type.
    pub kind: TaskKind,
    /// Identifier of the app, empty for the types without one.
    pub app_id: String,
    /// Whether triggers start it.
    pub enabled: bool,
    /// Names of tags.
    pub tags: Vec<String>,
    /// Names and values of custom properties.
    pub custom_properties: Vec<(String, String)>,
    /// Maximum time of an execution, in minutes.
    pub session_timeout_minutes: u32,
    /// Further attempts after a failure.
    pub max_retries: u32,
    /// Started by hand only.
    pub is_manually_triggered: bool,
    /// Reloads a part of the app only.
    pub is_partial_reload: bool,
    /// Time of the next planned execution, [`NO_TIME`] if there is none.
    pub next_execution: String,
    /// Identifier of the last execution result, set when the task is run.
    pub(crate) last_result: Option<String>,
}

impl Task {
    /// A reload task with a new identifier.
    pub fn reload(name: impl Into<String>, app_id: impl Into<String>) -> Self {
        Self::new(TaskKind::Reload, name, app_id)
    }

    /// An external program task with a new identifier.
    pub fn external_program(name: impl Into<String>) -> Self {
        Self::new(TaskKind::ExternalProgram, name, "")
    }

    /// A user synchronisation task with a new identifier.
    pub fn user_sync(name: impl Into<String>) -> Self {
        Self::new(TaskKind::UserSync, name, "")
    }

    /// A distribution task with a new identifier.
    pub fn distribute(name: impl Into<String>, app_id: impl Into<String>) -> Self {
        Self::new(TaskKind::Distribute, name, app_id)
    }

    /// A preload task with a new identifier.
    pub fn preload(name: impl Into<String>, app_id: impl Into<String>) -> Self {
        Self::new(TaskKind::Preload, name, app_id)
    }

    fn new(kind: TaskKind, name: impl Into<String>, app_id: impl Into<String>) -> Self {
        Self {
            id: ids::random(),
            name: name.into(),
            kind,
            app_id: app_id.into(),
            enabled: true,
            tags: Vec::new(),
            custom_properties: Vec::new(),
            session_timeout_minutes: 1_440,
            max_retries: 0,
            is_manually_triggered: false,
            is_partial_reload: false,
            next_execution: NO_TIME.to_owned(),
            last_result: None,
        }
    }

    /// Replaces the identifier.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Adds a tag by name.
    #[must_use]
    pub fn tag(mut self, name: impl Into<String>) -> Self {
        self.tags.push(name.into());
        self
    }

    /// Adds a value of a custom property.
    #[must_use]
    pub fn custom_property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.custom_properties.push((name.into(), value.into()));
        self
    }

    /// Triggers no longer start it.
    #[must_use]
    pub fn disabled(mut self) -> Self {
        self.enabled = false;
        self
    }

    fn operational(&self, state: &State) -> Value {
        let last = self.last_result.as_ref().and_then(|id| state.results.get(id));
        json!({
            "id": ids::derived(&self.id, "operational"),
            "lastExecutionResult": last.map_or_else(ExecutionResult::none_yet, ExecutionResult::condensed),
            "nextExecution": self.next_execution,
            "privileges": null,
        })
    }

    pub(crate) fn full(&self, state: &State) -> Value {
        let mut task = json!({
            "id": self.id,
            "createdDate": CREATED,
            "modifiedDate": CREATED,
            "modifiedByUserName": MODIFIED_BY,
            "customProperties": meta::custom_properties(&self.custom_properties, &self.id, state),
            "operational": self.operational(state),
            "name": self.name,
            "taskType": self.kind as u8,
            "enabled": self.enabled,
            "taskSessionTimeout": self.session_timeout_minutes,
            "maxRetries": self.max_retries,
            "tags": meta::tags(&self.tags, state),
            "privileges": null,
            "schemaPath": self.kind.object_type(),
        });
        match self.kind {
            TaskKind::Reload | TaskKind::Distribute | TaskKind::Preload => {
                task["app"] = app::app_of_task(&self.app_id, state);
                task["isManuallyTriggered"] = self.is_manually_triggered.into();
                task["isPartialReload"] = self.is_partial_reload.into();
                task["preloadNodes"] = json!([]);
            }
            TaskKind::ExternalProgram => {
                task["path"] = "powershell.exe".into();
                task["parameters"] = "-File C:\\scripts\\export.ps1".into();
                task["qlikUser"] = Value::Null;
            }
            TaskKind::UserSync => {
                task["userDirectory"] = json!({
                    "id": ids::derived("LAB", "user directory"),
                    "name": "LAB",
                    "type": "Repository.UserDirectoryConnectors.LDAP.ActiveDirectory",
                    "privileges": null,
                });
            }
        }
        task
    }

    /// The short form, from the full one.
    pub(crate) fn condense(full: &Value) -> Value {
        let mut task = json!({ "privileges": null });
        for key in ["id", "name", "taskType", "enabled", "taskSessionTimeout", "maxRetries", "operational"] {
            task[key] = full[key].clone();
        }
        task
    }
}

impl Identified for Task {
    fn id(&self) -> &str {
        &self.id
    }
}

impl ExecutionResult {
    /// What a task shows that has never run.
    fn none_yet() -> Value {
        json!({
            "id": NO_REFERENCE,
            "executingNodeName": "",
            "status": 0,
            "startTime": NO_TIME,
            "stopTime": NO_TIME,
            "duration": 0,
            "fileReferenceID": NO_REFERENCE,
            "scriptLogAvailable": false,
            "details": [],
            "scriptLogLocation": "",
            "scriptLogSize": 0,
            "privileges": null,
        })
    }
}
