//! Hours in small: events at a steady rate to a destination that fails one time in ten (503, no answer, reset), with
//! pages of metrics fetched meanwhile. Afterwards every event must have been told, and the daemon must not have grown.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::ensure;
use e2e::Butler;

use crate::lab::{Lab, Variant, counter, sender, store_of};
use crate::process::{Usage, file_size, open_files};
use crate::sender::failures;
use crate::statistics::{figure, median};
use crate::table::{Row, Table};

/// Tasks that fail in turn, as on a large site.
const TASKS: usize = 1_000;
/// Of a thousand requests so many fail.
const FAILING: u32 = 100;
/// One request without an answer must not hold one of the webhook's places for long.
const WEBHOOK: &str = ", timeout: 1s";
/// The daemon is looked at so often.
const LOOK: Duration = Duration::from_secs(5);
const LOOKS_PER_MINUTE: usize = 12;
/// Failed deliveries are repeated with growing waits: so long the last ones may take.
const PATIENCE: Duration = Duration::from_mins(3);
/// Memory may be so much more at the end: a tenth, and this.
const SLACK_MB: f64 = 2.0;
/// Some connections are kept for the next request.
const SLACK_FILES: f64 = 15.0;
/// So may helper threads.
const SLACK_THREADS: f64 = 3.0;
/// The write-ahead log is of a size of its own, and stays so.
const SLACK_LOG_MB: f64 = 4.0;
/// Of a thousand events so many may be told twice: an answer may come too late on a busy machine.
const TWICE: usize = 1;

/// How long, and how much.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Minutes; the first ones, at most five, are for warming up.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(3..))]
    minutes: u16,
    /// Events a second.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    rate: u32,
}

/// How the daemon is at a moment.
#[derive(Debug, Clone, Copy)]
struct Look {
    resident_mb: f64,
    files: f64,
    threads: f64,
    log_mb: f64,
}

impl Look {
    fn at(pid: u32, log: &Path) -> anyhow::Result<Self> {
        let usage = Usage::of(pid)?;
        Ok(Self {
            resident_mb: usage.resident_mb,
            files: figure(open_files(pid)?),
            threads: usage.threads,
            log_mb: figure(file_size(log)) / f64::from(1 << 20),
        })
    }
}

/// One minute: the middle of each; of open files the fewest, since connections come and go with the faults, and what leaks is there in
/// every look.
fn minute(looks: &[Look]) -> Look {
    let middle = |of: fn(&Look) -> f64| median(looks.iter().map(of));
    Look {
        resident_mb: middle(|look| look.resident_mb),
        files: looks.iter().map(|look| look.files).fold(f64::INFINITY, f64::min),
        threads: middle(|look| look.threads),
        log_mb: middle(|look| look.log_mb),
    }
}

/// True when nothing was lost and nothing has grown.
pub async fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let minutes = usize::from(arguments.minutes);
    let warm = (minutes / 3).clamp(1, 5);
    let lab = Lab::start().await?;
    let butler = lab.butler(Variant { webhook: WEBHOOK, ..Variant::default() }).await?;
    lab.sink.fail(FAILING);
    let count = minutes * 60 * usize::try_from(arguments.rate)?;
    let sending = {
        let (sender, datagrams, rate) = (sender(&butler)?, failures(0, count, Some(TASKS))?, arguments.rate);
        tokio::task::spawn_blocking(move || sender.paced(&datagrams, rate))
    };
    println!(
        "{:>6} {:>8} {:>8} {:>8} {:>9} {:>6} {:>8} {:>7}",
        "minute", "told", "failed", "open", "memory MB", "files", "threads", "WAL MB"
    );
    let mut looks = Vec::new();
    let mut minutes_seen = Vec::new();
    let began = Instant::now();
    while minutes_seen.len() < minutes {
        let next = LOOK * u32::try_from(looks.len() + 1)?;
        tokio::time::sleep(next.saturating_sub(began.elapsed())).await;
        looks.push(Look::at(butler.pid(), &log_of(&butler))?);
        if looks.len() % LOOKS_PER_MINUTE == 0 {
            let seen = minute(&looks[looks.len() - LOOKS_PER_MINUTE..]);
            let open = counter(&butler, OPEN).await?;
            println!(
                "{:>6} {:>8} {:>8} {open:>8} {:>9.1} {:>6} {:>8} {:>7.1}",
                minutes_seen.len() + 1,
                lab.sink.count(),
                lab.sink.faults(),
                seen.resident_mb,
                seen.files,
                seen.threads,
                seen.log_mb
            );
            minutes_seen.push(seen);
        }
    }
    sending.await??;
    let (first, last) = (minutes_seen[warm - 1], minutes_seen[minutes - 1]);
    // The rest is told without further faults, else it could take for ever.
    lab.sink.fail(0);
    all_told(&lab, &butler, count).await?;
    let tally = lab.sink.tally(count);
    let grown = |what: &str, of: fn(&Look) -> f64, slack: f64| {
        let (before, after) = (of(&first), of(&last));
        Row::text(format!("{what} in minute {warm} and {minutes}"), format!("{before:.1}, {after:.1}"))
            .with_target(format!("at most {:.1}", before + slack), after <= before + slack)
    };
    let mut table = Table::default();
    table.add(vec![
        Row::text("events never told", format!("{} of {count}", tally.lost)).with_target("0", tally.lost == 0),
        Row::text("events told twice", tally.doubled.to_string())
            .with_target(format!("at most {TWICE} of 1,000"), tally.doubled * 1_000 <= count * TWICE),
        Row::text("requests that failed on purpose", lab.sink.faults().to_string()),
        grown("memory, MB,", |look| look.resident_mb, first.resident_mb * 0.1 + SLACK_MB),
        grown("open files", |look| look.files, SLACK_FILES),
        grown("threads", |look| look.threads, SLACK_THREADS),
        grown("write-ahead log, MB,", |look| look.log_mb, SLACK_LOG_MB),
    ]);
    println!("\n{table}");
    println!("{}", if table.all_met() { "the soak is passed" } else { "the soak has FAILED" });
    let (status, log) = butler.stop().await;
    ensure!(status.success(), "the daemon ended with {status}:\n{log}");
    Ok(table.all_met())
}

const OPEN: &str = "butler_deliveries_open{instance=\"webhook\"}";

/// Waits until nothing is open, or nothing more is told.
async fn all_told(lab: &Lab, butler: &Butler, count: usize) -> anyhow::Result<()> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if lab.sink.count() >= count
            && counter(butler, OPEN).await? == 0.0
            && counter(butler, "butler_events_waiting").await? == 0.0
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// The store's write-ahead log.
fn log_of(butler: &Butler) -> PathBuf {
    let mut path = store_of(butler.folder()).into_os_string();
    path.push("-wal");
    path.into()
}
