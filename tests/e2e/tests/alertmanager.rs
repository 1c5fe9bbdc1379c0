//! Alerts in real Alertmanagers: posted with labels, resolved by the next success, whatever happens in between.
#![cfg(unix)]

use std::collections::BTreeSet;
use std::time::Duration;

use e2e::qlik::Site;
use e2e::{Alertmanager, Answer, Butler, Fields, Sense, Sink, WallClock, command, datagram, failure, fields, wait_for};
use serde_json::{Value, json};

fn config(urls: &[String], more: &str) -> String {
    let urls: Vec<String> = urls.iter().map(|url| format!("\"{url}\"")).collect();
    format!(
        "plugins:\n  - use: alertmanager\n    retry: {{ initial: 50ms, max: 200ms }}\n    settings: {{ urls: [{}], timeout: \
         500ms{more} }}\n",
        urls.join(", ")
    )
}

/// Another run of the task.
fn again(task: &Fields) -> Fields {
    Fields { execution_id: fields().execution_id, ..task.clone() }
}

fn success(task: &Fields) -> String {
    datagram("reload-task.succeeded", &again(task))
}

async fn wait_delivered(butler: &Butler, count: usize) {
    wait_for(&format!("{count} deliveries; log:\n{}", butler.log()), || async {
        (butler.deliveries("state=delivered").await.len() == count).then_some(())
    })
    .await;
}

