//! Says why rules take an event or not, for people who wait for an alert.

use butler_plugin_api::{Event, kind};
use serde_json::Value;

use super::super::condition::Verdict;
use super::{CompiledRule, Router};
use crate::config::OnUnknown;

/// What one rule says to an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    /// The rule: `rule 2 of its on:`.
    pub rule: String,
    /// Why it does not take the event; `None`: it takes it.
    pub refusal: Option<String>,
    /// The path of a fact that could not be found out, though a condition is on it.
    pub unknown: Option<String>,
}

impl Router {
    /// For each instance what its rules say to an event, in their order: the first that takes it decides.
    pub fn explain(&self, event: &Event) -> Vec<Vec<Ruling>> {
        let document = serde_json::to_value(event).unwrap_or_default();
        let rulings = |rules: &[CompiledRule]| {
            rules.iter().enumerate().map(|(index, rule)| rule.explain(index, event, &document)).collect()
        };
        self.routes.iter().map(|route| rulings(&route.rules)).collect()
    }
}

impl CompiledRule {
    fn explain(&self, index: usize, event: &Event, document: &Value) -> Ruling {
        // Only what an instance gets without an `on:` leaves out periodic kinds.
        let rule =
            if self.periodic { format!("rule {} of its `on:`", index + 1) } else { "the plugin's usual events".into() };
        let (refusal, unknown) = match self.matches(event, document) {
            Verdict::Holds => (None, None),
            Verdict::Unknown(path) => (None, Some(path)),
            Verdict::Fails => (Some(self.refusal(event, document)), None),
        };
        Ruling { rule, refusal, unknown }
    }

    fn refusal(&self, event: &Event, document: &Value) -> String {
        if !self.kinds.iter().any(|pattern| kind::matches(pattern, &event.kind)) {
            return format!("has no {}, only {}", event.kind, self.kinds.join(", "));
        }
        match self.conditions.verdict(event, document) {
            Verdict::Unknown(path) if self.on_unknown == OnUnknown::Drop => {
                format!("`{path}` could not be found out, and `onUnknown` says drop")
            }
            _ => self.conditions.refusal(event, document).unwrap_or_else(|| {
                format!("{} comes by the clock, so it must be asked for by name in `on:`", event.kind)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::Manifest;
    use serde_json::json;

    use super::super::tests::{entry, event};
    use super::*;

    #[test]
    fn each_rule_says_what_it_lacks() {
        let manifest = Manifest::new("x", "");
        let entry = entry(json!({ "use": "x", "on": [
            { "events": ["distribute-task.*", "node.silent"] },
            { "events": ["*"], "where": { "task.name": "Nightly", "app.stream": ["Finance*", "HR"] } },
            { "events": ["*"], "where": { "app.tags": { "not": "gold" } } },
            { "events": ["*"], "where": { "service.name": "a" } },
            { "events": ["*"], "where": { "task.customProperties.Mail": "Yes" } },
            { "events": ["*"], "where": { "app.owner": "Ann" }, "onUnknown": "drop" },
            { "events": ["*"], "where": { "app.owner": "Ann" } },
            { "events": ["reload-task.failed"] },
        ] }));
        let event = event(
            "reload-task.failed",
            "test",
            json!({ "task": { "id": "t", "name": "Nightly" }, "missing": ["owner"],
                "app": { "id": "a", "name": "A", "stream": { "id": "s", "name": "Sales" }, "tags": ["gold", "eu"] } }),
        );
        let rulings = Router::new([(&entry, &manifest)]).explain(&event).remove(0);
        let said: Vec<_> = rulings.iter().map(|ruling| ruling.refusal.as_deref().unwrap_or("takes it")).collect();
        assert_eq!(
            said,
            [
                "has no reload-task.failed, only distribute-task.*, node.silent",
                r#"`app.stream` must be ["Finance*","HR"], and is "Sales", "s""#,
                r#"`app.tags` must be {"not":"gold"}, and is "gold", "eu""#,
                "`service.name` must be \"a\", and events reload-task.failed have no such field",
                "`task.customProperties.Mail` must be \"Yes\", and has no value",
                "`app.owner` could not be found out, and `onUnknown` says drop",
                "takes it",
                "takes it",
            ]
        );
        assert_eq!(
            (rulings[6].rule.as_str(), rulings[6].unknown.as_deref()),
            ("rule 7 of its `on:`", Some("app.owner"))
        );
        assert_eq!(rulings[7].unknown, None);
    }

    #[test]
    fn usual_events_leave_out_what_comes_by_the_clock() {
        let manifest = Manifest::new("x", "").default_events(&["*-task.failed", "butler.*"]);
        let entry = entry(json!({ "use": "x" }));
        let says = |kind: &str| {
            let ruling =
                Router::new([(&entry, &manifest)]).explain(&event(kind, "test", json!({}))).remove(0).remove(0);
            (ruling.rule, ruling.refusal)
        };
        let usual = "the plugin's usual events".to_owned();
        assert_eq!(says("reload-task.failed"), (usual.clone(), None));
        let refusal = Some("has no node.silent, only *-task.failed, butler.*".to_owned());
        assert_eq!(says("node.silent"), (usual.clone(), refusal));
        let refusal = says(kind::BUTLER_UPTIME).1.unwrap();
        assert!(refusal.contains("must be asked for by name"), "{refusal}");
    }
}
