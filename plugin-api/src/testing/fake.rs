//! The fake host: answers from a script and remembers what it was asked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::clock::Clock;
use super::services;
use super::stage::Stage;
use crate::abi::host::{BoxFuture, HostServices, into_box};
use crate::abi::plugin::{Scoped, stay};
use crate::abi::{HostHandle, WireLogRecord, WireRequest, WireResponse};
use crate::event::Task;
use crate::host::{Host, Instance, Links};
use crate::manifest::Manifest;
use crate::plugin::{Plugin, StartError};
#[cfg(feature = "runtime")]
use crate::runtime::Runtime;
use crate::services::{HttpError, ServiceError, Status};
use crate::{logging, panics};

/// How long a test waits for what happens in the background, in real time.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long background tasks may take to end.
const END: Duration = Duration::from_secs(5);

/// A host that answers from a script and remembers what it was asked. Clones share one state.
///
/// Futures that you run with [`block_on`](super::block_on) run on the thread of the test; background tasks of
/// [`Host::spawn`] run on a thread of the fake host, until [`FakeHost::stop`] or the last clone is dropped.
#[derive(Clone)]
pub struct FakeHost {
    instance: Instance,
    pub(super) shared: Arc<Shared>,
    /// Ends the threads with the last clone.
    #[cfg_attr(not(feature = "runtime"), allow(dead_code, reason = "kept for its drop"))]
    end: Arc<EndOnDrop>,
}

/// What the handles of plugins refer to.
#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) clock: Arc<Clock>,
    pub(super) stage: Stage,
}

#[derive(Default)]
pub(super) struct State {
    stopped: bool,
    answers: VecDeque<Answer>,
    routes: Vec<(String, String, WireResponse)>,
    /// HTTP requests are not answered for now; these wait.
    held: Option<Vec<Waker>>,
    requests: Vec<WireRequest>,
    pub(super) records: Vec<WireLogRecord>,
    /// Of the plugin under test, if it is known.
    pub(super) manifest: Option<Manifest>,
    /// Events that the manifest does not allow: why.
    pub(super) denied: BTreeSet<String>,
    pub(super) failing: BTreeMap<String, ServiceError>,
    pub(super) emitted: Vec<(String, Value)>,
    /// Event ids by key.
    pub(super) keys: BTreeMap<String, String>,
    /// Values with the time of their end.
    pub(super) storage: BTreeMap<String, (Value, Option<Duration>)>,
    pub(super) metrics: BTreeMap<String, f64>,
    pub(super) qlik: BTreeMap<String, Value>,
    /// Statuses of answers of QRS that are not the usual ones, by path, or method and path.
    pub(super) qlik_statuses: BTreeMap<String, u16>,
    /// Method, path and body.
    pub(super) qlik_writes: Vec<(String, Value)>,
    pub(super) tasks: Vec<Task>,
    /// Ids, in order.
    pub(super) started: Vec<String>,
    /// Ids of the reloads of Qlik Cloud that were handed over.
    pub(super) cloud_events: Vec<String>,
    pub(super) status: Status,
    /// By the names of schedules: times that have come and were not asked for, and who waits.
    pub(super) ticks: BTreeMap<String, (u32, Vec<Waker>)>,
}

type Answer = Result<WireResponse, HttpError>;

struct EndOnDrop {
    stage: Stage,
    /// That of the plugin under test, once it has needed one.
    #[cfg(feature = "runtime")]
    runtime: Mutex<Option<Runtime>>,
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.stage.quit();
    }
}

impl std::fmt::Debug for FakeHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeHost").field("instance", &self.instance.name).finish_non_exhaustive()
    }
}

fn response(status: u16, headers: &[(&str, &str)], body: &str) -> WireResponse {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    WireResponse { status, headers, body: body.into(), options: String::new() }
}

impl FakeHost {
    /// A host for one instance. HTTP requests without a script are answered `200` without a body; a sleep ends at once,
    /// and the clock jumps to its end.
    pub fn new(instance: &str) -> Self {
        let instance = Instance {
            name: instance.to_owned(),
            host_version: crate::API_VERSION.to_owned(),
            links: Links::default(),
            config_dir: ".".to_owned(),
            log_level: 5,
        };
        let shared = Arc::<Shared>::default();
        let end = EndOnDrop {
            stage: shared.stage.clone(),
            #[cfg(feature = "runtime")]
            runtime: Mutex::default(),
        };
        Self { instance, shared, end: Arc::new(end) }
    }

