//! A plain generator, so that every run has the same configs.

use super::ROUNDS;

/// The numbers of one config (splitmix64).
pub(crate) struct Random {
    state: u64,
    turn: usize,
}

impl Random {
    /// For the config `n`, the one of this turn of its kind.
    pub(crate) fn new(seed: u64, n: usize, turn: usize) -> Self {
        let mut random = Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (n as u64), turn };
        random.next();
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than the limit, which is not 0.
    #[allow(clippy::cast_possible_truncation, reason = "less than a usize")]
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(crate) fn of<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        &all[self.below(all.len())]
    }

    /// How many configs of the same kind there were before.
    pub(crate) fn turn(&self) -> usize {
        self.turn
    }

    /// One after the other: whatever the seed, each is tried.
    pub(crate) fn in_turn<'t, T>(&self, all: &'t [T]) -> &'t T {
        assert!(all.len() <= ROUNDS, "more rounds are needed");
        &all[self.turn % all.len()]
    }
}
