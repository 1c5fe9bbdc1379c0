//! Query parameters of lists.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::super::answer::Failure;
use crate::config::Span;
use crate::store::now_ms;

const LIMIT: u32 = 50;
/// Longest page.
pub(super) const MAX_LIMIT: u32 = 500;

/// Schema of the parameters of a list: these, and those for its pages. Others are refused: a typing error would list too
/// much.
pub(super) fn list(mut properties: Value) -> Value {
    let cursor = "Only entries that are older than this one: `next` of the page before";
    properties["before"] = json!({ "type": "string", "description": cursor });
    limited(properties)
}

/// The same for a list without pages.
pub(super) fn limited(mut properties: Value) -> Value {
    properties["limit"] = json!({
        "type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": LIMIT, "description": "So many at most",
    });
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// The parameters of a list, checked by their schema.
pub(super) struct Query<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Query<'a> {
    /// A parameter; an empty one counts as absent.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// How many entries are wanted.
    pub(super) fn limit(&self) -> u32 {
        let limit = self.0.get("limit").and_then(Value::as_u64).and_then(|limit| u32::try_from(limit).ok());
        limit.unwrap_or(LIMIT)
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
    use super::super::super::coerce::Shape;
    use super::*;

    fn entries(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn times() {
        let time = |text: &str| {
            let entries = entries(&json!({ "since": text }));
            Query(&entries).time("since").map_err(|failure| failure.message)
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
    fn what_the_schema_refuses() {
        let schema = list(json!({ "state": { "type": "string" } }));
        let shape = Shape::new(&schema).unwrap().unwrap();
        let refused = |query: Value| shape.apply("querystring", &mut query.clone()).err();
        let unknown = "querystring must NOT have additional properties ('sate'); known are before, limit, state";
        assert_eq!(refused(json!({ "sate": "dead" })).as_deref(), Some(unknown));
        let twice = "querystring/state must be string";
        assert_eq!(refused(json!({ "state": ["a", "b"] })).as_deref(), Some(twice));
        for (limit, expected) in
            [("1", Some(1)), ("500", Some(500)), ("0", None), ("501", None), ("x", None), ("-1", None), ("1.5", None)]
        {
            let mut query = json!({ "limit": limit });
            let sound = shape.apply("querystring", &mut query).is_ok();
            let limit = Query(query.as_object().unwrap()).limit();
            assert_eq!(sound.then_some(limit), expected, "{query}");
        }
        assert_eq!(Query(&Map::new()).limit(), LIMIT);
    }
}
