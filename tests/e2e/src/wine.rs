//! The executable for Windows under Wine; `tests/windows/run.sh` builds it and says in the environment where it is.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use crate::butler::run_command;
use crate::{Butler, Killed, Launcher, Output};

/// Wine with a build for Windows.
#[derive(Debug, Clone)]
pub struct Wine {
    /// The executable, its plugins and the programs of the tests.
    build: PathBuf,
    prefix: PathBuf,
}

impl Wine {
    /// That of the environment: `BUTLER_WINDOWS_BUILD`, `WINEPREFIX`.
    ///
    /// # Panics
    /// When these are missing.
    #[allow(clippy::new_without_default, reason = "it panics outside of its script")]
    pub fn new() -> Self {
        let folder = |name: &str| {
            let path = std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_dir());
            path.unwrap_or_else(|| panic!("{name} names no folder: run `tests/windows/run.sh`"))
        };
        Self { build: folder("BUTLER_WINDOWS_BUILD"), prefix: folder("WINEPREFIX") }
    }

    /// A file of the build.
    ///
    /// # Panics
    /// When it is not there.
    pub fn file(&self, name: &str) -> PathBuf {
        let path = self.build.join(name);
        assert!(path.is_file(), "{} is missing: run `tests/windows/run.sh`", path.display());
        path
    }

    /// A program of the build.
    ///
    /// # Panics
    /// When it is not there.
    pub fn command(&self, program: &str) -> Command {
        self.command_of(&self.file(program))
    }

    /// A program for Windows by the path of its file.
    pub fn command_of(&self, program: &Path) -> Command {
        let mut command = Command::new("/usr/lib/wine/wine64");
        command.arg(program).env("WINEDEBUG", "-all").env("WINEPREFIX", &self.prefix).env_remove("BUTLER_CONFIG");
        command
    }

    /// A folder on its drive `C:`, which is in the prefix.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn folder_on_c(&self, name: &str) -> Arc<TempDir> {
        let made = tempfile::Builder::new().prefix(name).tempdir_in(self.drive_c());
        Arc::new(made.expect("a folder can be made"))
    }

    /// Where the drive `C:` is.
    pub fn drive_c(&self) -> PathBuf {
        self.prefix.join("drive_c")
    }

    /// A path as programs for Windows know it: on the drive `C:` of the prefix, or on `Z:`, which is the whole system.
    ///
    /// # Panics
    /// When it is no absolute path in UTF-8.
    pub fn path(path: &Path) -> String {
        assert!(path.is_absolute(), "{} is not absolute", path.display());
        let text = path.to_str().expect("paths of tests are UTF-8");
        let (drive, rest) =
            text.split_once("/drive_c/").map_or(("Z:", text.trim_start_matches('/')), |(_, c)| ("C:", c));
        format!(r"{drive}\{}", rest.replace('/', r"\"))
    }

    /// Runs a command of the executable to its end.
    ///
    /// # Panics
    /// When it cannot be started, or does not end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        run_command(&mut self.command("butler.exe"), arguments)
    }

    /// The same in a folder, with variables of the environment.
    ///
    /// # Panics
    /// When it cannot be started, or does not end.
    pub fn run_in(&self, folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut command = self.command("butler.exe");
        run_command(command.current_dir(folder).envs(environment.iter().copied()), arguments)
    }

    /// The same as [`run`](Self::run) without holding up the simulators and the sinks of the test.
    ///
    /// # Panics
    /// When it cannot be started, or does not end.
    pub async fn ask(&self, arguments: &[&str]) -> Output {
        let (wine, arguments) =
            (self.clone(), arguments.iter().map(|&argument| argument.to_owned()).collect::<Vec<_>>());
        let run = move || wine.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        tokio::task::spawn_blocking(run).await.expect("the command can be run")
    }

    /// Starts a daemon in a folder with this config, completed as by [`Butler::start`], and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn butler(&self, folder: &Arc<TempDir>, config: &str) -> Butler {
        self.butler_with(folder, config, &[]).await
    }

    /// The same with variables of the environment.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn butler_with(&self, folder: &Arc<TempDir>, config: &str, environment: &[(&str, &str)]) -> Butler {
        let launcher = Launcher::Wine(self.clone());
        Butler::prepare_for(&launcher, folder, config);
        self.butler_as_is(folder, environment).await
    }

    /// Starts a daemon in a folder where its config is, whole, in `butler.yaml`.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn butler_as_is(&self, folder: &Arc<TempDir>, environment: &[(&str, &str)]) -> Butler {
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let config = folder.path().join("butler.yaml");
        Killed::of(Launcher::Wine(self.clone()), folder.clone(), config, environment).start().await
    }

    /// A program of the build that is started and left to itself.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(&self, program: &str, arguments: &[&str]) -> std::process::Child {
        let mut command = self.command(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("Wine starts")
    }
}
