//! What arrived at a destination: executions, each counted once, and how often one came again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Shared with whoever receives.
#[derive(Debug, Default, Clone)]
pub struct Arrivals(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    ids: HashSet<Vec<u8>>,
    again: usize,
}

impl Arrivals {
    /// Notes the executions of a text: what stands in quotes after each `mark`.
    pub fn note(&self, text: &[u8], mark: &[u8]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = text;
        while let Some(at) = rest.windows(mark.len()).position(|part| part == mark) {
            rest = &rest[at + mark.len()..];
            let end = rest.iter().position(|byte| *byte == b'"').unwrap_or(rest.len());
            if !known.ids.insert(rest[..end].to_vec()) {
                known.again += 1;
            }
        }
    }

    /// Distinct executions, and how many came again.
    pub fn counts(&self) -> (usize, usize) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (known.ids.len(), known.again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_told_apart() {
        let arrivals = Arrivals::default();
        arrivals.note(br#"a id="1",b=2\nc id="2" id="1""#, b"id=\"");
        assert_eq!(arrivals.counts(), (2, 1));
    }
}
