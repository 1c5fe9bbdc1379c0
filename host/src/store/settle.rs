//! What becomes of attempts: outcomes, deaths and what follows from them, leases that ran out.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use butler_plugin_api::{Data, Event, LastDead, kind};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::accept;
use super::rows::{chunks, values};
use super::{NewEvent, Store, StoreError, waiting_ms};

/// What became of an attempt.
#[derive(Debug, Clone)]
pub struct Settled {
    /// Number of the delivery.
    pub id: i64,
    /// Token of the lease.
    pub token: i64,
    /// Outcome.
    pub settlement: Settlement,
}

/// Outcome of an attempt.
#[derive(Debug, Clone)]
pub enum Settlement {
    /// The other side has it.
    Delivered,
    /// Again, not before `due` (ms since 1970 by [`waiting_ms`]).
    Retry {
        /// Not before.
        due: i64,
        /// What went wrong.
        error: String,
        /// State of the plugin for the next attempt; `None` keeps the former.
        progress: Option<Value>,
    },
    /// Given up.
    Dead {
        /// What went wrong.
        error: String,
    },
    /// The attempt did not take place: the lease is given back.
    Return,
}

/// What settling set free.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Released {
    /// Instances that have a delivery more to do.
    pub instances: Vec<String>,
    /// Whether an event `delivery.dead` was accepted.
    pub noticed: bool,
}

impl Released {
    fn join(&mut self, more: Self) {
        self.instances.extend(more.instances);
        self.noticed |= more.noticed;
    }
}

/// An instance says so at most once in this time.
const NOTICE_EVERY_MS: i64 = 15 * 60 * 1000;
const ERROR_LENGTH: usize = 2000;
/// Deliveries of an instance that is gone are kept open for so long.
const PARKED_FOR_MS: i64 = 7 * 24 * 3_600_000;
/// So many die in one transaction; others wait for it.
const BURIED_TOGETHER: i64 = 250;

impl Store {
    /// Ends attempts. One whose token is stale is ignored.
    pub async fn settle(&self, settled: Vec<Settled>) -> Result<Released, StoreError> {
        let settled: Arc<[Settled]> = settled.into();
        let result = self.settle_together(settled.clone()).await;
        if settled.len() < 2 || !matches!(result, Err(StoreError::Database(_))) {
            return result;
        }
        // One of them is at fault: the others must not be told twice for it.
        let mut released = Released::default();
        for one in settled.iter() {
            match self.settle_together(Arc::from([one.clone()])).await {
                Ok(more) => released.join(more),
                Err(StoreError::Closed) => return Err(StoreError::Closed),
                Err(error) => {
                    tracing::error!(delivery = self.delivery_id(one.id), %error,
                        "an outcome cannot be stored; the delivery is repeated when its lease has run out; please report this");
                }
            }
        }
        Ok(released)
    }

    async fn settle_together(&self, settled: Arc<[Settled]>) -> Result<Released, StoreError> {
        let input = (settled, self.inner.next_event.clone());
        self.inner
            .writer
            .run(input, |(settled, numbers), connection| {
                Box::pin(async move {
                    let mut released = Released::default();
                    delivered(settled, connection).await?;
                    for one in settled.iter() {
                        settle(one, numbers, &mut released, connection).await?;
                    }
                    Ok(released)
                })
            })
            .await
    }

    /// Takes back leases that have run out, buries what was parked for too long, and says what was not said yet of dead deliveries.
    pub async fn tend(&self) -> Result<Released, StoreError> {
        let input = (self.inner.next_event.clone(), self.inner.writer.disk().clone());
        let released = self
            .inner
            .writer
            .run(input, |(numbers, disk), connection| Box::pin(tend(numbers, disk.outage(), connection)))
            .await?;
        self.inner.writer.disk().forget_outage();
        Ok(released)
    }

