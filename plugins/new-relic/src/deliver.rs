//! Deliveries: what goes to which account, what has arrived already, and what becomes of the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use butler_plugin_api::butler16::LogLines;
use butler_plugin_api::{Delivery, DeliveryError};
use futures_util::future::join_all;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::accounts::Account;
use crate::api::{self, Api, Body};
use crate::attributes::cut;
use crate::relic::Rule;
use crate::{NewRelic, event, log, metric};

/// After so long no further request of a delivery is begun: the host gives it 60 s, and what has arrived must be told before.
const ENOUGH: Duration = Duration::from_secs(40);
/// Most bytes of progress as JSON, of 16 KB that the host takes.
const MOST_PROGRESS: usize = 15_000;
/// How many accounts an error tells of.
const MOST_TOLD: usize = 5;

/// Bodies that go to accounts, by their indices.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) api: Api,
    pub(crate) accounts: Vec<usize>,
    pub(crate) bodies: Vec<Body>,
}

/// What earlier attempts did, by API and account: `event/Operations`.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Progress {
    /// How many bodies have arrived, of how many.
    done: BTreeMap<String, [usize; 2]>,
    /// What New Relic will never take, and why.
    refused: BTreeMap<String, String>,
}

impl Progress {
    /// `keys`: what is to be sent now. Refusals of anything else are of other settings; and who retries a dead delivery by hand, which
    /// begins with attempt 1 again, has put right what was refused.
    fn of(delivery: &Delivery, keys: &BTreeSet<String>) -> Self {
        let progress = delivery.progress.clone();
        let mut progress: Self =
            progress.and_then(|progress| serde_json::from_value(progress).ok()).unwrap_or_default();
        progress.refused.retain(|key, _| delivery.attempt > 1 && keys.contains(key));
        progress
    }

    /// How many bodies have arrived; none if the text has been cut into others since then.
    fn arrived(&self, key: &str, of: usize) -> usize {
        match self.done.get(key) {
            Some([done, total]) if done >= total => of,
            Some([done, total]) if *total == of => *done,
            _ => 0,
        }
    }

    fn to_json(&self) -> Value {
        let json = serde_json::to_value(self).unwrap_or_default();
        if json.to_string().len() <= MOST_PROGRESS {
            return json;
        }
        let refused = self.refused.keys().map(|key| (key.clone(), String::new())).collect();
        serde_json::to_value(Self { done: self.done.clone(), refused }).unwrap_or_default()
    }
}

/// What became of a job at an account.
struct Outcome {
    key: String,
    /// How many bodies have arrived, of how many.
    done: [usize; 2],
    /// Some of them in this attempt.
    is_new: bool,
    error: Option<DeliveryError>,
}

impl NewRelic {
    /// What is to be sent for a delivery. An error says why that is nothing: no event is lost without a word.
    pub(crate) async fn jobs(&self, delivery: &Delivery) -> Result<Vec<Job>, DeliveryError> {
        let event = &delivery.event;
        let version = self.host.instance().host_version.as_str();
        let now = Timestamp::now().as_millisecond();
        let mut jobs = Vec::new();
        let mut reasons = Vec::new();
        if let Some((rule, accounts)) = self.choose(Api::Event, &self.relic.events, delivery, &mut reasons) {
            let bodies = vec![event::body(delivery, rule, version, now).into()];
            jobs.push(Job { api: Api::Event, accounts, bodies });
        }
        if let Some((rule, accounts)) = self.choose(Api::Log, &self.relic.logs, delivery, &mut reasons) {
            let lines = match &event.data.script_log {
                Some(script_log) => Some(LogLines::gather(script_log, &self.host, 0, rule.tail).await),
                None => None,
            };
            let bodies = log::bodies(delivery, rule, lines.as_ref(), &self.relic.zone, version, now);
            jobs.push(Job { api: Api::Log, accounts, bodies: bodies.into_iter().map(Body::from).collect() });
        }
        if metric::KINDS.contains(&event.kind.as_str())
            && let Some((rule, accounts)) = self.choose(Api::Metric, &self.relic.metrics, delivery, &mut reasons)
        {
            match metric::body(delivery, rule, version, now) {
                Ok(body) => jobs.push(Job { api: Api::Metric, accounts, bodies: vec![body.into()] }),
                Err(why) => reasons.push(format!("metric: {why}")),
            }
        }
        if !jobs.is_empty() {
            for why in reasons {
                tracing::debug!(event = event.id, "not sent as {why}");
            }
            return Ok(jobs);
        }
        if reasons.is_empty() {
            reasons.push(format!(
                "no rule of `events`, `logs` or `metrics` takes `{}`: add one, or take the kind out of `on:`",
                event.kind
            ));
        }
        Err(DeliveryError::reject(format!("nothing was sent: {}", reasons.join("; "))))
    }

