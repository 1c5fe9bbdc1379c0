//! Destinations in trouble: what is tried again and until when, what is given up, and who is told.

use std::time::Duration;

use e2e::{Answer, Butler, Sink, failure, fields, wait_for};
use serde_json::{Value, json};

/// One webhook with short waits between attempts.
fn config(sink: &Sink, settings: &str) -> String {
    format!(
        "plugins:\n  - use: webhook\n    retry: {{ initial: 50ms, max: 200ms }}\n    settings: {{ url: {}, format: event{settings} }}\n",
        sink.url("/")
    )
}

/// The deliveries of an instance in a state, once there are so many.
async fn wait_deliveries(butler: &Butler, state: &str, instance: &str, count: usize) -> Vec<Value> {
    let query = format!("state={state}&instance={instance}&limit=500");
    wait_for(&format!("{count} {state} deliveries to {instance}; log:\n{}", butler.log()), || async {
        Some(butler.deliveries(&query).await).filter(|deliveries| deliveries.len() == count)
    })
    .await
}

/// The delivery of an event that arrived at the sink.
async fn delivered(butler: &Butler, event: &str) -> Value {
    wait_for(&format!("the delivery of {event}"), || async {
        let deliveries = butler.deliveries(&format!("event={event}")).await;
        deliveries.into_iter().find(|delivery| delivery["state"] == "delivered")
    })
    .await
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_destination_that_is_not_there_gets_the_event_when_it_comes() {
    let sink = Sink::start().await;
    let (address, config) = (sink.address(), config(&sink, ""));
    drop(sink);
    wait_for("the port to close", || async { tokio::net::TcpStream::connect(address).await.is_err().then_some(()) })
        .await;
    let butler = Butler::start(&config).await;
    butler.send(&[failure(&fields())]);
    // Leased, the third could still be the one that arrives.
    let waiting = wait_for("a third attempt that failed", || async {
        let delivery = butler.deliveries("state=pending&instance=webhook").await.into_iter().next()?;
        (delivery["attempt"].as_u64() >= Some(3)).then_some(delivery)
    })
    .await;
    assert!(text(&waiting["error"]).contains("cannot be reached"), "{waiting}");
    let (_, plugins) = butler.get("/v5/plugins").await;
    assert!(text(&plugins["plugins"][0]["lastError"]).contains("cannot be reached"), "{plugins}");

    let sink = Sink::start_at(address).await;
    let event = sink.wait(1).await[0].json();
    let delivery = delivered(&butler, text(&event["id"])).await;
    assert!(delivery["attempt"].as_u64() >= Some(4), "{delivery}");
    assert_eq!(delivery["error"], Value::Null, "{delivery}");
    assert_eq!(sink.received().len(), 1);
}

#[tokio::test]
async fn statuses_that_may_pass_are_retried_until_the_event_is_delivered_once() {
    let sink = Sink::start().await;
    let butler = Butler::start(&config(&sink, "")).await;
    for status in [401, 403, 404, 407, 408, 425, 429, 500, 502, 503, 504] {
        let before = sink.received().len();
        sink.next([Answer::Status(status), Answer::Status(status)]);
        butler.send(&[failure(&fields())]);
        let requests = sink.wait(before + 3).await;
        let requests = &requests[before..];
        let event = requests[0].json();
        let delivery = delivered(&butler, text(&event["id"])).await;
        assert_eq!((&delivery["attempt"], &delivery["error"]), (&json!(3), &Value::Null), "{status}: {delivery}");
        assert_eq!(requests.len(), 3, "{status}");
        let keys: Vec<_> = requests.iter().map(|request| request.header("idempotency-key")).collect();
        assert!(keys[0].is_some() && keys.iter().all(|key| *key == keys[0]), "{status}: {keys:?}");
        assert!(requests.iter().all(|request| request.body == requests[0].body), "{status}");
    }
    assert_eq!(sink.successes().len(), 11);
    butler.wait_metric("butler_deliveries_retried_total{instance=\"webhook\"}", 22.0).await;
    butler.wait_metric("butler_deliveries_delivered_total{instance=\"webhook\"}", 11.0).await;
    assert_eq!(butler.metric("butler_deliveries_died_total{instance=\"webhook\"}").await, Some(0.0));
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let sink = Sink::start().await;
    let butler = Butler::start(&config(&sink, "")).await;
    for status in [429, 503] {
        let before = sink.received().len();
        sink.next([Answer::RetryAfter(status, 2)]);
        butler.send(&[failure(&fields())]);
        let requests = sink.wait(before + 2).await;
        let between = requests[before + 1].at - requests[before].at;
        // The waits of the config would be over after 60 ms.
        assert!(between >= Duration::from_millis(1_990), "{status}: came again after {between:?}");
        delivered(&butler, text(&requests[before].json()["id"])).await;
    }
    assert_eq!(sink.received().len(), 4);
}

#[tokio::test]
async fn a_destination_that_hangs_is_left_after_its_time_and_tried_again() {
    let sink = Sink::start().await;
    let butler = Butler::start(&config(&sink, ", timeout: 1s")).await;
    sink.always(Some(Answer::Hang));
    butler.send(&[failure(&fields())]);
    let waiting = wait_for("the first attempt to end", || async {
        let deliveries = butler.deliveries("instance=webhook").await;
        deliveries.into_iter().find(|delivery| delivery["error"].is_string())
    })
    .await;
    assert!(text(&waiting["error"]).contains("did not answer within 1 s (is it overloaded"), "{waiting}");
    sink.always(None);
    let success = wait_for("a success", || async { sink.successes().into_iter().next() }).await;
    let requests = sink.received();
    assert!(requests[1].at - requests[0].at >= Duration::from_millis(990));
    let delivery = delivered(&butler, text(&success.json()["id"])).await;
    assert_eq!(delivery["attempt"], json!(requests.len()), "{delivery}");
    assert_eq!(sink.successes().len(), 1);
}

#[tokio::test]
async fn a_refused_event_is_dead_at_once_visible_and_told_to_others_once() {
    let (sink, watch) = (Sink::start().await, Sink::start().await);
    // The one in trouble asks for everything: it must not be told of its own deaths.
    let bad = config(&sink, "").replace("    retry", "    name: bad\n    on: [{ events: [\"*\"] }]\n    retry");
    let butler = Butler::start(&format!(
        "{bad}  - use: webhook\n    name: watch\n    on: [{{ events: [delivery.dead] }}]\n    settings: {{ url: {}, format: event }}\n",
        watch.url("/")
    ))
    .await;
    // Its own start and socket.
    sink.wait(2).await;
    for (n, status) in (0..).zip([400, 413, 422, 410]) {
        sink.next([Answer::Status(status)]);
        butler.send(&[failure(&fields())]);
        let requests = sink.wait(n + 3).await;
        let deaths = wait_deliveries(&butler, "dead", "bad", n + 1).await;
        let death = &deaths[0];
        assert_eq!((&death["event"], &death["attempt"]), (&requests[n + 2].json()["id"], &json!(1)), "{death}");
        assert!(text(&death["error"]).contains(&status.to_string()), "{death}");
        assert_eq!(
            (&death["kind"], &death["taskName"]),
            (&json!("reload-task.failed"), &json!("Reload task of Sales"))
        );
    }
    let told = watch.wait(1).await[0].json();
    assert_eq!(told["kind"], "delivery.dead");
    let data = &told["data"]["dead"];
    assert_eq!((&data["instance"], &data["count"]), (&json!("bad"), &json!(1)), "{told}");
    assert_eq!(
        (&data["last"]["kind"], &data["last"]["task"]),
        (&json!("reload-task.failed"), &json!("Reload task of Sales"))
    );
    assert!(text(&data["last"]["error"]).contains("400"), "{told}");
    butler.wait_metric("butler_deliveries_died_total{instance=\"bad\"}", 4.0).await;
    assert_eq!(butler.metric("butler_deliveries_dead{instance=\"bad\"}").await, Some(4.0));
    let id = text(&wait_deliveries(&butler, "dead", "bad", 4).await[0]["id"]).to_owned();
    let (status, single) = butler.get(&format!("/v5/deliveries/{id}")).await;
    assert_eq!((status, &single["state"]), (200, &json!("dead")));
    assert!(butler.log().contains("butler deliveries retry"), "{}", butler.log());
    // Four deaths within 15 min are told once, and never to the one that they are about.
    let (_, events) = butler.get("/v5/events?kind=delivery.dead").await;
    assert_eq!(events["events"].as_array().map(Vec::len), Some(1), "{events}");
    assert_eq!((watch.received().len(), sink.received().len()), (1, 6));
}

#[tokio::test]
async fn a_dead_delivery_is_sent_again_on_request() {
    let sink = Sink::start().await;
    let butler = Butler::start(&config(&sink, "")).await;
    sink.next([Answer::Status(400)]);
    butler.send(&[failure(&fields())]);
    let death = butler.wait_delivery("dead", "webhook").await;
    let id = text(&death["id"]);
    let (status, answer) = butler.post(&format!("/v5/deliveries/{id}/retry"), &Value::Null).await;
    assert_eq!((status, &answer["state"]), (200, &json!("pending")), "{answer}");
    let requests = sink.wait(2).await;
    assert_eq!(requests[0].body, requests[1].body);
    assert_eq!(requests[0].header("idempotency-key"), requests[1].header("idempotency-key"));
    let delivery = delivered(&butler, text(&death["event"])).await;
    assert_eq!((&delivery["id"], &delivery["attempt"]), (&json!(id), &json!(1)), "attempts are counted anew");

    // One that is still open is not doubled, and one that is not there is not found.
    sink.always(Some(Answer::Status(503)));
    butler.send(&[failure(&fields())]);
    let open = wait_for("an open delivery", || async {
        butler.deliveries("state=pending").await.into_iter().find(|delivery| delivery["error"].is_string())
    })
    .await;
    let (status, _) = butler.post(&format!("/v5/deliveries/{}/retry", text(&open["id"])), &Value::Null).await;
    assert_eq!(status, 409);
    let (status, _) = butler.post("/v5/deliveries/nobody-d77/retry", &Value::Null).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_throttle_held_by_a_death_lets_the_newest_suppressed_go() {
    let sink = Sink::start().await;
    let throttled = config(&sink, "")
        .replace("    retry", "    on: [{ events: [\"*.failed\"], throttle: { per: task, every: 1h } }]\n    retry");
    let butler = Butler::start(&throttled).await;
    sink.always(Some(Answer::Status(503)));
    let task = fields();
    let again = || e2e::Fields { execution_id: fields().execution_id, ..task.clone() };
    butler.send(&[failure(&task)]);
    let first = sink.wait(1).await[0].json()["id"].clone();
    butler.send(&[failure(&again())]);
    wait_deliveries(&butler, "suppressed", "webhook", 1).await;
    butler.send(&[failure(&again())]);
    let suppressed = wait_deliveries(&butler, "suppressed", "webhook", 2).await;
    let (newest, older) = (suppressed[0]["event"].clone(), suppressed[1]["event"].clone());
    assert_eq!(sink.successes().len(), 0);

    sink.next([Answer::Status(400)]);
    sink.always(None);
    let death = butler.wait_delivery("dead", "webhook").await;
    assert_eq!(death["event"], first);
    let delivery = delivered(&butler, text(&newest)).await;
    assert_eq!(delivery["suppressed"], 1, "it stands for the older one as well: {delivery}");
    assert_eq!(wait_deliveries(&butler, "suppressed", "webhook", 1).await[0]["event"], older);
    let told: Vec<Value> = sink.successes().iter().map(|request| request.json()["id"].clone()).collect();
    assert_eq!(told, [newest]);
}

#[tokio::test]
async fn a_hanging_destination_delays_nobody_else() {
    let (slow, quick) = (Sink::start().await, Sink::start().await);
    slow.always(Some(Answer::Hang));
    let config = config(&slow, ", timeout: 30s").replace("    retry", "    name: slow\n    retry");
    let butler = Butler::start(&format!(
        "shutdownTimeout: 1s\n{config}  - use: webhook\n    name: quick\n    settings: {{ url: {} }}\n",
        quick.url("/")
    ))
    .await;
    let messages: Vec<String> = (0..50).map(|_| failure(&fields())).collect();
    butler.send(&messages);
    quick.wait(50).await;
    wait_deliveries(&butler, "delivered", "quick", 50).await;
    assert_eq!(butler.metric("butler_deliveries_open{instance=\"slow\"}").await, Some(50.0));
    assert_eq!(quick.received().len(), 50);
}
