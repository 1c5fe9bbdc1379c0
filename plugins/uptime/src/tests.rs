//! The plugin with the fake host.

use butler_plugin_api::Status;
use butler_plugin_api::testing::{FakeHost, block_on, conformance, manifest_of};
use serde_json::Value;

use super::*;

fn status(started_at: &str, uptime_ms: u64, received: u64) -> Status {
    let value = json!({
        "version": "17.0.0", "startedAt": started_at, "uptimeMs": uptime_ms, "cpuMs": uptime_ms / 100,
        "memory": { "processBytes": 4096 }, "eventsWaiting": 0, "deliveriesOpen": 3, "deliveriesDead": 1,
        "ingest": { "received": received, "processed": received, "dropped": { "size": received / 10 }, "buffered": 2 },
    });
    serde_json::from_value(value).unwrap()
}

/// Lets the time of a schedule come, and waits until it has been dealt with.
fn tick(fake: &FakeHost, name: &str, now: Status) {
    fake.wait_until("the plugin to wait", |fake| fake.awaits_tick(name));
    let _ = fake.clone().status(now);
    fake.tick(name);
    fake.wait_until("the look to end", |fake| fake.awaits_tick(name));
}

fn lines(fake: &FakeHost, level: u8) -> Vec<String> {
    let records = fake.records().into_iter().filter(|record| record.level == level);
    records.map(|record| record.message).collect()
}

#[test]
fn the_first_look_begins_the_count_and_each_further_one_tells() {
    let fake = FakeHost::new("uptime");
    block_on(fake.run::<Uptime>(json!({ "logLevel": "info", "ingest": {} }))).unwrap();
    tick(&fake, "uptime", status("A", 1000, 10));
    tick(&fake, "ingest", status("A", 1000, 10));
    assert_eq!(fake.emitted(), []);

    tick(&fake, "uptime", status("A", 901_000, 50));
    tick(&fake, "ingest", status("A", 21_000, 35));
    let emitted = fake.emitted();
    let expected = json!({
        "message": "Butler has been running for 15 minutes 1 second",
        "butler": { "version": "17.0.0", "uptimeMs": 901_000, "intervalMs": 900_000, "memory": { "processBytes": 4096 },
                    "cpuMs": 9010, "cpuPercent": 1.0, "eventsWaiting": 0, "deliveriesOpen": 3, "deliveriesDead": 1 },
    });
    assert_eq!(emitted[0], (kind::BUTLER_UPTIME.to_owned(), expected));
    let (kind, ingest) = &emitted[1];
    assert_eq!((kind.as_str(), &ingest["message"]), (kind::BUTLER_INGEST, &json!("25 datagrams received, 2 dropped")));
    let ingest = &ingest["ingest"];
    assert_eq!(
        (&ingest["intervalMs"], &ingest["received"], &ingest["buffered"]),
        (&json!(20_000), &json!(25), &json!(2))
    );
    let line = "Butler has been running for 15 minutes 1 second; memory 0.00 MB; 1 % of a processor; events waiting 0; \
                deliveries open 3; dead 1";
    assert_eq!(lines(&fake, 3), [line]);

    // The two count apart from each other, and the next from the last.
    tick(&fake, "ingest", status("A", 41_000, 36));
    assert_eq!(fake.emitted()[2].1["ingest"]["received"], 1);
    fake.stop();
}

#[test]
fn a_restart_in_between_counts_from_nothing() {
    let seen = |received: u64| json!(Seen::new(&status("A", 900_000, received), "2026-01-31T05:45:00.000Z"));
    let fake = FakeHost::new("uptime").store("uptime", seen(0)).store("ingest", seen(1000));
    block_on(fake.run::<Uptime>(json!({ "ingest": { "when": { "every": "20s" } } }))).unwrap();
    tick(&fake, "ingest", status("B", 5000, 40));
    tick(&fake, "uptime", status("B", 6000, 40));
    let emitted = fake.emitted();
    let (ingest, butler) = (&emitted[0].1["ingest"], &emitted[1].1["butler"]);
    assert_eq!(
        (&ingest["received"], &ingest["intervalMs"], &ingest["dropped"]),
        (&json!(40), &json!(5000), &json!({ "size": 4 }))
    );
    assert_eq!((&butler["intervalMs"], &butler["cpuPercent"]), (&json!(6000), &json!(1.0)));
    assert_eq!(
        lines(&fake, 4),
        ["Butler has been running for 6 seconds; memory 0.00 MB; 1 % of a processor; events waiting 0; \
                                 deliveries open 3; dead 1"]
    );
    fake.stop();
}

