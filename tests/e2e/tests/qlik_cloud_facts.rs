//! Tenants of Qlik Cloud in trouble: the alert goes out all the same, and says what it lacks. And routes by their facts.

use std::time::{Duration, Instant};

use e2e::qlik::{CloudCall, CloudFault, CloudSimulator, Site};
use e2e::{
    Butler, MailServer, Sense, Sink, Slack, TeamsChannel, Tenants, cloud_failure, failure, run_with, wait_for, webhook,
};
use serde_json::{Value, json};

const ALL: [&str; 5] = ["execution", "app", "tags", "owner", "user"];

fn config(sink: &Sink, give_up: &str) -> String {
    format!(
        "enrich: {{ giveUpAfter: {give_up} }}\nplugins:\n  - use: webhook\n    name: hook\n    \
         settings: {{ url: {}, format: event }}\n",
        sink.url("/")
    )
}

/// The alert about an app.
async fn alert(sink: &Sink, app_id: &str) -> Value {
    sink.wait_where("the alert", |request| request.json()["data"]["app"]["id"] == app_id).await.json()
}

#[tokio::test]
async fn a_tenant_that_is_away_means_an_alert_with_what_its_event_told() {
    let (tenants, sink) = (Tenants::start(&["acme-id"]).await, Sink::start().await);
    let butler = tenants.butler(&config(&sink, "2s")).await;
    tenants[0].stop().await;
    let sent = Instant::now();
    let reload = tenants.fail(&butler, "Orders").await;
    let event = alert(&sink, &reload.app_id).await;
    assert!(sent.elapsed() >= Duration::from_millis(1_900), "given up after {:?} already", sent.elapsed());
    assert!(sent.elapsed() < Duration::from_secs(15), "{:?}", sent.elapsed());
    let data = &event["data"];
    assert_eq!(data["missing"], json!(ALL), "{event}");
    assert_eq!((&data["app"]["name"], &data["execution"]["durationMs"]), (&json!("Orders"), &json!(5_120)));
    assert_eq!((&data["cloud"]["status"], &data["cloud"]["userName"]), (&json!("error"), &Value::Null));
    assert!(butler.log().contains("goes on without the facts"), "{}", butler.log());
    let (status, ready) = butler.get("/v5/health/ready").await;
    let note = ready["notes"].to_string();
    assert!(status == 200 && note.contains("qlik-cloud") && note.contains("acme-id"), "{ready}");
    assert_eq!(butler.metric("butler_qlik_cloud_reachable{tenant=\"acme-id\"}").await, Some(0.0));
    tenants[0].restart().await.unwrap();
    wait_for("facts of the next alert", || async {
        let reload = tenants.fail(&butler, "Orders").await;
        alert(&sink, &reload.app_id).await["data"]["missing"].is_null().then_some(())
    })
    .await;
    let (_, ready) = butler.get("/v5/health/ready").await;
    assert_eq!(ready["notes"], json!([]));
}

#[tokio::test]
async fn a_tenant_that_hangs_delays_neither_another_nor_qlik_sense() {
    const MANY: usize = 550;
    let (tenants, sink, sense) =
        (Tenants::start(&["dead-id", "well-id"]).await, Sink::start().await, Sense::start().await);
    let section = sense.section("").replace("certificates/", &format!("{}/certificates/", sense.folder().display()));
    let butler = tenants.butler(&(section + &config(&sink, "5m"))).await;
    tenants[0].add_fault(CloudFault::hang());
    // More than are in memory at once.
    for n in 0..MANY {
        tenants.fail(&butler, &format!("App {n}")).await;
    }
    butler.wait_metric("butler_events_waiting", 550.0).await;
    let sent = Instant::now();
    let reload = tenants[1].fail_reload("Orders");
    assert_eq!(webhook(&butler, &cloud_failure(&reload)).await.0, 202);
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    let told = sink.wait(2).await;
    let took = sent.elapsed();
    let mut kinds: Vec<Value> = told.iter().map(|request| request.json()["kind"].clone()).collect();
    kinds.sort_by_key(Value::to_string);
    assert_eq!(kinds, ["cloud-app-reload.failed", "reload-task.failed"]);
    assert!(told.iter().all(|request| request.json()["data"]["missing"].is_null()), "{told:?}");
    assert!(took < Duration::from_secs(10), "they took {took:?}");
    tenants[0].clear_faults();
    wait_for("the alerts of the tenant that is back", || async { (sink.received().len() >= MANY + 2).then_some(()) })
        .await;
    assert!(sink.received().iter().all(|request| request.json()["data"]["missing"].is_null()));
}

