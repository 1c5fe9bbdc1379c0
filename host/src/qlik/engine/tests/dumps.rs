//! Lists and dumps.

use std::collections::BTreeSet;
use std::time::Duration;

use qlik_simulator::{AppContents, EngineFault};
use serde_json::{Value, json};

use super::*;

#[tokio::test]
async fn the_list_has_the_apps_in_the_engines_order() {
    let lab = lab().await;
    let apps = lab.engine().apps().await.unwrap();
    assert_eq!(apps.len(), 3);
    assert_eq!((apps[0].id.as_str(), apps[0].name.as_str()), (APP, "Order analysis"));
    assert_eq!((apps[1].id.as_str(), apps[1].name.as_str()), (OTHER_APP, "Stock levels"));
    assert_eq!(lab.close_codes().await, [Some(1000)]);
    let session = &lab.simulated().ended_sessions()[0];
    assert_eq!((session.path.as_str(), session.user.as_str()), ("/", "UserDirectory=INTERNAL; UserId=sa_repository"));
}

#[tokio::test]
async fn a_dump_has_all_that_an_app_consists_of() {
    let lab = lab().await;
    let dump = lab.engine().dump(APP).await.unwrap();
    let text = String::from_utf8(dump.json.clone()).unwrap();
    assert!(text.ends_with(&format!(r#","appId":"{APP}"}}"#)), "the id comes last: {text}");
    let dump = json(&dump);
    let keys: BTreeSet<&str> = dump.as_object().unwrap().keys().map(String::as_str).collect();
    let wanted = [
        "appId",
        "appprops",
        "bookmarks",
        "dataconnections",
        "dimensions",
        "embeddedmedia",
        "fields",
        "lineage",
        "loadScript",
        "masterobjects",
        "measures",
        "properties",
        "sheets",
        "snapshots",
        "stories",
        "variables",
    ];
    assert_eq!(keys, BTreeSet::from(wanted));
    let ids = |key: &str, place: &str| -> Vec<String> {
        let list = dump[key].as_array().unwrap().iter();
        list.map(|item| item.pointer(place).and_then(Value::as_str).unwrap().to_owned()).collect()
    };
    assert_eq!(dump["properties"]["qTitle"], APP);
    assert!(dump["loadScript"].as_str().unwrap().contains("LOAD * FROM [lib://Data/orders.qvd] (qvd);\r\n"));
    assert_eq!(dump["lineage"][0]["qStatement"], "RESIDENT Orders;");
    assert_eq!(ids("sheets", "/qProperty/qInfo/qId"), ["sheet-0", "sheet-1", "sheet-2"]);
    assert_eq!(dump["sheets"][0]["qChildren"][0]["qProperty"]["qInfo"]["qType"], "barchart");
    assert_eq!(ids("stories", "/qProperty/qInfo/qId"), ["story-0"]);
    assert_eq!(ids("masterobjects", "/qProperty/qInfo/qId"), ["masterobject-0", "masterobject-1"]);
    assert_eq!(ids("appprops", "/qProperty/qInfo/qId"), ["appprops-0"]);
    assert_eq!(ids("dimensions", "/qInfo/qId"), ["dimension-0", "dimension-1", "dimension-2", "dimension-3"]);
    assert_eq!(dump["measures"][1]["qMeasure"]["qDef"], "Sum(Amount)");
    assert_eq!(ids("bookmarks", "/qInfo/qId"), ["bookmark-0", "bookmark-1"]);
    let data = json!({ "sheetId": "sheet-0", "qBookMark": {
        "qStateData": [{ "qStateName": "$", "qFieldItems": [{ "qDef": { "qName": "Year" } }] }], "of": "bookmark-1" } });
    assert_eq!(dump["bookmarks"][1]["qData"], data);
    assert_eq!(ids("snapshots", "/qInfo/qId"), ["snapshot-0", "snapshot-1"]);
    assert_eq!(dump["snapshots"][0]["qData"], json!({ "sheetId": "sheet-0" }));
    assert_eq!(ids("embeddedmedia", "/qUrlDef"), ["/media/0.png", "/media/1.png"], "not those of the server");
    assert_eq!(dump["fields"].as_array().unwrap().len(), 11);
    assert_eq!(dump["fields"][0]["qName"], "$Field");
    assert_eq!(ids("dataconnections", "/qId"), ["connection-0", "connection-1"]);
    let marks: Vec<[&Value; 3]> = (dump["variables"].as_array().unwrap().iter())
        .map(|variable| ["qIsScriptCreated", "qIsReserved", "qIsConfig"].map(|mark| &variable[mark]))
        .collect();
    let (yes, no) = (&json!(true), &Value::Null);
    let wanted = [[yes, no, no], [no, yes, no], [no, no, yes], [yes, no, no], [no, no, no], [no, no, no]];
    assert_eq!(marks, wanted);
    assert_eq!(lab.close_codes().await, [Some(1000)]);
    let opened = lab.simulated().calls().into_iter().find(|call| call.method == "OpenDoc").unwrap();
    assert_eq!((opened.path.as_str(), opened.params), ("/app/engineData", json!([APP, "", "", "", true])));
}

#[tokio::test]
async fn an_empty_app_has_empty_lists_and_without_lineage_the_key_is_absent() {
    let lab = lab().await;
    let nothing = AppContents {
        sheets: 0,
        stories: 0,
        master_objects: 0,
        dimensions: 0,
        measures: 0,
        bookmarks: 0,
        snapshots: 0,
        media: 0,
        fields: 0,
        variables: 0,
        connections: 0,
        lineage: false,
        ..AppContents::default()
    };
    lab.simulated().set_contents(APP, nothing);
    let dump = json(&lab.engine().dump(APP).await.unwrap());
    assert_eq!(dump["sheets"], json!([]));
    assert_eq!(dump["variables"], json!([]));
    assert_eq!(dump.get("lineage"), None);
    assert_eq!(dump["appId"], APP);
}

#[tokio::test]
async fn answers_out_of_order_give_the_same_dump() {
    let lab = lab().await;
    lab.simulated().set_usual_contents(AppContents { sheets: 40, variables: 40, ..AppContents::default() });
    let engine = lab.engine();
    let wanted = engine.dump(APP).await.unwrap();
    lab.simulated().add_fault(EngineFault::reverse());
    assert_eq!(engine.dump(APP).await.unwrap().json, wanted.json);
}

#[tokio::test]
async fn many_calls_are_under_way_at_once_but_not_all() {
    const DELAY: Duration = Duration::from_millis(50);
    let lab = lab().await;
    lab.simulated().set_usual_contents(AppContents { sheets: 160, ..AppContents::default() });
    lab.simulated().add_fault(EngineFault::delay(DELAY).on("GetObject"));
    let began = std::time::Instant::now();
    lab.engine_with(EngineLimits { calls: 16, ..limits() }).dump(APP).await.unwrap();
    let took = began.elapsed();
    assert!(took >= DELAY * 10, "{took:?}: more than 16 at once");
    assert!(took < DELAY * 80, "{took:?}: one after the other");
}

#[tokio::test]
async fn secrets_of_the_config_are_not_in_a_dump() {
    let lab = lab().await;
    let script = "LOAD * FROM [http://butler?token=s3cret-value];".to_owned();
    lab.simulated().set_contents(APP, AppContents { script, ..AppContents::default() });
    let dump = json(&lab.engine().dump(APP).await.unwrap());
    assert_eq!(dump["loadScript"], "LOAD * FROM [http://butler?token=[redacted]];");
    assert_eq!(dump["sheets"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn no_more_sessions_at_once_than_there_are_places() {
    let lab = lab().await;
    lab.simulated().add_fault(EngineFault::delay(Duration::from_millis(30)).on("OpenDoc"));
    let engine = lab.engine_with(EngineLimits { sessions: 3, ..limits() });
    let lengths = (0..12).map(|_| async { engine.dump(APP).await.unwrap().json.len() });
    let lengths = futures_util::future::join_all(lengths).await;
    assert!(lengths.iter().all(|length| *length == lengths[0]), "{lengths:?}");
    assert_eq!(lab.simulated().most_sessions(), 3);
}

#[tokio::test]
async fn a_dump_that_is_kept_keeps_its_place() {
    let lab = lab().await;
    let engine = lab.engine_with(EngineLimits { sessions: 1, place: Duration::from_millis(50), ..limits() });
    let dump = engine.dump(APP).await.unwrap();
    let error = engine.apps().await.unwrap_err();
    assert_eq!(error.to_string(), "all 1 places for lists and dumps of apps are taken (try again later)");
    assert!(error.is_busy());
    drop(dump);
    engine.apps().await.unwrap();
}
