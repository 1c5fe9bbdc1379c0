//! One instance of a plugin over its life: start, calls with deadlines, restart, stop.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use butler_plugin_api::abi::host::{HostServices, Library, PluginHandle};
use butler_plugin_api::abi::{WireRequest, WireResponse};
use butler_plugin_api::{
    Delivery, Health, Instance as InstanceDocument, Manifest, OperationError, Outcome, StartError,
};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Notify, watch};

use super::answers;
use super::chain::Chains;
use super::flood::FloodGate;
use super::services::{Calls, Services, Shared, Waits};
use super::worker::{CallError, Worker};
use crate::config::{OnStuck, PluginEntry};
use crate::stop::stopping;

const START_DEADLINE: Duration = Duration::from_secs(30);
const CALL_DEADLINE: Duration = Duration::from_mins(1);
const HEALTH_DEADLINE: Duration = Duration::from_secs(10);
const HEALTH_EVERY: Duration = Duration::from_secs(30);
/// A thread that does not take a message for so long is blocked.
const PROBE: Duration = Duration::from_secs(2);
/// A blocked thread gets so long before it is given up, where the config asks for that.
const STUCK_PATIENCE: Duration = Duration::from_secs(10);
/// Threads that an instance may leak.
const MAX_LEAKS: u32 = 2;
/// So many panics in a row restart the instance.
const MAX_PANICS: u32 = 5;
/// Longest text of a panic in the log.
const MAX_PANIC: usize = 8 << 10;
const RESTART_WAITS: [u64; 6] = [1, 2, 5, 15, 30, 60];

/// How an instance is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum Condition {
    /// Not started yet, or being started.
    Starting,
    /// Works.
    Running,
    /// Could not start; is tried again.
    Unavailable {
        /// Why.
        message: String,
    },
    /// Its thread is blocked.
    Stuck,
    /// Given up until the next start.
    Failed {
        /// Why.
        message: String,
    },
    /// Stopped.
    Stopped,
}

/// How deliveries of an instance went.
#[derive(Debug, Default)]
pub struct Statistics {
    /// Outcomes `delivered`.
    pub delivered: AtomicU64,
    /// Outcomes `retry`.
    pub retried: AtomicU64,
    /// Deliveries that ended dead.
    pub dead: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Statistics {
    /// The error of the last attempt; `None` after a success.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes the result of an attempt.
    pub fn note(&self, error: Option<&str>) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error.map(str::to_owned);
    }
}

/// One entry under `plugins:`.
pub struct Instance {
    /// Itself, for tasks that watch over it.
    weak: Weak<Self>,
    document: InstanceDocument,
    entry: PluginEntry,
    library: Arc<Library>,
    shared: Arc<Shared>,
    worker: Mutex<Option<Arc<Worker>>>,
    condition: watch::Sender<Condition>,
    health: Mutex<Health>,
    chains: Arc<Chains>,
    panics: AtomicU32,
    /// Threads that were given up because they were blocked.
    leaks: AtomicU32,
    restart: Notify,
    /// How deliveries went.
    pub statistics: Statistics,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("name", &self.document.name).finish_non_exhaustive()
    }
}

