//! The nodes of a site.

use serde_json::{Value, json};

use super::{CREATED, MODIFIED_BY, Site};
use crate::ids;

/// A node: a machine with services of Qlik Sense.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "so QRS has them")]
pub struct Node {
    /// Host name.
    pub host: String,
    /// Whether it is the central node.
    pub central: bool,
    /// Whether it runs the engine.
    pub engine: bool,
    /// Whether it runs the proxy.
    pub proxy: bool,
    /// Whether it runs the scheduler.
    pub scheduler: bool,
}

impl Node {
    /// The central node, with all services.
    pub fn central(host: impl Into<String>) -> Self {
        Self { host: host.into(), central: true, engine: true, proxy: true, scheduler: true }
    }

    /// Another node, with engine and proxy.
    pub fn consumer(host: impl Into<String>) -> Self {
        Self { central: false, scheduler: false, ..Self::central(host) }
    }

    pub(crate) fn full(&self) -> Value {
        json!({
            "id": ids::derived(CREATED, &self.host),
            "createdDate": CREATED,
            "modifiedDate": CREATED,
            "modifiedByUserName": MODIFIED_BY,
            "customProperties": [],
            "name": if self.central { Some("Central") } else { self.host.split('.').next() },
            "hostName": self.host,
            "isCentral": self.central,
            "nodePurpose": 2,
            "engineEnabled": self.engine,
            "proxyEnabled": self.proxy,
            "printingEnabled": false,
            "schedulerEnabled": self.scheduler,
            "failoverCandidate": false,
            "roles": [],
            "tags": [],
            "privileges": null,
            "schemaPath": "ServerNodeConfiguration",
        })
    }
}

impl Site {
    /// These are the nodes from now on. The sample site has one.
    pub fn set_nodes(&self, nodes: impl IntoIterator<Item = Node>) {
        self.write().nodes = nodes.into_iter().collect();
    }
}
