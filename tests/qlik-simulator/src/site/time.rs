//! Times in the one form that QRS uses.

use jiff::Timestamp;

/// The time that Qlik uses for "never".
pub const NO_TIME: &str = "1753-01-01T00:00:00.000Z";

/// ISO in UTC with milliseconds.
pub(crate) fn stamp(time: Timestamp) -> String {
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_have_milliseconds() {
        assert_eq!(stamp(Timestamp::UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
    }
}
