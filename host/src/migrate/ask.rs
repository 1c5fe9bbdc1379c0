//! Asking the plugins: each that is found and has the operation `import` translates its sections of the old config.
//!
//! None of them is started. Each answers on a thread of its own, since one that never answers must not keep the others
//! from being asked.

use std::path::{Component, Path};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use butler_plugin_api::abi::host::{BoxFuture, HostServices, Library};
use butler_plugin_api::abi::{WireLogRecord, WireRequest, WireResponse};
use butler_plugin_api::import::Imported;
use butler_plugin_api::{HttpError, Instance, Manifest, OperationError, ServiceError};
use serde_json::{Value, json};

use crate::plugins::{SearchPath, open_file};

/// A plugin only translates.
const DEADLINE: Duration = Duration::from_secs(10);
/// Most bytes of an answer, as JSON.
const LONGEST: usize = 4 << 20;

/// The plugins at hand.
pub(super) struct Found {
    /// Those that could be opened, by name.
    pub libraries: Vec<Arc<Library>>,
    /// Why others could not.
    pub problems: Vec<String>,
}

impl Found {
    /// Opens all plugins of the search path.
    pub fn open(search: &SearchPath) -> Self {
        let (mut libraries, mut problems) = (Vec::new(), Vec::new());
        for (name, path) in search.files() {
            match open_file(&path, None) {
                Ok(library) => match library.manifest().fault() {
                    None => libraries.push(Arc::new(library)),
                    Some(fault) => {
                        problems.push(format!("the plugin `{name}` is left out: {}: {fault}", path.display()));
                    }
                },
                Err(error) => problems.push(format!("the plugin `{name}` is left out: {error}")),
            }
        }
        Self { libraries, problems }
    }

    /// What they say of themselves.
    pub fn manifests(&self) -> Vec<Manifest> {
        self.libraries.iter().map(|library| library.manifest().clone()).collect()
    }

    /// Asks those that have the operation; by name of the plugin what each has made of the config, or why nothing.
    pub fn ask(&self, input: &Value) -> Vec<(String, Result<Imported, String>)> {
        let able =
            self.libraries.iter().filter(|library| library.manifest().operations.iter().any(|it| it == "import"));
        able.map(|library| (library.manifest().name.clone(), ask(library, input, DEADLINE))).collect()
    }
}

fn ask(library: &Arc<Library>, input: &Value, deadline: Duration) -> Result<Imported, String> {
    let (answer, answered) = mpsc::sync_channel(1);
    let (of_thread, input) = (library.clone(), input.clone());
    let name = library.manifest().name.clone();
    let spawned = std::thread::Builder::new().name(format!("import {name}")).spawn(move || {
        // Nobody waits any more if it took too long.
        let _ = answer.send(invoke(&of_thread, &input));
    });
    spawned.map_err(|error| format!("the system gives it no thread: {error}"))?;
    let output = match answered.recv_timeout(deadline) {
        Ok(output) => output?,
        Err(RecvTimeoutError::Timeout) => return Err(format!("it did not answer within {} s", deadline.as_secs())),
        Err(RecvTimeoutError::Disconnected) => return Err("its thread ended without an answer".to_owned()),
    };
    if output.to_string().len() > LONGEST {
        return Err(format!("its answer has more than {} MB", LONGEST >> 20));
    }
    let unreadable = |error: serde_json::Error| format!("its answer cannot be read: {error}");
    let imported: Imported = serde_json::from_value(output).map_err(unreadable)?;
    check(&imported)?;
    Ok(imported)
}

fn invoke(library: &Library, input: &Value) -> Result<Value, String> {
    let name = library.manifest().name.clone();
    let instance = Instance { name, host_version: env!("CARGO_PKG_VERSION").to_owned(), ..Instance::default() };
    let handle = library.create(&instance, &json!({}), Arc::new(Nothing))?;
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| format!("the system gives it no event queue: {error}"))?;
    runtime.block_on(handle.invoke("import", input)).map_err(|error| match error {
        OperationError::Unsupported(_) => "its manifest names the operation `import`, but it has none".to_owned(),
        other => other.to_string(),
    })
}

/// What a plugin answers becomes entries of a config and files: only those that can be meant.
fn check(imported: &Imported) -> Result<(), String> {
    for entry in &imported.instances {
        let sound = entry.as_object().is_some_and(|entry| !entry.contains_key("use"));
        if !sound {
            return Err("an entry of its answer is no mapping, or names a plugin".to_owned());
        }
    }
    let outside = imported.secrets.keys().find(|file| !is_secret_file(file));
    outside
        .map_or(Ok(()), |file| Err(format!("it wants a secret in `{file}`, which is no file in the folder `secrets`")))
}

/// `secrets/NAME`, on every system.
fn is_secret_file(file: &str) -> bool {
    let plain = |name: &str| name.chars().all(|c| c.is_alphanumeric() || "._-".contains(c)) && !name.starts_with('.');
    let within = file.strip_prefix("secrets/").is_some_and(|name| !name.is_empty() && name.len() <= 200 && plain(name));
    within && Path::new(file).components().all(|part| matches!(part, Component::Normal(_)))
}

/// A host that has nothing: an import needs nothing of it.
struct Nothing;

impl HostServices for Nothing {
    fn http(&self, _: WireRequest) -> BoxFuture<Result<WireResponse, HttpError>> {
        Box::pin(std::future::ready(Err(HttpError::Stopped)))
    }

    fn log(&self, _: WireLogRecord) {}

    fn sleep(&self, _: Duration) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }

    fn spawn(&self, _: BoxFuture<()>) {}

    fn invoke(&self, _: String, _: String) -> BoxFuture<Result<String, ServiceError>> {
        Box::pin(std::future::ready(Err(ServiceError::Stopped)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_in_their_folder() {
        for (file, sound) in [
            ("secrets/smtp.password", true),
            ("secrets/hooks.0.url", true),
            ("secrets/größe", true),
            ("secrets/", false),
            ("secrets/a/b", false),
            ("secrets/..", false),
            ("secrets/.hidden", false),
            (r"secrets/..\x", false),
            ("secrets/C:x", false),
            ("/etc/passwd", false),
            ("other/x", false),
        ] {
            assert_eq!(is_secret_file(file), sound, "{file}");
        }
    }

    #[test]
    fn entries_name_no_plugin() {
        let imported =
            |instances: Value| serde_json::from_value::<Imported>(json!({ "instances": instances })).unwrap();
        assert!(check(&imported(json!([{ "settings": {} }]))).is_ok());
        assert!(check(&imported(json!([{ "use": "x" }]))).is_err());
        assert!(check(&imported(json!([7]))).is_err());
    }
}
