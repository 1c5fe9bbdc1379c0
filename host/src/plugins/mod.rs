//! Plugins: finding and opening their files, running their instances, serving them.

mod discover;
mod flood;
mod http;
mod instance;
mod log;
mod metrics;
mod services;
mod worker;

pub use discover::{PluginError, SearchPath, check_file, file_name, hash, open_file};
pub use http::HttpClients;
pub use instance::{Condition, Instance, Statistics};
pub use metrics::{PluginMetrics, Series};
pub use services::Shared;
