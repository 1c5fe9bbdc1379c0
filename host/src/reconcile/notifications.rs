//! The road by which Qlik Sense says at once that something has ended: change notifications of QRS.
//!
//! A notification is a hint and never the truth: it names results, which are then asked for and judged as any other. QRS
//! forgets subscriptions when it restarts, so they are made anew when it was away, when it has been quiet for long, and when
//! something turns out to have ended of which it did not tell.
//!
//! Format: Qlik's developer help, repository service API, "Notification: Create change subscription".

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{Reconciler, RoundError};
use crate::ingest::sample;
use crate::qlik::{Lookups, QlikError};
use crate::stop::stopping;
use crate::store::{StoreError, now_ms};

/// The path of the REST server that is called, before the secret.
const PATH: &str = "/v5/qlik/notifications/";
/// Longest body of a call that is read, in bytes.
const LONGEST_CALL: usize = 256 << 10;
/// Results that wait to be asked for; of more the reconciler hears.
const MOST_HINTS: usize = 10_000;
/// Results that are asked for by one call.
const TOGETHER: usize = 20;
/// UDP tells more (the log line, who aborted), so where there is such a road it goes first.
const AFTER_UDP: Duration = Duration::from_secs(3);
const AT_ONCE: Duration = Duration::from_millis(500);
/// A subscription that nothing was heard of for so long is made anew.
const QUIET: Duration = Duration::from_mins(15);
/// The state of things is looked at so often.
const LOOK: Duration = Duration::from_secs(2);
/// Qlik Sense is called so often to see whether it is there: it forgets when it is away.
const CALL: Duration = Duration::from_secs(30);
/// Wait after a subscription that failed.
const AGAIN: Duration = Duration::from_secs(30);
/// How long a subscription may take to end at a stop.
const END: Duration = Duration::from_secs(2);
/// Only updates, and only those after which an execution is over.
const SUBSCRIPTION: [(&str, &str); 3] = [
    ("name", "ExecutionResult"),
    ("changetype", "2"),
    ("filter", "status eq 6 or status eq 7 or status eq 8 or status eq 11"),
];

/// What the REST server knows of it: where Qlik Sense calls, and what becomes of a call.
#[derive(Debug)]
pub struct CallBack {
    secret: String,
    results: mpsc::Sender<Vec<String>>,
    called_ms: AtomicI64,
}

impl CallBack {
    /// Whether this is the secret in the path of a call.
    pub fn knows(&self, secret: &str) -> bool {
        // By their hashes: so the time of the comparison tells nothing.
        Sha256::digest(secret) == Sha256::digest(&self.secret)
    }

    /// A call with this secret in its path and this body; false when the secret is wrong. What is no notification is
    /// counted as a sign of life.
    pub fn called(&self, secret: &str, body: &[u8]) -> bool {
        if !self.knows(secret) {
            return false;
        }
        self.called_ms.store(now_ms(), Ordering::Relaxed);
        let results = if body.len() > LONGEST_CALL { Vec::new() } else { results(body) };
        if !results.is_empty() && self.results.try_send(results).is_err() {
            tracing::debug!("more has changed in Qlik Sense than is asked for at once; the rest is found later");
        }
        true
    }

    /// When it was last called, ms since 1970; 0: never.
    pub fn last_call_ms(&self) -> i64 {
        self.called_ms.load(Ordering::Relaxed)
    }
}

/// The ids of the objects in a notification: a list of changes, each with an `objectID`.
fn results(body: &[u8]) -> Vec<String> {
    let changes = match serde_json::from_slice(body) {
        Ok(Value::Array(changes)) => changes,
        Ok(change @ Value::Object(_)) => vec![change],
        _ => Vec::new(),
    };
    let id = |change: &Value| {
        let change = change.as_object()?;
        let (_, id) = change.iter().find(|(name, _)| name.eq_ignore_ascii_case("objectID"))?;
        id.as_str().map(str::to_ascii_lowercase)
    };
    changes.iter().filter_map(id).take(MOST_HINTS).collect()
}

/// Subscribes, and asks for what it is told of.
pub struct Notifications {
    reconciler: Arc<Reconciler>,
    /// Where Qlik Sense reaches the REST server: `http://host:port`.
    rest_address: String,
    call_back: Arc<CallBack>,
    results: mpsc::Receiver<Vec<String>>,
    wait: Duration,
}

impl Notifications {
    /// One that has not subscribed yet, and its side of the REST server, which Qlik Sense reaches at `rest_address`
    /// (`http://host:port`).
    pub fn new(
        reconciler: Arc<Reconciler>,
        rest_address: &str,
        udp: bool,
    ) -> Result<(Self, Arc<CallBack>), sample::RandomError> {
        let (secret, (sender, results)) = (sample::guid()?, mpsc::channel(100));
        let call_back = Arc::new(CallBack { secret, results: sender, called_ms: AtomicI64::new(0) });
        let rest_address = rest_address.trim_end_matches('/').to_owned();
        let wait = if udp { AFTER_UDP } else { AT_ONCE };
        Ok((Self { reconciler, rest_address, call_back: call_back.clone(), results, wait }, call_back))
    }

