//! What comes in by UDP: rubbish, near misses, duplicates, strangers and bursts.

use std::collections::BTreeSet;
use std::net::UdpSocket;

use e2e::{Butler, Fields, Sink, datagram, failure, fields, wait_for};
use serde_json::{Value, json};

/// A webhook with the original's fields, which gets everything about tasks.
fn config(sink: &Sink, more: &str) -> String {
    format!(
        "{more}\nplugins:\n  - use: webhook\n    on: [{{ events: [\"*.failed\", \"*.aborted\", \"*.succeeded\"] }}]\n    settings: {{ url: {} }}\n",
        sink.url("/")
    )
}

/// The alert about this run.
async fn alert(sink: &Sink, task: &Fields) -> Value {
    sink.wait_where("the alert", |request| request.json()["taskId"] == task.task_id.as_str()).await.json()
}

#[tokio::test]
async fn datagrams_that_are_no_events_are_counted_by_reason_and_harm_nobody() {
    let sink = Sink::start().await;
    let butler = Butler::start(&config(&sink, "")).await;
    let good = failure(&fields());
    let with = |at: usize, value: &str| {
        let mut parts: Vec<&str> = good.split(';').collect();
        parts[at] = value;
        parts.join(";")
    };
    let too_few = good.rsplit_once(';').expect("a message has fields").0.to_owned();
    let no_pair = with(5, "x;y").replace(',', ";");
    let rubbish = [
        ("empty", String::new()),
        ("empty", " \r\n\0".to_owned()),
        ("unknown-type", "hello".to_owned()),
        ("unknown-type", with(0, "/scheduler-moon-failed/")),
        ("unknown-type", "x".repeat(60_000)),
        ("unknown-type", ";".repeat(60_000)),
        ("too-few-fields", too_few),
        ("too-few-fields", "/engine-reload-failed/;h;a".to_owned()),
        ("no-task-id", with(5, "")),
        ("no-task-id", with(5, "(null)")),
        ("bad-task-id", with(5, "not-a-guid")),
        ("bad-app-id", with(6, "x")),
        ("no-id-pair", no_pair),
    ];
    butler.send(&rubbish.iter().map(|(_, message)| message).collect::<Vec<_>>());
    #[allow(clippy::cast_precision_loss, reason = "the numbers are small")]
    for reason in rubbish.iter().map(|(reason, _)| reason).collect::<BTreeSet<_>>() {
        let count = rubbish.iter().filter(|(other, _)| other == reason).count();
        butler.wait_metric(&format!("butler_udp_rejected_total{{reason=\"{reason}\"}}"), count as f64).await;
    }
    butler.send(&[good]);
    sink.wait(1).await;
    assert_eq!(butler.metric("butler_udp_processed_total").await, Some(1.0));
    assert_eq!(sink.received().len(), 1);
}

#[tokio::test]
async fn random_bytes_harm_nobody() {
    let sink = Sink::start().await;
    let butler = Butler::start(&config(&sink, "")).await;
    // A plain generator with a fixed seed: every run sends the same.
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let good = failure(&fields()).into_bytes();
    for round in 0..10_u32 {
        let messages: Vec<Vec<u8>> = (0..50)
            .map(|n| {
                let length = usize::try_from(next() % 700).unwrap_or_default();
                let bytes = std::iter::repeat_with(|| next().to_le_bytes()).flatten();
                let mut bytes: Vec<u8> = bytes.take(length).collect();
                if n % 2 == 0 {
                    // A message whose type is right and whose fields are not.
                    bytes.splice(0..0, b"/scheduler-task-failed/;;;".iter().copied());
                }
                bytes
            })
            .collect();
        butler.send(&messages);
        butler.wait_metric("butler_udp_received_total", f64::from((round + 1) * 50)).await;
    }
    butler.send(&[good]);
    sink.wait(1).await;
    let (status, _) = butler.get("/v5/health/live").await;
    assert_eq!((status, sink.received().len()), (200, 1));
}

