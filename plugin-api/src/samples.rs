//! A plausible event of every kind, with every fact that the kind has.

use serde_json::{Map, Value, json};

use crate::delivery::Delivery;
use crate::event::{Event, kind};

/// A plausible event of a kind, with every fact that the kind has. A kind that this version does not know has a node and
/// a message.
pub fn sample_event(kind: &str) -> Event {
    let (source, data) = match kind.rsplit_once('.') {
        Some((subject, outcome)) if subject.ends_with("-task") => ("udp", task(subject, outcome)),
        _ => other(kind),
    };
    Event {
        id: "sample-1".to_owned(),
        kind: kind.to_owned(),
        time: "2026-03-04T05:06:07.890Z".to_owned(),
        received_at: "2026-03-04T05:06:07.912Z".to_owned(),
        source: source.to_owned(),
        data: serde_json::from_value(data).unwrap_or_default(),
    }
}

/// One event of each kind of [`kind::ALL`].
pub fn sample_events() -> impl Iterator<Item = Event> {
    kind::ALL.iter().map(|kind| sample_event(kind))
}

/// A first attempt to deliver [`sample_event`].
pub fn sample_delivery(kind: &str) -> Delivery {
    Delivery {
        delivery_id: "sample-d1".to_owned(),
        attempt: 1,
        first_attempt_at: "2026-03-04T05:06:08.000Z".to_owned(),
        late_seconds: None,
        suppressed: 0,
        progress: None,
        event: sample_event(kind),
    }
}

/// `subject` is `reload-task` and the like.
fn task(subject: &str, outcome: &str) -> Value {
    let (status, status_text, message) = match outcome {
        "succeeded" => (7, "FinishedSuccess", "Execution State Change to FinishedSuccess"),
        "aborted" => (6, "Aborted", "Execution State Change to Aborting"),
        _ => (8, "FinishedFail", "Max retries reached"),
    };
    let task_type = subject.trim_end_matches("-task");
    let mut data = json!({
        "task": {
            "id": "11111111-2222-4333-8444-555555555555", "name": "Sales nightly", "type": task_type, "enabled": true,
            "tags": ["nightly", "finance"], "customProperties": { "Butler_Mail": ["Yes"] },
            "isManuallyTriggered": false, "isPartialReload": false, "maxRetries": 1, "sessionTimeoutMinutes": 1440,
            "modifiedBy": "LAB\\ann", "modifiedDate": "2026-03-01T08:00:00.000Z",
            "nextExecution": "2026-03-05T05:00:00.000Z"
        },
        "execution": {
            "id": "99999999-8888-4777-8666-555555555555", "resultId": "e1", "status": status,
            "statusText": status_text, "startTime": "2026-03-04T05:05:01.120Z", "stopTime": "2026-03-04T05:06:07.310Z",
            "durationMs": 66_190, "node": "sense1.lab.test", "scriptLogSize": 1873,
            "details": [
                { "time": "2026-03-04T05:05:00.900Z", "message": "Changing task state to Triggered", "type": 2 },
                { "time": "2026-03-04T05:05:01.130Z", "message": "Changing task state from Triggered to Started",
                  "type": 2 },
                { "time": "2026-03-04T05:06:07.320Z",
                  "message": format!("Changing task state from Started to {status_text}"), "type": 2 }
            ]
        },
        "log": { "timestamp": "2026-03-04 06:06:07,890", "level": "WARN", "message": message },
        "node": "sense1", "user": "LAB\\sa_scheduler"
    });
    // Programs and directories have no app.
    if matches!(task_type, "reload" | "preload" | "distribute") {
        data["app"] = app();
    }
    if task_type == "reload" {
        data["scriptLog"] = script_log();
    }
    data
}

fn app() -> Value {
    json!({
        "id": "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee", "name": "Sales \"EU\"", "description": "Orders & invoices",
        "fileSizeBytes": 123_456, "lastReloadTime": "2026-03-03T05:02:00.000Z",
        "modifiedDate": "2026-03-03T05:02:00.000Z", "modifiedBy": "LAB\\ann",
        "publishTime": "2026-01-02T08:00:00.000Z", "published": true,
        "stream": { "id": "99999999-0000-4000-8000-000000000001", "name": "Finance EU" },
        "tags": ["eu"], "customProperties": { "Department": ["Finance", "Sales"] },
        "owner": { "id": "u1", "name": "Ann Berg", "userId": "ann", "userDirectory": "LAB",
                   "emails": ["ann@lab.test"] }
    })
}

