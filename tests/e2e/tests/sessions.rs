//! Sessions and connections of users, from the proxy's log to a destination.

use e2e::{Butler, Fields, Sense, Sink, datagram, failure, fields, wait_for};
use serde_json::{Value, json};

/// A webhook that gets whole events of users.
fn config(sink: &Sink, more: &str) -> String {
    format!(
        "{more}\nplugins:\n  - use: webhook\n    on: [{{ events: [\"user-session.*\", \"user-connection.*\"] }}]\n    \
         settings: {{ url: {}, format: event }}\n",
        sink.url("/")
    )
}

/// What was told so far, once it is so much: kind, user and node, in the order of the events.
async fn told(sink: &Sink, count: usize) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut events: Vec<Value> = sink.wait(count).await.iter().map(e2e::Received::json).collect();
    events.sort_by_key(|event| text(&event["id"]).rsplit_once('-').and_then(|(_, seq)| seq.parse::<u64>().ok()));
    events.iter().map(|it| (text(&it["kind"]), text(&it["data"]["user"]), text(&it["data"]["node"]))).collect()
}

fn user(user: &str) -> Fields {
    Fields { user: user.to_owned(), node: "n1".to_owned(), ..fields() }
}

#[tokio::test]
async fn every_layout_is_told_on_either_port_and_qlik_sense_is_not_asked() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let udp = "udp: { listen: \"127.0.0.1:0\", sessions: { listen: \"127.0.0.1:0\" } }";
    let butler = sense.butler(&config(&sink, udp)).await;
    assert_ne!(butler.udp(), butler.udp_sessions());

    butler.send(&[r"/proxy-session/;n1;Start session;DIR;joe;Proxy;ctx;text;with;semicolons"]);
    let event = sink.wait(1).await[0].json();
    assert_eq!(event["kind"], "user-session.started");
    let expected = json!({
        "node": "n1", "user": "DIR\\joe", "message": "text;with;semicolons",
        "session": { "origin": "Proxy", "context": "ctx" }
    });
    assert_eq!(event["data"], expected);

    butler.send_to(butler.udp_sessions(), &["n1;STOP session;DIR;joe"]);
    sink.wait(2).await;
    // Two connections of one user are alike to the last byte, and two all the same.
    let opened = datagram("user-connection.opened", &user(r"DIR\joe"));
    butler.send_to(butler.udp_sessions(), &[&opened, &opened]);
    sink.wait(4).await;
    butler.send(&[datagram("user-connection.closed", &user(r"DIR\joe"))]);
    let kinds: Vec<String> = told(&sink, 5).await.into_iter().map(|(kind, ..)| kind).collect();
    assert_eq!(
        kinds,
        [
            "user-session.started",
            "user-session.stopped",
            "user-connection.opened",
            "user-connection.opened",
            "user-connection.closed"
        ]
    );
    assert_eq!(butler.metric("butler_udp_duplicates_total").await, Some(0.0));
    assert_eq!(sense.counts().requests, 0, "there is nothing about a session that Qlik Sense could add");
    let (_, listening) = butler.get("/v5/events?kind=udp.listening").await;
    assert_eq!(listening["events"].as_array().map(Vec::len), Some(2), "{listening}");

    // Either port takes everything.
    butler.send_to(butler.udp_sessions(), &[failure(&sense.failed(e2e::qlik::Site::SAMPLE_RELOAD_TASK))]);
    butler.wait_routed(e2e::qlik::Site::SAMPLE_RELOAD_TASK, "reload-task.failed").await;
}

