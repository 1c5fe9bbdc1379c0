//! The daemon: the only place that knows all parts, wires them, starts and stops them.
//!
//! Start: config and plugins validated (`setup`); store locked, sockets bound, store opened (`parts`); instances started side by
//! side (`member`, `running`). All of it or nothing: what can refuse a start comes before anything in the store is changed. Stop:
//! the same backwards.

mod alone;
mod certificates;
mod managed;
mod member;
mod parts;
mod reload;
mod running;
mod setup;
mod signals;
mod told;
mod upkeep;

use std::fmt;

use butler_plugin_api::abi::host::exit_without_destructors;
use serde_json::Value;
use tokio::time::Instant;

pub use alone::{Alone, Routed};
pub use parts::{instance_document, lookups, shared};
pub use setup::{Setup, load, take};

use crate::config::Report;
use crate::observe;
use crate::service::{Manager, State};
use managed::Managed;
use parts::Parts;
use running::{Happening, Running};
use signals::{Signal, Signals};

/// Why the daemon ended.
pub enum Failure {
    /// The config cannot work: exit code 2.
    Config(String),
    /// Something else: exit code 1.
    Other(anyhow::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(text) => f.write_str(text),
            Self::Other(error) => write!(f, "{error:#}"),
        }
    }
}

impl Failure {
    /// Exit code of the process.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Config(_) => 2,
            Self::Other(_) => 1,
        }
    }
}

impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        Self::Config(report.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

/// Runs until a signal or the service manager asks for a stop, or until an instance refuses its settings. The log is installed.
#[allow(clippy::similar_names, reason = "who manages, and the daemon as that one sees it")]
pub async fn run(setup: Setup, manager: &dyn Manager) -> Result<(), Failure> {
    let (mut signals, began) = (Signals::listen(manager), Instant::now());
    for warning in &setup.loaded.warnings {
        tracing::warn!("{warning}");
    }
    // On the heap: it is large.
    let making = Box::pin(unless_stopped(Parts::make(setup), &mut signals));
    let (parts, mut heard) = match managed::starting(manager, making).await {
        (Some(parts), heard) => (parts?, heard),
        (None, _) => return Ok(()),
    };
    let mut managed = Managed::new(manager, &parts.core);
    let mut running = Running::start(parts);
    running.announce(began);
    let result = loop {
        let signal = heard.take();
        tokio::select! {
            biased;
            signal = async { match signal { Some(signal) => signal, None => signals.received().await } } => match signal {
                Signal::Stop(name) => {
                    tracing::info!(signal = name, "stopping");
                    break Ok(());
                }
                // What became of it is in the log.
                Signal::Reload => heard = reload(&mut running, &mut signals, &mut managed).await.1,
            },
            () = managed.next() => {}
            happening = running.happens() => match happening {
                Happening::ReloadAsked(asked) => {
                    let (answer, signal) = reload(&mut running, &mut signals, &mut managed).await;
                    heard = signal;
                    // Who asked may be gone.
                    let _ = asked.send(answer);
                }
                Happening::Refused { instance, message } => {
                    break Err(Failure::Config(format!("the instance `{instance}` refuses its settings: {message}")));
                }
            },
        }
    };
    let clean = managed.stopping(running.stop(result.is_ok())).await;
    tracing::info!("stopped");
    if !clean {
        // A thread of a plugin hangs: the usual end of a process would wait for it.
        if let Err(failure) = &result {
            observe::log_end(failure);
            observe::say(failure);
        }
        observe::flush_log();
        let code = result.err().map_or(0, |failure| failure.exit_code());
        manager.tell(State::Ended(code));
        exit_without_destructors(code);
    }
    result
}

/// What is made at the start, unless a stop is asked for: bringing a large store to a new version takes a while, and what is cut off
/// there is undone. With a signal that was heard meanwhile.
async fn unless_stopped<T>(making: impl Future<Output = T>, signals: &mut Signals<'_>) -> (Option<T>, Option<Signal>) {
    let mut making = std::pin::pin!(making);
    let mut heard = None;
    loop {
        tokio::select! {
            made = &mut making => return (Some(made), heard),
            signal = signals.received() => match signal {
                Signal::Stop(name) => {
                    tracing::info!(signal = name, "stopped before the start was over");
                    return (None, None);
                }
                Signal::Reload => heard = Some(Signal::Reload),
            },
        }
    }
}

/// Reloads; with a signal that was heard meanwhile. A stop does not wait for calls that a reload waits for.
async fn reload(
    running: &mut Running,
    signals: &mut Signals<'_>,
    managed: &mut Managed<'_>,
) -> (Result<Value, String>, Option<Signal>) {
    managed.reloading();
    let hurry = running.hurry.clone();
    let mut reload = std::pin::pin!(running.reload_and_tell());
    let mut heard = None;
    loop {
        tokio::select! {
            done = &mut reload => {
                managed.reloaded();
                return (done, heard);
            }
            signal = signals.received(), if !matches!(heard, Some(Signal::Stop(_))) => {
                if matches!(signal, Signal::Stop(_)) {
                    hurry.send_replace(true);
                }
                heard = Some(signal);
            }
            () = managed.next() => {}
        }
    }
}
