//! Services of Windows by `sc.exe`: one list of all services for each host, and the configuration of a service when it is first
//! seen, when its state changes, and now and then.

mod code_page;
mod output;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt as _, stream};

use crate::backend::{Asked, Backend, Failure, Found, Limits, State};
use crate::program::{ProgramError, Said};
use output::{Config, Entry, ScError};

/// Most bytes of a list (`EnumServicesStatusEx`) and of a configuration (`QueryServiceConfig`). Without them older versions of
/// `sc` print the beginning only.
const LIST_BYTES: &str = "262144";
const CONFIG_BYTES: &str = "8192";
/// After how many looks a configuration is read anew: an hour, if it is looked at every half minute.
const REFRESH: usize = 120;
/// Services of one host that are asked for one by one at once, so that no host takes all programs for itself.
const ONE_BY_ONE: usize = 4;

/// `ERROR_SERVICE_DOES_NOT_EXIST`.
const MISSING: i64 = 1060;
/// `ERROR_MORE_DATA`: of what was printed so far all is right.
const MORE: i64 = 234;

/// Asks by `sc.exe`.
pub(crate) struct Sc {
    program: String,
    limits: Limits,
    /// By host and name in lower case.
    known: Mutex<HashMap<(String, String), Known>>,
}

/// What was found out of a service before.
#[derive(Clone)]
struct Known {
    config: Option<Config>,
    state: State,
    /// Looks since it was read.
    age: usize,
}

impl Sc {
    /// `program`: a path, or a name in the search path.
    pub(crate) fn new(program: String, limits: Limits) -> Self {
        Self { program, limits, known: Mutex::default() }
    }

