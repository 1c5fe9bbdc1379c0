//! Which events reach which instance.

use std::time::Duration;

use e2e::place::{PRIVATE, Place};
use e2e::qlik::Site;
use e2e::{Butler, Fields, Output, Sense, command, datagram, failure, fields, wait_for};
use serde_json::{Value, json};

const SALES: &str = Site::SAMPLE_RELOAD_TASK;
const STOCK: &str = Site::SAMPLE_RELOAD_TASK_OF_MAILLESS_OWNER;

/// Consoles with routes: pairs of name and rules.
fn consoles(routes: &[(&str, &str)]) -> String {
    let entries = routes.iter().map(|(name, rules)| format!("  - use: console\n    name: {name}\n    on: [{rules}]\n"));
    format!("plugins:\n{}", entries.collect::<String>())
}

/// Names of the instances that an event has deliveries for, sorted.
fn instances(event: &Value) -> Vec<&str> {
    let rows = event["deliveries"].as_array().into_iter().flatten();
    let mut names: Vec<&str> = rows.filter_map(|row| row["instance"].as_str()).collect();
    names.sort_unstable();
    names
}

/// The same task in another run.
fn again(task: &Fields) -> Fields {
    Fields { execution_id: fields().execution_id, ..task.clone() }
}

/// Sends a failure and returns its event once it is routed.
async fn route(butler: &Butler, task: &Fields) -> Value {
    butler.send(&[failure(task)]);
    wait_for("the event to be routed", || async {
        let (_, answer) = butler.get(&format!("/v5/events?task={}", task.task_id)).await;
        let of_run = |event: &&Value| event["data"]["execution"]["id"] == task.execution_id.as_str();
        let event = answer["events"].as_array()?.iter().find(of_run)?;
        let id = event["id"].as_str().filter(|_| event["state"] == "routed")?;
        Some(butler.event(id).await)
    })
    .await
}

#[tokio::test]
async fn conditions_hold_against_the_facts_from_qlik_sense() {
    let sense = Sense::start().await;
    let failed = "events: [reload-task.failed]";
    let rule = |conditions: &str| format!("{{ {failed}, where: {{ {conditions} }} }}");
    let routes = [
        ("a-stream-glob", rule("app.stream: \"Every*\"")),
        ("b-custom-property", rule("task.customProperties.taskGroup: sales")),
        ("c-property-list", rule("task.customProperties.taskGroup: [stock, sales]")),
        ("d-tag", rule("task.tags: nightly")),
        ("e-owner-name", rule("app.owner: Ann Berg")),
        ("f-owner-login", rule("owner: 'LAB\\bo'")),
        ("g-not", rule("task.tags: { not: nightly }")),
        ("h-all-must-hold", rule("task.tags: nightly, app.owner: Bo Lind")),
        ("i-duration", rule("execution.duration: \"> 5s\"")),
        ("j-short", rule("execution.duration: \"< 5s\"")),
        ("k-foreign-field", rule("service.name: x")),
        ("l-app-tag", rule("app.tags: sales")),
    ];
    let routes: Vec<(&str, &str)> = routes.iter().map(|(name, rule)| (*name, rule.as_str())).collect();
    let butler = sense.butler(&consoles(&routes)).await;

    let sales = route(&butler, &sense.failed(SALES)).await;
    let expected =
        ["a-stream-glob", "b-custom-property", "c-property-list", "d-tag", "e-owner-name", "i-duration", "l-app-tag"];
    assert_eq!(instances(&sales), expected, "{sales}");
    let stock = route(&butler, &sense.failed(STOCK)).await;
    assert_eq!(instances(&stock), ["c-property-list", "f-owner-login", "g-not", "i-duration"], "{stock}");
    let unknown =
        |event: &Value| event["deliveries"].as_array().into_iter().flatten().any(|row| !row["unknown"].is_null());
    assert!(!unknown(&sales) && !unknown(&stock));
}

#[tokio::test]
async fn a_success_goes_to_whom_a_custom_property_asks_for_and_to_those_who_want_all() {
    let sense = Sense::start().await;
    let succeeded = "events: [reload-task.succeeded]";
    let butler = sense
        .butler(&consoles(&[
            ("all", &format!("{{ {succeeded} }}")),
            ("asked-for", &format!("{{ {succeeded}, where: {{ task.customProperties.taskGroup: sales }} }}")),
        ]))
        .await;
    for (task, told) in [(SALES, &["all", "asked-for"][..]), (STOCK, &["all"])] {
        let fields = sense.about(task);
        sense.site().succeed_task(task, &fields.execution_id).expect("the site has the task");
        butler.send(&[datagram("reload-task.succeeded", &fields)]);
        assert_eq!(instances(&butler.wait_routed(task, "reload-task.succeeded").await), told);
    }
}

