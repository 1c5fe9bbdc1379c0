//! The log as the journal gets it.

use std::fs::File;
use std::os::linux::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use e2e::place::PRIVATE;
use e2e::{butler_exe, provide_test_plugins, stop_gently, wait_for};
use tempfile::TempDir;

/// Runs the daemon with this config until it is ready, or ends; its log. `named` makes the name of the journal of device and inode.
async fn log(config: &str, named: impl Fn(u64, u64) -> String) -> String {
    let folder = TempDir::new().unwrap();
    let (file, path) = (folder.path().join("butler.yaml"), folder.path().join("log"));
    std::fs::write(&file, format!("{PRIVATE}{config}")).unwrap();
    provide_test_plugins(folder.path(), config);
    // Which is a warning.
    File::create(folder.path().join("butler.db")).unwrap();
    let log = File::create(&path).unwrap();
    let is = log.metadata().unwrap();
    let mut child = Command::new(butler_exe())
        .args(["service", "run", "-c"])
        .arg(&file)
        .env("JOURNAL_STREAM", named(is.st_dev(), is.st_ino()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let read = || std::fs::read_to_string(&path).unwrap();
    wait_for("a daemon that is ready or has ended", || {
        let done = read().contains(" is ready") || child.try_wait().unwrap().is_some();
        async move { done.then_some(()) }
    })
    .await;
    // One that has ended has no number any more.
    if child.try_wait().unwrap().is_none() {
        stop_gently(&child);
    }
    wait_for("its end", || {
        let ended = child.try_wait().unwrap();
        async move { ended }
    })
    .await;
    read()
}

#[tokio::test]
async fn each_line_has_its_priority_and_no_time() {
    let journal = |device, inode| format!("{device}:{inode}");
    let text = log("log: { level: debug }\nplugins:\n  - use: probe\n", journal).await;
    assert!(!text.is_empty());
    for line in text.lines() {
        let level = match line.get(..3) {
            Some("<3>") => "ERROR",
            Some("<4>") => " WARN",
            Some("<6>") => " INFO",
            Some("<7>") => "DEBUG",
            _ => panic!("no priority: {line}"),
        };
        assert!(line[3..].starts_with(level), "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }
    assert!(text.contains("\n<4> WARN ") || text.starts_with("<4> WARN "), "{text}");
    assert!(text.contains("\n<6> INFO Butler "), "{text}");

    let text = log("log: { format: json }\nplugins:\n  - use: probe\n", journal).await;
    for line in text.lines() {
        assert!(line.starts_with("<4>{") || line.starts_with("<6>{"), "{line}");
        assert!(serde_json::from_str::<serde_json::Value>(&line[3..]).unwrap()["timestamp"].is_string(), "{line}");
    }

    // Faults of a config, a line each.
    let text = log("plugins:\n  - use: probe\n    nonsense: 1\n    more: 2\n", journal).await;
    assert!(text.lines().count() > 2 && text.lines().all(|line| line.starts_with("<3>")), "{text}");
}

#[tokio::test]
async fn standard_error_that_leads_elsewhere_is_as_ever() {
    let text = log("plugins:\n  - use: probe\n", |device, inode| format!("{device}:{}", inode + 1)).await;
    assert!(text.contains(" is ready") && text.lines().all(|line| line.starts_with("20")), "{text}");
}
