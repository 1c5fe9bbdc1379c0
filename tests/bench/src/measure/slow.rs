//! A burst while Qlik Sense takes its time for every answer.

use std::time::Duration;

use crate::lab::{Lab, Variant, drops, sender};
use crate::process::Usage;
use crate::sender::failures;
use crate::statistics::figure;
use crate::table::Row;

const EVENTS: usize = 1_000;
const TASKS: usize = 50;
/// Calls at a time, as shipped (`enrich.concurrency`).
const CONCURRENCY: f64 = 16.0;
/// Executions that one call is enough for.
const EXECUTIONS_OF_A_CALL: f64 = 25.0;
/// Slower than what is needed by so much at most.
const LEEWAY: f64 = 1.5;
/// Nothing comes for so long: the rest is lost.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is asked for by its id, by the simulator's names of the calls.
const TASK: &str = "task/full";
const APP: &str = "app/full";
const OWNER: &str = "user/{id}";
const EXECUTION: &str = "executionresult/full";

/// With 200 ms and with 2 s for a call.
pub async fn measure() -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for latency in [Duration::from_millis(200), Duration::from_secs(2)] {
        rows.extend(with(latency).await?);
    }
    Ok(rows)
}

async fn with(latency: Duration) -> anyhow::Result<Vec<Row>> {
    let lab = Lab::start_slow(latency).await?;
    let butler = lab.butler(Variant::default()).await?;
    let (sender, datagrams) = (sender(&butler)?, failures(0, EVENTS, Some(TASKS))?);
    let began = tokio::task::spawn_blocking(move || sender.burst(&datagrams)).await??;
    lab.sink.wait(EVENTS, PATIENCE).await;
    let used = Usage::at_rest(butler.pid()).await?;
    let (tally, counts) = (lab.sink.tally(EVENTS), lab.simulator.counts().await?);
    let seconds = tally.last.map_or(f64::INFINITY, |last| last.duration_since(began).as_secs_f64());
    let (own, kernel) = drops(&butler).await?;
    let without_facts = butler.log().lines().filter(|line| line.contains("goes on without the facts")).count();

    let of = |call: &str, what: &str| counts["asked"][call][what].as_f64().unwrap_or_default();
    let most = [TASK, APP, OWNER, EXECUTION].map(|call| of(call, "most")).into_iter().fold(0.0, f64::max);
    let one_each = [TASK, APP, OWNER].map(|call| of(call, "different")).iter().sum::<f64>();
    let needed = one_each + (of(EXECUTION, "different") / EXECUTIONS_OF_A_CALL).ceil();
    let limit = needed * latency.as_secs_f64() / CONCURRENCY * LEEWAY;

    let what = |text: &str| format!("{text}, {latency:?} a call");
    let loss = format!(
        "{} lost, {} twice; dropped by Butler {own}, by the kernel {kernel}; without facts {without_facts}",
        tally.lost, tally.doubled
    );
    let faults = figure(tally.lost + tally.doubled + without_facts) + own + kernel;
    Ok(vec![
        Row::text(what("1,000 events of 50 tasks at once"), loss).with_target("0, 0; 0, 0; 0", faults == 0.0),
        Row::at_most(what("   until all are told"), seconds, limit, "s"),
        Row::at_most(what("   calls of Qlik Sense"), counts["requests"].as_f64().unwrap_or(f64::INFINITY), needed, ""),
        Row::at_most(what("   how often one id is asked for"), most, 1.0, ""),
        Row::at_most(what("   memory at its peak"), used.peak_mb, 80.0, "MB"),
    ])
}
