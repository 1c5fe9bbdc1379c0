//! Which plugin files are opened, when, and for how long: opening a library runs its code.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::Command;

use e2e::place::Place;
use e2e::{Butler, Sink, failure, fields, plugin_file, plugin_file_name, wait_for};
use serde_json::Value;

/// Whether a process has a plugin's file in its memory.
fn has_opened(butler: &Butler, plugin: &str) -> bool {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", butler.pid())).unwrap();
    maps.lines().any(|line| line.ends_with(&plugin_file_name(plugin)))
}

async fn wait_instances(butler: &Butler, names: &[&str]) {
    wait_for(&format!("exactly {names:?} to run:\n{}", butler.log()), || async {
        let (_, answer) = butler.get("/v5/plugins").await;
        let rows = answer["plugins"].as_array()?;
        let running = rows.iter().filter(|row| row["condition"]["state"] == "running");
        let running: Vec<&str> = running.filter_map(|row| row["name"].as_str()).collect();
        (rows.len() == names.len() && running == names).then_some(())
    })
    .await;
}

#[tokio::test]
async fn only_plugins_that_the_config_uses_are_opened_and_none_is_ever_closed() {
    let sink = Sink::start().await;
    // The comment makes the harness provide `relay`, which is not used.
    let console = "# use: relay\nplugins:\n  - use: console\n";
    let relay = format!("{console}  - use: relay\n    settings: {{ url: {} }}\n", sink.url("/"));
    let butler = Butler::start(console).await;
    wait_instances(&butler, &["console"]).await;
    assert!(butler.folder().join("plugins").join(plugin_file_name("relay")).is_file());
    assert!(has_opened(&butler, "console"));
    for unused in ["relay", "webhook", "teams"] {
        assert!(!has_opened(&butler, unused), "{unused} is not used, and was opened");
    }
    butler.rewrite(&relay);
    assert_eq!(butler.post("/v5/reload", &Value::Null).await.0, 200, "{}", butler.log());
    wait_instances(&butler, &["console", "relay"]).await;
    butler.send(&[failure(&fields())]);
    sink.wait(1).await;
    butler.rewrite(console);
    assert_eq!(butler.post("/v5/reload", &Value::Null).await.0, 200, "{}", butler.log());
    wait_instances(&butler, &["console"]).await;
    assert!(has_opened(&butler, "relay"), "a library whose threads may still run was closed");
}

#[test]
fn nothing_runs_of_a_library_that_is_no_plugin() {
    let place = Place::new();
    let (source, mark, path) = (place.path("odd.c"), place.path("it-ran"), place.plugin("odd"));
    let code = format!(
        "#include <stdio.h>\n__attribute__((constructor)) static void run(void) {{ fclose(fopen(\"{}\", \"w\")); }}\n",
        mark.display()
    );
    std::fs::write(&source, code).unwrap();
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&path, &source]).status();
    assert!(compiled.expect("a C compiler is there (tests/packages.txt)").success());
    place.refuses_plugin("use: odd", &[path.to_str().unwrap(), "is a library but not a Butler plugin"]);
    assert!(!mark.exists(), "code of the library ran");
}

#[test]
fn nothing_runs_of_a_pinned_plugin_that_was_changed() {
    let place = Place::new();
    std::fs::copy(plugin_file("other-version"), place.plugin("other-version")).unwrap();
    // Opened, it would be refused for its version.
    let pin = "0".repeat(64);
    place.refuses_plugin(&format!("use: other-version\n    sha256: \"{pin}\""), &["the config asks for 000"]);
}

#[test]
fn the_folders_of_the_config_come_before_that_of_the_executable() {
    let place = Place::new();
    let beside: &Path = &plugin_file("console");
    assert_eq!(beside.parent(), e2e::butler_exe().parent());
    let path = place.plugin("console");
    std::fs::write(&path, "no library").unwrap();
    place.refuses_plugin("use: console", &[path.to_str().unwrap(), "is not a dynamic library"]);
}
