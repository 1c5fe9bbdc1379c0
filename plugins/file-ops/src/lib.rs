//! Copies, moves and deletes files and creates directories, within approved directories.
//!
//! [`endpoints`] reads a request and finds the approved directory by the text of its [`path`]; [`operations`] carries it out, on a
//! thread of the [`crew`], by handles of that directory ([`place`]) which nothing leads out of. [`copy`] and [`relocate`] give
//! targets their names at the end, whole; what they make until then has a [`temporary`] name.

mod copy;
mod crew;
mod endpoints;
mod import;
mod inventory;
mod operations;
mod path;
mod place;
mod probe;
mod relocate;
mod remove;
mod rename;
mod settings;
mod settle;
mod temporary;
mod trouble;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use butler_plugin_api::{Health, Host, Manifest, OperationError, Plugin, Request, Response, StartError};
use serde_json::Value;
use tokio::sync::oneshot;

use copy::{Done, Progress};
use crew::{Idle, Lane};
use endpoints::Order;
use operations::Operation;
use path::Flavour;
use probe::Need;
use settings::{Approved, Directory, Settings};
use temporary::Names;
use trouble::{ENDING, Trouble};

/// How often the approved directories are looked at.
const LOOKED_AT: Duration = Duration::from_mins(1);
/// How long a look may take.
const LOOK: Duration = Duration::from_secs(20);

struct FileOps(Arc<Shared>);

/// What goes on with an operation when its caller has gone away.
struct Shared {
    approved: Approved,
    host: Host,
    names: Names,
    /// Copying and moving.
    slow: Lane,
    /// The rest.
    quick: Lane,
    is_ending: Arc<AtomicBool>,
    /// What is wrong with the approved directories.
    trouble: Mutex<Option<String>>,
}

impl Plugin for FileOps {
    type Settings = Settings;
    const RUNTIME: bool = true;

    fn manifest() -> Manifest {
        let manifest = Manifest::new(
            "file-ops",
            "Copies, moves and deletes files and creates directories, within approved directories",
        );
        endpoints::all().into_iter().fold(manifest.operation("check").operation("import"), Manifest::endpoint)
    }

    /// Directories may be missing: network shares come and go.
    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        let approved = settings.check(Flavour::HERE, &host.instance().config_dir).map_err(StartError::Config)?;
        Ok(Self(Arc::new(Shared {
            approved,
            host,
            names: Names::new(),
            slow: Lane::new(),
            quick: Lane::new(),
            is_ending: Arc::default(),
            trouble: Mutex::default(),
        })))
    }

    /// Only the daemon cleans up: other processes that start the instance must not take its files away.
    async fn run(&self) {
        let shared = self.0.clone();
        self.0.host.spawn(async move { shared.sweep().await });
        let needs = probe::needs(&self.0.approved);
        self.0.watch(move |looked_at| probe::look(&needs, looked_at)).await;
    }

    async fn call(&self, request: Request) -> Response {
        let order = match endpoints::order(Flavour::HERE, &self.0.approved, &request) {
            Ok(order) => order,
            Err(response) => {
                self.0.count("refused", endpoints::operation(&request.route).unwrap_or("unknown"));
                return response;
            }
        };
        let (answer, answered) = oneshot::channel();
        let shared = self.0.clone();
        // The work and what belongs to it go on when the caller does not wait any more.
        self.0.host.spawn(async move { shared.carry_out(order, &request.caller, answer).await });
        answered.await.unwrap_or_else(|_| Response::error(503, ENDING))
    }

    async fn invoke(&self, operation: &str, _: Value) -> Result<Value, OperationError> {
        if operation != "check" {
            return Err(OperationError::Unsupported(operation.to_owned()));
        }
        let (needs, name) = (probe::needs(&self.0.approved), self.0.names.make());
        let tried = self.0.quickly(move || probe::try_out(&needs, &name)).await;
        tried
            .map_err(|idle| OperationError::Failed(idle_text(idle).to_owned()))?
            .map(Value::from)
            .map_err(OperationError::Failed)
    }

    fn import(old: Value) -> Result<Value, OperationError> {
        import::import(old)
    }

    async fn health(&self) -> Health {
        match &*self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(text) => Health::Degraded(text.clone()),
            None => Health::Good,
        }
    }

    /// Ends copies between two pieces, so that they remove what they have made.
    async fn stop(&self) {
        self.0.is_ending.store(true, Ordering::Relaxed);
        self.0.slow.end().await;
        self.0.quick.end().await;
    }
}

butler_plugin_api::export!(FileOps);

