//! `rest.disabledEndpoints`: endpoints that are not served. A disabled one is answered as a path that is not there, and
//! stands in no list.
//!
//! An entry is the name of endpoints (`fileDelete`) or a method with a path as it is declared (`POST /v5/reload`,
//! `GET /v5/events/{id}`); names of parameters do not matter.

use std::collections::BTreeSet;

use butler_plugin_api::{Endpoint, Manifest, Scope};

use super::own;
use super::routes::{Route, Segment, same_place, segments};
use crate::config::similar;

/// The switches of Butler 16. An entry may have one of them also while no plugin of the config serves it, so that an
/// administrator can switch off before.
pub(crate) const OF_BUTLER_16: [&str; 25] = [
    "apiListEnabledEndpoints",
    "base16ToBase62",
    "base62ToBase16",
    "butlerping",
    "createDir",
    "createDirQVD",
    "createNewSchedule",
    "deleteSchedule",
    "fileCopy",
    "fileDelete",
    "fileMove",
    "getSchedule",
    "getScheduleStatusAll",
    "keyValueStore",
    "mqttPublishMessage",
    "postNewRelicEvent",
    "postNewRelicMetric",
    "senseAppDump",
    "senseAppReload",
    "senseListApps",
    "senseStartTask",
    "slackPostMessage",
    "startSchedule",
    "stopSchedule",
    "updateSchedule",
];

/// The type of items of requests to start tasks that Butler 16 had beside those that choose tasks. Scripts send them also where
/// no plugin of the config takes them.
pub(super) const ITEM_OF_BUTLER_16: &str = "keyvaluestore";

/// What an entry means.
enum Switch {
    Name(String),
    Route(String, Vec<Segment>),
}

impl Switch {
    fn new(entry: &str) -> Self {
        match entry.trim().split_once(char::is_whitespace) {
            Some((method, path)) => Self::Route(method.to_ascii_uppercase(), segments(path.trim())),
            None => Self::Name(entry.trim().to_owned()),
        }
    }

    fn fits(&self, endpoint: &Endpoint) -> bool {
        match self {
            Self::Name(_) => self.is_name(&endpoint.name),
            Self::Route(method, path) => *method == endpoint.method && same_place(path, &segments(&endpoint.path)),
        }
    }

    fn is_name(&self, other: &str) -> bool {
        matches!(self, Self::Name(name) if !name.is_empty() && name == other)
    }
}

/// The entries.
#[derive(Default)]
pub(super) struct Switches(Vec<Switch>);

impl Switches {
    pub(super) fn new(entries: &[String]) -> Self {
        Self(entries.iter().map(|entry| Switch::new(entry)).collect())
    }

    pub(super) fn turn_off(&self, route: &Route) -> bool {
        self.0.iter().any(|switch| switch.fits(&route.endpoint))
    }

    /// Whether what has this name is switched off.
    pub(super) fn turn_off_name(&self, name: &str) -> bool {
        self.0.iter().any(|switch| switch.is_name(name))
    }
}

/// All endpoints that can be switched off: the host's own and those of plugins.
pub struct Known(Vec<Endpoint>);

impl Known {
    /// Those of the host, and of these plugins.
    pub fn new<'a>(manifests: impl IntoIterator<Item = &'a Manifest>) -> Self {
        let own = own::endpoints().into_iter().map(|declared| declared.endpoint);
        let plugins = manifests.into_iter().flat_map(|manifest| manifest.endpoints.iter().cloned());
        Self(own.chain(plugins).collect())
    }

    /// The scopes that callers of the endpoints of these names need, in the order of the documentation.
    pub fn scopes<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Vec<Scope> {
        let names: BTreeSet<&str> = names.into_iter().collect();
        let needed = |scope: &&Scope| self.0.iter().any(|it| it.scope == **scope && names.contains(it.name.as_str()));
        Scope::ALL.iter().filter(needed).copied().collect()
    }

    /// Whether an entry means one of them; the error is what may be meant.
    pub fn check(&self, entry: &str) -> Result<(), Option<String>> {
        let switch = Switch::new(entry);
        let known = self.0.iter().any(|endpoint| switch.fits(endpoint));
        if known || matches!(&switch, Switch::Name(name) if OF_BUTLER_16.contains(&name.as_str())) {
            return Ok(());
        }
        let route = |endpoint: &Endpoint| format!("{} {}", endpoint.method, endpoint.path);
        Err(match &switch {
            // Without its method.
            Switch::Name(path) if path.starts_with('/') => {
                let path = segments(path);
                let same = |endpoint: &&Endpoint| same_place(&path, &segments(&endpoint.path));
                self.0.iter().find(same).map(route)
            }
            Switch::Name(name) => {
                let last = name.rsplit('.').next().unwrap_or(name);
                let names = self.0.iter().map(|endpoint| endpoint.name.as_str()).filter(|name| !name.is_empty());
                similar(last, names.chain(OF_BUTLER_16)).map(str::to_owned)
            }
            Switch::Route(method, _) => {
                let routes: Vec<String> = self.0.iter().map(route).collect();
                let entry = entry.trim();
                let same = routes.iter().map(String::as_str).filter(|route| route.split(' ').next() == Some(method));
                similar(entry, same).or_else(|| similar(entry, routes.iter().map(String::as_str))).map(str::to_owned)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::Scope;

    use super::*;

    #[test]
    fn a_name_turns_off_all_of_it_and_a_route_one() {
        let files = Endpoint::new("PUT", "/v4/things/{id}/copy", Scope::Files, "").named("thingCopy");
        for (entry, fits) in [
            ("thingCopy", true),
            (" thingCopy ", true),
            ("thingcopy", false),
            ("PUT /v4/things/{id}/copy", true),
            ("put  /v4/things/{thing}/copy", true),
            ("PUT /v4/things/7/copy", false),
            ("POST /v4/things/{id}/copy", false),
            ("PUT /v4/things/{id}/copy/", false),
            ("", false),
        ] {
            assert_eq!(Switch::new(entry).fits(&files), fits, "{entry}");
        }
        let nameless = Endpoint::new("GET", "/metrics", Scope::Read, "");
        assert!(!Switch::new("").fits(&nameless));
    }

    #[test]
    fn what_means_nothing_is_told_with_what_may_be_meant() {
        let manifest = Manifest::new("things", "")
            .endpoint(Endpoint::new("GET", "/v5/things/{id}", Scope::Read, "").named("thing"));
        let known = Known::new([&manifest]);
        for sound in ["thing", "GET /v5/things/{x}", "fileCopy", "POST /v5/reload", "butlerping", "GET /health"] {
            assert_eq!(known.check(sound), Ok(()), "{sound}");
        }
        for (wrong, meant) in [
            ("filecopy", Some("fileCopy")),
            ("scheduler.createNewSchedule", Some("createNewSchedule")),
            ("butlerpin", Some("butlerping")),
            ("/v5/reload", Some("POST /v5/reload")),
            ("POST /v5/reloda", Some("POST /v5/reload")),
            ("GET /v5/thing/{id}", Some("GET /v5/things/{id}")),
            ("DELETE /v5/reload", None),
            ("nonsense", None),
            ("", None),
        ] {
            assert_eq!(known.check(wrong), Err(meant.map(str::to_owned)), "{wrong}");
        }
    }
}
