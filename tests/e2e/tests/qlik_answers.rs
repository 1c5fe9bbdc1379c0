//! Qlik Sense answers, but not as it should: the alert goes out all the same, with what is known.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use e2e::qlik::{Endpoint, Fault, Site};
use e2e::{Butler, Sense, Sink, failure, resident};
use serde_json::{Value, json};
use tokio::net::TcpListener;

fn config(sink: &Sink) -> String {
    format!(
        "enrich: {{ giveUpAfter: 2s }}\nplugins:\n  - use: webhook\n    settings: {{ url: {}, format: event }}\n  \
         - use: teams\n    settings: {{ webhookUrl: {} }}\n",
        sink.url("/event"),
        sink.url("/teams")
    )
}

/// Tells of a failed reload while Qlik Sense has these faults; the event and the card for people.
async fn alert_despite(faults: impl IntoIterator<Item = Fault>) -> (Value, String, Butler) {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    faults.into_iter().for_each(|fault| sense.faults().add(fault));
    let butler = sense.butler(&config(&sink)).await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    let event = sink.wait_where("the event", |request| request.target == "/event").await.json();
    let card = sink.wait_where("the card", |request| request.target == "/teams").await.body;
    assert_eq!(event["kind"], "reload-task.failed", "{event}");
    assert_eq!(event["data"]["log"]["message"], "Max retries reached", "{event}");
    (event, card, butler)
}

#[tokio::test]
async fn answers_without_end_cost_little_memory_and_are_named() {
    const EVENTS: usize = 30;
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let butler = sense.butler(&config(&sink)).await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    sink.wait(2).await;
    let before = resident(butler.pid());
    let peak = Arc::new(AtomicUsize::new(0));
    let (pid, seen) = (butler.pid(), peak.clone());
    let watching = tokio::spawn(async move {
        loop {
            seen.fetch_max(usize::try_from(resident(pid)).unwrap_or(usize::MAX), Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    sense.faults().add(Fault::endless());
    let messages: Vec<String> = (0..EVENTS).map(|_| failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))).collect();
    butler.send(&messages);
    let alerts = sink.wait(2 + 2 * EVENTS).await;
    watching.abort();
    let events = alerts.iter().skip(2).filter(|alert| alert.target == "/event");
    assert!(events.map(e2e::Received::json).all(|event| event["data"]["missing"].to_string().contains("execution")));
    let grown = (peak.load(Ordering::Relaxed) as u64).saturating_sub(before) >> 20;
    // Each place for look-ups may hold some answers of 8 MB.
    assert!(grown < 300, "{grown} MB more");
    assert!(butler.log().contains("is larger than 8388608 bytes"), "{}", butler.log());
}

#[tokio::test]
async fn a_cut_answer_an_empty_one_and_one_of_another_form_each_cost_their_fact_only() {
    let (event, card, butler) = alert_despite([
        Fault::cut(100).on(Endpoint::AppFull),
        Fault::page("application/json", "").on(Endpoint::ExecutionResultFull),
        Fault::altered(|json| json["owner"] = json!([1])).on(Endpoint::UserById),
    ])
    .await;
    let data = &event["data"];
    assert_eq!(data["missing"], json!(["execution", "app", "scriptLog"]), "{event}");
    assert_eq!((&data["task"]["type"], &data["app"]["name"]), (&json!("reload"), &json!("Order analysis")), "{event}");
    assert!(card.contains("not available from Qlik Sense: execution, app, scriptLog"), "{card}");
    let log = butler.log();
    assert!(log.contains("is cut off after 0 bytes") || log.contains("the connection broke"), "{log}");
}

#[tokio::test]
async fn another_release_gives_an_alert_with_all_that_is_still_there() {
    let (event, card, _butler) = alert_despite([
        Fault::altered(|json| {
            json[0]["taskType"] = "0".into();
            json[0]["customProperties"] = json!({ "group": "finance" });
            json[0]["operational"] = Value::Null;
            json[0]["modifiedDate"] = "1753-01-01T00:00:00.000Z".into();
            json[0]["somethingNew"] = json!([{}]);
        })
        .on(Endpoint::TaskFull),
        Fault::altered(|json| {
            json[0]["status"] = 15.into();
            json[0]["startTime"] = "2025-03-09T16:05:07+02:00".into();
            json[0]["details"] = Value::Null;
        })
        .on(Endpoint::ExecutionResultFull),
        Fault::altered(|json| {
            if let Some(values) = json["StatusEnum"]["values"].as_array_mut() {
                values.push("15: FinishedOddly".into());
            }
        })
        .on(Endpoint::Enums),
    ])
    .await;
    let data = &event["data"];
    assert_eq!((&data["missing"], &data["kindAssumed"]), (&Value::Null, &Value::Null), "{event}");
    let execution = &data["execution"];
    assert_eq!((&execution["status"], &execution["statusText"]), (&json!(15), &json!("FinishedOddly")), "{event}");
    assert_eq!(execution["startTime"], "2025-03-09T14:05:07.000Z", "{event}");
    assert_eq!(
        (&data["task"]["customProperties"], &data["task"]["modifiedDate"]),
        (&json!({}), &Value::Null),
        "{event}"
    );
    assert!(card.contains("Ann Berg") && !card.contains("1753"), "{card}");
}

#[tokio::test]
async fn a_redirection_is_not_followed_with_the_certificate() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let target = format!("https://{}/", elsewhere.local_addr().expect("it is bound"));
    let begun = Instant::now();
    let (event, _card, butler) = alert_despite([Fault::redirect(target)]).await;
    assert_eq!(event["data"]["missing"], json!(["task", "execution", "app", "scriptLog"]), "{event}");
    assert!(butler.log().contains("it redirects: `qlik.host` and `ports.repository`"), "{}", butler.log());
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(tokio::time::timeout(Duration::from_millis(100), elsewhere.accept()).await.is_err(), "somebody followed");
}
