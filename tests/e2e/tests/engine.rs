//! Apps by the engine of Qlik Sense: lists, dumps, reloads, and an engine that does not do what it should.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use e2e::qlik::{AppContents, Endpoint, EngineFault, Fault, ReloadPlan, ReloadState, Site};
use e2e::{Butler, Sense, http, peak, wait_for};
use serde_json::{Value, json};

const APP: &str = Site::SAMPLE_APP;
const MISSING: &str = "7a0b4cbb-0000-4000-8000-000000000000";
const QUIET: &str = "plugins: []\n";

/// PUT of a body; status and answer.
async fn put(butler: &Butler, path: &str, body: Option<&Value>) -> (u16, Value) {
    let mut request = http().put(format!("{}{path}", butler.rest())).bearer_auth(butler.token());
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
}

async fn reload(butler: &Butler, app: &str, body: &Value) -> (u16, Value) {
    put(butler, &format!("/v4/app/{app}/reload"), Some(body)).await
}

/// The newest reload when it has ended.
async fn ended(butler: &Butler) -> Value {
    wait_for("the end of a reload", || async {
        let (_, answer) = butler.get("/v5/apps/reloads").await;
        let row = answer["reloads"][0].clone();
        row["endedAt"].is_string().then_some(row)
    })
    .await
}

/// Waits until all sessions are closed; with which codes.
async fn closed(sense: &Sense) -> Vec<Option<u16>> {
    wait_for("closed sessions", || async { (sense.engine().open_sessions() == 0).then_some(()) }).await;
    sense.engine().ended_sessions().iter().map(|session| session.close_code).collect()
}

