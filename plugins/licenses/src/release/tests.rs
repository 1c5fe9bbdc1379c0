//! The release against a fake host. `rules`: what is released, against the simplest model; `runs`: whole runs; `cut_off`:
//! runs that are cut off in the middle.

#![allow(clippy::needless_pass_by_value, reason = "reads better with `json!`")]

mod cut_off;
mod rules;
mod runs;

use std::time::Duration;

use butler_plugin_api::testing::{FakeHost, block_on};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Settings, run};
use crate::part::Trouble;

const NOW: &str = "2026-03-31T10:00:00Z";
const PLANNED: &str = "2026-03-31T10:00:00.000Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn settings(json: Value) -> Settings {
    let settings: Settings = serde_json::from_value(json).unwrap();
    settings.check().unwrap();
    settings
}

/// An identifier that is easy to tell apart.
fn id(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// The identifier of the user of the licence with a number.
fn user_id(number: u64) -> String {
    format!("11111111-0000-4000-8000-{number:012}")
}

fn ago(days: i64) -> String {
    format!("{:.3}", now() - jiff::SignedDuration::from_hours(24 * days))
}

/// The licence `number` of user `number`, not used for so many days.
fn access(number: u64, days: i64) -> Value {
    json!({
        "id": id(number), "createdDate": "2024-01-02T08:00:00.000Z", "quarantined": false, "lastUsed": ago(days),
        "user": { "id": user_id(number), "userDirectory": "LAB", "userId": format!("user{number}") },
    })
}

fn user(number: u64) -> Value {
    json!({
        "id": user_id(number), "userDirectory": "LAB", "userId": format!("user{number}"), "tags": [],
        "customProperties": [], "inactive": false, "blacklisted": false, "removedExternally": false,
    })
}

fn with(mut value: Value, pointer: &str, new: Value) -> Value {
    *value.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = new;
    value
}

/// A Qlik Sense with professional licences and their users.
fn sense(accesses: &[Value], users: &[Value]) -> FakeHost {
    let mut fake = FakeHost::new("licenses");
    for path in ["license/professionalaccesstype", "license/analyzeraccesstype"] {
        let of_type = if path.contains("professional") { accesses } else { &[] };
        fake = fake.qlik(&format!("{path}/count"), json!({ "value": of_type.len() }));
        fake = fake.qlik(&format!("{path}/full"), json!(of_type));
        fake = of_type
            .iter()
            .fold(fake, |fake, one| fake.qlik(&format!("{path}/{}", one["id"].as_str().unwrap()), one.clone()));
    }
    fake =
        users.iter().fold(fake, |fake, one| fake.qlik(&format!("user/{}", one["id"].as_str().unwrap()), one.clone()));
    fake.qlik("user/full", json!(users))
}

/// So many licences, the first not used for 40 days, the others used a minute later each.
fn many(count: u64) -> FakeHost {
    let minutes = |n: u64| jiff::SignedDuration::from_mins(i64::try_from(n).unwrap());
    let last_used = |n: u64| format!("{:.3}", now() - jiff::SignedDuration::from_hours(24 * 40) + minutes(n));
    let accesses: Vec<Value> = (0..count).map(|n| with(access(n, 40), "/lastUsed", json!(last_used(n)))).collect();
    sense(&accesses, &(0..count).map(user).collect::<Vec<_>>())
}

fn go(fake: &FakeHost, settings: &Settings) -> Result<(), Trouble> {
    go_at(fake, settings, PLANNED)
}

fn go_at(fake: &FakeHost, settings: &Settings, planned: &str) -> Result<(), Trouble> {
    block_on(run(&fake.host(), settings, now(), planned))
}

/// The only event.
fn event(fake: &FakeHost) -> Value {
    let emitted = fake.emitted();
    assert_eq!(emitted.len(), 1, "{emitted:?}");
    assert_eq!(emitted[0].0, "access-license.released");
    emitted[0].1.clone()
}

/// Numbers of the licences that an event says were released.
fn released(event: &Value) -> Vec<u64> {
    let released = event["licenseRelease"]["released"].as_array().unwrap();
    released.iter().map(|one| one["id"].as_str().unwrap()[24..].parse().unwrap()).collect()
}

/// Why the licence with a number was kept, with the detail.
fn kept(event: &Value, number: u64) -> (String, String) {
    let all = event["licenseRelease"]["kept"].as_array().unwrap();
    let one = all.iter().find(|one| one["id"] == id(number).as_str()).unwrap_or_else(|| panic!("{number}: {event:#}"));
    (one["reason"].as_str().unwrap().to_owned(), one["detail"].as_str().unwrap().to_owned())
}

/// Numbers of the licences whose release was asked for.
fn deleted(fake: &FakeHost) -> Vec<u64> {
    let writes = fake.qlik_writes();
    let of =
        |path: &str| path.strip_prefix("DELETE license/professionalaccesstype/").map(|id| id[24..].parse().unwrap());
    writes.iter().map(|(path, _)| of(path).unwrap_or_else(|| panic!("{path}"))).collect()
}

fn delete(number: u64) -> String {
    format!("DELETE license/professionalaccesstype/{}", id(number))
}

fn path(number: u64) -> String {
    format!("license/professionalaccesstype/{}", id(number))
}

/// The storage has nothing of a run.
fn is_tidy(fake: &FakeHost) -> bool {
    let keys = block_on(fake.host().storage().list("release/")).unwrap();
    keys == ["release/done"]
}

#[test]
fn settings_have_defaults_and_what_cannot_work_is_refused() {
    let defaults = settings(json!({}));
    assert!(!defaults.release, "a dry run unless asked");
    assert_eq!((defaults.max_per_run, defaults.requests_per_second), (50, 10));
    assert_eq!(defaults.when, butler_plugin_api::When::every(Duration::from_hours(24)));
    let types: Vec<String> = defaults.types().map(|(access_type, days)| format!("{access_type} {days}")).collect();
    assert_eq!(types, ["professional 30", "analyzer 30"]);
    for word in ["Yes", "NO", "ignore"] {
        settings(json!({ "neverRelease": { "inactive": word } }));
    }
    for (wrong, part) in [
        (json!({ "maxPerRun": 0 }), "`unusedLicenses.maxPerRun` is 0"),
        (json!({ "maxPerRun": 1001 }), "between 1 and 1000"),
        (json!({ "requestsPerSecond": 101 }), "`unusedLicenses.requestsPerSecond` is 101"),
        (json!({ "analyzer": { "unusedDays": 0 } }), "`unusedLicenses.analyzer.unusedDays` is 0"),
        (json!({ "professional": { "unusedDays": 3651 } }), "between 1 and 3650"),
        (json!({ "professional": { "enabled": false }, "analyzer": { "enabled": false } }), "enable one"),
        (json!({ "neverRelease": { "tags": [""] } }), "`unusedLicenses.neverRelease.tags` has a text that is empty"),
        (json!({ "neverRelease": { "userDirectories": [" LAB"] } }), "begins or ends with space"),
        (json!({ "neverRelease": { "users": [{ "directory": "LAB", "userId": "" }] } }), "neverRelease.users"),
        (json!({ "neverRelease": { "customProperties": [{ "name": "a", "value": "b " }] } }), "customProperties"),
        (json!({ "neverRelease": { "tags": vec!["a"; 1001] } }), "1000 entries at most"),
        (json!({ "neverRelease": { "blocked": "maybe" } }), "none of `yes`, `no` and `ignore`"),
        (json!({ "neverRelease": { "users": ["LAB\\ann"] } }), "LAB\\\\ann"),
        (json!({ "dryRun": false }), "unknown field"),
        (json!({ "neverUsed": "always" }), "unknown variant"),
    ] {
        let error = serde_json::from_value::<Settings>(wrong.clone()).map_err(|error| error.to_string());
        let error = error.and_then(|settings| settings.check()).unwrap_err();
        assert!(error.contains(part), "{wrong}: {error}");
    }
}
