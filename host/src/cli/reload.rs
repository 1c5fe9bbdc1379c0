//! `butler reload`: has the running daemon read its config anew.

use serde_json::Value;

use super::ConfigFile;
use super::client::Daemon;
use crate::daemon::Failure;

pub(super) async fn run(file: &ConfigFile) -> Result<(), Failure> {
    let done = Daemon::find(file)?.post("/v5/reload", &Value::Null).await?;
    let names = |key: &str| -> String {
        done[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
    };
    for (key, what) in [
        ("started", "started"),
        ("restarted", "restarted"),
        ("stopped", "stopped"),
        ("unchanged", "unchanged"),
        ("needRestart", "changed, and needs a restart of Butler"),
    ] {
        let names = names(key);
        if !names.is_empty() {
            println!("{what}: {names}");
        }
    }
    Ok(())
}
