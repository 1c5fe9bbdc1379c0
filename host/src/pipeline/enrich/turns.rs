//! The places of events that are in memory, and the order in which they are routed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use butler_plugin_api::Event;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::WINDOW;
use crate::ingest::DISTRIBUTE_PENDING;

/// The events that are in memory.
#[derive(Clone, Default)]
pub(super) struct Busy(Arc<Mutex<HashSet<i64>>>);

impl Busy {
    pub(super) fn enter(&self, seq: i64) -> Place {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(seq);
        Place { seq, busy: self.clone() }
    }

    pub(super) fn all(&self) -> Vec<i64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

/// The place of an event in memory.
pub(super) struct Place {
    seq: i64,
    busy: Busy,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.busy.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.seq);
    }
}

/// Lets events of one task be routed in the order of their numbers, however long the look-ups of each take: an ordered
/// instance hands out deliveries in the order in which they were made.
#[derive(Default)]
pub(super) struct Turns(HashMap<String, oneshot::Receiver<()>>);

/// The place of one event among those of its task.
pub(super) struct Turn {
    before: Option<oneshot::Receiver<()>>,
    /// Dropped when it is the next one's turn.
    done: Option<oneshot::Sender<()>>,
}

impl Turns {
    pub(super) fn take(&mut self, event: &Event) -> Turn {
        // An unfinished distribution may take hours: nobody waits for it, and it waits for nobody.
        let Some(task) = event.data.task.as_ref().filter(|_| event.kind != DISTRIBUTE_PENDING) else {
            return Turn { before: None, done: None };
        };
        if self.0.len() > WINDOW {
            self.0.retain(|_, last| matches!(last.try_recv(), Err(TryRecvError::Empty)));
        }
        let (done, last) = oneshot::channel();
        Turn { before: self.0.insert(task.id.clone(), last), done: Some(done) }
    }
}

impl Turn {
    /// Waits until those before it are routed or given up. What it returns is to be held until this one is routed.
    pub(super) async fn mine(self) -> Option<oneshot::Sender<()>> {
        if let Some(before) = self.before {
            // The sender is dropped, never used.
            let _ = before.await;
        }
        self.done
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;
    use tokio::task::JoinSet;

    use super::super::tests::event;
    use super::*;

    #[tokio::test]
    async fn events_of_one_task_keep_their_order_and_those_of_others_do_not_wait() {
        let mut turns = Turns::default();
        let order = Arc::new(Mutex::new(Vec::new()));
        let slow = Arc::new(Notify::new());
        let mut tasks = JoinSet::new();
        for (n, kind, task) in [
            (1, "reload-task.failed", "a"),
            (2, "reload-task.succeeded", "a"),
            (3, "reload-task.failed", "b"),
            (4, DISTRIBUTE_PENDING, "a"),
        ] {
            let (turn, order, slow) = (turns.take(&event(kind, task)), order.clone(), slow.clone());
            tasks.spawn(async move {
                if n == 1 {
                    slow.notified().await;
                }
                let _next = turn.mine().await;
                order.lock().unwrap().push(n);
            });
        }
        while order.lock().unwrap().len() < 2 {
            tokio::task::yield_now().await;
        }
        slow.notify_one();
        tasks.join_all().await;
        let order = order.lock().unwrap().clone();
        assert_eq!(order[2..], [1, 2], "{order:?}");
    }
}
