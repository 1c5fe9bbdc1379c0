//! Under a slow Qlik Sense look-ups are shared, so that a burst needs few calls. How fast it is: `bench slow-qlik`.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::qlik::{Endpoint, Fault, Options, Site};
use e2e::{Received, Sense, Sink, failure};
use serde_json::Value;

const TASKS: usize = 6;
const EVENTS: usize = 60;

#[tokio::test]
async fn a_burst_asks_for_each_task_app_and_execution_once() {
    let sense = Sense::with(Options::default().site(Site::with_tasks(TASKS))).await;
    let sink = Sink::start().await;
    sense.faults().add(Fault::latency(Duration::from_millis(200)));
    let config = format!("plugins:\n  - use: webhook\n    settings: {{ url: {}, format: event }}\n", sink.url("/"));
    let butler = sense.butler(&config).await;
    let runs: Vec<_> = (0..EVENTS).map(|n| sense.failed(&Site::numbered_task(n % TASKS))).collect();
    butler.send(&runs.iter().map(failure).collect::<Vec<_>>());

    let events: Vec<Value> = sink.wait(EVENTS).await.iter().map(Received::json).collect();
    for event in &events {
        assert_eq!((&event["data"]["missing"], &event["data"]["kindAssumed"]), (&Value::Null, &Value::Null), "{event}");
    }
    let ids = |events: &[Value]| -> BTreeSet<String> {
        events.iter().filter_map(|event| event["data"]["execution"]["id"].as_str().map(str::to_owned)).collect()
    };
    let sent: BTreeSet<String> = runs.iter().map(|run| run.execution_id.clone()).collect();
    assert_eq!((ids(&events), events.len()), (sent, EVENTS), "each once");
    let counts = sense.counts();
    let asked = |endpoint| {
        let asked = counts.asked_of(endpoint);
        (asked.different, asked.most)
    };
    assert_eq!(asked(Endpoint::TaskFull), (TASKS as u64, 1), "{counts:?}");
    assert_eq!(asked(Endpoint::AppFull), (TASKS as u64, 1), "{counts:?}");
    assert_eq!(asked(Endpoint::ExecutionResultFull), (EVENTS as u64, 1), "{counts:?}");
    // The site has three owners.
    assert_eq!(asked(Endpoint::UserById), (3, 1), "{counts:?}");
    // What waits for a place is put together: fewer calls than events.
    assert!(counts.requests < EVENTS as u64, "{counts:?}");
}

#[tokio::test]
async fn an_event_whose_time_is_over_still_gets_the_facts_of_one_look_up() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    // Task, app and owner, one after the other: longer than a second.
    sense.faults().add(Fault::latency(Duration::from_millis(500)));
    let webhook = format!("plugins:\n  - use: webhook\n    settings: {{ url: {}, format: event }}\n", sink.url("/"));
    let butler = sense.butler(&format!("enrich: {{ giveUpAfter: 1ms }}\n{webhook}")).await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    let event = sink.wait(1).await[0].json();
    assert_eq!((&event["data"]["missing"], &event["data"]["kindAssumed"]), (&Value::Null, &Value::Null), "{event}");
    assert_eq!(event["data"]["app"]["owner"]["name"], "Ann Berg", "{event}");
    // None is left for a second one.
    sense.faults().add(Fault::status(500).on(Endpoint::UserById));
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK_OF_MAILLESS_OWNER))]);
    let event = sink.wait(2).await[1].json();
    assert_eq!(event["data"]["missing"], serde_json::json!(["owner"]), "{event}");
    assert_eq!(sense.counts().asked_of(Endpoint::TaskFull).most, 1);
}