/// Lets the probe emit an event, once it runs.
async fn emit(butler: &Butler, kind: &str, data: &Value) {
    wait_for(&format!("{kind} to be emitted"), || async {
        let (status, answer) = butler.post("/v5/probe/emit", &json!({ "kind": kind, "data": data })).await;
        assert!(matches!(status, 201 | 503), "{kind}: {answer}");
        (status == 201).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_failure_is_an_alert_with_labels_until_the_task_succeeds_over_a_kill() {
    let (sense, alertmanager) = (Sense::start().await, Alertmanager::start().await);
    let more = ", labels: { team: bi }, customPropertyLabels: { mail: Butler_Mail }";
    let links = "links: { qmc: \"https://sense.test/qmc\", appBaseUrl: \"https://sense.test/sense/app\" }\n";
    let butler = sense.butler(&format!("{links}{}", config(&[alertmanager.url()], more))).await;
    let failed = sense.failed(Site::SAMPLE_RELOAD_TASK);
    butler.send(&[failure(&failed)]);
    let alert = alertmanager.wait(1).await.remove(0);
    let labels = &alert["labels"];
    for (name, value) in [
        ("alertname", "QlikReloadTaskFailed"),
        ("severity", "critical"),
        ("team", "bi"),
        ("task", "Reload order analysis"),
        ("app", "Order analysis"),
        ("task_id", &failed.task_id),
        ("node", &failed.node),
    ] {
        assert_eq!(labels[name], value, "{name} of {alert:#}");
    }
    let annotations = &alert["annotations"];
    assert!(annotations["summary"].as_str().unwrap().starts_with("Reload task failed: Reload order analysis"));
    assert!(annotations["description"].as_str().unwrap().contains("Execution Failed"), "{annotations:#}");
    assert_eq!(alert["generatorURL"], format!("https://sense.test/sense/app/{}", failed.app_id));
    let told = alertmanager.wait_told(1).await;
    assert_eq!(told[0], ("firing".to_owned(), labels.clone()));
    butler.wait_delivery("delivered", "alertmanager").await;

    let butler = butler.kill_and_start().await;
    let other = sense.about(Site::SAMPLE_RELOAD_TASK);
    butler.send(&[success(&Fields { task_name: "Renamed".to_owned(), ..other })]);
    alertmanager.wait(0).await;
    let told = alertmanager.wait_told(2).await;
    assert_eq!(told[1], ("resolved".to_owned(), labels.clone()), "the same labels");
    wait_delivered(&butler, 2).await;
}

#[tokio::test]
async fn failed_and_aborted_are_two_alerts_and_one_success_resolves_both() {
    let alertmanager = Alertmanager::start().await;
    let butler = Butler::start(&config(&[alertmanager.url()], "")).await;
    let task = fields();
    butler.send(&[failure(&again(&task)), datagram("reload-task.aborted", &again(&task)), failure(&fields())]);
    alertmanager.wait(3).await;
    wait_delivered(&butler, 3).await;
    butler.send(&[success(&task)]);
    let left = alertmanager.wait(1).await;
    assert_ne!(left[0]["labels"]["task_id"], task.task_id, "the other task's stays");
    // Nobody is told of a success without a failure before it.
    butler.send(&[success(&fields())]);
    wait_delivered(&butler, 5).await;
    assert_eq!(alertmanager.wait_told(5).await.len(), 5);
}

#[tokio::test]
async fn a_service_that_can_be_checked_again_and_runs_has_no_alert_left() {
    let alertmanager = Alertmanager::start().await;
    let probe = "  - use: probe\n    on: [{ events: [nothing.at-all] }]\n    settings: {}\n";
    let butler = Butler::start(&(config(&[alertmanager.url()], "") + probe)).await;
    let of = |name: &str| json!({ "node": "srv1", "service": { "host": "srv1", "name": name } });
    for (kind, service) in [("service.unknown", "A"), ("service.unknown", "B"), ("service.stopped", "A")] {
        emit(&butler, kind, &of(service)).await;
    }
    alertmanager.wait(3).await;
    wait_delivered(&butler, 3).await;
    emit(&butler, "service.started", &of("A")).await;
    let left = alertmanager.wait(1).await;
    assert_eq!(left[0]["labels"]["service"], "B", "{left:#?}");
    emit(&butler, "service.started", &of("B")).await;
    alertmanager.wait(0).await;
}

#[tokio::test]
async fn each_member_of_a_cluster_gets_it_when_it_is_there() {
    let (first, mut second) = (Alertmanager::start().await, Alertmanager::start().await);
    second.kill();
    let butler = Butler::start(&config(&[first.url(), second.url()], "")).await;
    let task = fields();
    butler.send(&[failure(&task)]);
    let updated = first.wait(1).await[0]["updatedAt"].clone();
    let error = wait_for("the other to be missed", || async {
        butler.deliveries("instance=alertmanager").await[..].first()?["error"].as_str().map(str::to_owned)
    })
    .await;
    assert!(error.starts_with("1 of 2 Alertmanagers have it; 127.0.0.1:"), "{error}");
    let butler = butler.kill_and_start().await;
    second.start_again().await;
    second.wait(1).await;
    butler.wait_delivery("delivered", "alertmanager").await;
    assert_eq!(first.alerts().await[0]["updatedAt"], updated, "it was not sent there again");
    butler.send(&[success(&task)]);
    first.wait(0).await;
    second.wait(0).await;
    wait_delivered(&butler, 2).await;
}

#[tokio::test]
async fn one_that_has_a_resolution_keeps_it_while_another_is_away() {
    let (first, mut second) = (Alertmanager::start().await, Alertmanager::start().await);
    let butler = Butler::start(&config(&[first.url(), second.url()], ", resendEvery: 1s")).await;
    let (task, other) = (fields(), fields());
    butler.send(&[failure(&task)]);
    first.wait(1).await;
    second.wait(1).await;
    wait_delivered(&butler, 1).await;
    second.kill();
    butler.send(&[success(&task)]);
    first.wait(0).await;
    // What is open is sent again, several times.
    butler.send(&[failure(&other)]);
    let updated = first.wait(1).await[0]["updatedAt"].clone();
    let again = async |before: &Value| {
        let sent = || async { Some(first.wait(1).await.remove(0)).filter(|alert| alert["updatedAt"] != *before) };
        wait_for("open alerts to be sent again", sent).await["updatedAt"].clone()
    };
    let updated = again(&updated).await;
    again(&updated).await;
    let alerts = first.alerts().await;
    assert!(alerts.len() == 1 && alerts[0]["labels"]["task_id"] == other.task_id, "{alerts:#?}");
    second.start_again().await;
    wait_delivered(&butler, 3).await;
    let left = second.wait(1).await;
    assert_eq!(left[0]["labels"]["task_id"], other.task_id);
    let told = first.told().into_iter().filter(|(_, labels)| labels["task_id"] == task.task_id);
    assert_eq!(told.map(|(state, _)| state).collect::<Vec<_>>(), ["firing", "resolved"]);
}

#[tokio::test]
async fn hundreds_of_tasks_end_as_their_last_word_says_over_restarts_of_alertmanager() {
    const TASKS: usize = 40;
    let mut alertmanager = Alertmanager::start().await;
    let butler = Butler::start(&config(&[alertmanager.url()], ", resendEvery: 1s")).await;
    let tasks: Vec<Fields> = (0..TASKS).map(|_| fields()).collect();
    let mut open = BTreeSet::new();
    let mut sent = 0;
    // Any order will do, as long as it is mixed and each time the same.
    let mut random: u32 = 8;
    for round in 0..6 {
        for _ in 0..2 * TASKS {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let task = &tasks[(random >> 8) as usize % TASKS];
            if random >> 31 == 0 {
                butler.send(&[failure(&again(task))]);
                open.insert(task.task_id.clone());
            } else {
                butler.send(&[success(task)]);
                open.remove(&task.task_id);
            }
            sent += 1;
            if sent % 20 == 0 {
                wait_for("messages to be taken", || async {
                    (butler.metric("butler_udp_processed_total").await >= Some(f64::from(sent))).then_some(())
                })
                .await;
            }
            // In the middle of a round.
            match (round % 2, sent % 80) {
                (0, 40) => alertmanager.kill(),
                (1, 20) => alertmanager.start_again().await,
                _ => {}
            }
        }
    }
    assert!(open.len() > 5 && open.len() < TASKS - 5, "{}", open.len());
    wait_for("all deliveries", || async {
        (butler.metric("butler_deliveries_open{instance=\"alertmanager\"}").await == Some(0.0)).then_some(())
    })
    .await;
    let firing = || async {
        let alerts = alertmanager.alerts().await;
        alerts.iter().map(|alert| alert["labels"]["task_id"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    wait_for("the open alerts", || async { (firing().await == open).then_some(()) }).await;
    // It stays so when they are sent again.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(firing().await, open);
    assert_eq!(butler.deliveries("state=dead").await, Vec::<Value>::new());
}

#[tokio::test]
async fn what_happens_while_alertmanager_hangs_comes_later_and_in_order() {
    let alertmanager = Alertmanager::start().await;
    let butler = Butler::start(&config(&[alertmanager.url()], "")).await;
    let (task, other) = (fields(), fields());
    butler.send(&[failure(&again(&task))]);
    alertmanager.wait(1).await;
    butler.wait_delivery("delivered", "alertmanager").await;
    alertmanager.set_halted(true);
    for message in [success(&task), failure(&again(&other)), success(&other), failure(&again(&other))] {
        butler.send(&[message]);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    wait_for("both tasks to wait", || async {
        let waiting = butler.deliveries("instance=alertmanager").await;
        (waiting.iter().filter(|delivery| delivery["error"].is_string()).count() >= 2).then_some(())
    })
    .await;
    let butler = butler.kill_and_start().await;
    alertmanager.set_halted(false);
    wait_delivered(&butler, 5).await;
    let left = alertmanager.wait(1).await;
    assert_eq!(left[0]["labels"]["task_id"], other.task_id, "the last word is the failure of the other task");
    butler.send(&[success(&other)]);
    alertmanager.wait(0).await;
}

#[tokio::test]
async fn an_alertmanager_that_is_restarted_learns_what_is_open_and_later_what_is_over() {
    let mut alertmanager = Alertmanager::start().await;
    let butler = Butler::start(&config(&[alertmanager.url()], ", resendEvery: 1s")).await;
    let task = fields();
    butler.send(&[failure(&task)]);
    let labels = alertmanager.wait(1).await[0]["labels"].clone();
    butler.wait_delivery("delivered", "alertmanager").await;
    // Both are restarted, Butler roughly.
    alertmanager.kill();
    let butler = butler.kill_and_start().await;
    alertmanager.start_again().await;
    assert_eq!(alertmanager.wait(1).await[0]["labels"], labels);
    butler.send(&[success(&task)]);
    alertmanager.wait(0).await;
    wait_delivered(&butler, 2).await;
    // It stays so.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(alertmanager.alerts().await, Vec::<Value>::new());
}

#[tokio::test]
async fn clocks_that_are_off_hide_no_alert_and_keep_none() {
    let alertmanager = Alertmanager::start().await;
    let clock = WallClock::right();
    let config = config(&[alertmanager.url()], "");
    for (number, hours) in [1, -1, 24 * 40, -24 * 40].into_iter().enumerate() {
        clock.set(hours * 3600);
        let butler = Butler::start_with(&config, &clock.environment()).await;
        let task = fields();
        butler.send(&[failure(&task)]);
        let alert = alertmanager.wait(1).await.remove(0);
        assert_eq!(alert["labels"]["task_id"], task.task_id, "{hours} h");
        butler.wait_delivery("delivered", "alertmanager").await;
        alertmanager.wait_told(2 * number + 1).await;
        butler.send(&[success(&task)]);
        alertmanager.wait(0).await;
        let told = alertmanager.wait_told(2 * (number + 1)).await;
        assert_eq!((told.len(), told.last().unwrap().0.as_str()), (2 * (number + 1), "resolved"), "{hours} h");
    }
    // And one that jumps back in between.
    clock.set(0);
    let butler = Butler::start_with(&config, &clock.environment()).await;
    let task = fields();
    butler.send(&[failure(&task)]);
    alertmanager.wait(1).await;
    butler.wait_delivery("delivered", "alertmanager").await;
    clock.set(-7200);
    butler.send(&[success(&task)]);
    alertmanager.wait(0).await;
}

#[tokio::test]
async fn it_is_checked_and_tried_and_refused_for_what_it_says() {
    let (alertmanager, sink) = (Alertmanager::start().await, Sink::start().await);
    let folder = tempfile::TempDir::new().unwrap();
    let path = Butler::prepare(&folder, &config(&[alertmanager.url()], ""));
    let path = path.to_str().unwrap();
    let check = command(&["check", "-c", path]).await;
    assert!(check.code == 0 && format!("{check:?}").contains("Alertmanager 0."), "{check:?}");
    assert_eq!(alertmanager.alerts().await, Vec::<Value>::new());
    let tried = command(&["test-alert", "-c", path, "--instance", "alertmanager"]).await;
    assert_eq!(tried.code, 0, "{tried:?}");
    assert_eq!(alertmanager.wait(1).await[0]["labels"]["test"], "true");

    // A page of a proxy, and an address that is no Alertmanager.
    Butler::prepare(&folder, &config(&[alertmanager.url(), sink.url("/prefix")], ""));
    let check = command(&["check", "-c", path]).await;
    assert!(check.code != 0 && format!("{check:?}").contains("/prefix: it answers, but not as"), "{check:?}");
    sink.always(Some(Answer::Status(400)));
    let butler = Butler::start(&config(&[sink.url("")], "")).await;
    butler.send(&[failure(&fields())]);
    let dead = butler.wait_delivery("dead", "alertmanager").await;
    assert!(dead["error"].as_str().unwrap().contains("400"), "{dead}");
}

#[tokio::test]
async fn alertmanager_takes_the_alerts_of_all_kinds() {
    let alertmanager = Alertmanager::start().await;
    let on = "    on: [{ events: [\"*\"] }]\n    retry:";
    let config = config(&[alertmanager.url()], "").replace("    retry:", on);
    let probe = "  - use: probe\n    on: [{ events: [nothing.at-all] }]\n    settings: {}\n";
    let butler = Butler::start(&(config + probe)).await;
    let nasty = "ä\u{0}\n\"\\ \u{1F600}";
    let is_success = |kind: &&str| kind.ends_with("-task.succeeded") || *kind == "service.started";
    let kinds: Vec<&str> = butler_plugin_api::kind::ALL.iter().copied().filter(|kind| !is_success(kind)).collect();
    for kind in &kinds {
        let mut data = serde_json::to_value(&butler_plugin_api::sample_event(kind).data).unwrap();
        data["message"] = nasty.into();
        data["node"] = nasty.into();
        emit(&butler, kind, &data).await;
    }
    wait_for(&format!("all to arrive; log:\n{}", butler.log()), || async {
        let alerts = alertmanager.alerts().await;
        let is_there = |kind: &&str| alerts.iter().any(|alert| alert["labels"]["kind"] == **kind);
        kinds.iter().all(is_there).then_some(())
    })
    .await;
    assert_eq!(butler.deliveries("state=dead").await, Vec::<Value>::new());
}
