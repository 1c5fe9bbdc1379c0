//! Routing: fixes an event and makes its deliveries, in one transaction.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::json;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::rows::{chunks, values};
use super::script_logs::{self, NewScriptLog};
use super::{Store, StoreError, joins, keys, waiting_ms};

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
    /// Further keys that enrichment found. If one belongs to an event that was told,
    /// this one joins it and makes no deliveries.
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
    /// It is leased at once, for so many ms: its queue takes it without a claim.
    pub lease_ms: Option<i64>,
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
    /// Earlier events of its throttle key that it stands for as well.
    pub stands_for: u64,
    /// Token of its lease, if it was leased at once.
    pub token: Option<i64>,
    /// When it was made, ms since 1970; the start of its first attempt, if it was leased.
    pub made: i64,
}

impl Store {
    /// Fixes events and makes their deliveries. One answer each; `None`: the event joined another.
    pub async fn route(
        &self,
        events: impl Into<Arc<[Routed]>>,
    ) -> Result<Vec<Option<Vec<RoutedDelivery>>>, StoreError> {
        self.inner
            .writer
            .run((events.into(), self.next_token()), |(events, token), connection| {
                Box::pin(route(events, *token, connection))
            })
            .await
    }
}

/// Routes events. Deliveries that are leased at once get `token`.
async fn route(
    events: &[Routed],
    token: i64,
    connection: &mut SqliteConnection,
) -> sqlx::Result<Vec<Option<Vec<RoutedDelivery>>>> {
    let pairs: Vec<(&str, i64)> =
        events.iter().flat_map(|event| event.keys.iter().map(|key| (key.as_str(), event.seq))).collect();
    let alone = keys::claim(&pairs, connection).await?.len() == pairs.len();
    // Without those that were routed before: an event is fixed once, and has its deliveries.
    let (fixed, joined) = if alone && all_open(events, connection).await? {
        for chunk in chunks(&events.iter().collect::<Vec<_>>()) {
            fix(chunk, connection).await?;
        }
        (events.iter().map(|event| event.seq).collect(), HashSet::new())
    } else {
        fix_in_order(events, connection).await?
    };
    let own = events.iter().filter(|event| !joined.contains(&event.seq));
    let mut answers: HashMap<i64, Vec<RoutedDelivery>> = own.clone().map(|event| (event.seq, Vec::new())).collect();
    let mut made = Vec::new();
    let mut together = Vec::new();
    let now = waiting_ms();
    for event in own.into_iter().filter(|event| fixed.contains(&event.seq)) {
        if let Some(log) = &event.script_log {
            script_logs::keep(log, connection).await?;
        }
        for delivery in &event.deliveries {
            if delivery.throttle.is_none() {
                together.push((event.seq, delivery));
            } else {
                // Numbers of deliveries are in the order of their events.
                deliver(std::mem::take(&mut together), token, now, &mut made, connection).await?;
                made.push((event.seq, deliver_throttled(event.seq, delivery, token, now, connection).await?));
            }
        }
    }
    deliver(together, token, now, &mut made, connection).await?;
    for (event, delivery) in made {
        answers.entry(event).or_default().push(delivery);
    }
    Ok(events.iter().map(|event| answers.remove(&event.seq)).collect())
}

/// Whether all of them still wait for their deliveries.
async fn all_open(events: &[Routed], connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    let seqs = json!(events.iter().map(|event| event.seq).collect::<Vec<_>>()).to_string();
    let open: i64 =
        sqlx::query_scalar("SELECT count(*) FROM events WHERE state = 0 AND seq IN (SELECT value FROM json_each(?))")
            .bind(seqs)
            .fetch_one(connection)
            .await?;
    Ok(u64::try_from(open) == Ok(events.len() as u64))
}

/// Fixes events one after the other: what one of them is joined to, or is joined by, decides about the next. Answers those
/// that were fixed, and those that are another one.
async fn fix_in_order(
    events: &[Routed],
    connection: &mut SqliteConnection,
) -> sqlx::Result<(HashSet<i64>, HashSet<i64>)> {
    let (mut fixed, mut joined) = (HashSet::new(), HashSet::new());
    for event in events {
        let keys: Vec<&str> = event.keys.iter().map(String::as_str).collect();
        if joins::unite(event.seq, &keys, connection).await? == event.seq {
            if fix(&[event], connection).await? == 1 {
                fixed.insert(event.seq);
            }
            continue;
        }
        sqlx::query("UPDATE events SET kind = ?, data = ? WHERE seq = ?")
            .bind(&event.kind)
            .bind(&event.data)
            .bind(event.seq)
            .execute(&mut *connection)
            .await?;
        joined.insert(event.seq);
    }
    Ok((fixed, joined))
}