#[tokio::test]
async fn a_flood_of_rubbish_is_logged_once_for_each_reason() {
    let sink = Sink::start().await;
    let butler = Butler::start(&config(&sink, "")).await;
    butler.send(&["hello"; 50]);
    butler.send(&["/scheduler-task-failed/;too;few"; 50]);
    butler.wait_metric("butler_udp_rejected_total{reason=\"unknown-type\"}", 50.0).await;
    butler.wait_metric("butler_udp_rejected_total{reason=\"too-few-fields\"}", 50.0).await;
    let (_, log) = butler.stop().await;
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("a datagram is no event")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(
        lines.iter().any(|line| line.contains("unknown-type"))
            && lines.iter().any(|line| line.contains("too-few-fields"))
    );
    assert!(lines.iter().all(|line| line.contains("127.0.0.1")), "who sent it is said: {log}");
}

#[tokio::test]
async fn a_datagram_may_be_long_and_a_too_long_one_is_counted() {
    let sink = Sink::start().await;
    let butler = Butler::start(&config(&sink, "")).await;
    let long = Fields { message: Some("long ".repeat(12_000)), ..fields() };
    butler.send(&[failure(&long)]);
    let told = alert(&sink, &long).await;
    let message = told["logMessage"].as_str().unwrap_or_default();
    assert!(message.starts_with("long long") && message.len() >= 8_000 && message.len() <= 8_192, "{}", message.len());
    drop(butler);

    let sink = Sink::start().await;
    let udp = "udp: { listen: \"127.0.0.1:0\", maxSize: 1kB }";
    let butler = Butler::start(&config(&sink, udp)).await;
    let exact = Fields { message: Some(String::new()), ..fields() };
    let room = 1024 - failure(&exact).len();
    let exact = Fields { message: Some("x".repeat(room)), ..exact };
    let longer =
        Fields { message: Some("x".repeat(room + 1)), ..Fields { task_id: fields().task_id, ..exact.clone() } };
    butler.send(&[failure(&longer), failure(&exact)]);
    alert(&sink, &exact).await;
    butler.wait_metric("butler_udp_dropped_total{reason=\"size\"}", 1.0).await;
    assert_eq!(butler.metric("butler_udp_received_total").await, Some(2.0));
    assert_eq!(sink.received().len(), 1);
}

#[tokio::test]
async fn messages_that_bend_the_rules_are_understood() {
    let sink = Sink::start().await;
    let butler = Butler::start(&config(&sink, "")).await;

    let slashes = fields();
    let message = datagram("reload-task.succeeded", &slashes);
    butler.send(&[message.replace("/scheduler-task-success/", "/Scheduler-TASK-success//")]);
    assert_eq!(alert(&sink, &slashes).await["event"], "Qlik Sense reload task succeeded");

    let names = Fields {
        task_name: "Load; north".to_owned(),
        app_name: "Sales; north; \"EU\"".to_owned(),
        user: r"LAB\ann".to_owned(),
        message: Some("Max; retries;reached".to_owned()),
        ..fields()
    };
    butler.send(&[failure(&names)]);
    let told = alert(&sink, &names).await;
    let joined = format!("{};{}", told["taskName"].as_str().unwrap_or("?"), told["appName"].as_str().unwrap_or("?"));
    assert_eq!(joined, "Load; north;Sales; north; \"EU\"", "{told}");
    assert_eq!((&told["user"], &told["logMessage"]), (&json!(r"LAB\ann"), &json!("Max; retries;reached")));
    assert_eq!((&told["appId"], &told["executionId"]), (&json!(names.app_id), &json!(names.execution_id)));

    let nothing = Fields {
        app_name: "(null)".to_owned(),
        user: "(null)".to_owned(),
        app_id: "(null)".to_owned(),
        execution_id: "(null)".to_owned(),
        message: Some("(null)".to_owned()),
        ..fields()
    };
    butler.send(&[failure(&nothing)]);
    let told = alert(&sink, &nothing).await;
    for name in ["appName", "user", "appId", "executionId", "logMessage"] {
        assert_eq!(told[name], Value::Null, "{name}: {told}");
    }
    assert_eq!(told["taskName"], nothing.task_name);

    let control = Fields { task_name: "Lo\u{7}ad".to_owned(), message: Some("one\r\ntwo".to_owned()), ..fields() };
    butler.send(&[failure(&control)]);
    let told = alert(&sink, &control).await;
    assert_eq!((&told["taskName"], &told["logMessage"]), (&json!("Lo ad"), &json!("one two")));

    // Butler before 11 had messages without a type.
    let old = fields();
    let message = failure(&old);
    butler.send(&[message.strip_prefix("/scheduler-task-failed/;").expect("the sample begins with its type")]);
    assert_eq!(alert(&sink, &old).await["event"], "Qlik Sense reload failed");
    assert_eq!(sink.received().len(), 5);
}

