//! Brokers that refuse, hang, lie and go away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use butler_plugin_api::Health;

use super::*;
use crate::client::{Message, Properties, Qos, Refusal};

fn start(broker: &Broker, more: Value) -> Running {
    Running::start(FakeHost::new("mqtt"), settings(broker, more))
}

/// Text of a health that is not good.
fn unwell(running: &Running) -> String {
    match block_on(running.plugin.health()) {
        Health::Bad(text) | Health::Degraded(text) => text,
        other => format!("{other:?}"),
    }
}

fn wait_unwell(running: &Running, part: &str) {
    running
        .fake
        .wait_until(&format!("health with {part}, now {}", unwell(running)), |_| unwell(running).contains(part));
}

#[test]
fn a_delivery_is_done_when_the_broker_has_acknowledged() {
    for version in ["3.1.1", "5"] {
        for qos in [0, 1, 2] {
            let broker = Broker::start();
            let running = start(&broker, json!({ "version": version, "qos": qos, "retain": true, "metadata": false }));
            running.deliver(&failure()).unwrap();
            broker
                .wait("both messages", |seen| seen.published.iter().filter(|m| m.topic.contains("task_")).count() == 2);
            for message in broker.on("task_") {
                assert_eq!((message.qos, message.retain, message.duplicate), (qos, true, false), "MQTT {version}");
                if version == "5" {
                    let properties = String::from_utf8_lossy(&message.properties).into_owned();
                    assert!(properties.contains("sample-1") && properties.contains("sample-d1"), "{properties}");
                }
            }
            assert_eq!(block_on(running.plugin.health()), Health::Good);
            running.stop();
        }
    }
}

#[test]
fn without_an_acknowledgement_it_is_not_done_and_what_arrived_is_not_repeated() {
    let broker = Broker::start();
    broker.set(|behaviour| behaviour.silent_on = Some("task_failure_full".to_owned()));
    let running = start(&broker, json!({ "metadata": false }));
    let delivery = failure();
    let (message, progress) = retry(running.deliver(&delivery).unwrap_err());
    assert!(message.contains("does not acknowledge") && message.contains("task_failure_full"), "{message}");
    assert_eq!(progress, Some(json!({ "published": ["0:qliksense/task_failure"] })));
    broker.set(|behaviour| behaviour.silent_on = None);
    running.deliver(&again(&delivery, progress)).unwrap();
    let count = |topic: &str| broker.seen().published.iter().filter(|message| message.topic == topic).count();
    assert_eq!((count("qliksense/task_failure"), count("qliksense/task_failure_full")), (1, 2));
    running.stop();
}

#[test]
fn a_slow_broker_has_its_time_as_long_as_it_acknowledges() {
    let broker = Broker::start();
    broker.set(|behaviour| behaviour.pause = Duration::from_millis(150));
    let publish: Vec<Value> = (0..12).map(|n| json!({ "topic": format!("slow/{n}"), "payload": "name" })).collect();
    let running = start(&broker, json!({ "topics": [{ "events": ["*"], "publish": publish }] }));
    // Longer in all than the broker may acknowledge nothing.
    running.deliver(&failure()).unwrap();
    assert_eq!(broker.on("slow/").len(), 12, "none twice");
    running.stop();
}

#[test]
fn a_delivery_at_its_end_takes_no_connection_along() {
    let broker = Broker::start();
    let running = start(&broker, json!({ "metadata": false }));
    running.deliver(&failure()).unwrap();
    broker.set(|behaviour| behaviour.acknowledges = false);
    let message = || Message { topic: "late".to_owned(), payload: Vec::new(), qos: Qos::AtLeastOnce, retain: false };
    let session = running.plugin.link.now().unwrap();
    let publish = async |patience: Duration| {
        let last = tokio::time::Instant::now() + patience;
        session.publish(message(), Properties::default(), last).await.unwrap().done().await
    };
    // The second one begins well after the last acknowledgement.
    for _ in 0..2 {
        let soon = running.plugin.host.runtime().block_on(publish(Duration::from_millis(100)));
        assert!(matches!(soon, Err(Refusal::Later(_))), "{soon:?}");
    }
    // What is given up is gone at once, which a repetition would find.
    let third = running.plugin.host.runtime().block_on(publish(Duration::from_millis(100)));
    assert!(matches!(third, Err(Refusal::Later(_))), "{third:?}: the broker had not had its time");
    let _ = running.plugin.host.runtime().block_on(publish(Duration::from_secs(5)));
    running.fake.wait_until("the connection to be given up", |_| running.plugin.link.now().is_err());
    running.stop();
}

