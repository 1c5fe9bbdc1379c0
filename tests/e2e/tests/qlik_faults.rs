//! Qlik Sense in trouble: the alert goes out all the same, and says what it lacks.

use std::time::{Duration, Instant};

use e2e::qlik::{Certificates, Endpoint, Fault, Options, Site};
use e2e::{Butler, Sense, Sink, failure, wait_for};
use serde_json::{Value, json};

/// A webhook with whole events; what is not found out within 2 s is given up.
fn config(sink: &Sink) -> String {
    format!(
        "enrich: {{ giveUpAfter: 2s }}\nplugins:\n  - use: webhook\n    settings: {{ url: {}, format: event }}\n",
        sink.url("/")
    )
}

/// The alert has what the log line told, and says what it lacks.
fn assert_without_facts(event: &Value) {
    assert_eq!(event["kind"], "reload-task.failed");
    let data = &event["data"];
    assert_eq!(
        (&data["missing"], &data["kindAssumed"]),
        (&json!(["task", "execution", "app"]), &json!(true)),
        "{event}"
    );
    assert_eq!(
        (&data["task"]["name"], &data["app"]["name"]),
        (&json!("Reload order analysis"), &json!("Order analysis"))
    );
    assert_eq!((&data["log"]["message"], &data["node"]), (&json!("Max retries reached"), &json!("sense1")));
    assert_eq!((&data["app"]["owner"], &data["task"]["type"]), (&Value::Null, &Value::Null), "{event}");
}

/// The alert has all facts.
fn assert_with_facts(event: &Value) {
    let data = &event["data"];
    assert_eq!((&data["missing"], &data["kindAssumed"]), (&Value::Null, &Value::Null), "{event}");
    assert_eq!(data["app"]["owner"]["emails"], json!(["ann.berg@example.com"]), "{event}");
    assert_eq!(data["execution"]["statusText"], "FinishedFail", "{event}");
}

/// Tells of a failed reload while Qlik Sense has this fault; returns the daemon, for its log.
async fn alert_despite(fault: Fault) -> Butler {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    sense.faults().add(fault);
    let butler = sense.butler(&config(&sink)).await;
    let sent = Instant::now();
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    assert_without_facts(&sink.wait(1).await[0].json());
    let took = sent.elapsed();
    assert!(took >= Duration::from_millis(1_900), "given up after {took:?} already");
    assert!(took < Duration::from_secs(15), "`giveUpAfter` is 2 s, and the alert took {took:?}");
    assert!(butler.log().contains("goes on without the facts"), "{}", butler.log());

    // Once Qlik Sense is well, the next event has its facts again.
    sense.faults().clear();
    wait_for("facts of the next event", || async {
        let before = sink.received().len();
        butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
        let event = sink.wait(before + 1).await[before].json();
        event["data"]["missing"].is_null().then(|| assert_with_facts(&event))
    })
    .await;
    butler
}

#[tokio::test]
async fn a_repository_that_hangs_delays_the_alert_and_does_not_hold_it_up() {
    alert_despite(Fault::hang()).await;
}

#[tokio::test]
async fn a_repository_that_refuses_us_means_an_alert_without_facts() {
    let butler = alert_despite(Fault::status(403)).await;
    assert!(butler.log().contains("answers 403"), "{}", butler.log());
}

#[tokio::test]
async fn a_repository_with_errors_means_an_alert_without_facts() {
    let butler = alert_despite(Fault::status(500)).await;
    assert!(butler.log().contains("answers 500"), "{}", butler.log());
}

#[tokio::test]
async fn a_repository_that_talks_nonsense_means_an_alert_without_facts() {
    let butler = alert_despite(Fault::nonsense()).await;
    assert!(butler.log().contains("is not JSON"), "{}", butler.log());
}

#[tokio::test]
async fn a_repository_that_resets_connections_means_an_alert_without_facts() {
    alert_despite(Fault::reset()).await;
}

