//! Tasks, apps, users, results, and filters on them.

use qlik_simulator::{AccessTypes, AccessUse, License, NO_REFERENCE, NO_TIME, Options, QlikSimulator, Site, Task};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::client::Qlik;

const EXECUTION: &str = "6f1cba14-59d6-4a0f-9a3d-2f6f4b8f0a11";
const UNKNOWN: &str = "11111111-2222-4333-8444-555555555555";

async fn start() -> (QlikSimulator, Qlik) {
    let simulator = QlikSimulator::start(Options::default()).await.unwrap();
    let qlik = Qlik::new(&simulator);
    (simulator, qlik)
}

#[tokio::test]
async fn tasks_are_found_by_filter() {
    let (simulator, qlik) = start().await;
    let task = simulator.site().add_task(Task::reload("Ann's & Bo's", Site::SAMPLE_APP).tag("night's"));
    assert_eq!(qlik.list(&format!("task/full?filter=id eq {task}"), "name").await, ["Ann's & Bo's"]);
    assert_eq!(qlik.list(&format!("task?filter=id eq {task}"), "name").await, ["Ann's & Bo's"]);
    assert_eq!(qlik.list("task/full?filter=tags.name eq 'night''s'", "id").await, std::slice::from_ref(&task));
    assert_eq!(qlik.list("task?filter=name eq 'Ann''s %26 Bo''s'", "id").await, [task]);
    assert_eq!(
        qlik.list(
            "task/full?filter=(customProperties.definition.name eq 'taskGroup') and (customProperties.value eq 'sales')",
            "id"
        )
        .await,
        [Site::SAMPLE_RELOAD_TASK]
    );
    assert_eq!(qlik.text(&format!("task/full?filter=id eq {UNKNOWN}")).await, "[]");
    assert_eq!(
        qlik.list("custompropertydefinition/full?filter=objectTypes eq 'ReloadTask'", "name").await,
        ["taskGroup"]
    );
    assert_eq!(qlik.list("tag/full?filter=name eq 'nightly'", "schemaPath").await, ["Tag"]);
    assert_eq!(qlik.json("reloadtask/full").await.as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn bad_filters_paths_and_methods_are_refused() {
    let (_simulator, qlik) = start().await;
    assert_eq!(qlik.status("task/full?filter=id is 1").await, StatusCode::BAD_REQUEST);
    assert_eq!(qlik.status("nothing").await, StatusCode::NOT_FOUND);
    assert_eq!(qlik.status(&format!("reloadtask/{UNKNOWN}")).await, StatusCode::NOT_FOUND);
    assert_eq!(qlik.status(&format!("app/{UNKNOWN}")).await, StatusCode::NOT_FOUND);
    assert_eq!(qlik.status(&format!("user/{UNKNOWN}")).await, StatusCode::NOT_FOUND);
    let posted = qlik.request(Method::POST, "task/full").send().await.unwrap();
    assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn each_type_of_task_has_its_path() {
    let (_simulator, qlik) = start().await;
    for (path, id, number) in [
        ("reloadtask", Site::SAMPLE_RELOAD_TASK, 0),
        ("externalprogramtask", Site::SAMPLE_EXTERNAL_PROGRAM_TASK, 1),
        ("usersynctask", Site::SAMPLE_USER_SYNC_TASK, 2),
        ("reloadtask", Site::SAMPLE_DISTRIBUTE_TASK, 3),
        ("reloadtask", Site::SAMPLE_PRELOAD_TASK, 4),
    ] {
        let task = qlik.json(&format!("{path}/{}", id.to_uppercase())).await;
        assert_eq!((task["id"].as_str(), task["taskType"].as_i64()), (Some(id), Some(number)));
        let last = &task["operational"]["lastExecutionResult"];
        assert_eq!((last["status"].as_i64(), last["startTime"].as_str()), (Some(0), Some(NO_TIME)));
        assert_eq!(task["privileges"], serde_json::Value::Null);
    }
    assert_eq!(qlik.status(&format!("reloadtask/{}", Site::SAMPLE_USER_SYNC_TASK)).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn owners_lead_to_mail_addresses() {
    let (_simulator, qlik) = start().await;
    let owner = |app| {
        let qlik = &qlik;
        async move {
            let app = qlik.json(&format!("app/{app}")).await;
            qlik.json(&format!("user/{}", app["owner"]["id"].as_str().unwrap())).await
        }
    };
    let ann = owner(Site::SAMPLE_APP).await;
    assert_eq!(ann["attributes"][0]["attributeType"], "email");
    assert_eq!(ann["attributes"][0]["attributeValue"], "ann.berg@example.com");
    let bo = owner(Site::SAMPLE_APP_OF_MAILLESS_OWNER).await;
    assert_eq!(bo["attributes"], serde_json::json!([]));
    assert_eq!(qlik.list("user/full?filter=userId eq 'bo'", "name").await, ["Bo Lind"]);
}

#[tokio::test]
async fn a_run_shows_in_task_and_results() {
    let (simulator, qlik) = start().await;
    let site = simulator.site();
    let result = site.fail_task(Site::SAMPLE_RELOAD_TASK, EXECUTION).unwrap();
    site.succeed_task(Site::SAMPLE_USER_SYNC_TASK, UNKNOWN).unwrap();

    let task = qlik.json(&format!("task/full?filter=id eq {}", Site::SAMPLE_RELOAD_TASK)).await;
    let last = &task[0]["operational"]["lastExecutionResult"];
    assert_eq!((last["id"].as_str(), last["status"].as_i64()), (Some(result.id.as_str()), Some(8)));
    let dates: Vec<_> = last["details"].as_array().unwrap().iter().map(|detail| &detail["detailCreatedDate"]).collect();
    assert!(!dates.iter().map(|date| date.as_str().unwrap()).is_sorted(), "QRS does not sort details");

    let results = qlik.json(&format!("executionresult/full?filter=executionID eq {EXECUTION}")).await;
    assert_eq!(results.as_array().unwrap().len(), 1);
    assert_eq!(results[0]["taskID"], Site::SAMPLE_RELOAD_TASK);
    assert_eq!(results[0]["executionID"], EXECUTION);
    assert_ne!(results[0]["fileReferenceID"], NO_REFERENCE);

    let since = format!("stopTime ge '{}'", result.stop_time);
    assert_eq!(qlik.list(&format!("executionresult/full?filter={since}"), "executionID").await, [EXECUTION, UNKNOWN]);
    let order = "orderby=executionID&orderascending";
    assert_eq!(qlik.list(&format!("executionresult/full?{order}=true"), "executionID").await, [UNKNOWN, EXECUTION]);
    assert_eq!(qlik.list(&format!("executionresult/full?{order}=false"), "executionID").await, [EXECUTION, UNKNOWN]);
    let condensed = qlik.json(&format!("executionresult?filter=taskID eq {}", Site::SAMPLE_RELOAD_TASK)).await;
    assert_eq!((condensed[0]["status"].as_i64(), condensed[0].get("executionID")), (Some(8), None));
}

#[tokio::test]
async fn starts_are_remembered() {
    let (simulator, qlik) = start().await;
    let start = |id: &str| qlik.request(Method::POST, &format!("task/{id}/start")).body("{}").send();
    let response = start(Site::SAMPLE_RELOAD_TASK).await.unwrap();
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(response.text().await.unwrap(), "");
    assert_eq!(start(UNKNOWN).await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(simulator.site().starts(), [Site::SAMPLE_RELOAD_TASK]);
}

#[tokio::test]
async fn large_sites_can_be_made() {
    let simulator = QlikSimulator::start(Options::default().site(Site::with_tasks(200))).await.unwrap();
    let qlik = Qlik::new(&simulator);
    assert_eq!(qlik.json("task/full?filter=tags.name eq 'numbered'").await.as_array().unwrap().len(), 200);
    let id = Site::numbered_task(199);
    assert_eq!(qlik.json(&format!("reloadtask/{id}")).await["app"]["name"], "App 199");
}

#[tokio::test]
async fn licence_and_access_types_are_what_the_site_says() {
    let (simulator, qlik) = start().await;
    let license = qlik.json("license").await;
    assert_eq!((&license["isExpired"], &license["schemaPath"]), (&json!(false), &json!("License")));
    assert!(license["keyDetails"].as_str().unwrap().contains("\r\nValid To: 2099-12-31\r\n"));
    simulator.site().set_license(License::valid_to("2025-06-30").expired("LEF").key_details(json!(7)));
    let license = qlik.json("license").await;
    assert_eq!(
        (&license["isExpired"], &license["expiredReason"], &license["keyDetails"]),
        (&json!(true), &json!("LEF"), &json!(7))
    );
    let overview = qlik.json("license/accesstypeoverview").await;
    assert_eq!((&overview["analyzerAccess"]["available"], &overview["tokensEnabled"]), (&json!(30), &json!(false)));
    let some = AccessUse { quarantined: 1, ..AccessUse::of(10, 4) };
    simulator.site().set_access_types(AccessTypes {
        professional: None,
        analyzer: Some(some),
        analyzer_minutes: Some((600, 35)),
        tokens: Some((20.0, 3.0)),
        without: vec!["loginAccess".to_owned()],
    });
    let overview = qlik.json("license/accesstypeoverview").await;
    assert_eq!(
        (&overview["analyzerAccess"]["available"], &overview["professionalAccess"]["enabled"]),
        (&json!(5), &json!(false))
    );
    assert_eq!(
        (&overview["analyzerTimeAccess"]["usedMinutes"], &overview["availableTokens"]),
        (&json!(35), &json!(3.0))
    );
    assert_eq!((overview.get("loginAccess"), &overview["userAccess"]["enabled"]), (None, &json!(true)));
    assert_eq!(qlik.status("license/other").await, StatusCode::NOT_FOUND);
}
