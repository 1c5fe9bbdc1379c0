//! Starts tasks: a message is the id of one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use butler_plugin_api::{Host, ServiceError, StartTasks};

use crate::client::Incoming;
use crate::topic;

/// A message that the broker marks as a repetition does not start what was started within this time.
const REPETITION: Duration = Duration::from_mins(10);

pub(super) struct Starts {
    host: Host,
    /// When each task was started last.
    started: Mutex<HashMap<String, Instant>>,
}

impl Starts {
    pub(super) fn new(host: Host) -> Self {
        Self { host, started: Mutex::default() }
    }

    pub(super) async fn handle(&self, message: &Incoming) {
        let outcome = self.start(message).await;
        self.host.metrics().count("task_starts_total", &[("outcome", outcome)], 1);
    }

    /// What became of it, for the metric.
    async fn start(&self, message: &Incoming) -> &'static str {
        let on = topic::shown(&message.topic);
        let Some(id) = task_id(&message.payload) else {
            let payload = topic::shown(&String::from_utf8_lossy(&message.payload));
            tracing::error!("no task is started: the message `{payload}` on `{on}` is no task id");
            return "invalid";
        };
        if message.retained {
            tracing::warn!(
                "task {id} is not started: the broker kept the message on `{on}`, so it would come at each connection; \
                 publish without `retain`, and clear the topic with an empty retained message"
            );
            return "retained";
        }
        if message.duplicate && self.was_started(id) {
            tracing::info!("task {id} is not started once more: the broker repeats the message on `{on}`");
            return "repeated";
        }
        self.note(id);
        match self.host.qlik().start_tasks(&StartTasks::new().task_id(id)).await {
            Ok(answer) if !answer.denied.is_empty() => {
                tracing::warn!(
                    "task {id} is not started: `qlik.startTaskFilter` does not allow it (message on `{on}`)"
                );
                "denied"
            }
            Ok(answer) if !answer.unknown.is_empty() => {
                tracing::error!("no task is started: there is no task {id} (message on `{on}`)");
                "unknown"
            }
            Ok(answer) => {
                if let Some(error) = answer.tasks.iter().find_map(|task| task.error.as_deref()) {
                    tracing::error!("task {id} is not started: {error}");
                    return "failed";
                }
                let name = answer.tasks.first().map(|task| task.task_name.as_str()).unwrap_or_default();
                tracing::info!("task {id} `{}` is started (message on `{on}`)", topic::shown(name));
                "started"
            }
            Err(ServiceError::Stopped) => "failed",
            // Not tried again: a start that comes late may be worse than none.
            Err(error) => {
                tracing::error!("task {id} is not started: {error}");
                "failed"
            }
        }
    }

    fn was_started(&self, id: &str) -> bool {
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.get(&id.to_ascii_lowercase()).is_some_and(|at| at.elapsed() < REPETITION)
    }

    fn note(&self, id: &str) {
        const MOST: usize = 1_000;
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if started.len() >= MOST {
            started.retain(|_, at| at.elapsed() < REPETITION);
        }
        if started.len() < MOST {
            started.insert(id.to_ascii_lowercase(), Instant::now());
        }
    }
}

/// The id of a task: exactly a UUID as RFC 9562 has them (version 1 to 8 of its variant), or one of its two special ones.
fn task_id(payload: &[u8]) -> Option<&str> {
    let id = std::str::from_utf8(payload).ok()?;
    let is_form = id.len() == 36
        && id.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    if !is_form {
        return None;
    }
    let is_special = |digit: char| id.chars().all(|c| c == '-' || c.eq_ignore_ascii_case(&digit));
    let is_of_variant =
        matches!(payload[14], b'1'..=b'8') && matches!(payload[19], b'8' | b'9' | b'a' | b'b' | b'A' | b'B');
    (is_of_variant || is_special('0') || is_special('f')).then_some(id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_payload_panics_and_what_is_taken_is_a_uuid(payload in prop::collection::vec(any::<u8>(), 0..50)) {
            if let Some(id) = task_id(&payload) {
                prop_assert_eq!(id.len(), 36);
            }
        }

        #[test]
        fn uuids_are_told_by_version_and_variant(
            digits in "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}", version in "[0-9a-f]", middle in "[0-9a-f]{3}",
            variant in "[0-9a-fA-F]", rest in "[0-9a-f]{3}-[0-9a-f]{11}1", around in "[ \n]?"
        ) {
            let id = format!("{digits}-{version}{middle}-{variant}{rest}");
            let good = ('1'..='8').any(|good| version.starts_with(good)) && variant.contains(['8', '9', 'a', 'b', 'A', 'B']);
            prop_assert_eq!(task_id(id.as_bytes()), good.then_some(id.as_str()));
            let with = format!("{id}{around}");
            prop_assert_eq!(task_id(with.as_bytes()).is_some(), good && around.is_empty());
        }
    }

    #[test]
    fn special_uuids_and_bad_ones() {
        for id in [
            "5c6d7e8f-1a2b-4c3d-8e4f-0123456789ab",
            "5C6D7E8F-1A2B-4C3D-8E4F-0123456789AB",
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-FFFFFFFFFFFF",
        ] {
            assert_eq!(task_id(id.as_bytes()), Some(id));
        }
        for id in [
            "start me",
            "",
            "5c6d7e8f-1a2b-4c3d-8e4f-0123456789ab\n",
            " 5c6d7e8f-1a2b-4c3d-8e4f-0123456789ab",
            "5c6d7e8f-1a2b-0c3d-8e4f-0123456789ab",
            "5c6d7e8f-1a2b-4c3d-ce4f-0123456789ab",
            "{5c6d7e8f-1a2b-4c3d-8e4f-0123456789}",
            "5c6d7e8f1a2b4c3d8e4f0123456789ab",
            "\u{ff15}c6d7e8f-1a2b-4c3d-8e4f-0123456789",
        ] {
            assert_eq!(task_id(id.as_bytes()), None, "{id:?}");
        }
        assert_eq!(task_id(b"5c6d7e8f-1a2b-4c3d-8e4f-0123456789\xff\xff"), None);
    }
}