fn message(answer: &(u16, Value)) -> &str {
    answer.1["message"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn apps_are_listed_and_dumped_on_both_paths() {
    let sense = Sense::start().await;
    let butler = sense.butler(QUIET).await;
    for path in ["/v4/senselistapps", "/v4/apps/list"] {
        let (status, apps) = butler.get(path).await;
        assert_eq!((status, apps.as_array().unwrap().len()), (200, 3));
        assert_eq!(apps[0], json!({ "id": APP, "name": "Order analysis" }));
    }
    for path in [format!("/v4/senseappdump/{APP}"), format!("/v4/app/{APP}/dump")] {
        let answer = http().get(format!("{}{path}", butler.rest())).bearer_auth(butler.token()).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/json; charset=utf-8");
        let length: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
        let text = answer.text().await.unwrap();
        assert_eq!(text.len(), length);
        assert!(text.ends_with(&format!("\"appId\":\"{APP}\"}}")), "{text}");
        let dump: Value = serde_json::from_str(&text).unwrap();
        assert!(dump["lineage"].is_array(), "{dump}");
        assert_eq!(dump["bookmarks"][0]["qData"]["qBookMark"]["of"], "bookmark-0");
        assert_eq!(dump["sheets"].as_array().unwrap().len(), 3);
    }
    let open = sense.engine().calls().into_iter().find(|call| call.method == "OpenDoc").unwrap();
    assert_eq!((open.path.as_str(), open.params), ("/app/engineData", json!([APP, "", "", "", true])));
    assert_eq!(closed(&sense).await, [Some(1000); 4]);
}

#[tokio::test]
async fn a_reload_is_answered_before_it_runs_and_starts_what_follows_in_order() {
    let sense = Sense::start().await;
    let butler = sense.butler(QUIET).await;
    sense.engine().set_reload(APP, ReloadPlan::default().taking(Duration::from_secs(4)));
    let body = json!({
        "reloadMode": 1,
        "startQSEoWTaskOnSuccess": [Site::SAMPLE_EXTERNAL_PROGRAM_TASK, Site::SAMPLE_RELOAD_TASK],
        "startQSEoWTaskOnFailure": [Site::SAMPLE_USER_SYNC_TASK],
    });
    let answer = reload(&butler, APP, &body).await;
    assert_eq!(answer, (201, json!({ "appId": APP })));
    let (_, rows) = butler.get("/v5/apps/reloads").await;
    let row = &rows["reloads"][0];
    assert_eq!((&row["appId"], &row["reloadMode"], &row["partial"]), (&json!(APP), &json!(1), &json!(false)));
    assert_eq!((&row["endedAt"], &row["error"]), (&Value::Null, &Value::Null));
    wait_for("progress", || async {
        let (_, rows) = butler.get("/v5/apps/reloads").await;
        (rows["reloads"][0]["progress"] == "Orders << orders.qvd 12 lines fetched").then_some(())
    })
    .await;
    let row = ended(&butler).await;
    assert_eq!((&row["state"], &row["error"]), (&json!("succeeded"), &Value::Null), "{row}");
    wait_for("both tasks", || async { (sense.site().starts().len() == 2).then_some(()) }).await;
    assert_eq!(closed(&sense).await, [Some(1000)]);
    assert_eq!(sense.site().starts(), [Site::SAMPLE_EXTERNAL_PROGRAM_TASK, Site::SAMPLE_RELOAD_TASK]);
    assert_eq!(sense.engine().reloads()[0].state, ReloadState::Saved);
    let log = butler.log();
    assert!(log.contains("an app is to be reloaded") && log.contains("the app is reloaded and saved"), "{log}");
    assert!(log.contains("caller=\"") || log.contains("caller="), "{log}");
}

#[tokio::test]
async fn a_reload_that_fails_is_not_saved_and_what_scripts_send_is_coerced() {
    let sense = Sense::start().await;
    let butler = sense.butler(QUIET).await;
    sense.engine().set_reload(APP, ReloadPlan::failing());
    let body = json!({
        "reloadMode": 99, "partialReload": "true", "startQSEoWTaskOnFailure": Site::SAMPLE_RELOAD_TASK,
        "startQSEoWTaskOnSuccess": [Site::SAMPLE_USER_SYNC_TASK], "unknown": 1,
    });
    assert_eq!(reload(&butler, APP, &body).await, (201, json!({ "appId": APP })));
    let row = ended(&butler).await;
    assert_eq!((&row["state"], &row["reloadMode"], &row["partial"]), (&json!("failed"), &json!(0), &json!(true)));
    assert!(row["error"].as_str().unwrap().contains("Field 'Amuont' not found"), "{row}");
    wait_for("the task", || async { (!sense.site().starts().is_empty()).then_some(()) }).await;
    assert_eq!(closed(&sense).await, [Some(1000)]);
    assert_eq!(sense.site().starts(), [Site::SAMPLE_RELOAD_TASK]);
    let calls = sense.engine().calls();
    let doing = calls.iter().find(|call| call.method == "DoReload").unwrap();
    assert_eq!(doing.params, json!([0, true]));
    assert!(!calls.iter().any(|call| call.method == "DoSave"));
    assert!(butler.log().contains("the reload of the app failed"), "{}", butler.log());
}

#[tokio::test]
async fn bodies_that_do_not_fit_are_refused_with_the_texts_that_clients_know() {
    let sense = Sense::start().await;
    let butler = sense.butler(QUIET).await;
    let path = format!("/v4/app/{APP}/reload");
    let refused = |message: &str| {
        (400, json!({ "statusCode": 400, "code": "FST_ERR_VALIDATION", "error": "Bad Request", "message": message }))
    };
    assert_eq!(put(&butler, &path, None).await, refused("body must be object"));
    assert_eq!(put(&butler, &path, Some(&json!([]))).await, refused("body must be object"));
    let wrong = json!({ "partialReload": "yes" });
    assert_eq!(put(&butler, &path, Some(&wrong)).await, refused("body/partialReload must be boolean"));
    let wrong = json!({ "startQSEoWTaskOnSuccess": [{}] });
    assert_eq!(put(&butler, &path, Some(&wrong)).await, refused("body/startQSEoWTaskOnSuccess/0 must be string"));
    let empty = put(&butler, "/v4/app//reload", Some(&json!({}))).await;
    assert_eq!(empty.0, 400);
    assert!(message(&empty).contains("app ID"), "{empty:?}");
    assert_eq!(butler.get("/v4/senseappdump/").await.0, 400);
    assert!(sense.engine().calls().is_empty() && sense.engine().ended_sessions().is_empty());
    // A connector that can only POST.
    let posted = http().post(format!("{}{path}", butler.rest())).bearer_auth(butler.token());
    let posted = posted.header("x-http-method-override", "PUT").header("content-type", "application/json").body("{}");
    assert_eq!(posted.send().await.unwrap().status().as_u16(), 201);
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_stop_a_reload() {
    let sense = Sense::start().await;
    let butler = sense.butler(QUIET).await;
    sense.engine().add_fault(EngineFault::delay(Duration::from_millis(500)).on("OpenDoc"));
    let body = json!({ "startQSEoWTaskOnSuccess": [Site::SAMPLE_RELOAD_TASK] }).to_string();
    let host = butler.rest().strip_prefix("http://").unwrap();
    let mut client = TcpStream::connect(host).unwrap();
    write!(
        client,
        "PUT /v4/app/{APP}/reload HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        butler.token(),
        body.len()
    )
    .unwrap();
    wait_for("OpenDoc", || async { (sense.engine().calls_of("OpenDoc") == 1).then_some(()) }).await;
    drop(client);
    assert_eq!(ended(&butler).await["state"], "succeeded");
    assert_eq!(sense.engine().reloads()[0].state, ReloadState::Saved);
    wait_for("the task", || async { (sense.site().starts() == [Site::SAMPLE_RELOAD_TASK]).then_some(()) }).await;
}

#[tokio::test]
async fn failures_name_what_was_wanted_and_the_reason() {
    let sense = Sense::start().await;
    let butler = sense.butler(QUIET).await;
    let engine = sense.engine();
    let missing = butler.get(&format!("/v4/app/{MISSING}/dump")).await;
    assert_eq!(missing.0, 500);
    assert!(message(&missing).starts_with("Failed dumping app: ") && message(&missing).contains("1003"), "{missing:?}");
    assert_eq!(missing.1["error"], "Internal Server Error");
    let missing = reload(&butler, MISSING, &json!({ "startQSEoWTaskOnFailure": [Site::SAMPLE_RELOAD_TASK] })).await;
    assert_eq!(missing.0, 500);
    assert!(message(&missing).starts_with("Failed reloading app: "), "{missing:?}");
    engine.lock_app(APP);
    for locked in [butler.get(&format!("/v4/app/{APP}/dump")).await, reload(&butler, APP, &json!({})).await] {
        assert_eq!(locked.0, 500);
        assert!(message(&locked).contains("1009") && message(&locked).contains("locked"), "{locked:?}");
    }
    engine.unlock_app(APP);
    for (fault, words) in [
        (EngineFault::broken().on("GetObject"), "the connection broke"),
        (EngineFault::close(1011).on("GetObject"), "closed the session with code 1011"),
        (EngineFault::huge(50 << 20).on("GetScript"), "larger than 16 MB"),
        (EngineFault::not_json().on("GetScript"), "no JSON"),
    ] {
        engine.clear_faults();
        engine.add_fault(fault);
        let failed = butler.get(&format!("/v4/app/{APP}/dump")).await;
        assert_eq!(failed.0, 500);
        assert!(message(&failed).contains(words), "{failed:?}");
    }
    engine.clear_faults();
    engine.add_fault(EngineFault::reverse());
    assert_eq!(butler.get(&format!("/v4/app/{APP}/dump")).await.0, 200);
    engine.clear_faults();
    engine.set_session_limit(0);
    let full = butler.get("/v4/apps/list").await;
    assert_eq!(full.0, 500);
    assert!(message(&full).starts_with("Failed getting list of Sense apps: "), "{full:?}");
    assert!(message(&full).contains("OnMaxParallelSessionsExceeded"), "{full:?}");
    assert!(sense.site().starts().is_empty());
}

#[tokio::test]
async fn without_qlik_sense_in_the_config_there_are_no_apps() {
    let butler = Butler::start(QUIET).await;
    let answers = [
        butler.get("/v4/apps/list").await,
        butler.get(&format!("/v4/app/{APP}/dump")).await,
        reload(&butler, APP, &json!({})).await,
    ];
    for answer in answers {
        assert_eq!(answer.0, 503);
        assert!(message(&answer).contains("no section `qlik:`"), "{answer:?}");
    }
    assert_eq!(butler.get("/v5/apps/reloads").await, (200, json!({ "reloads": [] })));
}

#[tokio::test]
async fn an_engine_that_is_away_at_the_start_is_asked_when_it_is_there() {
    let sense = Sense::start().await;
    sense.stop_engine().await;
    let butler = sense.butler(QUIET).await;
    let away = butler.get("/v4/apps/list").await;
    assert_eq!(away.0, 500);
    assert!(message(&away).contains(&sense.engine_addr().to_string()), "{away:?}");
    sense.restart_engine().await.unwrap();
    assert_eq!(butler.get("/v4/apps/list").await.0, 200);
}

#[tokio::test]
async fn an_engine_that_never_answers_holds_up_nobody_else_nor_the_end() {
    let sense = Sense::start().await;
    let mut butler = sense.butler(QUIET).await;
    sense.engine().add_fault(EngineFault::silent().on("GetDocList"));
    let waiting: Vec<_> = (0..12)
        .map(|_| {
            let request = http().get(format!("{}/v4/apps/list", butler.rest())).bearer_auth(butler.token());
            tokio::spawn(async move { request.send().await.map(|answer| answer.status().as_u16()) })
        })
        .collect();
    wait_for("all places to be taken", || async { (sense.engine().open_sessions() == 8).then_some(()) }).await;
    // Those that wait are gone: their sessions end, and others get their places.
    for request in &waiting[..6] {
        request.abort();
    }
    assert_eq!(butler.get("/v5/health/live").await.0, 200);
    assert_eq!(reload(&butler, APP, &json!({})).await.0, 201, "reloads have places of their own");
    let asked = Instant::now();
    stop_of(&butler);
    let status = butler.wait_end().await;
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}\n{}", asked.elapsed(), butler.log());
    assert_eq!(status.code(), Some(0), "{}", butler.log());
    let codes = closed(&sense).await;
    assert!(codes.len() >= 9 && codes.iter().all(|code| *code == Some(1000)), "{codes:?}");
}

#[tokio::test]
async fn a_stop_gives_up_reloads_by_name_and_in_time() {
    let sense = Sense::start().await;
    let mut butler = sense.butler(QUIET).await;
    sense.engine().set_reload(APP, ReloadPlan::default().taking(Duration::from_mins(10)));
    let body = json!({ "startQSEoWTaskOnFailure": [Site::SAMPLE_RELOAD_TASK] });
    assert_eq!(reload(&butler, APP, &body).await.0, 201);
    wait_for("the reload", || async { (sense.engine().reloads().len() == 1).then_some(()) }).await;
    let asked = Instant::now();
    stop_of(&butler);
    let status = butler.wait_end().await;
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}\n{}", asked.elapsed(), butler.log());
    assert_eq!(status.code(), Some(0), "{}", butler.log());
    let log = butler.log();
    let line = log.lines().find(|line| line.contains("given up, since Butler is stopping"));
    assert!(line.is_some_and(|line| line.contains(APP)), "{log}");
    assert_eq!(closed(&sense).await, [Some(1000)]);
    assert_eq!(sense.engine().reloads()[0].state, ReloadState::Aborted);
    assert!(sense.site().starts().is_empty());
}

/// SIGTERM.
fn stop_of(butler: &Butler) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(butler.pid()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
}

#[tokio::test]
async fn a_dump_has_its_place_until_it_is_read() {
    let sense = Sense::start().await;
    let butler = sense.butler(QUIET).await;
    // More than sockets take without a reader.
    sense.engine().set_usual_contents(AppContents { sheets: 100, padding: 300_000, ..AppContents::default() });
    let host = butler.rest().strip_prefix("http://").unwrap().to_owned();
    let mut readers: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut reader = TcpStream::connect(&host).unwrap();
            let token = butler.token();
            write!(reader, "GET /v4/app/{APP}/dump HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n")
                .unwrap();
            reader
        })
        .collect();
    wait_for("all dumps", || async { (sense.engine().ended_sessions().len() == 8).then_some(()) }).await;
    let mut list = std::pin::pin!(butler.get("/v4/apps/list"));
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut list).await.is_err(), "there is no place");
    drop(readers.pop());
    assert_eq!(list.await.0, 200);
}

