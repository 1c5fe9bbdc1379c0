//! `--end-to-end`: a sample goes the way of a real failure, and is told as a test everywhere.

use e2e::qlik::{Endpoint, Fault};
use e2e::{Answer, Butler, Sink, failure, wait_for};
use serde_json::json;

use super::{desk, doctor, sense, write};

const NOTE: &str = "this is a test, nothing has happened";

#[tokio::test]
async fn a_sample_is_followed_to_every_instance_and_nobody_takes_it_for_real() {
    let (sense, sink, other) = (sense().await, Sink::start().await, Sink::start().await);
    let throttled = desk(&sink, "on: [{ events: [reload-task.failed], throttle: { per: kind, every: 1h } }]");
    let silent =
        desk(&other, "on: [{ events: [distribute-task.failed] }, { events: [\"*\"], where: { task.name: Load } }]");
    let silent = silent.replace("plugins:\n", "").replace("name: desk", "name: silent");
    let watch = "  - use: node-silence\n    settings: { silentAfter: 1h }\n";
    let butler = sense.butler(&format!("{throttled}{silent}  - use: console\n{watch}")).await;
    for round in 1..=2 {
        let said = doctor(butler.config(), &["--end-to-end"]).await;
        said.only_fails(&[]);
        said.finds("sample sent", "ok", &["marked as a test", &format!("to {}", butler.udp())]);
        said.finds("sample heard", "ok", &["within"]);
        said.finds("sample stored", "ok", &["as the event"]);
        said.finds("sample facts", "ok", &["Qlik Sense was asked, and knows none of task", "which is right"]);
        said.finds("sample routed", "ok", &["to console, desk"]);
        said.finds("sample to desk", "ok", &["delivered"]);
        said.finds("sample to console", "ok", &["delivered"]);
        let why = said.finds(
            "sample to silent",
            "note",
            &["does not get it", "rule 1 of its `on:`: has no reload-task.failed"],
        );
        assert!(why.contains("rule 2 of its `on:`: `task.name` must be \"Load\", and is"), "{why}");
        assert_eq!(sink.received().iter().filter(|request| request.method == "POST").count(), round, "{round}");
    }
    let event = sink.received().into_iter().find(|request| request.method == "POST").unwrap().json();
    assert_eq!((&event["source"], &event["kind"]), (&json!("test"), &json!("reload-task.failed")), "{event}");
    assert!(!event.to_string().contains("seal"), "{event}");
    wait_for("the console", || async { butler.stdout().contains(NOTE).then_some(()) }).await;

    // It leaves no trace but in the history: no node that falls silent, no task in the metrics, no throttle.
    assert_eq!(butler.get("/v5/nodes").await.1["nodes"], json!([]));
    assert!(!butler.get("/metrics").await.1.to_string().contains("Test of Butler"));
    butler.send(&[failure(&e2e::fields())]);
    sink.wait_where("the real failure", |request| request.json()["source"] == "udp").await;
    let (_, nodes) = butler.get("/v5/nodes").await;
    assert_eq!(nodes["nodes"].as_array().unwrap().len(), 1, "{nodes}");
}

#[tokio::test]
async fn a_broken_destination_is_told_with_what_becomes_of_the_delivery() {
    let (sink, other) = (Sink::start().await, Sink::start().await);
    let healthy = desk(&other, "").replace("plugins:\n", "").replace("name: desk", "name: healthy");
    let boss = Sink::start().await;
    let boss_entry = desk(&boss, "on: [{ events: [delivery.dead] }]");
    let boss_entry = boss_entry.replace("plugins:\n", "").replace("name: desk", "name: boss");
    let butler = Butler::start(&(desk(&sink, "") + &healthy + &boss_entry)).await;
    let posts = |answer: Answer| {
        sink.choose(move |request| if request.method == "POST" { answer.clone() } else { Answer::Status(200) });
    };
    posts(Answer::Status(503));
    let said = doctor(butler.config(), &["--end-to-end"]).await;
    said.only_fails(&["sample to desk"]);
    said.finds("sample to desk", "failed", &["not delivered: ", "503", "Butler tries again by itself"]);
    said.finds("sample to healthy", "ok", &["delivered"]);
    said.finds("sample facts", "note", &["no `qlik:`"]);

    posts(Answer::Status(422));
    let said = doctor(butler.config(), &["--end-to-end"]).await;
    said.only_fails(&["sample to desk"]);
    said.finds("sample to desk", "failed", &["refused for good: ", "422", "butler deliveries retry"]);

    // A test that dies alarms nobody, and keeps no real death from being told at once.
    let real = e2e::fields();
    butler.send(&[failure(&real)]);
    let told = boss.wait_where("the real death", |request| request.method == "POST").await.json();
    assert_eq!((&told["kind"], &told["data"]["dead"]["count"]), (&json!("delivery.dead"), &json!(1)), "{told}");
    assert_eq!(told["data"]["dead"]["last"]["task"], real.task_name.as_str(), "{told}");
}

