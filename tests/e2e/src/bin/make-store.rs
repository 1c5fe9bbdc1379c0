//! Makes a store that has something of everything, with the executable and the plugins that lie beside this program:
//! `make-store FOLDER` writes `FOLDER/vN.db`, where N is the store's version, and `FOLDER/vN.json`, what the API said of
//! it. `tests/e2e/stores/README.md` says what for.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use e2e::qlik::{Fault, Site};
use e2e::{Answer, Butler, Fields, Sense, Sink, datagram, failure, fields, sqlite, wait_for};
use serde_json::{Value, json};

/// Instances by the node whose events they get; how their destination answers in the beginning.
const WEBHOOKS: [(&str, u16); 6] =
    [("waiting", 503), ("refused", 400), ("throttled", 200), ("unknown", 200), ("gone", 503), ("hanging", 200)];

fn config(sink: &Sink, without: &str) -> String {
    let mut text = format!(
        "enrich: {{ giveUpAfter: 1h }}\nplugins:\n  - use: webhook\n    name: hook\n    on: [{{ events: [\"*\"], where: {{ node: sense1 }} }}]\n    \
         settings: {{ url: {hook}, format: event }}\n  - use: teams\n    on: [{{ events: [reload-task.failed], where: {{ node: sense1 }} }}]\n    \
         settings: {{ webhookUrl: {teams} }}\n  - use: probe\n    on: [{{ events: [reload-task.failed], where: {{ node: probe }} }}]\n    \
         retry: {{ initial: 1s, max: 60s }}\n    settings: {{ fault: unavailable, url: {probe} }}\n  - use: relay\n    name: ordered\n    \
         on: [{{ events: [\"reload-task.*\"], where: {{ node: ordered }} }}]\n    retry: {{ initial: 60s }}\n    settings: {{ url: {ordered} }}\n  \
         - use: webhook\n    name: notices\n    on: [{{ events: [delivery.dead] }}]\n    settings: {{ url: {notices}, format: event }}\n",
        hook = sink.url("/hook"),
        teams = sink.url("/teams"),
        probe = sink.url("/probe"),
        ordered = sink.url("/ordered"),
        notices = sink.url("/notices"),
    );
    for (name, _) in WEBHOOKS.iter().filter(|(name, _)| *name != without) {
        let more = match *name {
            "throttled" => ", throttle: { per: task, every: 12h }",
            "unknown" => ", onUnknown: deliver",
            _ => "",
        };
        let condition = if *name == "unknown" { ", app.stream: Finance" } else { "" };
        let url = sink.url(&format!("/{name}"));
        let _ = write!(
            text,
            "  - use: webhook\n    name: {name}\n    on: [{{ events: [\"*.failed\"], where: {{ node: {name}{condition} }}{more} }}]\n    \
             retry: {{ initial: 60s }}\n    settings: {{ url: {url}, format: event, timeout: 50s }}\n"
        );
    }
    text
}

fn answer(target: &str) -> Answer {
    let name = target.trim_start_matches('/');
    match name {
        "ordered" => Answer::Status(503),
        "probe" => Answer::Status(500),
        "hanging" => Answer::Hang,
        _ => WEBHOOKS
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(Answer::Status(200), |(_, status)| Answer::Status(*status)),
    }
}

fn on(node: &str) -> Fields {
    Fields { node: node.to_owned(), ..fields() }
}

fn again(task: &Fields) -> Fields {
    Fields { execution_id: fields().execution_id, ..task.clone() }
}

/// Waits until the newest delivery of an instance fits.
async fn wait_delivery(butler: &Butler, instance: &str, fits: impl Fn(&Value) -> bool) {
    wait_for(&format!("a delivery of {instance}; log:\n{}", butler.log()), || async {
        butler.deliveries(&format!("instance={instance}")).await.first().is_some_and(&fits).then_some(())
    })
    .await;
}

async fn list(butler: &Butler, what: &str) -> Value {
    let (status, answer) = butler.get(&format!("/v5/{what}?limit=500")).await;
    assert_eq!((status, &answer["next"]), (200, &Value::Null), "one page is enough: {answer}");
    answer[what].clone()
}

/// Events of all kinds that a log appender can tell, and all that can be known of them.
async fn history(sense: &Sense, butler: &Butler) {
    let failed = sense.failed(Site::SAMPLE_RELOAD_TASK);
    butler.send(&[failure(&failed)]);
    butler.wait_routed(&failed.task_id, "reload-task.failed").await;
    // The same without execution id: turns out to be the same.
    let same = Fields { execution_id: "(null)".to_owned(), ..failed };
    butler.send(&[failure(&same)]);
    wait_for("an event that joins", || async {
        let events = list(butler, "events").await;
        events.as_array().into_iter().flatten().any(|event| event["state"] == "joined").then_some(())
    })
    .await;
    let task = sense.about(Site::SAMPLE_RELOAD_TASK_OF_MAILLESS_OWNER);
    sense.site().succeed_task(&task.task_id, &task.execution_id).expect("the site has the task");
    butler.send(&[datagram("reload-task.succeeded", &task)]);
    let task = sense.about(Site::SAMPLE_RELOAD_TASK_OF_MAILLESS_OWNER);
    sense.site().abort_task(&task.task_id, &task.execution_id).expect("the site has the task");
    butler.send(&[datagram("reload-task.aborted", &task)]);
    for task in [Site::SAMPLE_EXTERNAL_PROGRAM_TASK, Site::SAMPLE_USER_SYNC_TASK, Site::SAMPLE_PRELOAD_TASK] {
        butler.send(&[failure(&sense.failed(task))]);
    }
    let task = sense.failed(Site::SAMPLE_DISTRIBUTE_TASK);
    butler.send(&[datagram("distribute-task.failed", &task), datagram("app-reload.failed", &fields())]);
    butler.send(&(0..3).map(|_| failure(&on("unknown"))).collect::<Vec<_>>());
    wait_delivery(butler, "unknown", |delivery| delivery["state"] == "delivered").await;
    wait_for("all to be routed", || async {
        (butler.metric("butler_events_waiting").await == Some(0.0)).then_some(())
    })
    .await;
}