    /// The rule for an event, and at least one account.
    fn choose<'a>(
        &self,
        api: Api,
        rules: &'a [Rule],
        delivery: &Delivery,
        reasons: &mut Vec<String>,
    ) -> Option<(&'a Rule, Vec<usize>)> {
        let rule = Rule::of(rules, &delivery.event.kind)?;
        let chosen = rule.send_to.choose(&delivery.event.data, &self.relic.accounts);
        for name in chosen.unknown {
            self.note_unknown(name);
        }
        reasons.extend(chosen.why_none.map(|why| format!("{}: {why}", api.name())));
        (!chosen.accounts.is_empty()).then_some((rule, chosen.accounts))
    }

    /// Sends what has not arrived yet, to all accounts side by side: one that fails holds up no other.
    pub(crate) async fn send(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        let begun = Instant::now();
        let jobs = self.jobs(delivery).await?;
        let of_job = |job: &Job| job.accounts.iter().map(|index| key(job.api, &self.relic.accounts[*index])).collect();
        let mut progress = Progress::of(delivery, &jobs.iter().flat_map::<Vec<_>, _>(of_job).collect());
        let accounts = self.relic.accounts.iter().enumerate();
        let outcomes = join_all(accounts.map(|(index, account)| {
            let jobs = jobs.iter().filter(move |job| job.accounts.contains(&index));
            self.send_to(account, jobs, &progress, begun)
        }))
        .await;
        let (mut failed, mut waits, mut has_news) = (Vec::new(), Vec::new(), false);
        for Outcome { key, done, is_new, error } in outcomes.into_iter().flatten() {
            has_news |= is_new;
            if done[0] > 0 {
                progress.done.insert(key.clone(), done);
            }
            match error {
                Some(DeliveryError::Reject { message }) => {
                    progress.refused.insert(key, cut(message, 120));
                }
                Some(error) => {
                    failed.push(told(&key, &error.to_string()));
                    waits.push(if let DeliveryError::Retry { after, .. } = error { after } else { None });
                }
                None => {}
            }
        }
        if !failed.is_empty() {
            // One that asks for a long wait does not hold up the others.
            let after = waits.into_iter().collect::<Option<Vec<_>>>().and_then(|waits| waits.into_iter().min());
            let message = together(failed);
            let error = match after {
                Some(after) => DeliveryError::retry_after(message, after),
                None => DeliveryError::retry(message),
            };
            return Err(error.with_progress(progress.to_json()));
        }
        if progress.refused.is_empty() {
            return Ok(());
        }
        let message = together(progress.refused.iter().map(|(key, why)| told(key, why)).collect());
        if has_news {
            // A rejection carries no progress: what has arrived is told first, so that a retry by hand does not send it again.
            return Err(DeliveryError::retry(message).with_progress(progress.to_json()));
        }
        Err(DeliveryError::reject(message))
    }

    /// Sends the bodies of each job in their order. A job that fails ends; the others go on, since each API is another server.
    async fn send_to<'a>(
        &self,
        account: &Account,
        jobs: impl Iterator<Item = &'a Job>,
        progress: &Progress,
        begun: Instant,
    ) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for job in jobs {
            let key = key(job.api, account);
            if progress.refused.contains_key(&key) {
                continue;
            }
            let before = progress.arrived(&key, job.bodies.len());
            let mut done = before;
            let mut error = None;
            for body in &job.bodies[before..] {
                if begun.elapsed() > ENOUGH {
                    error = Some(DeliveryError::retry("not tried, since other requests took too long"));
                    break;
                }
                let sent =
                    api::send(&self.host, &self.relic, (job.api, account), &self.relic.headers, body, api::TIMEOUT);
                match sent.await {
                    Ok(_) => done += 1,
                    Err(refusal) => {
                        error = Some(refusal.error);
                        break;
                    }
                }
            }
            outcomes.push(Outcome { key, done: [done, job.bodies.len()], is_new: done > before, error });
        }
        outcomes
    }
}

/// `event/Operations`.
fn key(api: Api, account: &Account) -> String {
    format!("{}/{}", api.name(), account.name)
}

/// The same and why.
fn told(key: &str, why: &str) -> String {
    let (api, account) = key.split_once('/').unwrap_or((key, ""));
    format!("account `{account}`, {api}: {why}")
}

fn together(mut errors: Vec<String>) -> String {
    if errors.len() > MOST_TOLD {
        let more = errors.len() - MOST_TOLD;
        errors.truncate(MOST_TOLD);
        errors.push(format!("and {more} more"));
    }
    errors.join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_arrived_counts_only_for_the_same_parts() {
        let progress: Progress =
            serde_json::from_value(json!({ "done": { "log/A": [1, 3], "event/A": [1, 1] } })).unwrap();
        assert_eq!([3, 2].map(|of| progress.arrived("log/A", of)), [1, 0]);
        assert_eq!([1, 2].map(|of| progress.arrived("event/A", of)), [1, 2], "all of it, however it is cut now");
        assert_eq!(progress.arrived("log/B", 3), 0);
        assert!(progress.refused.is_empty());
    }

    #[test]
    fn refusals_count_for_what_is_sent_and_not_for_a_retry_by_hand() {
        let mut delivery = butler_plugin_api::testing::sample_delivery("reload-task.failed");
        delivery.progress =
            Some(json!({ "done": { "event/B": [1, 1] }, "refused": { "event/A": "no", "event/Gone": "no" } }));
        for (attempt, refused) in [(0, ""), (1, ""), (2, "event/A")] {
            delivery.attempt = attempt;
            let progress = Progress::of(&delivery, &["event/A", "event/B"].map(str::to_owned).into());
            assert_eq!(progress.refused.into_keys().collect::<String>(), refused);
            assert_eq!(progress.done["event/B"], [1, 1]);
        }
    }

    #[test]
    fn progress_is_never_too_large() {
        let mut progress = Progress::default();
        for api in ["event", "log", "metric"] {
            for account in 0..50 {
                let key = format!("{api}/{account:060}");
                progress.done.insert(key.clone(), [100_000, 100_000]);
                progress.refused.insert(key, "ä".repeat(120));
            }
        }
        progress.done.retain(|key, _| !key.starts_with("metric"));
        progress.refused.retain(|key, _| key.starts_with("metric"));
        let json = progress.to_json().to_string();
        assert!(json.len() <= 16_000, "{}", json.len());
    }

    #[test]
    fn an_error_tells_of_some_accounts() {
        let errors = (0..7).map(|n| told(&format!("event/A{n}"), "no")).collect();
        let text = together(errors);
        assert!(text.starts_with("account `A0`, event: no; account `A1`") && text.ends_with("; and 2 more"), "{text}");
    }
}
