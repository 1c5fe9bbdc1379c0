//! Every template variable of the original (Butler 16, alerts of Qlik Cloud) has a place in an event.

use qlik_simulator::{CloudSimulator, Envelope, Teller};
use serde_json::{Value, json};

use super::*;
use crate::config::Config;
use crate::qlik::Cloud;

/// Name of the variable, and where it is: a JSON pointer into the event's data. Not in events are `genericUrls`
/// (`links.custom` of the config, which every instance is told) and `scriptLogHeadCount`, `scriptLogTailCount` (how many lines an
/// instance wants).
const PLACES: [(&str, &str); 48] = [
    ("tenantId", "/cloud/tenantId"),
    ("tenantComment", "/cloud/tenantComment"),
    ("tenantUrl", "/cloud/tenantUrl"),
    ("userId", "/user"),
    ("userName", "/cloud/userName"),
    ("appId", "/app/id"),
    ("appName", "/app/name"),
    ("appDescription", "/app/description"),
    ("appUrl", "/cloud/appUrl"),
    ("appHasSectionAccess", "/cloud/appHasSectionAccess"),
    ("appIsPublished", "/app/published"),
    ("appPublishTime", "/app/publishTime"),
    ("appThumbnail", "/cloud/appThumbnail"),
    ("reloadTrigger", "/cloud/reloadTrigger"),
    ("source", "/cloud/source"),
    ("eventType", "/cloud/eventType"),
    ("eventTypeVersion", "/cloud/eventTypeVersion"),
    ("endedWithMemoryConstraint", "/cloud/endedWithMemoryConstraint"),
    ("isDirectQueryMode", "/cloud/isDirectQueryMode"),
    ("isPartialReload", "/cloud/isPartialReload"),
    ("isSessionApp", "/cloud/isSessionApp"),
    ("isSkipStore", "/cloud/isSkipStore"),
    ("peakMemoryBytes", "/cloud/peakMemoryBytes"),
    ("reloadId", "/cloud/reloadId"),
    ("rowLimit", "/cloud/rowLimit"),
    ("statements", "/cloud/statements"),
    ("status", "/cloud/status"),
    ("usageDuration", "/cloud/durationMs"),
    ("sizeMemoryBytes", "/cloud/sizeMemoryBytes"),
    ("appFileSize", "/app/fileSizeBytes"),
    ("errorCode", "/cloud/errorCode"),
    ("errorMessage", "/cloud/errorMessage"),
    ("logMessage", "/cloud/log"),
    ("executionDuration", "/execution/durationMs"),
    ("executionStartTime", "/execution/startTime"),
    ("executionStopTime", "/execution/stopTime"),
    ("executionStatusText", "/execution/statusText"),
    ("scriptLogSize", "/scriptLog/rows"),
    ("scriptLogSizeRows", "/scriptLog/rows"),
    ("scriptLogSizeCharacters", "/scriptLog/characters"),
    ("scriptLogHead", "/scriptLog/head"),
    ("scriptLogTail", "/scriptLog/tail"),
    ("qlikSenseQMC", "/cloud/qmcUrl"),
    ("qlikSenseHub", "/cloud/hubUrl"),
    ("appOwnerName", "/app/owner/name"),
    ("appOwnerUserId", "/app/owner/userId"),
    ("appOwnerPicture", "/cloud/ownerPicture"),
    ("appOwnerEmail", "/app/owner/emails/0"),
];

#[tokio::test]
async fn every_variable_has_a_value_of_its_type_and_numbers_are_numbers() {
    let tenant = CloudSimulator::start(TENANT).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), tenant.root_pem()).unwrap();
    let config: Config = serde_json::from_value(json!({
        "version": 1,
        "tls": { "lab": { "ca": folder.path().join("ca.pem") } },
        "qlikCloud": { "tenants": [{
            "id": TENANT, "url": tenant.url(), "comment": "Lab", "token": CloudSimulator::TOKEN, "tls": "lab",
            "links": { "qmc": "https://acme.test/console", "hub": "https://acme.test/hub" },
        }] },
    }))
    .unwrap();
    let store = Store::open(&folder.path().join("s.db")).await.unwrap();
    let events = CloudEvents::new(config.qlik_cloud.as_ref(), store.clone(), Arc::default());
    let reload = tenant.fail_reload("Orders");
    let message = reload.message(Envelope::Hybrid, Teller::Engine).to_string();
    events.accept_handed_over(message.as_bytes()).await.unwrap();
    let accepted = store.accepted_events(0, 1).await.unwrap().remove(0).event;
    let patience = Duration::from_secs(20);
    let mut enriched = Cloud::new(&config).unwrap().enrich(&accepted.data, &accepted.kind, true, patience).await;
    let log = enriched.script_log.take().unwrap();
    enriched.data.script_log = Some(log.to_event(60, "reference".to_owned()));
    let data = serde_json::to_value(&enriched.data).unwrap();

    let mut names: Vec<&str> = PLACES.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), PLACES.len(), "a name is there twice");
    for (name, place) in PLACES {
        let value = data.pointer(place).unwrap_or(&Value::Null);
        let numeric = ["Bytes", "Limit", "Size", "uration", "Rows", "Characters"].iter().any(|end| name.ends_with(end));
        let flag = name.starts_with("is")
            || ["appIsPublished", "appHasSectionAccess", "endedWithMemoryConstraint"].contains(&name);
        let list = ["statements", "scriptLogHead", "scriptLogTail"].contains(&name);
        let fits = match (numeric, flag, list) {
            (true, ..) => value.is_number(),
            (_, true, _) => value.is_boolean(),
            (.., true) => value.as_array().is_some_and(|list| !list.is_empty()),
            _ => value.as_str().is_some_and(|text| !text.is_empty()),
        };
        assert!(fits, "{name} at {place}: {value}\n{data:#}");
    }
    assert_eq!(data["cloud"]["userName"], "Bo Lund", "the user who started it, not the owner");
}
