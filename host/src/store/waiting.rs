//! Events that wait for their facts: read once when they were accepted, and again when they were put off and are due.

use butler_plugin_api::Event;
use serde_json::json;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::deliveries::event_of;
use super::{Store, StoreError, waiting_ms};

/// An event that waits for its facts.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// Number.
    pub seq: i64,
    /// The event as it was heard of.
    pub event: Event,
    /// Since when it waits, ms since 1970 by [`waiting_ms`]; `None` when it was not put off before.
    pub since: Option<i64>,
    /// So many attempts to find out its facts, or to route it, have failed.
    pub tries: u32,
}

/// An event that is put off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutOff {
    /// Number.
    pub seq: i64,
    /// Until when, ms since 1970 by [`waiting_ms`].
    pub due: i64,
    /// Since when it waits.
    pub since: i64,
    /// Attempts that have failed.
    pub tries: u32,
}

impl Store {
    /// Accepted events that were not put off, in order, with numbers above `after`.
    pub async fn accepted_events(&self, after: i64, limit: u32) -> Result<Vec<Waiting>, StoreError> {
        loop {
            let rows = sqlx::query(
                "SELECT seq, kind, time, received, source, data, since, tries FROM events
                 WHERE state = 0 AND due IS NULL AND seq > ? ORDER BY seq LIMIT ?",
            )
            .bind(after)
            .bind(limit)
            .fetch_all(&self.inner.readers)
            .await?;
            if let Some(events) = self.readable(&rows).await? {
                return Ok(events);
            }
        }
    }

    /// Events that were put off and are due, without those in `busy`; the longest due first.
    pub async fn due_events(&self, busy: &[i64], limit: u32) -> Result<Vec<Waiting>, StoreError> {
        loop {
            let rows = sqlx::query(
                "SELECT seq, kind, time, received, source, data, since, tries FROM events INDEXED BY events_due
                 WHERE state = 0 AND due IS NOT NULL AND due <= ? AND seq NOT IN (SELECT value FROM json_each(?))
                 ORDER BY due LIMIT ?",
            )
            .bind(waiting_ms())
            .bind(json!(busy).to_string())
            .bind(limit)
            .fetch_all(&self.inner.readers)
            .await?;
            if let Some(events) = self.readable(&rows).await? {
                return Ok(events);
            }
        }
    }

    /// The events of these rows. One that cannot be read ends, so that it does not hold up the others: then `None`, and the
    /// rows are to be read again.
    async fn readable(&self, rows: &[SqliteRow]) -> Result<Option<Vec<Waiting>>, StoreError> {
        let mut events = Vec::with_capacity(rows.len());
        let mut all = true;
        for row in rows {
            let seq = row.try_get("seq")?;
            match event_of(row, &self.inner.id) {
                Ok(event) => {
                    events.push(Waiting { seq, event, since: row.try_get("since")?, tries: row.try_get("tries")? });
                }
                Err(error) => {
                    all = false;
                    tracing::error!(event = self.event_id(seq), %error,
                        "a stored event cannot be read and is not told; please report this");
                    self.end_unreadable(seq, error.to_string()).await?;
                }
            }
        }
        Ok(all.then_some(events))
    }

    async fn end_unreadable(&self, seq: i64, error: String) -> Result<(), StoreError> {
        self.inner
            .writer
            .run((seq, error), |(seq, error), connection| {
                Box::pin(async move {
                    sqlx::query("UPDATE events SET state = 3, error = ? WHERE seq = ? AND state = 0")
                        .bind(error)
                        .bind(seq)
                        .execute(connection)
                        .await
                        .map(drop)
                })
            })
            .await
    }

    /// Puts events off that are still waiting.
    pub async fn put_off(&self, events: Vec<PutOff>) -> Result<(), StoreError> {
        self.inner
            .writer
            .run(events, |events, connection| {
                Box::pin(async move {
                    for event in events {
                        sqlx::query("UPDATE events SET due = ?, since = ?, tries = ? WHERE seq = ? AND state = 0")
                            .bind(event.due)
                            .bind(event.since)
                            .bind(event.tries)
                            .bind(event.seq)
                            .execute(&mut *connection)
                            .await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// How many events wait for their facts.
    pub async fn accepted_count(&self) -> Result<i64, StoreError> {
        let count = sqlx::query_scalar("SELECT count(*) FROM events INDEXED BY events_accepted WHERE state = 0")
            .fetch_one(&self.inner.readers)
            .await?;
        Ok(count)
    }
}
