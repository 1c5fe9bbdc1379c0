//! The variables by the names of Butler 16.

use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::butler16::{properties, time};
use crate::message::numbers::grouped;
use crate::message::presentation::Presentation;
use crate::{App, CloudReload, Data, Delivery, Execution, Instance, Service, Task};

/// Variables to be; what is not known is not put in.
struct Variables<'a>(&'a mut Map<String, Value>);

impl Variables<'_> {
    fn put(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
    }

    fn text(&mut self, name: &str, text: &str) {
        self.put(name, Some(text).filter(|text| !text.is_empty()));
    }
}

pub(super) fn add(
    base: &mut Map<String, Value>,
    delivery: &Delivery,
    instance: &Instance,
    presentation: &Presentation,
) {
    let data = &delivery.event.data;
    let mut variables = Variables(base);
    variables.put("hostName", data.node.clone());
    variables.put("user", data.user.as_ref().map(|user| presentation.user(user)));
    if let Some(task) = &data.task {
        add_task(&mut variables, task, data.missing.iter().any(|missing| missing == "task"));
    }
    if let Some(app) = &data.app {
        add_app(&mut variables, app);
    }
    if let Some(service) = &data.service {
        add_service(&mut variables, service);
    }
    if let Some(log) = &data.log {
        variables.text("logTimeStamp", &log.timestamp);
        variables.text("logLevel", &log.level);
        variables.text("logMessage", &log.message);
    }
    if let Some(execution) = &data.execution {
        add_execution(&mut variables, execution, &presentation.zone);
    }
    let log = data.script_log.as_ref();
    let size = data.execution.as_ref().and_then(|execution| execution.script_log_size);
    let characters = log.and_then(|log| i64::try_from(log.characters).ok());
    variables.put("scriptLogSize", Some(size.or(characters).unwrap_or(0)));
    variables.put("scriptLogSizeRows", log.map(|log| log.rows));
    variables.put("scriptLogSizeCharacters", log.map(|log| log.characters));
    variables.put("scriptLogHeadCount", Some(presentation.head_lines));
    variables.put("scriptLogTailCount", Some(presentation.tail_lines));
    if let Some(cloud) = &data.cloud {
        add_cloud(&mut variables, cloud, data);
    }
    variables.text("butlerVersion", &instance.host_version);
}

/// Numbers have separators for thousands here, as ever. What the tenant's API and the event both tell has two names.
fn add_cloud(variables: &mut Variables<'_>, cloud: &CloudReload, data: &Data) {
    for (name, value) in [
        ("tenantId", &cloud.tenant_id),
        ("tenantComment", &cloud.tenant_comment),
        ("tenantUrl", &cloud.tenant_url),
        ("userId", &data.user),
        ("userName", &cloud.user_name),
        ("appThumbnail", &cloud.app_thumbnail),
        ("appOwnerPicture", &cloud.owner_picture),
        ("reloadId", &cloud.reload_id),
        ("reloadTrigger", &cloud.reload_trigger),
        ("source", &cloud.source),
        ("eventType", &cloud.event_type),
        ("eventTypeVersion", &cloud.event_type_version),
        ("status", &cloud.status),
        ("errorCode", &cloud.error_code),
        ("errorMessage", &cloud.error_message),
        ("logMessage", &cloud.log),
    ] {
        variables.put(name, value.clone());
    }
    for (name, value) in [
        ("appHasSectionAccess", cloud.app_has_section_access),
        ("appIsPublished", data.app.as_ref().and_then(|app| app.published)),
        ("endedWithMemoryConstraint", cloud.ended_with_memory_constraint),
        ("isDirectQueryMode", cloud.is_direct_query_mode),
        ("isPartialReload", cloud.is_partial_reload),
        ("isSessionApp", cloud.is_session_app),
        ("isSkipStore", cloud.is_skip_store),
    ] {
        variables.put(name, value);
    }
    variables.put("statements", cloud.statements.clone());
    variables.put("usageDuration", cloud.duration_ms);
    variables.put("peakMemoryBytes", cloud.peak_memory_bytes.map(grouped));
    variables.put("sizeMemoryBytes", cloud.size_memory_bytes.map(grouped));
    variables.put("rowLimit", cloud.row_limit.map(grouped));
    variables.put("appFileSize", data.app.as_ref().and_then(|app| app.file_size_bytes).map(grouped));
    if let Some(log) = &data.script_log {
        // Qlik Cloud does not tell the size, and the original gave the number of lines for it.
        variables.put("scriptLogSize", Some(grouped(log.rows)));
        variables.put("scriptLogSizeRows", Some(grouped(log.rows)));
        // Without line ends; where the whole log is read they are counted, and else taken for one character each.
        variables.put("scriptLogSizeCharacters", Some(grouped(log.characters.saturating_sub(log.rows))));
    }
}

