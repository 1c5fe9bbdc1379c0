//! The process that a service consists of.
//!
//! Windows starts it and waits until it calls [`service_dispatcher::start`]. That calls `work` in a thread of its own, and tells
//! what is asked for later in the first one. Whatever state is told, only a process that has told `Stopped` has ended well: one that
//! ends otherwise is started anew.

use std::ffi::OsString;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use futures_util::future::BoxFuture;
use log::Level;
use tokio::sync::{Notify, watch};
use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle};
use windows_service::{define_windows_service, service_dispatcher};

use super::exit::Code;
use super::scm::{self, FAILED_SERVICE_CONTROLLER_CONNECT};
use crate::daemon::Failure;
use crate::observe;
use crate::observe::event_log::EventLog;
use crate::service::{Manager, State};

/// Config and plugins are read within this time.
const BEGIN: Duration = Duration::from_secs(60);

type Daemon = Box<dyn FnOnce(&dyn Manager) -> Result<(), Failure> + Send>;

/// What the process is for.
struct Job {
    name: String,
    daemon: Daemon,
}

// Windows calls functions, which carry nothing: what they need is here.
static JOB: Mutex<Option<Job>> = Mutex::new(None);
static RESULT: Mutex<Option<Result<(), Failure>>> = Mutex::new(None);
static CONTROL: OnceLock<Control> = OnceLock::new();

define_windows_service!(service_main, work);

/// Runs the daemon as the service of this name. `daemon` loads the config and works until it is asked to stop.
pub fn run(
    name: &str,
    config: &Path,
    daemon: impl FnOnce(&dyn Manager) -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    *lock(&JOB) = Some(Job { name: name.to_owned(), daemon: Box::new(daemon) });
    let dispatched = service_dispatcher::start(name, service_main);
    let called = lock(&JOB).take().is_none();
    match dispatched {
        Ok(()) if called => lock(&RESULT).take().unwrap_or_else(|| {
            loop {
                // The daemon's own thread ends the process in its way, since a thread of a plugin hangs: the usual end would wait for that.
                std::thread::park();
            }
        }),
        Err(error) if scm::code(&error) != Some(FAILED_SERVICE_CONTROLLER_CONNECT) => {
            Err(Failure::Other(scm::explained(error).context("Windows does not take this process for a service")))
        }
        _ => Err(Failure::Other(anyhow!(
            "`butler service run` is for Windows to call: `butler service start --name {name}` starts the service, `butler run -c {}` \
             runs Butler in this terminal",
            config.display()
        ))),
    }
}

/// The service itself.
fn work(_: Vec<OsString>) {
    let Some(Job { name, daemon }) = lock(&JOB).take() else { return };
    let control = CONTROL.get_or_init(Control::new);
    // It has no way to fail that it could tell: without a log of events there is still the log.
    drop(EventLog::start_of_process(&name));
    // Must carry nothing: what it carried would be gone after the first stop, and Windows may call it once more.
    let handler =
        |asked| CONTROL.get().map_or(ServiceControlHandlerResult::NotImplemented, |control| control.asked(asked));
    match service_control_handler::register(&name, handler) {
        Ok(handle) => drop(control.handle.set(handle)),
        Err(error) => {
            let error = scm::explained(error).context("Windows does not tell this service when to stop");
            report(Level::Error, &format!("Butler ends: {error:#}"));
            *lock(&RESULT) = Some(Err(Failure::Other(error)));
            return;
        }
    }
    control.tell(State::Starting(BEGIN));
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| daemon(control)))
        .unwrap_or_else(|_| Err(Failure::Other(anyhow!("Butler panicked; please report this"))));
    if let Err(failure) = &result
        && !observe::log_is_installed()
    {
        report(Level::Error, &format!("Butler ends: {failure}"));
    }
    observe::flush_log();
    let code = result.as_ref().err().map_or(0, Failure::exit_code);
    // Before the service has ended for Windows: the process may be gone right after it.
    *lock(&RESULT) = Some(result);
    control.tell(State::Ended(code));
}

fn report(level: Level, text: &str) {
    if let Some(events) = EventLog::of_process() {
        events.report(level, text);
        events.flush();
    }
}

