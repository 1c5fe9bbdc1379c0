//! Events, logs and metrics in New Relic: two accounts, refusals, long logs, services, figures, and what load scripts send.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use e2e::NewRelicApi::{Event, Log, Metric};
use e2e::qlik::{Run, Site, Status, Task};
use e2e::{Butler, NewRelic, NewRelicCall, NewRelicTrouble, Sense, command, datagram, failure, fields, http, wait_for};
use serde_json::{Value, json};

/// An instance. `more`: further settings.
fn config(relic: &NewRelic, on: &str, more: &str) -> String {
    format!(
        "plugins:\n  - use: new-relic\n    on: [{{ events: [{on}] }}]\n    retry: {{ initial: 50ms, max: 200ms }}\n    \
         settings: {{ {}{more} }}\n",
        relic.settings()
    )
}

fn reloads(relic: &NewRelic, more: &str) -> String {
    config(relic, "\"reload-task.*\"", more)
}

fn accounts(calls: &[NewRelicCall]) -> String {
    let mut names: Vec<_> = calls.iter().map(|call| call.account.as_str()).collect();
    names.sort_unstable();
    names.concat()
}

/// Everything arrived in a form that New Relic keeps.
fn nothing_dropped(relic: &NewRelic) {
    assert_eq!(relic.dropped(), Vec::<String>::new());
}

/// The delivery that is tried again, once its error has this part.
async fn wait_error(butler: &Butler, part: &str) -> Value {
    wait_for(&format!("a delivery with the error `{part}`"), || async {
        let deliveries = butler.deliveries("instance=new-relic").await;
        deliveries.into_iter().find(|one| one["error"].as_str().is_some_and(|error| error.contains(part)))
    })
    .await
}

/// Waits until all instances run.
async fn all_run(butler: &Butler) {
    wait_for("the instances to run", || async {
        let (_, answer) = butler.get("/v5/plugins").await;
        let instances = answer["plugins"].as_array()?;
        instances.iter().all(|instance| instance["condition"]["state"] == "running").then_some(())
    })
    .await;
}

async fn emit(butler: &Butler, kind: &str, data: Value) {
    let (status, answer) = butler.post("/v5/probe/emit", &json!({ "kind": kind, "data": data })).await;
    assert_eq!(status, 201, "{answer}");
}

