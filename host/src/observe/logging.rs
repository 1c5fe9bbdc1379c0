//! Butler's log: for people, or one JSON object a line; on standard error, and in files if the config says so.
//!
//! Secrets are replaced where texts come in, from plugins and destinations: no line has one, wherever it is written.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::writer::MakeWriterExt;
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::log_file::DailyFile;
use crate::config::{Level, Log, LogFormat};
use crate::store::{now_ms, rfc3339};

/// Times in UTC with milliseconds, as in events.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
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

/// Records for the log's file alone.
const FILE_ONLY: &str = "butler::end";

type Filtered = Layered<reload::Layer<EnvFilter, Registry>, Registry>;
type Lines = Box<dyn Layer<Filtered> + Send + Sync>;

/// Installs the log of the process on standard error; standard output belongs to results and to the console plugin.
pub fn init(level: Level, format: LogFormat) {
    install(level, vec![stderr(format)]);
}

/// The same for the daemon, which may have a log in files as well.
pub fn init_daemon(log: &Log) {
    let file = log.file.as_ref().map(|file| lines(log.format, false, DailyFile::new(file)));
    install(log.level, std::iter::once(stderr(log.format)).chain(file).collect());
}

/// Writes why the process ends into the log's file. On standard error whoever ends it says so, without a time.
pub fn log_end(failure: &impl fmt::Display) {
    tracing::error!(target: FILE_ONLY, "Butler ends: {failure}");
}

fn install(level: Level, lines: Vec<Lines>) {
    let (filter, handle) = reload::Layer::new(filter(level));
    // Set once, with the log.
    let _ = FILTER.set(handle);
    // Fails when a log is installed already, as in tests: that one stays.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}

fn stderr(format: LogFormat) -> Lines {
    let writer = io::stderr.with_filter(|record| record.target() != FILE_ONLY);
    lines(format, io::stderr().is_terminal(), writer)
}

fn lines<W>(format: LogFormat, colours: bool, writer: W) -> Lines
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_timer(Utc).with_ansi(colours);
    match format {
        LogFormat::Human => layer.with_target(false).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    }
}
