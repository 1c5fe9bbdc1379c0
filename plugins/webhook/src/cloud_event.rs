//! Format `cloudevents`: CloudEvents 1.0, with the event's facts as its data.
//!
//! Structured mode has all in the body (JSON event format 1.0); binary mode has the facts in the body and all else in
//! headers (HTTP protocol binding 1.0.2, section 3.1).

use std::fmt::Write;

use butler_plugin_api::message::cut;
use butler_plugin_api::{Data, Delivery, Event};
use serde::Serialize;
use url::form_urlencoded::byte_serialize;

/// The type of the facts.
pub(crate) const DATA_TYPE: &str = "application/json";
/// The type of a body in structured mode.
pub(crate) const STRUCTURED_TYPE: &str = "application/cloudevents+json";

/// Longest value of an attribute in a header, in characters; each may take 12 bytes.
const LONGEST_IN_HEADER: usize = 200;

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
    /// An extension: what a reader should know beyond the facts, such as that it is a test.
    #[serde(skip_serializing_if = "String::is_empty")]
    butlernote: String,
    datacontenttype: &'static str,
    data: &'a Data,
}

impl<'a> CloudEvent<'a> {
    /// The source is `urn:butler:<instance>`, with what an URI does not allow encoded.
    pub(crate) fn new(delivery: &'a Delivery, instance: &str) -> Self {
        let event: &Event = &delivery.event;
        let instance = byte_serialize(instance.as_bytes()).collect::<String>().replace('+', "%20");
        Self {
            specversion: "1.0",
            id: &event.id,
            source: format!("urn:butler:{instance}"),
            kind: format!("butler.{}", event.kind),
            time: &event.time,
            subject: subject(&event.data),
            butlernote: delivery.note(),
            datacontenttype: DATA_TYPE,
            data: &event.data,
        }
    }

    /// The attributes as headers. That of the type of the facts is `Content-Type`, and not among them.
    pub(crate) fn headers(&self) -> Vec<(String, String)> {
        let attributes = [
            ("specversion", self.specversion),
            ("id", self.id),
            ("source", &self.source),
            ("type", &self.kind),
            ("time", self.time),
            ("subject", self.subject.unwrap_or_default()),
            ("butlernote", &self.butlernote),
        ];
        let known = attributes.into_iter().filter(|(_, value)| !value.is_empty());
        known.map(|(name, value)| (format!("ce-{name}"), encoded(&cut(value, LONGEST_IN_HEADER)))).collect()
    }

    /// The facts.
    pub(crate) fn data(&self) -> &Data {
        self.data
    }
}

/// As values of headers have to be: `%XX` for the bytes of blanks, quotes, percent signs and all that is no visible ASCII.
/// (Binding, section 3.1.3.2.)
fn encoded(value: &str) -> String {
    value.bytes().fold(String::with_capacity(value.len()), |mut out, byte| {
        match byte {
            b'"' | b'%' => write!(out, "%{byte:02X}"),
            b'!'..=b'~' => {
                out.push(char::from(byte));
                Ok(())
            }
            _ => write!(out, "%{byte:02X}"),
        }
        // Writing into a text does not fail.
        .unwrap_or_default();
        out
    })
}

/// What the event is about: the task, else the app, by name or else by id.
fn subject(data: &Data) -> Option<&str> {
    let task = data.task.iter().flat_map(|task| [task.name.as_str(), task.id.as_str()]);
    let app = data.app.iter().flat_map(|app| [app.name.as_str(), app.id.as_str()]);
    task.chain(app).find(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::testing::sample_delivery;

    use super::*;

    #[test]
    fn the_source_is_a_uri_for_any_name() {
        let delivery = sample_delivery("node.silent");
        let envelope = CloudEvent::new(&delivery, "über uns/1");
        assert_eq!(envelope.source, "urn:butler:%C3%BCber%20uns%2F1");
        assert_eq!(envelope.subject, None);
    }

    #[test]
    fn the_subject_is_the_first_name_or_id_that_is_known() {
        let mut event = sample_delivery("reload-task.failed").event;
        assert_eq!(subject(&event.data), Some("Sales nightly"));
        event.data.task.as_mut().unwrap().name.clear();
        assert_eq!(subject(&event.data), Some("11111111-2222-4333-8444-555555555555"));
        event.data.task = None;
        assert_eq!(subject(&event.data), Some("Sales \"EU\""));
    }

    #[test]
    fn headers_are_encoded_as_the_binding_says() {
        for (text, header) in [
            ("Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
            ("100% \"sure\"", "100%25%20%22sure%22"),
            ("a\r\nX-Evil: 1\t\u{7f}", "a%0D%0AX-Evil:%201%09%7F"),
            ("!~", "!~"),
        ] {
            assert_eq!(encoded(text), header);
        }
        let mut delivery = sample_delivery("reload-task.failed");
        delivery.event.data.task.as_mut().unwrap().name = "ä".repeat(100_000);
        delivery.event.time.clear();
        let headers = CloudEvent::new(&delivery, "hook").headers();
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["ce-specversion", "ce-id", "ce-source", "ce-type", "ce-subject"]);
        assert!(headers[4].1.len() < 2500, "{}", headers[4].1.len());
    }
}
