//! Key-value storage of plugins, with a quota for each instance.

use serde_json::Value;
use sqlx::SqliteConnection;

use super::{Store, StoreError, waiting_ms};

/// Most bytes of keys and values of one instance.
const QUOTA: i64 = 64 << 20;
const MAX_KEY: usize = 512;
const MAX_VALUE: usize = 1 << 20;

/// Why a value was not stored.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Key or value is too long.
    #[error("{0}")]
    TooLong(String),
    /// The instance's room is used up.
    #[error("the storage of this instance is full ({} MB): delete what is not needed, or give values a time to live", QUOTA >> 20)]
    Full,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Reads a value; one whose time is over is not there.
    pub async fn storage_get(&self, instance: &str, key: &str) -> Result<Option<Value>, StoreError> {
        let text: Option<String> = sqlx::query_scalar(
            "SELECT value FROM storage WHERE instance = ? AND key = ? AND (expires IS NULL OR expires > ?)",
        )
        .bind(instance)
        .bind(key)
        .bind(waiting_ms())
        .fetch_optional(&self.inner.readers)
        .await?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Writes a value.
    pub async fn storage_set(
        &self,
        instance: &str,
        key: &str,
        value: &Value,
        ttl_ms: Option<i64>,
    ) -> Result<(), StorageError> {
        let value = value.to_string();
        if key.len() > MAX_KEY {
            return Err(StorageError::TooLong(format!(
                "the key has {} bytes, at most {MAX_KEY} are allowed",
                key.len()
            )));
        }
        if value.len() > MAX_VALUE {
            return Err(StorageError::TooLong(format!(
                "the value has {} bytes, at most {MAX_VALUE} are allowed",
                value.len()
            )));
        }
        let expires = ttl_ms.map(|ttl| waiting_ms().saturating_add(ttl));
        let input = (instance.to_owned(), key.to_owned(), value, expires);
        let stored = self.inner.writer.run(input, |input, connection| Box::pin(set(input, connection))).await?;
        if stored { Ok(()) } else { Err(StorageError::Full) }
    }

    /// Deletes a value; whether there was one.
    pub async fn storage_delete(&self, instance: &str, key: &str) -> Result<bool, StoreError> {
        let input = (instance.to_owned(), key.to_owned());
        self.inner
            .writer
            .run(input, |(instance, key), connection| {
                Box::pin(async move {
                    let deleted = sqlx::query("DELETE FROM storage WHERE instance = ? AND key = ?")
                        .bind(instance)
                        .bind(key)
                        .execute(connection)
                        .await?;
                    Ok(deleted.rows_affected() > 0)
                })
            })
            .await
    }

    /// Keys that begin with `prefix`, sorted, at most 10,000.
    pub async fn storage_list(&self, instance: &str, prefix: &str) -> Result<Vec<String>, StoreError> {
        let keys = sqlx::query_scalar(
            "SELECT key FROM storage WHERE instance = ?1 AND substr(key, 1, length(?2)) = ?2
               AND (expires IS NULL OR expires > ?3) ORDER BY key LIMIT 10000",
        )
        .bind(instance)
        .bind(prefix)
        .bind(waiting_ms())
        .fetch_all(&self.inner.readers)
        .await?;
        Ok(keys)
    }
}

/// False when there is no room.
async fn set(
    (instance, key, value, expires): &(String, String, String, Option<i64>),
    connection: &mut SqliteConnection,
) -> sqlx::Result<bool> {
    sqlx::query("DELETE FROM storage WHERE expires <= ?").bind(waiting_ms()).execute(&mut *connection).await?;
    let used: i64 = sqlx::query_scalar(
        "SELECT coalesce(sum(length(key) + length(value)), 0) FROM storage WHERE instance = ? AND key <> ?",
    )
    .bind(instance)
    .bind(key)
    .fetch_one(&mut *connection)
    .await?;
    let needed = i64::try_from(key.len() + value.len()).unwrap_or(i64::MAX);
    if used.saturating_add(needed) > QUOTA {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO storage (instance, key, value, expires) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (instance, key) DO UPDATE SET value = ?3, expires = ?4",
    )
    .bind(instance)
    .bind(key)
    .bind(value)
    .bind(expires)
    .execute(connection)
    .await?;
    Ok(true)
}
