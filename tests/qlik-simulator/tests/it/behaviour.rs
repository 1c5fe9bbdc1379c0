//! Script logs, faults, and stopping and starting.

use std::time::{Duration, Instant};

use qlik_simulator::{
    Certificates, Control, Endpoint, ExecutionResult, Fault, Options, QlikSimulator, ScriptLogs, Site, Task,
};
use reqwest::{Method, StatusCode};

use crate::client::{self, Qlik};

const EXECUTION: &str = "6f1cba14-59d6-4a0f-9a3d-2f6f4b8f0a11";

async fn start() -> (QlikSimulator, Qlik) {
    let simulator = QlikSimulator::start(Options::default()).await.unwrap();
    let qlik = Qlik::new(&simulator);
    (simulator, qlik)
}

fn ways(result: &ExecutionResult) -> [String; 2] {
    let task = &result.task_id;
    [
        format!("reloadtask/{task}/scriptlog?fileReferenceId={}", result.file_reference_id),
        format!("ReloadTask/{task}/scriptlogfile?executionResultId={}", result.id),
    ]
}

#[tokio::test]
async fn both_ways_lead_to_the_script_log_unless_switched_off() {
    let (simulator, qlik) = start().await;
    let site = simulator.site();
    let [old, new] = ways(&site.fail_task(Site::SAMPLE_RELOAD_TASK, EXECUTION).unwrap());
    for way in [&old, &new] {
        let reference = qlik.json(way).await["value"].as_str().unwrap().to_owned();
        let log = qlik.text(&format!("download/reloadtask/{reference}/scriptlog.txt")).await;
        assert!(log.ends_with("Execution finished.\r\n") && log.contains("Error: "), "{log}");
        assert_eq!(log.matches('\n').count(), log.matches("\r\n").count());
    }
    for (switch, old_status, new_status) in [
        (ScriptLogs::Old, StatusCode::OK, StatusCode::NOT_FOUND),
        (ScriptLogs::May2025, StatusCode::NOT_FOUND, StatusCode::OK),
    ] {
        site.set_script_logs(switch);
        assert_eq!((qlik.status(&old).await, qlik.status(&new).await), (old_status, new_status));
    }
}

#[tokio::test]
async fn a_download_may_come_too_early() {
    let (simulator, qlik) = start().await;
    let site = simulator.site();
    site.set_download_delay(Duration::from_millis(300));
    let [old, _] = ways(&site.abort_task(Site::SAMPLE_RELOAD_TASK, EXECUTION).unwrap());
    let reference = qlik.json(&old).await["value"].as_str().unwrap().to_owned();
    let download = format!("download/reloadtask/{reference}/scriptlog.txt");
    assert_eq!(qlik.status(&download).await, StatusCode::NOT_FOUND);
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(qlik.status(&download).await, StatusCode::OK);
    assert_eq!(simulator.counts().requests_to(Endpoint::ScriptLogDownload), 2);
}

