//! What the host offers to plugins, and what it survives of them: the test plugin uses all services and misbehaves on
//! request.

use std::time::{Duration, Instant};

use e2e::qlik::Site;
use e2e::{Answer, Butler, Sense, Sink, failure, fields, http, run, wait_for};
use serde_json::{Value, json};

/// The probe with short waits, and a healthy webhook beside it.
fn config(probe: &str, healthy: &Sink) -> String {
    format!(
        "shutdownTimeout: 4s\nplugins:\n  - use: probe\n    retry: {{ initial: 50ms, max: 200ms }}\n    settings: {{ {probe} }}\n  \
         - use: webhook\n    name: healthy\n    on: [{{ events: [\"reload-task.*\"] }}]\n    settings: {{ url: {} }}\n",
        healthy.url("/")
    )
}

/// An instance as `/v5/plugins` has it.
async fn instance(butler: &Butler, name: &str) -> Value {
    let (status, answer) = butler.get("/v5/plugins").await;
    assert_eq!(status, 200, "{answer}");
    let found = answer["plugins"].as_array().into_iter().flatten().find(|instance| instance["name"] == name);
    found.cloned().unwrap_or_else(|| panic!("{name} is not in {answer}"))
}

/// Waits until an instance is as it should be.
async fn wait_instance(butler: &Butler, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    wait_for(&format!("the probe to be {what}; log:\n{}", butler.log()), || async {
        Some(instance(butler, "probe").await).filter(|instance| fits(instance))
    })
    .await
}

/// Starts a daemon and waits until the probe runs: instances start when the daemon is ready already.
async fn start(config: &str) -> Butler {
    let butler = Butler::start(config).await;
    wait_instance(&butler, "running", |probe| probe["condition"]["state"] == "running").await;
    butler
}

/// Waits until the probe's only open delivery has come to this attempt, and returns it.
async fn wait_attempt(butler: &Butler, attempt: u64) -> Value {
    wait_for(&format!("attempt {attempt}; log:\n{}", butler.log()), || async {
        let delivery = butler.deliveries("instance=probe").await.into_iter().next()?;
        (delivery["attempt"].as_u64() >= Some(attempt) && delivery["error"].is_string()).then_some(delivery)
    })
    .await
}

/// The other instance gets all events while the probe has its fault.
async fn assert_others_work(butler: &Butler, healthy: &Sink) {
    let before = healthy.received().len();
    let messages: Vec<String> = (0..20).map(|_| failure(&fields())).collect();
    butler.send(&messages);
    healthy.wait(before + 20).await;
}

/// Stops within `shutdownTimeout`, with success.
async fn assert_stops(butler: Butler) -> String {
    let asked = Instant::now();
    let (status, log) = butler.stop().await;
    let took = asked.elapsed();
    assert_eq!(status.code(), Some(0), "{log}");
    // `shutdownTimeout` is 4 s, and the store may take 2 s in trouble; the rest is for a busy machine.
    assert!(took < Duration::from_secs(10), "the stop took {took:?}:\n{log}");
    log
}

