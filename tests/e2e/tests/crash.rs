//! `kill -9` at any moment: what was accepted is delivered.
//!
//! Each round counts only if the kill met an event that was not enriched yet and a delivery in flight: one whose request
//! had come to the destination and whose outcome was not stored. The store is read with the program `sqlite3`, not with Butler's own code. `BUTLER_CRASH_ROUNDS` asks for more rounds.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::qlik::{Fault, Options, Site};
use e2e::{
    Answer, Butler, Received, Sense, Sink, Starting, failure, fields, http, resident, sqlite, sqlite_of_dead, wait_for,
};
use serde_json::Value;
use tempfile::TempDir;

const TASKS: usize = 40;

fn config(sink: &Sink, more: &str) -> String {
    format!(
        "{more}\nenrich: {{ giveUpAfter: 30s }}\nplugins:\n  - use: webhook\n    name: hook\n    retry: {{ initial: 50ms, max: 200ms }}\n    \
         settings: {{ url: {}, format: event, timeout: 1s }}\n",
        sink.url("/")
    )
}

/// A number up to `limit`, another one each time.
fn random(limit: u64) -> u64 {
    RandomState::new().hash_one(0) % limit
}

fn rounds() -> usize {
    std::env::var("BUTLER_CRASH_ROUNDS").map_or(20, |text| text.parse().expect("BUTLER_CRASH_ROUNDS is a number"))
}

/// Ids of the events that were told with success.
fn told(requests: &[Received]) -> BTreeSet<String> {
    requests.iter().map(|request| request.json()["id"].as_str().expect("an event has an id").to_owned()).collect()
}

/// Waits until nothing is accepted and not routed, nothing routed and not delivered.
async fn wait_done(butler: &Butler) {
    wait_for("all events to be routed and delivered", || async {
        let open = butler.metric("butler_deliveries_open{instance=\"hook\"}").await;
        (open == Some(0.0) && butler.metric("butler_events_waiting").await == Some(0.0)).then_some(())
    })
    .await;
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("not a number: {text}"))
}

/// Whether a kill met a delivery in flight: it is leased in the store, and the destination, which got these requests, had
/// not answered the last one about it, or had answered with success.
fn was_in_flight(store: &Path, requests: &[Received], killed: Instant) -> bool {
    let sql = "SELECT (SELECT value FROM meta WHERE name = 'id') || '-d' || id FROM deliveries WHERE state = 1;";
    let leased = sqlite_of_dead(store, sql);
    let last = |id: &str| requests.iter().rev().find(|request| request.header("idempotency-key") == Some(id));
    // The hook waits for an answer for a second.
    let open = |request: &Received| match request.status {
        Some(status) => status == 200,
        None => killed.duration_since(request.at) < Duration::from_millis(900),
    };
    leased.lines().filter_map(last).any(open)
}

/// The store is whole, every event in it is routed, none waits for its delivery, and those that came by UDP are these.
fn agrees(store: &Path, told: &BTreeSet<String>) {
    assert_eq!(sqlite(store, "PRAGMA integrity_check;"), "ok");
    assert_eq!(sqlite(store, "SELECT count(*) FROM events WHERE state = 0;"), "0", "every event is routed");
    assert_eq!(sqlite(store, "SELECT count(*) FROM deliveries WHERE state <> 2;"), "0", "every delivery is delivered");
    let sql = "SELECT (SELECT value FROM meta WHERE name = 'id') || '-' || seq FROM events WHERE source = 'udp';";
    let stored: BTreeSet<String> = sqlite(store, sql).lines().map(str::to_owned).collect();
    assert_eq!(&stored, told, "the store and the destination know the same events");
    let sql = "SELECT count(*) FROM events e WHERE source = 'udp'
                 AND (SELECT count(*) FROM deliveries d WHERE d.event = e.seq) <> 1;";
    assert_eq!(sqlite(store, sql), "0", "every event has one delivery");
}

