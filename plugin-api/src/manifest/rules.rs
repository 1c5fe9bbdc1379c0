//! What a manifest may say. The host refuses a plugin for [`Manifest::fault`]; the conformance test holds it against all
//! of [`Manifest::faults`].

use std::collections::BTreeSet;

use super::{Endpoint, Manifest, StartTaskItem};
use crate::event::kind;

const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];
const OPERATIONS: [&str; 3] = ["check", "render", "import"];
/// Names of parts of Butler, there or to come: in addresses of its API, in its config, among its kinds of events.
const RESERVED: [&str; 24] = [
    "api",
    "apps",
    "audit",
    "auth",
    "butler",
    "config",
    "deliveries",
    "engine",
    "events",
    "health",
    "host",
    "instances",
    "logs",
    "metrics",
    "openapi",
    "plugins",
    "qlik",
    "reload",
    "rest",
    "schedules",
    "script-logs",
    "storage",
    "tasks",
    "ui",
];
/// Types of items of a request to start tasks that choose tasks: the host's own.
const START_ITEMS: [&str; 3] = ["starttaskid", "starttasktag", "starttaskcustomproperty"];
const BATCHES: std::ops::RangeInclusive<u32> = 1..=1000;
/// Seconds that a call of `deliver` may take.
const DEADLINES: std::ops::RangeInclusive<u32> = 1..=3600;
/// Seconds that a call of an endpoint may take.
const CALL_DEADLINES: std::ops::RangeInclusive<u32> = 1..=86_400;

impl Manifest {
    /// Why the host refuses the plugin: a number out of range, or a name, a kind of event or a path of an endpoint that is
    /// not its own to use.
    pub fn fault(&self) -> Option<String> {
        self.refusals().into_iter().next()
    }

    fn refusals(&self) -> Vec<String> {
        let mut faults: Vec<String> = name_fault(&self.name).into_iter().collect();
        if !BATCHES.contains(&self.batch.max) {
            faults.push(format!("its manifest asks for batches of {}, 1 to 1000 are possible", self.batch.max));
        }
        if !BATCHES.contains(&self.concurrency) {
            faults.push(format!("its manifest asks for a concurrency of {}, 1 to 1000 is possible", self.concurrency));
        }
        if !DEADLINES.contains(&self.deadline_seconds) {
            faults.push(format!(
                "its manifest asks for a deadline of {} s, 1 to {} are possible",
                self.deadline_seconds,
                DEADLINES.end()
            ));
        }
        faults.extend(self.emits.iter().filter(|kind| !self.may_name(kind)).map(|kind| {
            format!(
                "its manifest has `{kind}` among `emits`: a kind there is one of Butler's own, or begins with `{name}.` or \
                 `{name}-`",
                name = self.name
            )
        }));
        faults.extend(self.endpoints.iter().filter(|endpoint| !self.may_serve(&endpoint.path)).map(|endpoint| {
            format!(
                "its endpoint `{} {}` is out of place: its path must be `/v5/{name}`, begin with `/v5/{name}/`, or with `/v4/` \
                 for the API of Butler 16",
                endpoint.method,
                endpoint.path,
                name = self.name
            )
        }));
        faults.extend(self.endpoints.iter().filter_map(|endpoint| {
            let seconds = endpoint.deadline_seconds.filter(|seconds| !CALL_DEADLINES.contains(seconds))?;
            Some(format!(
                "its endpoint `{} {}` asks for a deadline of {seconds} s, 1 to {} are possible",
                endpoint.method,
                endpoint.path,
                CALL_DEADLINES.end()
            ))
        }));
        let reserved = |item: &&StartTaskItem| START_ITEMS.contains(&item.item_type.as_str());
        faults.extend(self.start_task_items.iter().filter(reserved).map(|item| {
            format!("its manifest offers items `{}` of requests to start tasks: those are the host's", item.item_type)
        }));
        faults
    }

    /// Whether it may emit events of a kind, or of kinds that fit a pattern. A later Butler must be free to name kinds.
    fn may_name(&self, kind: &str) -> bool {
        let own = kind.strip_prefix(&self.name).is_some_and(|rest| rest.starts_with(['.', '-']));
        own || kind::ALL.contains(&kind)
    }

    /// Whether it may have an endpoint there. A later Butler must be free to name routes.
    fn may_serve(&self, path: &str) -> bool {
        let mut segments = segments(path);
        match (segments.next(), segments.next()) {
            (Some("v4"), Some(_)) => true,
            (Some("v5"), Some(name)) => name == self.name,
            _ => false,
        }
    }

    /// Why the host refuses an event of this kind from the plugin: its manifest does not say that it emits such.
    pub fn emit_fault(&self, kind: &str) -> Option<String> {
        let named = self.emits.iter().any(|pattern| kind::matches(pattern, kind));
        (!named).then(|| {
            format!("the manifest of the plugin `{}` does not say that it emits `{kind}`: add it to `emits`", self.name)
        })
    }

