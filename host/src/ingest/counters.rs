//! What ingestion counts, and how often it may write about it.
//!
//! `received` counts what passed the source check, so that it is the sum of `queued` and of the drops for size, rate
//! and a full buffer. Drops in the kernel happen before Butler sees anything and stand apart.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::timing::{Timing, Took};
use super::wire::Reject;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a datagram was dropped before it was parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// Its sender is not in `udp.allowFrom`.
    Source,
    /// It is longer than `udp.maxSize`.
    Size,
    /// More than `udp.maxPerMinute`.
    RateLimit,
    /// The buffer was full.
    BufferFull,
}

impl DropReason {
    /// All reasons.
    pub const ALL: [Self; 4] = [Self::Source, Self::Size, Self::RateLimit, Self::BufferFull];

    /// Stable name, for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Size => "size",
            Self::RateLimit => "rate-limit",
            Self::BufferFull => "buffer-full",
        }
    }
}

/// Counters since the start of the daemon.
#[derive(Debug, Default)]
pub struct Counters {
    /// Datagrams that passed the source check.
    pub received: Counter,
    /// Datagrams put into the buffer.
    pub queued: Counter,
    /// Their bytes.
    pub queued_bytes: Counter,
    /// Messages parsed and stored; counted by the pipeline.
    pub processed: Counter,
    /// Messages whose event was known already; counted by the pipeline.
    pub duplicates: Counter,
    /// Messages about users in `udp.sessions.excludeUsers`; counted by the pipeline.
    pub excluded: Counter,
    /// Errors of the system while receiving.
    pub receive_errors: Counter,
    /// Messages on their way to the store; noted by the pipeline.
    pub timing: Timing,
    dropped: [Counter; DropReason::ALL.len()],
    rejected: [Counter; Reject::REASONS.len()],
}

impl Counters {
    /// Counts `n` drops.
    pub fn add_drop(&self, reason: DropReason, n: u64) {
        self.dropped[reason as usize].add(n);
    }

    /// Drops for this reason so far.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize].get()
    }

    /// Counts a message that could not be parsed.
    pub fn add_reject(&self, reject: &Reject) {
        if let Some(index) = Reject::REASONS.iter().position(|reason| *reason == reject.reason()) {
            self.rejected[index].add(1);
        }
    }

    /// The state now. Counters are read one after another: while datagrams arrive, sums may be off by a few.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            received: self.received.get(),
            queued: self.queued.get(),
            queued_bytes: self.queued_bytes.get(),
            processed: self.processed.get(),
            duplicates: self.duplicates.get(),
            excluded: self.excluded.get(),
            receive_errors: self.receive_errors.get(),
            pending: self.timing.pending(),
            took: self.timing.took(),
            dropped: DropReason::ALL.into_iter().map(|reason| (reason.label(), self.dropped(reason))).collect(),
            rejected: Reject::REASONS.into_iter().zip(self.rejected.iter().map(Counter::get)).collect(),
            ..Snapshot::default()
        }
    }
}

/// The state of ingestion at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Datagrams that passed the source check.
    pub received: u64,
    /// Datagrams put into the buffer.
    pub queued: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// Messages parsed and stored.
    pub processed: u64,
    /// Messages whose event was known already.
    pub duplicates: u64,
    /// Messages about users in `udp.sessions.excludeUsers`.
    pub excluded: u64,
    /// Errors of the system while receiving.
    pub receive_errors: u64,
    /// Messages that were taken from the buffer and are not stored yet.
    pub pending: u64,
    /// How long the last messages took from receipt to store; absent before the first.
    pub took: Option<Took>,
    /// What `udp.maxPerMinute` has counted in the current minute, of the socket that has most; absent without a limit.
    pub per_minute: Option<u32>,
    /// Drops by the label of their [`DropReason`].
    pub dropped: BTreeMap<&'static str, u64>,
    /// Messages that could not be parsed, by [`Reject::reason`].
    pub rejected: BTreeMap<&'static str, u64>,
    /// Datagrams that wait in the buffer.
    pub buffered: usize,
    /// Bytes of the buffer in use, overhead included.
    pub buffered_bytes: usize,
    /// Bytes that it can hold.
    pub capacity_bytes: usize,
    /// Datagrams dropped by the kernel since the socket was bound; absent where the system does not tell.
    pub kernel_drops: Option<u64>,
}

/// Lets a reason be logged at most once a minute.
#[derive(Debug, Default)]
pub struct LogLimiter {
    reasons: Mutex<HashMap<&'static str, (Instant, u64)>>,
}

impl LogLimiter {
    /// How long a reason is silent after it was logged.
    pub const EVERY: Duration = Duration::from_mins(1);

    /// Whether `reason` may be logged now: `Some` with how often it was suppressed since it was logged last.
    pub fn admit(&self, reason: &'static str) -> Option<u64> {
        self.admit_at(reason, Instant::now())
    }

    fn admit_at(&self, reason: &'static str, now: Instant) -> Option<u64> {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((last, suppressed)) = reasons.get_mut(reason) else {
            reasons.insert(reason, (now, 0));
            return Some(0);
        };
        if now.saturating_duration_since(*last) < Self::EVERY {
            *suppressed += 1;
            return None;
        }
        *last = now;
        Some(std::mem::take(suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_logged_once_a_minute_with_the_number_left_out() {
        let limiter = LogLimiter::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(limiter.admit_at("source", at(0)), Some(0));
        assert_eq!(limiter.admit_at("source", at(1)), None);
        assert_eq!(limiter.admit_at("size", at(1)), Some(0));
        assert_eq!(limiter.admit_at("source", at(59)), None);
        assert_eq!(limiter.admit_at("source", at(60)), Some(2));
        assert_eq!(limiter.admit_at("source", at(119)), None);
        assert_eq!(limiter.admit_at("source", at(180)), Some(1));
    }

    #[test]
    fn drops_and_rejects_are_counted_by_reason() {
        let counters = Counters::default();
        counters.received.add(3);
        counters.add_drop(DropReason::BufferFull, 2);
        counters.add_reject(&Reject::Empty);
        counters.add_reject(&Reject::NoTaskId);
        counters.add_reject(&Reject::NoTaskId);
        let snapshot = counters.snapshot();
        assert_eq!(snapshot.received, 3);
        assert_eq!(snapshot.dropped["buffer-full"], 2);
        assert_eq!(snapshot.dropped["source"], 0);
        assert_eq!((snapshot.rejected["empty"], snapshot.rejected["no-task-id"]), (1, 2));
        assert_eq!(snapshot.rejected.len(), Reject::REASONS.len());
    }
}