    /// Works until `stop`.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut subscription: Option<Subscription> = None;
        let mut said = false;
        let mut next = Instant::now();
        let mut calls = tokio::time::interval(CALL);
        calls.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut waiting = BTreeSet::new();
        let mut due = None;
        loop {
            if subscription.is_none() && Instant::now() >= next {
                match self.subscribe().await {
                    Ok(made) => {
                        tracing::info!(callback = self.rest_address, "Qlik Sense tells what has ended from now on");
                        (subscription, said) = (Some(made), false);
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut said, true) {
                            tracing::warn!(
                                "Qlik Sense cannot be asked to tell what has ended; it is tried again, and what has ended is asked for meanwhile: {error}"
                            );
                        }
                        next = Instant::now() + AGAIN;
                    }
                }
            }
            let asking = async { tokio::time::sleep_until(due.unwrap_or_else(|| Instant::now() + QUIET)).await };
            tokio::select! {
                () = stopping(&mut stop) => break,
                Some(results) = self.results.recv() => {
                    let room = MOST_HINTS - waiting.len();
                    waiting.extend(results.into_iter().take(room));
                    due.get_or_insert_with(|| Instant::now() + self.wait);
                }
                () = asking, if due.is_some() => {
                    due = None;
                    let results: Vec<String> = std::mem::take(&mut waiting).into_iter().collect();
                    match self.ask(&results).await {
                        Ok(()) => {}
                        Err(RoundError::Store(StoreError::Closed)) => break,
                        Err(error) => tracing::debug!("what Qlik Sense has told is asked for later: {error}"),
                    }
                }
                _ = calls.tick() => {
                    // What matters is seen in the state below.
                    let _ = self.lookups().server_time().await;
                }
                () = tokio::time::sleep(LOOK) => {}
            }
            if let Some(made) = &subscription
                && made.may_be_forgotten(&self)
            {
                tracing::debug!("the subscription at Qlik Sense is made anew");
                let former = subscription.take().and_then(|made| made.handle);
                self.unsubscribe(former).await;
                next = Instant::now();
            }
        }
        let _ = tokio::time::timeout(END, self.unsubscribe(subscription.and_then(|made| made.handle))).await;
    }

    fn lookups(&self) -> &Lookups {
        &self.reconciler.parts.lookups
    }

    async fn subscribe(&self) -> Result<Subscription, QlikError> {
        let address = format!("{}{PATH}{}", self.rest_address, self.call_back.secret);
        let reply = self.lookups().repository().post("notification", &SUBSCRIPTION, &Value::from(address)).await?;
        let answer = reply.success()?.json()?;
        let handle = answer["value"].as_str().or(answer.as_str()).map(str::to_owned);
        Ok(Subscription {
            handle,
            made: Instant::now(),
            made_ms: now_ms(),
            found: self.reconciler.parts.roads.last_reconciled().1,
            outages: self.lookups().repository().state().outages,
        })
    }

    /// Ends a subscription; one that Qlik Sense has forgotten needs no end.
    async fn unsubscribe(&self, handle: Option<String>) {
        let Some(handle) = handle else { return };
        if let Err(error) = self.lookups().repository().delete("notification", &[("handle", &handle)]).await {
            tracing::debug!("a subscription at Qlik Sense cannot be ended: {error}");
        }
    }

    async fn ask(&self, results: &[String]) -> Result<(), RoundError> {
        for some in results.chunks(TOGETHER) {
            let ended = self.lookups().ended_of(some).await?;
            self.reconciler.look_at(&ended, now_ms(), crate::observe::Road::Notifications).await?;
        }
        Ok(())
    }
}

struct Subscription {
    /// What ends it, if Qlik Sense said.
    handle: Option<String>,
    made: Instant,
    made_ms: i64,
    /// So much had been found by asking when it was made.
    found: u64,
    /// So often Qlik Sense had been away.
    outages: u64,
}

impl Subscription {
    /// Whether Qlik Sense may have forgotten it.
    fn may_be_forgotten(&self, of: &Notifications) -> bool {
        let last_call = of.call_back.last_call_ms().max(self.made_ms);
        let quiet =
            self.made.elapsed() > QUIET && now_ms() - last_call > i64::try_from(QUIET.as_millis()).unwrap_or(i64::MAX);
        let state = of.lookups().repository().state();
        let back = state.reachable && state.outages > self.outages;
        quiet || back || of.reconciler.parts.roads.last_reconciled().1 > self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_names_results_and_rubbish_names_none() {
        let body =
            br#"[{"changeType":2,"objectType":"ExecutionResult","objectID":"AB"},{"objectId":"c"},{"objectID":7},3]"#;
        assert_eq!(results(body), ["ab", "c"]);
        assert_eq!(results(br#"{"objectID":"d"}"#), ["d"]);
        for body in ["", "[", "null", "7", "\"objectID\"", "{}"] {
            assert!(results(body.as_bytes()).is_empty(), "{body}");
        }
    }

    #[tokio::test]
    async fn only_who_knows_the_secret_is_heard() {
        let (results, mut heard) = mpsc::channel(1);
        let call_back = CallBack { secret: "s3cret".to_owned(), results, called_ms: AtomicI64::new(0) };
        let body = br#"[{"objectID":"a"}]"#;
        assert!(!call_back.called("", body) && !call_back.called("s3cre", body) && call_back.last_call_ms() == 0);
        assert!(call_back.called("s3cret", body) && call_back.last_call_ms() > 0);
        assert!(call_back.called("s3cret", body), "a full queue is no error");
        let mut large = vec![b' '; LONGEST_CALL];
        large.extend_from_slice(body);
        assert!(call_back.called("s3cret", &large));
        assert_eq!(heard.recv().await, Some(vec!["a".to_owned()]));
        assert!(heard.try_recv().is_err());
    }
}
