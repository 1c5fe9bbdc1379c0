//! Runs a simulator until Ctrl-C.

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use clap::{Parser, ValueEnum};
use jiff::SignedDuration;
use qlik_simulator::{Control, ExecutionIds, Fault, Options, QlikSimulator, ScriptLogs, Site};

/// Simulates the repository service and the engine of Qlik Sense on 127.0.0.1.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Port of the simulated repository service; 0 lets the system choose.
    #[arg(long, default_value_t = 0)]
    port: u16,

    /// Port of the simulated engine; 0 lets the system choose.
    #[arg(long, default_value_t = 0)]
    engine_port: u16,

    /// Port for counts and for running tasks, plain HTTP; 0 lets the system choose.
    #[arg(long, default_value_t = 0)]
    control_port: u16,

    /// Folder for client.pem, client_key.pem and root.pem.
    #[arg(long, value_name = "DIR")]
    certs_dir: PathBuf,

    /// Number of reload tasks in addition to the sample site.
    #[arg(long, value_name = "N", default_value_t = 0)]
    tasks: usize,

    /// Answers that cost little, and any identifier exists.
    #[arg(long)]
    cheap: bool,

    /// Delay of all answers, such as 50ms or 2s.
    #[arg(long, value_parser = duration)]
    latency: Option<Duration>,

    /// Which calls for script logs work.
    #[arg(long, value_enum, default_value_t)]
    script_logs: ScriptLogCalls,

    /// How long a script log cannot be downloaded after its reference was handed out, such as 300ms.
    #[arg(long, value_parser = duration)]
    download_delay: Option<Duration>,

    /// Execution results carry another execution identifier than runs were given.
    #[arg(long)]
    different_execution_ids: bool,

    /// The server certificate has no subject alternative name, as on old servers.
    #[arg(long)]
    no_subject_alt_name: bool,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum ScriptLogCalls {
    #[default]
    Both,
    Old,
    May2025,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration: SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    duration.try_into().map_err(|_| "must not be negative".to_owned())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let site = Site::with_tasks(arguments.tasks);
    site.set_script_logs(match arguments.script_logs {
        ScriptLogCalls::Both => ScriptLogs::Both,
        ScriptLogCalls::Old => ScriptLogs::Old,
        ScriptLogCalls::May2025 => ScriptLogs::May2025,
    });
    site.set_download_delay(arguments.download_delay.unwrap_or_default());
    if arguments.different_execution_ids {
        site.set_execution_ids(ExecutionIds::Different);
    }
    let mut options = Options::default().port(arguments.port).engine_port(arguments.engine_port).site(site);
    if arguments.cheap {
        options = options.cheap();
    }
    if arguments.no_subject_alt_name {
        options = options.without_subject_alt_name();
    }
    let simulator = QlikSimulator::start(options).await?;
    if let Some(latency) = arguments.latency {
        simulator.faults().add(Fault::latency(latency));
    }
    simulator
        .certificates()
        .write_to(&arguments.certs_dir)
        .with_context(|| format!("cannot write certificates to {}", arguments.certs_dir.display()))?;
    let control = Control::start(&simulator, arguments.control_port)
        .await
        .with_context(|| format!("cannot open the control port {}", arguments.control_port))?;
    let engine = simulator.engine_addr();
    println!("{} control http://{}/simulator/ engine wss://{engine}/", simulator.base_url(), control.addr());
    tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")?;
    simulator.stop().await;
    Ok(())
}
