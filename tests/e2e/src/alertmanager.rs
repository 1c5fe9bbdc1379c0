//! A real Alertmanager as a child process, which notifies a sink.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::{PATIENCE, Sink, http, wait_for};

/// The program of Debian's package.
const PROGRAM: &str = "prometheus-alertmanager";

/// A running Alertmanager. It is killed when it is dropped.
pub struct Alertmanager {
    address: SocketAddr,
    folder: TempDir,
    child: Option<Child>,
    sink: Sink,
}

impl Alertmanager {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When the program is not installed or does not answer.
    pub async fn start() -> Self {
        let sink = Sink::start().await;
        let folder = TempDir::new().expect("a folder can be made");
        let config = format!(
            "route: {{ receiver: sink, group_by: ['...'], group_wait: 10ms, group_interval: 100ms }}\nreceivers:\n  - name: \
             sink\n    webhook_configs: [{{ url: \"{}\", send_resolved: true }}]\n",
            sink.url("/")
        );
        std::fs::write(folder.path().join("alertmanager.yml"), config).expect("the folder can be written");
        let mut alertmanager = Self { address: free(), folder, child: None, sink };
        // Somebody may have taken the port in between.
        for _ in 0..5 {
            if alertmanager.try_start().await {
                return alertmanager;
            }
            alertmanager.address = free();
        }
        panic!("{PROGRAM} does not start");
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Kills it. It forgets its alerts.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again after [`Self::kill`], at the same address.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_again(&mut self) {
        assert!(self.try_start().await, "{PROGRAM} does not start again");
    }

    /// Halts it: connections are taken by the system, and never answered. Or lets it go on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn set_halted(&self, halted: bool) {
        let child = self.child.as_ref().expect("it runs");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("ids of processes are small"));
        kill(pid, if halted { Signal::SIGSTOP } else { Signal::SIGCONT }).expect("the child can be signalled");
    }

    /// The alerts that are not resolved.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn alerts(&self) -> Vec<Value> {
        let answer = http().get(format!("{}/api/v2/alerts", self.url())).send().await.expect("Alertmanager answers");
        let bytes = answer.bytes().await.expect("Alertmanager answers whole");
        serde_json::from_slice(&bytes).expect("Alertmanager answers a list")
    }

    /// Waits until so many alerts are not resolved.
    ///
    /// # Panics
    /// When it does not become so.
    pub async fn wait(&self, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} alerts in Alertmanager"), || async {
            Some(self.alerts().await).filter(|alerts| alerts.len() == count)
        })
        .await
    }

    /// Status and labels of the alerts that it has notified of, in order.
    pub fn told(&self) -> Vec<(String, Value)> {
        let alerts = |received: crate::Received| received.json()["alerts"].as_array().cloned().unwrap_or_default();
        let all = self.sink.received().into_iter().flat_map(alerts);
        all.map(|alert| (alert["status"].as_str().unwrap_or_default().to_owned(), alert["labels"].clone())).collect()
    }

    /// Waits until it has notified of so many alerts.
    ///
    /// # Panics
    /// When it does not.
    pub async fn wait_told(&self, count: usize) -> Vec<(String, Value)> {
        wait_for(&format!("{count} notifications of Alertmanager"), || async {
            Some(self.told()).filter(|told| told.len() >= count)
        })
        .await
    }

    async fn try_start(&mut self) -> bool {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let child = Command::new(PROGRAM)
            .arg(format!("--config.file={}", path("alertmanager.yml")))
            .arg(format!("--storage.path={}", path("data")))
            .arg(format!("--web.listen-address={}", self.address))
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.unwrap_or_else(|error| panic!("this test needs {PROGRAM} (tests/packages.txt): {error}"));
        let url = format!("{}/-/ready", self.url());
        let until = tokio::time::Instant::now() + PATIENCE;
        let started = loop {
            if http().get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                break true;
            }
            if child.try_wait().expect("a child can be waited for").is_some() || tokio::time::Instant::now() > until {
                break false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        self.child = Some(child);
        if !started {
            self.kill();
        }
        started
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An address that was free a moment ago.
fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound listener has an address")
}
