//! Active users, from the proxies' messages to MQTT, InfluxDB, REST and metrics: restarts, kills, users who never log out,
//! and all of them at once.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;

use e2e::{Butler, Influxd, Mosquitto, MqttMessage, Subscriber, WallClock, wait_for};
use serde_json::{Value, json};

/// Counted every second, told to a broker and to whatever `more` has.
fn config(broker: Option<&Mosquitto>, settings: &str, more: &str) -> String {
    let mqtt = broker.map_or_else(String::new, |broker| {
        format!(
            "  - use: mqtt\n    on: [{{ events: [active-users.counted] }}]\n    settings: {{ url: \"{}\" }}\n",
            broker.url()
        )
    });
    format!(
        "udp: {{ listen: \"127.0.0.1:0\", sessions: {{ listen: \"127.0.0.1:0\", excludeUsers: ['INTERNAL\\*'] }} }}\nplugins:\n  \
         - use: active-users\n    settings: {{ publishEvery: 1s{settings} }}\n{mqtt}{more}"
    )
}

/// A message in the layout of Butler 5 and 6, to the port of sessions.
fn session(butler: &Butler, command: &str, node: &str, user: &str) {
    let kind = if command.ends_with("session") { "session" } else { "connection" };
    let message = format!("/proxy-{kind}/;{node};{command};LAB;{user};Proxy;AppAccess;{command}; for user");
    butler.send_to(butler.udp_sessions(), &[message]);
}

/// The same in the layout of the versions before.
fn old_session(butler: &Butler, command: &str, node: &str, user: &str) {
    butler.send_to(butler.udp_sessions(), &[format!("{node};{command};LAB;{user}")]);
}

async fn wait_count(butler: &Butler, count: u64) {
    wait_for(&format!("{count} users; log:\n{}", butler.log()), || async {
        let (_, answer) = butler.get("/v4/activeusercount").await;
        (answer == json!({ "response": count })).then_some(())
    })
    .await;
}

/// Waits until exactly these users are there.
async fn wait_users(butler: &Butler, users: &BTreeSet<String>) {
    wait_for(&format!("{users:?}; log:\n{}", butler.log()), || async {
        let (_, page) = butler.get("/v5/active-users?limit=1000").await;
        let names: BTreeSet<&str> = page["users"].as_array()?.iter().filter_map(|user| user["user"].as_str()).collect();
        names.iter().eq(users).then_some(())
    })
    .await;
}

/// Waits until the last message on a topic says this.
async fn wait_last(subscriber: &Subscriber, topic: &str, payload: &str) -> MqttMessage {
    wait_for(&format!("{payload} on {topic}: {:?}", subscriber.messages()), || async {
        let messages = subscriber.messages();
        messages.into_iter().rev().find(|m| m.topic == topic).filter(|last| last.payload == payload)
    })
    .await
}

/// The counts that were told, oldest first.
async fn told(butler: &Butler) -> Vec<Value> {
    let (_, answer) = butler.get("/v5/events?kind=active-users.counted&limit=500").await;
    let mut events = answer["events"].as_array().cloned().unwrap_or_default();
    let number = |event: &Value| event["id"].as_str().and_then(|id| id.rsplit('-').next()?.parse::<u64>().ok());
    events.sort_by_key(number);
    events.into_iter().map(|event| event["data"]["activeUsers"].clone()).collect()
}

