//! What Butler says of itself: log, metrics, health.

pub mod exposition;
mod log_file;
mod logging;
mod process;
mod roads;
mod tasks;

pub use log_file::log_file_fault;
pub use logging::{init as init_logging, init_daemon as init_daemon_logging, log_end, set_level};
pub use process::{ProcessUsage, process_usage};
pub use roads::{Heard, Road, Roads};
pub use tasks::{TaskState, TaskStates};