/// Fixes those that are not fixed yet; how many.
async fn fix(events: &[&Routed], connection: &mut SqliteConnection) -> sqlx::Result<u64> {
    let sql = format!(
        "WITH fixed (seq, kind, time, task, keys, data) AS ({}) UPDATE events
         SET state = 1, kind = fixed.kind, time = fixed.time, task = fixed.task, data = fixed.data,
             keys = trim(events.keys || char(10) || fixed.keys, char(10))
         FROM fixed WHERE events.seq = fixed.seq AND events.state = 0",
        values(events.len(), "(?, ?, ?, ?, ?, ?)")
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for event in events {
        query = query
            .bind(event.seq)
            .bind(&event.kind)
            .bind(event.time)
            .bind(&event.task)
            .bind(event.keys.join("\n"))
            .bind(&event.data);
    }
    Ok(query.execute(connection).await?.rows_affected())
}

/// Makes deliveries that no throttle holds back.
async fn deliver(
    deliveries: Vec<(i64, &NewDelivery)>,
    token: i64,
    now: i64,
    made: &mut Vec<(i64, RoutedDelivery)>,
    connection: &mut SqliteConnection,
) -> sqlx::Result<()> {
    for chunk in chunks(&deliveries) {
        let sql = format!(
            "INSERT INTO deliveries (event, instance, state, token, lease_until, attempt, first_attempt, order_key, unknown,
                                     due, created, updated){}",
            values(chunk.len(), "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for (event, delivery) in chunk {
            query = query
                .bind(event)
                .bind(&delivery.instance)
                .bind(i64::from(delivery.lease_ms.is_some()))
                .bind(delivery.lease_ms.map(|_| token))
                .bind(delivery.lease_ms.map(|length| now + length))
                .bind(i64::from(delivery.lease_ms.is_some()))
                .bind(delivery.lease_ms.map(|_| now))
                .bind(&delivery.order_key)
                .bind(&delivery.unknown)
                .bind(now)
                .bind(now)
                .bind(now);
        }
        // The rows of one statement are numbered one after the other: the number of the last tells all.
        let next = query.execute(&mut *connection).await?.last_insert_rowid() + 1;
        let first = next - i64::try_from(chunk.len()).unwrap_or_default();
        made.extend((first..next).zip(chunk).map(|(id, (event, delivery))| {
            let (instance, token) = (delivery.instance.clone(), delivery.lease_ms.map(|_| token));
            (*event, RoutedDelivery { id, instance, suppressed: false, stands_for: 0, token, made: now })
        }));
    }
    Ok(())
}

/// Makes one delivery of a rule with a throttle, pending or suppressed.
async fn deliver_throttled(
    event: i64,
    delivery: &NewDelivery,
    token: i64,
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
    let lease = delivery.lease_ms.filter(|_| !suppress);
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO deliveries (event, instance, state, order_key, throttle_key, suppressed, unknown, due, created, updated,
                                 token, lease_until, attempt, first_attempt)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?8, ?8, ?8, ?9, ?10, ?11, ?12) RETURNING id",
    )
    .bind(event)
    .bind(&delivery.instance)
    .bind(if suppress { 4 } else { i64::from(lease.is_some()) })
    .bind(&delivery.order_key)
    .bind(delivery.throttle.as_ref().map(|throttle| &throttle.key))
    .bind(before)
    .bind(&delivery.unknown)
    .bind(now)
    .bind(lease.map(|_| token))
    .bind(lease.map(|length| now + length))
    .bind(i64::from(lease.is_some()))
    .bind(lease.map(|_| now))
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
    Ok(RoutedDelivery {
        id,
        instance: delivery.instance.clone(),
        suppressed: suppress,
        stands_for: before.unsigned_abs(),
        token: lease.map(|_| token),
        made: now,
    })
}
