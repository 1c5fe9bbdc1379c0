//! Which instances an event goes to: the routes of the config, compiled.

mod explain;

use butler_plugin_api::{Data, Event, Manifest, kind};
use serde_json::Value;

pub use explain::Ruling;

use super::condition::{Conditions, FieldPath, Verdict};
use super::vocabulary::Vocabulary;
use crate::config::{OnUnknown, PluginEntry, Rule, RuleRemark, escape};
use crate::plugins::{MAX_DEPTH, depth};
use crate::store::{NewDelivery, ThrottleKey};

/// The routes of all instances.
#[derive(Debug, Default)]
pub struct Router {
    routes: Vec<Route>,
}

/// The route of one instance.
#[derive(Debug)]
struct Route {
    instance: String,
    ordered: bool,
    /// Of which kinds the plugin uses the script log.
    script_log: Vec<String>,
    rules: Vec<CompiledRule>,
}

#[derive(Debug)]
struct CompiledRule {
    kinds: Vec<String>,
    /// Not by default: kinds that come by the clock must be asked for by name.
    periodic: bool,
    conditions: Conditions,
    throttle: Option<(FieldPath, i64)>,
    on_unknown: OnUnknown,
}

impl Router {
    /// Compiles the routes. The entries have been validated with [`check_rule`].
    pub fn new<'a>(entries: impl IntoIterator<Item = (&'a PluginEntry, &'a Manifest)>) -> Self {
        let routes = entries
            .into_iter()
            .map(|(entry, manifest)| {
                let rules = match &entry.on {
                    Some(rules) => rules.iter().filter_map(|rule| CompiledRule::compile(rule).ok()).collect(),
                    None => vec![CompiledRule {
                        kinds: manifest.default_events.clone(),
                        periodic: false,
                        conditions: Conditions::default(),
                        throttle: None,
                        on_unknown: OnUnknown::Deliver,
                    }],
                };
                let script_log = match (manifest.script_log, manifest.script_log_kinds.is_empty()) {
                    (false, _) => Vec::new(),
                    (true, true) => vec!["*".to_owned()],
                    (true, false) => manifest.script_log_kinds.clone(),
                };
                Route { instance: entry.instance().to_owned(), ordered: manifest.ordered, script_log, rules }
            })
            .collect();
        Self { routes }
    }

    /// Whether an instance that may get events of this kind uses their script logs. Conditions are not looked at: they may
    /// be about what is not known yet.
    pub fn wants_script_log(&self, kind: &str) -> bool {
        let fits = |patterns: &[String]| patterns.iter().any(|pattern| kind::matches(pattern, kind));
        self.routes.iter().any(|route| fits(&route.script_log) && route.rules.iter().any(|rule| fits(&rule.kinds)))
    }

    /// The deliveries to make for an event; at most one for each instance.
    pub fn route(&self, event: &Event) -> Vec<NewDelivery> {
        if depth(&event.data) > MAX_DEPTH {
            // Instances answer each other without end; said in the log when it was emitted.
            return Vec::new();
        }
        // The data of an event cannot fail to be written: its keys are texts.
        let document = serde_json::to_value(event).unwrap_or_default();
        self.routes.iter().filter_map(|route| route.delivery(event, &document)).collect()
    }
}

impl Route {
    fn delivery(&self, event: &Event, document: &Value) -> Option<NewDelivery> {
        if self.caused(event) {
            return None;
        }
        let (number, rule, unknown) =
            self.rules.iter().enumerate().find_map(|(number, rule)| match rule.matches(event, document) {
                Verdict::Holds => Some((number, rule, None)),
                Verdict::Unknown(path) => Some((number, rule, Some(path))),
                Verdict::Fails => None,
            })?;
        // A test neither waits for what has happened nor holds it up.
        let throttle = rule.throttle.as_ref().filter(|_| event.source != Event::TEST).and_then(|(per, every_ms)| {
            let value = per.key(event, document)?;
            let key = format!("{}|{number}|{}|{value}", self.instance, event.kind);
            Some(ThrottleKey { key, every_ms: *every_ms })
        });
        let order_key = order_key(&event.data).filter(|_| self.ordered);
        Some(NewDelivery { instance: self.instance.clone(), order_key, throttle, unknown, lease_ms: None })
    }

    /// Whether the event is about this instance's own doing: telling it would make a loop.
    fn caused(&self, event: &Event) -> bool {
        let own = event.source.strip_prefix("instance:") == Some(self.instance.as_str());
        let dead = event.kind == kind::DELIVERY_DEAD
            && event.data.dead.as_ref().and_then(|dead| dead.instance.as_deref()) == Some(self.instance.as_str());
        own || dead
    }
}

