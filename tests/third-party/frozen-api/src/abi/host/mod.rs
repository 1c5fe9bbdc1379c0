//! The host's half of the boundary: opens libraries and turns their exports into safe calls.

mod handle;
#[cfg(feature = "host")]
mod inspect;
#[cfg(feature = "host")]
mod library;
mod services;

pub use handle::PluginHandle;
#[cfg(feature = "host")]
pub use inspect::InspectError;
#[cfg(feature = "host")]
pub use library::{Library, OpenError, exit_without_destructors};
#[cfg(feature = "testing")]
pub(crate) use services::into_box;
pub use services::{BoxFuture, HostServices};
