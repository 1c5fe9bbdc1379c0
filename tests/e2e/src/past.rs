//! Stores with a history.

use std::sync::Arc;

use tempfile::TempDir;

use crate::{Butler, sqlite};

/// A store with so many delivered events, left by a daemon that was stopped.
///
/// # Panics
/// When it cannot be made.
pub async fn stopped_store(folder: &Arc<TempDir>, config: &str, events: u32, age: &str) {
    let (status, log) = Butler::start_in(folder.clone(), config, &[]).await.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    sqlite(&folder.path().join("butler.db"), &history(events, age));
}

/// Delivered events with keys, and data of the usual size.
fn history(count: u32, age: &str) -> String {
    format!(
        "BEGIN;
         CREATE TEMP TABLE n (n INTEGER PRIMARY KEY);
         WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {count}) INSERT INTO n SELECT n FROM c;
         INSERT INTO events (seq, kind, time, received, source, state, task, keys, data)
           SELECT 1000 + n, 'reload-task.failed', (unixepoch() - {age}) * 1000, (unixepoch() - {age}) * 1000, 'udp', 1,
                  'task-' || (n % 500), 'exec:old-' || n || ':failed',
                  '{{\"task\":{{\"id\":\"task-' || (n % 500) || '\",\"name\":\"Old\"}},\"message\":\"' || hex(zeroblob(200)) || '\"}}' FROM n;
         INSERT INTO keys (hash, event) SELECT substr(sha3('exec:old-' || n || ':failed', 256), 1, 16), 1000 + n FROM n;
         INSERT INTO deliveries (event, instance, state, due, created, updated)
           SELECT 1000 + n, 'hook', 2, t, t, t FROM (SELECT n, (unixepoch() - {age}) * 1000 AS t FROM n);
         COMMIT;"
    )
}