#[tokio::test]
async fn a_tenant_that_has_had_enough_is_not_asked_before_the_time_that_it_says() {
    for (is_date, least) in [(false, 3), (true, 2)] {
        let (tenants, sink) = (Tenants::start(&["acme-id"]).await, Sink::start().await);
        let butler = tenants.butler(&config(&sink, "2m")).await;
        let fault = CloudFault::status(429).first(1);
        tenants[0].add_fault(if is_date { fault.retry_at(Duration::from_secs(3)) } else { fault.retry_after("3") });
        let reload = tenants.fail(&butler, "Orders").await;
        let event = alert(&sink, &reload.app_id).await;
        assert_eq!(event["data"]["missing"], Value::Null, "{event}");
        let times: Vec<Instant> = tenants[0].seen().into_iter().map(|(time, _)| time).collect();
        // Those that were under way are no new ones.
        let pause = times.iter().filter(|time| **time > times[0] + Duration::from_millis(800)).min().unwrap();
        let waited = *pause - times[0];
        assert!(waited >= Duration::from_secs(least), "asked again after {waited:?}");
        assert!(butler.log().contains("has had too many requests"), "{}", butler.log());
    }
}

#[tokio::test]
async fn routes_by_tags_hold_and_say_what_is_when_there_are_none_to_see() {
    let (tenants, sink) = (Tenants::start(&["acme-id"]).await, Sink::start().await);
    let hook = |name: &str, tag: &str, unknown: &str| {
        format!(
            "  - use: webhook\n    name: {name}\n    settings: {{ url: {}, format: event }}\n    \
             on: [{{ events: [cloud-app-reload.failed], where: {{ {tag} }}, onUnknown: {unknown} }}]\n",
            sink.url(&format!("/{name}"))
        )
    };
    let tag = "app.tags: \"Butler - Send Teams alert\"";
    let hooks = [
        hook("tagged", tag, "deliver"),
        hook("tagged-strict", tag, "drop"),
        hook("untagged", "app.tags: Other", "drop"),
        hook("not-tagged", "app.tags: { not: \"Butler - Send Teams alert\" }", "drop"),
        hook("owner", "app.owner: Ann Berg", "drop"),
        hook("owner-maybe", "app.owner: Ann Berg", "deliver"),
        hook("large", "app.fileSize: \"> 1MB\"", "drop"),
        hook("tenant", "cloud.tenantId: acme-id", "drop"),
    ];
    let butler = tenants.butler(&format!("enrich: {{ giveUpAfter: 1s }}\nplugins:\n{}", hooks.concat())).await;
    let told = async |app: &str| {
        let reload = tenants.fail(&butler, app).await;
        // The last instance gets each of them.
        let last = sink.wait_where("the alert", |request| {
            request.target == "/tenant" && request.json()["data"]["app"]["id"] == reload.app_id.as_str()
        });
        let missing = last.await.json()["data"]["missing"].clone();
        let id = wait_for("all deliveries", || async {
            let (_, answer) = butler.get("/v5/events?kind=cloud-app-reload.failed&limit=1").await;
            let event = butler.event(answer["events"][0]["id"].as_str()?).await;
            let rows = event["deliveries"].as_array()?.clone();
            rows.iter().all(|row| row["state"] == "delivered").then_some(rows)
        })
        .await;
        let mut names: Vec<String> = id.iter().map(|row| row["instance"].as_str().unwrap().to_owned()).collect();
        names.sort();
        (names, missing)
    };
    assert_eq!(
        told("Orders").await,
        (
            ["large", "owner", "owner-maybe", "tagged", "tagged-strict", "tenant"].map(str::to_owned).to_vec(),
            Value::Null
        )
    );
    tenants[0].add_fault(CloudFault::status(500).on(CloudCall::Items));
    assert_eq!(
        told("Sales").await,
        (["owner", "owner-maybe", "tagged", "tenant"].map(str::to_owned).to_vec(), json!(["tags"]))
    );
    tenants[0].clear_faults();
    tenants[0].add_fault(CloudFault::status(403).on(CloudCall::User));
    let (names, missing) = told("Stock").await;
    assert_eq!(
        (names, missing),
        (
            ["large", "owner-maybe", "tagged", "tagged-strict", "tenant"].map(str::to_owned).to_vec(),
            json!(["owner", "user"])
        )
    );
}

