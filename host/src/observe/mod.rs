//! What Butler says of itself: log, metrics, health.

pub mod exposition;
mod logging;
mod process;
mod roads;
mod tasks;

pub use logging::{init as init_logging, set_level};
pub use process::{ProcessUsage, process_usage};
pub use roads::{Heard, Road, Roads};
pub use tasks::{TaskState, TaskStates};
