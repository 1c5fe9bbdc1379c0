//! What comes from the broker.

use butler_plugin_api::{Health, ServiceError, Task};

use super::*;

const ID: &str = "5c6d7e8f-1a2b-4c3d-8e4f-0123456789ab";

fn host() -> FakeHost {
    FakeHost::new("mqtt").task(Task { id: ID.to_owned(), name: "Sales".to_owned(), ..Task::default() })
}

fn start(fake: FakeHost, broker: &Broker, version: &str) -> Running {
    let more = json!({ "version": version, "startTask": { "topic": "qliksense/start_task" },
                       "cloud": { "topic": "qscloud/app/reload" } });
    let running = Running::start(fake, settings(broker, more));
    broker.wait("the subscriptions", |seen| seen.subscribed.len() == 2);
    running
}

fn errors(running: &Running, part: &str) -> usize {
    running.fake.records().iter().filter(|record| record.level <= 2 && record.message.contains(part)).count()
}

#[test]
fn a_task_id_starts_the_task_and_nothing_else_does() {
    for version in ["3.1.1", "5"] {
        let broker = Broker::start();
        let running = start(host(), &broker, version);
        let is_v5 = version == "5";
        assert_eq!(broker.seen().subscribed, ["qliksense/start_task", "qscloud/app/reload/#"]);
        let bad = ["start me", &format!("{ID}\n"), "5c6d7e8f-1a2b-0c3d-8e4f-0123456789ab", ""];
        for (packet, payload) in (1..).zip(bad) {
            broker.send("qliksense/start_task", payload.as_bytes(), packet, 0, is_v5);
        }
        broker.send("qliksense/start_task", ID.as_bytes(), 5, 0, is_v5);
        // Kept by the broker, repeated, another topic.
        broker.send("qliksense/start_task", ID.as_bytes(), 6, 1, is_v5);
        broker.send("qliksense/start_task", b"\xff\xfe", 8, 0, is_v5);
        broker.wait("all to be acknowledged", |seen| seen.acknowledged.len() == 7);
        broker.send("qliksense/start_task", ID.as_bytes(), 7, 8, is_v5);
        broker.send("qliksense/other", ID.as_bytes(), 9, 0, is_v5);
        broker.wait("all to be acknowledged", |seen| seen.acknowledged.len() == 9);
        assert_eq!(running.fake.started(), [ID]);
        assert_eq!((errors(&running, "is no task id"), errors(&running, "kept the message")), (5, 1));
        assert_eq!(running.fake.metric("task_starts_total{outcome=\"started\"}"), Some(1.0));
        running.stop();
    }
}

#[test]
fn a_start_that_fails_is_told_and_not_tried_again() {
    let broker = Broker::start();
    let gone = host().fail_service("qlik", ServiceError::Unavailable("Qlik Sense is gone".to_owned()));
    let running = start(gone, &broker, "3.1.1");
    broker.send("qliksense/start_task", ID.as_bytes(), 1, 0, false);
    broker.wait("the acknowledgement", |seen| seen.acknowledged == [1]);
    assert_eq!(errors(&running, "Qlik Sense is gone"), 1);
    running.stop();
    let broker = Broker::start();
    let running = start(FakeHost::new("mqtt"), &broker, "3.1.1");
    broker.send("qliksense/start_task", ID.as_bytes(), 2, 0, false);
    broker.wait("the acknowledgement", |seen| seen.acknowledged == [2]);
    assert_eq!(errors(&running, "there is no task"), 1);
    running.stop();
}

#[test]
fn a_flood_of_starts_does_not_stop_the_connection() {
    let broker = Broker::start();
    let running = start(host(), &broker, "3.1.1");
    for packet in 1..=3_000 {
        broker.send("qliksense/start_task", b"no", packet, 0, false);
    }
    running.deliver(&failure()).unwrap();
    let lost = errors(&running, "is given up");
    assert!(lost > 0, "too few to try it");
    broker.wait("all to be acknowledged, taken or not", |seen| seen.acknowledged.len() == 3_000);
    running.stop();
}

