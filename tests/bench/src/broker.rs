//! Mosquitto on loopback, and a client of it that notes what it hears.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

use crate::arrivals::Arrivals;

const MISSING: &str = "Mosquitto is missing: install the packages of tests/packages.txt";

/// Topic and payload of a message by which the subscriber is known to listen.
const READY: &str = "bench/ready";

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
        let port = port.to_string();
        let mut subscriber = Command::new("mosquitto_sub")
            .args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", topic, "-t", READY])
            .stdout(Stdio::piped())
            .spawn()
            .context(MISSING)?;
        let output = subscriber.stdout.take();
        broker.processes.push(subscriber);
        let listens = Arc::new(AtomicBool::new(false));
        if let Some(output) = output {
            let (arrivals, listens) = (broker.arrivals.clone(), listens.clone());
            std::thread::Builder::new().name("subscriber".to_owned()).spawn(move || {
                for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                    if line == READY.as_bytes() {
                        listens.store(true, Ordering::Relaxed);
                    }
                    arrivals.note(&line, b"\"executionId\":\"");
                }
            })?;
        }
        let hears = || async {
            let publish =
                Command::new("mosquitto_pub").args(["-h", "127.0.0.1", "-p", &port, "-t", READY, "-m", READY]).status();
            (publish.is_ok() && listens.load(Ordering::Relaxed)).then_some(())
        };
        e2e::wait_for("the subscriber to hear", hears).await;
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
