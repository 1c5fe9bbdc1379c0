//! Points in InfluxDB: version 1 for real, killed, dropped, refusing; versions 2 and 3 by their documented answers.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;

use butler_plugin_api::testing::sample_event;
use e2e::qlik::{Site, Status};
use e2e::{Butler, Influx, Influxd, Sense, command, datagram, failure, fields, wait_for};
use serde_json::{Value, json};

/// What the tests make happen, and nothing that happens by itself.
const EVENTS: &str = "\"*-task.*\", node.silent, \"service.*\", \"*-license.*\", active-users.counted, \"qlik-version.*\", butler.uptime, \
                      butler.ingest, \"certificate.*\", udp.failed";

/// An instance that gets all of that, and the probe, which emits it.
fn config(settings: &str) -> String {
    format!(
        "plugins:\n  - use: influxdb\n    on: [{{ events: [{EVENTS}] }}]\n    retry: {{ initial: 50ms, max: 200ms }}\n    \
         settings: {{ {settings} }}\n  - use: probe\n    on: [{{ events: [none.such] }}]\n"
    )
}

fn v1(influx: &Influxd, more: &str) -> String {
    let (url, user, password) = (influx.url(), Influxd::USER, Influxd::PASSWORD);
    config(&format!("url: \"{url}\", version: 1, username: {user}, password: {password}{more}"))
}

fn v2(influx: &Influx, token: &str, more: &str) -> String {
    config(&format!("url: \"{}\", version: 2, org: lab, bucket: butler, token: {token}{more}", influx.url()))
}

fn v3(influx: &Influx, token: &str, more: &str) -> String {
    config(&format!("url: \"{}\", version: 3, database: butler, token: {token}{more}", influx.url()))
}

/// Emits an event with these facts.
async fn emit(butler: &Butler, kind: &str, data: Value) {
    let event = json!({ "kind": kind, "data": data });
    // Until the probe runs its endpoint is not there.
    wait_for("the probe to run", || async {
        let (status, answer) = butler.post("/v5/probe/emit", &event).await;
        assert!([201, 503, 504].contains(&status), "{kind}: {status} {answer}");
        (status == 201).then_some(())
    })
    .await;
}

async fn emit_sample(butler: &Butler, kind: &str) {
    emit(butler, kind, serde_json::to_value(sample_event(kind).data).unwrap()).await;
}

async fn silent(butler: &Butler, node: &str) {
    emit(butler, "node.silent", json!({ "node": node, "silence": { "seconds": 60 } })).await;
}

/// Waits until so many deliveries to the instance are in a state.
async fn wait_count(butler: &Butler, state: &str, count: usize) -> Vec<Value> {
    let query = format!("instance=influxdb&state={state}&limit=100");
    wait_for(&format!("{count} deliveries that are {state}; log:\n{}", butler.log()), || async {
        let deliveries = butler.deliveries(&query).await;
        (deliveries.len() == count).then_some(deliveries)
    })
    .await
}

async fn wait_error(butler: &Butler, part: &str) -> String {
    wait_for(&format!("the error `{part}`; log:\n{}", butler.log()), || async {
        let deliveries = butler.deliveries("instance=influxdb").await;
        let errors = deliveries.iter().filter_map(|delivery| delivery["error"].as_str());
        errors.into_iter().find(|error| error.contains(part)).map(str::to_owned)
    })
    .await
}

