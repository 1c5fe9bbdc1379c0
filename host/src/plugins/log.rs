//! Writes records of plugins to Butler's log.

use tracing::{Level, event};

/// Writes one record. `tracing` wants levels at compile time, hence the branches.
pub(super) fn forward(instance: &str, level: u8, target: &str, message: &str, fields: &str) {
    macro_rules! record {
        ($level:expr) => {
            if fields.is_empty() {
                event!(target: "plugin", $level, instance, source = target, "{message}")
            } else {
                event!(target: "plugin", $level, instance, source = target, fields, "{message}")
            }
        };
    }
    match level {
        1 => record!(Level::ERROR),
        2 => record!(Level::WARN),
        3 => record!(Level::INFO),
        4 => record!(Level::DEBUG),
        _ => record!(Level::TRACE),
    }
}
