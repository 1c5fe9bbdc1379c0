//! Reading: who was told what, when; and what waits.

use std::time::{Duration, Instant};

use butler_plugin_api::{Data, Event};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, SqlitePool};

use super::deliveries::{event_of, event_with};
use super::disk::is_interrupt;
use super::{State, Store, StoreError, rfc3339, wall_ms};

/// A query may take so long.
pub(super) const LIMIT: Duration = if cfg!(test) { Duration::from_secs(2) } else { Duration::from_secs(10) };
/// Steps of SQLite's machine between two looks at the time: some hundred microseconds.
const STEPS: i32 = 10_000;

/// Connections whose queries are ended when their time is over.
pub(super) fn pool(options: SqliteConnectOptions) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(3)
        .after_connect(|connection, _| Box::pin(begin(connection)))
        .before_acquire(|connection, _| {
            Box::pin(async move {
                begin(connection).await?;
                Ok(true)
            })
        })
        .connect_lazy_with(options)
}

/// From now on the time of a connection runs.
async fn begin(connection: &mut SqliteConnection) -> sqlx::Result<()> {
    let begun = Instant::now();
    connection.lock_handle().await?.set_progress_handler(STEPS, move || begun.elapsed() < LIMIT);
    Ok(())
}

pub(super) fn failed(error: sqlx::Error) -> StoreError {
    if is_interrupt(&error) { StoreError::TooSlow } else { error.into() }
}

/// A time of waits for people.
fn shown(waiting: i64) -> String {
    rfc3339(wall_ms(waiting))
}

/// The query of a page of events. Those of a task are found by an index, except the few that wait for enrichment.
pub(super) fn events_query(begin: &str, filter: &EventFilter) -> QueryBuilder<Sqlite> {
    let parts: &[&str] = if filter.task.is_some() { &["state <> 0", "state = 0"] } else { &["1"] };
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new(begin);
    for (n, part) in parts.iter().enumerate() {
        query.push(if n == 0 { "" } else { " UNION ALL " });
        query.push("SELECT seq, kind, time, received, source, state, data FROM events WHERE ").push(part);
        if let Some(kind) = &filter.kind {
            query.push(if kind.contains('*') { " AND kind GLOB " } else { " AND kind = " }).push_bind(kind.clone());
        }
        if let Some(task) = &filter.task {
            query.push(" AND task = ").push_bind(task.clone());
        }
        if let Some(since) = filter.since {
            query.push(" AND received >= ").push_bind(since);
        }
        if let Some(until) = filter.until {
            query.push(" AND received < ").push_bind(until);
        }
        if let Some(before) = filter.before {
            query.push(" AND seq < ").push_bind(before);
        }
    }
    query.push(" ORDER BY seq DESC LIMIT ").push_bind(filter.limit);
    query
}

/// Which events to list. All conditions must hold; the newest first.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Kind, or the beginning of one with a `*` at the end.
    pub kind: Option<String>,
    /// Id of the task.
    pub task: Option<String>,
    /// Received at or after, ms since 1970.
    pub since: Option<i64>,
    /// Received before, ms since 1970.
    pub until: Option<i64>,
    /// Only numbers below this: the page after one that ended with it.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

/// An event in a list.
#[derive(Debug, Clone)]
pub struct EventRow {
    /// Number.
    pub seq: i64,
    /// `accepted`, `routed`, `joined` or `unreadable`.
    pub state: &'static str,
    /// The event.
    pub event: Event,
}

/// Which deliveries to list. All conditions must hold; the newest first.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    /// State.
    pub state: Option<State>,
    /// Instance.
    pub instance: Option<String>,
    /// Id of the task of its event.
    pub task: Option<String>,
    /// Number of its event.
    pub event: Option<i64>,
    /// Only this one.
    pub id: Option<i64>,
    /// Only numbers below this.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

/// A delivery in a list.
#[derive(Debug, Clone)]
pub struct DeliveryRow {
    /// Number.
    pub id: i64,
    /// Number of its event.
    pub event: i64,
    /// Kind of its event.
    pub kind: String,
    /// Name of the event's task, if it has one.
    pub task_name: Option<String>,
    /// Instance.
    pub instance: String,
    /// State.
    pub state: State,
    /// Attempts so far.
    pub attempt: u32,
    /// When the first attempt began, RFC 3339.
    pub first_attempt_at: Option<String>,
    /// When it is due, RFC 3339; for those that wait.
    pub due: Option<String>,
    /// Events that it stands for beside its own.
    pub suppressed: i64,
    /// Condition that could not be decided.
    pub unknown: Option<String>,
    /// Last error.
    pub error: Option<String>,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// When it changed last, RFC 3339.
    pub updated_at: String,
}

/// How much waits for an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDepth {
    /// Instance.
    pub instance: String,
    /// Pending and leased.
    pub open: i64,
    /// Dead and still in the store.
    pub dead: i64,
}

