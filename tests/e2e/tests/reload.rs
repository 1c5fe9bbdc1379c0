//! Reading the config anew while the daemon works: only what changed is touched, nothing is lost.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use e2e::{Answer, Butler, Disk, Output, Sink, failure, fields, run, sqlite, take_all_room, wait_for};
use serde_json::{Value, json};
use tempfile::TempDir;

fn hook(name: &str, url: &str) -> String {
    format!(
        "  - use: webhook\n    name: {name}\n    retry: {{ initial: 50ms, max: 200ms }}\n    \
         settings: {{ url: {url}, format: event, timeout: 2s }}\n"
    )
}

/// How often an instance was started.
fn starts(log: &str, instance: &str) -> usize {
    let instance = format!("instance=\"{instance}\"");
    log.lines().filter(|line| line.contains("started") && line.contains(&instance)).count()
}

/// `butler reload`, without holding up the sinks of the test.
async fn reload(config: &Path) -> Output {
    let config = config.to_str().expect("paths of tests are UTF-8").to_owned();
    let command = tokio::task::spawn_blocking(move || run(&["reload", "-c", &config]));
    command.await.expect("the command can be run")
}

/// Ids of the events that were told with success.
fn told(sink: &Sink) -> BTreeSet<String> {
    sink.successes().iter().map(|request| request.json()["id"].as_str().unwrap_or_default().to_owned()).collect()
}

async fn running(butler: &Butler, instance: &str) {
    wait_for(&format!("{instance} to run; log:\n{}", butler.log()), || async {
        let (_, plugins) = butler.get("/v5/plugins").await;
        let rows = plugins["plugins"].as_array().cloned().unwrap_or_default();
        rows.iter().any(|row| row["name"] == instance && row["condition"]["state"] == "running").then_some(())
    })
    .await;
}

#[tokio::test]
async fn only_the_instances_whose_entry_changed_are_restarted() {
    let (first, second, third) = (Sink::start().await, Sink::start().await, Sink::start().await);
    let (same, changed) = (hook("same", &first.url("/")), hook("changed", &second.url("/old")));
    let butler = Butler::start(&format!("plugins:\n{same}{changed}{}", hook("gone", &third.url("/")))).await;
    butler.send(&[failure(&fields())]);
    for sink in [&first, &second, &third] {
        sink.wait(1).await;
    }
    let fresh = hook("fresh", &third.url("/fresh"));
    butler.rewrite(&format!("plugins:\n{same}{}{fresh}", hook("changed", &second.url("/new"))));
    let (status, done) = butler.post("/v5/reload", &Value::Null).await;
    assert_eq!(status, 200, "{done}");
    let expected = json!({ "started": ["fresh"], "restarted": ["changed"], "stopped": ["gone"], "unchanged": ["same"],
                           "needRestart": [] });
    assert_eq!(done, expected);
    running(&butler, "changed").await;
    let log = butler.log();
    assert_eq!((starts(&log, "same"), starts(&log, "changed")), (1, 2), "{log}");
    butler.send(&[failure(&fields())]);
    first.wait(2).await;
    let there = |path: &'static str| move |request: &e2e::Received| request.target == path;
    second.wait_where("the new address", there("/new")).await;
    third.wait_where("the new instance", there("/fresh")).await;
    assert_eq!(third.received().iter().filter(|request| request.target == "/").count(), 1, "`gone` gets no more");
    let (_, page) = butler.get("/v5/plugins").await;
    assert_eq!(page["plugins"].as_array().map(Vec::len), Some(3), "{page}");
    let (status, log) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
}

#[tokio::test]
async fn a_config_that_cannot_work_changes_nothing_and_is_answered_with_all_errors() {
    let sink = Sink::start().await;
    let config = format!("plugins:\n{}", hook("hook", &sink.url("/")));
    let butler = Butler::start(&config).await;
    butler.rewrite("retires: 3\nplugins:\n  - use: webhook\n    settings: { url: 7 }\n  - use: nonsense\n");
    let (status, answer) = butler.post("/v5/reload", &Value::Null).await;
    let message = answer["message"].as_str().unwrap_or_default();
    assert_eq!(status, 422, "{answer}");
    for part in ["retires", "url", "nonsense"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let output = reload(butler.config()).await;
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("retires"), "{output:?}");
    butler.send(&[failure(&fields())]);
    sink.wait(1).await;
    let (status, log) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("the former config stays in force"), "{log}");
}

