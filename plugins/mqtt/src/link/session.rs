//! One connection: what is published by it, and whether the broker is still there.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::client::{Client, Limits, Message, Notice, Properties, Qos, Refusal};
use crate::settings::Status;

pub(super) const STATUS_QOS: Qos = Qos::AtLeastOnce;
/// A connection that lasted so long, or by which the broker acknowledged something, was not in vain.
const USEFUL: Duration = Duration::from_secs(10);
/// The broker gets so long for the answer to a subscription.
const SUBSCRIBE: Duration = Duration::from_secs(20);

/// A connection.
pub(crate) struct Session {
    client: Client,
    limits: Limits,
    ack_timeout: Duration,
    /// What subscribers see of this connection; only of the daemon's.
    status: Option<Status>,
    since: Instant,
    /// When the broker acknowledged something last, in milliseconds since the begin; 0: never.
    acknowledged: AtomicU64,
    /// Messages of deliveries were acknowledged.
    useful: AtomicBool,
    broken: Notify,
    /// Why it is of no use, or what does not work.
    why: Mutex<Option<String>>,
    trouble: Mutex<Option<String>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// A message on its way.
pub(crate) struct Publishing {
    session: Arc<Session>,
    notice: Notice,
    /// In milliseconds since the begin of the connection.
    at: u64,
    last: tokio::time::Instant,
}

impl Session {
    pub(super) fn new(client: Client, limits: Limits, ack_timeout: Duration, status: Option<Status>) -> Arc<Self> {
        Arc::new(Self {
            client,
            limits,
            ack_timeout,
            status,
            since: Instant::now(),
            acknowledged: AtomicU64::new(0),
            useful: AtomicBool::new(false),
            broken: Notify::new(),
            why: Mutex::default(),
            trouble: Mutex::default(),
        })
    }

    fn millis(&self) -> u64 {
        // Never 0.
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Hands a message to the connection. [`Publishing::done`] tells what became of it, at `last` if not before.
    pub(crate) async fn publish(
        self: &Arc<Self>,
        mut message: Message,
        properties: Properties,
        last: tokio::time::Instant,
    ) -> Result<Publishing, Refusal> {
        let size = message.packet_len(&properties);
        if size > self.limits.packet {
            return Err(Refusal::Never(format!(
                "the message for `{}` is too large: {size} bytes, the broker takes {}",
                message.topic, self.limits.packet
            )));
        }
        message.qos = message.qos.min(self.limits.qos);
        message.retain &= self.limits.retain;
        let at = self.millis();
        // Waits while the broker has not acknowledged what went before.
        let notice = self.owed(at, last, self.client.publish(message, properties)).await??;
        Ok(Publishing { session: self.clone(), notice, at, last })
    }

    /// When what is handed over now should be acknowledged.
    pub(crate) fn soon(&self) -> tokio::time::Instant {
        // Behind the broker's own time, which begins a moment later.
        tokio::time::Instant::now() + self.ack_timeout + Duration::from_millis(100)
    }

    /// Waits for what the broker owes since `at`, but not beyond `last`. As long as it acknowledges anything it has its
    /// time: the messages before may be many or large, and the way to it slow.
    async fn owed<T>(&self, at: u64, last: tokio::time::Instant, what: impl Future<Output = T>) -> Result<T, Refusal> {
        let mut what = std::pin::pin!(what);
        let begin = tokio::time::Instant::from_std(self.since);
        loop {
            let seen = self.acknowledged.load(Ordering::Relaxed).max(at);
            let until = (begin + Duration::from_millis(seen) + self.ack_timeout).min(last);
            if let Ok(done) = tokio::time::timeout_at(until, &mut what).await {
                return Ok(done);
            }
            if until >= last || self.acknowledged.load(Ordering::Relaxed) <= seen {
                return Err(self.silent(at));
            }
        }
    }

    /// The broker has not acknowledged in time what was handed over then. If it has acknowledged nothing since, the
    /// connection is of no use.
    fn silent(&self, at: u64) -> Refusal {
        let limit = self.ack_timeout.as_millis();
        // A delivery may be at its end before the broker is at its own.
        let had_its_time = u128::from(self.millis().saturating_sub(at)) >= limit;
        if had_its_time && self.acknowledged.load(Ordering::Relaxed) < at {
            self.give_up(format!("acknowledges nothing (not within {limit} ms): is it overloaded, or its disk full?"));
        }
        Refusal::Later(format!("the broker does not acknowledge the message within {limit} ms"))
    }

    fn give_up(&self, why: String) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        self.broken.notify_one();
    }

