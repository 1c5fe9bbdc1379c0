//! Looks at the access licences.
#![allow(clippy::needless_pass_by_value, reason = "reads better with `json!`")]

use butler_plugin_api::testing::{FakeHost, block_on};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

const LOW_BY: Low =
    Low { professional: Some(2), analyzer: Some(5), analyzer_capacity_minutes: Some(60), tokens: Some(0) };

fn access(available: i64) -> Value {
    json!({ "enabled": true, "total": 90, "allocated": 90 - available, "used": 41, "quarantined": 0, "excess": 0, "available": available })
}

/// Looks, and returns the types and messages of the alerts.
fn looked(fake: &FakeHost, overview: Value, planned: &str) -> Vec<(String, String)> {
    let fake = fake.clone().qlik(overview::PATH, overview);
    let before = fake.emitted().len();
    let result = block_on(look(&fake.host(), LOW_BY, planned));
    assert!(matches!(result, Ok(()) | Err(Trouble::Noted(_))), "{result:?}");
    let low = fake.emitted().split_off(before).into_iter().filter(|(kind, _)| kind == kind::ACCESS_LICENSE_LOW);
    let low = low.map(|(_, data)| {
        let types: Vec<&str> = data["accessLicenses"].as_object().unwrap().keys().map(String::as_str).collect();
        (types.join(","), data["message"].as_str().unwrap().to_owned())
    });
    low.collect()
}

fn low(license_type: &str, message: &str) -> Vec<(String, String)> {
    vec![(license_type.to_owned(), message.to_owned())]
}

#[test]
fn a_look_tells_the_use_of_every_type_that_is_on() {
    let overview = json!({
        "totalTokens": 20, "availableTokens": 3.5, "tokensEnabled": true,
        "userAccess": { "enabled": true, "tokenCost": 1, "allocatedTokens": 6, "usedTokens": 4, "quarantinedTokens": 1 },
        "loginAccess": { "enabled": true, "tokenCost": 0.1, "allocatedTokens": 4, "usedTokens": 2, "unavailableTokens": 0 },
        "professionalAccess": { "enabled": true, "total": 40, "allocated": 12, "used": 9, "quarantined": 1, "excess": 0, "available": 27 },
        "analyzerAccess": { "enabled": true, "total": 90.0, "allocated": 60, "used": 41, "quarantined": 0, "excess": 0, "available": 30 },
        "analyzerTimeAccess": { "enabled": true, "allocatedMinutes": 600, "usedMinutes": 35, "unavailableMinutes": 5 }
    });
    let fake = FakeHost::new("licenses");
    assert_eq!(looked(&fake, overview, "p"), []);
    let [(usage, data)] = &fake.emitted()[..] else { panic!("{:?}", fake.emitted()) };
    assert_eq!(usage, kind::ACCESS_LICENSE_USAGE);
    let expected = json!({
        "professional": { "allocated": 12, "available": 27, "excess": 0, "quarantined": 1, "total": 40, "used": 9 },
        "analyzer": { "allocated": 60, "available": 30, "excess": 0, "quarantined": 0, "total": 90, "used": 41 },
        "analyzerCapacity": { "allocatedMinutes": 600, "unavailableMinutes": 5, "usedMinutes": 35 },
        "tokenLogin": { "allocatedTokens": 4.0, "tokenCost": 0.1, "unavailableTokens": 0.0, "usedTokens": 2.0 },
        "tokenUser": { "allocatedTokens": 6.0, "quarantinedTokens": 1.0, "tokenCost": 1.0, "usedTokens": 4.0 },
        "tokens": { "available": 3.5, "total": 20.0 }
    });
    assert_eq!(data["accessLicenses"], expected);
    assert_eq!(
        data["message"],
        "27 of 40 professional licences are left (1 in quarantine), 30 of 90 analyzer licences are left, 560 of 600 minutes of \
         analyzer capacity are left, 3.5 of 20 tokens are left"
    );
    let left = |name: &str| fake.metric(&format!("access_licenses_left{{type=\"{name}\"}}"));
    assert_eq!((left("professional"), left("analyzer"), left("tokens")), (Some(27.0), Some(30.0), Some(3.5)));
    assert_eq!(fake.metric("analyzer_capacity_minutes_left"), Some(560.0));
}

#[test]
fn types_that_are_off_or_missing_are_absent_and_cost_nothing() {
    let fake = FakeHost::new("licenses");
    let overview = json!({
        "tokensEnabled": "true", "totalTokens": 5, "userAccess": { "enabled": false }, "loginAccess": null,
        "professionalAccess": { "enabled": true, "total": 40, "available": 27 }, "analyzerAccess": { "enabled": 1 }
    });
    assert_eq!(looked(&fake, overview, "1"), []);
    assert_eq!(fake.emitted()[0].1["accessLicenses"], json!({ "professional": { "available": 27, "total": 40 } }));
    assert_eq!(looked(&fake, json!({}), "2"), []);
    let (_, data) = fake.emitted().pop().unwrap();
    assert_eq!(
        (&data["accessLicenses"], data["message"].as_str().unwrap()),
        (&json!({}), "Qlik Sense names no kind of access licence that is in use")
    );
}

