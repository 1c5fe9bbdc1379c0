//! Schedules: the API of Butler 16 and the better one, and that tasks start when they are to, whatever happens to the clock,
//! the store, Qlik Sense and the daemon.

#![allow(clippy::unwrap_used, reason = "for tests, which may panic")]

use std::path::Path;
use std::time::Duration;

use e2e::qlik::{Endpoint, Fault, Site};
use e2e::{Butler, Disk, Sense, StoreLock, WallClock, command, http, take_all_room, wait_for};
use jiff::Timestamp;
use serde_json::{Value, json};

const TASK: &str = Site::SAMPLE_RELOAD_TASK;

/// Sends a request as a load script on the same machine would; status and body.
async fn send_text(butler: &Butler, method: &str, path: &str, body: Option<(&str, String)>) -> (u16, String) {
    let mut request = http().request(method.parse().expect("a method"), format!("{}{path}", butler.rest()));
    if let Some((content_type, body)) = body {
        request = request.header("content-type", content_type).body(body);
    }
    let answer = request.send().await.expect("the daemon answers");
    let status = answer.status().as_u16();
    (status, answer.text().await.expect("the daemon answers whole"))
}

async fn send(butler: &Butler, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let body = body.map(|body| ("application/json", body.to_string()));
    let (status, text) = send_text(butler, method, path, body).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// A body for `/v4`.
fn theirs(more: &Value) -> Value {
    merged(
        json!({ "name": "x", "cronSchedule": "0 6 * * *", "timezone": "Europe/Oslo", "qlikSenseTaskId": TASK, "startupState": "started" }),
        more,
    )
}

/// A body for `/v5`.
fn ours(more: &Value) -> Value {
    merged(
        json!({ "id": "s", "name": "nightly", "cron": "0 6 * * *", "timeZone": "Europe/Oslo", "taskId": TASK }),
        more,
    )
}

fn merged(mut value: Value, more: &Value) -> Value {
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    value
}

async fn make(butler: &Butler, more: &Value) -> Value {
    let (status, schedule) = send(butler, "POST", "/v5/schedules", Some(&ours(more))).await;
    assert_eq!(status, 201, "{schedule}");
    schedule
}

/// Waits until the last run of a schedule is so.
async fn wait_last(butler: &Butler, id: &str, result: &str) -> Value {
    wait_for(&format!("a run of {id} that is {result}; log:\n{}", butler.log()), || async {
        let (_, schedule) = send(butler, "GET", &format!("/v5/schedules/{id}"), None).await;
        Some(schedule["lastRun"].clone()).filter(|run| run["result"] == result)
    })
    .await
}

async fn events(butler: &Butler, kind: &str) -> Vec<Value> {
    let (_, answer) = butler.get(&format!("/v5/events?kind={kind}&limit=500")).await;
    answer["events"].as_array().cloned().unwrap_or_default()
}

async fn wait_event(butler: &Butler, kind: &str) -> Value {
    let what = format!("an event {kind}; log:\n{}", butler.log());
    let found = wait_for(&what, || async { Some(events(butler, kind).await).filter(|events| !events.is_empty()) });
    let id = found.await[0]["id"].as_str().unwrap().to_owned();
    butler.event(&id).await
}

/// Sets a clock.
fn set(clock: &WallClock, time: &str) {
    clock.set(time.parse::<Timestamp>().unwrap().as_second() - Timestamp::now().as_second());
}

#[tokio::test]
async fn the_api_of_butler_16_answers_as_it_did() {
    let sense = Sense::start().await;
    let butler = sense.butler("").await;
    let mut without = theirs(&json!({}));
    without.as_object_mut().unwrap().remove("timezone");
    for (body, message) in [
        (without, "body must have required property 'timezone'"),
        (theirs(&json!({ "startupState": "on" })), "body/startupState must be equal to one of the allowed values"),
        (
            theirs(&json!({ "cronSchedule": "0 25 * * *" })),
            "body/cronSchedule column 3 (hour): `25` stands where a number from 0 to 23 must be",
        ),
        (
            theirs(&json!({ "cronSchedule": "0 0 1 12 *" })),
            "body/cronSchedule column 7 (month): `12` stands where a number from 0 (jan) to 11 (dec) or a name must be",
        ),
        (
            theirs(&json!({ "timezone": "Europe/Olso" })),
            "body/timezone there is no time zone `Europe/Olso`: is `Europe/Oslo` meant?",
        ),
        (theirs(&json!({ "qlikSenseTaskId": "abc" })), "body/qlikSenseTaskId must be the id of a task, a GUID"),
    ] {
        let (status, answer) = send(&butler, "POST", "/v4/schedules", Some(&body)).await;
        assert_eq!((status, &answer["message"]), (400, &json!(message)), "{answer}");
        assert_eq!(answer["code"], "FST_ERR_VALIDATION");
    }
    for cron in ["* * * *", "@daily", "*/0 * * * *"] {
        let body = theirs(&json!({ "cronSchedule": cron }));
        assert_eq!(send(&butler, "POST", "/v4/schedules", Some(&body)).await.0, 400, "{cron}");
    }
    assert_eq!(send(&butler, "GET", "/v4/schedules", None).await, (200, json!([])));

    let body = theirs(&json!({ "startupState": "stop", "id": "mine", "created": "x", "tags": ["a"], "owner": "me" }));
    let (status, text) =
        send_text(&butler, "POST", "/v4/schedules", Some(("application/json", body.to_string()))).await;
    let made: Value = serde_json::from_str(&text).unwrap();
    let id = made["id"].as_str().unwrap().to_owned();
    assert!(status == 201 && id.len() == 36 && id.as_bytes()[14] == b'4', "{text}");
    let created = made["created"].as_str().unwrap();
    assert_eq!(
        text,
        format!(
            r#"{{"name":"x","cronSchedule":"0 6 * * *","timezone":"Europe/Oslo","qlikSenseTaskId":"{TASK}","startupState":"stop","tags":["a"],"owner":"me","id":"{id}","created":"{created}","lastKnownState":"stopped"}}"#
        )
    );
    assert!(created.parse::<Timestamp>().is_ok() && created.ends_with('Z') && created.len() == 24, "{created}");
    let (_, list) = send_text(&butler, "GET", "/v4/schedules", None).await;
    assert_eq!(
        list,
        format!(
            r#"[{{"id":"{id}","created":"{created}","name":"x","cronSchedule":"0 6 * * *","timezone":"Europe/Oslo","qlikSenseTaskId":"{TASK}","startupState":"stop","tags":["a"],"lastKnownState":"stopped"}}]"#
        )
    );
    let one = send(&butler, "GET", &format!("/v4/schedules?id={id}"), None).await;
    assert_eq!(one, (200, json!([made])));
    let (status, none) = send(&butler, "GET", "/v4/schedules?id=none", None).await;
    assert_eq!((status, &none["message"]), (400, &json!("REST SCHEDULER: Schedule ID none not found.")));

    for (verb, state) in [("start", "started"), ("start", "started"), ("stop", "stopped")] {
        let (status, answer) = send(&butler, "PUT", &format!("/v4/schedules/{id}/{verb}"), None).await;
        assert_eq!(
            (status, &answer[0]["lastKnownState"], answer.as_array().map(Vec::len)),
            (200, &json!(state), Some(1))
        );
        let (status, answer) = send(&butler, "PUT", &format!("/v4/schedules/none/{verb}"), None).await;
        let message = format!("REST SCHEDULER: Failed {verb}ping schedule ID none.").replace("startp", "start");
        assert_eq!((status, &answer["message"]), (400, &json!(message)));
    }
    let second = send(&butler, "POST", "/v4/schedules", Some(&theirs(&json!({ "cronSchedule": "0 6 1 1 *" })))).await.1;
    let second = second["id"].as_str().unwrap();
    let (status, all) = send(&butler, "PUT", "/v4/schedules/startall", None).await;
    assert!(status == 200 && all.as_array().unwrap().iter().all(|one| one["lastKnownState"] == "started"), "{all}");
    send(&butler, "PUT", &format!("/v4/schedules/{id}/stop"), None).await;
    let (status, text) = send_text(&butler, "GET", "/v4/schedules/status", None).await;
    let expected = format!("{{\n'{id}': 0 6 * * * status: Stopped\n'{second}': 0 6 1 1 * status: Running\n}}\n");
    assert_eq!((status, text), (200, expected));
    // Months from 0 there, from 1 here.
    let (_, here) = send(&butler, "GET", &format!("/v5/schedules/{second}"), None).await;
    assert_eq!(
        (&here["cron"], &here["nextRuns"][0].as_str().unwrap()[4..]),
        (&json!("0 6 1 2 *"), "-02-01T05:00:00.000Z")
    );

    let changed = theirs(&json!({ "cronSchedule": "30 6 * * sun", "name": "other" }));
    let (status, answer) = send(&butler, "PUT", &format!("/v4/schedules/{id}"), Some(&changed)).await;
    assert_eq!(
        (status, &answer["name"], &answer["id"], &answer["created"]),
        (200, &json!("other"), &json!(id), &json!(created))
    );
    // As the REST connector does.
    let delete = http().post(format!("{}/v4/schedules/{id}", butler.rest())).header("x-http-method-override", "DELETE");
    assert_eq!(delete.send().await.unwrap().status(), 204);
    let (status, answer) = send(&butler, "DELETE", &format!("/v4/schedules/{id}"), None).await;
    assert_eq!(
        (status, &answer["message"]),
        (400, &json!(format!("REST SCHEDULER: Delete for schedule ID {id} failed.")))
    );
    assert_eq!(send(&butler, "PUT", "/v4/schedules/stopall", None).await.1.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn the_better_api_says_what_is_wrong_and_what_comes() {
    let sense = Sense::start().await;
    let butler = sense.butler("").await;
    let made = make(&butler, &json!({ "cron": "0 6 1 1 *" })).await;
    let next: Vec<_> =
        made["nextRuns"].as_array().unwrap().iter().map(|time| time.as_str().unwrap()[4..].to_owned()).collect();
    assert_eq!(next, vec!["-01-01T05:00:00.000Z"; 5]);
    assert_eq!(
        (&made["enabled"], &made["missed"], &made["overlap"], &made["lastRun"]),
        (&json!(true), &json!("skip"), &json!("allow"), &Value::Null)
    );
    let (status, answer) = send(&butler, "POST", "/v5/schedules", Some(&ours(&json!({})))).await;
    assert_eq!((status, &answer["message"]), (409, &json!("there is a schedule with this id already: s")));
    let wrong = ours(&json!({ "id": "t", "cron": "60 * * * *", "timeZone": "Mars", "taskId": "x" }));
    let (status, answer) = send(&butler, "POST", "/v5/schedules", Some(&wrong)).await;
    let message = answer["message"].as_str().unwrap();
    assert!(
        status == 400
            && message.contains("`cron` column 1 (minute)")
            && message.contains("`timeZone`")
            && message.contains("`taskId`"),
        "{message}"
    );
    let (status, answer) = send(&butler, "POST", "/v5/schedules", Some(&ours(&json!({ "colour": 1 })))).await;
    assert!(status == 400 && answer["message"].as_str().unwrap().contains("colour"), "{answer}");
    let (status, answer) =
        send(&butler, "PUT", "/v5/schedules/s", Some(&ours(&json!({ "name": "other", "cron": "0 7 * * 7" })))).await;
    assert_eq!((status, &answer["name"], &answer["created"]), (200, &json!("other"), &made["created"]));
    for (method, path) in [
        ("GET", "/v5/schedules/none"),
        ("DELETE", "/v5/schedules/none"),
        ("POST", "/v5/schedules/none/start"),
        ("POST", "/v5/schedules/none/stop"),
        ("POST", "/v5/schedules/none/run"),
    ] {
        let (status, answer) = send(&butler, method, path, None).await;
        assert_eq!((status, &answer["message"]), (404, &json!("there is no schedule `none`")), "{method} {path}");
    }
    assert_eq!(send(&butler, "PUT", "/v5/schedules/none", Some(&ours(&json!({ "id": "none" })))).await.0, 404);
    assert_eq!(send(&butler, "PUT", "/v5/schedules/s", Some(&ours(&json!({ "id": "other" })))).await.0, 400);

    let (status, run) = send(&butler, "POST", "/v5/schedules/s/run", None).await;
    assert_eq!((status, &run["result"]), (200, &json!("started")), "{run}");
    assert_eq!(sense.site().starts(), [TASK]);
    let event = wait_event(&butler, "task-start.succeeded").await;
    let caller =
        event["event"]["data"]["taskStart"]["caller"].as_str().or(event["data"]["taskStart"]["caller"].as_str());
    assert!(caller.is_some_and(|caller| caller.starts_with("schedule:s (other), run by ")), "{event}");
    // While it runs.
    sense.site().begin_task(TASK, "e").unwrap();
    send(&butler, "PUT", "/v5/schedules/s", Some(&ours(&json!({ "overlap": "skip" })))).await;
    let (status, run) = send(&butler, "POST", "/v5/schedules/s/run", None).await;
    assert_eq!((status, &run["result"]), (409, &json!("skipped")), "{run}");
    sense.site().succeed_task(TASK, "e").unwrap();
    sense.faults().add(Fault::status(500).on(Endpoint::TaskFull));
    let (status, run) = send(&butler, "POST", "/v5/schedules/s/run", None).await;
    assert_eq!((status, &run["result"]), (502, &json!("failed")), "{run}");
    let (_, list) = send(&butler, "GET", "/v5/schedules", None).await;
    assert_eq!(
        (&list["schedules"][0]["lastRun"]["result"], list["schedules"].as_array().map(Vec::len)),
        (&json!("failed"), Some(1))
    );
    assert_eq!(send(&butler, "DELETE", "/v5/schedules/s", None).await.0, 204);
    assert_eq!(send(&butler, "GET", "/v5/schedules", None).await.1, json!({ "schedules": [] }));
}

#[tokio::test]
async fn a_start_of_butler_decides_where_it_is_said_and_else_nothing_changes() {
    let sense = Sense::start().await;
    let butler = sense.butler("").await;
    let (_, started) = send(&butler, "POST", "/v4/schedules", Some(&theirs(&json!({})))).await;
    let started = started["id"].as_str().unwrap().to_owned();
    make(&butler, &json!({ "id": "lasting", "startupState": "started" })).await;
    make(&butler, &json!({ "id": "plain" })).await;
    send(&butler, "PUT", &format!("/v4/schedules/{started}/stop"), None).await;
    for id in ["lasting", "plain"] {
        let (status, answer) = send(&butler, "POST", &format!("/v5/schedules/{id}/stop"), None).await;
        assert_eq!((status, &answer["enabled"], &answer["nextRuns"]), (200, &json!(false), &json!([])));
    }
    let (_, before) = send(&butler, "GET", "/v4/schedules", None).await;
    assert!(before.as_array().unwrap().iter().all(|one| one["lastKnownState"] == "stopped"), "{before}");
    let butler = butler.kill_and_start().await;
    let (_, after) = send(&butler, "GET", "/v4/schedules", None).await;
    let state = |n: usize| (after[n]["id"].as_str().unwrap(), after[n]["lastKnownState"].as_str().unwrap());
    assert_eq!(
        [state(0), state(1), state(2)],
        [(started.as_str(), "started"), ("lasting", "stopped"), ("plain", "stopped")]
    );
}

/// A daemon with a clock that shows a time, and a schedule; when it has run, the planned time.
async fn runs_at(time: &str, schedule: &Value) -> String {
    let (sense, clock) = (Sense::start().await, WallClock::right());
    set(&clock, time);
    let butler = sense.butler_under(&clock.environment(), "").await;
    make(&butler, schedule).await;
    let run = wait_last(&butler, "s", "started").await;
    assert_eq!(sense.site().starts(), [TASK]);
    let late = run["claimed"].as_str().unwrap().parse::<Timestamp>().unwrap()
        - run["planned"].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert!(late.get_milliseconds() + late.get_seconds() * 1000 < 3000, "{run}");
    run["planned"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn tasks_start_at_the_times_of_their_zone_also_when_clocks_are_set() {
    let six = json!({});
    let in_the_gap = json!({ "cron": "30 2 * * *" });
    let midnight = json!({ "cron": "0 0 * * *", "timeZone": "America/Sao_Paulo" });
    let (plain, gap, fold, no_midnight) = tokio::join!(
        runs_at("2027-07-01T03:59:56Z", &six),
        runs_at("2027-03-28T00:59:56Z", &in_the_gap),
        runs_at("2027-10-31T00:29:56Z", &in_the_gap),
        runs_at("2018-11-04T02:59:56Z", &midnight),
    );
    assert_eq!(
        [plain, gap, fold, no_midnight],
        [
            "2027-07-01T04:00:00.000Z",
            "2027-03-28T01:00:00.000Z",
            "2027-10-31T00:30:00.000Z",
            "2018-11-04T03:00:00.000Z"
        ]
    );
}

#[tokio::test]
async fn runs_that_were_missed_are_made_up_for_once_or_left_out_and_a_jump_makes_no_burst() {
    let (sense, clock) = (Sense::start().await, WallClock::right());
    set(&clock, "2027-07-01T10:00:00Z");
    let butler = sense.butler_under(&clock.environment(), "").await;
    make(&butler, &json!({ "id": "skip", "cron": "0 * * * *" })).await;
    make(&butler, &json!({ "id": "once", "cron": "0 * * * *", "missed": "once", "taskId": Site::SAMPLE_PRELOAD_TASK }))
        .await;
    let killed = butler.kill();
    set(&clock, "2027-07-04T12:30:00Z");
    let butler = killed.start().await;
    let (skip, once) = tokio::join!(wait_last(&butler, "skip", "missed"), wait_last(&butler, "once", "started"));
    assert_eq!(
        (&skip["planned"], &once["planned"]),
        (&json!("2027-07-04T12:00:00.000Z"), &json!("2027-07-04T12:00:00.000Z"))
    );
    assert_eq!(sense.site().starts(), [Site::SAMPLE_PRELOAD_TASK]);
    assert!(butler.log().contains("runs were missed and are left out"), "{}", butler.log());

    // The same while it runs, as when a machine wakes up.
    set(&clock, "2027-07-05T15:30:00Z");
    wait_for("the jump to be seen", || async {
        let (_, schedule) = send(&butler, "GET", "/v5/schedules/once", None).await;
        (schedule["lastRun"]["planned"] == "2027-07-05T15:00:00.000Z").then_some(())
    })
    .await;
    wait_last(&butler, "once", "started").await;
    // And back: they go on from there.
    set(&clock, "2027-07-05T13:59:55Z");
    wait_for("the next run after the clock was set back", || async {
        (sense.site().starts().len() >= 4).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let starts = sense.site().starts();
    assert_eq!(starts.iter().filter(|id| *id == Site::SAMPLE_PRELOAD_TASK).count(), 3, "{starts:?}");
    assert_eq!(starts.iter().filter(|id| *id == TASK).count(), 1, "{starts:?}");
}

#[tokio::test]
async fn a_start_that_fails_is_tried_again_and_each_failed_run_is_told_once() {
    let sense = Sense::start().await;
    let butler = sense.butler("").await;
    sense.faults().add(Fault::status(503).on(Endpoint::TaskFull));
    make(&butler, &json!({ "cron": "*/5 * * * * *" })).await;
    let run = wait_last(&butler, "s", "failed").await;
    assert!(run["message"].as_str().unwrap().contains("503"), "{run}");
    assert!(butler.log().contains("the start of the task is tried again"), "{}", butler.log());
    let event = wait_event(&butler, "task-start.failed").await;
    assert!(event.to_string().contains("schedule:s (nightly)"), "{event}");
    sense.faults().clear();
    wait_last(&butler, "s", "started").await;
    send(&butler, "POST", "/v5/schedules/s/stop", None).await;
    let failed = butler.log().matches("tasks were not started").count();
    assert!(failed > events(&butler, "task-start.failed").await.len(), "an event for each attempt: {}", butler.log());
}

#[tokio::test]
async fn the_filter_holds_for_schedules_as_well() {
    let sense = Sense::start().await;
    let butler = sense.butler_with("startTaskFilter: { tags: [daily] }", "").await;
    make(&butler, &json!({ "cron": "* * * * * *" })).await;
    let run = wait_last(&butler, "s", "failed").await;
    assert_eq!(run["message"], "`qlik.startTaskFilter` does not allow it");
    wait_event(&butler, "task-start.failed").await;
    assert!(sense.site().starts().is_empty());
}

#[tokio::test]
async fn a_kill_while_a_task_is_being_started_neither_doubles_nor_hides_the_run() {
    for (missed, result, starts) in [("skip", "failed", 0), ("once", "started", 1)] {
        let sense = Sense::start().await;
        let butler = sense.butler("").await;
        sense.faults().add(Fault::hang().on(Endpoint::TaskStartSynchronous));
        make(&butler, &json!({ "cron": "*/2 * * * * *", "missed": missed })).await;
        wait_for("a call to start the task", || async {
            (sense.counts().requests_to(Endpoint::TaskStartSynchronous) > 0).then_some(())
        })
        .await;
        let killed = butler.kill();
        // Whatever comes now is of the runs before.
        let store = killed.folder().join("butler.db");
        e2e::sqlite(
            &store,
            "UPDATE schedules SET record = json_set(record, '$.cron', '0 0 1 1 *'), since = since + 3600000;",
        );
        sense.faults().clear();
        let butler = killed.start().await;
        let run = wait_last(&butler, "s", result).await;
        assert_eq!(sense.site().starts().len(), starts, "{run}");
        if missed == "skip" {
            let event = wait_event(&butler, "task-start.failed").await;
            assert!(event.to_string().contains("look in the QMC"), "{event}");
        }
        assert_eq!(e2e::sqlite(&store, "SELECT count(*) FROM schedule_runs WHERE state = 0;").trim(), "0");
    }
}

#[tokio::test]
async fn files_are_imported_whole_or_not_at_all_and_exported() {
    let sense = Sense::start().await;
    let butler = sense.butler("").await;
    let config = butler.config().to_str().unwrap().to_owned();
    let entry = |id: &str, cron: &str| {
        format!(
            "  - name: Morning {id}\r\n    cronSchedule: '{cron}'\r\n    timezone: Europe/Oslo\r\n    qlikSenseTaskId: {TASK}\r\n    startupState: started\r\n    id: {id}\r\n"
        )
    };
    let write = |name: &str, text: &str| {
        let path = butler.folder().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let doubled = format!(
        "\u{feff}butlerSchedule:\r\n{}{}{}",
        entry("7", "0 6 1 1 *"),
        entry("'7'", "0 6 * * *"),
        entry("8", "0 0 * 12 *")
    );
    let file = write("doubled.yaml", &doubled);
    let output = command(&["schedules", "import", &file, "-c", &config]).await;
    assert!(
        output.code == 1 && output.stderr.contains("line 8: the schedule has the id `7` of the one in line 2"),
        "{output:?}"
    );
    assert!(output.stderr.contains("line 15: `cronSchedule` column 7 (month): `12`"), "{output:?}");
    assert_eq!(send(&butler, "GET", "/v4/schedules", None).await.1, json!([]));

    let file = write(
        "sound.yaml",
        &format!("\u{feff}butlerSchedule:\r\n{}{}", entry("7", "0 6 1 1 *"), entry("8", "*/5 * * * * *")),
    );
    let output = command(&["schedules", "import", &file, "-c", &config]).await;
    assert!(output.code == 0 && output.stdout.contains("2 schedules are imported"), "{output:?}");
    wait_for("a start", || async { (!sense.site().starts().is_empty()).then_some(()) }).await;
    let output = command(&["schedules", "import", &file, "-c", &config]).await;
    assert!(output.code == 1 && output.stderr.contains("already: 7, 8"), "{output:?}");
    let output = command(&["schedules", "import", &file, "--replace", "-c", &config]).await;
    assert_eq!(output.code, 0, "{output:?}");
    let output = command(&["schedules", "list", "-c", &config]).await;
    assert!(output.stdout.contains("0 6 1 2 *") && output.stdout.contains("Europe/Oslo"), "{output:?}");

    let theirs = command(&["schedules", "export", "--butler16", "-c", &config]).await;
    assert!(theirs.stdout.starts_with("butlerSchedule:\n") && theirs.stdout.contains("0 6 1 1 *"), "{theirs:?}");
    let own = command(&["schedules", "export", "-c", &config]).await;
    assert!(own.stdout.starts_with("schedules:\n") && own.stdout.contains("0 6 1 2 *"), "{own:?}");
    for text in [&theirs.stdout, &own.stdout] {
        let body = Some(("text/plain", text.clone()));
        let (status, answer) = send_text(&butler, "POST", "/v5/schedules/import?replace=true", body).await;
        assert_eq!(status, 201, "{answer}");
        let again = command(&["schedules", "export", "-c", &config]).await;
        assert_eq!(again.stdout, own.stdout);
    }
    let output = command(&["schedules", "next", "30 2 * * *", "--time-zone", "Europe/Oslo", "--count", "2"]).await;
    assert!(output.code == 0 && output.stdout.lines().count() == 2, "{output:?}");
    let output = command(&["schedules", "next", "0 0 30 2 *"]).await;
    assert!(output.code == 1 && output.stderr.contains("column 5 (day of month): no such day"), "{output:?}");
}

#[tokio::test]
async fn switched_off_it_answers_so_and_touches_nothing() {
    let sense = Sense::start().await;
    let butler = sense.butler("").await;
    make(&butler, &json!({ "cron": "0 0 1 1 *" })).await;
    let (status, _) = butler.stop().await;
    assert_eq!(status.code(), Some(0));
    let butler = sense.butler("scheduler: { enabled: false }\n").await;
    for (method, path, body) in [
        ("GET", "/v4/schedules", None),
        ("POST", "/v4/schedules", Some(theirs(&json!({})))),
        ("PUT", "/v4/schedules/startall", None),
        ("GET", "/v5/schedules", None),
        ("DELETE", "/v5/schedules/s", None),
        ("POST", "/v5/schedules", Some(ours(&json!({ "id": "t", "cron": "* * * * * *" })))),
    ] {
        let (status, answer) = send(&butler, method, path, body.as_ref()).await;
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(status == 503 && message.contains("scheduler.enabled"), "{method} {path}: {status} {answer}");
    }
    let (status, _) = butler.stop().await;
    assert_eq!(status.code(), Some(0));
    let butler = sense.butler("").await;
    assert_eq!(send(&butler, "GET", "/v5/schedules", None).await.1["schedules"].as_array().map(Vec::len), Some(1));
}

/// What is claimed while the store cannot be written starts when it can: not before, and not never.
async fn waits_for_the_store(butler: &Butler, sense: &Sense, store: &Path, well: impl FnOnce()) {
    let begun = sense.site().starts().len();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let held = sense.site().starts().len();
    assert!(held <= begun + 1, "tasks are started that nobody would know of after a crash: {begun} and {held}");
    assert_eq!(butler.get("/v5/health/live").await.0, 200);
    well();
    wait_for("the next start", || async { (sense.site().starts().len() > held).then_some(()) }).await;
    send(butler, "POST", "/v5/schedules/s/stop", None).await;
    let open = "SELECT count(*) FROM schedule_runs WHERE state = 0;";
    wait_for("all runs to be settled", || async { (e2e::sqlite(store, open).trim() == "0").then_some(()) }).await;
    let started: usize =
        e2e::sqlite(store, "SELECT count(*) FROM schedule_runs WHERE state = 1;").trim().parse().unwrap();
    assert_eq!(started, sense.site().starts().len().min(20));
}

#[tokio::test]
async fn no_run_is_lost_or_doubled_while_the_store_cannot_be_written() {
    let sense = Sense::start().await;
    let butler = sense.butler("").await;
    make(&butler, &json!({ "cron": "* * * * * *" })).await;
    wait_last(&butler, "s", "started").await;
    let store = butler.folder().join("butler.db");
    let lock = StoreLock::take(&store);
    waits_for_the_store(&butler, &sense, &store, || drop(lock)).await;
}

#[tokio::test]
async fn no_run_is_lost_or_doubled_while_the_disk_is_full() {
    let (sense, disk) = (Sense::start().await, Disk::in_memory(16));
    std::fs::create_dir(disk.path().join("certificates")).unwrap();
    for file in std::fs::read_dir(sense.folder().join("certificates")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), disk.path().join("certificates").join(file.file_name())).unwrap();
    }
    let butler = Butler::start_in(disk.folder(), &sense.section(""), &[]).await;
    make(&butler, &json!({ "cron": "* * * * * *" })).await;
    wait_last(&butler, "s", "started").await;
    let filler = disk.path().join("filler");
    wait_for("trouble with the store", || async {
        // Again whatever becomes free: the reserve of the store above all.
        take_all_room(&filler);
        (butler.get("/v5/health/ready").await.0 == 503).then_some(())
    })
    .await;
    let store = disk.path().join("butler.db");
    let well = || std::fs::remove_file(&filler).unwrap();
    waits_for_the_store(&butler, &sense, &store, well).await;
}

#[tokio::test]
async fn schedules_of_plugins_go_on_over_restarts_and_hold_no_stop_up() {
    let sense = Sense::start().await;
    let config = |when: &str| format!("plugins:\n  - use: probe\n    settings: {{ when: {when} }}\n");
    let ticks = |butler: &Butler| {
        let get = butler.rest().to_owned();
        async move {
            let answer = http().get(format!("{get}/v5/events?kind=node.silent&limit=500")).send().await.unwrap();
            let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
            answer["events"].as_array().map_or(0, Vec::len)
        }
    };
    let butler = sense.butler(&config("{ every: 1s }")).await;
    wait_for("three ticks", || async { (ticks(&butler).await >= 3).then_some(()) }).await;
    let (status, _) = butler.stop().await;
    assert_eq!(status.code(), Some(0));
    let butler = sense.butler(&config("{ every: 1d }")).await;
    let before = ticks(&butler).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(ticks(&butler).await, before, "an interval of a day began anew");
    // Waiting takes no place of other calls, and holds no stop up.
    let begun = std::time::Instant::now();
    let (status, log) = butler.stop().await;
    assert!(status.code() == Some(0) && begun.elapsed() < Duration::from_secs(8), "{:?}\n{log}", begun.elapsed());
    assert!(!log.contains("did not stop in time"), "{log}");
}

#[tokio::test]
async fn a_plugin_whose_schedule_cannot_be_read_refuses_its_settings() {
    let place = e2e::place::Place::new();
    let output = place.start(&format!(
        "{}plugins:\n  - use: probe\n    settings: {{ when: {{ cron: \"0 25 * * *\", timeZone: Europe/Oslo }} }}\n",
        e2e::place::PRIVATE
    ));
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains("`cron` `0 25 * * *`: column 3 (hour)"), "{output:?}");
}
