//! The variables in a tidy, nested form: the event as it is, with what people want to read beside it.

use serde_json::{Map, Value, json};

use super::rows;
use crate::message::presentation::Presentation;
use crate::message::time;
use crate::{Delivery, kind};

pub(super) fn add(base: &mut Map<String, Value>, delivery: &Delivery, presentation: &Presentation) {
    let zone = &presentation.zone;
    let event = &delivery.event;
    let mut data = serde_json::to_value(&event.data).unwrap_or_default();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            base.insert(name.to_owned(), value);
        }
    };
    for name in ["task", "app", "log", "scriptLog"] {
        put(name, data[name].clone());
    }
    // It is at the top, where it is shortened when the message is too long.
    data.as_object_mut().and_then(|data| data.remove("scriptLog"));
    if let Some(execution) = &event.data.execution {
        let mut value = data["execution"].clone();
        if let Some(millis) = execution.duration_ms {
            value["duration"] = time::duration_text(millis).into();
        }
        let times = [("startTimeLocal", &execution.start_time), ("stopTimeLocal", &execution.stop_time)];
        for (name, text) in times {
            if let Some(text) = text.as_ref().filter(|text| !time::is_never(text)) {
                value[name] = time::short(text, zone).into();
            }
        }
        put("execution", value);
    }
    put("facts", rows::rows(&event.data, presentation));
    // For the helper `date`.
    put("timeZone", zone.iana_name().into());
    put("note", delivery.note().into());
    put("summary", event.summary().into());
    put("heading", heading(delivery).into());
    put(
        "event",
        json!({
            "id": event.id, "kind": event.kind, "subject": event.subject(), "outcome": event.outcome(),
            "severity": severity(&event.kind), "headline": crate::event::headline(&event.kind),
            "time": event.time, "timeLocal": time::short(&event.time, zone), "receivedAt": event.received_at,
            "source": event.source, "data": data,
        }),
    );
}

/// What happened, and to what: `Reload task failed: Sales nightly`.
fn heading(delivery: &Delivery) -> String {
    let event = &delivery.event;
    let data = &event.data;
    let task = data.task.iter().flat_map(|task| [&task.name, &task.id]);
    let app = data.app.iter().flat_map(|app| [&app.name, &app.id]);
    let service = data.service.iter();
    let service = service.flat_map(|service| [&service.friendly_name, &service.display_name, &service.name]).flatten();
    let others = [
        data.certificate.as_ref().and_then(|certificate| certificate.file.as_ref()),
        data.dead.as_ref().and_then(|dead| dead.instance.as_ref()),
        data.silence.as_ref().and(data.node.as_ref()),
    ];
    let mut names = task.chain(app).chain(service).chain(others.into_iter().flatten());
    match names.find(|name| !name.is_empty()) {
        Some(name) => format!("{}: {name}", crate::event::headline(&event.kind)),
        None => crate::event::headline(&event.kind),
    }
}

/// How bad the news is: `failure`, `warning`, `success` or `information`.
fn severity(event: &str) -> &'static str {
    match event {
        kind::SERVICE_STOPPED | kind::SERVER_LICENSE_EXPIRED | kind::DELIVERY_DEAD => "failure",
        kind::SERVICE_UNKNOWN | kind::SERVER_LICENSE_EXPIRING | kind::CERTIFICATE_EXPIRING | kind::NODE_SILENT => {
            "warning"
        }
        kind::SERVICE_STARTED => "success",
        other => match other.rsplit_once('.').map_or("", |(_, outcome)| outcome) {
            "failed" => "failure",
            "aborted" => "warning",
            "succeeded" => "success",
            _ => "information",
        },
    }
}