fn script_log() -> Value {
    json!({
        "head": ["2026-03-04 05:05:02 Execution started", "2026-03-04 05:05:02 SET path='C:\\new\\files'"],
        "tail": ["2026-03-04 05:06:07 Error: table \"Orders\" not found", "2026-03-04 05:06:07 Execution Failed"],
        "rows": 412, "characters": 1873, "reference": "e1"
    })
}

/// Source and data of what is about no task of Qlik Sense.
fn other(kind: &str) -> (&'static str, Value) {
    match kind {
        kind::APP_RELOAD_FAILED => ("udp", app_reload()),
        kind::CLOUD_APP_RELOAD_FAILED => ("instance:mqtt", cloud_app_reload()),
        kind::USER_SESSION_STARTED
        | kind::USER_SESSION_STOPPED
        | kind::USER_CONNECTION_OPENED
        | kind::USER_CONNECTION_CLOSED => ("udp", session(kind)),
        kind::SERVICE_STOPPED => ("instance:windows-services", service("STOPPED", Some("RUNNING"))),
        kind::SERVICE_STARTED => ("instance:windows-services", service("RUNNING", Some("STOPPED"))),
        kind::SERVICE_STATE => ("instance:windows-services", service("RUNNING", None)),
        kind::SERVICE_UNKNOWN => ("instance:windows-services", unknown_service()),
        kind::SERVER_LICENSE_STATUS => ("instance:licenses", server_license(false, 203)),
        kind::SERVER_LICENSE_EXPIRING => ("instance:licenses", server_license(false, 28)),
        kind::SERVER_LICENSE_EXPIRED => ("instance:licenses", server_license(true, -3)),
        kind::ACCESS_LICENSE_USAGE => ("instance:licenses", access_licenses()),
        kind::ACCESS_LICENSE_LOW => ("instance:licenses", low_licenses()),
        kind::ACCESS_LICENSE_RELEASED => ("instance:licenses", license_release()),
        kind::ACTIVE_USERS_COUNTED => ("instance:active-users", active_users()),
        kind::QLIK_VERSION_CHECKED => ("instance:server-version", qlik_version()),
        kind::CERTIFICATE_EXPIRING => ("butler", certificate()),
        kind::NODE_SILENT => (
            "butler",
            json!({
                "node": "sense1", "message": "nothing heard from `sense1` for 30 min",
                "silence": { "lastHeardAt": "2026-03-04T04:36:07.890Z", "seconds": 1800 }
            }),
        ),
        kind::TASK_START_SUCCEEDED => ("butler", task_start("the task was started")),
        kind::TASK_START_FAILED => ("butler", task_start("QRS answered 404: the task does not exist")),
        kind::BUTLER_STARTED => ("butler", butler("Butler 17.0.0 has started", false)),
        kind::BUTLER_STOPPING => ("butler", butler("Butler is stopping", false)),
        kind::BUTLER_UPTIME => ("butler", butler("Butler has been running for 1 hour 15 minutes", true)),
        kind::BUTLER_INGEST => ("butler", ingest()),
        kind::UDP_LISTENING => {
            ("butler", json!({ "message": "receives events at 0.0.0.0:9998", "udp": { "address": "0.0.0.0:9998" } }))
        }
        kind::UDP_FAILED => (
            "butler",
            json!({
                "message": "the UDP socket failed: address in use",
                "udp": { "address": "0.0.0.0:9998", "error": "address in use" }
            }),
        ),
        kind::DELIVERY_DEAD => (
            "butler",
            json!({
                "message": "2 deliveries to `chat` given up; the last: the destination answered 400: bad card",
                "dead": {
                    "instance": "chat", "count": 2,
                    "last": { "kind": "reload-task.failed", "task": "Sales nightly",
                              "error": "the destination answered 400: bad card" }
                }
            }),
        ),
        kind::AUDIT_WRITE => (
            "butler",
            json!({
                "message": "`deploy` called PUT /v4/schedules/7/start",
                "audit": { "caller": "deploy", "address": "10.11.12.13", "method": "PUT",
                           "path": "/v4/schedules/7/start", "status": 200 }
            }),
        ),
        kind::MESSAGE_POSTED => (
            "butler",
            json!({
                "message": "Stock loaded",
                "posted": { "text": "Stock loaded", "channel": "#reloads", "topic": "qliksense/notes",
                            "from": "Load script", "emoji": ":thumbsup:" }
            }),
        ),
        _ => ("butler", json!({ "node": "sense1", "message": "a sample" })),
    }
}

