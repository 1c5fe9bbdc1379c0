//! Many datagrams at once, as at the end of a night's window, and what becomes of each.

use std::time::Duration;

use crate::lab::{Lab, Variant, drops, receive_buffer_mb, sender};
use crate::process::Usage;
use crate::sender::failures;
use crate::statistics::{figure, median};
use crate::table::{Row, number};

const RUNS: usize = 3;
/// Nothing comes for so long: the rest is lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one burst showed.
pub struct Burst {
    lost: usize,
    doubled: usize,
    /// Dropped by Butler and by the kernel.
    drops: (f64, f64),
    receive_buffer_mb: f64,
    per_second: f64,
    cpu_per_thousand: f64,
    idle_mb: f64,
    peak_mb: f64,
    /// Calls of Qlik Sense for an event.
    pub calls: f64,
}

/// Sends a burst to a daemon of its own.
pub async fn burst(size: usize, tasks: Option<usize>, variant: Variant) -> anyhow::Result<Burst> {
    let lab = Lab::start().await?;
    let butler = lab.butler(variant).await?;
    let (sender, datagrams) = (sender(&butler)?, failures(0, size, tasks)?);
    let idle = Usage::of(butler.pid())?;
    let began = tokio::task::spawn_blocking(move || sender.burst(&datagrams)).await??;
    lab.sink.wait(size, PATIENCE).await;
    let used = Usage::at_rest(butler.pid()).await?;
    let tally = lab.sink.tally(size);
    let seconds = tally.last.map_or(f64::INFINITY, |last| last.duration_since(began).as_secs_f64());
    let events = figure(size - tally.lost);
    Ok(Burst {
        lost: tally.lost,
        doubled: tally.doubled,
        drops: drops(&butler).await?,
        receive_buffer_mb: receive_buffer_mb(&butler)?,
        per_second: events / seconds,
        cpu_per_thousand: (used.cpu_seconds - idle.cpu_seconds) / events * 1_000.0,
        idle_mb: idle.resident_mb,
        peak_mb: used.peak_mb,
        calls: lab.simulator.requests().await? / events,
    })
}

async fn bursts(size: usize, variant: Variant) -> anyhow::Result<Vec<Burst>> {
    let mut bursts = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        bursts.push(burst(size, None, variant).await?);
    }
    Ok(bursts)
}

/// Every run must deliver each event once.
fn deliveries(size: usize, bursts: &[Burst]) -> Row {
    let lost: usize = bursts.iter().map(|burst| burst.lost).sum();
    let doubled: usize = bursts.iter().map(|burst| burst.doubled).sum();
    let own: f64 = bursts.iter().map(|burst| burst.drops.0).sum();
    let kernel: f64 = bursts.iter().map(|burst| burst.drops.1).sum();
    let buffer = median(bursts.iter().map(|burst| burst.receive_buffer_mb));
    let text = format!(
        "{lost} lost, {doubled} twice; dropped by Butler {own}, by the kernel {kernel} (its buffer: {} MB)",
        number(buffer)
    );
    Row::text(format!("burst of {} at once ({RUNS} runs)", number(figure(size))), text)
        .with_target("0 lost, 0 twice", lost + doubled == 0)
}

/// Bursts of 1,000 and of 10,000.
pub async fn measure() -> anyhow::Result<Vec<Row>> {
    let small = bursts(1_000, Variant::default()).await?;
    let large = bursts(10_000, Variant::default()).await?;
    let middle = |of: fn(&Burst) -> f64| median(large.iter().map(of));
    let what = |text: &str| format!("{text}, burst of 10,000 (median of {RUNS})");
    Ok(vec![
        deliveries(1_000, &small),
        deliveries(10_000, &large).original("loses 9,790"),
        Row::at_least(what("events/s end to end, enriched, durable"), middle(|b| b.per_second), 3_000.0, "/s")
            .original("48 /s"),
        Row::at_most(what("CPU of the host for 1,000 events"), middle(|b| b.cpu_per_thousand), 0.45, "s")
            .original("21-44 s"),
        Row::at_most("memory idle, three plugins", middle(|b| b.idle_mb), 18.0, "MB").original("245 MB"),
        Row::at_most(what("memory at its peak"), middle(|b| b.peak_mb), 80.0, "MB"),
    ])
}

/// A burst of 1,000 whose script logs are fetched, packed and kept.
pub async fn measure_script_log() -> anyhow::Result<Vec<Row>> {
    let bursts = bursts(1_000, Variant { script_log: true, ..Variant::default() }).await?;
    let cpu = median(bursts.iter().map(|burst| burst.cpu_per_thousand));
    let lost: usize = bursts.iter().map(|burst| burst.lost).sum();
    Ok(vec![
        Row::at_most(format!("CPU of the host for 1,000 events with script logs (median of {RUNS})"), cpu, 0.9, "s")
            .original("21-44 s"),
        Row::new("   events/s end to end with script logs", median(bursts.iter().map(|burst| burst.per_second)), "/s"),
        Row::new("   calls of Qlik Sense for an event with a script log", median(bursts.iter().map(|b| b.calls)), ""),
        Row::text("   with script logs, each event once", format!("{lost} lost")).with_target("0 lost", lost == 0),
    ])
}