    /// Buries some of the deliveries that still wait and were made longer ago than `age_ms`, by the time of waits: those of an
    /// instance that never runs would stay for good, with their events. How many; 0 when none is left.
    pub async fn expire(&self, age_ms: i64) -> Result<(u64, Released), StoreError> {
        let input = (waiting_ms().saturating_sub(age_ms), self.inner.next_event.clone());
        self.inner
            .writer
            .run(input, |(before, numbers), connection| Box::pin(expire(*before, numbers, connection)))
            .await
    }
}

/// Buries waiting deliveries that were made before a time, whatever kept them waiting; how many.
async fn expire(
    made_before: i64,
    numbers: &AtomicI64,
    connection: &mut SqliteConnection,
) -> sqlx::Result<(u64, Released)> {
    let now = waiting_ms();
    let rows: Vec<(i64, String, i64, Option<String>, String)> = sqlx::query_as(
        "UPDATE deliveries SET state = 3, updated = ?1, error = ?2 || coalesce('; the last error: ' || error, '')
         WHERE id IN (SELECT id FROM deliveries INDEXED BY deliveries_due WHERE state = 0 AND created < ?3 LIMIT ?4)
         RETURNING id, instance, event, throttle_key, error",
    )
    .bind(now)
    .bind("it waited longer than events are kept (`store.keep`)")
    .bind(made_before)
    .bind(BURIED_TOGETHER)
    .fetch_all(&mut *connection)
    .await?;
    let mut released = Released::default();
    let count = rows.len() as u64;
    for (id, instance, event, throttle_key, error) in rows {
        let dead = Dead { id, instance, event, throttle_key, error };
        bury(&dead, numbers, now, &mut released, connection).await?;
    }
    Ok((count, released))
}

/// The beginning of an error text, in whole characters.
fn shortened(error: &str) -> &str {
    error.char_indices().nth(ERROR_LENGTH).map_or(error, |(end, _)| &error[..end])
}

