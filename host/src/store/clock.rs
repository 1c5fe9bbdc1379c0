//! The time that waits are measured in: the wall clock without jumps that were not noticed yet.
//!
//! When a jump is noticed, all times in the store that something waits for are moved by it, in one transaction. Whatever
//! is written between the jump and that transaction must be in the old time, or it would be moved as well.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::now_ms;

/// A difference between the two clocks over this is a jump.
const JUMP_MS: i64 = 60_000;

/// The wall clock at one moment of the steady one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Anchor {
    wall: i64,
    steady: Instant,
}

impl Anchor {
    fn new() -> Self {
        Self { wall: now_ms(), steady: Instant::now() }
    }

    /// One that is so much ahead of the present time.
    #[cfg(test)]
    pub(super) fn ahead(by_ms: i64) -> Self {
        Self { wall: waiting_ms() + by_ms, steady: Instant::now() }
    }

    fn now(self) -> i64 {
        self.wall.saturating_add(i64::try_from(self.steady.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}

/// The process has one clock, however many stores it opens.
static ANCHOR: Mutex<Option<Anchor>> = Mutex::new(None);

/// Now, ms since 1970: the time of all waits.
pub fn waiting_ms() -> i64 {
    ANCHOR.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Anchor::new).now()
}

/// How far the wall clock has jumped, in ms, and the anchor to [`adopt`]. A small difference is taken over at once.
pub(super) fn jump() -> Option<(i64, Anchor)> {
    let mut anchor = ANCHOR.lock().unwrap_or_else(PoisonError::into_inner);
    let new = Anchor::new();
    let difference = new.wall.saturating_sub(anchor.get_or_insert(new).now());
    if difference.abs() > JUMP_MS {
        return Some((difference, new));
    }
    *anchor = Some(new);
    None
}

/// Takes the wall clock over, once everything that waits has been moved. Repeating it does no harm.
pub(super) fn adopt(new: Anchor) {
    *ANCHOR.lock().unwrap_or_else(PoisonError::into_inner) = Some(new);
}
