//! Butler under a service manager: what systemd is told, what the journal gets, and how the service is made.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod install;
mod journal;
mod notify;
mod watchdog;