impl Store {
    /// A page of events.
    pub async fn events(&self, filter: &EventFilter) -> Result<Vec<EventRow>, StoreError> {
        let mut query = events_query("", filter);
        let rows = query.build().fetch_all(&self.inner.history).await.map_err(failed)?;
        rows.iter().map(|row| self.event_row(row)).collect()
    }

    /// One event.
    pub async fn event(&self, seq: i64) -> Result<Option<EventRow>, StoreError> {
        let row = sqlx::query("SELECT seq, kind, time, received, source, state, data FROM events WHERE seq = ?")
            .bind(seq)
            .fetch_optional(&self.inner.history)
            .await
            .map_err(failed)?;
        row.map(|row| self.event_row(&row)).transpose()
    }

    fn event_row(&self, row: &sqlx::sqlite::SqliteRow) -> Result<EventRow, StoreError> {
        let state = match row.try_get::<i64, _>("state")? {
            0 => "accepted",
            1 => "routed",
            3 => "unreadable",
            _ => "joined",
        };
        // One that cannot be read must not hide the others of its page.
        let event = event_of(row, &self.inner.id).or_else(|error| match error {
            sqlx::Error::Decode(_) => event_with(row, Data::default(), &self.inner.id),
            error => Err(error),
        })?;
        Ok(EventRow { seq: row.try_get("seq")?, state, event })
    }

    /// A page of deliveries.
    pub async fn deliveries(&self, filter: &DeliveryFilter) -> Result<Vec<DeliveryRow>, StoreError> {
        let mut query: QueryBuilder<Sqlite> = QueryBuilder::new(
            "SELECT d.id, d.event, d.instance, d.state, d.attempt, d.first_attempt, d.due, d.suppressed, d.unknown, d.error,
                    d.created, d.updated, e.kind, e.data ->> '$.task.name' AS task_name
             FROM deliveries d JOIN events e ON e.seq = d.event WHERE 1",
        );
        if let Some(state) = filter.state {
            query.push(" AND d.state = ").push_bind(state as i64);
        }
        if let Some(instance) = &filter.instance {
            query.push(" AND d.instance = ").push_bind(instance.clone());
        }
        if let Some(task) = &filter.task {
            // An event with deliveries is through with enrichment: the index has it.
            query.push(" AND e.state <> 0 AND e.task = ").push_bind(task.clone());
        }
        if let Some(event) = filter.event {
            query.push(" AND d.event = ").push_bind(event);
        }
        if let Some(id) = filter.id {
            query.push(" AND d.id = ").push_bind(id);
        }
        if let Some(before) = filter.before {
            query.push(" AND d.id < ").push_bind(before);
        }
        query.push(" ORDER BY d.id DESC LIMIT ").push_bind(filter.limit);
        let rows = query.build().fetch_all(&self.inner.history).await.map_err(failed)?;
        rows.iter()
            .map(|row| {
                let state = State::from_number(row.try_get("state")?);
                let waits = matches!(state, State::Pending | State::Leased);
                Ok(DeliveryRow {
                    id: row.try_get("id")?,
                    event: row.try_get("event")?,
                    kind: row.try_get("kind")?,
                    task_name: row.try_get("task_name")?,
                    instance: row.try_get("instance")?,
                    state,
                    attempt: row.try_get("attempt")?,
                    first_attempt_at: row.try_get::<Option<i64>, _>("first_attempt")?.map(shown),
                    due: waits.then(|| row.try_get("due").map(shown)).transpose()?,
                    suppressed: row.try_get("suppressed")?,
                    unknown: row.try_get("unknown")?,
                    error: row.try_get("error")?,
                    created_at: shown(row.try_get("created")?),
                    updated_at: shown(row.try_get("updated")?),
                })
            })
            .collect()
    }

    /// How much waits for each instance that has anything waiting or dead.
    pub async fn queue_depths(&self) -> Result<Vec<QueueDepth>, StoreError> {
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(
            "SELECT instance, sum(open), sum(dead) FROM (
                SELECT instance, count(*) AS open, 0 AS dead FROM deliveries INDEXED BY deliveries_due
                  WHERE state = 0 GROUP BY instance
                UNION ALL SELECT instance, count(*), 0 FROM deliveries INDEXED BY deliveries_leased
                  WHERE state = 1 GROUP BY instance
                UNION ALL SELECT instance, 0, count(*) FROM deliveries INDEXED BY deliveries_dead
                  WHERE state = 3 GROUP BY instance)
             GROUP BY instance ORDER BY instance",
        )
        .fetch_all(&self.inner.history)
        .await
        .map_err(failed)?;
        Ok(rows.into_iter().map(|(instance, open, dead)| QueueDepth { instance, open, dead }).collect())
    }

    /// How many deliveries are due or in flight.
    pub async fn due_count(&self) -> Result<i64, StoreError> {
        let count = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM deliveries INDEXED BY deliveries_due WHERE state = 0 AND due <= ?)
                  + (SELECT count(*) FROM deliveries INDEXED BY deliveries_leased WHERE state = 1)",
        )
        .bind(super::waiting_ms())
        .fetch_one(&self.inner.readers)
        .await?;
        Ok(count)
    }
}
