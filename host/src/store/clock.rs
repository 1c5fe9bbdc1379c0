//! The time that waits are measured in: the wall clock of the start, carried on by the steady one.
//!
//! Whatever happens to the wall clock while Butler runs, no wait is cut or prolonged by it, and nothing in the store has to
//! be moved. How far the two are apart is kept for the next start, which begins with the wall clock again and moves what
//! waits, once, before anybody else is there.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use sqlx::SqliteConnection;

use super::{Store, StoreError, now_ms};

/// A difference over this is a jump.
const JUMP_MS: i64 = 60_000;
/// A difference over this is kept.
const DRIFT_MS: i64 = 1_000;

/// When and where it began. The process has one clock, however many stores it opens.
static BEGUN: LazyLock<(i64, Instant)> = LazyLock::new(|| (now_ms(), Instant::now()));

/// Now, ms since 1970: the time of all waits.
pub fn waiting_ms() -> i64 {
    let (wall, steady) = *BEGUN;
    wall.saturating_add(i64::try_from(steady.elapsed().as_millis()).unwrap_or(i64::MAX))
}

/// How far it was ahead of the wall clock when that was looked at last.
static AHEAD: AtomicI64 = AtomicI64::new(0);

/// What the wall clock shows at a time of waits, if it goes on as it goes now; for people.
pub fn wall_ms(waiting: i64) -> i64 {
    waiting.saturating_sub(AHEAD.load(Ordering::Relaxed))
}

impl Store {
    /// Looks whether the wall clock has jumped, and how far, in ms; keeps where it is for the next start.
    pub async fn follow_clock(&self) -> Result<Option<i64>, StoreError> {
        let ahead = waiting_ms().saturating_sub(now_ms());
        let jump = AHEAD.load(Ordering::Relaxed).saturating_sub(ahead);
        if jump.abs() < DRIFT_MS {
            return Ok(None);
        }
        self.inner.writer.run(ahead, |ahead, connection| Box::pin(keep(*ahead, connection))).await?;
        AHEAD.store(ahead, Ordering::Relaxed);
        Ok((jump.abs() > JUMP_MS).then_some(jump))
    }

    /// As if so much time had passed for all that waits.
    #[cfg(test)]
    pub(super) async fn pass(&self, ms: i64) {
        self.inner.writer.run(-ms, |by, connection| Box::pin(shift(*by, connection))).await.unwrap();
    }
}

/// Keeps the difference, and the last event at that time: the later ones were heard after it.
async fn keep(ahead: i64, connection: &mut SqliteConnection) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO meta (name, value)
         SELECT 'clock', json_object('ahead', ?, 'event', (SELECT max(seq) FROM events)) WHERE true
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(ahead)
    .execute(connection)
    .await
    .map(drop)
}

/// At a start: waits go on by the wall clock as it is now. If the last event was heard in what is the future now, it was
/// set back meanwhile, by so much at least. That it was set ahead cannot be told from time that has passed.
pub(super) async fn resume(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    let kept: Option<(i64, Option<i64>)> =
        sqlx::query_as("SELECT value ->> 'ahead', value ->> 'event' FROM meta WHERE name = 'clock'")
            .fetch_optional(&mut *connection)
            .await?;
    let last: Option<(i64, i64)> = sqlx::query_as("SELECT seq, received FROM events ORDER BY seq DESC LIMIT 1")
        .fetch_optional(&mut *connection)
        .await?;
    let (ahead, event) = kept.unwrap_or_default();
    let by = last.map_or(0, |(_, received)| now_ms() - received).min(0);
    let by = match last {
        // Heard before the clock was set back the last time: what is known of that says it as well.
        Some((seq, _)) if Some(seq) == event => by.min(-ahead),
        _ if by < -JUMP_MS => by - ahead,
        _ => -ahead,
    };
    if by == 0 {
        return Ok(());
    }
    if by.abs() > JUMP_MS {
        tracing::warn!(seconds = by / 1000, "the wall clock was set since the last start; waiting times are adjusted");
    }
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    shift(by, connection).await?;
    sqlx::raw_sql("DELETE FROM meta WHERE name = 'clock'; COMMIT").execute(connection).await.map(drop)
}

/// Moves the times of all that waits.
async fn shift(by: i64, connection: &mut SqliteConnection) -> sqlx::Result<()> {
    for sql in [
        // Those that are parked die by the time of their last change, those that wait by the time when they were made.
        "UPDATE deliveries SET due = due + ?1, lease_until = lease_until + ?1, first_attempt = first_attempt + ?1,
                created = created + ?1, updated = CASE state WHEN 5 THEN updated + ?1 ELSE updated END
         WHERE state IN (0, 1, 5)",
        "UPDATE events SET due = due + ?1, since = since + ?1 WHERE state = 0 AND due IS NOT NULL",
        "UPDATE throttles SET at = at + ?1",
        "UPDATE dead_notices SET at = at + ?1",
        "UPDATE storage SET expires = expires + ?1 WHERE expires IS NOT NULL",
    ] {
        sqlx::query(sql).bind(by).execute(&mut *connection).await?;
    }
    Ok(())
}
