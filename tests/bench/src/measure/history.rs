//! A store with a million events: what it costs at the start, and what their removal costs others.
//!
//! The history is made by SQL from one event that a daemon has told, so that its rows are as they are in life.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use e2e::{Butler, sqlite};
use tempfile::TempDir;

use super::latency::{Latencies, latencies};
use super::start;
use crate::lab::{Lab, Variant, sender, store_of};
use crate::process::Usage;
use crate::sender::failures;
use crate::statistics::{figure, median};
use crate::table::{Row, number};

const EVENTS: u32 = 1_000_000;
/// Days that the history covers: fewer than `store.keep`.
const DAYS: u32 = 28;
const STARTS: usize = 9;
/// More is allowed than without history: a tenth, and this for the clock's own noise.
const NOISE_MS: f64 = 3.0;
/// Events whose latency is measured: 40 s, and upkeep begins after 15.
const WATCHED: usize = 800;
const PATIENCE: Duration = Duration::from_mins(1);

/// Start and memory with the history against those without.
pub async fn measure() -> anyhow::Result<Vec<Row>> {
    let lab = Lab::start().await?;
    let (short, long) = (store(&lab, 0).await?, store(&lab, EVENTS).await?);
    let (mut ready, mut memory) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    // In turn, so that the machine's moods meet both.
    for n in 0..STARTS {
        for (at, folder) in [&short, &long].into_iter().enumerate() {
            ready[at].push(start::time(folder.path())?);
            if n < 3 {
                let butler = lab.butler_in(folder.clone(), Variant::default()).await?;
                tell_one(&lab, &butler, n * 2 + at).await?;
                memory[at].push(Usage::at_rest(butler.pid()).await?.resident_mb);
                butler.stop().await;
            }
        }
    }
    // Longer than it takes until everything that is done by the clock was done once.
    let butler = lab.butler_in(long.clone(), Variant::default()).await?;
    let times = latencies(&butler, &lab.sink, 1_000, WATCHED, 20).await?;
    butler.stop().await;
    let (ready, memory) = (ready.map(median), memory.map(median));
    let size = std::fs::metadata(store_of(long.path()))?.len() >> 20;
    let row = |what: &str, [without, with]: [f64; 2], noise: f64, unit: &str| {
        let text = format!("{} {unit}; without {}", number(with), number(without));
        Row::text(format!("{what} with a million events ({size} MB of store)"), text)
            .with_target("as without, +10 %", with <= without * 1.1 + noise)
    };
    Ok(vec![
        row(&format!("start to ready (median of {STARTS})"), ready, NOISE_MS, "ms"),
        row("memory after one more event (median of 3)", memory, 0.0, "MB"),
        Row::text("datagram to webhook at 20/s with a million events, p50 / p99 / most", shown(&times))
            .with_target("<= 5 / 20 ms", times.quantile(0.5) <= 5.0 && times.quantile(0.99) <= 20.0),
    ])
}

