//! Instances that hang, refuse, panic and block their thread, all beside a healthy one in one daemon: the healthy one
//! gets everything at once, and what the others do not take stays in the store.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::{Answer, Butler, Received, Sink, failure, fields, sqlite, wait_for};
use tempfile::TempDir;

const EACH: usize = 50;
const RETRY: &str = "retry: { initial: 50ms, max: 200ms }";
const SHUTDOWN: Duration = Duration::from_secs(4);

fn relay(name: &str, more: &str) -> String {
    format!("  - use: relay\n    name: {name}\n    {RETRY}\n    {more}\n")
}

fn webhook(name: &str, sink: &Sink) -> String {
    format!(
        "  - use: webhook\n    name: {name}\n    on: [{{ events: [\"reload-task.*\"] }}]\n    {RETRY}\n    settings: {{ url: {} }}\n",
        sink.url("/")
    )
}

/// The state of an instance.
async fn state(butler: &Butler, name: &str) -> String {
    let (_, answer) = butler.get("/v5/plugins").await;
    let found = answer["plugins"].as_array().into_iter().flatten().find(|instance| instance["name"] == name);
    found.and_then(|instance| instance["condition"]["state"].as_str()).unwrap_or_default().to_owned()
}

async fn wait_state(butler: &Butler, name: &str, wanted: &str) {
    wait_for(&format!("{name} to be {wanted}; log:\n{}", butler.log()), || async {
        (state(butler, name).await == wanted).then_some(())
    })
    .await;
}

/// The healthy instance gets so many events soon; which deliveries they were.
async fn assert_served(butler: &Butler, healthy: &Sink) -> BTreeSet<String> {
    let before = healthy.received().len();
    let sent = Instant::now();
    butler.send(&(0..EACH).map(|_| failure(&fields())).collect::<Vec<_>>());
    let requests = healthy.wait(before + EACH).await;
    assert!(sent.elapsed() < Duration::from_secs(5), "it took {:?}", sent.elapsed());
    let key = |request: &Received| request.header("idempotency-key").unwrap_or_default().to_owned();
    requests[before..].iter().map(key).collect()
}

/// Stops within `shutdownTimeout`, with success.
async fn assert_stops(butler: Butler) -> String {
    let asked = Instant::now();
    let (status, log) = butler.stop().await;
    let took = asked.elapsed();
    assert_eq!(status.code(), Some(0), "{log}");
    // The rest is for a busy machine.
    assert!(took < SHUTDOWN + Duration::from_secs(2), "the stop took {took:?}:\n{log}");
    log
}

/// Deliveries by instance, as another program sees them.
fn count(store: &Path, states: &str) -> Vec<(String, usize)> {
    let sql = format!("SELECT instance, count(*) FROM deliveries WHERE state IN ({states}) GROUP BY 1 ORDER BY 1;");
    let answer = sqlite(store, &sql);
    let row = |line: &str| {
        let (name, count) = line.split_once('|').expect("two columns");
        (name.to_owned(), count.parse().expect("a number"))
    };
    answer.lines().map(row).collect()
}

