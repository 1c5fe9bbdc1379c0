//! A real mail server on loopback (`mail_server.py`), which tells what it got as a mail program would show it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::wait_for;

/// The mail server. It ends when it is dropped.
pub struct MailServer {
    child: Child,
    rules: ChildStdin,
    said: Arc<Mutex<Vec<Value>>>,
    port: u16,
}

impl MailServer {
    /// One that takes all mails, without encryption and login.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn start() -> Self {
        Self::with(json!({ "tls": "none" })).await
    }

    /// One with options; see `mail_server.py`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn with(options: Value) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("mail_server.py");
        let mut child = Command::new("python3")
            .arg(program)
            .arg(options.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is there: `tests/run.sh` installs it");
        let rules = child.stdin.take().expect("it was asked for");
        let lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
        let said = Arc::new(Mutex::new(Vec::new()));
        let target = said.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                target.lock().unwrap_or_else(PoisonError::into_inner).push(value);
            }
        });
        let mut server = Self { child, rules, said, port: 0 };
        let port = wait_for("the mail server to listen; is aiosmtpd there? `tests/run.sh` installs it", || async {
            server.said("port").first().and_then(Value::as_u64)
        })
        .await;
        server.port = u16::try_from(port).expect("a port is a port");
        server
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Answers by these rules from now on; see `mail_server.py`.
    ///
    /// # Panics
    /// When it has ended.
    pub async fn rules(&mut self, rules: Value) {
        let before = self.said("rules").len();
        writeln!(self.rules, "{rules}").expect("the mail server runs");
        wait_for("the mail server to take rules", || async { (self.said("rules").len() > before).then_some(()) }).await;
    }

    /// The mails that it took.
    pub fn mails(&self) -> Vec<Value> {
        self.said("mail")
    }

    /// Whom it took mails for, in order.
    pub fn recipients(&self) -> Vec<String> {
        let mails = self.mails();
        let to = mails.iter().flat_map(|mail| mail["to"].as_array().cloned().unwrap_or_default());
        to.filter_map(|to| to.as_str().map(str::to_owned)).collect()
    }

    /// What it said under a name: `connected`, `login`, `quit`.
    pub fn said(&self, name: &str) -> Vec<Value> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter().filter_map(|value| value.get(name).cloned()).collect()
    }

    /// Waits for so many mails and returns them.
    pub async fn wait(&self, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} mails"), || async { Some(self.mails()).filter(|mails| mails.len() >= count) }).await
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
