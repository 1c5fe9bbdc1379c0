//! What commands wait for is shown on a terminal, and nowhere else.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::qlik::{Endpoint, Fault, Site};
use e2e::{Answer, Butler, Sense, Sink, butler_exe, command, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// What a command did with its standard error on a terminal and its standard output in a file.
#[derive(Debug)]
struct Shown {
    code: i32,
    terminal: String,
    stdout: String,
}

/// `script` makes the terminal, and writes down what it shows.
async fn on_terminal(folder: &Path, arguments: &str) -> Shown {
    let (terminal, stdout) = (folder.join("terminal"), folder.join("stdout"));
    let line = format!("exec '{}' {arguments} > '{}'", butler_exe().display(), stdout.display());
    let mut script = Command::new("script");
    script.args(["-qec", &line]).arg(&terminal).env_remove("BUTLER_CONFIG");
    script.stdin(Stdio::null()).stdout(Stdio::null());
    let status = tokio::task::spawn_blocking(move || script.status()).await.unwrap();
    let code = status.expect("script of bsdutils is installed, as it is on every Debian").code().unwrap_or(-1);
    let read = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    Shown { code, terminal: read(&terminal), stdout: read(&stdout) }
}

/// A line about this was shown, more than once and from the third second on, and has gone.
fn assert_shown(shown: &Shown, what: &str) {
    let text = &shown.terminal;
    for seconds in [2, 3] {
        let line = format!("\rwaiting for {what}: {seconds} s\r");
        assert!(text.contains(&line), "`{line:?}` is not in {shown:?}");
    }
    assert!(!text.contains(&format!("{what}: 1 s")) && !text.contains(&format!("{what}: 0 s")), "{shown:?}");
    // The last of it is blanks.
    let last = text.rfind(&format!("waiting for {what}")).unwrap();
    let after = text[last..].split('\r').nth(1).unwrap_or_default();
    assert!(after.is_empty() || after.trim().is_empty(), "{shown:?}");
    let blanks = " ".repeat(format!("waiting for {what}: 3 s").len());
    assert!(text[last..].contains(&format!("\r{blanks}\r")), "{shown:?}");
    assert!(!shown.stdout.contains("waiting"), "{shown:?}");
}

const LONG: Duration = Duration::from_millis(3_500);

fn webhook(sink: &Sink) -> String {
    format!("plugins:\n  - use: webhook\n    settings: {{ url: \"{}\" }}\n", sink.url("/"))
}

#[tokio::test]
async fn check_shows_what_it_waits_for_on_a_terminal_only() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let path = sense.folder().join("butler.yaml");
    std::fs::write(&path, format!("version: 1\nstore: {{ path: b.db }}\n{}{}", sense.section(""), webhook(&sink)))
        .unwrap();
    let arguments = format!("check -c '{}'", path.display());

    let quick = on_terminal(sense.folder(), &arguments).await;
    assert!(quick.code == 0 && !quick.terminal.contains("waiting"), "{quick:?}");

    sink.always(Some(Answer::After(LONG, 200)));
    sense.faults().add(Fault::latency(LONG).on(Endpoint::About).first(1));
    let slow = on_terminal(sense.folder(), &arguments).await;
    assert_eq!(slow.code, 0, "{slow:?}");
    assert_shown(&slow, "Qlik Sense");
    assert_shown(&slow, "instance webhook");
    assert_eq!(slow.stdout.lines().count(), quick.stdout.lines().count(), "{slow:?}");

    let piped = command(&["check", "-c", path.to_str().unwrap()]).await;
    assert!(piped.code == 0 && piped.stderr.is_empty() && !piped.stdout.contains('\r'), "{piped:?}");
}

#[tokio::test]
async fn a_test_alert_shows_what_it_waits_for() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let path = sense.folder().join("butler.yaml");
    std::fs::write(&path, format!("version: 1\nstore: {{ path: b.db }}\n{}{}", sense.section(""), webhook(&sink)))
        .unwrap();
    sense.failed(Site::SAMPLE_RELOAD_TASK);
    sink.always(Some(Answer::After(LONG, 200)));
    sense.faults().add(Fault::latency(LONG).on(Endpoint::TaskFull).first(1));
    let task = Site::SAMPLE_RELOAD_TASK;
    let shown =
        on_terminal(sense.folder(), &format!("test-alert -c '{}' --instance webhook --task {task}", path.display()))
            .await;
    assert_eq!(shown.code, 0, "{shown:?}");
    assert_shown(&shown, "the destination of webhook");
    assert_shown(&shown, "the facts of the task");
}

#[tokio::test]
async fn a_daemon_that_is_waited_for_is_shown() {
    let butler = Butler::start("plugins:\n  - use: console\n").await;
    let folder = TempDir::new().unwrap();
    let schedules = folder.path().join("schedules.yaml");
    std::fs::write(&schedules, "schedules: []\n").unwrap();
    let config = butler.config().display().to_string();
    let pid = Pid::from_raw(i32::try_from(butler.pid()).unwrap());
    let commands = [
        format!("reload -c '{config}'"),
        format!("schedules import '{}' -c '{config}'", schedules.display()),
        format!("deliveries list -c '{config}'"),
    ];
    for arguments in commands {
        // It stands still for a while, as on a machine that is busy.
        kill(pid, Signal::SIGSTOP).unwrap();
        let asleep = tokio::spawn(async move {
            tokio::time::sleep(LONG + Duration::from_millis(500)).await;
            kill(pid, Signal::SIGCONT).unwrap();
        });
        let shown = on_terminal(folder.path(), &arguments).await;
        asleep.await.unwrap();
        assert_shown(&shown, "the running daemon");
        wait_for("the daemon to go on", || async { (butler.get("/v5/health/ready").await.0 == 200).then_some(()) })
            .await;
    }
}

#[tokio::test]
async fn the_doctor_shows_what_it_waits_for() {
    const LONGER: Duration = Duration::from_secs(5);
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let rules = "on: [{ events: [reload-task.failed] }, { events: [app-reload.failed], where: { app.tags: Test } }]";
    let butler = sense.butler(&webhook(&sink).replace("webhook\n", &format!("webhook\n    {rules}\n"))).await;
    sink.always(Some(Answer::After(LONGER, 200)));
    for (endpoint, span) in [(Endpoint::TagCount, LONG), (Endpoint::TagFull, LONG), (Endpoint::TaskFull, LONGER)] {
        sense.faults().add(Fault::latency(span).on(endpoint).first(1));
    }
    let arguments = format!("doctor -c '{}' --end-to-end", butler.config().display());
    let shown = on_terminal(sense.folder(), &arguments).await;
    for what in ["the count of tags", "the tags", "the facts of the sample", "the delivery to webhook"] {
        assert_shown(&shown, what);
    }
    assert!(shown.stdout.contains("ok      sample to webhook"), "{shown:?}");
}
