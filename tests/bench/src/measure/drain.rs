//! How fast what waits for a destination is brought there, once it is up again, and what others feel of it.
//!
//! The queue is filled while nobody listens at the destination's port; the daemon is stopped, the destination started, and
//! the daemon again. What counts is the time from when the daemon is ready until nothing waits any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use e2e::Butler;
use tempfile::TempDir;

use super::latency::latencies;
use crate::arrivals::Arrivals;
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
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(20);
/// Events to another instance while the queue drains.
const OTHERS: usize = 60;
const OTHERS_PER_SECOND: u32 = 20;
/// What a webhook may need beside a queue that drains, in ms: two cores do everything.
const LONGEST_BESIDE: f64 = 250.0;

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

/// Both destinations, and the latency of a webhook beside each.
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
        rows.push(beside(to).await?);
    }
    Ok(rows)
}

fn entry(to: To, port: u16) -> String {
    let (plugin, settings) = match to {
        To::Mqtt => ("mqtt", format!("url: \"mqtt://127.0.0.1:{port}\"")),
        To::Influxdb => (
            "influxdb",
            format!("version: 2, url: \"http://127.0.0.1:{port}\", org: o, bucket: b, token: token-of-the-bench"),
        ),
    };
    let wait = LONGEST_WAIT.as_secs();
    format!(
        "  - use: {plugin}\n    name: measured\n    on: [{{ events: [reload-task.failed] }}]\n    \
         retry: {{ initial: {wait}s, max: {wait}s }}\n    settings: {{ {settings} }}\n"
    )
}

/// What waits, for a destination that is up now.
struct Waiting {
    lab: Lab,
    folder: Arc<TempDir>,
    variant: Variant,
    destination: Destination,
}

enum Destination {
    Mqtt(Broker),
    Influxdb(Points),
}

impl Destination {
    fn arrivals(&self) -> &Arrivals {
        match self {
            Self::Mqtt(broker) => broker.arrivals(),
            Self::Influxdb(points) => points.arrivals(),
        }
    }
}

/// A daemon that has `WAITING` deliveries for a destination which is down, stopped; then the destination is started.
async fn filled(to: To) -> anyhow::Result<Waiting> {
    let lab = Lab::start().await?;
    let port = Mailbox::free_port()?;
    let entry: &'static str = Box::leak(entry(to, port).into_boxed_str());
    let variant = Variant { without_qlik: true, nobody_wants: true, neighbour: entry, ..Variant::default() };
    let folder = Arc::new(TempDir::new().context("a folder cannot be made")?);
    let butler = lab.butler_in(folder.clone(), variant).await?;
    let (sender, datagrams) = (sender(&butler)?, failures(0, WAITING, None)?);
    tokio::task::spawn_blocking(move || sender.paced(&datagrams, FILL_PER_SECOND)).await??;
    e2e::wait_for("all events to wait", || async { (open(&butler).await? >= figure(WAITING)).then_some(()) }).await;
    let (status, log) = tokio::time::timeout(Duration::from_mins(1), butler.stop()).await?;
    anyhow::ensure!(status.success(), "the daemon ended with {status}:\n{log}");
    // By then everything is due.
    tokio::time::sleep(LONGEST_WAIT * 2).await;
    let destination = match to {
        To::Mqtt => Destination::Mqtt(Broker::start(folder.path(), port, "qliksense/task_failure_full").await?),
        To::Influxdb => Destination::Influxdb(Points::start(port).await?),
    };
    Ok(Waiting { lab, folder, variant, destination })
}

/// Deliveries that are not done.
async fn open(butler: &Butler) -> Option<f64> {
    butler.metric("butler_deliveries_open{instance=\"measured\"}").await
}

async fn drain(to: To) -> anyhow::Result<Drained> {
    let waiting = filled(to).await?;
    let butler = Butler::start_in(waiting.folder.clone(), &waiting.lab.config(waiting.variant), &[]).await;
    let began = Instant::now();
    while open(&butler).await != Some(0.0) && began.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    let arrivals = waiting.destination.arrivals();
    // What the broker has is not yet with its subscriber.
    let until = Instant::now() + Duration::from_secs(10);
    while arrivals.counts().0 < WAITING && Instant::now() < until {
        tokio::time::sleep(LOOK).await;
    }
    let (arrived, doubled) = arrivals.counts();
    let peak_mb = Usage::of(butler.pid())?.peak_mb;
    Ok(Drained { per_second: figure(arrived) / seconds, lost: WAITING.saturating_sub(arrived), doubled, peak_mb })
}

/// Datagram to webhook while the queue drains, and afterwards. Processors are shared: what the queue, the broker and its
/// subscriber need, the webhook misses.
async fn beside(to: To) -> anyhow::Result<Row> {
    let waiting = filled(to).await?;
    let variant = Variant { nobody_wants: false, ..waiting.variant };
    let sink = &waiting.lab.sink;
    let butler = Butler::start_in(waiting.folder.clone(), &waiting.lab.config(variant), &[]).await;
    let beside = latencies(&butler, sink, 0, OTHERS, OTHERS_PER_SECOND).await?;
    let left = open(&butler).await.unwrap_or_default();
    e2e::wait_for("the queue to be empty", || async { (open(&butler).await? < 1.0).then_some(()) }).await;
    let alone = latencies(&butler, sink, OTHERS, OTHERS, OTHERS_PER_SECOND).await?;
    let [busy, most, calm] = [beside.quantile(0.5), beside.quantile(0.99), alone.quantile(0.5)];
    let text = format!("{} and {} / {} ms (then {} waited)", number(busy), number(most), number(calm), number(left));
    Ok(Row::text("   a webhook while that drains, p50 and p99 / afterwards, p50", text)
        .with_target(format!("p99 <= {LONGEST_BESIDE} ms"), most <= LONGEST_BESIDE))
}
