//! Query parameters of lists.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::super::answer::Failure;
use crate::config::Span;
use crate::store::now_ms;

const LIMIT: u32 = 50;
/// Longest page.
pub(super) const MAX_LIMIT: u32 = 500;

/// The parameters of a request, of which only some are known.
pub(super) struct Query<'a>(&'a Map<String, Value>);

impl<'a> Query<'a> {
    /// Refuses parameters that are not `known` (a typing error would list too much), or come twice.
    pub(super) fn new(query: &'a Map<String, Value>, known: &[&str]) -> Result<Self, Failure> {
        for (name, value) in query {
            if !known.contains(&name.as_str()) {
                let message = format!("there is no query parameter `{name}`; known are {}", known.join(", "));
                return Err(Failure::bad_request(message));
            }
            if !value.is_string() {
                return Err(Failure::bad_request(format!("the query parameter `{name}` is there twice")));
            }
        }
        Ok(Self(query))
    }

    /// A parameter; an empty one counts as absent.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// How many entries are wanted.
    pub(super) fn limit(&self) -> Result<u32, Failure> {
        let Some(text) = self.text("limit") else { return Ok(LIMIT) };
        let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        limit.ok_or_else(|| {
            Failure::bad_request(format!("`limit` must be a number from 1 to {MAX_LIMIT}, not `{text}`"))
        })
    }

    /// A point in time, in milliseconds since 1970: RFC 3339, or how long ago.
    pub(super) fn time(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.text(name) else { return Ok(None) };
        if let Ok(ago) = text.parse::<Span>() {
            return Ok(Some(now_ms().saturating_sub(ago.millis())));
        }
        // A `+` of a time zone that was not encoded arrives as a space.
        let time = text.replace(' ', "+").parse::<Timestamp>().or_else(|_| text.parse());
        let time = time.map(|time| Some(time.as_millisecond()));
        time.map_err(|_| {
            let words =
                "must be a date with time and zone, such as `2026-01-31T12:00:00Z`, or how long ago, such as `90m`";
            Failure::bad_request(format!("`{name}` {words}; it is `{text}`"))
        })
    }

    /// An id, turned into its number by `parse`.
    pub(super) fn id(
        &self,
        name: &str,
        what: &str,
        parse: impl Fn(&str) -> Option<i64>,
    ) -> Result<Option<i64>, Failure> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let id = parse(text)
            .ok_or_else(|| Failure::bad_request(format!("`{name}` is no id of {what} of this Butler: `{text}`")));
        id.map(Some)
    }
}

/// Cuts a list that has one entry more than was wanted; answers the cursor for the next page.
pub(super) fn cut<T>(rows: &mut Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Option<String> {
    let limit = limit as usize;
    if rows.len() <= limit {
        return None;
    }
    rows.truncate(limit);
    rows.last().map(cursor)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entries(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn times() {
        let time = |text: &str| {
            let entries = entries(&json!({ "since": text }));
            Query::new(&entries, &["since"]).unwrap().time("since").map_err(|failure| failure.message)
        };
        assert_eq!(time("2026-01-31T12:00:00Z"), Ok(Some(1_769_860_800_000)));
        assert_eq!(time("2026-01-31T13:00:00+01:00"), Ok(Some(1_769_860_800_000)));
        assert_eq!(time("2026-01-31T13:00:00 01:00"), Ok(Some(1_769_860_800_000)));
        assert_eq!(time("2026-01-31 12:00:00Z"), Ok(Some(1_769_860_800_000)));
        assert_eq!(time(""), Ok(None));
        let before = now_ms();
        let hour_ago = time("1h").unwrap().unwrap();
        assert!((before - 3_600_000..=now_ms() - 3_600_000).contains(&hour_ago));
        for wrong in ["yesterday", "2026-01-31", "2026-01-31T12:00:00", "-1h"] {
            assert!(time(wrong).unwrap_err().starts_with("`since` must be a date"), "{wrong}");
        }
    }

    #[test]
    fn unknown_and_doubled_parameters_are_refused() {
        let query = entries(&json!({ "sate": "dead" }));
        let failure = Query::new(&query, &["state", "limit"]).err().unwrap();
        assert_eq!(failure.message, "there is no query parameter `sate`; known are state, limit");
        assert!(Query::new(&entries(&json!({ "state": ["a", "b"] })), &["state"]).is_err());
        for (limit, expected) in
            [("1", Some(1)), ("500", Some(500)), ("0", None), ("501", None), ("x", None), ("-1", None)]
        {
            let query = entries(&json!({ "limit": limit }));
            assert_eq!(Query::new(&query, &["limit"]).unwrap().limit().ok(), expected, "{limit}");
        }
    }
}