#[tokio::test]
async fn while_the_store_cannot_be_written_a_reload_is_refused_and_signals_are_heard() {
    let (disk, sink) = (Disk::in_memory(16), Sink::start().await);
    let config = format!("shutdownTimeout: 2s\nplugins:\n{}", hook("hook", &sink.url("/")));
    let butler = Butler::start_in(disk.folder(), &config, &[]).await;
    let reserve = disk.path().join("butler.reserve");
    wait_for("room to be set aside", || async { std::fs::remove_file(&reserve).is_ok().then_some(()) }).await;
    take_all_room(&disk.path().join("filler"));
    butler.send(&(0..50).map(|_| failure(&fields())).collect::<Vec<_>>());
    wait_for("trouble", || async { (butler.get("/v5/health/ready").await.0 == 503).then_some(()) }).await;
    let (status, answer) = butler.post("/v5/reload", &Value::Null).await;
    assert_eq!(status, 422, "{answer}");
    assert!(answer["message"].as_str().unwrap_or_default().contains("the store cannot be written"), "{answer}");
    let (status, log) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
}

#[tokio::test]
async fn what_takes_a_restart_is_named_each_time() {
    let sink = Sink::start().await;
    let hook = hook("hook", &sink.url("/"));
    let butler = Butler::start(&format!("plugins:\n{hook}")).await;
    butler.rewrite(&format!("log: {{ level: debug, format: json }}\nenrich: {{ concurrency: 3 }}\nplugins:\n{hook}"));
    for _ in 0..2 {
        let output = reload(butler.config()).await;
        assert_eq!(output.code, 0, "{output:?}");
        assert!(output.stdout.contains("needs a restart of Butler: log.format, enrich.concurrency"), "{output:?}");
    }
    assert!(butler.log().contains("DEBUG"), "the level of the log is applied");
}

#[tokio::test]
async fn reloads_under_load_lose_nothing() {
    let (steady, moving) = (Sink::start().await, Sink::start().await);
    moving.always(Some(Answer::After(Duration::from_millis(5), 200)));
    let config = |round: usize| {
        format!("plugins:\n{}{}", hook("steady", &steady.url("/")), hook("moving", &moving.url(&format!("/{round}"))))
    };
    let folder = Arc::new(TempDir::new().expect("a folder can be made"));
    let butler = Butler::start_in(folder.clone(), &config(0), &[]).await;
    let mut sent = 0;
    for round in 1..=8 {
        for _ in 0..5 {
            butler.send(&(0..10).map(|_| failure(&fields())).collect::<Vec<_>>());
            sent += 10;
            tokio::task::yield_now().await;
        }
        butler.rewrite(&config(round));
        let hang_up = Command::new("kill").args(["-HUP", &butler.pid().to_string()]).status();
        assert!(hang_up.expect("kill runs").success());
        wait_for("the reload", || async {
            (butler.log().matches("the config was read anew").count() >= round).then_some(())
        })
        .await;
    }
    butler.wait_metric("butler_udp_processed_total", f64::from(sent)).await;
    wait_for(&format!("all deliveries; log:\n{}", butler.log()), || async {
        let sent = usize::try_from(sent).unwrap_or(0);
        (told(&steady).len() >= sent && told(&moving).len() >= sent).then_some(())
    })
    .await;
    assert_eq!(steady.received().len(), told(&steady).len(), "an instance that did not change sends nothing twice");
    let (status, log) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(sqlite(&folder.path().join("butler.db"), "SELECT count(*) FROM deliveries WHERE state <> 2;"), "0");
    assert_eq!(starts(&log, "steady"), 1, "{log}");
}

