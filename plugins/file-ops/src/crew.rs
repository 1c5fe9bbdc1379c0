//! Threads for work with files, a few at once: futures of the plugin are polled on one thread, which no disk must hold up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many works are done at once in a lane.
const AT_ONCE: u32 = 4;
/// So many more wait for their turn.
const MOST_WAITING: usize = 100;

/// One kind of work. What takes long waits for its like only.
#[derive(Debug)]
pub(crate) struct Lane {
    turns: Arc<Semaphore>,
    /// Under way and waiting.
    count: Arc<AtomicUsize>,
}

/// Why work was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Idle {
    /// Too much waits already.
    Full,
    /// There is no work any more.
    Ended,
    /// It broke off.
    Broken,
}

/// One that is counted.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The right to do one work.
pub(crate) struct Turn {
    _held: (OwnedSemaphorePermit, Counted),
}

impl Turn {
    /// Does work on a thread. It goes on when this is dropped.
    pub(crate) async fn run<T: Send + 'static>(
        self,
        runtime: &Handle,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Idle> {
        let work = move || {
            let _turn = self;
            work()
        };
        runtime.spawn_blocking(work).await.map_err(|_| Idle::Broken)
    }
}

impl Lane {
    pub(crate) fn new() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE as usize)), count: Arc::default() }
    }

    /// Waits for a turn.
    pub(crate) async fn turn(&self) -> Result<Turn, Idle> {
        if self.count.fetch_add(1, Ordering::Relaxed) >= AT_ONCE as usize + MOST_WAITING {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Err(Idle::Full);
        }
        let counted = Counted(self.count.clone());
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| Idle::Ended)?;
        Ok(Turn { _held: (turn, counted) })
    }

    /// Waits until all work that is under way has ended; none begins from now on.
    pub(crate) async fn end(&self) {
        let _ = self.turns.acquire_many(AT_ONCE).await;
        self.turns.close();
    }
}
