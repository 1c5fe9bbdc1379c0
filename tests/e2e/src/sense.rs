//! A simulated Qlik Sense with a daemon beside it, and what its log appenders send.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ::butler::ingest::sample;
use qlik_simulator::{Options, QlikSimulator, Run, Status};
use tempfile::TempDir;

use crate::Butler;

pub use ::butler::ingest::sample::Fields;

/// A simulated Qlik Sense, with a folder for a daemon that asks it.
pub struct Sense {
    simulator: QlikSimulator,
    folder: Arc<TempDir>,
}

impl Deref for Sense {
    type Target = QlikSimulator;

    fn deref(&self) -> &QlikSimulator {
        &self.simulator
    }
}

impl Sense {
    /// Starts one with the sample site.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    /// Starts one.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn with(options: Options) -> Self {
        let simulator = QlikSimulator::start(options).await.expect("the simulator starts");
        let folder = Arc::new(TempDir::new().expect("a folder can be made"));
        simulator.certificates().write_to(folder.path().join("certificates")).expect("the folder can be written");
        Self { simulator, folder }
    }

    /// The folder of its daemon; the exported files are in `certificates`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The same, to share it with a daemon.
    pub fn shared_folder(&self) -> Arc<TempDir> {
        self.folder.clone()
    }

    /// The section `qlik:` of a daemon that asks it; `more` is added, such as `verify: chain`. Without `reconcile:` in it the
    /// daemon asks only for the facts of what it has heard.
    pub fn section(&self, more: &str) -> String {
        let folder = "certificates";
        self.section_by(
            &format!("{{ client: {folder}/client.pem, key: {folder}/client_key.pem, ca: {folder}/root.pem }}"),
            more,
        )
    }

    /// The same with other certificates.
    pub fn section_by(&self, certificates: &str, more: &str) -> String {
        let (port, engine) = (self.simulator.addr().port(), self.simulator.engine_addr().port());
        let system_info = self.simulator.system_info_addr().port();
        let quiet = if more.contains("reconcile:") { "" } else { "reconcile: { enabled: false }\n  " };
        let more = format!("{quiet}{more}");
        format!(
            "qlik:\n  host: 127.0.0.1\n  user: LAB\\sa_repository\n  ports: {{ repository: {port}, engine: {engine}, \
             systemInfo: {system_info} }}\n  certificates: {certificates}\n  {more}\n"
        )
    }

    /// Starts a daemon in the folder with the section `qlik:` and this config; for a second time too.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn butler(&self, config: &str) -> Butler {
        self.butler_with("", config).await
    }

    /// The same with something more under `qlik:`.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn butler_with(&self, more: &str, config: &str) -> Butler {
        Butler::start_in(self.folder.clone(), &(self.section(more) + config), &[]).await
    }

    /// The same as [`butler`](Self::butler) with environment variables.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn butler_under(&self, environment: &[(&str, &str)], config: &str) -> Butler {
        Butler::start_in(self.folder.clone(), &(self.section("") + config), environment).await
    }

    /// The same by other certificates.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn butler_by(&self, certificates: &str, environment: &[(&str, &str)], config: &str) -> Butler {
        Butler::start_in(self.folder.clone(), &(self.section_by(certificates, "") + config), environment).await
    }

    /// The fields of a message about a new run of a task of the site.
    ///
    /// # Panics
    /// When the site has no such task.
    pub fn about(&self, task: &str) -> Fields {
        let site = self.simulator.site();
        let task = site.task(task).expect("the site has the task");
        let app = site.app(&task.app_id);
        Fields {
            task_name: task.name,
            task_id: task.id,
            app_name: app.as_ref().map(|app| app.name.clone()).unwrap_or_default(),
            app_id: app.map(|app| app.id).unwrap_or_default(),
            ..fields()
        }
    }

    /// A task has come to an end in the site so long ago. The fields are those of the message about it.
    ///
    /// # Panics
    /// When the site has no such task.
    pub fn ended(&self, task: &str, status: Status, ago: Duration) -> Fields {
        let fields = self.about(task);
        let run = Run::new(status).ending_at(SystemTime::now() - ago);
        self.simulator.site().run_task(task, &fields.execution_id, run).expect("the site has the task");
        fields
    }

    /// A task fails in the site. The fields are those of the message about it.
    ///
    /// # Panics
    /// When the site has no such task.
    pub fn failed(&self, task: &str) -> Fields {
        let fields = self.about(task);
        self.simulator.site().fail_task(task, &fields.execution_id).expect("the site has the task");
        fields
    }
}

/// Fields of a message about a task that nobody knows.
///
/// # Panics
/// When the system has no random numbers.
pub fn fields() -> Fields {
    Fields::random().expect("the system has random numbers")
}

/// The datagram that makes an event of this kind.
///
/// # Panics
/// When no log appender sends such a kind.
pub fn datagram(kind: &str, fields: &Fields) -> String {
    sample::message(kind.parse().expect("a log appender sends this kind"), fields)
}

/// The datagram of a failed task.
pub fn failure(fields: &Fields) -> String {
    datagram("reload-task.failed", fields)
}
