//! A flood of datagrams that lasts: are all of them accepted durably, and at what cost?

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use butler::store::Store;
use e2e::Butler;
use tempfile::TempDir;

use crate::lab::{Lab, Variant, counter, drops, sender, store_of};
use crate::process::Usage;
use crate::sender::failures;
use crate::statistics::figure;
use crate::table::{Row, number};

const PER_SECOND: u32 = 50_000;
const SECONDS: u32 = 10;
/// No more are accepted for so long: the rest is lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// What becomes of events once they are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Qlik Sense is down: they wait for it. The bare cost of accepting them, and what a flood looks like: it comes when
    /// Qlik Sense is in trouble.
    Wait,
    /// No section `qlik:`, and nobody wants them: each is routed to nobody, in a transaction of its own kind.
    RoutedToNobody,
    /// They are enriched and delivered at the same time.
    Told,
}

struct Flood {
    sent: f64,
    per_second: f64,
    /// Accepted, by the daemon's own count; of those that wait, by what is in the store after it was killed.
    stored: f64,
    drops: (f64, f64),
    /// CPU seconds of the host for each second of the flood.
    cores: f64,
    peak_mb: f64,
}

/// With Qlik Sense down; two other variants for information.
pub async fn measure() -> anyhow::Result<Vec<Row>> {
    let flood = run(Then::Wait).await?;
    let lost = flood.sent - flood.stored;
    let text = format!(
        "{} of {} at {}/s; dropped by Butler {}, by the kernel {}",
        number(flood.stored),
        number(flood.sent),
        number(flood.per_second),
        number(flood.drops.0),
        number(flood.drops.1)
    );
    let what = format!("datagrams accepted durably, {SECONDS} s, Qlik Sense down: found after kill -9");
    let fast = flood.per_second >= f64::from(PER_SECOND) * 0.99;
    let target = format!("{}/s, 0 lost", number(f64::from(PER_SECOND)));
    let mut rows = vec![
        Row::text(what, text).with_target(target, lost == 0.0 && fast),
        Row::at_most("   CPU of the host meanwhile", flood.cores, 1.0, "cores"),
        Row::at_most("   memory at its peak", flood.peak_mb, 60.0, "MB"),
    ];
    for (then, what) in [
        (Then::RoutedToNobody, "   for information: without Qlik Sense, routed to nobody meanwhile"),
        (Then::Told, "   for information: enriched and delivered meanwhile"),
    ] {
        let Flood { sent, stored, per_second, drops, cores, peak_mb } = run(then).await?;
        let text = format!(
            "{} of {} at {}/s; dropped {} + {}; {} cores, {} MB",
            number(stored),
            number(sent),
            number(per_second),
            number(drops.0),
            number(drops.1),
            number(cores),
            number(peak_mb)
        );
        rows.push(Row::text(what, text));
    }
    Ok(rows)
}

async fn run(then: Then) -> anyhow::Result<Flood> {
    let mut lab = Lab::start().await?;
    let variant = match then {
        Then::RoutedToNobody => Variant { without_qlik: true, nobody_wants: true, ..Variant::default() },
        Then::Wait | Then::Told => Variant::default(),
    };
    let folder = Arc::new(TempDir::new().context("a folder cannot be made")?);
    let butler = lab.butler_in(folder.clone(), variant).await?;
    if then == Then::Wait {
        lab.simulator.stop();
    }
    let count = usize::try_from(PER_SECOND * SECONDS)?;
    let (sender, datagrams) = (sender(&butler)?, failures(0, count, None)?);
    let before = Usage::of(butler.pid())?;
    let took = tokio::task::spawn_blocking(move || sender.paced(&datagrams, PER_SECOND)).await??;
    let after = Usage::of(butler.pid())?;
    let accepted = accepted(&butler, figure(count)).await?;
    let (drops, peak_mb) = (drops(&butler).await?, Usage::of(butler.pid())?.peak_mb);
    // Killed, not stopped: what counts is what the disk has.
    drop(butler);
    let stored = if then == Then::Wait { waiting(&store_of(folder.path())).await? } else { accepted };
    Ok(Flood {
        sent: figure(count),
        per_second: figure(count) / took.as_secs_f64(),
        stored: stored.min(accepted),
        drops,
        cores: (after.cpu_seconds - before.cpu_seconds) / took.as_secs_f64(),
        peak_mb,
    })
}

/// Waits until so many events are accepted, or no more are; how many.
async fn accepted(butler: &Butler, count: f64) -> anyhow::Result<f64> {
    let (mut seen, mut changed) = (0.0, Instant::now());
    while seen < count && changed.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = counter(butler, "butler_udp_processed_total").await?;
        if now > seen {
            (seen, changed) = (now, Instant::now());
        }
    }
    Ok(seen)
}

/// Events that wait for Qlik Sense in a store that nobody has open.
async fn waiting(store: &Path) -> anyhow::Result<f64> {
    let store = Store::open(store).await?;
    let count = store.accepted_count().await?;
    store.close().await;
    Ok(figure(count))
}
