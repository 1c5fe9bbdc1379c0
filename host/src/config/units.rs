//! Quantities with their unit in the text: `90s`, `4MB`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A span of time in the config: a whole number with `ms`, `s`, `m`, `h` or `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

/// An amount of bytes in the config: a whole number with `B`, `kB`, `MB` or `GB` (powers of 1024).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

/// A text that is no quantity.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not {what}: write a whole number and a unit, such as {example}")]
pub struct UnitError {
    text: String,
    what: &'static str,
    example: &'static str,
}

impl Span {
    /// So many seconds.
    pub const fn seconds(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }

    /// So many minutes.
    pub const fn minutes(n: u64) -> Self {
        Self::seconds(n * 60)
    }

    /// So many hours.
    pub const fn hours(n: u64) -> Self {
        Self::minutes(n * 60)
    }

    /// So many days.
    pub const fn days(n: u64) -> Self {
        Self::hours(n * 24)
    }

    /// As a duration.
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// In milliseconds.
    pub fn millis(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }
}

impl Size {
    /// So many bytes.
    pub const fn bytes(n: u64) -> Self {
        Self(n)
    }

    /// So many megabytes.
    pub const fn megabytes(n: u64) -> Self {
        Self(n << 20)
    }

    /// So many gigabytes.
    pub const fn gigabytes(n: u64) -> Self {
        Self(n << 30)
    }

    /// In bytes.
    pub const fn as_bytes(self) -> u64 {
        self.0
    }

    /// In bytes, for buffers.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// The number and the unit of a text.
fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..digits].parse().ok()?, text[digits..].trim_start()))
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let millis = split(text).and_then(|(number, unit)| {
            let unit = match unit {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return None,
            };
            number.checked_mul(unit)
        });
        let millis = millis.ok_or_else(|| UnitError {
            text: text.to_owned(),
            what: "a span of time",
            example: "`90s`, `15m`, `24h`, `30d`",
        })?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let bytes = split(text).and_then(|(number, unit)| {
            let unit = match unit {
                "B" => 1,
                "kB" | "KB" => 1 << 10,
                "MB" => 1 << 20,
                "GB" => 1 << 30,
                _ => return None,
            };
            number.checked_mul(unit)
        });
        bytes.map(Self).ok_or_else(|| UnitError {
            text: text.to_owned(),
            what: "a size",
            example: "`65507B`, `512kB`, `4MB`",
        })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        for (unit, name) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")] {
            if millis >= unit && millis.is_multiple_of(unit) {
                return write!(f, "{}{name}", millis / unit);
            }
        }
        write!(f, "{millis}ms")
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in [(1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB")] {
            if self.0 >= unit && self.0.is_multiple_of(unit) {
                return write!(f, "{}{name}", self.0 / unit);
            }
        }
        write!(f, "{}B", self.0)
    }
}

macro_rules! as_text {
    ($type:ty, $name:literal, $pattern:literal, $words:literal, $description:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "pattern": $pattern,
                    "patternErrorMessage": $words,
                    "description": $description,
                })
            }
        }
    };
}

// Up to ten digits: with more, the product with the largest unit leaves 64 bits.
as_text!(
    Span,
    "Span",
    "^[0-9]{1,10} ?(ms|s|m|h|d)$",
    "must be a whole number and a unit (ms, s, m, h, d), such as `90s`",
    "A span of time: a whole number with ms, s, m, h or d, such as 90s."
);
as_text!(
    Size,
    "Size",
    "^[0-9]{1,10} ?(B|[kK]B|MB|GB)$",
    "must be a whole number and a unit (B, kB, MB, GB), such as `4MB`",
    "An amount of bytes: a whole number with B, kB, MB or GB, such as 4MB."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_quantities_are_the_same_thing() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("24h", 86_400), ("30d", 2_592_000)] {
            assert_eq!(text.parse::<Span>().unwrap().duration(), Duration::from_secs(seconds));
        }
        assert_eq!("1500ms".parse::<Span>().unwrap().to_string(), "1500ms");
        assert_eq!(Span::seconds(86_400).to_string(), "1d");
        assert_eq!("4MB".parse::<Size>().unwrap(), Size::megabytes(4));
        assert_eq!(Size::bytes(65_507).to_string(), "65507B");
        for wrong in ["", "5", "s", "-1s", "1.5h", "5 minutes", "99999999999999999999s", "18446744073709551615d"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
        assert!("5".parse::<Size>().is_err() && "4mb".parse::<Size>().is_err());
    }
}
