//! Choosing and starting tasks in QRS.

use serde_json::json;

use super::error::QlikError;
use super::facts::{self, TaskFacts, is_guid};
use super::repository::Repository;
use super::wire::quote;

/// What QRS answered to the start of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// It has been started as this execution session, whose id the execution results will have.
    Session(String),
    /// QRS took the call and did not start it: it is disabled, no scheduler was free, or its app is not available
    /// (Qlik's developer help, "Task: Start").
    Refused,
    /// QRS knows no such task.
    Unknown,
}

impl Repository {
    /// The tasks with a tag.
    pub async fn tasks_with_tag(&self, tag: &str) -> Result<Vec<TaskFacts>, QlikError> {
        let mut found = self.tasks(&format!("tags.name eq '{}'", quote(tag))).await?;
        // Not everything that a server returns is to be started: one may not heed case, or the filter.
        found.retain(|task| task.task.tags.iter().any(|one| one == tag));
        Ok(found)
    }

    /// The tasks with a value of a custom property.
    pub async fn tasks_with_property(&self, name: &str, value: &str) -> Result<Vec<TaskFacts>, QlikError> {
        let filter = format!(
            "(customProperties.definition.name eq '{}') and (customProperties.value eq '{}')",
            quote(name),
            quote(value)
        );
        let mut found = self.tasks(&filter).await?;
        // QRS holds name and value against the whole list, so the two may be of different properties.
        found.retain(|task| has_property(task, name, value));
        Ok(found)
    }

    async fn tasks(&self, filter: &str) -> Result<Vec<TaskFacts>, QlikError> {
        let mut found = Vec::new();
        self.each("task/full", filter, |json| found.extend(facts::task(json))).await?;
        Ok(found)
    }

    /// Starts a task and waits until it runs. The call is made once: after an error it may have been started all the same.
    pub async fn start_task(&self, id: &str) -> Result<Start, QlikError> {
        if !is_guid(id) {
            return Ok(Start::Unknown);
        }
        let path = format!("task/{id}/start/synchronous");
        let reply = self.post(&path, &[], &json!({})).await?;
        if reply.status == 404 {
            return Ok(Start::Unknown);
        }
        let answer = reply.success()?.json()?;
        // The id of the session, wrapped or bare.
        let session = answer["value"].as_str().or(answer.as_str());
        match session {
            Some(id) if is_guid(id) => Ok(Start::Session(id.to_ascii_lowercase())),
            Some(zeros) if !zeros.is_empty() && zeros.chars().all(|c| matches!(c, '0' | '-')) => Ok(Start::Refused),
            _ => Err(QlikError::odd(&path, "the id of an execution session", &answer)),
        }
    }
}

/// Whether a task has this value of a custom property.
pub fn has_property(task: &TaskFacts, name: &str, value: &str) -> bool {
    task.task.custom_properties.get(name).is_some_and(|values| values.iter().any(|one| one == value))
}

/// Why QRS has not started a task that it knows.
pub fn refusal(task: &TaskFacts) -> &'static str {
    if task.task.enabled == Some(false) {
        "Qlik Sense does not start it, since it is disabled: enable it in the QMC"
    } else {
        "Qlik Sense does not start it: no scheduler was free for it, or its app is not available (the scheduler's log on \
         the Sense server says more)"
    }
}