#[tokio::test]
async fn a_plugin_uses_all_services_and_what_it_keeps_survives() {
    let (sense, sink, emitted) = (Sense::start().await, Sink::start().await, Sink::start().await);
    let butler = sense
        .butler(&format!(
            "plugins:\n  - use: probe\n    retry: {{ initial: 50ms, max: 200ms }}\n    settings: {{ url: {} }}\n  - use: webhook\n    \
             on: [{{ events: [node.silent] }}]\n    settings: {{ url: {}, format: event }}\n",
            sink.url("/report"),
            emitted.url("/")
        ))
        .await;
    // The report is refused at first: the delivery is repeated after the probe has emitted.
    sink.always(Some(Answer::Status(500)));
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    wait_attempt(&butler, 4).await;
    sink.always(None);
    let success = |n: usize| {
        let sink = &sink;
        async move {
            wait_for("a report that was taken", || async {
                sink.successes().into_iter().filter(|request| request.target == "/report").nth(n)
            })
            .await
            .json()
        }
    };
    let report = success(0).await;
    let delivery = &report["delivery"];
    let attempt = delivery["attempt"].as_u64().unwrap_or_default();
    assert!(attempt >= 4, "{report}");
    assert_eq!(delivery["progress"], json!({ "step": 1 }), "progress of the first attempt is handed back: {report}");
    assert_eq!(delivery["event"]["kind"], "reload-task.failed");
    assert_eq!(report["qlik"], "Reload order analysis", "the plugin asked Qlik Sense: {report}");
    assert_eq!(report["count"], json!(attempt - 1), "storage counts the reports: {report}");
    let denied = "the manifest of the plugin `probe` does not say that it emits `probe.told`: add it to `emits`";
    assert_eq!(report["denied"], denied);
    // Emitted in every attempt, and one event all the same.
    assert_eq!(report["emitted"]["duplicate"], true, "{report}");
    let told = emitted.wait(1).await[0].json();
    assert_eq!((&told["id"], &told["source"]), (&report["emitted"]["id"], &json!("instance:probe")), "{told}");
    assert_eq!((&told["data"]["node"], &told["data"]["message"]), (&json!("probe"), &delivery["event"]["id"]));
    sink.wait_where("the background task's request", |request| request.target == "/report/background").await;
    #[allow(clippy::cast_precision_loss, reason = "the number is small")]
    let reports = (attempt - 1) as f64;
    let series = "butler_plugin_probe_reports_total{instance=\"probe\",kind=\"reload-task.failed\"}";
    butler.wait_metric(series, reports).await;
    let log = butler.log();
    let refused: Vec<&str> = log.lines().filter(|line| line.contains("a metric of the plugin is not kept")).collect();
    let says = |name: &str, remedy: &str| {
        let says = |line: &&&str| ["instance=\"probe\"", name, remedy].iter().all(|part| line.contains(part));
        refused.iter().filter(says).count()
    };
    let once = says("Not a name", "use a to z") == 1 && says("reports_total", "another name") == 1;
    assert!(once && refused.len() == 2, "said once for each name, though it was tried {reports} times: {refused:#?}");
    butler.wait_delivery("delivered", "probe").await;
    butler.wait_delivery("delivered", "webhook").await;

    let butler = butler.kill_and_start().await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    let second = success(1).await;
    assert_eq!(second["count"], json!(attempt), "storage survives: {second}");
    assert_eq!(
        (&second["delivery"]["attempt"], &second["emitted"]["duplicate"]),
        (&json!(2), &json!(false)),
        "{second}"
    );
    emitted.wait(2).await;
    butler.wait_metric(series, 1.0).await;
    let (_, events) = butler.get("/v5/events?kind=node.silent").await;
    assert_eq!(events["events"].as_array().map(Vec::len), Some(2), "{events}");
    assert!(butler.log().contains("the background task ends"), "{}", butler.log());
}

#[tokio::test]
async fn progress_of_a_delivery_survives_kill() {
    let (healthy, sink) = (Sink::start().await, Sink::start().await);
    sink.always(Some(Answer::Status(500)));
    let butler = start(&config(&format!("url: {}", sink.url("/report")), &healthy)).await;
    butler.send(&[failure(&fields())]);
    wait_attempt(&butler, 2).await;
    let butler = butler.kill_and_start().await;
    sink.always(None);
    let taken = wait_for("a report that was taken", || async {
        sink.successes().into_iter().find(|request| request.target == "/report")
    });
    let report = taken.await.json();
    assert_eq!(report["delivery"]["progress"], json!({ "step": 1 }), "{report}");
    assert!(report["delivery"]["attempt"].as_u64() >= Some(3), "{report}");
    butler.wait_delivery("delivered", "probe").await;
}

#[tokio::test]
async fn an_endpoint_of_a_plugin_gets_path_query_body_and_caller() {
    let healthy = Sink::start().await;
    let butler = start(&config("", &healthy)).await;
    let url = format!("{}/v5/probe/kitchen%20sink?b=2&a=x%20y", butler.rest());
    let request = http().post(&url).header("content-type", "application/json").body(json!({ "n": [1, 2] }).to_string());
    let answer = request.send().await.expect("the daemon answers");
    assert_eq!(answer.status().as_u16(), 201);
    assert_eq!(answer.headers()["content-type"], "application/json; charset=utf-8");
    let body: Value = serde_json::from_str(&answer.text().await.expect("an answer is text")).expect("it is JSON");
    let expected = json!({
        "topic": "kitchen sink", "query": { "a": "x y", "b": "2" }, "body": { "n": [1, 2] }, "caller": "this machine",
    });
    assert_eq!(body, expected);
    let (status, _) = butler.get("/v5/probe/kitchen").await;
    assert_eq!(status, 404, "only POST is declared");
}

