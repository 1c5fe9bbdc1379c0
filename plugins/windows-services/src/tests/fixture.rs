//! Answers from a script, and a fake host.
#![allow(clippy::needless_pass_by_value, reason = "reads better with `json!`")]

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use butler_plugin_api::testing::FakeHost;
use serde_json::{Value, json};

use super::block_on;
use crate::backend::{Asked, Backend, Failure, Found, State};
use crate::settings::{Plan, Settings};
use crate::watch::{Answer, HostWatch, Troubles, Watch};

/// Answers as it was told.
#[derive(Default)]
pub(crate) struct Scripted {
    /// By host and service; those of a host that is not there are missing.
    services: Mutex<HashMap<(String, String), Answer>>,
    /// Why hosts cannot be asked.
    hosts: Mutex<HashMap<String, String>>,
    /// Hosts that answer late.
    pub(crate) late: Mutex<HashMap<String, Duration>>,
    /// Hosts in the order in which they were asked.
    pub(crate) asked: Mutex<Vec<String>>,
}

impl Scripted {
    pub(crate) fn set(&self, host: &str, service: &str, answer: Answer) {
        self.services.lock().unwrap().insert((host.to_owned(), service.to_owned()), answer);
    }

    pub(crate) fn state(&self, host: &str, service: &str, state: State) {
        self.set(host, service, Ok(Found::in_state(state)));
    }

    pub(crate) fn fail(&self, host: &str, why: Option<&str>) {
        let mut hosts = self.hosts.lock().unwrap();
        match why {
            Some(why) => hosts.insert(host.to_owned(), why.to_owned()),
            None => hosts.remove(host),
        };
    }
}

impl Backend for Scripted {
    async fn look(&self, host: &str, services: &[String], _: &Asked) -> Result<Vec<Answer>, Failure> {
        self.asked.lock().unwrap().push(host.to_owned());
        let late = self.late.lock().unwrap().get(host).copied();
        if let Some(late) = late {
            tokio::time::sleep(late).await;
        }
        if let Some(why) = self.hosts.lock().unwrap().get(host) {
            return Err(Failure::Host(why.clone()));
        }
        let known = self.services.lock().unwrap();
        let answer = |name: &String| known.get(&(host.to_owned(), name.clone())).cloned();
        Ok(services.iter().map(|name| answer(name).unwrap_or(Err(Failure::Missing))).collect())
    }
}

pub(crate) struct Fixture {
    pub(crate) fake: FakeHost,
    pub(crate) plan: Plan,
    pub(crate) script: Scripted,
    pub(crate) troubles: Troubles,
}

pub(crate) fn plan(settings: Value) -> Plan {
    serde_json::from_value::<Settings>(settings).unwrap().check("butler1").unwrap().0
}

impl Fixture {
    pub(crate) fn new(settings: Value) -> Self {
        Self::on(FakeHost::new("windows-services"), settings)
    }

    pub(crate) fn on(fake: FakeHost, settings: Value) -> Self {
        Self { fake, plan: plan(settings), script: Scripted::default(), troubles: Troubles::default() }
    }

    /// One host `srv1` with the services `A` and `B`.
    pub(crate) fn small(more: Value) -> Self {
        let mut settings = json!({ "hosts": [{ "host": "srv1", "services": ["A", "B"] }], "states": false });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let fixture = Self::new(settings);
        fixture.script.state("srv1", "A", State::Running);
        fixture.script.state("srv1", "B", State::Running);
        fixture
    }

    pub(crate) fn with<T>(&self, work: impl AsyncFnOnce(&Watch<'_, Scripted>) -> T) -> T {
        let host = self.fake.host();
        let watch = Watch { host: &host, plan: &self.plan, backend: &self.script, troubles: &self.troubles };
        block_on(work(&watch))
    }

    /// As after a start.
    pub(crate) fn load(&self) -> Vec<HostWatch> {
        self.with(async |watch| watch.load().await).unwrap()
    }

    /// A look; the kinds of the events that it leads to, with their services.
    pub(crate) fn look(&self, hosts: &mut [HostWatch]) -> Vec<String> {
        let before = self.fake.emitted().len();
        self.with(async |watch| watch.round(hosts).await);
        let emitted = self.fake.emitted();
        emitted[before..].iter().map(|(kind, data)| format!("{kind} {}", name(data))).collect()
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        let records = self.fake.records();
        records.into_iter().filter(|record| record.level <= 2).map(|record| record.message).collect()
    }
}

pub(crate) fn name(data: &Value) -> &str {
    data["service"]["name"].as_str().unwrap()
}
