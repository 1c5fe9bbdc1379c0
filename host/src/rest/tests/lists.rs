//! Events, deliveries, metrics.

use std::collections::BTreeMap;

use butler_plugin_api::Event;
use futures_util::FutureExt;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Options, Site, answer};
use crate::plugins::Owner;

#[tokio::test]
async fn pages_of_events() {
    let site = Site::start(Options::default()).await;
    let seqs =
        site.accept(&["reload-task.failed", "reload-task.aborted", "node.silent", "reload-task.failed", "x.y"]).await;
    let ids: Vec<String> = seqs.iter().rev().map(|seq| site.store.event_id(*seq)).collect();

    let mut seen = Vec::new();
    let mut path = "/v5/events?limit=2".to_owned();
    let mut pages = 0;
    loop {
        let (status, body) = answer(site.get(&path)).await;
        assert_eq!(status, 200);
        pages += 1;
        seen.extend(body["events"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned()));
        match body["next"].as_str() {
            Some(next) => path = format!("/v5/events?limit=2&before={next}"),
            None => break,
        }
    }
    assert_eq!((seen, pages), (ids.clone(), 3));
    // A page that is just full is the last one.
    assert_eq!(answer(site.get("/v5/events?limit=5")).await.1["next"], Value::Null);

    let count =
        async |query: &str| answer(site.get(&format!("/v5/events?{query}"))).await.1["events"].as_array().map(Vec::len);
    assert_eq!(count("kind=reload-task.failed").await, Some(2));
    assert_eq!(count("kind=reload-task.*").await, Some(3));
    assert_eq!(count("task=t0").await, Some(3));
    assert_eq!(count("since=1h").await, Some(5));
    assert_eq!(count("until=1h").await, Some(0));
    assert_eq!(count("since=2099-01-01T00:00:00Z").await, Some(0));

    for (query, words) in [
        ("limit=0", "querystring/limit must be >= 1"),
        ("limit=501", "querystring/limit must be <= 500"),
        ("since=soon", "`since` must be a date"),
        ("before=other-1", "`before` is no id of an event"),
        ("knid=x", "querystring must NOT have additional properties ('knid'); known are before, kind,"),
    ] {
        let (status, body) = answer(site.get(&format!("/v5/events?{query}"))).await;
        assert_eq!((status, &body["statusCode"], &body["error"]), (400, &json!(400), &json!("Bad Request")), "{query}");
        assert!(body["message"].as_str().unwrap().contains(words), "{body}");
    }

    let delivery = site.deliver(seqs[0], "mail").await;
    let (status, body) = answer(site.get(&format!("/v5/events/{}", ids[4]))).await;
    assert_eq!((status, &body["kind"], &body["state"]), (200, &json!("reload-task.failed"), &json!("routed")));
    assert_eq!(body["deliveries"][0]["id"], json!(site.store.delivery_id(delivery)));
    assert_eq!(body["deliveries"][0]["taskName"], "Sales");
    for id in ["nonsense", &site.store.event_id(999)] {
        let (status, body) = answer(site.get(&format!("/v5/events/{id}"))).await;
        assert_eq!((status, &body["error"]), (404, &json!("Not Found")));
    }
}

