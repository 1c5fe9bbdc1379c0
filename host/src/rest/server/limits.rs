//! How much and how long.

use std::time::Duration;

/// Connections at once, if the system lets Butler have so many files open.
const CONNECTIONS: usize = 1024;
/// Requests at once over all connections, beside the first of each.
const FURTHER: usize = 1024;

/// What the server puts up with.
#[derive(Debug, Clone, Copy)]
pub(in crate::rest) struct Limits {
    /// Connections at once. When there are more, those that have waited longest for their client give way.
    pub(in crate::rest) connections: usize,
    /// Requests at once over all connections, beside the first of each; a client has at most a quarter. More are answered 503.
    pub(in crate::rest) further: usize,
    /// How long a connection may be without a request: that is the time for a TLS handshake and for the head of a request.
    pub(in crate::rest) head: Duration,
    /// How long a body may take.
    pub(in crate::rest) body: Duration,
    /// How long a client may take none of its answer.
    pub(in crate::rest) answer: Duration,
    /// How long requests under way may take at a stop.
    pub(in crate::rest) stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            further: FURTHER,
            head: Duration::from_secs(15),
            body: Duration::from_secs(30),
            answer: Duration::from_secs(30),
            stop: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// As many connections as the system allows: half of the files that may be open are left for everything else.
    pub(super) fn of_this_process() -> Self {
        let files = raise_open_files().map_or(usize::MAX, |files| files / 2);
        Self { connections: CONNECTIONS.min(files).max(1), ..Self::default() }
    }

    /// Connections of one client at once: others always find a place.
    pub(super) fn connections_of_one(&self) -> usize {
        self.connections - self.connections / 4
    }

    /// How often connections are looked at.
    pub(super) fn look(&self) -> Duration {
        (self.head.min(self.answer) / 4).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}

/// Lets the process open as many files as it may without asking an administrator; how many that is, if it is known.
#[cfg(unix)]
fn raise_open_files() -> Option<usize> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let raised = soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    usize::try_from(if raised { hard } else { soft }).ok()
}

#[cfg(not(unix))]
fn raise_open_files() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_is_kept_from_any_one_client() {
        let of_one = |connections| Limits { connections, ..Limits::default() }.connections_of_one();
        assert_eq!([1, 2, 4, 1024].map(of_one), [1, 2, 3, 768]);
    }
}
