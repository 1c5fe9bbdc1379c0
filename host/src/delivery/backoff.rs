//! When a failed delivery is tried again, and when it is given up.

use crate::config::Retry;

/// At least so many attempts are made, however old the delivery is.
const MIN_ATTEMPTS: u32 = 5;
/// Longest wait that a destination may ask for.
const MAX_ASKED_MS: i64 = 3_600_000;

/// The time of the next attempt (ms since 1970), or `None` to give up.
///
/// `attempt` is the number of the attempt that failed, `asked_ms` the destination's own wish, `jitter` between 0 and 1.
pub(super) fn next_attempt(
    retry: &Retry,
    attempt: u32,
    first_attempt: i64,
    now: i64,
    asked_ms: Option<u64>,
    jitter: f64,
) -> Option<i64> {
    if now - first_attempt >= retry.max_age.millis() && attempt >= MIN_ATTEMPTS {
        return None;
    }
    let doublings = attempt.saturating_sub(1).min(30);
    let wait = retry.initial.millis().saturating_mul(1 << doublings).min(retry.max.millis());
    // 80 to 120 %, so that deliveries that failed together do not come back together.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "waits are small numbers")]
    let wait = (wait as f64 * (0.8 + 0.4 * jitter)) as i64;
    let asked = asked_ms.map_or(0, |ms| i64::try_from(ms).unwrap_or(MAX_ASKED_MS).min(MAX_ASKED_MS));
    Some(now + wait.max(asked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Span;

    fn retry() -> Retry {
        Retry { max_age: Span::hours(24), initial: Span::seconds(2), max: Span::minutes(10) }
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits: Vec<i64> =
            [1, 2, 3, 9, 10, 60].map(|n| next_attempt(&retry(), n, 0, 0, None, 0.5).unwrap()).to_vec();
        assert_eq!(waits, [2000, 4000, 8000, 512_000, 600_000, 600_000]);
        assert_eq!(next_attempt(&retry(), 1, 0, 0, None, 0.0), Some(1600));
        assert_eq!(next_attempt(&retry(), 1, 0, 0, Some(30_000), 0.5), Some(30_000));
        assert_eq!(next_attempt(&retry(), 1, 0, 0, Some(u64::MAX), 0.5), Some(MAX_ASKED_MS));
    }

    #[test]
    fn given_up_only_after_max_age_and_five_attempts() {
        let day = Span::hours(24).millis();
        assert!(next_attempt(&retry(), 4, 0, 2 * day, None, 0.5).is_some());
        assert!(next_attempt(&retry(), 5, 0, day, None, 0.5).is_none());
        assert!(next_attempt(&retry(), 99, 0, day - 1, None, 0.5).is_some());
    }
}
