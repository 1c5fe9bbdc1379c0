//! Which sockets cannot be read: known as soon as it has lasted for a while, and until it is over for a while.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// So long nothing but errors: then the socket counts as failed. Single errors come and go. And so long none: then it does
/// no more, lest one that comes and goes is told again and again.
const LASTING: Duration = Duration::from_secs(2);

/// Sockets that cannot be read, with what the system says.
pub type Faults = BTreeMap<SocketAddr, String>;

/// One socket's part of [`Faults`].
#[derive(Debug)]
pub(super) struct Fault {
    address: SocketAddr,
    faults: Arc<watch::Sender<Faults>>,
    since: Option<Instant>,
    /// Of a socket that is known to have failed: since when it can be read.
    well_since: Option<Instant>,
}

impl Fault {
    pub(super) fn new(address: SocketAddr, faults: Arc<watch::Sender<Faults>>) -> Self {
        Self { address, faults, since: None, well_since: None }
    }

    /// A read failed.
    pub(super) fn failed(&mut self, error: &std::io::Error) {
        self.well_since = None;
        if self.since.get_or_insert_with(Instant::now).elapsed() >= LASTING {
            self.known(error.to_string());
        }
    }

    /// Nobody reads the socket any more.
    pub(super) fn abandoned(&self) {
        self.known("its thread has ended".to_owned());
    }

    fn known(&self, why: String) {
        self.faults.send_if_modified(|faults| {
            let known = faults.contains_key(&self.address);
            if !known {
                faults.insert(self.address, why);
            }
            !known
        });
    }

    /// A read did not fail.
    pub(super) fn is_well(&mut self) {
        if self.since.is_none() {
            return;
        }
        let is_known = self.faults.borrow().contains_key(&self.address);
        if is_known && self.well_since.get_or_insert_with(Instant::now).elapsed() < LASTING {
            return;
        }
        (self.since, self.well_since) = (None, None);
        self.faults.send_if_modified(|faults| faults.remove(&self.address).is_some());
    }
}
