//! Mosquitto, the broker, as a child process; and its own clients, which know nothing of Butler.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tempfile::TempDir;

use crate::wait_for;

/// By a message on this topic a subscriber knows that it is one.
const READY: &str = "e2e/ready";

/// A broker. It is killed when it is dropped.
pub struct Mosquitto {
    child: Option<Child>,
    folder: TempDir,
    port: u16,
    /// What its clients are called with.
    client: Vec<String>,
    is_tls: bool,
}

/// A message as `mosquitto_sub` got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttMessage {
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: String,
    /// Quality of service by which it came.
    pub qos: u64,
    /// The broker had kept it.
    pub retained: bool,
}

impl MqttMessage {
    /// The payload as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.payload).unwrap_or_default()
    }
}

/// `mosquitto_sub`. It connects again by itself when the broker was away.
pub struct Subscriber {
    child: Child,
    messages: Arc<Mutex<Vec<MqttMessage>>>,
}

impl Mosquitto {
    /// Starts one on loopback that lets everybody in.
    pub async fn start() -> Self {
        Self::with("allow_anonymous true\nmax_queued_messages 0\n", |_| {}, &[]).await
    }

    /// The same with the limits that Mosquitto has by itself.
    pub async fn with_default_limits() -> Self {
        Self::with("allow_anonymous true\n", |_| {}, &[]).await
    }

    /// Starts one with lines of its config, after files were put into its folder (`DIR` in the lines stands for it). `client`:
    /// what its own clients need, `DIR` likewise.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn with(config: &str, prepare: impl FnOnce(&Path), client: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder can be made");
        prepare(folder.path());
        let dir = folder.path().to_str().expect("the folder's name is text").to_owned();
        let client = client.iter().map(|argument| argument.replace("DIR", &dir)).collect();
        let is_tls = config.contains("certfile");
        let mut broker = Self { child: None, folder, port: 0, client, is_tls };
        // Somebody may take the port between the two.
        for _ in 0..10 {
            let free = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
            broker.port = free.local_addr().expect("a socket has an address").port();
            drop(free);
            let port = broker.port;
            let text = format!("listener {port} 127.0.0.1\nset_tcp_nodelay true\n{}", config.replace("DIR", &dir));
            std::fs::write(broker.folder.path().join("mosquitto.conf"), text).expect("the folder can be written");
            if broker.try_start().await {
                return broker;
            }
        }
        panic!("mosquitto does not start: {}", broker.log());
    }

    async fn try_start(&mut self) -> bool {
        let log = std::fs::File::create(self.folder.path().join("log")).expect("the folder can be written");
        // As root it would become another user, who cannot read the folder.
        let child = Command::new("mosquitto")
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .spawn()
            .expect("mosquitto is installed (tests/packages.txt)");
        self.child = Some(child);
        loop {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if ended.is_some() {
                return false;
            }
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", if self.is_tls { "mqtts" } else { "mqtt" }, self.port)
    }

    /// Kills it (SIGKILL): all it had in memory is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Holds it (SIGSTOP): it keeps its connections, and reads nothing; or lets it go on (SIGCONT).
    ///
    /// # Panics
    /// When it does not run.
    pub fn hold(&self, hold: bool) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let signal = if hold { "-STOP" } else { "-CONT" };
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill is there").success());
    }

    /// Starts it again on its port.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&mut self) {
        self.kill();
        assert!(self.try_start().await, "mosquitto does not start again: {}", self.log());
    }

    /// Publishes with `mosquitto_pub`, QoS 1.
    ///
    /// # Panics
    /// When it fails.
    pub async fn publish(&self, topic: &str, payload: &str, retain: bool) {
        let mut command = self.command("mosquitto_pub");
        command.args(["-t", topic, "-q", "1", "-m", payload]);
        if retain {
            command.arg("-r");
        }
        let status = tokio::task::spawn_blocking(move || command.status()).await.expect("a command can be run");
        assert!(status.expect("mosquitto_pub is installed (tests/packages.txt)").success());
    }

    /// Listens with `mosquitto_sub`, QoS 2; ready when a message of its own has come back.
    ///
    /// # Panics
    /// When it is not there.
    pub async fn subscribe(&self, filter: &str) -> Subscriber {
        let mut command = self.command("mosquitto_sub");
        command.args(["-t", filter, "-t", READY, "-q", "2", "-F", "%j"]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto_sub is installed (tests/packages.txt)");
        let (messages, ready) = (Arc::<Mutex<Vec<MqttMessage>>>::default(), Arc::new(AtomicBool::new(false)));
        let (to, is_ready) = (messages.clone(), ready.clone());
        let stdout = child.stdout.take().expect("it is piped");
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                match read(&line) {
                    Some(message) if message.topic == READY => is_ready.store(true, Ordering::Relaxed),
                    Some(message) => to.lock().unwrap_or_else(PoisonError::into_inner).push(message),
                    None => {}
                }
            }
        });
        let subscriber = Subscriber { child, messages };
        wait_for("a subscription", || async {
            self.publish(READY, "ready", false).await;
            ready.load(Ordering::Relaxed).then_some(())
        })
        .await;
        subscriber
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]).args(&self.client).stdin(Stdio::null());
        command
    }
}

fn read(line: &str) -> Option<MqttMessage> {
    let value: Value = serde_json::from_str(line).ok()?;
    Some(MqttMessage {
        topic: value["topic"].as_str()?.to_owned(),
        payload: value["payload"].as_str().unwrap_or_default().to_owned(),
        qos: value["qos"].as_u64()?,
        retained: value["retain"] == 1,
    })
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Subscriber {
    /// What came so far.
    pub fn messages(&self) -> Vec<MqttMessage> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a message on a topic that ends so.
    ///
    /// # Panics
    /// When none comes in time.
    pub async fn wait(&self, topic: &str) -> MqttMessage {
        self.wait_that(topic, |message| message.topic.ends_with(topic)).await
    }

    /// Waits for a message of some kind.
    ///
    /// # Panics
    /// When none comes in time.
    pub async fn wait_that(&self, what: &str, fits: impl Fn(&MqttMessage) -> bool) -> MqttMessage {
        wait_for(&format!("a message: {what}"), || async { self.messages().into_iter().find(&fits) }).await
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
