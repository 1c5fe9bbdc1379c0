//! The key-value store over HTTP: requests/s by `wrk` on connections that stay open, as the daemon is shipped but for the limit
//! of requests, which is lifted.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use e2e::Butler;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::statistics::median;
use crate::table::Row;

const ROUNDS: usize = 5;
const SECONDS: u32 = 5;
/// Connections of readers and of writers. A write waits for the disk: more of them share one wait.
const READERS: u32 = 32;
const WRITERS: u32 = 128;
/// Keys in the store, which are read and overwritten in turn.
const KEYS: usize = 1_000;
const CONFIG: &str = "rest: { listen: \"127.0.0.1:0\", maxPerMinute: 0 }\nplugins:\n  - use: key-value\n    settings: { maxKeysPerNamespace: 1000 }\n";

const READ: &str = r#"
local n = 0
function request()
  n = (n + 7919) % 1000
  return wrk.format("GET", "/v4/keyvalues/bench?key=key-" .. n)
end
"#;
const WRITE: &str = r#"
local n = 0
wrk.headers["content-type"] = "application/json"
function request()
  n = (n + 7919) % 1000
  return wrk.format("POST", "/v4/keyvalues/bench", nil,
    string.format('{"key":"key-%d","value":"%s"}', n, string.rep("v", 100)))
end
"#;
/// What is read of it: one line with requests, microseconds, the median and the 99th percentile of the latency in
/// microseconds, and answers and sockets that failed.
const DONE: &str = r#"
function done(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"#;

/// What one round of `wrk` showed.
struct Round {
    per_second: f64,
    middle_ms: f64,
    slow_ms: f64,
    failed: f64,
}

/// Reads, then durable writes.
pub async fn measure() -> anyhow::Result<Vec<Row>> {
    let butler = Butler::start(CONFIG).await;
    e2e::wait_for("the store to be there", || async {
        (butler.get("/v4/keyvaluesnamespaces").await.0 == 200).then_some(())
    })
    .await;
    for n in 0..KEYS {
        let body = json!({ "key": format!("key-{n}"), "value": "v".repeat(100) });
        let (status, answer) = butler.post("/v4/keyvalues/bench", &body).await;
        if status != 201 {
            bail!("the store takes no values: {status} {answer}");
        }
    }
    let mut rows = rounds(&butler, "reads", READERS, READ, 20_000.0).await?;
    rows.extend(rounds(&butler, "durable writes", WRITERS, WRITE, 5_000.0).await?);
    Ok(rows)
}

async fn rounds(butler: &Butler, what: &str, connections: u32, script: &str, least: f64) -> anyhow::Result<Vec<Row>> {
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        rounds.push(wrk(butler.rest(), connections, script).await?);
    }
    let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure));
    let failed: f64 = rounds.iter().map(|round| round.failed).sum();
    let title = format!("key-value: {what}/s, {connections} connections (median of {ROUNDS})");
    Ok(vec![
        Row::at_least(title, of(|round| round.per_second), least, "/s"),
        Row::new("   latency, median", of(|round| round.middle_ms), "ms"),
        Row::new("   latency, 99 of 100", of(|round| round.slow_ms), "ms"),
        Row::at_most("   answers that failed", failed, 0.0, ""),
    ])
}

async fn wrk(rest: &str, connections: u32, script: &str) -> anyhow::Result<Round> {
    let mut file = NamedTempFile::new().context("a file for wrk's script cannot be made")?;
    write!(file, "{script}{DONE}")?;
    let mut command = Command::new("wrk");
    command
        .args(["--threads", "1", "--connections", &connections.to_string(), "--duration", &format!("{SECONDS}s")])
        .arg("--script")
        .arg(file.path())
        .arg(rest)
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await?;
    let output = output.context("`wrk` cannot be run: apt-get install wrk")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("RESULT "));
    let Some(line) = line.filter(|_| output.status.success()) else {
        bail!("`wrk` failed: {text}{}", String::from_utf8_lossy(&output.stderr));
    };
    let numbers: Vec<f64> =
        line.split(' ').map(str::parse).collect::<Result<_, _>>().context("wrk's line of results")?;
    let [requests, microseconds, middle, slow, failed] = numbers[..] else {
        bail!("wrk's line of results has other numbers: {line}");
    };
    Ok(Round { per_second: requests / microseconds * 1e6, middle_ms: middle / 1e3, slow_ms: slow / 1e3, failed })
}