    /// Sets the links of the config.
    #[must_use]
    pub fn links(mut self, links: Links) -> Self {
        self.instance.links = links;
        self
    }

    /// Sets the folder that relative paths start in.
    #[must_use]
    pub fn config_dir(mut self, dir: &str) -> Self {
        dir.clone_into(&mut self.instance.config_dir);
        self
    }

    /// Time stands still: sleeps end, and values in the storage expire, when [`FakeHost::advance`] says so.
    #[must_use]
    pub fn manual_time(self) -> Self {
        self.shared.clock.stand_still();
        self
    }

    /// Scripts the answer to the next unanswered HTTP request.
    #[must_use]
    pub fn answer(self, status: u16, body: &str) -> Self {
        self.answer_with(status, &[], body)
    }

    /// The same with headers.
    #[must_use]
    pub fn answer_with(self, status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        self.state().answers.push_back(Ok(response(status, headers, body)));
        self
    }

    /// Scripts the answer to every HTTP request of a method whose URL begins so. Goes before the answers in order; of
    /// several that fit the last one counts.
    #[must_use]
    pub fn answer_to(self, method: &str, url: &str, status: u16, body: &str) -> Self {
        self.state().routes.push((method.to_ascii_uppercase(), url.to_owned(), response(status, &[], body)));
        self
    }

    /// Scripts a failure of the next unanswered HTTP request.
    #[must_use]
    pub fn fail(self, error: HttpError) -> Self {
        self.state().answers.push_back(Err(error));
        self
    }

    /// How Butler is doing, from now on.
    #[must_use]
    pub fn status(self, status: Status) -> Self {
        self.state().status = status;
        self
    }

    /// Every call of a service fails: `storage`, `emit`, `metrics`, `schedule`, `status` or `qlik`.
    #[must_use]
    pub fn fail_service(self, service: &str, error: ServiceError) -> Self {
        self.state().failing.insert(service.to_owned(), error);
        self
    }

    /// Scripts the answer of QRS to a GET of a path (`task/full`) or to a write (`POST tag`; without: 204 and no body), the
    /// text of a script log (`scriptLog/<reference>`), or `systemInfo`.
    #[must_use]
    pub fn qlik(self, path: &str, body: Value) -> Self {
        self.state().qlik.insert(path.to_owned(), body);
        self
    }

    /// Scripts the status of QRS's answers to a GET of a path (`user/…`) or to a write (`DELETE license/…`); the body is
    /// that of [`FakeHost::qlik`].
    #[must_use]
    pub fn qlik_status(self, path: &str, status: u16) -> Self {
        self.state().qlik_statuses.insert(path.to_owned(), status);
        self
    }

    /// Adds a task that can be started.
    #[must_use]
    pub fn task(self, task: Task) -> Self {
        self.state().tasks.push(task);
        self
    }

    /// Puts a value into the storage, as an earlier run would have left it.
    #[must_use]
    pub fn store(self, key: &str, value: Value) -> Self {
        self.state().storage.insert(key.to_owned(), (value, None));
        self
    }

    /// The handle that a plugin gets. Log records of this thread come to this fake host from now on.
    pub fn host(&self) -> Host {
        let host = self.handle();
        stay(&host);
        host
    }

    /// Starts a plugin as the host does: the settings are read from JSON, and a panic is an error. From now on events are
    /// taken only of the kinds, and writes to QRS only to the paths, that its manifest names. With `RUNTIME` this
    /// thread is inside the plugin's runtime from now on.
    pub async fn start<P: Plugin>(&self, settings: Value) -> Result<P, StartError> {
        let settings = serde_json::from_value(settings).map_err(|error| StartError::Config(error.to_string()))?;
        self.of(P::manifest());
        let host = self.handle_of::<P>()?;
        stay(&host);
        #[cfg(feature = "runtime")]
        if let Some(runtime) = &host.runtime {
            // Not left again: the test calls the plugin's methods itself, on this thread.
            std::mem::forget(runtime.handle().enter());
        }
        let start = Scoped::new(host.clone(), P::start(settings, host));
        start.await.unwrap_or_else(|panic| Err(StartError::Panicked(panic)))
    }

