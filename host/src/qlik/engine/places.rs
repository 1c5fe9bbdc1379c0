//! How many sessions there may be at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::EngineError;

/// Places for one kind of work.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    count: usize,
    /// For messages.
    what: &'static str,
}

impl Places {
    pub(super) fn new(count: usize, what: &'static str) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), count, what }
    }

    /// The next place, in the order of those who ask; none within `patience` is an error.
    pub(super) async fn take(&self, patience: Duration) -> Result<OwnedSemaphorePermit, EngineError> {
        let taking = tokio::time::timeout(patience, self.free.clone().acquire_owned());
        // The semaphore is never closed.
        let taken = taking.await.ok().and_then(Result::ok);
        taken.ok_or(EngineError::Busy { what: self.what, places: self.count })
    }

    /// Waits until all are free.
    pub(super) async fn all_free(&self) {
        // Fails for numbers only that no limit has.
        let _ = self.free.acquire_many(u32::try_from(self.count).unwrap_or(u32::MAX)).await;
    }
}
