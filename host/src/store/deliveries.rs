//! The queue of each instance: states, claims, retries.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use butler_plugin_api::{Data, Event};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{Store, StoreError, rfc3339, settle, waiting_ms};

/// State of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Waits for its time.
    Pending,
    /// Handed to the instance.
    Leased,
    /// The other side has it.
    Delivered,
    /// Given up.
    Dead,
    /// Held back by a throttle.
    Suppressed,
    /// Its instance is gone from the config.
    Parked,
}

impl State {
    /// All of them, by their number in the store.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Leased, Self::Delivered, Self::Dead, Self::Suppressed, Self::Parked];

    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Leased => "leased",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Suppressed => "suppressed",
            Self::Parked => "parked",
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    pub(super) fn from_number(number: i64) -> Self {
        usize::try_from(number).ok().and_then(|index| Self::ALL.get(index).copied()).unwrap_or(Self::Dead)
    }
}

/// A delivery handed to an instance.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// Number of the delivery.
    pub id: i64,
    /// Needed to settle it; a later lease has another.
    pub token: i64,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// When the first attempt began, ms since 1970 by [`waiting_ms`].
    pub first_attempt: i64,
    /// Earlier events of its throttle key that it stands for as well.
    pub suppressed: u64,
    /// What the plugin reported last.
    pub progress: Option<Value>,
    /// Time of the event, ms since 1970.
    pub event_time: i64,
    /// The event.
    pub event: Event,
}

struct Claim {
    instance: String,
    limit: u32,
    ordered: bool,
    lease_ms: i64,
    token: i64,
    store_id: String,
    numbers: Arc<AtomicI64>,
}

impl Store {
    /// Leases deliveries that are due to an instance, the longest due first. With `ordered` none is leased while an older
    /// open one of the same order key exists.
    pub async fn claim(
        &self,
        instance: &str,
        limit: u32,
        ordered: bool,
        lease_ms: i64,
    ) -> Result<Vec<Claimed>, StoreError> {
        let claim = Claim {
            instance: instance.to_owned(),
            limit,
            ordered,
            lease_ms,
            token: self.next_token(),
            store_id: self.inner.id.clone(),
            numbers: self.inner.next_event.clone(),
        };
        self.inner.writer.run(claim, |claim, connection| Box::pin(run_claim(claim, connection))).await
    }

    /// Makes a delivery that ended pending again, with attempts counted anew; false when it is open or not there.
    pub async fn retry(&self, id: i64) -> Result<Option<String>, StoreError> {
        self.inner
            .writer
            .run(id, |id, connection| {
                Box::pin(async move {
                    sqlx::query_scalar(
                        "UPDATE deliveries SET state = 0, attempt = 0, first_attempt = NULL, token = NULL, due = ?1, updated = ?1
                         WHERE id = ?2 AND state IN (2, 3, 4, 5) RETURNING instance",
                    )
                    .bind(waiting_ms())
                    .bind(id)
                    .fetch_optional(connection)
                    .await
                })
            })
            .await
    }

    /// Gives the deliveries of an instance that is gone to another one: the open ones, which begin anew there (what the former
    /// one reported of its progress means nothing to it), and the dead and suppressed ones. How many were open.
    pub async fn move_deliveries(&self, from: &str, to: &str) -> Result<u64, StoreError> {
        let input = (from.to_owned(), to.to_owned());
        self.inner
            .writer
            .run(input, |(from, to), connection| {
                Box::pin(async move {
                    let now = waiting_ms();
                    // The order key of an instance that keeps no order is empty: made here as the router makes it.
                    let open = "UPDATE deliveries SET instance = ?1, state = 0, due = ?2, updated = ?2, attempt = 0,
                                       first_attempt = NULL, token = NULL, lease_until = NULL, progress = NULL,
                                       order_key = coalesce(order_key, (
                                           SELECT CASE WHEN task IS NULL AND json_valid(data) THEN coalesce(
                                               'service/' || coalesce(json_extract(data, '$.service.host'), '')
                                                   || '/' || json_extract(data, '$.service.name'),
                                               'app/' || nullif(json_extract(data, '$.app.id'), ''))
                                           ELSE task END FROM events WHERE seq = event))
                                WHERE instance = ?3 AND state IN (0, 1, 5)";
                    let open = sqlx::query(open).bind(to).bind(now).bind(from).execute(&mut *connection).await?;
                    sqlx::query("UPDATE deliveries SET instance = ? WHERE instance = ? AND state IN (3, 4)")
                        .bind(to)
                        .bind(from)
                        .execute(connection)
                        .await?;
                    Ok(open.rows_affected())
                })
            })
            .await
    }

    /// When the next delivery of an instance is due, ms since 1970. With `ordered`, those held back by an older open one
    /// do not count.
    pub async fn next_due(&self, instance: &str, ordered: bool) -> Result<Option<i64>, StoreError> {
        let sql = if ordered {
            "SELECT min(d.due) FROM deliveries d WHERE d.instance = ? AND d.state = 0
               AND NOT EXISTS (SELECT 1 FROM deliveries o WHERE o.instance = d.instance AND o.order_key = d.order_key
                               AND o.state IN (0, 1) AND o.id < d.id AND o.order_key IS NOT NULL)"
        } else {
            "SELECT min(due) FROM deliveries WHERE instance = ? AND state = 0"
        };
        Ok(sqlx::query_scalar(sql).bind(instance).fetch_one(&self.inner.readers).await?)
    }

