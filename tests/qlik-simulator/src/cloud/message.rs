//! What a tenant's webhooks send, in each of their forms.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::ids;

/// The envelope of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// CloudEvents 0.1 with `extensions`.
    Legacy,
    /// CloudEvents 1.0.
    V1,
    /// Both at once.
    Hybrid,
}

/// Who tells of the end of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teller {
    /// The engine, of each attempt: `com.qlik.v1.app.reload.finished`.
    Engine,
    /// The reload service, of each reload that was asked for: `com.qlik.v1.reload.finished`.
    Service,
}

/// A reload that has failed just now.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each is what its name says")]
pub struct FailedReload {
    pub tenant_id: String,
    pub app_id: String,
    pub app_name: String,
    pub reload_id: String,
    pub owner_id: String,
    pub user_id: String,
    at: Timestamp,
}

impl FailedReload {
    pub(super) fn new(tenant_id: &str, app_name: &str) -> Self {
        let id = |digits: usize| ids::random().replace('-', "")[..digits].to_owned();
        Self {
            tenant_id: tenant_id.to_owned(),
            app_id: ids::random(),
            app_name: app_name.to_owned(),
            reload_id: id(24),
            owner_id: id(24),
            user_id: id(24),
            at: Timestamp::now(),
        }
    }

    /// The same, so long ago; negative: in time to come.
    #[must_use]
    pub fn ago(mut self, ms: i64) -> Self {
        self.at -= SignedDuration::from_millis(ms);
        self
    }

    /// So many milliseconds after its event, ISO in UTC.
    pub fn time(&self, after_ms: i64) -> String {
        format!("{:.3}", self.at + SignedDuration::from_millis(after_ms))
    }

    /// The event of its failure.
    pub fn message(&self, envelope: Envelope, teller: Teller) -> Value {
        let (kind, source, data) = match teller {
            Teller::Engine => ("com.qlik.v1.app.reload.finished", "com.qlik/engine", self.engine_data()),
            Teller::Service => ("com.qlik.v1.reload.finished", "com.qlik/reloads", self.service_data()),
        };
        let (id, time) = (ids::derived(&self.reload_id, source), self.time(0));
        let mut message = json!({ "source": source, "data": data });
        let mut add = |part: Value| {
            if let (Some(message), Value::Object(part)) = (message.as_object_mut(), part) {
                message.extend(part);
            }
        };
        if envelope != Envelope::V1 {
            add(json!({
                "cloudEventsVersion": "0.1", "contentType": "application/json", "eventId": id, "eventTime": time,
                "eventTypeVersion": "1.0.0", "eventType": kind,
                "extensions": {
                    "ownerId": self.owner_id, "tenantId": self.tenant_id, "userId": self.user_id, "spaceId": "space-id",
                    "topLevelResourceId": self.app_id,
                },
            }));
        }
        if envelope != Envelope::Legacy {
            add(json!({
                "specversion": "1.0.2", "id": id, "type": kind, "time": time, "datacontenttype": "application/json",
                "tenantid": self.tenant_id, "userid": self.user_id, "ownerid": self.owner_id, "spaceid": "space-id",
                "toplevelresourceid": self.app_id,
            }));
        }
        message
    }

    fn engine_data(&self) -> Value {
        json!({
            "name": self.app_name, "status": "error", "reloadId": self.reload_id, "duration": 5_120,
            "endTime": self.time(-1_000), "size": { "memory": 1_048_576 }, "peakMemoryBytes": 7_340_032, "rowLimit": -1,
            "errors": [{ "qErrorString": "Table 'Orders' not found" }], "warnings": ["slow source"],
            "statements": [{ "label": "Orders", "type": "Load" }], "usage": "ANALYTICS", "isDirectQueryMode": false,
            "isPartialReload": false, "isSessionApp": false, "isSkipStore": false, "endedWithMemoryConstraint": false,
        })
    }

    fn service_data(&self) -> Value {
        json!({
            "id": self.reload_id, "appId": self.app_id, "type": "chronos", "status": "FAILED", "partial": false,
            "startTime": self.time(-6_250), "endTime": self.time(-1_000),
        })
    }
}
