//! The daemon at work, and its end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::member::{Member, Refusal, made_of};
use super::parts::{Core, Parts};
use super::reload::Asked;
use super::{Setup, certificates, told, upkeep};
use crate::config::{Config, PluginEntry};
use crate::ingest;
use crate::pipeline::accept_datagrams;
use crate::rest;
use crate::store::Released;

/// What is under way at a stop gets at most this time, before it is left for the next start.
const DRAIN: Duration = Duration::from_secs(2);
/// While received events are stored at a stop, it is looked so often whether the store is in trouble.
const LOOK: Duration = Duration::from_millis(100);
/// In trouble the store does not wait for its disk at a stop.
const CLOSE: Duration = Duration::from_secs(2);

/// What concerns the daemon as a whole.
pub(super) enum Happening {
    /// An instance refuses its settings at the start.
    Refused { instance: String, message: String },
    /// Somebody asks by REST for a reload.
    ReloadAsked(Asked),
}

/// A daemon at work.
pub(super) struct Running {
    pub(super) core: Core,
    pub(super) setup: Arc<Setup>,
    /// The config of the start.
    pub(super) begun_with: Config,
    pub(super) members: BTreeMap<String, Member>,
    /// Set when a reload is to end soon, because a stop waits for it.
    pub(super) hurry: watch::Sender<bool>,
    /// A thread of a former instance did not end.
    pub(super) abandoned: bool,
    pub(super) remount: rest::Remount,
    /// For instances that are started by a reload: they do not end the daemon.
    pub(super) refused_later: mpsc::UnboundedSender<Refusal>,
    reloads: mpsc::Receiver<Asked>,
    udp: Option<Arc<ingest::Running>>,
    rest_address: SocketAddr,
    run_file: Arc<rest::RunFile>,
    /// Nothing more is let in.
    stop_input: watch::Sender<bool>,
    /// Nothing more is begun.
    stop_work: watch::Sender<bool>,
    accepting: Option<JoinHandle<()>>,
    serving: JoinHandle<()>,
    /// Enricher, upkeep, the watch over certificates.
    work: JoinSet<()>,
    refusals: mpsc::UnboundedReceiver<Refusal>,
}

impl Running {
    /// Starts everything.
    pub(super) fn start(parts: Parts) -> Self {
        let Parts {
            core,
            setup,
            instances,
            enricher,
            reconciler,
            notifications,
            engine,
            scheduler,
            udp,
            server,
            rest_address,
            tls,
            run_file,
            reloads,
        } = parts;
        let (stop_input, input_stopping) = watch::channel(false);
        let (stop_work, stopping) = watch::channel(false);
        let (refused, refusals) = mpsc::unbounded_channel();
        let (store, accepted) = (core.store.clone(), core.accepted.clone());
        let entries = setup.loaded.config.plugins.iter();
        let members = instances
            .into_iter()
            .zip(entries)
            .map(|(instance, entry)| {
                let made_of = made_of(&setup.loaded, entry);
                (instance.name().to_owned(), Member::start(&core, instance, made_of, refused.clone()))
            })
            .collect();
        let mut work = JoinSet::new();
        work.spawn(enricher.run(stopping.clone()));
        if let Some(reconciler) = reconciler {
            work.spawn(reconciler.run(stopping.clone()));
        }
        if let Some(notifications) = notifications {
            work.spawn(notifications.run(stopping.clone()));
        }
        if let Some(engine) = engine {
            work.spawn(engine.run(stopping.clone()));
        }
        if let Some(scheduler) = scheduler {
            work.spawn(scheduler.run(stopping.clone()));
        }
        let released = {
            let core = core.clone();
            move |released: Released| core.released(&released)
        };
        let repository = core.lookups.as_ref().map(|lookups| lookups.repository().clone());
        if repository.is_some() || tls.is_some() {
            work.spawn(certificates::run(repository, tls, store.clone(), accepted.clone(), stopping.clone()));
        }
        work.spawn(upkeep::run(
            store.clone(),
            core.config.clone(),
            core.queues.clone(),
            core.roads.clone(),
            released,
            stopping.clone(),
        ));
        let accepting = udp.clone().zip(setup.loaded.config.udp.as_ref()).map(|(udp, config)| {
            let roads = core.roads.clone();
            let excluded = config.sessions.exclude_users.clone();
            let seal = ingest::Seal::new(&run_file.info().token);
            tokio::spawn(accept_datagrams(udp, excluded, seal, store.clone(), accepted.clone(), roads))
        });
        let remount = server.remount();
        let serving = tokio::spawn(server.run(input_stopping));
        // Told beside the rest: whoever waits for a store in trouble hears no signal.
        work.spawn(told::begun(store, accepted, udp.clone(), stopping));
        Self {
            begun_with: setup.loaded.config.clone(),
            core,
            setup: Arc::new(setup),
            members,
            hurry: watch::Sender::new(false),
            abandoned: false,
            remount,
            refused_later: log_refusals(),
            reloads,
            udp,
            rest_address,
            run_file,
            stop_input,
            stop_work,
            accepting,
            serving,
            work,
            refusals,
        }
    }

