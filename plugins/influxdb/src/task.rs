//! Points of tasks and of reloads outside of tasks.

use butler_plugin_api::butler16::{LogLines, duration, time_parts};
use butler_plugin_api::{Event, Execution};

use crate::line::Point;
use crate::points::{Maker, about};
use crate::script::{self, NOT_AVAILABLE};

/// The point of a task event: `reload_task_failed`, `preload_task_success`, …
pub(crate) fn point(event: &Event, measurement: &str, log: Option<&LogLines>, maker: &Maker) -> Point {
    let (subject, outcome) = (event.subject(), event.outcome());
    let mut point = about(event, measurement);
    log_line(&mut point, event);
    let execution = event.data.execution.as_ref();
    let is_reload = subject == "reload-task";
    // As in Butler 16 failures of other tasks say nothing about the run.
    if let Some(execution) = execution.filter(|_| is_reload || outcome != "failed") {
        run(&mut point, execution, maker, Times::of(subject));
    }
    if is_reload {
        script_log(&mut point, event, log, maker, outcome == "succeeded");
    }
    point
}

/// The point of a reload that failed outside of a task.
pub(crate) fn app_reload(event: &Event, measurement: &str) -> Point {
    let mut point = about(event, measurement);
    log_line(&mut point, event);
    point.text("session_id", event.data.session.as_ref().and_then(|session| session.id.clone()));
    point
}

/// What the log line says. There is always a message, so that no failure goes unwritten for want of a field.
fn log_line(point: &mut Point, event: &Event) {
    let known = |text: &String| !text.is_empty();
    let log = event.data.log.as_ref();
    point.text("log_timestamp", log.map(|log| log.timestamp.clone()).filter(known));
    point.text("execution_id", event.data.execution.as_ref().and_then(|execution| execution.id.clone()).filter(known));
    let message = log.map(|log| log.message.clone()).filter(known).or_else(|| event.data.message.clone());
    point.text("log_message", Some(message.unwrap_or_else(|| event.summary())));
}

/// Which form the times of a run have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Times {
    Forms,
    Parts,
}

impl Times {
    fn of(subject: &str) -> Self {
        if matches!(subject, "distribute-task" | "external-program-task") { Self::Parts } else { Self::Forms }
    }
}

/// What is known of the run: where, how it ended, for how long.
pub(crate) fn run(point: &mut Point, execution: &Execution, maker: &Maker, times: Times) {
    point.tag("task_executingNodeName", execution.node.as_deref());
    point.tag("task_executionStatusNum", execution.status.map(|status| status.to_string()));
    // Dashboards read the name as Butler 16 misspells it.
    point.tag("task_exeuctionStatusText", execution.status_text.as_deref());
    point.tag("task_executionStatusText", execution.status_text.as_deref());
    for (name, prefix, time) in [
        ("task_executionStartTime_json", "startTime", &execution.start_time),
        ("task_executionStopTime_json", "stopTime", &execution.stop_time),
    ] {
        let forms = |time: &String| match times {
            Times::Forms => maker.zone.forms(prefix, time),
            Times::Parts => time_parts(time),
        };
        point.text(name, time.as_ref().map(|time| serde_json::Value::from(forms(time)).to_string()));
    }
    let Some(millis) = execution.duration_ms else { return };
    point.text("task_executionDuration_json", Some(duration(millis).to_string()));
    // Whole seconds, since Butler 16 computes from hours, minutes and seconds.
    let seconds = millis.max(0) / 1000;
    let (hours, minutes, seconds) = (number(seconds / 3600), number(seconds / 60 % 60), number(seconds % 60));
    point.float("task_executionDuration_sec", Some(hours * 3600.0 + minutes * 60.0 + seconds));
    point.float("task_executionDuration_min", Some(hours * 60.0 + minutes + seconds / 60.0));
    point.float("task_executionDuration_h", Some(hours + minutes / 60.0 + seconds / 3600.0));
}

/// The script log of a reload. Without one Butler 16 says so in the tags of a failure as well; the tag of our own name still
/// has the status, where it is known.
fn script_log(point: &mut Point, event: &Event, log: Option<&LogLines>, maker: &Maker, success: bool) {
    let execution = event.data.execution.as_ref();
    let wanted = maker.script_log;
    let counts = if log.is_some() { (wanted.head, wanted.tail) } else { (0, 0) };
    let size = execution.and_then(|execution| execution.script_log_size).filter(|_| log.is_some()).unwrap_or_default();
    point.float("task_scriptLogSize", Some(number(size)));
    if success {
        point.float("task_scriptLogHeadCount", Some(count(counts.0)));
    }
    point.float("task_scriptLogTailCount", Some(count(counts.1)));
    let text = log.map(|lines| {
        if success { script::of_success(execution, lines, wanted) } else { script::of_failure(execution, lines) }
    });
    if text.is_none() && event.outcome() == "failed" {
        let fields = ["task_executionDuration_json", "task_executionDuration_sec", "task_executionDuration_min"];
        let more = ["task_executionDuration_h", "task_executionStartTime_json", "task_executionStopTime_json"];
        fields.iter().chain(&more).for_each(|name| point.no_field(name));
        point.tag("task_executingNodeName", Some("unknown"));
        point.tag("task_executionStatusNum", Some("-1"));
        point.tag("task_exeuctionStatusText", Some(NOT_AVAILABLE));
    }
    point.text("scriptLog", Some(text.clone().unwrap_or_else(|| NOT_AVAILABLE.to_owned())));
    point.text("reload_log", text);
}

#[allow(clippy::cast_precision_loss, reason = "beyond 2^53 nobody counts")]
pub(crate) fn number(value: i64) -> f64 {
    value as f64
}

#[allow(clippy::cast_precision_loss, reason = "beyond 2^53 nobody counts")]
fn count(value: usize) -> f64 {
    value as f64
}