#[test]
fn a_look_over_an_instance_that_was_restarted_goes_on_where_it_was() {
    let last = json!(Seen::new(&status("A", 900_000, 0), "2026-01-31T05:45:00.000Z"));
    let fake = FakeHost::new("uptime").store("uptime", last);
    block_on(fake.run::<Uptime>(json!({ "logLevel": "off" }))).unwrap();
    tick(&fake, "uptime", status("A", 1_800_007, 0));
    assert_eq!(fake.emitted()[0].1["butler"]["intervalMs"], 900_000);
    assert!(fake.records().is_empty(), "{:?}", fake.records());
    fake.stop();
}

#[test]
fn what_is_wrong_is_said_once_and_in_the_health() {
    let fake = FakeHost::new("uptime");
    let plugin = block_on(fake.run::<Uptime>(json!({ "ingest": {} }))).unwrap();
    let without = || Status::default();
    tick(&fake, "ingest", without());
    tick(&fake, "ingest", without());
    let trouble = "`butler.ingest` is not told: the config has no `udp:`; add it, or remove `ingest`";
    assert_eq!(lines(&fake, 2), [trouble]);
    assert_eq!(block_on(plugin.health()), Health::Degraded(trouble.to_owned()));
    tick(&fake, "ingest", status("A", 1000, 10));
    assert_eq!(block_on(plugin.health()), Health::Good);
    let _ = fake.clone().fail_service("emit", ServiceError::Unavailable("the store is away".to_owned()));
    tick(&fake, "ingest", status("A", 21_000, 20));
    assert_eq!(lines(&fake, 2).last().unwrap(), "`butler.ingest` is not told: the store is away");
    // What was not told is told with the next.
    assert_eq!(fake.stored("ingest").unwrap()["ingest"]["received"], 10);
    fake.stop();
}

#[test]
fn what_is_wrong_with_one_schedule_is_said_once_while_the_other_goes_on() {
    let fake = FakeHost::new("uptime");
    let plugin = block_on(fake.run::<Uptime>(json!({ "ingest": {} }))).unwrap();
    for _ in 0..2 {
        tick(&fake, "ingest", Status::default());
        tick(&fake, "uptime", status("A", 1000, 10));
    }
    let trouble = "`butler.ingest` is not told: the config has no `udp:`; add it, or remove `ingest`";
    assert_eq!(lines(&fake, 2), [trouble]);
    assert_eq!(block_on(plugin.health()), Health::Degraded(trouble.to_owned()));
    fake.stop();
}

#[test]
fn what_was_told_is_not_told_again_when_it_cannot_be_remembered() {
    let seen = json!(Seen::new(&status("A", 1000, 10), "2026-01-31T05:45:00.000Z"));
    let fake = FakeHost::new("uptime").store("uptime", seen.clone()).store("ingest", seen);
    block_on(fake.run::<Uptime>(json!({ "ingest": {} }))).unwrap();
    tick(&fake, "ingest", status("A", 21_000, 20));
    let _ = fake.clone().fail_service("storage", ServiceError::Unavailable("the store is away".to_owned()));
    tick(&fake, "ingest", status("A", 41_000, 25));
    tick(&fake, "ingest", status("A", 61_000, 26));
    let received: Vec<_> = fake.emitted().iter().map(|(_, data)| data["ingest"]["received"].clone()).collect();
    assert_eq!(received, [10, 5, 1]);
    let trouble = "the last look of `butler.ingest` is not stored, so a restart of the instance would count from an earlier \
                   one: the store is away";
    assert_eq!(lines(&fake, 2), [trouble]);
    fake.stop();
}

#[test]
fn settings_that_cannot_be_read_are_refused() {
    for (settings, part) in [
        (json!({ "when": { "every": "1ms" } }), "between 1s and 366d"),
        (json!({ "logLevel": "verbose" }), "unknown variant `verbose`"),
        (json!({ "ingest": { "every": "20s" } }), "unknown field `every`"),
        (json!({ "frequency": "every 15 minutes" }), "unknown field `frequency`"),
    ] {
        let error = block_on(FakeHost::new("uptime").start::<Uptime>(settings.clone())).err().unwrap().to_string();
        assert!(error.contains(part), "{settings}: {error}");
    }
    let fake = FakeHost::new("uptime").fail_service("schedule", ServiceError::Invalid("column 3 (hour)".to_owned()));
    let error = block_on(fake.start::<Uptime>(json!({}))).err();
    assert_eq!(error, Some(StartError::Config("`when`: column 3 (hour)".to_owned())));
}

#[test]
fn the_rules_of_the_house_are_kept() {
    conformance::<Uptime>(json!({ "ingest": { "when": { "cron": "* * * * *", "timeZone": "Europe/Oslo" } } }));
    let manifest = manifest_of::<Uptime>();
    assert!(manifest.default_events.is_empty(), "it takes none: {:?}", manifest.default_events);
    let _: Value = manifest.settings_schema;
}
