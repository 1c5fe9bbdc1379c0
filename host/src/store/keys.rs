//! Keys that identify events: each belongs to one event, however often it is heard of.
//!
//! The table holds their hashes. Ids are random, so each key touches a page of its own, and a commit writes every page it
//! touched: a third of the length makes accept a third faster. `events.keys` has them in full.
//!
//! Keys outlive their events: Qlik Sense may list a run for longer than Butler remembers what became of it. Each has the day
//! on which it was heard of last.

use std::collections::HashSet;

use sha3::{Digest as _, Sha3_256};
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::now_ms;
use super::rows::{chunks, values};

/// Bytes of a hash: too many for two keys to share one.
const HASH: usize = 16;
const DAY_MS: i64 = 24 * 3_600_000;
/// Rows looked at in one transaction for those to forget.
const LOOKED_AT: i64 = 5000;
/// Rows hashed at a time when a store is migrated.
const MIGRATED: i64 = 256;

/// The day of a time in ms since 1970.
fn day(ms: i64) -> i64 {
    ms.div_euclid(DAY_MS)
}

/// Beginnings of the keys that belong to one run alone. The others are places on a grid of times, which runs of one task
/// may share, or belong to events that only their plugin knows.
const IDENTITIES: [&str; 2] = ["exec:", "result:"];

/// Whether a key identifies one run.
pub(super) fn is_identity(key: &str) -> bool {
    IDENTITIES.iter().any(|start| key.starts_with(start))
}

/// What the table has of a key: in the `sqlite3` shell `substr(sha3('…', 256), 1, 16)`.
pub(super) fn hash(key: &str) -> Vec<u8> {
    Sha3_256::digest(key)[..HASH].to_vec()
}

/// Claims keys for events; the pairs that were free, or theirs already.
pub(super) async fn claim<'a>(
    pairs: &[(&'a str, i64)],
    connection: &mut SqliteConnection,
) -> sqlx::Result<HashSet<(&'a str, i64)>> {
    let mut claimed = HashSet::with_capacity(pairs.len());
    let row = format!("(?, ?, {})", day(now_ms()));
    for chunk in chunks(pairs) {
        // The conflict clause spares SQLite the journal that it keeps to undo half a statement: what fails is rolled back
        // as a whole.
        let sql = format!("INSERT OR IGNORE INTO keys (hash, event, day){}", values(chunk.len(), &row));
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for (key, seq) in chunk {
            query = query.bind(hash(key)).bind(*seq);
        }
        if query.execute(&mut *connection).await?.rows_affected() == chunk.len() as u64 {
            claimed.extend(chunk.iter().copied());
            continue;
        }
        // Rare: each row that is answered costs more than its insertion.
        for (key, seq) in chunk {
            if owner(key, connection).await?.is_none_or(|owner| owner == *seq) {
                claimed.insert((*key, *seq));
            }
        }
    }
    Ok(claimed)
}

/// The event that a key belongs to.
pub(super) async fn owner(key: &str, connection: &mut SqliteConnection) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar("SELECT event FROM keys WHERE hash = ?").bind(hash(key)).fetch_optional(connection).await
}

/// Makes a key that belongs to `from` or to nobody that of another event; false when it is another's, or its own already.
pub(super) async fn give(key: &str, from: i64, to: i64, connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    let sql = "INSERT INTO keys (hash, event, day) VALUES (?1, ?2, ?4)
               ON CONFLICT (hash) DO UPDATE SET event = ?2 WHERE event = ?3 AND event <> ?2";
    let given = sqlx::query(sql).bind(hash(key)).bind(to).bind(from).bind(day(now_ms())).execute(connection).await?;
    Ok(given.rows_affected() == 1)
}

/// Gives back those keys that belong to an event.
pub(super) async fn release(keys: &[&str], event: i64, connection: &mut SqliteConnection) -> sqlx::Result<()> {
    for chunk in chunks(keys) {
        let sql = format!("DELETE FROM keys WHERE event = ? AND hash IN ({})", vec!["?"; chunk.len()].join(", "));
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(event);
        for key in chunk {
            query = query.bind(hash(key));
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Notes that keys were heard of today.
pub(super) async fn hear(keys: &[&str], connection: &mut SqliteConnection) -> sqlx::Result<()> {
    for key in keys {
        sqlx::query("UPDATE keys SET day = ?1 WHERE hash = ?2 AND day < ?1")
            .bind(day(now_ms()))
            .bind(hash(key))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// Looks at some keys behind `after`, in the order of their hashes, and removes those whose event is gone and that were not
/// heard of since a time. How many, and the last one looked at if there are more.
///
/// There is no index of days: accept would have to write it.
pub(super) async fn forget(
    after: &[u8],
    before: i64,
    connection: &mut SqliteConnection,
) -> sqlx::Result<(u64, Option<Vec<u8>>)> {
    let last: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT hash FROM keys WHERE hash > ? ORDER BY hash LIMIT 1 OFFSET ?")
            .bind(after)
            .bind(LOOKED_AT - 1)
            .fetch_optional(&mut *connection)
            .await?;
    let removed = sqlx::query(
        "DELETE FROM keys WHERE hash > ?1 AND (?2 IS NULL OR hash <= ?2) AND day < ?3
         AND NOT EXISTS (SELECT 1 FROM events WHERE seq = keys.event)",
    )
    .bind(after)
    .bind(&last)
    .bind(day(before))
    .execute(connection)
    .await?;
    Ok((removed.rows_affected(), last))
}

/// Migration: stores up to version 2 had the keys themselves.
pub(super) async fn migrate(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    sqlx::raw_sql(
        "ALTER TABLE keys RENAME TO plain_keys;
         CREATE TABLE keys (hash BLOB PRIMARY KEY, event INTEGER NOT NULL, day INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;",
    )
    .execute(&mut *connection)
    .await?;
    let mut last = String::new();
    loop {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT key, event FROM plain_keys WHERE key > ? ORDER BY key LIMIT ?")
                .bind(&last)
                .bind(MIGRATED)
                .fetch_all(&mut *connection)
                .await?;
        let Some((key, _)) = rows.last() else { break };
        last.clone_from(key);
        let pairs: Vec<(&str, i64)> = rows.iter().map(|(key, event)| (key.as_str(), *event)).collect();
        claim(&pairs, connection).await?;
    }
    sqlx::raw_sql("DROP TABLE plain_keys").execute(connection).await.map(drop)
}

#[cfg(test)]
mod tests {
    use sqlx::Connection as _;

    use super::*;

    #[test]
    fn hashes_are_those_of_the_sqlite_shell() {
        // SELECT substr(sha3('exec:e:failed', 256), 1, 16);
        let expected = [152, 201, 112, 57, 215, 17, 111, 236, 96, 235, 165, 202, 2, 224, 153, 110];
        assert_eq!(hash("exec:e:failed"), expected);
    }

    #[tokio::test]
    async fn keys_of_older_stores_stay_with_their_events() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        sqlx::raw_sql(
            "CREATE TABLE keys (key TEXT PRIMARY KEY, event INTEGER NOT NULL) WITHOUT ROWID;
             WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1000)
             INSERT INTO keys SELECT 'exec:' || n || ':failed', n FROM n",
        )
        .execute(&mut connection)
        .await
        .unwrap();
        migrate(&mut connection).await.unwrap();
        for n in 1..=1000 {
            assert_eq!(owner(&format!("exec:{n}:failed"), &mut connection).await.unwrap(), Some(n));
        }
        assert_eq!(owner("exec:1001:failed", &mut connection).await.unwrap(), None);
    }
}
