//! How fast deliveries cross into a plugin and back, with everything that the host does on the way but its store: the
//! probe of the tests, which has nothing to do with a delivery, in this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use butler::daemon;
use butler::plugins::Instance;
use butler::store::Store;
use butler_plugin_api::Outcome;
use butler_plugin_api::testing::sample_delivery;
use tempfile::TempDir;

use crate::statistics::{figure, median};
use crate::table::Row;

const RUNS: usize = 5;
const RUN: Duration = Duration::from_secs(1);
const STOP: Duration = Duration::from_secs(5);

/// With eight deliveries under way, as many as the webhook has, and with one.
pub async fn measure() -> anyhow::Result<Vec<Row>> {
    let folder = TempDir::new().context("a folder cannot be made")?;
    let config = "version: 1\npluginDirs: [plugins]\nstore: { path: butler.db }\nplugins:\n  - use: probe\n";
    let path = folder.path().join("butler.yaml");
    std::fs::write(&path, config)?;
    e2e::provide_test_plugins(folder.path(), config);
    let setup = daemon::load(&path, None).map_err(|report| anyhow::anyhow!("{report}"))?;
    let store = Store::open(&setup.loaded.config.store.path).await?;
    let shared = Arc::new(daemon::shared(&setup.loaded, store.clone(), None));
    let (Some(entry), Some(opened)) = (setup.loaded.config.plugins.first(), setup.libraries.get("probe")) else {
        bail!("the config does not name the probe");
    };
    let document = daemon::instance_document(&setup.loaded, entry);
    let instance = Instance::new(document, entry.clone(), opened.library.clone(), shared);
    instance.start().await.map_err(|error| anyhow::anyhow!("the probe does not start: {error}"))?;
    let (eight, one) = (rate(&instance, 8).await?, rate(&instance, 1).await?);
    ensure!(instance.stop(STOP).await, "the probe does not stop");
    store.close().await;
    let what = "deliveries/s into one instance, without the store";
    Ok(vec![
        Row::at_least(format!("{what}, 8 at once (median of {RUNS})"), eight, 20_000.0, "/s"),
        Row::new(format!("   {what}, one by one"), one, "/s"),
    ])
}

async fn rate(instance: &Arc<Instance>, at_once: usize) -> anyhow::Result<f64> {
    let mut rates = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let began = Instant::now();
        let tasks: Vec<_> = (0..at_once).map(|_| tokio::spawn(deliver(instance.clone(), began + RUN))).collect();
        let mut count = 0;
        for task in tasks {
            count += task.await??;
        }
        rates.push(figure(count) / began.elapsed().as_secs_f64());
    }
    Ok(median(rates))
}

async fn deliver(instance: Arc<Instance>, until: Instant) -> anyhow::Result<u64> {
    let delivery = sample_delivery("reload-task.failed");
    let mut count = 0;
    while Instant::now() < until {
        let outcomes = instance.deliver(vec![delivery.clone()]).await;
        ensure!(matches!(outcomes[..], [Outcome::Delivered]), "the probe does not deliver: {outcomes:?}");
        count += 1;
    }
    Ok(count)
}
