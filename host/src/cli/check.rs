//! `butler check`: whether the config is right, and what it names answers and is there. Wherever it is run it says the same, and
//! needs neither a running daemon nor the daemon's machine. `butler doctor` begins with the same.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use butler_plugin_api::OperationError;
use serde_json::Value;
use tempfile::TempDir;

use super::findings::{Findings, Form};
use super::progress::waiting;
use super::{cloud, doctor, roads};
use crate::config::{self, Level};
use crate::current::Current;
use crate::daemon::{self, Failure, Setup, instance_document};
use crate::observe;
use crate::plugins::Instance;
use crate::qlik::{ClientChain, Engine, FollowUp, Lookups, client_chain};
use crate::store::{Store, now_ms};

/// Checks a config. Nothing is bound, no alert is sent, and a running daemon is not disturbed.
pub(super) async fn run(path: &Path, log_level: Option<Level>) -> Result<(), Failure> {
    let setup = daemon::load(path, log_level)?;
    observe::init_logging(log_level.unwrap_or(Level::Warn), setup.loaded.config.log.format);
    let mut findings = Findings::new(Form::Lines, setup.loaded.secrets.clone());
    look(path, &setup, &mut findings).await;
    findings.finish()
}

/// Looks at all these links.
pub(super) async fn look(path: &Path, setup: &Setup, findings: &mut Findings) {
    let count = setup.loaded.config.plugins.len();
    let noun = if count == 1 { "instance" } else { "instances" };
    findings.ok("config", &format!("{}, {count} {noun}", path.display()));
    // The link of the certificate says it as well, and as a failure.
    let expired = doctor::exposure::expired(&setup.loaded.config.rest);
    let is_new = |warning: &&String| !expired.as_ref().is_some_and(|message| warning.ends_with(message));
    for warning in setup.loaded.warnings.iter().filter(is_new) {
        findings.note("config", warning, "");
    }
    doctor::exposure::check(&setup.loaded.config.rest, findings);
    doctor::profiles::check(&setup.loaded.config.tls, findings);
    let lookups = qlik(setup, findings).await;
    roads::check(path, &setup.loaded.config, lookups.as_deref(), findings).await;
    cloud::check(&setup.loaded.config, findings).await;
    instances(setup, lookups, findings).await;
}

async fn qlik(setup: &Setup, findings: &mut Findings) -> Option<Arc<Lookups>> {
    let config = &setup.loaded.config;
    let lookups = match daemon::lookups(config) {
        Ok(Some(lookups)) => lookups,
        Ok(None) => {
            let detail = "no `qlik:` in the config: events keep the facts of their log line, their type is assumed";
            findings.note("qlik", detail, "");
            return None;
        }
        Err(error) => {
            findings.failed("qlik certificates", &error.to_string(), "");
            return None;
        }
    };
    let repository = lookups.repository();
    let reachable = match waiting("Qlik Sense", repository.probe()).await {
        Ok(version) => {
            findings.ok("qlik", &format!("{} answers, version {version}", repository.server()));
            true
        }
        Err(error) => {
            findings.failed("qlik", &error.to_string(), "");
            false
        }
    };
    let now = now_ms();
    for facts in repository.certificates() {
        let what = format!("certificate {}", facts.role.label());
        match facts.due(now) {
            Some(_) if facts.has_expired(now) => {
                findings.failed(&what, &facts.message(repository.server(), now), "");
            }
            Some(_) => findings.note(&what, &facts.message(repository.server(), now), ""),
            None => findings.ok(&what, &format!("valid until {}, {}", facts.end_day(), facts.subject)),
        }
    }
    let Some(section) = &config.qlik else { return Some(lookups) };
    chain(section, reachable, findings);
    if reachable {
        doctor::clock::check(repository, findings).await;
        doctor::rights::check(setup, repository, findings).await;
        doctor::names::check(setup, repository, findings).await;
    }
    engine(section, setup, &lookups, findings).await;
    match waiting("the version of Qlik Sense", repository.system_info()).await {
        Ok(_) => findings.ok("qlik version", &format!("told on port {}", section.ports.system_info)),
        Err(error) => {
            findings.note("qlik version", &format!("{error}; only plugins that watch the version need it"), "");
        }
    }
    Some(lookups)
}

