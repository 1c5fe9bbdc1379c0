//! Failed reloads outside the scheduler: whose are told, and what becomes of the others.

use e2e::qlik::{Endpoint, Fault, Site};
use e2e::{Butler, Fields, Sense, Sink, datagram, failure, wait_for};
use serde_json::{Value, json};

/// A webhook with whole events of the usual kinds.
fn config(sink: &Sink, more: &str) -> String {
    format!("{more}\nplugins:\n  - use: webhook\n    settings: {{ url: {}, format: event }}\n", sink.url("/"))
}

/// A reload of an app, in the name of a user.
fn reload(app: &str, user: &str) -> Fields {
    Fields { app_id: app.to_owned(), user: user.to_owned(), ..e2e::fields() }
}

fn failed(fields: &Fields) -> String {
    datagram("app-reload.failed", fields)
}

/// The routed event about a session, with its deliveries.
async fn routed(butler: &Butler, fields: &Fields) -> Value {
    let id = wait_for("a routed event", || async {
        let (_, answer) = butler.get("/v5/events?kind=app-reload.failed").await;
        let events = answer["events"].as_array().cloned().unwrap_or_default();
        let ours = events.into_iter().find(|event| event["data"]["session"]["id"] == fields.session_id.as_str())?;
        (ours["state"] == "routed").then(|| ours["id"].as_str().map(str::to_owned)).flatten()
    })
    .await;
    butler.event(&id).await
}

fn is_told(event: &Value) -> bool {
    event["deliveries"].as_array().is_some_and(|rows| !rows.is_empty())
}

#[tokio::test]
async fn by_default_service_accounts_are_told_and_the_others_stay_in_the_history() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let butler = sense.butler(&config(&sink, "")).await;
    let (mine, theirs) = (reload(Site::SAMPLE_APP, r"LAB\ann"), reload(Site::SAMPLE_APP, r"internal\sa_api"));
    butler.send(&[failed(&mine), failed(&theirs)]);
    let untold = routed(&butler, &mine).await;
    assert_eq!((&untold["deliveries"], &untold["data"]["untoldBy"]), (&json!([]), &json!("appReload")), "{untold}");
    assert_eq!(untold["data"]["app"]["name"], "Order analysis", "the history has the facts");
    let told = routed(&butler, &theirs).await;
    assert!(is_told(&told) && told["data"]["untoldBy"].is_null(), "{told}");
    assert_eq!(sink.wait(1).await[0].json()["data"]["session"]["id"], theirs.session_id.as_str());
    assert_eq!(butler.metric("butler_app_reloads_untold_total").await, Some(1.0));
    assert_eq!(sink.received().len(), 1);
}

#[tokio::test]
async fn apps_and_streams_are_told_by_what_qlik_sense_says_of_them_and_lists_change_by_reload() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let lists = "appReload: { users: [], apps: [\"stock *\"], streams: [everyone] }";
    let butler = sense.butler(&config(&sink, lists)).await;
    let ann = r"LAB\ann";
    let by_stream = reload(Site::SAMPLE_APP, ann);
    let by_name = reload(Site::SAMPLE_APP_OF_MAILLESS_OWNER, ann);
    let ledger = sense.site().tasks().into_iter().find_map(|task| {
        let app = sense.site().app(&task.app_id)?;
        (app.name == "General ledger").then_some(app.id)
    });
    let other = reload(&ledger.expect("the site has the app"), r"INTERNAL\sa_api");
    butler.send(&[failed(&by_stream), failed(&by_name), failed(&other)]);
    assert!(is_told(&routed(&butler, &by_stream).await));
    assert!(is_told(&routed(&butler, &by_name).await));
    assert!(!is_told(&routed(&butler, &other).await));

    let path = sense.folder().join("butler.yaml");
    let text = std::fs::read_to_string(&path).expect("the config can be read");
    std::fs::write(&path, text.replace("[everyone]", "[Finance]")).expect("the config can be written");
    let (status, answer) = butler.post("/v5/reload", &json!({})).await;
    assert_eq!((status, &answer["needRestart"]), (200, &json!([])), "{answer}");
    let [again, ledger] =
        [&by_stream, &other].map(|one| Fields { session_id: "new".to_owned() + &one.session_id, ..one.clone() });
    butler.send(&[failed(&again), failed(&ledger)]);
    assert!(!is_told(&routed(&butler, &again).await));
    assert!(is_told(&routed(&butler, &ledger).await));
}

#[tokio::test]
async fn what_cannot_be_found_out_is_told_and_what_need_not_be_is_not() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    sense.faults().add(Fault::status(500).on(Endpoint::AppFull));
    let lists = "enrich: { giveUpAfter: 1s }\nappReload: { users: ['INTERNAL\\*'], streams: [Finance] }";
    let butler = sense.butler(&config(&sink, lists)).await;
    let unknown = reload(Site::SAMPLE_APP, r"LAB\ann");
    butler.send(&[failed(&unknown)]);
    let event = routed(&butler, &unknown).await;
    assert!(is_told(&event) && event["data"]["missing"] == json!(["app"]), "{event}");
    drop(butler);

    let butler = sense.butler(&config(&sink, "enrich: { giveUpAfter: 1s }\nappReload: {}")).await;
    let unknown = reload(Site::SAMPLE_APP, r"LAB\ann");
    butler.send(&[failed(&unknown)]);
    let event = routed(&butler, &unknown).await;
    assert!(!is_told(&event) && event["data"]["missing"] == json!(["app"]), "only users are asked for: {event}");
}

#[tokio::test]
async fn without_qlik_sense_only_what_is_in_the_message_decides() {
    let sink = Sink::start().await;
    let lists = format!("appReload: {{ users: ['LAB\\bob'], apps: [{}] }}", Site::SAMPLE_APP.to_uppercase());
    let butler = Butler::start(&config(&sink, &lists)).await;
    let fields = reload(Site::SAMPLE_APP, r"LAB\ann");
    butler.send(&[failed(&fields)]);
    assert!(is_told(&routed(&butler, &fields).await));
    drop(butler);
    let butler = Butler::start(&config(&sink, "appReload: { users: ['LAB\\bob'] }")).await;
    butler.send(&[failed(&fields)]);
    assert!(!is_told(&routed(&butler, &fields).await));
}

#[tokio::test]
async fn reloads_that_wait_for_qlik_sense_hold_up_no_task() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    sense.faults().add(Fault::hang().on(Endpoint::AppFull));
    let butler = sense.butler(&config(&sink, "appReload: { streams: [Finance] }")).await;
    let waiting: Vec<String> = (0..8).map(|_| failed(&reload(Site::SAMPLE_APP, r"LAB\ann"))).collect();
    butler.send(&waiting);
    butler.wait_metric("butler_udp_processed_total", 8.0).await;
    let task = sense.failed(Site::SAMPLE_EXTERNAL_PROGRAM_TASK);
    butler.send(&[failure(&Fields { app_id: String::new(), ..task })]);
    let told =
        sink.wait_where("the failed task", |request| request.json()["kind"] == "external-program-task.failed").await;
    assert_eq!(told.json()["data"]["missing"], Value::Null);
    assert_eq!(sink.received().len(), 1, "the others still wait");
}
