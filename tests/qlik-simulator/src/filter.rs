//! The filter language of QRS, as far as it is simulated.
//!
//! ```text
//! filter     = all { "or" all }
//! all        = term { "and" term }
//! term       = "(" filter ")" | field operator value
//! field      = name { "." name }
//! operator   = "eq" | "ne" | "gt" | "ge" | "lt" | "le"
//! value      = GUID | number | "true" | "false" | "null" | "'" text with '' for ' "'"
//! ```
//!
//! A filter is evaluated on the JSON form of an object. A field leads through objects and arrays alike, and a comparison
//! holds if it holds for any value that the field leads to; so two comparisons on the same array may be met by
//! different elements of it, just as in QRS.

mod eval;
mod parse;

use std::str::FromStr;

use jiff::Timestamp;
use serde_json::Value;

pub(crate) use eval::{compare_values, values_at};

/// A parsed filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter(Expression);

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid filter at character {position}: {problem}")]
pub struct FilterError {
    position: usize,
    problem: &'static str,
}

#[derive(Clone, Debug, PartialEq)]
enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Comparison(Comparison),
}

#[derive(Clone, Debug, PartialEq)]
struct Comparison {
    field: Vec<String>,
    operator: Operator,
    literal: Literal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
enum Literal {
    /// In lower case.
    Guid(String),
    Number(f64),
    Boolean(bool),
    Null,
    /// With its meaning as a time, if it has one.
    Text(String, Option<Timestamp>),
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        parse::parse(text).map(Self)
    }
}

impl Filter {
    /// Whether the filter lets this object through.
    pub fn matches(&self, object: &Value) -> bool {
        self.0.matches(object)
    }

    /// The GUIDs that `field` must be one of for the filter to hold, or `None` if it does not say so. Saves looking at
    /// every object of a large site.
    pub(crate) fn guids(&self, field: &str) -> Option<Vec<&str>> {
        self.0.guids(field)
    }

    /// Whether nothing but the equality with a GUID is asked for, in each of `fields`.
    pub(crate) fn only_compares_guids(&self, fields: &[&str]) -> bool {
        self.0.only_compares_guids(fields)
    }
}

#[cfg(test)]
mod tests;
