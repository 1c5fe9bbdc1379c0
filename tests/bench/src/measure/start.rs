//! From the start of the process until the daemon says that it is ready.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use e2e::{butler_exe, stop_gently};
use serde_json::Value;
use tempfile::TempDir;

use crate::lab::{Lab, Variant};
use crate::statistics::median;
use crate::table::Row;

const STARTS: usize = 15;
const LIMIT_MS: f64 = 50.0;
/// How often it is looked whether the daemon is there: far less than what is measured.
const LOOK: Duration = Duration::from_micros(200);
const PATIENCE: Duration = Duration::from_secs(40);

/// The first start in a folder makes the store; the later ones find it.
pub async fn measure() -> anyhow::Result<Vec<Row>> {
    let lab = Lab::start().await?;
    let config = lab.config(Variant::default());
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let folder = TempDir::new().context("a folder cannot be made")?;
        std::fs::write(folder.path().join("butler.yaml"), &config)?;
        first.push(time(folder.path())?);
        later.push(time(folder.path())?);
    }
    let row = |what: &str, times| {
        Row::at_most(
            format!("start to ready, {what}, three plugins (median of {STARTS})"),
            median(times),
            LIMIT_MS,
            "ms",
        )
        .original("2,200 ms")
    };
    Ok(vec![row("store exists", later), row("new store", first)])
}

/// Starts a daemon in a folder that has its config, and stops it; how many ms it took to be ready.
pub fn time(folder: &Path) -> anyhow::Result<f64> {
    let run_file = folder.join("butler.db.run.json");
    ensure!(!run_file.exists(), "{} is there before the start", run_file.display());
    let began = Instant::now();
    let mut daemon = Daemon::spawn(folder)?;
    let rest = loop {
        if let Some(address) = rest_address(&run_file) {
            break address;
        }
        daemon.check(began)?;
        std::thread::sleep(LOOK);
    };
    while !is_ready(&rest) {
        daemon.check(began)?;
        std::thread::sleep(LOOK);
    }
    let took = began.elapsed();
    daemon.stop()?;
    Ok(took.as_secs_f64() * 1_000.0)
}

struct Daemon(Child);

impl Daemon {
    fn spawn(folder: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(butler_exe());
        command.arg("run").arg("-c").arg(folder.join("butler.yaml")).env_remove("BUTLER_CONFIG");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(folder.join("log"))?);
        Ok(Self(command.spawn().context("the daemon does not start")?))
    }

    fn check(&mut self, began: Instant) -> anyhow::Result<()> {
        ensure!(self.0.try_wait()?.is_none(), "the daemon has ended");
        ensure!(began.elapsed() < PATIENCE, "the daemon does not become ready");
        Ok(())
    }

    fn stop(mut self) -> anyhow::Result<()> {
        stop_gently(&self.0);
        let status = self.0.wait()?;
        ensure!(status.success(), "the daemon ended with {status}");
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where the REST server is, as soon as the daemon has written it down.
fn rest_address(run_file: &Path) -> Option<String> {
    let run: Value = serde_json::from_slice(&std::fs::read(run_file).ok()?).ok()?;
    run["rest"].as_str()?.strip_prefix("http://").map(str::to_owned)
}

/// One request by hand: a client would cost more than the answer.
fn is_ready(address: &str) -> bool {
    let ask = || -> std::io::Result<[u8; 12]> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = format!("GET /v5/health/ready HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status)
    };
    ask().is_ok_and(|status| status == *b"HTTP/1.1 200")
}
