//! The plugin as the host sees it.

use std::fs;
use std::path::Path;

use butler_plugin_api::testing::{FakeHost, block_on, conformance, manifest_of, sample_delivery};
use butler_plugin_api::{DeliveryError, Health, OperationError, Plugin, ServiceError, StartError};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::ScriptLogArchive;

const USUAL: &str = "2026-03-04/2026-03-04_06-06-07_appId=aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee_\
                     taskId=11111111-2222-4333-8444-555555555555.log";

fn fake(place: &TempDir) -> FakeHost {
    FakeHost::new("archive")
        .config_dir(place.path().to_str().unwrap())
        .qlik("scriptLog/e1", json!("one\r\ntwo\nthree \r\n"))
}

fn stored(place: &TempDir, path: &str) -> String {
    fs::read_to_string(place.path().join("logs").join(path)).unwrap()
}

#[test]
fn the_whole_log_is_stored_with_line_feeds_once() {
    let place = TempDir::new().unwrap();
    let fake = fake(&place);
    block_on(async {
        let archive = fake.start::<ScriptLogArchive>(json!({ "folder": "logs" })).await.unwrap();
        let mut delivery = sample_delivery("reload-task.failed");
        archive.deliver(&delivery).await.unwrap();
        delivery.attempt = 2;
        archive.deliver(&delivery).await.unwrap();
        assert_eq!(archive.health().await, Health::Good);
    });
    assert_eq!(stored(&place, USUAL), "one\ntwo\nthree \n");
    assert_eq!(fs::read_dir(place.path().join("logs/2026-03-04")).unwrap().count(), 1);
}

#[test]
fn what_cannot_be_had_is_said() {
    let place = TempDir::new().unwrap();
    let fake = fake(&place);
    block_on(async {
        let archive = fake.start::<ScriptLogArchive>(json!({ "folder": "logs" })).await.unwrap();
        // Never has one.
        archive.deliver(&sample_delivery("external-program-task.failed")).await.unwrap();
        archive.deliver(&sample_delivery("app-reload.failed")).await.unwrap();

        let mut delivery = sample_delivery("reload-task.failed");
        delivery.event.data.script_log.as_mut().unwrap().reference = "gone".to_owned();
        let error = archive.deliver(&delivery).await.unwrap_err();
        assert!(matches!(&error, DeliveryError::Reject { message } if message.contains("lacks this script log")));
        delivery.event.source = "test".to_owned();
        archive.deliver(&delivery).await.unwrap();
        assert!(stored(&place, USUAL).starts_with("2026-03-04 05:05:02 Execution started\n"));

        delivery.event.data.script_log = None;
        delivery.event.data.missing = vec!["scriptLog".to_owned()];
        let error = archive.deliver(&delivery).await.unwrap_err();
        assert!(matches!(&error, DeliveryError::Reject { message } if message.contains("could not be fetched")));
    });
    let fake = FakeHost::new("archive")
        .config_dir(place.path().to_str().unwrap())
        .fail_service("qlik", ServiceError::Unavailable("no answer".to_owned()));
    block_on(async {
        let archive = fake.start::<ScriptLogArchive>(json!({ "folder": "logs" })).await.unwrap();
        let error = archive.deliver(&sample_delivery("reload-task.failed")).await.unwrap_err();
        assert!(matches!(error, DeliveryError::Retry { .. }));
    });
    let empty = FakeHost::new("archive").config_dir(place.path().to_str().unwrap()).qlik("scriptLog/e1", json!(""));
    block_on(async {
        let archive = empty.start::<ScriptLogArchive>(json!({ "folder": "empty" })).await.unwrap();
        archive.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
    });
    assert_eq!(fs::read_dir(place.path().join("empty")).unwrap().count(), 0);
    assert!(empty.records().iter().any(|record| record.message.contains("is empty")));
}

#[test]
fn a_folder_that_is_gone_means_later_and_bad_health() {
    let place = TempDir::new().unwrap();
    let fake = fake(&place);
    block_on(async {
        let archive = fake.start::<ScriptLogArchive>(json!({ "folder": "logs" })).await.unwrap();
        fs::remove_dir(place.path().join("logs")).unwrap();
        let delivery = sample_delivery("reload-task.failed");
        let error = archive.deliver(&delivery).await.unwrap_err();
        assert!(matches!(&error, DeliveryError::Retry { message, .. } if message.contains("is gone")), "{error}");
        assert!(matches!(archive.health().await, Health::Bad(text) if text.contains("is gone")));
        let error = archive.invoke("check", Value::Null).await.unwrap_err();
        assert!(error.to_string().contains("is gone"), "{error}");
        fs::create_dir(place.path().join("logs")).unwrap();
        archive.deliver(&delivery).await.unwrap();
        assert_eq!(archive.health().await, Health::Good);
        let checked = archive.invoke("check", Value::Null).await.unwrap();
        assert!(checked.as_str().unwrap().contains("no log was stored"), "{checked}");
    });
    let left: Vec<_> =
        fs::read_dir(place.path().join("logs")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "the index and the day: {left:?}");
}

