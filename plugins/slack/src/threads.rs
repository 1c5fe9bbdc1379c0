//! Which alerts belong together: those about one task, app or service, from its first failure to its next success.
//!
//! The first failure is a message of its own; its time stamp is stored. What follows answers in its thread, until a success
//! ends it, or a week (quiet ones: a day) has passed: then the next failure is a message of its own again, so that nothing stays out of sight
//! for ever.

use std::time::Duration;

use butler_plugin_api::{Event, Host, ServiceError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How long a thread is continued, from its first message on.
pub(crate) const KEPT: Duration = Duration::from_hours(7 * 24);
/// The same where the channel does not show what is in threads: nobody would see a failure for a week.
pub(crate) const KEPT_QUIET: Duration = Duration::from_hours(24);
/// Longest part of a key; ids are much shorter.
const LONGEST_ID: usize = 100;

/// What an event does to the thread of its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Opens it, or continues it.
    Failure,
    /// Ends it. Without a thread it is a message of its own.
    Success,
}

/// The subject of an event, as the key of its thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    key: String,
    pub(crate) role: Role,
}

/// A thread that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Thread {
    /// Time stamp of its first message.
    pub(crate) ts: String,
    /// As the settings or the template named it.
    pub(crate) channel: String,
    /// The delivery that opened it.
    pub(crate) delivery: String,
}

/// None for events that no thread is made of, such as tests: nothing has happened.
pub(crate) fn subject(event: &Event) -> Option<Subject> {
    if event.source == Event::TEST {
        return None;
    }
    let role = match event.outcome() {
        "failed" | "aborted" | "stopped" => Role::Failure,
        "succeeded" | "started" => Role::Success,
        _ => return None,
    };
    let data = &event.data;
    let short = |id: &str| Some(id.chars().take(LONGEST_ID).collect::<String>()).filter(|id| !id.is_empty());
    let key = match event.subject() {
        kind if kind.ends_with("-task") => format!("task/{}", short(&data.task.as_ref()?.id)?),
        "app-reload" | "cloud-app-reload" => format!("app/{}", short(&data.app.as_ref()?.id)?),
        "service" => {
            let service = data.service.as_ref()?;
            let host = service.host.as_deref().unwrap_or_default();
            format!("service/{}/{}", short(host)?, short(service.name.as_deref()?)?)
        }
        _ => return None,
    };
    Some(Subject { key: format!("thread/{key}"), role })
}

/// The open thread of a subject.
pub(crate) async fn find(host: &Host, subject: &Subject) -> Option<Thread> {
    match host.storage().get(&subject.key).await {
        Ok(value) => serde_json::from_value(value?).ok(),
        // The alert is worth more than its place.
        Err(error) => {
            tracing::warn!("the thread is not known, the message goes into the channel: {error}");
            None
        }
    }
}

/// Keeps a thread for some time.
pub(crate) async fn keep(host: &Host, subject: &Subject, thread: &Thread, kept: Duration) -> Result<(), ServiceError> {
    // Cannot fail: it is made of texts.
    let value = serde_json::to_value(thread).unwrap_or(Value::Null);
    host.storage().set(&subject.key, &value, Some(kept)).await
}

/// Ends a thread. If that fails it is continued: no harm.
pub(crate) async fn end(host: &Host, subject: &Subject) {
    if let Err(error) = host.storage().delete(&subject.key).await {
        tracing::warn!("a thread could not be ended: {error}");
    }
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::{sample_event, sample_events};

    use super::*;

    #[test]
    fn subjects_of_events() {
        let key = |kind: &str| subject(&sample_event(kind)).map(|subject| (subject.key, subject.role));
        let task = "thread/task/11111111-2222-4333-8444-555555555555".to_owned();
        assert_eq!(key("reload-task.failed"), Some((task.clone(), Role::Failure)));
        assert_eq!(key("preload-task.aborted"), Some((task.clone(), Role::Failure)));
        assert_eq!(key("reload-task.succeeded"), Some((task, Role::Success)));
        let app = "thread/app/aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee".to_owned();
        assert_eq!(key("app-reload.failed"), Some((app, Role::Failure)));
        let service = "thread/service/sense1/QlikSenseEngineService".to_owned();
        assert_eq!(key("service.stopped"), Some((service.clone(), Role::Failure)));
        assert_eq!(key("service.started"), Some((service, Role::Success)));
        for kind in
            ["service.state", "certificate.expiring", "task-start.failed", "butler.started", "udp.failed", "x.failed"]
        {
            assert_eq!(key(kind), None, "{kind}");
        }
        let mut event = sample_event("reload-task.failed");
        event.data.task.as_mut().unwrap().id = "x".repeat(10_000);
        assert!(subject(&event).unwrap().key.len() < 512);
        event.source = Event::TEST.to_owned();
        assert_eq!(subject(&event), None);
        let mut event = sample_event("reload-task.failed");
        event.data.task = None;
        assert_eq!(subject(&event), None);
        assert!(sample_events().filter(|event| subject(event).is_some()).count() > 15);
    }
}
