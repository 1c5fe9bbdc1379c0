//! An accepted event is delivered or visibly dead, whatever happens to the process in between.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::qlik::{Fault, Site};
use e2e::{Answer, Butler, Received, Sense, Sink, failure, fields, http, wait_for};
use serde_json::{Value, json};
use tempfile::TempDir;

fn config(sink: &Sink) -> String {
    format!(
        "shutdownTimeout: 3s\nplugins:\n  - use: webhook\n    name: hook\n    retry: {{ initial: 50ms, max: 200ms }}\n    \
         settings: {{ url: {}, format: event, timeout: 30s }}\n",
        sink.url("/")
    )
}

fn folder() -> Arc<TempDir> {
    Arc::new(TempDir::new().expect("a folder can be made"))
}

/// The ids of executions that were told with success.
fn executions(requests: &[Received]) -> BTreeSet<String> {
    let id = |request: &Received| request.json()["data"]["execution"]["id"].as_str().unwrap_or_default().to_owned();
    requests.iter().map(id).collect()
}

#[tokio::test]
async fn an_event_that_waits_for_qlik_sense_survives_kill() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    sense.faults().add(Fault::hang());
    let butler = sense.butler(&("enrich: { giveUpAfter: 2m }\n".to_owned() + &config(&sink))).await;
    let message = sense.failed(Site::SAMPLE_RELOAD_TASK);
    butler.send(&[failure(&message)]);
    butler.wait_metric("butler_udp_processed_total", 1.0).await;
    let (_, events) = butler.get("/v5/events?kind=reload-task.failed").await;
    assert_eq!(events["events"][0]["state"], "accepted", "{events}");
    assert!(sink.received().is_empty());
    sense.faults().clear();
    let butler = butler.kill_and_start().await;
    let event = sink.wait(1).await[0].json();
    assert_eq!(event["data"]["execution"]["id"], message.execution_id);
    assert_eq!((&event["data"]["missing"], &event["id"]), (&Value::Null, &events["events"][0]["id"]), "{event}");
    let delivery = butler.wait_delivery("delivered", "hook").await;
    assert_eq!(delivery["attempt"], 1);
    assert_eq!(sink.received().len(), 1);
}

