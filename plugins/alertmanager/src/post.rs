//! Brings alerts to each Alertmanager.
//!
//! Alertmanager judges by its own clock: an alert that ends in its future is not resolved, and one that ends in its past is.
//! Its answer says what time it has (`Date`). If by that an alert is not what it should be, it is sent again, by its clock.

use std::time::{Duration, Instant};

use butler_plugin_api::{DeliveryError, HttpReply, HttpRequest};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Alertmanager;
use crate::alert::Alert;
use crate::settings::Member;

/// What alerts are to be for Alertmanager.
#[derive(Debug, Clone, Copy)]
pub(crate) enum State {
    /// They last for so long from now on.
    Firing(Duration),
    /// They last for as long as they did at this time of ours.
    Open(Timestamp),
    /// They ended then.
    Resolved(Timestamp),
}

/// As they are posted, by a clock.
pub(crate) fn wire(alerts: &[Alert], state: State, now: Timestamp) -> Vec<Alert> {
    let one = |alert: &Alert| match state {
        State::Firing(lasting) => alert.at(now, lasting),
        State::Open(ours) => alert.at(now, alert.left(ours)),
        State::Resolved(at) => alert.resolved(at, now),
    };
    alerts.iter().map(one).collect()
}

impl Alertmanager {
    /// Brings alerts to every Alertmanager that is not among those that have them, and adds it there. Ok: all have them.
    pub(crate) async fn post_to_all(
        &self,
        alerts: &[Alert],
        state: State,
        have: &mut Vec<String>,
    ) -> Result<(), DeliveryError> {
        have.retain(|name| self.site.members.iter().any(|member| member.name == *name));
        let mut failed: Vec<(&Member, DeliveryError)> = Vec::new();
        for member in &self.site.members {
            if have.contains(&member.name) {
                continue;
            }
            match self.post(member, alerts, state).await {
                Ok(()) => have.push(member.name.clone()),
                Err(error) => failed.push((member, error)),
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        let of_all = match self.site.members.len() {
            1 => String::new(),
            all => format!("{} of {all} Alertmanagers have it; ", have.len()),
        };
        let texts: Vec<String> = failed.iter().map(|(member, error)| format!("{}: {error}", member.name)).collect();
        let message = format!("{of_all}{}", texts.join("; "));
        if failed.iter().all(|(_, error)| matches!(error, DeliveryError::Reject { .. })) {
            return Err(DeliveryError::reject(message));
        }
        let after = failed.iter().filter_map(|(_, error)| match error {
            DeliveryError::Retry { after, .. } => *after,
            _ => None,
        });
        let error = match after.max() {
            Some(after) => DeliveryError::retry_after(message, after),
            None => DeliveryError::retry(message),
        };
        Err(error.with_progress(progress_of(have)))
    }

    pub(crate) async fn post(&self, member: &Member, alerts: &[Alert], state: State) -> Result<(), DeliveryError> {
        let (mut now, begun, mut left) = (Timestamp::now(), Instant::now(), self.site.timeout);
        // Twice: by our clock, and if need be by theirs; within the time of one.
        for _ in 0..2 {
            let alerts = wire(alerts, state, now);
            let request = self.request("POST", &member.api("alerts")).timeout(left);
            let reply = request.json(&alerts).send().await?;
            let reply = answer_of_alertmanager(reply.error_for_status()?)?;
            let Some(theirs) = clock(&reply) else { return Ok(()) };
            let is_right = |alert: &Alert| match state {
                State::Firing(_) | State::Open(_) => alert.ends_at > theirs,
                State::Resolved(_) => alert.ends_at <= theirs,
            };
            if alerts.iter().all(is_right) {
                return Ok(());
            }
            tracing::warn!(
                "the clock of {} says {theirs}, ours {}: the alert is sent again by its clock",
                member.name,
                Timestamp::now()
            );
            now = theirs;
            left = left.saturating_sub(begun.elapsed()).max(Duration::from_millis(1));
        }
        Ok(())
    }

    pub(crate) fn request(&self, method: &str, url: &str) -> HttpRequest {
        let mut request = self.host.http().request(method, url).timeout(self.site.timeout);
        for (name, value) in &self.site.headers {
            request = request.header(name, value);
        }
        match &self.site.tls {
            Some(profile) => request.tls(profile),
            None => request,
        }
    }

    /// Version and cluster of an Alertmanager. The error is for people.
    pub(crate) async fn status(&self, member: &Member) -> Result<String, String> {
        let fail = |error: &dyn std::fmt::Display| format!("{}: {error}", member.name);
        let reply = self.request("GET", &member.api("status")).send().await.map_err(|error| fail(&error))?;
        let reply = reply.error_for_status().map_err(|error| fail(&error))?;
        let status: Value = reply.json().unwrap_or_default();
        let Some(version) = status["versionInfo"]["version"].as_str() else {
            return Err(fail(&"it answers, but not as an Alertmanager with the API v2 does; is there a prefix?"));
        };
        let mut text = format!("{}: Alertmanager {version}", member.name);
        if let Some(cluster) = status["cluster"]["status"].as_str() {
            text = format!("{text}, cluster {cluster}");
        }
        let off = clock(&reply).map_or(0, |theirs| theirs.as_second().abs_diff(Timestamp::now().as_second()));
        if off > 5 {
            text = format!("{text}; its clock is {off} s off ours");
        }
        Ok(text)
    }
}

/// Alertmanager answers without a body, or in JSON; a page of a proxy is not its answer.
fn answer_of_alertmanager(reply: HttpReply) -> Result<HttpReply, DeliveryError> {
    if reply.bytes().iter().all(u8::is_ascii_whitespace) || reply.json::<Value>().is_ok() {
        return Ok(reply);
    }
    let text: String = reply.text().chars().take(200).collect();
    let text = text.replace(['\r', '\n'], " ");
    Err(DeliveryError::retry(format!("answered with {}, but not by an Alertmanager: {text}", reply.status())))
}

/// What time it is over there, in whole seconds.
fn clock(reply: &HttpReply) -> Option<Timestamp> {
    let date = reply.header("date")?;
    jiff::fmt::rfc2822::parse(date).ok().map(|zoned| zoned.timestamp())
}

/// Which Alertmanagers have it.
pub(crate) fn progress_of(have: &[String]) -> Value {
    json!({ "have": have })
}

/// The same of the progress of a delivery.
pub(crate) fn have(progress: Option<&Value>) -> Vec<String> {
    let names = progress.map(|progress| &progress["have"]).and_then(Value::as_array);
    names.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
