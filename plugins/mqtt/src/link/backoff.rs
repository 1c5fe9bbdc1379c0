//! How long is waited before the next connection.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(1);

/// Waits that double: 1 s to 60 s, each ± 20 %, so that many clients do not come at once after the broker was away.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(super) fn next(&mut self) -> Duration {
        let wait = FIRST.saturating_mul(1 << self.failures.min(6)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        jitter(wait)
    }

    /// For what will not be better soon.
    #[allow(clippy::unused_self, reason = "reads as the other waits do")]
    pub(super) fn longest(&self) -> Duration {
        jitter(LONGEST)
    }

    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

fn jitter(wait: Duration) -> Duration {
    let percent = 80 + u32::try_from(RandomState::new().hash_one(0) % 41).unwrap_or(20);
    wait * percent / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew() {
        let mut backoff = Backoff::default();
        let about = |wait: Duration, seconds: u64| {
            let expected = Duration::from_secs(seconds);
            assert!(wait >= expected * 8 / 10 && wait <= expected * 12 / 10, "{wait:?} for {seconds} s");
        };
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            about(backoff.next(), seconds);
        }
        backoff.reset();
        about(backoff.next(), 1);
        about(backoff.longest(), 60);
    }
}
