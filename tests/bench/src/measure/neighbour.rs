//! What an instance feels of a neighbour that keeps a processor busy for ever.
//!
//! Daemons take turns, one alone and one with the neighbour, so that both halves of a pair see the same machine; what is
//! compared are the middle latencies of each pair.

use std::time::Duration;

use anyhow::ensure;

use super::latency::latencies;
use crate::lab::{Lab, Variant};
use crate::statistics::{median, quantile};
use crate::table::{Row, number};

const PAIRS: usize = 7;
const EVENTS: usize = 100;
const PER_SECOND: u32 = 20;
/// Times the latency alone.
const LIMIT: f64 = 1.2;

/// Spins from its first delivery on.
const SPINNER: &str = "  - use: rogue\n    name: spinner\n    settings: { fault: spin }\n";

/// Datagram to webhook, alone and beside the spinner.
pub async fn measure() -> anyhow::Result<Vec<Row>> {
    let mut pairs = Vec::with_capacity(PAIRS);
    for pair in 0..PAIRS {
        // Each half is the first one as often as the other.
        let first_alone = pair % 2 == 0;
        let first = half(if first_alone { "" } else { SPINNER }).await?;
        let second = half(if first_alone { SPINNER } else { "" }).await?;
        pairs.push(if first_alone { (first, second) } else { (second, first) });
    }
    let (alone, beside) = (pairs.iter().map(|pair| pair.0), pairs.iter().map(|pair| pair.1));
    let ratios: Vec<f64> = pairs.iter().map(|(alone, beside)| beside / alone).collect();
    let what = format!("latency beside a spinning neighbour, times that alone ({PAIRS} pairs, middle ratio of p50)");
    let (alone, beside) = (number(median(alone)), number(median(beside)));
    let [least, most] = [0.0, 1.0].map(|part| number(quantile(ratios.iter().copied(), part)));
    Ok(vec![
        Row::at_most(what, median(ratios), LIMIT, "x"),
        Row::text("   p50 alone / beside it; least and most ratio", format!("{alone} / {beside} ms; {least}, {most}")),
    ])
}

/// Middle latency of one daemon in ms.
async fn half(neighbour: &'static str) -> anyhow::Result<f64> {
    let lab = Lab::start().await?;
    let butler = lab.butler(Variant { neighbour, ..Variant::default() }).await?;
    // The first one opens connections, and has the neighbour begin.
    latencies(&butler, &lab.sink, 0, 1, 1).await?;
    if !neighbour.is_empty() {
        e2e::wait_for("the neighbour to be stuck", || async {
            let (_, answer) = butler.get("/v5/plugins").await;
            let mut instances = answer["plugins"].as_array()?.iter();
            instances.any(|one| one["name"] == "spinner" && one["condition"]["state"] == "stuck").then_some(())
        })
        .await;
    }
    let latencies = latencies(&butler, &lab.sink, 1, EVENTS, PER_SECOND).await?;
    let (status, log) = tokio::time::timeout(Duration::from_mins(1), butler.stop()).await?;
    ensure!(status.success(), "the daemon ended with {status}:\n{log}");
    Ok(latencies.quantile(0.5))
}
