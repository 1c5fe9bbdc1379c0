//! Schedules, what became of their runs, and the schedules of plugins.
//!
//! A planned time is claimed before its task is started, and a time is claimed once: whatever ends Butler when, none is
//! started a second time unasked, and what was claimed and not settled is found at the next start.

use sqlx::SqliteConnection;

use super::{Store, StoreError};

/// So many runs of each schedule are kept.
const RUNS: i64 = 20;
/// Schedules of an instance of a plugin of which the last time is kept; it cannot wait for more at once.
const MAX_TICKS: i64 = 64;

/// A schedule as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleRow {
    /// Its id.
    pub id: String,
    /// Planned times up to here are dealt with; ms since 1970 by the wall clock, as all times here.
    pub since: i64,
    /// All else, JSON.
    pub record: String,
}

/// A planned time that is claimed, or missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Id of the schedule.
    pub schedule: String,
    /// The planned time.
    pub planned: i64,
    /// Now.
    pub at: i64,
    /// It is too late for it: it will not be started.
    pub missed: bool,
}

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Its task is being started.
    Claimed,
    /// Its task was started.
    Started,
    /// Its task was not started.
    Failed,
    /// Its task was running still.
    Skipped,
    /// Butler was away.
    Missed,
}

/// A run of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Id of the schedule.
    pub schedule: String,
    /// The planned time.
    pub planned: i64,
    /// When it was claimed.
    pub claimed: i64,
    /// What became of it.
    pub state: RunState,
    /// Id of the execution session, or why it was not started.
    pub message: Option<String>,
}

const STATES: [RunState; 5] =
    [RunState::Claimed, RunState::Started, RunState::Failed, RunState::Skipped, RunState::Missed];

impl RunState {
    fn number(self) -> i64 {
        STATES.iter().position(|state| *state == self).and_then(|number| i64::try_from(number).ok()).unwrap_or_default()
    }

    fn of(number: i64) -> Self {
        usize::try_from(number).ok().and_then(|number| STATES.get(number).copied()).unwrap_or(Self::Failed)
    }
}

type RunRow = (String, i64, i64, i64, Option<String>);

fn run((schedule, planned, claimed, state, message): RunRow) -> Run {
    Run { schedule, planned, claimed, state: RunState::of(state), message }
}

impl Store {
    /// All schedules, the oldest first.
    pub async fn schedules(&self) -> Result<Vec<ScheduleRow>, StoreError> {
        let rows: Vec<(String, i64, String)> = sqlx::query_as("SELECT id, since, record FROM schedules ORDER BY place")
            .fetch_all(&self.inner.readers)
            .await?;
        Ok(rows.into_iter().map(|(id, since, record)| ScheduleRow { id, since, record }).collect())
    }

    /// Writes schedules, new ones behind the others, and removes some with their runs: all of it or nothing.
    pub async fn change_schedules(&self, put: Vec<ScheduleRow>, remove: Vec<String>) -> Result<(), StoreError> {
        self.inner
            .writer
            .run((put, remove), |(put, remove), connection| Box::pin(change(put, remove, connection)))
            .await
    }

    /// Claims planned times; which of them were not claimed before.
    pub async fn claim_runs(&self, claims: Vec<Claim>) -> Result<Vec<bool>, StoreError> {
        self.inner.writer.run(claims, |claims, connection| Box::pin(claim(claims, connection))).await
    }

    /// Says what became of a claimed run.
    pub async fn settle_run(
        &self,
        schedule: &str,
        planned: i64,
        state: RunState,
        message: Option<String>,
    ) -> Result<(), StoreError> {
        let input = (schedule.to_owned(), planned, state.number(), message);
        self.inner
            .writer
            .run(input, |(schedule, planned, state, message), connection| {
                Box::pin(async move {
                    let sql = "UPDATE schedule_runs SET state = ?3, message = ?4 WHERE schedule = ?1 AND planned = ?2";
                    let query = sqlx::query(sql).bind(schedule).bind(planned).bind(state).bind(message);
                    query.execute(connection).await.map(drop)
                })
            })
            .await
    }

