//! `POST /v5/messages`: a posted message goes the way of every event.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use e2e::{Butler, Sink};
use serde_json::json;

#[tokio::test]
async fn a_posted_message_reaches_those_that_have_a_route_for_it() {
    let sink = Sink::start().await;
    let config = |on: &str| {
        format!(
            "plugins:\n  - use: webhook\n    name: usual\n    settings: {{ url: \"{}\", format: event }}\n  - use: webhook\n    \
             name: desk\n    on: [{{ events: [{on}] }}]\n    settings: {{ url: \"{}\", format: event }}\n",
            sink.url("/usual"),
            sink.url("/desk")
        )
    };
    let butler = Butler::start(&config("message.posted")).await;
    let message = json!({ "text": "Stock \"loaded\"\n✓", "channel": "#desk", "from": "Load script" });
    let (status, posted) = butler.post("/v5/messages", &message).await;
    assert_eq!((status, &posted["deliveries"]), (202, &json!(1)), "{posted}");
    let received = sink.wait(1).await;
    assert_eq!(received[0].target, "/desk");
    let event = received[0].json();
    assert_eq!((&event["id"], &event["kind"]), (&posted["eventId"], &json!("message.posted")));
    assert_eq!((&event["data"]["posted"], &event["data"]["message"]), (&message, &message["text"]));
    butler.wait_delivery("delivered", "desk").await;
    let event = butler.event(posted["eventId"].as_str().unwrap()).await;
    assert_eq!(event["deliveries"].as_array().unwrap().len(), 1, "{event}");

    // Routes of a reload count at once.
    butler.rewrite(&config("node.silent"));
    assert_eq!(butler.post("/v5/reload", &json!(null)).await.0, 200);
    let (status, posted) = butler.post("/v5/messages", &message).await;
    assert_eq!((status, &posted["deliveries"]), (202, &json!(0)), "{posted}");
    let (status, refused) = butler.post("/v5/messages", &json!({ "msg": "x" })).await;
    assert_eq!(status, 400, "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("must have required property 'text'"), "{refused}");
    let (_, log) = butler.stop().await;
    assert!(log.contains("a message was posted") && !log.contains("loaded"), "{log}");
    assert_eq!(sink.received().len(), 1);
}