#[tokio::test]
async fn a_repository_that_is_down_from_the_start_means_an_alert_without_facts() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let message = failure(&sense.failed(Site::SAMPLE_RELOAD_TASK));
    sense.stop().await;
    let original =
        format!("  - use: webhook\n    name: original\n    settings: {{ url: {} }}\n", sink.url("/original"));
    let butler = sense.butler(&(config(&sink) + &original)).await;
    butler.send(&[message]);
    assert_without_facts(&sink.wait_where("the event", |request| request.target == "/").await.json());
    let original = sink.wait_where("the alert", |request| request.target == "/original").await.json();
    assert_eq!((&original["taskName"], &original["appOwnerEmail"]), (&json!("Reload order analysis"), &json!("")));
    assert_eq!(original["appOwnerName"], Value::Null, "{original}");
    let (status, ready) = butler.get("/v5/health/ready").await;
    assert_eq!(status, 200, "events are accepted and wait");
    let notes = ready["notes"].to_string();
    assert!(notes.contains("\"qlik\"") && notes.contains("does not answer"), "{ready}");
    assert_eq!(butler.metric("butler_qlik_reachable").await, Some(0.0));
    let log = butler.log();
    let said = log.lines().filter(|line| line.contains("gives no answer") && !line.contains("goes on without"));
    assert_eq!(said.count(), 1, "said once, not for each look-up:\n{log}");
}

#[tokio::test]
async fn a_repository_that_comes_back_in_time_gives_all_facts() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let message = failure(&sense.failed(Site::SAMPLE_RELOAD_TASK));
    sense.stop().await;
    let butler = sense.butler(&config(&sink).replace("giveUpAfter: 2s", "giveUpAfter: 2m")).await;
    butler.send(&[message]);
    wait_for("a look-up that failed", || async { butler.log().contains("gives no answer").then_some(()) }).await;
    butler.wait_metric("butler_events_waiting", 1.0).await;
    assert!(sink.received().is_empty(), "the alert waits for its facts");
    sense.restart().await.expect("its port is free");
    assert_with_facts(&sink.wait(1).await[0].json());
    butler.wait_metric("butler_qlik_reachable", 1.0).await;
}

#[tokio::test]
async fn many_events_during_a_hang_wait_no_longer_than_one() {
    const EVENTS: usize = 40;
    let sense = Sense::with(Options::default().site(Site::with_tasks(EVENTS))).await;
    let sink = Sink::start().await;
    sense.faults().add(Fault::hang());
    let butler = sense.butler(&config(&sink)).await;
    let messages: Vec<String> = (0..EVENTS).map(|n| failure(&sense.failed(&Site::numbered_task(n)))).collect();
    let sent = Instant::now();
    butler.send(&messages);
    let alerts = sink.wait(EVENTS).await;
    assert!(sent.elapsed() < Duration::from_secs(15), "`giveUpAfter` is 2 s, and they took {:?}", sent.elapsed());
    assert!(alerts.iter().all(|alert| alert.json()["data"]["kindAssumed"] == true));
}

#[tokio::test]
async fn a_fact_that_alone_cannot_be_read_is_missing_alone() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    sense.faults().add(Fault::status(403).on(Endpoint::UserById));
    let butler = sense.butler(&config(&sink)).await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    let event = sink.wait(1).await[0].json();
    let data = &event["data"];
    assert_eq!((&data["missing"], &data["kindAssumed"]), (&json!(["owner"]), &Value::Null), "{event}");
    assert_eq!(
        (&data["app"]["stream"]["name"], &data["task"]["type"]),
        (&json!("Everyone"), &json!("reload")),
        "{event}"
    );
    assert_eq!(data["app"]["owner"]["emails"], json!([]), "{event}");
}

