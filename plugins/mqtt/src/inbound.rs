//! What comes from the broker: task starts, and events of Qlik Cloud.
//!
//! The connection only puts messages into a queue; they are handled beside it, so that it goes on whatever Qlik Sense does.
//! A message is acknowledged when it has been handled.

mod cloud;
mod start;

use std::sync::Arc;

use butler_plugin_api::Host;
use tokio::sync::{Semaphore, mpsc};

use crate::client::{Client, Incoming};
use crate::topic;

use cloud::Cloud;
use start::Starts;

/// Messages that wait to be handled.
const QUEUE: usize = 1_000;
/// Messages that are handled at a time.
const AT_ONCE: usize = 4;
/// Largest message that is taken, in bytes.
const LARGEST: usize = 1 << 20;

/// What is listened to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Subscriptions {
    /// Topic of task starts.
    start: Option<String>,
    /// Filter for events of Qlik Cloud.
    cloud: Option<String>,
}

impl Subscriptions {
    /// A cloud topic without wildcards stands for all below it as well.
    pub(crate) fn new(start: Option<String>, cloud: Option<String>) -> Self {
        let cloud = cloud.map(|topic| {
            let has_wildcard = topic.contains(['+', '#']);
            if has_wildcard { topic } else { format!("{}/#", topic.trim_end_matches('/')) }
        });
        Self { start, cloud }
    }

    /// The filters to subscribe to.
    pub(crate) fn filters(&self) -> Vec<String> {
        self.start.iter().chain(&self.cloud).cloned().collect()
    }
}

/// A message with the client that it came by.
struct Job {
    message: Incoming,
    client: Client,
}

/// Takes messages.
pub(crate) struct Inbound {
    subscriptions: Subscriptions,
    jobs: mpsc::Sender<Job>,
}

/// Handles them.
pub(crate) struct Handler {
    host: Host,
    subscriptions: Subscriptions,
    jobs: mpsc::Receiver<Job>,
}

/// Both ends.
pub(crate) fn inbound(host: Host, subscriptions: Subscriptions) -> (Inbound, Handler) {
    let (sender, jobs) = mpsc::channel(QUEUE);
    (Inbound { subscriptions: subscriptions.clone(), jobs: sender }, Handler { host, subscriptions, jobs })
}

impl Inbound {
    pub(crate) fn filters(&self) -> Vec<String> {
        self.subscriptions.filters()
    }

    /// Never waits.
    pub(crate) fn take(&self, message: Incoming, client: &Client) {
        if let Err(error) = self.jobs.try_send(Job { message, client: client.clone() }) {
            let message = match error {
                mpsc::error::TrySendError::Full(job) | mpsc::error::TrySendError::Closed(job) => job.message,
            };
            tracing::error!(
                "a message on `{}` is given up: {QUEUE} others wait already; ask for less at a time",
                topic::shown(&message.topic)
            );
        }
    }
}

impl Handler {
    /// Handles messages until nobody sends any more.
    pub(crate) async fn run(self) {
        let Self { host, subscriptions, mut jobs } = self;
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let (starts, cloud) = (Arc::new(Starts::new(host.clone())), Arc::new(Cloud::new(host)));
        let mut tasks = tokio::task::JoinSet::new();
        while let Some(Job { message, client }) = jobs.recv().await {
            while tasks.try_join_next().is_some() {}
            // An error is not possible: nobody closes it.
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let is_start = subscriptions.start.as_deref() == Some(message.topic.as_str());
            let is_cloud = subscriptions.cloud.as_deref().is_some_and(|filter| topic::matches(filter, &message.topic));
            let (starts, cloud) = (starts.clone(), cloud.clone());
            tasks.spawn(async move {
                if message.payload.len() > LARGEST {
                    tracing::error!(
                        "a message on `{}` is not taken: it has {} bytes, at most {LARGEST} are possible",
                        topic::shown(&message.topic),
                        message.payload.len()
                    );
                } else if is_start {
                    starts.handle(&message).await;
                } else if is_cloud {
                    cloud.handle(&message).await;
                }
                if let Some(acknowledgement) = message.acknowledgement {
                    client.acknowledge(acknowledgement).await;
                }
                drop(place);
            });
        }
    }
}
