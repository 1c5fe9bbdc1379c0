//! The daemon at work, and its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use butler_plugin_api::{Data, kind};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::parts::{Parts, Queues};
use super::upkeep;
use crate::config::Config;
use crate::delivery::Queue;
use crate::ingest;
use crate::pipeline::accept_datagrams;
use crate::plugins::Instance;
use crate::rest;
use crate::store::{NewEvent, Store, now_ms};

/// What is under way at a stop gets at most this time, before it is left for the next start.
const DRAIN: Duration = Duration::from_secs(2);
/// While received events are stored at a stop, it is looked so often whether the store is in trouble.
const LOOK: Duration = Duration::from_millis(100);
/// In trouble the store does not wait for its disk at a stop.
const CLOSE: Duration = Duration::from_secs(2);

/// A daemon at work.
pub(super) struct Running {
    config: Config,
    store: Store,
    accepted: Arc<Notify>,
    instances: Vec<Arc<Instance>>,
    udp: Option<Arc<ingest::Running>>,
    rest_address: SocketAddr,
    run_file: rest::RunFile,
    /// Nothing more is let in.
    stop_input: watch::Sender<bool>,
    /// Nothing more is begun.
    stop_work: watch::Sender<bool>,
    accepting: Option<JoinHandle<()>>,
    serving: JoinHandle<()>,
    /// Enricher, queues, upkeep, supervisors.
    work: JoinSet<()>,
    refusals: mpsc::UnboundedReceiver<(String, String)>,
}

impl Running {
    /// Starts everything.
    pub(super) fn start(parts: Parts) -> Self {
        let Parts { config, store, accepted, instances, queues, enricher, udp, server, rest_address, run_file } = parts;
        let (stop_input, input_stopping) = watch::channel(false);
        let (stop_work, stopping) = watch::channel(false);
        let (refused, refusals) = mpsc::unbounded_channel();
        let mut work = JoinSet::new();
        let released = {
            let (queues, accepted): (Queues, _) = (queues.clone(), accepted.clone());
            move |released| queues.released(&accepted, &released)
        };
        for instance in &instances {
            let refused = refused.clone();
            work.spawn(instance.clone().supervise(stopping.clone(), move |name, message| {
                // Nobody listens any more when the daemon stops anyway.
                let _ = refused.send((name.to_owned(), message.to_owned()));
            }));
            let grace = config.shutdown_timeout.duration() / 2;
            let queue = Queue::new(instance.clone(), store.clone(), queues.of(instance), grace, released.clone());
            work.spawn(queue.run(stopping.clone()));
        }
        work.spawn(enricher.run(stopping.clone()));
        work.spawn(upkeep::run(store.clone(), config.clone(), released, stopping));
        let accepting = udp.clone().map(|udp| tokio::spawn(accept_datagrams(udp, store.clone(), accepted.clone())));
        let serving = tokio::spawn(server.run(input_stopping));
        // Told beside the rest: whoever waits for a store in trouble hears no signal.
        work.spawn(tell_start(store.clone(), accepted.clone(), udp.as_ref().map(|udp| udp.local_addr())));
        Self {
            config,
            store,
            accepted,
            instances,
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
        let names: Vec<&str> = self.instances.iter().map(|instance| instance.name()).collect();
        tracing::info!(
            udp = self.udp.as_ref().map_or_else(|| off("udp"), |udp| udp.local_addr().to_string()),
            rest = format!("http://{}", self.rest_address),
            qlik = self.config.qlik.as_ref().map_or_else(|| off("qlik"), |qlik| qlik.host.clone()),
            instances = names.join(" "),
            ready_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "Butler {} is ready",
            env!("CARGO_PKG_VERSION")
        );
    }

    /// Waits until an instance refuses its settings: its name, and why.
    pub(super) async fn refusal(&mut self) -> (String, String) {
        match self.refusals.recv().await {
            Some(refusal) => refusal,
            None => std::future::pending().await,
        }
    }

    /// Stops everything within `shutdownTimeout`; false when something did not end. With `drain`, what is under way gets
    /// some time to arrive.
    pub(super) async fn stop(self, drain: bool) -> bool {
        let (limit, store) = (self.config.shutdown_timeout, self.store.clone());
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
        if self.store.trouble().is_none() {
            let data = json!({ "message": "Butler is stopping" });
            let stopping = tell(&self.store, &self.accepted, kind::BUTLER_STOPPING, data);
            let _ = tokio::time::timeout(DRAIN, stopping).await;
        }
        self.stop_input.send_replace(true);
        if let Some(udp) = &self.udp {
            udp.stop();
        }
        if let Some(mut accepting) = self.accepting.take() {
            while tokio::time::timeout(LOOK, &mut accepting).await.is_err() {
                if self.store.trouble().is_some() {
                    // It may never be well again: whoever waits for it is told now that it is over.
                    self.store.close().await;
                }
            }
        }
        if self.store.trouble().is_some() {
            self.store.close().await;
        }
        if drain {
            self.drain(DRAIN.min(self.config.shutdown_timeout.duration() / 4)).await;
        }
        self.stop_work.send_replace(true);
        while self.work.join_next().await.is_some() {}
        let clean = stop_instances(std::mem::take(&mut self.instances), deadline).await;
        let _ = self.serving.await;
        drop(self.run_file);
        clean
    }

    /// Waits until accepted events are routed and due deliveries have been handed out, or the time is over.
    async fn drain(&self, limit: Duration) {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            let waiting = self.store.accepted_count().await.unwrap_or(0) + self.store.due_count().await.unwrap_or(0);
            if waiting == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}

async fn tell_start(store: Store, accepted: Arc<Notify>, udp: Option<SocketAddr>) {
    let version = env!("CARGO_PKG_VERSION");
    let data = json!({ "version": version, "message": format!("Butler {version} has started") });
    tell(&store, &accepted, kind::BUTLER_STARTED, data).await;
    if let Some(address) = udp {
        let data = json!({ "address": address.to_string(), "message": format!("receives events at {address}") });
        tell(&store, &accepted, kind::UDP_LISTENING, data).await;
    }
}

/// Accepts an event about Butler itself.
async fn tell(store: &Store, accepted: &Notify, kind: &str, data: Value) {
    let now = now_ms();
    let data: Data = serde_json::from_value(data).unwrap_or_default();
    let source = "butler".to_owned();
    let event = NewEvent { kind: kind.to_owned(), time: now, received: now, source, keys: Vec::new(), data };
    match store.accept(vec![event]).await {
        Ok(_) => accepted.notify_one(),
        Err(error) => tracing::error!(kind, %error, "an event of Butler itself cannot be stored"),
    }
}

/// Stops all instances at once; false when one did not stop.
async fn stop_instances(instances: Vec<Arc<Instance>>, deadline: Instant) -> bool {
    // Less than there is, so that it can be said who did not stop.
    let time = deadline.saturating_duration_since(Instant::now()).mul_f32(0.8).max(Duration::from_millis(200));
    let mut stopping = JoinSet::new();
    for instance in instances {
        stopping.spawn(async move { (instance.stop(time).await, instance.name().to_owned()) });
    }
    let mut clean = true;
    while let Some(stopped) = stopping.join_next().await {
        if let Ok((false, name)) = stopped {
            tracing::error!(instance = name, "did not stop in time and is abandoned");
            clean = false;
        }
    }
    clean
}
