//! Services of this Linux machine by `systemctl show`: all units in one call. Told in the words of Windows.
//!
//! The output has a block for each unit, in the order of the arguments, with an empty line between: lines of
//! `Property=value`, whose names are the same in all languages (`org.freedesktop.systemd1(5)`).

use std::collections::HashMap;

use crate::backend::{Asked, Backend, Failure, Found, Limits, State};
use crate::program::ProgramError;

const PROPERTIES: &str = "--property=Id,LoadState,LoadError,ActiveState,SubState,FreezerState,UnitFileState,Description,ExecStart,\
                          Requires,Requisite,BindsTo,ExecMainCode,ExecMainStatus";
const SUFFIX: &str = ".service";
/// `ExecMainCode` of a process that ended by itself (`CLD_EXITED`, `sigaction(2)`).
const EXITED: &str = "1";
/// Longest name of a unit (`UNIT_NAME_MAX`).
const LONGEST: usize = 255;

/// Asks by `systemctl`.
pub(crate) struct Systemd {
    program: String,
    limits: Limits,
}

impl Systemd {
    /// `program`: a path, or a name in the search path.
    pub(crate) fn new(program: String, limits: Limits) -> Self {
        Self { program, limits }
    }
}

/// The name of the unit of a service; `.service` may be left out.
pub(crate) fn unit(service: &str) -> Result<String, String> {
    let unit = if service.ends_with(SUFFIX) { service.to_owned() } else { format!("{service}{SUFFIX}") };
    let sound = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if unit.len() > LONGEST || unit.len() == SUFFIX.len() || !unit.chars().all(sound) || unit.starts_with(['-', '.']) {
        return Err(format!(
            "`{}` is no name of a service of systemd: letters, digits and `:-_.@`, such as `postgresql@15-main`",
            service.escape_debug()
        ));
    }
    Ok(unit)
}

impl Backend for Systemd {
    async fn look(&self, _: &str, services: &[String], _: &Asked) -> Result<Vec<Result<Found, Failure>>, Failure> {
        let units = services.iter().map(|service| unit(service)).collect::<Result<Vec<_>, _>>();
        let units = units.map_err(Failure::Host)?;
        let mut arguments = vec!["--no-pager", "show", PROPERTIES, "--"];
        arguments.extend(units.iter().map(String::as_str));
        let said = self.limits.run(&self.program, &arguments).await;
        let said = said.map_err(|error| Failure::Host(format!("{error}{}", remedy(&error))))?;
        let stderr = String::from_utf8_lossy(&said.stderr);
        if said.code != Some(0) {
            let why = stderr.lines().find(|line| !line.trim().is_empty()).unwrap_or("it does not say why");
            return Err(Failure::Host(format!(
                "`{}` failed: {}; this way works only where systemd runs",
                self.program,
                why.trim().chars().take(200).collect::<String>()
            )));
        }
        let blocks = blocks(&String::from_utf8_lossy(&said.stdout));
        if blocks.len() != units.len() {
            let (asked, told) = (units.len(), blocks.len());
            return Err(Failure::Host(format!("`{}` tells of {told} units, but was asked for {asked}", self.program)));
        }
        Ok(units.iter().zip(&blocks).map(|(unit, block)| found(unit, block)).collect())
    }
}

fn remedy(error: &ProgramError) -> &'static str {
    match error {
        ProgramError::Start { .. } => {
            ": this way works only where systemd runs; `backend.systemd.program` names the program"
        }
        ProgramError::Timeout { .. } => ": systemd hangs, or `timeouts.call` is too short",
    }
}

type Block = HashMap<String, String>;

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = vec![Block::new()];
    for line in text.lines() {
        if let (Some((name, value)), Some(block)) = (line.split_once('='), blocks.last_mut()) {
            // Of several commands the first.
            block.entry(name.to_owned()).or_insert_with(|| value.trim().to_owned());
        } else if line.trim().is_empty() {
            blocks.push(Block::new());
        }
    }
    blocks.retain(|block| !block.is_empty());
    blocks
}

fn found(unit: &str, block: &Block) -> Result<Found, Failure> {
    let value = |name: &str| block.get(name).map(String::as_str).filter(|value| !value.is_empty());
    match value("LoadState") {
        Some("not-found") => {
            return Err(Failure::Service(format!(
                "systemd has no unit `{unit}`: `systemctl list-units --all --type=service` shows those that there are"
            )));
        }
        Some("bad-setting" | "error") => {
            let why = value("LoadError").unwrap_or("`systemctl status` says why");
            return Err(Failure::Service(format!("systemd cannot load `{unit}`: {why}")));
        }
        _ => {}
    }
    let (active, sub) = (value("ActiveState").unwrap_or_default(), value("SubState").unwrap_or_default());
    let state = state(active, sub, value("FreezerState").unwrap_or_default()).ok_or_else(|| {
        Failure::Service(format!("systemd calls the state of `{unit}` `{active}`, which is not known"))
    })?;
    let needs = ["Requires", "Requisite", "BindsTo"].iter().filter_map(|name| value(name));
    let needs = needs.flat_map(str::split_whitespace).filter(|name| name.ends_with(SUFFIX)).map(str::to_owned);
    // Otherwise the status is the number of a signal, or it runs still.
    let exited = value("ExecMainCode") == Some(EXITED);
    Ok(Found {
        state,
        display_name: value("Description").map(str::to_owned),
        start_type: value("UnitFileState").and_then(start_type),
        exe_path: value("ExecStart").and_then(command),
        dependencies: Some(needs.collect()),
        exit_code: value("ExecMainStatus").filter(|_| exited).and_then(|status| status.parse().ok()),
        service_exit_code: None,
    })
}

fn state(active: &str, sub: &str, freezer: &str) -> Option<State> {
    Some(match (active, sub, freezer) {
        ("active", _, "frozen" | "frozen-by-parent") => State::Paused,
        ("active", _, "freezing" | "freezing-by-parent") => State::PausePending,
        ("active", _, "thawing") => State::ContinuePending,
        ("active" | "reloading" | "refreshing", ..) => State::Running,
        // One that waits to be started again has ended: if it fails over and over, it is seen so most of the time.
        ("inactive" | "failed" | "maintenance", ..) | ("activating", "auto-restart" | "auto-restart-queued", _) => {
            State::Stopped
        }
        ("activating", ..) => State::StartPending,
        ("deactivating", ..) => State::StopPending,
        _ => return None,
    })
}

/// `systemctl is-enabled`, in the words of Windows: what is `disabled` can be started by hand, what is `masked` cannot.
fn start_type(unit_file: &str) -> Option<&'static str> {
    match unit_file {
        "enabled" | "enabled-runtime" | "alias" | "generated" => Some("Automatic"),
        "disabled" | "static" | "indirect" | "linked" | "linked-runtime" | "transient" => Some("Manual"),
        "masked" | "masked-runtime" => Some("Disabled"),
        _ => None,
    }
}

/// The command line in `{ path=/usr/sbin/sshd ; argv[]=/usr/sbin/sshd -D ; ignore_errors=no ; … }`.
fn command(exec: &str) -> Option<String> {
    let (_, rest) = exec.split_once("argv[]=")?;
    let end = rest.find(" ; ignore_errors=").unwrap_or(rest.len());
    Some(rest[..end].trim().to_owned())
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
