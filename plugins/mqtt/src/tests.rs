//! The plugin as the host sees it, with a broker of the test's own beside it.

mod broker;
mod faults;
mod messages;
mod receiving;
mod users;

use butler_plugin_api::testing::{FakeHost, block_on, conformance, manifest_of, sample_delivery};
use butler_plugin_api::{Delivery, DeliveryError, Plugin, kind};
use serde_json::{Value, json};

use super::Mqtt;
use broker::Broker;

/// Settings for a broker, with short times.
#[allow(clippy::needless_pass_by_value, reason = "reads better where it is called")]
fn settings(broker: &Broker, more: Value) -> Value {
    let mut settings = json!({
        "url": broker.url(), "connectTimeout": "2s", "ackTimeout": "700ms", "timeZone": "Europe/Stockholm"
    });
    for (name, value) in more.as_object().unwrap() {
        settings[name] = value.clone();
    }
    settings
}

fn failure() -> Delivery {
    sample_delivery(kind::RELOAD_TASK_FAILED)
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

#[test]
fn the_rules_of_the_house_are_kept() {
    let broker = Broker::start();
    conformance::<Mqtt>(settings(&broker, json!({ "startTask": { "topic": "q/start" }, "cloud": { "topic": "c" } })));
}

#[test]
fn the_rules_are_kept_with_a_broker_that_acknowledges_nothing() {
    let broker = Broker::start();
    broker.set(|behaviour| behaviour.acknowledges = false);
    conformance::<Mqtt>(settings(&broker, json!({ "ackTimeout": "50ms" })));
}

#[test]
fn defaults_are_those_of_the_original_and_nothing_periodic() {
    let manifest = manifest_of::<Mqtt>();
    let default = |kind: &str| manifest.default_events.iter().any(|pattern| kind::matches(pattern, kind));
    for kind in [kind::RELOAD_TASK_FAILED, kind::RELOAD_TASK_ABORTED, kind::SERVICE_STARTED, kind::SERVICE_STOPPED] {
        assert!(default(kind), "{kind}");
    }
    assert!(default(kind::UDP_LISTENING) && default(kind::UDP_FAILED) && default(kind::SERVER_LICENSE_EXPIRING));
    for kind in kind::PERIODIC.iter().chain(&[kind::RELOAD_TASK_SUCCEEDED, kind::MESSAGE_POSTED]) {
        assert!(!default(kind), "{kind}");
    }
    assert!(manifest.ordered);
}

/// A started plugin whose own work goes on, and which is stopped as the host does.
struct Running {
    fake: FakeHost,
    plugin: std::sync::Arc<Mqtt>,
}

impl Running {
    fn start(fake: FakeHost, settings: Value) -> Self {
        let plugin = block_on(fake.run::<Mqtt>(settings)).unwrap();
        Self { fake, plugin }
    }

    fn deliver(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        block_on(self.plugin.deliver(delivery))
    }

    fn stop(self) {
        block_on(self.plugin.stop());
        drop(self.plugin);
        self.fake.stop();
    }
}
