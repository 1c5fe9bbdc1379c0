//! What is known, as rows of title and value for people: the important first, ids last.
//!
//! Each section of an event has its rows here, so events of all kinds do. What this version does not know is laid out by
//! [`raw`].

mod raw;
mod site;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::butler16::time;
use crate::message::numbers;
use crate::message::presentation::Presentation;
use crate::{App, CloudReload, Event, Execution, Task};

/// How many rows there are at most.
const MOST_FACTS: usize = 30;

/// Rows to be. A value that is not known makes no row.
struct Rows<'a> {
    rows: Vec<Value>,
    presentation: &'a Presentation,
}

impl Rows<'_> {
    fn text(&mut self, title: &str, value: &str) {
        if !value.is_empty() && self.rows.len() < MOST_FACTS {
            self.rows.push(json!({ "title": title, "value": value }));
        }
    }

    fn some(&mut self, title: &str, value: Option<impl Into<String>>) {
        self.text(title, &value.map(Into::into).unwrap_or_default());
    }

    fn number(&mut self, title: &str, value: Option<impl std::fmt::Display>) {
        self.some(title, value.map(numbers::grouped));
    }

    /// `3 days`
    fn days(&mut self, title: &str, days: Option<i64>) {
        self.some(title, days.map(|days| if days == 1 { "1 day".to_owned() } else { format!("{days} days") }));
    }

    fn time(&mut self, title: &str, time: Option<&String>) {
        let time = time.filter(|time| !time::is_never(time));
        self.some(title, time.map(|time| time::short(time, &self.presentation.zone)));
    }

    fn duration(&mut self, title: &str, millis: Option<i64>) {
        self.some(title, millis.map(time::duration_text));
    }

    fn size(&mut self, title: &str, bytes: Option<u64>) {
        self.some(title, bytes.map(|bytes| numbers::size_text(i64::try_from(bytes).unwrap_or(i64::MAX))));
    }

    /// A row only where it is so: what is as usual needs no words.
    fn yes(&mut self, title: &str, is_so: Option<bool>) {
        self.some(title, is_so.filter(|is_so| *is_so).map(|_| "yes"));
    }

    fn list(&mut self, title: &str, items: &[String]) {
        self.text(title, &items.join(", "));
    }

    fn properties(&mut self, title: &str, properties: &BTreeMap<String, Vec<String>>) {
        let properties = properties.iter().map(|(name, values)| format!("{name}: {}", values.join(", ")));
        self.text(title, &properties.collect::<Vec<_>>().join("; "));
    }

    fn user(&mut self, title: &str, user: Option<&String>) {
        self.some(title, user.map(|user| self.presentation.user(user)));
    }
}

/// All that is known of an event.
pub(super) fn rows(event: &Event, presentation: &Presentation) -> Value {
    let mut rows = Rows { rows: Vec::new(), presentation };
    let data = &event.data;
    let (task, app, execution) = (data.task.as_ref(), data.app.as_deref(), data.execution.as_ref());
    rows.some("Task", task.map(|task| &task.name));
    if let Some(app) = app {
        add_app(&mut rows, app);
    }
    site::add(&mut rows, data);
    let node = execution.and_then(|execution| execution.node.as_ref()).or(data.node.as_ref());
    if data.silence.is_none() && data.service.is_none() {
        rows.some("Node", node);
    }
    match &data.cloud {
        // The user is an id there, which tells people nothing.
        Some(cloud) => rows.some("Started by", cloud.user_name.as_ref()),
        None => rows.user(if event.outcome() == "aborted" { "Aborted by" } else { "User" }, data.user.as_ref()),
    }
    if let Some(execution) = execution {
        add_execution(&mut rows, execution);
    }
    if let Some(cloud) = &data.cloud {
        add_cloud(&mut rows, cloud);
    }
    if let Some(task) = task {
        add_task(&mut rows, task, data.missing.iter().any(|missing| missing == "task"));
    }
    if let Some(app) = app {
        rows.time("Data as of", app.last_reload_time.as_ref());
        rows.list("App tags", &app.tags);
        rows.properties("App properties", &app.custom_properties);
    }
    rows.some("Task id", task.map(|task| &task.id));
    rows.some("App id", app.map(|app| &app.id));
    raw::add(&mut rows, &data.other);
    rows.rows.into()
}

fn add_app(rows: &mut Rows<'_>, app: &App) {
    rows.text("App", &app.name);
    rows.some("Stream", app.stream.as_ref().map(|stream| &stream.name));
    if let Some(owner) = &app.owner {
        let mut text = owner.name.clone();
        if !owner.user_directory.is_empty() {
            let user = rows.presentation.user(&format!("{}\\{}", owner.user_directory, owner.user_id));
            text = if text.is_empty() { user } else { format!("{text} ({user})") };
        }
        rows.text("Owner", &text);
        rows.some("Owner's mail", owner.emails.first());
    }
}

fn add_execution(rows: &mut Rows<'_>, execution: &Execution) {
    rows.time("Started", execution.start_time.as_ref());
    rows.time("Ended", execution.stop_time.as_ref());
    rows.duration("Duration", execution.duration_ms);
    if let Some(text) = &execution.status_text {
        rows.text("Result", &execution.status.map_or_else(|| text.clone(), |status| format!("{text} ({status})")));
    }
}

fn add_task(rows: &mut Rows<'_>, task: &Task, is_missing: bool) {
    // Of starts the next run is not fetched: without a time there it would say what is not known.
    match task.next_execution.as_ref().filter(|next| !time::is_never(next)) {
        Some(next) => rows.time("Next run", Some(next)),
        None if !is_missing && task.max_retries.is_some() => rows.text("Next run", "never"),
        None => {}
    }
    rows.list("Task tags", &task.tags);
    rows.properties("Task properties", &task.custom_properties);
}

fn add_cloud(rows: &mut Rows<'_>, cloud: &CloudReload) {
    let trigger = cloud.reload_trigger.as_deref().map(|trigger| match trigger {
        "hub" => "by hand in the hub",
        "chronos" => "schedule",
        "external" => "another program",
        "automations" => "automation",
        "data-refresh" => "refresh of its data",
        other => other,
    });
    rows.some("Triggered by", trigger);
    rows.some("Error code", cloud.error_code.as_ref());
    rows.yes("Memory limit exceeded", cloud.ended_with_memory_constraint);
    rows.size("Peak memory", cloud.peak_memory_bytes);
    rows.size("App in memory", cloud.size_memory_bytes);
    rows.yes("Partial reload", cloud.is_partial_reload);
    rows.yes("Direct query", cloud.is_direct_query_mode);
    rows.yes("Session app", cloud.is_session_app);
    rows.yes("Result not stored", cloud.is_skip_store);
    rows.yes("Section access", cloud.app_has_section_access);
    rows.number("Row limit", cloud.row_limit.filter(|limit| *limit >= 0));
    rows.list("Warnings", cloud.warnings.as_deref().unwrap_or_default());
    rows.some("Tenant", cloud.tenant_comment.as_ref().filter(|comment| !comment.is_empty()));
    rows.some("Tenant id", cloud.tenant_id.as_ref());
    rows.some("Reload id", cloud.reload_id.as_ref());
}
