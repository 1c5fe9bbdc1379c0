//! Made-up answers.

use qlik_simulator::{Endpoint, Options, QlikSimulator, Site};
use reqwest::{Method, StatusCode};

use crate::client::Qlik;

const SOME: &str = "0c2d7f44-1b7e-4c52-8a57-6f0e8a1b2c3d";
const OTHER: &str = "f3a1c9d2-7e44-4b0d-9a66-5d2e1f0a9b8c";

#[tokio::test]
async fn whatever_is_asked_for_exists() {
    let simulator = QlikSimulator::start(Options::default().cheap()).await.unwrap();
    let qlik = Qlik::new(&simulator);
    assert_eq!(qlik.list(&format!("task?filter=id eq {SOME}"), "id").await, [SOME]);
    let tasks = qlik.json(&format!("task/full?filter=id eq {SOME} or id eq {OTHER}")).await;
    assert_eq!((&tasks[0]["id"], &tasks[1]["id"]), (&SOME.into(), &OTHER.into()));
    qlik.json(&format!("task/full?filter=id eq {}", SOME.to_uppercase())).await;
    let asked = simulator.counts().asked_of(Endpoint::TaskFull);
    assert_eq!((asked.different, asked.most), (2, 2));
    for path in ["reloadtask", "externalprogramtask", "usersynctask", "app", "user", "executionresult"] {
        assert_eq!(qlik.json(&format!("{path}/{SOME}")).await["id"], SOME, "{path}");
    }
    assert_eq!(simulator.counts().asked_of(Endpoint::UserById).most, 1);

    // From task to app to owner, and to the execution result and its log.
    let app = tasks[0]["app"]["id"].as_str().unwrap();
    let apps = qlik.json(&format!("app/full?filter=id eq {app}")).await;
    let owner = qlik.json(&format!("user/{}", apps[0]["owner"]["id"].as_str().unwrap())).await;
    assert!(owner["attributes"][0]["attributeValue"].as_str().unwrap().contains('@'));
    let last = &qlik.json(&format!("reloadtask/{SOME}")).await["operational"]["lastExecutionResult"];
    let results = qlik.json(&format!("executionresult/full?filter=taskID eq {SOME}")).await;
    assert_eq!(results[0]["id"], last["id"]);
    let file = last["fileReferenceID"].as_str().unwrap();
    for way in [
        format!("scriptlog?fileReferenceId={file}"),
        format!("scriptlogfile?executionResultId={}", last["id"].as_str().unwrap()),
    ] {
        let reference = qlik.json(&format!("reloadtask/{SOME}/{way}")).await;
        let download = format!("download/reloadtask/{}/scriptlog.txt", reference["value"].as_str().unwrap());
        assert_eq!(qlik.text(&download).await.len(), usize::try_from(last["scriptLogSize"].as_u64().unwrap()).unwrap());
    }
    let start = qlik.request(Method::POST, &format!("task/{SOME}/start")).body("{}").send().await.unwrap();
    assert_eq!(start.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn results_are_found_by_execution() {
    let simulator = QlikSimulator::start(Options::default().cheap()).await.unwrap();
    let qlik = Qlik::new(&simulator);
    let filter = format!("executionID eq {SOME} and taskID eq {OTHER}");
    let results = qlik.json(&format!("executionresult/full?filter={filter}")).await;
    assert_eq!((&results[0]["executionID"], &results[0]["taskID"]), (&SOME.into(), &OTHER.into()));
    let late = format!("{filter} and stopTime gt '2025-01-01T00:00:00.000Z'");
    assert_eq!(qlik.list(&format!("executionresult/full?filter={late}"), "executionID").await, [SOME]);
    let never = format!("executionID eq {SOME} and status eq 7");
    assert_eq!(qlik.text(&format!("executionresult/full?filter={never}")).await, "[]");
}

#[tokio::test]
async fn made_up_objects_have_the_shape_of_real_ones() {
    let full = QlikSimulator::start(Options::default()).await.unwrap();
    full.site().fail_task(Site::SAMPLE_RELOAD_TASK, SOME).unwrap();
    let cheap = QlikSimulator::start(Options::default().site(Site::empty()).cheap()).await.unwrap();
    let (full, cheap) = (Qlik::new(&full), Qlik::new(&cheap));
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for endpoint in [
        format!("reloadtask/{}", Site::SAMPLE_RELOAD_TASK),
        format!("externalprogramtask/{}", Site::SAMPLE_EXTERNAL_PROGRAM_TASK),
        format!("app/{}", Site::SAMPLE_APP),
    ] {
        assert_eq!(keys(&cheap.json(&endpoint).await), keys(&full.json(&endpoint).await), "{endpoint}");
    }
    let results = format!("executionresult/full?filter=executionID eq {SOME}");
    assert_eq!(keys(&cheap.json(&results).await[0]), keys(&full.json(&results).await[0]));
}

#[tokio::test]
async fn the_site_and_the_checks_still_count() {
    let simulator = QlikSimulator::start(Options::default().cheap()).await.unwrap();
    let qlik = Qlik::new(&simulator);
    let filter = format!("id eq {}", Site::SAMPLE_RELOAD_TASK);
    assert_eq!(qlik.list(&format!("task/full?filter={filter}"), "name").await, ["Reload order analysis"]);
    assert_eq!(qlik.status("task/full?filter=id is 1").await, StatusCode::BAD_REQUEST);
    assert_eq!(qlik.status("app/something").await, StatusCode::NOT_FOUND);
    let bare = qlik.bare(Method::GET, "about").send().await.unwrap();
    assert_eq!(bare.status(), StatusCode::FORBIDDEN);
}
