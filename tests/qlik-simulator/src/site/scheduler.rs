//! The scheduler services of a site.

use serde_json::{Value, json};

use super::{CREATED, MODIFIED_BY, Site};
use crate::ids;

/// What a scheduler does. The numbers are those of QRS (`SchedulerServiceTypeEnum`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchedulerKind {
    /// Manages tasks (`Master`).
    Manager = 0,
    /// Executes tasks (`Slave`).
    Worker = 1,
    /// Both (`MasterAndSlave`).
    Both = 2,
}

/// The scheduler service of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduler {
    /// Host name of the node.
    pub host: String,
    /// What it does.
    pub kind: SchedulerKind,
}

impl Scheduler {
    /// That of a node.
    pub fn new(host: impl Into<String>, kind: SchedulerKind) -> Self {
        Self { host: host.into(), kind }
    }

    pub(crate) fn full(&self) -> Value {
        let id = |of: &str| ids::derived(CREATED, &format!("{of} {}", self.host));
        json!({
            "id": id("scheduler"),
            "createdDate": CREATED,
            "modifiedDate": CREATED,
            "modifiedByUserName": MODIFIED_BY,
            "customProperties": [],
            "settings": {
                "id": id("settings"),
                "schedulerServiceType": self.kind as u8,
                "maxConcurrentEngines": 4,
                "engineTimeout": 30,
                "schemaPath": "SchedulerService.Settings",
            },
            "serverNodeConfiguration": {
                "id": ids::derived(CREATED, &self.host),
                "name": self.host.split('.').next(),
                "hostName": self.host,
                "privileges": null,
            },
            "tags": [],
            "privileges": null,
            "schemaPath": "SchedulerService",
        })
    }
}

impl Site {
    /// These are the schedulers from now on. The sample site has one, which does both.
    pub fn set_schedulers(&self, schedulers: impl IntoIterator<Item = Scheduler>) {
        self.write().schedulers = schedulers.into_iter().collect();
    }
}