fn add_service(variables: &mut Variables<'_>, service: &Service) {
    for (name, value) in [
        ("host", &service.host),
        ("serviceStatus", &service.state),
        ("servicePrevStatus", &service.previous_state),
        ("serviceName", &service.name),
        ("serviceDisplayName", &service.display_name),
        ("serviceFriendlyName", &service.friendly_name),
        ("serviceStartType", &service.start_type),
        ("serviceExePath", &service.exe_path),
    ] {
        variables.put(name, value.clone());
    }
}

fn add_task(variables: &mut Variables<'_>, task: &Task, is_missing: bool) {
    variables.text("taskName", &task.name);
    variables.text("taskId", &task.id);
    variables.put("taskType", task.task_type.clone());
    if is_missing {
        return;
    }
    variables.put("taskCustomProperties", Some(properties(&task.custom_properties)));
    variables.put("taskTags", Some(task.tags.clone()));
    variables.put("taskIsManuallyTriggered", task.is_manually_triggered);
    variables.put("taskIsPartialReload", task.is_partial_reload);
    variables.put("taskMaxRetries", task.max_retries);
    variables.put("taskModifiedByUsername", task.modified_by.clone());
    variables.put("taskModifiedDate", task.modified_date.clone());
    variables.put("taskSessionTimeout", task.session_timeout_minutes);
    // Starts of tasks tell little of them: then nothing is known of the next one.
    if task.next_execution.is_none() && task.max_retries.is_none() {
        return;
    }
    let next = task.next_execution.clone().filter(|next| !time::is_never(next));
    variables.put("taskNextExecution", Some(next.unwrap_or_else(|| "Never".to_owned())));
}

fn add_app(variables: &mut Variables<'_>, app: &App) {
    variables.text("appName", &app.name);
    variables.text("appId", &app.id);
    variables.put("appDescription", app.description.clone());
    variables.put("appFileSize", app.file_size_bytes);
    variables.put("appLastSuccessfulReload", app.last_reload_time.clone());
    variables.put("appLastModifiedDate", app.modified_date.clone());
    variables.put("appLastModifiedByUserName", app.modified_by.clone());
    variables.put("appPublishTime", app.publish_time.clone());
    variables.put("appPublished", app.published);
    // An object that prints its name.
    variables.put("appStreamName", app.stream.as_ref().map(|stream| json!({ "id": stream.id, "name": stream.name })));
    variables.put("appCustomProperties", Some(properties(&app.custom_properties)));
    variables.put("appTags", Some(app.tags.clone()));
    if let Some(owner) = &app.owner {
        variables.text("appOwnerName", &owner.name);
        variables.text("appOwnerUserId", &owner.user_id);
        variables.text("appOwnerUserDirectory", &owner.user_directory);
        variables.put("appOwnerEmail", Some(owner.emails.first().cloned().unwrap_or_default()));
    }
}

fn add_execution(variables: &mut Variables<'_>, execution: &Execution, zone: &TimeZone) {
    variables.put("executionId", execution.id.clone());
    variables.put("executingNodeName", execution.node.clone());
    variables.put("executionDuration", execution.duration_ms.map(time::duration));
    let forms = |prefix, text: &String| {
        let mut forms = time::forms(prefix, text, zone);
        // So they came in mails about distributions.
        forms.append(&mut time::parts(text));
        forms
    };
    variables.put("executionStartTime", execution.start_time.as_ref().map(|text| forms("startTime", text)));
    variables.put("executionStopTime", execution.stop_time.as_ref().map(|text| forms("stopTime", text)));
    variables.put("executionStatusNum", execution.status);
    variables.put("executionStatusText", execution.status_text.clone());
}
