//! The part of an address behind the question mark.

use serde_json::Value;
use url::form_urlencoded;

use crate::filter::{self, Filter, FilterError};

/// Decoded parameters, names in any letter case.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The filter, if there is one that is not empty.
    pub(super) fn filter(&self) -> Result<Option<Filter>, FilterError> {
        self.get("filter").filter(|text| !text.trim().is_empty()).map(str::parse).transpose()
    }

    /// Sorts a list as `orderby` and `orderascending` demand.
    pub(super) fn sort(&self, objects: &mut [Value]) {
        let Some(field) = self.get("orderby").filter(|field| !field.is_empty()) else { return };
        let field: Vec<String> = field.split('.').map(str::to_owned).collect();
        let descending = self.get("orderascending").is_some_and(|text| text.eq_ignore_ascii_case("false"));
        objects.sort_by(|left, right| {
            let order = filter::compare_values(first_at(left, &field), first_at(right, &field));
            if descending { order.reverse() } else { order }
        });
    }
}

fn first_at<'a>(object: &'a Value, field: &[String]) -> Option<&'a Value> {
    let mut values = Vec::new();
    filter::values_at(object, field, &mut values);
    values.first().copied()
}
