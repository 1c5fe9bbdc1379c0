//! Services of Windows, by the real executable and a program that prints what `sc.exe` does: changes reach destinations with
//! all facts, once, over crashes and reloads; hosts that hang harm nobody else.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod crash;
mod hosts;
mod load;

use e2e::{Butler, Sink, wait_for};
use hosts::Hosts;
use serde_json::{Value, json};

/// The instance, and a webhook that gets its events but those by the clock.
fn config(sink: &Sink, hosts: &Value, more: &str) -> String {
    format!(
        "plugins:\n  - use: windows-services\n    settings:\n      when: {{ every: 1s }}\n      hosts: {hosts}\n      \
         backend: {}\n{more}  - use: webhook\n    on: [{{ events: [service.stopped, service.started, service.unknown] }}]\n    \
         retry: {{ initial: 50ms, max: 200ms }}\n    settings: {{ url: \"{}\", format: event }}\n",
        Hosts::backend(),
        sink.url("/events"),
    )
}

/// The events at the webhook, each once, however often it was delivered: kind without `service.`, host and service.
fn told(sink: &Sink) -> Vec<String> {
    events(sink).iter().map(line).collect()
}

fn events(sink: &Sink) -> Vec<Value> {
    let mut events: Vec<Value> = Vec::new();
    for request in sink.successes() {
        let event = request.json();
        if request.target.starts_with("/events") && !events.iter().any(|known| known["id"] == event["id"]) {
            events.push(event);
        }
    }
    events
}