    /// Kind of the event, and instance, of a delivery that is being delivered at present.
    pub async fn under_way(&self, id: i64) -> Result<Option<(String, String)>, StoreError> {
        let sql = "SELECT e.kind, d.instance FROM deliveries d JOIN events e ON e.seq = d.event WHERE d.id = ? AND d.state = ?";
        let query = sqlx::query_as(sql).bind(id).bind(State::Leased as i64);
        Ok(query.fetch_optional(&self.inner.readers).await?)
    }

    /// Parks the open deliveries of instances that are not in `instances`, and takes back those of instances that are
    /// there again. How many were parked.
    pub async fn park(&self, instances: Vec<String>) -> Result<u64, StoreError> {
        self.inner
            .writer
            .run(instances, |instances, connection| {
                Box::pin(async move {
                    let names = serde_json::to_string(instances).unwrap_or_else(|_| "[]".to_owned());
                    sqlx::query(
                        "UPDATE deliveries SET state = 0 WHERE state = 5 AND instance IN (SELECT value FROM json_each(?))",
                    )
                    .bind(&names)
                    .execute(&mut *connection)
                    .await?;
                    let parked = sqlx::query(
                        "UPDATE deliveries SET state = 5, updated = ? WHERE state = 0
                         AND instance NOT IN (SELECT value FROM json_each(?))",
                    )
                    .bind(waiting_ms())
                    .bind(&names)
                    .execute(connection)
                    .await?;
                    Ok(parked.rows_affected())
                })
            })
            .await
    }
}

/// Makes an event of a row that has the columns of `events`.
pub(super) fn event_of(row: &SqliteRow, store_id: &str) -> sqlx::Result<Event> {
    let data: String = row.try_get("data")?;
    let data = serde_json::from_str(&data).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    event_with(row, data, store_id)
}

/// The same with other data.
pub(super) fn event_with(row: &SqliteRow, data: Data, store_id: &str) -> sqlx::Result<Event> {
    Ok(Event {
        id: format!("{store_id}-{}", row.try_get::<i64, _>("seq")?),
        kind: row.try_get("kind")?,
        time: rfc3339(row.try_get("time")?),
        received_at: rfc3339(row.try_get("received")?),
        source: row.try_get("source")?,
        data,
    })
}

async fn run_claim(claim: &Claim, connection: &mut SqliteConnection) -> sqlx::Result<Vec<Claimed>> {
    let now = waiting_ms();
    let sql = if claim.ordered {
        "UPDATE deliveries SET state = 1, token = ?1, lease_until = ?2, attempt = attempt + 1,
                first_attempt = coalesce(first_attempt, ?3), updated = ?3
         WHERE id IN (SELECT d.id FROM deliveries d WHERE d.instance = ?4 AND d.state = 0 AND d.due <= ?3
                AND NOT EXISTS (SELECT 1 FROM deliveries o WHERE o.instance = d.instance AND o.order_key = d.order_key
                                AND o.state IN (0, 1) AND o.id < d.id AND o.order_key IS NOT NULL)
                ORDER BY d.due, d.id LIMIT ?5)
         RETURNING id, event, attempt, first_attempt, suppressed, progress"
    } else {
        "UPDATE deliveries SET state = 1, token = ?1, lease_until = ?2, attempt = attempt + 1,
                first_attempt = coalesce(first_attempt, ?3), updated = ?3
         WHERE id IN (SELECT d.id FROM deliveries d WHERE d.instance = ?4 AND d.state = 0 AND d.due <= ?3
                ORDER BY d.due, d.id LIMIT ?5)
         RETURNING id, event, attempt, first_attempt, suppressed, progress"
    };
    let mut rows = sqlx::query(sql)
        .bind(claim.token)
        .bind(now + claim.lease_ms)
        .bind(now)
        .bind(&claim.instance)
        .bind(claim.limit)
        .fetch_all(&mut *connection)
        .await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let wanted: Vec<i64> = rows.iter().map(|row| row.try_get("event")).collect::<sqlx::Result<_>>()?;
    let events = sqlx::query(
        "SELECT seq, kind, time, received, source, data FROM events WHERE seq IN (SELECT value FROM json_each(?))",
    )
    .bind(json!(wanted).to_string())
    .fetch_all(&mut *connection)
    .await?;
    let events: HashMap<i64, &SqliteRow> =
        events.iter().map(|row| Ok((row.try_get("seq")?, row))).collect::<sqlx::Result<_>>()?;
    rows.sort_by_key(|row| row.get::<i64, _>("id"));
    let mut claimed = Vec::with_capacity(rows.len());
    for row in rows {
        let seq: i64 = row.try_get("event")?;
        let read = events.get(&seq).map(|row| Ok((event_of(row, &claim.store_id)?, row.try_get("time")?)));
        let (event, event_time) = match read.unwrap_or(Err(sqlx::Error::RowNotFound)) {
            Ok(read) => read,
            Err(error) => {
                // It ends alone: the others must not wait for it.
                let error = format!("its event cannot be read from the store: {error}");
                settle::end_unreadable(row.try_get("id")?, &error, &claim.numbers, connection).await?;
                continue;
            }
        };
        let progress: Option<String> = row.try_get("progress")?;
        claimed.push(Claimed {
            id: row.try_get("id")?,
            token: claim.token,
            attempt: row.try_get("attempt")?,
            first_attempt: row.try_get("first_attempt")?,
            suppressed: u64::try_from(row.try_get::<i64, _>("suppressed")?).unwrap_or_default(),
            progress: progress.and_then(|text| serde_json::from_str(&text).ok()),
            event_time,
            event,
        });
    }
    Ok(claimed)
}

/// Frees the leases of an earlier process.
pub(super) async fn free_leases(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    sqlx::query("UPDATE deliveries SET state = 0, token = NULL, due = ? WHERE state = 1")
        .bind(waiting_ms())
        .execute(connection)
        .await?;
    Ok(())
}
