//! The plugin as the host sees it, with a mail server beside it.

mod deliver;
mod look;
pub(crate) mod server;
mod throttle;

use butler_plugin_api::testing::{FakeHost, sample_delivery};
use butler_plugin_api::{Delivery, DeliveryError, kind};
use serde_json::{Value, json};

use super::Email;
use server::MailServer;

#[allow(clippy::needless_pass_by_value, reason = "reads better where it is called")]
fn settings(server: &MailServer, more: Value) -> Value {
    let mut settings = json!({
        "smtp": { "host": "127.0.0.1", "port": server.port, "tls": "none", "timeout": "2s" },
        "from": "Qlik Sense <q@acme.test>", "recipients": ["a@x.io"], "timeZone": "Europe/Stockholm"
    });
    for (name, value) in more.as_object().unwrap() {
        settings[name] = value.clone();
    }
    settings
}

async fn start(fake: &FakeHost, server: &MailServer, more: Value) -> Email {
    fake.start(settings(server, more)).await.unwrap()
}

fn failure() -> Delivery {
    sample_delivery(kind::RELOAD_TASK_FAILED)
}

fn five() -> Value {
    json!({ "recipients": ["a@x.io", "b@x.io", "c@x.io", "d@x.io", "e@x.io"] })
}

fn retry(error: DeliveryError) -> (String, Option<Value>) {
    match error {
        DeliveryError::Retry { message, progress, .. } => (message, progress),
        other => panic!("no retry: {other:?}"),
    }
}

/// The next attempt of a delivery that was answered with `retry`.
fn again(delivery: &Delivery, progress: Option<Value>) -> Delivery {
    Delivery { attempt: delivery.attempt + 1, progress, ..delivery.clone() }
}
