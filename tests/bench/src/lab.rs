//! The surroundings of a daemon: a simulated Qlik Sense, a webhook, a folder, a config.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use e2e::Butler;
use tempfile::TempDir;

use crate::process::Usage;
use crate::sender::Sender;
use crate::simulator::Simulator;
use crate::sink::Sink;

/// Sense, webhook and folder.
pub struct Lab {
    /// The simulated Qlik Sense.
    pub simulator: Simulator,
    /// The webhook.
    pub sink: Sink,
    folder: Arc<TempDir>,
}

/// What differs from the usual config, which is: Qlik Sense, script log off, webhook on its usual alerts, console and
/// teams there but without events, everything else as shipped.
#[derive(Debug, Clone, Copy, Default)]
pub struct Variant {
    /// No section `qlik:`.
    pub without_qlik: bool,
    /// The webhook gets no events either.
    pub nobody_wants: bool,
    /// Script logs are fetched.
    pub script_log: bool,
    /// Further settings of the webhook, each with a comma before it.
    pub webhook: &'static str,
    /// Further settings of the store, each with a comma before it.
    pub store: &'static str,
    /// Further entries of `plugins:`.
    pub neighbour: &'static str,
}

impl Lab {
    /// Starts Qlik Sense and the webhook.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_slow(Duration::ZERO).await
    }

    /// The same with a Qlik Sense that answers so much later.
    pub async fn start_slow(latency: Duration) -> anyhow::Result<Self> {
        let folder = Arc::new(TempDir::new().context("a folder cannot be made")?);
        let simulator = Simulator::start(folder.path(), latency)?;
        Ok(Self { simulator, sink: Sink::start().await?, folder })
    }

    /// Text of the config.
    pub fn config(&self, variant: Variant) -> String {
        let Variant { without_qlik, nobody_wants, script_log, webhook, store, neighbour } = variant;
        let folder = self.folder.path().display();
        let qlik = format!(
            "qlik:\n  host: 127.0.0.1\n  user: LAB\\sa\n  certificates: {{ client: {folder}/client.pem, \
             key: {folder}/client_key.pem, ca: {folder}/root.pem }}\n  ports: {{ repository: {} }}\n",
            self.simulator.port()
        );
        let on = if nobody_wants { "    on: []\n" } else { "" };
        format!(
            "version: 1\n{}scriptLog: {{ enabled: {script_log} }}\nstore: {{ path: butler.db{store} }}\n\
             udp: {{ listen: \"127.0.0.1:0\" }}\nrest: {{ listen: \"127.0.0.1:0\" }}\npluginDirs: [plugins]\nplugins:\n  \
             - use: webhook\n{on}    settings: {{ url: \"{}\"{webhook} }}\n  - use: console\n    on: []\n  - use: teams\n    \
             on: []\n    settings: {{ webhookUrl: \"{}\" }}\n{neighbour}",
            if without_qlik { "" } else { &qlik },
            self.sink.url("/hook"),
            self.sink.url("/teams"),
        )
    }

    /// Starts a daemon with a new store, and waits until its instances run.
    pub async fn butler(&self, variant: Variant) -> anyhow::Result<Butler> {
        let folder = Arc::new(TempDir::new().context("a folder cannot be made")?);
        self.butler_in(folder, variant).await
    }

    /// The same in a folder that may have a store.
    pub async fn butler_in(&self, folder: Arc<TempDir>, variant: Variant) -> anyhow::Result<Butler> {
        let butler = Butler::start_in(folder, &self.config(variant), &[]).await;
        instances_run(&butler).await?;
        Ok(butler)
    }
}

/// Waits until all instances run: the daemon is ready before.
async fn instances_run(butler: &Butler) -> anyhow::Result<()> {
    e2e::wait_for("all instances to run", || async {
        let (_, answer) = butler.get("/v5/plugins").await;
        let instances = answer["plugins"].as_array()?;
        instances.iter().all(|instance| instance["condition"]["state"] == "running").then_some(())
    })
    .await;
    Usage::at_rest(butler.pid()).await.map(drop)
}

/// A sender of datagrams to a daemon.
pub fn sender(butler: &Butler) -> anyhow::Result<Sender> {
    Sender::to(butler.udp())
}

/// A counter of `/metrics`.
pub async fn counter(butler: &Butler, series: &str) -> anyhow::Result<f64> {
    butler.metric(series).await.with_context(|| format!("/metrics has no {series}"))
}

/// Datagrams that were dropped, by Butler for want of room and by the kernel.
pub async fn drops(butler: &Butler) -> anyhow::Result<(f64, f64)> {
    let own = counter(butler, "butler_udp_dropped_total{reason=\"buffer-full\"}").await?;
    Ok((own, counter(butler, "butler_udp_kernel_dropped_total").await?))
}

/// The receive buffer that the system granted, in MB; the daemon asks for 4.
pub fn receive_buffer_mb(butler: &Butler) -> anyhow::Result<f64> {
    let log = butler.log();
    let Some((_, rest)) = log.split_once("udp.receive_buffer_bytes=") else {
        bail!("the daemon does not log its receive buffer:\n{log}");
    };
    let digits = rest.split(|letter: char| !letter.is_ascii_digit()).next().unwrap_or_default();
    Ok(digits.parse::<f64>()? / f64::from(1 << 20))
}

/// The store of a daemon.
pub fn store_of(folder: &Path) -> std::path::PathBuf {
    folder.join("butler.db")
}
