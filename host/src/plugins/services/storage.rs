//! The service `storage`.

use butler_plugin_api::ServiceError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{operation, store_error};
use crate::store::{StorageChange, StorageEntry, StorageError, Store};

const OPERATIONS: [&str; 6] = ["get", "set", "delete", "list", "apply", "entries"];
const CHANGES: [&str; 3] = ["set", "delete", "deletePrefix"];
/// Values of a page, where the caller does not say.
const PAGE: u32 = 1_000;

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Call {
    Get { key: String },
    Set { key: String, value: Value, ttl_ms: Option<i64> },
    Delete { key: String },
    List { prefix: String },
    Apply { changes: Vec<Value> },
    Entries { prefix: String, after: Option<String>, limit: Option<u32> },
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Change {
    Set { key: String, value: Value, ttl_ms: Option<i64> },
    Delete { key: String },
    DeletePrefix { prefix: String },
}

impl From<Change> for StorageChange {
    fn from(change: Change) -> Self {
        match change {
            Change::Set { key, value, ttl_ms } => Self::Set { key, value, ttl_ms },
            Change::Delete { key } => Self::Delete { key },
            Change::DeletePrefix { prefix } => Self::DeletePrefix { prefix },
        }
    }
}

/// Answers a call of an instance.
pub(super) async fn answer(store: &Store, instance: &str, input: Value) -> Result<Value, ServiceError> {
    match operation("storage", &OPERATIONS, input)? {
        Call::Get { key } => {
            let value = store.storage_get(instance, &key).await.map_err(|error| store_error(&error))?;
            Ok(json!({ "found": value.is_some(), "value": value }))
        }
        Call::Set { key, value, ttl_ms } => {
            store.storage_set(instance, &key, value, ttl_ms).await.map_err(|error| storage_error(&error))?;
            Ok(json!({}))
        }
        Call::Delete { key } => {
            let found = store.storage_delete(instance, &key).await.map_err(|error| store_error(&error))?;
            Ok(json!({ "found": found }))
        }
        Call::List { prefix } => {
            let keys = store.storage_list(instance, &prefix).await.map_err(|error| store_error(&error))?;
            Ok(json!({ "keys": keys }))
        }
        Call::Apply { changes } => {
            let changes: Result<Vec<StorageChange>, ServiceError> = changes
                .into_iter()
                .map(|change| operation::<Change>("storage.apply", &CHANGES, change).map(StorageChange::from))
                .collect();
            store.storage_apply(instance, changes?).await.map_err(|error| storage_error(&error))?;
            Ok(json!({}))
        }
        Call::Entries { prefix, after, limit } => {
            let (after, limit) = (after.as_deref(), limit.unwrap_or(PAGE));
            let page =
                store.storage_entries(instance, &prefix, after, limit).await.map_err(|error| store_error(&error))?;
            let entries: Vec<Value> = page.entries.into_iter().map(entry).collect();
            Ok(json!({ "entries": entries, "more": page.more }))
        }
    }
}

fn entry(entry: StorageEntry) -> Value {
    let StorageEntry { key, value, ttl_ms } = entry;
    match ttl_ms {
        Some(ttl_ms) => json!({ "key": key, "value": value, "ttlMs": ttl_ms }),
        None => json!({ "key": key, "value": value }),
    }
}

fn storage_error(error: &StorageError) -> ServiceError {
    match error {
        StorageError::Store(error) => store_error(error),
        quota => ServiceError::Quota(quota.to_string()),
    }
}
