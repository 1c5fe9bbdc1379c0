//! Files of schedules, and what is stored.

use super::*;

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

#[tokio::test]
async fn as_many_schedules_as_there_may_be_come_in_one_file() {
    let sense = Sense::start().await;
    let butler = sense.butler("").await;
    let entry = |n: usize| {
        format!(
            "  - name: Load of the sales figures of branch {n}\n    cronSchedule: '*/15 6-20 * * 1-5'\n    timezone: Europe/Oslo\n    qlikSenseTaskId: {TASK}\n    startupState: stopped\n    tags:\n      - sales\n      - branches\n    id: 5d2c7f10-1111-4a2b-9c3d-{n:012}\n    created: '2026-01-01T12:00:00.000Z'\n    lastKnownState: stopped\n"
        )
    };
    let all = 2000;
    let text = format!("butlerSchedule:\n{}", (0..all).map(entry).collect::<String>());
    let (status, answer) = send_text(&butler, "POST", "/v5/schedules/import", Some(("text/plain", text))).await;
    assert_eq!(status, 201, "{}", &answer[..answer.len().min(500)]);
    let (status, answer) = send(&butler, "POST", "/v4/schedules", Some(&theirs(&json!({})))).await;
    assert!(status == 400 && answer["message"].as_str().unwrap().contains("at most 2000 schedules"), "{answer}");
    assert!(!butler.log().contains("a schedule was made by REST"), "{}", butler.log());
    let (_, list) = send(&butler, "GET", "/v4/schedules", None).await;
    assert_eq!(list.as_array().map(Vec::len), Some(all));
}

#[tokio::test]
async fn a_schedule_whose_zone_has_gone_is_shown_and_kept_until_somebody_decides() {
    let sense = Sense::start().await;
    let butler = sense.butler("").await;
    make(&butler, &json!({})).await;
    let killed = butler.kill();
    let store = killed.folder().join("butler.db");
    e2e::sqlite(&store, "UPDATE schedules SET record = json_set(record, '$.timeZone', 'Mars/Base');");
    let butler = killed.start().await;
    let (_, list) = send(&butler, "GET", "/v5/schedules", None).await;
    let shown = &list["schedules"][0];
    assert_eq!((&shown["id"], &shown["timeZone"], &shown["nextRuns"]), (&json!("s"), &json!("Mars/Base"), &json!([])));
    assert!(shown["error"].as_str().unwrap().contains("no time zone `Mars/Base`"), "{shown}");
    assert_eq!(send(&butler, "GET", "/v5/schedules/s", None).await, (200, shown.clone()));
    let config = butler.config().to_str().unwrap().to_owned();
    let listed = command(&["schedules", "list", "-c", &config]).await;
    assert!(listed.stdout.contains(" error ") && listed.stderr.contains("s cannot run: `timeZone`"), "{listed:?}");
    assert_eq!(send(&butler, "POST", "/v5/schedules", Some(&ours(&json!({})))).await.0, 409);
    let (status, answer) = send(&butler, "POST", "/v5/schedules/s/start", None).await;
    assert!(status == 409 && answer["message"].as_str().unwrap().contains("cannot run"), "{answer}");
    let (status, yaml) = send_text(&butler, "GET", "/v5/schedules/export", None).await;
    assert!(status == 200 && yaml.contains("timeZone: Mars/Base"), "{yaml}");
    let (status, answer) = send(&butler, "GET", "/v5/schedules/export?format=butler16", None).await;
    assert!(status == 409 && answer["message"].as_str().unwrap().contains("`s`: `timeZone`"), "{answer}");
    assert_eq!(send(&butler, "PUT", "/v5/schedules/s", Some(&ours(&json!({})))).await.0, 200);
    let (_, shown) = send(&butler, "GET", "/v5/schedules/s", None).await;
    assert!(shown["error"].is_null() && shown["nextRuns"].as_array().map(Vec::len) == Some(5), "{shown}");
    let killed = butler.kill();
    e2e::sqlite(&store, "UPDATE schedules SET record = json_set(record, '$.timeZone', 'Mars/Base');");
    let butler = killed.start().await;
    assert_eq!(send(&butler, "DELETE", "/v5/schedules/s", None).await.0, 204);
    assert_eq!(send(&butler, "GET", "/v5/schedules", None).await.1, json!({ "schedules": [] }));
}
