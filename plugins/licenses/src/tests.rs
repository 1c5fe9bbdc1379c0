//! The plugin as a whole against a fake host.
#![allow(clippy::needless_pass_by_value, reason = "reads better with `json!`")]

use std::sync::Arc;

use butler_plugin_api::Plugin;
use butler_plugin_api::testing::{FakeHost, block_on, conformance};

use super::*;

fn both() -> Value {
    json!({ "serverLicense": {}, "accessLicenses": { "low": { "analyzer": 5 } } })
}

/// A licence that is valid for good.
fn with_license(fake: FakeHost) -> FakeHost {
    fake.qlik("license", json!({ "isExpired": false, "keyDetails": "Valid To: 9999-12-31" }))
}

fn with_overview(fake: FakeHost) -> FakeHost {
    let analyzer = json!({ "enabled": true, "total": 90, "available": 30 });
    fake.qlik("license/accesstypeoverview", json!({ "analyzerAccess": analyzer }))
}

fn started(fake: &FakeHost, settings: Value) -> Result<Licenses, StartError> {
    block_on(fake.start::<Licenses>(settings))
}

fn running(fake: &FakeHost, settings: Value) -> Arc<Licenses> {
    block_on(fake.run::<Licenses>(settings)).unwrap()
}

fn health(plugin: &Licenses) -> Health {
    block_on(plugin.health())
}

#[test]
fn the_plugin_keeps_the_rules_of_the_house() {
    conformance::<Licenses>(both());
    conformance::<Licenses>(json!({ "serverLicense": { "thresholdDays": [] } }));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let error = started(&FakeHost::new("licenses"), json!({})).err().unwrap();
    assert!(matches!(&error, StartError::Config(text) if text.contains("nothing is to be done")), "{error}");
}

#[test]
fn check_says_both_in_a_line() {
    let fake = with_overview(with_license(FakeHost::new("licenses")));
    let check = |settings: Value| block_on(started(&fake, settings).unwrap().invoke("check", Value::Null));
    let line = check(both()).unwrap();
    let line = line.as_str().unwrap();
    assert!(line.starts_with("the server licence is valid to 9999-12-31, "), "{line}");
    assert!(line.ends_with("; access licences: 30 of 90 analyzer licences are left"), "{line}");
    assert_eq!(check(json!({ "accessLicenses": {} })).unwrap(), "access licences: 30 of 90 analyzer licences are left");
    let none = FakeHost::new("licenses");
    let error = block_on(started(&none, both()).unwrap().invoke("check", Value::Null)).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("404 to `license` (") && text.contains("404 to `license/accesstypeoverview` ("), "{text}");
    assert_eq!((fake.emitted(), none.emitted()), (vec![], vec![]), "nobody else is told");
}

#[test]
fn each_part_looks_at_its_times_and_only_then() {
    let fake = with_overview(with_license(FakeHost::new("licenses").manual_time()));
    let plugin = running(&fake, both());
    fake.wait_until("both to wait", |fake| fake.awaits_tick("server-license") && fake.awaits_tick("access-license"));
    assert_eq!(fake.emitted(), []);
    fake.tick("access-license");
    fake.wait_until("a look", |fake| fake.emitted().len() == 1 && fake.awaits_tick("access-license"));
    assert_eq!(fake.emitted()[0].0, kind::ACCESS_LICENSE_USAGE);
    fake.tick("server-license");
    fake.wait_until("a look", |fake| fake.emitted().len() == 2 && fake.awaits_tick("server-license"));
    assert_eq!(fake.emitted()[1].0, kind::SERVER_LICENSE_STATUS);
    assert_eq!((health(&plugin), fake.stored("server-license/due")), (Health::Good, None));
    fake.stop();
}

#[test]
fn a_section_that_is_absent_is_not_done() {
    let fake = with_license(FakeHost::new("licenses").manual_time());
    let _plugin = running(&fake, json!({ "serverLicense": {} }));
    fake.wait_until("the look to be waited for", |fake| fake.awaits_tick("server-license"));
    assert!(!fake.awaits_tick("access-license"));
    fake.stop();
}

#[test]
fn a_look_that_fails_is_told_once_and_repeated_before_long() {
    let fake = with_license(FakeHost::new("licenses").manual_time());
    let plugin = running(&fake, both());
    let warnings = |fake: &FakeHost| fake.records().iter().filter(|record| record.level == 2).count();
    fake.tick("access-license");
    fake.wait_until("the failure", |fake| fake.sleeping() == 1);
    let Health::Degraded(text) = health(&plugin) else { panic!("{:?}", health(&plugin)) };
    assert!(text.starts_with("access licences: Qlik Sense answers 404 to `license/accesstypeoverview`"), "{text}");
    assert!(fake.stored("access-license/due").is_some());
    fake.advance(LOOK_AGAIN);
    fake.wait_until("the next failure", |fake| fake.slept().len() == 2 && fake.sleeping() == 1);
    // A planned time comes first.
    fake.tick("access-license");
    fake.wait_until("another failure", |fake| fake.slept().len() == 3);
    assert_eq!((warnings(&fake), fake.emitted().len()), (1, 0), "{:?}", fake.records());
    let fake = with_overview(fake);
    fake.advance(LOOK_AGAIN);
    fake.wait_until("a look", |fake| fake.emitted().len() == 1 && fake.stored("access-license/due").is_none());
    assert_eq!(health(&plugin), Health::Good);
    assert!(fake.records().iter().any(|record| record.message == "access licences: all is well again"));
    fake.stop();
}

#[test]
fn a_licence_without_a_day_is_told_once_and_not_looked_at_again_and_again() {
    let fake = FakeHost::new("licenses").manual_time().qlik("license", json!({ "isExpired": false, "keyDetails": "" }));
    let plugin = running(&fake, json!({ "serverLicense": {} }));
    for _ in 1..=2 {
        fake.tick("server-license");
        fake.wait_until("a look", |fake| fake.emitted().len() == 1 && fake.awaits_tick("server-license"));
    }
    assert!(matches!(health(&plugin), Health::Degraded(text) if text.contains("no last day")));
    assert_eq!((fake.slept().len(), fake.records().iter().filter(|record| record.level == 2).count()), (0, 1));
    fake.stop();
}

#[test]
fn a_look_that_was_not_done_is_made_up_for_at_the_next_start() {
    let fake = with_license(FakeHost::new("licenses").manual_time())
        .store("server-license/due", json!("2025-06-01T00:00:00.000Z"));
    let _plugin = running(&fake, json!({ "serverLicense": {} }));
    fake.wait_until("the look", |fake| fake.emitted().len() == 1 && fake.awaits_tick("server-license"));
    assert_eq!(fake.stored("server-license/due"), None);
    fake.stop();
}
