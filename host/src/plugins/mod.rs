//! Plugins: finding and opening their files, running their instances, serving them.

mod answers;
mod chain;
mod discover;
mod flood;
mod instance;
mod log;
mod metrics;
mod services;
mod trust;
mod worker;

pub use chain::{CHAIN_DEPTH, MAX_DEPTH, depth};
pub use discover::{PluginError, SearchPath, file_name, open_file};
pub use instance::{Condition, Instance, Statistics};
pub use metrics::{Owner, PluginMetrics, Series};
pub use services::Shared;
pub use trust::{check_file, hash};
