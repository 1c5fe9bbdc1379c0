//! `butler init`: by flags, by a terminal, and the path of a new user.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod flags;
mod path;
mod refused;
#[cfg(unix)]
mod typed;

use std::path::Path;

use e2e::qlik::Node;
use e2e::{Output, Sense, run_in};

/// The file for the nodes that run the scheduler.
const APPENDERS: &str = "log-appender/scheduler/LocalLogConfig.xml";

/// A simulated Qlik Sense on this machine alone.
async fn sense() -> Sense {
    let sense = Sense::start().await;
    sense.site().set_nodes([Node::central("localhost")]);
    std::fs::create_dir(sense.folder().join("new")).unwrap();
    sense
}

/// Runs the command in the folder `new` beside the certificates.
async fn init(sense: &Sense, more: &[&str]) -> Output {
    let port = sense.addr().port().to_string();
    let folder = sense.folder().join("new");
    let arguments: Vec<String> =
        ["init", "--repository-port", &port].iter().chain(more).map(|text| (*text).to_owned()).collect();
    let run = move || run_in(&folder, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// Flags for Qlik Sense and this machine.
const SITE: [&str; 6] = ["--host", "127.0.0.1", "--certificates", "../certificates", "--udp", "127.0.0.1:9998"];

/// All files below a folder, with their paths in it.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
