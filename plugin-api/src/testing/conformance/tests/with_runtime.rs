//! Plugins that use the runtime of their own.

use tokio::sync::oneshot;

use super::*;
use crate::testing::{FakeHost, block_on, sample_delivery};

/// Sleeps by its runtime; runs a task there that never ends, and may block the thread from `stop` on.
struct Own<const BLOCKS: bool> {
    host: Host,
    stopped: std::sync::Mutex<Option<oneshot::Sender<()>>>,
}

impl<const BLOCKS: bool> Plugin for Own<BLOCKS> {
    type Settings = Settings;
    const RUNTIME: bool = true;

    fn manifest() -> Manifest {
        Manifest::new("own", "Uses its runtime").default_events(&["*.failed"])
    }

    async fn start(_: Settings, host: Host) -> Result<Self, StartError> {
        let (stop, stopped) = oneshot::channel::<()>();
        let kept = host.clone();
        tokio::spawn(async move {
            tracing::info!("the task of {} runs", kept.instance().name);
            let _ = stopped.await;
            tracing::info!("stopped");
            if BLOCKS {
                loop {
                    std::thread::park();
                }
            }
            std::future::pending::<()>().await;
            drop(kept);
        });
        Ok(Self { host, stopped: std::sync::Mutex::new(Some(stop)) })
    }

    async fn deliver(&self, _: &Delivery) -> Result<(), DeliveryError> {
        if !BLOCKS {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.host.http().post("https://a.test/").send().await?.error_for_status()?;
        Ok(())
    }

    async fn stop(&self) {
        self.stopped.lock().unwrap().take();
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
fn a_task_that_blocks_the_runtime_is_found() {
    let report = examine::<Own<true>>(settings());
    assert!(report.faults.len() == 1 && report.faults[0].starts_with("something still holds the host"), "{report}");
    let fake = FakeHost::new("own");
    let own = block_on(fake.start::<Own<true>>(settings())).unwrap();
    block_on(own.stop());
    fake.wait_until("the task to block its thread", |fake| {
        fake.records().iter().any(|record| record.message == "stopped")
    });
    let shared = fake.shared.clone();
    drop((own, fake));
    let said = shared.state().records.last().map(|record| (record.level, record.message.clone()));
    assert!(said.as_ref().is_some_and(|(level, text)| *level == 1 && text.contains("blocks the thread")), "{said:?}");
}

#[test]
fn each_instance_has_a_runtime_that_ends_with_it_and_logs_in_its_name() {
    let (one, two) = (FakeHost::new("one"), FakeHost::new("two"));
    let said = |fake: &FakeHost| fake.records().into_iter().map(|record| record.message).collect::<Vec<_>>();
    let started: Vec<_> = [&one, &two]
        .into_iter()
        .map(|fake| {
            std::thread::scope(|scope| {
                scope.spawn(|| block_on(fake.start::<Own<false>>(settings())).unwrap()).join().unwrap()
            })
        })
        .collect();
    for (fake, name) in [(&one, "one"), (&two, "two")] {
        let line = format!("the task of {name} runs");
        fake.wait_until("the task to run", |fake| said(fake).contains(&line));
        assert_eq!(said(fake), [line]);
    }
    let runtimes: Vec<_> = started.iter().map(|own| own.host.runtime().id()).collect();
    assert_ne!(runtimes[0], runtimes[1]);
    let host = started[0].host.clone();
    drop(one);
    let ended = async { host.runtime().spawn(std::future::pending::<()>()).await.unwrap_err().is_cancelled() };
    assert!(block_on(ended));
}

#[test]
fn a_plugin_that_has_not_asked_for_a_runtime_is_told_how() {
    let host = FakeHost::new("own").host();
    let panic = std::panic::catch_unwind(|| host.runtime().id()).unwrap_err();
    assert!(panic.downcast_ref::<&str>().is_some_and(|text| text.contains("const RUNTIME: bool = true;")));
}
