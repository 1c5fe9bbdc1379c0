//! systemd: a unit that is written, and `systemctl`.

use std::path::Path;

use super::{Install, Manager};
use crate::daemon::Failure;

/// Makes the service; answers with what comes next.
pub fn install(install: &Install) -> anyhow::Result<String> {
    anyhow::bail!("the service {} cannot be installed yet", install.name)
}

/// Stops and removes the service.
pub fn uninstall(name: &str) -> anyhow::Result<String> {
    anyhow::bail!("the service {name} cannot be removed yet")
}

/// Starts the service.
pub fn start(name: &str) -> anyhow::Result<String> {
    anyhow::bail!("the service {name} cannot be started yet")
}

/// Stops the service.
pub fn stop(name: &str) -> anyhow::Result<String> {
    anyhow::bail!("the service {name} cannot be stopped yet")
}

/// How the service is; an error when it does not run.
pub fn status(name: &str) -> anyhow::Result<String> {
    anyhow::bail!("the service {name} cannot be looked at yet")
}

/// Runs the daemon as the service of this name. `daemon` loads the config and works until it is asked to stop.
pub fn run(
    _name: &str,
    _config: &Path,
    daemon: impl FnOnce(&dyn Manager) -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    daemon(&*super::manager())
}
