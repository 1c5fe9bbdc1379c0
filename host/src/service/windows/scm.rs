//! The service control manager as its clients see it.

use std::ffi::OsStr;
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use windows_service::service::{Service, ServiceAccess, ServiceConfig, ServiceExitCode, ServiceState, ServiceStatus};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use super::command_line::{self, Started};
use super::exit::{Code, meaning};

/// Error codes of the service control manager.
pub(super) const ACCESS_DENIED: i32 = 5;
pub(super) const INVALID_SERVICE_CONTROL: i32 = 1052;
pub(super) const SERVICE_ALREADY_RUNNING: i32 = 1056;
pub(super) const SERVICE_DOES_NOT_EXIST: i32 = 1060;
pub(super) const SERVICE_CANNOT_ACCEPT_CTRL: i32 = 1061;
pub(super) const SERVICE_NOT_ACTIVE: i32 = 1062;
pub(super) const FAILED_SERVICE_CONTROLLER_CONNECT: i32 = 1063;
pub(super) const SERVICE_MARKED_FOR_DELETE: i32 = 1072;

/// A state is looked at so often.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// A service that says nothing of the time it needs gets this.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The code of an error of Windows.
pub(super) fn code(error: &windows_service::Error) -> Option<i32> {
    match error {
        windows_service::Error::Winapi(error) => error.raw_os_error(),
        _ => None,
    }
}

/// An error of the service control manager, with what to do.
pub(super) fn explained(error: windows_service::Error) -> anyhow::Error {
    match error {
        windows_service::Error::Winapi(error) if error.raw_os_error() == Some(ACCESS_DENIED) => {
            anyhow!("only administrators may do that: open the terminal by \"Run as administrator\"")
        }
        windows_service::Error::Winapi(error) if error.raw_os_error() == Some(SERVICE_MARKED_FOR_DELETE) => {
            anyhow!("the service is being removed: close the windows that show services, and try again")
        }
        windows_service::Error::Winapi(error) => error.into(),
        error => error.into(),
    }
}

/// The service control manager of this machine.
pub(super) fn manager(access: ServiceManagerAccess) -> anyhow::Result<ServiceManager> {
    let manager = ServiceManager::local_computer(None::<&OsStr>, access);
    manager.map_err(explained).context("the service control manager cannot be used")
}

/// A service of this name; `None` if there is none.
pub(super) fn find(manager: &ServiceManager, name: &str, access: ServiceAccess) -> anyhow::Result<Option<Service>> {
    match manager.open_service(name, access) {
        Ok(service) => Ok(Some(service)),
        Err(error) if code(&error) == Some(SERVICE_DOES_NOT_EXIST) => Ok(None),
        Err(error) => Err(explained(error).context(format!("the service {name} cannot be opened"))),
    }
}

/// A service of Butler of this name, with how it is set up.
pub(super) fn open(name: &str, access: ServiceAccess) -> anyhow::Result<(Service, ServiceConfig, Started)> {
    let manager = manager(ServiceManagerAccess::CONNECT)?;
    let Some(service) = find(&manager, name, access | ServiceAccess::QUERY_CONFIG)? else {
        bail!("there is no service {name}: `butler service install --name {name}` makes it");
    };
    let (config, started) = ours(&service, name)?;
    Ok((service, config, started))
}

/// How a service is set up, and what it starts; an error when that is not Butler.
pub(super) fn ours(service: &Service, name: &str) -> anyhow::Result<(ServiceConfig, Started)> {
    let config = service.query_config().map_err(explained)?;
    // Named after what it usually is: the whole command line.
    let line = config.executable_path.to_string_lossy().into_owned();
    let Some(started) = command_line::parse(&line) else {
        bail!("the service {name} is another program's ({line}): choose another `--name`, or remove it first");
    };
    Ok((config, started))
}

/// How a service is.
pub(super) fn status(service: &Service) -> anyhow::Result<ServiceStatus> {
    service.query_status().map_err(explained).context("the service does not say how it is")
}

/// Waits until a service has left a state in which it must not stay; how it is then. An error if it makes no progress in the time
/// that it asks for.
pub(super) fn leaves(service: &Service, pending: ServiceState) -> anyhow::Result<ServiceStatus> {
    let (mut checkpoint, mut since) = (None, Instant::now());
    loop {
        let status = status(service)?;
        if status.current_state != pending {
            return Ok(status);
        }
        if checkpoint != Some(status.checkpoint) {
            (checkpoint, since) = (Some(status.checkpoint), Instant::now());
        }
        if since.elapsed() > status.wait_hint.max(PATIENCE) {
            bail!("it hangs: it is {} and makes no progress; the log may say why", state(pending));
        }
        sleep(LOOK);
    }
}

/// A state in a word.
pub(super) fn state(state: ServiceState) -> &'static str {
    match state {
        ServiceState::Stopped => "stopped",
        ServiceState::StartPending => "starting",
        ServiceState::StopPending => "stopping",
        ServiceState::Running => "running",
        ServiceState::ContinuePending | ServiceState::PausePending | ServiceState::Paused => "paused",
    }
}

/// Why a service has ended; `None` when it was asked to.
pub(super) fn why_ended(status: &ServiceStatus) -> Option<String> {
    let code = match status.exit_code {
        ServiceExitCode::Win32(code) => Code::of_status(code, 0),
        ServiceExitCode::ServiceSpecific(code) => Code::Own(code),
    };
    meaning(code, |code| io::Error::from_raw_os_error(code.cast_signed()).to_string())
}
