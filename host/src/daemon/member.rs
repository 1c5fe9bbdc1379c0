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
        let mut work = JoinSet::new();
        work.spawn(instance.clone().supervise(stopping.clone(), move |name, message| {
            // Nobody listens any more when the daemon stops anyway.
            let _ = refused.send((name.to_owned(), message.to_owned()));
        }));
        let grace = core.config.get().shutdown_timeout.duration() / 2;
        core.queues.add(instance.name());
        let released = {
            let core = core.clone();
            move |released: Released| core.released(&released)
        };
        work.spawn(
            Queue::new(instance.clone(), core.store.clone(), core.queues.clone(), grace, released).run(stopping),
        );
        Self { instance, made_of, stop, work }
    }

    /// Hands out no more.
    pub(super) fn begin_stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until what is in flight has ended and is settled, or its grace is over.
    pub(super) async fn drained(&mut self) {
        while self.work.join_next().await.is_some() {}
    }

    /// Ends the instance; false when its thread did not end.
    pub(super) async fn stop(mut self, time: Duration) -> bool {
        self.begin_stop();
        self.drained().await;
        let stopped = self.instance.stop(time).await;
        if !stopped {
            tracing::error!(instance = self.instance.name(), "did not stop in time and is abandoned");
        }
        stopped
    }
}
