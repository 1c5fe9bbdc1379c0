//! A tokio runtime of the plugin's own.
//!
//! tokio exists once per library, so the host's runtime is of no use to a plugin that opens sockets. Entering a runtime
//! alone drives nothing: a thread of its own does that here, for as long as the library is loaded (for ever).

use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle};

/// The runtime of this library, made at the first call.
pub(crate) fn handle() -> &'static Handle {
    static HANDLE: OnceLock<Handle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .thread_name("plugin-runtime")
            .build()
            .expect("the system refuses an event queue to the process: no plugin with sockets can work");
        let handle = runtime.handle().clone();
        std::thread::Builder::new()
            .name("plugin-runtime".to_owned())
            .spawn(move || runtime.block_on(std::future::pending::<()>()))
            .expect("the system refuses a thread to the process: no plugin with sockets can work");
        handle
    })
}
