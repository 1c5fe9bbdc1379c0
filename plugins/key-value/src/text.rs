//! What is taken from JSON: times to live, and texts of whatever kind of value.

use std::time::Duration;

use serde_json::Value;

/// A hundred years in milliseconds: longer ones are as good as these, and leave room for arithmetic.
const LONGEST: u64 = 3_155_760_000_000;

/// A time to live.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ttl {
    /// The integer part of what was sent, in milliseconds.
    pub(crate) sent: i64,
    /// What has effect: only above 0, and not longer than a hundred years.
    pub(crate) span: Option<Duration>,
}

/// Reads a number; what is none is no time to live.
pub(crate) fn ttl(value: &Value) -> Ttl {
    let whole = value.as_i64().or_else(|| value.as_f64().map(whole_part));
    let sent = whole.unwrap_or_default();
    let span = u64::try_from(sent).ok().filter(|ms| *ms > 0).map(|ms| Duration::from_millis(ms.min(LONGEST)));
    Ttl { sent, span }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the integer part is what is wanted, and huge ones end at the largest"
)]
fn whole_part(number: f64) -> i64 {
    number as i64
}

/// A value as text: texts as they are, whole numbers without a point, objects and lists as JSON. `None` for null.
pub(crate) fn text(value: &Value) -> Option<String> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < EXACT => {
                Some(whole_part(float).to_string())
            }
            _ => Some(number.to_string()),
        },
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_above_zero_is_a_time_to_live() {
        let ms = |ms| Some(Duration::from_millis(ms));
        for (value, sent, span) in [
            (json!(250), 250, ms(250)),
            (json!(250.9), 250, ms(250)),
            (json!(0), 0, None),
            (json!(0.9), 0, None),
            (json!(-5), -5, None),
            (json!(-5.7), -5, None),
            (json!(1e300), i64::MAX, ms(LONGEST)),
            (json!(u64::MAX), i64::MAX, ms(LONGEST)),
            (json!(-1e300), i64::MIN, None),
            (json!(""), 0, None),
            (json!("250"), 0, None),
            (json!(null), 0, None),
        ] {
            assert_eq!(ttl(&value), Ttl { sent, span }, "{value}");
        }
    }

    #[test]
    fn every_value_has_a_text() {
        for (value, expected) in [
            (json!("x"), Some("x")),
            (json!(""), Some("")),
            (json!(5), Some("5")),
            (json!(5.0), Some("5")),
            (json!(0.5), Some("0.5")),
            (json!(false), Some("false")),
            (json!({ "a": [1] }), Some(r#"{"a":[1]}"#)),
            (json!(null), None),
        ] {
            assert_eq!(text(&value).as_deref(), expected, "{value}");
        }
    }
}
