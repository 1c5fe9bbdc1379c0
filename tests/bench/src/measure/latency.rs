//! From the datagram to the webhook's request, when little happens.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use e2e::Butler;

use crate::lab::{Lab, Variant, sender};
use crate::sender::failures;
use crate::sink::Sink;
use crate::statistics::{figure, quantile};
use crate::table::{Row, number};

const PATIENCE: Duration = Duration::from_secs(20);

/// Latencies of many events.
pub struct Latencies(Vec<f64>);

impl Latencies {
    /// The time in ms that this part of the events did not exceed.
    pub fn quantile(&self, part: f64) -> f64 {
        quantile(self.0.iter().copied(), part)
    }
}

/// Sends events at a steady rate and waits for each at the webhook. Their numbers begin with `first`.
pub async fn latencies(
    butler: &Butler,
    sink: &Sink,
    first: usize,
    count: usize,
    per_second: u32,
) -> anyhow::Result<Latencies> {
    let (sender, datagrams) = (sender(butler)?, failures(first, count, None)?);
    let before = sink.count();
    let pause = Duration::from_secs(1) / per_second;
    let sent = tokio::task::spawn_blocking(move || -> anyhow::Result<Vec<Instant>> {
        let began = Instant::now();
        let mut times = Vec::with_capacity(datagrams.len());
        for (datagram, n) in datagrams.iter().zip(0_u32..) {
            std::thread::sleep((began + pause * n).saturating_duration_since(Instant::now()));
            times.push(sender.send(datagram)?);
        }
        Ok(times)
    })
    .await??;
    sink.wait(before + count, PATIENCE).await;
    let told: HashMap<usize, Instant> = sink.told().iter().map(|told| (told.number, told.at)).collect();
    let times: Vec<f64> = (first..)
        .zip(&sent)
        .filter_map(|(number, sent)| Some(told.get(&number)?.saturating_duration_since(*sent).as_secs_f64() * 1_000.0))
        .collect();
    ensure!(times.len() == count, "{} of {count} events never came to the webhook", count - times.len());
    Ok(Latencies(times))
}

/// At 1 and 20 events/s.
pub async fn measure() -> anyhow::Result<Vec<Row>> {
    let lab = Lab::start().await?;
    let butler = lab.butler(Variant::default()).await?;
    // The first one pays for connections, which the others find open.
    let opening = latencies(&butler, &lab.sink, 0, 1, 1).await?;
    let mut rows = Vec::new();
    let mut first = 1;
    for (per_second, count) in [(1, 30), (20, 400)] {
        let latencies = latencies(&butler, &lab.sink, first, count, per_second).await?;
        first += count;
        let (half, most) = (latencies.quantile(0.5), latencies.quantile(0.99));
        let text = format!("{} / {} ms", number(half), number(most));
        let what = format!("datagram to webhook at {per_second}/s, p50 / p99 ({} events)", number(figure(count)));
        rows.push(Row::text(what, text).with_target("<= 5 / 20 ms", half <= 5.0 && most <= 20.0));
    }
    rows.push(Row::new("   for information: the first event after the start", opening.quantile(1.0), "ms"));
    Ok(rows)
}
