//! Room that requests share, and of which no one client takes all.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::clients::Clients;

/// One client has at most this part of a room.
const SHARE: usize = 4;

/// Room with so many places, such as one for each byte of a body.
pub(super) struct Room {
    size: usize,
    all: Arc<Semaphore>,
    clients: Clients<Option<Arc<Semaphore>>>,
}

/// What is held of a room: of all of it, and of the share of the client.
#[derive(Debug)]
pub(super) struct Held(OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Held {
    pub(super) fn merge(&mut self, more: Self) {
        self.0.merge(more.0);
        self.1.merge(more.1);
    }
}

impl Room {
    pub(super) fn new(size: usize) -> Self {
        Self { size, all: Arc::new(Semaphore::new(size)), clients: Clients::default() }
    }

    /// The share of the client at this address.
    pub(super) fn share(&self, peer: IpAddr) -> Arc<Semaphore> {
        let new = || Arc::new(Semaphore::new(self.size / SHARE));
        self.clients.with(peer, |share| share.get_or_insert_with(new).clone())
    }

    /// Takes so many places, if there are; they are free again when what is held is dropped.
    pub(super) fn take(&self, share: &Arc<Semaphore>, places: usize) -> Option<Held> {
        let places = u32::try_from(places).ok()?;
        let own = share.clone().try_acquire_many_owned(places).ok()?;
        Some(Held(self.all.clone().try_acquire_many_owned(places).ok()?, own))
    }
}
