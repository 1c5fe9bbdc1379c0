//! What Butler says of itself: log, metrics, health.

#[cfg(any(windows, test))]
pub mod event_log;
pub mod exposition;
mod journal;
mod log_file;
mod log_writer;
mod logging;
mod process;
mod roads;
mod tasks;

pub use journal::say;
pub use log_file::{log_file_writable, todays_log_file};
#[cfg(windows)]
pub use logging::is_installed as log_is_installed;
pub use logging::{flush_log, init as init_logging, init_daemon as init_daemon_logging, log_end, set_level};
pub use process::{ProcessUsage, process_usage};
pub use roads::{Heard, Road, Roads};
pub use tasks::{TaskState, TaskStates};
