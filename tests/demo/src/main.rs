//! Butler against a simulated Qlik Sense: starts the simulator, two destinations and the daemon with `config/demo.yaml`, and
//! lets reloads fail and succeed until Ctrl-C. `cargo build --workspace && target/debug/demo`

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use axum::body::Bytes;
use butler::ingest::sample::{Fields, SampleKind, message};
use qlik_simulator::{Options, QlikSimulator, Site};
use serde_json::Value;

/// Between two reloads.
const EVERY: Duration = Duration::from_secs(3);

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let root = workspace();
    let folder = tempfile::tempdir().context("no folder for the demo can be made")?;
    let simulator = QlikSimulator::start(Options::default()).await.context("the simulator does not start")?;
    let certificates = folder.path().join("certificates");
    std::fs::create_dir(&certificates)?;
    simulator.certificates().write_to(&certificates)?;
    let destinations = destinations().await?;

    println!("\nThe simulated Qlik Sense is at {}", simulator.base_url());
    println!("Standard output: the console plugin. Lines with >> come from the other two destinations.");
    println!("Ctrl-C ends all of it.\n");
    let mut butler = Daemon(
        Command::new(executable()?)
            .args(["run", "-c"])
            .arg(root.join("config/demo.yaml"))
            .env("DEMO_FOLDER", folder.path())
            .env("DEMO_QRS_PORT", simulator.addr().port().to_string())
            .env("DEMO_DESTINATIONS", format!("http://{destinations}"))
            .spawn()
            .context("Butler does not start")?,
    );
    let run = tokio::select! {
        run = run_file(folder.path()) => run?,
        status = butler.ended() => bail!("Butler ended at once: {}", status?),
    };
    println!(
        "\nREST API: {}/v5/events and more; here it needs no token, since it listens on this machine only\n",
        run["rest"].as_str().unwrap_or_default()
    );
    tokio::select! {
        result = reloads(simulator.site(), run["udp"].as_str().unwrap_or_default()) => result?,
        status = butler.ended() => bail!("Butler ended: {}", status?),
        _ = tokio::signal::ctrl_c() => {}
    }
    // The terminal sends Ctrl-C to Butler as well.
    let _ = tokio::time::timeout(Duration::from_secs(30), butler.ended()).await;
    Ok(())
}

/// The daemon as a child process; killed if the demo ends before it.
struct Daemon(Child);

impl Daemon {
    async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_owned).unwrap_or_default()
}

/// Butler's executable, in the folder of this one.
fn executable() -> anyhow::Result<PathBuf> {
    let mut path = std::env::current_exe()?;
    path.set_file_name(format!("butler{}", std::env::consts::EXE_SUFFIX));
    if !path.is_file() {
        bail!("{} is missing: run `cargo build --workspace` first", path.display());
    }
    Ok(path)
}

/// Waits until the daemon has written where it listens.
async fn run_file(folder: &Path) -> anyhow::Result<Value> {
    let path = folder.join("butler.db.run.json");
    loop {
        if let Ok(bytes) = tokio::fs::read(&path).await
            && let Ok(run) = serde_json::from_slice(&bytes)
        {
            return Ok(run);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A web server that stands for a webhook and for Teams, and prints what it gets.
async fn destinations() -> anyhow::Result<std::net::SocketAddr> {
    let router = Router::new()
        .route("/hook", axum::routing::post(async |body: Bytes| println!("  >> webhook: {}", webhook(&body))))
        .route("/teams", axum::routing::post(async |body: Bytes| println!("  >> Teams card: {}", card(&body))));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.context("loopback has no free port")?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

fn webhook(body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    format!("{} | {} | owner {} <{}>", text("event"), text("taskName"), text("appOwnerName"), text("appOwnerEmail"))
}

/// The first texts of an Adaptive Card.
fn card(body: &[u8]) -> String {
    fn texts(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                if let Some(text) = object.get("text").and_then(Value::as_str) {
                    found.push(text.to_owned());
                }
                object.values().for_each(|value| texts(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| texts(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    texts(&serde_json::from_slice(body).unwrap_or_default(), &mut found);
    found.truncate(2);
    format!("{} ({} bytes)", found.join(" | "), body.len())
}

/// Reloads end in the simulator, and the scheduler's log appender tells Butler.
async fn reloads(site: &Site, udp: &str) -> anyhow::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0").context("loopback has no free port")?;
    let tasks: Vec<_> = site.tasks().into_iter().filter(|task| task.kind == qlik_simulator::TaskKind::Reload).collect();
    for (round, task) in (0_usize..).zip(tasks.iter().cycle()) {
        let mut fields = Fields::random()?;
        fields.task_id.clone_from(&task.id);
        fields.task_name.clone_from(&task.name);
        if let Some(app) = site.app(&task.app_id) {
            fields.app_id.clone_from(&app.id);
            fields.app_name.clone_from(&app.name);
        }
        let execution = fields.execution_id.clone();
        let kind = match round % 4 {
            3 => {
                site.abort_task(&task.id, &execution)?;
                "reload-task.aborted"
            }
            1 => {
                site.succeed_task(&task.id, &execution)?;
                "reload-task.succeeded"
            }
            _ => {
                site.fail_task(&task.id, &execution)?;
                "reload-task.failed"
            }
        };
        let kind: SampleKind = kind.parse()?;
        socket.send_to(message(kind, &fields).as_bytes(), udp)?;
        tokio::time::sleep(EVERY).await;
    }
    Ok(())
}