#[tokio::test]
async fn deliveries_of_a_renamed_instance_can_be_moved() {
    let sink = Sink::start().await;
    sink.always(Some(Answer::Status(503)));
    let butler = Butler::start(&format!("plugins:\n{}", hook("old", &sink.url("/")))).await;
    butler.send(&[failure(&fields()), failure(&fields())]);
    sink.wait(2).await;
    butler.rewrite(&format!("plugins:\n{}", hook("new", &sink.url("/new"))));
    let output = reload(butler.config()).await;
    assert!(output.stdout.contains("started: new") && output.stdout.contains("stopped: old"), "{output:?}");
    let parked = butler.deliveries("state=parked&instance=old").await;
    assert_eq!(parked.len(), 2, "{parked:?}");
    running(&butler, "new").await;
    sink.always(None);
    let (status, answer) = butler.post("/v5/deliveries/move", &json!({ "from": "new", "to": "old" })).await;
    assert_eq!(status, 409, "{answer}");
    let (status, answer) = butler.post("/v5/deliveries/move", &json!({ "from": "old", "to": "nobody" })).await;
    assert_eq!(status, 404, "{answer}");
    let config = butler.config().to_str().expect("paths of tests are UTF-8").to_owned();
    let moving = tokio::task::spawn_blocking(move || run(&["deliveries", "move", "-c", &config, "old", "new"]));
    let output = moving.await.expect("the command can be run");
    assert_eq!((output.code, output.stdout.trim()), (0, "2 open deliveries of old go to new now"), "{output:?}");
    wait_for("both at the new instance", || async {
        (butler.deliveries("state=delivered&instance=new").await.len() == 2).then_some(())
    })
    .await;
    assert_eq!(told(&sink).len(), 2);
}

#[tokio::test]
async fn what_is_in_flight_at_a_reload_ends_and_is_told_once() {
    let sink = Sink::start().await;
    // Longer than a stop would wait for it.
    sink.always(Some(Answer::After(Duration::from_secs(3), 200)));
    let config = |retry: &str| {
        let url = sink.url("/");
        format!(
            "shutdownTimeout: 2s\nplugins:\n  - use: webhook\n    retry: {{ initial: {retry} }}\n    settings: {{ url: {url}, timeout: 20s }}\n"
        )
    };
    let butler = Butler::start(&config("1s")).await;
    butler.send(&[failure(&fields())]);
    sink.wait(1).await;
    butler.rewrite(&config("2s"));
    let (status, done) = butler.post("/v5/reload", &Value::Null).await;
    assert_eq!((status, &done["restarted"]), (200, &json!(["webhook"])), "{done}");
    let delivered = butler.deliveries("state=delivered").await;
    assert_eq!((delivered.len(), &delivered[0]["attempt"]), (1, &json!(1)), "{delivered:?}");
    assert_eq!(sink.received().len(), 1);
}

#[tokio::test]
async fn a_reload_that_waits_for_a_call_hears_a_stop_and_the_call_is_tried_again_at_once() {
    let sink = Sink::start().await;
    sink.always(Some(Answer::Hang));
    let config = |retry: &str| {
        let url = sink.url("/");
        format!(
            "shutdownTimeout: 4s\nplugins:\n  - use: webhook\n    retry: {{ initial: {retry} }}\n    settings: {{ url: {url}, timeout: 50s }}\n"
        )
    };
    let folder = Arc::new(TempDir::new().expect("a folder can be made"));
    let butler = Butler::start_in(folder.clone(), &config("1s"), &[]).await;
    butler.send(&[failure(&fields())]);
    sink.wait(1).await;
    butler.rewrite(&config("2s"));
    let hang_up = Command::new("kill").args(["-HUP", &butler.pid().to_string()]).status();
    assert!(hang_up.expect("kill runs").success());
    let stopping = "stopping what the new config changes";
    wait_for("the reload to stop the instance", || async { butler.log().contains(stopping).then_some(()) }).await;
    let asked = std::time::Instant::now();
    let (status, log) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}\n{log}", asked.elapsed());
    let store = folder.path().join("butler.db");
    assert_eq!(
        sqlite(&store, "SELECT state || error FROM deliveries;"),
        "0its instance was stopped before there was an outcome"
    );
}