    /// Why the host does not let the plugin write to this path below `/qrs/`: its manifest does not say that it does.
    pub fn write_fault(&self, path: &str) -> Option<String> {
        (!path_fits(&self.qlik_writes, path)).then(|| {
            format!(
                "the manifest of the plugin `{}` does not say that it writes to `{path}`: add it to `qlik_writes`",
                self.name
            )
        })
    }

    /// Everything in it that makes no sense, as sentences for the author.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.refusals();
        if self.description.trim().is_empty() {
            faults.push("its manifest has no description: say in one line what the plugin does".to_owned());
        }
        let events = self.default_events.iter().filter_map(|pattern| kind::pattern_fault(pattern));
        faults.extend(events.map(|fault| format!("its default events: {fault}")));
        let emits = self.emits.iter().filter(|kind| !kind.contains('*')).filter_map(|kind| kind::fault(kind));
        faults.extend(emits.map(|fault| format!("what it emits: {fault}")));
        let unknown = self.operations.iter().filter(|operation| !OPERATIONS.contains(&operation.as_str()));
        faults.extend(
            unknown.map(|name| format!("the host calls no operation `{name}`, only `check`, `render` and `import`")),
        );
        let paths = self.qlik_writes.iter().filter(|path| path.is_empty() || path.starts_with(['/', '*']));
        faults.extend(
            paths.map(|path| {
                format!("`{path}` among `qlik_writes` is no path below `/qrs/`: one looks like `license/*`")
            }),
        );
        let mut routes = BTreeSet::new();
        for endpoint in &self.endpoints {
            let name = format!("{} {}", endpoint.method, endpoint.path);
            if let Some(fault) = endpoint.fault() {
                faults.push(format!("its endpoint `{name}` cannot be served: {fault}"));
            }
            if !routes.insert((&endpoint.method, shape(&endpoint.path))) {
                faults.push(format!("its endpoint `{name}` serves the same requests as another one"));
            }
        }
        faults
    }
}

