//! What arrived at the simulator, in numbers.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Serialize;

use crate::{ids, qrs::Endpoint};

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
    /// Which identifiers were asked for, in paths and filters, by pattern of the [`Endpoint`]. One request may ask for
    /// several. Requests that were refused, or met a fault other than a delay, are missing.
    pub asked: BTreeMap<String, Asked>,
}

/// Identifiers that one endpoint was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Asked {
    /// How many different ones.
    pub different: u64,
    /// How often that one was asked for that was asked for most often.
    pub most: u64,
}

impl Counts {
    /// Number of requests to one endpoint.
    pub fn requests_to(&self, endpoint: Endpoint) -> u64 {
        self.endpoints.get(endpoint.pattern()).copied().unwrap_or_default()
    }

    /// Identifiers that one endpoint was asked for.
    pub fn asked_of(&self, endpoint: Endpoint) -> Asked {
        self.asked.get(endpoint.pattern()).copied().unwrap_or_default()
    }

    /// Number of responses with one status.
    pub fn responses_with(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or_default()
    }
}

/// The counters behind [`Counts`].
pub(crate) struct Counters {
    connections: AtomicU64,
    handshakes: AtomicU64,
    handshakes_failed: AtomicU64,
    endpoints: [AtomicU64; Endpoint::ALL.len()],
    statuses: Mutex<BTreeMap<u16, u64>>,
    asked: Mutex<HashMap<Endpoint, HashMap<u128, u64>>>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            connections: AtomicU64::default(),
            handshakes: AtomicU64::default(),
            handshakes_failed: AtomicU64::default(),
            endpoints: std::array::from_fn(|_| AtomicU64::default()),
            statuses: Mutex::default(),
            asked: Mutex::default(),
        }
    }
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

    /// Identifiers that a request asks for: that of its path, if there is one, and those in its filter.
    pub(crate) fn asked(&self, endpoint: Endpoint, id: &str, filter: &str) {
        let words = filter.split(|letter: char| letter.is_whitespace() || matches!(letter, '(' | ')'));
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        for number in words.chain([id]).filter_map(ids::number) {
            *asked.entry(endpoint).or_default().entry(number).or_default() += 1;
        }
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
            asked: self.asked.lock().unwrap_or_else(PoisonError::into_inner).iter().map(summary).collect(),
        }
    }

    pub(crate) fn reset(&self) {
        for counter in [&self.connections, &self.handshakes, &self.handshakes_failed].into_iter().chain(&self.endpoints)
        {
            counter.store(0, Ordering::Relaxed);
        }
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn summary((endpoint, times): (&Endpoint, &HashMap<u128, u64>)) -> (String, Asked) {
    let most = times.values().max().copied().unwrap_or_default();
    (endpoint.pattern().to_owned(), Asked { different: times.len() as u64, most })
}
