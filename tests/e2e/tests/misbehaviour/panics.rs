//! Panics in every entry point, drops, background tasks and threads.

use std::sync::Arc;
use std::time::Duration;

use butler::daemon;
use butler::plugins::Instance;
use butler::store::Store;
use butler_plugin_api::OperationError;
use e2e::place::Place;
use e2e::{Sink, plugin_file_name, run};
use serde_json::{Value, json};

use super::{assert_served, assert_stops, config, end_of, has_line, rogue, start, wait_error, wait_log, wait_state};

#[tokio::test]
async fn a_panic_anywhere_ends_nothing_but_itself() {
    let healthy = Sink::start().await;
    let places = ["start", "run", "deliver", "batch", "future", "task", "thread", "stop", "drop"];
    let entries = places.map(|place| rogue(place, &format!("fault: panic, at: {place}")));
    let butler = start(&entries, &healthy, &[]).await;
    wait_state(&butler, "start", "unavailable").await;
    for running in ["deliver", "batch", "future", "task", "thread", "stop", "drop"] {
        wait_state(&butler, running, "running").await;
    }
    assert_served(&butler, &healthy).await;
    wait_error(&butler, "deliver", "panicked: the rogue was told to panic at Deliver at ").await;
    wait_error(&butler, "batch", "panicked: the rogue was told to panic at Batch at ").await;
    // The future that is dropped is that of a delivery whose time is over.
    wait_error(&butler, "future", "no outcome within 2 s").await;
    wait_log(&butler, "panicked while a future was dropped: the rogue was told to panic at Future").await;
    wait_log(&butler, "its own work panicked: the rogue was told to panic at Run").await;
    wait_log(&butler, "a background task panicked: the rogue was told to panic at Task").await;
    wait_log(&butler, "a thread of the plugin panicked: the rogue was told to panic at Thread").await;
    assert_served(&butler, &healthy).await;
    for well in ["run", "task", "thread", "stop", "drop"] {
        butler.wait_delivery("delivered", well).await;
    }
    let log = assert_stops(butler).await;
    for (instance, text) in [
        ("start", "panicked: the rogue was told to panic at Start"),
        ("task", "told to panic at Task"),
        ("stop", "panicked in stop: the rogue was told to panic at Stop"),
        ("drop", "panicked while it was dropped: the rogue was told to panic at Drop"),
    ] {
        let named = format!("instance=\"{instance}\"");
        assert!(has_line(&log, &[&named, text]), "{instance}: {text}\n{}", end_of(&log));
    }
    assert!(!log.contains("did not stop in time"), "a panic is no reason to hang:\n{}", end_of(&log));
}

#[test]
fn a_plugin_that_panics_in_its_manifest_is_refused() {
    let place = Place::new();
    let config = format!("{}plugins:\n  - use: rogue\n", e2e::place::PRIVATE);
    let output = place.start_with(&config, &[("BUTLER_E2E_MANIFEST", "panic")]);
    assert_eq!(output.code, 2, "{output:?}");
    let reason = "gives no usable manifest: panicked: the rogue was told to panic in its manifest";
    assert!(output.stderr.contains(reason) && output.stderr.contains(&plugin_file_name("rogue")), "{output:?}");
    place.untouched();
}

#[tokio::test]
async fn a_panic_in_an_operation_is_its_answer() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let healthy = Sink::start().await;
    let text = config(&[rogue("rogue", "fault: panic, at: operation")], &healthy);
    let path = e2e::Butler::prepare(&folder, &text);
    let file = path.to_str().expect("paths of tests are UTF-8").to_owned();
    let output = tokio::task::spawn_blocking(move || run(&["check", "-c", &file]));
    let output = output.await.expect("the command can be run");
    assert_eq!(output.code, 1, "{output:?}");
    let told = "panicked: the rogue was told to panic at Operation";
    assert!(format!("{}{}", output.stdout, output.stderr).contains(told), "{output:?}");

    // No command calls the others yet: here they are called as a command would.
    let setup = daemon::load(&path, None).unwrap_or_else(|report| panic!("{report}"));
    let store = Store::open(&folder.path().join("operations.db")).await.expect("a store can be made");
    let shared = Arc::new(daemon::shared(&setup.loaded, store.clone(), None));
    let (entry, opened) = (&setup.loaded.config.plugins[0], &setup.libraries["rogue"]);
    let document = daemon::instance_document(&setup.loaded, entry);
    let instance = Instance::new(document, entry.clone(), opened.library.clone(), shared);
    instance.start().await.expect("the rogue starts");
    let old = |does: &str| json!({ "butler": { "rogue": { "does": does } } });
    for (operation, input, place) in [("render", Value::Null, "Operation"), ("import", old("panic"), "Import")] {
        let answer = instance.invoke(operation, input).await;
        let Err(OperationError::Panicked(text)) = &answer else { panic!("{operation}: {answer:?}") };
        assert!(text.contains(&format!("the rogue was told to panic at {place}")), "{text}");
    }
    let answer = instance.invoke("import", old("nothing")).await.expect("it goes on");
    assert_eq!(answer["instances"], json!([]));
    assert!(instance.stop(Duration::from_secs(5)).await);
    store.close().await;
}
