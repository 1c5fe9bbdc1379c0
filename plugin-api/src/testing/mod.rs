//! The test kit: test a plugin without a daemon.
//!
//! * [`conformance`] holds a whole plugin against the rules of the house: the first test to write.
//! * [`FakeHost`] stands for the host in tests of your own: it answers from a script and remembers what it was asked.
//! * [`sample_event`] has a plausible event of every kind.
//! * With the feature `import`: `imported` holds what a plugin makes of a config of Butler 16 against its own schema, `unread`
//!   finds what it has not looked at, `import_of` does both; `damage` makes faulty configs of sound ones.
//!
//! ```
//! # use butler_plugin_api::{Delivery, DeliveryError, Host, Manifest, Plugin, StartError};
//! # #[derive(serde::Deserialize, schemars::JsonSchema)]
//! # #[serde(deny_unknown_fields)]
//! # struct Settings {
//! #     /// Address.
//! #     url: String,
//! # }
//! # struct Chat { settings: Settings, host: Host }
//! # impl Plugin for Chat {
//! #     type Settings = Settings;
//! #     fn manifest() -> Manifest { Manifest::new("chat", "Posts alerts to Chat") }
//! #     async fn start(settings: Settings, host: Host) -> Result<Self, StartError> { Ok(Self { settings, host }) }
//! #     async fn deliver(&self, d: &Delivery) -> Result<(), DeliveryError> {
//! #         let http = self.host.http().post(self.settings.url.as_str());
//! #         http.json(&d.event.summary()).send().await?.error_for_status()?; Ok(())
//! #     }
//! # }
//! use butler_plugin_api::testing::{FakeHost, block_on, conformance, sample_delivery};
//! use serde_json::json;
//!
//! conformance::<Chat>(json!({ "url": "https://chat.test/hook" }));
//!
//! let fake = FakeHost::new("chat").answer(503, "later");
//! block_on(async {
//!     let chat = fake.start::<Chat>(json!({ "url": "https://chat.test/hook" })).await.unwrap();
//!     let error = chat.deliver(&sample_delivery("reload-task.failed")).await.unwrap_err();
//!     assert!(matches!(error, DeliveryError::Retry { .. }));
//! });
//! assert_eq!(fake.requests()[0].url, "https://chat.test/hook");
//! ```

mod clock;
mod conformance;
mod fake;
#[cfg(feature = "import")]
mod import;
mod schema;
mod services;
mod stage;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

pub use crate::{sample_delivery, sample_event, sample_events};
pub use conformance::{Report, conformance, examine};
pub use fake::FakeHost;
#[cfg(feature = "import")]
pub use import::{damage, filled_settings, import_of, imported, unread};

use crate::abi::plugin::settings_schema;
use crate::{Manifest, Plugin};

/// Runs a future to its end on this thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// The manifest of a plugin with its settings schema, as the host would get it.
pub fn manifest_of<P: Plugin>() -> Manifest {
    let mut manifest = P::manifest();
    manifest.settings_schema = settings_schema::<P>();
    manifest
}