impl Instance {
    /// An instance that is not started yet.
    pub fn new(
        document: InstanceDocument,
        entry: PluginEntry,
        library: Arc<Library>,
        shared: Arc<Shared>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|weak| Self {
            weak: weak.clone(),
            document,
            entry,
            library,
            shared,
            worker: Mutex::new(None),
            condition: watch::Sender::new(Condition::Starting),
            health: Mutex::new(Health::Good),
            chains: Arc::default(),
            panics: AtomicU32::new(0),
            leaks: AtomicU32::new(0),
            restart: Notify::new(),
            statistics: Statistics::default(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.document.name
    }

    /// What its plugin says of itself.
    pub fn manifest(&self) -> &Manifest {
        self.library.manifest()
    }

    /// Its entry in the config.
    pub fn entry(&self) -> &PluginEntry {
        &self.entry
    }

    /// How it is.
    pub fn condition(&self) -> Condition {
        self.condition.borrow().clone()
    }

    /// Tells of changes of its condition.
    pub fn watch(&self) -> watch::Receiver<Condition> {
        self.condition.subscribe()
    }

    /// How it is: what the plugin said last, or why the last delivery failed.
    pub fn health(&self) -> Health {
        let said = self.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match (said, self.statistics.last_error()) {
            (Health::Good, Some(error)) => Health::Degraded(format!("the last delivery failed: {error}")),
            (said, _) => said,
        }
    }

    /// Threads that were given up because the plugin blocked them: they are there until Butler ends.
    pub fn abandoned_threads(&self) -> u32 {
        self.leaks.load(Ordering::Relaxed)
    }

    /// Events that it emitted and that nobody gets, since they end a chain that is too long.
    pub fn chains_cut(&self) -> u64 {
        self.chains.cut()
    }

    fn set(&self, condition: Condition) {
        self.condition.send_replace(condition);
    }

    fn worker(&self) -> Option<Arc<Worker>> {
        self.worker.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts it once. The error says whether it makes sense to try again.
    pub async fn start(&self) -> Result<(), StartError> {
        self.set(Condition::Starting);
        let max_level = self.document.log_level;
        let instance: Arc<str> = self.document.name.as_str().into();
        let (shared, chains) = (self.shared.clone(), self.chains.clone());
        let made =
            Worker::start(&self.library, self.document.clone(), self.entry.settings.clone(), |spawner, alive| {
                let (flood, calls, library) = (FloodGate::new(), Calls::default(), self.library.clone());
                let waits = Waits::default();
                Arc::new(Services { instance, library, shared, spawner, alive, max_level, flood, calls, chains, waits })
                    as Arc<dyn HostServices>
            });
        let worker = match made {
            Ok(worker) => Arc::new(worker),
            Err(error) => return Err(StartError::Unavailable(format!("the system gives it no thread: {error}"))),
        };
        // Known from now on, so that a stop finds it while it starts.
        *self.worker.lock().unwrap_or_else(PoisonError::into_inner) = Some(worker.clone());
        let secrets = self.shared.secrets.clone();
        let start = move |handle: &PluginHandle| {
            let started = handle.start();
            async move { started.await.map_err(|error| answers::start_error(&secrets, error)) }
        };
        let result = match worker.call(START_DEADLINE, start).await {
            Ok(result) => result,
            Err(CallError::Deadline) => {
                Err(StartError::Unavailable(format!("it did not start within {} s", START_DEADLINE.as_secs())))
            }
            Err(CallError::Gone) => Err(StartError::Unavailable("its thread ended during the start".to_owned())),
        };
        if result.is_ok() {
            self.panics.store(0, Ordering::Relaxed);
            self.set(Condition::Running);
        } else {
            self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
            worker.abandon();
            if !worker.stop(PROBE).await {
                self.give_up_thread();
            }
        }
        result
    }

    /// A thread does not end: nothing can be done about it.
    fn give_up_thread(&self) {
        let leaks = self.leaks.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::error!(
            instance = self.name(),
            abandoned_threads = leaks,
            "the plugin blocks its thread, which is given up; it is there until Butler ends"
        );
    }

    /// Whether it has used up the threads that it may block; then it is given up.
    fn used_up(&self) -> bool {
        let leaks = self.leaks.load(Ordering::Relaxed);
        let used_up = leaks > MAX_LEAKS;
        if used_up {
            let message = format!("blocked its thread {leaks} times; restart Butler after mending the cause");
            tracing::error!(instance = self.name(), "{message}");
            self.set(Condition::Failed { message });
        }
        used_up
    }

    /// Keeps it running until `stop`: starts it, starts it again after failures, asks for its health. `refused` is
    /// called when the settings turn out to be impossible.
    pub async fn supervise(self: Arc<Self>, mut stop: watch::Receiver<bool>, refused: impl Fn(&str, &str)) {
        let mut failures = 0;
        let mut ran = false;
        loop {
            let started = tokio::select! {
                started = self.start() => started,
                // Whoever stops it ends its thread.
                () = stopping(&mut stop) => return,
            };
            match started {
                Ok(()) => {
                    tracing::info!(instance = self.name(), plugin = self.manifest().name, "started");
                    self.run();
                }
                Err(StartError::Config(message)) => {
                    self.set(Condition::Failed { message: message.clone() });
                    if ran {
                        // The same settings were good enough before: no reason to end the others with it.
                        tracing::error!(instance = self.name(), "does not start again: {message}");
                    } else {
                        refused(self.name(), &message);
                    }
                    return;
                }
                Err(_) if self.used_up() => return,
                Err(error) => {
                    let wait = RESTART_WAITS[failures.min(RESTART_WAITS.len() - 1)];
                    failures += 1;
                    tracing::warn!(instance = self.name(), %error, retry_seconds = wait,
                        "cannot start yet; its deliveries wait in the store");
                    self.set(Condition::Unavailable { message: error.to_string() });
                    tokio::select! {
                        () = tokio::time::sleep(Duration::from_secs(wait)) => continue,
                        () = stopping(&mut stop) => return,
                    }
                }
            }
            ran = true;
            let started = tokio::time::Instant::now();
            if !self.tend(&mut stop).await {
                return;
            }
            if self.used_up() {
                return;
            }
            // One that ran for long was well: its next failure is a first one.
            failures = if started.elapsed() > Duration::from_mins(10) { 0 } else { failures };
            let wait = RESTART_WAITS[failures.min(RESTART_WAITS.len() - 1)];
            failures += 1;
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(wait)) => {}
                () = stopping(&mut stop) => return,
            }
        }
    }

    /// Lets the plugin do its own work beside deliveries.
    fn run(&self) {
        let Some(worker) = self.worker() else { return };
        let (weak, name, secrets) = (self.weak.clone(), self.name().to_owned(), self.shared.secrets.clone());
        worker.spawn(move |handle| {
            let run = handle.run();
            async move {
                let Err(error) = answers::operation(&secrets, run.await.map(|()| Value::Null)) else { return };
                if !matches!(error, OperationError::Panicked(_)) {
                    tracing::error!(instance = name, "cannot do its own work: {error}");
                    return;
                }
                tracing::error!(instance = name, "its own work {error}; the instance is restarted");
                if let Some(instance) = weak.upgrade() {
                    instance.restart.notify_one();
                }
            }
        });
    }

    /// While it runs; true when it is to be started again.
    async fn tend(&self, stop: &mut watch::Receiver<bool>) -> bool {
        let mut tick = tokio::time::interval(HEALTH_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tick.tick().await;
        loop {
            tokio::select! {
                () = stopping(stop) => return false,
                _ = tick.tick() => self.ask_health().await,
                () = self.restart.notified() => {
                    self.set(Condition::Starting);
                    let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if let Some(worker) = worker && !worker.stop(PROBE).await {
                        self.give_up_thread();
                    }
                    return true;
                }
            }
        }
    }

    async fn ask_health(&self) {
        let Some(worker) = self.worker() else { return };
        let secrets = self.shared.secrets.clone();
        let ask = move |handle: &PluginHandle| {
            let said = handle.health();
            async move { answers::health(&secrets, said.await) }
        };
        let health = worker.call(HEALTH_DEADLINE, ask).await.unwrap_or_else(|_| {
            self.suspect(&worker);
            Health::Bad("it did not say how it is".to_owned())
        });
        let before =
            std::mem::replace(&mut *self.health.lock().unwrap_or_else(PoisonError::into_inner), health.clone());
        if before != health {
            tracing::info!(instance = self.name(), ?health, "health changed");
        }
    }

    /// A call has missed its deadline: is the thread blocked?
    fn suspect(&self, worker: &Arc<Worker>) {
        let worker = worker.clone();
        let condition = self.condition.clone();
        let name = self.name().to_owned();
        let restart = self.entry.on_stuck == OnStuck::Restart;
        // `Notify` keeps one permit: the supervisor finds it.
        let changed = condition.send_if_modified(|now| {
            let running = *now == Condition::Running;
            if running {
                *now = Condition::Stuck;
            }
            running
        });
        if !changed {
            return;
        }
        let Some(this) = self.weak.upgrade() else { return };
        tokio::spawn(async move {
            if !worker.responds(PROBE).await {
                tracing::error!(instance = name, "the plugin blocks its thread: nothing reaches it until it lets go");
                if restart && !worker.responds(STUCK_PATIENCE).await {
                    // Counted as leaked by the supervisor, when it does not end.
                    tracing::error!(instance = name, "the blocked thread is given up, the instance gets another");
                    worker.abandon();
                    this.restart.notify_one();
                    return;
                }
                while !worker.responds(Duration::from_hours(1)).await {
                    if matches!(*condition.borrow(), Condition::Stopped | Condition::Failed { .. }) {
                        return;
                    }
                }
                tracing::info!(instance = name, "the plugin's thread runs again");
            }
            condition.send_if_modified(|now| {
                let stuck = *now == Condition::Stuck;
                if stuck {
                    *now = Condition::Running;
                }
                stuck
            });
        });
    }

    /// Hands deliveries over. There is one outcome each, whatever happens.
    pub async fn deliver(&self, deliveries: Vec<Delivery>) -> Vec<Outcome> {
        let count = deliveries.len();
        let retry =
            |message: String| vec![Outcome::Retry { message, after_ms: None, progress: None, panicked: false }; count];
        let Some(worker) = self.worker() else { return retry("the instance is not running".to_owned()) };
        let deadline = Duration::from_secs(u64::from(self.manifest().deadline_seconds.max(1)));
        let under_way = self.chains.begin(&deliveries);
        let secrets = self.shared.secrets.clone();
        let deliver = move |handle: &PluginHandle| {
            let answer = handle.deliver(&deliveries);
            async move {
                match answer.await {
                    Ok(outcomes) => Ok(outcomes.into_iter().map(|one| answers::outcome(&secrets, one)).collect()),
                    Err(message) => Err(answers::text(&secrets, message)),
                }
            }
        };
        let answer: Result<Result<Vec<Outcome>, String>, CallError> = worker.call(deadline, deliver).await;
        drop(under_way);
        let outcomes = match answer {
            Ok(Ok(outcomes)) => outcomes,
            Ok(Err(message)) => retry(message),
            Err(CallError::Deadline) => {
                self.suspect(&worker);
                retry(format!("no outcome within {} s", deadline.as_secs()))
            }
            Err(CallError::Gone) => retry("the plugin's thread has ended".to_owned()),
        };
        self.count_panics(&outcomes);
        outcomes
    }

    fn count_panics(&self, outcomes: &[Outcome]) {
        if !outcomes.iter().any(|outcome| matches!(outcome, Outcome::Retry { panicked: true, .. })) {
            self.panics.store(0, Ordering::Relaxed);
        } else if self.panics.fetch_add(1, Ordering::Relaxed) + 1 == MAX_PANICS {
            tracing::error!(
                instance = self.name(),
                panics = MAX_PANICS,
                "panicked again and again: the instance is restarted"
            );
            *self.health.lock().unwrap_or_else(PoisonError::into_inner) =
                Health::Bad(format!("panicked {MAX_PANICS} times in a row and was restarted"));
            self.restart.notify_one();
        }
    }

    /// Calls an endpoint, which may take so many seconds (a minute if it does not say): 503 while the instance does not run,
    /// 504 when it takes too long.
    pub async fn call(&self, request: WireRequest, deadline_seconds: Option<u32>) -> WireResponse {
        let error = |status: u16, message: &str| {
            let response = butler_plugin_api::Response::error(status, message);
            WireResponse { status, headers: response.headers, body: response.body, options: String::new() }
        };
        let running = *self.condition.borrow() == Condition::Running;
        let Some(worker) = self.worker().filter(|_| running) else {
            return error(503, &format!("the instance `{}` does not run at present", self.name()));
        };
        let secrets = self.shared.secrets.clone();
        let call = move |handle: &PluginHandle| {
            let answer = handle.call(request);
            async move { answers::response(&secrets, answer.await) }
        };
        let deadline = deadline_seconds.map_or(CALL_DEADLINE, |seconds| Duration::from_secs(u64::from(seconds.max(1))));
        match worker.call(deadline, call).await {
            Ok(Ok(response)) => {
                if let Some(panic) = panic_of(&response) {
                    tracing::error!(instance = self.name(), panic, "panicked in an endpoint");
                }
                response
            }
            Ok(Err(fault)) => {
                tracing::error!(instance = self.name(), "an endpoint gives no usable answer: {fault}");
                error(502, &format!("the instance `{}` gave no usable answer", self.name()))
            }
            Err(CallError::Deadline) => {
                self.suspect(&worker);
                error(504, &format!("the instance `{}` did not answer in time", self.name()))
            }
            Err(CallError::Gone) => error(503, &format!("the instance `{}` has ended", self.name())),
        }
    }

    /// Performs an operation of the plugin.
    pub async fn invoke(&self, operation: &'static str, input: Value) -> Result<Value, OperationError> {
        let Some(worker) = self.worker() else {
            return Err(OperationError::Failed("the instance is not running".to_owned()));
        };
        let secrets = self.shared.secrets.clone();
        let invoke = move |handle: &PluginHandle| {
            let answer = handle.invoke(operation, &input);
            async move { answers::operation(&secrets, answer.await) }
        };
        worker.call(CALL_DEADLINE, invoke).await.unwrap_or_else(|_| {
            self.suspect(&worker);
            Err(OperationError::Failed(format!("no answer within {} s", CALL_DEADLINE.as_secs())))
        })
    }

    /// Stops it; false when its thread could not be ended.
    pub async fn stop(&self, deadline: Duration) -> bool {
        self.set(Condition::Stopped);
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        match worker {
            Some(worker) => worker.stop(deadline).await,
            None => true,
        }
    }
}

/// What the SDK says of a panic in an endpoint.
fn panic_of(response: &WireResponse) -> Option<String> {
    let options: Value = serde_json::from_str(&response.options).ok()?;
    options["panicked"].as_str().map(|panic| answers::cut(panic.to_owned(), MAX_PANIC))
}
