//! The variables in a tidy, nested form: the event as it is, with what people want to read beside it.

use serde_json::{Map, Value, json};

use super::{heading, rows};
use crate::Delivery;
use crate::butler16::time;
use crate::message::presentation::Presentation;

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
    put("facts", rows::rows(event, presentation));
    // For the helper `date`.
    put("timeZone", zone.iana_name().into());
    put("note", delivery.note().into());
    put("summary", event.summary().into());
    put("heading", heading::heading(event, presentation).into());
    put(
        "event",
        json!({
            "id": event.id, "kind": event.kind, "subject": event.subject(), "outcome": event.outcome(),
            "severity": event.severity(), "headline": crate::event::headline(&event.kind),
            "time": event.time, "timeLocal": time::short(&event.time, zone), "receivedAt": event.received_at,
            "source": event.source, "data": data,
        }),
    );
}