#[test]
fn a_broker_that_acknowledges_nothing_is_left_and_told() {
    let broker = Broker::start();
    broker.set(|behaviour| behaviour.acknowledges = false);
    let running = start(&broker, json!({ "metadata": false }));
    let (message, _) = retry(running.deliver(&failure()).unwrap_err());
    // The status was not acknowledged either, and its time was over first or last.
    let is_told =
        message.contains("does not acknowledge the message within 700 ms") || message.contains("was lost before");
    assert!(is_told, "{message}");
    wait_unwell(&running, "acknowledges nothing");
    assert!(unwell(&running).contains(&broker.url()), "{}", unwell(&running));
    broker.set(|behaviour| behaviour.acknowledges = true);
    broker.wait("a new connection", |seen| seen.clients.len() >= 2);
    running.deliver(&failure()).unwrap();
    running.fake.wait_until("good health", |_| block_on(running.plugin.health()) == Health::Good);
    running.stop();
}

#[test]
fn a_lost_connection_is_made_again_and_the_library_repeats_nothing() {
    let broker = Broker::start();
    broker.set(|behaviour| behaviour.silent_on = Some("task_failure".to_owned()));
    let running = start(&broker, json!({ "metadata": false, "ackTimeout": "20s", "startTask": { "topic": "s" } }));
    let (deliver, cut) = std::thread::scope(|scope| {
        let cut = scope.spawn(|| {
            broker
                .wait("the messages", |seen| seen.published.iter().filter(|m| m.topic.contains("task_")).count() == 2);
            broker.cut();
            Instant::now()
        });
        (running.deliver(&failure()), cut.join().unwrap())
    });
    let (message, _) = retry(deliver.unwrap_err());
    assert!(message.contains("the connection was lost") && cut.elapsed() < Duration::from_secs(5), "{message}");
    broker.wait("a new connection with its subscription", |seen| seen.clients.len() == 2 && seen.subscribed.len() == 2);
    // The status comes after what the library would have repeated.
    broker
        .wait("two times the status", |seen| seen.published.iter().filter(|m| m.topic.contains("status")).count() == 2);
    assert_eq!(broker.on("task_").len(), 2);
    assert!(broker.seen().published.iter().all(|message| !message.duplicate));
    {
        let clients = broker.seen().clients.clone();
        assert_eq!(clients[0], clients[1], "the client id stays");
    }
    running.stop();
}

#[test]
fn refusals_of_the_broker_are_told_with_what_helps() {
    for (version, code, part) in [
        ("3.1.1", 5, "`password`"),
        ("3.1.1", 4, "`password`"),
        ("3.1.1", 2, "`clientId`"),
        ("3.1.1", 1, "`version`"),
        ("3.1.1", 3, "ServiceUnavailable"),
        ("5", 0x86, "`password`"),
        ("5", 0x87, "`password`"),
        ("5", 0x85, "`clientId`"),
        ("5", 0x84, "`version`"),
        ("5", 0x88, "ServerUnavailable"),
    ] {
        let broker = Broker::start();
        broker.set(|behaviour| behaviour.connack = code);
        let running = start(&broker, json!({ "version": version, "connectTimeout": "300ms" }));
        wait_unwell(&running, part);
        let (message, _) = retry(running.deliver(&failure()).unwrap_err());
        assert!(message.contains(part) && message.contains(&broker.url()), "{message}");
        let warnings = running.fake.records().iter().filter(|record| record.message.contains(part)).count();
        assert_eq!(warnings, 1, "one line for one change");
        running.stop();
    }
}

