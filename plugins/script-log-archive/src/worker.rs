//! A thread for work with files.
//!
//! Futures of the plugin are polled on one thread, which a slow disk must not hold up. Jobs are done one after the other, so
//! none needs to care for another.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use butler_plugin_api::Host;

/// Most jobs that wait. A delivery that is given up while the disk hangs leaves its job behind, with a whole log.
const MOST_WAITING: usize = 8;

type Job = Box<dyn FnOnce() + Send>;

/// The thread. It ends when this is dropped and the jobs that were handed over are done.
#[derive(Debug)]
pub(crate) struct Worker(SyncSender<Job>);

impl Worker {
    pub(crate) fn start(host: &Host) -> std::io::Result<Self> {
        let (jobs, waiting) = sync_channel::<Job>(MOST_WAITING);
        let host = host.clone();
        std::thread::Builder::new().name(format!("files {}", host.instance().name)).spawn(move || {
            for job in waiting {
                // The panic of a job is its caller's: the answer does not come. The next one starts afresh.
                let _ = host.in_scope(|| catch_unwind(AssertUnwindSafe(job)));
            }
        })?;
        Ok(Self(jobs))
    }

    /// Does a job on the thread. An error says why there is no result.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Answer<T> {
        let slot = Arc::new(Mutex::new(Slot::Waiting(None)));
        let promise = Promise(slot.clone());
        let sent = self.0.try_send(Box::new(move || promise.keep(job())));
        Answer { slot, is_full: matches!(sent, Err(TrySendError::Full(_))) }
    }
}

enum Slot<T> {
    Waiting(Option<Waker>),
    Done(T),
    /// There will be no answer.
    Gone,
}

type Shared<T> = Arc<Mutex<Slot<T>>>;

fn lock<T>(slot: &Shared<T>) -> MutexGuard<'_, Slot<T>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The end of the thread: kept once, or broken when it is dropped.
struct Promise<T>(Shared<T>);

impl<T> Promise<T> {
    fn keep(self, value: T) {
        self.settle(Slot::Done(value));
    }

    fn settle(&self, outcome: Slot<T>) {
        let mut slot = lock(&self.0);
        if let Slot::Waiting(waker) = &mut *slot {
            let waker = waker.take();
            *slot = outcome;
            drop(slot);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.settle(Slot::Gone);
    }
}

/// The result of a job, when it is there.
pub(crate) struct Answer<T> {
    slot: Shared<T>,
    is_full: bool,
}

impl<T> Future for Answer<T> {
    type Output = Result<T, String>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = lock(&self.slot);
        match std::mem::replace(&mut *slot, Slot::Gone) {
            Slot::Done(value) => Poll::Ready(Ok(value)),
            Slot::Waiting(_) => {
                *slot = Slot::Waiting(Some(context.waker().clone()));
                Poll::Pending
            }
            Slot::Gone if self.is_full => {
                Poll::Ready(Err("the disk has not answered for files before this one".to_owned()))
            }
            Slot::Gone => Poll::Ready(Err("the work with files broke off; the log says why".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use butler_plugin_api::testing::{FakeHost, block_on};

    use super::*;

    #[test]
    fn jobs_are_done_elsewhere_in_turn_and_a_panic_costs_one() {
        let fake = FakeHost::new("archive");
        let worker = Worker::start(&fake.host()).unwrap();
        let here = std::thread::current().id();
        assert_ne!(block_on(worker.run(|| std::thread::current().id())), Ok(here));
        let broken: Result<(), String> = block_on(worker.run(|| panic!("a fault")));
        assert!(broken.unwrap_err().contains("broke off"));
        assert_eq!(block_on(worker.run(|| 7)), Ok(7));
    }

    #[test]
    fn what_a_hanging_disk_leaves_behind_is_limited() {
        let fake = FakeHost::new("archive");
        let worker = Worker::start(&fake.host()).unwrap();
        let (go, gate) = channel::<()>();
        let first = worker.run(move || gate.recv().is_ok());
        let answers: Vec<_> = (0..MOST_WAITING + 2).map(|number| worker.run(move || number)).collect();
        go.send(()).unwrap();
        assert_eq!(block_on(first), Ok(true));
        let answers: Vec<_> = answers.into_iter().map(block_on).collect();
        assert!(answers.last().unwrap().as_ref().unwrap_err().contains("has not answered"));
        assert_eq!(answers[0], Ok(0));
        let done = answers.iter().filter(|answer| answer.is_ok()).count();
        assert!((MOST_WAITING - 1..=MOST_WAITING).contains(&done), "{done}");
    }
}
