//! Butler's log: for people, or one JSON object a line; on standard error, in the form of the journal where that reads it, and in
//! files if the config says so.
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

use super::journal::{self, Journal};
use super::log_file::DailyFile;
use super::log_writer::LogWriter;
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

/// What writes the log's file, if there is one.
static FILE: OnceLock<LogWriter> = OnceLock::new();

/// Installs the log of the process on standard error; standard output belongs to results and to the console plugin.
pub fn init(level: Level, format: LogFormat) {
    install(level, vec![stderr(format)]);
}

/// The same for the daemon, which may have a log in files as well, and whose panics are in it.
pub fn init_daemon(log: &Log) {
    let mut layers = vec![stderr(log.format)];
    let mut fault = None;
    match log.file.as_ref().map(|file| LogWriter::start(DailyFile::new(file))) {
        Some(Ok(writer)) => {
            layers.push(lines(log.format, false, writer.clone()));
            // Set once, with the log.
            let _ = FILE.set(writer);
        }
        Some(Err(error)) => fault = Some(error),
        None => {}
    }
    #[cfg(windows)]
    layers.extend(super::event_log::EventLog::of_process().cloned().map(events));
    if install(log.level, layers) {
        log_panics();
    }
    if let Some(error) = fault {
        tracing::warn!("there is no log file: the system gives Butler no thread for it: {error}");
    }
}

/// Writes why the process ends into the log's file. On standard error whoever ends it says so, without a time.
pub fn log_end(failure: &impl fmt::Display) {
    tracing::error!(target: FILE_ONLY, "Butler ends: {failure}");
}

/// Has the last lines written into the log's file before the process ends; waits for a second or two at most.
pub fn flush_log() {
    if let Some(file) = FILE.get() {
        file.flush();
    }
    #[cfg(windows)]
    if let Some(log) = super::event_log::EventLog::of_process() {
        log.flush();
    }
}

/// Whether there is a log yet.
#[cfg(windows)]
pub fn is_installed() -> bool {
    FILTER.get().is_some()
}

/// Has panics of the host in the log: as a service it has no standard error.
fn log_panics() {
    let former = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("without a name");
        let text = info.payload_as_str().unwrap_or("a value that is no text");
        let place = info.location().map(|at| format!(" at {}:{}", at.file(), at.line())).unwrap_or_default();
        tracing::error!("the thread `{name}` panicked{place}: {text}; please report this");
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0") {
            former(info);
        }
        // The end of this one is the end of the process.
        if name == "main" {
            flush_log();
        }
    }));
}

/// Whether there was none before.
fn install(level: Level, lines: Vec<Lines>) -> bool {
    let (filter, handle) = reload::Layer::new(filter(level));
    // Set once, with the log.
    let _ = FILTER.set(handle);
    // Fails when a log is installed already, as in tests: that one stays.
    tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok()
}

fn stderr(format: LogFormat) -> Lines {
    if journal::reads_stderr() {
        let writer = Journal.with_filter(|record| record.target() != FILE_ONLY);
        let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
        return match format {
            LogFormat::Human => layer.without_time().with_target(false).boxed(),
            LogFormat::Json => layer.with_timer(Utc).json().flatten_event(true).boxed(),
        };
    }
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

/// What is for the event log: its events have times and levels of their own.
#[cfg(any(windows, test))]
pub(super) fn events<S>(log: super::event_log::EventLog) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(log).with_ansi(false);
    layer.without_time().with_level(false).with_target(false).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LogFile, Size};

    #[test]
    fn panics_are_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = LogFile { path: folder.path().join("butler.log"), keep: 3, max_size: Size::megabytes(1) };
        init_daemon(&Log { file: Some(file), ..Log::default() });
        let thread = std::thread::Builder::new().name("unlucky".to_owned());
        assert!(thread.spawn(|| panic!("no {}", "luck")).unwrap().join().is_err());
        flush_log();
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        let text = std::fs::read_to_string(names.first().expect("a file of the log")).unwrap();
        assert!(text.contains("ERROR the thread `unlucky` panicked at ") && text.contains(": no luck"), "{text}");
    }
}