/// Latency while the older half of the history is removed.
pub async fn measure_retention() -> anyhow::Result<Vec<Row>> {
    let lab = Lab::start().await?;
    let folder = store(&lab, EVENTS).await?;
    let variant = Variant { store: ", keep: 14d", ..Variant::default() };
    let path = store_of(folder.path());
    let butler = lab.butler_in(folder, variant).await?;
    let first = oldest(&path)?;
    let began = Instant::now();
    while oldest(&path)? == first {
        ensure!(began.elapsed() < PATIENCE, "no old events are removed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (from, began) = (oldest(&path)?, Instant::now());
    let times = latencies(&butler, &lab.sink, 1_000, WATCHED, 20).await?;
    let (to, seconds) = (oldest(&path)?, began.elapsed().as_secs_f64());
    let half = EVENTS / 2;
    ensure!(to < i64::from(half), "all old events were removed before the measurement ended");
    let text = format!("{}; {} events removed in {seconds:.0} s", shown(&times), number(figure(to - from)));
    let what = format!("datagram to webhook at 20/s while {half} of a million events are removed, p50 / p99 / most");
    Ok(vec![Row::text(what, text)])
}

fn shown(times: &Latencies) -> String {
    let [half, most, all] = [0.5, 0.99, 1.0].map(|part| number(times.quantile(part)));
    format!("{half} / {most} / {all} ms")
}

/// Number of the oldest event.
fn oldest(store: &Path) -> anyhow::Result<i64> {
    sqlite(store, "SELECT min(seq) FROM events;").parse().context("sqlite3 does not print a number")
}

async fn tell_one(lab: &Lab, butler: &Butler, number: usize) -> anyhow::Result<()> {
    let before = lab.sink.count();
    sender(butler)?.burst(&failures(number, 1, None)?)?;
    lab.sink.wait(before + 1, PATIENCE).await;
    ensure!(lab.sink.count() == before + 1, "an event was not told");
    Ok(())
}

/// A folder with config and store; the store has been used by a daemon that was stopped.
async fn store(lab: &Lab, events: u32) -> anyhow::Result<Arc<TempDir>> {
    let folder = Arc::new(TempDir::new().context("a folder cannot be made")?);
    let butler = lab.butler_in(folder.clone(), Variant::default()).await?;
    tell_one(lab, &butler, 0).await?;
    butler.stop().await;
    if events > 0 {
        sqlite(&store_of(folder.path()), &history(events));
        // The first start after a foreign program is not measured.
        start::time(folder.path())?;
    }
    Ok(folder)
}

/// Copies of the event that was told, each with ids of its own, delivered, evenly over the days before now.
///
/// What is left of the daemon that told it is moved behind them: numbers are in the order of time.
fn history(count: u32) -> String {
    let guid = |h: &str| {
        let part = |from, count| format!("substr({h}, {from}, {count})");
        [part(1, 8), part(9, 4), format!("'4' || {}", part(13, 3)), format!("'8' || {}", part(16, 3)), part(19, 12)]
            .join(" || '-' || ")
    };
    let (execution, result) = (guid("a"), guid("b"));
    format!(
        "PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; PRAGMA temp_store = MEMORY;
         BEGIN;
         UPDATE keys SET event = event + {count};
         UPDATE deliveries SET event = event + {count};
         CREATE TEMP TABLE kept AS SELECT * FROM events;
         DELETE FROM events;
         UPDATE kept SET seq = seq + {count};
         INSERT INTO events SELECT * FROM kept;
         CREATE TEMP TABLE model AS SELECT * FROM events WHERE source = 'udp';
         CREATE TEMP TABLE told AS SELECT * FROM deliveries WHERE event = (SELECT seq FROM model);
         CREATE TEMP TABLE ids (n INTEGER PRIMARY KEY, at INTEGER, execution TEXT, result TEXT, task TEXT);
         WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {count}),
              r(n, a, b) AS (SELECT n, lower(hex(randomblob(15))), lower(hex(randomblob(15))) FROM c)
           INSERT INTO ids SELECT n, (unixepoch() - {DAYS} * 86400) * 1000 + n * ({DAYS} * 86400000 / {count}),
                                  {execution}, {result}, printf('%08x', n % 1000) || substr(model.task, 9) FROM r, model;
         INSERT INTO events (seq, kind, time, received, source, state, task, keys, data)
           SELECT n, kind, at, at, source, 1, ids.task, 'exec:' || execution || ':failed' || char(10) || 'result:' || result,
                  replace(replace(data, json_extract(data, '$.execution.id'), execution), model.task, ids.task)
           FROM ids, model ORDER BY n;
         INSERT INTO keys (hash, event) SELECT substr(sha3('exec:' || execution || ':failed', 256), 1, 16) AS h, n FROM ids ORDER BY h;
         INSERT INTO keys (hash, event) SELECT substr(sha3('result:' || result, 256), 1, 16) AS h, n FROM ids ORDER BY h;
         INSERT INTO deliveries (event, instance, state, order_key, attempt, first_attempt, due, created, updated)
           SELECT n, instance, 2, ids.task, attempt, at, at, at, at FROM ids, told ORDER BY n;
         COMMIT;
         SELECT count(*) FROM events;"
    )
}
