//! Reading the config anew while the daemon works: only what changed is touched.
//!
//! A config that cannot work changes nothing. Instances whose entry changed are stopped, their leases returned, and started
//! anew; those that are gone have their deliveries parked. Events that are routed meanwhile wait in the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::member::{Member, made_of};
use super::running::Running;
use super::{Failure, setup};
use crate::config::{Config, Qlik, Rest};
use crate::stop::stopping;
use crate::{observe, rest};

/// Somebody asks for a reload, and waits for what became of it.
pub(super) type Asked = oneshot::Sender<Result<Value, String>>;

/// An instance that is changed or removed gets so long to stop.
const STOP: Duration = Duration::from_secs(5);

/// A call that ends at the last moment is settled within this time.
const SETTLING: Duration = Duration::from_secs(1);

/// What became of a reload. Names of instances.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reloaded {
    started: Vec<String>,
    restarted: Vec<String>,
    stopped: Vec<String>,
    unchanged: Vec<String>,
    /// What changed and takes a restart of Butler.
    need_restart: Vec<String>,
}

/// How the REST server asks for reloads, and where they are heard.
pub(super) fn channel() -> (rest::Reload, mpsc::Receiver<Asked>) {
    let (ask, asked) = mpsc::channel::<Asked>(8);
    let reload = Box::new(move || -> futures_util::future::BoxFuture<'static, Result<Value, String>> {
        let ask = ask.clone();
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let stopping = "Butler is stopping";
            ask.send(reply).await.map_err(|_| stopping)?;
            answer.await.map_err(|_| stopping)?
        })
    });
    (reload, asked)
}

impl Running {
    /// Reads the config anew and turns to it.
    pub(super) async fn reload(&mut self) -> Result<Reloaded, Failure> {
        if let Some(trouble) = self.core.store.trouble() {
            // Queues could not settle what they have, and nobody would hear a signal meanwhile.
            return Err(Failure::Other(anyhow::anyhow!("the store cannot be written ({trouble}): reload when it can")));
        }
        let former = self.setup.again();
        // Reads and checks files.
        let read = tokio::task::spawn_blocking(move || setup::load_again(former)).await;
        let mut setup = read.map_err(|error| Failure::Other(error.into()))??;
        for warning in &setup.loaded.warnings {
            tracing::warn!("{warning}");
        }
        let mut done =
            Reloaded { need_restart: needs_restart(&self.begun_with, &setup.loaded.config), ..Reloaded::default() };
        done.need_restart.append(&mut setup.replaced);

        let wanted: BTreeMap<&str, Value> =
            setup.loaded.config.plugins.iter().map(|entry| (entry.instance(), made_of(&setup.loaded, entry))).collect();
        let mut ending = JoinSet::new();
        let mut waits_for = Vec::new();
        for (name, member) in std::mem::take(&mut self.members) {
            match wanted.get(name.as_str()) {
                Some(made_of) if *made_of == member.made_of => {
                    done.unchanged.push(name.clone());
                    self.members.insert(name, member);
                    continue;
                }
                Some(_) => done.restarted.push(name),
                None => {
                    self.core.queues.remove(&name);
                    done.stopped.push(name);
                }
            }
            waits_for.push(member.instance.name().to_owned());
            // What is in flight gets the time that any call gets: cut off, it might be told twice.
            let patience = (self.core.config.get().shutdown_timeout.duration() / 2).max(member.call_limit() + SETTLING);
            let mut hurry = self.hurry.subscribe();
            let patient = async move { drop(tokio::time::timeout(patience, stopping(&mut hurry)).await) };
            // Longer only when the store is in trouble since: then leases that are not returned run out.
            let limit = patience + 2 * STOP;
            ending.spawn(async move { tokio::time::timeout(limit, member.stop(patient, STOP)).await.unwrap_or(false) });
        }
        if !waits_for.is_empty() {
            tracing::info!(instances = waits_for.join(" "), "stopping what the new config changes");
        }
        while let Some(stopped) = ending.join_next().await {
            self.abandoned |= !stopped.unwrap_or(false);
        }
        observe::set_level(setup.loaded.config.log.level);
        let mut instances = Vec::new();
        let mut fresh = Vec::new();
        for (entry, instance) in self.core.instances(&setup) {
            if let Some(member) = self.members.get(entry.instance()) {
                instances.push(member.instance.clone());
                continue;
            }
            if !done.restarted.iter().any(|name| name == entry.instance()) {
                done.started.push(entry.instance().to_owned());
            }
            instances.push(instance.clone());
            fresh.push((instance, made_of(&setup.loaded, entry)));
        }
        self.core.turn_to(&setup.loaded, &instances);
        for (instance, made_of) in fresh {
            let name = instance.name().to_owned();
            let member = Member::start(&self.core, instance, made_of, self.refused_later.clone());
            self.members.insert(name, member);
        }
        // Validation has mounted the same endpoints before.
        let disabled = &setup.loaded.config.rest.disabled_endpoints;
        if let Err(error) = self.remount.to(&instances, disabled) {
            tracing::error!(%error, "the endpoints of the former config are served");
        }
        // Upkeep does it again, so whatever keeps it from being done now does no harm.
        if let Ok(Err(error)) = tokio::time::timeout(STOP, self.core.park()).await {
            tracing::warn!(%error, "deliveries without an instance are parked later");
        }
        self.setup = Arc::new(setup);
        if done.started.is_empty() && done.restarted.is_empty() && done.stopped.is_empty() {
            tracing::info!("the config was read anew: no instance is concerned");
        } else {
            tracing::info!(
                started = done.started.join(" "),
                restarted = done.restarted.join(" "),
                stopped = done.stopped.join(" "),
                "the config was read anew"
            );
        }
        if !done.need_restart.is_empty() {
            tracing::warn!("restart Butler for what changed in: {}", done.need_restart.join(", "));
        }
        Ok(done)
    }

