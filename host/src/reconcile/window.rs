//! Which windows of time are asked for.

/// Other roads and Qlik Sense's own records come first: what ended later is left for the next round.
pub(super) const BEHIND_MS: i64 = 2 * 60_000;
/// A failed attempt is final when no other one has begun for so long.
pub(super) const GRACE_MS: i64 = 5 * 60_000;
/// The first window of all.
pub(super) const FIRST_MS: i64 = 3_600_000;
const WIDEST_MS: i64 = 24 * 3_600_000;
const NARROWEST_MS: i64 = 1_000;
/// After a window with fewer results the next one may be wider.
const FEW: usize = 1_000;

/// The windows of a round, one after the other; as wide as the answers allow.
#[derive(Debug)]
pub(super) struct Windows {
    at: i64,
    end: i64,
    width: i64,
    asked: Option<(i64, i64)>,
}

impl Windows {
    /// From a checkpoint to two minutes before now, all in ms by the server's clock. It begins before the checkpoint: some
    /// results are written late, and some could not be judged yet in the last round. A checkpoint in the future is of a clock
    /// that has been set back since.
    ///
    /// `width`: that of the last round, which may have ended with too much in a window.
    pub(super) fn new(checkpoint: i64, now: i64, look_back: i64, every: i64, width: i64) -> Self {
        let overlap = GRACE_MS + 2 * every;
        Self { at: (checkpoint.min(now) - overlap).max(now - look_back), end: now - BEHIND_MS, width, asked: None }
    }

    /// How wide the next window is at most.
    pub(super) fn width(&self) -> i64 {
        self.width
    }

    /// The next window: from, inclusive, to, exclusive.
    pub(super) fn next(&mut self) -> Option<(i64, i64)> {
        if self.at >= self.end {
            return None;
        }
        let window = (self.at, (self.at + self.width).min(self.end));
        self.at = window.1;
        self.asked = Some(window);
        Some(window)
    }

    /// The last window had so many results.
    pub(super) fn seen(&mut self, results: usize) {
        if results < FEW {
            self.width = (self.width * 2).min(WIDEST_MS);
        }
    }

    /// The last window had too many: it is asked for again in parts. False when it cannot be narrower and is left out.
    pub(super) fn narrow(&mut self) -> bool {
        let Some((from, to)) = self.asked.take() else { return false };
        let narrower = (to - from) / 2;
        if narrower < NARROWEST_MS {
            return false;
        }
        (self.at, self.width) = (from, narrower);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_round_begins_before_the_checkpoint_and_ends_two_minutes_before_now() {
        let (now, minute) = (100 * 3_600_000, 60_000);
        let mut windows = Windows::new(now - 3 * minute, now, 24 * 3_600_000, minute, FIRST_MS);
        assert_eq!(windows.next(), Some((now - 10 * minute, now - 2 * minute)));
        assert_eq!(windows.next(), None);
        let mut late = Windows::new(0, now, 24 * 3_600_000, minute, FIRST_MS);
        assert_eq!(late.next().unwrap().0, now - 24 * 3_600_000, "no further back than that");
        let mut set_back = Windows::new(now + 60 * minute, now, 24 * 3_600_000, minute, FIRST_MS);
        assert_eq!(set_back.next(), Some((now - 7 * minute, now - 2 * minute)));
    }

    proptest! {
        #[test]
        fn every_moment_is_in_a_window_whatever_the_answers_are(
            checkpoint in 0..400_000_000_i64, now in 0..400_000_000_i64, answers in prop::collection::vec(0..3_usize, 0..200)
        ) {
            let mut windows = Windows::new(checkpoint, now, 100_000_000, 60_000, FIRST_MS);
            let begin = windows.at;
            let (mut seen, mut answers) = (begin, answers.into_iter());
            while let Some((from, to)) = windows.next() {
                prop_assert!(from == seen && to > from && to <= now - BEHIND_MS);
                match answers.next().unwrap_or_default() {
                    0 => windows.seen(0),
                    1 => windows.seen(FEW),
                    _ => if windows.narrow() { continue } else { prop_assert!(to - from < 2 * NARROWEST_MS) },
                }
                seen = to;
            }
            prop_assert_eq!(seen, begin.max(now - BEHIND_MS));
        }
    }
}