#[test]
fn few_left_is_told_once_until_there_are_more_again() {
    let fake = FakeHost::new("licenses");
    let told = |available: i64, planned: &str| looked(&fake, json!({ "analyzerAccess": access(available) }), planned);
    assert_eq!(told(6, "1"), []);
    assert_eq!(told(5, "2"), low("analyzer", "5 of 90 analyzer licences are left"));
    assert_eq!(told(1, "3"), []);
    // A look that does not tell of the type changes nothing.
    assert_eq!(looked(&fake, json!({}), "4"), []);
    assert_eq!(told(5, "5"), []);
    assert_eq!(told(6, "6"), []);
    assert!(fake.records().iter().any(|record| record.message.contains("that is enough again")));
    assert_eq!(told(0, "7"), low("analyzer", "0 of 90 analyzer licences are left"));
}

#[test]
fn each_type_is_told_by_itself_with_what_is_in_quarantine_or_too_much() {
    let fake = FakeHost::new("licenses");
    let overview = |capacity: i64| {
        json!({
            "tokensEnabled": true, "availableTokens": 0, "totalTokens": 1,
            "analyzerAccess": { "enabled": true, "total": 90, "available": -2, "quarantined": 3, "excess": 2 },
            "professionalAccess": { "enabled": true, "available": 1 },
            "analyzerTimeAccess": { "enabled": true, "allocatedMinutes": 600, "usedMinutes": capacity, "unavailableMinutes": 0 }
        })
    };
    let expected = [
        low("professional", "1 professional licence is left"),
        low("analyzer", "-2 of 90 analyzer licences are left (3 in quarantine, 2 assigned beyond the licence)"),
        low("tokens", "0 of 1 token is left"),
    ];
    assert_eq!(looked(&fake, overview(539), "1"), expected.concat());
    assert_eq!(
        looked(&fake, overview(540), "2"),
        low("analyzerCapacity", "60 of 600 minutes of analyzer capacity are left")
    );
    assert_eq!(looked(&fake, overview(600), "3"), []);
}

#[test]
fn a_look_that_is_repeated_after_a_crash_emits_nothing_twice() {
    let fake = FakeHost::new("licenses");
    let overview = json!({ "analyzerAccess": access(2) });
    assert_eq!(looked(&fake, overview.clone(), "1").len(), 1);
    assert_eq!(fake.stored(LOW), Some(json!(["analyzer"])));
    let fake = fake.store(LOW, json!([]));
    assert_eq!(looked(&fake, overview, "1"), []);
    assert_eq!((fake.emitted().len(), fake.stored(LOW)), (2, Some(json!(["analyzer"]))));
}

#[test]
fn an_answer_of_no_use_is_a_failure() {
    let fake = FakeHost::new("licenses").qlik(overview::PATH, json!("<html>"));
    let result = block_on(look(&fake.host(), LOW_BY, "p"));
    assert!(matches!(&result, Err(Trouble::Failed(text)) if text.contains("begins with \"<html>\"")), "{result:?}");
    assert_eq!(fake.emitted(), []);
}

#[test]
fn an_overview_that_tells_nothing_is_told() {
    let noted = |body: Value, low: Low| match block_on(look(
        &FakeHost::new("licenses").qlik(overview::PATH, body).host(),
        low,
        "p",
    )) {
        Err(Trouble::Noted(text)) => text,
        other => panic!("{other:?}"),
    };
    for body in [json!({}), json!({ "professional": { "enabled": true, "available": 3 }, "analyzerAccess": null })] {
        assert!(noted(body, Low::default()).contains("has no type of access licence that is known"));
    }
    let renamed = json!({
        "analyzerAccess": { "enabled": true, "total": 90, "left": 3 }, "tokensEnabled": true,
        "professionalAccess": { "enabled": false }, "analyzerTimeAccess": { "enabled": true, "allocatedMinutes": 5 }
    });
    let text = noted(renamed.clone(), LOW_BY);
    assert!(text.contains("when there are few: analyzer, analyzer_capacity, tokens; this release"), "{text}");
    for (body, low) in
        [(renamed, Low { professional: Some(2), ..Low::default() }), (json!({ "tokensEnabled": false }), LOW_BY)]
    {
        assert_eq!(block_on(look(&FakeHost::new("licenses").qlik(overview::PATH, body).host(), low, "p")), Ok(()));
    }
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,5}".prop_map(Value::from),
    ];
    let names = prop_oneof![
        Just("enabled"),
        Just("total"),
        Just("available"),
        Just("allocatedMinutes"),
        Just("usedMinutes"),
        Just("unavailableMinutes"),
        Just("excess"),
    ];
    let names = names.prop_map(str::to_owned);
    prop_oneof![leaf.clone(), prop::collection::btree_map(names, leaf, 0..7).prop_map(|fields| json!(fields))]
}

proptest! {
    #[test]
    fn no_overview_is_a_panic(analyzer in anything(), capacity in anything(), tokens in anything()) {
        let body = json!({ "analyzerAccess": analyzer, "analyzerTimeAccess": capacity, "availableTokens": tokens, "tokensEnabled": true });
        let licenses = overview::read(&body);
        summary(&overview::left(&licenses));
    }
}