/// Whether the client certificate is of the authority. If QRS takes it all the same, that is no more than odd.
fn chain(section: &config::Qlik, reachable: bool, findings: &mut Findings) {
    const LINK: &str = "certificate chain";
    let detail = match client_chain(section) {
        Ok(ClientChain::Issued) => return findings.ok(LINK, "the client certificate is issued by the authority"),
        Ok(ClientChain::Unchecked) => {
            let detail = "not looked at, since nothing is checked (`verify: none`)";
            return findings.note(LINK, detail, "set `verify: full` and name the authority as `certificates.ca`");
        }
        // Files that were read a moment ago.
        Err(error) => error.to_string(),
        Ok(ClientChain::Foreign) => {
            "the client certificate is not issued by the authority of `certificates.ca`, or of the \
                                     PFX file: they are of different sites, or of exports before and after a renewal"
                .to_owned()
        }
        Ok(ClientChain::Odd(reason)) => format!("the client certificate: {reason}"),
    };
    let remedy = "take client certificate, key and authority from one export of the QMC of this site";
    if reachable {
        findings.note(LINK, &format!("{detail}; Qlik Sense accepts it all the same"), remedy);
    } else {
        findings.failed(LINK, &detail, remedy);
    }
}

/// Who uses Butler for alerts alone may have no way to the engine.
async fn engine(config: &config::Qlik, setup: &Setup, lookups: &Lookups, findings: &mut Findings) {
    let nothing: FollowUp = Arc::new(|_, _| Box::pin(std::future::ready(())));
    let secrets = Arc::new(Current::new(setup.loaded.secrets.clone()));
    let engine = Engine::new(config, lookups.repository().clone(), secrets, nothing);
    match waiting("the engine of Qlik Sense", engine.probe()).await {
        Ok(version) => {
            findings.ok("engine", &format!("answers on port {}, version {version}", config.ports.engine));
        }
        Err(error) => findings.note("engine", &format!("{error}; only lists, dumps and reloads of apps need it"), ""),
    }
}

/// Plugins of others need not say what to do.
const MEND: &str = "mend what it names, or the entry of this instance under `plugins:`; `butler check` tries it again";

async fn instances(setup: &Setup, qlik: Option<Arc<Lookups>>, findings: &mut Findings) {
    let config = &setup.loaded.config;
    if config.plugins.is_empty() {
        return;
    }
    let (_folder, store) = match own_store().await {
        Ok(own) => own,
        Err(error) => {
            let detail =
                format!("cannot be tried out without a store in {}: {error:#}", std::env::temp_dir().display());
            let remedy =
                "make room there, or name a folder that can be written (environment variable TMPDIR, on Windows TEMP)";
            return findings.failed("instances", &detail, remedy);
        }
    };
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
            Ok(()) => probe(&instance, &what, findings).await,
            Err(error) => findings.failed(&what, &format!("does not start: {error}"), MEND),
        }
        instance.stop(Duration::from_secs(5)).await;
    }
    store.close().await;
}

/// Plugins may store something when they start: not into the store of the running daemon. It goes with its folder.
async fn own_store() -> anyhow::Result<(TempDir, Store)> {
    let folder = tempfile::Builder::new().prefix("butler-check-").tempdir()?;
    let store = Store::open(&folder.path().join("check.db")).await?;
    Ok((folder, store))
}

async fn probe(instance: &Instance, what: &str, findings: &mut Findings) {
    if !instance.manifest().operations.iter().any(|operation| operation == "check") {
        findings.ok(what, "starts (the plugin has no check of its destination)");
        return;
    }
    match waiting(what, instance.invoke("check", Value::Null)).await {
        Ok(answer) => findings.ok(what, answer.as_str().unwrap_or("its destination can be reached")),
        Err(OperationError::Unsupported(_)) => findings.ok(what, "starts"),
        Err(error) => findings.failed(what, &error.to_string(), MEND),
    }
}