/// Deliveries in every state but leased and parked.
async fn deliveries(butler: &Butler) {
    for _ in 0..3 {
        butler.send(&[failure(&on("refused"))]);
        wait_delivery(butler, "refused", |delivery| delivery["state"] == "dead").await;
    }
    let task = on("throttled");
    for _ in 0..3 {
        butler.send(&[failure(&again(&task))]);
        wait_delivery(butler, "throttled", |delivery| delivery["state"] != "pending").await;
    }
    let task = on("ordered");
    butler.send(&[failure(&task), datagram("reload-task.succeeded", &again(&task))]);
    butler.send(&[failure(&on("waiting")), failure(&on("gone")), failure(&on("probe"))]);
    for instance in ["waiting", "gone"] {
        wait_delivery(butler, instance, |delivery| delivery["error"].is_string()).await;
    }
    wait_delivery(butler, "probe", |delivery| delivery["attempt"].as_u64() >= Some(3)).await;
}

/// Schedules with and without runs, and a time at which a schedule of a plugin was handed out.
async fn schedules(sense: &Sense) {
    let ticking = "plugins:\n  - use: probe\n    name: ticks\n    on: []\n    settings: { when: { every: 1s } }\n";
    let butler = sense.butler(ticking).await;
    let schedule = |id: &str, cron: &str| {
        json!({ "id": id, "name": format!("Schedule {id}"), "cron": cron, "timeZone": "Europe/Oslo",
                "taskId": Site::SAMPLE_RELOAD_TASK, "missed": "once", "overlap": "skip" })
    };
    // Not due within the hour after this, whenever that is.
    for (id, cron) in [("yearly", "0 6 29 2 *"), ("often", "* * * * * *")] {
        let (status, answer) = butler.post("/v5/schedules", &schedule(id, cron)).await;
        assert_eq!(status, 201, "{answer}");
    }
    wait_for(&format!("a run of a schedule; log:\n{}", butler.log()), || async {
        (butler.get("/v5/schedules/often").await.1["lastRun"]["result"] == "started").then_some(())
    })
    .await;
    let (status, answer) = butler.post("/v5/schedules/often/stop", &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    wait_for("a tick", || async {
        let events = list(&butler, "events").await;
        events.as_array().into_iter().flatten().any(|event| event["kind"] == "node.silent").then_some(())
    })
    .await;
    let (status, log) = butler.stop().await;
    assert!(status.success(), "{log}");
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let folder = std::env::args().nth(1).expect("usage: make-store FOLDER");
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    sink.choose(|request| answer(&request.target));
    schedules(&sense).await;
    let butler = sense.butler(&config(&sink, "")).await;
    history(&sense, &butler).await;
    deliveries(&butler).await;
    let (status, log) = butler.stop().await;
    assert!(status.success(), "{log}");

    let butler = sense.butler(&config(&sink, "gone")).await;
    wait_delivery(&butler, "gone", |delivery| delivery["state"] == "parked").await;
    // What needs Qlik Sense waits from now on, and so does whose destination hangs.
    butler.send(&[failure(&on("hanging"))]);
    wait_delivery(&butler, "hanging", |delivery| delivery["state"] == "leased").await;
    sense.faults().add(Fault::hang());
    let waiting = [failure(&sense.failed(Site::SAMPLE_RELOAD_TASK)), datagram("distribute-task.failed", &fields())];
    butler.send(&waiting);
    butler.wait_metric("butler_events_waiting", 2.0).await;
    // Nothing moves any more, for a while.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (events, deliveries) = (list(&butler, "events").await, list(&butler, "deliveries").await);
    let (_, planned) = butler.get("/v5/schedules").await;
    let store = butler.folder().join("butler.db");
    let killed = butler.kill();
    sqlite(&store, "PRAGMA wal_checkpoint(TRUNCATE);");
    let version = sqlite(&store, "PRAGMA user_version;");
    let made_at: i64 = sqlite(&store, "SELECT max(received) FROM events;").parse().expect("a number");
    let target = Path::new(&folder).join(format!("v{version}.db"));
    std::fs::remove_file(&target).unwrap_or_default();
    sqlite(&store, &format!("VACUUM INTO '{}';", target.display()));
    let said =
        json!({ "madeAt": made_at, "events": events, "deliveries": deliveries, "schedules": planned["schedules"] });
    std::fs::write(target.with_extension("json"), serde_json::to_string_pretty(&said).expect("it is JSON") + "\n")
        .expect("the folder can be written");
    drop(killed);
    println!("{}", target.display());
}
