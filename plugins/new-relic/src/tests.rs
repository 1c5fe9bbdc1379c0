//! The plugin as the host sees it.

mod endpoints;
mod sending;
mod settings;

use std::io::Read;

use butler_plugin_api::testing::{FakeHost, block_on, conformance, manifest_of};
use butler_plugin_api::{Delivery, Plugin, StartError};
use serde_json::{Value, json};

use super::{NewRelic, rules};
use crate::relic::{Relic, Rule};
use crate::settings::Settings;

/// A checked rule.
pub(crate) fn rule(given: &Value) -> Rule {
    let settings = json!({ "accounts": [{ "name": "A", "accountId": 1, "apiKey": "k" }], "logs": [given] });
    let settings: Settings = serde_json::from_value(settings).unwrap();
    Relic::try_from(settings).unwrap().logs.remove(0)
}

/// Settings with two accounts.
fn settings(more: &Value) -> Value {
    let mut settings = json!({
        "region": "eu", "timeZone": "Europe/Stockholm",
        "accounts": [{ "name": "A", "accountId": 123, "apiKey": "key-of-a" }, { "name": "B", "accountId": 456, "apiKey": "key-of-b" }]
    });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    settings
}

async fn start(fake: &FakeHost, more: &Value) -> NewRelic {
    fake.start(settings(more)).await.unwrap()
}

/// A request as New Relic reads it.
struct Sent {
    url: String,
    key: String,
    /// Uncompressed.
    body: String,
    headers: Vec<(String, String)>,
}

impl Sent {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// The requests so far, of which New Relic would drop nothing.
fn sent(fake: &FakeHost) -> Vec<Sent> {
    let requests = fake.requests().into_iter().map(|request| {
        assert_eq!(request.method, "POST");
        let value = |name: &str| request.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let mut body = String::new();
        if value("Content-Encoding").as_deref() == Some("gzip") {
            flate2::read::GzDecoder::new(request.body.as_slice()).read_to_string(&mut body).unwrap();
        } else {
            body = String::from_utf8(request.body.clone()).unwrap();
        }
        let key = value("Api-Key").unwrap();
        let (json, now) = (serde_json::from_str(&body).unwrap(), jiff::Timestamp::now().as_millisecond());
        let fault = match request.url.as_str() {
            url if url.ends_with("/log/v1") => rules::log_fault(&json, now),
            url if url.ends_with("/metric/v1") => rules::metric_fault(&json, now),
            _ => rules::event_fault(&json, now),
        };
        assert_eq!(fault, None, "{body}");
        Sent { url: request.url.clone(), key, body, headers: request.headers.clone() }
    });
    requests.collect()
}

/// What is sent for a delivery.
fn delivered(more: &Value, delivery: &Delivery) -> Vec<Sent> {
    let fake = FakeHost::new("relic");
    block_on(async { start(&fake, more).await.deliver(delivery).await.unwrap() });
    sent(&fake)
}

#[test]
fn start_and_manifest() {
    let error = block_on(FakeHost::new("relic").start::<NewRelic>(json!({ "accounts": [] }))).err().unwrap();
    assert!(matches!(error, StartError::Config(text) if text.contains("`accounts`")));
    let manifest = manifest_of::<NewRelic>();
    assert!(manifest.script_log && !manifest.ordered && manifest.endpoints.iter().all(|endpoint| endpoint.shared));
    assert_eq!(manifest.operations, ["check", "render", "import"]);
    assert_eq!(manifest.settings_schema["required"], json!(["accounts"]));
}

#[test]
fn it_keeps_the_rules_of_the_house() {
    conformance::<NewRelic>(settings(&json!({})));
}
