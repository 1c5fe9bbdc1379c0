//! The plugin as the host sees it, and the points of every kind.

mod checks;
mod points;
mod writing;

use butler_plugin_api::testing::{FakeHost, conformance, manifest_of};
use butler_plugin_api::{StartError, kind, testing};
use serde_json::{Value, json};

use crate::Influxdb;
use crate::points::Maker;
use crate::settings::{Checked, Settings};

/// Settings of version 1, with these on top.
#[allow(clippy::needless_pass_by_value, reason = "written where it is used")]
fn settings(more: Value) -> Value {
    let mut all = json!({ "url": "http://influx.test:8086", "version": 1, "timeZone": "Europe/Berlin" });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

/// Settings of version 2 or 3, likewise.
#[allow(clippy::needless_pass_by_value, reason = "written where it is used")]
fn v2(more: Value) -> Value {
    let mut all =
        json!({ "url": "http://influx.test", "version": 2, "org": "lab", "bucket": "butler", "token": "my-token" });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

#[allow(clippy::needless_pass_by_value, reason = "written where it is used")]
fn v3(more: Value) -> Value {
    let mut all = json!({ "url": "http://influx.test", "version": 3, "database": "butler", "token": "my-v3-token" });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

/// What makes points by these settings.
pub(crate) fn maker(more: Value) -> Maker {
    let settings: Settings = serde_json::from_value(settings(more)).unwrap();
    Checked::try_from(settings).unwrap().maker
}

/// Why these settings are refused.
#[allow(clippy::needless_pass_by_value, reason = "written where it is used")]
fn refused(more: Value) -> String {
    let settings: Settings = serde_json::from_value(settings(more)).unwrap();
    Checked::try_from(settings).unwrap_err()
}

#[test]
fn start_refuses_what_cannot_work_and_the_manifest_says_what_it_can() {
    let fake = FakeHost::new("influx");
    let refused = fake.start::<Influxdb>(settings(json!({ "token": "t" })));
    let error = testing::block_on(refused).err().unwrap();
    assert!(matches!(&error, StartError::Config(text) if text.contains("`token`")), "{error}");
    let manifest = manifest_of::<Influxdb>();
    assert_eq!(manifest.operations, ["check", "render", "import"]);
    assert!(manifest.script_log && manifest.batch.max == 1000);
    let defaults = |kind: &str| manifest.default_events.iter().any(|pattern| kind::matches(pattern, kind));
    assert!(kind::PERIODIC.iter().all(|kind| !defaults(kind)));
    assert!(!defaults(kind::RELOAD_TASK_SUCCEEDED) && defaults(kind::PRELOAD_TASK_ABORTED));
}

#[test]
fn it_keeps_the_rules_of_the_house() {
    conformance::<Influxdb>(settings(json!({ "create": false })));
}
