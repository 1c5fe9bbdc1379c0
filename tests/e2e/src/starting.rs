//! A daemon that is not waited for.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};

use crate::{PATIENCE, butler_exe, wait_for};

/// A daemon that starts, and may never be ready. It is killed when it is dropped.
pub struct Starting {
    child: Child,
    log: NamedTempFile,
}

impl Starting {
    /// Starts it with this config file.
    ///
    /// # Panics
    /// When the executable is not built.
    pub fn new(config: &Path, environment: &[(&str, &str)]) -> Self {
        let log = NamedTempFile::new().expect("a file can be made");
        let child = Command::new(butler_exe())
            .args(["run", "-c"])
            .arg(config)
            .env_remove("BUTLER_CONFIG")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.reopen().expect("the file is there"))
            .spawn();
        Self { child: child.expect("the executable starts"), log }
    }

    /// Its process.
    pub fn child(&self) -> &Child {
        &self.child
    }

    /// What it has logged.
    ///
    /// # Panics
    /// When the file has gone.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).expect("its log can be read")
    }

    /// Waits until this is in its log, and misses little of what comes then.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn wait_log(&self, text: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.log().contains(text) {
            assert!(Instant::now() < until, "`{text}` is not in the log:\n{}", self.log());
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When it goes on.
    pub async fn wait_end(&mut self) -> ExitStatus {
        let child = std::cell::RefCell::new(&mut self.child);
        let ended = || async { child.borrow_mut().try_wait().expect("a child can be waited for") };
        wait_for("the end of a start", ended).await
    }

    /// Kills it.
    ///
    /// # Panics
    /// When it had ended by itself.
    pub fn kill(mut self) {
        let ended = self.child.try_wait().expect("a child can be waited for");
        assert!(ended.is_none(), "it ended by itself with {ended:?}:\n{}", self.log());
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
