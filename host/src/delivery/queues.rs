//! Which instances have a queue, and how to wake it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Notify;

/// The queues by instance. A reload adds and removes some.
#[derive(Debug, Clone, Default)]
pub struct Queues(Arc<RwLock<HashMap<String, Arc<Notify>>>>);

impl Queues {
    /// Adds the queue of an instance, or finds it: what it waits for.
    pub fn add(&self, instance: &str) -> Arc<Notify> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).entry(instance.to_owned()).or_default().clone()
    }

    /// Forgets the queue of an instance.
    pub fn remove(&self, instance: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(instance);
    }

    /// Whether an instance has one.
    pub fn has(&self, instance: &str) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains_key(instance)
    }

    /// The instances that have one.
    pub fn names(&self) -> Vec<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Tells the queue of an instance that there is something for it.
    pub fn wake(&self, instance: &str) {
        if let Some(queue) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(instance) {
            queue.notify_one();
        }
    }
}