#[tokio::test]
async fn four_bad_neighbours_at_once_harm_nobody_and_lose_nothing() {
    let (healthy, refusing) = (Sink::start().await, Sink::start().await);
    refusing.always(Some(Answer::Status(503)));
    let config = format!(
        "shutdownTimeout: 4s\nplugins:\n{}{}{}{}{}{}",
        relay("blocks", "settings: { fault: block }"),
        relay("hangs", "settings: { fault: hang }"),
        relay("panics", "settings: { fault: panic }"),
        relay("refuses", "settings: { fault: refuse }"),
        webhook("refused", &refusing),
        webhook("healthy", &healthy),
    );
    let folder = Arc::new(TempDir::new().expect("a folder can be made"));
    let butler = Butler::start_in(folder.clone(), &config, &[]).await;
    let mut told = assert_served(&butler, &healthy).await;
    wait_state(&butler, "blocks", "stuck").await;
    wait_for("the panicking one to be restarted", || async {
        butler.log().contains("panicked again and again").then_some(())
    })
    .await;
    wait_for("the hanging one to miss its deadline", || async {
        let deliveries = butler.deliveries("instance=hangs").await;
        deliveries.iter().any(|delivery| delivery["error"].to_string().contains("no outcome within 2 s")).then_some(())
    })
    .await;
    for refusing in ["refuses", "refused"] {
        wait_for("a tenth attempt", || async {
            let deliveries = butler.deliveries(&format!("instance={refusing}")).await;
            deliveries.iter().any(|delivery| delivery["attempt"].as_u64() >= Some(10)).then_some(())
        })
        .await;
    }
    // Now all faults are there.
    for _ in 0..3 {
        told.extend(assert_served(&butler, &healthy).await);
    }
    assert_eq!(state(&butler, "blocks").await, "stuck");
    assert_eq!((told.len(), healthy.received().len()), (4 * EACH, 4 * EACH), "each once");
    wait_for("the outcomes to be stored", || async {
        (butler.metric("butler_deliveries_open{instance=\"healthy\"}").await == Some(0.0)).then_some(())
    })
    .await;
    let (status, ready) = butler.get("/v5/health/ready").await;
    assert_eq!(status, 200, "{ready}");
    assert_stops(butler).await;
    let store = folder.path().join("butler.db");
    let all = 4 * EACH;
    let bad = ["blocks", "hangs", "panics", "refused", "refuses"].map(|name| (name.to_owned(), all));
    assert_eq!(count(&store, "0, 1"), bad, "what was not taken stays");
    assert_eq!(count(&store, "2"), [("healthy".to_owned(), all)]);
    assert_eq!(count(&store, "3, 4, 5"), []);
    assert_eq!(sqlite(&store, "PRAGMA integrity_check;"), "ok");
}

/// Threads of an instance that the process has.
fn threads(butler: &Butler, name: &str) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", butler.pid())).expect("the process lives");
    let names = tasks.flatten().map(|task| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default());
    names.filter(|thread| thread.trim() == format!("plugin {name}")).count()
}

#[tokio::test]
async fn a_blocked_thread_is_replaced_twice_where_the_config_asks_for_it_and_then_the_instance_is_failed() {
    let healthy = Sink::start().await;
    let config = format!(
        "shutdownTimeout: 4s\nplugins:\n{}{}",
        relay("blocks", "settings: { fault: block }\n    onStuck: restart"),
        webhook("healthy", &healthy)
    );
    let folder = Arc::new(TempDir::new().expect("a folder can be made"));
    let butler = Butler::start_in(folder.clone(), &config, &[]).await;
    let starts = || {
        let log = butler.log();
        log.lines().filter(|line| line.contains(" started ") && line.contains("instance=\"blocks\"")).count()
    };
    assert_served(&butler, &healthy).await;
    for generation in 1..=3 {
        wait_for(&format!("start {generation}; log:\n{}", butler.log()), || async {
            (starts() == generation).then_some(())
        })
        .await;
        wait_state(&butler, "blocks", "stuck").await;
        assert_served(&butler, &healthy).await;
        assert_eq!(threads(&butler, "blocks"), generation);
    }
    wait_state(&butler, "blocks", "failed").await;
    let (_, plugins) = butler.get("/v5/plugins").await;
    assert!(plugins.to_string().contains("blocked its thread 3 times; restart Butler"), "{plugins}");
    assert_served(&butler, &healthy).await;
    assert_eq!((starts(), threads(&butler, "blocks")), (3, 3), "no thread more");
    let store = folder.path().join("butler.db");
    wait_for("the outcomes to be stored", || async {
        (butler.metric("butler_deliveries_open{instance=\"healthy\"}").await == Some(0.0)).then_some(())
    })
    .await;
    let log = assert_stops(butler).await;
    assert_eq!(log.matches("the blocked thread is given up").count(), 3, "{log}");
    assert_eq!(healthy.received().len(), 5 * EACH, "each once");
    assert_eq!(count(&store, "0, 1"), [("blocks".to_owned(), 5 * EACH)], "what was not taken stays");
    assert_eq!(count(&store, "2"), [("healthy".to_owned(), 5 * EACH)]);
}
