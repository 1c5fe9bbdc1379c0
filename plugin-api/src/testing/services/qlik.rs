//! The service `qlik` of the fake host.

use serde_json::{Value, json};

use super::text;
use crate::event::Task;
use crate::services::{HandedOver, ServiceError, StartTasks, StartedTask, TasksStarted};
use crate::testing::fake::State;

pub(super) fn answer(state: &mut State, input: &Value) -> Result<Value, ServiceError> {
    match input["op"].as_str() {
        Some("get") => {
            let path = text(input, "path");
            let (status, body) = match state.qlik.get(&path) {
                Some(body) => (200, body.clone()),
                None => (404, Value::from("")),
            };
            let status = state.qlik_statuses.get(&path).copied().unwrap_or(status);
            Ok(json!({ "status": status, "body": body }))
        }
        Some("write") => write(state, input),
        Some("mayWrite") => may_write(state, &text(input, "path")).map(|()| json!({})),
        Some("startTasks") => start(state, input),
        Some("systemInfo") => {
            let missing = || ServiceError::Unavailable("say what it is: `.qlik(\"systemInfo\", …)`".to_owned());
            state.qlik.get("systemInfo").cloned().ok_or_else(missing)
        }
        Some("scriptLog") => {
            let log = state.qlik.get(&format!("scriptLog/{}", text(input, "reference")));
            let log = log.and_then(Value::as_str).map(str::to_owned);
            log.map(|text| json!({ "text": text })).ok_or(ServiceError::Invalid("no such script log".to_owned()))
        }
        Some("cloudEvent") => cloud_event(state, &text(input, "message")),
        _ => Err(ServiceError::Unsupported("the service `qlik` has no such operation".to_owned())),
    }
}

fn may_write(state: &mut State, path: &str) -> Result<(), ServiceError> {
    if let Some(fault) = state.manifest.as_ref().and_then(|manifest| manifest.write_fault(path)) {
        state.denied.insert(fault.clone());
        return Err(ServiceError::Denied(fault));
    }
    if path.contains(['%', '\\']) {
        return Err(ServiceError::Invalid(format!(
            "`{path}` cannot be written to: `%` and `\\` are not allowed in it"
        )));
    }
    if path.split('/').any(|step| step.eq_ignore_ascii_case("start")) {
        return Err(ServiceError::Denied(format!("`{path}` starts tasks: use `start_tasks` for that")));
    }
    Ok(())
}

fn write(state: &mut State, input: &Value) -> Result<Value, ServiceError> {
    let (method, path) = (text(input, "method"), text(input, "path"));
    may_write(state, &path)?;
    let call = format!("{method} {path}");
    let (status, body) = match state.qlik.get(&call) {
        Some(body) => (if method == "POST" { 201 } else { 200 }, body.clone()),
        None => (204, Value::from("")),
    };
    let status = state.qlik_statuses.get(&call).copied().unwrap_or(status);
    let answer = json!({ "status": status, "body": body });
    state.qlik_writes.push((call, input["body"].clone()));
    Ok(answer)
}

fn start(state: &mut State, input: &Value) -> Result<Value, ServiceError> {
    let asked: StartTasks = serde_json::from_value(input["tasks"].clone())
        .map_err(|error| ServiceError::Invalid(format!("the input of the service cannot be read: {error}")))?;
    let mut answer = TasksStarted::default();
    let mut chosen: Vec<Task> = Vec::new();
    for id in &asked.task_ids {
        match state.tasks.iter().find(|task| task.id.eq_ignore_ascii_case(id)) {
            Some(task) => chosen.push(task.clone()),
            None => answer.unknown.push(id.clone()),
        }
    }
    if asked.all_task_ids_must_exist && !answer.unknown.is_empty() {
        answer.denied.extend(chosen.drain(..).map(|task| task.id));
    }
    let has = |task: &Task, name: &str, value: &str| {
        task.custom_properties.get(name).is_some_and(|values| values.iter().any(|one| one == value))
    };
    chosen.extend(state.tasks.iter().filter(|task| asked.tags.iter().any(|tag| task.tags.contains(tag))).cloned());
    let by_property =
        |task: &&Task| asked.custom_properties.iter().any(|property| has(task, &property.name, &property.value));
    chosen.extend(state.tasks.iter().filter(by_property).cloned());
    for task in chosen {
        if answer.tasks.iter().any(|started| started.task_id == task.id) {
            continue;
        }
        state.started.push(task.id.clone());
        let session_id = Some(format!("00000000-0000-4000-8000-{:012}", state.started.len()));
        answer.tasks.push(StartedTask { task_id: task.id, task_name: task.name, session_id, error: None });
    }
    Ok(json!(answer))
}

fn cloud_event(state: &mut State, message: &str) -> Result<Value, ServiceError> {
    let event: Value = serde_json::from_str(message)
        .map_err(|error| ServiceError::Invalid(format!("the message of Qlik Cloud is no JSON: {error}")))?;
    let reload = ["reloadId", "id"].into_iter().find_map(|name| event["data"][name].as_str());
    let Some(reload) = reload else {
        return Ok(json!(HandedOver { ignored: Some("it is about no reload".to_owned()), ..HandedOver::default() }));
    };
    let duplicate = state.cloud_events.iter().any(|known| known == reload);
    if !duplicate {
        state.cloud_events.push(reload.to_owned());
    }
    Ok(json!(HandedOver { id: Some(format!("fake-{reload}")), duplicate, ignored: None }))
}
