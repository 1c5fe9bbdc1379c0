//! Opens a plugin library and calls it.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use abi_stable::library::{LibraryError, lib_header_from_path};
use abi_stable::std_types::{RResult, RString};
use serde_json::Value;

use super::inspect::{InspectError, inspect};
use super::services::{HostServices, into_box};
use crate::abi::types::{PluginBox, PluginModuleRef};
use crate::abi::{WireRequest, WireResponse};
use crate::{API_VERSION, Delivery, Health, Instance, Manifest, OperationError, Outcome, StartError};

/// A manifest is data: it is there at once, or never.
const MANIFEST_DEADLINE: Duration = Duration::from_secs(10);
/// Most bytes of a manifest.
const MAX_MANIFEST: usize = 4 << 20;
/// Most characters of what a panic says.
const MAX_PANIC: usize = 1000;

/// An opened plugin library. It is never closed: its code may be referred to from anywhere.
pub struct Library {
    module: PluginModuleRef,
    manifest: Manifest,
}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Library").field("name", &self.manifest.name).finish_non_exhaustive()
    }
}

/// Why a plugin cannot be used. Each text continues a sentence that begins with the file.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Seen from its headers; nothing of the file ran.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The system's loader refused it.
    #[error("cannot be opened: {0}")]
    Loader(String),
    /// Built against a version of the plugin API that this host does not have.
    #[error("was built against butler-plugin-api {found}, this Butler needs {needed}")]
    Version {
        /// Version of the plugin's API.
        found: String,
        /// What would do.
        needed: String,
    },
    /// Says a fitting version, but its types differ.
    #[error(
        "has another layout of the plugin boundary than butler-plugin-api {API_VERSION}: build it again with the published crate"
    )]
    Layout {
        /// The whole report, for the debug log.
        detail: String,
    },
    /// The manifest cannot be had.
    #[error("gives no usable manifest: {0}")]
    Manifest(String),
}

impl Library {
    /// Opens a file: headers, loader, version, layout, manifest, in this order.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        inspect(path)?;
        let header = lib_header_from_path(path).map_err(|error| loader_error(&error))?;
        let found = header.version_strings().to_string();
        if !version_fits(&found, API_VERSION) {
            return Err(OpenError::Version { found, needed: version_range(API_VERSION) });
        }
        let module = header.init_root_module::<PluginModuleRef>().map_err(|error| match error {
            LibraryError::AbiInstability(detail) => OpenError::Layout { detail: detail.to_string() },
            other => loader_error(&other),
        })?;
        let manifest = match manifest(module)? {
            RResult::ROk(text) if text.len() > MAX_MANIFEST => {
                return Err(OpenError::Manifest(format!("{} bytes, at most {MAX_MANIFEST} are taken", text.len())));
            }
            RResult::ROk(text) => {
                serde_json::from_str(&text).map_err(|error| OpenError::Manifest(error.to_string()))?
            }
            RResult::RErr(panic) => {
                let panic: String = panic.chars().take(MAX_PANIC).collect();
                return Err(OpenError::Manifest(format!("panicked: {panic}")));
            }
        };
        Ok(Self { module, manifest })
    }

    /// What the plugin says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Makes an instance, not yet started. The error is a text for the log: it means that host and plugin disagree.
    pub fn create(
        &self,
        instance: &Instance,
        settings: &Value,
        host: Arc<dyn HostServices>,
    ) -> Result<PluginHandle, String> {
        let instance = serde_json::to_string(instance).map_err(|error| error.to_string())?;
        match (self.module.create())(instance.into(), settings.to_string().into(), into_box(host)) {
            RResult::ROk(object) => Ok(PluginHandle(Arc::new(object))),
            RResult::RErr(message) => Err(message.into()),
        }
    }
}

/// Calls `manifest`, the one synchronous function that runs an author's code. It runs on a thread of its own: one that
/// never returns must not keep the host from saying so.
fn manifest(module: PluginModuleRef) -> Result<RResult<RString, RString>, OpenError> {
    let (answer, answered) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("manifest".to_owned());
    let spawned = thread.spawn(move || answer.send((module.manifest())()));
    spawned.map_err(|error| OpenError::Manifest(format!("the system gives it no thread: {error}")))?;
    answered.recv_timeout(MANIFEST_DEADLINE).map_err(|_| {
        let seconds = MANIFEST_DEADLINE.as_secs();
        OpenError::Manifest(format!("`manifest` did not return within {seconds} s; tell the plugin's author"))
    })
}

