//! The thread of a fake instance: like the host's, it polls everything that runs in the background.

use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, Stream};

use crate::abi::host::BoxFuture;

/// A thread that is started with its first future.
#[derive(Clone, Default)]
pub(super) struct Stage(Arc<Inner>);

#[derive(Default)]
struct Inner {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    new: Vec<BoxFuture<()>>,
    woken: bool,
    quit: bool,
    state: Life,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Life {
    #[default]
    NotStarted,
    Busy,
    /// Nothing can go on by itself.
    Idle,
    Ended,
}

impl Wake for Inner {
    fn wake(self: Arc<Self>) {
        let mut queue = self.queue();
        queue.woken = true;
        if queue.state == Life::Idle {
            queue.state = Life::Busy;
        }
        self.changed.notify_all();
    }
}

impl Inner {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stage {
    /// Runs a future; after the end it is dropped.
    pub(super) fn spawn(&self, future: BoxFuture<()>) {
        let mut queue = self.0.queue();
        if queue.quit {
            // Its drop may run code of the plugin.
            drop(queue);
            drop(future);
            return;
        }
        queue.new.push(future);
        if queue.state == Life::NotStarted {
            let inner = self.0.clone();
            std::thread::spawn(move || run(&inner));
        }
        queue.state = Life::Busy;
        self.0.changed.notify_all();
    }

    /// Whether everything waits for something outside.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.0.queue().state, Life::NotStarted | Life::Idle)
    }

    /// Drops what runs, on its thread.
    pub(super) fn quit(&self) {
        self.0.queue().quit = true;
        self.0.changed.notify_all();
    }

    /// The same, and waits until the thread has ended; false when it does not within the limit.
    pub(super) fn end(&self, limit: Duration) -> bool {
        self.quit();
        let until = Instant::now() + limit;
        let mut queue = self.0.queue();
        while !matches!(queue.state, Life::NotStarted | Life::Ended) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            queue = self.0.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// Says that the thread has ended, whatever ends it.
struct End<'a>(&'a Inner);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.quit = true;
        let left = std::mem::take(&mut queue.new);
        // Its drop may run code of the plugin, and whoever waits for the end relies on nothing being left.
        drop(queue);
        drop(left);
        self.0.queue().state = Life::Ended;
        self.0.changed.notify_all();
    }
}

fn run(inner: &Arc<Inner>) {
    let _end = End(inner);
    let waker = Waker::from(inner.clone());
    let mut context = Context::from_waker(&waker);
    let mut futures = FuturesUnordered::new();
    loop {
        let mut queue = inner.queue();
        while !queue.quit && queue.new.is_empty() && !queue.woken {
            queue.state = Life::Idle;
            inner.changed.notify_all();
            queue = inner.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.quit {
            return;
        }
        (queue.woken, queue.state) = (false, Life::Busy);
        let new = std::mem::take(&mut queue.new);
        drop(queue);
        futures.extend(new);
        while let Poll::Ready(Some(())) = Pin::new(&mut futures).poll_next(&mut context) {}
    }
}