#[test]
fn start_tells_a_wrong_setting_from_a_folder_that_may_come() {
    let place = TempDir::new().unwrap();
    fs::write(place.path().join("file"), "").unwrap();
    let start =
        |folder: &str| block_on(fake(&place).start::<ScriptLogArchive>(json!({ "folder": folder }))).err().unwrap();
    assert!(matches!(start("file"), StartError::Config(text) if text.contains("is a file")));
    assert!(matches!(start("no/logs"), StartError::Unavailable(text) if text.contains("no folder that")));
    assert!(matches!(start(""), StartError::Config(text) if text.contains("is empty")));
}

#[test]
fn a_template_that_fails_costs_no_log() {
    let place = TempDir::new().unwrap();
    let fake = fake(&place);
    block_on(async {
        let settings = json!({ "folder": "logs", "path": "{{#if nothing}}x{{/if}}" });
        let archive = fake.start::<ScriptLogArchive>(settings).await.unwrap();
        archive.deliver(&sample_delivery("reload-task.failed")).await.unwrap();
        assert!(
            matches!(archive.health().await, Health::Degraded(text) if text.contains("files with the usual names"))
        );
    });
    assert_eq!(stored(&place, USUAL), "one\ntwo\nthree \n");
}

#[test]
fn render_shows_path_and_first_lines_and_stores_nothing() {
    let place = TempDir::new().unwrap();
    let fake = fake(&place);
    fs::write(place.path().join("path.txt"), "{{taskName}}/x.log\n").unwrap();
    fs::write(place.path().join("bad.txt"), "../x.log").unwrap();
    block_on(async {
        let archive = fake.start::<ScriptLogArchive>(json!({ "folder": "logs" })).await.unwrap();
        let mut input = serde_json::to_value(sample_delivery("reload-task.failed")).unwrap();
        let shown = archive.invoke("render", input.clone()).await.unwrap();
        assert_eq!((&shown["path"], &shown["firstLines"]), (&json!(USUAL), &json!("one\ntwo\nthree \n")));
        assert!(Path::new(shown["folder"].as_str().unwrap()).ends_with("logs"));
        input["templateFile"] = "path.txt".into();
        assert_eq!(archive.invoke("render", input.clone()).await.unwrap()["path"], "Sales nightly/x.log");
        input["templateFile"] = "bad.txt".into();
        let error = archive.invoke("render", input).await.unwrap_err();
        assert!(error.to_string().contains("no step may be"), "{error}");
        assert!(matches!(archive.invoke("import", Value::Null).await, Err(OperationError::Unsupported(_))));
    });
    assert_eq!(fs::read_dir(place.path().join("logs")).unwrap().count(), 0);
}

#[test]
fn it_cleans_up_at_its_start_and_an_hour_later() {
    let place = TempDir::new().unwrap();
    let folder = place.path().join("logs");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join(".butler-archive-98fe03c5-1.part"), "half").unwrap();
    fs::write(folder.join("old.log"), "old").unwrap();
    fs::write(folder.join("mine.log"), "old").unwrap();
    let entry = |path: &str, at: &str| json!({ "path": path, "log": "e0", "bytes": 3, "storedAt": at }).to_string();
    fs::write(folder.join(".butler-archive-98fe03c5.index"), entry("old.log", "2020-01-01T00:00:00Z") + "\n").unwrap();
    let fake = fake(&place).manual_time();
    let settings = json!({ "folder": "logs", "maxAge": "30d" });
    let _archive = block_on(fake.run::<ScriptLogArchive>(settings)).unwrap();
    fake.wait_until("the first tidying", |fake| fake.sleeping() == 1);
    let names = || {
        let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    let index = ".butler-archive-98fe03c5.index";
    assert_eq!(names(), [index, "mine.log", "old.log"], "the clock may be wrong, so nothing is removed for its age");
    for _ in 0..60 {
        assert_eq!(names().len(), 3);
        fake.wait_until("the pause", |fake| fake.sleeping() == 1);
        fake.advance(super::AFTER_STORED);
    }
    fake.wait_until("the next tidying", |_| names().len() == 2);
    assert_eq!(names(), [index, "mine.log"]);
    fake.stop();
}

#[test]
fn it_keeps_the_rules_of_the_house() {
    let place = TempDir::new().unwrap();
    let folder = place.path().join("logs");
    conformance::<ScriptLogArchive>(json!({ "folder": folder, "maxAge": "90d", "maxSize": "2GB" }));
    let manifest = manifest_of::<ScriptLogArchive>();
    assert_eq!(manifest.default_events, ["reload-task.failed", "cloud-app-reload.failed", "app-reload.failed"]);
    assert!(manifest.script_log);
}
