//! Write a plugin for Butler, the companion daemon of Qlik Sense Enterprise.
//!
//! Butler hears of events (a reload task failed, a licence is about to expire), finds out the facts and hands each event
//! to the plugins that want it. A plugin brings the event to one kind of destination, or is a source of events itself.
//! Routing, throttling, retries, durability, dead letters, metrics, logs, TLS, proxies and storage are the host's work:
//! a plugin gets them for nothing.
//!
//! # A complete plugin
//!
//! A plugin `chat` is a crate `butler-plugin-chat` with `crate-type = ["cdylib"]`:
//!
//! ```
//! use butler_plugin_api::{Delivery, DeliveryError, Host, Manifest, Plugin, StartError};
//! use schemars::JsonSchema;
//! use serde::Deserialize;
//! use serde_json::json;
//! use url::Url;
//!
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Settings {
//!     /// Incoming webhook URL.
//!     url: Url,
//! }
//!
//! struct Chat {
//!     settings: Settings,
//!     host: Host,
//! }
//!
//! impl Plugin for Chat {
//!     type Settings = Settings;
//!
//!     fn manifest() -> Manifest {
//!         Manifest::new("chat", "Posts alerts to Chat").default_events(Manifest::ALERTS)
//!     }
//!
//!     async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
//!         Ok(Self { settings, host })
//!     }
//!
//!     async fn deliver(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
//!         let text = delivery.event.summary();
//!         let reply = self.host.http().post(self.settings.url.as_str()).json(&json!({ "text": text })).send().await?;
//!         reply.error_for_status()?;
//!         Ok(())
//!     }
//! }
//!
//! butler_plugin_api::export!(Chat);
//! ```
//!
//! `butler plugins new chat` writes such a crate, with tests. The guide for authors, from the first plugin to shipping it, is
//! the `README.md` of this crate; these pages are the reference.
//!
//! # Rules of the house
//!
//! * **Delivered means that the other side has it.** Return `Ok` only then; everything else is a [`DeliveryError`], and
//!   the host repeats or buries the delivery. After a crash a delivery may come a second time: pass the event id on.
//! * **The host polls your futures** on one thread per instance. Do not block it; timers and sockets of your own need
//!   the feature `runtime` (`Host::runtime`). [`Host::sleep`], [`Host::http`] and [`Host::spawn`] always work.
//! * **A panic is caught** and turned into a retry; repeated ones restart the instance.
//! * **Unknown event kinds and fields are normal**: a newer host may send what this version does not know.
//! * **Fields and variants may be added** in minor versions. Build [`Event`], [`Data`], its sections, [`Delivery`] and
//!   [`Links`] with `..Default::default()`; what is `#[non_exhaustive]` has constructors.
//!
//! # Features
//!
//! * `butler16`: the module `butler16`, for machines that read what Butler 16 sent: users, times, durations, lines of the
//!   script log in its forms.
//! * `import`: the module `import`, to translate a config of Butler 16.
//! * `message`: the module `message`, for plugins whose alerts are read by people: templates and all that they can show.
//! * `runtime`: a tokio runtime of the plugin's own, on a thread of its own.
//! * `testing`: the module `testing` with a fake host, to unit-test a plugin without a daemon.
//! * `host`: the host's half of the boundary. Plugins do not need it.

// The guide of the module tree, in reading order.
mod delivery;
mod event;
mod host;
mod manifest;
mod plugin;
mod request;
mod services;

pub mod incidents;
pub mod node_names;
pub mod settings;

#[cfg(feature = "butler16")]
pub mod butler16;
#[cfg(feature = "import")]
pub mod import;
#[cfg(feature = "message")]
pub mod message;
mod samples;

mod logging;
mod panics;
#[cfg(feature = "runtime")]
mod runtime;
#[cfg(feature = "testing")]
pub mod testing;

pub mod abi;

pub use delivery::{Delivery, DeliveryError, Outcome};
pub use event::{
    AccessLicenses, AccessUse, ActiveUsers, App, Audit, Butler, CapacityUse, Certificate, CloudReload, Data, Dead,
    Detail, Event, Execution, Ingest, KeptLicense, LastDead, LicenseRelease, LogLine, LoginTokens, Memory, NamedRef,
    Owner, Posted, QlikVersion, ReleasedLicense, ScriptLog, ServerLicense, Service, Session, Silence, Task, TaskStart,
    Tokens, Udp, UserTokens, kind,
};
pub use host::{Abort, CustomLink, Host, Instance, Links};
pub use manifest::{Batch, Endpoint, EndpointAnswer, Manifest, Scope, StartTaskItem};
pub use plugin::{Health, OperationError, Plugin, StartError};
pub use request::{Request, Response};
pub use samples::{sample_delivery, sample_event, sample_events};
pub use services::{
    Emitted, HandedOver, HeardNode, Http, HttpError, HttpReply, HttpRequest, Metrics, PartStatus, Property, Qlik,
    QlikReply, Schedule, ServiceError, StartTasks, StartedTask, Status, StatusError, Storage, StorageChange,
    StorageEntry, StoragePage, TasksStarted, Tick, When,
};

/// Version of this crate: what a plugin was built against, and what the host checks when it opens a library.
///
/// A host refuses a plugin of another major version, and one of a newer minor version than its own.
pub const API_VERSION: &str = env!("CARGO_PKG_VERSION");

#[doc(hidden)]
pub mod __private {
    //! What [`export!`](crate::export) expands to; not for direct use.
    pub use crate::abi::plugin::{Export, LibHeader, lib_header};
}

/// Makes a type that implements [`Plugin`] the plugin of this library.
///
/// Use it once, at the root of a crate whose `crate-type` holds `cdylib`. A crate built with `panic = "abort"` is
/// refused at compile time: the host could not survive its panics.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        #[cfg(panic = "abort")]
        compile_error!("a Butler plugin must be built with panic = \"unwind\": a panic would end the host");

        const _: () = {
            struct Exported;
            impl $crate::__private::Export for Exported {
                type Plugin = $plugin;
                const VERSION: &'static str = env!("CARGO_PKG_VERSION");
            }
            /// The symbol that the host looks for.
            #[unsafe(no_mangle)]
            pub static _1as_0lib_1header_0root_bmodule_bloader: $crate::__private::LibHeader =
                $crate::__private::lib_header::<Exported>();
        };
    };
}

/// The guide for authors: its examples are compiled as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Guide;
