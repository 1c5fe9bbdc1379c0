//! What is started for whom, and what is told of it.

use std::sync::Arc;

use butler_plugin_api::kind;
use qlik_simulator::{Endpoint, Fault, Options, QlikSimulator, Site, Task};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::qlik::Repository;

const UNKNOWN: &str = "11111111-2222-4333-8444-555555555555";

struct Lab {
    simulator: QlikSimulator,
    starter: Arc<TaskStarter>,
    store: Store,
    _folder: TempDir,
}

async fn lab(filter: Value) -> Lab {
    let simulator = QlikSimulator::start(Options::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let files = simulator.certificates().write_to(folder.path()).unwrap();
    let mut qlik = json!({
        "host": "127.0.0.1", "user": r"LAB\butler", "ports": { "repository": simulator.addr().port() },
        "certificates": { "client": files.client, "key": files.client_key, "ca": files.root },
    });
    if !filter.is_null() {
        qlik["startTaskFilter"] = filter;
    }
    let config: Config = serde_json::from_value(json!({ "version": 1, "qlik": qlik })).unwrap();
    let repository = Arc::new(Repository::new(config.qlik.as_ref().unwrap()).unwrap());
    let lookups = Arc::new(Lookups::new(repository, &config.script_log, 4));
    let store = Store::open(&folder.path().join("butler.db")).await.unwrap();
    let starter = TaskStarter::new(lookups, store.clone(), Arc::default(), Arc::new(Current::new(config)));
    Lab { simulator, starter, store, _folder: folder }
}

fn id(id: &str) -> Selection {
    Selection::TaskId(id.to_owned())
}

fn tag(tag: &str) -> Selection {
    Selection::Tag(tag.to_owned())
}

fn property(name: &str, value: &str) -> Selection {
    Selection::CustomProperty { name: name.to_owned(), value: value.to_owned() }
}

impl Lab {
    async fn start(&self, selections: Vec<Selection>, all_must_exist: bool) -> TasksStarted {
        let request =
            Request { selections, all_task_ids_must_exist: all_must_exist, caller: "token:nightly".to_owned() };
        told(&self.starter.start(request).await.unwrap())
    }

    /// Kinds and task ids of the events.
    async fn events(&self) -> Vec<(String, String)> {
        let rows = self.store.accepted_events(0, 100).await.unwrap();
        let mut events = Vec::new();
        for row in rows {
            let start = row.event.data.task_start.as_ref().unwrap();
            assert_eq!(start.caller.as_deref(), Some("token:nightly"));
            assert!(row.event.data.message.is_some() && start.selected_by.is_some() && start.selector.is_some());
            events.push((row.event.kind, row.event.data.task.map(|task| task.id).unwrap_or_default()));
        }
        events
    }
}

fn ids(told: &TasksStarted) -> Vec<&str> {
    told.tasks.iter().map(|task| task.task_id.as_str()).collect()
}

#[tokio::test]
async fn a_task_that_is_chosen_twice_is_started_once_and_told_once() {
    let lab = lab(Value::Null).await;
    let told = lab
        .start(
            vec![
                id(&Site::SAMPLE_RELOAD_TASK.to_ascii_uppercase()),
                tag("nightly"),
                property("taskGroup", "sales"),
                id(Site::SAMPLE_RELOAD_TASK),
            ],
            false,
        )
        .await;
    assert_eq!(ids(&told), [Site::SAMPLE_RELOAD_TASK, Site::SAMPLE_EXTERNAL_PROGRAM_TASK]);
    assert!(told.tasks.iter().all(|task| task.session_id.is_some() && task.error.is_none()), "{told:?}");
    let mut starts = lab.simulator.site().starts();
    starts.sort();
    assert_eq!(starts, [Site::SAMPLE_RELOAD_TASK, Site::SAMPLE_EXTERNAL_PROGRAM_TASK]);
    let succeeded = |task: &str| (kind::TASK_START_SUCCEEDED.to_owned(), task.to_owned());
    assert_eq!(
        lab.events().await,
        [succeeded(Site::SAMPLE_RELOAD_TASK), succeeded(Site::SAMPLE_EXTERNAL_PROGRAM_TASK)]
    );
}

#[tokio::test]
async fn what_was_not_started_says_why() {
    let lab = lab(Value::Null).await;
    let told = lab.start(vec![id(Site::SAMPLE_DISABLED_TASK), id(UNKNOWN), id("abc")], false).await;
    assert_eq!(told.unknown, [UNKNOWN, "abc"]);
    assert!(told.tasks[0].error.as_ref().is_some_and(|error| error.contains("enable it in the QMC")), "{told:?}");
    lab.simulator.site().set_scheduler(false);
    let told = lab.start(vec![id(Site::SAMPLE_RELOAD_TASK)], false).await;
    assert!(told.tasks[0].error.as_ref().is_some_and(|error| error.contains("no scheduler was free")), "{told:?}");
    lab.simulator.faults().add(Fault::reset().on(Endpoint::TaskStartSynchronous));
    let told = lab.start(vec![id(Site::SAMPLE_RELOAD_TASK)], false).await;
    assert!(told.tasks[0].error.as_ref().is_some_and(|error| error.contains("started all the same")), "{told:?}");
    let failed = lab.events().await;
    assert!(failed.len() == 5 && failed.iter().all(|(kind, _)| kind == kind::TASK_START_FAILED), "{failed:?}");
    assert!(lab.simulator.site().starts().is_empty());
}

#[tokio::test]
async fn when_all_must_exist_ids_are_held_back_and_the_rest_is_started() {
    let lab = lab(Value::Null).await;
    let asked = vec![
        id(Site::SAMPLE_USER_SYNC_TASK),
        id(UNKNOWN),
        id(Site::SAMPLE_PRELOAD_TASK),
        property("taskGroup", "sales"),
    ];
    let told = lab.start(asked.clone(), true).await;
    assert_eq!(told.denied, [Site::SAMPLE_USER_SYNC_TASK, Site::SAMPLE_PRELOAD_TASK]);
    assert_eq!(
        (ids(&told), told.unknown.as_slice()),
        (vec![Site::SAMPLE_RELOAD_TASK], [UNKNOWN.to_owned()].as_slice())
    );
    assert_eq!(lab.simulator.site().starts(), [Site::SAMPLE_RELOAD_TASK]);
    assert_eq!(lab.start(asked, false).await.tasks.len(), 3);
}

#[tokio::test]
async fn what_the_filter_denies_is_not_even_looked_up() {
    let lab = lab(json!({ "taskIds": [Site::SAMPLE_PRELOAD_TASK.to_ascii_uppercase()] })).await;
    let denied =
        lab.start(vec![id(Site::SAMPLE_RELOAD_TASK), tag("nightly"), property("taskGroup", "sales")], true).await;
    assert_eq!(denied.denied, [Site::SAMPLE_RELOAD_TASK, "nightly", "taskGroup=sales"]);
    assert_eq!(lab.simulator.counts().requests, 0);
    assert_eq!(ids(&lab.start(vec![id(Site::SAMPLE_PRELOAD_TASK)], true).await), [Site::SAMPLE_PRELOAD_TASK]);
    assert_eq!(lab.events().await.len(), 4);
}

#[tokio::test]
async fn a_tag_or_property_of_the_filter_allows_its_tasks_by_id() {
    let lab =
        lab(json!({ "tags": ["nightly"], "customProperties": [{ "name": "taskGroup", "value": "stock" }] })).await;
    let other =
        lab.simulator.site().add_task(Task::reload("x", Site::SAMPLE_APP).custom_property("taskGroup", "stock"));
    let told = lab.start(vec![id(Site::SAMPLE_RELOAD_TASK), id(&other), id(Site::SAMPLE_PRELOAD_TASK)], false).await;
    assert_eq!(ids(&told), [Site::SAMPLE_RELOAD_TASK, other.as_str()]);
    assert_eq!(told.denied, [Site::SAMPLE_PRELOAD_TASK]);
    let told = lab.start(vec![tag("nightly"), tag("daily"), property("taskGroup", "sales")], false).await;
    assert_eq!((told.tasks.len(), told.denied), (2, vec!["daily".to_owned(), "taskGroup=sales".to_owned()]));
}

#[tokio::test]
async fn without_an_answer_which_tasks_there_are_none_is_started() {
    let lab = lab(Value::Null).await;
    lab.simulator.faults().add(Fault::status(500).on(Endpoint::TaskFull));
    for selections in [vec![id(Site::SAMPLE_RELOAD_TASK)], vec![tag("nightly")]] {
        let request = Request { selections, all_task_ids_must_exist: false, caller: "token:nightly".to_owned() };
        assert!(lab.starter.start(request).await.is_err());
    }
    assert!(lab.simulator.site().starts().is_empty());
    let failed = |task: &str| (kind::TASK_START_FAILED.to_owned(), task.to_owned());
    assert_eq!(lab.events().await, [failed(Site::SAMPLE_RELOAD_TASK), failed("")]);
}

#[tokio::test]
async fn a_start_goes_on_when_nobody_waits_for_it_any_more() {
    let lab = lab(Value::Null).await;
    lab.simulator.faults().add(Fault::latency(Duration::from_millis(200)).on(Endpoint::TaskFull));
    let request = Request {
        selections: vec![tag("nightly")],
        all_task_ids_must_exist: false,
        caller: "token:nightly".to_owned(),
    };
    let gone = tokio::time::timeout(Duration::from_millis(20), lab.starter.start(request)).await;
    assert!(gone.is_err());
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while lab.events().await.len() < 2 {
        assert!(std::time::Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(lab.simulator.site().starts().len(), 2);
}

#[tokio::test]
async fn what_follows_a_reload_is_started_in_order_and_held_to_the_filter_as_well() {
    let lab = lab(json!({ "tags": ["nightly"] })).await;
    let first = lab.simulator.site().add_task(Task::reload("first", Site::SAMPLE_APP).tag("nightly"));
    let allowed = [first.as_str(), Site::SAMPLE_EXTERNAL_PROGRAM_TASK, Site::SAMPLE_RELOAD_TASK];
    let ids = allowed.iter().chain(&[Site::SAMPLE_PRELOAD_TASK, first.as_str()]).map(ToString::to_string).collect();
    lab.starter.follow_up()(ids, "token:nightly".to_owned()).await;
    assert_eq!(lab.simulator.site().starts(), allowed);
    assert_eq!(lab.events().await.len(), 4);
}

#[tokio::test]
async fn a_call_that_breaks_does_not_keep_the_other_tasks_from_being_started() {
    let lab = lab(Value::Null).await;
    for number in 0..20 {
        lab.simulator.site().add_task(Task::reload(format!("task {number}"), Site::SAMPLE_APP).tag("many"));
    }
    lab.simulator.faults().add(Fault::reset().on(Endpoint::TaskStartSynchronous).first(1));
    let told = lab.start(vec![tag("many")], false).await;
    let failed: Vec<_> = told.tasks.iter().filter_map(|task| task.error.as_ref()).collect();
    assert!(told.tasks.len() == 20 && failed.len() == 1, "{failed:?}");
    assert_eq!(lab.simulator.site().starts().len(), 19);
}

#[tokio::test]
async fn a_config_that_was_reloaded_without_qlik_sense_allows_no_start() {
    let lab = lab(Value::Null).await;
    let without: Config = serde_json::from_value(json!({ "version": 1 })).unwrap();
    lab.starter.config.set(without);
    let told = lab.start(vec![id(Site::SAMPLE_RELOAD_TASK), tag("nightly")], false).await;
    assert_eq!((told.tasks.len(), told.denied.len()), (0, 2), "{told:?}");
}

#[tokio::test]
async fn what_a_server_returns_beyond_the_tag_is_not_started() {
    let lab = lab(Value::Null).await;
    let other = Fault::altered(|json| {
        for task in json.as_array_mut().into_iter().flatten() {
            task["tags"] = json!([{ "id": "1", "name": "Nightly" }]);
        }
    });
    lab.simulator.faults().add(other.on(Endpoint::TaskFull));
    assert_eq!(lab.start(vec![tag("nightly")], false).await, TasksStarted::default());
}