#[tokio::test]
async fn without_the_daemon_or_an_allowed_address_nothing_is_sent() {
    let (sink, folder) = (Sink::start().await, tempfile::tempdir().unwrap());
    let path = write(folder.path(), &format!("udp: {{ listen: \"127.0.0.1:0\" }}\n{}", desk(&sink, "")));
    let said = doctor(&path, &["--end-to-end"]).await;
    said.only_fails(&["daemon"]);
    said.finds("daemon", "failed", &["Butler is not running with this config", "butler run"]);
    assert!(!said.findings.iter().any(|finding| finding["link"].as_str().unwrap().starts_with("sample")));

    let butler =
        Butler::start(&format!("udp: {{ listen: \"127.0.0.1:0\", allowFrom: [10.9.9.9] }}\n{}", desk(&sink, ""))).await;
    let said = doctor(butler.config(), &["--end-to-end"]).await;
    said.only_fails(&["sample sent"]);
    said.finds(
        "sample sent",
        "failed",
        &["no address of this machine is in `udp.allowFrom`: tried 127.0.0.1", "add one of them"],
    );

    // The daemon has another list than the file by now.
    butler.rewrite(&format!("udp: {{ listen: \"127.0.0.1:0\", allowFrom: [localhost] }}\n{}", desk(&sink, "")));
    let said = doctor(butler.config(), &["--end-to-end"]).await;
    said.only_fails(&["sample heard"]);
    said.finds("sample heard", "failed", &["not within 10 s", "reason=\"source\"", "log"]);
    assert_eq!(sink.received().iter().filter(|request| request.method == "POST").count(), 0);
}

#[tokio::test]
async fn an_address_that_hears_both_families_is_reached_by_the_one_that_may_send() {
    let sink = Sink::start().await;
    let udp = "udp: { listen: \"[::]:0\", allowFrom: [127.0.0.1] }\n";
    let butler = Butler::start(&(udp.to_owned() + &desk(&sink, ""))).await;
    let said = doctor(butler.config(), &["--end-to-end"]).await;
    said.only_fails(&[]);
    said.finds("sample sent", "ok", &["from 127.0.0.1 to 127.0.0.1:"]);
    said.finds("sample heard", "ok", &[]);
}

#[tokio::test]
async fn facts_that_cannot_be_asked_for_and_events_that_nobody_gets_are_told() {
    let (sense, sink) = (sense().await, Sink::start().await);
    let config = |on: &str| format!("enrich: {{ giveUpAfter: 1s }}\n{}", desk(&sink, on));
    let butler = sense.butler(&config("on: [{ events: [distribute-task.failed] }]")).await;
    // What is refused is not what does not exist.
    sense.faults().add(Fault::status(500).on(Endpoint::TaskFull));
    let said = doctor(butler.config(), &["--end-to-end"]).await;
    said.finds("sample facts", "failed", &["goes on without task", "answers 500 to `task/full`"]);
    sense.faults().clear();
    sense.stop().await;
    let said = doctor(butler.config(), &["--end-to-end"]).await;
    said.only_fails(&["qlik", "sample facts", "sample routed"]);
    said.finds("sample facts", "failed", &["goes on without task", &sense.addr().to_string()]);
    said.finds("sample routed", "failed", &["nobody would hear of a failed task", "reload-task.failed"]);

    // The file has a route that the daemon has not read.
    butler.rewrite(&(sense.section("") + &config("")));
    let said = doctor(butler.config(), &["--end-to-end"]).await;
    said.finds("sample to desk", "failed", &["the daemon runs with another config", "butler reload"]);
}
