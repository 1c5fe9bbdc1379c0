//! Execution results.

use serde_json::{Value, json};

use super::{CREATED, table::Identified};
use crate::ids;

/// The node that executes everything, unless a run says otherwise.
pub(super) const NODE: &str = "sense1.lab.local";

/// State of an execution. The numbers are those of QRS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are QRS's own and say it all")]
pub enum Status {
    NeverStarted = 0,
    Triggered = 1,
    Started = 2,
    Queued = 3,
    AbortInitiated = 4,
    Aborting = 5,
    Aborted = 6,
    FinishedSuccess = 7,
    FinishedFail = 8,
    Skipped = 9,
    Retry = 10,
    Error = 11,
    Reset = 12,
    DistributionQueue = 13,
    DistributionRunning = 14,
}

impl Status {
    /// Whether the execution is over.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Aborted | Self::FinishedSuccess | Self::FinishedFail | Self::Skipped | Self::Error | Self::Reset
        )
    }
}

/// A line in the history of an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// When it was written, ISO in UTC.
    pub created: String,
    /// What it says.
    pub message: String,
}

/// The result of one attempt to execute a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutionResult {
    /// Identifier, a GUID.
    pub id: String,
    /// Identifier of the task.
    pub task_id: String,
    /// Identifier of the execution, as the scheduler's log has it.
    pub execution_id: String,
    /// Identifier of the app, or [`NO_REFERENCE`](super::NO_REFERENCE).
    pub app_id: String,
    /// Host name of the node that executes it.
    pub node: String,
    /// State.
    pub status: Status,
    /// Start, ISO in UTC.
    pub start_time: String,
    /// End, ISO in UTC, or [`NO_TIME`](super::NO_TIME).
    pub stop_time: String,
    /// Time between start and end in milliseconds.
    pub duration_ms: u64,
    /// Reference for the older way to the script log, or [`NO_REFERENCE`](super::NO_REFERENCE).
    pub file_reference_id: String,
    /// Size of the script log in bytes.
    pub script_log_size: usize,
    /// History in order of time. Answers contain it unsorted, as QRS does.
    pub details: Vec<Detail>,
    /// The execution identifier that the run was given; see [`ExecutionIds`](super::ExecutionIds).
    pub(super) given_execution_id: String,
}

impl ExecutionResult {
    fn has_script_log(&self) -> bool {
        self.script_log_size > 0
    }

    fn details_json(&self) -> Value {
        let detail = |(position, detail): (usize, &Detail)| {
            json!({
                "id": ids::derived(&self.id, &format!("detail {position}")),
                "detailsType": 2,
                "message": detail.message,
                "detailCreatedDate": detail.created,
                "privileges": null,
            })
        };
        // Last one first, then the others: neither ascending nor descending.
        let mut details: Vec<Value> = self.details.iter().enumerate().map(detail).collect();
        if !details.is_empty() {
            details.rotate_right(1);
        }
        details.into()
    }

    pub(crate) fn condensed(&self) -> Value {
        json!({
            "id": self.id,
            "executingNodeName": self.node,
            "status": self.status as u8,
            "startTime": self.start_time,
            "stopTime": self.stop_time,
            "duration": self.duration_ms,
            "fileReferenceID": self.file_reference_id,
            "scriptLogAvailable": self.has_script_log(),
            "details": self.details_json(),
            "scriptLogLocation": "",
            "scriptLogSize": self.script_log_size,
            "privileges": null,
        })
    }

    pub(crate) fn full(&self) -> Value {
        let mut result = self.condensed();
        result["createdDate"] = self.start_time.as_str().into();
        result["modifiedDate"] =
            if self.status.is_final() { &self.stop_time } else { &self.start_time }.as_str().into();
        result["modifiedByUserName"] = "INTERNAL\\sa_scheduler".into();
        result["taskID"] = self.task_id.as_str().into();
        result["executionID"] = self.execution_id.as_str().into();
        result["appID"] = self.app_id.as_str().into();
        result["executingNodeID"] = ids::derived(CREATED, &self.node).into();
        result["schemaPath"] = "ExecutionResult".into();
        result
    }

    /// The short form, from the full one.
    pub(crate) fn condense(mut full: Value) -> Value {
        if let Value::Object(members) = &mut full {
            for key in [
                "createdDate",
                "modifiedDate",
                "modifiedByUserName",
                "taskID",
                "executionID",
                "appID",
                "executingNodeID",
                "schemaPath",
            ] {
                members.remove(key);
            }
        }
        full
    }
}

impl Identified for ExecutionResult {
    fn id(&self) -> &str {
        &self.id
    }
}
