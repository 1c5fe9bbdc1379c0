//! A plugin that writes its answers by hand, for tests of a host: texts stand where documents are expected.
//!
//! What is made with [`Plugin`](crate::Plugin) cannot answer garbage, since the SDK writes its answers. A plugin of a
//! faulty or foreign SDK could. Here that can be played without unsafe code, and the frozen types stay private.

use abi_stable::erased_types::TD_Opaque;
use abi_stable::library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult};
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::std_types::{RResult, RString};
use async_ffi::{FfiFuture, FutureExt};

use super::WireResponse;
use super::types::{
    AbiAnswer, AbiCall, AbiRequest, AbiResponse, HostBox, PluginBox, PluginModule, PluginModuleRef, PluginObject,
    PluginObject_TO,
};

/// Answers written by hand. Nothing is caught: a panic ends the process.
pub trait RawPlugin: Send + Sync + Sized + 'static {
    /// The manifest's text, or the text of an error.
    fn manifest() -> Result<String, String>;
    /// An instance, from the texts of the instance document and of the settings.
    fn create(instance: &str, settings: &str) -> Result<Self, String>;
    /// The text that answers `start`, `deliver`, `invoke` or `health`, or the text of an error.
    fn answer(&self, entry: &str, input: &str) -> Result<String, String>;
    /// The answer to a request to an endpoint.
    fn call(&self, route: &str) -> WireResponse;
}

/// The content of the exported symbol.
pub const fn raw_header<P: RawPlugin>() -> LibHeader {
    // SAFETY: `erased_module` answers with the module of the type named here, whose layout is exported along with it.
    #[allow(unsafe_code, reason = "abi_stable's constructor of the header is unsafe")]
    unsafe {
        LibHeader::from_constructor::<PluginModuleRef>(erased_module::<P>, CheckTypeLayout::Yes)
    }
}

extern "C" fn erased_module<P: RawPlugin>() -> RootModuleResult {
    __call_root_module_loader(module::<P>)
}

fn module<P: RawPlugin>() -> PluginModuleRef {
    PluginModule { manifest: manifest::<P>, create: create::<P> }.leak_into_prefix()
}

extern "C" fn manifest<P: RawPlugin>() -> RResult<RString, RString> {
    result(P::manifest())
}

extern "C" fn create<P: RawPlugin>(instance: RString, settings: RString, _: HostBox) -> RResult<PluginBox, RString> {
    match P::create(&instance, &settings) {
        Ok(plugin) => RResult::ROk(PluginObject_TO::from_value(Adapter(std::sync::Arc::new(plugin)), TD_Opaque)),
        Err(error) => RResult::RErr(error.into()),
    }
}

fn result(answer: Result<String, String>) -> RResult<RString, RString> {
    match answer {
        Ok(text) => RResult::ROk(text.into()),
        Err(text) => RResult::RErr(text.into()),
    }
}

struct Adapter<P>(std::sync::Arc<P>);

impl<P: RawPlugin> PluginObject for Adapter<P> {
    fn start(&self, _: RString) -> FfiFuture<RResult<RString, RString>> {
        let plugin = self.0.clone();
        async move { result(plugin.answer("start", "")) }.into_ffi()
    }

    fn deliver(&self, deliveries: RString, _: RString) -> FfiFuture<RResult<RString, RString>> {
        let plugin = self.0.clone();
        async move { result(plugin.answer("deliver", &deliveries)) }.into_ffi()
    }

    fn call(&self, request: AbiRequest) -> FfiFuture<AbiResponse> {
        let plugin = self.0.clone();
        async move { plugin.call(&request.url).into() }.into_ffi()
    }

    fn invoke(&self, call: AbiCall) -> FfiFuture<RResult<AbiAnswer, RString>> {
        let plugin = self.0.clone();
        async move {
            match plugin.answer("invoke", &call.name) {
                Ok(text) => RResult::ROk(text.into()),
                Err(text) => RResult::RErr(text.into()),
            }
        }
        .into_ffi()
    }

    fn health(&self, _: RString) -> FfiFuture<RString> {
        let plugin = self.0.clone();
        async move { plugin.answer("health", "").unwrap_or_else(|text| text).into() }.into_ffi()
    }

    fn stop(&self, _: RString) -> FfiFuture<RString> {
        async { RString::new() }.into_ffi()
    }
}

/// Makes a type that implements [`RawPlugin`] the plugin of this library.
#[macro_export]
macro_rules! export_raw {
    ($plugin:ty) => {
        const _: () = {
            /// The symbol that the host looks for.
            #[unsafe(no_mangle)]
            pub static _1as_0lib_1header_0root_bmodule_bloader: $crate::__private::LibHeader =
                $crate::abi::raw::raw_header::<$plugin>();
        };
    };
}
