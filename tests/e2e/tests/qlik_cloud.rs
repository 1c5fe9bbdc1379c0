//! Events of Qlik Cloud by webhook: which are taken, and that each failed reload is told once.

use std::time::{Duration, Instant};

use e2e::qlik::{CloudFault, CloudSimulator, Envelope, Teller, sign};
use e2e::{Butler, Sink, Tenants, call_webhook, cloud_failure, http, wait_for, webhook};
use serde_json::{Value, json};

const SIGNATURE: &str = "Qlik-Signature";

fn config(sink: &Sink) -> String {
    format!("plugins:\n  - use: webhook\n    name: hook\n    settings: {{ url: {}, format: event }}\n", sink.url("/"))
}

/// How many messages had this outcome.
async fn count(butler: &Butler, outcome: &str) -> f64 {
    let series = format!("butler_qlik_cloud_events_total{{outcome=\"{outcome}\"}}");
    butler.metric(&series).await.unwrap_or(-1.0)
}

/// How many alerts there are once one about another reload has followed all of them.
async fn alerts(tenants: &Tenants, butler: &Butler, sink: &Sink, app: &str) -> Vec<Value> {
    let last = tenants.fail(butler, "The last of all").await;
    sink.wait_where("the last alert", |request| request.json()["data"]["app"]["id"] == last.app_id.as_str()).await;
    let events = sink.received().into_iter().map(|request| request.json());
    events.filter(|event| event["data"]["app"]["name"] == app).collect()
}

#[tokio::test]
async fn a_failed_reload_is_an_alert_with_all_facts() {
    let (tenants, sink) = (Tenants::start(&["acme-id"]).await, Sink::start().await);
    let card = r#"{ "type": "AdaptiveCard", "version": "1.3", "body": [{ "type": "TextBlock", "text": "{{scriptLogHead}}" }] }"#;
    std::fs::write(tenants.folder().path().join("card.handlebars"), card).unwrap();
    let teams = format!(
        "  - use: teams\n    settings:\n      webhookUrl: {}\n      templateFile: card.handlebars\n      \
         headScriptLogLines: 3\n      tailScriptLogLines: 0\nscriptLog: {{ lines: 1 }}\n",
        sink.url("/teams")
    );
    let more = ", comment: Lab, links: { qmc: \"https://acme.test/console\", hub: \"https://acme.test/hub\" }";
    let butler = tenants.butler_with(more, &(config(&sink) + &teams)).await;
    let reload = tenants[0].fail_reload("Orders");
    let (status, answer) = webhook(&butler, &cloud_failure(&reload)).await;
    assert_eq!(status, 202, "{answer}");
    let event = sink.wait_where("the event", |request| request.target == "/").await.json();
    assert_eq!(event["id"], answer["id"]);
    assert_eq!((&event["kind"], &event["source"]), (&json!("cloud-app-reload.failed"), &json!("qlik-cloud")));
    assert_eq!(event["time"], reload.time(0));
    let url = tenants[0].url();
    let cloud = json!({
        "tenantId": "acme-id", "tenantComment": "Lab", "tenantUrl": url, "qmcUrl": "https://acme.test/console",
        "hubUrl": "https://acme.test/hub", "appUrl": format!("{url}/sense/app/{}", reload.app_id),
        "appHasSectionAccess": true, "appThumbnail": format!("{url}/thumbnails/orders.png"),
        "ownerPicture": format!("{url}/pictures/{}.png", reload.owner_id), "userName": "Bo Lund",
        "reloadId": reload.reload_id, "reloadTrigger": "chronos", "source": "com.qlik/engine",
        "eventType": "com.qlik.v1.app.reload.finished", "eventTypeVersion": "1.0.0", "status": "error", "durationMs": 5120,
        "errorCode": "EngineReloadScriptError", "errorMessage": "Table 'Orders' not found",
        "log": "Started loading data\nTable 'Orders' not found",
        "errors": ["{\"qErrorString\":\"Table 'Orders' not found\"}"], "warnings": ["slow source"],
        "statements": ["{\"label\":\"Orders\",\"type\":\"Load\"}"], "endedWithMemoryConstraint": false,
        "isDirectQueryMode": false, "isPartialReload": false, "isSessionApp": false, "isSkipStore": false,
        "peakMemoryBytes": 7_340_032, "sizeMemoryBytes": 1_048_576, "rowLimit": -1, "usage": "ANALYTICS",
    });
    let data = &event["data"];
    assert_eq!(data["cloud"], cloud);
    let app = json!({
        "id": reload.app_id, "name": "Orders", "description": "What was ordered", "fileSizeBytes": 1_234_567,
        "lastReloadTime": "2025-03-08T14:05:06.000Z", "modifiedDate": "2025-03-01T08:00:00.000Z",
        "publishTime": "2024-02-03T08:00:00.000Z", "published": true,
        "tags": ["finance", "Butler - Send Teams alert"], "customProperties": {},
        "owner": { "id": reload.owner_id, "name": "Ann Berg", "userId": reload.owner_id, "userDirectory": "",
                   "emails": ["ann.berg@example.com"] },
    });
    assert_eq!(data["app"], app);
    let execution = json!({ "statusText": "FAILED", "startTime": reload.time(-6_250), "stopTime": reload.time(-1_000),
                            "durationMs": 5_250, "details": [] });
    assert_eq!(data["execution"], execution);
    assert_eq!((&data["user"], &data["message"]), (&json!(reload.user_id), &json!("Table 'Orders' not found")));
    assert_eq!(data["missing"], Value::Null, "{event}");
    let log = &data["scriptLog"];
    assert_eq!((&log["rows"], &log["head"]), (&json!(5), &json!(["20250309T140501 Execution started."])));
    // More lines than the event has: the plugin has fetched them by the reference.
    let card = sink.wait_where("the card", |request| request.target == "/teams").await;
    assert!(card.body.contains("20250309T140506 Error"), "{}", card.body);
    assert!(!butler.log().contains("ERROR"), "{}", butler.log());
}

