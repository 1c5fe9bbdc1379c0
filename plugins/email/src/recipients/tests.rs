//! Who gets a mail: the order, the gate, the owner, and what is wrong with addresses.

use butler_plugin_api::{Event, kind, sample_event};
use serde_json::{Value, json};

use super::*;
use crate::settings::Settings;

/// Recipients as settings name them.
#[allow(clippy::needless_pass_by_value, reason = "reads better where it is called")]
fn recipients(settings: Value) -> Recipients {
    let mut all = json!({ "smtp": { "host": "mail.test" }, "from": "q@acme.test" });
    all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    serde_json::from_value::<Settings>(all).unwrap().check("/").unwrap().0.who
}

fn plan(settings: Value, event: &Event) -> Plan {
    recipients(settings).of(event)
}

fn to(plan: &Plan) -> Vec<String> {
    plan.to.iter().map(ToString::to_string).collect()
}

/// A failed reload of a task with addresses in the property `Mail` and of an owner with these addresses.
fn event(addresses: &[&str], owner: &[&str]) -> Event {
    let mut event = sample_event(kind::RELOAD_TASK_FAILED);
    let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let task = event.data.task.as_mut().unwrap();
    task.custom_properties.clear();
    if !addresses.is_empty() {
        task.custom_properties.insert("Mail".to_owned(), strings(addresses));
    }
    event.data.app.as_mut().unwrap().owner.as_mut().unwrap().emails = strings(owner);
    event
}

#[test]
fn property_then_fixed_then_owner_each_once() {
    let settings = json!({ "recipientsFromProperty": "Mail", "recipients": ["a@x.io", "b@x.io"], "owner": {} });
    let plan = plan(settings, &event(&["b@x.io", "c@x.io"], &["c@x.io", "d@x.io"]));
    assert_eq!(to(&plan), ["b@x.io", "c@x.io", "a@x.io", "d@x.io"]);
    assert_eq!(
        (plan.of_task, plan.common),
        (vec!["b@x.io".into(), "c@x.io".into()], vec!["a@x.io".into(), "d@x.io".into()])
    );
    assert!(plan.unreachable.is_empty() && plan.left_out.is_empty());
}

#[test]
fn upper_and_lower_case_are_one_recipient() {
    let settings = json!({ "recipients": ["Ann@Lab.Test", "bo@lab.test"], "owner": { "include": "all" } });
    let plan = plan(settings, &event(&[], &["ann@lab.test"]));
    assert_eq!(to(&plan), ["Ann@Lab.Test", "bo@lab.test"]);
}

#[test]
fn the_gate_holds_for_fixed_recipients_only() {
    let gate = json!({ "property": "Alert", "value": "Yes" });
    let settings = json!({ "recipientsFromProperty": "Mail", "recipients": ["a@x.io"], "recipientsIf": gate });
    let mut event = event(&["b@x.io"], &["d@x.io"]);
    assert_eq!(to(&plan(settings.clone(), &event)), ["b@x.io"]);
    let with_owner = json!({ "recipients": ["a@x.io"], "recipientsIf": gate, "owner": {} });
    assert_eq!(to(&plan(with_owner, &event)), ["d@x.io"], "the owner is not subject to the gate");

    let set = |event: &mut Event, property: &str, value: &str| {
        let properties = &mut event.data.task.as_mut().unwrap().custom_properties;
        properties.insert(property.to_owned(), vec!["other".to_owned(), value.to_owned()]);
    };
    set(&mut event, "Alert", "yes");
    set(&mut event, "Other", "Yes");
    assert_eq!(to(&plan(settings.clone(), &event)), ["b@x.io"], "the value must be that of this property");
    set(&mut event, "Alert", "Yes");
    assert_eq!(to(&plan(settings.clone(), &event)), ["b@x.io", "a@x.io"]);

    // Nobody is meant: no mail, and nothing is wrong.
    let mut event = self::event(&[], &[]);
    let nobody = plan(settings.clone(), &event);
    assert!(nobody.to.is_empty() && nobody.unreachable.is_empty() && nobody.left_out.len() == 2, "{nobody:?}");
    // It could not be found out: a mail too many beats none, and that addresses may be missing is said.
    event.data.missing = vec!["task".to_owned()];
    let unknown = plan(settings.clone(), &event);
    assert!(to(&unknown) == ["a@x.io"] && unknown.unreachable.len() == 1, "{unknown:?}");
    // What is about no task knows no gate.
    assert_eq!(to(&plan(settings, &sample_event(kind::SERVICE_STOPPED))), ["a@x.io"]);
}

