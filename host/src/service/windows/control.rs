//! Starting, stopping and looking at a service.

use std::fmt::Write as _;
use std::thread::sleep;
use std::time::Instant;

use anyhow::{Context as _, bail};
use windows_service::service::{Service, ServiceAccess, ServiceConfig, ServiceStartType, ServiceState};
use winreg::RegKey;
use winreg::enums::HKEY_LOCAL_MACHINE;

use super::scm::{
    self, INVALID_SERVICE_CONTROL, SERVICE_ALREADY_RUNNING, SERVICE_CANNOT_ACCEPT_CTRL, SERVICE_NOT_ACTIVE,
};

/// Starts the service, and waits until it works.
pub fn start(name: &str) -> anyhow::Result<String> {
    let (service, _, started) = scm::open(name, ServiceAccess::START | ServiceAccess::QUERY_STATUS)?;
    scm::leaves(&service, ServiceState::StopPending).with_context(|| format!("the service {name} does not start"))?;
    match service.start::<&str>(&[]) {
        Ok(()) => {}
        Err(error) if scm::code(&error) == Some(SERVICE_ALREADY_RUNNING) => {}
        Err(error) => {
            let code = scm::code(&error).map(i32::cast_unsigned);
            let words = code.and_then(|code| super::exit::meaning(super::exit::Code::System(code), |_| String::new()));
            let why = match words {
                // Also of a denied access: who may not start services has not come so far, so it is the account's.
                Some(words) if !words.is_empty() => anyhow::anyhow!(words),
                _ => scm::explained(error),
            };
            return Err(why.context(format!("the service {name} does not start")));
        }
    }
    let mut status =
        scm::leaves(&service, ServiceState::StartPending).context(format!("the service {name} does not start"))?;
    if status.current_state == ServiceState::Running {
        return Ok(format!("The service {name} runs, with {}.", started.config));
    }
    // Why it ends is told at its end.
    if status.current_state == ServiceState::StopPending {
        status = scm::leaves(&service, ServiceState::StopPending)
            .with_context(|| format!("the service {name} does not start"))?;
    }
    let why = scm::why_ended(&status).unwrap_or_else(|| "it was stopped again".to_owned());
    bail!("the service {name} does not start: {why}")
}

/// Stops the service, and waits until it has ended.
pub fn stop(name: &str) -> anyhow::Result<String> {
    let (service, ..) = scm::open(name, ServiceAccess::STOP | ServiceAccess::QUERY_STATUS)?;
    Ok(match stopped(&service).with_context(|| format!("the service {name} does not stop"))? {
        Stopped::Before => format!("The service {name} did not run."),
        Stopped::Now(None) => format!("The service {name} is stopped."),
        Stopped::Now(Some(why)) => format!("The service {name} is stopped, but {why}."),
    })
}

/// A service that does not run any more.
pub(super) enum Stopped {
    /// It did not run.
    Before,
    /// It was stopped; with what is wrong with its end.
    Now(Option<String>),
}

/// Stops a service and waits until it has ended.
pub(super) fn stopped(service: &Service) -> anyhow::Result<Stopped> {
    let until = Instant::now() + scm::PATIENCE;
    loop {
        match service.stop() {
            Ok(_) => break,
            Err(error) => match scm::code(&error) {
                Some(SERVICE_NOT_ACTIVE) => return Ok(Stopped::Before),
                // While it starts it cannot be stopped, and while it stops it need not.
                Some(SERVICE_CANNOT_ACCEPT_CTRL | INVALID_SERVICE_CONTROL) => match scm::status(service)?.current_state
                {
                    ServiceState::StopPending => break,
                    ServiceState::StartPending => drop(scm::leaves(service, ServiceState::StartPending)?),
                    // It has changed meanwhile.
                    _ if Instant::now() < until => sleep(scm::LOOK),
                    _ => return Err(scm::explained(error)),
                },
                _ => return Err(scm::explained(error)),
            },
        }
    }
    // Until it has taken note it is still running.
    scm::leaves(service, ServiceState::Running)?;
    let status = scm::leaves(service, ServiceState::StopPending)?;
    if status.current_state != ServiceState::Stopped {
        bail!("it is {} again", scm::state(status.current_state));
    }
    Ok(Stopped::Now(scm::why_ended(&status)))
}

/// How the service is; an error when it does not run.
pub fn status(name: &str) -> anyhow::Result<String> {
    let (service, config, started) = scm::open(name, ServiceAccess::QUERY_STATUS)?;
    let status = scm::status(&service)?;
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        // Writing to a text does not fail.
        let _ = writeln!(text, "{name:<10}{value}");
    };
    row("service", name);
    row("state", scm::state(status.current_state));
    if let Some(pid) = status.process_id {
        row("process", &pid.to_string());
    }
    if status.current_state == ServiceState::Stopped {
        row(
            "ended",
            &scm::why_ended(&status).unwrap_or_else(|| "as it was asked to, or it has not run yet".to_owned()),
        );
    }
    row("start", start_type(name, &config));
    row("account", &config.account_name.unwrap_or_default().to_string_lossy());
    row("program", &started.executable);
    row("config", &started.config);
    if status.current_state == ServiceState::Running {
        return Ok(text);
    }
    let what = match status.current_state {
        ServiceState::StartPending => "is starting, and does not work yet".to_owned(),
        ServiceState::StopPending => "is stopping".to_owned(),
        _ => format!("does not run: `butler service start --name {name}` starts it"),
    };
    bail!("the service {name} {what}\n{}", text.trim_end())
}

fn start_type(name: &str, config: &ServiceConfig) -> &'static str {
    match config.start_type {
        ServiceStartType::AutoStart if is_delayed(name) => "with the machine, a little later",
        ServiceStartType::AutoStart | ServiceStartType::SystemStart | ServiceStartType::BootStart => "with the machine",
        ServiceStartType::OnDemand => "by hand",
        ServiceStartType::Disabled => "never: it is disabled",
    }
}

fn is_delayed(name: &str) -> bool {
    let key = RegKey::predef(HKEY_LOCAL_MACHINE).open_subkey(format!(r"SYSTEM\CurrentControlSet\Services\{name}"));
    key.and_then(|key| key.get_value::<u32, _>("DelayedAutostart")).is_ok_and(|delayed| delayed != 0)
}
