//! The service control manager of Windows.
//!
//! `install` makes the service and registers it as a source of the event log; `control` starts, stops and looks at it; `run` is
//! the process that it consists of. What needs nothing of Windows is built, and tested, on all systems.

mod account;
mod command_line;
mod exit;
mod rights;

#[cfg(windows)]
mod control;
#[cfg(windows)]
mod install;
#[cfg(windows)]
mod run;
#[cfg(windows)]
mod scm;

#[cfg(windows)]
pub use control::{start, status, stop};
#[cfg(windows)]
pub use install::{install, uninstall};
#[cfg(windows)]
pub use run::run;

/// Whether an account of this name is asked for its password.
#[cfg(windows)]
pub fn needs_password(account: &str) -> bool {
    account::Account::named(account).needs_password()
}