#[test]
fn a_broker_that_never_accepts_is_told_apart_from_none() {
    let broker = Broker::start();
    broker.set(|behaviour| behaviour.accepts = false);
    let running = start(&broker, json!({ "connectTimeout": "300ms" }));
    wait_unwell(&running, "although somebody is there");
    let begun = Instant::now();
    retry(running.deliver(&failure()).unwrap_err());
    assert!(begun.elapsed() < Duration::from_secs(5));
    // It comes to its senses.
    broker.set(|behaviour| behaviour.accepts = true);
    running.fake.wait_until("a connection", |_| running.plugin.link.now().is_ok());
    running.deliver(&failure()).unwrap();
    running.stop();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let none = settings(&broker, json!({ "url": format!("mqtt://127.0.0.1:{port}"), "connectTimeout": "300ms" }));
    let running = Running::start(FakeHost::new("mqtt"), none);
    wait_unwell(&running, "does the broker run there");
    running.stop();
}

#[test]
fn reasons_of_mqtt_5_end_a_delivery_or_put_it_off() {
    for qos in [1, 2] {
        let broker = Broker::start();
        let running = start(&broker, json!({ "version": "5", "qos": qos, "metadata": false }));
        for (reason, part, retried) in [
            (0x87, "does not allow", true),
            (0x97, "quota", true),
            (0x80, "does not take", true),
            (0x99, "payload", false),
            (0x90, "topic", false),
        ] {
            broker.set(|behaviour| behaviour.reasons = vec![("_full".to_owned(), reason)]);
            match running.deliver(&failure()).unwrap_err() {
                DeliveryError::Reject { message } => assert!(!retried && message.contains(part), "{message}"),
                error => {
                    let (message, progress) = retry(error);
                    assert!(retried && message.contains(part), "{message}");
                    assert_eq!(progress, Some(json!({ "published": ["0:qliksense/task_failure"] })));
                }
            }
        }
        // Nobody listens: it has arrived all the same.
        broker.set(|behaviour| behaviour.reasons = vec![("task".to_owned(), 0x10)]);
        running.deliver(&failure()).unwrap();
        assert_eq!(broker.seen().clients.len(), 1, "no connection was lost");
        running.stop();
    }
}

#[test]
fn limits_of_the_broker_are_kept() {
    // Maximum packet size 400 bytes, QoS 0 at most, no retain.
    let broker = Broker::start();
    broker.set(|behaviour| behaviour.properties = vec![0x27, 0, 0, 1, 0x90, 0x24, 0, 0x25, 0]);
    let running = start(&broker, json!({ "version": "5", "retain": true, "metadata": false }));
    let error = running.deliver(&failure()).unwrap_err();
    assert!(
        matches!(&error, DeliveryError::Reject { message } if message.contains("too large") && message.contains("400")),
        "{error:?}"
    );
    broker.wait("the short message", |seen| seen.published.iter().any(|m| m.topic == "qliksense/task_failure"));
    let message = broker.on("task_failure").pop().unwrap();
    assert_eq!((message.qos, message.retain), (0, false));
    assert!(running.plugin.link.now().is_ok(), "the connection is not lost for it");
    running.stop();
}

#[test]
fn a_message_that_ends_the_connection_does_not_keep_others_from_theirs() {
    let broker = Broker::start();
    broker.set(|behaviour| behaviour.closes_on = Some("forbidden".to_owned()));
    let running = start(
        &broker,
        json!({ "metadata": false, "topics": [
        { "events": ["preload-task.failed"], "publish": [{ "topic": "forbidden" }] }] }),
    );
    for _ in 0..2 {
        running.fake.wait_until("a connection", |_| running.plugin.link.now().is_ok());
        let ended = running.plugin.link.now().unwrap();
        retry(running.deliver(&sample_delivery("preload-task.failed")).unwrap_err());
        // A message that is handed to the connection while it ends is repeated by the host.
        running
            .fake
            .wait_until("its end", |_| running.plugin.link.now().map_or(true, |now| !Arc::ptr_eq(&now, &ended)));
        running.deliver(&failure()).unwrap();
    }
    // Tried when the host asked, and at no other time.
    assert_eq!(broker.on("forbidden").len(), 2);
    running.stop();
}

