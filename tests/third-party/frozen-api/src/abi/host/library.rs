//! Opens a plugin library and calls it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use abi_stable::library::{LibraryError, lib_header_from_path};
use abi_stable::std_types::{RResult, RString};
use serde_json::Value;

use super::handle::PluginHandle;
use super::inspect::{InspectError, inspect};
use super::services::{HostServices, into_box};
use crate::abi::types::PluginModuleRef;
use crate::{API_VERSION, Instance, Manifest};

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
        /// Whether the plugin's is the newer one.
        newer: bool,
    },
    /// Says a fitting version, but its types differ.
    #[error(
        "says butler-plugin-api {found}, but has another layout of the plugin boundary than {API_VERSION}, which this Butler \
         needs: build it again with the published crate"
    )]
    Layout {
        /// Version that it claims.
        found: String,
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
            let newer = numbers(&found) > numbers(API_VERSION);
            return Err(OpenError::Version { found, needed: version_range(API_VERSION), newer });
        }
        let module = header.init_root_module::<PluginModuleRef>().map_err(|error| match error {
            LibraryError::AbiInstability(detail) => {
                OpenError::Layout { found: found.clone(), detail: detail.to_string() }
            }
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
            RResult::ROk(object) => Ok(PluginHandle::new(object)),
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
    match (numbers(plugin), numbers(host)) {
        (Some((0, plugin_minor)), Some((0, host_minor))) => plugin_minor == host_minor,
        (Some((plugin_major, plugin_minor)), Some((host_major, host_minor))) => {
            plugin_major == host_major && plugin_minor <= host_minor
        }
        _ => false,
    }
}

/// Major and minor version.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(['.', '-']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The versions of plugins that a host takes.
fn version_range(host: &str) -> String {
    let mut numbers = host.split('.');
    let (major, minor) = (numbers.next().unwrap_or("0"), numbers.next().unwrap_or("0"));
    match (major, minor) {
        ("0", _) | (_, "0") => format!("{major}.{minor}"),
        _ => format!("{major}.0 to {major}.{minor}"),
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
    use super::{version_fits, version_range};

    #[test]
    fn the_same_version_fits() {
        assert!(version_fits("1.2.0", "1.2.0") && version_fits("1.0.0", "1.0.0") && version_fits("0.1.0", "0.1.0"));
        assert!(version_fits("1.2.9", "1.2.0"), "the patch version does not count");
    }

    #[test]
    fn an_older_minor_version_fits() {
        assert!(version_fits("1.0.0", "1.2.0") && version_fits("1.1.7", "1.2.0") && version_fits("1.9.0", "1.10.0"));
    }

    #[test]
    fn a_newer_minor_version_does_not_fit() {
        assert!(!version_fits("1.3.0", "1.2.9"), "it may use what this host lacks");
        assert!(!version_fits("1.10.0", "1.9.0") && !version_fits("1.3.0-rc.1", "1.2.0"));
    }

    #[test]
    fn another_major_version_does_not_fit() {
        assert!(!version_fits("2.0.0", "1.2.0") && !version_fits("1.9.0", "2.0.0") && !version_fits("0.9.0", "1.0.0"));
        assert!(!version_fits("10.0.0", "1.0.0") && !version_fits("", "1.0.0") && !version_fits("x", "1.0.0"));
    }

    #[test]
    fn before_the_first_major_version_minor_ones_count_as_major() {
        assert!(version_fits("0.1.7", "0.1.0") && !version_fits("0.1.0", "0.2.0") && !version_fits("0.2.0", "0.1.0"));
    }

    #[test]
    fn the_versions_that_fit_are_told() {
        assert_eq!(version_range("1.2.3"), "1.0 to 1.2");
        assert_eq!(version_range("1.0.0"), "1.0");
        assert_eq!(version_range("0.1.0"), "0.1");
    }
}
