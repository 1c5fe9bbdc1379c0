//! Which instances have a queue, how to wake it, and the short way into it.
//!
//! A delivery that is made while its queue has nothing older waiting goes straight there: routing stores it as leased, which
//! saves the commit that claims it. Where a queue is full, stopped or behind, deliveries are stored as pending instead.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

use crate::store::Claimed;

/// Deliveries that may be on the short way into one queue.
const PLACES: usize = 256;

/// The queues by instance. A reload adds and removes some.
#[derive(Debug, Clone, Default)]
pub struct Queues(Arc<RwLock<HashMap<String, Entry>>>);

#[derive(Debug, Default)]
struct Entry {
    wake: Arc<Notify>,
    intake: Option<Intake>,
}

/// The way into a queue.
#[derive(Debug, Clone)]
struct Intake {
    sender: mpsc::UnboundedSender<Straight>,
    places: Arc<Semaphore>,
    open: Arc<AtomicBool>,
    lease_ms: i64,
}

/// A delivery on the short way; its place is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Straight {
    pub(super) claimed: Claimed,
    pub(super) place: OwnedSemaphorePermit,
}

/// A queue's end of the short way.
pub(super) struct Arrivals {
    pub(super) straight: mpsc::UnboundedReceiver<Straight>,
    open: Arc<AtomicBool>,
}

/// A place on the short way.
#[derive(Debug)]
pub struct Ticket {
    sender: mpsc::UnboundedSender<Straight>,
    place: OwnedSemaphorePermit,
    /// How long the lease is to be, in ms.
    pub lease_ms: i64,
}

impl Queues {
    /// Adds the queue of an instance, or finds it: what it waits for.
    pub fn add(&self, instance: &str) -> Arc<Notify> {
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        entries.entry(instance.to_owned()).or_default().wake.clone()
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
        if let Some(entry) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(instance) {
            entry.wake.notify_one();
        }
    }

    /// A place on the short way to an instance, if it takes one now.
    pub fn ticket(&self, instance: &str) -> Option<Ticket> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let intake = entries.get(instance)?.intake.as_ref().filter(|intake| intake.open.load(Ordering::Acquire))?;
        let place = intake.places.clone().try_acquire_owned().ok()?;
        Some(Ticket { sender: intake.sender.clone(), place, lease_ms: intake.lease_ms })
    }

    /// The short way into the queue of an instance, shut at first.
    pub(super) fn intake(&self, instance: &str, lease_ms: i64) -> Arrivals {
        let (sender, straight) = mpsc::unbounded_channel();
        let open = Arc::new(AtomicBool::new(false));
        let intake = Intake { sender, places: Arc::new(Semaphore::new(PLACES)), open: open.clone(), lease_ms };
        if let Some(entry) = self.0.write().unwrap_or_else(PoisonError::into_inner).get_mut(instance) {
            entry.intake = Some(intake);
        }
        Arrivals { straight, open }
    }
}

impl Arrivals {
    /// Opens or shuts the short way.
    pub(super) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Release);
    }

    /// Shuts it for good; what is on its way still arrives.
    pub(super) fn close(&mut self) {
        self.set_open(false);
        self.straight.close();
    }
}

impl Ticket {
    /// Hands a leased delivery over; false when the queue has ended.
    pub fn hand_over(self, claimed: Claimed) -> bool {
        self.sender.send(Straight { claimed, place: self.place }).is_ok()
    }
}