#[test]
fn a_megabyte_goes_through() {
    for version in ["3.1.1", "5"] {
        let broker = Broker::start();
        let running = start(&broker, json!({ "version": version, "ackTimeout": "20s", "metadata": false }));
        let mut delivery = failure();
        let text = "x".repeat(1_000_000);
        delivery.event.data.log.as_mut().unwrap().message = text.clone();
        running.deliver(&delivery).unwrap();
        assert!(broker.on("task_failure_full").pop().unwrap().text().contains(&text));
        running.stop();
    }
}

#[test]
fn the_end_is_told_and_no_will_is_left() {
    let broker = Broker::start();
    let running = start(&broker, json!({ "status": { "offline": "gone" } }));
    broker.wait("the status", |seen| !seen.published.is_empty());
    let client = broker.seen().clients[0].clone();
    running.stop();
    broker.wait("DISCONNECT", |seen| seen.disconnects == 1);
    let status = broker.on("qliksense/butler/mqtt/status");
    let texts: Vec<String> = status.iter().map(broker::Published::text).collect();
    let port = broker.url().rsplit_once(':').unwrap().1.to_owned();
    assert_eq!(
        texts,
        [format!("Connected to MQTT broker 127.0.0.1:{port} with client ID {client}"), "gone".to_owned()]
    );
    assert!(status.iter().all(|message| message.retain && message.qos == 1));
    assert!(client.starts_with("mqtt-"), "{client}");
}

#[test]
fn a_stop_is_quick_whatever_the_broker_does() {
    for (accepts, acknowledges) in [(false, true), (true, false)] {
        let broker = Broker::start();
        broker.set(|behaviour| (behaviour.accepts, behaviour.acknowledges) = (accepts, acknowledges));
        let running = start(&broker, json!({ "connectTimeout": "50s", "ackTimeout": "40s" }));
        broker.wait("a client", |seen| !seen.clients.is_empty());
        let begun = Instant::now();
        running.stop();
        assert!(begun.elapsed() < Duration::from_millis(4_800), "{:?}", begun.elapsed());
    }
}

#[test]
fn a_dead_connection_is_found_by_pings() {
    let broker = Broker::start();
    broker.set(|behaviour| behaviour.pongs = false);
    let running = start(&broker, json!({ "keepAlive": "5s" }));
    broker.wait("two clients", |seen| seen.clients.len() == 2);
    assert!(broker.seen().pings >= 1);
    running.stop();
}

#[test]
fn without_a_daemon_a_delivery_has_a_connection_of_its_own() {
    let broker = Broker::start();
    let fake = FakeHost::new("mqtt").store("clientId", json!("butler-1"));
    let plugin: Mqtt =
        block_on(fake.start(settings(&broker, json!({ "metadata": false, "startTask": { "topic": "s" } })))).unwrap();
    let text = block_on(plugin.invoke("check", Value::Null)).unwrap();
    assert!(text.as_str().unwrap().contains("accepts us as butler-1-"), "{text}");
    block_on(plugin.deliver(&failure())).unwrap();
    block_on(plugin.stop());
    broker.wait("DISCONNECT", |seen| seen.disconnects == 2);
    let seen = broker.seen();
    assert!(seen.clients.len() == 2 && seen.clients.iter().all(|id| id.starts_with("butler-1-")), "{:?}", seen.clients);
    assert!(seen.subscribed.is_empty(), "only the daemon listens");
    let topics: Vec<&str> = seen.published.iter().map(|message| message.topic.as_str()).collect();
    assert_eq!(topics, ["qliksense/task_failure", "qliksense/task_failure_full"], "and only it has a status");
}
