//! The end of the daemon: in time, with nothing left behind.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use butler::ingest::sample::{Fields, SampleKind, message};
use e2e::{Answer, Butler, Sink, sqlite};
use tempfile::TempDir;

fn failed_task() -> String {
    message(SampleKind::TaskFailed, &Fields::random().unwrap())
}

#[tokio::test]
async fn a_signal_ends_the_daemon_in_time_even_if_a_destination_hangs() {
    for signal in [nix::sys::signal::Signal::SIGTERM, nix::sys::signal::Signal::SIGINT] {
        let sink = Sink::start().await;
        sink.always(Some(Answer::Hang));
        let config = format!(
            "shutdownTimeout: 2s\nplugins:\n  - use: webhook\n    settings: {{ url: \"{}\", timeout: 50s }}\n",
            sink.url("/")
        );
        let mut butler = Butler::start(&config).await;
        let run_file = butler.folder().join("butler.db.run.json");
        assert!(run_file.exists());
        butler.send(&[failed_task()]);
        sink.wait(1).await;
        let asked = Instant::now();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(butler.pid()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
        let status = butler.wait_end().await;
        // Two seconds, and two for closing the store.
        assert!(asked.elapsed() < Duration::from_secs(5), "{signal}: {:?}", asked.elapsed());
        assert_eq!(status.code(), Some(0), "{signal}: {}", butler.log());
        assert!(!run_file.exists(), "{signal}");
        assert!(butler.log().contains(signal.as_str()), "{}", butler.log());
    }
}

#[tokio::test]
async fn a_signal_is_heard_from_the_moment_that_the_run_file_is_there() {
    // Signals at slightly different moments: between the run file and "is ready" there are a few milliseconds.
    for _ in 0..10 {
        let butler = Butler::start("plugins: []\n").await;
        let run_file = butler.folder().join("butler.db.run.json");
        let (status, log) = butler.stop().await;
        assert_eq!(status.code(), Some(0), "ended with {status}:\n{log}");
        assert!(!run_file.exists(), "{log}");
    }
}

#[tokio::test]
async fn a_stop_leaves_the_store_in_one_file() {
    let folder = Arc::new(TempDir::new().unwrap());
    let butler = Butler::start_in(folder.clone(), "plugins: []\n", &[]).await;
    let told = e2e::fields();
    butler.send(&[e2e::failure(&told)]);
    butler.wait_routed(&told.task_id, "reload-task.failed").await;
    let log = folder.path().join("butler.db-wal");
    assert!(log.exists());
    let (status, text) = butler.stop().await;
    assert!(status.success() && !log.exists(), "{text}");
    let events = "SELECT count(*) FROM events WHERE kind = 'reload-task.failed';";
    assert_eq!(sqlite(&folder.path().join("butler.db"), events), "1");
}

#[tokio::test]
async fn an_idle_daemon_ends_at_once() {
    let butler = Butler::start("plugins:\n  - use: console\n  - use: probe\n").await;
    let run_file = butler.folder().join("butler.db.run.json");
    let asked = Instant::now();
    let (status, log) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}\n{log}", asked.elapsed());
    assert!(!run_file.exists());
    assert!(!log.contains(" ERROR "), "{log}");
}
