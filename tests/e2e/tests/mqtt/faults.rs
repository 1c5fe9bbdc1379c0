//! Brokers and daemons that go away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use e2e::{Butler, Mosquitto, Sink, failure, fields, wait_for};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{config, instance, wait_health};

/// Each run of a task has a topic of its own, which the broker keeps: whoever comes late gets it too.
pub(super) const EACH: &str = "      retain: true\n      topics:\n        - events: [\"*-task.*\"]\n          publish:\n            - \
                    { topic: \"t/{{execution.id}}\", payload: name }\n";

#[tokio::test]
async fn a_broker_that_is_killed_under_load_gets_everything() {
    let mut broker = Mosquitto::start().await;
    let butler = Butler::start(&config(&broker, EACH)).await;
    killed_under_load(&mut broker, &butler).await;
}

/// 700 failures, each a message below `t`; the broker is killed and started again while they come.
pub(super) async fn killed_under_load(broker: &mut Mosquitto, butler: &Butler) {
    let subscriber = broker.subscribe("t/#").await;
    let mut ids = Vec::new();
    let mut send = |count: usize| {
        for _ in 0..count {
            let fields = fields();
            ids.push(format!("t/{}", fields.execution_id));
            butler.send(&[failure(&fields)]);
        }
    };
    send(300);
    wait_for("some messages", || async { (subscriber.messages().len() >= 20).then_some(()) }).await;
    broker.kill();
    send(300);
    wait_health(butler, "mqtt", "cannot be reached").await;
    // What the broker had acknowledged and not yet passed on died with it: it keeps nothing on disk.
    let mut acknowledged = BTreeSet::new();
    for delivery in butler.deliveries("state=delivered&instance=mqtt&limit=500").await {
        let event = butler.event(delivery["event"].as_str().unwrap()).await;
        // There is also that the UDP socket listens.
        acknowledged.extend(event["data"]["execution"]["id"].as_str().map(|id| format!("t/{id}")));
    }
    assert!(acknowledged.len() <= 300, "nothing can have arrived since");
    broker.restart().await;
    send(100);
    // The broker keeps the last message of each topic: the first subscriber need not have come back.
    let late = broker.subscribe("t/#").await;
    wait_for("all messages", || async {
        let messages = subscriber.messages().into_iter().chain(late.messages());
        let got: BTreeSet<String> = messages.map(|message| message.topic).collect();
        ids.iter().all(|id| got.contains(id) || acknowledged.contains(id)).then_some(())
    })
    .await;
    // What the broker had acknowledged before is not repeated: only what was under way may come twice.
    let mut counts = BTreeMap::<String, usize>::new();
    subscriber.messages().into_iter().for_each(|message| *counts.entry(message.topic).or_default() += 1);
    let twice = counts.values().filter(|count| **count > 1).count();
    assert!(twice <= 300 && counts.values().all(|count| *count <= 2), "{twice} twice");
    let known: Vec<&String> = counts.keys().filter(|topic| !ids.contains(topic)).collect();
    assert!(known.is_empty());
    wait_for("good health", || async {
        let (_, answer) = butler.get("/v5/plugins").await;
        (!answer.to_string().contains("cannot be reached")).then_some(())
    })
    .await;
    let lines = butler.log().lines().filter(|line| line.contains("what is to be published waits")).count();
    assert!(lines <= 3, "a line for each change, not for each attempt:\n{}", butler.log());
}

