//! The store in trouble: no room, no permission, a broken file.
//!
//! Full and failing disks are file systems of their own, so these tests need root.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::{
    Answer, Butler, Disk, Filler, Output, Sink, StoreLock, failure, fields, run_with, sqlite, stopped_store,
    take_all_room, wait_for,
};
use tempfile::TempDir;

/// What the webhook delivers at once.
const CONCURRENCY: usize = 8;

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

/// How many received events the log says were not stored.
fn taken_along(log: &str) -> u64 {
    let lines = log.lines().filter(|line| line.contains("before received events could be stored"));
    let count =
        |line: &str| line.rsplit_once("events=").and_then(|(_, rest)| rest.split(' ').next()?.parse::<u64>().ok());
    lines.filter_map(count).sum()
}

/// Waits until the daemon says that its store cannot be written, and why.
async fn wait_trouble(butler: &Butler) -> String {
    wait_for(&format!("trouble with the store; log:\n{}", butler.log()), || async {
        let (status, report) = butler.get("/v5/health/ready").await;
        let reason = &report["reasons"][0];
        (status == 503 && reason["subject"] == "store").then(|| reason["message"].as_str().unwrap_or("").to_owned())
    })
    .await
}

/// Waits until the daemon is ready again.
async fn wait_ready(butler: &Butler) {
    wait_for("the store to be well", || async { (butler.get("/v5/health/ready").await.0 == 200).then_some(()) }).await;
}

/// Requests by the id of their event.
fn by_event(sink: &Sink) -> BTreeMap<String, usize> {
    let mut events = BTreeMap::new();
    for request in sink.received() {
        *events.entry(request.json()["id"].as_str().expect("an event has an id").to_owned()).or_default() += 1;
    }
    events
}

