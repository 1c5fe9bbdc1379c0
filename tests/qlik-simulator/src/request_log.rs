//! The last requests, for tests that look at what a client sent.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Older requests are forgotten beyond this number.
const CAPACITY: usize = 1_000;

/// A request as it arrived, before any check.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeenRequest {
    /// When it arrived.
    pub at: Instant,
    /// `GET`, `POST`, ….
    pub method: String,
    /// Path and query exactly as on the wire, still percent-encoded.
    pub target: String,
    /// Headers in order of arrival, names in lower case. Values that are not text are replaced by an empty one.
    pub headers: Vec<(String, String)>,
}

impl SeenRequest {
    pub(crate) fn new<B>(request: &hyper::Request<B>) -> Self {
        Self {
            at: Instant::now(),
            method: request.method().to_string(),
            target: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
            headers: request
                .headers()
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
                .collect(),
        }
    }

    /// The first value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
pub(crate) struct RequestLog(Mutex<VecDeque<SeenRequest>>);

impl RequestLog {
    pub(crate) fn push(&self, request: SeenRequest) {
        let mut requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if requests.len() == CAPACITY {
            requests.pop_front();
        }
        requests.push_back(request);
    }

    pub(crate) fn all(&self) -> Vec<SeenRequest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