#[tokio::test]
async fn memory_for_dumps_is_bounded_by_how_many_are_made_at_once() {
    const AT_ONCE: usize = 8;
    let sense = Sense::start().await;
    let butler = sense.butler(QUIET).await;
    // Three megabytes each.
    sense.engine().set_usual_contents(AppContents {
        sheets: 60,
        variables: 40,
        padding: 30_000,
        ..AppContents::default()
    });
    let url = format!("{}/v4/app/{APP}/dump", butler.rest());
    let client = http();
    let dumps = async |count: usize| {
        let left = std::sync::atomic::AtomicUsize::new(count);
        let one = async || {
            while left
                .fetch_update(std::sync::atomic::Ordering::Relaxed, std::sync::atomic::Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                })
                .is_ok()
            {
                let answer = client.get(&url).bearer_auth(butler.token()).send().await.unwrap();
                assert_eq!(answer.status().as_u16(), 200);
                let bytes = answer.bytes().await.unwrap();
                assert!(bytes.len() > 3_000_000 && bytes.ends_with(b"\"}"), "{}", bytes.len());
            }
        };
        tokio::join!(one(), one(), one(), one(), one(), one(), one(), one());
        peak(butler.pid())
    };
    let before = peak(butler.pid());
    let few = dumps(2 * AT_ONCE).await;
    let many = dumps(200 - 2 * AT_ONCE).await;
    println!("before {} MB, 16 dumps {} MB, 200 dumps {} MB", before >> 20, few >> 20, many >> 20);
    assert_eq!(sense.engine().most_sessions(), AT_ONCE);
    assert!(many < few + (few - before) / 2 + (16 << 20), "{before} {few} {many}");
    assert_eq!(closed(&sense).await, vec![Some(1000); 200]);
}

#[tokio::test]
async fn a_stop_names_the_tasks_that_do_not_follow_any_more() {
    let sense = Sense::start().await;
    let butler = sense.butler(QUIET).await;
    sense.faults().add(Fault::latency(Duration::from_secs(8)).on(Endpoint::TaskStartSynchronous));
    let tasks = [Site::SAMPLE_RELOAD_TASK, Site::SAMPLE_EXTERNAL_PROGRAM_TASK, Site::SAMPLE_USER_SYNC_TASK];
    assert_eq!(reload(&butler, APP, &json!({ "startQSEoWTaskOnSuccess": tasks })).await.0, 201);
    wait_for("the first start", || async {
        (sense.counts().requests_to(Endpoint::TaskStartSynchronous) == 1).then_some(())
    })
    .await;
    let (status, log) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    let named = format!("tasks=\"{} {}\"", Site::SAMPLE_EXTERNAL_PROGRAM_TASK, Site::SAMPLE_USER_SYNC_TASK);
    assert!(log.contains("tasks that follow a reload are not started") && log.contains(&named), "{log}");
}
