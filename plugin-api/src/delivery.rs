//! Deliveries: one event on its way to one instance, and what the plugin answers.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::Event;
use crate::services::{HttpError, ServiceError, StatusError};

/// One event on its way to one instance.
///
/// It may come more than once: after an outcome `retry`, and after a crash of the host. [`Event::id`] and
/// [`Delivery::delivery_id`] stay the same, so that the other side can tell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// Unique id of this delivery.
    pub delivery_id: String,
    /// 1 for the first attempt. After a crash of the host, what may have been handed out before counts as an attempt.
    pub attempt: u32,
    /// When the first attempt began, RFC 3339 in UTC.
    pub first_attempt_at: String,
    /// Seconds since the event, when that is long (over five minutes): the alert should say that it is late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_seconds: Option<u64>,
    /// How many events of the same throttle key were suppressed since the last message.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub suppressed: u64,
    /// What the plugin reported as progress in its last `retry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Value>,
    /// The event.
    pub event: Event,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Delivery {
    /// What a reader should know beyond the event: that it is a test and nothing has happened, that it is late, how many like
    /// it were suppressed, which facts are missing. Empty when there is nothing to say.
    pub fn note(&self) -> String {
        let mut parts = Vec::new();
        if self.event.source == Event::TEST {
            parts.push("this is a test, nothing has happened".to_owned());
        }
        if let Some(seconds) = self.late_seconds {
            parts.push(format!("late by {} min: happened at {}", seconds / 60, self.event.time));
        }
        if self.suppressed > 0 {
            parts.push(format!("{} more suppressed since the last message", self.suppressed));
        }
        if !self.event.data.missing.is_empty() {
            parts.push(format!("not available from Qlik Sense: {}", self.event.data.missing.join(", ")));
        }
        if self.event.data.kind_assumed {
            parts.push("the type of the task is assumed".to_owned());
        }
        parts.join("; ")
    }
}

/// Why a delivery did not succeed. A success is `Ok(())` and means that the other side has the event.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// Try again later: the other side is away, busy, or does not let us in (a rotated token may be put right).
    #[error("{message}")]
    #[non_exhaustive]
    Retry {
        /// What went wrong, for people.
        message: String,
        /// Not before this time has passed, as the other side asked (`Retry-After`).
        after: Option<Duration>,
        /// What was achieved already; stored durably and handed back with the next attempt. At most 16 KB of JSON.
        progress: Option<Value>,
    },
    /// Never try this again: the other side refuses the content itself.
    #[error("{message}")]
    Reject {
        /// What went wrong, for people.
        message: String,
    },
    /// Made by the SDK from a panic; a retry.
    #[error("panicked: {0}")]
    Panicked(String),
}

impl DeliveryError {
    /// Try again later.
    pub fn retry(message: impl Into<String>) -> Self {
        Self::Retry { message: message.into(), after: None, progress: None }
    }

    /// Try again later, not before `after` has passed.
    pub fn retry_after(message: impl Into<String>, after: Duration) -> Self {
        Self::Retry { message: message.into(), after: Some(after), progress: None }
    }

    /// Never try this again.
    pub fn reject(message: impl Into<String>) -> Self {
        Self::Reject { message: message.into() }
    }

    /// Keeps `progress` for the next attempt. No effect on a reject.
    #[must_use]
    pub fn with_progress(self, progress: Value) -> Self {
        match self {
            Self::Retry { message, after, .. } => Self::Retry { message, after, progress: Some(progress) },
            other => other,
        }
    }
}

impl From<HttpError> for DeliveryError {
    /// No answer, or none that could be read: retry. A request that cannot be built: reject.
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Invalid(message) => Self::reject(message),
            other => Self::retry(other.to_string()),
        }
    }
}

impl From<StatusError> for DeliveryError {
    /// The one rule for HTTP answers: 401, 403, 404, 407, 408, 425, 429 and 5xx are retried (with `Retry-After`),
    /// every other status that is not a success is a reject.
    fn from(error: StatusError) -> Self {
        match error.status {
            401 | 403 | 404 | 407 | 408 | 425 | 429 | 500..=599 => {
                Self::Retry { message: error.to_string(), after: error.retry_after, progress: None }
            }
            _ => Self::reject(error.to_string()),
        }
    }
}

