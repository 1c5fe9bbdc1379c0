//! Plugin files that must be refused before anything of them runs, each with one clear message; instances that cannot start.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use butler::ingest::sample::{Fields, SampleKind, message};
use e2e::place::{PRIVATE, Place, messages};
use e2e::{Butler, Sink, plugin_file, plugin_file_name, run_with, wait_for};
use serde_json::Value;

fn failed_task() -> String {
    message(SampleKind::TaskFailed, &Fields::random().unwrap())
}

/// The entry of an instance in `/v5/plugins`.
async fn instance(butler: &Butler, name: &str) -> Value {
    let (status, answer) = butler.get("/v5/plugins").await;
    assert_eq!(status, 200);
    let found = answer["plugins"].as_array().unwrap().iter().find(|row| row["name"] == name).cloned();
    found.unwrap_or_else(|| panic!("no instance {name} in {answer}"))
}

#[test]
fn two_instances_that_serve_the_same_endpoint_are_a_fault_of_the_config() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = format!(
        "version: 1\npluginDirs: [plugins]\nstore: {{ path: butler.db }}\nrest: {{ listen: \"{address}\" }}\nplugins:\n  \
         - use: probe\n    name: one\n  - use: probe\n    name: two\n"
    );
    let output = place.start(&config);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains("`one`") && output.stderr.contains("`two`"), "{output:?}");
    assert!(output.stderr.contains("`POST /v5/probe/{topic}`"), "{output:?}");
    place.untouched();
    let config = place.path("butler.yaml");
    let check = run_with(&["check", "-c", config.to_str().unwrap()], &[]);
    assert_eq!((check.code, check.stderr), (2, output.stderr), "{}", check.stdout);
}

#[test]
fn a_plugin_that_is_not_there_is_told_with_the_nearest_one() {
    let place = Place::new();
    let file = plugin_file_name("consol");
    let folder = place.path("plugins").display().to_string();
    place.refuses_plugin("use: consol", &["no plugin `consol`", &file, &folder, "did you mean `console`?"]);
}

#[test]
fn a_file_that_is_no_library_is_refused() {
    let place = Place::new();
    let path = place.plugin("odd");
    std::fs::write(&path, "#!/bin/sh\ntouch butler.db\n").unwrap();
    place.refuses_plugin("use: odd", &[path.to_str().unwrap(), "is not a dynamic library"]);
    std::fs::write(&path, "").unwrap();
    place.refuses_plugin("use: odd", &[path.to_str().unwrap(), "is not a dynamic library"]);
}

#[test]
fn a_library_that_is_no_plugin_is_refused() {
    let library = ["/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/lib64", "/usr/lib"]
        .iter()
        .flat_map(|folder| ["libm.so.6", "libz.so.1"].map(|name| Path::new(folder).join(name)))
        .find(|path| path.is_file())
        .expect("every system has libm");
    let place = Place::new();
    let path = place.plugin("odd");
    std::fs::copy(library, &path).unwrap();
    place.refuses_plugin("use: odd", &[path.to_str().unwrap(), "is a library but not a Butler plugin"]);
}

#[test]
fn a_plugin_of_another_api_version_is_refused_with_both_versions() {
    let place = Place::new();
    let path = place.plugin("other-version").display().to_string();
    place.refuses_plugin("use: other-version", &[&path, "butler-plugin-api 9.0.0", "this Butler needs 0.1", "install"]);
}

#[test]
fn a_plugin_of_another_layout_is_refused() {
    let place = Place::new();
    let path = place.plugin("other-layout").display().to_string();
    let output = place.refuses_plugin("use: other-layout", &[&path, "another layout", "build it again"]);
    // The full comparison of the layouts has thousands of lines.
    assert!(output.stderr.len() < 2000, "{output:?}");
}

#[test]
fn a_truncated_plugin_is_refused() {
    let place = Place::new();
    let whole = std::fs::read(plugin_file("probe")).unwrap();
    let path = place.plugin("probe");
    for length in [20, 3000, whole.len() / 4, whole.len() / 2, whole.len() - 100] {
        std::fs::write(&path, &whole[..length]).unwrap();
        place.refuses_plugin("use: probe", &[path.to_str().unwrap(), "damaged"]);
    }
}

