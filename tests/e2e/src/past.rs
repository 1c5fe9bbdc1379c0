//! Stores with a history, and those of earlier versions.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use crate::{Butler, sqlite};

/// The version of stores that the daemon under test makes.
pub const STORE_VERSION: u32 = 5;

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

/// Copies the store of an earlier version into a folder, as `butler.db` and as a daemon leaves it; with so many finished events more,
/// which are about the task `old`, so that a migration takes a while. Those can only be had in version 1.
///
/// # Panics
/// When there is no such store (`tests/e2e/stores`), or it cannot be copied.
pub fn old_store(folder: &Path, version: u32, more: u32) -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("stores/v{version}.db"));
    let store = folder.join("butler.db");
    std::fs::copy(file, &store).expect("the store can be copied");
    sqlite(&store, "PRAGMA journal_mode = WAL;");
    if more > 0 {
        sqlite(&store, &history_of_version_1(more));
    }
    store
}

/// Finished events with keys and deliveries.
fn history_of_version_1(count: u32) -> String {
    format!(
        "BEGIN;
         CREATE TEMP TABLE n (n INTEGER PRIMARY KEY);
         WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {count}) INSERT INTO n SELECT n FROM c;
         INSERT INTO events (seq, kind, time, received, source, state, task, keys, data)
           SELECT -n, 'reload-task.failed', t, t, 'udp', 1, 'old', 'exec:old-' || n || ':failed',
                  '{{\"task\":{{\"id\":\"old\",\"name\":\"Old\"}},\"message\":\"' || hex(zeroblob(150)) || '\"}}'
           FROM n, (SELECT max(received) - 3600000 AS t FROM events);
         INSERT INTO keys (key, event) SELECT 'exec:old-' || n || ':failed', -n FROM n;
         INSERT INTO deliveries (event, instance, state, due, created, updated)
           SELECT -n, 'hook', 2, t, t, t FROM n, (SELECT max(received) - 3600000 AS t FROM events);
         COMMIT;"
    )
}
