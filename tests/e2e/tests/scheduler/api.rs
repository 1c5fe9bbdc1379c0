//! The API of Butler 16, and the better one.

use super::*;

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
