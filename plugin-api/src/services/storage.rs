//! The service `storage`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::ServiceError;
use crate::host::Host;

/// The longest time to live that hosts read, in milliseconds: for ever, all but in name.
const LONGEST: i64 = i64::MAX;

/// Durable key-value storage of one instance. Keys at most 512 bytes, values at most 1 MB of JSON; the host's quota holds:
/// 64 MB and 100,000 values.
#[derive(Debug, Clone)]
pub struct Storage(Host);

impl Storage {
    pub(crate) fn new(host: Host) -> Self {
        Self(host)
    }

    /// Reads a value.
    pub async fn get(&self, key: &str) -> Result<Option<Value>, ServiceError> {
        let answer = self.0.invoke("storage", &json!({ "op": "get", "key": key })).await?;
        Ok(answer.get("value").filter(|_| answer["found"] == true).cloned())
    }

    /// Writes a value, for ever or for `ttl`. Answers when it is on disk.
    pub async fn set(&self, key: &str, value: &Value, ttl: Option<Duration>) -> Result<(), ServiceError> {
        self.0.invoke("storage", &set(key, value, ttl)).await.map(drop)
    }

    /// Deletes a value; whether there was one.
    pub async fn delete(&self, key: &str) -> Result<bool, ServiceError> {
        let answer = self.0.invoke("storage", &json!({ "op": "delete", "key": key })).await?;
        Ok(answer["found"] == true)
    }

    /// Keys that begin with `prefix`, sorted, at most 10,000; all of them by [`Storage::entries`].
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, ServiceError> {
        let answer = self.0.invoke("storage", &json!({ "op": "list", "prefix": prefix })).await?;
        serde_json::from_value(answer["keys"].clone()).map_err(|error| ServiceError::Failed(error.to_string()))
    }
    /// Makes changes in their order, all of them or, when it fails, none. Answers when they are on disk. At most 10,000
    /// changes and 16 MB at once; the quota is held against what is there after all of them. Older hosts
    /// answer `Unsupported`.
    pub async fn apply(&self, changes: &[StorageChange]) -> Result<(), ServiceError> {
        let changes: Vec<Value> = changes.iter().map(StorageChange::to_wire).collect();
        self.0.invoke("storage", &json!({ "op": "apply", "changes": changes })).await.map(drop)
    }

    /// Values whose keys begin with `prefix`, sorted by key, those behind the key `after` only: at most `limit` (up to
    /// 10,000), and fewer where they are long. Where the answer says that there are more, the next page begins after its
    /// last key. Older hosts answer `Unsupported`.
    pub async fn entries(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<StoragePage, ServiceError> {
        let input = json!({ "op": "entries", "prefix": prefix, "after": after, "limit": limit });
        let answer = self.0.invoke("storage", &input).await?;
        serde_json::from_value(answer).map_err(|error| ServiceError::Failed(error.to_string()))
    }
}

/// A change of the storage.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum StorageChange {
    /// Writes a value, for ever or for a time.
    Set {
        /// Key.
        key: String,
        /// Value.
        value: Value,
        /// How long it stays.
        ttl: Option<Duration>,
    },
    /// Deletes a value, if there is one.
    Delete {
        /// Key.
        key: String,
    },
    /// Deletes all values whose keys begin so.
    DeletePrefix {
        /// How the keys begin.
        prefix: String,
    },
}

impl StorageChange {
    fn to_wire(&self) -> Value {
        match self {
            Self::Set { key, value, ttl } => set(key, value, *ttl),
            Self::Delete { key } => json!({ "op": "delete", "key": key }),
            Self::DeletePrefix { prefix } => json!({ "op": "deletePrefix", "prefix": prefix }),
        }
    }
}

fn set(key: &str, value: &Value, ttl: Option<Duration>) -> Value {
    let ttl = ttl.map(|ttl| i64::try_from(ttl.as_millis()).unwrap_or(LONGEST));
    json!({ "op": "set", "key": key, "value": value, "ttlMs": ttl })
}

/// Some of the values of the storage.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct StoragePage {
    /// The values, by key.
    pub entries: Vec<StorageEntry>,
    /// There are others behind the last one.
    #[serde(default)]
    pub more: bool,
}

/// A value in the storage.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct StorageEntry {
    /// Key.
    pub key: String,
    /// Value.
    pub value: Value,
    /// For how many milliseconds it is still there; absent: for ever.
    #[serde(default)]
    pub ttl_ms: Option<u64>,
}