    /// Reads the config anew and says what became of it.
    pub(super) async fn reload_and_tell(&mut self) -> Result<Value, String> {
        match self.reload().await {
            Ok(done) => Ok(json!(done)),
            Err(failure) => {
                tracing::error!("the former config stays in force: {failure}");
                Err(failure.to_string())
            }
        }
    }
}

/// The part of `qlik:` that makes the connection; the rest is used as it is at the time.
fn connection(qlik: &Qlik) -> Value {
    let mut qlik = json!(qlik);
    if let Some(settings) = qlik.as_object_mut() {
        settings.retain(|name, _| !matches!(name.as_str(), "reconcile" | "alertOn" | "startTaskFilter" | "writes"));
    }
    qlik
}

/// `rest:` without what is used as it is at the time.
fn sockets(rest: &Rest) -> Value {
    json!(Rest { disabled_endpoints: Vec::new(), ..rest.clone() })
}

/// The tenants of Qlik Cloud with the TLS profiles that they name.
fn cloud(config: &Config) -> Value {
    let tenants = config.qlik_cloud.iter().flat_map(|cloud| &cloud.tenants);
    let profiles: Vec<_> = tenants.filter_map(|tenant| config.tls.get(tenant.tls.as_ref()?)).collect();
    json!([config.qlik_cloud, profiles])
}

/// Sections that are used at the start only, and differ from those that Butler was started with.
fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let sections = |config: &Config| {
        [
            ("qlik", json!(config.qlik.as_ref().map(connection))),
            ("qlikCloud", cloud(config)),
            ("udp", json!(config.udp)),
            ("rest", sockets(&config.rest)),
            ("scheduler", json!(config.scheduler)),
            ("store.path", json!(config.store.path)),
            ("log.format", json!(config.log.format)),
            ("log.file", json!(config.log.file)),
            ("enrich.concurrency", json!(config.enrich.concurrency)),
            ("scriptLog.maxSize", json!(config.script_log.max_size)),
        ]
    };
    let pairs = sections(old).into_iter().zip(sections(new));
    pairs.filter(|(old, new)| old.1 != new.1).map(|(old, _)| old.0.to_owned()).collect()
}