fn app_reload() -> Value {
    json!({
        "app": app(), "node": "sense1", "user": "LAB\\ann", "session": { "id": "5c1e0b1e-6a1f-4f0a-9a0c-2d2f0a7b9911" },
        "log": { "timestamp": "2026-03-04 06:06:07,890", "level": "ERROR", "message": "Reload failed" }
    })
}

fn session(kind: &str) -> Value {
    let what = kind.trim_start_matches("user-").replace(['-', '.'], " ");
    json!({
        "node": "sense1", "user": "LAB\\ann", "message": format!("{what} for LAB\\ann"),
        "session": { "origin": "10.11.12.13", "context": "AppAccess" }
    })
}

fn service(state: &str, previous: Option<&str>) -> Value {
    let mut data = json!({
        "node": "sense1",
        "message": format!("Windows service \"Qlik Sense Engine Service\" on host \"sense1\" is {state}"),
        "service": {
            "host": "sense1", "name": "QlikSenseEngineService", "displayName": "Qlik Sense Engine Service",
            "friendlyName": "Engine", "startType": "Automatic", "dependencies": ["QlikSenseServiceDispatcher"],
            "exePath": "\"C:\\Program Files\\Qlik\\Sense\\Engine\\Engine.exe\" --service", "state": state,
            "exitCode": if state == "STOPPED" { 1067 } else { 0 }, "serviceExitCode": 0
        }
    });
    if let Some(previous) = previous {
        data["service"]["previousState"] = previous.into();
    }
    data
}

fn unknown_service() -> Value {
    json!({
        "node": "sense1", "message": "the service cannot be checked: access is denied",
        "service": { "host": "sense1", "name": "QlikSenseEngineService", "friendlyName": "Engine" }
    })
}

fn server_license(expired: bool, days: i64) -> Value {
    let date = if expired {
        "2026-03-01"
    } else if days < 60 {
        "2026-04-01"
    } else {
        "2026-09-23"
    };
    let message = if expired {
        format!("the server licence expired on {date}")
    } else {
        format!("the server licence expires in {days} days, on {date}")
    };
    json!({ "message": message,
            "serverLicense": { "expired": expired, "expiryDate": date, "daysUntilExpiry": days } })
}

fn access_licenses() -> Value {
    json!({
        "message": "49 of 130 access licences are in use",
        "accessLicenses": {
            "analyzer": { "allocated": 60, "available": 30, "excess": 0, "quarantined": 0, "total": 90, "used": 41 },
            "analyzerCapacity": { "allocatedMinutes": 600, "unavailableMinutes": 0, "usedMinutes": 35 },
            "professional": { "allocated": 12, "available": 27, "excess": 0, "quarantined": 1, "total": 40, "used": 8 },
            "tokenLogin": { "allocatedTokens": 4.0, "tokenCost": 0.1, "unavailableTokens": 0.5, "usedTokens": 1.5 },
            "tokenUser": { "allocatedTokens": 6.0, "tokenCost": 1.0, "quarantinedTokens": 1.0, "usedTokens": 5.0 },
            "tokens": { "available": 3.0, "total": 13.0 }
        }
    })
}

fn low_licenses() -> Value {
    json!({
        "message": "2 of 90 analyzer licences are left",
        "accessLicenses": {
            "analyzer": { "allocated": 88, "available": 2, "excess": 0, "quarantined": 0, "total": 90, "used": 71 }
        }
    })
}

