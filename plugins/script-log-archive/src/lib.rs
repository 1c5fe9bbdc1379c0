//! Stores the whole script logs of failed reloads as files below one folder.
//!
//! [`place`] makes the path of a file, of [`names`] that lead nowhere else; [`folder`] puts it on disk, whole or not at all;
//! [`index`] knows what was stored, and [`upkeep`] removes the oldest of that. All work with files is done on the thread of
//! [`worker`]. A delivery has succeeded when its file is on disk.

mod folder;
mod import;
mod index;
mod names;
mod place;
mod settings;
mod upkeep;
mod worker;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use butler_plugin_api::message::Trouble as TemplateTrouble;
use butler_plugin_api::{
    Delivery, DeliveryError, Event, Health, Host, Manifest, OperationError, Plugin, ScriptLog, ServiceError,
    StartError, kind,
};
use serde_json::{Value, json};

use folder::{Folder, Log, Stored, Trouble};
use settings::{Archive, Settings};
use upkeep::Clock;
use worker::Worker;

/// How often the limits are looked at: when something was stored, and otherwise.
const AFTER_STORED: Duration = Duration::from_mins(1);
const OTHERWISE: Duration = Duration::from_hours(1);
/// So long after the start nothing is removed for its age: a machine may come up with a wrong clock, which is no jump.
const SETTLING: Duration = Duration::from_hours(1);
/// So many lines are shown of a log.
const SHOWN_LINES: usize = 10;

struct ScriptLogArchive {
    archive: Archive,
    folder: Folder,
    worker: Worker,
    host: Host,
    /// Something was stored since the limits were looked at.
    has_grown: AtomicBool,
    clock: Arc<Mutex<Clock>>,
    /// What is wrong with the disk.
    disk: Mutex<Option<String>>,
    template: TemplateTrouble,
}

impl Plugin for ScriptLogArchive {
    type Settings = Settings;

    fn manifest() -> Manifest {
        Manifest::new("script-log-archive", "Stores the script logs of failed reloads in files")
            .default_events(&[kind::RELOAD_TASK_FAILED, kind::CLOUD_APP_RELOAD_FAILED, kind::APP_RELOAD_FAILED])
            // Each brings a whole log into memory.
            .concurrency(2)
            .script_log()
            .operation("check")
            .operation("render")
            .operation("import")
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        let archive = settings.check(&host.instance().config_dir).map_err(StartError::Config)?;
        let folder = Folder::new(archive.folder.clone(), &host.instance().name);
        let worker = Worker::start(&host)
            .map_err(|error| StartError::Unavailable(format!("no thread for files can be started: {error}")))?;
        let prepared = folder.clone();
        let prepared = worker.run(move || prepared.prepare()).await.map_err(StartError::Unavailable)?;
        prepared.map_err(|trouble| match trouble {
            Trouble::NoFolder(text) => StartError::Config(text),
            Trouble::Other(text) => StartError::Unavailable(text),
        })?;
        let clock = Clock::new(SystemTime::now(), Instant::now());
        Ok(Self {
            archive,
            folder,
            worker,
            host,
            has_grown: AtomicBool::new(false),
            clock: Arc::new(Mutex::new(clock)),
            disk: Mutex::default(),
            template: TemplateTrouble::new("files with the usual names"),
        })
    }

    /// Only the daemon cleans up: other processes that start the instance must not take its files away.
    async fn run(&self) {
        let folder = self.folder.clone();
        match self.worker.run(move || folder.sweep()).await {
            Ok(Ok(0)) => {}
            Ok(Ok(left)) => tracing::info!("unfinished files of a former run removed: {left}"),
            Ok(Err(trouble)) => tracing::warn!("unfinished files may be left: {trouble}"),
            Err(why) => tracing::warn!("unfinished files may be left: {why}"),
        }
        if self.archive.limits.are_none() {
            return;
        }
        let mut since_start = Duration::ZERO;
        loop {
            self.tidy(since_start >= SETTLING).await;
            let mut waited = Duration::ZERO;
            while waited < OTHERWISE && !(self.has_grown.load(Ordering::Relaxed) && waited >= AFTER_STORED) {
                self.host.sleep(AFTER_STORED).await;
                waited += AFTER_STORED;
            }
            since_start = since_start.saturating_add(waited);
        }
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        let event = &delivery.event;
        let Some(log) = &event.data.script_log else {
            if event.data.missing.iter().any(|missing| missing == "scriptLog") {
                return Err(DeliveryError::reject(
                    "the script log could not be fetched when the reload failed, so the archive lacks it",
                ));
            }
            tracing::debug!(event.id = %event.id, "the event has no script log, so there is nothing to store");
            return Ok(());
        };
        let text = self.whole(event, log).await?;
        if text.is_empty() {
            tracing::warn!(event.id = %event.id, "the script log is empty, so there is nothing to store");
            return Ok(());
        }
        if log.truncated {
            tracing::warn!(event.id = %event.id, "the script log is stored without its middle: see `scriptLog.maxSize`");
        }
        let place = self.archive.place(delivery, self.host.instance());
        self.template.note(place.trouble);
        let name = if log.reference.is_empty() { &event.id } else { &log.reference };
        let log = Log { path: place.path, name: name.clone(), text };
        let folder = self.folder.clone();
        let stored = self.worker.run(move || folder.store(&log)).await;
        let stored = stored.and_then(|stored| stored.map_err(|trouble| trouble.to_string()));
        self.note_disk(stored.as_ref().err().cloned());
        match stored.map_err(DeliveryError::retry)? {
            Stored::Now(path) => {
                self.has_grown.store(true, Ordering::Relaxed);
                tracing::debug!(event.id = %event.id, "the script log is stored as {path}");
            }
            Stored::Before(path) => tracing::debug!(event.id = %event.id, "{path} is there already"),
        }
        Ok(())
    }