    /// Waits until the connection is of no use any more; why.
    pub(super) async fn broken(&self) -> String {
        self.broken.notified().await;
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
    }

    pub(super) fn was_useful(&self) -> bool {
        let given_up = self.why.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        self.useful.load(Ordering::Relaxed) || (!given_up && self.since.elapsed() >= USEFUL)
    }

    /// What does not work although there is a connection.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says what the broker does not offer.
    pub(super) fn tell_limits(&self, broker: &str) {
        if self.limits.qos < Qos::AtLeastOnce {
            tracing::warn!("the broker {broker} has QoS 0 only: whether messages arrive cannot be known");
        } else if self.limits.qos < Qos::ExactlyOnce {
            tracing::debug!("the broker {broker} has no QoS 2: messages with it go out with QoS 1");
        }
        if !self.limits.retain {
            tracing::info!("the broker {broker} keeps no messages: all go out without `retain`");
        }
    }

    /// What is done at the begin: tells that Butler is there, and subscribes.
    pub(super) async fn greet(self: Arc<Self>, online: String, filters: Vec<String>) {
        if let Some(status) = &self.status {
            let message = status_message(status, online);
            let topic = message.topic.clone();
            // A lost connection is told elsewhere.
            if let Err(why @ (Refusal::Later(_) | Refusal::Never(_))) = self.tell(message).await {
                let trouble = format!("the status cannot be published on `{topic}`: {why}");
                tracing::warn!("{trouble}");
                self.note(trouble);
            }
        }
        for filter in filters {
            let answer = tokio::time::timeout(SUBSCRIBE, self.client.subscribe(&filter)).await;
            let why = match answer {
                Ok(Ok(())) => {
                    tracing::debug!("subscribed to `{filter}`");
                    continue;
                }
                Ok(Err(why)) => why,
                Err(_) => format!("no answer within {} s", SUBSCRIBE.as_secs()),
            };
            let trouble = format!("nothing is received on `{filter}`: it cannot be subscribed to: {why}");
            tracing::error!("{trouble}");
            self.note(trouble);
        }
    }

    fn note(&self, trouble: String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
    }

    /// A message of our own, which is no delivery.
    async fn tell(self: &Arc<Self>, message: Message) -> Result<(), Refusal> {
        let publishing = self.publish(message, Properties::default(), self.soon()).await?;
        publishing.outcome().await
    }

    /// What is done at the end.
    pub(super) async fn say_goodbye(self: &Arc<Self>, patience: Duration) {
        if let Some(status) = &self.status {
            let message = status_message(status, status.offline.clone());
            let _ = tokio::time::timeout(patience, self.tell(message)).await;
        }
        let _ = tokio::time::timeout(patience, self.client.disconnect(patience)).await;
    }
}

fn status_message(status: &Status, payload: String) -> Message {
    Message { topic: status.topic.clone(), payload: payload.into_bytes(), qos: STATUS_QOS, retain: status.retain }
}

impl Publishing {
    /// Waits until the broker has the message of a delivery.
    pub(crate) async fn done(self) -> Result<(), Refusal> {
        let session = self.session.clone();
        let outcome = self.outcome().await;
        if outcome.is_ok() {
            session.useful.store(true, Ordering::Relaxed);
        }
        outcome
    }

    async fn outcome(self) -> Result<(), Refusal> {
        let Self { session, notice, at, last } = self;
        let outcome = session.owed(at, last, notice.wait()).await?;
        // A refusal is a sign of life as well.
        if outcome != Err(Refusal::Lost) {
            session.acknowledged.fetch_max(session.millis(), Ordering::Relaxed);
        }
        outcome
    }
}