#[tokio::test]
async fn a_broker_with_a_small_window_gets_all_of_a_burst_with_qos_2() {
    for version in ["3.1.1", "5"] {
        let broker = Mosquitto::with_default_limits().await;
        let more = format!("      version: \"{version}\"\n      qos: 2\n{EACH}");
        let butler = Butler::start(&config(&broker, &more)).await;
        let status = broker.subscribe("qliksense/butler/mqtt/status").await;
        status.wait("mqtt/status").await;
        // What is sent until it goes on comes at a time.
        broker.hold(true);
        let ids: Vec<String> = (0..300)
            .map(|_| {
                let fields = fields();
                butler.send(&[failure(&fields)]);
                format!("t/{}", fields.execution_id)
            })
            .collect();
        wait_for("all to be under way", || async {
            (butler.deliveries("instance=mqtt&limit=500").await.len() >= 300).then_some(())
        })
        .await;
        broker.hold(false);
        wait_for("all to be delivered", || async {
            (butler.deliveries("state=delivered&instance=mqtt&limit=500").await.len() >= 300).then_some(())
        })
        .await;
        // The broker keeps each of them.
        let subscriber = broker.subscribe("t/#").await;
        wait_for("all messages", || async {
            let got: BTreeSet<String> = subscriber.messages().into_iter().map(|m| m.topic).collect();
            ids.iter().all(|id| got.contains(id)).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_daemon_that_dies_while_the_broker_is_away_publishes_later() {
    let mut broker = Mosquitto::start().await;
    let butler = Butler::start(&config(&broker, EACH)).await;
    broker.kill();
    let fields = fields();
    butler.send(&[failure(&fields)]);
    wait_for("a failed attempt", || async {
        butler.deliveries("instance=mqtt").await.into_iter().find(|delivery| delivery["error"].is_string())
    })
    .await;
    let killed = butler.kill();
    broker.restart().await;
    let subscriber = broker.subscribe("t/#").await;
    let butler = killed.start().await;
    subscriber.wait(&fields.execution_id).await;
    butler.wait_delivery("delivered", "mqtt").await;
}

#[tokio::test]
async fn the_last_will_tells_that_butler_was_killed() {
    let broker = Mosquitto::start().await;
    let subscriber = broker.subscribe("qliksense/butler/mqtt/status").await;
    let butler = Butler::start(&config(&broker, "      status: { offline: \"Butler is gone\" }\n")).await;
    subscriber.wait_that("the status", |message| message.payload.starts_with("Connected")).await;
    let id = |text: &str| text.rsplit_once(' ').map(|(_, id)| id.to_owned());
    let first = id(&subscriber.messages()[0].payload);
    let killed = butler.kill();
    subscriber.wait_that("the last will", |message| message.payload == "Butler is gone").await;
    let _butler = killed.start().await;
    wait_for("the status again", || async { (subscriber.messages().len() == 3).then_some(()) }).await;
    assert_eq!(id(&subscriber.messages()[2].payload), first, "the client id stays over a restart");
}

/// Accepts connections and nothing else.
async fn mute() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(&[0x20, 2, 0, 0]).await;
                while stream.read(&mut buffer).await.is_ok_and(|bytes| bytes > 0) {}
            });
        }
    });
    port
}

#[tokio::test]
async fn a_broker_that_acknowledges_nothing_delays_nobody_else() {
    let (broker, sink) = (Mosquitto::start().await, Sink::start().await);
    let subscriber = broker.subscribe("t/#").await;
    let port = mute().await;
    let good = instance("good", &broker.url(), "", EACH);
    let mut both = instance("mute", &format!("mqtt://127.0.0.1:{port}"), "", "      ackTimeout: 1s\n");
    both.push_str(good.trim_start_matches("plugins:\n"));
    let healthy = format!("  - use: webhook\n    settings: {{ url: {} }}\n", sink.url("/"));
    both.push_str(&healthy);
    let butler = Butler::start(&both).await;
    for _ in 0..100 {
        butler.send(&[failure(&fields())]);
    }
    wait_for("all at the good broker", || async { (subscriber.messages().len() == 100).then_some(()) }).await;
    sink.wait(100).await;
    let health = wait_health(&butler, "mute", "acknowledges nothing").await;
    assert!(health.contains(&port.to_string()), "{health}");
    assert!(butler.deliveries("state=delivered&instance=mute").await.is_empty());
    let begun = std::time::Instant::now();
    butler.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(15));
}
