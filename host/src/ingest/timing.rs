//! How long messages take from their receipt to the store, and how many are on that way.
//!
//! A message costs nothing here: the receiving thread looks at the clock once for all datagrams that one system call
//! brought, and they are noted together, when the commit that holds them is done.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many messages are remembered, give or take those of one look at the clock.
const REMEMBERED: usize = 1000;

/// Messages that were received together, at this time.
pub type Together = (Instant, usize);

/// Puts one more message to those that were received at the same time, if they are the last ones.
pub fn note(together: &mut Vec<Together>, received: Instant) {
    match together.last_mut() {
        Some((at, count)) if *at == received => *count += 1,
        _ => together.push((received, 1)),
    }
}

/// What is known of the way to the store.
#[derive(Debug, Default)]
pub struct Timing {
    pending: AtomicU64,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    /// How long so many messages took, oldest first.
    took: VecDeque<(Duration, usize)>,
    messages: usize,
}

/// How long the last messages took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Took {
    /// On average.
    pub average: Duration,
    /// What 95 of 100 do not exceed.
    pub p95: Duration,
    /// The longest.
    pub max: Duration,
}

impl Timing {
    /// So many messages were taken out of the buffer.
    pub fn begin(&self, messages: usize) {
        self.pending.fetch_add(messages as u64, Ordering::Relaxed);
    }

    /// So many of them are done with.
    pub fn end(&self, messages: usize) {
        self.pending.fetch_sub(messages as u64, Ordering::Relaxed);
    }

    /// How many are under way.
    pub fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }

    /// Messages are stored since `now`.
    pub fn stored(&self, together: &[Together], now: Instant) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        for (received, messages) in together {
            last.took.push_back((now.saturating_duration_since(*received), *messages));
            last.messages += messages;
        }
        while let Some((_, oldest)) =
            last.took.front().copied().filter(|(_, oldest)| last.messages - oldest >= REMEMBERED)
        {
            last.took.pop_front();
            last.messages -= oldest;
        }
    }

    /// How long the last messages took; `None` before the first.
    pub fn took(&self) -> Option<Took> {
        let (mut took, messages) = {
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            (last.took.iter().copied().collect::<Vec<_>>(), last.messages)
        };
        took.sort_unstable();
        let max = took.last()?.0;
        let sum: u128 = took.iter().map(|(time, count)| time.as_nanos() * *count as u128).sum();
        let average = Duration::from_nanos(u64::try_from(sum / messages as u128).unwrap_or(u64::MAX));
        // The first that at least 95 of 100 do not exceed.
        let (wanted, mut seen) = ((messages * 95).div_ceil(100), 0);
        let p95 = took.iter().find(|(_, count)| {
            seen += count;
            seen >= wanted
        });
        Some(Took { average, p95: p95.map_or(max, |(time, _)| *time), max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Now, and when something was received that took so many milliseconds until now.
    fn clock() -> (Instant, impl Fn(u32) -> Instant) {
        let now = Instant::now() + 1000 * MS;
        (now, move |took| now.checked_sub(took * MS).unwrap())
    }

    #[test]
    fn messages_of_one_look_at_the_clock_are_noted_together() {
        let (start, mut together) = (Instant::now(), Vec::new());
        for millis in [0, 0, 1, 0] {
            note(&mut together, start + millis * MS);
        }
        assert_eq!(together, [(start, 2), (start + MS, 1), (start, 1)]);
    }

    #[test]
    fn figures_are_those_of_the_messages_not_of_the_groups() {
        let (timing, (now, ago)) = (Timing::default(), clock());
        assert_eq!(timing.took(), None);
        timing.stored(&[], now);
        assert_eq!(timing.took(), None);
        // 94 took 10 ms, 5 took 20 ms and one 100 ms.
        timing.stored(&[(ago(100), 1), (ago(10), 94), (ago(20), 5)], now);
        let took = timing.took().unwrap();
        assert_eq!(took, Took { average: 11_400 * MS / 1000, p95: 20 * MS, max: 100 * MS });
        // One of 20: exactly 95 of 100 are shorter.
        let timing = Timing::default();
        timing.stored(&[(ago(5), 1), (ago(1), 19)], now);
        assert_eq!(timing.took().unwrap().p95, MS);
        // A clock that stands still, or goes back.
        timing.stored(&[(now + MS, 1)], now);
        assert_eq!(timing.took().unwrap().max, 5 * MS);
    }

    #[test]
    fn only_the_last_thousand_count() {
        let (timing, (now, ago)) = (Timing::default(), clock());
        timing.stored(&[(ago(100), 1)], now);
        timing.stored(&vec![(ago(1), 1); 999], now);
        assert_eq!(timing.took().unwrap().max, 100 * MS, "it is the thousandth");
        timing.stored(&[(ago(1), 1)], now);
        assert_eq!(timing.took().unwrap(), Took { average: MS, p95: MS, max: MS });
        timing.stored(&[(ago(2), 5000)], now);
        assert_eq!(timing.took().unwrap().average, 2 * MS);
        assert_eq!(timing.last.lock().unwrap().took.len(), 1, "it does not grow");
    }

    #[test]
    fn what_is_under_way_is_counted() {
        let timing = Timing::default();
        timing.begin(5);
        timing.end(2);
        assert_eq!(timing.pending(), 3);
        timing.end(3);
        assert_eq!(timing.pending(), 0);
    }
}