#[tokio::test]
async fn statuses_and_nonsense_can_be_limited() {
    let (simulator, qlik) = start().await;
    simulator.faults().add(Fault::status(503).on(Endpoint::TaskFull).first(2));
    assert_eq!(qlik.status("about").await, StatusCode::OK);
    assert_eq!(qlik.status("task/full").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(qlik.status("task/full").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(qlik.status("task/full").await, StatusCode::OK);
    assert_eq!(simulator.counts().responses_with(503), 2);

    simulator.faults().add(Fault::nonsense());
    assert!(qlik.text("about").await.starts_with("<!DOCTYPE"));
    simulator.faults().clear();
    qlik.json("about").await;
}

#[tokio::test]
async fn answers_can_be_late_or_missing() {
    let (simulator, qlik) = start().await;
    let delay = Duration::from_millis(100);
    simulator.faults().add(Fault::latency(delay).first(1));
    let before = Instant::now();
    qlik.json("about").await;
    assert!(before.elapsed() >= delay);

    simulator.faults().add(Fault::hang());
    let request = qlik.request(Method::GET, "about").timeout(Duration::from_millis(200));
    assert!(request.send().await.unwrap_err().is_timeout());
    simulator.faults().clear();
    qlik.json("about").await;
}

#[tokio::test]
async fn a_reset_ends_the_connection() {
    let (simulator, qlik) = start().await;
    simulator.faults().add(Fault::reset().first(1));
    let error = qlik.request(Method::GET, "about").send().await.unwrap_err();
    assert!(format!("{error:?}").contains("ConnectionReset"), "{error:?}");
    qlik.json("about").await;
    assert_eq!(simulator.counts().handshakes, 2);
}

#[tokio::test]
async fn a_stopped_simulator_refuses_connections_until_restarted() {
    let (simulator, qlik) = start().await;
    let task = simulator.site().add_task(Task::reload("Load orders", Site::SAMPLE_APP));
    qlik.json("about").await;
    simulator.faults().add(Fault::hang().on(Endpoint::Tag));
    let hanging = tokio::spawn(qlik.request(Method::GET, "tag").send());
    tokio::time::sleep(Duration::from_millis(100)).await;

    simulator.stop().await;
    hanging.await.unwrap().unwrap_err();
    let error = qlik.request(Method::GET, "about").send().await.unwrap_err();
    assert!(format!("{error:?}").contains("ConnectionRefused"), "{error:?}");

    simulator.restart().await.unwrap();
    assert_eq!(qlik.json(&format!("reloadtask/{task}")).await["name"], "Load orders");
    simulator.restart().await.unwrap();
    qlik.json("about").await;
    assert_eq!(simulator.counts().handshakes, 3);
}

#[tokio::test]
async fn a_new_simulator_can_take_over_port_and_certificates() {
    let certificates = Certificates::generate().unwrap();
    let options = Options::default().certificates(certificates.clone());
    let first = QlikSimulator::start(options.clone()).await.unwrap();
    let qlik = Qlik::of(&first, &certificates);
    qlik.json("about").await;
    let port = first.addr().port();
    first.stop().await;
    let second = QlikSimulator::start(options.port(port)).await.unwrap();
    qlik.json("about").await;
    assert_eq!(second.counts().requests, 1);
}

#[tokio::test]
async fn dropping_ends_the_simulator() {
    let (simulator, qlik) = start().await;
    qlik.json("about").await;
    drop(simulator);
    tokio::time::sleep(Duration::from_millis(100)).await;
    qlik.request(Method::GET, "about").send().await.unwrap_err();
}

#[tokio::test]
async fn the_control_port_shows_counts_and_runs_tasks() {
    let (simulator, qlik) = start().await;
    let control = Control::start(&simulator, 0).await.unwrap();
    // Any TLS settings do: the port is plain HTTP.
    let http = client::client(simulator.certificates().anonymous_client_config().unwrap());
    let url = |path: &str| format!("http://{}/simulator/{path}", control.addr());
    qlik.json("app/full").await;

    let counts = http.get(url("counts")).send().await.unwrap().text().await.unwrap();
    let counts: serde_json::Value = serde_json::from_str(&counts).unwrap();
    assert_eq!((counts["handshakes"].as_i64(), counts["endpoints"]["app/full"].as_i64()), (Some(1), Some(1)));

    let run = url(&format!("tasks/{}/succeed?executionId={EXECUTION}", Site::SAMPLE_RELOAD_TASK));
    assert_eq!(http.post(run).send().await.unwrap().status(), StatusCode::OK);
    let result = simulator.site().last_result(Site::SAMPLE_RELOAD_TASK).unwrap();
    assert_eq!(result.execution_id, EXECUTION);
    assert_eq!(http.post(url("tasks/x/fail")).send().await.unwrap().status(), StatusCode::NOT_FOUND);
}
