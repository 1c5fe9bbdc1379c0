//! Answers that no proper QRS gives: each leaves an event with what is known, and says what is missing.

use std::time::Duration;

use butler_plugin_api::Data;
use qlik_simulator::{Endpoint, ExecutionIds, Fault, Options, Run, Site, Status};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{EXECUTION, Lab, heard, lab, now};
use crate::config;
use crate::qlik::{Enriched, Limits, Lookups, QlikError};

const PATIENCE: Duration = Duration::from_mins(1);

/// A failed reload, looked up while Qlik Sense has these faults.
async fn enriched(faults: impl IntoIterator<Item = Fault>) -> (Lab, Enriched) {
    let lab = lab(Options::default()).await;
    lab.site().fail_task(Site::SAMPLE_RELOAD_TASK, EXECUTION).unwrap();
    faults.into_iter().for_each(|fault| lab.simulator.faults().add(fault));
    let out = look_up(&lab.lookups(), "reload-task.failed").await;
    (lab, out)
}

async fn look_up(lookups: &Lookups, kind: &str) -> Enriched {
    lookups.enrich(&heard(Site::SAMPLE_RELOAD_TASK, Some(EXECUTION)), kind, now(), false, PATIENCE).await
}

fn everywhere(change: impl Fn(&mut Value) + Send + Sync + 'static) -> [Fault; 1] {
    [Fault::altered(change)]
}

/// What came with the log line is still there.
fn assert_as_heard(data: &Data) {
    let heard = heard(Site::SAMPLE_RELOAD_TASK, Some(EXECUTION));
    assert_eq!((&data.task, &data.app, &data.log), (&heard.task, &heard.app, &heard.log));
}

/// All look-ups that an event needs are answered like this: nothing is known, and it is said why.
async fn assert_nothing_is_known(fault: Fault, why: &str, transient: bool) {
    let (lab, out) = enriched([fault]).await;
    assert_eq!(out.missing, ["task", "execution", "app"], "{why}");
    assert_as_heard(&out.data);
    assert!(out.data.kind_assumed && out.kind == "reload-task.failed");
    assert_eq!(out.transient.is_some(), transient, "{:?}", out.transient);
    let error = lab.lookups().task(Site::SAMPLE_RELOAD_TASK).await.unwrap_err();
    assert!(error.to_string().contains(why), "{error}");
    assert_eq!(error.is_transient(), transient);
    lab.simulator.faults().clear();
    assert_eq!(look_up(&lab.lookups(), "reload-task.failed").await.missing.len(), 0);
}

#[tokio::test]
async fn answers_that_are_no_json_are_named() {
    assert_nothing_is_known(Fault::nonsense(), "is not JSON but begins with \"<!DOCTYPE html>", true).await;
    assert_nothing_is_known(Fault::page("text/plain", "[,]"), "is not JSON but begins with \"[,]\"", true).await;
}

