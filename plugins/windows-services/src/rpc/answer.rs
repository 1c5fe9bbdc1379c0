//! What `net rpc service status` prints, in the C locale (Samba 3.0 to 4.22):
//!
//! ```text
//! Spooler service is running.
//! Configuration details:
//! <tab>Controls Accepted    = 0x1
//! <tab>Start Type           = 0x3
//! <tab>Executable Path      = C:\Windows\System32\spoolsv.exe
//! <tab>Dependencies         = RPCSS/http
//! <tab>Display Name         = Print Spooler
//! ```
//!
//! There are more fields, in any order; those without a value are left out. When the configuration cannot be read, the first line
//! stands alone and the reason is on stderr. Any other trouble is told on stderr, with its code: a `WERR_…` of the service control
//! manager, or an `NT_STATUS_…` of the connection.

use crate::backend::{Found, State};
use crate::program::Said;

/// Most characters of what `net` said that are passed on.
const LONGEST: usize = 300;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) subject: Subject,
    /// `WERR_…` or `NT_STATUS_…`; what Samba has no name for is its number.
    pub(crate) code: Option<String>,
    /// All it said, in one line.
    pub(crate) text: String,
}

/// What a fault is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The host, so that no other service of it can be asked for either.
    Host,
    Service,
}

/// Reads what it said.
pub(crate) fn read(said: &Said) -> Result<Found, Fault> {
    let stdout = String::from_utf8_lossy(&said.stdout);
    let mut lines = stdout.lines();
    match lines.find_map(state_of_line) {
        Some(Ok(state)) => Ok(details(state, lines)),
        Some(Err(unknown)) => {
            Err(Fault { subject: Subject::Service, code: None, text: format!("a state that nobody knows: {unknown}") })
        }
        None => Err(fault(&stdout, &String::from_utf8_lossy(&said.stderr))),
    }
}

/// The state, or the words that are none; nothing if the line is another one.
fn state_of_line(line: &str) -> Option<Result<State, &str>> {
    let (_, words) = line.strip_suffix('.')?.rsplit_once(" service is ")?;
    Some(Ok(match words {
        "stopped" => State::Stopped,
        "start pending" => State::StartPending,
        "stop pending" => State::StopPending,
        "running" => State::Running,
        "resume pending" => State::ContinuePending,
        "pause pending" => State::PausePending,
        "paused" => State::Paused,
        other => return Some(Err(other)),
    }))
}

fn details<'a>(state: State, lines: impl Iterator<Item = &'a str>) -> Found {
    let mut found = Found::in_state(state);
    for line in lines {
        let Some((name, value)) = line.strip_prefix('\t').and_then(|line| line.split_once('=')) else { continue };
        let value = value.trim();
        match name.trim() {
            "Start Type" => {
                found.start_type = start_type(value);
                // From here on they are told, unless there are none.
                found.dependencies.get_or_insert_default();
            }
            "Executable Path" if !value.is_empty() => found.exe_path = Some(value.to_owned()),
            "Display Name" if !value.is_empty() => found.display_name = Some(value.to_owned()),
            // Neither names of services nor of groups can have a slash.
            "Dependencies" => {
                let names = value.split('/').map(str::trim).filter(|name| !name.is_empty());
                found.dependencies = Some(names.map(str::to_owned).collect());
            }
            _ => {}
        }
    }
    found
}

/// `QUERY_SERVICE_CONFIG.dwStartType` of winsvc.h, in hexadecimal.
fn start_type(value: &str) -> Option<&'static str> {
    Some(match u32::from_str_radix(value.strip_prefix("0x")?, 16).ok()? {
        0 => "Boot",
        1 => "System",
        2 => "Automatic",
        3 => "Manual",
        4 => "Disabled",
        _ => return None,
    })
}

fn fault(stdout: &str, stderr: &str) -> Fault {
    let lines = || stderr.lines().chain(stdout.lines()).map(str::trim).filter(|line| !line.is_empty());
    let told = lines().find_map(|line| Some((line, code(line)?)));
    // The same lines with an `NT_STATUS_…` tell that the connection broke.
    let subject = match told {
        Some((line, code))
            if !code.starts_with("NT_")
                && (line.starts_with("Failed to open service.")
                    || line.starts_with("Query status request failed.")) =>
        {
            Subject::Service
        }
        _ => Subject::Host,
    };
    let mut text = String::new();
    for line in lines() {
        let sep = if text.is_empty() { "" } else { "; " };
        text.extend(sep.chars().chain(line.chars().filter(|letter| !letter.is_control())));
    }
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    Fault { subject, code: told.map(|(_, code)| code.to_owned()), text }
}

/// The code in a line: `[WERR_ACCESS_DENIED]`, `NT_STATUS_LOGON_FAILURE`, `[DOS code 0x00000424]`.
fn code(line: &str) -> Option<&str> {
    let words = || line.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words()
        .find(|word| word.starts_with("WERR_") || word.starts_with("NT_STATUS_"))
        .or_else(|| words().find(|word| word.starts_with("0x")))
}

#[cfg(test)]
mod tests;
