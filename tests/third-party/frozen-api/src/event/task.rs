//! Facts of tasks and apps: what QRS, the log line and the script log tell.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