fn line(event: &Value) -> String {
    let service = &event["data"]["service"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    format!("{} {}/{}", text(&event["kind"]).replace("service.", ""), text(&service["host"]), text(&service["name"]))
}

async fn wait_told(sink: &Sink, butler: &Butler, wanted: &str) -> Value {
    wait_for(&format!("`{wanted}`, told: {:?}, log:\n{}", told(sink), butler.log()), || async {
        events(sink).into_iter().rfind(|event| line(event) == wanted)
    })
    .await
}

const METRICS: &str = "butler_plugin_windows_services";

fn state(host: &str, service: &str) -> String {
    format!("{METRICS}_state{{host=\"{host}\",instance=\"windows-services\",service=\"{service}\"}}")
}

#[tokio::test]
async fn stops_and_starts_reach_destinations_with_all_facts() {
    let (sink, hosts) = (Sink::start().await, Hosts::new());
    hosts.put("srv1", &json!({ "language": "de", "services": {
        "AcmeIndexSvc": { "display": "Index für Übersichten", "path": "\"C:\\Program Files\\Acme\\index.exe\" --service",
                          "dependencies": ["RpcSs", "http"], "delayed": true },
        "MSSQL$INSTANCE": { "display": "SQL Server (INSTANCE)", "state": 1, "exit": 1067, "start": 4 },
        "AcmeDriver": { "start": 1 } } }));
    hosts.put("srv2", &json!({ "language": "sv", "services": { "Spooler": { "display": "Utskriftshanteraren" } } }));
    hosts.put("local", &json!({ "services": { "Spooler": { "display": "Print Spooler" } } }));
    let watched = json!([
        { "host": "srv1", "services": [{ "name": "AcmeIndexSvc", "friendlyName": "Index" }, "mssql$instance", "AcmeDriver", "Nowhere"] },
        { "host": "srv2", "services": ["Spooler"] },
        { "host": "localhost", "services": ["Spooler"] },
    ]);
    let more = format!(
        "  - use: webhook\n    name: classic\n    on: [{{ events: [service.stopped] }}]\n    settings: {{ url: \"{}\", method: GET }}\n  \
         - use: webhook\n    name: states\n    on: [{{ events: [service.state] }}]\n    settings: {{ url: \"{}\", format: event }}\n  \
         - use: console\n    on: [{{ events: [\"service.*\"] }}]\n",
        sink.url("/classic"),
        sink.url("/states"),
    );
    let butler = Butler::start_with(&(config(&sink, &watched, "") + &more), &hosts.environment()).await;
    // What is stopped at the first look is told, what runs is not.
    let first = wait_told(&sink, &butler, "stopped srv1/mssql$instance").await;
    let message = "`SQL Server (INSTANCE)` on srv1 is stopped (exit code 1067); its start type is Disabled";
    assert_eq!((&first["data"]["message"], &first["source"]), (&json!(message), &json!("instance:windows-services")));
    assert_eq!(first["data"]["service"].get("previousState"), None);
    let unknown = wait_told(&sink, &butler, "unknown srv1/Nowhere").await;
    assert!(unknown["data"]["message"].as_str().unwrap().contains("there is no service of this name"), "{unknown}");
    butler.wait_metric(&state("srv1", "AcmeDriver"), 4.0).await;
    butler.wait_metric(&state("srv1", "Nowhere"), 0.0).await;
    butler.wait_metric(&state("localhost", "Spooler"), 4.0).await;
    assert_eq!(told(&sink).len(), 2, "{:?}", told(&sink));

    // Check 19, in Butler 16's form: what it had not seen before.
    let classic =
        sink.wait_where("the form of Butler 16", |request| request.target.contains("servicename=mssql")).await;
    assert!(classic.target.contains("prevstate=PAUSED&currstate=STOPPED&statechanged=true"), "{}", classic.target);

    // On the way is no news.
    hosts.state("srv1", "AcmeIndexSvc", 3);
    butler.wait_metric(&state("srv1", "AcmeIndexSvc"), 3.0).await;
    hosts.change("srv1", |facts| {
        facts["services"]["AcmeIndexSvc"]["state"] = 1.into();
        facts["services"]["AcmeIndexSvc"]["exit"] = 0.into();
    });
    let stopped = wait_told(&sink, &butler, "stopped srv1/AcmeIndexSvc").await;
    let mut data = stopped["data"].clone();
    data.as_object_mut().unwrap().remove("chainDepth");
    assert_eq!(
        data,
        json!({
            "node": "srv1", "message": "`Index` on srv1 is stopped",
            "service": {
                "host": "srv1", "name": "AcmeIndexSvc", "displayName": "Index für Übersichten", "friendlyName": "Index",
                "startType": "Automatic (delayed start)", "exePath": "\"C:\\Program Files\\Acme\\index.exe\" --service",
                "dependencies": ["RpcSs", "http"], "state": "STOPPED", "previousState": "RUNNING", "exitCode": 0,
                "serviceExitCode": 0
            }
        })
    );
    // Check 23, in Butler 16's form.
    let classic = sink.wait_where("the form of Butler 16", |request| request.target.contains("AcmeIndexSvc")).await;
    let query = "event=Windows+service+monitor&host=srv1&servicestatus=STOPPED&servicename=AcmeIndexSvc&\
                 servicedisplayname=Index+f%C3%BCr+%C3%9Cbersichten&servicestarttype=Automatic+%28delayed+start%29&\
                 prevstate=RUNNING&currstate=STOPPED&statechanged=true";
    assert!(classic.method == "GET" && classic.target.contains(query), "{}", classic.target);
    hosts.state("srv1", "AcmeIndexSvc", 4);
    let started = wait_told(&sink, &butler, "started srv1/AcmeIndexSvc").await;
    assert_eq!(started["data"]["service"]["previousState"], "STOPPED");
    for host in ["srv2", "local"] {
        hosts.state(host, "Spooler", 1);
    }
    let here = wait_told(&sink, &butler, "stopped localhost/Spooler").await;
    assert_eq!(here["data"]["service"]["displayName"], "Print Spooler");
    let swedish = wait_told(&sink, &butler, "stopped srv2/Spooler").await;
    assert_eq!(swedish["data"]["service"]["displayName"], "Utskriftshanteraren");
    assert_eq!(told(&sink).len(), 6, "{:?}", told(&sink));

    // Check 20: each state, of what could be checked.
    let states = wait_for("states", || async {
        let states: Vec<Value> =
            sink.received().into_iter().filter(|r| r.target == "/states").map(|r| r.json()).collect();
        let of = |state: &str| {
            let is = |event: &&Value| {
                event["data"]["service"]["name"] == "AcmeIndexSvc" && event["data"]["service"]["state"] == state
            };
            states.iter().filter(is).count()
        };
        (of("RUNNING") >= 2 && of("STOP_PENDING") >= 1 && of("STOPPED") >= 1).then(|| states.clone())
    })
    .await;
    assert!(states.iter().all(|event| event["data"]["service"]["name"] != "Nowhere"));
    assert!(butler.stdout().contains("`Index` on srv1 runs again"), "{}", butler.stdout());
    // A list for each look, and configurations when they are first seen and when the state changes.
    let index = hosts.calls(r"\\srv1 qc AcmeIndexSvc");
    assert!((2..=5).contains(&index), "{index}");
    assert_eq!(hosts.calls(r"\\srv1 qc MSSQL$INSTANCE 8192"), 1);
}

#[tokio::test]
async fn a_state_counts_after_so_many_looks() {
    let (sink, hosts) = (Sink::start().await, Hosts::new());
    hosts.put("srv1", &json!({ "services": { "A": {}, "B": {} } }));
    let watched = json!([{ "host": "srv1", "services": ["A", "B"] }]);
    let butler = Butler::start_with(&config(&sink, &watched, "      failAfter: 3\n"), &hosts.environment()).await;
    hosts.looks("srv1", 4).await;
    // A restart of the service, and a host that is away for a moment.
    hosts.state("srv1", "A", 1);
    hosts.looks("srv1", 1).await;
    hosts.state("srv1", "A", 4);
    hosts.looks("srv1", 2).await;
    hosts.change("srv1", |facts| facts["error"] = 1722.into());
    hosts.looks("srv1", 1).await;
    hosts.change("srv1", |facts| facts["error"] = Value::Null);
    hosts.state("srv1", "B", 1);
    wait_told(&sink, &butler, "stopped srv1/B").await;
    hosts.looks("srv1", 2).await;
    assert_eq!(told(&sink), ["stopped srv1/B"]);
}

#[tokio::test]
async fn a_host_that_cannot_be_asked_harms_no_other() {
    let (sink, hosts) = (Sink::start().await, Hosts::new());
    for host in ["srv1", "srv2", "srv3"] {
        hosts.put(host, &json!({ "language": "sv", "services": { "A": {} } }));
    }
    let watched = json!(["srv1", "srv2", "srv3"].map(|host| json!({ "host": host, "services": ["A"] })));
    let more = "      timeouts: { call: 4s }\n";
    let butler = Butler::start_with(&config(&sink, &watched, more), &hosts.environment()).await;
    hosts.looks("srv3", 2).await;
    hosts.change("srv1", |facts| facts["hang"] = true.into());
    hosts.change("srv2", |facts| facts["error"] = 5.into());
    let unknown = wait_told(&sink, &butler, "unknown srv1/A").await;
    let message = unknown["data"]["message"].as_str().unwrap();
    assert!(message.contains("no answer within 4s: the host hangs"), "{message}");
    let unknown = wait_told(&sink, &butler, "unknown srv2/A").await;
    let message = unknown["data"]["message"].as_str().unwrap();
    assert!(message.contains("error 5 (Åtkomst nekad): the account of Butler needs the right"), "{message}");
    hosts.state("srv3", "A", 1);
    wait_told(&sink, &butler, "stopped srv3/A").await;
    wait_for("the health", || async {
        let (_, answer) = butler.get("/v5/plugins").await;
        let text = answer.to_string();
        ["cannot check all of 2 of 3 hosts", "srv1: ", "srv2: "].iter().all(|part| text.contains(part)).then_some(())
    })
    .await;

    // It was stopped while nobody could see it; the other ran all the time.
    hosts.put("srv1", &json!({ "services": { "A": { "state": 1 } } }));
    hosts.change("srv2", |facts| facts["error"] = Value::Null);
    let stopped = wait_told(&sink, &butler, "stopped srv1/A").await;
    assert_eq!(stopped["data"]["service"]["previousState"], "RUNNING");
    butler.wait_metric(&state("srv2", "A"), 4.0).await;
    let again = wait_told(&sink, &butler, "started srv2/A").await;
    assert_eq!(again["data"]["message"], "`A` on srv2 can be checked again, and runs");
    assert_eq!(told(&sink).len(), 5, "{:?}", told(&sink));
    let log = butler.log();
    assert_eq!(log.matches("its services cannot be checked").count(), 2, "{log}");
    assert_eq!(log.matches("its services can be checked again").count(), 2, "{log}");
}

#[tokio::test]
async fn a_check_says_what_it_found() {
    let (sink, hosts) = (Sink::start().await, Hosts::new());
    hosts.put("srv1", &json!({ "language": "de", "services": { "A": { "state": 7 } } }));
    let config = config(&sink, &json!([{ "host": "srv1", "services": ["A"] }]), "");
    let (config, _) = config.split_once("  - use: webhook").unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let path = Butler::prepare(&folder, config);
    let check = || e2e::run_with(&["check", "-c", path.to_str().unwrap()], &hosts.environment());
    let output = check();
    assert!(output.stdout.contains("srv1: A PAUSED"), "{output:?}");
    hosts.change("srv1", |facts| facts["error"] = 1722.into());
    let output = check();
    let text = output.stdout.clone() + &output.stderr;
    assert!(
        output.code != 0 && text.contains("srv1: Windows answers with error 1722 (Der RPC-Server ist nicht verfügbar)"),
        "{output:?}"
    );
}