#[tokio::test]
async fn a_token_that_is_refused_is_told_with_a_remedy_and_never_shown() {
    let (tenants, sink) = (Tenants::start(&["acme-id"]).await, Sink::start().await);
    let butler = tenants.butler(&config(&sink, "2s")).await;
    tenants[0].set_token("renewed");
    let reload = tenants.fail(&butler, "Orders").await;
    assert_eq!(alert(&sink, &reload.app_id).await["data"]["missing"], json!(ALL));
    let (status, ready) = butler.get("/v5/health/ready").await;
    let notes = ready["notes"].to_string();
    assert!(
        status == 200 && notes.contains("refuses Butler's token (401)") && notes.contains("make a new one"),
        "{ready}"
    );
    let refusals = butler.metric("butler_qlik_cloud_refusals_total{tenant=\"acme-id\"}").await.unwrap();
    assert!(refusals >= 1.0, "{refusals}");
    let log = butler.log();
    let said = log.lines().filter(|line| line.contains("refuses Butler's token") && !line.contains("goes on without"));
    assert_eq!(said.count(), 1, "said once, not for each look-up:\n{log}");
    assert!(![CloudSimulator::TOKEN, CloudSimulator::SECRET].iter().any(|secret| log.contains(secret)), "{log}");
}

#[tokio::test]
async fn the_token_does_not_follow_a_redirection() {
    let (tenants, sink, elsewhere) = (Tenants::start(&["acme-id"]).await, Sink::start().await, Sink::start().await);
    let butler = tenants.butler(&config(&sink, "1s")).await;
    tenants[0].add_fault(CloudFault::redirect(elsewhere.url("/api/v1/users/me")));
    let reload = tenants.fail(&butler, "Orders").await;
    assert_eq!(alert(&sink, &reload.app_id).await["data"]["missing"], json!(ALL));
    assert!(elsewhere.received().is_empty());
    assert!(butler.log().contains("it redirects, which is not followed"), "{}", butler.log());
}

#[tokio::test]
async fn a_script_log_that_cannot_be_had_costs_no_destination_its_message() {
    let (tenants, mails) = (Tenants::start(&["acme-id"]).await, MailServer::start().await);
    let (slack, teams) = (Slack::start().await, TeamsChannel::start().await);
    let butler = tenants
        .butler(&format!(
            "enrich: {{ giveUpAfter: 2s }}\nplugins:\n  - use: teams\n    settings: {{ webhookUrl: \"{}\" }}\n  - use: slack\n    \
             settings: {{ webhookUrl: \"{}\" }}\n  - use: email\n    settings: {{ smtp: {{ host: 127.0.0.1, port: {}, tls: none }}, \
             from: q@acme.test, recipients: [ann@x.io] }}\n",
            teams.webhook(),
            slack.webhook(),
            mails.port()
        ))
        .await;
    tenants[0].add_fault(CloudFault::status(500).on(CloudCall::ScriptLog));
    tenants.fail(&butler, "Orders").await;
    let card = teams.wait(1).await[0].to_string();
    let message = slack.wait(1).await[0].body.to_string();
    let mail = mails.wait(1).await[0].to_string();
    for text in [card, message, mail] {
        assert!(text.contains("Orders") && text.contains("scriptLog"), "{text}");
    }
    assert!(tenants[0].requests_to(CloudCall::ScriptLog) > 0);
}

