//! What the roads beside UDP need: whether something was told already, and how far they have come.

use serde_json::json;
use sqlx::SqliteConnection;

use super::{Store, StoreError, keys};

/// How far the clocks of the Sense servers and ours may be apart.
const SKEW_MS: i64 = 5 * 60_000;
/// So long after its end an execution may still have been heard of first.
const LATE_MS: i64 = 10 * 60_000;

impl Store {
    /// Which of several events are known by any of their keys.
    pub async fn known(&self, of: &[Vec<String>]) -> Result<Vec<bool>, StoreError> {
        let hash = |key: &String| hex(&keys::hash(key));
        let hashes: Vec<String> = of.iter().flatten().map(hash).collect();
        let known: Vec<String> = sqlx::query_scalar(
            "SELECT value FROM json_each(?) WHERE EXISTS (SELECT 1 FROM keys WHERE hash = unhex(value))",
        )
        .bind(json!(hashes).to_string())
        .fetch_all(&self.inner.readers)
        .await?;
        let known: std::collections::HashSet<String> = known.into_iter().collect();
        Ok(of.iter().map(|keys| keys.iter().any(|key| known.contains(&hash(key)))).collect())
    }

    /// Whether an execution was told by another road that could not find out its result: Qlik Sense was away. Then that event
    /// gets the key of the result, so that it stands for this execution and for no other. `stopped_ms`: by the server's clock.
    pub async fn adopt(&self, task: &str, outcome: &str, stopped_ms: i64, key: &str) -> Result<bool, StoreError> {
        let input = (task.to_owned(), format!("*.{outcome}"), stopped_ms, key.to_owned());
        self.inner
            .writer
            .run(input, |(task, kind, stopped, key), connection| Box::pin(adopt(task, kind, *stopped, key, connection)))
            .await
    }

    /// What was kept under a name by [`Store::keep`].
    pub async fn kept(&self, name: &str) -> Result<Option<String>, StoreError> {
        let value = sqlx::query_scalar("SELECT value FROM meta WHERE name = ?").bind(name);
        Ok(value.fetch_optional(&self.inner.readers).await?)
    }

    /// Keeps a small text under a name, such as how far something has come.
    pub async fn keep(&self, name: &str, value: &str) -> Result<(), StoreError> {
        let input = (name.to_owned(), value.to_owned());
        self.inner
            .writer
            .run(input, |(name, value), connection| {
                Box::pin(async move {
                    let sql =
                        "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2";
                    sqlx::query(sql).bind(name).bind(value).execute(connection).await.map(drop)
                })
            })
            .await
    }
}

async fn adopt(
    task: &str,
    kind: &str,
    stopped: i64,
    key: &str,
    connection: &mut SqliteConnection,
) -> sqlx::Result<bool> {
    let nearest: Option<i64> = sqlx::query_scalar(
        "SELECT seq FROM events WHERE task = ?1 AND state = 1 AND kind GLOB ?2 AND received BETWEEN ?3 - ?4 AND ?3 + ?5
           AND source = 'udp' AND keys NOT GLOB '*result:*' ORDER BY abs(received - ?3) LIMIT 1",
    )
    .bind(task)
    .bind(kind)
    .bind(stopped)
    .bind(SKEW_MS)
    .bind(LATE_MS)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(event) = nearest else { return Ok(false) };
    if !keys::give(key, event, event, connection).await? {
        return Ok(false);
    }
    sqlx::query("UPDATE events SET keys = trim(keys || char(10) || ?, char(10)) WHERE seq = ?")
        .bind(key)
        .bind(event)
        .execute(connection)
        .await?;
    Ok(true)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02X}");
        text
    })
}
