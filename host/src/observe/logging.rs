//! Butler's log: for people on a terminal, or one JSON object a line.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::{Level, LogFormat};
use crate::store::{now_ms, rfc3339};

/// Times in UTC with milliseconds, as in events.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, w: &mut Writer<'_>) -> std::fmt::Result {
        w.write_str(&rfc3339(now_ms()))
    }
}

/// The filter of the process's log.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Crates below Butler are heard from `warn` on, unless the level is `debug` or more.
fn filter(level: Level) -> EnvFilter {
    let name = match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    let others = if level >= Level::Debug { "info" } else { "warn" };
    EnvFilter::new(format!("{others},butler={name},plugin={name}"))
}

/// Changes the level of the process's log.
pub fn set_level(level: Level) {
    if let Some(handle) = FILTER.get() {
        // Fails when the log is gone, at the end of the process.
        let _ = handle.reload(filter(level));
    }
}

/// Installs the log of the process on standard error; standard output belongs to results and to the console plugin.
pub fn init(level: Level, format: LogFormat) {
    let (filter, handle) = reload::Layer::new(filter(level));
    // Set once, with the log.
    let _ = FILTER.set(handle);
    let registry = tracing_subscriber::registry().with(filter);
    // Fails when a log is installed already, as in tests: that one stays.
    let _ = match format {
        LogFormat::Human => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .with_writer(std::io::stderr)
                    .with_ansi(std::io::stderr().is_terminal())
                    .with_timer(Utc)
                    .with_target(false),
            )
            .try_init(),
        LogFormat::Json => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_writer(std::io::stderr)
                    .with_timer(Utc),
            )
            .try_init(),
    };
}