#[tokio::test]
async fn duplicates_are_counted_and_told_once() {
    let sink = Sink::start().await;
    let butler = Butler::start(&config(&sink, "")).await;
    let run = fields();
    let message = failure(&run);
    let upper = Fields { execution_id: run.execution_id.to_uppercase(), ..run.clone() };
    butler.send(&[&message, &message, &failure(&upper)]);
    butler.wait_metric("butler_udp_duplicates_total", 2.0).await;
    // Another outcome of the same run is another event; the same one after a restart is still known.
    butler.send(&[datagram("reload-task.aborted", &run)]);
    // Settled in the store, so that the kill repeats nothing.
    wait_for("two settled deliveries", || async {
        (butler.deliveries("state=delivered").await.len() == 2).then_some(())
    })
    .await;
    let butler = butler.kill_and_start().await;
    butler.send(&[&message]);
    butler.wait_metric("butler_udp_duplicates_total", 1.0).await;

    // Messages without an execution id are of one run if they come together.
    let unnamed = Fields { execution_id: String::new(), ..fields() };
    butler.send(&[failure(&unnamed), failure(&unnamed)]);
    butler.wait_metric("butler_udp_duplicates_total", 2.0).await;
    alert(&sink, &unnamed).await;
    let (_, events) = butler.get("/v5/events?kind=reload-task.*").await;
    assert_eq!(events["events"].as_array().map(Vec::len), Some(3), "{events}");
    assert_eq!(sink.received().len(), 3);
}

#[tokio::test]
async fn who_is_not_allowed_to_send_is_counted_and_not_heard() {
    let sink = Sink::start().await;
    let udp = "udp: { listen: \"127.0.0.1:0\", allowFrom: [127.0.0.2] }";
    let butler = Butler::start(&config(&sink, udp)).await;
    let foreign = fields();
    butler.send(&[failure(&foreign), failure(&foreign)]);
    butler.wait_metric("butler_udp_dropped_total{reason=\"source\"}", 2.0).await;
    assert_eq!(butler.metric("butler_udp_received_total").await, Some(0.0));

    let socket = UdpSocket::bind("127.0.0.2:0").expect("all of 127.0.0.0/8 is this machine");
    let allowed = fields();
    socket.send_to(failure(&allowed).as_bytes(), butler.udp()).expect("loopback takes datagrams");
    alert(&sink, &allowed).await;
    assert_eq!(sink.received().len(), 1);
    let (_, events) = butler.get(&format!("/v5/events?task={}", foreign.task_id)).await;
    assert_eq!(events["events"], json!([]));
    let log = butler.log();
    assert_eq!(log.lines().filter(|line| line.contains("allowFrom")).count(), 1, "{log}");
}

#[tokio::test]
async fn a_burst_of_a_thousand_events_arrives_whole_and_once() {
    const BURST: u32 = 1_000;
    let sink = Sink::start().await;
    let butler = Butler::start(&config(&sink, "")).await;
    let messages: Vec<(String, String)> = (0..BURST)
        .map(|_| {
            let fields = fields();
            (fields.execution_id.clone(), failure(&fields))
        })
        .collect();
    for (n, burst) in (1..).zip(messages.chunks(250)) {
        butler.send(&burst.iter().map(|(_, message)| message).collect::<Vec<_>>());
        // The system's buffer may be small, and what it drops never reached Butler.
        butler.wait_metric("butler_udp_received_total", f64::from(n * 250)).await;
    }
    sink.wait(BURST as usize).await;
    wait_for("all deliveries to end", || async {
        (butler.metric("butler_deliveries_open{instance=\"webhook\"}").await == Some(0.0)).then_some(())
    })
    .await;
    let told: Vec<String> = sink
        .received()
        .iter()
        .map(|request| request.json()["executionId"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(told.len(), BURST as usize, "nothing comes twice");
    let sent: BTreeSet<&String> = messages.iter().map(|(id, _)| id).collect();
    assert_eq!(told.iter().collect::<BTreeSet<_>>(), sent);
    assert_eq!(butler.metric("butler_deliveries_delivered_total{instance=\"webhook\"}").await, Some(f64::from(BURST)));
}