#[tokio::test]
async fn without_an_instance_that_wants_it_or_where_it_is_off_no_script_log_is_fetched() {
    let (tenants, sink) = (Tenants::start(&["acme-id"]).await, Sink::start().await);
    let teams = format!(
        "  - use: teams\n    settings: {{ webhookUrl: {} }}\nscriptLog: {{ enabled: false }}\n",
        sink.url("/teams")
    );
    for more in ["", &teams] {
        let butler = tenants.butler(&(config(&sink, "2m") + more)).await;
        let reload = tenants.fail(&butler, "Orders").await;
        let event = alert(&sink, &reload.app_id).await;
        assert_eq!((&event["data"]["scriptLog"], &event["data"]["missing"]), (&Value::Null, &Value::Null), "{event}");
        butler.stop().await;
    }
    assert_eq!(tenants[0].requests_to(CloudCall::ScriptLog), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_asks_each_tenant_and_says_what_is_wrong() {
    let tenants = Tenants::start(&["acme-id", "beta-id"]).await;
    let check = |text: String| {
        let file = Butler::prepare(tenants.folder(), &text);
        run_with(&["check", "-c", file.to_str().unwrap()], &Tenants::environment())
    };
    let output = check(tenants.section(""));
    assert_eq!(output.code, 0, "{output:?}");
    let ok = |id: &str| {
        output.stdout.lines().any(|line| line.starts_with("ok") && line.contains(id) && line.contains("is of Butler"))
    };
    assert!(ok("acme-id") && ok("beta-id"), "{}", output.stdout);
    tenants[0].set_token("renewed");
    tenants[1].stop().await;
    let output = check(tenants.section(""));
    assert_eq!(output.code, 1, "{output:?}");
    let failed = |id: &str, words: &str| {
        output.stdout.lines().any(|line| line.starts_with("failed") && line.contains(id) && line.contains(words))
    };
    assert!(failed("acme-id", "refuses Butler's token") && failed("beta-id", "gives no answer"), "{}", output.stdout);
    tenants[0].set_token(CloudSimulator::TOKEN);
    let output =
        check(tenants.section("").replace("id: acme-id,", "id: wrong-id,").replace("${env:SECRET}", "plain-secret"));
    assert!(output.stdout.contains("its `id` is acme-id"), "{}", output.stdout);
    assert!(output.stdout.contains("webhookSecret: is written out"), "{}", output.stdout);
}

#[tokio::test]
async fn a_change_of_a_tenant_takes_a_restart_and_a_faulty_one_changes_nothing() {
    let (tenants, sink) = (Tenants::start(&["acme-id"]).await, Sink::start().await);
    let butler = tenants.butler(&config(&sink, "2m")).await;
    butler.rewrite(&(tenants.section(", comment: New") + &config(&sink, "2m")));
    let (status, answer) = butler.post("/v5/reload", &json!({})).await;
    assert_eq!((status, &answer["needRestart"]), (200, &json!(["qlikCloud"])), "{answer}");
    butler.rewrite(&(tenants.section("").replace("https://", "http://") + &config(&sink, "2m")));
    let (status, answer) = butler.post("/v5/reload", &json!({})).await;
    assert!(status >= 400 && answer.to_string().contains("write `https`"), "{status} {answer}");
    let reload = tenants.fail(&butler, "Orders").await;
    assert_eq!(alert(&sink, &reload.app_id).await["data"]["cloud"]["tenantComment"], Value::Null);
}

#[tokio::test]
async fn a_tls_file_that_cannot_be_read_is_told_at_the_start() {
    let tenants = Tenants::start(&["acme-id"]).await;
    let file = Butler::prepare(tenants.folder(), &tenants.section(""));
    std::fs::remove_file(tenants.folder().path().join("acme-id.pem")).unwrap();
    let output = run_with(&["run", "-c", file.to_str().unwrap()], &Tenants::environment());
    assert!(output.code == 1 && output.stderr.contains("acme-id.pem"), "{output:?}");
}
