//! `butler check`: a line for each thing that could be wrong.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use butler_plugin_api::OperationError;
use serde_json::Value;

use super::progress::waiting;
use crate::config::{self, Level};
use crate::current::Current;
use crate::daemon::{self, Failure, Setup, instance_document};
use crate::observe;
use crate::plugins::Instance;
use crate::qlik::{Engine, FollowUp, Lookups};
use crate::store::{Store, now_ms};

/// The lines: how many say that something failed.
#[derive(Default)]
pub(super) struct Lines {
    failed: usize,
}

impl Lines {
    pub(super) fn bad(&mut self, what: &str, detail: &str) {
        self.failed += 1;
        println!("failed  {what:<28} {detail}");
    }
}

pub(super) fn good(what: &str, detail: &str) {
    println!("ok      {what:<28} {detail}");
}

pub(super) fn note(what: &str, detail: &str) {
    println!("note    {what:<28} {detail}");
}

/// Checks a config. Nothing is bound, no alert is sent, and a running daemon is not disturbed.
pub(super) async fn run(path: &Path, log_level: Option<Level>) -> Result<(), Failure> {
    let setup = daemon::load(path, log_level)?;
    observe::init_logging(log_level.unwrap_or(Level::Warn), setup.loaded.config.log.format);
    let mut lines = Lines::default();
    let count = setup.loaded.config.plugins.len();
    let noun = if count == 1 { "instance" } else { "instances" };
    good("config", &format!("{}, {count} {noun}", path.display()));
    for warning in &setup.loaded.warnings {
        note("config", warning);
    }
    let lookups = qlik(&setup, &mut lines).await;
    super::roads::check(path, &setup.loaded.config, lookups.as_deref(), &mut lines).await;
    super::cloud::check(&setup.loaded.config, &mut lines).await;
    instances(&setup, lookups, &mut lines).await?;
    if lines.failed == 0 {
        return Ok(());
    }
    let noun = if lines.failed == 1 { "check" } else { "checks" };
    Err(Failure::Other(anyhow::anyhow!("{} {noun} failed", lines.failed)))
}

async fn qlik(setup: &Setup, lines: &mut Lines) -> Option<Arc<Lookups>> {
    let lookups = match daemon::lookups(&setup.loaded.config) {
        Ok(Some(lookups)) => lookups,
        Ok(None) => {
            note("qlik", "no `qlik:` in the config: events keep the facts of their log line, their type is assumed");
            return None;
        }
        Err(error) => {
            lines.bad("qlik certificates", &error.to_string());
            return None;
        }
    };
    let repository = lookups.repository();
    match waiting("Qlik Sense", repository.probe()).await {
        Ok(version) => good("qlik", &format!("{} answers, version {version}", repository.server())),
        Err(error) => lines.bad("qlik", &error.to_string()),
    }
    let now = now_ms();
    for facts in repository.certificates() {
        let what = format!("certificate {}", facts.role.label());
        match facts.due(now) {
            Some(_) if facts.has_expired(now) => lines.bad(&what, &facts.message(repository.server(), now)),
            Some(_) => note(&what, &facts.message(repository.server(), now)),
            None => good(&what, &format!("valid until {}, {}", facts.end_day(), facts.subject)),
        }
    }
    if let Some(config) = &setup.loaded.config.qlik {
        engine(config, setup, &lookups).await;
    }
    Some(lookups)
}

/// Who uses Butler for alerts alone may have no way to the engine.
async fn engine(config: &config::Qlik, setup: &Setup, lookups: &Lookups) {
    let nothing: FollowUp = Arc::new(|_, _| Box::pin(std::future::ready(())));
    let secrets = Arc::new(Current::new(setup.loaded.secrets.clone()));
    let engine = Engine::new(config, lookups.repository().clone(), secrets, nothing);
    match waiting("the engine of Qlik Sense", engine.probe()).await {
        Ok(version) => good("engine", &format!("answers on port {}, version {version}", config.ports.engine)),
        Err(error) => note("engine", &format!("{error}; only lists, dumps and reloads of apps need it")),
    }
}

async fn instances(setup: &Setup, qlik: Option<Arc<Lookups>>, lines: &mut Lines) -> Result<(), Failure> {
    let config = &setup.loaded.config;
    // Plugins may store something when they start: not into the store of the running daemon.
    let folder = std::env::temp_dir().join(format!("butler-check-{}", std::process::id()));
    let store = Store::open(&folder.join("check.db")).await.map_err(anyhow::Error::from)?;
    let shared = Arc::new(daemon::shared(&setup.loaded, store.clone(), qlik));
    for entry in &config.plugins {
        let Some(opened) = setup.libraries.get(&entry.plugin) else { continue };
        let instance = Instance::new(
            instance_document(&setup.loaded, entry),
            entry.clone(),
            opened.library.clone(),
            shared.clone(),
        );
        let what = format!("instance {}", instance.name());
        match waiting(&what, instance.start()).await {
            Ok(()) => probe(&instance, &what, lines).await,
            Err(error) => lines.bad(&what, &format!("does not start: {error}")),
        }
        instance.stop(Duration::from_secs(5)).await;
    }
    store.close().await;
    let _ = std::fs::remove_dir_all(&folder);
    Ok(())
}

async fn probe(instance: &Instance, what: &str, lines: &mut Lines) {
    if !instance.manifest().operations.iter().any(|operation| operation == "check") {
        good(what, "starts (the plugin has no check of its destination)");
        return;
    }
    match waiting(what, instance.invoke("check", Value::Null)).await {
        Ok(answer) => good(what, answer.as_str().unwrap_or("its destination can be reached")),
        Err(OperationError::Unsupported(_)) => good(what, "starts"),
        Err(error) => lines.bad(what, &error.to_string()),
    }
}