    /// Says in the log that all is ready, and where.
    pub(super) fn announce(&self, began: Instant) {
        let off = |section: &str| format!("off (no `{section}:` in the config)");
        let config = &self.begun_with;
        let names: Vec<&str> = config.plugins.iter().map(PluginEntry::instance).collect();
        tracing::info!(
            udp = self.udp.as_ref().map_or_else(|| off("udp"), |udp| udp.local_addr().to_string()),
            rest = format!("{}://{}", if config.rest.tls.is_some() { "https" } else { "http" }, self.rest_address),
            qlik = config.qlik.as_ref().map_or_else(|| off("qlik"), |qlik| qlik.host.clone()),
            instances = names.join(" "),
            ready_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "Butler {} is ready",
            env!("CARGO_PKG_VERSION")
        );
    }

    /// Waits until something happens that concerns the daemon as a whole.
    pub(super) async fn happens(&mut self) -> Happening {
        tokio::select! {
            Some((instance, message)) = self.refusals.recv() => Happening::Refused { instance, message },
            Some(asked) = self.reloads.recv() => Happening::ReloadAsked(asked),
            else => std::future::pending().await,
        }
    }

    /// Stops everything within `shutdownTimeout`; false when something did not end. With `drain`, what is under way gets
    /// some time to arrive.
    pub(super) async fn stop(self, drain: bool) -> bool {
        let (limit, store) = (self.core.config.get().shutdown_timeout, self.core.store.clone());
        let deadline = Instant::now() + limit.duration();
        let clean = tokio::time::timeout_at(deadline, self.stop_parts(drain, deadline)).await.unwrap_or_else(|_| {
            tracing::error!(
                "not everything ended within `shutdownTimeout` ({limit}); what was in flight stays in the store"
            );
            false
        });
        let _ = tokio::time::timeout(CLOSE, store.close()).await;
        clean
    }

    async fn stop_parts(mut self, drain: bool, deadline: Instant) -> bool {
        if self.core.store.trouble().is_none() {
            let _ = tokio::time::timeout(DRAIN, told::stopping(&self.core.store, &self.core.accepted)).await;
        }
        self.stop_input.send_replace(true);
        if let Some(udp) = &self.udp {
            udp.stop();
        }
        if let Some(mut accepting) = self.accepting.take() {
            while tokio::time::timeout(LOOK, &mut accepting).await.is_err() {
                if self.core.store.trouble().is_some() {
                    // It may never be well again: whoever waits for it is told now that it is over.
                    self.core.store.close().await;
                }
            }
        }
        if self.core.store.trouble().is_some() {
            self.core.store.close().await;
        }
        if drain {
            self.drain(DRAIN.min(self.core.config.get().shutdown_timeout.duration() / 4)).await;
        }
        self.stop_work.send_replace(true);
        self.members.values().for_each(Member::begin_stop);
        while self.work.join_next().await.is_some() {}
        let cut = Instant::now() + self.core.config.get().shutdown_timeout.duration() / 2;
        for member in self.members.values_mut() {
            member.drained(tokio::time::sleep_until(cut)).await;
        }
        let clean = stop_members(std::mem::take(&mut self.members), deadline).await && !self.abandoned;
        let _ = self.serving.await;
        drop(self.run_file);
        clean
    }

    /// Waits until accepted events are routed and due deliveries have been handed out, or the time is over.
    async fn drain(&self, limit: Duration) {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            let waiting =
                self.core.store.accepted_count().await.unwrap_or(0) + self.core.store.due_count().await.unwrap_or(0);
            if waiting == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}

/// Stops all instances at once; false when one did not stop.
async fn stop_members(members: BTreeMap<String, Member>, deadline: Instant) -> bool {
    // Less than there is, so that it can be said who did not stop.
    let time = deadline.saturating_duration_since(Instant::now()).mul_f32(0.8).max(Duration::from_millis(200));
    let mut stopping: JoinSet<bool> =
        members.into_values().map(|member| member.stop(std::future::ready(()), time)).collect();
    let mut clean = true;
    while let Some(stopped) = stopping.join_next().await {
        clean &= stopped.unwrap_or(false);
    }
    clean
}

/// Says in the log which instances of a reload refuse their settings. They do not end the daemon: it has worked before.
fn log_refusals() -> mpsc::UnboundedSender<Refusal> {
    let (refused, mut refusals) = mpsc::unbounded_channel::<Refusal>();
    tokio::spawn(async move {
        while let Some((instance, message)) = refusals.recv().await {
            tracing::error!(instance, "refuses its settings: {message}; mend them and reload");
        }
    });
    refused
}
