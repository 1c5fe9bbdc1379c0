//! The thread of one generation of an instance: all of the plugin's futures are polled here.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use butler_plugin_api::Instance as InstanceDocument;
use butler_plugin_api::abi::host::{BoxFuture, HostServices, Library, PluginHandle};
use futures_util::future::{AbortHandle, Abortable};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

type Job = Box<dyn FnOnce(&PluginHandle) -> BoxFuture<()> + Send>;

enum Message {
    Call(Job),
    Spawn(BoxFuture<()>),
    Quit,
}

/// Hands background futures to the thread. Held by the services of the generation.
#[derive(Clone)]
pub(super) struct Spawner(mpsc::UnboundedSender<Message>);

impl Spawner {
    pub(super) fn spawn(&self, future: BoxFuture<()>) {
        // Fails when the thread has ended: then the future is dropped, as those before it were.
        let _ = self.0.send(Message::Spawn(future));
    }
}

/// Why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallError {
    /// It took too long; it was ended, if the thread lets it.
    Deadline,
    /// The thread has ended.
    Gone,
}

/// A running thread with an instance of the plugin.
pub(super) struct Worker {
    messages: mpsc::UnboundedSender<Message>,
    alive: Arc<AtomicBool>,
    ended: watch::Receiver<bool>,
}

impl Worker {
    /// Starts the thread and creates the instance in it. `services` is called with what a generation needs: its spawner
    /// and the flag that is false once it was abandoned.
    pub(super) fn start(
        library: &Arc<Library>,
        document: InstanceDocument,
        settings: Value,
        services: impl FnOnce(Spawner, Arc<AtomicBool>) -> Arc<dyn HostServices>,
    ) -> std::io::Result<Self> {
        let (messages, queue) = mpsc::unbounded_channel();
        let alive = Arc::new(AtomicBool::new(true));
        let services = services(Spawner(messages.clone()), alive.clone());
        let (end, ended) = watch::channel(false);
        let library = library.clone();
        std::thread::Builder::new().name(format!("plugin {}", document.name)).spawn(move || {
            if let Err(error) = run(&library, &document, &settings, services, queue) {
                tracing::error!(instance = document.name, error, "the instance cannot be made");
            }
            end.send_replace(true);
        })?;
        Ok(Self { messages, alive, ended })
    }

    /// Runs a call of the plugin on the thread and waits for its answer, at most until the deadline.
    pub(super) async fn call<T, F>(
        &self,
        deadline: Duration,
        start: impl FnOnce(&PluginHandle) -> F + Send + 'static,
    ) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let (abort, registration) = AbortHandle::new_pair();
        let job: Job = Box::new(move |handle| {
            let call = Abortable::new(start(handle), registration);
            Box::pin(async move {
                if let Ok(value) = call.await {
                    let _ = reply.send(value);
                }
            })
        });
        self.messages.send(Message::Call(job)).map_err(|_| CallError::Gone)?;
        if let Ok(answer) = tokio::time::timeout(deadline, answer).await {
            answer.map_err(|_| CallError::Gone)
        } else {
            abort.abort();
            Err(CallError::Deadline)
        }
    }

    /// Runs a call of the plugin on the thread until it ends, and waits for nothing.
    pub(super) fn spawn<F>(&self, start: impl FnOnce(&PluginHandle) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // Fails when the thread has ended.
        let _ = self.messages.send(Message::Call(Box::new(move |handle| Box::pin(start(handle)))));
    }

    /// Whether the thread takes a message within the time: a blocked one does not.
    pub(super) async fn responds(&self, within: Duration) -> bool {
        self.call(within, |_| std::future::ready(())).await.is_ok()
    }

    /// Gives the generation up: its calls of the host fail from now on.
    pub(super) fn abandon(&self) {
        self.alive.store(false, Ordering::SeqCst);
    }

    /// Stops the plugin and ends the thread; false when it did not end in time and had to be abandoned.
    pub(super) async fn stop(self: Arc<Self>, deadline: Duration) -> bool {
        let started = tokio::time::Instant::now();
        let stopped = self.call(deadline, PluginHandle::stop).await.is_ok();
        self.abandon();
        let mut ended = self.ended.clone();
        // The plugin's services hold a sender, so the queue does not end by itself.
        let _ = self.messages.send(Message::Quit);
        let rest = deadline.saturating_sub(started.elapsed()).max(Duration::from_millis(100));
        stopped && tokio::time::timeout(rest, ended.wait_for(|ended| *ended)).await.is_ok_and(|ended| ended.is_ok())
    }
}

/// The life of the thread. The runtime is dropped here as well: it ends background futures of the plugin where they ran.
fn run(
    library: &Library,
    document: &InstanceDocument,
    settings: &Value,
    services: Arc<dyn HostServices>,
    queue: mpsc::UnboundedReceiver<Message>,
) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
    let handle = library.create(document, settings, services)?;
    runtime.block_on(serve(queue, handle));
    Ok(())
}

async fn serve(mut queue: mpsc::UnboundedReceiver<Message>, handle: PluginHandle) {
    while let Some(message) = queue.recv().await {
        match message {
            Message::Call(job) => drop(tokio::spawn(job(&handle))),
            Message::Spawn(future) => drop(tokio::spawn(future)),
            Message::Quit => break,
        }
    }
}
