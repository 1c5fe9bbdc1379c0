//! What an Apprise API server answers. (Apprise API: `/notify/{KEY}`, `/notify/`, `/json/urls/{KEY}`.)

use std::time::Duration;

use butler_plugin_api::message::cut;
use butler_plugin_api::{DeliveryError, HttpReply};
use serde_json::{Value, json};

use crate::settings::{Server, Target};

/// Some services were not reached.
const FAILED_DEPENDENCY: u16 = 424;
/// A proxy has waited in vain; the server goes on.
const GATEWAY_TIMEOUT: u16 = 504;
/// Waits in minutes before an alert is sent again to all for the sake of those; the last one again and again. The host
/// waits an hour at most.
const WAITS: [u64; 4] = [1, 5, 15, 60];
/// Most lines of the server's log in an error, and their length in characters.
const MOST_LINES: usize = 3;
const LONGEST_LINE: usize = 200;

impl Server {
    /// Ok: all services have it, as far as Apprise knows.
    pub(crate) fn outcome(&self, reply: HttpReply, progress: Option<&Value>) -> Result<(), DeliveryError> {
        let text = reply.text();
        match reply.status() {
            // It has looked, and found nobody.
            204 => Err(DeliveryError::retry(match &self.target {
                Target::Kept { key, .. } => format!(
                    "Apprise notified nobody (204): it keeps no configuration under the `key` {key}, save one there"
                ),
                Target::Services(_) => "Apprise notified nobody (204): it knows none of the `services`".to_owned(),
            })),
            FAILED_DEPENDENCY => Err(self.failed_dependency(&reply, progress)),
            GATEWAY_TIMEOUT => Err(self.unanswered("no answer in time (504)", progress)),
            200..=299 if text.trim_start().starts_with('<') => {
                let text = cut(&text.replace(['\r', '\n'], " "), LONGEST_LINE);
                Err(DeliveryError::retry(format!("answered with {}, but not by Apprise: {text}", reply.status())))
            }
            _ => Ok(reply.error_for_status().map(drop)?),
        }
    }

    fn failed_dependency(&self, reply: &HttpReply, progress: Option<&Value>) -> DeliveryError {
        let details = reply.json::<Value>().unwrap_or_default()["details"].take();
        if details.as_array().is_some_and(Vec::is_empty) {
            // Nobody is notified twice by a repetition.
            return DeliveryError::retry(match &self.target {
                Target::Kept { key, tag: Some(tag) } => {
                    format!("Apprise notified nobody (424): no service under the `key` {key} has the `tag` {tag}")
                }
                Target::Kept { key, tag: None } => format!(
                    "Apprise notified nobody (424): every service under the `key` {key} has a tag, so set `tag`, to \
                     `all` for example"
                ),
                Target::Services(_) => "Apprise notified nobody (424)".to_owned(),
            });
        }
        let lines: Vec<String> = complaints(&details);
        let why = if lines.is_empty() { String::new() } else { format!(": {}", lines.join("; ")) };
        self.in_part(&format!("Apprise did not reach all services (424){why}"), progress)
    }

    /// Some services have it, or may have it: Apprise does not say which, and would send to all of them again.
    pub(crate) fn in_part(&self, message: &str, progress: Option<&Value>) -> DeliveryError {
        let done = progress.and_then(|progress| progress["partial"].as_u64()).unwrap_or(0);
        if done >= u64::from(self.partial_retries) {
            return DeliveryError::reject(format!("{message}; given up after {} attempts", done + 1));
        }
        let wait = WAITS.get(usize::try_from(done).unwrap_or(usize::MAX)).unwrap_or(&WAITS[WAITS.len() - 1]);
        DeliveryError::retry_after(message, Duration::from_secs(wait * 60))
            .with_progress(json!({ "partial": done + 1 }))
    }

    /// All may have it, or nobody, where the server could not even be reached: so it is sent again as often as after a part,
    /// and then rarely, but not given up before the host does.
    pub(crate) fn unanswered(&self, message: &str, progress: Option<&Value>) -> DeliveryError {
        match self.in_part(message, progress) {
            DeliveryError::Reject { .. } => {
                let retry = DeliveryError::retry_after(message, Duration::from_secs(WAITS[WAITS.len() - 1] * 60));
                match progress {
                    Some(progress) => retry.with_progress(progress.clone()),
                    None => retry,
                }
            }
            error => error,
        }
    }

    /// What the services under the key are, for people. The error likewise.
    pub(crate) fn services(&self, reply: HttpReply) -> Result<String, String> {
        let host = self.notify().host_str().unwrap_or("the server").to_owned();
        let Target::Kept { key, tag } = &self.target else {
            // Older servers have no `/status`, and one with faults of its own answers 417.
            return match reply.status() {
                200..=299 | 404 | 417 => Ok(format!("{host} answers ({})", reply.status())),
                _ => Err(reply.error_for_status().err().map_or_else(String::new, |error| error.to_string())),
            };
        };
        match reply.status() {
            204 => return Err(format!("{host} keeps no configuration under the `key` {key}: save one there")),
            403 => return Ok(format!("{host} answers, but does not tell what it keeps (403)")),
            _ => {}
        }
        let reply = reply.error_for_status().map_err(|error| error.to_string())?;
        let answer: Value = reply.json().unwrap_or_default();
        let Some(services) = answer["urls"].as_array() else {
            return Err(format!("{host} answers, but not as Apprise does: is there a prefix?"));
        };
        let is_meant = |service: &&Value| tag.is_some() || service["tags"].as_array().is_none_or(Vec::is_empty);
        match (services.iter().filter(is_meant).count(), tag) {
            (0, Some(tag)) => Err(format!("no service under the `key` {key} has the `tag` {tag}")),
            (0, None) => Err(format!("the `key` {key} has no service without a tag: set `tag`, to `all` for example")),
            (1, _) => Ok(format!("{host} would notify 1 service")),
            (count, _) => Ok(format!("{host} would notify {count} services")),
        }
    }
}

/// Warnings and errors of the server's log, which it sends along as `[level, time, text]`.
fn complaints(details: &Value) -> Vec<String> {
    let lines = details.as_array().into_iter().flatten().filter_map(|line| {
        let is_bad = matches!(line[0].as_str()?, "WARNING" | "ERROR" | "CRITICAL");
        Some(cut(line[2].as_str()?, LONGEST_LINE)).filter(|_| is_bad)
    });
    lines.take(MOST_LINES).collect()
}