#[tokio::test]
async fn answers_that_are_cut_off_are_named() {
    assert_nothing_is_known(Fault::page("application/json", ""), "is cut off after 0 bytes", true).await;
    assert_nothing_is_known(Fault::page("application/json", r#"[{"id":"a"#), "is cut off after 9 bytes", true).await;
    // The header promises more than comes.
    for bytes in [0, 40] {
        assert_nothing_is_known(Fault::cut(bytes), "the connection broke", true).await;
    }
}

#[tokio::test]
async fn answers_of_another_form_are_named() {
    let objects = Fault::altered(|json| *json = json!({ "items": json.take() }));
    assert_nothing_is_known(objects, "should be a list but begins with \"{\"items\":[{", true).await;
    assert_nothing_is_known(Fault::altered(|json| *json = Value::Null), "begins with \"null\"", true).await;
    let error = {
        let lab = lab(Options::default()).await;
        lab.simulator.faults().add(Fault::altered(|json| *json = json!([1])));
        lab.repository().probe().await.unwrap_err()
    };
    assert!(error.to_string().contains("should be an object with `buildVersion`"), "{error}");
}

#[tokio::test]
async fn an_empty_list_is_an_answer() {
    let (_lab, out) = enriched([Fault::page("application/json", "[]")]).await;
    assert_eq!((out.missing.as_slice(), &out.transient), (&["task", "execution", "app"][..], &None));
    assert_as_heard(&out.data);
}

#[tokio::test]
async fn lists_of_something_else_hold_nothing() {
    for odd in [json!([1, null, "a", []]), json!([{}]), json!([{ "id": 7, "name": {} }]), json!([[{ "id": "x" }]])] {
        let (_lab, out) = enriched(everywhere(move |json| *json = odd.clone())).await;
        assert_eq!((out.missing.as_slice(), &out.transient), (&["task", "execution", "app"][..], &None));
        assert_as_heard(&out.data);
    }
}

#[tokio::test]
async fn an_answer_without_end_is_read_up_to_the_limit() {
    let lab = lab(Options::default()).await;
    lab.site().fail_task(Site::SAMPLE_RELOAD_TASK, EXECUTION).unwrap();
    lab.simulator.faults().add(Fault::endless());
    let repository = lab.limited(Limits { body: 1 << 20, ..Limits::default() });
    let lookups = Lookups::new(repository.into(), &config::ScriptLog::default(), 16);
    let out = look_up(&lookups, "reload-task.failed").await;
    assert_eq!((out.missing.as_slice(), &out.transient), (&["task", "execution", "app"][..], &None));
    assert_as_heard(&out.data);
    let error = lookups.task(Site::SAMPLE_RELOAD_TASK).await.unwrap_err();
    assert!(error.to_string().contains("is larger than 1048576 bytes"), "{error}");
    // What is taken apart is smaller than what a plugin may ask for.
    let error = lab.repository().get_json("task/full", &[]).await.unwrap_err();
    assert!(matches!(error, QlikError::TooLarge { limit: 8_388_608, .. }), "{error}");
}

#[tokio::test]
async fn numbers_may_be_texts_and_the_content_type_is_not_looked_at() {
    fn texts(json: &mut Value) {
        match json {
            Value::Number(number) => *json = number.to_string().into(),
            Value::Array(items) => items.iter_mut().for_each(texts),
            Value::Object(members) => members.values_mut().for_each(texts),
            _ => {}
        }
    }
    let (_lab, out) = enriched(everywhere(texts)).await;
    assert_eq!(out.missing.len(), 0);
    let (execution, task) = (out.data.execution.unwrap(), out.data.task.unwrap());
    assert_eq!((execution.status, task.task_type.as_deref()), (Some(8), Some("reload")));
    assert!(execution.duration_ms.is_some() && task.max_retries.is_some());

    let task = json!([{ "id": Site::SAMPLE_RELOAD_TASK, "name": "Load", "taskType": 0 }]).to_string();
    let (_lab, out) = enriched([Fault::page("text/html", task).on(Endpoint::TaskFull)]).await;
    assert_eq!((out.missing.len(), out.data.task.unwrap().name.as_str()), (0, "Load"));
}

#[tokio::test]
async fn fields_of_another_release_do_not_matter() {
    let (_lab, out) = enriched(everywhere(|json| {
        for object in json.as_array_mut().into_iter().flatten() {
            let Some(members) = object.as_object_mut() else { continue };
            members.insert("newInThisRelease".to_owned(), json!({ "a": [1, 2, { "b": null }] }));
            for gone in
                ["tags", "customProperties", "operational", "owner", "stream", "details", "startTime", "duration"]
            {
                members.remove(gone);
            }
        }
    }))
    .await;
    assert_eq!((out.missing.as_slice(), &out.transient), (&["owner"][..], &None));
    let (task, execution) = (out.data.task.unwrap(), out.data.execution.unwrap());
    assert_eq!((task.tags.len(), task.next_execution, execution.details.len()), (0, None, 0));
    assert_eq!((execution.start_time, execution.duration_ms), (None, None));
    assert_eq!((execution.status_text.as_deref(), out.data.kind_assumed), (Some("FinishedFail"), false));
}

#[tokio::test]
async fn a_status_of_another_release_has_the_name_that_the_server_gives_it() {
    let with_dictionary = |json: &mut Value| {
        if let Some(Value::Array(values)) = json.pointer_mut("/StatusEnum/values") {
            values.push("15: FinishedOddly".into());
        }
        for result in json.as_array_mut().into_iter().flatten() {
            if result.get("executionID").is_some() {
                result["status"] = 15.into();
            }
        }
    };
    let (lab, out) = enriched(everywhere(with_dictionary)).await;
    assert_eq!((out.missing.len(), out.not_yet, &out.transient), (0, false, &None));
    let execution = out.data.execution.unwrap();
    assert_eq!((execution.status, execution.status_text.as_deref()), (Some(15), Some("FinishedOddly")));
    assert_eq!(lab.simulator.counts().requests_to(Endpoint::Enums), 1);

    // Asked for once, also by a server that has no name for it, or no dictionary.
    let silent = everywhere(move |json| {
        with_dictionary(json);
        json.as_object_mut().map(|members| members.remove("StatusEnum"));
    });
    for faults in [vec![Fault::status(404).on(Endpoint::Enums), silent[0].clone()], silent.to_vec()] {
        let lab = super::lab(Options::default()).await;
        lab.site().fail_task(Site::SAMPLE_RELOAD_TASK, EXECUTION).unwrap();
        for fault in faults {
            lab.simulator.faults().add(fault);
        }
        let lookups = lab.lookups();
        for _ in 0..3 {
            let out = look_up(&lookups, "reload-task.failed").await;
            let execution = out.data.execution.unwrap();
            assert_eq!((out.missing.len(), execution.status, execution.status_text), (0, Some(15), None));
        }
        assert_eq!(lab.simulator.counts().requests_to(Endpoint::Enums), 1);
    }

    // The numbers that Butler knows need no dictionary.
    let (lab, _) = enriched([]).await;
    assert_eq!(lab.simulator.counts().requests_to(Endpoint::Enums), 0);
}

#[tokio::test]
async fn a_status_of_another_release_tells_no_outcome() {
    let lab = lab(Options::default()).await;
    let unknown = |json: &mut Value| {
        for result in json.as_array_mut().into_iter().flatten() {
            result["status"] = 15.into();
        }
    };
    lab.simulator.faults().add(Fault::altered(unknown).on(Endpoint::ExecutionResultFull));
    let running = Run::new(Status::DistributionRunning);
    lab.site().run_task(Site::SAMPLE_DISTRIBUTE_TASK, EXECUTION, running).unwrap();
    let heard = heard(Site::SAMPLE_DISTRIBUTE_TASK, Some(EXECUTION));
    let out = lab.lookups().enrich(&heard, "distribute-task.pending", now(), false, PATIENCE).await;
    assert!(out.pending, "{out:?}");

    // While it has not stopped, a reload with such a status is not over.
    let lab = super::lab(Options::default()).await;
    lab.simulator.faults().add(Fault::altered(unknown).on(Endpoint::ExecutionResultFull));
    lab.site().begin_task(Site::SAMPLE_RELOAD_TASK, EXECUTION).unwrap();
    let out = look_up(&lab.lookups(), "reload-task.failed").await;
    assert_eq!((out.missing.as_slice(), out.not_yet), (&["execution"][..], true));

    // One that has stopped just now is that of the event, also where its id does not say so.
    let lab = super::lab(Options::default()).await;
    lab.site().set_execution_ids(ExecutionIds::Different);
    let last = |json: &mut Value| json[0]["operational"]["lastExecutionResult"]["status"] = 15.into();
    lab.simulator.faults().add(Fault::altered(last).on(Endpoint::TaskFull));
    lab.site().fail_task(Site::SAMPLE_RELOAD_TASK, EXECUTION).unwrap();
    let out = look_up(&lab.lookups(), "reload-task.failed").await;
    assert_eq!((out.missing.len(), out.data.execution.unwrap().status), (0, Some(15)));
}

#[tokio::test]
async fn a_type_of_another_release_leaves_the_kind_assumed() {
    let (_lab, out) = enriched([Fault::altered(|json| json[0]["taskType"] = 9.into()).on(Endpoint::TaskFull)]).await;
    assert_eq!((out.missing.len(), out.kind.as_str(), out.data.kind_assumed), (0, "reload-task.failed", true));
    let task = out.data.task.unwrap();
    assert_eq!((task.name.as_str(), task.task_type), ("Reload order analysis", None));
}

#[tokio::test]
async fn a_release_that_ignores_filters_does_not_give_an_event_others_facts() {
    let crowd = |json: &mut Value| {
        if let Value::Array(items) = json {
            for item in items.clone() {
                let mut other = item;
                other["id"] = "99999999-7c3b-4e6a-9d41-6b1c2e3f4a01".into();
                other["name"] = "Another".into();
                other["status"] = 7.into();
                other["executionID"] = "99999999-7c3b-4e6a-9d41-6b1c2e3f4a02".into();
                other["startTime"] = "2099-01-01T00:00:00.000Z".into();
                items.insert(0, other);
            }
        }
    };
    let (_lab, out) = enriched(everywhere(crowd)).await;
    assert_eq!(out.missing.len(), 0);
    assert_eq!(out.data.task.unwrap().name, "Reload order analysis");
    assert_eq!(out.data.app.unwrap().name, "Order analysis");
    assert_eq!(out.data.execution.unwrap().status, Some(8));
    // Only others: it is not known.
    let (_lab, out) = enriched(everywhere(move |json| {
        crowd(json);
        if let Value::Array(items) = json {
            items.truncate(1);
        }
    }))
    .await;
    assert_eq!(out.missing, ["task", "execution", "app"]);
}

#[tokio::test]
async fn times_without_a_value_with_other_offsets_or_without_any_are_read() {
    let (_lab, out) = enriched(everywhere(|json| {
        for object in json.as_array_mut().into_iter().flatten() {
            object["startTime"] = "2025-03-09T16:05:07.3+02:00".into();
            object["stopTime"] = "2025-03-09T14:06:07".into();
            object["modifiedDate"] = "20250309T160607.000+0200".into();
            object["lastReloadTime"] = "1753-01-01T00:00:00+01:00".into();
            object["publishTime"] = "1753-01-01T00:00:00.000Z".into();
            object["operational"] = json!({ "nextExecution": "soon" });
        }
    }))
    .await;
    let data = out.data;
    let (task, app, execution) = (data.task.unwrap(), data.app.unwrap(), data.execution.unwrap());
    assert_eq!(execution.start_time.as_deref(), Some("2025-03-09T14:05:07.300Z"));
    assert_eq!(execution.stop_time.as_deref(), Some("2025-03-09T14:06:07.000Z"));
    assert_eq!(out.time.as_deref(), Some("2025-03-09T14:06:07.000Z"));
    assert_eq!(task.modified_date.as_deref(), Some("2025-03-09T14:06:07.000Z"));
    assert_eq!((app.last_reload_time, app.publish_time, task.next_execution), (None, None, None));
}

#[tokio::test]
async fn redirections_are_not_followed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("https://{}/qrs/task/full", elsewhere.local_addr().unwrap());
    assert_nothing_is_known(Fault::redirect(target), "it redirects: `qlik.host` and `ports.repository`", true).await;
    let came = tokio::time::timeout(Duration::from_millis(100), elsewhere.accept()).await;
    assert!(came.is_err(), "somebody followed");
}

#[tokio::test]
async fn a_page_is_no_script_log() {
    let lab = lab(Options::default()).await;
    lab.site().fail_task(Site::SAMPLE_RELOAD_TASK, EXECUTION).unwrap();
    lab.simulator.faults().add(Fault::nonsense().on(Endpoint::ScriptLogDownload));
    let heard = heard(Site::SAMPLE_RELOAD_TASK, Some(EXECUTION));
    let out = lab.lookups().enrich(&heard, "reload-task.failed", now(), true, PATIENCE).await;
    assert_eq!(out.missing, ["scriptLog"]);
    let text = out.transient.unwrap().to_string();
    assert!(text.contains("is a web page") && text.contains("Maintenance"), "{text}");
    // One that breaks off is none either.
    lab.simulator.faults().clear();
    lab.simulator.faults().add(Fault::cut(10).on(Endpoint::ScriptLogDownload));
    let out = lab.lookups().enrich(&heard, "reload-task.failed", now(), true, PATIENCE).await;
    assert!(out.missing == ["scriptLog"] && out.script_log.is_none() && out.transient.is_some());
}
