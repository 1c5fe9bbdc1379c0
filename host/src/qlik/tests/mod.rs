//! The client and the look-ups against a simulated QRS over real TLS.

mod answers;
mod batched;
mod client;
mod encrypted;
mod ended;
mod lookups;
mod pfx;
mod renewal;
mod script_logs;
mod tasks;

use std::sync::Arc;

use butler_plugin_api::{App, Data, Execution, LogLine, Task};
use jiff::Timestamp;
use qlik_simulator::{Options, QlikSimulator, Site};
use tempfile::TempDir;

use super::{Limits, Lookups, Repository};
use crate::config;

const EXECUTION: &str = "6f1cba14-59d6-4a0f-9a3d-2f6f4b8f0a11";

struct Lab {
    simulator: QlikSimulator,
    config: config::Qlik,
    folder: TempDir,
}

async fn lab(options: Options) -> Lab {
    let simulator = QlikSimulator::start(options).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files = simulator.certificates().write_to(folder.path()).unwrap();
    let config = config::Qlik {
        host: "127.0.0.1".to_owned(),
        user: r"INTERNAL\sa_repository".to_owned(),
        certificates: config::Certificates::pem(files.client, files.client_key, files.root),
        verify: config::Verify::Full,
        ports: config::QlikPorts {
            repository: simulator.addr().port(),
            system_info: simulator.system_info_addr().port(),
            ..config::QlikPorts::default()
        },
        reconcile: config::Reconcile::default(),
        alert_on: config::AlertOn::default(),
        notifications: None,
        start_task_filter: None,
        writes: Vec::new(),
    };
    Lab { simulator, config, folder }
}

impl Lab {
    fn repository(&self) -> Repository {
        Repository::new(&self.config).unwrap()
    }

    fn limited(&self, limits: Limits) -> Repository {
        Repository::with_limits(&self.config, limits).unwrap()
    }

    fn lookups(&self) -> Lookups {
        Lookups::new(Arc::new(self.repository()), &config::ScriptLog::default(), 16)
    }

    fn site(&self) -> &Site {
        self.simulator.site()
    }

    fn requests(&self) -> u64 {
        self.simulator.counts().requests
    }
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

fn heard(task: &str, execution: Option<&str>) -> Data {
    Data {
        task: Some(Task { id: task.to_owned(), name: "Task of the line".to_owned(), ..Task::default() }),
        app: Some(Box::new(App {
            id: Site::SAMPLE_APP.to_owned(),
            name: "App of the line".to_owned(),
            ..App::default()
        })),
        execution: execution.map(|id| Execution { id: Some(id.to_owned()), ..Execution::default() }),
        log: Some(LogLine { message: "Max retries reached".to_owned(), ..LogLine::default() }),
        node: Some("node-of-the-line".to_owned()),
        user: Some(r"LAB\ann".to_owned()),
        ..Data::default()
    }
}