fn license_release() -> Value {
    json!({
        "message": "1 access licence was released, 2 were kept",
        "licenseRelease": {
            "dryRun": false,
            "released": [{ "id": "dddddddd-1111-4222-8333-444444444444", "type": "analyzer", "user": "LAB\\ann",
                           "lastUsed": "2026-01-22T09:00:00.000Z", "daysSinceLastUse": 41 }],
            "kept": [{ "id": "dddddddd-1111-4222-8333-555555555555", "type": "professional", "user": "LAB\\bo",
                       "reason": "tag", "detail": "the user has the tag `Keep licence`" },
                     { "id": "dddddddd-1111-4222-8333-666666666666", "type": "analyzer", "user": "LAB\\cy",
                       "reason": "never used", "detail": "the licence was never used" }],
            "keptByReason": { "tag": 1, "never used": 1 }
        }
    })
}

fn active_users() -> Value {
    json!({
        "message": "3 users are active: 2 on sense1, 1 on sense2",
        "activeUsers": { "count": 3, "users": ["LAB\\ann", "LAB\\bo", "LAB\\cy"], "nodes": { "sense1": 2, "sense2": 1 } }
    })
}

fn qlik_version() -> Value {
    json!({
        "message": "Qlik Sense May 2024 (14.187.4)",
        "qlikVersion": {
            "version": "14.187.4", "releaseLabel": "May 2024", "productName": "Qlik Sense",
            "deploymentType": "QlikSenseServer", "senseId": "qliksenseserver:14.187.4", "contentHash": "0a1b2c3d",
            "deprecatedProductVersion": "4.0.X", "copyrightYearRange": "1993-2024"
        }
    })
}

fn certificate() -> Value {
    json!({
        "message": "the certificate client.pem is valid for 12 more days",
        "certificate": { "file": "/etc/butler/client.pem", "subject": "CN=QlikClient",
                         "expiryDate": "2026-03-16T12:00:00.000Z", "daysUntilExpiry": 12 }
    })
}

fn task_start(message: &str) -> Value {
    json!({
        "task": { "id": "11111111-2222-4333-8444-555555555555", "name": "Sales nightly", "type": "reload",
                  "enabled": true, "tags": ["nightly", "finance"], "customProperties": { "Butler_Mail": ["Yes"] } },
        "message": message,
        "taskStart": { "selectedBy": "tag", "selector": "nightly", "caller": "deploy" }
    })
}

fn butler(message: &str, measured: bool) -> Value {
    let mut butler = Map::from_iter([("version".to_owned(), Value::from("17.0.0"))]);
    if measured {
        butler.insert("uptimeMs".to_owned(), 4_500_000.into());
        butler.insert("intervalMs".to_owned(), 900_000.into());
        let memory = json!({ "processBytes": 41_943_040, "heapUsedBytes": 12_582_912, "heapTotalBytes": 16_777_216,
                             "externalBytes": 2_097_152 });
        butler.insert("memory".to_owned(), memory);
        butler.insert("cpuMs".to_owned(), 61_250.into());
        butler.insert("cpuPercent".to_owned(), 1.5.into());
        butler.insert("eventsWaiting".to_owned(), 2.into());
        butler.insert("deliveriesOpen".to_owned(), 5.into());
        butler.insert("deliveriesDead".to_owned(), 1.into());
    }
    json!({ "message": message, "butler": butler })
}

fn ingest() -> Value {
    json!({
        "message": "1200 datagrams received, 3 dropped",
        "ingest": {
            "received": 1200, "queued": 1197, "queuedBytes": 290_000, "processed": 1190, "duplicates": 5,
            "receiveErrors": 0, "dropped": { "source": 0, "size": 1, "rate-limit": 0, "buffer-full": 2 },
            "rejected": { "empty": 2 }, "buffered": 7, "bufferedBytes": 2048, "kernelDrops": 0,
            "intervalMs": 20_000, "capacityBytes": 16_777_216, "pending": 3, "processingAverageUs": 1500,
            "processingP95Us": 4200, "processingMaxUs": 61_000, "perMinute": 3600
        }
    })
}

