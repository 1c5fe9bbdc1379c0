//! Hands events of Qlik Cloud to Butler.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use butler_plugin_api::{Host, ServiceError};

use crate::client::Incoming;
use crate::topic;

/// How long is waited before each further try.
const WAITS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(30)];
/// What is wrong with messages is told once in this time.
const QUIET: Duration = Duration::from_hours(1);
/// So many different faults are remembered.
const MOST_FAULTS: usize = 20;

pub(super) struct Cloud {
    host: Host,
    /// When each fault was told.
    told: Mutex<HashMap<String, Instant>>,
}

impl Cloud {
    pub(super) fn new(host: Host) -> Self {
        Self { host, told: Mutex::default() }
    }

    pub(super) async fn handle(&self, message: &Incoming) {
        let outcome = if let Ok(text) = std::str::from_utf8(&message.payload) {
            self.hand_over(text, &message.topic).await
        } else {
            self.tell("it is no text", &message.topic);
            "invalid"
        };
        self.host.metrics().count("cloud_events_total", &[("outcome", outcome)], 1);
    }

    /// What became of it, for the metric. Butler knows a repeated event, so retained and repeated messages do no harm.
    async fn hand_over(&self, text: &str, topic: &str) -> &'static str {
        let mut waits = WAITS.into_iter();
        loop {
            let error = match self.host.qlik().cloud_event(text).await {
                Ok(answer) => {
                    return match (answer.id, answer.duplicate) {
                        (_, true) => "duplicate",
                        (Some(_), false) => "taken",
                        (None, false) => "ignored",
                    };
                }
                Err(error) => error,
            };
            match (&error, waits.next()) {
                (ServiceError::Unavailable(_) | ServiceError::Failed(_) | ServiceError::Quota(_), Some(wait)) => {
                    self.host.sleep(wait).await;
                }
                (ServiceError::Stopped, _) => return "failed",
                (ServiceError::Unavailable(_) | ServiceError::Failed(_) | ServiceError::Quota(_), None) => {
                    self.tell(&error.to_string(), topic);
                    return "failed";
                }
                _ => {
                    self.tell(&error.to_string(), topic);
                    return "invalid";
                }
            }
        }
    }

    /// Once for each fault: who sends such a message sends many.
    fn tell(&self, fault: &str, topic: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(fault).is_some_and(|at| at.elapsed() < QUIET) {
            return;
        }
        if told.len() >= MOST_FAULTS {
            told.retain(|_, at| at.elapsed() < QUIET);
        }
        if told.len() < MOST_FAULTS {
            told.insert(fault.to_owned(), Instant::now());
            tracing::error!("a message on `{}` leads to no event of Qlik Cloud: {fault}", topic::shown(topic));
        }
    }
}