impl CompiledRule {
    fn compile(rule: &Rule) -> Result<Self, Vec<(String, String)>> {
        let mut errors = Vec::new();
        let conditions = Conditions::compile(&rule.conditions).unwrap_or_else(|faults| {
            errors.extend(faults.into_iter().map(|(path, message)| (format!("where/{}", escape(&path)), message)));
            Conditions::default()
        });
        let throttle = rule.throttle.as_ref().and_then(|throttle| match FieldPath::parse(&throttle.per) {
            Ok(path) => Some((path, throttle.every.millis())),
            Err(message) => {
                errors.push(("throttle/per".to_owned(), message));
                None
            }
        });
        for (index, pattern) in rule.events.iter().enumerate() {
            if let Some(fault) = kind::pattern_fault(pattern) {
                errors.push((format!("events/{index}"), fault));
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let on_unknown = rule.on_unknown;
        Ok(Self { kinds: rule.events.clone(), periodic: true, conditions, throttle, on_unknown })
    }

    fn matches(&self, event: &Event, document: &Value) -> Verdict {
        if !self.periodic && kind::PERIODIC.contains(&event.kind.as_str())
            || !self.kinds.iter().any(|pattern| kind::matches(pattern, &event.kind))
        {
            return Verdict::Fails;
        }
        match self.conditions.verdict(event, document) {
            Verdict::Unknown(_) if self.on_unknown == OnUnknown::Drop => Verdict::Fails,
            verdict => verdict,
        }
    }
}

/// What a delivery of an ordered instance must not overtake another of: the task, else the service, else the app.
/// [`Store::move_deliveries`](crate::store::Store::move_deliveries) has the same in SQL.
fn order_key(data: &Data) -> Option<String> {
    let service = || {
        let service = data.service.as_ref()?;
        Some(format!("service/{}/{}", service.host.as_deref().unwrap_or_default(), service.name.as_deref()?))
    };
    let app = || data.app.as_ref().filter(|app| !app.id.is_empty()).map(|app| format!("app/{}", app.id));
    data.task.as_ref().map(|task| task.id.clone()).or_else(service).or_else(app)
}

/// What is wrong with a rule, or looks wrong by what can come.
pub fn check_rule(rule: &Rule, vocabulary: &Vocabulary) -> Vec<RuleRemark> {
    let faults = CompiledRule::compile(rule).err().unwrap_or_default().into_iter();
    let faults = faults.map(|(at, message)| RuleRemark { at, message, suggestion: None, is_fault: true });
    faults.chain(vocabulary.remarks(rule)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    pub(super) fn entry(value: Value) -> PluginEntry {
        serde_json::from_value(value).unwrap()
    }

    #[allow(clippy::needless_pass_by_value, reason = "reads better with `json!`")]
    pub(super) fn event(kind: &str, source: &str, data: Value) -> Event {
        serde_json::from_value(
            json!({ "id": "x-1", "kind": kind, "time": "", "receivedAt": "", "source": source, "data": data }),
        )
        .unwrap()
    }

    fn routed(entry: &PluginEntry, manifest: &Manifest, event: &Event) -> Vec<NewDelivery> {
        Router::new([(entry, manifest)]).route(event)
    }

    #[test]
    fn without_on_the_default_kinds_but_never_periodic_ones() {
        let manifest = Manifest::new("x", "").default_events(&["*"]);
        let entry = entry(json!({ "use": "x" }));
        assert_eq!(routed(&entry, &manifest, &event("reload-task.failed", "udp", json!({}))).len(), 1);
        assert_eq!(routed(&entry, &manifest, &event(kind::BUTLER_UPTIME, "butler", json!({}))).len(), 0);
    }

    #[test]
    fn script_logs_are_wanted_of_the_kinds_that_somebody_gets_and_uses() {
        let entry = |on: Value| entry(json!({ "use": "x", "on": on }));
        let all =
            entry(json!([{ "events": ["*-task.failed"], "where": { "task.name": "A" } }, { "events": ["node.*"] }]));
        let both = entry(json!([{ "events": ["reload-task.failed", "reload-task.succeeded"] }]));
        let (none, some) = (Manifest::new("x", ""), Manifest::new("x", "").script_log());
        let failures = Manifest::new("x", "").script_log_of(&["*.failed"]);
        let wants = |entry: &PluginEntry, manifest: &Manifest| {
            let router = Router::new([(entry, manifest)]);
            ["reload-task.failed", "reload-task.succeeded"].map(|kind| router.wants_script_log(kind))
        };
        assert_eq!(wants(&both, &none), [false, false]);
        assert_eq!(wants(&both, &some), [true, true]);
        assert_eq!(wants(&both, &failures), [true, false]);
        assert_eq!(wants(&all, &some), [true, false]);
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let manifest = Manifest::new("x", "").ordered();
        let entry = entry(json!({ "use": "x", "name": "y", "on": [
            { "events": ["reload-task.failed"], "where": { "task.name": "A" }, "throttle": { "per": "task", "every": "5m" } },
            { "events": ["*-task.failed"] } ] }));
        let first = routed(
            &entry,
            &manifest,
            &event("reload-task.failed", "udp", json!({ "task": { "id": "t", "name": "A" } })),
        );
        assert_eq!(first[0].throttle.as_ref().unwrap().key, "y|0|reload-task.failed|t");
        assert_eq!(first[0].order_key.as_deref(), Some("t"));
        let second = routed(
            &entry,
            &manifest,
            &event("reload-task.failed", "udp", json!({ "task": { "id": "t", "name": "B" } })),
        );
        assert!(second[0].throttle.is_none());
    }

    #[test]
    fn what_is_about_one_task_service_or_app_keeps_its_order() {
        let manifest = Manifest::new("x", "").default_events(&["*"]).ordered();
        let entry = entry(json!({ "use": "x" }));
        let key = |data| routed(&entry, &manifest, &event("service.stopped", "udp", data))[0].order_key.clone();
        let service = json!({ "host": "sense1", "name": "QlikSenseEngineService" });
        let app = json!({ "id": "a", "name": "A" });
        for (data, expected) in [
            (json!({ "task": { "id": "t", "name": "T" }, "app": app, "service": service }), Some("t")),
            (json!({ "app": app, "service": service }), Some("service/sense1/QlikSenseEngineService")),
            (json!({ "service": { "name": "QlikSenseEngineService" } }), Some("service//QlikSenseEngineService")),
            (json!({ "app": app }), Some("app/a")),
            (json!({ "app": { "id": "" }, "service": { "host": "sense1" } }), None),
            (json!({}), None),
        ] {
            assert_eq!(key(data.clone()).as_deref(), expected, "{data}");
        }
        let manifest = Manifest::new("x", "").default_events(&["*"]);
        let unordered = routed(&entry, &manifest, &event("service.stopped", "udp", json!({ "service": service })));
        assert_eq!(unordered[0].order_key, None);
    }

    #[test]
    fn an_unknown_fact_delivers_unless_told_to_drop() {
        let manifest = Manifest::new("x", "");
        let rule = |on_unknown: &str| {
            entry(json!({ "use": "x", "on": [
                { "events": ["*"], "where": { "app.owner": "Ann" }, "onUnknown": on_unknown } ] }))
        };
        let event =
            event("reload-task.failed", "udp", json!({ "app": { "id": "a", "name": "A" }, "missing": ["owner"] }));
        assert_eq!(routed(&rule("deliver"), &manifest, &event)[0].unknown.as_deref(), Some("app.owner"));
        assert!(routed(&rule("drop"), &manifest, &event).is_empty());
    }

    #[test]
    fn nobody_is_told_of_the_own_doing() {
        let manifest = Manifest::new("x", "");
        let entry = entry(json!({ "use": "x", "on": [{ "events": ["*"] }] }));
        assert!(routed(&entry, &manifest, &event("node.silent", "instance:x", json!({}))).is_empty());
        assert!(
            routed(&entry, &manifest, &event(kind::DELIVERY_DEAD, "butler", json!({ "dead": { "instance": "x" } })))
                .is_empty()
        );
        assert_eq!(
            routed(&entry, &manifest, &event(kind::DELIVERY_DEAD, "butler", json!({ "dead": { "instance": "z" } })))
                .len(),
            1
        );
    }

    #[test]
    fn a_chain_of_events_that_is_too_long_ends() {
        let manifest = Manifest::new("x", "");
        let entry = entry(json!({ "use": "x", "on": [{ "events": ["*"] }] }));
        let of_depth = |depth: u64| event("node.silent", "instance:y", json!({ "chainDepth": depth }));
        assert_eq!(routed(&entry, &manifest, &of_depth(MAX_DEPTH)).len(), 1);
        assert!(routed(&entry, &manifest, &of_depth(MAX_DEPTH + 1)).is_empty());
    }

    #[test]
    fn faults_of_rules_are_named() {
        let rule = serde_json::from_value(json!({
            "events": ["reload", "node.silent"], "where": { "a/..b": 1 }, "throttle": { "per": "x.", "every": "1m" } }))
        .unwrap();
        let paths = |rule: &Rule| -> Vec<(String, bool)> {
            let remarks = check_rule(rule, &Vocabulary::new(Some(std::iter::empty())));
            remarks.into_iter().map(|remark| (remark.at, remark.is_fault)).collect()
        };
        let faults = |places: &[&str]| places.iter().map(|at| ((*at).to_owned(), true)).collect::<Vec<_>>();
        assert_eq!(paths(&rule), faults(&["where/a~1..b", "throttle/per", "events/0"]));
        let rule = serde_json::from_value(json!({ "events": ["node.silent", "node.silnt"],
            "where": { "app/x": 1, "node": "a" }, "throttle": { "per": "nodes", "every": "1m" } }))
        .unwrap();
        assert_eq!(paths(&rule), faults(&["events/1", "where/app~1x", "throttle/per"]));
        // What may be a plugin's that is not in the config now has facts of its own.
        let rule =
            serde_json::from_value(json!({ "events": ["moon.risen"], "where": { "phase.full": true } })).unwrap();
        assert_eq!(paths(&rule), [("events/0".to_owned(), false)]);
        let rule =
            serde_json::from_value(json!({ "events": ["*"], "where": { "phase.full": true, "task.nmae": "a" } }));
        assert_eq!(
            paths(&rule.unwrap()),
            [("where/phase.full".to_owned(), false), ("where/task.nmae".to_owned(), true)]
        );
    }
}