    /// Where Windows has it: not by the search path, in whose folders others may have put something of that name.
    pub(crate) fn usual_program() -> String {
        std::env::var("SystemRoot").map_or_else(|_| "sc.exe".to_owned(), |root| format!(r"{root}\System32\sc.exe"))
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(String, String), Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs it and takes what it printed, if it had success.
    async fn run(&self, host: &str, arguments: &[&str]) -> Result<String, ScFailure> {
        let server = format!(r"\\{host}");
        let host = (!host.is_empty()).then_some(server.as_str());
        let arguments: Vec<&str> = host.into_iter().chain(arguments.iter().copied()).collect();
        judge(&self.limits.run(&self.program, &arguments).await?)
    }

    async fn list(&self, host: &str) -> Result<HashMap<String, Entry>, Failure> {
        let arguments = ["query", "type=", "service", "state=", "all", "bufsize=", LIST_BYTES];
        let text = self.run(host, &arguments).await.map_err(|failure| Failure::Host(failure.to_string()))?;
        let entries = output::entries(&text);
        if entries.is_empty() {
            let program = &self.program;
            return Err(Failure::Host(format!("`{program}` lists no services: is it the one of Windows?")));
        }
        Ok(entries.into_iter().map(|entry| (entry.name.to_lowercase(), entry)).collect())
    }

    /// A service that is not in the list: a driver, or one behind the end of a list that was too long.
    async fn one(&self, host: &str, name: &str, hangs: &AtomicBool) -> Result<Entry, Failure> {
        if hangs.load(Ordering::Relaxed) {
            return Err(Failure::Service("the host stopped answering while it was asked".to_owned()));
        }
        match self.run(host, &["query", name]).await {
            Ok(text) => output::entries(&text)
                .into_iter()
                .next()
                .ok_or_else(|| Failure::Service(format!("`{}` says nothing of it", self.program))),
            Err(ScFailure::Windows(ScError { number: MISSING, .. })) => Err(Failure::Missing),
            Err(failure) => {
                hangs.fetch_or(matches!(failure, ScFailure::Program(_)), Ordering::Relaxed);
                Err(Failure::Service(failure.to_string()))
            }
        }
    }

    async fn service(
        &self,
        host: &str,
        listed: &HashMap<String, Entry>,
        place: usize,
        name: &str,
        hangs: &AtomicBool,
    ) -> Result<Found, Failure> {
        let entry = match listed.get(&name.to_lowercase()) {
            Some(entry) => entry.clone(),
            None => self.one(host, name, hangs).await?,
        };
        let config = self.config(host, &entry, place, hangs).await;
        Ok(found(entry, config))
    }

    /// The configuration: that of before, unless it is time to read it. `place`: so that not all are read in the same look.
    async fn config(&self, host: &str, entry: &Entry, place: usize, hangs: &AtomicBool) -> Option<Config> {
        let key = (host.to_lowercase(), entry.name.to_lowercase());
        let before = self.known().get(&key).cloned();
        let old = before.as_ref().and_then(|known| known.config.clone());
        if let Some(known) = &before
            && known.state == entry.state
            && known.age < REFRESH
        {
            self.known().insert(key, Known { age: known.age + 1, ..known.clone() });
            return old;
        }
        // The state counts, and is known: a configuration that is slow to come must not hold it up for long.
        if hangs.load(Ordering::Relaxed) {
            return old;
        }
        let config = match self.run(host, &["qc", &entry.name, CONFIG_BYTES]).await {
            Ok(text) => output::config(&text).or(old),
            Err(failure) => {
                tracing::debug!(host, service = entry.name, "its configuration cannot be read: {failure}");
                if matches!(failure, ScFailure::Program(_)) {
                    hangs.store(true, Ordering::Relaxed);
                    return old;
                }
                // Not allowed, say: the next try is as far away as after a success.
                old
            }
        };
        self.known().insert(key, Known { config: config.clone(), state: entry.state, age: place % (REFRESH / 2) });
        config
    }
}

impl Backend for Sc {
    async fn look(&self, host: &str, services: &[String], _: &Asked) -> Result<Vec<Result<Found, Failure>>, Failure> {
        let listed = self.list(host).await?;
        let hangs = AtomicBool::new(false);
        let each = services.iter().enumerate().map(|(place, name)| self.service(host, &listed, place, name, &hangs));
        // Futures in a list: one that makes them while it is polled may not go to another thread, says the compiler.
        let each: Vec<_> = each.collect();
        Ok(stream::iter(each).buffered(ONE_BY_ONE).collect().await)
    }
}

fn found(entry: Entry, config: Option<Config>) -> Found {
    let mut found = Found {
        display_name: entry.display_name,
        exit_code: entry.exit_code,
        service_exit_code: entry.service_exit_code,
        ..Found::in_state(entry.state)
    };
    if let Some(config) = config {
        found.start_type = Some(config.start_type);
        found.display_name = config.display_name.or(found.display_name);
        found.exe_path = config.exe_path;
        found.dependencies = Some(config.dependencies);
    }
    found
}

/// Why `sc` says nothing of what was asked. The texts are for people and say what to do.
#[derive(Debug, thiserror::Error)]
enum ScFailure {
    #[error("Windows answers with error {}{}{}", .0.number, said(&.0.text), remedy(.0.number))]
    Windows(ScError),
    #[error("`sc` ended by a signal")]
    Ended,
    #[error("{}{}", .0, program_remedy(.0))]
    Program(#[from] ProgramError),
}

/// The exit code first: what was printed is no answer without it. It is the number of the error; systems that cut it to a
/// byte have the number in the text.
fn judge(said: &Said) -> Result<String, ScFailure> {
    let text = code_page::decode(&said.stdout);
    match said.code {
        Some(0) => match output::error(&text) {
            Some(error) if output::entries(&text).is_empty() && output::config(&text).is_none() => {
                Err(ScFailure::Windows(error))
            }
            _ => Ok(text),
        },
        Some(code) => {
            let error = output::error(&text);
            let error = error.unwrap_or_else(|| ScError { number: code.into(), text: first_line(&said.stderr) });
            if error.number == MORE && !output::entries(&text).is_empty() {
                Ok(text)
            } else {
                Err(ScFailure::Windows(error))
            }
        }
        None => Err(ScFailure::Ended),
    }
}

fn first_line(bytes: &[u8]) -> String {
    let text = code_page::decode(bytes);
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().chars().take(200).collect()
}

fn said(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({})", text.trim_end_matches('.')) }
}

/// What to do, by the numbers of winerror.h.
fn remedy(number: i64) -> &'static str {
    match number {
        5 => ": the account of Butler needs the right to query services there; a local administrator has it",
        51 | 53 | 64 | 67 | 121 | 1219 | 1231 | 1722 | 1723 | 1726 | 1727 => {
            ": see that the name of the host is right, that it is up, and that its firewall lets RPC and SMB through (TCP 135 \
             and 445)"
        }
        1060 => ": there is no service of this name",
        1311 | 1326 | 1327 | 1330 | 1331 | 1355 | 1396 | 1789 => {
            ": the account of Butler cannot log on there: use one that both machines know"
        }
        _ => "",
    }
}

fn program_remedy(error: &ProgramError) -> &'static str {
    match error {
        ProgramError::Start { .. } => {
            "; `sc.exe` is part of Windows: elsewhere choose another `backend`, or name the program in `backend.sc.program`"
        }
        ProgramError::Timeout { .. } => {
            ": the host hangs, or a firewall drops what is sent to it; `timeouts.call` is how long it may take"
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