#[tokio::test]
async fn a_script_log_that_cannot_be_read_is_missing_alone() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    for call in [Endpoint::ScriptLog, Endpoint::ScriptLogFile] {
        sense.faults().add(Fault::status(500).on(call));
    }
    let teams = format!("  - use: teams\n    settings: {{ webhookUrl: {} }}\n", sink.url("/teams"));
    let butler = sense.butler(&(config(&sink) + &teams)).await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    let event = sink.wait_where("the event", |request| request.target == "/").await.json();
    assert_eq!(event["data"]["missing"], json!(["scriptLog"]), "{event}");
    assert_eq!(event["data"]["app"]["owner"]["name"], "Ann Berg", "{event}");
    let card = sink.wait_where("the card", |request| request.target == "/teams").await;
    assert!(
        card.body.contains("Ann Berg") && card.body.contains("not available from Qlik Sense: scriptLog"),
        "{card:?}"
    );
}

#[tokio::test]
async fn what_qlik_sense_does_not_have_is_not_waited_for() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let message = failure(&sense.failed(Site::SAMPLE_RELOAD_TASK));
    sense.site().remove_task(Site::SAMPLE_RELOAD_TASK);
    sense.site().remove_app(Site::SAMPLE_APP);
    let butler = sense.butler(&config(&sink).replace("2s", "2m")).await;
    let sent = Instant::now();
    butler.send(&[message]);
    let event = sink.wait(1).await[0].json();
    assert!(sent.elapsed() < Duration::from_secs(20), "a deleted task does not come back");
    let data = &event["data"];
    assert_eq!((&data["missing"], &data["kindAssumed"]), (&json!(["task", "app"]), &json!(true)), "{event}");
    assert_eq!(data["execution"]["statusText"], "FinishedFail", "{event}");
    assert_eq!(
        (&data["task"]["name"], &data["app"]["name"]),
        (&json!("Reload order analysis"), &json!("Order analysis"))
    );
}

#[tokio::test]
async fn a_result_that_is_written_late_is_waited_for() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let butler = sense.butler(&config(&sink).replace("2s", "2m")).await;
    // The scheduler's log line comes while the repository still says that the task runs.
    let fields = sense.about(Site::SAMPLE_RELOAD_TASK);
    let site = sense.site();
    site.begin_task(&fields.task_id, &fields.execution_id).expect("the site has the task");
    butler.send(&[failure(&fields)]);
    wait_for("a look-up", || async { (sense.counts().requests_to(Endpoint::ExecutionResultFull) > 0).then_some(()) })
        .await;
    assert!(sink.received().is_empty());
    site.fail_task(&fields.task_id, &fields.execution_id).expect("the site has the task");
    assert_with_facts(&sink.wait(1).await[0].json());
}

#[tokio::test]
async fn a_slow_repository_gives_all_facts() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    sense.faults().add(Fault::latency(Duration::from_millis(300)));
    let butler = sense.butler(&config(&sink).replace("2s", "1m")).await;
    let messages: Vec<String> = (0..10).map(|_| failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))).collect();
    butler.send(&messages);
    for request in sink.wait(10).await {
        assert_with_facts(&request.json());
    }
}

#[tokio::test]
async fn events_that_wait_for_the_repository_do_not_hold_up_others() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    sense.faults().add(Fault::hang());
    let butler = sense
        .butler(&format!(
            "enrich: {{ giveUpAfter: 2m, concurrency: 1 }}\nplugins:\n  - use: webhook\n    \
             on: [{{ events: [\"butler.started\", \"*-task.*\"] }}]\n    settings: {{ url: {}, format: event }}\n",
            sink.url("/")
        ))
        .await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK)), failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    butler.wait_metric("butler_events_waiting", 2.0).await;
    // Settled in the store, so that the kill repeats nothing.
    butler.wait_delivery("delivered", "webhook").await;
    let butler = butler.kill_and_start().await;
    // The second start's own event is younger than both.
    wait_for("events of both starts", || async {
        let started = sink.received().iter().filter(|request| request.json()["kind"] == "butler.started").count();
        (started == 2).then_some(())
    })
    .await;
    assert_eq!(butler.metric("butler_events_waiting").await, Some(2.0));
}

