//! Forgetting: script logs, events and keys, by age and by room on disk, in small transactions that let others in between.
//!
//! The age of an event is the time since something last happened to it or to one of its deliveries. One with an open
//! delivery is never removed, whatever its age, and so is one that waits for its facts. When the store is larger than it
//! should be, script logs go first and then the oldest events, but nothing of the last day and no dead delivery: an
//! admin must be able to see last night's alerts and what was not delivered. What is left above the limit is said in
//! [`Store::overfull`].

use std::sync::PoisonError;

use serde_json::json;
use sqlx::SqliteConnection;

use super::{Store, StoreError, keys, script_logs};

/// Events removed in one transaction.
const STEP: u32 = 250;
/// Script logs removed in one transaction.
const LOGS: u32 = 20;
/// Pages given back to the file system in one transaction.
const VACUUM: i64 = 256;
const DAY_MS: i64 = 24 * 3_600_000;
/// What is younger is never removed for want of room.
const RECENT_MS: i64 = DAY_MS;
/// Keys are known for so long after they were heard of last, or as long as events are kept.
const KEYS_MS: i64 = 90 * DAY_MS;
/// Steps over the keys in one round: the next round goes on where it ended.
const KEY_STEPS: u32 = 20;

/// What one step removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Events, with their deliveries.
    pub events: u64,
    /// Script logs.
    pub logs: u64,
    /// Keys of events that were removed earlier.
    pub keys: u64,
    /// There may be more to remove from here on.
    pub next: Option<Place>,
}

/// How far a round has come. The default is its beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place(Phase);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Logs,
    /// Behind this event: time of receipt, and number.
    Events(i64, i64),
    /// Behind this hash, for so many steps.
    Keys(Vec<u8>, u32),
}

/// How long and how much is kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The time, ms since 1970.
    pub now: i64,
    /// How long events are kept, in ms.
    pub keep_ms: i64,
    /// How long script logs are kept, in ms.
    pub keep_logs_ms: i64,
    /// Size that the store should have at most.
    pub max_bytes: u64,
}

impl Limits {
    /// Before which time things go that are kept for so long: sooner, if the store is too large.
    fn before(&self, keep_ms: i64, too_large: bool) -> i64 {
        self.now - if too_large { keep_ms.min(RECENT_MS) } else { keep_ms }
    }
}

impl Store {
    /// One step of a round of forgetting.
    pub async fn remove_old(&self, place: Place, limits: Limits) -> Result<Removed, StoreError> {
        let phase = match place.0 {
            Phase::Keys(_, KEY_STEPS) => Phase::Keys(self.keys_seen().clone(), KEY_STEPS),
            phase => phase,
        };
        let step = self.inner.writer.run((phase, limits), |(phase, limits), connection| {
            Box::pin(async move {
                let removed = remove(phase, limits, connection).await?;
                Ok((removed, used_bytes(connection).await?))
            })
        });
        let (mut removed, used) = step.await?;
        if let Some(Place(Phase::Keys(seen, left @ ..KEY_STEPS))) = &removed.next {
            self.keys_seen().clone_from(seen);
            if *left == 0 {
                removed.next = None;
            }
        } else if removed.next.is_none() {
            self.keys_seen().clear();
        }
        if removed.next.is_none() {
            let max = limits.max_bytes;
            let overfull = (used > max).then(|| {
                format!(
                    "has {} MB in use and should have at most {} (`store.maxSize`), but all that is left is of the last day, \
                     open or dead: raise the limit, or have dead deliveries sent again",
                    used.div_ceil(1_000_000),
                    max / 1_000_000
                )
            });
            *self.inner.overfull.lock().unwrap_or_else(PoisonError::into_inner) = overfull;
        }
        Ok(removed)
    }

