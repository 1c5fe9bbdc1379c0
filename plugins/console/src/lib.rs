//! Writes events as readable lines to standard output: the first destination to try, and a help in finding out what
//! other instances would get.

use std::fmt::Write as _;
use std::io::Write as _;

use butler_plugin_api::{Delivery, DeliveryError, Host, Manifest, Plugin, StartError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the console.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Settings {
    /// `line`: one line per event. `detailed`: all facts below it. `json`: the whole event as one line of JSON.
    format: Format,
}

#[derive(Debug, Default, Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Format {
    #[default]
    Line,
    Detailed,
    Json,
}

struct Console {
    format: Format,
}

impl Plugin for Console {
    type Settings = Settings;

    fn manifest() -> Manifest {
        Manifest::new("console", "Writes events to standard output").default_events(Manifest::ALERTS).ordered()
    }

    async fn start(settings: Settings, _: Host) -> Result<Self, StartError> {
        Ok(Self { format: settings.format })
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        let text = render(self.format, delivery)?;
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .map_err(|error| DeliveryError::retry(format!("standard output cannot be written: {error}")))
    }
}

butler_plugin_api::export!(Console);

fn render(format: Format, delivery: &Delivery) -> Result<String, DeliveryError> {
    let event = &delivery.event;
    if matches!(format, Format::Json) {
        let text = serde_json::to_string(event).map_err(|error| DeliveryError::reject(error.to_string()))?;
        return Ok(text + "\n");
    }
    // Writing to a text cannot fail.
    let mut text = format!("{}  {:<26}  {}", event.time, event.kind, event.summary());
    let note = delivery.note();
    if !note.is_empty() {
        let _ = write!(text, "  [{note}]");
    }
    text.push('\n');
    if matches!(format, Format::Detailed) {
        for (name, value) in details(delivery) {
            let _ = writeln!(text, "    {name:<12} {value}");
        }
    }
    Ok(text)
}

/// The facts that a person asks for first.
fn details(delivery: &Delivery) -> Vec<(&'static str, String)> {
    let data = &delivery.event.data;
    let mut rows = Vec::new();
    if let Some(task) = &data.task {
        rows.push(("task id", task.id.clone()));
        if !task.tags.is_empty() {
            rows.push(("tags", task.tags.join(", ")));
        }
    }
    if let Some(app) = &data.app {
        rows.push(("app id", app.id.clone()));
        if let Some(stream) = &app.stream {
            rows.push(("stream", stream.name.clone()));
        }
        if let Some(owner) = &app.owner {
            rows.push(("owner", format!("{} ({}\\{})", owner.name, owner.user_directory, owner.user_id)));
        }
    }
    if let Some(execution) = &data.execution {
        if let (Some(start), Some(ms)) = (&execution.start_time, execution.duration_ms) {
            rows.push(("started", format!("{start}, ran {}.{:03} s", ms / 1000, ms % 1000)));
        }
        if let Some(status) = &execution.status_text {
            rows.push(("status", status.clone()));
        }
    }
    if let Some(user) = &data.user {
        rows.push(("user", user.clone()));
    }
    if let Some(log) = &data.script_log {
        rows.push(("script log", format!("{} lines, the last:", log.rows)));
        let lines: Vec<&String> = log.tail.iter().filter(|line| !line.trim().is_empty()).collect();
        rows.extend(lines.iter().rev().take(3).rev().map(|line| ("", (*line).clone())));
    }
    rows
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::testing::{conformance, sample_delivery};
    use serde_json::json;

    use super::*;

    #[test]
    fn formats() {
        let mut delivery = sample_delivery("reload-task.failed");
        insta::assert_snapshot!("line", render(Format::Line, &delivery).unwrap());
        delivery.suppressed = 3;
        delivery.event.data.missing = vec!["owner".to_owned()];
        insta::assert_snapshot!("detailed", render(Format::Detailed, &delivery).unwrap());
        let json = render(Format::Json, &delivery).unwrap();
        assert_eq!(serde_json::from_str::<butler_plugin_api::Event>(&json).unwrap(), delivery.event);
    }

    #[test]
    fn an_event_without_facts_is_one_line() {
        let text = render(Format::Detailed, &sample_delivery("moon.risen")).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
    }

    #[test]
    fn it_keeps_the_rules_of_the_house() {
        conformance::<Console>(json!({ "format": "detailed" }));
    }
}