#[test]
fn what_waits_does_not_fill_the_memory() {
    let broker = Broker::start();
    // What is taken waits for Qlik Sense, and time stands still.
    let gone = host().fail_service("qlik", ServiceError::Unavailable("Qlik Sense is gone".to_owned())).manual_time();
    let running = start(gone, &broker, "3.1.1");
    for packet in 1..=60 {
        broker.send("qscloud/app/reload", &vec![b'x'; 1_000_000], packet, 0, false);
    }
    // 33 of them have less than 32 MiB.
    broker.wait("those that are given up", |seen| seen.acknowledged.len() == 27);
    assert_eq!(errors(&running, "nearly 33554432 bytes wait already"), 27);
    running.deliver(&failure()).unwrap();
    running.stop();
}

#[test]
fn a_message_that_comes_again_before_it_is_acknowledged_is_one() {
    for version in ["3.1.1", "5"] {
        let broker = Broker::start();
        let is_v5 = version == "5";
        let gone =
            host().fail_service("qlik", ServiceError::Unavailable("Qlik Sense is gone".to_owned())).manual_time();
        let running = start(gone, &broker, version);
        let event = |flags| broker.send("qscloud/app/reload", b"{}", 1, flags, is_v5);
        event(0);
        event(8);
        broker.send("qliksense/start_task", b"no", 2, 0, is_v5);
        broker.wait("the message behind it", |seen| seen.acknowledged == [2]);
        running.fake.wait_until("the last try", |fake| {
            fake.advance(std::time::Duration::from_secs(30));
            broker.seen().acknowledged.len() > 1
        });
        // Its identifier is free again.
        event(0);
        running.fake.wait_until("the last try", |fake| {
            fake.advance(std::time::Duration::from_secs(30));
            broker.seen().acknowledged == [2, 1, 1]
        });
        running.deliver(&failure()).unwrap();
        assert_eq!((broker.seen().clients.len(), errors(&running, "is given up")), (1, 0), "MQTT {version}");
        running.stop();
    }
}

#[test]
fn events_of_qlik_cloud_are_handed_over() {
    let broker = Broker::start();
    let running = start(FakeHost::new("mqtt"), &broker, "5");
    let event = json!({ "eventType": "com.qlik.v1.app.reload.finished", "data": { "reloadId": "r-1", "status": "error" },
                        "extensions": { "tenantId": "t", "topLevelResourceId": "app" } });
    broker.send("qscloud/app/reload", event.to_string().as_bytes(), 1, 0, true);
    broker.send("qscloud/app/reload/x", event.to_string().as_bytes(), 2, 1, true);
    for packet in 3..=6 {
        broker.send("qscloud/app/reload", b"{nonsense", packet, 0, true);
    }
    broker.send("qscloud/app/reload", &vec![b'x'; 1_100_000], 7, 0, true);
    broker.wait("all to be acknowledged", |seen| seen.acknowledged.len() == 7);
    assert_eq!(running.fake.cloud_events().len(), 1, "{:?}", running.fake.records());
    assert_eq!(errors(&running, "leads to no event of Qlik Cloud"), 1, "one fault is told once");
    assert_eq!(errors(&running, "1100000 bytes"), 1);
    running.stop();
}

#[test]
fn a_refused_subscription_is_told() {
    for (version, code) in [("3.1.1", 0x80), ("5", 0x87)] {
        let broker = Broker::start();
        broker.set(|behaviour| behaviour.suback = code);
        let running = start(host(), &broker, version);
        running.fake.wait_until("degraded health", |_| {
            matches!(block_on(running.plugin.health()), Health::Degraded(text) if text.contains("does not allow it"))
        });
        running.deliver(&failure()).unwrap();
        running.stop();
    }
}
