//! Butler as a service of the system: systemd on Linux, the service control manager on Windows, launchd on macOS.
//!
//! Each has the same few functions in a module of its own. `install`, `uninstall`, `start`, `stop` and `status` are for people
//! and answer with what is to be printed; `run` is what the service manager starts.

mod manager;

#[cfg(any(target_os = "macos", test))]
#[cfg_attr(not(target_os = "macos"), allow(dead_code, reason = "elsewhere it is compiled for its tests"))]
mod launchd;
#[cfg(target_os = "linux")]
mod notify;
#[cfg(target_os = "linux")]
mod systemd;
// The account, the command line and the words for exit codes are tested everywhere.
#[cfg(any(windows, test))]
mod windows;

use std::collections::BTreeSet;
use std::path::PathBuf;

#[cfg(target_os = "macos")]
pub use launchd::{install, run, start, status, stop, uninstall};
pub use manager::{Manager, State, Unmanaged};
#[cfg(target_os = "linux")]
pub use systemd::{install, run, start, status, stop, uninstall};
#[cfg(windows)]
pub use windows::{install, needs_password, run, start, status, stop, uninstall};

use crate::config::placeholders;
use crate::daemon::Setup;

/// The name of the service, where none is given.
pub const NAME: &str = "butler";

/// A service that is to be installed.
pub struct Install {
    /// Its name.
    pub name: String,
    /// This executable, absolute.
    pub executable: PathBuf,
    /// The config, absolute.
    pub config: PathBuf,
    /// The account that it runs as, if one is asked for.
    pub account: Option<String>,
    /// The config, checked.
    pub setup: Setup,
    /// The password of that account, if it has one.
    #[cfg(windows)]
    pub password: Option<String>,
    /// Files with secrets, which the account must be able to read.
    #[cfg(windows)]
    pub private: Vec<PathBuf>,
}

impl Install {
    /// The files that the daemon reads, beside executable and config: certificates, secrets, plugins. What plugins read by themselves
    /// is theirs.
    pub(crate) fn reads(&self) -> Vec<PathBuf> {
        let loaded = &self.setup.loaded;
        let secrets = placeholders(&loaded.raw, "file").into_iter().map(|path| loaded.base_dir.join(path));
        let plugins = self.setup.libraries.values().map(|opened| opened.path().to_owned());
        loaded.config.certificate_files().into_iter().chain(secrets).chain(plugins).collect()
    }

    /// The names of the environment variables that the config takes secrets from.
    pub(crate) fn environment(&self) -> BTreeSet<String> {
        placeholders(&self.setup.loaded.raw, "env")
    }
}

/// The manager that has started this process, if it wants to be told: for `butler run`.
pub fn manager() -> Box<dyn Manager> {
    #[cfg(target_os = "linux")]
    if let Some(notify) = notify::Notify::from_env() {
        return Box::new(notify);
    }
    Box::new(Unmanaged)
}