/// All the while the daemon stays in trouble, and nobody gets anything.
async fn nothing_happens(butler: &Butler, sink: &Sink, time: Duration) {
    let (before, until) = (sink.received().len(), Instant::now() + time);
    while Instant::now() < until {
        let (status, report) = butler.get("/v5/health/ready").await;
        assert_eq!(status, 503, "{report}\n{}", butler.log());
        assert_eq!(butler.get("/v5/health/live").await.0, 200);
        assert_eq!(sink.received().len(), before, "something was handed out");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn wait_delivered(butler: &Butler, count: usize) {
    wait_for(&format!("{count} deliveries; log:\n{}", butler.log()), || async {
        let open = butler.metric("butler_deliveries_open{instance=\"hook\"}").await;
        let delivered = butler.deliveries("state=delivered&instance=hook&limit=500").await.len();
        (open == Some(0.0) && delivered == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn while_the_disk_is_full_nothing_is_handed_out_and_later_everything_once() {
    let (disk, sink) = (Disk::in_memory(16), Sink::start().await);
    let butler = Butler::start_in(disk.folder(), &config(&sink, ""), &[]).await;
    butler.send(&failures(3));
    wait_delivered(&butler, 3).await;
    wait_ready(&butler).await;

    // What was set aside is used up already.
    std::fs::remove_file(disk.path().join("butler.reserve")).expect("room is set aside");
    let filler = Filler::start(&disk);
    butler.send(&failures(1));
    let reason = wait_trouble(&butler).await;
    assert!(reason.contains("full"), "{reason}");
    assert_eq!(butler.metric("butler_store_trouble").await, Some(1.0));
    let health = e2e::command(&["health", "-c", butler.config().to_str().unwrap()]).await;
    assert!(health.code == 1 && health.stderr.starts_with("not ready: store: "), "{health:?}");
    butler.send(&failures(50));
    nothing_happens(&butler, &sink, Duration::from_secs(3)).await;
    assert_eq!(sink.received().len(), 3);
    let log = butler.log();
    assert!(log.contains("the store cannot be written") && log.contains("make room"), "{log}");

    drop(filler);
    wait_ready(&butler).await;
    butler.wait_metric("butler_udp_processed_total", 54.0).await;
    wait_delivered(&butler, 54).await;
    let told = by_event(&sink);
    assert_eq!((told.len(), sink.received().len()), (54, 54), "everything, once");
    let (status, log) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("can be written again"), "{log}");
    assert!(log.lines().filter(|line| line.contains("ERROR")).count() <= 2, "not a line for each try: {log}");
    let sum = "SELECT count(*) FROM deliveries WHERE state = 2; PRAGMA integrity_check;";
    assert_eq!(sqlite(&disk.path().join("butler.db"), sum), "54\nok");
}

#[tokio::test]
async fn room_that_was_set_aside_carries_on_over_a_full_disk() {
    let (disk, sink) = (Disk::in_memory(16), Sink::start().await);
    let butler = Butler::start_in(disk.folder(), &config(&sink, ""), &[]).await;
    let reserve = disk.path().join("butler.reserve");
    wait_for("room to be set aside", || async { reserve.exists().then_some(()) }).await;
    take_all_room(&disk.path().join("filler"));
    butler.send(&failures(20));
    wait_delivered(&butler, 20).await;
    wait_ready(&butler).await;
    assert!(!reserve.exists());
    let (status, log) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("in the room that was set aside; make room"), "{log}");
}

#[tokio::test]
async fn a_disk_that_fills_up_between_delivery_and_outcome_makes_no_storm() {
    let (disk, sink) = (Disk::in_memory(16), Sink::start().await);
    let butler = Butler::start_in(disk.folder(), &config(&sink, ""), &[]).await;
    // Many wait; some are on their way when the room goes, and are answered after that.
    sink.always(Some(Answer::After(Duration::from_secs(1), 200)));
    butler.send(&failures(CONCURRENCY));
    sink.wait(CONCURRENCY).await;
    butler.send(&failures(40 - CONCURRENCY));
    butler.wait_metric("butler_deliveries_open{instance=\"hook\"}", 40.0).await;
    let filler = Filler::start(&disk);
    wait_trouble(&butler).await;
    // What was handed out before the first outcome could not be stored may still arrive.
    wait_for("calls under way to end", || async {
        let last = sink.received().iter().map(|request| request.at.elapsed()).min();
        (last > Some(Duration::from_millis(1_300))).then_some(())
    })
    .await;
    let during = sink.received().len();
    assert!(during <= 3 * CONCURRENCY, "{during} were handed out although no outcome could be stored");
    nothing_happens(&butler, &sink, Duration::from_secs(3)).await;
    assert!(by_event(&sink).values().all(|count| *count == 1), "{:?}", by_event(&sink));

    sink.always(None);
    drop(filler);
    wait_ready(&butler).await;
    wait_delivered(&butler, 40).await;
    let told = by_event(&sink);
    assert_eq!((told.len(), sink.received().len()), (40, 40), "{told:?}");
}

#[tokio::test]
async fn a_kill_on_a_full_disk_repeats_at_most_what_had_no_outcome() {
    let (disk, sink) = (Disk::in_memory(16), Sink::start().await);
    let config = config(&sink, "");
    let butler = Butler::start_in(disk.folder(), &config, &[]).await;
    sink.always(Some(Answer::After(Duration::from_secs(1), 200)));
    butler.send(&failures(20));
    butler.wait_metric("butler_deliveries_open{instance=\"hook\"}", 20.0).await;
    sink.wait(1).await;
    let filler = Filler::start(&disk);
    wait_trouble(&butler).await;
    drop(butler);

    // It does not start without room, and says why.
    let file = disk.path().join("butler.yaml");
    let output = run_in_background(&file).await;
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("butler.db") || output.stderr.contains("store"), "{output:?}");
    assert!(output.stderr.contains("space") || output.stderr.contains("full"), "{output:?}");
    drop(filler);
    sink.always(None);
    let butler = Butler::start_in(disk.folder(), &config, &[]).await;
    wait_delivered(&butler, 20).await;
    let told = by_event(&sink);
    assert_eq!(told.len(), 20);
    assert!(told.values().all(|count| *count <= 2), "{told:?}");
}

/// Runs a daemon that ends by itself.
async fn run_in_background(config: &Path) -> Output {
    let config = config.to_str().expect("paths of tests are UTF-8").to_owned();
    let run = tokio::task::spawn_blocking(move || run_with(&["run", "-c", &config], &[]));
    run.await.expect("the daemon ends by itself")
}

#[tokio::test]
async fn a_disk_that_becomes_read_only_stops_everything_and_loses_nothing() {
    let (disk, sink) = (Disk::in_file(64), Sink::start().await);
    let config = config(&sink, "");
    let butler = Butler::start_in(disk.folder(), &config, &[]).await;
    butler.send(&failures(2));
    wait_delivered(&butler, 2).await;
    sink.always(Some(Answer::Hang));
    butler.send(&failures(5));
    sink.wait(7).await;
    butler.wait_metric("butler_udp_processed_total", 7.0).await;

    disk.fail();
    butler.send(&failures(3));
    let reason = wait_trouble(&butler).await;
    assert!(!reason.is_empty());
    nothing_happens(&butler, &sink, Duration::from_secs(2)).await;
    assert_eq!(butler.metric("butler_udp_processed_total").await, Some(7.0), "accepted means stored");
    let log = butler.log();
    assert!(log.contains("the store cannot be written") && log.contains("permissions"), "{log}");
    // A stop does not wait for the disk, and says what it takes along.
    let asked = Instant::now();
    let (status, log) = butler.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(10), "the stop took {:?}:\n{log}", asked.elapsed());
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(taken_along(&log), 3, "what was received and is lost is said: {log}");

    let output = run_in_background(&disk.path().join("butler.yaml")).await;
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("butler.db") && output.stderr.contains("ead-only"), "{output:?}");

    disk.repair();
    sink.always(None);
    let butler = Butler::start_in(disk.folder(), &config, &[]).await;
    wait_delivered(&butler, 7).await;
    let told = by_event(&sink);
    assert_eq!(told.len(), 7, "all that was accepted");
    assert!(told.values().all(|count| *count <= 2), "{told:?}");
    drop(butler);
}

#[tokio::test]
async fn a_store_on_a_read_only_disk_is_refused() {
    let (disk, sink) = (Disk::in_memory(16), Sink::start().await);
    let (status, log) = Butler::start_in(disk.folder(), &config(&sink, ""), &[]).await.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    disk.read_only();
    let output = run_in_background(&disk.path().join("butler.yaml")).await;
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("butler.db") && output.stderr.contains("ead-only"), "{output:?}");
    assert_eq!(output.stderr.lines().filter(|line| line.contains("butler.db")).count(), 1, "one message: {output:?}");
}

