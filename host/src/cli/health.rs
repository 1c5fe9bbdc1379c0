//! `butler health`: whether the daemon that runs here can do its work, as an exit code. For health checks of containers and for
//! scripts; `butler doctor` says more.

use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use clap::Args;

use super::client::{Daemon, Presence, Ready};
use super::doctor::told;
use crate::config::{Document, Span};
use crate::daemon::Failure;

/// Which daemon is asked, and how long.
#[derive(Debug, Args)]
pub(super) struct Health {
    /// Config file that the daemon runs with.
    #[arg(short, long, value_name = "FILE", env = "BUTLER_CONFIG", required_unless_present = "store")]
    config: Option<PathBuf>,
    /// Store file of the daemon, instead of the config that names it.
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// Longest time that the daemon may take to answer.
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    timeout: Span,
}

impl Health {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let store = match (&self.store, &self.config) {
            (Some(store), _) => store.clone(),
            (None, Some(config)) => Document::read(config)?.store_path(),
            (None, None) => return Err(Failure::Config("name the config (`-c`) or the store (`--store`)".to_owned())),
        };
        let timeout = self.timeout;
        match tokio::time::timeout(timeout.duration(), ready(&store)).await {
            Ok(result) => {
                println!("{}", result?);
                Ok(())
            }
            Err(_) => Err(Failure::Other(anyhow!("the daemon does not answer within {timeout}: see its log"))),
        }
    }
}

/// What is said of a daemon that is ready. The error is why there is none.
async fn ready(store: &Path) -> anyhow::Result<String> {
    let daemon = Daemon::find_beside(store)?;
    let run = daemon.run();
    let ready = daemon.ready(None).await.map_err(|error| {
        // Its run file goes at the end of a stop, and its address at the begin.
        let ended = matches!(Presence::without(&error), Presence::Stopped);
        let remedy = if ended { "it has ended without a stop, or is stopping: start it again" } else { "see its log" };
        error.context(format!("process {}: {remedy}", run.pid))
    })?;
    let answer = match ready {
        Ready::Said(answer) => answer,
        Ready::Not(what) => bail!("process {} does not say how it is: {what}", run.pid),
    };
    // Its address may be another's by now, and readiness is told to everybody.
    if answer["process"] != run.pid {
        bail!(
            "what answers at {} is not process {}, which has ended without a stop: start it again",
            run.rest,
            run.pid
        );
    }
    if answer["status"] == "ready" {
        return Ok(format!("ready: version {}, process {}, {}", run.version, run.pid, run.rest));
    }
    let reasons: Vec<String> = answer["reasons"].as_array().into_iter().flatten().map(told).collect();
    bail!("not ready: {}; see the log of process {}", reasons.join("; "), run.pid)
}
