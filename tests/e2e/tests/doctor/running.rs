//! Log appenders: heard by the running daemon, or in its place.

use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use e2e::{Butler, failure, fields, wait_for};
use tokio::task::JoinHandle;

use super::{Said, doctor, write};

/// Sends messages until it is dropped.
struct Sending(JoinHandle<()>);

impl Sending {
    fn to(address: &str, message: impl Fn() -> String + Send + 'static) -> Self {
        let address = address.to_owned();
        Self(tokio::spawn(async move {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            loop {
                // Nobody listens at first.
                let _ = socket.send_to(message().as_bytes(), &address);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn waits(config: &Path, span: &str) -> Said {
    doctor(config, &["--wait-for-appender", span]).await
}

#[tokio::test]
async fn the_running_daemon_hears_a_real_message_or_none() {
    let butler = Butler::start("plugins: []\n").await;
    let said = waits(butler.config(), "1s").await;
    said.only_fails(&["log appender"]);
    said.finds("log appender", "failed", &["nothing came within 1s", "butler log-appender", "`udp.allowFrom`"]);

    // What was heard before does not count.
    butler.send(&[failure(&fields())]);
    butler.wait_metric("butler_udp_processed_total", 1.0).await;
    waits(butler.config(), "1s").await.finds("log appender", "failed", &["nothing came within 1s"]);

    let _sending = Sending::to(butler.udp(), || failure(&fields()));
    let said = waits(butler.config(), "35s").await;
    said.only_fails(&[]);
    said.finds("log appender", "ok", &["sense1 was heard at 20"]);
}

#[tokio::test]
async fn what_the_running_daemon_has_dropped_is_told() {
    let butler = Butler::start("udp: { listen: \"127.0.0.1:0\", allowFrom: [127.0.0.9] }\nplugins: []\n").await;
    let _sending = Sending::to(butler.udp(), || failure(&fields()));
    let said = waits(butler.config(), "1s").await;
    said.only_fails(&["log appender"]);
    said.finds(
        "log appender",
        "failed",
        &["nothing came within 1s that could be taken", "reason=\"source\"", "the sender is not in `udp.allowFrom`"],
    );
    let said = doctor(butler.config(), &[]).await;
    said.only_fails(&["log appender"]);
    said.finds("log appender", "failed", &["by source since Butler was started", "add its address"]);
}

#[tokio::test]
async fn a_name_of_a_sender_that_has_no_address_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let udp = "udp: { listen: \"127.0.0.1:0\", allowFrom: [no-such-host.invalid, 127.0.0.1, localhost] }\n";
    let said = doctor(&write(folder.path(), udp), &[]).await;
    said.only_fails(&["udp.allowFrom"]);
    said.finds("udp.allowFrom", "failed", &["`no-such-host.invalid` does not resolve here", "write its address"]);
    said.finds("udp.allowFrom", "ok", &["resolves here: localhost"]);
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn while_the_daemon_does_not_run_the_doctor_listens_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let config = |more: &str| write(folder.path(), &format!("udp: {{ listen: \"{address}\"{more} }}\n"));
    let said = waits(&config(""), "300ms").await;
    said.only_fails(&["log appender"]);
    said.finds("log appender", "failed", &[&format!("nothing came to {address} within 300ms"), "butler log-appender"]);
    said.finds("log appender", "note", &["Butler does not run"]);
    {
        let _sending = Sending::to(&address, || failure(&fields()));
        let said = waits(&config(""), "35s").await;
        said.only_fails(&[]);
        said.finds("log appender", "ok", &["127.0.0.1 (sense1) sent reload-task.failed"]);
        let said = waits(&config(", allowFrom: [127.0.0.9]"), "2s").await;
        said.finds("log appender", "failed", &["by source", "the sender is not in `udp.allowFrom`"]);
    }
    let _sending = Sending::to(&address, || "/odd/;x".to_owned());
    let said = waits(&config(""), "35s").await;
    said.finds("log appender", "failed", &["127.0.0.1 sent a message that is no event", "replace the file"]);
}

#[tokio::test]
async fn a_port_that_is_taken_and_a_config_without_udp_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let path = write(folder.path(), &format!("udp: {{ listen: \"{}\" }}\n", taken.local_addr().unwrap()));
    let said = waits(&path, "1s").await;
    said.finds("log appender", "failed", &["cannot listen for UDP", "another config"]);
    let said = waits(&write(folder.path(), ""), "1s").await;
    said.only_fails(&["log appender"]);
    said.finds("log appender", "failed", &["no `udp:`"]);
}

#[cfg(unix)]
#[tokio::test]
async fn a_daemon_that_hangs_or_was_killed_has_failed() {
    use nix::sys::signal::{Signal, kill};

    let butler = Butler::start("plugins: []\n").await;
    let config = butler.config().to_owned();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(butler.pid()).unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    let said = tokio::time::timeout(Duration::from_mins(1), doctor(&config, &["--wait-for-appender", "1s"])).await;
    let said = said.expect("the doctor hangs as well");
    said.only_fails(&["daemon", "log appender"]);
    said.finds("daemon", "failed", &[&format!("hangs as process {pid}"), "start it again"]);
    said.finds("road UDP", "note", &["the running Butler cannot be asked"]);
    said.finds("log appender", "failed", &["cannot be asked"]);
    kill(pid, Signal::SIGCONT).unwrap();

    let _killed = butler.kill();
    let said = waits(&config, "300ms").await;
    said.only_fails(&["daemon", "log appender"]);
    said.finds("daemon", "failed", &["has ended without a stop", "start it again"]);
    said.finds("road UDP", "note", &["Butler does not run"]);
    said.finds("log appender", "failed", &["nothing came to "]);
}

#[tokio::test]
async fn a_run_file_that_says_nothing_is_no_proof_that_butler_does_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "udp: { listen: \"127.0.0.1:0\" }\n");
    std::fs::write(folder.path().join("butler.db.run.json"), "{}").unwrap();
    let said = waits(&path, "300ms").await;
    said.only_fails(&["log appender"]);
    said.finds("log appender", "failed", &["cannot be asked"]);
    said.finds("daemon", "note", &["no run file of this version"]);
    said.finds("road UDP", "note", &["the running Butler cannot be asked"]);
}

#[tokio::test]
async fn an_instance_that_is_stuck_in_the_daemon_has_failed() {
    let butler = Butler::start("plugins:\n  - use: rogue\n    settings: { fault: block, at: batch }\n").await;
    butler.send(&[failure(&fields())]);
    wait_for("the instance to be stuck", || async {
        butler.get("/v5/health/ready").await.1.to_string().contains("stuck").then_some(())
    })
    .await;
    let said = doctor(butler.config(), &[]).await;
    said.only_fails(&["instance rogue"]);
    said.finds("instance rogue", "failed", &["is stuck in the running daemon", "start the daemon again"]);
}