#[tokio::test]
async fn a_condition_on_a_fact_that_could_not_be_fetched_delivers_unless_told_to_drop() {
    let sense = Sense::start().await;
    let message = sense.failed(SALES);
    sense.stop().await;
    let rule = |more: &str| format!("{{ events: [reload-task.failed], where: {{ app.stream: Finance }}{more} }}");
    let routes = [
        ("default", rule("")),
        ("deliver", rule(", onUnknown: deliver")),
        ("drop", rule(", onUnknown: drop")),
        ("known", "{ events: [reload-task.failed], where: { task.name: Another } }".to_owned()),
    ];
    let routes: Vec<(&str, &str)> = routes.iter().map(|(name, rule)| (*name, rule.as_str())).collect();
    let butler = sense.butler(&format!("enrich: {{ giveUpAfter: 1s }}\n{}", consoles(&routes))).await;
    let event = route(&butler, &message).await;
    assert_eq!(instances(&event), ["default", "deliver"], "{event}");
    assert!(event["deliveries"].as_array().into_iter().flatten().all(|row| row["unknown"] == "app.stream"), "{event}");

    // With the facts, nobody's condition holds: the app is in another stream.
    sense.restart().await.expect("its port is free");
    wait_for("an event with facts", || async {
        let event = route(&butler, &sense.failed(SALES)).await;
        event["data"]["missing"].is_null().then(|| assert_eq!(instances(&event), Vec::<&str>::new(), "{event}"))
    })
    .await;
}

#[tokio::test]
async fn of_several_rules_the_first_that_matches_decides() {
    let butler = Butler::start(&consoles(&[(
        "console",
        "{ events: [reload-task.failed], where: { task.name: Noisy }, throttle: { per: task, every: 1h } }, { events: [\"*.failed\"] }",
    )]))
    .await;
    let state = |event: &Value| -> Vec<String> {
        let rows = event["deliveries"].as_array().into_iter().flatten();
        rows.filter_map(|row| row["state"].as_str().map(str::to_owned)).collect()
    };
    let noisy = Fields { task_name: "Noisy".to_owned(), ..fields() };
    let first = route(&butler, &noisy).await;
    assert_ne!(state(&first), ["suppressed"]);
    // The second rule has no throttle: it must not pick up what the first one has suppressed.
    assert_eq!(state(&route(&butler, &again(&noisy)).await), ["suppressed"]);
    let other = fields();
    for task in [other.clone(), again(&other)] {
        let event = route(&butler, &task).await;
        assert_eq!(event["deliveries"].as_array().map(Vec::len), Some(1), "one event, one delivery: {event}");
        assert_ne!(state(&event), ["suppressed"], "{event}");
    }
}