#[test]
fn apps_of_qlik_cloud_have_a_gate_by_tag() {
    let settings = |tag: &str| json!({ "recipients": ["a@x.io"], "recipientsIf": { "tag": tag }, "owner": {} });
    let mut event = sample_event(kind::CLOUD_APP_RELOAD_FAILED);
    assert_eq!(to(&plan(settings("eu"), &event)), ["a@x.io", "ann@lab.test"]);
    assert_eq!(to(&plan(settings("us"), &event)), ["ann@lab.test"]);
    event.data.missing = vec!["tags".to_owned()];
    assert_eq!(to(&plan(settings("us"), &event)), ["a@x.io", "ann@lab.test"]);
    let by_property = json!({ "recipients": ["a@x.io"], "recipientsIf": { "property": "Alert", "value": "Yes" } });
    assert_eq!(to(&plan(by_property, &event)), ["a@x.io"], "apps of Qlik Cloud have no such properties");
}

#[test]
fn owners_by_directory_and_id_or_by_address() {
    let event = event(&[], &["ann@lab.test"]);
    let get = |owner: Value| to(&plan(json!({ "owner": owner, "recipients": ["a@x.io"] }), &event)).len() == 2;
    let ann = json!({ "directory": "lab", "userId": "ANN" });
    let other = json!({ "directory": "OTHER", "userId": "ann" });
    assert!(get(json!({ "include": "all" })) && get(json!({ "include": [ann] })) && get(json!({ "exclude": [other] })));
    assert!(get(json!({ "include": [{ "email": "Ann@lab.test" }] })));
    assert!(!get(json!({ "include": [other] })) && !get(json!({ "include": [] })));
    assert!(!get(json!({ "include": [ann], "exclude": [ann] })), "exclude goes before include");
    assert!(!get(json!({ "exclude": [{ "email": "ANN@lab.test" }] })));
    assert!(get(json!({ "include": [other, "Ann@lab.test"] })) && !get(json!({ "exclude": ["ann@LAB.test"] })));
    assert!(!get(json!({ "include": ["bo@lab.test"] })));
}

#[test]
fn an_owner_without_address_or_unknown_stops_nobody() {
    let settings = json!({ "recipients": ["a@x.io"], "owner": {} });
    let plan_of = |event: &Event| plan(settings.clone(), event);
    for emails in [&[][..], &["", "  "]] {
        let plan = plan_of(&event(&[], emails));
        assert_eq!(to(&plan), ["a@x.io"]);
        assert!(plan.unreachable.len() == 1 && plan.unreachable[0].contains("Ann Berg"), "{plan:?}");
    }
    let mut unknown = event(&[], &[]);
    unknown.data.app.as_mut().unwrap().owner = None;
    assert!(plan_of(&unknown).unreachable.is_empty());
    unknown.data.missing = vec!["owner".to_owned()];
    let plan = plan_of(&unknown);
    assert!(to(&plan) == ["a@x.io"] && plan.unreachable.len() == 1, "{plan:?}");
}

#[test]
fn invalid_addresses_are_named_and_stop_nobody() {
    let settings = json!({ "recipientsFromProperty": "Mail" });
    let plan = plan(settings, &event(&["Joe <joe@x.io>", "joe@localhost", "", "joe@x.io"], &[]));
    assert_eq!(to(&plan), ["joe@x.io"]);
    assert_eq!(plan.unreachable.len(), 3, "{plan:?}");
    assert!(plan.unreachable[0].contains("Joe <joe@x.io>"), "{plan:?}");
}
