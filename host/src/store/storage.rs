//! Key-value storage of plugins, with a quota for each instance.

use std::collections::BTreeMap;

use futures_util::TryStreamExt as _;
use serde_json::Value;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::rows::{chunks, values};
use super::{Store, StoreError, waiting_ms};

/// Most bytes of keys and values of one instance.
const QUOTA: i64 = 64 << 20;
/// Most values of one instance.
const MAX_VALUES: i64 = 100_000;
const MAX_KEY: usize = 512;
const MAX_VALUE: usize = 1 << 20;
/// Most changes that are made together: others wait for the writer meanwhile.
const MAX_CHANGES: usize = 10_000;
/// Most bytes of their keys and values.
const MAX_CHANGED: usize = 16 << 20;
/// Most values of a page.
const MAX_PAGE: u32 = 10_000;
/// A page ends after the value with which it has so many bytes.
const PAGE_BYTES: usize = 4 << 20;

/// A change of the storage of an instance.
#[derive(Debug)]
pub enum StorageChange {
    /// Writes a value, for ever or for so many milliseconds.
    Set {
        /// Key.
        key: String,
        /// Value.
        value: Value,
        /// Time to live, ms.
        ttl_ms: Option<i64>,
    },
    /// Deletes a value.
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

/// Some of the values of an instance.
#[derive(Debug, Default)]
pub struct StoragePage {
    /// By key.
    pub entries: Vec<StorageEntry>,
    /// There are others behind them.
    pub more: bool,
}

/// A value.
#[derive(Debug, PartialEq)]
pub struct StorageEntry {
    /// Key.
    pub key: String,
    /// Value.
    pub value: Value,
    /// How long it is still there, ms.
    pub ttl_ms: Option<i64>,
}

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
        value: Value,
        ttl_ms: Option<i64>,
    ) -> Result<(), StorageError> {
        self.storage_apply(instance, vec![StorageChange::Set { key: key.to_owned(), value, ttl_ms }]).await
    }

    /// Makes changes in their order, all in one transaction, or none of them.
    pub async fn storage_apply(&self, instance: &str, changes: Vec<StorageChange>) -> Result<(), StorageError> {
        if changes.is_empty() {
            return Ok(());
        }
        let changes = Changes::of(instance, changes)?;
        match self.inner.writer.run(changes, |changes, connection| Box::pin(apply(changes, connection))).await? {
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

    /// Values whose keys begin with `prefix`, by key, those behind the key `after` only: at most `limit`, and fewer where
    /// they are long.
    pub async fn storage_entries(
        &self,
        instance: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<StoragePage, StoreError> {
        let limit = limit.clamp(1, MAX_PAGE) as usize;
        // The first key behind another one is that with the smallest character added.
        let after = after.map(|after| format!("{after}\0"));
        let start = after.as_deref().unwrap_or_default().max(prefix);
        let now = waiting_ms();
        let mut rows = sqlx::query_as::<_, (String, String, Option<i64>)>(
            "SELECT key, value, expires FROM storage
             WHERE instance = ?1 AND key >= ?2 AND key < coalesce(?3, x'') AND (expires IS NULL OR expires > ?4)
             ORDER BY key",
        )
        .bind(instance)
        .bind(start)
        .bind(behind_all(prefix))
        .bind(now)
        .fetch(&self.inner.readers);
        let (mut page, mut bytes) = (StoragePage::default(), 0);
        while let Some((key, text, expires)) = rows.try_next().await? {
            if page.entries.len() >= limit || bytes >= PAGE_BYTES {
                page.more = true;
                break;
            }
            bytes += key.len() + text.len();
            if let Ok(value) = serde_json::from_str(&text) {
                page.entries.push(StorageEntry { key, value, ttl_ms: expires.map(|expires| expires - now) });
            }
        }
        Ok(page)
    }
}

/// The first text behind all that begin with `prefix`; `None` when there is none. Texts are in the order of their
/// characters.
fn behind_all(prefix: &str) -> Option<String> {
    let (last, next) = prefix.char_indices().rev().find_map(|(at, last)| Some((at, next(last)?)))?;
    Some(format!("{}{next}", &prefix[..last]))
}

/// The next character.
fn next(character: char) -> Option<char> {
    (character..=char::MAX).nth(1)
}

/// Changes as they are made: what a later one undoes is not made at all.
struct Changes {
    instance: String,
    /// How the keys begin that are deleted before all else.
    prefixes: Vec<String>,
    deleted: Vec<String>,
    /// Key, value as JSON, end.
    set: Vec<(String, String, Option<i64>)>,
}

impl Changes {
    fn of(instance: &str, changes: Vec<StorageChange>) -> Result<Self, StorageError> {
        if changes.len() > MAX_CHANGES {
            let count = changes.len();
            return Err(StorageError::TooLong(format!("{count} changes at once, at most {MAX_CHANGES} are taken")));
        }
        let (mut bytes, now) = (0, waiting_ms());
        let (mut prefixes, mut last) = (Vec::new(), BTreeMap::new());
        for change in changes {
            match change {
                StorageChange::Set { key, value, ttl_ms } => {
                    let value = value.to_string();
                    at_most("key", key.len(), MAX_KEY)?;
                    at_most("value", value.len(), MAX_VALUE)?;
                    bytes += key.len() + value.len();
                    last.insert(key, Some((value, ttl_ms.map(|ttl| now.saturating_add(ttl)))));
                }
                StorageChange::Delete { key } => drop(last.insert(key, None)),
                StorageChange::DeletePrefix { prefix } => {
                    last.retain(|key: &String, _| !key.starts_with(&prefix));
                    prefixes.push(prefix);
                }
            }
        }
        if bytes > MAX_CHANGED {
            let text = format!("changes of {bytes} bytes at once, at most {MAX_CHANGED} are taken");
            return Err(StorageError::TooLong(text));
        }
        let mut made = Self { instance: instance.to_owned(), prefixes, deleted: Vec::new(), set: Vec::new() };
        for (key, value) in last {
            match value {
                Some((value, expires)) => made.set.push((key, value, expires)),
                None => made.deleted.push(key),
            }
        }
        Ok(made)
    }
}

fn at_most(what: &str, length: usize, most: usize) -> Result<(), StorageError> {
    if length > most {
        return Err(StorageError::TooLong(format!("the {what} has {length} bytes, at most {most} are allowed")));
    }
    Ok(())
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

async fn apply(changes: &Changes, connection: &mut SqliteConnection) -> sqlx::Result<Room> {
    sqlx::query("DELETE FROM storage WHERE expires <= ?").bind(waiting_ms()).execute(&mut *connection).await?;
    sqlx::raw_sql("SAVEPOINT storage").execute(&mut *connection).await?;
    make(changes, connection).await?;
    let (bytes, count): (i64, i64) = sqlx::query_as("SELECT bytes, count FROM storage_used WHERE instance = ?")
        .bind(&changes.instance)
        .fetch_optional(&mut *connection)
        .await?
        .unwrap_or_default();
    let room = match (bytes > QUOTA, count > MAX_VALUES) {
        (_, true) => Room::NoValues,
        (true, _) => Room::NoBytes,
        (false, false) => Room::Enough,
    };
    let end = match room {
        Room::Enough => "RELEASE storage",
        _ => "ROLLBACK TO storage; RELEASE storage",
    };
    sqlx::raw_sql(end).execute(connection).await?;
    Ok(room)
}

async fn make(changes: &Changes, connection: &mut SqliteConnection) -> sqlx::Result<()> {
    for prefix in &changes.prefixes {
        sqlx::query("DELETE FROM storage WHERE instance = ?1 AND key >= ?2 AND key < coalesce(?3, x'')")
            .bind(&changes.instance)
            .bind(prefix)
            .bind(behind_all(prefix))
            .execute(&mut *connection)
            .await?;
    }
    for chunk in chunks(&changes.deleted) {
        let keys = values(chunk.len(), "(?)");
        let sql = format!("DELETE FROM storage WHERE instance = ? AND key IN ({keys})");
        let query = sqlx::query(AssertSqlSafe(sql)).bind(&changes.instance);
        chunk.iter().fold(query, Query::bind).execute(&mut *connection).await?;
    }
    for chunk in chunks(&changes.set) {
        let sql = format!(
            "INSERT INTO storage (instance, key, value, expires){} ON CONFLICT (instance, key)
             DO UPDATE SET value = excluded.value, expires = excluded.expires",
            values(chunk.len(), "(?, ?, ?, ?)")
        );
        let query = chunk.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, (key, value, expires)| {
            query.bind(&changes.instance).bind(key).bind(value).bind(*expires)
        });
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::behind_all;

    #[test]
    fn what_is_behind_all_that_begin_so() {
        for (prefix, expected) in [
            ("a/", Some("a0")),
            ("é", Some("ê")),
            ("\u{d7ff}", Some("\u{e000}")),
            ("a\u{10ffff}", Some("b")),
            ("a\0", Some("a\u{1}")),
            ("", None),
            ("\u{10ffff}", None),
        ] {
            assert_eq!(behind_all(prefix).as_deref(), expected, "{prefix:?}");
        }
    }
}
