//! One instance at work, with its queue.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::parts::{Core, instance_document};
use crate::config::{Loaded, PluginEntry};
use crate::delivery::Queue;
use crate::plugins::Instance;
use crate::store::Released;

/// An instance at work.
pub(super) struct Member {
    pub(super) instance: Arc<Instance>,
    /// What it was made of: while that is the same, a reload leaves it alone.
    pub(super) made_of: Value,
    stop: watch::Sender<bool>,
    /// What is in flight is given up.
    cut: watch::Sender<bool>,
    work: JoinSet<()>,
}

/// Name and reason of an instance that refuses its settings.
pub(super) type Refusal = (String, String);

/// All that an instance is made of.
pub(super) fn made_of(loaded: &Loaded, entry: &PluginEntry) -> Value {
    json!([entry, instance_document(loaded, entry), loaded.config.tls])
}

impl Member {
    /// Starts an instance and its queue.
    pub(super) fn start(
        core: &Core,
        instance: Arc<Instance>,
        made_of: Value,
        refused: mpsc::UnboundedSender<Refusal>,
    ) -> Self {
        let (stop, stopping) = watch::channel(false);
        let (cut, cutting) = watch::channel(false);
        let mut work = JoinSet::new();
        work.spawn(instance.clone().supervise(stopping.clone(), move |name, message| {
            // Nobody listens any more when the daemon stops anyway.
            let _ = refused.send((name.to_owned(), message.to_owned()));
        }));
        core.queues.add(instance.name());
        let released = {
            let core = core.clone();
            move |released: Released| core.released(&released)
        };
        let queue = Queue::new(instance.clone(), core.store.clone(), core.queues.clone(), released);
        work.spawn(queue.run(stopping, cutting));
        Self { instance, made_of, stop, cut, work }
    }

    /// Hands out no more.
    pub(super) fn begin_stop(&self) {
        self.stop.send_replace(true);
    }

    /// The time within which each of its calls has an outcome.
    pub(super) fn call_limit(&self) -> Duration {
        Duration::from_secs(u64::from(self.instance.manifest().deadline_seconds.max(1)))
    }

    /// Waits until what is in flight has ended and is settled; when `patience` ends first, it is cut off.
    pub(super) async fn drained(&mut self, patience: impl Future<Output = ()>) {
        tokio::select! {
            () = ended(&mut self.work) => return,
            () = patience => {}
        }
        self.cut.send_replace(true);
        ended(&mut self.work).await;
    }

    /// Ends the instance; false when its thread did not end.
    pub(super) async fn stop(mut self, patience: impl Future<Output = ()>, time: Duration) -> bool {
        self.begin_stop();
        self.drained(patience).await;
        let stopped = self.instance.stop(time).await;
        if !stopped {
            tracing::error!(instance = self.instance.name(), "did not stop in time and is abandoned");
        }
        stopped
    }
}

async fn ended(work: &mut JoinSet<()>) {
    while work.join_next().await.is_some() {}
}