#[tokio::test]
async fn a_pinned_plugin_starts_only_with_the_right_file() {
    let place = Place::new();
    std::fs::copy(plugin_file("probe"), place.plugin("probe")).unwrap();
    let path = place.plugin("probe");
    let sum = Command::new("sha256sum").arg(&path).output().expect("coreutils have sha256sum");
    let sum = String::from_utf8(sum.stdout).unwrap().split_whitespace().next().unwrap().to_owned();
    let wrong = "0".repeat(64);
    place.refuses_plugin(
        &format!("use: probe\n    sha256: \"{wrong}\""),
        &[path.to_str().unwrap(), &format!("has sha256 {sum}"), &format!("the config asks for {wrong}")],
    );

    let butler = Butler::start(&format!("plugins:\n  - use: probe\n    sha256: \"{sum}\"\n")).await;
    wait_for("the pinned plugin runs", || async {
        (instance(&butler, "probe").await["condition"]["state"] == "running").then_some(())
    })
    .await;
}

#[test]
fn a_file_named_after_another_plugin_is_refused() {
    let place = Place::new();
    let path = place.plugin("impostor");
    std::fs::copy(plugin_file("probe"), &path).unwrap();
    let right = format!("name the file {}", plugin_file_name("probe"));
    let reasons = ["holds the plugin `probe`", "its file name says `impostor`", &right];
    place.refuses_plugin("use: impostor", &[&[path.to_str().unwrap()], &reasons[..]].concat());
}

#[test]
fn a_plugin_that_everybody_may_change_is_refused() {
    let place = Place::new();
    let (folder, path) = (place.path("plugins"), place.plugin("probe"));
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    std::fs::copy(plugin_file("probe"), &path).unwrap();
    mode(&path, 0o666);
    place.refuses_plugin("use: probe", &[&format!("{} may be changed by every user", path.display()), "chmod o-w"]);
    // In such a folder everybody may put another file in its place.
    mode(&path, 0o644);
    mode(&folder, 0o777);
    place.refuses_plugin("use: probe", &[&format!("{} may be changed by every user", folder.display())]);
}

#[test]
fn settings_that_a_plugin_refuses_when_it_starts_end_the_start() {
    let place = Place::new();
    let good = "  - use: console\n";
    let bad = "  - use: probe\n    name: grumpy\n    settings: { fault: config }\n";
    let output = place.start(&format!("{PRIVATE}plugins:\n{good}{bad}"));
    assert_eq!(output.code, 2, "{output:?}");
    let [message] = messages(&output)[..] else { panic!("not one message: {output:?}") };
    assert!(message.contains("`grumpy`") && message.contains("the probe was told to refuse its settings"), "{message}");
    assert!(!place.path("butler.db.run.json").exists());

    // A plugin of ours does so as well, for what its schema cannot say.
    let place = Place::new();
    let output = place.start(&format!("{PRIVATE}plugins:\n  - use: webhook\n    settings: {{ url: \"ftp://x/\" }}\n"));
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains("`webhook` refuses its settings") && output.stderr.contains("ftp"), "{output:?}");
}

#[tokio::test]
async fn an_instance_that_is_not_available_yet_comes_up_later_and_gets_what_waited() {
    let sink = Sink::start().await;
    let config = format!(
        "plugins:\n  - use: probe\n    on: [{{ events: [reload-task.failed] }}]\n    \
         retry: {{ initial: 50ms, max: 200ms }}\n    settings: {{ fault: unavailable, url: \"{}\" }}\n",
        sink.url("/report")
    );
    let butler = Butler::start(&config).await;
    wait_for("the first start fails", || async { butler.log().contains("not yet").then_some(()) }).await;
    butler.send(&[failed_task()]);
    wait_for("the second start works", || async {
        (instance(&butler, "probe").await["condition"]["state"] == "running").then_some(())
    })
    .await;
    sink.wait_where("the report of the delivery", |request| request.target == "/report").await;
}

#[tokio::test]
async fn an_instance_that_panics_when_it_starts_harms_no_other_and_is_tried_again() {
    let sink = Sink::start().await;
    let config = format!(
        "plugins:\n  - use: probe\n    settings: {{ fault: panicInStart }}\n  - use: webhook\n    settings: {{ url: \"{}\" }}\n",
        sink.url("/")
    );
    let butler = Butler::start(&config).await;
    wait_for("a second attempt", || async { (butler.log().matches("cannot start yet").count() >= 2).then_some(()) })
        .await;
    let row = instance(&butler, "probe").await;
    assert_ne!(row["condition"]["state"], "running", "{row}");
    wait_for("the reason is told", || async {
        let row = instance(&butler, "probe").await;
        let message = row["condition"]["message"].as_str().unwrap_or_default().to_owned();
        message.contains("the probe was told to panic").then_some(())
    })
    .await;
    butler.send(&[failed_task()]);
    sink.wait(1).await;
    let (status, _) = butler.get("/v5/health/live").await;
    assert_eq!(status, 200);
}