/// Makes a token; the token and its entry in the config.
fn token(name: &str, scopes: &str) -> (String, String) {
    let output = run(&["token", "new", "--name", name, "--scopes", scopes]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let secret = output.stdout.split("Bearer ").nth(1).and_then(|rest| rest.split('`').next()).expect("a token");
    let (_, entry) = output.stdout.split_once("tokens:\n").expect("an entry for the config");
    (secret.to_owned(), entry.to_owned())
}

#[tokio::test]
async fn an_endpoint_of_a_plugin_demands_its_scope() {
    let healthy = Sink::start().await;
    let (script, script_entry) = token("load script", "messages");
    let (reader, reader_entry) = token("reader", "read");
    let rest = format!("rest:\n  listen: 127.0.0.1:0\n  tokens:\n{script_entry}{reader_entry}\n");
    let butler = start(&(rest + &config("", &healthy))).await;
    let call = async |token: Option<&str>| {
        let request = http().post(format!("{}/v5/probe/x", butler.rest()));
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = request.send().await.expect("the daemon answers");
        (answer.status().as_u16(), answer.text().await.unwrap_or_default())
    };
    let (status, body) = call(Some(&script)).await;
    assert_eq!(status, 201, "{body}");
    assert!(body.contains("load script") && !body.contains(&script), "{body}");
    let (status, body) = call(Some(&reader)).await;
    assert_eq!(status, 403);
    assert!(body.contains("messages"), "the missing scope is named: {body}");
    assert_eq!(call(Some("wrong")).await.0, 401);
    assert_eq!(call(None).await.0, 401);
}

#[tokio::test]
async fn an_endpoint_has_the_time_that_it_asks_for() {
    let healthy = Sink::start().await;
    let butler = start(&config("", &healthy)).await;
    let started = Instant::now();
    let (status, body) = butler.get("/v5/probe/hang").await;
    assert_eq!((status, &body["statusCode"]), (504, &json!(504)), "{body}");
    let took = started.elapsed().as_secs();
    assert!((1..30).contains(&took), "{took} s, and not the minute of others");
    wait_for("the next answer", || async { (butler.post("/v5/probe/x", &json!(1)).await.0 == 201).then_some(()) })
        .await;
    assert_stops(butler).await;
}

#[tokio::test]
async fn a_panic_in_an_endpoint_is_a_500_and_no_more() {
    let healthy = Sink::start().await;
    let butler = start(&config("", &healthy)).await;
    for _ in 0..3 {
        let (status, body) = butler.get("/v5/probe/panic").await;
        assert_eq!((status, &body["statusCode"]), (500, &json!(500)), "{body}");
        assert!(!body.to_string().contains("lib.rs"), "no insides for callers: {body}");
    }
    wait_for("the panic in the log", || async { butler.log().contains("the probe was told to panic").then_some(()) })
        .await;
    let (status, body) = butler.post("/v5/probe/x", &json!(1)).await;
    assert_eq!((status, &body["body"]), (201, &json!(1)));
    assert_others_work(&butler, &healthy).await;
    assert_stops(butler).await;
}

#[tokio::test]
async fn an_instance_tells_how_it_is() {
    let healthy = Sink::start().await;
    let butler = start(&config("fault: reject", &healthy)).await;
    let probe = instance(&butler, "probe").await;
    assert_eq!((&probe["plugin"], &probe["health"]["state"]), (&json!("probe"), &json!("good")), "{probe}");
    assert_eq!((&probe["open"], &probe["dead"], &probe["lastError"]), (&json!(0), &json!(0), &Value::Null), "{probe}");
    butler.send(&[failure(&fields())]);
    butler.wait_delivery("dead", "probe").await;
    let probe = instance(&butler, "probe").await;
    assert_eq!(probe["health"]["state"], "degraded", "its last delivery has failed: {probe}");
    assert_eq!((&probe["open"], &probe["dead"]), (&json!(0), &json!(1)), "{probe}");
    assert_eq!(probe["lastError"], "the probe was told to reject");
    assert_eq!(probe["statistics"], json!({ "delivered": 0, "retried": 0, "dead": 1 }));
    assert!(probe["version"].is_string() && probe["description"].is_string(), "{probe}");
    butler.wait_delivery("delivered", "healthy").await;
    let other = instance(&butler, "healthy").await;
    assert_eq!((&other["statistics"]["delivered"], &other["lastError"]), (&json!(1), &Value::Null), "{other}");
    assert_eq!(other["health"]["state"], "good", "{other}");
    assert_eq!(butler.metric("butler_instance_up{instance=\"probe\",plugin=\"probe\"}").await, Some(1.0));
}

#[tokio::test]
async fn a_delivery_that_never_ends_is_ended_by_its_deadline_and_repeated() {
    let healthy = Sink::start().await;
    let butler = start(&config("fault: hang", &healthy)).await;
    butler.send(&[failure(&fields())]);
    let first = wait_attempt(&butler, 1).await;
    assert!(first["error"].as_str().unwrap_or_default().contains("no outcome within 2 s"), "{first}");
    wait_attempt(&butler, 2).await;
    // Its thread is free: it goes on serving.
    wait_instance(&butler, "running", |probe| probe["condition"]["state"] == "running").await;
    let (status, _) = butler.post("/v5/probe/x", &Value::Null).await;
    assert!(status == 201 || status == 503, "503 only while its thread is looked at: {status}");
    assert_others_work(&butler, &healthy).await;
    assert_stops(butler).await;
}

#[tokio::test]
async fn a_plugin_that_blocks_its_thread_is_stuck_and_harms_nobody_else() {
    let healthy = Sink::start().await;
    let butler = start(&config("fault: block", &healthy)).await;
    butler.send(&[failure(&fields())]);
    wait_instance(&butler, "stuck", |probe| probe["condition"]["state"] == "stuck").await;
    let asked = Instant::now();
    let (status, body) = butler.post("/v5/probe/x", &Value::Null).await;
    assert_eq!(status, 503, "{body}");
    assert!(asked.elapsed() < Duration::from_secs(5), "503 comes at once, not after a deadline");
    assert_others_work(&butler, &healthy).await;
    wait_for("the log to say so", || async { butler.log().contains("blocks its thread").then_some(()) }).await;
    assert_eq!(instance(&butler, "probe").await["condition"]["state"], "stuck");
    assert_eq!(butler.metric("butler_instance_up{instance=\"probe\",plugin=\"probe\"}").await, Some(0.0));
    let (status, ready) = butler.get("/v5/health/ready").await;
    assert_eq!(status, 200, "{ready}");
    assert!(ready["notes"].to_string().contains("stuck"), "{ready}");
    let log = assert_stops(butler).await;
    let named = log.lines().any(|line| line.contains("did not stop in time") && line.contains("\"probe\""));
    assert!(named, "the log names the instance that did not let go:\n{log}");
}

#[tokio::test]
async fn what_a_blocked_plugin_did_not_deliver_is_there_after_a_restart() {
    let (healthy, sink) = (Sink::start().await, Sink::start().await);
    let butler = start(&config("fault: block", &healthy)).await;
    butler.send(&[failure(&fields()), failure(&fields())]);
    wait_instance(&butler, "stuck", |probe| probe["condition"]["state"] == "stuck").await;
    let text = std::fs::read_to_string(butler.config()).expect("the config can be read");
    let text = text.replace("fault: block", &format!("url: {}", sink.url("/report")));
    std::fs::write(butler.config(), text).expect("the config can be written");
    let butler = butler.kill_and_start().await;
    wait_for("both deliveries", || async {
        (butler.deliveries("state=delivered&instance=probe").await.len() == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_panic_in_a_delivery_is_a_retry_with_its_text_and_the_instance_is_restarted_in_the_end() {
    let healthy = Sink::start().await;
    let butler = start(&config("fault: panic", &healthy)).await;
    butler.send(&[failure(&fields())]);
    let first = wait_attempt(&butler, 1).await;
    let error = first["error"].as_str().unwrap_or_default();
    assert!(error.contains("the probe was told to panic at ") && error.contains("lib.rs:"), "{first}");
    wait_for("a restart", || async { butler.log().contains("panicked again and again").then_some(()) }).await;
    let started = || butler.log().matches("the probe starts").count();
    wait_for("a second start", || async { (started() >= 2).then_some(()) }).await;
    let probe = wait_instance(&butler, "running", |probe| probe["condition"]["state"] == "running").await;
    assert_eq!(probe["health"]["state"], "bad", "{probe}");
    assert!(probe["health"]["message"].as_str().unwrap_or_default().contains("panicked"), "{probe}");
    wait_attempt(&butler, 6).await;
    assert_others_work(&butler, &healthy).await;
    assert_stops(butler).await;
}

#[tokio::test]
async fn a_panic_while_something_is_dropped_is_a_retry_too() {
    let healthy = Sink::start().await;
    let butler = start(&config("fault: panicInDrop", &healthy)).await;
    butler.send(&[failure(&fields())]);
    let delivery = wait_attempt(&butler, 2).await;
    let error = delivery["error"].as_str().unwrap_or_default();
    assert!(error.contains("the bomb went off at ") && error.contains("lib.rs:"), "{delivery}");
    assert_others_work(&butler, &healthy).await;
    assert_stops(butler).await;
}
