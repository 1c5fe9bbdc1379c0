//! Butler as a service of the system: systemd on Linux, the service control manager on Windows, launchd on macOS.
//!
//! Each has the same few functions in a module of its own. `install`, `uninstall`, `start`, `stop` and `status` are for people
//! and answer with what is to be printed; `run` is what the service manager starts.

mod manager;

#[cfg(target_os = "macos")]
#[path = "launchd.rs"]
mod platform;
#[cfg(target_os = "linux")]
#[path = "systemd/mod.rs"]
mod platform;
#[cfg(windows)]
#[path = "windows/mod.rs"]
mod platform;
#[cfg(all(test, not(windows)))]
mod windows;

#[cfg(unix)]
mod notify;

use std::path::PathBuf;

pub use manager::{Manager, State, Unmanaged};
#[cfg(windows)]
pub use platform::needs_password;
pub use platform::{install, run, start, status, stop, uninstall};

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

/// The manager that has started this process, if it wants to be told: for `butler run`.
pub fn manager() -> Box<dyn Manager> {
    #[cfg(unix)]
    if let Some(notify) = notify::Notify::from_env() {
        return Box::new(notify);
    }
    Box::new(Unmanaged)
}
