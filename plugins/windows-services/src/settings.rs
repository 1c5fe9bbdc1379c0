//! The settings, and the checked form of them.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::time::Duration;

use butler_plugin_api::When;
use butler_plugin_api::settings::duration;
use schemars::JsonSchema;
use serde::Deserialize;

/// Longest name of a service, in characters (`CreateService` of Windows).
const LONGEST_NAME: usize = 256;
/// Longest name of a host and of its parts (RFC 1123).
const LONGEST_HOST: usize = 253;
const LONGEST_LABEL: usize = 63;
/// Services of a host: what is kept of them is one value of the storage.
const MOST_SERVICES: usize = 500;
/// How long a service may be on its way from one state to another. Those of Qlik Sense take a few minutes.
const PASSING: Duration = Duration::from_mins(10);

const CALLS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(5);
const ROUNDS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
const STATES: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24);

/// Which services of which hosts are watched, and how.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Settings {
    /// When to look.
    #[serde(default = "every_half_minute")]
    pub(crate) when: When,
    /// The hosts with their services.
    #[schemars(length(min = 1))]
    hosts: Vec<HostSettings>,
    /// How to ask: one of the three below. Absent: `{ sc: {} }`.
    #[serde(default)]
    pub(crate) backend: BackendSettings,
    /// After how many looks in a row a state counts: stopped, running, and that a service cannot be checked. 2 leaves
    /// out quick restarts. Looks that fail do not begin the count of a state anew.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    fail_after: u32,
    /// How long things may take.
    #[serde(default)]
    timeouts: Timeouts,
    /// How much happens at once.
    #[serde(default)]
    limits: LimitSettings,
    /// Whether the state of each service is told, changed or not (`service.state`).
    #[serde(default = "yes")]
    states: bool,
    /// How often the state of a service that stays as it is is told, at most: a whole number and a unit (s, m, h);
    /// `0s`: at every look, as Butler 16 did. Another state or start type, and what could not be checked before, is
    /// told at once.
    #[serde(default = "five_minutes")]
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*(s|m|h)\s*$"))]
    states_every: String,
}

fn every_half_minute() -> When {
    When::every(Duration::from_secs(30))
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

fn five_minutes() -> String {
    "5m".to_owned()
}

/// A host with its services.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HostSettings {
    /// Name or IPv4 address. Absent, the name of this machine, or `localhost`: this machine.
    #[serde(default)]
    host: Option<String>,
    /// Its services: key names, or `{ name, friendlyName }`; at most 500.
    #[schemars(length(min = 1, max = 500))]
    services: Vec<ServiceSettings>,
}

/// A service: its name, or its name and how people call it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum ServiceSettings {
    /// Key name, such as `QlikSenseEngineService`.
    Name(String),
    /// Key name, and how people call it.
    Named(NamedService),
}

/// A service with a name for people.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NamedService {
    /// Key name, such as `QlikSenseEngineService`.
    name: String,
    /// How people call it.
    friendly_name: String,
}

/// The way to ask.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum BackendSettings {
    /// Windows: `sc.exe`, as the account that Butler runs under.
    Sc(ScSettings),
    /// Windows hosts, asked from Linux: `net rpc service` of Samba, with an account of a file.
    Rpc(RpcSettings),
    /// Services of this Linux machine.
    Systemd(SystemdSettings),
}

impl Default for BackendSettings {
    fn default() -> Self {
        Self::Sc(ScSettings::default())
    }
}

/// `sc.exe` of Windows.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ScSettings {
    /// The program, if it is not `System32\sc.exe` of Windows.
    pub(crate) program: Option<String>,
}

/// `net` of Samba.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RpcSettings {
    /// File with the account that asks, one item a line: `username=…`, `password=…` and, unless the account is one of the hosts
    /// themselves, `domain=…`. Others must not be able to read it. A relative path starts at the folder of the config.
    pub(crate) credentials: String,
    /// TCP port of SMB on the hosts.
    #[serde(default = "smb")]
    pub(crate) port: NonZeroU16,
    /// The program, if it is not the `net` of the search path.
    #[serde(default)]
    pub(crate) program: Option<String>,
}

const fn smb() -> NonZeroU16 {
    NonZeroU16::new(445).expect("it is not zero")
}

/// `systemctl` of systemd.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct SystemdSettings {
    /// The program, if it is not the `systemctl` of the search path.
    pub(crate) program: Option<String>,
}

/// How long things may take.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Timeouts {
    /// One question to one host: a whole number and a unit (ms, s, m). A host that takes longer cannot be checked.
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*(ms|s|m)\s*$"))]
    call: String,
    /// One look at all hosts: a whole number and a unit (s, m, h). What is not found out by then cannot be checked.
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*(s|m|h)\s*$"))]
    round: String,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { call: "5s".to_owned(), round: "1m".to_owned() }
    }
}

/// How much happens at once.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct LimitSettings {
    /// Hosts that are asked at once.
    #[schemars(range(min = 1, max = 200))]
    hosts: usize,
    /// Programs that run at once.
    #[schemars(range(min = 1, max = 200))]
    processes: usize,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self { hosts: 16, processes: 16 }
    }
}

/// Checked settings.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) when: When,
    pub(crate) hosts: Vec<WatchedHost>,
    pub(crate) fail_after: u32,
    /// How long a service may be on its way from one state to another.
    pub(crate) passing: Duration,
    pub(crate) call: Duration,
    pub(crate) round: Duration,
    pub(crate) hosts_at_once: usize,
    pub(crate) processes: usize,
    /// How often `service.state` is told of what stays as it is: zero for every look, none for never.
    pub(crate) states: Option<Duration>,
}

