//! From expression and object to yes or no.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde_json::Value;

use super::{Comparison, Expression, Literal, Operator};

impl Expression {
    pub(super) fn matches(&self, object: &Value) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(object)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(object)),
            Self::Comparison(comparison) => comparison.matches(object),
        }
    }

    pub(super) fn guids(&self, field: &str) -> Option<Vec<&str>> {
        match self {
            // Whatever one part demands, the whole demands.
            Self::All(parts) => parts.iter().find_map(|part| part.guids(field)),
            Self::Any(parts) => {
                let each: Option<Vec<_>> = parts.iter().map(|part| part.guids(field)).collect();
                let mut guids = each?.concat();
                guids.sort_unstable();
                guids.dedup();
                Some(guids)
            }
            Self::Comparison(comparison) => comparison.guid(field).map(|guid| vec![guid]),
        }
    }

    pub(super) fn only_compares_guids(&self, fields: &[&str]) -> bool {
        match (self, fields) {
            (Self::All(parts), _) => {
                parts.len() == fields.len()
                    && fields.iter().all(|field| parts.iter().any(|part| part.only_compares_guids(&[field])))
            }
            (Self::Any(parts), [_]) => parts.iter().all(|part| part.only_compares_guids(fields)),
            (Self::Comparison(comparison), [field]) => comparison.guid(field).is_some(),
            _ => false,
        }
    }
}

impl Comparison {
    fn matches(&self, object: &Value) -> bool {
        let mut values = Vec::new();
        values_at(object, &self.field, &mut values);
        values.into_iter().any(|value| match self.literal.compare(value) {
            Some(ordering) => self.operator.accepts(ordering),
            // Values of another type are different and have no order.
            None => self.operator == Operator::NotEqual,
        })
    }

    fn guid(&self, field: &str) -> Option<&str> {
        match (&self.field[..], &self.literal) {
            ([name], Literal::Guid(guid)) if self.operator == Operator::Equal && name.eq_ignore_ascii_case(field) => {
                Some(guid)
            }
            _ => None,
        }
    }
}

impl Operator {
    fn accepts(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
        }
    }
}

impl Literal {
    /// How a value of an object compares with this literal.
    fn compare(&self, value: &Value) -> Option<Ordering> {
        match (self, value) {
            (Self::Guid(guid), Value::String(text)) => Some(text.to_ascii_lowercase().cmp(guid)),
            (Self::Number(number), Value::Number(other)) => other.as_f64()?.partial_cmp(number),
            (Self::Boolean(boolean), Value::Bool(other)) => Some(other.cmp(boolean)),
            (Self::Null, Value::Null) => Some(Ordering::Equal),
            (Self::Text(_, Some(time)), Value::String(text)) if text.parse::<Timestamp>().is_ok() => {
                text.parse::<Timestamp>().ok().map(|other| other.cmp(time))
            }
            (Self::Text(text, _), Value::String(other)) => Some(other.as_str().cmp(text)),
            _ => None,
        }
    }
}

/// All values that a field leads to. Names of fields are compared without regard to letter case.
pub(crate) fn values_at<'a>(value: &'a Value, field: &[String], found: &mut Vec<&'a Value>) {
    match (value, field) {
        (Value::Array(elements), _) => elements.iter().for_each(|element| values_at(element, field, found)),
        (_, []) => found.push(value),
        (Value::Object(members), [name, rest @ ..]) => {
            let member = members.get(name).or_else(|| {
                members.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, member)| member)
            });
            if let Some(member) = member {
                values_at(member, rest, found);
            }
        }
        _ => {}
    }
}

/// The order of two values in a sorted list; values of different types keep their places.
pub(crate) fn compare_values(left: Option<&Value>, right: Option<&Value>) -> Ordering {
    match (left, right) {
        (Some(Value::Number(left)), Some(Value::Number(right))) => {
            left.as_f64().partial_cmp(&right.as_f64()).unwrap_or(Ordering::Equal)
        }
        (Some(Value::String(left)), Some(Value::String(right))) => left.cmp(right),
        (Some(Value::Bool(left)), Some(Value::Bool(right))) => left.cmp(right),
        _ => Ordering::Equal,
    }
}
