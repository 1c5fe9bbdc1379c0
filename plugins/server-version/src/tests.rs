//! The plugin with the fake host.

use butler_plugin_api::testing::{FakeHost, block_on, conformance};

use super::*;

fn info(version: &str) -> Value {
    json!({ "version": version, "releaseLabel": "May 2024", "productName": "Qlik Sense", "deploymentType": "QlikSenseServer",
            "senseId": "qliksenseserver:14", "contentHash": "8a", "deprecatedProductVersion": "4.0.X",
            "copyrightYearRange": "1993-2024" })
}

/// As it was left by an earlier run.
fn known(version: &str, changes: u64) -> Value {
    json!({ "version": info(version), "changes": changes })
}

/// Runs until the plugin waits for its next time.
fn run(fake: &FakeHost, settings: Value) -> std::sync::Arc<ServerVersion> {
    let plugin = block_on(fake.run::<ServerVersion>(settings)).unwrap();
    fake.wait_until("the plugin to wait", |fake| fake.awaits_tick(VERSION));
    plugin
}

fn tick(fake: &FakeHost) {
    fake.tick(VERSION);
    fake.wait_until("the look to end", |fake| fake.awaits_tick(VERSION));
}

fn messages(fake: &FakeHost) -> Vec<String> {
    let emitted = fake.emitted();
    emitted.iter().map(|(_, data)| data["message"].as_str().unwrap().to_owned()).collect()
}

fn warnings(fake: &FakeHost) -> Vec<String> {
    let records = fake.records().into_iter().filter(|record| record.level == 2);
    records.map(|record| record.message).collect()
}

const NAME: &str = "Qlik Sense May 2024, version 14.1 (QlikSenseServer)";

#[test]
fn the_first_interval_ever_begins_with_its_tick_and_later_starts_with_a_look() {
    let fake = FakeHost::new("v").qlik("systemInfo", info("14.1"));
    run(&fake, json!({}));
    assert!(messages(&fake).is_empty(), "the schedule's first time comes at once");
    tick(&fake);
    let (kind, data) = fake.emitted().remove(0);
    assert_eq!(
        (kind.as_str(), &data),
        (kind::QLIK_VERSION_CHECKED, &json!({ "message": NAME, "qlikVersion": info("14.1") }))
    );
    fake.stop();
    // One that goes by the clock begins with a look, and so does one that has run before.
    for (fake, settings) in [
        (FakeHost::new("v"), json!({ "when": { "cron": "0 6 * * *" } })),
        (FakeHost::new("v").store(BEGUN, json!(true)), json!({})),
    ] {
        let fake = fake.qlik("systemInfo", info("14.1"));
        run(&fake, settings);
        assert_eq!(messages(&fake), [NAME]);
        tick(&fake);
        assert_eq!(messages(&fake), [NAME, NAME], "each look is told");
        let series =
            "info{deployment=\"QlikSenseServer\",product=\"Qlik Sense\",release=\"May 2024\",version=\"14.1\"}";
        assert_eq!(fake.metric(series), Some(1.0));
        fake.stop();
    }
}

#[test]
fn only_changes_are_told_if_so_wished_from_what_to_what() {
    let fake = FakeHost::new("v").store(BEGUN, json!(true)).qlik("systemInfo", info("14.1"));
    run(&fake, json!({ "onlyChanges": true }));
    assert_eq!(fake.stored(VERSION), Some(known("14.1", 0)), "the first is remembered, and no change");
    tick(&fake);
    assert!(messages(&fake).is_empty());
    let change = |from: &str, to: &str| {
        format!("Qlik Sense was changed from May 2024, version {from}, to May 2024, version {to}")
    };
    // There, back, and there again: three changes, though two look alike.
    for version in ["14.2", "14.1", "14.2"] {
        let _ = fake.clone().qlik("systemInfo", info(version));
        tick(&fake);
        tick(&fake);
    }
    assert_eq!(messages(&fake), [change("14.1", "14.2"), change("14.2", "14.1"), change("14.1", "14.2")]);
    let series = |version| {
        format!(
            "info{{deployment=\"QlikSenseServer\",product=\"Qlik Sense\",release=\"May 2024\",version=\"{version}\"}}"
        )
    };
    assert_eq!((fake.metric(&series("14.1")), fake.metric(&series("14.2"))), (Some(0.0), Some(1.0)));
    fake.stop();
}

#[test]
fn a_change_while_butler_was_away_is_told_once_however_it_ends() {
    // Killed between the event and the storage, which is as it was: the second run emits under the same key.
    let fake =
        FakeHost::new("v").store(BEGUN, json!(true)).store(VERSION, known("14.1", 4)).qlik("systemInfo", info("14.2"));
    run(&fake, json!({ "onlyChanges": true }));
    assert_eq!((messages(&fake).len(), fake.stored(VERSION)), (1, Some(known("14.2", 5))));
    let _ = fake.clone().store(VERSION, known("14.1", 4));
    tick(&fake);
    assert_eq!((messages(&fake).len(), fake.stored(VERSION)), (1, Some(known("14.2", 5))));
    // It was changed again before Butler came back: that is another change.
    let _ = fake.clone().store(VERSION, known("14.1", 4)).qlik("systemInfo", info("14.3"));
    tick(&fake);
    assert_eq!((messages(&fake).len(), fake.stored(VERSION)), (2, Some(known("14.3", 5))));
    fake.stop();
}