#[tokio::test]
async fn every_kind_is_read_back_with_its_tags_fields_and_types() {
    let (sense, influx) = (Sense::start().await, Influxd::start().await);
    let settings =
        ", tags: { env: \"prod, a=b\" }, measurements: { preload_task_success: { tags: { host: X } } }, timeZone: UTC";
    let butler = sense.butler(&v1(&influx, settings)).await;
    let tasks = [
        (Site::SAMPLE_RELOAD_TASK, "reload-task"),
        (Site::SAMPLE_EXTERNAL_PROGRAM_TASK, "external-program-task"),
        (Site::SAMPLE_USER_SYNC_TASK, "user-sync-task"),
        (Site::SAMPLE_DISTRIBUTE_TASK, "distribute-task"),
        (Site::SAMPLE_PRELOAD_TASK, "preload-task"),
    ];
    let outcomes = [
        (Status::FinishedFail, "reload-task.failed", "failed"),
        (Status::Aborted, "reload-task.aborted", "aborted"),
        (Status::FinishedSuccess, "reload-task.succeeded", "success"),
    ];
    let mut measurements = Vec::new();
    for (task, subject) in tasks {
        for (status, message, outcome) in outcomes {
            let about = sense.ended(task, status, std::time::Duration::ZERO);
            butler.send(&[datagram(message, &about)]);
            let measurement = format!("{}_{outcome}", subject.replace('-', "_"));
            let points = influx.wait_points("butler", &measurement, 1).await;
            assert_eq!(
                (&points[0]["task_id"], &points[0]["env"]),
                (&json!(task), &json!("prod, a=b")),
                "{}",
                points[0]
            );
            measurements.push((measurement, points[0].clone()));
        }
    }
    let of = |name: &str| &measurements.iter().find(|(measurement, _)| measurement == name).unwrap().1;
    let failed = of("reload_task_failed");
    assert_eq!(failed["task_exeuctionStatusText"], "FinishedFail");
    assert_eq!(failed["task_executionStatusText"], "FinishedFail");
    let log = failed["reload_log"].as_str().unwrap();
    assert!(log.contains("\r\n-------------------------------\r\n\r\n") && log.contains("sales.order_lines"), "{log}");
    assert!(failed["task_executionDuration_sec"].is_number() && failed["task_scriptLogTailCount"] == 20, "{failed}");
    assert!(of("reload_task_success")["scriptLog"].as_str().unwrap().contains("SCRIPT LOG HEAD (15 lines)"));
    assert_eq!(of("preload_task_success")["host"], "X");
    assert_eq!(of("external_program_task_failed")["task_executionDuration_sec"], Value::Null);
    assert!(
        of("external_program_task_success")["task_executionStartTime_json"].as_str().unwrap().contains("\"year\":")
    );

    for (kind, measurement, count) in [
        ("service.state", "win_service_state", 1),
        ("service.stopped", "win_service_state", 2),
        ("server-license.status", "qlik_sense_server_license", 1),
        ("server-license.expired", "qlik_sense_server_license", 2),
        ("access-license.usage", "qlik_sense_license", 6),
        ("access-license.low", "qlik_sense_license", 7),
        ("access-license.released", "qlik_sense_license_release", 1),
        ("active-users.counted", "active_users", 1),
        ("active-users.counted", "active_users_by_node", 4),
        ("qlik-version.checked", "qlik_sense_version", 1),
        ("butler.ingest", "butler_udp_queue", 1),
        ("butler.uptime", "butler_memory_usage", 1),
        ("certificate.expiring", "certificate_expiring", 1),
        ("node.silent", "node_silent", 1),
        ("udp.failed", "udp_failed", 1),
    ] {
        emit_sample(&butler, kind).await;
        influx.wait_points("butler", measurement, count).await;
    }
    // A dry run takes no licence back, and is no point.
    emit(
        &butler,
        "access-license.released",
        json!({ "licenseRelease": { "released": [{ "type": "analyzer" }], "dryRun": true } }),
    )
    .await;

    let keys = influx.ask("butler", "show field keys").await;
    let mut types = BTreeSet::new();
    for series in keys["series"].as_array().unwrap() {
        for row in series["values"].as_array().unwrap() {
            types.insert(format!(
                "{}.{}:{}",
                series["name"].as_str().unwrap(),
                row[0].as_str().unwrap(),
                row[1].as_str().unwrap()
            ));
        }
    }
    assert!(types.iter().all(|name| !name.ends_with(":integer")), "{types:?}");
    for expected in [
        "reload_task_failed.task_executionDuration_min:float",
        "reload_task_failed.task_executionDuration_json:string",
        "reload_task_failed.task_scriptLogSize:float",
        "reload_task_success.task_scriptLogHeadCount:float",
        "win_service_state.state_num:float",
        "win_service_state.startup_mode_text:string",
        "qlik_sense_server_license.license_expired:boolean",
        "qlik_sense_server_license.days_until_expiry:float",
        "qlik_sense_server_license.expiry_date:string",
        "qlik_sense_license.used_tokens:float",
        "qlik_sense_license_release.days_since_last_use:float",
        "active_users.count:float",
        "active_users_by_node.count:float",
        "qlik_sense_version.content_hash:string",
        "butler_memory_usage.heap_used:float",
        "butler_uptime.uptime_ms:float",
        "butler_udp_queue.messages_dropped_total:float",
    ] {
        assert!(types.contains(expected), "{expected} is not in {types:#?}");
    }
    let licenses = influx.points("butler", "qlik_sense_license").await;
    let kinds: BTreeSet<_> = licenses.iter().filter_map(|point| point["license_type"].as_str()).collect();
    assert_eq!(kinds.len(), 6, "{licenses:?}");
    assert_eq!(influx.points("butler", "qlik_sense_license_release").await[0]["user"], "LAB\\ann");
    let policies = influx.ask("", "show retention policies on butler").await;
    assert!(policies.to_string().contains(r#"["10d","240h0m0s","24h0m0s",1,true]"#), "{policies}");
    assert!(butler.deliveries("state=dead").await.is_empty());
}

#[tokio::test]
async fn nothing_is_lost_and_nothing_doubled_while_influxdb_is_killed_and_butler_too() {
    let mut influx = Influxd::start().await;
    influx.kill();
    // It is away when Butler starts.
    let mut butler = Butler::start(&v1(&influx, ", flush: { interval: 20ms, points: 50 }")).await;
    let mut sent = BTreeSet::new();
    for round in 0..6 {
        let failures: Vec<_> = (0..100).map(|_| fields()).collect();
        for some in failures.chunks(20) {
            butler.send(&some.iter().map(failure).collect::<Vec<_>>());
        }
        let of_this_run = if round == 5 { 100.0 } else { f64::from(round + 1) * 100.0 };
        butler.wait_metric("butler_udp_processed_total", of_this_run).await;
        sent.extend(failures.into_iter().map(|fields| fields.execution_id));
        match round {
            0 => {
                wait_error(&butler, "127.0.0.1").await;
                influx.restart().await;
            }
            2 => influx.kill(),
            3 => influx.restart().await,
            4 => butler = butler.kill_and_start().await,
            _ => {}
        }
    }
    butler.wait_metric("butler_deliveries_open{instance=\"influxdb\"}", 0.0).await;
    let points = influx.points("butler", "reload_task_failed").await;
    let stored: BTreeSet<_> =
        points.iter().filter_map(|point| point["execution_id"].as_str().map(str::to_owned)).collect();
    assert_eq!((points.len(), stored.len(), stored == sent), (sent.len(), sent.len(), true));
    assert_eq!(butler.metric("butler_deliveries_dead{instance=\"influxdb\"}").await, Some(0.0));
}

#[tokio::test]
async fn a_dropped_database_is_created_again_and_what_comes_then_is_in_it() {
    let influx = Influxd::start().await;
    let butler = Butler::start(&v1(&influx, ", database: \"my db\", retention: 7d, retentionPolicy: \"a week\"")).await;
    silent(&butler, "one").await;
    influx.wait_points("my db", "node_silent", 1).await;
    influx.ask("", "drop database \"my db\"").await;
    silent(&butler, "two").await;
    let points = influx.wait_points("my db", "node_silent", 1).await;
    assert_eq!(points[0]["host"], "two");
    let policies = influx.ask("", "show retention policies on \"my db\"").await;
    assert!(policies.to_string().contains(r#"["a week","168h0m0s","24h0m0s",1,true]"#), "{policies}");
    wait_count(&butler, "delivered", 2).await;
}

#[tokio::test]
async fn refused_points_are_dead_and_the_others_there() {
    let (sense, influx) = (Sense::start().await, Influxd::start().await);
    influx.ask("", "create database butler with duration 1h replication 1 name short").await;
    // Somebody has written this field as a text.
    let write = e2e::http().post(format!("{}/write?db=butler", influx.url()));
    let write = write.basic_auth(Influxd::USER, Some(Influxd::PASSWORD)).body("node_silent seconds=\"a text\"");
    assert_eq!(write.send().await.unwrap().status(), 204);
    let butler = sense.butler(&v1(&influx, ", flush: { interval: 500ms }")).await;
    for number in 0..10 {
        let license = json!({ "serverLicense": { "expired": false, "daysUntilExpiry": number } });
        emit(&butler, "server-license.status", license).await;
        if number % 4 == 0 {
            silent(&butler, "sense1").await;
        }
    }
    // One that ended before the retention policy begins.
    let old = sense.ended(Site::SAMPLE_RELOAD_TASK, Status::FinishedFail, std::time::Duration::from_hours(3));
    butler.send(&[failure(&old)]);
    let dead = wait_count(&butler, "dead", 4).await;
    wait_count(&butler, "delivered", 10).await;
    let errors: Vec<_> = dead.iter().filter_map(|delivery| delivery["error"].as_str()).collect();
    let count = |part: &str| errors.iter().filter(|error| error.contains(part)).count();
    assert_eq!(count("field type conflict"), 3, "{errors:#?}");
    assert_eq!(count("points beyond retention policy"), 1, "{errors:#?}");
    assert!(dead.iter().all(|delivery| delivery["attempt"] == 1), "{dead:?}");
    assert_eq!(influx.points("butler", "qlik_sense_server_license").await.len(), 10);
    assert_eq!(influx.points("butler", "node_silent").await.len(), 1);
}

#[tokio::test]
async fn a_megabyte_with_five_thousand_tags_is_a_point_that_is_kept_for_ever() {
    let influx = Influxd::start().await;
    let butler = Butler::start(&v1(&influx, ", retention: inf")).await;
    let mut data = serde_json::to_value(sample_event("reload-task.failed").data).unwrap();
    let tags: Vec<_> = (0..5000).map(|number| format!("{number} {}", "t=,\\ ".repeat(24))).collect();
    (data["task"]["tags"], data["app"]["tags"]) = (json!(tags), json!(["EU/", "EU\\"]));
    data["log"]["message"] = json!("ö\u{1}\"\\\n".repeat(19_000));
    assert!(data.to_string().len() > 1_000_000, "{}", data.to_string().len());
    emit(&butler, "reload-task.failed", data).await;
    let points = influx.wait_points("butler", "reload_task_failed", 1).await;
    let message = points[0]["log_message"].as_str().unwrap();
    assert!(message.len() > 60_000 && message.starts_with("ö \"\\\n"), "{}", message.len());
    let marks = |prefix: &str| points[0].as_object().unwrap().keys().filter(|key| key.starts_with(prefix)).count();
    assert_eq!((marks("taskTag_"), marks("appTag_EU/")), (50, 1));
    wait_count(&butler, "delivered", 1).await;
    let policies = influx.ask("", "show retention policies on butler").await;
    assert!(policies.to_string().contains(r#"["inf","0s","168h0m0s",1,true]"#), "{policies}");
}

#[tokio::test]
async fn a_password_that_is_put_right_brings_the_points_and_check_says_what_is_wrong() {
    let influx = Influxd::start().await;
    let right = v1(&influx, "");
    let butler = Butler::start(&right.replace(Influxd::PASSWORD, "not-the-password")).await;
    let check = async |butler: &Butler| command(&["check", "-c", butler.config().to_str().unwrap()]).await;
    silent(&butler, "one").await;
    let error = wait_error(&butler, "authorization failed").await;
    assert!(!error.contains("not-the-password"), "{error}");
    let output = check(&butler).await;
    assert!(output.code == 1 && output.stdout.contains("authorization failed"), "{output:?}");
    butler.rewrite(&right);
    let output = check(&butler).await;
    assert!(output.code == 0 && output.stdout.contains("will be created"), "{output:?}");
    assert_eq!(butler.post("/v5/reload", &json!(null)).await.0, 200);
    influx.wait_points("butler", "node_silent", 1).await;
    wait_count(&butler, "delivered", 1).await;
    let output = check(&butler).await;
    assert!(output.code == 0 && output.stdout.contains("may be written to"), "{output:?}");

    // A user who may write and no more.
    influx.ask("", "create user writer with password 'writer-pw'").await;
    influx.ask("", "grant all on butler to writer").await;
    butler.rewrite(&right.replace("username: butler", "username: writer").replace(Influxd::PASSWORD, "writer-pw"));
    assert_eq!(butler.post("/v5/reload", &json!(null)).await.0, 200);
    silent(&butler, "two").await;
    influx.wait_points("butler", "node_silent", 2).await;
    let (_, log) = butler.stop().await;
    assert!(!log.contains(Influxd::PASSWORD) && !log.contains("writer-pw"), "{log}");
}

#[tokio::test]
async fn version_2_has_its_bucket_created_and_tells_what_it_refuses() {
    let influx = Influx::start(2).await;
    let butler =
        Butler::start(&v2(&influx, Influx::TOKEN, ", create: true, retention: 30d, flush: { interval: 300ms }")).await;
    let check = command(&["check", "-c", butler.config().to_str().unwrap()]).await;
    assert!(check.code == 0 && check.stdout.contains("will be created"), "{check:?}");
    assert!(influx.places().is_empty() && influx.writes().0 == 0, "a check creates and writes nothing");
    influx.put("node_silent seconds=\"text\" 1");
    for number in 0..9 {
        emit(&butler, "server-license.status", json!({ "serverLicense": { "daysUntilExpiry": number } })).await;
        emit(&butler, "butler.uptime", json!({ "butler": { "uptimeMs": number } })).await;
    }
    silent(&butler, "sense1").await;
    let dead = wait_count(&butler, "dead", 1).await;
    assert!(dead[0]["error"].as_str().unwrap().contains("field type conflict"), "{dead:?}");
    wait_count(&butler, "delivered", 18).await;
    assert_eq!(influx.lines().len(), 19);
    let created = &influx.places()["butler"];
    assert_eq!(created["retentionRules"][0]["everySeconds"], 30 * 86_400, "{created}");

    // The bucket is removed; then InfluxDB is busy.
    influx.remove("butler");
    silent(&butler, "again").await;
    wait_count(&butler, "delivered", 19).await;
    let before = influx.writes().0;
    influx.next(&[(503, "busy"), (429, "slow down"), (401, "{\"code\":\"unauthorized\",\"message\":\"no\"}")]);
    emit(&butler, "node.silent", json!({ "node": "later", "message": "x".repeat(2000) })).await;
    wait_count(&butler, "delivered", 20).await;
    assert_eq!((influx.lines().len(), influx.writes().0 - before), (2, 4));
    assert!(influx.writes().1 > 0, "long bodies are compressed");

    // It has the points, but the answers are lost: what is written again replaces itself.
    influx.next(&[(502, Influx::STORED), (500, Influx::STORED)]);
    silent(&butler, "twice").await;
    wait_count(&butler, "delivered", 21).await;
    assert_eq!(influx.lines().len(), 3, "{:?}", influx.lines());
}

#[tokio::test]
async fn a_token_that_may_only_write_writes_and_is_warned_of_once() {
    let influx = Influx::start(2).await;
    let butler = Butler::start(&v2(&influx, Influx::WRITER, ", create: true")).await;
    silent(&butler, "one").await;
    let error = wait_error(&butler, "not found").await;
    assert!(error.contains("could not be created"), "{error}");
    let check = async || command(&["check", "-c", butler.config().to_str().unwrap()]).await;
    let output = check().await;
    assert!(output.code == 0 && output.stdout.contains("will be created"), "{output:?}");
    influx.create("butler");
    wait_count(&butler, "delivered", 1).await;
    let output = check().await;
    assert!(output.code == 0 && output.stdout.contains("may be written to"), "{output:?}");
    assert_eq!(influx.lines().len(), 1);
    silent(&butler, "two").await;
    wait_count(&butler, "delivered", 2).await;
    let (_, log) = butler.stop().await;
    assert_eq!(log.matches("give the user or token the right to").count(), 1, "{log}");
    assert!(!log.contains(Influx::WRITER), "{log}");
}

#[tokio::test]
async fn version_3_names_the_lines_that_it_refuses() {
    let influx = Influx::start(3).await;
    let settings = ", create: true, retention: 30d, flush: { interval: 500ms, points: 1000 }";
    let butler = Butler::start(&v3(&influx, Influx::TOKEN, settings)).await;
    influx.put("node_silent seconds=\"text\" 1");
    for number in 0..6 {
        emit(&butler, "server-license.status", json!({ "serverLicense": { "daysUntilExpiry": number } })).await;
        silent(&butler, "sense1").await;
    }
    let dead = wait_count(&butler, "dead", 6).await;
    wait_count(&butler, "delivered", 6).await;
    assert!(
        dead.iter().all(|delivery| delivery["error"].as_str().unwrap().contains("\"seconds\" on measurement")),
        "{dead:?}"
    );
    assert_eq!(influx.lines().len(), 7);
    assert_eq!(influx.places()["butler"]["retention_period"], "30d");
    let check = command(&["check", "-c", butler.config().to_str().unwrap()]).await;
    assert!(check.code == 0 && check.stdout.contains("database `butler` is there"), "{check:?}");
}
