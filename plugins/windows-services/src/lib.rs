//! Watches services: of Windows on any number of hosts, and those of systemd on this one.
//!
//! * `backend`: what all ways to ask have in common; `sc`, `rpc` and `systemd` are ways, `asks` chooses one, `program` runs programs.
//! * `watch`: the looks. `kept` decides what is to be told, `record` keeps that over restarts, `told` makes the events.

mod asks;
mod backend;
mod import;
mod kept;
mod program;
mod record;
mod rpc;
mod sc;
mod settings;
mod systemd;
#[cfg(test)]
mod tests;
mod told;
mod watch;

use std::time::Duration;

use butler_plugin_api::{Health, Host, Manifest, OperationError, Plugin, ServiceError, StartError};
use serde_json::{Value, json};

use asks::Asks;
use backend::Limits;
use settings::{Plan, Settings};
use watch::{Troubles, Watch, survey};

/// How long `check` may take: the host waits for a minute.
const CHECK: Duration = Duration::from_secs(50);
/// Between tries to read what was kept.
const AGAIN: Duration = Duration::from_secs(2);

struct WindowsServices {
    host: Host,
    plan: Plan,
    asks: Asks,
    troubles: Troubles,
}

impl Plugin for WindowsServices {
    type Settings = Settings;

    const RUNTIME: bool = true;

    fn manifest() -> Manifest {
        Manifest::new("windows-services", "Watches services of Windows, and those of systemd")
            .emits(told::KINDS)
            .operation("check")
            .operation("import")
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        let (plan, backend) = settings.check(&machine()).map_err(StartError::Config)?;
        host.schedule().check(&plan.when).await.map_err(|error| match error {
            ServiceError::Invalid(_) => StartError::Config(format!("`when`: {error}")),
            error => StartError::Unavailable(error.to_string()),
        })?;
        let limits = Limits::new(plan.call, plan.processes);
        let config_dir = &host.instance().config_dir;
        let asks = Asks::new(&backend, &plan.hosts, limits, config_dir).map_err(StartError::Config)?;
        Ok(Self { host, plan, asks, troubles: Troubles::default() })
    }

    async fn run(&self) {
        let (host, plan, backend, troubles) = (&self.host, &self.plan, &self.asks, &self.troubles);
        let watch = Watch { host, plan, backend, troubles };
        let mut told = false;
        let mut hosts = loop {
            match watch.load().await {
                Ok(hosts) => break hosts,
                Err(ServiceError::Stopped) => return,
                // Without it all that is stopped would be told anew.
                Err(error) if !std::mem::replace(&mut told, true) => {
                    tracing::warn!("what was kept of the services cannot be read, no look before it can: {error}");
                }
                Err(_) => {}
            }
            self.host.sleep(AGAIN).await;
        };
        // The next wait begins when all hosts are done, so looks never overlap.
        while let Ok(tick) = self.host.schedule().next("look", &self.plan.when).await {
            tracing::debug!(planned = tick.planned, "looks");
            watch.round(&mut hosts).await;
        }
    }

    async fn invoke(&self, operation: &str, _: Value) -> Result<Value, OperationError> {
        if operation != "check" {
            return Err(OperationError::Unsupported(operation.to_owned()));
        }
        match survey(&self.plan, &self.asks, CHECK).await {
            (true, text) => Ok(json!(text)),
            (false, text) => Err(OperationError::Failed(text)),
        }
    }

    fn import(old: Value) -> Result<Value, OperationError> {
        import::import(old)
    }

    async fn health(&self) -> Health {
        self.troubles.health(self.plan.hosts.len())
    }
}

/// The name of this machine.
fn machine() -> String {
    let name = std::env::var("COMPUTERNAME").or_else(|_| std::fs::read_to_string("/proc/sys/kernel/hostname"));
    let name = name.unwrap_or_default().trim().to_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

butler_plugin_api::export!(WindowsServices);