/// A host that is watched.
#[derive(Debug, Clone)]
pub(crate) struct WatchedHost {
    /// Its name in events.
    pub(crate) name: String,
    /// What a back end is asked with: empty for this machine.
    pub(crate) address: String,
    pub(crate) services: Vec<WatchedService>,
}

/// A service that is watched.
#[derive(Debug, Clone)]
pub(crate) struct WatchedService {
    pub(crate) name: String,
    pub(crate) friendly_name: Option<String>,
}

impl Settings {
    /// Checks what the schema cannot say. `machine`: the name of this machine.
    pub(crate) fn check(self, machine: &str) -> Result<(Plan, BackendSettings), String> {
        let here = matches!(self.backend, BackendSettings::Systemd(_));
        let hosts = self.hosts.into_iter().map(|host| watched_host(host, machine, here));
        let hosts = hosts.collect::<Result<Vec<_>, _>>()?;
        if hosts.is_empty() {
            return Err("`hosts` is empty: name at least one host with its services".to_owned());
        }
        let mut known = HashMap::new();
        for host in &hosts {
            // By the address: this machine has several names.
            if let Some(first) = known.insert(host.address.to_lowercase(), &host.name) {
                return Err(format!(
                    "`hosts` has the same machine twice, as `{first}` and as `{}`: put its services into one entry",
                    host.name
                ));
            }
        }
        within("failAfter", self.fail_after, &(1..=1000))?;
        within("limits.hosts", self.limits.hosts, &(1..=200))?;
        within("limits.processes", self.limits.processes, &(1..=200))?;
        let every = duration("statesEvery", &self.states_every, &STATES)?;
        let plan = Plan {
            when: self.when,
            hosts,
            fail_after: self.fail_after,
            passing: PASSING,
            call: duration("timeouts.call", &self.timeouts.call, &CALLS)?,
            round: duration("timeouts.round", &self.timeouts.round, &ROUNDS)?,
            hosts_at_once: self.limits.hosts,
            processes: self.limits.processes,
            states: self.states.then_some(every),
        };
        Ok((plan, self.backend))
    }
}

fn within<N: PartialOrd + Copy + std::fmt::Display>(
    name: &str,
    number: N,
    allowed: &RangeInclusive<N>,
) -> Result<(), String> {
    if allowed.contains(&number) {
        return Ok(());
    }
    Err(format!("`{name}` is {number}, but must be between {} and {}", allowed.start(), allowed.end()))
}

fn watched_host(settings: HostSettings, machine: &str, only_here: bool) -> Result<WatchedHost, String> {
    let (name, address) = match settings.host {
        Some(host) if only_here => {
            return Err(format!(
                "`host` is `{host}`, but systemd is asked on this machine only: leave `host` out, and run a Butler there for \
                 other machines"
            ));
        }
        Some(host) => {
            check_host(&host)?;
            let local = ["localhost", "127.0.0.1", machine].iter().any(|local| host.eq_ignore_ascii_case(local));
            let address = if local { String::new() } else { host.clone() };
            (host, address)
        }
        None => (machine.to_owned(), String::new()),
    };
    if settings.services.is_empty() || settings.services.len() > MOST_SERVICES {
        let count = settings.services.len();
        return Err(format!("`services` of `{name}` has {count} entries, but must have between 1 and {MOST_SERVICES}"));
    }
    let mut services = Vec::with_capacity(settings.services.len());
    let mut known = HashSet::new();
    for service in settings.services {
        let service = match service {
            ServiceSettings::Name(name) => WatchedService { name, friendly_name: None },
            ServiceSettings::Named(NamedService { name, friendly_name }) => {
                WatchedService { name, friendly_name: Some(friendly_name).filter(|name| !name.trim().is_empty()) }
            }
        };
        check_service(&service.name, only_here)?;
        // Names of Windows are the same in either case.
        if !known.insert(service.name.to_lowercase()) {
            return Err(format!("`services` of `{name}` has `{}` twice: remove one", service.name));
        }
        services.push(service);
    }
    Ok(WatchedHost { name, address, services })
}

/// Refuses what is neither a name nor an IPv4 address: it becomes an argument of a program.
fn check_host(host: &str) -> Result<(), String> {
    let sound = |label: &str| {
        label.len() <= LONGEST_LABEL
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
            && [label.bytes().next(), label.bytes().last()]
                .iter()
                .all(|end| end.is_some_and(|byte| byte.is_ascii_alphanumeric()))
    };
    if host.len() <= LONGEST_HOST && host.split('.').all(sound) {
        return Ok(());
    }
    Err(format!(
        "`host` is `{}`, but must be a name such as `sense1.example.com` or an IPv4 address: letters, digits, `-` and `_` with \
         dots between, without `\\\\`",
        host.escape_debug()
    ))
}

/// `unit`: a name of systemd, which writes characters that it does not allow as `\x2d`.
fn check_service(name: &str, unit: bool) -> Result<(), String> {
    let shown = name.escape_debug();
    let fault = if name.trim().is_empty() || name.trim() != name {
        "is empty, or has blanks around it"
    } else if name.chars().count() > LONGEST_NAME {
        "has more than 256 characters"
    } else if name.chars().any(char::is_control) {
        "has a control character in it"
    } else if name.contains('/') || (name.contains('\\') && !unit) {
        "has a slash in it, which no service has"
    } else if name.starts_with('-') || name.ends_with('=') {
        "would be taken for an option"
    } else {
        return Ok(());
    };
    Err(format!("the service `{shown}` {fault}: write its key name, as `sc query` or `systemctl` shows it"))
}

#[cfg(test)]
mod tests;
