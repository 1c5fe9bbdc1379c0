//! Key-value storage of plugins, with a quota for each instance.

use serde_json::Value;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{Store, StoreError, waiting_ms};

/// Most bytes of keys and values of one instance.
const QUOTA: i64 = 64 << 20;
/// Most values of one instance: as many as a list of keys shows.
const MAX_VALUES: i64 = 10_000;
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
    /// The instance has as many values as it may have.
    #[error(
        "the storage of this instance has {MAX_VALUES} values, which is the most: delete what is not needed, or give values a time to live"
    )]
    TooMany,
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
        match self.inner.writer.run(input, |input, connection| Box::pin(set(input, connection))).await? {
            Room::Enough => Ok(()),
            Room::NoBytes => Err(StorageError::Full),
            Room::NoValues => Err(StorageError::TooMany),
        }
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

/// Whether a value found room.
enum Room {
    Enough,
    NoBytes,
    NoValues,
}

/// What each instance has in its storage, kept by triggers: to count anew for each value would hold up everybody who waits
/// for the writer. Temporary, so it is right whatever a store went through before.
pub(super) async fn prepare(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    let used = |row: &str| format!("octet_length({row}.key) + octet_length({row}.value)");
    let (new, old) = (used("new"), used("old"));
    let sql = format!(
        "PRAGMA temp_store = MEMORY;
         CREATE TEMP TABLE storage_used (instance TEXT PRIMARY KEY, bytes INTEGER NOT NULL, count INTEGER NOT NULL)
             WITHOUT ROWID;
         INSERT INTO storage_used SELECT instance, sum({all}), count(*) FROM storage GROUP BY instance;
         CREATE TEMP TRIGGER storage_grows AFTER INSERT ON main.storage BEGIN
             INSERT INTO storage_used VALUES (new.instance, {new}, 1)
             ON CONFLICT (instance) DO UPDATE SET bytes = bytes + excluded.bytes, count = count + 1;
         END;
         CREATE TEMP TRIGGER storage_changes AFTER UPDATE ON main.storage BEGIN
             UPDATE storage_used SET bytes = bytes + {new} - ({old}) WHERE instance = new.instance;
         END;
         CREATE TEMP TRIGGER storage_shrinks AFTER DELETE ON main.storage BEGIN
             UPDATE storage_used SET bytes = bytes - ({old}), count = count - 1 WHERE instance = old.instance;
         END;",
        all = used("storage"),
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(drop)
}

async fn set(
    (instance, key, value, expires): &(String, String, String, Option<i64>),
    connection: &mut SqliteConnection,
) -> sqlx::Result<Room> {
    sqlx::query("DELETE FROM storage WHERE expires <= ?").bind(waiting_ms()).execute(&mut *connection).await?;
    let (bytes, count): (i64, i64) = sqlx::query_as("SELECT bytes, count FROM storage_used WHERE instance = ?")
        .bind(instance)
        .fetch_optional(&mut *connection)
        .await?
        .unwrap_or_default();
    let before: Option<i64> = sqlx::query_scalar(
        "SELECT octet_length(key) + octet_length(value) FROM storage WHERE instance = ? AND key = ?",
    )
    .bind(instance)
    .bind(key)
    .fetch_optional(&mut *connection)
    .await?;
    let needed = i64::try_from(key.len() + value.len()).unwrap_or(i64::MAX);
    if before.is_none() && count >= MAX_VALUES {
        return Ok(Room::NoValues);
    }
    if (bytes - before.unwrap_or_default()).saturating_add(needed) > QUOTA {
        return Ok(Room::NoBytes);
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
    Ok(Room::Enough)
}
