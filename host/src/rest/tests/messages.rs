//! Messages that are posted.

use butler_plugin_api::Scope;
use futures_util::FutureExt;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Options, Site, answer, token};
use crate::config::Rest;

async fn post(site: &Site, body: &str) -> (u16, Value) {
    let request = site.request(Method::POST, "/v5/messages").header("content-type", "application/json");
    answer(request.body(body.to_owned())).await
}

#[tokio::test]
async fn a_message_is_an_event_and_the_answer_says_how_many_get_it() {
    let config = serde_json::from_value(json!({ "version": 1, "plugins": [
        { "use": "any", "name": "chat", "on": [{ "events": ["message.posted"] }] },
        { "use": "any", "name": "desk", "on": [{ "events": ["message.*"], "where": { "posted.channel": "#desk" } }] },
        { "use": "any", "name": "mail", "on": [{ "events": ["reload-task.failed"] }] },
    ] }))
    .unwrap();
    let site = Site::start(Options { config, ..Options::default() }).await;
    assert!(site.shared.accepted.notified().now_or_never().is_none());
    let (status, body) = post(&site, r#"{ "text": "Stock loaded\nall of it" }"#).await;
    assert_eq!((status, &body["deliveries"]), (202, &json!(1)), "{body}");
    assert!(site.shared.accepted.notified().now_or_never().is_some());
    let seq = site.store.parse_event_id(body["eventId"].as_str().unwrap()).unwrap();
    let event = site.store.event(seq).await.unwrap().unwrap().event;
    assert_eq!((event.kind.as_str(), event.source.as_str()), ("message.posted", "rest"));
    let text = "Stock loaded\nall of it";
    let data = json!({ "message": text, "posted": { "text": text } });
    assert_eq!(serde_json::to_value(&event.data).unwrap(), data);

    let all = json!({ "text": "x", "channel": "#desk", "topic": "qlik/notes", "from": "Load script", "emoji": ":+1:" });
    let (status, body) = post(&site, &all.to_string()).await;
    assert_eq!((status, &body["deliveries"]), (202, &json!(2)), "{body}");
    let seq = site.store.parse_event_id(body["eventId"].as_str().unwrap()).unwrap();
    let event = site.store.event(seq).await.unwrap().unwrap().event;
    assert_eq!(serde_json::to_value(event.data.posted.unwrap()).unwrap(), all);

    // An empty name is none.
    let (_, body) = post(&site, r#"{ "text": "x", "channel": " " }"#).await;
    let seq = site.store.parse_event_id(body["eventId"].as_str().unwrap()).unwrap();
    assert_eq!(site.store.event(seq).await.unwrap().unwrap().event.data.posted.unwrap().channel, None);
}

#[tokio::test]
async fn nobody_gets_it_and_the_answer_says_so() {
    let site = Site::start(Options::default()).await;
    let (status, body) = post(&site, r#"{ "text": "hello" }"#).await;
    assert_eq!((status, &body["deliveries"]), (202, &json!(0)), "{body}");
}

#[tokio::test]
async fn what_is_no_message_is_refused_with_words() {
    let site = Site::start(Options::default()).await;
    let long = |length: usize| "x".repeat(length);
    for (body, words) in [
        ("{}".to_owned(), "body must have required property 'text'"),
        (r#"{ "text": " \n" }"#.to_owned(), "`text` must not be empty"),
        (r#"{ "text": {} }"#.to_owned(), "body/text must be string"),
        (r#"{ "text": "" }"#.to_owned(), "body/text must NOT have fewer than 1 characters"),
        (
            r#"{ "text": "x", "chanel": "y" }"#.to_owned(),
            "body must NOT have additional properties ('chanel'); known are channel, emoji, from, text, topic",
        ),
        (r#"["x"]"#.to_owned(), "body must be object"),
        (String::new(), "Body cannot be empty"),
        (r#"{ "text": "#.to_owned(), "not valid JSON"),
        (json!({ "text": long((64 << 10) + 1) }).to_string(), "`text` has 65537 bytes, at most 65536 are taken"),
        (json!({ "text": "x", "topic": long(501) }).to_string(), "`topic` has 501 bytes, at most 500"),
        (json!({ "text": "x", "from": "a\r\nBcc: b" }).to_string(), "`from` must not hold line breaks"),
    ] {
        let (status, answer) = post(&site, &body).await;
        assert_eq!((status, &answer["error"]), (400, &json!("Bad Request")), "{answer}");
        assert!(answer["message"].as_str().unwrap().contains(words), "{answer} lacks {words}");
    }
    assert_eq!(site.store.accepted_count().await.unwrap(), 0);
    let (status, _) = post(&site, &json!({ "text": long(64 << 10) }).to_string()).await;
    assert_eq!(status, 202);
}

#[tokio::test]
async fn messages_have_a_scope_of_their_own() {
    let rest = Rest {
        tokens: vec![
            token("reader", "reader-secret", &[Scope::Read, Scope::Deliveries]),
            token("script", "script-secret", &[Scope::Messages]),
        ],
        ..Rest::default()
    };
    let site = Site::start(Options { rest, ..Options::default() }).await;
    let request = || site.request(Method::POST, "/v5/messages").body(r#"{ "text": "hello" }"#);
    assert_eq!(answer(request()).await.0, 401);
    let (status, body) = answer(request().bearer_auth("reader-secret")).await;
    assert_eq!(status, 403);
    assert!(body["message"].as_str().unwrap().contains("scope `messages`"), "{body}");
    assert_eq!(answer(request().bearer_auth("script-secret")).await.0, 202);
}
