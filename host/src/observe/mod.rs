//! What Butler says of itself: log, metrics, health.

pub mod exposition;
mod logging;
mod tasks;

pub use logging::{init as init_logging, set_level};
pub use tasks::{TaskState, TaskStates};
