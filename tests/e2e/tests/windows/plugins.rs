//! Plugins as libraries of Windows: one that panics, and the services of Windows.

use std::fs;
use std::path::Path;

use e2e::{Sink, Wine, failure, fields, wait_for};
use serde_json::json;

use super::{folder, hook, runs, stops, wine};

#[tokio::test]
async fn a_panic_in_a_plugin_harms_nobody_else() {
    let (wine, folder, sink) = (wine(), folder(), Sink::start().await);
    let config = format!(
        "plugins:\n  - use: probe\n    retry: {{ initial: 50ms, max: 200ms }}\n    settings: {{ fault: panic }}\n{}",
        hook(&sink)
    );
    let butler = wine.butler(&folder, &config).await;
    runs(&butler, "probe").await;
    // Before those of deliveries, after some of which an instance is restarted.
    assert_eq!(butler.get("/v5/probe/panic").await.0, 500);
    butler.send(&[failure(&fields())]);
    sink.wait(1).await;
    wait_for("the panic to be told", || async {
        (butler.log().matches("the probe was told to panic").count() > 1).then_some(())
    })
    .await;
    butler.send(&[failure(&fields())]);
    sink.wait(2).await;
    stops(butler).await;
}

/// Has the stand-in for `sc` print this.
fn prints(folder: &Path, verb: &str, file: &str) {
    let printed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/windows-services/src/tests/printed");
    fs::copy(printed.join(file), folder.join(format!("{verb}.bin"))).unwrap();
}

#[tokio::test]
async fn services_are_watched_by_a_program_in_the_place_of_sc_in_the_code_page_of_its_console() {
    let (wine, folder, sink) = (wine(), folder(), Sink::start().await);
    let tools = folder.path().join("werkzeuge größe");
    fs::create_dir(&tools).unwrap();
    fs::copy(wine.file("sc.exe"), tools.join("sc.exe")).unwrap();
    prints(&tools, "query", "query_all_de.bin");
    prints(&tools, "qc", "qc_de.bin");
    let config = format!(
        "plugins:\n  - use: windows-services\n    settings:\n      when: {{ every: 1s }}\n      hosts: [{{ host: srv1, services: [BITS] }}]\n      \
         backend: {{ sc: {{ program: 'werkzeuge größe\\sc.exe' }} }}\n{}",
        hook(&sink).replace("    retry:", "    on: [{ events: [\"service.stopped\"] }]\n    retry:")
    );
    let butler = wine.butler(&folder, &config).await;
    runs(&butler, "windows-services").await;
    let event = sink.wait(1).await[0].json();
    let service = &event["data"]["service"];
    assert_eq!(
        (&service["name"], &service["displayName"]),
        (&json!("BITS"), &json!("Acme-Ladedienst für Übersichten")),
        "{event}"
    );
    // Its own path is in it, in the code page of Windows.
    let asked = String::from_utf8_lossy(&fs::read(tools.join("asked.txt")).unwrap()).into_owned();
    assert!(asked.contains(r"\\srv1 query type= service state= all bufsize= 262144"), "{asked}");
    let path = Wine::path(butler.config());
    let check = wine.ask(&["check", "-c", &path]).await;
    assert_eq!(check.code, 0, "{check:?}");
    stops(butler).await;
}