#[tokio::test]
async fn topics_points_metrics_and_answers_say_who_is_there() {
    let (broker, influx) = (Mosquitto::start().await, Influxd::start().await);
    let subscriber = broker.subscribe("qliksense/users/#").await;
    let (url, user, password) = (influx.url(), Influxd::USER, Influxd::PASSWORD);
    let more = format!(
        "  - use: influxdb\n    on: [{{ events: [active-users.counted] }}]\n    settings: {{ url: \"{url}\", version: 1, \
         username: {user}, password: {password}, flush: {{ interval: 20ms }} }}\n"
    );
    let butler = Butler::start(&config(Some(&broker), "", &more)).await;
    wait_last(&subscriber, "qliksense/users/active/count", "0").await;
    wait_last(&subscriber, "qliksense/users/active/usernames", "[]").await;

    session(&butler, "Start session", "n1", "ann");
    // Of two datagrams from two sockets either may be the first, and the name is that of the first.
    wait_count(&butler, 1).await;
    session(&butler, "Open connection", "n1", "ann");
    old_session(&butler, "Start session", "n2", "Ann");
    old_session(&butler, "Open connection", "n/2", "bo");
    butler.send_to(
        butler.udp_sessions(),
        &["/proxy-session/;n1;Start session;OTHER;ann;;;", "n1;Start session;INTERNAL;sa_api"],
    );
    wait_last(&subscriber, "qliksense/users/active/count", "3").await;
    let names = wait_last(&subscriber, "qliksense/users/active/usernames", r#"["ann","bo","ann"]"#).await;
    assert!(names.qos == 1 && !names.retained, "{names:?}");
    for (node, count) in [("n1", "2"), ("n2", "1"), ("n_2", "1")] {
        wait_last(&subscriber, &format!("qliksense/users/activeperserver/{node}/count"), count).await;
    }
    assert_eq!(butler.get("/v4/activeusers").await, (200, json!({ "response": r#"["ann","bo","ann"]"# })));
    let (status, page) = butler.get("/v5/active-users?limit=1").await;
    let nodes: Vec<&str> =
        page["users"][0]["nodes"].as_array().unwrap().iter().filter_map(|it| it["node"].as_str()).collect();
    assert_eq!((status, &page["count"], &page["users"][0]["user"]), (200, &json!(3), &json!(r"LAB\ann")), "{page}");
    assert_eq!(nodes, ["n1", "n2"]);
    let (_, rest) =
        butler.get(&format!("/v5/active-users?after={}", page["next"].as_str().unwrap().replace('\\', "%5C"))).await;
    assert_eq!(rest["users"].as_array().map(Vec::len), Some(2), "{rest}");

    // One of two nodes, then the other; the end of a connection is none of its user.
    session(&butler, "Stop session", "n1", "ann");
    session(&butler, "Close connection", "n/2", "bo");
    wait_last(&subscriber, "qliksense/users/activeperserver/n1/count", "1").await;
    wait_last(&subscriber, "qliksense/users/active/count", "3").await;
    old_session(&butler, "Stop session", "n2", "ann");
    wait_last(&subscriber, "qliksense/users/active/count", "2").await;
    wait_last(&subscriber, "qliksense/users/activeperserver/n2/count", "0").await;
    butler.wait_metric("butler_plugin_active_users_users{instance=\"active-users\"}", 2.0).await;
    butler.wait_metric("butler_plugin_active_users_node_users{instance=\"active-users\",node=\"n2\"}", 0.0).await;

    let last = wait_for("the last points", || async {
        let points = influx.points("butler", "active_users_by_node").await;
        points.iter().any(|point| point["host"] == "n2" && point["count"] == 0).then_some(points)
    })
    .await;
    let hosts: BTreeSet<&str> = last.iter().filter_map(|point| point["host"].as_str()).collect();
    assert_eq!(hosts, BTreeSet::from(["n1", "n/2", "n2"]), "{last:?}");
    let all = influx.points("butler", "active_users").await;
    assert_eq!(all.last().unwrap()["count"], 2, "{all:?}");
    assert!(all.iter().any(|point| point["count"] == 3) && all.iter().all(|point| point["host"].is_null()), "{all:?}");
    let types = influx.ask("butler", "show field keys").await.to_string();
    assert!(types.contains("float") && !types.contains("integer"), "{types}");
    assert!(butler.deliveries("state=dead").await.is_empty());
    let (_, events) = butler.get("/v5/events?kind=user-*&limit=100").await;
    assert!(!events.to_string().contains("sa_api"), "excluded users leave nothing");
}

#[tokio::test]
async fn users_are_still_there_after_a_restart_and_after_kills_and_none_is_told_twice_for_it() {
    let mut butler = Butler::start(&config(None, "", "")).await;
    let mut there = BTreeSet::new();
    for number in 0..40 {
        session(&butler, "Start session", if number % 2 == 0 { "n1" } else { "n2" }, &format!("u{number}"));
        there.insert(format!("LAB\\u{number}"));
    }
    for round in 0..3 {
        for number in 0..5 {
            let (comes, goes) = (format!("r{round}-{number}"), format!("u{}", round * 10 + number * 2));
            session(&butler, "Start session", "n1", &comes);
            session(&butler, "Stop session", "n1", &goes);
            there.insert(format!("LAB\\{comes}"));
            there.remove(&format!("LAB\\{goes}"));
        }
        // In the middle of it: what has been accepted may be counted before or after the kill, and once.
        butler.wait_metric("butler_udp_processed_total", if round == 0 { 50.0 } else { 10.0 }).await;
        butler = butler.kill_and_start().await;
        wait_users(&butler, &there).await;
    }
    let until_told = async |butler: &Butler, users: &BTreeSet<String>| {
        wait_for(&format!("{users:?} to be told"), || async {
            let all = told(butler).await;
            all.last().is_some_and(|last| last["users"] == json!(users)).then_some(all)
        })
        .await
    };
    let before = until_told(&butler, &there).await;
    butler = butler.kill_and_start().await;
    wait_users(&butler, &there).await;
    session(&butler, "Start session", "n1", "zoe");
    there.insert("LAB\\zoe".to_owned());
    let after = until_told(&butler, &there).await;
    let last = &before[before.len() - 1];
    assert_eq!(last["nodes"], json!({ "n1": 20, "n2": 20 }));
    assert_eq!(after[..before.len()], before);
    // A restart tells it once more, or not at all if the kill came before that was noted.
    let between = &after[before.len()..after.len() - 1];
    assert!(between.len() <= 1 && between.iter().all(|counted| counted == last), "{between:?}");
}

#[tokio::test]
async fn who_never_logs_out_is_there_no_more_after_a_while() {
    let clock = WallClock::right();
    let butler = Butler::start_with(&config(None, ", expireAfter: 2h", ""), &clock.environment()).await;
    session(&butler, "Start session", "n1", "ann");
    session(&butler, "Start session", "n2", "bo");
    wait_count(&butler, 2).await;
    clock.set(90 * 60);
    // A sign of life of one of them.
    session(&butler, "Close connection", "n2", "bo");
    butler.wait_metric("butler_udp_processed_total", 3.0).await;
    wait_count(&butler, 2).await;
    clock.set(3 * 3600);
    wait_count(&butler, 1).await;
    let expected = json!({ "count": 1, "users": [r"LAB\bo"], "nodes": { "n1": 0, "n2": 1 } });
    wait_for("it to be told", || async { (told(&butler).await.last() == Some(&expected)).then_some(()) }).await;
    // And after a restart, from what is stored.
    let butler = butler.kill_and_start().await;
    wait_count(&butler, 1).await;
    clock.set(4 * 3600);
    wait_count(&butler, 0).await;
}

#[tokio::test]
async fn thousands_who_come_at_once_are_told_in_a_few_events() {
    const USERS: usize = 5_000;
    let broker = Mosquitto::start().await;
    let subscriber = broker.subscribe("qliksense/users/#").await;
    let butler = Butler::start(&config(Some(&broker), "", "")).await;
    wait_last(&subscriber, "qliksense/users/active/count", "0").await;
    let message = |number: usize| format!("n{};Start session;LAB;u{number}", number % 4);
    let all: Vec<String> = (0..USERS).map(message).collect();
    for some in all.chunks(500) {
        butler.send_to(butler.udp_sessions(), some);
        wait_for("the buffer to be read", || async {
            (butler.metric("butler_udp_buffered").await.unwrap_or_default() < 1.0).then_some(())
        })
        .await;
    }
    wait_count(&butler, USERS as u64).await;
    wait_last(&subscriber, "qliksense/users/active/count", &USERS.to_string()).await;
    for node in 0..4 {
        wait_last(&subscriber, &format!("qliksense/users/activeperserver/n{node}/count"), &(USERS / 4).to_string())
            .await;
    }
    let all = |m: &MqttMessage| m.topic.ends_with("usernames") && m.json().as_array().map(Vec::len) == Some(USERS);
    subscriber.wait_that("all names", all).await;
    let events = told(&butler).await;
    assert!(events.len() < 40, "{} events for {USERS} logins", events.len());
    assert_eq!(butler.metric("butler_plugin_active_users_users{instance=\"active-users\"}").await, Some(5_000.0));
}

#[tokio::test]
async fn topics_of_ones_own() {
    let broker = Mosquitto::start().await;
    let subscriber = broker.subscribe("site/#").await;
    let mqtt = format!(
        "  - use: mqtt\n    on: [{{ events: [active-users.counted] }}]\n    settings:\n      url: \"{}\"\n      retain: true\n      \
         topics:\n        - events: [active-users.counted]\n          publish:\n            - {{ topic: site/users, payload: \
         userCount }}\n            - {{ topic: site/ids, payload: userIds, retain: false }}\n            - {{ topic: \
         \"site/{{{{activeNode}}}}/users\", payload: userCountByNode }}\n            - {{ topic: site/first, text: \
         \"{{{{activeUsers.users.[0]}}}}\" }}\n",
        broker.url()
    );
    let butler = Butler::start(&config(None, "", &mqtt)).await;
    session(&butler, "Start session", "n 1/a", "ann");
    wait_last(&subscriber, "site/users", "1").await;
    wait_last(&subscriber, "site/ids", r#"["ann"]"#).await;
    wait_last(&subscriber, "site/n 1_a/users", "1").await;
    wait_last(&subscriber, "site/first", r"LAB\ann").await;
    let later = broker.subscribe("site/#").await;
    assert!(later.wait("site/users").await.retained);
    assert!(later.wait("site/n 1_a/users").await.retained);
}
