//! Starts the tasks that follow a reload.

use std::sync::Arc;

use serde_json::json;

use crate::qlik::{FollowUp, Repository, is_guid};

/// Starts tasks one after the other, in their order; what cannot be started is said in the log.
pub(super) fn starter(repository: Arc<Repository>) -> FollowUp {
    Arc::new(move |tasks, caller| {
        let repository = repository.clone();
        Box::pin(async move {
            for task in tasks {
                // Anything else could lead to another call.
                if !is_guid(&task) {
                    tracing::warn!(task, caller, "a task that is to follow a reload is not started: its id is no GUID");
                    continue;
                }
                let started = repository.post(&format!("task/{task}/start"), &[], &json!({})).await;
                match started.and_then(crate::qlik::Reply::success) {
                    Ok(_) => tracing::info!(task, caller, "a task that follows a reload is started"),
                    Err(error) => {
                        tracing::warn!(task, caller, "a task that is to follow a reload is not started: {error}");
                    }
                }
            }
        })
    })
}