#[tokio::test]
async fn every_envelope_of_both_event_types_tells_of_one_reload_once() {
    let (tenants, sink) = (Tenants::start(&["acme-id"]).await, Sink::start().await);
    let butler = tenants.butler(&config(&sink)).await;
    let reload = tenants[0].fail_reload("Orders");
    let mut ids = Vec::new();
    for teller in [Teller::Service, Teller::Engine] {
        for envelope in [Envelope::V1, Envelope::Hybrid, Envelope::Legacy] {
            let (status, answer) = webhook(&butler, &reload.message(envelope, teller).to_string()).await;
            let first = ids.is_empty();
            assert_eq!((status, answer["duplicate"].is_null()), (if first { 202 } else { 200 }, first), "{answer}");
            ids.push(answer["id"].clone());
        }
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(alerts(&tenants, &butler, &sink, "Orders").await.len(), 1);
    assert_eq!((count(&butler, "accepted").await, count(&butler, "duplicate").await), (2.0, 5.0));
}

#[tokio::test]
async fn an_event_that_was_taken_survives_a_kill_and_is_known_after_it() {
    let (tenants, sink) = (Tenants::start(&["acme-id"]).await, Sink::start().await);
    // Until the kill the tenant says nothing, so that the event waits.
    tenants[0].add_fault(CloudFault::hang());
    let butler = tenants.butler(&config(&sink)).await;
    let reload = tenants[0].fail_reload("Orders");
    let (status, first) = webhook(&butler, &cloud_failure(&reload)).await;
    assert_eq!(status, 202);
    let killed = butler.kill();
    assert!(sink.received().is_empty());
    tenants[0].clear_faults();
    let butler = killed.start().await;
    let (status, again) = webhook(&butler, &cloud_failure(&reload)).await;
    assert_eq!((status, &again["id"], &again["duplicate"]), (200, &first["id"], &json!(true)));
    let told = sink.wait(1).await[0].json();
    assert_eq!((&told["id"], &told["data"]["missing"]), (&first["id"], &Value::Null), "{told}");
    // Told before the next kill: known after it.
    let butler = butler.kill_and_start().await;
    let (status, again) = webhook(&butler, &cloud_failure(&reload)).await;
    assert_eq!((status, &again["id"]), (200, &first["id"]));
    butler.stop().await;
    let butler = tenants.butler(&config(&sink)).await;
    assert_eq!(webhook(&butler, &cloud_failure(&reload)).await.0, 200);
    let told = alerts(&tenants, &butler, &sink, "Orders").await;
    assert!(told.iter().all(|event| event["id"] == first["id"]), "{told:?}");
}

#[tokio::test]
async fn who_cannot_sign_learns_nothing_and_sends_nothing() {
    let (tenants, sink) = (Tenants::start(&["acme-id"]).await, Sink::start().await);
    // A second tenant without a secret.
    let mute = "    - { id: mute-id, url: \"https://mute.test\", token: \"${env:TOKEN}\" }\ntls:\n";
    let section = tenants.section("").replace("tls:\n", mute) + &config(&sink);
    let butler = Butler::start_in(tenants.folder().clone(), &section, &Tenants::environment()).await;
    let body = cloud_failure(&tenants[0].fail_reload("Orders"));
    let good = sign(CloudSimulator::SECRET, body.as_bytes());
    let [nobody, mute] = ["nobody-id", "mute-id"].map(|id| body.replace("acme-id", id));
    let other = sign("another secret", body.as_bytes());
    let signed = |text: &str| sign(CloudSimulator::SECRET, text.as_bytes());
    let mut answers = Vec::new();
    for (outcome, text, signatures) in [
        ("no-signature", &body, vec![]),
        ("no-signature", &body, vec![good.clone(), good.clone()]),
        ("wrong-signature", &body, vec![other]),
        ("wrong-signature", &body, vec![String::new()]),
        ("wrong-signature", &body.replace("Orders", "orders"), vec![good.clone()]),
        ("unknown-tenant", &nobody, vec![signed(&nobody)]),
        ("no-secret", &mute, vec![signed(&mute)]),
    ] {
        let before = count(&butler, outcome).await;
        let headers: Vec<(&str, &str)> = signatures.iter().map(|signature| (SIGNATURE, signature.as_str())).collect();
        answers.push(call_webhook(&butler, text, &headers).await);
        assert!((count(&butler, outcome).await - before - 1.0).abs() < 0.1, "{outcome}");
    }
    assert_eq!(answers[0].0, 401);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "one answer for all of them: {answers:?}");
    let log = butler.log();
    for words in
        ["compare the webhook's secret", "no tenant under `qlikCloud.tenants`", "this tenant has no `webhookSecret`"]
    {
        assert!(log.contains(words), "{words}:\n{log}");
    }
    for secret in [CloudSimulator::SECRET, CloudSimulator::TOKEN] {
        assert!(!log.contains(secret), "{log}");
    }
    // Signed as Qlik Cloud does, also in the other case and with the name of the hash.
    let headers = [(SIGNATURE, &*format!("sha256={}", good.to_uppercase()))];
    assert_eq!(call_webhook(&butler, &body, &headers).await.0, 202);
    assert_eq!(alerts(&tenants, &butler, &sink, "Orders").await.len(), 1);
}