    /// Starts a plugin and lets it do its own work ([`Plugin::run`]) in the background, until [`FakeHost::stop`].
    pub async fn run<P: Plugin>(&self, settings: Value) -> Result<Arc<P>, StartError> {
        let plugin = Arc::new(self.start::<P>(settings).await?);
        let host = self.handle_of::<P>()?;
        let running = plugin.clone();
        let run = Scoped::new(host, async move { running.run().await });
        self.shared.stage.spawn(Box::pin(async move {
            if let Err(panic) = run.await {
                tracing::error!("its own work panicked: {panic}");
            }
        }));
        Ok(plugin)
    }

    /// Holds the events that are emitted, and writes to QRS, against a manifest.
    pub(super) fn of(&self, manifest: Manifest) {
        self.state().manifest = Some(manifest);
    }

    /// Why events and writes were refused that the manifest does not allow.
    pub(super) fn denied(&self) -> BTreeSet<String> {
        self.state().denied.clone()
    }

    /// A handle that leaves the log records of this thread alone.
    pub(super) fn handle(&self) -> Host {
        prepare();
        let services: Arc<dyn HostServices> = Arc::new(Services(self.shared.clone()));
        let host = Host {
            handle: HostHandle::new(into_box(services)),
            instance: Arc::new(self.instance.clone()),
            #[cfg(feature = "runtime")]
            runtime: None,
        };
        logging::install(&host);
        host
    }

