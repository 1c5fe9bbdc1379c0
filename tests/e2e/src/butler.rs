//! The executable as a child process.

use std::io::Read;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use serde_json::Value;
use tempfile::{NamedTempFile, TempDir};

use crate::{Launcher, butler_exe, http, provide_plugins_for, wait_for};

/// A running daemon. It is killed when it is dropped.
pub struct Butler {
    child: Child,
    launcher: Launcher,
    folder: Arc<TempDir>,
    config: PathBuf,
    environment: Vec<(String, String)>,
    log: NamedTempFile,
    stdout: NamedTempFile,
    run: Value,
}

/// What is left of a daemon that was killed.
pub struct Killed {
    launcher: Launcher,
    folder: Arc<TempDir>,
    config: PathBuf,
    environment: Vec<(String, String)>,
}

impl Killed {
    /// A daemon that has not been started yet.
    pub(crate) fn of(
        launcher: Launcher,
        folder: Arc<TempDir>,
        config: PathBuf,
        environment: Vec<(String, String)>,
    ) -> Self {
        Self { launcher, folder, config, environment }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it again.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start(self) -> Butler {
        Butler::spawn(self).await
    }
}

/// What a command of the executable printed.
#[derive(Debug)]
pub struct Output {
    /// Exit code; -1 after a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs the executable to its end.
///
/// # Panics
/// When it cannot be started, or does not end.
pub fn run(arguments: &[&str]) -> Output {
    run_with(arguments, &[])
}

/// The same with environment variables.
///
/// # Panics
/// When it cannot be started, or does not end.
pub fn run_with(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(butler_exe());
    run_command(command.env_remove("BUTLER_CONFIG").envs(environment.iter().copied()), arguments)
}

/// The same as [`run`] in a folder.
///
/// # Panics
/// When it cannot be started, or does not end.
pub fn run_in(folder: &Path, arguments: &[&str]) -> Output {
    run_command(Command::new(butler_exe()).env_remove("BUTLER_CONFIG").current_dir(folder), arguments)
}

/// The same by a command of one's own, to which these arguments are given.
///
/// # Panics
/// When it cannot be started, or does not end.
pub fn run_command(command: &mut Command, arguments: &[&str]) -> Output {
    let mut child = command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the executable starts");
    let pipes = [drain(child.stdout.take()), drain(child.stderr.take())];
    let until = std::time::Instant::now() + crate::PATIENCE;
    let status = loop {
        match child.try_wait().expect("a child can be waited for") {
            Some(status) => break Some(status),
            None if std::time::Instant::now() > until => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            None => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    };
    let [stdout, stderr] = pipes.map(|pipe| pipe.join().expect("a reader of a pipe does not panic"));
    let Some(status) = status else { panic!("`butler {}` does not end:\n{stdout}{stderr}", arguments.join(" ")) };
    Output { code: status.code().unwrap_or(-1), stdout, stderr }
}

/// The same as [`run`] without holding up the simulators and the sinks of the test.
///
/// # Panics
/// When it cannot be started, or does not end.
pub async fn command(arguments: &[&str]) -> Output {
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let run = move || run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.expect("the command can be run")
}

/// Asks a process to stop (SIGTERM).
pub fn stop_gently(child: &Child) {
    #[cfg(unix)]
    signal(child, nix::sys::signal::Signal::SIGTERM);
    #[cfg(not(unix))]
    let _ = child;
}

/// What a Ctrl-C at its terminal sends to a process (SIGINT).
pub(crate) fn interrupt(child: &Child) {
    #[cfg(unix)]
    signal(child, nix::sys::signal::Signal::SIGINT);
    #[cfg(not(unix))]
    let _ = child;
}

/// Lets a process stand still; it does when this returns.
///
/// # Panics
/// When it has ended.
#[cfg(unix)]
pub fn stand_still(child: &Child) {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    signal(child, nix::sys::signal::Signal::SIGSTOP);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap_or_default());
    let status = waitpid(pid, Some(WaitPidFlag::WUNTRACED));
    assert!(matches!(status, Ok(WaitStatus::Stopped(..))), "it does not stand still: {status:?}");
}

/// Lets a process go on that stands still.
#[cfg(unix)]
pub fn go_on(child: &Child) {
    signal(child, nix::sys::signal::Signal::SIGCONT);
}

#[cfg(unix)]
fn signal(child: &Child, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap_or_default());
    let _ = nix::sys::signal::kill(pid, signal);
}

impl Butler {
    /// Starts the daemon in a folder of its own with this config and waits until it is ready.
    ///
    /// The config need not name store and addresses: `store: { path: butler.db }`, `udp: { listen: 127.0.0.1:0 }` and
    /// `rest: { listen: 127.0.0.1:0 }` are added where these sections are missing.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start(config: &str) -> Self {
        Self::start_with(config, &[]).await
    }

