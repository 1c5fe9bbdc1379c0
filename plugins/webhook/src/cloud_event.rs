//! Format `cloudevents`: an envelope by CloudEvents 1.0 in structured mode, with the event's data inside.

use butler_plugin_api::{Data, Event};
use serde::Serialize;
use url::form_urlencoded::byte_serialize;

/// Borrows from the event; serialized in this order.
#[derive(Debug, Serialize)]
pub(crate) struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    time: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    datacontenttype: &'static str,
    data: &'a Data,
}

impl<'a> CloudEvent<'a> {
    /// The source is `urn:butler:<instance>`, with what an URI does not allow encoded.
    pub(crate) fn new(event: &'a Event, instance: &str) -> Self {
        let instance = byte_serialize(instance.as_bytes()).collect::<String>().replace('+', "%20");
        Self {
            specversion: "1.0",
            id: &event.id,
            source: format!("urn:butler:{instance}"),
            kind: format!("butler.{}", event.kind),
            time: &event.time,
            subject: subject(&event.data),
            datacontenttype: "application/json",
            data: &event.data,
        }
    }
}

/// What the event is about: the task, else the app, by name or else by id.
fn subject(data: &Data) -> Option<&str> {
    let task = data.task.iter().flat_map(|task| [task.name.as_str(), task.id.as_str()]);
    let app = data.app.iter().flat_map(|app| [app.name.as_str(), app.id.as_str()]);
    task.chain(app).find(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::testing::sample_event;

    use super::*;

    #[test]
    fn the_source_is_a_uri_for_any_name() {
        let event = sample_event("node.silent");
        let envelope = CloudEvent::new(&event, "über uns/1");
        assert_eq!(envelope.source, "urn:butler:%C3%BCber%20uns%2F1");
        assert_eq!(envelope.subject, None);
    }

    #[test]
    fn the_subject_is_the_first_name_or_id_that_is_known() {
        let mut event = sample_event("reload-task.failed");
        assert_eq!(subject(&event.data), Some("Sales nightly"));
        event.data.task.as_mut().unwrap().name.clear();
        assert_eq!(subject(&event.data), Some("11111111-2222-4333-8444-555555555555"));
        event.data.task = None;
        assert_eq!(subject(&event.data), Some("Sales \"EU\""));
    }
}
