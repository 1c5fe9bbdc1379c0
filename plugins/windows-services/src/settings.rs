//! The settings, and the checked form of them.

use std::collections::HashSet;
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

const CALLS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(5);
const ROUNDS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
const STATES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);

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
    /// The way to ask.
    #[serde(default)]
    pub(crate) backend: BackendSettings,
    /// After how many looks in a row a state counts: stopped, running, and that a service cannot be checked.
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
    /// How often it is told at most: a whole number and a unit (s, m, h), such as `5m`. Absent: at every look.
    #[serde(default)]
    #[schemars(regex(pattern = r"^\s*[0-9]+\s*(s|m|h)\s*$"))]
    states_every: Option<String>,
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

/// A host with its services.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HostSettings {
    /// Name or IPv4 address. Absent: this machine.
    #[serde(default)]
    host: Option<String>,
    /// Its services.
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
    pub(crate) call: Duration,
    pub(crate) round: Duration,
    pub(crate) hosts_at_once: usize,
    pub(crate) processes: usize,
    /// How often `service.state` is told: zero for every look, none for never.
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
        let mut known = HashSet::new();
        if let Some(twice) = hosts.iter().find(|host| !known.insert(host.name.to_lowercase())) {
            return Err(format!("`hosts` has `{}` twice: put its services into one entry", twice.name));
        }
        within("failAfter", self.fail_after, &(1..=1000))?;
        within("limits.hosts", self.limits.hosts, &(1..=200))?;
        within("limits.processes", self.limits.processes, &(1..=200))?;
        let every = self.states_every.as_deref().map(|text| duration("statesEvery", text, &STATES)).transpose()?;
        let plan = Plan {
            when: self.when,
            hosts,
            fail_after: self.fail_after,
            call: duration("timeouts.call", &self.timeouts.call, &CALLS)?,
            round: duration("timeouts.round", &self.timeouts.round, &ROUNDS)?,
            hosts_at_once: self.limits.hosts,
            processes: self.limits.processes,
            states: self.states.then(|| every.unwrap_or_default()),
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
        check_service(&service.name)?;
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

fn check_service(name: &str) -> Result<(), String> {
    let shown = name.escape_debug();
    let fault = if name.trim().is_empty() || name.trim() != name {
        "is empty, or has blanks around it"
    } else if name.chars().count() > LONGEST_NAME {
        "has more than 256 characters"
    } else if name.chars().any(char::is_control) {
        "has a control character in it"
    } else if name.contains(['/', '\\']) {
        "has a slash in it, which no service has"
    } else if name.starts_with('-') || name.ends_with('=') {
        "would be taken for an option"
    } else {
        return Ok(());
    };
    Err(format!("the service `{shown}` {fault}: write its key name, as `sc query` or `systemctl` shows it"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(value: Value) -> Result<(Plan, BackendSettings), String> {
        let settings: Settings = serde_json::from_value(value).map_err(|error| error.to_string())?;
        settings.check("BUTLER1")
    }

    fn host(name: &str) -> Value {
        json!({ "hosts": [{ "host": name, "services": ["A"] }] })
    }

    #[test]
    fn what_is_absent_has_sane_values() {
        let (plan, backend) =
            read(json!({ "hosts": [{ "services": ["MSSQL$INSTANCE", "Größe & Co. (x)"] }] })).unwrap();
        assert_eq!(plan.when, When::every(Duration::from_secs(30)));
        assert_eq!((plan.fail_after, plan.call, plan.round), (1, Duration::from_secs(5), Duration::from_mins(1)));
        assert_eq!((plan.hosts_at_once, plan.processes, plan.states), (16, 16, Some(Duration::ZERO)));
        assert_eq!((plan.hosts[0].name.as_str(), plan.hosts[0].address.as_str()), ("BUTLER1", ""));
        assert!(matches!(backend, BackendSettings::Sc(ScSettings { program: None })));
    }

    #[test]
    fn this_machine_is_known_by_its_names() {
        for (name, address) in [("localhost", ""), ("butler1", ""), ("127.0.0.1", ""), ("10.1.2.3", "10.1.2.3")] {
            let (plan, _) = read(host(name)).unwrap();
            assert_eq!((plan.hosts[0].name.as_str(), plan.hosts[0].address.as_str()), (name, address));
        }
    }

    #[test]
    fn states_are_told_as_often_as_the_settings_say() {
        let states = |more: Value| {
            let mut settings = host("a");
            settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            read(settings).unwrap().0.states
        };
        assert_eq!(states(json!({ "statesEvery": "5m" })), Some(Duration::from_mins(5)));
        assert_eq!(states(json!({ "states": false, "statesEvery": "5m" })), None);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let service = |name: &str| json!({ "hosts": [{ "host": "a", "services": [name] }] });
        let long = "s".repeat(257);
        for (settings, part) in [
            (json!({ "hosts": [] }), "`hosts` is empty"),
            (json!({ "hosts": [{ "services": [] }] }), "has 0 entries"),
            (json!({ "hosts": [{ "services": vec!["A"; 501] }] }), "has 501 entries"),
            (json!({ "hosts": [{ "services": ["A", "a"] }] }), "has `a` twice"),
            (json!({ "hosts": [{ "host": "Srv", "services": ["A"] }, { "host": "srv", "services": ["B"] }] }), "twice"),
            (
                json!({ "hosts": [{ "host": "srv", "services": ["A"] }], "backend": { "systemd": {} } }),
                "leave `host` out",
            ),
            (json!({ "hosts": [{ "services": ["A"] }], "failAfter": 0 }), "`failAfter` is 0"),
            (json!({ "hosts": [{ "services": ["A"] }], "limits": { "hosts": 0 } }), "`limits.hosts` is 0"),
            (json!({ "hosts": [{ "services": ["A"] }], "timeouts": { "call": "5" } }), "`timeouts.call` is `5`"),
            (json!({ "hosts": [{ "services": ["A"] }], "timeouts": { "round": "0s" } }), "between 1s and 1h"),
            (json!({ "hosts": [{ "services": ["A"] }], "statesEvery": "often" }), "`statesEvery` is `often`"),
            (json!({ "hosts": [{ "services": ["A"] }], "backend": { "wmi": {} } }), "unknown variant"),
            (json!({ "hosts": [{ "services": ["A"], "service": "B" }] }), "unknown field"),
            (service(""), "is empty"),
            (service(" A"), "blanks around"),
            (service(&long), "more than 256"),
            (service("a\nb"), "control character"),
            (service(r"a\b"), "slash"),
            (service("-x"), "option"),
            (service("state="), "option"),
        ] {
            let error = read(settings.clone()).unwrap_err();
            assert!(error.contains(part), "{settings}: {error}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for name in ["srv1", "srv_1.example.com", "SENSE-1", "192.168.1.20", &"a".repeat(63)] {
            assert!(read(host(name)).is_ok(), "{name}");
        }
        let long = ["a".repeat(63).as_str(); 4].join(".") + ".b";
        for name in [
            "",
            "-h",
            "--help",
            "_srv",
            "srv-",
            "a..b",
            ".",
            "::1",
            r"\\srv",
            "a/b",
            "../x",
            "a b",
            "a;b",
            "a\n",
            "näme",
            "<host>",
            "a.",
            &"a".repeat(64),
            &long,
        ] {
            let error = read(host(name)).unwrap_err();
            assert!(error.contains("must be a name"), "{name}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_host_that_is_taken_is_no_option_and_no_path(name in r"[-a-zA-Z0-9_.\\/:$ ]{0,20}") {
            if check_host(&name).is_ok() {
                prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
                prop_assert!(!name.starts_with(['-', '.']) && !name.contains(".."));
            }
        }

        #[test]
        fn a_service_that_is_taken_is_no_option_and_no_path(name in any::<String>()) {
            if check_service(&name).is_ok() {
                prop_assert!(!name.chars().any(char::is_control) && !name.contains(['/', '\\']));
                prop_assert!(!name.starts_with('-') && !name.is_empty() && name.chars().count() <= 256);
            }
        }
    }
}