    async fn invoke(&self, operation: &str, input: Value) -> Result<Value, OperationError> {
        match operation {
            "check" => self.check().await,
            "render" => self.render(input).await,
            other => Err(OperationError::Unsupported(other.to_owned())),
        }
    }

    fn import(old: Value) -> Result<Value, OperationError> {
        import::import(old)
    }

    async fn health(&self) -> Health {
        match &*self.disk.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(text) => Health::Bad(text.clone()),
            None => self.template.health(),
        }
    }
}

butler_plugin_api::export!(ScriptLogArchive);

impl ScriptLogArchive {
    /// The whole log, its lines parted by line feeds.
    async fn whole(&self, event: &Event, log: &ScriptLog) -> Result<String, DeliveryError> {
        match self.host.qlik().script_log(&log.reference).await {
            Ok(text) => Ok(with_line_feeds(text)),
            // A sample has no log but its lines. They show where a log would go.
            Err(_) if event.source == Event::TEST => Ok(lines_of(log)),
            Err(error @ (ServiceError::Invalid(_) | ServiceError::Unsupported(_))) => {
                Err(DeliveryError::reject(format!("the archive lacks this script log: {error}")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Where a log would go by the template in a file.
    async fn path_by(&self, file: &str, delivery: &Delivery) -> Result<String, String> {
        let file = Path::new(&self.host.instance().config_dir).join(file);
        let read = self.worker.run(move || {
            std::fs::read_to_string(&file).map_err(|error| format!("{} cannot be read: {error}", file.display()))
        });
        let template = settings::path_template(read.await??.trim_end())?;
        self.archive.place_by(&template, delivery, self.host.instance())
    }

    fn note_disk(&self, trouble: Option<String>) {
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*disk, &trouble) {
            (before, Some(text)) if before.as_ref() != Some(text) => {
                tracing::warn!("script logs wait to be stored: {text}");
            }
            (Some(_), None) => tracing::info!("script logs are stored again"),
            _ => {}
        }
        *disk = trouble;
    }

    async fn tidy(&self, is_settled: bool) {
        self.has_grown.store(false, Ordering::Relaxed);
        let (folder, mut limits, clock) = (self.folder.clone(), self.archive.limits, self.clock.clone());
        let tidied = self.worker.run(move || {
            let mut clock = clock.lock().unwrap_or_else(PoisonError::into_inner);
            if !clock.is_trusted(SystemTime::now(), Instant::now()) || !is_settled {
                limits.max_age = None;
            }
            upkeep::tidy(&folder, limits)
        });
        match tidied.await {
            Ok(Ok(0)) => {}
            Ok(Ok(removed)) => tracing::info!("script logs removed by `maxAge` or `maxSize`: {removed}"),
            Ok(Err(trouble)) => tracing::warn!("old script logs are not removed: {trouble}"),
            Err(why) => tracing::warn!("old script logs are not removed: {why}"),
        }
    }

    async fn check(&self) -> Result<Value, OperationError> {
        let folder = self.folder.clone();
        let probed = self.worker.run(move || folder.probe()).await.map_err(OperationError::Failed)?;
        probed.map_err(|trouble| OperationError::Failed(trouble.to_string()))?;
        Ok(Value::from(format!("files can be written in {}; no log was stored", self.folder.path.display())))
    }

    /// Where the log of the delivery in the input would go, and how it begins. `templateFile` in it takes the place of `path`.
    async fn render(&self, mut input: Value) -> Result<Value, OperationError> {
        let file = input.as_object_mut().and_then(|input| input.remove("templateFile"));
        let delivery: Delivery = serde_json::from_value(input)
            .map_err(|error| OperationError::Failed(format!("the input is no delivery: {error}")))?;
        let path = if let Some(file) = file.as_ref().and_then(Value::as_str) {
            self.path_by(file, &delivery).await.map_err(OperationError::Failed)?
        } else {
            let place = self.archive.place(&delivery, self.host.instance());
            if let Some(trouble) = place.trouble {
                return Err(OperationError::Failed(trouble));
            }
            place.path
        };
        let log = delivery.event.data.script_log.as_ref();
        let text = match log {
            Some(log) => match self.host.qlik().script_log(&log.reference).await {
                Ok(text) => with_line_feeds(text),
                Err(_) => lines_of(log),
            },
            None => String::new(),
        };
        let first: Vec<&str> = text.split('\n').take(SHOWN_LINES).collect();
        Ok(json!({ "path": path, "folder": self.folder.path.display().to_string(), "firstLines": first.join("\n") }))
    }
}

/// As the original stores them: not with the line ends of Windows, which Qlik Sense's logs have.
fn with_line_feeds(text: String) -> String {
    if text.contains("\r\n") { text.replace("\r\n", "\n") } else { text }
}

/// The lines that are in an event.
fn lines_of(log: &ScriptLog) -> String {
    log.head.iter().chain(&log.tail).map(String::as_str).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
