//! What arrived at the simulator, in numbers.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Serialize;

use crate::qrs::Endpoint;

/// A snapshot of the counters since start or since the last reset. A restart of the server does not clear them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Counts {
    /// TCP connections accepted.
    pub connections: u64,
    /// TLS handshakes that succeeded.
    pub handshakes: u64,
    /// TLS handshakes that failed, for instance for lack of a client certificate.
    pub handshakes_failed: u64,
    /// Requests, including refused and faulty ones.
    pub requests: u64,
    /// Requests by pattern of the [`Endpoint`], only those that were called.
    pub endpoints: BTreeMap<String, u64>,
    /// Responses by status. Requests that ended in a reset, or never, are missing.
    pub statuses: BTreeMap<u16, u64>,
}

impl Counts {
    /// Number of requests to one endpoint.
    pub fn requests_to(&self, endpoint: Endpoint) -> u64 {
        self.endpoints.get(endpoint.pattern()).copied().unwrap_or_default()
    }

    /// Number of responses with one status.
    pub fn responses_with(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or_default()
    }
}

/// The counters behind [`Counts`].
#[derive(Default)]
pub(crate) struct Counters {
    connections: AtomicU64,
    handshakes: AtomicU64,
    handshakes_failed: AtomicU64,
    endpoints: [AtomicU64; Endpoint::ALL.len()],
    statuses: Mutex<BTreeMap<u16, u64>>,
}

impl Counters {
    pub(crate) fn connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn handshake(&self, succeeded: bool) {
        let counter = if succeeded { &self.handshakes } else { &self.handshakes_failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request(&self, endpoint: Endpoint) {
        self.endpoints[endpoint as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn response(&self, status: u16) {
        *self.statuses.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default() += 1;
    }

    pub(crate) fn snapshot(&self) -> Counts {
        let endpoints: BTreeMap<_, _> = Endpoint::ALL
            .iter()
            .map(|endpoint| (endpoint.pattern().to_owned(), self.endpoints[*endpoint as usize].load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect();
        Counts {
            connections: self.connections.load(Ordering::Relaxed),
            handshakes: self.handshakes.load(Ordering::Relaxed),
            handshakes_failed: self.handshakes_failed.load(Ordering::Relaxed),
            requests: endpoints.values().sum(),
            endpoints,
            statuses: self.statuses.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    pub(crate) fn reset(&self) {
        for counter in [&self.connections, &self.handshakes, &self.handshakes_failed].into_iter().chain(&self.endpoints)
        {
            counter.store(0, Ordering::Relaxed);
        }
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