#[tokio::test]
async fn excluded_users_are_counted_and_leave_nothing_in_the_store() {
    let sink = Sink::start().await;
    let udp = r"udp: { listen: '127.0.0.1:0', sessions: { excludeUsers: ['internal\*', 'LAB\Monitor'] } }";
    let butler = Butler::start(&config(&sink, udp)).await;
    let excluded = [r"INTERNAL\sa_api", r"lab\monitor", r"Internal\sa_proxy"];
    butler.send(&excluded.map(|name| datagram("user-session.started", &user(name))));
    butler.send(&[datagram("user-connection.opened", &user(r"LAB\MONITOR")), r"n1;Stop session;INTERNAL;x".to_owned()]);
    butler.send(&[datagram("user-session.started", &user(r"LAB\monitoring"))]);
    assert_eq!(
        told(&sink, 1).await,
        [("user-session.started".to_owned(), r"LAB\monitoring".to_owned(), "n1".to_owned())]
    );
    butler.wait_metric("butler_udp_excluded_total", 5.0).await;
    let (_, events) = butler.get("/v5/events?kind=user-*").await;
    assert_eq!(events["events"].as_array().map(Vec::len), Some(1), "{events}");
    assert_eq!(butler.metric("butler_udp_queued_total").await, Some(6.0));
    assert_eq!(butler.metric("butler_udp_processed_total").await, Some(1.0));

    // The list is about sessions: a failed task of such a user is told.
    let failed = Fields { user: r"INTERNAL\sa_scheduler".to_owned(), ..fields() };
    butler.send(&[failure(&failed)]);
    butler.wait_routed(&failed.task_id, "reload-task.failed").await;
}

#[tokio::test]
async fn the_second_port_is_guarded_as_the_first_and_counts_with_it() {
    let sink = Sink::start().await;
    let udp = "udp: { listen: \"127.0.0.1:0\", allowFrom: [127.0.0.1], maxSize: 100B, maxPerMinute: 3, \
               sessions: { listen: \"127.0.0.1:0\" } }";
    let butler = Butler::start(&config(&sink, udp)).await;
    let foreign = std::net::UdpSocket::bind("127.0.0.2:0").expect("all of 127.0.0.0/8 is this machine");
    foreign.send_to(b"n1;Start session;LAB;mallory", butler.udp_sessions()).expect("loopback takes datagrams");
    butler.wait_metric("butler_udp_dropped_total{reason=\"source\"}", 1.0).await;
    let long = format!("n1;Start session;LAB;{}", "x".repeat(100));
    butler.send_to(butler.udp_sessions(), &[&long]);
    butler.wait_metric("butler_udp_dropped_total{reason=\"size\"}", 1.0).await;
    butler.send_to(butler.udp_sessions(), &["/proxy-session/;n1;Renew session;LAB;ann"]);
    butler.wait_metric("butler_udp_rejected_total{reason=\"unknown-command\"}", 1.0).await;
    butler.send_to(butler.udp_sessions(), &["n1;Start session;LAB;ann"; 5]);
    butler.wait_metric("butler_udp_dropped_total{reason=\"rate-limit\"}", 3.0).await;
    // The flood has not used up what the other port may take.
    butler.send(&["n1;Start session;LAB;bob"]);
    let users: Vec<String> = told(&sink, 3).await.into_iter().map(|(_, user, _)| user).collect();
    assert_eq!(users, [r"LAB\ann", r"LAB\ann", r"LAB\bob"]);
    assert_eq!(butler.metric("butler_udp_received_total").await, Some(8.0));
}

#[tokio::test]
async fn a_taken_second_port_ends_the_start_with_its_name() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = taken.local_addr().expect("a bound socket has an address");
    let folder = tempfile::TempDir::new().expect("a folder can be made");
    let config = format!(
        "udp: {{ listen: \"127.0.0.1:0\", sessions: {{ listen: \"{address}\" }} }}\nplugins: [{{ use: console }}]\n"
    );
    let path = Butler::prepare(&folder, &config);
    let path = path.to_str().expect("the path is a text").to_owned();
    let output = tokio::task::spawn_blocking(move || e2e::run(&["run", "-c", &path])).await.expect("it can be run");
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains("`udp.sessions.listen`") && output.stderr.contains("another"), "{output:?}");
}

#[tokio::test]
async fn sessions_are_no_alerts_by_default() {
    let sink = Sink::start().await;
    let butler = Butler::start(&format!(
        "plugins:\n  - use: webhook\n    settings: {{ url: {}, format: event }}\n",
        sink.url("/")
    ))
    .await;
    butler.send(&[datagram("user-session.started", &user(r"LAB\ann"))]);
    butler.wait_metric("butler_udp_processed_total", 1.0).await;
    wait_for("it is routed", || async {
        let (_, answer) = butler.get("/v5/events?kind=user-session.started").await;
        (answer["events"][0]["state"] == "routed").then_some(())
    })
    .await;
    let (_, answer) = butler.get("/v5/events?kind=user-session.started").await;
    let event = butler.event(answer["events"][0]["id"].as_str().unwrap_or_default()).await;
    assert_eq!(event["deliveries"], json!([]));
}