/// Breaks a store file.
type Spoil = fn(&Path);

#[tokio::test]
async fn a_broken_store_is_refused_with_one_message_and_left_as_it_is() {
    let sink = Sink::start().await;
    let config = config(&sink, "");
    let spoil: [(&str, Spoil); 3] = [
        ("garbage in front", |store| {
            let mut file = File::options().write(true).open(store).expect("the store can be opened");
            file.write_all(&[0xA5; 4096]).expect("the store can be written");
        }),
        ("the second half is missing", |store| {
            let file = File::options().write(true).open(store).expect("the store can be opened");
            let length = file.metadata().expect("it is there").len();
            file.set_len(length / 2).expect("the store can be cut");
        }),
        ("the last page is missing", |store| {
            let file = File::options().write(true).open(store).expect("the store can be opened");
            let length = file.metadata().expect("it is there").len();
            file.set_len(length - 4096).expect("the store can be cut");
        }),
    ];
    for (what, spoil) in spoil {
        let folder = Arc::new(TempDir::new().expect("a folder can be made"));
        stopped_store(&folder, &config, 2_000, "60").await;
        let store = folder.path().join("butler.db");
        spoil(&store);
        let broken = std::fs::read(&store).expect("the store can be read");
        let output = run_in_background(&folder.path().join("butler.yaml")).await;
        assert_eq!(output.code, 1, "{what}: {output:?}");
        let lines: Vec<&str> = output.stderr.lines().filter(|line| line.contains("butler.db")).collect();
        assert_eq!(lines.len(), 1, "{what}: {output:?}");
        assert!(lines[0].contains("malformed") || lines[0].contains("not a database"), "{what}: {output:?}");
        assert!(!output.stderr.contains("panicked"), "{what}: {output:?}");
        assert!(std::fs::read(&store).expect("it is there") == broken, "{what}: the broken file was changed");
    }
}

