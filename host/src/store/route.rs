//! Routing: fixes an event and makes its deliveries, in one transaction.

use std::sync::Arc;

use sqlx::SqliteConnection;

use super::script_logs::{self, NewScriptLog};
use super::{Store, StoreError, now_ms};

/// An enriched event with the deliveries that the routes ask for.
#[derive(Debug, Clone)]
pub struct Routed {
    /// Number of the event.
    pub seq: i64,
    /// Final kind.
    pub kind: String,
    /// Final time, ms since 1970.
    pub time: i64,
    /// Id of the task.
    pub task: Option<String>,
    /// Final data as JSON text.
    pub data: String,
    /// Further keys that enrichment found. If one belongs to another event, this one joins it and makes no deliveries.
    pub keys: Vec<String>,
    /// Deliveries to make.
    pub deliveries: Vec<NewDelivery>,
    /// Script log to keep.
    pub script_log: Option<NewScriptLog>,
}

/// A delivery that a route asks for.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// Instance.
    pub instance: String,
    /// Deliveries of one instance with the same key are handed out in order.
    pub order_key: Option<String>,
    /// Throttle of the rule.
    pub throttle: Option<ThrottleKey>,
    /// Path of a condition on an unknown fact.
    pub unknown: Option<String>,
}

/// At most one message for a key in a time.
#[derive(Debug, Clone)]
pub struct ThrottleKey {
    /// Instance, rule, kind and value.
    pub key: String,
    /// The time in ms.
    pub every_ms: i64,
}

/// What became of a delivery that a route asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutedDelivery {
    /// Number of the delivery.
    pub id: i64,
    /// Instance.
    pub instance: String,
    /// It was suppressed by its throttle.
    pub suppressed: bool,
}

impl Store {
    /// Fixes events and makes their deliveries. One answer each; `None`: the event joined an earlier one.
    pub async fn route(
        &self,
        events: impl Into<Arc<[Routed]>>,
    ) -> Result<Vec<Option<Vec<RoutedDelivery>>>, StoreError> {
        self.inner
            .writer
            .run(events.into(), |events, connection| {
                Box::pin(async move {
                    let mut answers = Vec::with_capacity(events.len());
                    for event in events.iter() {
                        answers.push(route(event, connection).await?);
                    }
                    Ok(answers)
                })
            })
            .await
    }
}

async fn route(event: &Routed, connection: &mut SqliteConnection) -> sqlx::Result<Option<Vec<RoutedDelivery>>> {
    if !claim_keys(event, connection).await? {
        sqlx::query("UPDATE events SET state = 2, kind = ?, data = ? WHERE seq = ?")
            .bind(&event.kind)
            .bind(&event.data)
            .bind(event.seq)
            .execute(connection)
            .await?;
        return Ok(None);
    }
    let fixed = sqlx::query(
        "UPDATE events SET state = 1, kind = ?, time = ?, task = ?, data = ?,
                keys = CASE WHEN ?5 = '' THEN keys WHEN keys = '' THEN ?5 ELSE keys || char(10) || ?5 END
         WHERE seq = ?6 AND state = 0",
    )
    .bind(&event.kind)
    .bind(event.time)
    .bind(&event.task)
    .bind(&event.data)
    .bind(event.keys.join("\n"))
    .bind(event.seq)
    .execute(&mut *connection)
    .await?;
    if fixed.rows_affected() == 0 {
        // Routed before: an event is fixed once, and has its deliveries.
        return Ok(Some(Vec::new()));
    }
    if let Some(log) = &event.script_log {
        script_logs::keep(log, connection).await?;
    }
    let now = now_ms();
    let mut made = Vec::with_capacity(event.deliveries.len());
    for delivery in &event.deliveries {
        made.push(deliver(event.seq, delivery, now, connection).await?);
    }
    Ok(Some(made))
}

/// Claims the further keys; false when one belongs to another event.
async fn claim_keys(event: &Routed, connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    for key in &event.keys {
        sqlx::query("INSERT INTO keys (key, event) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(key)
            .bind(event.seq)
            .execute(&mut *connection)
            .await?;
        let owner: i64 =
            sqlx::query_scalar("SELECT event FROM keys WHERE key = ?").bind(key).fetch_one(&mut *connection).await?;
        if owner != event.seq {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes one delivery, pending or suppressed.
async fn deliver(
    event: i64,
    delivery: &NewDelivery,
    now: i64,
    connection: &mut SqliteConnection,
) -> sqlx::Result<RoutedDelivery> {
    let mut held = None;
    if let Some(throttle) = &delivery.throttle {
        // Held only by a delivery that is open or delivered.
        let row: Option<(i64, i64, i64)> = sqlx::query_as(
            "SELECT t.at, t.suppressed, coalesce((SELECT d.state IN (0, 1, 2) FROM deliveries d WHERE d.id = t.delivery), 1)
             FROM throttles t WHERE t.key = ?",
        )
        .bind(&throttle.key)
        .fetch_optional(&mut *connection)
        .await?;
        held = row.map(|(at, suppressed, alive)| (alive == 1 && now < at + throttle.every_ms && now >= at, suppressed));
    }
    let suppress = matches!(held, Some((true, _)));
    let before = if suppress { 0 } else { held.map_or(0, |(_, suppressed)| suppressed) };
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO deliveries (event, instance, state, order_key, throttle_key, suppressed, unknown, due, created, updated)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?8, ?8, ?8) RETURNING id",
    )
    .bind(event)
    .bind(&delivery.instance)
    .bind(if suppress { 4 } else { 0 })
    .bind(&delivery.order_key)
    .bind(delivery.throttle.as_ref().map(|throttle| &throttle.key))
    .bind(before)
    .bind(&delivery.unknown)
    .bind(now)
    .fetch_one(&mut *connection)
    .await?;
    if let Some(throttle) = &delivery.throttle {
        let sql = if suppress {
            "UPDATE throttles SET suppressed = suppressed + 1 WHERE key = ?1"
        } else {
            "INSERT INTO throttles (key, delivery, at, suppressed) VALUES (?1, ?2, ?3, 0)
             ON CONFLICT (key) DO UPDATE SET delivery = ?2, at = ?3, suppressed = 0"
        };
        let query = sqlx::query(sql).bind(&throttle.key);
        let query = if suppress { query } else { query.bind(id).bind(now) };
        query.execute(&mut *connection).await?;
    }
    Ok(RoutedDelivery { id, instance: delivery.instance.clone(), suppressed: suppress })
}