#[tokio::test]
async fn a_failed_reload_is_an_event_and_a_log_in_both_accounts() {
    let (sense, relic) = (Sense::start().await, NewRelic::start().await);
    let more = ", attributes: { service: butler }, headers: { X-Test: \"yes\" }, logs: [{ kinds: [\"*\"], tailScriptLogLines: 3 }]";
    let butler = sense.butler(&reloads(&relic, more)).await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    let events = relic.wait(Event, 2).await;
    let logs = relic.wait(Log, 2).await;
    butler.wait_delivery("delivered", "new-relic").await;
    assert_eq!((accounts(&events), accounts(&logs)), ("AB".to_owned(), "AB".to_owned()));
    let event = &events[0].body[0];
    for (name, value) in [
        ("service", "butler"),
        ("qs_taskName", "Reload order analysis"),
        ("qs_appName", "Order analysis"),
        ("qs_taskTag_nightly", "true"),
        ("qs_taskCustomProperty_taskGroup", "sales"),
        ("qs_executionStatusText", "FinishedFail"),
        ("eventType", "qs_reloadTaskFailedEvent"),
    ] {
        assert_eq!(event[name], value, "{event}");
    }
    assert!(event["timestamp"].is_i64() && events[0].text.ends_with(r#""eventType":"qs_reloadTaskFailedEvent"}]"#));
    let log = &logs[0].body[0];
    let attributes = &log["common"]["attributes"];
    assert_eq!(
        (&attributes["logtype"], &attributes["qs_scriptLogTailCount"]),
        (&json!("qs_reloadTaskFailedLog"), &json!(3))
    );
    assert_eq!(attributes["qs_exeuctionStatusText"], attributes["qs_executionStatusText"]);
    let message = log["logs"][0]["message"].as_str().unwrap();
    let (details, tail) = message.split_once("\r\n-------------------------------\r\n\r\n").unwrap();
    assert!(details.contains("\tChanging task state") && tail.contains("Execution Failed"), "{message}");
    assert_eq!(tail.split("\r\n").count(), 3, "{message}");
    assert!(logs[0].gzip && logs[0].header.as_deref() == Some("yes"));
    nothing_dropped(&relic);
}

#[tokio::test]
async fn an_account_that_refuses_is_tried_alone_again_over_a_kill() {
    let relic = NewRelic::start().await;
    relic.trouble(Event, "B", Some(NewRelicTrouble::status(503)));
    relic.set_key("A", "rotated");
    let butler = Butler::start(&reloads(&relic, "")).await;
    butler.send(&[failure(&fields())]);
    let refused = wait_error(&butler, "account `B`, event: the destination answered 503").await;
    let error = refused["error"].as_str().unwrap();
    assert!(
        error.contains("account `A`, event: the destination answered 403") && error.contains("`region`"),
        "{error}"
    );
    assert!(!NewRelic::KEYS.iter().any(|key| butler.log().contains(key)), "{}", butler.log());
    assert_eq!((relic.taken(Event).len(), accounts(&relic.taken(Log)).as_str()), (0, "B"));

    relic.set_key("A", NewRelic::KEYS[0]);
    relic.wait(Event, 1).await;
    relic.wait(Log, 2).await;
    // Told to Butler's store before the kill, so that it outlives it.
    wait_for("only B to be missing", || async {
        let all = butler.deliveries("instance=new-relic").await;
        all.iter().any(|one| one["error"].as_str().is_some_and(|error| !error.contains("`A`"))).then_some(())
    })
    .await;
    let butler = butler.kill_and_start().await;
    let before = relic.calls().len();
    wait_for("an attempt after the kill", || async { (relic.calls().len() > before).then_some(()) }).await;
    relic.trouble(Event, "B", None);
    butler.wait_delivery("delivered", "new-relic").await;
    assert_eq!(accounts(&relic.taken(Event)), "AB", "each once");
    assert_eq!(accounts(&relic.taken(Log)), "AB", "each once");
    assert!(relic.calls()[before..].iter().all(|call| call.account == "B" && call.api == Event));
    nothing_dropped(&relic);
}

#[tokio::test]
async fn what_an_account_refuses_for_good_is_dead_and_visible_when_the_other_has_it() {
    let relic = NewRelic::start().await;
    relic.trouble(Event, "A", Some(NewRelicTrouble::status(413)));
    relic.trouble(Event, "B", Some(NewRelicTrouble::status(408)));
    let butler = Butler::start(&reloads(&relic, ", logs: []")).await;
    butler.send(&[failure(&fields())]);
    wait_error(&butler, "account `B`, event: the destination answered 408").await;
    relic.trouble(Event, "B", None);
    let dead = butler.wait_delivery("dead", "new-relic").await;
    let error = dead["error"].as_str().unwrap();
    assert!(error.contains("account `A`, event: the destination answered 413") && !error.contains("`B`"), "{error}");
    let of_a = relic.calls().iter().filter(|call| call.account == "A").count();
    assert_eq!((of_a, accounts(&relic.taken(Event)).as_str()), (1, "B"));
    relic.trouble(Event, "A", None);
    butler.post(&format!("/v5/deliveries/{}/retry", dead["id"].as_str().unwrap()), &Value::Null).await;
    butler.wait_delivery("delivered", "new-relic").await;
    assert_eq!(accounts(&relic.taken(Event)), "AB", "by hand it goes to A again, and to A only");
}

#[tokio::test]
async fn limits_and_lies_delay_an_alert() {
    let relic = NewRelic::start().await;
    let more = ", logs: [], events: [{ kinds: [\"*\"], sendTo: { always: [A] } }]";
    let butler = Butler::start(&reloads(&relic, more)).await;
    let page = |status| NewRelicTrouble { status, retry_after: None, body: "<html>Please sign in</html>".to_owned() };
    let limit = NewRelicTrouble { retry_after: Some(1), ..NewRelicTrouble::status(429) };
    let lie = NewRelicTrouble { status: 200, retry_after: None, body: r#"{"success":false}"#.to_owned() };
    for (number, (trouble, part)) in
        [(limit, "429"), (page(200), "is not New Relic's"), (page(502), "502"), (lie, "but says")]
            .into_iter()
            .enumerate()
    {
        let begun = std::time::Instant::now();
        let is_limit = trouble.status == 429;
        relic.next([Some(trouble)]);
        butler.send(&[failure(&fields())]);
        wait_error(&butler, part).await;
        wait_for("the delivery", || async {
            (butler.deliveries("state=delivered").await.len() == number + 1).then_some(())
        })
        .await;
        assert!(!is_limit || begun.elapsed() >= Duration::from_secs(1), "Retry-After is kept");
        // The pages have a success as status, too.
        let kept = relic.calls().iter().filter(|call| call.status == 200 && !call.body.is_null()).count();
        assert!(kept > number);
    }
}

#[tokio::test]
async fn a_long_script_log_comes_in_parts_and_whole() {
    let (sense, relic) = (Sense::start().await, NewRelic::start().await);
    let more = ", events: [], logs: [{ kinds: [\"*\"], tailScriptLogLines: 100000, sendTo: { always: [A] } }]";
    let butler = sense.butler(&reloads(&relic, more)).await;
    let mut lines: Vec<String> = (0..20_000).map(|n| format!("{n} \"ä\" \\ \u{1F600} {}", "x".repeat(80))).collect();
    // Longer than any record, with nowhere to cut it.
    lines.push("ö".repeat(300_000));
    let fields = sense.about(Site::SAMPLE_RELOAD_TASK);
    let run = Run::new(Status::FinishedFail).script_log(lines.join("\r\n") + "\r\n");
    sense.site().run_task(Site::SAMPLE_RELOAD_TASK, &fields.execution_id, run).unwrap();
    // The second request fails at first: what has arrived is not repeated.
    relic.next([None, Some(NewRelicTrouble::status(500))]);
    butler.send(&[failure(&fields)]);
    let delivery = butler.wait_delivery("delivered", "new-relic").await;
    assert_eq!(delivery["attempt"], 2, "{delivery}");
    let calls = relic.taken(Log);
    assert_eq!(relic.calls().len(), calls.len() + 1);
    assert!(calls.len() > 1 && calls.iter().all(|call| call.gzip), "{} requests", calls.len());
    let records: Vec<Value> = calls.iter().flat_map(|call| call.body[0]["logs"].as_array().unwrap().clone()).collect();
    let parts: Vec<_> = records.iter().map(|record| record["attributes"]["butler_part"].as_u64().unwrap()).collect();
    let expected: Vec<_> = (1..=u64::try_from(records.len()).unwrap()).collect();
    assert_eq!(parts, expected, "in order, each once");
    let text: String = records.iter().map(|record| record["message"].as_str().unwrap()).collect();
    assert_eq!(text.split_once("\r\n\r\n").unwrap().1, lines.join("\r\n"));
    assert!(records.iter().all(|record| record["message"].as_str().unwrap().len() <= 120_000));
    nothing_dropped(&relic);
}

#[tokio::test]
async fn a_task_says_by_its_custom_property_which_account_gets_it() {
    let (sense, relic) = (Sense::start().await, NewRelic::start().await);
    let add = |name: &str, value: Option<&str>| {
        let task = Task::reload(name, Site::SAMPLE_APP);
        sense.site().add_task(match value {
            Some(value) => task.custom_property("Butler_NewRelicAccount", value),
            None => task,
        })
    };
    let (of_b, wrong, without) = (add("Of B", Some("B")), add("Wrong", Some("Bee")), add("Without", None));
    let more = ", events: [{ kinds: [\"*\"], sendTo: { byCustomProperty: Butler_NewRelicAccount } }], logs: []";
    let butler = sense.butler(&reloads(&relic, more)).await;
    butler.send(&[failure(&sense.failed(&of_b))]);
    butler.wait_delivery("delivered", "new-relic").await;
    assert_eq!(accounts(&relic.calls()), "B");
    for (task, part) in [(wrong, "names `Bee`, which is none of `accounts`"), (without, "has no value")] {
        butler.send(&[failure(&sense.failed(&task))]);
        let dead = wait_error(&butler, part).await;
        assert_eq!((&dead["state"], relic.calls().len()), (&json!("dead"), 1), "{dead}");
    }
    // Nobody knows this task: all accounts get it.
    butler.send(&[failure(&fields())]);
    assert_eq!(accounts(&relic.wait(Event, 3).await), "ABB");
    nothing_dropped(&relic);
}

#[tokio::test]
async fn services_and_figures() {
    let relic = NewRelic::start().await;
    let kinds =
        "\"service.*\", \"butler.uptime\", \"butler.ingest\", \"server-license.status\", \"access-license.usage\"";
    let more = ", metrics: [{ kinds: [\"*\"], sendTo: { always: [B] }, attributes: { metricType: butler } }]";
    let butler = Butler::start(&format!(
        "{}  - use: probe\n    on: [{{ events: [node.silent] }}]\n",
        config(&relic, kinds, more)
    ))
    .await;
    all_run(&butler).await;
    let service = |state: &str| {
        json!({ "node": "srv1", "service": { "host": "srv1", "name": "QlikSenseEngineService", "state": state,
                                             "displayName": "Qlik Sense Engine Service" } })
    };
    emit(&butler, "service.stopped", service("STOPPED")).await;
    let event = relic.wait(Event, 2).await[0].body[0].clone();
    assert_eq!(
        (&event["eventType"], &event["butler_serviceStatus"]),
        (&json!("qs_serviceStateEvent"), &json!("STOPPED"))
    );
    let log = relic.wait(Log, 2).await[0].body[0].clone();
    assert_eq!(log["logs"][0]["message"], "Windows service \"Qlik Sense Engine Service\" on host \"srv1\" is STOPPED.");
    assert_eq!(log["common"]["attributes"]["logtype"], "qs_serviceStateLog");
    emit(&butler, "service.started", service("RUNNING")).await;
    relic.wait(Log, 4).await;
    relic.wait(Event, 4).await;

    let memory = json!({ "processBytes": 41_943_040, "heapUsedBytes": 1, "heapTotalBytes": 2, "externalBytes": 3 });
    let uptime =
        json!({ "butler": { "version": "17.0.0", "uptimeMs": 4_500_000, "intervalMs": 900_000, "memory": memory } });
    emit(&butler, "butler.uptime", uptime).await;
    let call = relic.wait(Metric, 1).await.remove(0);
    assert_eq!(call.account, "B");
    let common = &call.body[0]["common"];
    assert_eq!((&common["interval.ms"], &common["attributes"]["metricType"]), (&json!(900_000), &json!("butler")));
    assert!(common["attributes"]["version"].is_string() && common["timestamp"].is_i64(), "{common}");
    let metrics = call.body[0]["metrics"].as_array().unwrap();
    let shown: Vec<_> =
        metrics.iter().map(|metric| format!("{}={}", metric["name"].as_str().unwrap(), metric["value"])).collect();
    assert_eq!(
        shown,
        [
            "qs_butlerHeapUsed=1",
            "qs_butlerHeapTotal=2",
            "qs_butlerExternalMem=3",
            "qs_butlerProcessMem=41943040",
            "qs_butlerUptimeMillisec=4500000"
        ]
    );
    assert!(metrics.iter().all(|metric| metric["type"] == "gauge"));

    let ingest = json!({ "intervalMs": 20_000, "received": 12, "dropped": { "size": 1 }, "buffered": 2 });
    emit(&butler, "butler.ingest", json!({ "ingest": ingest })).await;
    let body = relic.wait(Metric, 2).await[1].body.clone();
    assert_eq!(body[0]["metrics"][0], json!({ "name": "qs_butlerUdpReceived", "type": "count", "value": 12 }));
    emit(&butler, "server-license.status", json!({ "serverLicense": { "expired": false } })).await;
    let body = relic.wait(Metric, 3).await[2].body.clone();
    assert_eq!(body[0]["metrics"], json!([{ "name": "qs_serverLicenseExpired", "type": "gauge", "value": 0 }]));
    emit(&butler, "access-license.usage", json!({ "accessLicenses": { "tokens": { "available": 3.5 } } })).await;
    let body = relic.wait(Metric, 4).await[3].body.clone();
    assert_eq!(body[0]["metrics"][0]["attributes"], json!({ "licenseType": "tokens" }));
    // A figure that is not there is no metric, and nothing is lost without a word.
    emit(&butler, "server-license.status", json!({ "message": "no licence" })).await;
    butler.wait_delivery("dead", "new-relic").await;
    assert_eq!((relic.taken(Event).len(), relic.taken(Metric).len()), (4, 4), "figures are no events");
    nothing_dropped(&relic);
}

#[tokio::test]
async fn every_kind_that_a_log_appender_sends_arrives_with_nasty_facts() {
    let relic = NewRelic::start().await;
    let butler = Butler::start(&config(&relic, "\"*\"", ", logs: [{ kinds: [\"*\"] }]")).await;
    let mut count = 1 + 1; // Butler has started, and listens.
    for kind in [
        "reload-task.failed",
        "reload-task.aborted",
        "reload-task.succeeded",
        "external-program-task.failed",
        "preload-task.failed",
        "user-sync-task.failed",
    ] {
        let mut nasty = fields();
        nasty.task_name = format!("R&D \"x\" \\ \u{1F600}{}", "n".repeat(400));
        nasty.message = Some("</script>{{taskName}}".repeat(20));
        butler.send(&[datagram(kind, &nasty)]);
        count += 1;
    }
    let events = relic.wait(Event, 2 * count).await;
    relic.wait(Log, 2 * count).await;
    assert!(events.iter().any(|call| call.body[0]["eventType"] == "qs_butlerStartedEvent"));
    wait_for("all to be delivered", || async {
        (butler.deliveries("state=delivered&instance=new-relic&limit=100").await.len() == count).then_some(())
    })
    .await;
    nothing_dropped(&relic);
}

/// POST by a load script; status, content type and body.
async fn post(butler: &Butler, path: &str, token: Option<&str>, body: &Value) -> (u16, String, String) {
    let request = http().post(format!("{}{path}", butler.rest()));
    let request = request.header("content-type", "application/json").body(body.to_string());
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    let answer = request.send().await.unwrap();
    let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned()).unwrap_or_default();
    (answer.status().as_u16(), kind, answer.text().await.unwrap())
}

#[tokio::test]
async fn load_scripts_send_events_and_metrics() {
    let relic = NewRelic::start().await;
    let output = e2e::run(&["token", "new", "--name", "script", "--scopes", "messages"]);
    let (_, entry) = output.stdout.split_once("tokens:\n").unwrap();
    let secret = output.stdout.split("Bearer ").nth(1).and_then(|rest| rest.split('`').next()).unwrap();
    let rest = format!("rest:\n  listen: 127.0.0.1:0\n  tokens:\n{entry}\n");
    let more = ", rest: { metric: { accounts: [B], headers: { X-Test: rest } }, event: { attributes: { team: etl } } }";
    let second = config(&relic, "node.silent", "")
        .replace("plugins:\n", "")
        .replace("new-relic\n", "new-relic\n    name: second\n");
    let butler = Butler::start(&(rest + &reloads(&relic, more) + &second)).await;
    all_run(&butler).await;
    let (event_path, metric_path) = ("/v4/newrelic/event", "/v4/newrelic/metric");
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let event = json!({ "eventType": "StageDone", "timestamp": now.to_string(),
                        "attributes": [{ "name": "rows", "value": 12 }, { "name": "team", "value": "own" }] });
    assert_eq!(post(&butler, event_path, None, &event).await.0, 401);
    assert!(relic.calls().is_empty());

    let answer = post(&butler, event_path, Some(secret), &event).await;
    assert_eq!(answer, (202, "text/plain; charset=utf-8".to_owned(), "OK".to_owned()));
    let events = relic.taken(Event);
    assert_eq!(accounts(&events), "AB");
    assert_eq!(events[0].body, json!({ "timestamp": now, "eventType": "StageDone", "team": "own", "rows": "12" }));
    let metric = json!({ "name": "rows", "type": "gauge", "value": "2.5", "interval": 5 });
    let answer = post(&butler, metric_path, Some(secret), &metric).await;
    assert_eq!(answer, (202, "text/plain; charset=utf-8".to_owned(), "Accepted".to_owned()));
    let metrics = relic.taken(Metric);
    assert_eq!((accounts(&metrics).as_str(), metrics[0].header.as_deref()), ("B", Some("rest")));
    assert_eq!(metrics[0].body[0]["metrics"], json!([{ "name": "rows", "type": "gauge", "value": 2.5 }]));
    nothing_dropped(&relic);

    for (path, body, message) in [
        (
            metric_path,
            json!({ "name": "n", "type": "count", "value": 1 }),
            "body/type must be equal to one of the allowed values",
        ),
        (metric_path, json!({ "name": "n", "type": "gauge" }), "body must have required property 'value'"),
        (event_path, json!({ "eventType": "e".repeat(255) }), "body/eventType must NOT have more than 254 characters"),
        (
            event_path,
            json!({ "eventType": "e", "attributes": [{ "name": "n", "value": "v".repeat(4097) }] }),
            "body/attributes/0/value must NOT have more than 4096 characters",
        ),
        (event_path, json!([]), "body must be object"),
    ] {
        let (status, _, text) = post(&butler, path, Some(secret), &body).await;
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, &answer["message"]), (400, &json!(message)), "{answer}");
    }
    let (status, _, text) = post(&butler, event_path, Some(secret), &json!({ "eventType": "a-b" })).await;
    assert!(status == 400 && text.contains("`eventType` may hold"), "{status} {text}");
    // All accounts are tried, and the answer says what became of each.
    relic.trouble(Event, "A", Some(NewRelicTrouble { retry_after: Some(9), ..NewRelicTrouble::status(429) }));
    let (status, _, text) = post(&butler, event_path, Some(secret), &event).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &answer["error"]), (502, &json!("Bad Gateway")), "{answer}");
    assert!(
        answer["message"].as_str().unwrap().starts_with("Failed posting event to New Relic: account `A`: "),
        "{answer}"
    );
    assert_eq!(
        (&answer["accounts"][0]["status"], &answer["accounts"][1]["sent"]),
        (&json!(429), &json!(true)),
        "{answer}"
    );
    assert_eq!(relic.taken(Event).len(), 3);
    relic.set_key("B", "rotated");
    let (status, _, text) = post(&butler, metric_path, Some(secret), &metric).await;
    assert!(status == 502 && text.contains("answered 403") && !text.contains(NewRelic::KEYS[1]), "{status} {text}");
    drop(relic);
    let (status, _, text) = post(&butler, metric_path, Some(secret), &metric).await;
    assert!(status == 502 && text.contains("Failed posting metric to New Relic"), "{status} {text}");
}

#[tokio::test]
async fn check_and_render_send_nothing() {
    let relic = NewRelic::start().await;
    let folder = tempfile::TempDir::new().unwrap();
    let path = Butler::prepare(&folder, &reloads(&relic, ""));
    let path = path.to_str().unwrap();
    let output = command(&["check", "-c", path]).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert!(
        output.stdout.contains("New Relic does not refuse the keys (account `A`, event; account `B`, event"),
        "{output:?}"
    );
    assert_eq!(relic.calls().len(), 6);
    assert!(relic.calls().iter().all(|call| call.body == json!([])));
    let output = command(&["render", "-c", path, "--instance", "new-relic"]).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert!(output.stdout.contains("/v1/accounts/101/events") && output.stdout.contains("Sales nightly"), "{output:?}");
    assert_eq!(relic.calls().len(), 6);
    relic.set_key("B", "rotated");
    let output = command(&["check", "-c", path]).await;
    assert!(output.code == 1 && output.stdout.contains("account `B`, log: the destination answered 403"), "{output:?}");
    assert!(!output.stdout.contains("`A`, log: the"), "{output:?}");
}
