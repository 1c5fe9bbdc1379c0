//! `butler doctor`: the whole chain, link by link.
//!
//! What `butler check` looks at comes first, some of it from here: `exposure`, `profiles`, `clock`, `rights`, `names`. Then
//! this machine (`files`, `disk`), the running daemon, who may send to it (`senders`), what it has heard (`appenders`) or
//! dropped (`drops`), and by option a wait for a message of a log appender and a sample that is followed through the daemon
//! to every instance (`end_to_end`).

mod appenders;
pub(super) mod clock;
mod disk;
mod drops;
mod end_to_end;
pub(super) mod exposure;
pub(super) mod files;
pub(super) mod names;
pub(super) mod profiles;
pub(super) mod rights;
mod senders;
mod settings;

use serde_json::Value;

use super::client::{ANSWER, Daemon, Presence, Ready};
use super::findings::{Findings, Form};
use super::{ConfigFile, check};
use crate::config::{Level, Secrets, Span};
use crate::daemon::{self, Failure};
use crate::observe;

/// The link of the running daemon.
const DAEMON: &str = "daemon";

#[derive(Debug, clap::Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    file: ConfigFile,
    /// Print one JSON object at the end: `verdict` (the worst: ok, note or failed) and `findings`, a list of objects with
    /// `link`, `verdict`, `detail` and, where the detail does not say it, `remedy`.
    #[arg(long)]
    json: bool,
    /// Wait so long for a message of a log appender, such as 60s: by the running daemon, or at its port while it does not run.
    /// Meanwhile let a task of Qlik Sense fail or succeed.
    #[arg(long, value_name = "DURATION")]
    wait_for_appender: Option<Span>,
    /// Send a failed task that does not exist, marked as a test, by UDP to the running daemon, and follow it to every instance.
    /// It is delivered to the real destinations.
    #[arg(long)]
    end_to_end: bool,
}

impl Doctor {
    pub(super) async fn run(self, log_level: Option<Level>) -> Result<(), Failure> {
        let path = &self.file.config;
        let form = if self.json { Form::Json } else { Form::Lines };
        let setup = match daemon::load(path, log_level) {
            Ok(setup) => setup,
            Err(report) => {
                if self.json {
                    let mut findings = Findings::new(form, Secrets::default());
                    findings.failed("config", &report.to_string(), "");
                    // Said by the exit code of a config that cannot be read.
                    let _ = findings.finish();
                }
                return Err(report.into());
            }
        };
        observe::init_logging(log_level.unwrap_or(Level::Warn), setup.loaded.config.log.format);
        let mut findings = Findings::new(form, setup.loaded.secrets.clone());
        check::look(path, &setup, &mut findings).await;
        files::check(&setup, &mut findings);
        disk::check(&setup.loaded.config.store, &mut findings).await;
        if let Some(log) = &setup.loaded.config.log.file {
            disk::check_log(log, &mut findings);
        }
        let presence = presence(Daemon::find_by(path), self.end_to_end, &mut findings).await;
        let udp = setup.loaded.config.udp.as_ref();
        if let Some(udp) = udp {
            senders::check(udp, &mut findings).await;
            appenders::check(&presence, &mut findings).await;
            if let Some(span) = self.wait_for_appender {
                appenders::wait(&presence, udp, span, &mut findings).await;
            }
        } else if self.wait_for_appender.is_some() {
            findings.failed(
                appenders::LINK,
                "the config has no `udp:`, so no message can come",
                "add `udp:` to the config",
            );
        }
        if let (true, Presence::Runs(daemon)) = (self.end_to_end, &presence) {
            end_to_end::run(daemon, &setup, &mut findings).await;
        }
        findings.finish()
    }
}

/// The running daemon, if it answers, and what it says of itself. `needed`: that it does not run is a fault.
async fn presence(found: anyhow::Result<Daemon>, needed: bool, findings: &mut Findings) -> Presence {
    let daemon = match found {
        Ok(daemon) => daemon,
        Err(error) => {
            let detail = format!("{error:#}");
            if needed {
                let remedy = "`--end-to-end` sends a sample through the running daemon: start it with this config (`butler run`)";
                findings.failed(DAEMON, &detail, remedy);
            } else {
                findings.note(DAEMON, &detail, "");
            }
            return Presence::without(&error);
        }
    };
    let ready = match daemon.ready(Some(ANSWER)).await {
        Ok(Ready::Said(ready)) => ready,
        Ok(Ready::Not(what)) => {
            findings.note(
                DAEMON,
                &format!("does not say how it is: {what}"),
                "if that is not meant to be, see its log",
            );
            return Presence::Runs(daemon);
        }
        // There is a run file, which goes at the end of a stop.
        Err(error) => {
            let (pid, presence) = (daemon.run().pid, Presence::without(&error));
            let what = if matches!(presence, Presence::Stopped) {
                format!("has ended without a stop, or is stopping (process {pid})")
            } else {
                format!("hangs as process {pid}")
            };
            findings.failed(DAEMON, &format!("{what}: {error:#}"), "see its log, and start it again");
            return presence;
        }
    };
    let run = daemon.run();
    let own = env!("CARGO_PKG_VERSION");
    if run.version != own {
        let detail = format!("version {} runs, this is {own}", run.version);
        findings.note(DAEMON, &detail, "start the daemon again, or use its own executable");
    }
    for reason in ready["reasons"].as_array().into_iter().flatten() {
        findings.failed(DAEMON, &format!("is not ready: {}", told(reason)), "see its log");
    }
    for note in ready["notes"].as_array().into_iter().flatten() {
        match (note["instance"].as_str(), note["state"].as_str()) {
            (Some(instance), Some(state @ ("failed" | "stuck"))) => {
                let message = note["message"].as_str().unwrap_or_default();
                let remedy = if state == "failed" {
                    "see the daemon's log, mend the cause, then `butler reload`"
                } else {
                    "its plugin hangs: see the daemon's log, and start the daemon again"
                };
                let detail = format!("is {state} in the running daemon: {message}");
                findings.failed(&format!("instance {instance}"), &detail, remedy);
            }
            _ => findings.note(DAEMON, &told(note), "if the links above do not say what to do, the daemon's log does"),
        }
    }
    if ready["status"] == "ready" {
        findings.ok(DAEMON, &format!("runs as process {}, {}", run.pid, run.rest));
    }
    Presence::Runs(daemon)
}

/// A note of the daemon's readiness in words.
pub(super) fn told(note: &Value) -> String {
    let text = |name: &str| note[name].as_str().unwrap_or_default();
    let subject = if text("instance").is_empty() { text("subject") } else { text("instance") };
    format!("{subject}: {}", text("message"))
}
