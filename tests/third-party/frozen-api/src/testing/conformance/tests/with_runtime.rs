//! Plugins that use the runtime of their own.

use tokio::sync::oneshot;

use super::*;
use crate::testing::{FakeHost, block_on, sample_delivery};

/// Sleeps by its runtime; runs a task there, which it ends unless it is one that forgets.
struct Own<const FORGETS: bool> {
    host: Host,
    end: std::sync::Mutex<Option<oneshot::Sender<()>>>,
}

impl<const FORGETS: bool> Plugin for Own<FORGETS> {
    type Settings = Settings;
    const RUNTIME: bool = true;

    fn manifest() -> Manifest {
        Manifest::new("own", "Uses its runtime").default_events(&["*.failed"])
    }

    async fn start(_: Settings, host: Host) -> Result<Self, StartError> {
        let (end, ended) = oneshot::channel::<()>();
        let kept = host.clone();
        tokio::spawn(async move {
            let _ = ended.await;
            if FORGETS {
                std::future::pending::<()>().await;
            }
            drop(kept);
        });
        Ok(Self { host, end: std::sync::Mutex::new(Some(end)) })
    }

    async fn deliver(&self, _: &Delivery) -> Result<(), DeliveryError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.host.http().post("https://a.test/").send().await?.error_for_status()?;
        Ok(())
    }

    async fn stop(&self) {
        self.end.lock().unwrap().take();
    }
}

#[test]
fn a_plugin_with_a_runtime_passes_and_runs_on_the_fake_host() {
    assert_eq!(examine::<Own<false>>(settings()), Report::default());
    let fake = FakeHost::new("own");
    block_on(async {
        let own = fake.start::<Own<false>>(settings()).await.unwrap();
        own.deliver(&sample_delivery(kind::NODE_SILENT)).await.unwrap();
    });
    assert_eq!(fake.requests().len(), 1);
}

#[test]
fn a_task_that_outlives_the_stop_is_found() {
    let report = examine::<Own<true>>(settings());
    assert!(report.faults.len() == 1 && report.faults[0].starts_with("something still holds the host"), "{report}");
}
