//! A real InfluxDB 1 on loopback, with authentication.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::{http, wait_for};

/// InfluxDB with a folder and a port of its own. It is killed when it is dropped.
pub struct Influxd {
    child: Child,
    folder: TempDir,
    port: u16,
}

impl Influxd {
    /// Its administrator.
    pub const USER: &str = "butler";
    /// The administrator's password.
    pub const PASSWORD: &str = "influx-pw";

    /// Starts one without databases, and with an administrator.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn start() -> Self {
        let folder = TempDir::new().expect("a folder can be made");
        for _ in 0..5 {
            // Somebody may take the port before InfluxDB does; then the next one.
            let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
            let port = port.expect("loopback has a free port").port();
            let mut child = spawn(folder.path(), port);
            if answers(&mut child, port).await {
                let influxd = Self { child, folder, port };
                let (user, password) = (Self::USER, Self::PASSWORD);
                influxd.ask("", &format!("create user {user} with password '{password}' with all privileges")).await;
                return influxd;
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("influxd does not start");
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Kills it (SIGKILL). What it has acknowledged is on disk.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again after [`kill`](Self::kill), with the same data at the same port.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn restart(&mut self) {
        self.child = spawn(self.folder.path(), self.port);
        assert!(answers(&mut self.child, self.port).await, "influxd does not start again");
    }

    /// Runs a statement as the administrator; the first of its results.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn ask(&self, database: &str, statement: &str) -> Value {
        let request = http().post(format!("{}/query?db={database}", self.url()));
        let request = request.basic_auth(Self::USER, Some(Self::PASSWORD)).body(form(statement));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let text = request.send().await.expect("influxd answers").text().await.expect("influxd answers whole");
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let result = answer["results"][0].clone();
        assert!(result.is_object() && result["error"].is_null(), "{statement}: {text}");
        result
    }

    /// The points of a measurement, in order of time: an object each, with tags and fields by name. Empty if there is none.
    ///
    /// # Panics
    /// When the database is not there.
    pub async fn points(&self, database: &str, measurement: &str) -> Vec<Value> {
        let result = self.ask(database, &format!("select * from \"{measurement}\"")).await;
        let series = &result["series"][0];
        let columns: Vec<_> = series["columns"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let rows = series["values"].as_array().into_iter().flatten().filter_map(Value::as_array);
        let point = |row: &Vec<Value>| {
            let known = columns.iter().zip(row).filter(|(_, value)| !value.is_null());
            known.map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
        };
        rows.map(point).collect()
    }

    /// Waits for so many points of a measurement, also until the database is there.
    ///
    /// # Panics
    /// When there are more, or not so many in time.
    pub async fn wait_points(&self, database: &str, measurement: &str, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} points of {measurement}"), || async {
            let databases = self.ask("", "show databases").await;
            if !databases.to_string().contains(&format!("[\"{database}\"]")) {
                return None;
            }
            let points = self.points(database, measurement).await;
            assert!(points.len() <= count, "{} points of {measurement}", points.len());
            (points.len() == count).then_some(points)
        })
        .await
    }
}

impl Drop for Influxd {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(folder: &Path, port: u16) -> Child {
    let path = |name: &str| folder.join(name).display().to_string();
    let config = format!(
        "reporting-disabled = true\nbind-address = \"127.0.0.1:0\"\n[meta]\ndir = {:?}\nlogging-enabled = false\n[data]\ndir = \
         {:?}\nwal-dir = {:?}\nquery-log-enabled = false\n[monitor]\nstore-enabled = false\n[http]\nbind-address = \
         \"127.0.0.1:{port}\"\nauth-enabled = true\nlog-enabled = false\n[subscriber]\nenabled = false\n[ifql]\nenabled = false\n",
        path("meta"),
        path("data"),
        path("wal"),
    );
    let file = folder.join("influxdb.conf");
    std::fs::write(&file, config).expect("the folder can be written");
    Command::new("influxd")
        .arg("-config")
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("influxd is there: `tests/run.sh` installs it")
}

/// Waits until it answers; false if it ends instead, or takes too long.
async fn answers(child: &mut Child, port: u16) -> bool {
    for _ in 0..1000 {
        if child.try_wait().is_ok_and(|status| status.is_some()) {
            return false;
        }
        let reply = http().get(format!("http://127.0.0.1:{port}/ping")).send().await;
        if reply.is_ok_and(|reply| reply.headers().contains_key("x-influxdb-version")) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

/// `q=…` of a form.
fn form(statement: &str) -> String {
    let mut body = "q=".to_owned();
    for byte in statement.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => body.push(char::from(byte)),
            byte => body.extend([format!("%{byte:02X}")]),
        }
    }
    body
}