    /// The same for a plugin that may have a runtime: that of this fake host, which ends with it.
    #[cfg_attr(
        not(feature = "runtime"),
        allow(
            unused_mut,
            clippy::unnecessary_wraps,
            clippy::extra_unused_type_parameters,
            reason = "they are for runtimes"
        )
    )]
    fn handle_of<P: Plugin>(&self) -> Result<Host, StartError> {
        let mut host = self.handle();
        #[cfg(feature = "runtime")]
        if P::RUNTIME {
            let mut runtime = self.end.runtime.lock().unwrap_or_else(PoisonError::into_inner);
            if runtime.is_none() {
                *runtime = Some(Runtime::start(&host).map_err(|error| StartError::Unavailable(error.to_string()))?);
            }
            host.runtime = runtime.as_ref().map(Runtime::inside);
        }
        Ok(host)
    }

    /// Lets time pass: sleeps that end by then wake up, values in the storage expire.
    pub fn advance(&self, by: Duration) {
        self.shared.clock.advance(by);
    }

    /// Waits until something is so that happens in the background; panics with `what` if that takes longer than 10 s of
    /// real time.
    ///
    /// # Panics
    ///
    /// When it does not become so.
    pub fn wait_until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < until, "waited {} s for {what}", PATIENCE.as_secs());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What the host does after [`Plugin::stop`]: ends the background tasks; every call is answered with `Stopped` from
    /// now on.
    ///
    /// # Panics
    ///
    /// When a background task does not end within 5 s, since it blocks its thread.
    pub fn stop(&self) {
        assert!(self.end(END), "a background task blocks its thread: it did not end within {} s", END.as_secs());
    }

    /// The same; false when a task did not end.
    pub(super) fn end(&self, limit: Duration) -> bool {
        self.state().stopped = true;
        self.shared.stage.end(limit)
    }

    /// The HTTP requests so far.
    pub fn requests(&self) -> Vec<WireRequest> {
        self.state().requests.clone()
    }

    /// Log records so far: those of the test's thread since it asked for [`FakeHost::host`] or [`FakeHost::start`], and
    /// those of background tasks. A metric that the host refuses leaves one as well.
    pub fn records(&self) -> Vec<WireLogRecord> {
        self.state().records.clone()
    }

    /// Kinds and data of the events emitted so far, repeated ones left out.
    pub fn emitted(&self) -> Vec<(String, Value)> {
        self.state().emitted.clone()
    }

    /// Writes to QRS so far: method with path (`DELETE license/analyzeraccesstype/…`), and body.
    pub fn qlik_writes(&self) -> Vec<(String, Value)> {
        self.state().qlik_writes.clone()
    }

    /// Ids of the tasks that were started so far.
    pub fn started(&self) -> Vec<String> {
        self.state().started.clone()
    }

    /// Ids of the reloads of which Qlik Cloud's messages were handed over so far, repeated ones left out.
    pub fn cloud_events(&self) -> Vec<String> {
        self.state().cloud_events.clone()
    }

    /// A value in the storage.
    pub fn stored(&self, key: &str) -> Option<Value> {
        services::expire(&mut self.state(), self.shared.clock.now());
        self.state().storage.get(key).map(|(value, _)| value.clone())
    }

    /// The next time of a schedule has come: whoever waits for it, or asks next, is answered. Without this none ever comes.
    pub fn tick(&self, name: &str) {
        let waiting = {
            let mut state = self.state();
            let ticks = state.ticks.entry(name.to_owned()).or_default();
            ticks.0 += 1;
            std::mem::take(&mut ticks.1)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Whether somebody waits for a schedule.
    pub fn awaits_tick(&self, name: &str) -> bool {
        self.state().ticks.get(name).is_some_and(|(come, waiting)| *come == 0 && !waiting.is_empty())
    }

    /// A metric by name and labels: `sent{kind="x"}`.
    pub fn metric(&self, series: &str) -> Option<f64> {
        self.state().metrics.get(series).copied()
    }

    /// The times that the plugin wanted to sleep.
    pub fn slept(&self) -> Vec<Duration> {
        self.shared.clock.slept()
    }

    /// How many sleeps are under way; always none without [`FakeHost::manual_time`].
    pub fn sleeping(&self) -> usize {
        self.shared.clock.sleeping()
    }

    /// Lets HTTP requests wait for their answers.
    pub(super) fn hold_http(&self) {
        self.state().held = Some(Vec::new());
    }

    /// Answers HTTP requests again, those that wait first.
    pub(super) fn release_http(&self) {
        let held = self.state().held.take();
        held.into_iter().flatten().for_each(Waker::wake);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl State {
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prepares the process: panics are noted, and a host of its own is the first one. The first gets the records of threads
/// that belong to no instance, which are no business of whatever fake host a test happens to make first.
pub(super) fn prepare() {
    static NOBODY: OnceLock<()> = OnceLock::new();
    NOBODY.get_or_init(|| {
        panics::print_too();
        panics::install();
        let services: Arc<dyn HostServices> = Arc::new(Services(Arc::default()));
        let instance = Arc::new(Instance { log_level: 5, ..Instance::default() });
        logging::install(&Host {
            handle: HostHandle::new(into_box(services)),
            instance,
            #[cfg(feature = "runtime")]
            runtime: None,
        });
    });
}

/// The fake host as the boundary sees it. It does not keep the fake host's thread alive.
struct Services(Arc<Shared>);

impl HostServices for Services {
    fn http(&self, request: WireRequest) -> BoxFuture<Answer> {
        let mut state = self.0.state();
        if state.stopped {
            return Box::pin(std::future::ready(Err(HttpError::Stopped)));
        }
        let fits = |(method, url, _): &&(String, String, WireResponse)| {
            *method == request.method && request.url.starts_with(url.as_str())
        };
        let route = state.routes.iter().rev().find(fits).map(|(_, _, answer)| Ok(answer.clone()));
        let answer = route.or_else(|| state.answers.pop_front()).unwrap_or_else(|| Ok(response(200, &[], "")));
        state.requests.push(request);
        drop(state);
        let shared = self.0.clone();
        Box::pin(async move {
            std::future::poll_fn(|cx| match &mut shared.state().held {
                Some(waiting) => {
                    waiting.push(cx.waker().clone());
                    Poll::Pending
                }
                None => Poll::Ready(()),
            })
            .await;
            answer
        })
    }

    fn log(&self, record: WireLogRecord) {
        self.0.state().records.push(record);
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(self.0.clock.sleep(duration))
    }

    fn spawn(&self, future: BoxFuture<()>) {
        self.0.stage.spawn(future);
    }

    fn invoke(&self, service: String, input: String) -> BoxFuture<Result<String, ServiceError>> {
        let mut state = self.0.state();
        if service == "schedule" && !state.stopped && !state.failing.contains_key("schedule") {
            drop(state);
            let input: Value = serde_json::from_str(&input).unwrap_or_default();
            return Box::pin(services::schedule(self.0.clone(), input));
        }
        let answer = if state.stopped {
            Err(ServiceError::Stopped)
        } else {
            let input: Value = serde_json::from_str(&input).unwrap_or(Value::Object(Map::new()));
            services::answer(&mut state, self.0.clock.now(), &service, &input).map(|value| value.to_string())
        };
        Box::pin(std::future::ready(answer))
    }
}
