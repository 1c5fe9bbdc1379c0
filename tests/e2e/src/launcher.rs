//! How the executable is started: here as it is, or that of Windows by Wine.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use serde_json::Value;

use crate::{Wine, butler_exe, plugin_file, plugin_file_name, stop_gently};

/// Where the executable under test runs.
#[derive(Debug, Clone)]
pub enum Launcher {
    /// On this system.
    Here,
    /// On Windows, as far as Wine is that.
    Wine(Wine),
}

impl Launcher {
    /// The executable, without arguments.
    pub(crate) fn command(&self) -> Command {
        match self {
            Self::Here => Command::new(butler_exe()),
            Self::Wine(wine) => wine.command("butler.exe"),
        }
    }

    /// A path as the executable knows it.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        match self {
            Self::Here => path.to_owned(),
            Self::Wine(_) => Wine::path(path).into(),
        }
    }

    /// The file of a test plugin, and the name under which it is found.
    pub(crate) fn plugin(&self, plugin: &str) -> (PathBuf, String) {
        match self {
            Self::Here => (plugin_file(plugin), plugin_file_name(plugin)),
            Self::Wine(wine) => {
                let name = plugin.replace('-', "_");
                (wine.file(&format!("test_plugin_{name}.dll")), format!("butler_plugin_{name}.dll"))
            }
        }
    }

    /// Whether a run file is that of a daemon that was started as this child; `before`: the run file that was there then. By Wine
    /// its process has a number of its own.
    pub(crate) fn is_run_of(&self, run: &Value, child: &Child, before: &Value) -> bool {
        match self {
            Self::Here => run["pid"].as_u64() == Some(child.id().into()),
            Self::Wine(_) => run["token"].is_string() && run["token"] != before["token"],
        }
    }

    /// Asks a daemon to stop: SIGTERM, or Ctrl-C, which is what Wine makes of SIGINT.
    pub(crate) fn stop_gently(&self, child: &Child) {
        match self {
            Self::Here => stop_gently(child),
            Self::Wine(_) => crate::butler::interrupt(child),
        }
    }
}
