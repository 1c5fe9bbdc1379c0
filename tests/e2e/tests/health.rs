//! `butler health`: an exit code for health checks of containers and for scripts.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use e2e::{Answer, Butler, Output, Sink, command, run, run_with};

const CONFIG: &str = "version: 1\nplugins:\n  - use: console\n";
/// A machine that is busy with other tests may need longer than the default.
const PATIENT: [&str; 2] = ["--timeout", "60s"];

async fn health(arguments: &[&str]) -> Output {
    command(&[&["health"], arguments].concat()).await
}

#[tokio::test]
async fn a_daemon_that_is_ready_is_known_by_its_config_or_its_store() {
    let butler = Butler::start(CONFIG).await;
    let config = butler.config().to_str().unwrap().to_owned();
    let store = butler.folder().join("butler.db").to_str().unwrap().to_owned();
    let ready = format!("ready: version {}, process {}, {}\n", env!("CARGO_PKG_VERSION"), butler.pid(), butler.rest());
    for arguments in [["-c", config.as_str()], ["--store", store.as_str()]] {
        let output = health(&[&arguments[..], &PATIENT].concat()).await;
        assert_eq!((output.code, &output.stdout, output.stderr.as_str()), (0, &ready, ""), "{output:?}");
    }
    // As in a container, where the variable names a config and the check a store.
    let arguments = [&["health", "--store", &store][..], &PATIENT].concat();
    let by_store = run_with(&arguments, &[("BUTLER_CONFIG", "/nowhere/butler.yaml")]);
    assert_eq!(by_store.code, 0, "{by_store:?}");

    let (status, log) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    let output = health(&["--store", &store]).await;
    assert!(output.code == 1 && output.stdout.is_empty(), "{output:?}");
    assert!(output.stderr.contains("Butler is not running with this config: there is no "), "{output:?}");
}

#[tokio::test]
async fn one_that_was_killed_is_not_taken_for_one_that_runs() {
    let butler = Butler::start(CONFIG).await;
    let process = format!("process {}: it has ended without a stop, or is stopping", butler.pid());
    let killed = butler.kill();
    let store = killed.folder().join("butler.db");
    assert!(killed.folder().join("butler.db.run.json").exists());
    let output = health(&["--store", store.to_str().unwrap()]).await;
    assert!(output.code == 1 && output.stderr.contains(&process), "{output:?}");
}

#[tokio::test]
async fn another_at_the_address_of_one_that_was_killed_is_not_taken_for_it() {
    let butler = Butler::start(CONFIG).await;
    let (pid, rest) = (butler.pid(), butler.rest().to_owned());
    let killed = butler.kill();
    let address = rest.strip_prefix("http://").unwrap();
    let other = Butler::start(&format!("{CONFIG}rest: {{ listen: {address} }}\n")).await;
    assert_eq!(other.rest(), rest);
    let store = killed.folder().join("butler.db");
    let output = health(&[&["--store", store.to_str().unwrap()][..], &PATIENT].concat()).await;
    let told = format!("what answers at {rest} is not process {pid}, which has ended without a stop");
    assert!(output.code == 1 && output.stderr.contains(&told), "{output:?}");
}

#[tokio::test]
async fn one_that_starts_has_the_store_and_no_run_file_yet() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("butler.db");
    // As in a start that brings the store to a new version.
    let lock = std::fs::File::create(folder.path().join("butler.lock")).unwrap();
    lock.lock().unwrap();
    std::fs::write(folder.path().join("butler.owner"), "process 4711, Butler 17.0.0\n").unwrap();
    let output = health(&["--store", store.to_str().unwrap()]).await;
    let told = "process 4711, Butler 17.0.0 has the store, and is starting or stopping";
    assert!(output.code == 1 && output.stderr.contains(told), "{output:?}");
    // It was killed there.
    drop(lock);
    let output = health(&["--store", store.to_str().unwrap()]).await;
    assert!(output.code == 1 && output.stderr.contains("Butler is not running with this config"), "{output:?}");
}

#[tokio::test]
async fn one_whose_answer_is_switched_off_is_not_taken_for_another() {
    let butler = Butler::start(&format!(
        "{CONFIG}rest: {{ listen: \"127.0.0.1:0\", disabledEndpoints: [GET /v5/health/ready] }}\n"
    ))
    .await;
    let store = butler.folder().join("butler.db");
    let output = health(&[&["--store", store.to_str().unwrap()][..], &PATIENT].concat()).await;
    let told = format!("process {} does not say how it is: `GET /v5/health/ready` is not there", butler.pid());
    assert!(output.code == 1 && output.stderr.contains(&told), "{output:?}");
    assert!(output.stderr.contains("`rest.disabledEndpoints`"), "{output:?}");
}

#[tokio::test]
async fn an_answer_that_says_nothing_of_how_it_is_is_told_as_it_is() {
    let butler = Butler::start(CONFIG).await;
    let sink = Sink::start().await;
    sink.always(Some(Answer::Status(500)));
    let run_file = butler.folder().join("butler.db.run.json");
    let mut run: serde_json::Value = serde_json::from_slice(&std::fs::read(&run_file).unwrap()).unwrap();
    run["rest"] = sink.url("").into();
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("butler.db.run.json"), run.to_string()).unwrap();
    let store = other.path().join("butler.db");
    let output = health(&[&["--store", store.to_str().unwrap()][..], &PATIENT].concat()).await;
    assert!(output.code == 1 && output.stderr.contains("is answered by 500 Internal Server Error"), "{output:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn one_that_hangs_is_given_no_more_than_the_time_limit() {
    use nix::sys::signal::{Signal, kill};

    let butler = Butler::start(CONFIG).await;
    let pid = nix::unistd::Pid::from_raw(butler.pid().try_into().unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    let config = butler.config().to_str().unwrap().to_owned();
    let output = health(&["-c", &config, "--timeout", "500ms"]).await;
    kill(pid, Signal::SIGCONT).unwrap();
    assert!(output.code == 1 && output.stderr.contains("does not answer within 500ms"), "{output:?}");
    let output = health(&[&["-c", &config][..], &PATIENT].concat()).await;
    assert_eq!(output.code, 0, "{output:?}");
}

#[test]
fn what_cannot_be_asked_is_said() {
    let nothing = run(&["health"]);
    assert!(nothing.code == 2 && nothing.stderr.contains("--config <FILE>"), "{nothing:?}");
    let missing = run(&["health", "-c", "/nowhere/butler.yaml"]);
    assert!(missing.code == 2 && missing.stderr.contains("/nowhere/butler.yaml"), "{missing:?}");
    let unit = run(&["health", "--store", "x", "--timeout", "5"]);
    assert!(unit.code == 2 && unit.stderr.contains("a whole number and a unit"), "{unit:?}");
}
