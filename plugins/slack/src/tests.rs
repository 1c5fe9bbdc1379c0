//! The plugin as the host sees it.

mod messages;
mod sending;
mod threading;

use butler_plugin_api::testing::{FakeHost, block_on, conformance, manifest_of};
use butler_plugin_api::{CustomLink, Delivery, Links, Plugin, StartError, sample_delivery};
use serde_json::{Value, json};

use super::Chat;
use crate::rules::refuse;

const NASTY: &str = "R&D \"x\" <!channel>; C:\\new\\file\r\n\t```ä \u{1F600}";
const HOOK: &str = "https://hooks.slack.test/services/T/B/x";
const POST: &str = "https://slack.com/api/chat.postMessage";

fn links() -> Links {
    let mut wiki = CustomLink::new("Wiki", "https://wiki.test/?a=b&c=d");
    wiki.id = "wiki".to_owned();
    Links {
        qmc: Some("https://sense.test/qmc".to_owned()),
        hub: Some("https://sense.test/hub".to_owned()),
        app_base_url: Some("https://sense.test/sense/app".to_owned()),
        custom: vec![wiki],
    }
}

/// A fake host with links, and a folder for templates.
fn fake() -> (FakeHost, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (FakeHost::new("slack").links(links()).config_dir(folder.path().to_str().unwrap()), folder)
}

/// With a webhook, unless there is a token in the settings.
async fn start(fake: &FakeHost, more: Value) -> Chat {
    let mut settings = json!({ "timeZone": "Europe/Stockholm" });
    if more["token"].is_null() {
        settings["webhookUrl"] = HOOK.into();
    }
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fake.start(settings).await.unwrap()
}

fn token(more: &Value) -> Value {
    let mut settings = json!({ "token": "xoxb-1", "channel": "#ops" });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    settings
}

/// The bodies of what was posted, each of which Slack takes.
fn bodies(fake: &FakeHost) -> Vec<Value> {
    let body = |body: Vec<u8>| -> Value { serde_json::from_slice(&body).unwrap() };
    let bodies: Vec<Value> = fake.requests().into_iter().map(|request| body(request.body)).collect();
    for body in &bodies {
        assert_eq!(refuse(body), None, "{body:#}");
    }
    bodies
}

/// What is posted for a delivery.
fn posted(more: Value, delivery: &Delivery) -> Value {
    let (fake, _folder) = fake();
    block_on(async { start(&fake, more).await.deliver(delivery).await.unwrap() });
    bodies(&fake).pop().unwrap()
}

/// The same by a template of one's own.
fn by_template(source: &str, delivery: &Delivery) -> Value {
    let (fake, folder) = fake();
    std::fs::write(folder.path().join("mine.json"), source).unwrap();
    block_on(async {
        start(&fake, json!({ "templateFile": "mine.json" })).await.deliver(delivery).await.unwrap();
    });
    bodies(&fake).pop().unwrap()
}

fn nasty(delivery: &mut Delivery) {
    let data = &mut delivery.event.data;
    data.task.as_mut().unwrap().name = NASTY.to_owned();
    data.app.as_mut().unwrap().name = NASTY.to_owned();
    data.log.as_mut().unwrap().message = NASTY.to_owned();
    data.execution.as_mut().unwrap().details[0].message = NASTY.to_owned();
    let log = data.script_log.as_mut().unwrap();
    log.head[0] = NASTY.to_owned();
    log.tail[0] = NASTY.to_owned();
}

#[test]
fn start_and_manifest() {
    let error = block_on(FakeHost::new("slack").start::<Chat>(json!({}))).err().unwrap();
    assert!(matches!(error, StartError::Config(text) if text.contains("`webhookUrl`")));
    let manifest = manifest_of::<Chat>();
    assert!(manifest.script_log && manifest.ordered && manifest.endpoints[0].shared);
    assert_eq!(manifest.operations, ["check", "render", "import"]);
    assert_eq!(manifest.settings_schema["required"], Value::Null, "one of two is, which `start` says");
}

#[test]
fn it_keeps_the_rules_of_the_house() {
    conformance::<Chat>(json!({ "webhookUrl": HOOK }));
}
