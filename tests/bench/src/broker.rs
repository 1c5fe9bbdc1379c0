//! Mosquitto on loopback, and a client of it that counts.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// A broker, and a subscriber in a process of its own. Both end when it is dropped.
pub struct Broker {
    broker: Child,
    subscriber: Child,
    shared: Arc<Mutex<Heard>>,
}

/// What the subscriber heard.
#[derive(Debug, Default, Clone, Copy)]
pub struct Heard {
    /// Messages.
    pub messages: usize,
    /// When the first came.
    pub first: Option<Instant>,
    /// When the last came.
    pub last: Option<Instant>,
}

impl Broker {
    /// Starts both; the subscriber hears one topic.
    pub async fn start(folder: &Path, port: u16, topic: &str) -> anyhow::Result<Self> {
        let config = folder.join("mosquitto.conf");
        // Nothing is dropped for a subscriber that lags.
        let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n");
        std::fs::write(&config, text).context("the config of Mosquitto cannot be written")?;
        let missing = "Mosquitto is missing: install the packages of tests/packages.txt";
        let broker = Command::new("mosquitto").arg("-c").arg(&config).stderr(Stdio::null()).spawn().context(missing)?;
        let port_is_open = || async move { tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok() };
        e2e::wait_for("Mosquitto to listen", port_is_open).await;
        let mut subscriber = Command::new("mosquitto_sub")
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", topic, "-F", "%t"])
            .stdout(Stdio::piped())
            .spawn()
            .context(missing)?;
        let shared = Arc::<Mutex<Heard>>::default();
        if let Some(output) = subscriber.stdout.take() {
            let heard = shared.clone();
            std::thread::Builder::new().name("subscriber".to_owned()).spawn(move || {
                for line in BufReader::new(output).lines() {
                    if line.is_err() {
                        return;
                    }
                    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                    let now = Instant::now();
                    heard.messages += 1;
                    heard.first.get_or_insert(now);
                    heard.last = Some(now);
                }
            })?;
        }
        Ok(Self { broker, subscriber, shared })
    }

    /// Waits until so many messages were heard, or none was for a time.
    pub async fn wait(&self, messages: usize, patience: Duration) -> Heard {
        let heard = || *self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut seen, mut changed) = (heard(), Instant::now());
        while seen.messages < messages && changed.elapsed() < patience {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let now = heard();
            if now.messages != seen.messages {
                (seen, changed) = (now, Instant::now());
            }
        }
        seen
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        for child in [&mut self.subscriber, &mut self.broker] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
