//! Mosquitto on loopback, and a client of it that notes what it hears.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;

use crate::arrivals::Arrivals;

const MISSING: &str = "Mosquitto is missing: install the packages of tests/packages.txt";

/// A broker, and a subscriber in a process of its own. Both end when it is dropped.
pub struct Broker {
    processes: Vec<Child>,
    arrivals: Arrivals,
}

impl Broker {
    /// Starts both; the subscriber hears one topic, whose payload is the event as Butler 16 sent it.
    pub async fn start(folder: &Path, port: u16, topic: &str) -> anyhow::Result<Self> {
        let config = folder.join("mosquitto.conf");
        // Nothing is dropped for a subscriber that lags.
        let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n");
        std::fs::write(&config, text).context("the config of Mosquitto cannot be written")?;
        let mut broker = Self { processes: Vec::new(), arrivals: Arrivals::default() };
        let process = Command::new("mosquitto").arg("-c").arg(&config).stderr(Stdio::null()).spawn();
        broker.processes.push(process.context(MISSING)?);
        let port_is_open = || async move { tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok() };
        e2e::wait_for("Mosquitto to listen", port_is_open).await;
        // `-d` says when the subscription stands.
        let mut subscriber = Command::new("mosquitto_sub")
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-d", "-t", topic])
            .stdout(Stdio::piped())
            .spawn()
            .context(MISSING)?;
        let output = subscriber.stdout.take();
        broker.processes.push(subscriber);
        let (stands, standing) = tokio::sync::oneshot::channel();
        if let Some(output) = output {
            let arrivals = broker.arrivals.clone();
            std::thread::Builder::new().name("subscriber".to_owned()).spawn(move || {
                let mut stands = Some(stands);
                for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                    if line.starts_with(b"Subscribed") {
                        stands.take().map(|stands| stands.send(()));
                    }
                    arrivals.note(&line, b"\"executionId\":\"");
                }
            })?;
        }
        standing.await.context("the subscriber ended")?;
        Ok(broker)
    }

    /// What was heard so far.
    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
