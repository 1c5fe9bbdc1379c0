//! How namespaces and keys lie in the host's storage, and how they are read back.
//!
//! Its keys are short, and sorted: so they hold numbers, which grow, and names stand in the values.
//!
//! ```text
//! namespaces/0000000007            "sales"
//! keys/0000000007/000000000000042  {"key": "last run", "value": "2026-03-01"}
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use butler_plugin_api::{ServiceError, Storage, StorageEntry};
use serde_json::{Value, json};

use crate::data::{Data, Effect};

/// Longest record as JSON, in bytes: what the storage takes as a value.
pub(crate) const MAX_RECORD: usize = 1 << 20;
/// What a record has beside key and value: `{"key":"","value":""}`.
const FRAME: usize = 21;
const NAMESPACES: &str = "namespaces/";
const KEYS: &str = "keys/";
/// None of them: what is written and deleted again to see whether the storage takes writes.
pub(crate) const PROBE: &str = "probe";
/// Records that are read at a time.
const PAGE: u32 = 2_000;

pub(crate) fn place_of_namespace(number: u64) -> String {
    format!("{NAMESPACES}{number:010}")
}

/// How the places of all keys of a namespace begin.
pub(crate) fn place_of_keys(namespace: u64) -> String {
    format!("{KEYS}{namespace:010}/")
}

pub(crate) fn place_of_key(namespace: u64, number: u64) -> String {
    format!("{KEYS}{namespace:010}/{number:015}")
}

pub(crate) fn record(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": value })
}

/// Whether the record is short enough. What JSON escapes becomes longer, up to six bytes from one.
pub(crate) fn fits(key: &str, value: &str) -> bool {
    let plain = FRAME + key.len() + value.len();
    FRAME + 6 * (key.len() + value.len()) <= MAX_RECORD
        || (plain <= MAX_RECORD && record(key, value).to_string().len() <= MAX_RECORD)
}

/// Waits until all earlier writes are made. They are made one after the other, so behind this one there is none of a former
/// generation of this instance, which could come between the pages that are read.
pub(crate) async fn wait_for_writes(storage: &Storage) -> Result<(), ServiceError> {
    storage.delete(PROBE).await.map(drop)
}

/// Reads everything. `now` is when a page has been read: the time that is left counts from then.
pub(crate) async fn load(storage: &Storage, now: impl Fn() -> Duration) -> Result<Data, ServiceError> {
    let (mut data, mut names, mut foreign) = (Data::default(), HashMap::new(), 0);
    for prefix in [NAMESPACES, KEYS] {
        let mut after: Option<String> = None;
        loop {
            let page = storage.entries(prefix, after.as_deref(), PAGE).await?;
            let at = now();
            after = page.entries.last().map(|entry| entry.key.clone());
            for entry in page.entries {
                let effect = if prefix == NAMESPACES { namespace(&entry, &mut names) } else { key(&entry, &names) };
                if let Some(effect) = effect {
                    data.apply(effect, at);
                } else {
                    foreign += 1;
                    data.pass_over(numbers(&entry.key));
                }
            }
            if !page.more || after.is_none() {
                break;
            }
        }
    }
    if foreign > 0 {
        tracing::warn!(records = foreign, "records in the storage are none of this plugin's and are left alone");
    }
    Ok(data)
}

/// The numbers in the place of a key: of its namespace and its own.
fn numbers(place: &str) -> Option<(u64, u64)> {
    let (namespace, number) = place.strip_prefix(KEYS)?.split_once('/')?;
    Some((namespace.parse().ok()?, number.parse().ok()?))
}

fn namespace(entry: &StorageEntry, names: &mut HashMap<u64, Arc<str>>) -> Option<Effect> {
    let number = entry.key.strip_prefix(NAMESPACES)?.parse().ok()?;
    let name: Arc<str> = entry.value.as_str()?.into();
    names.insert(number, name.clone());
    Some(Effect::Create { namespace: name, number })
}

fn key(entry: &StorageEntry, names: &HashMap<u64, Arc<str>>) -> Option<Effect> {
    let (namespace, number) = numbers(&entry.key)?;
    let namespace = names.get(&namespace)?.clone();
    Some(Effect::Put {
        namespace,
        key: entry.value["key"].as_str()?.into(),
        number,
        value: entry.value["value"].as_str()?.into(),
        ttl: entry.ttl_ms.map(Duration::from_millis),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_measured_as_it_is_written() {
        assert_eq!(record("", "").to_string().len(), FRAME);
        for (key, value, expected) in [
            ("k", "v".repeat(MAX_RECORD - FRAME - 1), true),
            ("k", "v".repeat(MAX_RECORD - FRAME), false),
            ("k", "\"".repeat(MAX_RECORD / 2 - FRAME), true),
            ("k", "\"".repeat(MAX_RECORD / 2), false),
            ("\0", "\0".repeat(MAX_RECORD / 6), false),
        ] {
            assert_eq!(fits(key, &value), expected, "{} bytes", value.len());
        }
    }

    #[test]
    fn places_are_in_the_order_of_their_numbers() {
        let mut places: Vec<String> = [9, 10, 99, 100_000_000].map(|number| place_of_key(3, number)).to_vec();
        places.extend([9, 10].map(|namespace| place_of_key(namespace, 1)));
        assert!(places.is_sorted(), "{places:?}");
        assert!(
            place_of_key(3, 9).starts_with(&place_of_keys(3)) && !place_of_key(31, 9).starts_with(&place_of_keys(3))
        );
    }
}
