//! A store with a long history: what it costs, and how it is forgotten.

use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::{Butler, Sink, failure, fields, resident, sqlite, stopped_store, wait_for};
use serde_json::Value;
use tempfile::TempDir;

fn config(sink: &Sink, more: &str) -> String {
    format!(
        "{more}\nshutdownTimeout: 4s\nplugins:\n  - use: webhook\n    name: hook\n    retry: {{ initial: 50ms, max: 200ms }}\n    \
         settings: {{ url: {}, format: event, timeout: 30s }}\n",
        sink.url("/")
    )
}

fn failures(count: usize) -> Vec<String> {
    (0..count).map(|_| failure(&fields())).collect()
}

/// Starts a daemon; how long it took, and how much memory it has when it has told an event.
async fn start_and_tell(folder: &Arc<TempDir>, config: &str, sink: &Sink) -> (Butler, Duration, u64) {
    let begun = Instant::now();
    let butler = Butler::start_in(folder.clone(), config, &[]).await;
    let before = sink.received().len();
    butler.send(&failures(1));
    sink.wait(before + 1).await;
    let took = begun.elapsed();
    for path in ["/metrics", "/v5/events?limit=10", "/v5/deliveries?limit=10", "/v5/health/ready"] {
        let asked = Instant::now();
        assert_eq!(butler.get(path).await.0, 200, "{path}");
        assert!(asked.elapsed() < Duration::from_secs(1), "{path} took {:?}", asked.elapsed());
    }
    let memory = resident(butler.pid());
    (butler, took, memory)
}

#[tokio::test]
async fn a_long_history_costs_neither_time_at_the_start_nor_memory() {
    const HISTORY: u32 = 1_000_000;
    let sink = Sink::start().await;
    let config = config(&sink, "");
    let (empty, long) = (TempDir::new(), TempDir::new());
    let empty = Arc::new(empty.expect("a folder can be made"));
    let long = Arc::new(long.expect("a folder can be made"));
    stopped_store(&long, &config, HISTORY, "n").await;
    let (butler, took_empty, memory_empty) = start_and_tell(&empty, &config, &sink).await;
    drop(butler);
    let (butler, took, memory) = start_and_tell(&long, &config, &sink).await;
    let kept: u32 = sqlite(&long.path().join("butler.db"), "SELECT count(*) FROM events;").parse().expect("a number");
    assert!(kept > HISTORY, "{kept} events are left");
    assert!(took < took_empty + Duration::from_secs(2), "{took:?}; without history {took_empty:?}");
    assert!(memory < memory_empty + (30 << 20), "{memory} bytes; without history {memory_empty}");
    // Duplicates of what is in the history are still known.
    assert_eq!(sink.received().len(), 2);
    let (status, told) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{told}");
}

#[tokio::test]
async fn events_are_accepted_and_told_while_a_long_history_is_removed() {
    const HISTORY: u32 = 200_000;
    let sink = Sink::start().await;
    let config = config(&sink, "store: { path: butler.db, keep: 1d }");
    let folder = Arc::new(TempDir::new().expect("a folder can be made"));
    stopped_store(&folder, &config, HISTORY, "90000").await;
    let (butler, _, memory) = start_and_tell(&folder, &config, &sink).await;
    let store = folder.path().join("butler.db");
    let old = || sqlite(&store, "SELECT count(*) FROM events WHERE keys LIKE 'exec:old-%';").parse::<u64>();
    let left = || old().expect("sqlite3 prints a number");
    wait_for("old events to be removed", || async { (left() < u64::from(HISTORY)).then_some(()) }).await;
    let before = left();
    let mut longest = Duration::ZERO;
    let mut most = memory;
    for n in 0..40 {
        let sent = Instant::now();
        butler.send(&failures(1));
        sink.wait(n + 2).await;
        longest = longest.max(sent.elapsed());
        most = most.max(resident(butler.pid()));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let after = left();
    assert!(after < before, "the removal went on meanwhile");
    assert!(after > 0, "the removal ended too early to tell");
    assert!(longest < Duration::from_secs(2), "an event took {longest:?}");
    assert!(most < memory + (30 << 20), "{most} bytes; before {memory}");
    assert_eq!(sink.received().len(), 41);
    let asked = Instant::now();
    let (status, log) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(asked.elapsed() < Duration::from_secs(9), "{:?}", asked.elapsed());
    assert_eq!(
        sqlite(&store, "SELECT count(*) FROM deliveries WHERE state IN (0, 1); PRAGMA integrity_check;"),
        "0\nok"
    );
}

#[tokio::test]
async fn a_full_store_by_its_own_limit_makes_room_and_accepts() {
    let sink = Sink::start().await;
    let config = config(&sink, "store: { path: butler.db, maxSize: 4MB }");
    let folder = Arc::new(TempDir::new().expect("a folder can be made"));
    stopped_store(&folder, &config, 15_000, "90000").await;
    let store = folder.path().join("butler.db");
    assert!(std::fs::metadata(&store).expect("it is there").len() > 8 << 20);
    let (butler, ..) = start_and_tell(&folder, &config, &sink).await;
    wait_for("the store to be small", || async {
        let used =
            "SELECT (SELECT page_count FROM pragma_page_count) - (SELECT freelist_count FROM pragma_freelist_count);";
        let pages: u64 = sqlite(&store, used).parse().expect("sqlite3 prints a number");
        (pages * 4096 <= 4 << 20).then_some(())
    })
    .await;
    let newest = sqlite(&store, "SELECT max(seq) FROM events WHERE keys LIKE 'exec:old-%';");
    assert_eq!(newest, "16000", "the oldest go first, and no more than needed");
    butler.send(&failures(1));
    sink.wait(2).await;
    let (_, events) = butler.get("/v5/events?limit=1").await;
    assert_ne!(events["events"][0]["id"], Value::Null, "{events}");
}