impl From<ServiceError> for DeliveryError {
    /// What this host will never do, or never with this input, is a reject. All else is retried: what the config denies, the
    /// admin may allow.
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Invalid(_) | ServiceError::Unsupported(_) => Self::reject(error.to_string()),
            _ => Self::retry(error.to_string()),
        }
    }
}

/// What crosses the boundary as the answer to one delivery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Outcome {
    /// The other side has it.
    Delivered,
    /// Try again.
    Retry {
        /// Why.
        message: String,
        /// Not before so many milliseconds have passed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after_ms: Option<u64>,
        /// State for the next attempt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        progress: Option<Value>,
        /// The plugin panicked.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        panicked: bool,
    },
    /// Never again.
    Reject {
        /// Why.
        message: String,
    },
}

impl From<Result<(), DeliveryError>> for Outcome {
    fn from(result: Result<(), DeliveryError>) -> Self {
        match result {
            Ok(()) => Self::Delivered,
            Err(DeliveryError::Retry { message, after, progress }) => Self::Retry {
                message,
                after_ms: after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
                progress,
                panicked: false,
            },
            Err(DeliveryError::Reject { message }) => Self::Reject { message },
            Err(DeliveryError::Panicked(panic)) => {
                Self::Retry { message: format!("panicked: {panic}"), after_ms: None, progress: None, panicked: true }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_map_to_outcomes_by_the_shared_rule() {
        let outcome = |status| {
            let (body, origin) = (String::new(), String::new());
            let error = StatusError { status, body, retry_after: Some(Duration::from_secs(7)), origin };
            matches!(DeliveryError::from(error), DeliveryError::Retry { after: Some(_), .. })
        };
        for status in [401, 403, 404, 407, 408, 425, 429, 500, 502, 503, 504, 599] {
            assert!(outcome(status), "{status} is retried");
        }
        for status in [301, 400, 402, 405, 409, 410, 413, 422] {
            assert!(!outcome(status), "{status} is a reject");
        }
    }

    #[test]
    fn a_note_begins_with_what_matters_most() {
        let mut delivery = Delivery { suppressed: 2, ..Delivery::default() };
        "udp".clone_into(&mut delivery.event.source);
        assert_eq!(delivery.note(), "2 more suppressed since the last message");
        Event::TEST.clone_into(&mut delivery.event.source);
        assert_eq!(delivery.note(), "this is a test, nothing has happened; 2 more suppressed since the last message");
    }

    #[test]
    fn what_a_service_will_never_do_is_a_reject() {
        let rejects = |error| matches!(DeliveryError::from(error), DeliveryError::Reject { .. });
        let text = || "because".to_owned();
        assert!(rejects(ServiceError::Invalid(text())) && rejects(ServiceError::Unsupported(text())));
        for error in [ServiceError::Denied(text()), ServiceError::Unavailable(text()), ServiceError::Quota(text())] {
            assert!(!rejects(error));
        }
        assert!(!rejects(ServiceError::Failed(text())) && !rejects(ServiceError::Stopped));
    }

    #[test]
    fn a_delivery_is_read_whatever_its_facts_look_like() {
        let json = |data: Value| {
            serde_json::json!({ "deliveryId": "d", "attempt": 1, "firstAttemptAt": "", "event": { "id": "e-1",
                "kind": "reload-task.failed", "time": "", "receivedAt": "", "source": "udp", "data": data } })
        };
        let strange = serde_json::json!({ "task": "Sales", "node": "sense1" });
        let delivery: Delivery = serde_json::from_value(json(strange.clone())).unwrap();
        assert_eq!((delivery.event.data.node.as_deref(), &delivery.event.data.task), (Some("sense1"), &None));
        assert_eq!(serde_json::to_value(&delivery).unwrap(), json(strange));
        assert_eq!(
            serde_json::from_value::<Delivery>(json(Value::from(1))).unwrap().event.data,
            crate::Data::default()
        );
        assert!(
            serde_json::from_str::<Delivery>(r#"{ "deliveryId": "d" }"#).unwrap_err().to_string().contains("attempt")
        );
    }

    #[test]
    fn outcomes_have_one_json_form() {
        let retry = Outcome::from(Err(DeliveryError::retry_after("busy", Duration::from_secs(2))));
        assert_eq!(serde_json::to_string(&retry).unwrap(), r#"{"outcome":"retry","message":"busy","afterMs":2000}"#);
        assert_eq!(serde_json::to_string(&Outcome::Delivered).unwrap(), r#"{"outcome":"delivered"}"#);
    }
}
