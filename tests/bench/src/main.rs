//! Measures the daemon as users run it, and says whether it keeps what is promised: the release executable, real plugin
//! files, shipped settings, a store that waits for the disk, a simulated Qlik Sense in a process of its own, a webhook on
//! loopback.
//!
//! ```text
//! cargo build --release --workspace && target/release/bench                       everything, one table
//! target/release/bench burst latency                                              some of it; `--list` has the names
//! target/release/bench soak --minutes 30 --rate 50                                hours in small: does anything grow?
//! ```
//!
//! Exit code: 0 when every target is met, 1 when one is missed, 2 when a measurement could not be made.
//!
//! The sender of datagrams and the webhook are threads of this process, the simulator is another: they share the cores
//! with the daemon, and so does whatever else the machine does; how much that was is said below the table. A missed
//! target on a busy machine says nothing; one that is met does.
//!
//! * `lab`: the surroundings of a daemon; made of `sender`, `sink`, `mailbox`, `points`, `broker` and `simulator`;
//!   `arrivals` is what the last two note.
//! * `process`: what the system knows of the daemon.
//! * `measure`: the measurements, a file for each subject; `soak`: the long one.
//! * `table`: what is printed.

mod arrivals;
mod broker;
mod lab;
mod mailbox;
mod measure;
mod points;
mod process;
mod sender;
mod simulator;
mod sink;
mod soak;
mod statistics;
mod table;

use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand, ValueEnum};

use measure::Measurement;
use process::Machine;
use table::Table;

/// Measure the daemon against what it promises.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    /// What to measure; absent: everything.
    #[arg(value_enum, value_name = "NAME", hide_possible_values = true)]
    measurements: Vec<Measurement>,
    /// List the names and end.
    #[arg(long)]
    list: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Events at a steady rate to a destination that fails one time in ten: nothing may be lost, nothing may grow.
    Soak(soak::Arguments),
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        for measurement in Measurement::value_variants() {
            println!("{:<12} {}", measurement.name(), measurement.about());
        }
        return ExitCode::SUCCESS;
    }
    let result = match (&arguments.command, cfg!(target_os = "linux")) {
        (_, false) => Err(anyhow::anyhow!("the bench reads /proc: it runs on Linux only")),
        (Some(Command::Soak(soak)), true) => soak::run(soak).await,
        (None, true) => measure_all(&arguments.measurements).await,
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

/// Cores that others may use without falsifying much.
const OTHERS: f64 = 0.2;

/// True when every target is met. Rows of what was measured are printed even if a later measurement fails.
async fn measure_all(chosen: &[Measurement]) -> anyhow::Result<bool> {
    let chosen = if chosen.is_empty() { Measurement::value_variants() } else { chosen };
    let mut table = Table::default();
    let (mut failure, mut busiest) = (None, 0.0_f64);
    for measurement in chosen {
        eprint!("{} ...", measurement.name());
        let (began, before) = (Instant::now(), Machine::now()?);
        match measurement.run().await {
            Ok(rows) => table.add(rows),
            Err(error) => failure = Some(error.context(format!("`{}` could not be measured", measurement.name()))),
        }
        let others = before.others_since()?;
        eprintln!(" {:.0} s, others used {others:.1} cores", began.elapsed().as_secs_f64());
        busiest = busiest.max(others);
        if failure.is_some() {
            break;
        }
    }
    println!("{table}");
    if busiest > OTHERS {
        println!("Others on this machine used up to {busiest:.1} cores meanwhile: a missed target may be theirs.");
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(table.all_met()),
    }
}