/// The service control manager, as the daemon sees it.
struct Control {
    handle: OnceLock<ServiceStatusHandle>,
    told: Mutex<Told>,
    /// Who asks for a stop.
    stop: watch::Sender<Option<&'static str>>,
    reload: Notify,
}

/// What Windows knows.
struct Told {
    state: ServiceState,
    /// Grows with every sign of progress while a start or a stop is under way.
    checkpoint: u32,
}

impl Control {
    fn new() -> Self {
        let told = Told { state: ServiceState::StartPending, checkpoint: 0 };
        Self { handle: OnceLock::new(), told: Mutex::new(told), stop: watch::Sender::new(None), reload: Notify::new() }
    }

    /// What Windows asks for. Called in the first thread, and to return soon.
    fn asked(&self, asked: ServiceControl) -> ServiceControlHandlerResult {
        let who = match asked {
            ServiceControl::Interrogate => return ServiceControlHandlerResult::NoError,
            ServiceControl::ParamChange => {
                self.reload.notify_one();
                return ServiceControlHandlerResult::NoError;
            }
            ServiceControl::Stop => "stop of the service",
            ServiceControl::Preshutdown | ServiceControl::Shutdown => "shutdown of the machine",
            _ => return ServiceControlHandlerResult::NotImplemented,
        };
        // Told here: from now on nothing else is asked for.
        self.set(ServiceState::StopPending, BEGIN, 0);
        self.stop.send_replace(Some(who));
        ServiceControlHandlerResult::NoError
    }

    fn set(&self, state: ServiceState, wait_hint: Duration, code: i32) {
        let mut told = lock(&self.told);
        // A stop is not taken back by a start or a reload that is through meanwhile.
        let stops = matches!(told.state, ServiceState::StopPending | ServiceState::Stopped);
        if stops && !matches!(state, ServiceState::StopPending | ServiceState::Stopped)
            || told.state == ServiceState::Stopped
        {
            return;
        }
        let pending = matches!(state, ServiceState::StartPending | ServiceState::StopPending);
        told.checkpoint = if !pending {
            0
        } else if told.state == state {
            told.checkpoint + 1
        } else {
            1
        };
        if told.state != state && state == ServiceState::Running {
            report_ready();
        }
        told.state = state;
        let accepted = match state {
            ServiceState::Running => {
                ServiceControlAccept::STOP | ServiceControlAccept::PRESHUTDOWN | ServiceControlAccept::PARAM_CHANGE
            }
            _ => ServiceControlAccept::empty(),
        };
        let exit_code = match Code::of_process(code) {
            Code::System(code) => ServiceExitCode::Win32(code),
            Code::Own(code) => ServiceExitCode::ServiceSpecific(code),
        };
        let status = ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state: state,
            controls_accepted: accepted,
            exit_code,
            checkpoint: told.checkpoint,
            wait_hint: if pending { wait_hint } else { Duration::ZERO },
            process_id: None,
        };
        if let Some(handle) = self.handle.get()
            && let Err(error) = handle.set_service_status(status).map_err(scm::explained).context("SetServiceStatus")
        {
            tracing::warn!("Windows does not take note of how the service is: {error:#}");
        }
    }
}

fn report_ready() {
    if let Some(events) = EventLog::of_process() {
        events.report(Level::Info, &format!("Butler {} is ready", env!("CARGO_PKG_VERSION")));
    }
}

impl Manager for Control {
    fn tell(&self, state: State<'_>) {
        match state {
            State::Starting(more) => self.set(ServiceState::StartPending, more, 0),
            State::Ready => self.set(ServiceState::Running, Duration::ZERO, 0),
            State::Stopping(limit) => self.set(ServiceState::StopPending, limit, 0),
            State::Ended(code) => {
                if code == 0 {
                    report(Level::Info, "Butler has stopped");
                }
                self.set(ServiceState::Stopped, Duration::ZERO, code);
            }
            State::Reloading | State::Status(_) | State::Alive => {}
        }
    }

    fn stop_asked(&self) -> BoxFuture<'_, &'static str> {
        let mut stop = self.stop.subscribe();
        Box::pin(async move {
            match stop.wait_for(Option::is_some).await.map(|who| *who) {
                Ok(Some(who)) => who,
                // The sender lives as long as the process.
                _ => std::future::pending().await,
            }
        })
    }

    fn reload_asked(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.reload.notified())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
