//! What all ways to ask for services have in common.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::program::{self, ProgramError, Said};

/// State of a service, in the words of the Service Control Manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum State {
    Stopped,
    StartPending,
    StopPending,
    Running,
    ContinuePending,
    PausePending,
    Paused,
}

impl State {
    /// By its number (`SERVICE_STATUS.dwCurrentState`, winsvc.h).
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Stopped,
            2 => Self::StartPending,
            3 => Self::StopPending,
            4 => Self::Running,
            5 => Self::ContinuePending,
            6 => Self::PausePending,
            7 => Self::Paused,
            _ => return None,
        })
    }

    /// Its number: the inverse of [`State::from_number`].
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Stopped => 1,
            Self::StartPending => 2,
            Self::StopPending => 3,
            Self::Running => 4,
            Self::ContinuePending => 5,
            Self::PausePending => 6,
            Self::Paused => 7,
        }
    }

    /// Its name in events.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stopped => "STOPPED",
            Self::StartPending => "START_PENDING",
            Self::StopPending => "STOP_PENDING",
            Self::Running => "RUNNING",
            Self::ContinuePending => "CONTINUE_PENDING",
            Self::PausePending => "PAUSE_PENDING",
            Self::Paused => "PAUSED",
        }
    }
}

/// What was found out of a service. What a back end does not tell is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) state: State,
    pub(crate) display_name: Option<String>,
    /// `Automatic` and the like: the words of the event's `service.startType`.
    pub(crate) start_type: Option<&'static str>,
    pub(crate) exe_path: Option<String>,
    pub(crate) dependencies: Option<Vec<String>>,
    pub(crate) exit_code: Option<i64>,
    pub(crate) service_exit_code: Option<i64>,
}

impl Found {
    /// A service of which only the state is known.
    pub(crate) const fn in_state(state: State) -> Self {
        Self {
            state,
            display_name: None,
            start_type: None,
            exe_path: None,
            dependencies: None,
            exit_code: None,
            service_exit_code: None,
        }
    }
}

/// Why a service could not be checked. The texts are for people and say what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The host as a whole: it does not answer, or refuses.
    #[error("{0}")]
    Host(String),
    /// The host has no service of that name.
    #[error(
        "there is no service of this name; names are key names, such as `QlikSenseEngineService`, not display names"
    )]
    Missing,
    /// This service alone.
    #[error("{0}")]
    Service(String),
}

/// What programs may take of this machine.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// How long one program may run.
    call: Duration,
    /// How many may run at once.
    processes: Arc<Semaphore>,
}

impl Limits {
    pub(crate) fn new(call: Duration, processes: usize) -> Self {
        Self { call, processes: Arc::new(Semaphore::new(processes)) }
    }

    /// Runs a program when it is its turn. Waiting for that is not counted.
    pub(crate) async fn run<A: AsRef<OsStr>>(&self, program: &str, arguments: &[A]) -> Result<Said, ProgramError> {
        self.place().await.run(program, arguments).await
    }

    /// Waits until a program may run.
    pub(crate) async fn place(&self) -> Place<'_> {
        // An error only if it were closed, which it never is.
        Place { call: self.call, _permit: self.processes.acquire().await.ok() }
    }
}

/// The right to run a program.
pub(crate) struct Place<'a> {
    call: Duration,
    _permit: Option<SemaphorePermit<'a>>,
}

impl Place<'_> {
    /// Runs a program at once.
    pub(crate) async fn run<A: AsRef<OsStr>>(self, program: &str, arguments: &[A]) -> Result<Said, ProgramError> {
        program::run(program, arguments, self.call).await
    }
}

/// Since when the host of a look has been asked: what it had no time to answer says nothing of it.
#[derive(Debug)]
pub(crate) struct Asked(Mutex<Option<Instant>>);

impl Asked {
    /// From now on, if the back end does not say otherwise.
    pub(crate) fn now() -> Self {
        Self(Mutex::new(Some(Instant::now())))
    }

    /// It is not yet: others come first.
    pub(crate) fn waits(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// It is from now on, if it was not before.
    pub(crate) fn begins(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
    }

    /// Whether it had so much time to answer.
    pub(crate) fn had(&self, time: Duration) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|since| since.elapsed() >= time)
    }
}

/// A way to ask for services. Each call is one round for one host.
pub(crate) trait Backend {
    /// Asks a host for services, and answers for each of them in their order; [`Failure::Host`] for the host as a whole.
    /// `host` is empty for this machine. `asked`: for those that do not ask at once.
    fn look(
        &self,
        host: &str,
        services: &[String],
        asked: &Asked,
    ) -> impl Future<Output = Result<Vec<Result<Found, Failure>>, Failure>> + Send;
}