fn loader_error(error: &LibraryError) -> OpenError {
    let text = error.to_string();
    OpenError::Loader(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Same major version and no newer minor one; before 1.0 the same minor version, as Cargo has it.
fn version_fits(plugin: &str, host: &str) -> bool {
    let parts = |text: &str| -> Option<(u32, u32)> {
        let mut numbers = text.split(['.', '-']).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    match (parts(plugin), parts(host)) {
        (Some((0, plugin_minor)), Some((0, host_minor))) => plugin_minor == host_minor,
        (Some((plugin_major, plugin_minor)), Some((host_major, host_minor))) => {
            plugin_major == host_major && plugin_minor <= host_minor
        }
        _ => false,
    }
}

fn version_range(host: &str) -> String {
    let mut numbers = host.split('.');
    let (major, minor) = (numbers.next().unwrap_or("0"), numbers.next().unwrap_or("0"));
    if major == "0" { format!("0.{minor}") } else { format!("{major}.0 to {major}.{minor}") }
}

/// One instance. Every method answers with a future that is to be polled on the instance's thread; it never panics.
#[derive(Clone)]
pub struct PluginHandle(Arc<PluginBox>);

impl std::fmt::Debug for PluginHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PluginHandle")
    }
}

impl PluginHandle {
    /// Starts it.
    pub fn start(&self) -> impl Future<Output = Result<(), StartError>> + Send + use<> {
        let answer = self.0.start();
        async move {
            match answer.await {
                RResult::ROk(()) => Ok(()),
                RResult::RErr(text) => {
                    Err(serde_json::from_str(&text).unwrap_or_else(|_| StartError::Unavailable(text.into())))
                }
            }
        }
    }

    /// Hands deliveries over; as many outcomes come back, or a text where the answer cannot be used.
    pub fn deliver(
        &self,
        deliveries: &[Delivery],
    ) -> impl Future<Output = Result<Vec<Outcome>, String>> + Send + use<> {
        let count = deliveries.len();
        let answer = serde_json::to_string(deliveries).map(|text| self.0.deliver(text.into()));
        async move {
            match answer.map_err(|error| error.to_string())?.await {
                RResult::ROk(text) => {
                    let outcomes: Vec<Outcome> = serde_json::from_str(&text)
                        .map_err(|error| format!("the plugin's outcomes cannot be read: {error}"))?;
                    if outcomes.len() == count {
                        Ok(outcomes)
                    } else {
                        Err(format!("the plugin answered {count} deliveries with {} outcomes", outcomes.len()))
                    }
                }
                RResult::RErr(message) => Err(message.into()),
            }
        }
    }

    /// Calls an endpoint.
    pub fn call(&self, request: WireRequest) -> impl Future<Output = WireResponse> + Send + use<> {
        let answer = self.0.call(request.into());
        async move { answer.await.into() }
    }

    /// Performs an operation.
    pub fn invoke(
        &self,
        operation: &str,
        input: &Value,
    ) -> impl Future<Output = Result<Value, OperationError>> + Send + use<> {
        let answer = self.0.invoke(operation.into(), input.to_string().into());
        async move {
            match answer.await {
                RResult::ROk(text) => {
                    serde_json::from_str(&text).map_err(|error| OperationError::Failed(error.to_string()))
                }
                RResult::RErr(text) => {
                    Err(serde_json::from_str(&text).unwrap_or_else(|_| OperationError::Failed(text.into())))
                }
            }
        }
    }

    /// Asks how it is.
    pub fn health(&self) -> impl Future<Output = Health> + Send + use<> {
        let answer = self.0.health();
        async move {
            let text: RString = answer.await;
            serde_json::from_str(&text).unwrap_or_else(|_| Health::Bad("the plugin's health cannot be read".to_owned()))
        }
    }

    /// Stops it.
    pub fn stop(&self) -> impl Future<Output = ()> + Send + use<> {
        self.0.stop()
    }
}

/// Ends the process at once, without joining threads or running destructors: a plugin's thread may hang for ever, and
/// destructors of a library whose threads still run are not safe to run.
pub fn exit_without_destructors(code: i32) -> ! {
    #[allow(unsafe_code, reason = "declares what the C library has")]
    unsafe extern "C" {
        fn _exit(code: std::ffi::c_int) -> !;
    }
    // SAFETY: `_exit` of the C library takes any number, does not return and touches no state of ours.
    #[allow(unsafe_code, reason = "the standard library has no exit without destructors")]
    unsafe {
        _exit(code)
    }
}

#[cfg(test)]
mod tests {
    use super::version_fits;

    #[test]
    fn version_rule() {
        assert!(version_fits("1.2.9", "1.2.0") && version_fits("1.0.0", "1.2.0"));
        assert!(!version_fits("1.3.0", "1.2.0"), "a newer minor version may use what this host lacks");
        assert!(!version_fits("2.0.0", "1.2.0") && !version_fits("0.9.0", "1.0.0"));
        assert!(version_fits("0.1.7", "0.1.0") && !version_fits("0.2.0", "0.1.0") && !version_fits("x", "1.0.0"));
    }
}