#[tokio::test]
async fn a_delivery_in_flight_survives_kill_and_is_repeated() {
    let sink = Sink::start().await;
    let butler = Butler::start(&config(&sink)).await;
    sink.next([Answer::Hang]);
    butler.send(&[failure(&fields())]);
    sink.wait(1).await;
    let leased = butler.wait_delivery("leased", "hook").await;
    let butler = butler.kill_and_start().await;
    let requests = sink.wait(2).await;
    assert_eq!(requests[0].body, requests[1].body);
    assert_eq!(requests[0].header("idempotency-key"), requests[1].header("idempotency-key"));
    let delivery = butler.wait_delivery("delivered", "hook").await;
    assert_eq!((&delivery["id"], &delivery["attempt"]), (&leased["id"], &json!(2)), "{delivery}");
    assert_eq!(delivery["firstAttemptAt"], leased["firstAttemptAt"]);
    assert_eq!(sink.successes().len(), 1);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_hanging_destination_and_loses_nothing() {
    let (folder, sink) = (folder(), Sink::start().await);
    let config = config(&sink);
    let butler = Butler::start_in(folder.clone(), &config, &[]).await;
    sink.always(Some(Answer::Hang));
    let tasks: Vec<_> = (0..10).map(|_| fields()).collect();
    butler.send(&tasks.iter().map(failure).collect::<Vec<_>>());
    butler.wait_metric("butler_deliveries_open{instance=\"hook\"}", 10.0).await;
    sink.wait(1).await;
    let asked = Instant::now();
    let (status, log) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    // `shutdownTimeout` is 3 s; the destination would hang for 30 s.
    assert!(asked.elapsed() < Duration::from_secs(9), "the stop took {:?}:\n{log}", asked.elapsed());
    sink.always(None);

    let butler = Butler::start_in(folder, &config, &[]).await;
    wait_for("all deliveries", || async {
        (butler.deliveries("state=delivered&instance=hook").await.len() == 10).then_some(())
    })
    .await;
    let told = executions(&sink.successes());
    assert_eq!(told, tasks.into_iter().map(|task| task.execution_id).collect());
    assert_eq!(sink.successes().len(), 10, "each was told with success once");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_hanging_qlik_sense_and_loses_nothing() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    sense.faults().add(Fault::hang());
    let config = "enrich: { giveUpAfter: 2m }\n".to_owned() + &config(&sink);
    let butler = sense.butler(&config).await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    butler.wait_metric("butler_events_waiting", 1.0).await;
    let asked = Instant::now();
    let (status, log) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(asked.elapsed() < Duration::from_secs(9), "the stop took {:?}:\n{log}", asked.elapsed());
    assert!(sink.received().is_empty());
    sense.faults().clear();
    let _butler = sense.butler(&config).await;
    assert_eq!(sink.wait(1).await[0].json()["data"]["missing"], Value::Null);
}

#[tokio::test]
async fn a_stop_drains_what_can_be_delivered() {
    let (folder, sink) = (folder(), Sink::start().await);
    let butler = Butler::start_in(folder, &config(&sink), &[]).await;
    let messages: Vec<String> = (0..20).map(|_| failure(&fields())).collect();
    butler.send(&messages);
    butler.wait_metric("butler_udp_received_total", 20.0).await;
    wait_for("the daemon to be ready", || async { butler.log().contains("is ready").then_some(()) }).await;
    let (status, log) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(executions(&sink.successes()).len(), 20, "{log}");
    assert!(!log.contains("ERROR"), "{log}");
}

#[tokio::test]
async fn a_stop_right_after_the_start_is_a_clean_one() {
    let (folder, sink) = (folder(), Sink::start().await);
    for _ in 0..5 {
        // The run file says that the daemon is there: from then on it must listen to signals.
        let butler = Butler::start_in(folder.clone(), &config(&sink), &[]).await;
        let (status, log) = butler.stop().await;
        assert_eq!(status.code(), Some(0), "{status}:\n{log}");
        assert!(log.contains("stopped"), "{log}");
        assert!(!folder.path().join("butler.db.run.json").exists(), "the run file goes with the daemon");
    }
}

#[tokio::test]
async fn kills_under_load_lose_nothing() {
    const ROUNDS: usize = 5;
    let sink = Sink::start().await;
    let mut butler = Butler::start(&config(&sink)).await;
    let mut accepted = BTreeSet::new();
    for round in 0..ROUNDS {
        let tasks: Vec<_> = (0..60).map(|_| fields()).collect();
        let told = sink.received().len();
        butler.send(&tasks.iter().map(failure).collect::<Vec<_>>());
        butler.wait_metric("butler_udp_processed_total", 60.0).await;
        accepted.extend(tasks.into_iter().map(|task| task.execution_id));
        // Some have been told, others are in flight or wait.
        sink.wait(told + round).await;
        butler = butler.kill_and_start().await;
    }
    wait_for("all deliveries to end", || async {
        let open = butler.metric("butler_deliveries_open{instance=\"hook\"}").await;
        (open == Some(0.0) && butler.metric("butler_events_waiting").await == Some(0.0)).then_some(())
    })
    .await;
    assert_eq!(executions(&sink.successes()), accepted);
}

#[tokio::test]
async fn deliveries_of_a_removed_instance_are_parked_and_come_back_with_it() {
    let (folder, sink) = (folder(), Sink::start().await);
    let config = config(&sink);
    let butler = Butler::start_in(folder.clone(), &config, &[]).await;
    sink.always(Some(Answer::Status(503)));
    butler.send(&[failure(&fields())]);
    let waiting = wait_for("a failed attempt", || async {
        let deliveries = butler.deliveries("state=pending&instance=hook").await;
        deliveries.into_iter().find(|delivery| delivery["error"].is_string())
    })
    .await;
    butler.stop().await;

    let butler = Butler::start_in(folder.clone(), "plugins: []\n", &[]).await;
    let parked = butler.wait_delivery("parked", "hook").await;
    assert_eq!(parked["id"], waiting["id"]);
    assert!(butler.log().contains("are parked"), "{}", butler.log());
    let path = format!("/v5/deliveries/{}/retry", parked["id"].as_str().unwrap_or_default());
    let (status, answer) = butler.post(&path, &Value::Null).await;
    assert_eq!(status, 409, "nobody could deliver it: {answer}");
    let before = sink.received().len();
    butler.stop().await;
    assert_eq!(sink.received().len(), before, "parked means not tried");

    sink.always(None);
    let butler = Butler::start_in(folder, &config, &[]).await;
    let delivery = butler.wait_delivery("delivered", "hook").await;
    assert_eq!(delivery["id"], waiting["id"]);
    assert_eq!(sink.successes().len(), 1);
}

#[tokio::test]
async fn requests_from_web_pages_are_refused() {
    let sink = Sink::start().await;
    let butler = Butler::start(&config(&sink)).await;
    sink.next([Answer::Status(400)]);
    butler.send(&[failure(&fields())]);
    let death = butler.wait_delivery("dead", "hook").await;
    let retry = format!("/v5/deliveries/{}/retry", death["id"].as_str().unwrap_or_default());
    let port = butler.rest().rsplit(':').next().unwrap_or_default().to_owned();
    let foreign = [
        ("origin", "http://evil.example".to_owned()),
        ("origin", "null".to_owned()),
        ("origin", "http://127.0.0.1:1".to_owned()),
        ("host", "evil.example".to_owned()),
        ("host", format!("evil.example:{port}")),
        ("sec-fetch-site", "cross-site".to_owned()),
    ];
    for (name, value) in &foreign {
        for path in ["/v5/plugins", "/metrics", "/v5/health/live", retry.as_str()] {
            let url = format!("{}{path}", butler.rest());
            let request = if path == retry { http().post(url) } else { http().get(url) };
            // The right token does not help: a browser might have it.
            let request = request.bearer_auth(butler.token()).header(*name, value);
            let answer = request.send().await.expect("the daemon answers");
            assert_eq!(answer.status().as_u16(), 403, "{name}: {value}, {path}");
        }
    }
    assert_eq!(butler.deliveries("state=dead").await.len(), 1, "nothing was sent again");
    for (name, value) in [("origin", butler.rest().to_owned()), ("host", format!("localhost:{port}"))] {
        let answer = http().get(format!("{}/v5/plugins", butler.rest())).header(name, &value).send().await;
        assert_eq!(answer.expect("the daemon answers").status().as_u16(), 200, "{name}: {value}");
    }
}
