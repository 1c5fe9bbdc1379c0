//! Forgetting: old events, by age and by room on disk, in small transactions that let others in between.

use serde_json::json;
use sqlx::SqliteConnection;

use super::{Store, StoreError, keys};

/// Events removed in one transaction.
const STEP: u32 = 250;
/// Pages given back to the file system in one transaction.
const VACUUM: i64 = 256;

/// What one step removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Events, with their deliveries and keys.
    pub events: u64,
    /// There may be more to remove, behind this one.
    pub next: Option<Place>,
}

/// A place in the order of receipt: time and number of an event. The default is before all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place(i64, i64);

struct Limits {
    /// Events up to this one have been looked at.
    after: Place,
    /// Events received before go.
    before: i64,
    /// Script logs kept before go.
    logs_before: i64,
    max_bytes: i64,
}

impl Store {
    /// One step: removes some of the events received before `before` (ms since 1970), or the oldest while the store is
    /// larger than `max_bytes`. Never one with open deliveries or one that waits for enrichment, and never the last.
    pub async fn remove_old(
        &self,
        after: Place,
        before: i64,
        logs_before: i64,
        max_bytes: u64,
    ) -> Result<Removed, StoreError> {
        let limits = Limits { after, before, logs_before, max_bytes: i64::try_from(max_bytes).unwrap_or(i64::MAX) };
        self.inner.writer.run(limits, |limits, connection| Box::pin(remove(limits, connection))).await
    }
}

async fn used_bytes(connection: &mut SqliteConnection) -> sqlx::Result<i64> {
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut *connection).await?;
    let free: i64 = sqlx::query_scalar("PRAGMA freelist_count").fetch_one(&mut *connection).await?;
    let size: i64 = sqlx::query_scalar("PRAGMA page_size").fetch_one(&mut *connection).await?;
    Ok((pages - free) * size)
}

async fn remove(limits: &Limits, connection: &mut SqliteConnection) -> sqlx::Result<Removed> {
    sqlx::query("DELETE FROM script_logs WHERE reference IN (SELECT reference FROM script_logs WHERE at < ? LIMIT 20)")
        .bind(limits.logs_before)
        .execute(&mut *connection)
        .await?;
    let too_large = used_bytes(&mut *connection).await? > limits.max_bytes;
    let before = if too_large { i64::MAX } else { limits.before };
    let rows: Vec<(i64, i64, bool, String)> = sqlx::query_as(
        "SELECT seq, received, state = 0 OR EXISTS (SELECT 1 FROM deliveries d WHERE d.event = e.seq AND d.state IN (0, 1)),
                keys
         FROM events e WHERE (received, seq) > (?, ?) AND received < ? AND seq < (SELECT max(seq) FROM events)
         ORDER BY received, seq LIMIT ?",
    )
    .bind(limits.after.0)
    .bind(limits.after.1)
    .bind(before)
    .bind(STEP)
    .fetch_all(&mut *connection)
    .await?;
    let last = rows.last().map(|(seq, received, ..)| Place(*received, *seq));
    let next = last.filter(|_| rows.len() == STEP as usize);
    let rows: Vec<(i64, String)> =
        rows.into_iter().filter(|(_, _, open, _)| !open).map(|(seq, _, _, keys)| (seq, keys)).collect();
    if !rows.is_empty() {
        let seqs = json!(rows.iter().map(|(seq, _)| seq).collect::<Vec<_>>()).to_string();
        keys::remove(rows.iter().flat_map(|(_, keys)| keys.lines()), connection).await?;
        for sql in [
            "DELETE FROM deliveries WHERE event IN (SELECT value FROM json_each(?))",
            "DELETE FROM events WHERE seq IN (SELECT value FROM json_each(?))",
        ] {
            sqlx::query(sql).bind(&seqs).execute(&mut *connection).await?;
        }
        sqlx::query(sqlx::AssertSqlSafe(format!("PRAGMA incremental_vacuum({VACUUM})")))
            .execute(&mut *connection)
            .await?;
    }
    Ok(Removed { events: rows.len() as u64, next })
}
