//! A library that exports a plugin's symbol, but whose types are laid out otherwise.
#![allow(
    unsafe_code,
    missing_docs,
    non_local_definitions,
    clippy::pedantic,
    reason = "expanded by abi_stable's macros"
)]

use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::sabi_types::VersionStrings;

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ModuleRef)))]
pub struct Module {
    #[sabi(last_prefix_field)]
    pub answer: extern "C" fn() -> u32,
}

impl RootModule for ModuleRef {
    abi_stable::declare_root_module_statics! {ModuleRef}
    const BASE_NAME: &'static str = "butler_plugin";
    const NAME: &'static str = "butler_plugin";
    const VERSION_STRINGS: VersionStrings = VersionStrings::new(butler_plugin_api::API_VERSION);
}

extern "C" fn answer() -> u32 {
    42
}

#[abi_stable::export_root_module]
fn module() -> ModuleRef {
    Module { answer }.leak_into_prefix()
}
