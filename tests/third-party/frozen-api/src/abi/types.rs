//! The frozen types. Nothing here may change within a major version: new abilities are JSON fields and service names.
#![allow(missing_docs, clippy::pedantic, clippy::all, unused_qualifications, non_local_definitions)]
#![allow(unsafe_code, reason = "expanded by abi_stable's macros")]
// Authors who have this crate by path see its warnings.
#![allow(dead_code, reason = "what the plugin's module holds is read by the host alone")]

use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::package_version_strings;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RBox, RResult, RString, RVec, Tuple2};
use async_ffi::FfiFuture;

/// An HTTP request, outgoing or to an endpoint.
#[repr(C)]
#[derive(StableAbi)]
pub struct AbiRequest {
    pub method: RString,
    pub url: RString,
    pub headers: RVec<Tuple2<RString, RString>>,
    pub body: RVec<u8>,
    /// JSON object, or empty.
    pub options: RString,
}

/// An HTTP answer.
#[repr(C)]
#[derive(StableAbi)]
pub struct AbiResponse {
    pub status: u16,
    pub headers: RVec<Tuple2<RString, RString>>,
    pub body: RVec<u8>,
    /// JSON object, or empty.
    pub options: RString,
}

/// A log record of the plugin.
#[repr(C)]
#[derive(StableAbi)]
pub struct AbiLogRecord {
    /// 1 error, 2 warn, 3 info, 4 debug, 5 trace.
    pub level: u8,
    pub target: RString,
    pub message: RString,
    /// JSON object, or empty: the author's.
    pub fields: RString,
    /// JSON object, or empty: for later versions.
    pub options: RString,
}

/// A call by name: an operation of the plugin, or a service of the host.
#[repr(C)]
#[derive(StableAbi)]
pub struct AbiCall {
    pub name: RString,
    /// JSON.
    pub input: RString,
    /// Bytes that would not fit into JSON; for later versions.
    pub body: RVec<u8>,
    /// JSON object, or empty: what is said beside the input; for later versions.
    pub context: RString,
}

/// What comes back from one.
#[repr(C)]
#[derive(StableAbi)]
pub struct AbiAnswer {
    /// JSON.
    pub output: RString,
    /// Bytes that would not fit into JSON; for later versions.
    pub body: RVec<u8>,
    /// JSON object, or empty; for later versions.
    pub context: RString,
}

/// What the host offers to one instance.
#[abi_stable::sabi_trait]
pub trait HostObject: Send + Sync {
    /// The error is JSON (`HttpError::to_wire`).
    fn http(&self, request: AbiRequest) -> FfiFuture<RResult<AbiResponse, RString>>;
    fn log(&self, record: AbiLogRecord);
    fn sleep(&self, millis: u64) -> FfiFuture<()>;
    /// Runs a future on the thread of the instance.
    fn spawn(&self, future: FfiFuture<()>);
    /// A service; the error is JSON (`ServiceError::to_wire`).
    #[sabi(last_prefix_field)]
    fn invoke(&self, call: AbiCall) -> FfiFuture<RResult<AbiAnswer, RString>>;
}

/// One instance of a plugin. No method runs author code itself: that happens in the futures. A `context`, and what comes
/// back from `start` and `stop`, is a JSON object, or empty: for later versions.
#[abi_stable::sabi_trait]
pub trait PluginObject: Send + Sync {
    /// The error is JSON (`StartError`).
    fn start(&self, context: RString) -> FfiFuture<RResult<RString, RString>>;
    /// Deliveries and outcomes are JSON arrays; the error is a text.
    fn deliver(&self, deliveries: RString, context: RString) -> FfiFuture<RResult<RString, RString>>;
    fn call(&self, request: AbiRequest) -> FfiFuture<AbiResponse>;
    /// An operation; the error is JSON (`OperationError`). Names that begin with `butler.` are the host's own.
    fn invoke(&self, call: AbiCall) -> FfiFuture<RResult<AbiAnswer, RString>>;
    /// JSON (`Health`).
    fn health(&self, context: RString) -> FfiFuture<RString>;
    #[sabi(last_prefix_field)]
    fn stop(&self, context: RString) -> FfiFuture<RString>;
}

pub type HostBox = HostObject_TO<'static, RBox<()>>;
pub type PluginBox = PluginObject_TO<'static, RBox<()>>;

/// What a library exports.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModuleRef)))]
pub struct PluginModule {
    /// The manifest as JSON; the error is the text of a panic.
    pub manifest: extern "C" fn() -> RResult<RString, RString>,
    /// Instance (`Instance`) and settings are JSON.
    #[sabi(last_prefix_field)]
    pub create: extern "C" fn(instance: RString, settings: RString, host: HostBox) -> RResult<PluginBox, RString>,
}

impl RootModule for PluginModuleRef {
    abi_stable::declare_root_module_statics! {PluginModuleRef}
    const BASE_NAME: &'static str = "butler_plugin";
    const NAME: &'static str = "butler_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}
