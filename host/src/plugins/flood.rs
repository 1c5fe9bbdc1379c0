//! Limits how many log records an instance may write.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Records a second, in the long run, and at once.
const RATE: f64 = 100.0;
const BURST: f64 = 1000.0;

/// A bucket of tokens; each record takes one.
pub(super) struct FloodGate(Mutex<Bucket>);

struct Bucket {
    tokens: f64,
    filled: Instant,
    suppressed: u64,
}

impl FloodGate {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Bucket { tokens: BURST, filled: Instant::now(), suppressed: 0 }))
    }

    /// `Some(suppressed since the last that passed)` when a record may pass.
    pub(super) fn pass(&self) -> Option<u64> {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        bucket.tokens = (bucket.tokens + now.duration_since(bucket.filled).as_secs_f64() * RATE).min(BURST);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            bucket.suppressed += 1;
            return None;
        }
        bucket.tokens -= 1.0;
        Some(std::mem::take(&mut bucket.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::FloodGate;

    #[test]
    fn a_flood_is_cut() {
        let gate = FloodGate::new();
        let passed = (0..5000).filter(|_| gate.pass().is_some()).count();
        assert!((1000..1500).contains(&passed), "{passed}");
    }
}