    /// The clock was set back: these schedules go on from `now`, and what they had claimed after it is to come again.
    pub async fn rewind_schedules(&self, ids: Vec<String>, now: i64) -> Result<(), StoreError> {
        self.inner
            .writer
            .run((ids, now), |(ids, now), connection| {
                Box::pin(async move {
                    for id in ids {
                        for sql in [
                            "UPDATE schedules SET since = ?2 WHERE id = ?1",
                            "DELETE FROM schedule_runs WHERE schedule = ?1 AND planned > ?2 AND state <> 0",
                        ] {
                            sqlx::query(sql).bind(id).bind(now).execute(&mut *connection).await?;
                        }
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Runs that were claimed and not settled.
    pub async fn claimed_runs(&self) -> Result<Vec<Run>, StoreError> {
        let sql =
            "SELECT schedule, planned, claimed, state, message FROM schedule_runs WHERE state = 0 ORDER BY planned";
        let rows: Vec<RunRow> = sqlx::query_as(sql).fetch_all(&self.inner.readers).await?;
        Ok(rows.into_iter().map(run).collect())
    }

    /// The last run of each schedule, or of one.
    pub async fn last_runs(&self, schedule: Option<&str>) -> Result<Vec<Run>, StoreError> {
        let rows: Vec<RunRow> = sqlx::query_as(
            "SELECT schedule, planned, claimed, state, message FROM schedule_runs
             WHERE (schedule, planned) IN
                 (SELECT schedule, max(planned) FROM schedule_runs WHERE ?1 IS NULL OR schedule = ?1 GROUP BY schedule)",
        )
        .bind(schedule)
        .fetch_all(&self.inner.readers)
        .await?;
        Ok(rows.into_iter().map(run).collect())
    }

    /// The time that a schedule of a plugin was handed out last.
    pub async fn last_tick(&self, instance: &str, name: &str) -> Result<Option<i64>, StoreError> {
        let query = sqlx::query_scalar("SELECT planned FROM plugin_ticks WHERE instance = ? AND name = ?");
        Ok(query.bind(instance).bind(name).fetch_optional(&self.inner.readers).await?)
    }

    /// Keeps the time that a schedule of a plugin is handed out. When its instance has too many, the one of which is longest
    /// past is forgotten, unless it is one of `waiting`.
    pub async fn keep_tick(
        &self,
        instance: &str,
        name: &str,
        planned: i64,
        waiting: &[String],
    ) -> Result<(), StoreError> {
        let waiting = serde_json::to_string(waiting).unwrap_or_default();
        let input = (instance.to_owned(), name.to_owned(), planned, waiting);
        self.inner
            .writer
            .run(input, |(instance, name, planned, waiting), connection| {
                Box::pin(async move {
                    sqlx::query(
                        "DELETE FROM plugin_ticks WHERE instance = ?1 AND name IN (
                             SELECT name FROM plugin_ticks WHERE instance = ?1 AND name <> ?2
                             AND (SELECT count(*) FROM plugin_ticks WHERE instance = ?1 AND name <> ?2) >= ?3
                             AND name NOT IN (SELECT value FROM json_each(?4))
                             ORDER BY planned LIMIT 1)",
                    )
                    .bind(instance)
                    .bind(name)
                    .bind(MAX_TICKS)
                    .bind(waiting)
                    .execute(&mut *connection)
                    .await?;
                    let kept = sqlx::query(
                        "INSERT INTO plugin_ticks (instance, name, planned) VALUES (?1, ?2, ?3)
                         ON CONFLICT (instance, name) DO UPDATE SET planned = ?3",
                    );
                    kept.bind(instance).bind(name).bind(planned).execute(connection).await.map(drop)
                })
            })
            .await
    }
}

async fn change(put: &[ScheduleRow], remove: &[String], connection: &mut SqliteConnection) -> sqlx::Result<()> {
    for id in remove {
        for sql in ["DELETE FROM schedules WHERE id = ?", "DELETE FROM schedule_runs WHERE schedule = ?"] {
            sqlx::query(sql).bind(id).execute(&mut *connection).await?;
        }
    }
    for row in put {
        sqlx::query(
            "INSERT INTO schedules (id, since, record) VALUES (?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET since = ?2, record = ?3",
        )
        .bind(&row.id)
        .bind(row.since)
        .bind(&row.record)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn claim(claims: &[Claim], connection: &mut SqliteConnection) -> sqlx::Result<Vec<bool>> {
    let mut claimed = Vec::with_capacity(claims.len());
    for claim in claims {
        let state = if claim.missed { RunState::Missed } else { RunState::Claimed };
        let inserted =
            sqlx::query("INSERT OR IGNORE INTO schedule_runs (schedule, planned, state, claimed) VALUES (?, ?, ?, ?)")
                .bind(&claim.schedule)
                .bind(claim.planned)
                .bind(state.number())
                .bind(claim.at)
                .execute(&mut *connection)
                .await?;
        claimed.push(inserted.rows_affected() == 1);
        sqlx::query("UPDATE schedules SET since = max(since, ?2) WHERE id = ?1")
            .bind(&claim.schedule)
            .bind(claim.planned)
            .execute(&mut *connection)
            .await?;
        sqlx::query(
            "DELETE FROM schedule_runs WHERE schedule = ?1 AND state <> 0 AND planned <=
                 (SELECT planned FROM schedule_runs WHERE schedule = ?1 ORDER BY planned DESC LIMIT 1 OFFSET ?2)",
        )
        .bind(&claim.schedule)
        .bind(RUNS)
        .execute(&mut *connection)
        .await?;
    }
    Ok(claimed)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn store() -> (Store, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (Store::open(&folder.path().join("s.db")).await.unwrap(), folder)
    }

    fn row(id: &str, since: i64) -> ScheduleRow {
        ScheduleRow { id: id.to_owned(), since, record: format!("{{\"id\":\"{id}\"}}") }
    }

    fn claim(schedule: &str, planned: i64) -> Claim {
        Claim { schedule: schedule.to_owned(), planned, at: planned + 1, missed: false }
    }

    #[tokio::test]
    async fn a_planned_time_is_claimed_once_and_the_last_runs_are_kept() {
        let (store, folder) = store().await;
        store.change_schedules(vec![row("b", 0), row("a", 0)], Vec::new()).await.unwrap();
        store.change_schedules(vec![row("b", 5)], Vec::new()).await.unwrap();
        assert_eq!(store.schedules().await.unwrap(), [row("b", 5), row("a", 0)]);
        let claims = vec![claim("a", 10), claim("b", 10), claim("a", 10)];
        assert_eq!(store.claim_runs(claims).await.unwrap(), [true, true, false]);
        assert_eq!(store.schedules().await.unwrap(), [row("b", 10), row("a", 10)]);
        store.settle_run("a", 10, RunState::Started, Some("session".to_owned())).await.unwrap();
        // As after a crash.
        store.close().await;
        drop(store);
        let store = Store::open(&folder.path().join("s.db")).await.unwrap();
        assert_eq!(store.claim_runs(vec![claim("a", 10)]).await.unwrap(), [false]);
        let open = store.claimed_runs().await.unwrap();
        assert_eq!(open.iter().map(|run| run.schedule.as_str()).collect::<Vec<_>>(), ["b"]);
        let last = store.last_runs(Some("a")).await.unwrap();
        let message = Some("session".to_owned());
        assert_eq!(
            last,
            [Run { schedule: "a".to_owned(), planned: 10, claimed: 11, state: RunState::Started, message }]
        );
        for planned in 11..60 {
            store.claim_runs(vec![claim("a", planned)]).await.unwrap();
            store.settle_run("a", planned, RunState::Failed, None).await.unwrap();
        }
        let sql = "SELECT count(*) FROM schedule_runs WHERE schedule = 'a'";
        let kept: i64 = sqlx::query_scalar(sql).fetch_one(&store.inner.readers).await.unwrap();
        assert_eq!(kept, RUNS);
        store.rewind_schedules(vec!["a".to_owned()], 50).await.unwrap();
        assert_eq!(store.schedules().await.unwrap()[1].since, 50);
        assert_eq!(store.claim_runs(vec![claim("a", 50), claim("a", 51)]).await.unwrap(), [false, true]);
        store.change_schedules(Vec::new(), vec!["a".to_owned()]).await.unwrap();
        assert_eq!(store.last_runs(None).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn of_too_many_schedules_of_an_instance_the_oldest_that_is_not_waited_for_is_forgotten() {
        let (store, _folder) = store().await;
        let keep = async |instance: &str, name: &str, planned| {
            store.keep_tick(instance, name, planned, &["0".to_owned(), "more".to_owned()]).await.unwrap();
        };
        for n in 0..MAX_TICKS {
            keep("one", &n.to_string(), n).await;
        }
        keep("one", "5", 99).await;
        keep("two", "more", 1).await;
        let last = async |name: &str| store.last_tick("one", name).await.unwrap();
        assert_eq!((last("0").await, last("1").await, last("5").await), (Some(0), Some(1), Some(99)));
        keep("one", "more", 70).await;
        assert_eq!((last("0").await, last("1").await, last("2").await), (Some(0), None, Some(2)));
        assert_eq!(last("more").await, Some(70));
        let sql = "SELECT count(*) FROM plugin_ticks WHERE instance = 'one'";
        let kept: i64 = sqlx::query_scalar(sql).fetch_one(&store.inner.readers).await.unwrap();
        assert_eq!(kept, MAX_TICKS);
    }
}
