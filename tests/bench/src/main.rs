//! Measures the daemon as users run it: the release executable, real plugin files, shipped settings, a simulated Qlik Sense
//! in a process of its own, a webhook sink on loopback.
//!
//! `cargo build --release --workspace && target/release/bench`
//!
//! Figures are of this machine at this moment: compare ratios and medians of several runs.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use butler::ingest::sample::{Fields, SampleKind, guid, message};
use clap::Parser;
use e2e::{Butler, Sink, http};
use serde_json::Value;

/// Measure throughput and memory.
#[derive(Parser)]
struct Arguments {
    /// Sizes of the bursts.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000")]
    bursts: Vec<usize>,
    /// Starts to measure.
    #[arg(long, default_value_t = 5)]
    starts: usize,
}

/// The simulator's executable in cheap mode.
struct Simulator {
    child: Child,
    port: String,
    control: String,
}

impl Simulator {
    fn start(certificates: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(e2e::target_dir().join("qlik-simulator"))
            .args(["--cheap", "--certs-dir"])
            .arg(certificates)
            .stdout(Stdio::piped())
            .spawn()
            .context("the simulator does not start: run `cargo build --release --workspace` first")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no pipe")?).read_line(&mut line)?;
        let (qrs, control) = line.split_once(" control ").context("the simulator says where it is")?;
        let port = qrs.rsplit(':').next().and_then(|rest| rest.split('/').next()).unwrap_or_default().to_owned();
        Ok(Self { child, port, control: control.trim().to_owned() })
    }

    async fn requests(&self) -> anyhow::Result<f64> {
        let body = http().get(format!("{}counts", self.control)).send().await?.bytes().await?;
        let counts: Value = serde_json::from_slice(&body)?;
        counts["requests"].as_f64().context("the simulator counts requests")
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the system knows of a process.
struct Usage {
    cpu_seconds: f64,
    resident_mb: f64,
    peak_mb: f64,
}

impl Usage {
    fn of(pid: u32) -> anyhow::Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let megabytes = |name: &str| -> f64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().find_map(|word| word.parse::<f64>().ok()).unwrap_or_default() / 1024.0
        };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
        // Clock ticks are hundredths of a second on Linux.
        let cpu_seconds = (ticks(11) + ticks(12)) / 100.0;
        Ok(Self { cpu_seconds, resident_mb: megabytes("VmRSS:"), peak_mb: megabytes("VmHWM:") })
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    ensure!(cfg!(target_os = "linux"), "the bench reads /proc: it runs on Linux only");
    starts(arguments.starts).await?;
    println!(
        "\n{:>8} {:>6} {:>7} {:>9} {:>9} {:>13} {:>8} {:>8} {:>11}",
        "burst", "lost", "doubled", "seconds", "events/s", "CPU s/1000", "idle MB", "peak MB", "QRS calls/ev"
    );
    for size in arguments.bursts {
        burst(size).await?;
    }
    Ok(())
}

fn config(simulator: &Simulator, certificates: &Path, sink: &Sink) -> String {
    let folder = certificates.display();
    format!(
        "qlik:\n  host: 127.0.0.1\n  user: LAB\\sa\n  certificates: {{ client: {folder}/client.pem, key: {folder}/client_key.pem, \
         ca: {folder}/root.pem }}\n  ports: {{ repository: {} }}\nscriptLog: {{ enabled: false }}\nplugins:\n  - use: webhook\n    \
         settings: {{ url: \"{}\" }}\n  - use: console\n    on: []\n  - use: teams\n    on: []\n    settings: {{ webhookUrl: \"{}\" }}\n",
        simulator.port,
        sink.url("/hook"),
        sink.url("/teams"),
    )
}

async fn starts(count: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let simulator = Simulator::start(folder.path())?;
    let sink = Sink::start().await;
    let mut seconds = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        let butler = Butler::start(&config(&simulator, folder.path(), &sink)).await;
        let (status, _) = butler.get("/v5/health/ready").await;
        ensure!(status == 200, "the daemon is not ready");
        seconds.push(began.elapsed().as_secs_f64());
        butler.stop().await;
    }
    seconds.sort_by(f64::total_cmp);
    println!(
        "start to ready, three plugins: median {:.3} s of {count} (with the poll of the measuring side)",
        seconds[count / 2]
    );
    Ok(())
}

async fn burst(size: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let simulator = Simulator::start(folder.path())?;
    let sink = Sink::start().await;
    let butler = Butler::start(&config(&simulator, folder.path(), &sink)).await;
    let idle = Usage::of(butler.pid())?;
    let messages = (0..size).map(|_| failed_reload()).collect::<anyhow::Result<Vec<_>>>()?;
    let began = Instant::now();
    butler.send(&messages);
    let ids = Arc::new(tokio::sync::Mutex::new(HashMap::<String, usize>::new()));
    let mut last_change = Instant::now();
    let mut seen = 0;
    while last_change.elapsed() < Duration::from_secs(10) {
        let received = sink.received();
        if received.len() > seen {
            let mut ids = ids.lock().await;
            for request in &received[seen..] {
                *ids.entry(request.header("x-butler-event-id").unwrap_or_default().to_owned()).or_default() += 1;
            }
            seen = received.len();
            last_change = Instant::now();
            if ids.len() >= size {
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let seconds = last_change.duration_since(began).as_secs_f64();
    let used = Usage::of(butler.pid())?;
    let ids = ids.lock().await;
    let doubled = ids.values().filter(|count| **count > 1).count();
    let events = as_f64(ids.len());
    println!(
        "{size:>8} {:>6} {doubled:>7} {seconds:>9.2} {:>9.0} {:>13.2} {:>8.1} {:>8.1} {:>11.2}",
        size - ids.len(),
        events / seconds,
        (used.cpu_seconds - idle.cpu_seconds) / events * 1000.0,
        idle.resident_mb,
        used.peak_mb,
        simulator.requests().await? / events,
    );
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "counts of a benchmark are small")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

/// A failed reload of a task, an app and an execution of its own.
fn failed_reload() -> anyhow::Result<String> {
    let mut fields = Fields::random()?;
    (fields.task_id, fields.app_id, fields.execution_id) = (guid()?, guid()?, guid()?);
    let kind: SampleKind = "reload-task.failed".parse()?;
    Ok(message(kind, &fields))
}