#[tokio::test]
async fn kills_at_random_moments_under_load_lose_nothing_that_was_accepted() {
    let sense = Sense::with(Options::default().site(Site::with_tasks(TASKS))).await;
    let sink = Sink::start().await;
    sense.faults().add(Fault::latency(Duration::from_millis(60)));
    sink.always(Some(Answer::After(Duration::from_millis(40), 200)));
    let (config, store) = (config(&sink, ""), sense.folder().join("butler.db"));
    let (rounds, mut counted, mut accepted, mut sent) = (rounds(), 0, 0, 0);
    let mut executions = BTreeSet::new();
    for attempt in 0.. {
        assert!(attempt < rounds * 4, "only {counted} of {attempt} kills met an event and a delivery under way");
        let butler = sense.butler(&config).await;
        sink.next([Answer::Hang, Answer::Status(503), Answer::Hang]);
        let length = Duration::from_millis(150 + random(700));
        let (begun, before) = (Instant::now(), sink.received().len());
        let processed = loop {
            let messages: Vec<_> = (sent..sent + 3).map(|n| sense.failed(&Site::numbered_task(n % TASKS))).collect();
            sent += messages.len();
            butler.send(&messages.iter().map(failure).collect::<Vec<_>>());
            executions.extend(messages.into_iter().map(|message| message.execution_id));
            tokio::time::sleep(Duration::from_millis(15)).await;
            if begun.elapsed() >= length {
                let processed = butler.metric("butler_udp_processed_total").await.expect("it is counted");
                if processed > 0.0 && !butler.deliveries("state=leased&limit=1").await.is_empty() {
                    break processed;
                }
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "no delivery is under way:\n{}", butler.log());
        };
        drop(butler);
        let killed = Instant::now();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter")]
        {
            accepted += processed as usize;
        }
        let open = "SELECT count(*) FROM events WHERE state = 0; SELECT count(*) FROM events WHERE source = 'udp';
                    PRAGMA integrity_check;";
        let left = sqlite_of_dead(&store, open);
        let left: Vec<&str> = left.lines().collect();
        assert_eq!(left[2], "ok");
        assert!(number(left[1]) >= accepted as u64, "counted {accepted}, stored {}", left[1]);
        if number(left[0]) > 0 && was_in_flight(&store, &sink.received()[before..], killed) {
            counted += 1;
        }
        if counted == rounds {
            break;
        }
    }
    sense.faults().clear();
    sink.always(None);
    let butler = sense.butler(&config).await;
    wait_done(&butler).await;
    assert_eq!(butler.metric("butler_deliveries_dead{instance=\"hook\"}").await, Some(0.0));
    let (status, log) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    let successes = sink.successes();
    let told = told(&successes);
    assert!(told.len() >= accepted, "{accepted} events were counted as accepted, {} were told", told.len());
    let runs: BTreeSet<String> = successes
        .iter()
        .map(|request| request.json()["data"]["execution"]["id"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(runs.len(), told.len(), "one event for each run");
    assert!(runs.is_subset(&executions), "nothing is told that was not sent");
    assert!(successes.iter().all(|request| request.json()["data"]["missing"] == Value::Null), "all facts were found");
    agrees(&store, &told);
}

/// Starts a daemon and kills it after a time; whether it was ready by then.
fn kill_after(time: Duration, config: &Path, run_file: &Path) -> bool {
    let starting = Starting::new(config, &[]);
    std::thread::sleep(time);
    let run = std::fs::read(run_file).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let ready = run.is_some_and(|run| run["pid"] == starting.child().id());
    starting.kill();
    ready
}

/// Kills daemons at moments spread over the time that a start takes; how many of them were not ready.
async fn kill_starts(kills: u32, start: Duration, config: PathBuf, run_file: PathBuf) -> usize {
    tokio::task::spawn_blocking(move || {
        let (mut span, mut early) = (start, 0);
        for n in 0..kills {
            if kill_after(span * (n % 8) / 8, &config, &run_file) {
                // Starts are faster now than the one that was measured.
                span = span * 3 / 4;
            } else {
                early += 1;
            }
        }
        early
    })
    .await
    .expect("no kill panics")
}

#[tokio::test]
async fn kills_during_the_start_lose_nothing() {
    let sense = Sense::with(Options::default().site(Site::with_tasks(TASKS))).await;
    let sink = Sink::start().await;
    let (config, store) = (config(&sink, ""), sense.folder().join("butler.db"));
    // Nothing can end yet: Qlik Sense hangs, and so does the destination.
    sense.faults().add(Fault::hang());
    let butler = sense.butler(&config).await;
    let unknown: Vec<_> = (0..20).map(|n| sense.failed(&Site::numbered_task(n))).collect();
    butler.send(&unknown.iter().map(failure).collect::<Vec<_>>());
    butler.wait_metric("butler_udp_processed_total", 20.0).await;
    drop(butler);
    sense.faults().clear();
    sink.always(Some(Answer::Hang));
    let begun = Instant::now();
    let butler = sense.butler(&config).await;
    let start = begun.elapsed();
    butler.wait_delivery("leased", "hook").await;
    let more: Vec<_> = (20..40).map(|n| sense.failed(&Site::numbered_task(n))).collect();
    sense.faults().add(Fault::latency(Duration::from_millis(100)));
    butler.send(&more.iter().map(failure).collect::<Vec<_>>());
    butler.wait_metric("butler_udp_processed_total", 20.0).await;
    let config_file = butler.config().to_owned();
    drop(butler);
    sink.always(Some(Answer::After(Duration::from_millis(20), 200)));

    let run_file = sense.folder().join("butler.db.run.json");
    let early = kill_starts(16, start, config_file, run_file).await;
    assert!(early >= 6, "only {early} of 16 kills met a start");
    sense.faults().clear();
    let butler = sense.butler(&config).await;
    wait_done(&butler).await;
    let (status, log) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    let told = told(&sink.successes());
    assert_eq!(told.len(), 40);
    agrees(&store, &told);
}

#[tokio::test]
async fn kills_during_the_first_start_leave_a_store_that_works() {
    let sink = Sink::start().await;
    let text = format!(
        "version: 1\nstore: {{ path: butler.db }}\nudp: {{ listen: \"127.0.0.1:0\" }}\nrest: {{ listen: \"127.0.0.1:0\" }}\n{}",
        config(&sink, "")
    );
    let started = Instant::now();
    let butler = Butler::start(&text).await;
    let start = started.elapsed();
    drop(butler);

    for together in [false, true] {
        // Once each in a folder of its own, and once all in the same.
        let mut folder = Arc::new(TempDir::new().expect("a folder can be made"));
        for n in 0..12_u32 {
            if !together {
                folder = Arc::new(TempDir::new().expect("a folder can be made"));
            }
            let file = folder.path().join("butler.yaml");
            std::fs::write(&file, &text).expect("the config can be written");
            let run_file = folder.path().join("butler.db.run.json");
            let time = start * n / 12;
            let kill = tokio::task::spawn_blocking(move || kill_after(time, &file, &run_file));
            kill.await.expect("no kill panics");
            if !together && !n.is_multiple_of(3) {
                continue;
            }
            if together && n < 11 {
                continue;
            }
            let butler = Butler::start_in(folder.clone(), &text, &[]).await;
            let before = sink.successes().len();
            butler.send(&[failure(&fields())]);
            butler.wait_delivery("delivered", "hook").await;
            assert_eq!(sink.successes().len(), before + 1);
            let (status, log) = butler.stop().await;
            assert_eq!(status.code(), Some(0), "{log}");
            let store = folder.path().join("butler.db");
            let answer = sqlite(&store, "PRAGMA integrity_check; PRAGMA auto_vacuum; PRAGMA journal_mode;");
            assert_eq!(answer, "ok\n2\nwal", "as after a start that was not killed");
        }
    }
}

/// Old events with their keys and deliveries, as if they had been delivered an hour ago.
fn history(count: u32) -> String {
    format!(
        "BEGIN;
         CREATE TEMP TABLE n (n INTEGER PRIMARY KEY);
         WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {count}) INSERT INTO n SELECT n FROM c;
         INSERT INTO events (seq, kind, time, received, source, state, task, keys, data)
           SELECT 1000 + n, 'reload-task.failed', unixepoch() * 1000 - 3600000, unixepoch() * 1000 - 3600000, 'udp', 1, 'old',
                  'exec:old-' || n || ':failed', '{{\"task\":{{\"id\":\"old\",\"name\":\"Old\"}}}}' FROM n;
         INSERT INTO keys (hash, event) SELECT substr(sha3('exec:old-' || n || ':failed', 256), 1, 16), 1000 + n FROM n;
         INSERT INTO deliveries (event, instance, state, due, created, updated)
           SELECT 1000 + n, 'hook', 2, 0, 0, 0 FROM n;
         COMMIT;"
    )
}

#[tokio::test]
async fn a_kill_while_old_events_are_removed_keeps_the_store_whole_and_loses_none_that_waits() {
    const OLD: u32 = 60_000;
    let sink = Sink::start().await;
    let folder = Arc::new(TempDir::new().expect("a folder can be made"));
    let store = folder.path().join("butler.db");
    let config = config(&sink, "store: { path: butler.db, keep: 1s }").replace("timeout: 1s", "timeout: 50s");
    let (status, log) = Butler::start_in(folder.clone(), &config, &[]).await.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    sqlite(&store, &history(OLD));
    let old = "SELECT count(*) FROM events WHERE task = 'old';";
    assert_eq!(sqlite(&store, old), OLD.to_string());

    // Older than `keep` when the broom comes, and not delivered.
    sink.always(Some(Answer::Hang));
    let butler = Butler::start_in(folder.clone(), &config, &[]).await;
    butler.send(&(0..5).map(|_| failure(&fields())).collect::<Vec<_>>());
    sink.wait(5).await;
    wait_for("old events to be removed", || async {
        (number(&sqlite(&store, old)) < u64::from(OLD) * 9 / 10).then_some(())
    })
    .await;
    assert!(resident(butler.pid()) < 150 << 20, "{}", resident(butler.pid()));
    drop(butler);
    let whole = "PRAGMA integrity_check;
        SELECT count(*) FROM deliveries WHERE event NOT IN (SELECT seq FROM events);
        SELECT count(*) FROM events e LEFT JOIN keys k ON k.hash = substr(sha3(e.keys, 256), 1, 16) WHERE task = 'old' AND k.event IS NOT e.seq;
        SELECT count(*) FROM events e WHERE task = 'old' AND (SELECT count(*) FROM deliveries d WHERE d.event = e.seq) <> 1;
        SELECT count(*) FROM deliveries WHERE state IN (0, 1);";
    assert_eq!(sqlite_of_dead(&store, whole), "ok\n0\n0\n0\n5");
    let left = number(&sqlite_of_dead(&store, old));
    assert!(left > 0, "the kill came after the removal");

    sink.always(None);
    let butler = Butler::start_in(folder.clone(), &config, &[]).await;
    wait_done(&butler).await;
    assert_eq!(told(&sink.successes()).len(), 5);
    assert_eq!(sink.successes().len(), 5);
    wait_for("all old events to be removed", || async { (sqlite(&store, old) == "0").then_some(()) }).await;
    let answer = http().get(format!("{}/v5/health/ready", butler.rest())).send().await;
    assert_eq!(answer.expect("the daemon answers").status().as_u16(), 200);
    let (status, log) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(sqlite(&store, whole).starts_with("ok\n0\n0\n0\n0"));
    assert!(log.contains("old events removed"), "{log}");
    assert!(std::fs::metadata(&store).expect("the store is there").len() < 4 << 20, "its room is given back");
}
