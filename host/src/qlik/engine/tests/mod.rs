//! The client against a simulated engine over real TLS.

mod bad_input;
mod dumps;
mod reloads;
mod sessions;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use qlik_simulator::{Engine as Simulated, Options, QlikSimulator, Site};
use tempfile::TempDir;

use super::{Dump, Engine, EngineError, EngineLimits, FollowUp, ReloadOrder};
use crate::config::{self, Secrets};
use crate::current::Current;
use crate::qlik::Repository;

const APP: &str = Site::SAMPLE_APP;
const OTHER_APP: &str = Site::SAMPLE_APP_OF_MAILLESS_OWNER;

/// What was started, by whose order.
type Started = Arc<Mutex<Vec<(Vec<String>, String)>>>;

struct Lab {
    simulator: QlikSimulator,
    config: config::Qlik,
    folder: TempDir,
    started: Started,
}

async fn lab() -> Lab {
    lab_with(Options::default()).await
}

async fn lab_with(options: Options) -> Lab {
    let simulator = QlikSimulator::start(options).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files = simulator.certificates().write_to(folder.path()).unwrap();
    let ports = config::QlikPorts {
        repository: simulator.addr().port(),
        engine: simulator.engine_addr().port(),
        ..config::QlikPorts::default()
    };
    let config = config::Qlik {
        host: "127.0.0.1".to_owned(),
        user: r"INTERNAL\sa_repository".to_owned(),
        certificates: config::Certificates::pem(files.client, files.client_key, files.root),
        verify: config::Verify::Full,
        ports,
        reconcile: config::Reconcile::default(),
        alert_on: config::AlertOn::default(),
        notifications: None,
        start_task_filter: None,
        writes: Vec::new(),
    };
    Lab { simulator, config, folder, started: Started::default() }
}

impl Lab {
    fn simulated(&self) -> &Simulated {
        self.simulator.engine()
    }

    fn engine(&self) -> Arc<Engine> {
        self.engine_with(limits())
    }

    fn engine_with(&self, limits: EngineLimits) -> Arc<Engine> {
        let repository = Arc::new(Repository::new(&self.config).unwrap());
        let started = self.started.clone();
        let follow_up: FollowUp = Arc::new(move |tasks, caller| {
            started.lock().unwrap_or_else(PoisonError::into_inner).push((tasks, caller));
            Box::pin(std::future::ready(()))
        });
        let secrets = Secrets::new(["s3cret-value".to_owned()]);
        let secrets = Arc::new(Current::new(secrets));
        Arc::new(Engine::with_limits(&self.config, repository, secrets, follow_up, limits))
    }

    fn started(&self) -> Vec<(Vec<String>, String)> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until all sessions have ended, and answers with their close codes.
    async fn close_codes(&self) -> Vec<Option<u16>> {
        eventually(|| self.simulated().open_sessions() == 0).await;
        self.simulated().ended_sessions().iter().map(|session| session.close_code).collect()
    }
}

/// Limits that a test can wait for, where it does not wait for what must come.
fn limits() -> EngineLimits {
    EngineLimits { progress: Duration::from_millis(20), ..EngineLimits::default() }
}

async fn eventually(mut condition: impl FnMut() -> bool) {
    let until = tokio::time::Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(tokio::time::Instant::now() < until, "waited in vain");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn json(dump: &Dump) -> serde_json::Value {
    serde_json::from_slice(&dump.json).unwrap()
}

fn order(app: &str) -> ReloadOrder {
    ReloadOrder {
        app: app.to_owned(),
        on_success: vec!["s2".to_owned(), "s1".to_owned()],
        on_failure: vec!["f1".to_owned()],
        caller: "tester".to_owned(),
        ..ReloadOrder::default()
    }
}

fn code(error: &EngineError) -> Option<i64> {
    match error {
        EngineError::Call { code, .. } => Some(*code),
        _ => None,
    }
}
