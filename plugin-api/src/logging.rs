//! Forwards log records of the plugin (`tracing` and `log`) to the host.
//!
//! The globals of both crates exist once per library, so without this a plugin's records would vanish. Records carry the
//! instance whose code runs; those of a plugin's own threads go to the instance that was made first, unless they say
//! whose they are.

use std::fmt::{Debug, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata, Subscriber};

use crate::abi::WireLogRecord;
use crate::abi::plugin::current_host;
use crate::host::Host;

static FIRST: OnceLock<Host> = OnceLock::new();
static MAX_LEVEL: AtomicU8 = AtomicU8::new(0);

/// Installs the forwarders, once per library. The most detailed level of all instances counts; the host sorts out the rest.
pub(crate) fn install(host: &Host) {
    MAX_LEVEL.fetch_max(host.instance.log_level.clamp(1, 5), Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
    if FIRST.set(host.clone()).is_ok() {
        // A failure means that the author installed a subscriber of the own: that is the author's wish.
        let _ = tracing::subscriber::set_global_default(Forward { spans: AtomicU64::new(1) });
        if log::set_logger(&ForwardLog).is_ok() {
            log::set_max_level(log::LevelFilter::Trace);
        }
    }
}

/// Logs an error from outside any scope; false when there is no host yet.
pub(crate) fn error(message: &str) -> bool {
    forward(1, "butler_plugin_api", message.to_owned(), &Map::new())
}

fn forward(level: u8, target: &str, message: String, fields: &Map<String, Value>) -> bool {
    let current = current_host();
    let Some(host) = current.as_ref().or_else(|| FIRST.get()) else { return false };
    let fields = if fields.is_empty() { String::new() } else { serde_json::to_string(fields).unwrap_or_default() };
    host.handle.log(WireLogRecord { level, target: target.to_owned(), message, fields });
    true
}

fn level_number(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

/// Records of `tracing`. Spans are counted but not kept: an instance's records are told apart by the instance.
struct Forward {
    spans: AtomicU64,
}

impl Subscriber for Forward {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        level_number(*metadata.level()) <= MAX_LEVEL.load(Ordering::Relaxed)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed).max(1))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut visitor = Fields::default();
        event.record(&mut visitor);
        forward(level_number(*event.metadata().level()), event.metadata().target(), visitor.message, &visitor.fields);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Collects the fields of a record; `message` apart.
#[derive(Default)]
struct Fields {
    message: String,
    fields: Map<String, Value>,
}

impl Fields {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        self.fields.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            self.set(field, format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            self.set(field, value);
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }
}

/// Records of `log`.
struct ForwardLog;

impl log::Log for ForwardLog {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() as usize <= usize::from(MAX_LEVEL.load(Ordering::Relaxed))
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = u8::try_from(record.level() as usize).unwrap_or(5);
            forward(level, record.target(), record.args().to_string(), &Map::new());
        }
    }

    fn flush(&self) {}
}
