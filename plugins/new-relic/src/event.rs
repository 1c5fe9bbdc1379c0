//! The body for the Event API: a list with one event.

use butler_plugin_api::Delivery;

use crate::attributes::{Attributes, json};
use crate::facts;
use crate::relic::Rule;

/// Most attributes of an event, and those of them that are set at its end.
const MOST: usize = 254;
const AT_THE_END: usize = 6;
/// Most bytes of the facts: a request takes 1,000,000.
const BYTES: usize = 900_000;

/// The body. `now`: milliseconds since 1970.
pub(crate) fn body(delivery: &Delivery, rule: &Rule, version: &str, now: i64) -> String {
    let event = &delivery.event;
    let mut attributes = facts::attributes(event, &rule.attributes, version);
    facts::run(&mut attributes, &event.data);
    attributes.leave_out(&rule.leave_out);
    attributes.fit(MOST - AT_THE_END, BYTES);
    facts::identity(&mut attributes, delivery);
    attributes.set("timestamp", facts::timestamp(event, now));
    attributes.set("eventType", facts::type_name(event, "Event"));
    json(&[attributes])
}

/// What a load script sends, in the form of Butler 16: one event, no list. Its attributes go before those of the
/// settings.
pub(crate) fn posted(
    timestamp: i64,
    event_type: &str,
    given: &[(String, serde_json::Value)],
    own: &[(String, String)],
) -> String {
    let mut attributes = Attributes::default();
    attributes.set("timestamp", timestamp);
    attributes.set("eventType", event_type);
    for (name, value) in given {
        attributes.set(name, value.clone());
    }
    for (name, value) in own {
        attributes.set(name, value.as_str());
    }
    attributes.fit(MOST, BYTES);
    json(&attributes)
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::testing::{sample_delivery, sample_events};
    use serde_json::{Map, Value, json};

    use super::*;

    #[test]
    fn every_kind_is_flat_within_the_limits_and_ends_with_its_type() {
        let rule = crate::tests::rule(&json!({ "kinds": ["*"], "attributes": { "service": "butler" } }));
        for event in sample_events() {
            let mut delivery = sample_delivery(&event.kind);
            delivery.event = event;
            delivery.event.data.task.iter_mut().for_each(|task| {
                task.tags = (0..400).map(|n| format!("{n}{}", "t".repeat(300))).collect();
            });
            let text = body(&delivery, &rule, "17.0.0", 0);
            assert!(text.len() < 1_000_000);
            let events: Vec<Map<String, Value>> = serde_json::from_str(&text).unwrap();
            assert!(events[0].len() <= MOST, "{}: {}", delivery.event.kind, events[0].len());
            assert!(events[0].values().all(|value| value.is_string() || value.is_number()), "{text}");
            assert_eq!((&events[0]["service"], events[0].get("timestamp")), (&json!("butler"), None));
            assert!(text.ends_with(&format!(r#","eventType":"{}"}}]"#, facts::type_name(&delivery.event, "Event"))));
        }
    }

    #[test]
    fn attributes_of_a_load_script_go_before_all_others() {
        let given = [("a".to_owned(), json!("static")), ("b".to_owned(), json!(1))];
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let text = posted(5, "Loaded", &given, &[own("a", "own"), own("c", "7")]);
        assert_eq!(text, r#"{"timestamp":5,"eventType":"Loaded","a":"own","b":1,"c":"7"}"#);
    }
}
