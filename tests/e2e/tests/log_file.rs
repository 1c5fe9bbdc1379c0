//! The log in files: beside standard error, a new one each day, old ones removed; and what happens when it cannot be written.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use e2e::place::Place;
use e2e::{Butler, Disk, Filler, HangingDisk, Sink, WallClock, butler_exe, command, failure, fields, run, wait_for};
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The only file of a day, and its text.
fn only(folder: &Path) -> (String, String) {
    let mut names = names(folder);
    assert_eq!(names.len(), 1, "{names:?}");
    let name = names.remove(0);
    let text = std::fs::read_to_string(folder.join(&name)).unwrap();
    (name, text)
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_file_has_what_standard_error_has_in_either_form_and_no_secret() {
    const SECRET: &str = "geheim-Q7-wort";
    for format in ["human", "json"] {
        let config = format!(
            "log: {{ format: {format}, file: {{ path: logs/deep/butler.log }} }}\nplugins:\n  - use: probe\n    on: [{{ events: \
             [reload-task.failed] }}]\n    settings: {{ fault: tellSecret, secret: 'key=${{env:WORD}}' }}\n"
        );
        let home = Arc::new(TempDir::new().unwrap());
        let butler = Butler::start_in(home.clone(), &config, &[("WORD", SECRET)]).await;
        butler.send(&[failure(&fields())]);
        butler.wait_delivery("dead", "probe").await;
        // A reload changes the level of both, and leaves the file as it is.
        butler.rewrite(&config.replace("format:", "level: error, format:"));
        assert_eq!(butler.post("/v5/reload", &json!(null)).await.0, 200);
        butler.rewrite(&config.replace("butler.log", "other.log"));
        let (status, answer) = butler.post("/v5/reload", &json!(null)).await;
        assert_eq!((status, &answer["needRestart"]), (200, &json!(["log.file"])));
        let folder = home.path().join("logs/deep");
        let today = Timestamp::now().strftime("%F").to_string();
        let (_, log) = butler.stop().await;
        let (name, text) = only(&folder);
        // Between the two, threads may change places.
        let [mut in_file, mut on_stderr] = [&text, &log].map(|log| without_times(log));
        in_file.sort();
        on_stderr.sort();
        assert_eq!(in_file, on_stderr);
        assert!(
            name == format!("butler.{today}.log") || Timestamp::now().strftime("%F").to_string() != today,
            "{name}"
        );
        assert!(text.contains("the secret is ") && text.contains("[redacted]") && !text.contains(SECRET), "{text}");
        if format == "json" {
            for line in text.lines() {
                let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
                assert!(record["timestamp"].is_string() && record["level"].is_string(), "{line}");
            }
        }
    }
}

/// The lines without their times, which are taken for each place where a line is written.
fn without_times(log: &str) -> Vec<String> {
    let line = |line: &str| match serde_json::from_str::<Value>(line) {
        Ok(mut record) => {
            record.as_object_mut().unwrap().remove("timestamp");
            record.to_string()
        }
        Err(_) => line.split_once(' ').unwrap_or_default().1.to_owned(),
    };
    log.lines().map(line).collect()
}

#[tokio::test]
async fn a_terminal_gets_colours_and_the_file_none() {
    let folder = TempDir::new().unwrap();
    let path = Butler::prepare(&folder, "log: { file: { path: logs/butler.log } }\n");
    let terminal = folder.path().join("terminal");
    // Standard error is a terminal, of which `script` writes down what it shows.
    let mut child = Command::new("script")
        .args(["-qec", &format!("exec '{}' run -c '{}'", butler_exe().display(), path.display())])
        .arg(&terminal)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("script of bsdutils is installed, as it is on every Debian");
    let run_file = folder.path().join("butler.db.run.json");
    let pid = wait_for("the daemon to be ready", || async {
        let run: Value = serde_json::from_slice(&std::fs::read(&run_file).ok()?).ok()?;
        run["pid"].as_i64()
    })
    .await;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let ended = tokio::task::spawn_blocking(move || child.wait()).await.unwrap();
    assert!(ended.unwrap().success());
    let shown = std::fs::read_to_string(&terminal).unwrap();
    assert!(shown.contains("\u{1b}[") && shown.contains("stopped"), "{shown:?}");
    let (_, text) = only(&folder.path().join("logs"));
    assert!(text.contains("stopped") && !text.contains('\u{1b}'), "{text:?}");
}

#[tokio::test]
async fn each_day_has_its_file_and_the_oldest_go() {
    let clock = WallClock::right();
    let folder = Arc::new(TempDir::new().unwrap());
    let logs = folder.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let strangers = ["butler-sos.2020-01-01.log", "butler.2020-01-01.log.zip", "notes.log"];
    for name in strangers.into_iter().chain(["butler.2020-01-01.log"]) {
        std::fs::write(logs.join(name), "x").unwrap();
    }
    let butler = Butler::start_in(
        folder,
        "log: { file: { path: logs/butler.log, keep: 3 } }\nplugins:\n  - use: console\n",
        &clock.environment(),
    )
    .await;
    // Noons of the days to come.
    let today = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let mut expected = Vec::new();
    for n in 1..=5 {
        let day = today.checked_add(n.days()).unwrap();
        let noon = day.at(12, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
        clock.set(noon.as_second() - Timestamp::now().as_second());
        assert_eq!(butler.post("/v5/reload", &json!(null)).await.0, 200);
        let name = format!("butler.{day}.log");
        wait_for(&format!("{name}, there is {:?}", names(&logs)), || async {
            let text = std::fs::read_to_string(logs.join(&name)).ok()?;
            text.contains("the config was read anew").then_some(())
        })
        .await;
        expected.push(name);
    }
    expected.drain(..2);
    expected.extend(strangers.map(str::to_owned));
    expected.sort();
    assert_eq!(names(&logs), expected);
    for line in std::fs::read_to_string(logs.join(&expected[3])).unwrap().lines() {
        assert!(line.starts_with("20"), "{line}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_written_keeps_nobody_from_working() {
    let (disk, sink) = (Disk::in_memory(1), Sink::start().await);
    disk.read_only();
    let logs = disk.path().join("logs/butler.log").display().to_string();
    let home = Arc::new(TempDir::new().unwrap());
    std::fs::write(home.path().join("a-file"), "").unwrap();
    std::fs::create_dir(home.path().join("a-folder")).unwrap();
    for (path, cause) in [
        (logs.as_str(), "Read-only file system"),
        ("a-file/butler.log", "exists"),
        ("a-folder", "is a folder; name the file in it"),
    ] {
        let config = format!(
            "log: {{ file: {{ path: {path} }} }}\nplugins:\n  - use: webhook\n    settings: {{ url: {} }}\n",
            sink.url("/")
        );
        let butler = Butler::start_in(home.clone(), &config, &[]).await;
        let before = sink.received().len();
        butler.send(&[failure(&fields())]);
        sink.wait(before + 1).await;
        assert_eq!(butler.post("/v5/reload", &json!(null)).await.0, 200);
        let log = butler.log();
        let said: Vec<&str> = log.lines().filter(|line| line.contains("the log file in")).collect();
        assert!(said.len() == 1 && said[0].contains("WARN") && said[0].contains(cause), "{log}");
        // Whoever checks may be another than who runs it; the doctor asks for the latter.
        let config = butler.config().display().to_string();
        let run = |command: &'static str| {
            let config = config.clone();
            tokio::task::spawn_blocking(move || run(&[command, "-c", &config]))
        };
        let check = run("check").await.unwrap();
        assert_eq!((check.code, check.stderr.as_str()), (0, ""), "{check:?}");
        let doctor = run("doctor").await.unwrap();
        let failed = doctor.stdout.lines().find(|line| line.starts_with("failed") && line.contains("log file"));
        assert!(failed.is_some_and(|line| line.contains("cannot be written by this account")), "{doctor:?}");
        butler.stop().await;
    }
}

#[tokio::test]
async fn a_disk_that_hangs_holds_nobody_up() {
    let (sink, logs) = (Sink::start().await, TempDir::new().unwrap());
    // A pipe that is open and never read: whoever writes waits for ever, once it is full.
    let today = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let pipes: Vec<_> = [today, today.checked_add(1.days()).unwrap()]
        .into_iter()
        .map(|day| {
            let path = logs.path().join(format!("butler.{day}.log"));
            assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
            std::fs::File::options().read(true).write(true).open(&path).unwrap()
        })
        .collect();
    let config = format!(
        "log: {{ level: trace, file: {{ path: {}/butler.log }} }}\nplugins:\n  - use: webhook\n    settings: {{ url: {} }}\n",
        logs.path().display(),
        sink.url("/")
    );
    let butler = Butler::start(&config).await;
    let mut n = 0;
    while butler.log().len() < 128 << 10 {
        for _ in 0..20 {
            butler.send(&[failure(&fields())]);
        }
        n += 20;
        sink.wait(n).await;
    }
    let told = "is not written in time (`log.file`): its disk hangs";
    wait_for(told, || async {
        assert_eq!(butler.get("/health").await.0, 200);
        butler.send(&[failure(&fields())]);
        butler.log().contains(told).then_some(())
    })
    .await;
    // Nor is the end.
    let (_, log) = butler.stop().await;
    assert!(log.contains("stopped") && log.matches(told).count() == 1, "{log}");
    drop(pipes);
}

#[tokio::test]
async fn a_share_that_hangs_keeps_no_start_waiting() {
    let (sink, share) = (Sink::start().await, HangingDisk::new());
    let config = format!(
        "log: {{ file: {{ path: {}/logs/butler.log }} }}\nplugins:\n  - use: webhook\n    settings: {{ url: {} }}\n",
        share.path().display(),
        sink.url("/")
    );
    let home = Arc::new(TempDir::new().unwrap());
    let butler = Butler::start_in(home.clone(), &config, &[]).await;
    butler.send(&[failure(&fields())]);
    sink.wait(1).await;
    assert_eq!(butler.post("/v5/reload", &json!(null)).await.0, 200);
    let config = butler.config().display().to_string();
    let check = command(&["check", "-c", &config]).await;
    assert_eq!((check.code, check.stderr.as_str()), (0, ""), "{check:?}");
    butler.stop().await;
    let doctor = command(&["doctor", "-c", &config]).await;
    let failed = doctor.stdout.lines().find(|line| line.starts_with("failed") && line.contains("log file"));
    assert!(failed.is_some_and(|line| line.contains("its disk does not answer")), "{doctor:?}");
}

#[test]
fn why_a_start_ended_is_in_the_file() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let output = place.start(&format!(
        "version: 1\nstore: {{ path: butler.db }}\nrest: {{ listen: \"{address}\" }}\nlog: {{ file: {{ path: logs/butler.log }} }}\n"
    ));
    e2e::place::fails_with(&output, &["`rest.listen`"]);
    let (_, text) = only(&place.path("logs"));
    let last = text.lines().last().unwrap();
    assert!(last.contains("ERROR") && last.contains("Butler ends: ") && last.contains("`rest.listen`"), "{text}");
}

#[tokio::test]
async fn a_full_disk_costs_lines_of_the_file_and_nothing_else() {
    let (disk, sink) = (Disk::in_memory(1), Sink::start().await);
    let config = |level: &str| {
        format!(
            "log: {{ level: {level}, file: {{ path: {}/butler.log }} }}\nplugins:\n  - use: webhook\n    settings: {{ url: {} }}\n",
            disk.path().display(),
            sink.url("/")
        )
    };
    let butler = Butler::start(&config("debug")).await;
    let filler = Filler::start(&disk);
    // What is left of the last block is used up.
    for n in 1.. {
        butler.send(&[failure(&fields())]);
        sink.wait(n).await;
        if butler.log().contains("the log file in") {
            break;
        }
        assert!(n < 100, "{}", butler.log());
    }
    let before = sink.received().len();
    butler.send(&[failure(&fields())]);
    sink.wait(before + 1).await;
    let log = butler.log();
    let said: Vec<&str> = log.lines().filter(|line| line.contains("the log file in")).collect();
    assert_eq!(said.len(), 1, "{log}");
    for part in ["WARN", "cannot be written (`log.file`)", "No space left", "make room on its disk", "Butler works on"]
    {
        assert!(said[0].contains(part), "`{part}` is not in {}", said[0]);
    }
    drop(filler);
    wait_for("the file to be written again", || async {
        butler.send(&[failure(&fields())]);
        tokio::time::sleep(Duration::from_millis(200)).await;
        butler.log().contains("the log file can be written again").then_some(())
    })
    .await;
    let (_, log) = butler.stop().await;
    let name = names(disk.path()).into_iter().find(|name| name.starts_with("butler.")).unwrap();
    let text = std::fs::read_to_string(disk.path().join(name)).unwrap();
    assert_eq!(without_times(&text).last(), without_times(&log).last());
    assert!(text.lines().count() < log.lines().count(), "{text}");
    // One may be torn, but none is glued to another.
    for line in text.lines().filter(|line| !line.is_empty()) {
        let begins: usize = ["Z  INFO ", "Z  WARN ", "Z DEBUG "].iter().map(|level| line.matches(level).count()).sum();
        assert!(line.starts_with("20") && begins <= 1, "{line}");
    }
}