#[test]
fn a_failure_is_said_once_and_the_next_look_tries_again() {
    let fake = FakeHost::new("v").manual_time().store(BEGUN, json!(true));
    let plugin = run(&fake, json!({}));
    tick(&fake);
    let [warning] = &warnings(&fake)[..] else { panic!("once: {:?}", warnings(&fake)) };
    assert!(warning.starts_with("the version of Qlik Sense cannot be read: "), "{warning}");
    assert_eq!(block_on(plugin.health()), Health::Degraded(warning.clone()));
    let failed = block_on(plugin.invoke("check", Value::Null)).unwrap_err();
    assert_eq!(failed, OperationError::Failed(warning.clone()));

    let _ = fake.clone().qlik("systemInfo", json!({ "hello": "world" }));
    tick(&fake);
    let other = warnings(&fake).pop().unwrap();
    assert!(other.contains("`qlik.ports.systemInfo`"), "{other}");
    assert!(messages(&fake).is_empty());

    let _ = fake.clone().qlik("systemInfo", info("14.1"));
    tick(&fake);
    assert_eq!((messages(&fake), block_on(plugin.health())), (vec![NAME.to_owned()], Health::Good));
    assert_eq!(block_on(plugin.invoke("check", Value::Null)).unwrap(), json!(NAME));
    assert_eq!(warnings(&fake).len(), 2);
    // What cannot be emitted is not remembered either.
    let _ = fake
        .clone()
        .qlik("systemInfo", info("14.2"))
        .fail_service("emit", ServiceError::Unavailable("away".to_owned()));
    tick(&fake);
    assert_eq!((fake.stored(VERSION), warnings(&fake).len()), (Some(known("14.1", 0)), 3));
    fake.stop();
}

#[test]
fn a_look_that_failed_is_repeated_soon_until_one_succeeds() {
    let fake = FakeHost::new("v").manual_time().store(BEGUN, json!(true));
    run(&fake, json!({}));
    let looks = |result| fake.metric(&format!("looks{{result=\"{result}\"}}")).unwrap_or_default();
    let again = |failed: f64| {
        fake.wait_until("another look", |fake| {
            fake.metric("looks{result=\"failed\"}") == Some(failed) && fake.sleeping() == 1
        });
    };
    again(1.0);
    fake.advance(AGAIN);
    again(2.0);
    // Its time has come meanwhile, and goes wrong too.
    fake.tick(VERSION);
    again(3.0);
    assert_eq!((warnings(&fake).len(), messages(&fake).len()), (1, 0));
    let _ = fake.clone().qlik("systemInfo", info("14.1"));
    fake.advance(AGAIN);
    fake.wait_until("the look that succeeds", |fake| fake.metric("looks{result=\"ok\"}").is_some());
    fake.advance(10 * AGAIN);
    tick(&fake);
    assert_eq!((looks("failed"), looks("ok"), messages(&fake)), (3.0, 2.0, vec![NAME.to_owned(); 2]));
    fake.stop();
}

#[test]
fn a_time_that_the_look_at_the_start_stands_for_is_left_out() {
    // The fake host's times are all planned for six o'clock.
    for (started_at, events) in [("2026-01-31T05:59:54.999Z", 2), ("2026-01-31T05:59:55.000Z", 1)] {
        let now = serde_json::from_value(json!({ "startedAt": started_at, "uptimeMs": 5000 })).unwrap();
        let fake = FakeHost::new("v").status(now).store(BEGUN, json!(true)).qlik("systemInfo", info("14.1"));
        run(&fake, json!({}));
        tick(&fake);
        assert_eq!(messages(&fake).len(), events, "{started_at}");
        tick(&fake);
        assert_eq!(messages(&fake).len(), events + 1, "only the first one");
        fake.stop();
    }
}

#[test]
fn settings_that_cannot_be_read_are_refused() {
    for (settings, part) in [
        (json!({ "when": { "every": "24" } }), "a whole number and a unit"),
        (json!({ "onlyChanges": "yes" }), "expected a boolean"),
        (json!({ "host": "sense1" }), "unknown field `host`"),
    ] {
        let error = block_on(FakeHost::new("v").start::<ServerVersion>(settings.clone())).err().unwrap().to_string();
        assert!(error.contains(part), "{settings}: {error}");
    }
    let fake = FakeHost::new("v").fail_service("schedule", ServiceError::Invalid("column 3 (hour)".to_owned()));
    let error = block_on(fake.start::<ServerVersion>(json!({}))).err();
    assert_eq!(error, Some(StartError::Config("`when`: column 3 (hour)".to_owned())));
}

#[test]
fn the_rules_of_the_house_are_kept() {
    conformance::<ServerVersion>(json!({ "when": { "every": "12h", "jitter": "10m" }, "onlyChanges": true }));
}