    /// Why the store stays larger than it should be; `None` while it is not.
    pub fn overfull(&self) -> Option<String> {
        self.inner.overfull.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keys_seen(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.inner.keys_seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn used_bytes(connection: &mut SqliteConnection) -> sqlx::Result<u64> {
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut *connection).await?;
    let free: i64 = sqlx::query_scalar("PRAGMA freelist_count").fetch_one(&mut *connection).await?;
    let size: i64 = sqlx::query_scalar("PRAGMA page_size").fetch_one(&mut *connection).await?;
    Ok(u64::try_from((pages - free) * size).unwrap_or_default())
}

async fn remove(phase: &Phase, limits: &Limits, connection: &mut SqliteConnection) -> sqlx::Result<Removed> {
    let too_large = used_bytes(&mut *connection).await? > limits.max_bytes;
    let mut removed = Removed::default();
    let next = match phase {
        Phase::Logs => {
            let before = limits.before(limits.keep_logs_ms, too_large);
            removed.logs = script_logs::forget(before, LOGS, connection).await?;
            if removed.logs == u64::from(LOGS) { Phase::Logs } else { Phase::Events(i64::MIN, 0) }
        }
        Phase::Events(received, seq) => {
            let last;
            (removed.events, last) = remove_events((*received, *seq), limits, too_large, connection).await?;
            last.map_or(Phase::Keys(Vec::new(), KEY_STEPS), |(received, seq)| Phase::Events(received, seq))
        }
        Phase::Keys(after, left) => {
            let before = limits.before(limits.keep_ms.max(KEYS_MS), too_large);
            let last;
            (removed.keys, last) = keys::forget(after, before, connection).await?;
            let Some(last) = last else { return Ok(removed) };
            Phase::Keys(last, left.saturating_sub(1))
        }
    };
    removed.next = Some(Place(next));
    if removed.logs + removed.events + removed.keys > 0 {
        sqlx::query(sqlx::AssertSqlSafe(format!("PRAGMA incremental_vacuum({VACUUM})"))).execute(connection).await?;
    }
    Ok(removed)
}

/// Removes old events among some behind a place; how many, and the last one that was looked at if there are more.
async fn remove_events(
    after: (i64, i64),
    limits: &Limits,
    too_large: bool,
    connection: &mut SqliteConnection,
) -> sqlx::Result<(u64, Option<(i64, i64)>)> {
    let expired = limits.before(limits.keep_ms, false);
    let crowded = if too_large { limits.now - RECENT_MS } else { i64::MIN };
    // Never the last: its number tells the next one.
    let rows: Vec<(i64, i64, bool)> = sqlx::query_as(
        "SELECT seq, received,
                state <> 0 AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event = e.seq AND state IN (0, 1, 5)) AND (
                  received < ?3 AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event = e.seq AND updated >= ?3)
                  OR received < ?4
                    AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event = e.seq AND (updated >= ?4 OR state = 3)))
         FROM events e WHERE (received, seq) > (?1, ?2) AND received < ?5 AND seq < (SELECT max(seq) FROM events)
         ORDER BY received, seq LIMIT ?6",
    )
    .bind(after.0)
    .bind(after.1)
    .bind(expired)
    .bind(crowded)
    .bind(expired.max(crowded))
    .bind(STEP)
    .fetch_all(&mut *connection)
    .await?;
    let last = rows.last().map(|(seq, received, _)| (*received, *seq)).filter(|_| rows.len() == STEP as usize);
    let seqs: Vec<i64> = rows.into_iter().filter(|(.., old)| *old).map(|(seq, ..)| seq).collect();
    if !seqs.is_empty() {
        let seqs = json!(seqs).to_string();
        for sql in [
            "DELETE FROM deliveries WHERE event IN (SELECT value FROM json_each(?))",
            "DELETE FROM events WHERE seq IN (SELECT value FROM json_each(?))",
        ] {
            sqlx::query(sql).bind(&seqs).execute(&mut *connection).await?;
        }
    }
    Ok((seqs.len() as u64, last))
}