impl Endpoint {
    /// Why method and path cannot be served. The schemas are not looked at.
    pub fn fault(&self) -> Option<String> {
        if !METHODS.contains(&self.method.as_str()) {
            return Some("its method must be GET, POST, PUT or DELETE".to_owned());
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
        let sound = |segment: &str| {
            let text = parameter(segment).unwrap_or(segment);
            !text.is_empty() && text.chars().all(plain)
        };
        if !self.path.starts_with('/') || !segments(&self.path).all(sound) {
            let words = "its path must be like `/v5/things/{id}`: letters, digits and `-._~` between slashes, parameters in braces";
            return Some(words.to_owned());
        }
        let mut names = BTreeSet::new();
        let twice = segments(&self.path).filter_map(parameter).any(|name| !names.insert(name));
        twice.then(|| "a parameter has the name of another one".to_owned())
    }
}

/// Whether a path below `/qrs/` fits one of the patterns, in which `*` stands for any text. QRS knows no upper case.
pub fn path_fits(patterns: &[String], path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    patterns.iter().any(|pattern| kind::matches(&pattern.to_ascii_lowercase(), &path))
}

/// `teams`, `new-relic`: what the config takes as `use:`.
fn is_name(name: &str) -> bool {
    let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.split('-').all(|part| !part.is_empty() && part.chars().all(sound))
}

/// Why a plugin cannot have this name.
fn name_fault(name: &str) -> Option<String> {
    if !is_name(name) {
        return Some(format!(
            "its name is `{name}`: it must be lower-case letters and digits, with single `-` between"
        ));
    }
    let begins = |kind: &str| kind.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', '-']));
    let own_kind = |kind: &&str| begins(kind) && !kind::OF_PLUGINS.contains(kind);
    (RESERVED.contains(&name) || kind::ALL.iter().any(own_kind))
        .then(|| format!("its name `{name}` is that of a part of Butler: choose another"))
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

fn parameter(segment: &str) -> Option<&str> {
    segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'))
}

/// What two paths have in common that serve the same requests: names of parameters do not matter.
fn shape(path: &str) -> Vec<Option<&str>> {
    segments(path).map(|segment| if parameter(segment).is_some() { None } else { Some(segment) }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::Scope;

    #[test]
    fn a_sound_manifest_has_no_faults() {
        let manifest = Manifest::new("new-relic", "Sends events")
            .default_events(Manifest::ALERTS)
            .operation("check")
            .endpoint(Endpoint::new("GET", "/v4/keyvalues/{namespace}", Scope::Kv, ""))
            .endpoint(Endpoint::new("DELETE", "/v4/keyvalues/{namespace}", Scope::Kv, ""))
            .endpoint(Endpoint::new("GET", "/v5/new-relic", Scope::Kv, ""))
            .endpoint(Endpoint::new("GET", "/v5/new-relic/{a}/b", Scope::Kv, "").deadline(86_400))
            .emits(&[kind::NODE_SILENT, "new-relic.*", "new-relic-rule.broken", "new-relic.told"])
            .qlik_writes(&["license/*"])
            .start_task_item("newrelic", Value::Null);
        assert_eq!(manifest.faults(), Vec::<String>::new());
    }

    #[test]
    fn names_of_others_are_refused() {
        let manifest = || Manifest::new("chat", "Posts alerts");
        for kind in ["node.*", "*", "chats.told", "chat", "butler.told", "node.told", "*-task.failed", ""] {
            let fault = manifest().emits(&["chat.told", kind]).fault().unwrap_or_default();
            assert!(fault.contains(&format!("`{kind}` among `emits`")) && fault.contains("`chat-`"), "{kind}: {fault}");
        }
        for path in ["/chat", "/v5/events", "/v5/chats", "/v5/{chat}", "/v5", "/v4", "/v6/chat", "/metrics", ""] {
            let fault = manifest().endpoint(Endpoint::new("GET", path, Scope::Kv, "")).fault().unwrap_or_default();
            assert!(fault.contains(&format!("`GET {path}` is out of place")), "{path}: {fault}");
        }
    }

    #[test]
    fn names_of_parts_of_butler_are_refused() {
        for name in ["butler", "events", "reload", "node", "service", "reload-task", "user"] {
            let fault = Manifest::new(name, "Posts alerts").fault().unwrap_or_default();
            assert!(fault.contains(&format!("`{name}` is that of a part of Butler")), "{name}: {fault}");
        }
        for name in ["services", "licenses", "reloads", "mqtt", "active-users"] {
            assert_eq!(Manifest::new(name, "Posts alerts").fault(), None);
        }
    }

    #[test]
    fn only_kinds_that_the_manifest_names_are_emitted() {
        let manifest = Manifest::new("chat", "Posts alerts").emits(&[kind::NODE_SILENT, "chat.*"]);
        for kind in [kind::NODE_SILENT, "chat.told"] {
            assert_eq!(manifest.emit_fault(kind), None);
        }
        for kind in [kind::RELOAD_TASK_FAILED, "chat-room.told", "a.b"] {
            assert!(manifest.emit_fault(kind).unwrap_or_default().contains("add it to `emits`"), "{kind}");
        }
    }

    #[test]
    fn only_paths_that_the_manifest_names_are_written_to() {
        let manifest = Manifest::new("licenses", "Frees licences").qlik_writes(&["license/*type/*", "Tag"]);
        for path in ["license/professionalaccesstype/1", "License/AnalyzerAccessType/2", "tag"] {
            assert_eq!(manifest.write_fault(path), None);
        }
        for path in ["license", "tags", "tag/1", "license/x/1", ""] {
            assert!(manifest.write_fault(path).unwrap_or_default().contains("add it to `qlik_writes`"), "{path}");
        }
    }

    #[test]
    fn each_fault_is_named() {
        let mut manifest = Manifest::new("New_Relic", " ")
            .default_events(&["reload"])
            .operation("explode")
            .concurrency(0)
            .endpoint(Endpoint::new("GET", "/v4/a/{b}", Scope::Kv, ""))
            .endpoint(Endpoint::new("GET", "/v4/a/{c}", Scope::Kv, ""))
            .endpoint(Endpoint::new("get", "/v4/a", Scope::Kv, ""))
            .endpoint(Endpoint::new("GET", "/v4/d", Scope::Kv, "").deadline(86_401))
            .endpoint(Endpoint::new("GET", "/v4/a//b", Scope::Kv, ""))
            .endpoint(Endpoint::new("GET", "/v5/{a}/{a}", Scope::Kv, ""))
            .qlik_writes(&["/license"])
            .start_task_item("starttaskid", Value::Null);
        manifest.deadline_seconds = 0;
        manifest.emits = vec!["moon".to_owned()];
        let faults = manifest.faults();
        for part in [
            "concurrency of 0",
            "its name is `New_Relic`",
            "no description",
            "deadline of 0 s",
            "`GET /v4/d` asks for a deadline of 86401 s",
            "default events: `reload`",
            "emits: `moon`",
            "`moon` among `emits`",
            "`GET /v5/{a}/{a}` is out of place",
            "operation `explode`",
            "`GET /v4/a/{c}` serves the same requests",
            "must be GET, POST",
            "`GET /v4/a//b` cannot be served: its path",
            "name of another one",
            "`/license` among `qlik_writes`",
            "items `starttaskid`",
        ] {
            assert_eq!(faults.iter().filter(|fault| fault.contains(part)).count(), 1, "{part}: {faults:#?}");
        }
        assert_eq!(faults.len(), 16, "{faults:#?}");
    }
}