/// Ends the successful ones.
async fn delivered(settled: &[Settled], connection: &mut SqliteConnection) -> sqlx::Result<()> {
    let now = waiting_ms();
    let delivered: Vec<&Settled> =
        settled.iter().filter(|one| matches!(one.settlement, Settlement::Delivered)).collect();
    for chunk in chunks(&delivered) {
        let sql = format!(
            "WITH ended (id, token) AS ({}) UPDATE deliveries
             SET state = 2, token = NULL, progress = NULL, error = NULL, updated = ?
             FROM ended WHERE deliveries.id = ended.id AND deliveries.token = ended.token AND deliveries.state = 1",
            values(chunk.len(), "(?, ?)")
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for one in chunk {
            query = query.bind(one.id).bind(one.token);
        }
        query.bind(now).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn settle(
    settled: &Settled,
    numbers: &AtomicI64,
    released: &mut Released,
    connection: &mut SqliteConnection,
) -> sqlx::Result<()> {
    let now = waiting_ms();
    let (id, token) = (settled.id, settled.token);
    match &settled.settlement {
        // Those are ended together.
        Settlement::Delivered => {}
        Settlement::Return => {
            sqlx::query(
                "UPDATE deliveries SET state = 0, token = NULL, attempt = attempt - 1,
                        first_attempt = CASE WHEN attempt > 1 THEN first_attempt END
                 WHERE id = ? AND token = ? AND state = 1",
            )
            .bind(id)
            .bind(token)
            .execute(connection)
            .await?;
        }
        Settlement::Retry { due, error, progress } => {
            sqlx::query(
                "UPDATE deliveries SET state = 0, token = NULL, due = ?, error = ?, progress = coalesce(?, progress), updated = ?
                 WHERE id = ? AND token = ? AND state = 1",
            )
            .bind(due)
            .bind(shortened(error))
            .bind(progress.as_ref().map(Value::to_string))
            .bind(now)
            .bind(id)
            .bind(token)
            .execute(connection)
            .await?;
        }
        Settlement::Dead { error } => {
            let row: Option<(i64, String, i64, Option<String>, String)> = sqlx::query_as(
                "UPDATE deliveries SET state = 3, token = NULL, error = ?, updated = ?
                 WHERE id = ? AND token = ? AND state = 1
                 RETURNING id, instance, event, throttle_key, error",
            )
            .bind(shortened(error))
            .bind(now)
            .bind(id)
            .bind(token)
            .fetch_optional(&mut *connection)
            .await?;
            if let Some((id, instance, event, throttle_key, error)) = row {
                let dead = Dead { id, instance, event, throttle_key, error };
                bury(&dead, numbers, now, released, connection).await?;
            }
        }
    }
    Ok(())
}

/// A leased delivery whose event cannot be read is dead. That it is so is told like any other death, at the latest when
/// events are looked for next.
pub(super) async fn end_unreadable(
    id: i64,
    error: &str,
    numbers: &AtomicI64,
    connection: &mut SqliteConnection,
) -> sqlx::Result<()> {
    let now = waiting_ms();
    let (instance, event, throttle_key) = sqlx::query_as(
        "UPDATE deliveries SET state = 3, token = NULL, error = ?, updated = ? WHERE id = ?
         RETURNING instance, event, throttle_key",
    )
    .bind(error)
    .bind(now)
    .bind(id)
    .fetch_one(&mut *connection)
    .await?;
    let dead = Dead { id, instance, event, throttle_key, error: error.to_owned() };
    bury(&dead, numbers, now, &mut Released::default(), connection).await
}

struct Dead {
    id: i64,
    instance: String,
    event: i64,
    throttle_key: Option<String>,
    error: String,
}

/// What follows a death: the newest suppressed delivery of the same throttle is released, and the death is told.
async fn bury(
    dead: &Dead,
    numbers: &AtomicI64,
    now: i64,
    released: &mut Released,
    connection: &mut SqliteConnection,
) -> sqlx::Result<()> {
    if let Some(key) = &dead.throttle_key {
        let freed: Option<i64> = sqlx::query_scalar(
            "UPDATE deliveries SET state = 0, due = ?1, updated = ?1,
                    suppressed = coalesce((SELECT suppressed - 1 FROM throttles WHERE key = ?2), 0)
             WHERE id = (SELECT max(id) FROM deliveries WHERE throttle_key = ?2 AND state = 4)
               AND (SELECT delivery FROM throttles WHERE key = ?2) = ?3
             RETURNING id",
        )
        .bind(now)
        .bind(key)
        .bind(dead.id)
        .fetch_optional(&mut *connection)
        .await?;
        if let Some(freed) = freed {
            sqlx::query("UPDATE throttles SET delivery = ?, suppressed = 0 WHERE key = ?")
                .bind(freed)
                .bind(key)
                .execute(&mut *connection)
                .await?;
            released.instances.push(dead.instance.clone());
        }
    }
    let row = sqlx::query("SELECT kind, source, data FROM events WHERE seq = ?")
        .bind(dead.event)
        .fetch_optional(&mut *connection);
    let Some(row) = row.await? else { return Ok(()) };
    let event_kind: String = row.try_get("kind")?;
    // Of a test whoever sends it is told; the next real death must be told at once.
    if event_kind == kind::DELIVERY_DEAD || row.try_get::<String, _>("source")? == Event::TEST {
        return Ok(());
    }
    let last: Option<(i64, i64)> = sqlx::query_as("SELECT at, unsaid FROM dead_notices WHERE instance = ?")
        .bind(&dead.instance)
        .fetch_optional(&mut *connection)
        .await?;
    if let Some((at, _)) = last
        && now < at + NOTICE_EVERY_MS
        && now >= at
    {
        sqlx::query("UPDATE dead_notices SET unsaid = unsaid + 1 WHERE instance = ?")
            .bind(&dead.instance)
            .execute(&mut *connection)
            .await?;
        return Ok(());
    }
    let data: String = row.try_get("data")?;
    let data: Data = serde_json::from_str(&data).unwrap_or_default();
    let unsaid = last.map_or(0, |(_, unsaid)| unsaid);
    let task = data.task.map(|task| task.name);
    let about = LastDead { kind: Some(event_kind), task, error: Some(dead.error.clone()) };
    notify(&dead.instance, unsaid + 1, Some(about), numbers, now, connection).await?;
    released.noticed = true;
    Ok(())
}

/// Accepts an event `delivery.dead`.
async fn notify(
    instance: &str,
    count: i64,
    last: Option<LastDead>,
    numbers: &AtomicI64,
    now: i64,
    connection: &mut SqliteConnection,
) -> sqlx::Result<()> {
    let error = last.as_ref().and_then(|last| last.error.as_deref()).map(|error| format!("; the last: {error}"));
    let noun = if count == 1 { "delivery" } else { "deliveries" };
    let message = format!("{count} {noun} to `{instance}` given up{}", error.unwrap_or_default());
    let dead = butler_plugin_api::Dead { instance: Some(instance.to_owned()), count: u64::try_from(count).ok(), last };
    let data = Data { message: Some(message), dead: Some(Box::new(dead)), ..Data::default() };
    let event = NewEvent {
        kind: kind::DELIVERY_DEAD.to_owned(),
        time: now,
        received: now,
        source: "butler".to_owned(),
        keys: Vec::new(),
        data,
    };
    accept::accept(&[event], numbers, &mut *connection).await?;
    sqlx::query(
        "INSERT INTO dead_notices (instance, at, unsaid) VALUES (?1, ?2, 0)
         ON CONFLICT (instance) DO UPDATE SET at = ?2, unsaid = 0",
    )
    .bind(instance)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// `outage`: for how many ms no outcome could be stored; leases last so much longer.
async fn tend(numbers: &AtomicI64, outage: i64, connection: &mut SqliteConnection) -> sqlx::Result<Released> {
    let now = waiting_ms();
    if outage > 0 {
        sqlx::query("UPDATE deliveries SET lease_until = lease_until + ? WHERE state = 1")
            .bind(outage)
            .execute(&mut *connection)
            .await?;
    }
    let mut released = Released::default();
    let instances: Vec<String> = sqlx::query_scalar(
        "UPDATE deliveries SET state = 0, token = NULL, due = ?1 WHERE state = 1 AND lease_until < ?1 RETURNING instance",
    )
    .bind(now)
    .fetch_all(&mut *connection)
    .await?;
    released.instances = instances;
    let rows: Vec<(i64, String, i64, String)> = sqlx::query_as(
        "UPDATE deliveries SET state = 3, error = ?1, updated = ?2
         WHERE id IN (SELECT id FROM deliveries WHERE state = 5 AND updated < ?2 - ?3 ORDER BY updated LIMIT ?4)
         RETURNING id, instance, event, error",
    )
    .bind("its instance has been gone from the config for 7 days")
    .bind(now)
    .bind(PARKED_FOR_MS)
    .bind(BURIED_TOGETHER)
    .fetch_all(&mut *connection)
    .await?;
    for (id, instance, event, error) in rows {
        // Nobody is there who could be told of what a throttle has held back.
        let dead = Dead { id, instance, event, throttle_key: None, error };
        bury(&dead, numbers, now, &mut released, connection).await?;
    }
    // One a round is enough: rounds come often.
    let unsaid: Option<(String, i64)> =
        sqlx::query_as("SELECT instance, unsaid FROM dead_notices WHERE unsaid > 0 AND at + ? <= ? LIMIT 1")
            .bind(NOTICE_EVERY_MS)
            .bind(now)
            .fetch_optional(&mut *connection)
            .await?;
    if let Some((instance, count)) = unsaid {
        notify(&instance, count, None, numbers, now, connection).await?;
        released.noticed = true;
    }
    Ok(released)
}