fn cloud_app_reload() -> Value {
    json!({
        "app": {
            "id": "3f6d2c1a-1111-4222-8333-944445555666", "name": "Orders", "description": "Orders & invoices",
            "fileSizeBytes": 123_456, "publishTime": "2026-01-02T08:00:00.000Z", "published": true, "tags": ["eu"],
            "customProperties": {},
            "owner": { "id": "owner-id", "name": "Ann Berg", "userId": "owner-id", "userDirectory": "",
                       "emails": ["ann@lab.test"] }
        },
        "execution": { "status": 8, "statusText": "FAILED", "startTime": "2026-03-04T05:06:01.000Z",
                       "stopTime": "2026-03-04T05:06:06.120Z", "durationMs": 5120, "details": [] },
        "scriptLog": script_log(),
        "user": "user-id", "message": "the script failed: Table not found",
        "cloud": {
            "tenantId": "tenant-id", "tenantComment": "Lab tenant", "tenantUrl": "https://lab.eu.qlikcloud.test",
            "appUrl": "https://lab.eu.qlikcloud.test/sense/app/3f6d2c1a-1111-4222-8333-944445555666",
            "appHasSectionAccess": false, "appThumbnail": "https://lab.eu.qlikcloud.test/thumbnail.png",
            "ownerPicture": "https://lab.eu.qlikcloud.test/ann.png", "reloadId": "67cda1f3e4b0a1b2c3d4e5f6",
            "qmcUrl": "https://lab.eu.qlikcloud.test/console", "hubUrl": "https://lab.eu.qlikcloud.test",
            "userName": "Bo Lund", "status": "error", "durationMs": 5120,
            "reloadTrigger": "chronos", "source": "com.qlik/engine", "eventType": "com.qlik.v1.app.reload.finished",
            "eventTypeVersion": "1.0.0", "errorCode": "EngineReloadScriptError", "errorMessage": "Table not found",
            "log": "Started loading data\nTable not found", "errors": ["Table not found"], "warnings": ["slow source"],
            "endedWithMemoryConstraint": false, "isDirectQueryMode": false, "isPartialReload": false,
            "isSessionApp": false, "isSkipStore": false, "peakMemoryBytes": 7_340_032, "sizeMemoryBytes": 1_048_576,
            "rowLimit": -1, "statements": ["LOAD * FROM orders"], "usage": "ANALYTICS"
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::Data;

    #[test]
    fn samples_are_whole_typed_and_round_trip() {
        assert_eq!(sample_events().count(), kind::ALL.len());
        for event in sample_events() {
            assert_ne!(event.data, Data::default(), "{}: its data cannot be read", event.kind);
            assert_eq!(event.data.other, Map::new(), "{}", event.kind);
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
            assert!(!event.summary().is_empty());
        }
        let unknown = sample_event("moon.risen");
        assert_eq!((unknown.data.other.len(), unknown.summary().as_str()), (0, "Moon risen on sense1: a sample"));
    }

    /// Paths of all properties of a schema, `task.name`.
    fn paths(schema: &Value, root: &Value, path: &str, found: &mut BTreeSet<String>) {
        if let Some(name) = schema["$ref"].as_str() {
            return paths(root.pointer(&name[1..]).unwrap(), root, path, found);
        }
        for form in schema["anyOf"].as_array().into_iter().flatten() {
            paths(form, root, path, found);
        }
        if !schema["items"].is_null() {
            paths(&schema["items"], root, path, found);
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            found.insert(path.clone());
            paths(property, root, &path, found);
        }
    }

    /// The same of a value.
    fn filled(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    found.insert(path.clone());
                    filled(value, &path, found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| filled(item, path, found)),
            _ => {}
        }
    }

    #[test]
    fn every_typed_fact_is_in_a_sample() {
        let schema = Value::from(schemars::schema_for!(Data));
        let (mut typed, mut sampled) = (BTreeSet::new(), BTreeSet::new());
        paths(&schema, &schema, "", &mut typed);
        for event in sample_events() {
            filled(&serde_json::to_value(&event.data).unwrap(), "", &mut sampled);
        }
        let left: Vec<_> = typed.difference(&sampled).map(String::as_str).collect();
        assert_eq!(left, ["kindAssumed", "missing", "scriptLog.truncated"], "facts without a sample");
        assert!(typed.len() > 150, "{}", typed.len());
    }
}
