//! How fast what waits for a destination is brought there, once it is up again, and what others feel of it.
//!
//! The queue is filled while nobody listens at the destination's port; the daemon is stopped, the destination started, and
//! the daemon again. What counts is the time from the first arrival to the last.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use e2e::Butler;
use tempfile::TempDir;

use super::latency::latencies;
use crate::broker::Broker;
use crate::lab::{Lab, Variant, sender};
use crate::mailbox::Mailbox;
use crate::points::Points;
use crate::process::Usage;
use crate::sender::failures;
use crate::statistics::{figure, median};
use crate::table::{Row, number};

const RUNS: usize = 3;
const WAITING: usize = 50_000;
/// How fast the queue is filled, so that no datagram is lost.
const FILL_PER_SECOND: u32 = 10_000;
/// Retries wait no longer than that.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(20);
/// Events to another instance while the queue drains.
const OTHERS: usize = 60;
const OTHERS_PER_SECOND: u32 = 20;

/// Where the events wait for.
#[derive(Debug, Clone, Copy)]
enum To {
    Mqtt,
    Influxdb,
}

/// What one run showed.
struct Drained {
    per_second: f64,
    lost: usize,
    doubled: usize,
    peak_mb: f64,
}

/// Both destinations, and the latency of a webhook beside the first.
pub async fn measure() -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (to, what, target) in [
        (To::Mqtt, "events/s by mqtt at QoS 1, two messages each, all waiting", 5_000.0),
        (To::Influxdb, "points/s by influxdb, one an event, all waiting", 20_000.0),
    ] {
        let mut runs = Vec::with_capacity(RUNS);
        for _ in 0..RUNS {
            runs.push(drain(to).await?);
        }
        let (lost, doubled) = runs.iter().fold((0, 0), |sum, run| (sum.0 + run.lost, sum.1 + run.doubled));
        let rate = median(runs.iter().map(|run| run.per_second));
        rows.push(Row::at_least(format!("{what} (median of {RUNS})"), rate, target, "/s"));
        rows.push(
            Row::text(
                format!("   {} events that waited", number(figure(WAITING))),
                format!("{lost} lost, {doubled} twice"),
            )
            .with_target("0 lost", lost == 0),
        );
        rows.push(Row::new("   memory at its peak", median(runs.iter().map(|run| run.peak_mb)), "MB"));
    }
    rows.push(beside().await?);
    Ok(rows)
}

fn entry(to: To, port: u16) -> String {
    let settings = match to {
        To::Mqtt => format!("url: \"mqtt://127.0.0.1:{port}\""),
        To::Influxdb => {
            format!(
                "version: 2, url: \"http://127.0.0.1:{port}\", org: o, bucket: b, token: token-of-the-bench, create: false"
            )
        }
    };
    let plugin = match to {
        To::Mqtt => "mqtt",
        To::Influxdb => "influxdb",
    };
    let wait = LONGEST_WAIT.as_secs();
    format!(
        "  - use: {plugin}\n    name: measured\n    on: [{{ events: [reload-task.failed] }}]\n    \
         retry: {{ initial: {wait}s, max: {wait}s }}\n    settings: {{ {settings} }}\n"
    )
}

/// A daemon that has `WAITING` deliveries for a destination which is down, stopped; and its folder.
async fn filled(lab: &Lab, variant: Variant) -> anyhow::Result<Arc<TempDir>> {
    let folder = Arc::new(TempDir::new().context("a folder cannot be made")?);
    let butler = lab.butler_in(folder.clone(), variant).await?;
    let (sender, datagrams) = (sender(&butler)?, failures(0, WAITING, None)?);
    tokio::task::spawn_blocking(move || sender.paced(&datagrams, FILL_PER_SECOND)).await??;
    e2e::wait_for("all events to wait", || async {
        let waiting = butler.metric("butler_deliveries_open{instance=\"measured\"}").await?;
        (waiting >= figure(WAITING)).then_some(())
    })
    .await;
    stop(butler).await?;
    // By now everything is due.
    tokio::time::sleep(LONGEST_WAIT).await;
    Ok(folder)
}

async fn stop(butler: Butler) -> anyhow::Result<()> {
    let (status, log) = tokio::time::timeout(Duration::from_mins(1), butler.stop()).await?;
    anyhow::ensure!(status.success(), "the daemon ended with {status}:\n{log}");
    Ok(())
}

async fn drain(to: To) -> anyhow::Result<Drained> {
    let lab = Lab::start().await?;
    let port = Mailbox::free_port()?;
    let variant =
        Variant { without_qlik: true, nobody_wants: true, neighbour: lasting(entry(to, port)), ..Variant::default() };
    let folder = filled(&lab, variant).await?;
    let (arrived, first, last, peak_mb) = match to {
        To::Mqtt => {
            let broker = Broker::start(folder.path(), port, "qliksense/task_failure").await?;
            let butler = lab.butler_in(folder.clone(), variant).await?;
            let heard = broker.wait(WAITING, PATIENCE).await;
            (heard.messages, heard.first, heard.last, Usage::of(butler.pid())?.peak_mb)
        }
        To::Influxdb => {
            let points = Points::start(port).await?;
            let butler = lab.butler_in(folder.clone(), variant).await?;
            let written = points.wait(WAITING, PATIENCE).await;
            (written.points, written.first, written.last, Usage::of(butler.pid())?.peak_mb)
        }
    };
    Ok(Drained {
        per_second: figure(arrived) / seconds(first, last),
        lost: WAITING.saturating_sub(arrived),
        doubled: arrived.saturating_sub(WAITING),
        peak_mb,
    })
}

fn seconds(first: Option<Instant>, last: Option<Instant>) -> f64 {
    first.zip(last).map_or(f64::INFINITY, |(first, last)| last.duration_since(first).as_secs_f64())
}

/// Datagram to webhook, alone and while the queue of mqtt drains. Processors are shared: what the queue needs, others miss.
async fn beside() -> anyhow::Result<Row> {
    let lab = Lab::start().await?;
    let port = Mailbox::free_port()?;
    let busy = Variant {
        without_qlik: true,
        nobody_wants: true,
        neighbour: lasting(entry(To::Mqtt, port)),
        ..Variant::default()
    };
    let folder = filled(&lab, busy).await?;
    let _broker = Broker::start(folder.path(), port, "qliksense/task_failure").await?;
    let butler = lab.butler_in(folder, Variant { nobody_wants: false, ..busy }).await?;
    let beside = latencies(&butler, &lab.sink, 0, OTHERS, OTHERS_PER_SECOND).await?;
    let left = butler.metric("butler_deliveries_open{instance=\"measured\"}").await.unwrap_or(0.0);
    let alone = latencies(&butler, &lab.sink, OTHERS, OTHERS, OTHERS_PER_SECOND).await?;
    Ok(Row::text(
        "   latency of a webhook while that drains / afterwards, p50 and p99",
        format!(
            "{} and {} / {} and {} ms ({} left)",
            number(beside.quantile(0.5)),
            number(beside.quantile(0.99)),
            number(alone.quantile(0.5)),
            number(alone.quantile(0.99)),
            number(left)
        ),
    ))
}

/// The text lives as long as the process: variants hold such texts only.
fn lasting(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}