    /// The same with environment variables.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start_with(config: &str, environment: &[(&str, &str)]) -> Self {
        let folder = Arc::new(TempDir::new().expect("a folder can be made"));
        Self::start_in(folder, config, environment).await
    }

    /// The same in a folder that exists.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start_in(folder: Arc<TempDir>, config: &str, environment: &[(&str, &str)]) -> Self {
        let path = Self::prepare(&folder, config);
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self::spawn(Killed::of(Launcher::Here, folder, path, environment)).await
    }

    /// Writes the config into a folder, with the test plugins that it uses, and starts nothing; the file of the config.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn prepare(folder: &TempDir, config: &str) -> PathBuf {
        Self::prepare_for(&Launcher::Here, folder, config)
    }

    pub(crate) fn prepare_for(launcher: &Launcher, folder: &TempDir, config: &str) -> PathBuf {
        let path = folder.path().join("butler.yaml");
        std::fs::write(&path, complete(config)).expect("the config can be written");
        provide_plugins_for(launcher, folder.path(), config);
        path
    }

    /// Runs it with a config that is in a folder already, whole.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn run_config(folder: Arc<TempDir>, config: &str) -> Self {
        let config = folder.path().join(config);
        Self::spawn(Killed::of(Launcher::Here, folder, config, Vec::new())).await
    }

    async fn spawn(what: Killed) -> Self {
        let Killed { launcher, folder, config, environment } = what;
        let (log, stdout) = (output_file(), output_file());
        // Where tests have the store, and where configs have it that do not say where.
        let run_files = ["butler.db.run.json", "data/butler.db.run.json"].map(|file| config.with_file_name(file));
        let read = |file: &PathBuf| serde_json::from_slice::<Value>(&std::fs::read(file).ok()?).ok();
        let before = run_files.iter().find_map(read).unwrap_or_default();
        let child = launcher
            .command()
            .arg("run")
            .arg("-c")
            .arg(launcher.path(&config))
            .env_remove("BUTLER_CONFIG")
            .envs(environment.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(stdout.reopen().expect("the file can be opened"))
            .stderr(log.reopen().expect("the file can be opened"))
            .spawn()
            .expect("the executable starts");
        let mut butler = Self { child, launcher, folder, config, environment, log, stdout, run: Value::Null };
        let until = std::time::Instant::now() + crate::PATIENCE;
        loop {
            let ours = |run: &Value| butler.launcher.is_run_of(run, &butler.child, &before);
            if let Some(run) = run_files.iter().filter_map(read).find(ours) {
                butler.run = run;
                return butler;
            }
            if let Ok(Some(status)) = butler.child.try_wait() {
                panic!("the daemon ended with {status}:\n{}", butler.log());
            }
            assert!(std::time::Instant::now() < until, "the daemon does not become ready:\n{}", butler.log());
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its config file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Replaces its config file, for a reload.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn rewrite(&self, config: &str) {
        Self::prepare_for(&self.launcher, &self.folder, config);
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Address of its REST server: `http://127.0.0.1:…`.
    ///
    /// # Panics
    /// When the run file does not have it.
    pub fn rest(&self) -> &str {
        self.run["rest"].as_str().expect("the run file names the REST server")
    }

    /// Its admin token.
    ///
    /// # Panics
    /// When the run file does not have it.
    pub fn token(&self) -> &str {
        self.run["token"].as_str().expect("the run file has a token")
    }

    /// Address of its UDP socket.
    ///
    /// # Panics
    /// When the run file does not have it.
    pub fn udp(&self) -> &str {
        self.run["udp"].as_str().expect("the config has UDP")
    }

    /// Address of its UDP socket for sessions.
    ///
    /// # Panics
    /// When the run file does not have it.
    pub fn udp_sessions(&self) -> &str {
        self.run["udpSessions"].as_str().expect("the config has a port for sessions")
    }

    /// Sends datagrams.
    ///
    /// # Panics
    /// When the system does not send.
    pub fn send(&self, messages: &[impl AsRef<[u8]>]) {
        self.send_to(self.udp(), messages);
    }

    /// Sends datagrams to one of its sockets.
    ///
    /// # Panics
    /// When the system does not send.
    pub fn send_to(&self, address: &str, messages: &[impl AsRef<[u8]>]) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
        for message in messages {
            socket.send_to(message.as_ref(), address).expect("loopback takes datagrams");
        }
    }

    /// GET with the admin token; the status and the JSON of the answer.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let answer = http().get(format!("{}{path}", self.rest())).bearer_auth(self.token()).send().await;
        let answer = answer.expect("the daemon answers");
        let status = answer.status().as_u16();
        let bytes = answer.bytes().await.expect("the daemon answers whole");
        (
            status,
            serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes).into_owned())),
        )
    }

    /// POST of JSON with the admin token; the status and the JSON of the answer.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = http().post(format!("{}{path}", self.rest())).bearer_auth(self.token());
        let request = request.header("content-type", "application/json").body(body.to_string());
        let answer = request.send().await.expect("the daemon answers");
        let status = answer.status().as_u16();
        let bytes = answer.bytes().await.expect("the daemon answers whole");
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// An event by the API, with its deliveries; null if there is none.
    pub async fn event(&self, id: &str) -> Value {
        let (status, event) = self.get(&format!("/v5/events/{id}")).await;
        if status == 200 { event } else { Value::Null }
    }

    /// Waits until the newest event about a task is routed, and returns it with its deliveries.
    ///
    /// # Panics
    /// When there is none in time.
    pub async fn wait_routed(&self, task: &str, kind: &str) -> Value {
        let id = wait_for(&format!("a routed event {kind} about {task}"), || async {
            let (_, answer) = self.get(&format!("/v5/events?task={task}&kind={kind}&limit=1")).await;
            let event = &answer["events"][0];
            (event["state"] == "routed").then(|| event["id"].as_str().map(str::to_owned)).flatten()
        })
        .await;
        self.event(&id).await
    }

    /// One value of `/metrics`: the sample whose name and labels are exactly this text.
    pub async fn metric(&self, series: &str) -> Option<f64> {
        let (_, page) = self.get("/metrics").await;
        let line =
            page.as_str()?.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned))?;
        line.parse().ok()
    }

    /// Waits until a metric has a value.
    ///
    /// # Panics
    /// When it does not.
    #[allow(clippy::float_cmp, reason = "counters hold whole numbers")]
    pub async fn wait_metric(&self, series: &str, value: f64) {
        wait_for(&format!("{series} {value}"), || async { (self.metric(series).await == Some(value)).then_some(()) })
            .await;
    }

    /// Deliveries by the API, the newest first.
    pub async fn deliveries(&self, query: &str) -> Vec<Value> {
        let (_, answer) = self.get(&format!("/v5/deliveries?{query}")).await;
        answer["deliveries"].as_array().cloned().unwrap_or_default()
    }

    /// Waits for a delivery in a state.
    ///
    /// # Panics
    /// When there is none in time.
    pub async fn wait_delivery(&self, state: &str, instance: &str) -> Value {
        let query = format!("state={state}&instance={instance}");
        wait_for(&format!("a delivery to {instance} that is {state}; log:\n{}", self.log()), || async {
            self.deliveries(&query).await.into_iter().next()
        })
        .await
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        text(&self.log)
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// Asks it to stop and waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn stop(mut self) -> (ExitStatus, String) {
        self.launcher.stop_gently(&self.child);
        let status = self.wait_end().await;
        (status, self.log())
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn wait_end(&mut self) -> ExitStatus {
        let until = std::time::Instant::now() + crate::PATIENCE;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status;
            }
            assert!(std::time::Instant::now() < until, "the daemon does not end:\n{}", self.log());
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Kills it (SIGKILL) and starts it again in the same folder.
    ///
    /// # Panics
    /// When it does not become ready again.
    pub async fn kill_and_start(self) -> Self {
        self.kill().start().await
    }

    /// Kills it (SIGKILL).
    pub fn kill(mut self) -> Killed {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let (folder, config) = (self.folder.clone(), self.config.clone());
        Killed { launcher: self.launcher.clone(), folder, config, environment: self.environment.clone() }
    }
}

impl Drop for Butler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Adds the sections that a test does not care for.
fn complete(config: &str) -> String {
    let mut text = config.to_owned();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let has = |key: &str| config.lines().any(|line| line.starts_with(key));
    for (key, section) in [
        ("version:", "version: 1\n"),
        ("store:", "store: { path: butler.db }\n"),
        ("udp:", "udp: { listen: \"127.0.0.1:0\" }\n"),
        ("rest:", "rest: { listen: \"127.0.0.1:0\" }\n"),
        ("pluginDirs:", "pluginDirs: [plugins]\n"),
    ] {
        if !has(key) {
            text.push_str(section);
        }
    }
    text
}

/// Where the daemon writes what a test reads while it runs: a file, not a pipe, so that a line that was written before an
/// answer is there when the answer is.
fn output_file() -> NamedTempFile {
    NamedTempFile::new().expect("a file can be made")
}

fn text(file: &NamedTempFile) -> String {
    String::from_utf8_lossy(&std::fs::read(file.path()).expect("the file can be read")).into_owned()
}

/// Reads a pipe to its end on a thread of its own.
fn drain(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