#[tokio::test]
async fn a_store_that_is_broken_inside_is_reported_and_nothing_is_lost_silently() {
    let sink = Sink::start().await;
    let config = config(&sink, "");
    let folder = Arc::new(TempDir::new().expect("a folder can be made"));
    stopped_store(&folder, &config, 5_000, "60").await;
    let store = folder.path().join("butler.db");
    let pages = std::fs::metadata(&store).expect("it is there").len() / 4096;
    // The pages of the keys: no start reads them, every event does.
    let sql = "SELECT pageno FROM dbstat WHERE name = 'keys' AND pagetype = 'leaf';";
    let leaves: Vec<u64> = sqlite(&store, sql).lines().map(|line| line.parse().expect("a number")).collect();
    assert!(leaves.len() > 20 && leaves.iter().all(|page| *page <= pages), "{leaves:?}");
    let mut file = File::options().write(true).open(&store).expect("the store can be opened");
    for page in leaves {
        file.seek(SeekFrom::Start((page - 1) * 4096)).expect("it is long enough");
        file.write_all(&[0xA5; 4096]).expect("the store can be written");
    }
    drop(file);

    let butler = Butler::start_in(folder.clone(), &config, &[]).await;
    // One is being stored, one is read and one has no place yet: however many they are, the loss is one line.
    for received in [1.0, 2.0, 3.0] {
        butler.send(&failures(1));
        butler.wait_metric("butler_udp_received_total", received).await;
    }
    let reason = wait_trouble(&butler).await;
    assert!(reason.contains("malformed"), "{reason}");
    nothing_happens(&butler, &sink, Duration::from_secs(2)).await;
    assert_eq!(butler.metric("butler_udp_processed_total").await, Some(0.0), "accepted means stored");
    let (status, log) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("malformed"), "{log}");
    assert_eq!(taken_along(&log), 3, "what was received and is lost is said: {log}");
    assert_eq!(log.matches("before received events could be stored").count(), 1, "{log}");
    assert!(log.lines().filter(|line| line.contains("ERROR")).count() <= 4, "not a line for each try: {log}");
}

#[tokio::test]
async fn a_daemon_whose_store_is_in_trouble_from_the_first_event_can_be_stopped() {
    let sink = Sink::start().await;
    let config = config(&sink, "");
    let folder = Arc::new(TempDir::new().expect("a folder can be made"));
    stopped_store(&folder, &config, 100, "60").await;
    let store = folder.path().join("butler.db");
    // Every event is entered here, the start's own too; opening the store does not look at it.
    let page = sqlite(&store, "SELECT rootpage FROM sqlite_master WHERE name = 'events_accepted';");
    let page: u64 = page.parse().expect("sqlite3 prints a number");
    let mut file = File::options().write(true).open(&store).expect("the store can be opened");
    file.seek(SeekFrom::Start((page - 1) * 4096)).expect("it is long enough");
    file.write_all(&[0xA5; 4096]).expect("the store can be written");
    drop(file);

    let butler = Butler::start_in(folder, &config, &[]).await;
    let reason = wait_trouble(&butler).await;
    assert!(reason.contains("malformed"), "{reason}");
    wait_for("the daemon to say that it is there", || async { butler.log().contains("is ready").then_some(()) }).await;
    let asked = Instant::now();
    let (status, log) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(asked.elapsed() < Duration::from_secs(9), "the stop took {:?}:\n{log}", asked.elapsed());
    assert!(sink.received().is_empty());
}

#[tokio::test]
async fn a_program_that_locks_the_store_holds_events_up_and_loses_none() {
    let sink = Sink::start().await;
    let folder = Arc::new(TempDir::new().expect("a folder can be made"));
    let butler = Butler::start_in(folder.clone(), &config(&sink, ""), &[]).await;
    butler.send(&failures(1));
    wait_delivered(&butler, 1).await;
    let lock = StoreLock::take(&folder.path().join("butler.db"));

    butler.send(&failures(5));
    let reason = wait_trouble(&butler).await;
    assert!(reason.contains("locked"), "{reason}");
    nothing_happens(&butler, &sink, Duration::from_secs(1)).await;
    drop(lock);
    wait_delivered(&butler, 6).await;
    wait_ready(&butler).await;
    assert_eq!(sink.received().len(), 6);
}