#[tokio::test]
async fn a_throttle_suppresses_and_the_next_message_says_how_many() {
    let butler =
        Butler::start(&consoles(&[("console", "{ events: [\"*.failed\"], throttle: { per: task, every: 3s } }")]))
            .await;
    let (task, other) = (fields(), fields());
    let first = route(&butler, &task).await;
    assert_eq!(first["deliveries"][0]["suppressed"], 0);
    let elsewhere = route(&butler, &other).await;
    assert_ne!(elsewhere["deliveries"][0]["state"], "suppressed", "another task has a key of its own");
    // The throttle's own time passes while events go on.
    let (mut suppressed, mut told) = (0, 2);
    let next = loop {
        let event = route(&butler, &again(&task)).await;
        if event["deliveries"][0]["state"] == "suppressed" {
            suppressed += 1;
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        told += 1;
        if suppressed > 0 {
            break event;
        }
        assert!(told < 20, "nothing is suppressed");
    };
    assert_eq!(next["deliveries"][0]["suppressed"], suppressed, "{next}");
    let note = format!("{suppressed} more suppressed since the last message");
    wait_for("the note on the console", || async { butler.stdout().contains(&note).then_some(()) }).await;
    assert_eq!(butler.stdout().lines().count(), told, "{}", butler.stdout());
    assert_eq!(butler.deliveries("state=suppressed&limit=500").await.len(), suppressed);
}

#[tokio::test]
async fn without_a_route_an_instance_gets_alerts_only() {
    let butler = Butler::start("plugins: [{ use: console }]\n").await;
    let kinds = ["reload-task.succeeded", "reload-task.failed", "reload-task.aborted", "app-reload.failed"];
    let of_service = || Fields { user: r"INTERNAL\sa_api".to_owned(), ..fields() };
    let messages = kinds.map(|kind| datagram(kind, &of_service()));
    butler.send(&messages);
    let events = wait_for("all events to be routed", || async {
        let (_, answer) = butler.get("/v5/events").await;
        let events = answer["events"].as_array()?.clone();
        // With those of Butler itself: started, listening.
        (events.len() == 6 && events.iter().all(|event| event["state"] == "routed")).then_some(events)
    })
    .await;
    let mut told = Vec::new();
    for event in events {
        let event = butler.event(event["id"].as_str().unwrap_or_default()).await;
        if !instances(&event).is_empty() {
            told.push(event["kind"].as_str().unwrap_or_default().to_owned());
        }
    }
    told.sort();
    assert_eq!(told, ["app-reload.failed", "reload-task.aborted", "reload-task.failed"]);
}

#[tokio::test]
async fn an_event_that_nobody_wants_is_kept_and_listed() {
    let butler = Butler::start("plugins: []\n").await;
    let task = fields();
    let event = route(&butler, &task).await;
    assert_eq!((&event["state"], &event["deliveries"]), (&json!("routed"), &json!([])), "{event}");
    assert_eq!(event["data"]["task"]["name"], task.task_name);
    let (_, list) = butler.get("/v5/events?kind=reload-task.*&limit=5").await;
    assert_eq!(list["events"][0]["id"], event["id"]);
    let (_, none) = butler.get("/v5/events?kind=reload-task.succeeded").await;
    assert_eq!(none["events"], json!([]));
    let butler = butler.kill_and_start().await;
    assert_eq!(butler.event(event["id"].as_str().unwrap_or_default()).await, event, "it is still there");
}

/// Without a word alerts would be lost.
#[tokio::test]
async fn rules_about_what_never_comes_are_refused() {
    let rules = "plugins:\n  - use: console\n    on:\n      - events: [reload-task.aborted, reload-task.faild]\n        where:\n          \
                 taks.name: Sales\n          task.nmae: Sales\n          task.customProperties.Mail: \"Yes\"\n        \
                 throttle: { per: tsk, every: 15m }\n";
    let place = Place::new();
    let output = place.start(&format!("{PRIVATE}{rules}"));
    let config = place.path("butler.yaml").display().to_string();
    let expected = [
        ("8:39", "events[1]", "there is no kind of event `reload-task.faild`", "`reload-task.failed`"),
        ("10:22", "where['taks.name']", "events have no field `taks`", "`task.name`"),
        ("11:22", "where['task.nmae']", "`task` has no field `nmae`", "`task.name`"),
        ("13:26", "throttle.per", "events have no field `tsk`", "`task`"),
    ];
    let refused = |output: &Output| {
        assert_eq!(output.code, 2, "{output:?}");
        assert!(output.stderr.starts_with(&format!("4 errors in {config}\n")), "{output:?}");
        for (at, part, message, meant) in expected {
            let fault = format!("\n{config}:{at} plugins[0].on[0].{part}: {message}");
            let found = output.stderr.split_once(&fault).unwrap_or_else(|| panic!("no `{fault}` in {output:?}")).1;
            assert!(found.split('\n').nth(1).unwrap().ends_with(&format!("did you mean {meant}?")), "{output:?}");
        }
    };
    refused(&output);
    place.untouched();
    for name in ["check", "doctor"] {
        refused(&command(&[name, "-c", &config]).await);
    }
}

#[tokio::test]
async fn rules_about_what_only_a_plugin_may_have_are_told() {
    // The relay emits `relay.*`, of which nobody knows the facts.
    let rules = "plugins:\n  - use: relay\n    on: [{ events: [\"relay.*\", relay-race.won], where: { after.kind: x } }]\n    \
                 settings: { url: \"http://127.0.0.1:1/\" }\n  - use: console\n    on:\n      - events: [relod-task.failed, node.silent]\n      \
                 - events: [\"*\"]\n        where: { taks.name: Sales, phase: full }\n";
    let butler = Butler::start(rules).await;
    let expected = [
        ("plugins[0].on[0].events[1]", "`relay-race.won`", ""),
        ("plugins[1].on[0].events[0]", "`relod-task.failed`", "; did you mean `reload-task.failed`?"),
        ("plugins[1].on[1].where['taks.name']", "`taks`", "; did you mean `task.name`?"),
    ];
    let told = |lines: Vec<&str>, begin: &str| {
        let lines: Vec<&str> = lines.into_iter().filter(|line| line.contains(" plugins[")).collect();
        assert_eq!(lines.len(), expected.len(), "{lines:#?}");
        for (line, (at, name, meant)) in lines.iter().zip(expected) {
            let sound = line.contains(begin) && line.contains(at) && line.contains(name) && line.ends_with(meant);
            assert!(sound, "{begin}, {at}, {name}, {meant}: {line}");
        }
    };
    let log = butler.log();
    told(log.lines().collect(), " WARN ");
    assert_eq!(butler.post("/v5/reload", &json!(null)).await.0, 200);
    told(butler.log()[log.len()..].lines().collect(), " WARN ");
    let config = butler.config().display().to_string();
    for name in ["check", "doctor"] {
        let output = command(&[name, "-c", &config]).await;
        told(output.stdout.lines().collect(), "note ");
    }
    butler.stop().await;
}
