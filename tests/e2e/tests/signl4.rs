//! Alerts in Signl4: raised as Butler 16 did, resolved by the next success, whatever happens in between.

use std::time::Duration;

use e2e::qlik::{Site, Status};
use e2e::{Butler, Fields, Sense, Signl4, command, datagram, failure, fields, wait_for};
use serde_json::{Value, json};

/// An instance whose secret comes from the environment; `on` may be empty.
fn config(signl4: &Signl4, on: &str) -> String {
    format!(
        "plugins:\n  - use: signl4\n{on}    retry: {{ initial: 50ms, max: 200ms }}\n    settings: {{ url: \
         \"{}/${{env:SECRET}}\" }}\n",
        signl4.webhooks()
    )
}

const SECRET: &[(&str, &str)] = &[("SECRET", Signl4::SECRET)];

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

fn states(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(status, id)| ((*status).to_owned(), (*id).to_owned())).collect()
}

/// Check 10 of the original's facts, and that the alert is resolved by a process that has not raised it.
#[tokio::test]
async fn a_failed_reload_is_raised_as_ever_and_resolved_over_a_kill() {
    let (sense, signl4) = (Sense::start().await, Signl4::start().await);
    let butler = sense.butler_under(SECRET, &config(&signl4, "")).await;
    let task = sense.failed(Site::SAMPLE_RELOAD_TASK);
    let (id, name) = (task.task_id.as_str(), task.task_name.as_str());
    butler.send(&[failure(&task)]);
    let expected = |title: &str, severity: u8| {
        format!(
            "{{\"Title\":\"{title}\",\"Message\":\"Task: {name}\",\"Severity\":{severity},\"X-S4-Service\":\"Qlik \
             Sense\",\"X-S4-ExternalID\":\"{id}\",\"X-S4-Status\":\"new\"}}"
        )
    };
    assert_eq!(signl4.wait(1).await[0], expected("Qlik Sense reload task failed", 1));
    butler.wait_delivery("delivered", "signl4").await;
    let aborted = sense.ended(Site::SAMPLE_RELOAD_TASK, Status::Aborted, Duration::from_secs(1));
    butler.send(&[datagram("reload-task.aborted", &aborted)]);
    assert_eq!(signl4.wait(2).await[1], expected("Qlik Sense task aborted", 10));
    wait_delivered(&butler, 2).await;

    let butler = butler.kill_and_start().await;
    let other = fields();
    butler.send(&[success(&other), success(&task)]);
    signl4.wait(3).await;
    wait_delivered(&butler, 4).await;
    butler.send(&[success(&task)]);
    wait_delivered(&butler, 5).await;
    assert_eq!(
        signl4.states(),
        states(&[("new", id), ("new", id), ("resolved", id)]),
        "successes of nothing are quiet"
    );
    assert_eq!(signl4.calls(), 3);
}