#[tokio::test]
async fn a_server_with_a_certificate_of_another_authority_is_told_nothing() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let other = Certificates::generate().expect("certificates can be made");
    std::fs::write(sense.folder().join("certificates/root.pem"), other.root_pem()).expect("the folder can be written");
    let butler = sense.butler(&config(&sink)).await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    assert_without_facts(&sink.wait(1).await[0].json());
    let log = butler.log();
    assert!(log.contains("its certificate is not from the authority in `certificates.ca`"), "{log}");
    let counts = sense.counts();
    assert_eq!((counts.requests, counts.handshakes), (0, 0));
    assert!(counts.handshakes_failed > 0);
}

#[tokio::test]
async fn a_server_that_refuses_our_certificate_is_named_as_the_cause() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let other = Certificates::generate().expect("certificates can be made");
    let folder = sense.folder().join("certificates");
    std::fs::write(folder.join("client.pem"), other.client_pem()).expect("the folder can be written");
    std::fs::write(folder.join("client_key.pem"), other.client_key_pem()).expect("the folder can be written");
    let butler = sense.butler(&config(&sink)).await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    assert_without_facts(&sink.wait(1).await[0].json());
    assert!(butler.log().contains("it refuses our client certificate"), "{}", butler.log());
    assert_eq!(sense.counts().requests, 0);
}

#[tokio::test]
async fn an_old_certificate_without_names_needs_verify_chain() {
    let sense = Sense::with(Options::default().without_subject_alt_name()).await;
    let sink = Sink::start().await;
    let butler = sense.butler(&config(&sink)).await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    assert_without_facts(&sink.wait(1).await[0].json());
    let log = butler.log();
    assert!(log.contains("its certificate is for another name") && log.contains("`verify: chain`"), "{log}");
    assert_eq!(sense.counts().requests, 0);
    // Without its outcome it would be repeated after the kill.
    butler.wait_delivery("delivered", "webhook").await;
    drop(butler);

    let butler = sense.butler_with("verify: chain", &config(&sink)).await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    assert_with_facts(&sink.wait(2).await[1].json());
}

#[tokio::test]
async fn verify_chain_still_refuses_another_authority() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let other = Certificates::generate().expect("certificates can be made");
    std::fs::write(sense.folder().join("certificates/root.pem"), other.root_pem()).expect("the folder can be written");
    let butler = sense.butler_with("verify: chain", &config(&sink)).await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    assert_without_facts(&sink.wait(1).await[0].json());
    assert_eq!(sense.counts().requests, 0);
}

#[tokio::test]
async fn connections_are_kept_and_an_event_needs_four_calls_at_most() {
    const EVENTS: usize = 20;
    let sense = Sense::with(Options::default().site(Site::with_tasks(EVENTS))).await;
    let sink = Sink::start().await;
    let butler = sense.butler(&config(&sink)).await;
    for n in 0..EVENTS {
        butler.send(&[failure(&sense.failed(&Site::numbered_task(n)))]);
        let event = sink.wait(n + 1).await[n].json();
        assert_eq!(event["data"]["missing"], Value::Null, "{event}");
    }
    let counts = sense.counts();
    // Task, app and result of each; owners are shared, and read again when some seconds are over.
    let (least, most) = (EVENTS as u64 * 3 + 3, EVENTS as u64 * 4);
    assert!((least..=most).contains(&counts.requests), "{counts:?}");
    assert!(counts.handshakes * 10 <= counts.requests, "{counts:?}");
    assert_eq!(counts.responses_with(200), counts.requests, "{counts:?}");
}

#[tokio::test]
async fn a_burst_about_one_app_asks_for_it_once() {
    const EVENTS: usize = 40;
    let sense = Sense::start().await;
    let sink = Sink::start().await;
    let butler = sense.butler(&config(&sink).replace("2s", "1m")).await;
    let messages: Vec<String> = (0..EVENTS).map(|_| failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))).collect();
    butler.send(&messages);
    let events = sink.wait(EVENTS).await;
    assert!(events.iter().all(|request| request.json()["data"]["missing"].is_null()));
    let counts = sense.counts();
    // One result for each, and few for what they share; a slow machine may outlast the memory of some seconds.
    assert!(counts.requests <= EVENTS as u64 + 15, "{counts:?}");
}