#[tokio::test]
async fn a_flood_of_refused_messages_does_not_flood_the_log() {
    let (tenants, sink) = (Tenants::start(&["acme-id"]).await, Sink::start().await);
    let butler = tenants.butler(&config(&sink)).await;
    let body = cloud_failure(&tenants[0].fail_reload("Orders"));
    for n in 0..300 {
        let headers = [(SIGNATURE, &*format!("{n:064}"))];
        let text =
            if n % 2 == 0 { body.clone() } else { body.replace("acme-id", &format!("nobody-{n}\\n\\u001b[31m")) };
        assert_eq!(call_webhook(&butler, &text, &headers).await.0, 401);
    }
    assert_eq!((count(&butler, "wrong-signature").await, count(&butler, "unknown-tenant").await), (150.0, 150.0));
    let lines = butler.log().lines().filter(|line| line.contains("qlik-cloud/events")).count();
    assert_eq!(lines, 2, "{}", butler.log());
    assert!(!butler.log().contains("[31m\u{1b}") && !butler.log().contains("\u{1b}[31m\n"), "{}", butler.log());
    assert_eq!(alerts(&tenants, &butler, &sink, "Orders").await.len(), 0);
}

#[tokio::test]
async fn what_is_old_no_event_or_too_large_is_refused_and_what_did_not_fail_ignored() {
    let (tenants, sink) = (Tenants::start(&["acme-id"]).await, Sink::start().await);
    let butler = tenants.butler(&config(&sink)).await;
    let reload = tenants[0].fail_reload("Orders");
    for ago in [25 * 3_600_000, 48 * 3_600_000] {
        let (refused, answer) = webhook(&butler, &cloud_failure(&reload.clone().ago(ago))).await;
        assert_eq!(refused, 403, "{answer}");
        assert!(answer["message"].as_str().unwrap().contains("more than 24 h ago"), "{answer}");
    }
    let without_type = cloud_failure(&reload).replace("\"type\"", "\"kind\"").replace("\"eventType\"", "\"eventKind\"");
    for (body, part) in [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("{}", "names no tenant"),
        (r#"{"tenantid":"acme-id"}"#, "has no type"),
        (&without_type, "has no type"),
    ] {
        let (status, answer) = webhook(&butler, body).await;
        assert!(status == 400 && answer["message"].as_str().unwrap().contains(part), "{body}: {status} {answer}");
    }
    // 1 MB is taken, and not a byte more.
    let padded = |length: usize| {
        let mut body = cloud_failure(&tenants[0].fail_reload("Large"));
        body.pop();
        body.push_str(", \"padding\": \"");
        let rest = length - body.len() - 2;
        body + &"x".repeat(rest) + "\"}"
    };
    assert_eq!(webhook(&butler, &padded(1 << 20)).await.0, 202);
    for length in [(1 << 20) + 1, 3 << 20] {
        assert_eq!(webhook(&butler, &padded(length)).await.0, 413, "{length}");
    }
    for (key, value, why) in [
        ("\"error\"", "\"ok\"", "the reload did not fail: its status is `ok`"),
        (
            "com.qlik.v1.app.reload.finished",
            "com.qlik.v1.app.opened",
            "events of type `com.qlik.v1.app.opened` are not told",
        ),
    ] {
        let (status, answer) = webhook(&butler, &cloud_failure(&reload).replace(key, value)).await;
        assert_eq!((status, answer), (200, json!({ "ignored": why })));
    }
    assert_eq!(alerts(&tenants, &butler, &sink, "Orders").await.len(), 0);
    assert_eq!(alerts(&tenants, &butler, &sink, "Large").await.len(), 1);
    assert!(tenants[0].seen().iter().all(|(_, request)| !request.target.contains(&reload.reload_id)), "not asked for");
    let counted = [count(&butler, "replay").await, count(&butler, "malformed").await, count(&butler, "ignored").await];
    assert_eq!(format!("{counted:?}"), "[2.0, 5.0, 2.0]");
    let (status, _) = butler.get("/v5/qlik-cloud/events").await;
    assert_eq!(status, 404, "only POST");
}

#[tokio::test]
async fn a_public_name_is_let_in_where_the_config_names_it_and_needs_no_token() {
    let (tenants, sink) = (Tenants::start(&["acme-id"]).await, Sink::start().await);
    let sha256 = "0".repeat(64);
    let rest = |hosts: &str| {
        format!(
            "rest: {{ listen: \"127.0.0.1:0\"{hosts}, tokens: [{{ name: ops, sha256: \"{sha256}\", scopes: [read] }}] }}\n{}",
            config(&sink)
        )
    };
    let reload = tenants[0].fail_reload("Orders");
    let body = cloud_failure(&reload);
    let signature = tenants[0].sign(body.as_bytes());
    let headers = [(SIGNATURE, &*signature), ("Host", "butler.example.com")];
    let butler = tenants.butler(&rest("")).await;
    let (status, answer) = call_webhook(&butler, &body, &headers).await;
    assert_eq!(status, 403);
    assert!(answer["message"].as_str().unwrap().contains("`rest.hosts`"), "{answer}");
    butler.stop().await;
    let butler = tenants.butler(&rest(", hosts: [butler.example.com]")).await;
    assert_eq!(call_webhook(&butler, &body, &headers).await.0, 202);
    let others = http().get(format!("{}/v5/events", butler.rest())).header("Host", "butler.example.com").send().await;
    assert_eq!(others.unwrap().status(), 401, "everything else needs a token");
    sink.wait(1).await;
}

#[tokio::test]
async fn many_reloads_at_once_are_told_once_each_with_their_facts() {
    const RELOADS: usize = 60;
    let (tenants, sink) = (Tenants::start(&["acme-id"]).await, Sink::start().await);
    let butler = tenants.butler(&config(&sink)).await;
    tenants[0].add_fault(CloudFault::latency(Duration::from_millis(20)));
    let begun = Instant::now();
    let mut reloads: Vec<String> = Vec::new();
    for n in 0..RELOADS {
        let reload = tenants.fail(&butler, &format!("App {n}")).await;
        reloads.push(reload.reload_id);
    }
    wait_for("all alerts", || async { (sink.received().len() >= RELOADS).then_some(()) }).await;
    let mut told: Vec<String> = sink
        .received()
        .iter()
        .map(|request| {
            let event = request.json();
            assert_eq!(event["data"]["missing"], Value::Null, "{event}");
            event["data"]["cloud"]["reloadId"].as_str().unwrap().to_owned()
        })
        .collect();
    told.sort();
    reloads.sort();
    assert_eq!(told, reloads, "after {:?}", begun.elapsed());
}

#[tokio::test]
async fn what_a_plugin_hands_over_is_told_once_with_what_came_by_webhook() {
    let (tenants, sink) = (Tenants::start(&["acme-id"]).await, Sink::start().await);
    let butler = tenants.butler(&(config(&sink) + "  - use: probe\n")).await;
    let hand_over = async |message: &str| {
        wait_for("the probe to run", || async {
            let answer = butler.post("/v5/probe/qlik/cloudEvent", &json!({ "text": message })).await;
            (answer.0 != 503).then_some(answer)
        })
        .await
    };
    let reload = tenants[0].fail_reload("Orders");
    let message = cloud_failure(&reload);
    let (status, first) = hand_over(&message).await;
    assert!(status == 200 && first["id"].is_string() && first["duplicate"] == false, "{status} {first}");
    let (status, second) = webhook(&butler, &message).await;
    assert_eq!((status, &second["duplicate"], &second["id"]), (200, &json!(true), &first["id"]), "{second}");
    let (_, third) = hand_over(&message).await;
    assert_eq!((&third["duplicate"], &third["id"]), (&json!(true), &first["id"]), "{third}");
    let event = sink.wait(1).await[0].json();
    assert_eq!((&event["id"], &event["data"]["app"]["tags"][0]), (&first["id"], &json!("finance")), "{event}");

    for (message, reason) in [
        ("no JSON", "is no event of Qlik Cloud"),
        (&*message.replace("acme-id", "other-id"), "`other-id` under `qlikCloud.tenants`"),
    ] {
        let (status, answer) = hand_over(message).await;
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(status == 500 && error.starts_with("Invalid(") && error.contains(reason), "{answer}");
    }
    assert_eq!(alerts(&tenants, &butler, &sink, "Orders").await.len(), 1);
}