#[tokio::test]
async fn a_success_never_overtakes_its_failure_while_signl4_is_away() {
    let signl4 = Signl4::start().await;
    let butler = Butler::start_with(&config(&signl4, ""), SECRET).await;
    let task = fields();
    let id = task.task_id.as_str();
    signl4.set_away(Some(503));
    for message in [failure(&again(&task)), success(&task), failure(&again(&task)), success(&task)] {
        butler.send(&[message]);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    wait_for("some attempts", || async { (signl4.calls() >= 3).then_some(()) }).await;
    let butler = butler.kill_and_start().await;
    signl4.set_away(None);
    wait_delivered(&butler, 4).await;
    let mut seen = signl4.states();
    // What was under way at the kill may come twice.
    seen.dedup();
    assert_eq!(seen, states(&[("new", id), ("resolved", id), ("new", id), ("resolved", id)]));
}

#[tokio::test]
async fn a_wrong_secret_is_never_shown_and_delays_the_alert() {
    let signl4 = Signl4::start().await;
    // Written out as well: what is in a config is not always from the environment.
    let plain = config(&signl4, "").replace("${env:SECRET}", Signl4::SECRET);
    for config in [config(&signl4, ""), plain] {
        signl4.set_secret("rotated");
        let butler = Butler::start_with(&config, SECRET).await;
        let before = signl4.events().len();
        butler.send(&[failure(&fields())]);
        let error = wait_for("the refusal", || async {
            butler.deliveries("instance=signl4").await[..].first()?["error"].as_str().map(str::to_owned)
        })
        .await;
        assert!(error.contains("404") && error.contains("was not found"), "{error}");
        signl4.set_secret(Signl4::SECRET);
        signl4.wait(before + 1).await;
        butler.wait_delivery("delivered", "signl4").await;
        assert!(!error.contains(Signl4::SECRET) && !butler.log().contains(Signl4::SECRET), "{error}\n{}", butler.log());
    }
}

#[tokio::test]
async fn with_routes_of_ones_own_a_throttle_holds_no_resolution_back() {
    let signl4 = Signl4::start().await;
    let on = "    on:\n      - events: [\"reload-task.failed\"]\n        throttle: { per: task, every: 15m }\n      - events: \
              [\"reload-task.succeeded\"]\n";
    let butler = Butler::start_with(&config(&signl4, on), SECRET).await;
    let task = fields();
    let id = task.task_id.as_str();
    butler.send(&[failure(&again(&task))]);
    butler.wait_delivery("delivered", "signl4").await;
    butler.send(&[failure(&again(&task))]);
    butler.wait_delivery("suppressed", "signl4").await;
    butler.send(&[success(&task)]);
    signl4.wait(2).await;
    // But it knows nothing of the resolution: why the README advises against it.
    butler.send(&[failure(&again(&task))]);
    wait_for("the other failure to be held back", || async {
        (butler.deliveries("state=suppressed&instance=signl4").await.len() == 2).then_some(())
    })
    .await;
    assert_eq!(signl4.states(), states(&[("new", id), ("resolved", id)]));
}

#[tokio::test]
async fn services_are_raised_and_resolved_and_all_else_is_raised() {
    let signl4 = Signl4::start().await;
    let config = config(&signl4, "    on: [{ events: [\"service.*\", server-license.expired, udp.failed] }]\n");
    let butler = Butler::start_with(
        &(config + "  - use: probe\n    on: [{ events: [nothing.at-all] }]\n    settings: {}\n"),
        SECRET,
    )
    .await;
    let service = json!({ "service": { "host": "srv1", "name": "QlikSenseEngineService", "state": "STOPPED" } });
    for (number, kind, data) in [
        (1, "service.stopped", service.clone()),
        (2, "server-license.expired", json!({ "message": "over", "serverLicense": { "expired": true } })),
        (3, "service.started", service.clone()),
        (4, "udp.failed", json!({ "odd": null })),
        (5, "service.unknown", service.clone()),
        (6, "service.started", service),
    ] {
        emit(&butler, kind, &data).await;
        signl4.wait(number).await;
        wait_delivered(&butler, number).await;
    }
    let service = "service/srv1/QlikSenseEngineService";
    let expected = [("new", service), ("new", "server-license.expired"), ("resolved", service), ("new", "udp.failed")];
    assert_eq!(signl4.states()[..4], states(&expected));
    assert_eq!(
        signl4.states()[4..],
        states(&[("new", service), ("resolved", service)]),
        "it cannot be checked for a while"
    );
}

#[tokio::test]
async fn it_is_checked_rendered_and_tried_without_touching_real_alerts() {
    let signl4 = Signl4::start().await;
    let folder = tempfile::TempDir::new().unwrap();
    let config = Butler::prepare(&folder, &config(&signl4, "").replace("${env:SECRET}", Signl4::SECRET));
    let config = config.to_str().unwrap();
    let check = command(&["check", "-c", config]).await;
    assert!(check.code == 0 && format!("{check:?}").contains("no alert was raised"), "{check:?}");
    let shown = command(&["render", "-c", config, "--instance", "signl4", "--event", "reload-task.succeeded"]).await;
    assert!(shown.code == 0 && shown.stdout.contains("\"X-S4-Status\":\"resolved\""), "{shown:?}");
    assert_eq!(signl4.events().len(), 0);
    let tried = command(&["test-alert", "-c", config, "--instance", "signl4"]).await;
    assert_eq!(tried.code, 0, "{tried:?}");
    let states = signl4.states();
    assert!(states.len() == 1 && states[0].1.starts_with("test/"), "{states:?}");
    let success = ["test-alert", "-c", config, "--instance", "signl4", "--event", "reload-task.succeeded"];
    let tried = command(&success).await;
    assert!(tried.code != 0 && format!("{tried:?}").contains("try it with a failure"), "{tried:?}");
}