#[tokio::test]
async fn deliveries_are_listed_and_what_cannot_be_retried_says_why() {
    let site = Site::start(Options {
        secrets: vec!["hunter2-password".to_owned()],
        instances: vec!["chat", "mail"],
        ..Options::default()
    })
    .await;
    let seqs = site.accept(&["reload-task.failed", "reload-task.aborted", "node.silent"]).await;
    let mut ids = Vec::new();
    for seq in &seqs[..2] {
        ids.push(site.store.delivery_id(site.deliver(*seq, "mail").await));
    }
    ids.push(site.store.delivery_id(site.deliver(seqs[2], "chat").await));
    site.bury("mail", "535 for hunter2-password").await;

    let (status, page) = answer(site.get("/v5/deliveries?limit=2")).await;
    assert_eq!((status, page["deliveries"].as_array().unwrap().len(), &page["next"]), (200, 2, &json!(ids[1])));
    let (_, page) = answer(site.get(&format!("/v5/deliveries?limit=2&before={}", ids[1]))).await;
    assert_eq!((&page["deliveries"][0]["id"], &page["next"]), (&json!(ids[0]), &Value::Null));

    let list = async |query: &str| answer(site.get(&format!("/v5/deliveries?{query}"))).await;
    let (_, dead) = list("state=dead").await;
    assert_eq!(dead["deliveries"].as_array().unwrap().len(), 2);
    let row = &dead["deliveries"][1];
    assert_eq!((&row["id"], &row["kind"], &row["attempt"]), (&json!(ids[0]), &json!("reload-task.failed"), &json!(1)));
    assert_eq!(row["error"], "535 for [redacted]");
    assert_eq!(row["event"], json!(site.store.event_id(seqs[0])));
    assert_eq!(list("instance=chat").await.1["deliveries"].as_array().unwrap().len(), 1);
    assert_eq!(list("task=t1").await.1["deliveries"].as_array().unwrap().len(), 1);
    let query = format!("event={}", site.store.event_id(seqs[2]));
    assert_eq!(list(&query).await.1["deliveries"][0]["instance"], "chat");
    let (status, refused) = list("state=done").await;
    let words = "querystring/state must be one of pending, leased, ";
    assert!(status == 400 && refused["message"].as_str().unwrap().starts_with(words), "{refused}");
    assert_eq!(answer(site.get(&format!("/v5/deliveries/{}", ids[0]))).await.1["state"], "dead");

    let retry = async |id: &str| answer(site.request(Method::POST, &format!("/v5/deliveries/{id}/retry"))).await;
    let (status, body) = retry(&site.store.delivery_id(999)).await;
    assert_eq!((status, &body["error"]), (404, &json!("Not Found")));
    assert_eq!(retry("nonsense").await.0, 404);
    let (status, body) = retry(&ids[2]).await;
    assert_eq!(status, 409);
    assert!(body["message"].as_str().unwrap().contains("still open (pending)"), "{body}");
    assert!(site.queues.add("mail").notified().now_or_never().is_none());
    let pending = json!({ "id": ids[0], "state": "pending", "instance": "mail" });
    assert_eq!(retry(&ids[0]).await, (200, pending));
    assert!(site.queues.add("mail").notified().now_or_never().is_some());
    assert_eq!(list("state=dead").await.1["deliveries"].as_array().unwrap().len(), 1);
    assert_eq!(retry(&ids[0]).await.0, 409);
    let another = site.accept(&["node.silent"]).await[0];
    let foreign = site.store.delivery_id(site.deliver(another, "gone").await);
    site.bury("gone", "x").await;
    let (status, body) = retry(&foreign).await;
    assert_eq!(status, 409);
    assert!(body["message"].as_str().unwrap().contains("`gone`, which is not in the config"), "{body}");
    assert_eq!(answer(site.get("/v5/plugins")).await, (200, json!({ "plugins": [] })));
}

/// Names with their samples; fails where the page is not what Prometheus reads.
fn parse_metrics(page: &str) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    let mut current = String::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty(), "{line}");
            current = name.to_owned();
            assert!(names.insert(current.clone(), 0).is_none(), "twice: {name}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!((name, name.ends_with("_total")), (current.as_str(), kind == "counter"), "{line}");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(series.split('{').next().unwrap(), current, "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            *names.get_mut(&current).unwrap() += 1;
        }
    }
    names
}

#[tokio::test]
async fn metrics() {
    let site = Site::start(Options { udp: true, ..Options::default() }).await;
    let seqs = site.accept(&["reload-task.failed", "reload-task.aborted"]).await;
    site.deliver(seqs[0], "mail").await;
    let owner = Owner { plugin: "smtp-mail", instance: "mail" };
    site.shared.metrics.count(owner, "sent", BTreeMap::new(), 2.0).unwrap();
    let event: Event = serde_json::from_value(json!({ "id": "x-1", "kind": "reload-task.failed", "time": "", "receivedAt": "",
        "source": "udp", "data": { "task": { "id": "t", "name": "Sales \"x\"\\" }, "execution": { "durationMs": 2500 } } }))
    .unwrap();
    site.tasks.note(&event, 1_700_000_000_000);
    let response = site.get("/metrics").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let page = response.text().await.unwrap();
    let names = parse_metrics(&page);
    assert_eq!(names["butler_task_state"], 3);
    for line in [
        "butler_events_waiting 1".to_owned(),
        "butler_deliveries_open{instance=\"mail\"} 1".to_owned(),
        "butler_deliveries_dead{instance=\"mail\"} 0".to_owned(),
        "butler_plugin_smtp_mail_sent_total{instance=\"mail\"} 2".to_owned(),
        "butler_store_trouble 0".to_owned(),
        "butler_udp_dropped_total{reason=\"buffer-full\"} 0".to_owned(),
        format!("butler_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")),
        "butler_task_last_run_duration_seconds{task_id=\"t\",task_name=\"Sales \\\"x\\\"\\\\\"} 2.5".to_owned(),
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
}
