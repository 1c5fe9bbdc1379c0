//! A tokio runtime of an instance's own.
//!
//! tokio exists once per library, so the host's runtime is of no use to a plugin that opens sockets. Entering a runtime
//! alone drives nothing: a thread of its own does that here, for as long as the instance lives.

use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::abi::plugin::stay;
use crate::host::Host;

/// How long the thread may take to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// The way into a runtime. Behind a trait, so that plugins without one carry nothing of tokio when they are built together
/// with one that has it.
pub(crate) trait Inside: Send + Sync + UnwindSafe + RefUnwindSafe {
    /// Runs code inside the runtime.
    fn run(&self, f: &mut dyn FnMut());
    /// Its handle.
    fn handle(&self) -> &Handle;
}

impl Inside for Handle {
    fn run(&self, f: &mut dyn FnMut()) {
        let _entered = self.enter();
        f();
    }

    fn handle(&self) -> &Handle {
        self
    }
}

/// The runtime and its thread. Ends them when it is dropped: tasks end at their next await.
pub(crate) struct Runtime {
    handle: Handle,
    host: Host,
    /// Dropped to end the thread.
    end: Option<oneshot::Sender<()>>,
    ended: Mutex<mpsc::Receiver<()>>,
}

impl Runtime {
    /// Makes the runtime of an instance; log records of its threads are the instance's.
    pub(crate) fn start(host: &Host) -> io::Result<Self> {
        let name = format!("tokio {}", host.instance.name);
        let (end, ending) = oneshot::channel::<()>();
        let (done, ended) = mpsc::channel();
        let of_thread = host.clone();
        let runtime = Builder::new_current_thread()
            .enable_all()
            .thread_name(&name)
            .on_thread_start(move || stay(&of_thread))
            .build()?;
        let handle = runtime.handle().clone();
        let of_thread = host.clone();
        std::thread::Builder::new().name(name).spawn(move || {
            stay(&of_thread);
            // An error, since it is only ever dropped.
            let _ = runtime.block_on(ending);
            runtime.shutdown_background();
            let _ = done.send(());
        })?;
        Ok(Self { handle, host: host.clone(), end: Some(end), ended: Mutex::new(ended) })
    }

    pub(crate) fn inside(&self) -> Arc<dyn Inside> {
        Arc::new(self.handle.clone())
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.end.take());
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            self.host.in_scope(|| {
                tracing::error!("a task blocks the thread of the plugin's runtime, which is there until Butler ends");
            });
        }
    }
}
