//! What a manifest may say. The host refuses a plugin for [`Manifest::fault`]; the conformance test holds it against all
//! of [`Manifest::faults`].

use std::collections::BTreeSet;

use super::{Endpoint, Manifest};
use crate::event::kind;

const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];
const OPERATIONS: [&str; 3] = ["check", "render", "import"];
const BATCHES: std::ops::RangeInclusive<u32> = 1..=1000;

impl Manifest {
    /// Why the host cannot run the plugin: a number out of range.
    pub fn fault(&self) -> Option<String> {
        if !BATCHES.contains(&self.batch.max) {
            return Some(format!("its manifest asks for batches of {}, 1 to 1000 are possible", self.batch.max));
        }
        if !BATCHES.contains(&self.concurrency) {
            return Some(format!("its manifest asks for a concurrency of {}, 1 to 1000 is possible", self.concurrency));
        }
        None
    }

    /// Everything in it that makes no sense, as sentences for the author.
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self.fault().into_iter().collect();
        if !is_name(&self.name) {
            faults.push(format!(
                "its name is `{}`: it must be lower-case letters and digits, with single `-` between",
                self.name
            ));
        }
        if self.description.trim().is_empty() {
            faults.push("its manifest has no description: say in one line what the plugin does".to_owned());
        }
        if self.deadline_seconds == 0 {
            faults.push("its manifest gives a delivery 0 s: `deadline_seconds` is at least 1".to_owned());
        }
        let events = self.default_events.iter().filter_map(|pattern| kind::pattern_fault(pattern));
        faults.extend(events.map(|fault| format!("its default events: {fault}")));
        let emits = self.emits.iter().filter_map(|kind| kind::fault(kind));
        faults.extend(emits.map(|fault| format!("what it emits: {fault}")));
        let unknown = self.operations.iter().filter(|operation| !OPERATIONS.contains(&operation.as_str()));
        faults.extend(
            unknown.map(|name| format!("the host calls no operation `{name}`, only `check`, `render` and `import`")),
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

/// `teams`, `new-relic`: what the config takes as `use:`.
fn is_name(name: &str) -> bool {
    let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.split('-').all(|part| !part.is_empty() && part.chars().all(sound))
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
    use super::*;
    use crate::Scope;

    #[test]
    fn a_sound_manifest_has_no_faults() {
        let manifest = Manifest::new("new-relic", "Sends events")
            .default_events(Manifest::ALERTS)
            .operation("check")
            .endpoint(Endpoint::new("GET", "/v4/keyvalues/{namespace}", Scope::Kv, ""))
            .endpoint(Endpoint::new("DELETE", "/v4/keyvalues/{namespace}", Scope::Kv, ""));
        assert_eq!(manifest.faults(), Vec::<String>::new());
    }

    #[test]
    fn each_fault_is_named() {
        let mut manifest = Manifest::new("New_Relic", " ")
            .default_events(&["reload"])
            .operation("explode")
            .concurrency(0)
            .endpoint(Endpoint::new("GET", "/a/{b}", Scope::Kv, ""))
            .endpoint(Endpoint::new("GET", "/a/{c}", Scope::Kv, ""))
            .endpoint(Endpoint::new("get", "/a", Scope::Kv, ""))
            .endpoint(Endpoint::new("GET", "/a//b", Scope::Kv, ""))
            .endpoint(Endpoint::new("GET", "/{a}/{a}", Scope::Kv, ""));
        manifest.deadline_seconds = 0;
        manifest.emits = vec!["moon".to_owned()];
        let faults = manifest.faults();
        for part in [
            "concurrency of 0",
            "its name is `New_Relic`",
            "no description",
            "0 s",
            "default events: `reload`",
            "emits: `moon`",
            "operation `explode`",
            "`GET /a/{c}` serves the same requests",
            "must be GET, POST",
            "`GET /a//b` cannot be served: its path",
            "name of another one",
        ] {
            assert_eq!(faults.iter().filter(|fault| fault.contains(part)).count(), 1, "{part}: {faults:#?}");
        }
        assert_eq!(faults.len(), 11, "{faults:#?}");
    }
}
