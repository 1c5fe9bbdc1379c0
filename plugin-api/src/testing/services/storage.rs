//! The service `storage` of the fake host.

use std::time::Duration;

use serde_json::{Value, json};

use super::text;
use crate::services::ServiceError;
use crate::testing::fake::State;

const MAX_KEY: usize = 512;
const MAX_VALUE: usize = 1 << 20;
const MAX_CHANGES: usize = 10_000;
const MAX_CHANGED: usize = 16 << 20;
const MAX_PAGE: u64 = 10_000;

pub(super) fn answer(state: &mut State, now: Duration, input: &Value) -> Result<Value, ServiceError> {
    let key = text(input, "key");
    match input["op"].as_str() {
        Some("get") => {
            let value = state.storage.get(&key).map(|(value, _)| value);
            Ok(json!({ "found": value.is_some(), "value": value }))
        }
        Some("set") => {
            fits(input)?;
            change(state, now, input);
            Ok(json!({}))
        }
        Some("delete") => Ok(json!({ "found": state.storage.remove(&key).is_some() })),
        Some("list") => {
            let prefix = text(input, "prefix");
            let keys: Vec<_> = state.storage.keys().filter(|key| key.starts_with(&prefix)).take(10_000).collect();
            Ok(json!({ "keys": keys }))
        }
        Some("apply") => {
            let changes = input["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
            let bytes: usize = changes.iter().map(fits).sum::<Result<_, _>>()?;
            if changes.len() > MAX_CHANGES || bytes > MAX_CHANGED {
                let message = format!(
                    "{} changes of {bytes} bytes at once: at most {MAX_CHANGES} and {MAX_CHANGED} are taken",
                    changes.len()
                );
                return Err(ServiceError::Quota(message));
            }
            for one in changes {
                change(state, now, one);
            }
            Ok(json!({}))
        }
        Some("entries") => Ok(entries(state, now, input)),
        _ => Err(ServiceError::Unsupported("the service `storage` has no such operation".to_owned())),
    }
}

/// Whether a change can be made, and how many bytes it writes.
fn fits(change: &Value) -> Result<usize, ServiceError> {
    match change["op"].as_str() {
        Some("set") => {
            let (key, value) = (text(change, "key").len(), change["value"].to_string().len());
            if key > MAX_KEY || value > MAX_VALUE {
                let message = format!(
                    "the key has {key} bytes, the value {value}: at most {MAX_KEY} and {MAX_VALUE} are allowed"
                );
                return Err(ServiceError::Quota(message));
            }
            Ok(key + value)
        }
        Some("delete" | "deletePrefix") => Ok(0),
        _ => Err(ServiceError::Unsupported("the service `storage` knows no such change".to_owned())),
    }
}

fn change(state: &mut State, now: Duration, change: &Value) {
    let key = text(change, "key");
    match change["op"].as_str() {
        Some("set") => {
            let end = change["ttlMs"].as_u64().map(|ttl| now.saturating_add(Duration::from_millis(ttl)));
            state.storage.insert(key, (change["value"].clone(), end));
        }
        Some("delete") => drop(state.storage.remove(&key)),
        _ => {
            let prefix = text(change, "prefix");
            state.storage.retain(|key, _| !key.starts_with(&prefix));
        }
    }
}

fn entries(state: &State, now: Duration, input: &Value) -> Value {
    let (prefix, after) = (text(input, "prefix"), input["after"].as_str());
    let limit = input["limit"].as_u64().unwrap_or(1_000).clamp(1, MAX_PAGE);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut all = state
        .storage
        .iter()
        .filter(|(key, _)| key.starts_with(&prefix) && after.is_none_or(|after| key.as_str() > after))
        .map(|(key, (value, end))| {
            let left = end.map(|end| u64::try_from(end.saturating_sub(now).as_millis()).unwrap_or(u64::MAX));
            match left {
                Some(left) => json!({ "key": key, "value": value, "ttlMs": left }),
                None => json!({ "key": key, "value": value }),
            }
        });
    let page: Vec<Value> = all.by_ref().take(limit).collect();
    json!({ "entries": page, "more": all.next().is_some() })
}
