//! The simulated Qlik Sense as a process of its own, in cheap mode.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use e2e::http;
use serde_json::Value;

/// A running simulator. It ends when it is dropped.
pub struct Simulator {
    child: Child,
    port: String,
    control: String,
}

impl Simulator {
    /// Starts one that writes its certificates to a folder and answers so much later.
    pub fn start(certificates: &Path, latency: Duration) -> anyhow::Result<Self> {
        let mut child = Command::new(e2e::target_dir().join("qlik-simulator"))
            .args(["--cheap", "--certs-dir"])
            .arg(certificates)
            .arg(format!("--latency={}ms", latency.as_millis()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("the simulator does not start: run `cargo build --release --workspace` first")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no pipe")?).read_line(&mut line)?;
        let (qrs, control) = line.split_once(" control ").context("the simulator does not say where it is")?;
        let control = control.split_whitespace().next().unwrap_or_default();
        let port = qrs.rsplit(':').next().and_then(|rest| rest.split('/').next()).unwrap_or_default().to_owned();
        Ok(Self { child, port, control: control.to_owned() })
    }

    /// Port of its repository service.
    pub fn port(&self) -> &str {
        &self.port
    }

    /// What has arrived so far: the simulator's `Counts`.
    pub async fn counts(&self) -> anyhow::Result<Value> {
        let body = http().get(format!("{}counts", self.control)).send().await?.bytes().await?;
        Ok(serde_json::from_slice(&body)?)
    }

    /// Requests so far.
    pub async fn requests(&self) -> anyhow::Result<f64> {
        self.counts().await?["requests"].as_f64().context("the simulator does not count requests")
    }

    /// Ends it: its port then refuses connections.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop();
    }
}
