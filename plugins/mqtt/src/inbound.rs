//! What comes from the broker: task starts, and events of Qlik Cloud.
//!
//! The connection only puts messages into a queue; they are handled beside it, so that it goes on whatever Qlik Sense does.
//! A message is acknowledged when it has been handled.

mod cloud;
mod start;

use std::sync::Arc;

use butler_plugin_api::Host;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::client::{Client, Incoming};
use crate::topic;

use cloud::Cloud;
use start::Starts;

/// Messages that wait to be handled.
const QUEUE: usize = 1_000;
/// Their topics and payloads together, in bytes.
const QUEUE_BYTES: usize = 32 << 20;
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

    /// Whether a message on this topic would be obeyed.
    pub(crate) fn hears(&self, topic: &str) -> bool {
        self.start.iter().chain(&self.cloud).any(|filter| topic::matches(filter, topic))
    }
}

/// A message with the client that it came by.
struct Job {
    message: Incoming,
    client: Client,
    /// Its part of [`QUEUE_BYTES`].
    _bytes: OwnedSemaphorePermit,
}

/// Takes messages.
pub(crate) struct Inbound {
    subscriptions: Subscriptions,
    jobs: mpsc::Sender<Job>,
    bytes: Arc<Semaphore>,
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
    let bytes = Arc::new(Semaphore::new(QUEUE_BYTES));
    (Inbound { subscriptions: subscriptions.clone(), jobs: sender, bytes }, Handler { host, subscriptions, jobs })
}

impl Inbound {
    pub(crate) fn filters(&self) -> Vec<String> {
        self.subscriptions.filters()
    }

    /// Never waits. What cannot be taken is acknowledged as well: the broker would keep a place for it for as long as the
    /// connection lasts.
    pub(crate) fn take(&self, message: Incoming, client: &Client) {
        let (message, why) = match self.queue(message, client) {
            Ok(()) => return,
            Err(given_up) => *given_up,
        };
        tracing::error!("a message on `{}` is given up: {why}", topic::shown(&message.topic));
        if let Some(acknowledgement) = message.acknowledgement {
            // The client may have no place for it at once.
            let client = client.clone();
            tokio::spawn(async move { client.acknowledge(acknowledgement).await });
        }
    }

    fn queue(&self, message: Incoming, client: &Client) -> Result<(), Box<(Incoming, String)>> {
        let given_up = |message: Incoming, why: String| Box::new((message, why));
        let size = message.payload.len();
        if size > LARGEST {
            return Err(given_up(message, format!("it has {size} bytes, at most {LARGEST} are possible")));
        }
        let wait = |what: String| format!("{what} wait already; ask for less at a time");
        let bytes = u32::try_from(size + message.topic.len()).unwrap_or(u32::MAX);
        let Ok(bytes) = self.bytes.clone().try_acquire_many_owned(bytes) else {
            return Err(given_up(message, wait(format!("others with nearly {QUEUE_BYTES} bytes"))));
        };
        self.jobs.try_send(Job { message, client: client.clone(), _bytes: bytes }).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Closed(job) => {
                given_up(job.message, wait(format!("{QUEUE} others")))
            }
        })
    }
}

impl Handler {
    /// Handles messages until nobody sends any more.
    pub(crate) async fn run(self) {
        let Self { host, subscriptions, mut jobs } = self;
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let (starts, cloud) = (Arc::new(Starts::new(host.clone())), Arc::new(Cloud::new(host)));
        let mut tasks = tokio::task::JoinSet::new();
        while let Some(Job { message, client, _bytes: bytes }) = jobs.recv().await {
            while tasks.try_join_next().is_some() {}
            // An error is not possible: nobody closes it.
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let is_start = subscriptions.start.as_deref() == Some(message.topic.as_str());
            let is_cloud = subscriptions.cloud.as_deref().is_some_and(|filter| topic::matches(filter, &message.topic));
            let (starts, cloud) = (starts.clone(), cloud.clone());
            tasks.spawn(async move {
                if is_start {
                    starts.handle(&message).await;
                } else if is_cloud {
                    cloud.handle(&message).await;
                }
                if let Some(acknowledgement) = message.acknowledgement {
                    client.acknowledge(acknowledgement).await;
                }
                drop((place, bytes));
            });
        }
    }
}
