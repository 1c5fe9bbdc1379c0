//! What a simulated tenant has.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::FailedReload;

/// Objects by their sort and id.
#[derive(Default)]
pub(super) struct Contents {
    objects: BTreeMap<(String, String), Value>,
    /// By the id of the reload: the app's id and the text.
    logs: BTreeMap<String, (String, String)>,
}

impl Contents {
    pub(super) fn add(&mut self, reload: &FailedReload, url: &str) {
        let FailedReload { tenant_id, app_id, reload_id, owner_id, user_id, .. } = reload;
        let user = |id: &str, name: &str, mail: &str| {
            json!({
                "id": id, "tenantId": tenant_id, "name": name, "email": mail, "subject": format!("LAB\\{name}"),
                "status": "active", "picture": format!("{url}/pictures/{id}.png"), "roles": [],
            })
        };
        self.put("users", owner_id, user(owner_id, "Ann Berg", "ann.berg@example.com"));
        self.put("users", user_id, user(user_id, "Bo Lund", "bo.lund@example.com"));
        let reload_json = json!({
            "id": reload_id, "appId": app_id, "tenantId": tenant_id, "userId": user_id, "type": "chronos",
            "status": "FAILED", "log": "Started loading data\nTable 'Orders' not found",
            "errorCode": "EngineReloadScriptError", "errorMessage": "Table 'Orders' not found",
            "creationTime": reload.time(-9_000), "startTime": reload.time(-6_250), "endTime": reload.time(-1_000),
            "engineTime": reload.time(-6_000), "partial": false, "links": { "self": { "href": format!("{url}/api/v1/reloads/{reload_id}") } },
        });
        self.put("reloads", reload_id, reload_json);
        let app = json!({
            "attributes": {
                "id": app_id, "name": reload.app_name, "description": "What was ordered", "thumbnail": "/thumbnails/orders.png",
                "lastReloadTime": "2025-03-08T14:05:06.000Z", "createdDate": "2024-01-02T08:00:00.000Z",
                "modifiedDate": "2025-03-01T08:00:00.000Z", "owner": format!("auth0|{owner_id}"), "ownerId": owner_id,
                "published": true, "publishTime": "2024-02-03T08:00:00.000Z", "hasSectionAccess": true, "encrypted": true,
                "spaceId": "space-id", "usage": "ANALYTICS",
            },
            "privileges": ["read"], "create": [],
        });
        self.put("apps", app_id, app);
        let item = json!({
            "id": format!("item-{reload_id}"), "name": reload.app_name, "resourceType": "app", "resourceId": app_id,
            "ownerId": owner_id, "tenantId": tenant_id,
            "meta": { "tags": [{ "id": "t1", "name": "finance" }, { "id": "t2", "name": "Butler - Send Teams alert" }],
                      "collections": [], "isFavorited": false },
            "resourceSize": { "appFile": 1_234_567, "appMemory": 0 },
        });
        self.put("items", app_id, item);
        let log = "20250309T140501 Execution started.\r\n20250309T140502 LOAD * FROM orders\r\n\
                   20250309T140506 Error: Table 'Orders' not found\r\n20250309T140506 Execution Failed\r\n";
        self.logs.insert(reload_id.clone(), (app_id.clone(), log.to_owned()));
    }

    fn put(&mut self, sort: &str, id: &str, object: Value) {
        self.objects.insert((sort.to_owned(), id.to_owned()), object);
    }

    pub(super) fn get(&self, sort: &str, id: &str) -> Option<&Value> {
        self.objects.get(&(sort.to_owned(), id.to_owned()))
    }

    pub(super) fn log(&self, app_id: &str, reload_id: &str) -> Option<&str> {
        self.logs.get(reload_id).filter(|(app, _)| app == app_id).map(|(_, text)| text.as_str())
    }

    pub(super) fn set_log(&mut self, reload_id: &str, text: &str) {
        if let Some((_, log)) = self.logs.get_mut(reload_id) {
            text.clone_into(log);
        }
    }

    pub(super) fn change(&mut self, sort: &str, id: &str, change: impl FnOnce(&mut Value)) {
        if let Some(object) = self.objects.get_mut(&(sort.to_owned(), id.to_owned())) {
            change(object);
        }
    }

    pub(super) fn remove(&mut self, sort: &str, id: &str) {
        self.objects.remove(&(sort.to_owned(), id.to_owned()));
        if sort == "logs" {
            self.logs.remove(id);
        }
    }
}