impl Shared {
    /// The answer does not wait until all is forgotten.
    async fn carry_out(&self, order: Order, caller: &str, answer: oneshot::Sender<Response>) {
        let part = self.names.make();
        let note = order.operation.note();
        let is_slow = matches!(order.operation, Operation::Copy { .. } | Operation::Move { .. });
        let lane = if is_slow { &self.slow } else { &self.quick };
        let progress = Arc::new(Progress::new(&self.is_ending));
        let done = match lane.turn().await {
            // What waited when the stop began does not wait for the store, too.
            Ok(_) if progress.is_ending() => Err(Idle::Ended),
            Ok(turn) => {
                if let Some(note) = &note {
                    temporary::note(&self.host, &part, note).await;
                }
                let (operation, progress, name) = (order.operation.clone(), progress.clone(), part.clone());
                turn.run(self.host.runtime(), move || operation.perform(&name, &progress)).await
            }
            Err(idle) => Err(idle),
        };
        let is_noted = note.is_some() && !matches!(done, Err(Idle::Full | Idle::Ended));
        // What broke off has removed nothing.
        let is_left = progress.has_left() || matches!(done, Err(Idle::Broken));
        let _ = answer.send(self.answer(&order, caller, done));
        let bytes = progress.bytes();
        if bytes > 0 {
            self.host.metrics().count("copied_bytes_total", &[], bytes);
        }
        if is_noted && !is_left {
            temporary::forget(&self.host, &part).await;
        }
    }

    fn answer(&self, order: &Order, caller: &str, done: Result<Result<Done, Trouble>, Idle>) -> Response {
        let operation = order.words.operation;
        let (result, response) = match done {
            Ok(Ok(Done::Done)) => ("done", order.answer.clone()),
            Ok(Ok(Done::Unchanged)) => ("unchanged", order.answer.clone()),
            Ok(Err(trouble)) => {
                tracing::info!(operation, caller, "not done: {trouble:?}");
                let is_failed = matches!(trouble, Trouble::Failed(_) | Trouble::Ending);
                (if is_failed { "failed" } else { "refused" }, order.words.answer(&trouble))
            }
            Err(idle @ Idle::Full) => ("refused", Response::error(503, idle_text(idle)).header("retry-after", "10")),
            Err(idle @ Idle::Ended) => ("failed", Response::error(503, idle_text(idle))),
            Err(idle @ Idle::Broken) => ("failed", order.words.answer(&Trouble::Failed(idle_text(idle).to_owned()))),
        };
        self.count(result, operation);
        response
    }

    /// Removes what former runs have left. What is on a share that is away now waits for it.
    async fn sweep(&self) {
        let mut left = temporary::left(&self.host, &self.names).await;
        while !left.is_empty() {
            let mut still = Vec::new();
            for (name, note) in left {
                let approved = self.directories();
                let (swept, noted) = (name.clone(), note.clone());
                if self.quickly(move || temporary::sweep(&swept, &noted, &approved)).await == Ok(true) {
                    temporary::forget(&self.host, &name).await;
                } else {
                    still.push((name, note));
                }
            }
            left = still;
            if !left.is_empty() {
                self.host.sleep(LOOKED_AT).await;
            }
        }
    }

    /// Looks at the approved directories again and again. A share that hangs holds up one thread and no operation.
    async fn watch<F>(&self, look: F)
    where
        F: Fn(&dyn Fn(&Directory)) -> Option<String> + Send + Sync + 'static,
    {
        let look = Arc::new(look);
        let looked_at = Arc::new(Mutex::new(String::new()));
        let mut looking = None;
        loop {
            let mut look = looking.take().unwrap_or_else(|| {
                let (look, looked_at) = (look.clone(), looked_at.clone());
                self.host.runtime().spawn_blocking(move || {
                    look(&|directory| {
                        *looked_at.lock().unwrap_or_else(PoisonError::into_inner) = directory.location.to_string();
                    })
                })
            });
            tokio::select! {
                biased;
                looked = &mut look => if let Ok(trouble) = looked {
                    self.note(trouble);
                },
                () = self.host.sleep(LOOK) => {
                    let directory = looked_at.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    self.note(Some(format!(
                        "the approved directory {directory} does not answer: see to the disk or share that it is on"
                    )));
                    looking = Some(look);
                }
            }
            self.host.sleep(LOOKED_AT).await;
        }
    }

    fn count(&self, result: &str, operation: &str) {
        self.host.metrics().count("operations_total", &[("operation", operation), ("result", result)], 1);
    }

    async fn quickly<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Idle> {
        self.quick.turn().await?.run(self.host.runtime(), work).await
    }

    fn directories(&self) -> Vec<Directory> {
        probe::needs(&self.approved).into_iter().map(|Need { directory, .. }| directory).collect()
    }

    fn note(&self, trouble: Option<String>) {
        let mut noted = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*noted, &trouble) {
            (before, Some(text)) if before.as_ref() != Some(text) => tracing::warn!("{text}"),
            (Some(_), None) => tracing::info!("all approved directories are there again"),
            _ => {}
        }
        *noted = trouble;
    }
}

fn idle_text(idle: Idle) -> &'static str {
    match idle {
        Idle::Full => "too many file operations wait already: ask again later",
        Idle::Ended => ENDING,
        Idle::Broken => "the work broke off; the log says why",
    }
}

#[cfg(test)]
mod tests;
