//! Plugin files that must be refused before anything of them runs, each with one clear message; instances that cannot start.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
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
    let needed = format!("this Butler needs {}", needed_version());
    place.refuses_plugin("use: other-version", &[&path, "butler-plugin-api 9.0.0", &needed, "install a newer Butler"]);
}

/// Major and minor version of the plugin API.
fn api_version() -> (u32, u32) {
    let mut numbers = butler_plugin_api::API_VERSION.split('.').map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// The versions that the host takes, as its messages tell them.
fn needed_version() -> String {
    match api_version() {
        (0, minor) => format!("0.{minor}"),
        (major, 0) => format!("{major}.0"),
        (major, minor) => format!("{major}.0 to {major}.{minor}"),
    }
}

/// The plugin of version 9.0.0 as one of another version.
fn provide_version(place: &Place, version: &str) -> PathBuf {
    let path = place.plugin("other-version");
    let mut bytes = std::fs::read(plugin_file("other-version")).unwrap();
    assert_eq!(version.len(), 5, "{version} must fit into the place of 9.0.0");
    let places: Vec<usize> = (0..bytes.len() - 5).filter(|at| bytes[*at..].starts_with(b"9.0.0")).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + 5].copy_from_slice(version.as_bytes());
    }
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_plugin_of_a_newer_minor_api_version_is_refused() {
    let (major, minor) = api_version();
    let newer = format!("{major}.{}.0", minor + 1);
    let place = Place::new();
    let path = provide_version(&place, &newer).display().to_string();
    let found = format!("butler-plugin-api {newer}");
    let needed = format!("this Butler needs {};", needed_version());
    place.refuses_plugin("use: other-version", &[&path, &found, &needed, "install a newer Butler"]);
}

#[test]
fn a_plugin_of_an_older_major_api_version_is_refused() {
    let older = if api_version().0 == 0 { "0.0.1" } else { "0.9.0" };
    let place = Place::new();
    let path = provide_version(&place, older).display().to_string();
    let found = format!("butler-plugin-api {older}");
    let needed = format!("this Butler needs {};", needed_version());
    place.refuses_plugin("use: other-version", &[&path, &found, &needed, "install a newer build of the plugin"]);
}

#[test]
fn a_plugin_of_a_version_that_fits_is_refused_by_its_layout_only() {
    let (major, minor) = api_version();
    // The oldest minor version that fits, and another patch version.
    let fitting = if major == 0 { format!("0.{minor}.7") } else { format!("{major}.0.7") };
    let place = Place::new();
    let path = provide_version(&place, &fitting).display().to_string();
    place.refuses_plugin("use: other-version", &[&path, &format!("butler-plugin-api {fitting}"), "another layout"]);
}

#[test]
fn a_plugin_of_another_layout_is_refused() {
    let place = Place::new();
    let path = place.plugin("other-layout").display().to_string();
    let reasons =
        [&*format!("says butler-plugin-api {}", butler_plugin_api::API_VERSION), "another layout", "build it again"];
    let output = place.refuses_plugin("use: other-layout", &[&[&*path], &reasons[..]].concat());
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

/// Puts a number of the processor into the headers of an ELF file.
fn with_machine(mut elf: Vec<u8>, machine: u16) -> Vec<u8> {
    elf[18..20].copy_from_slice(&machine.to_le_bytes());
    elf
}

/// The headers of a Windows library for 64-bit Intel processors, without sections.
fn windows_library() -> Vec<u8> {
    let mut file = vec![0; 512];
    file[..2].copy_from_slice(b"MZ");
    file[60] = 64;
    file[64..68].copy_from_slice(b"PE\0\0");
    file[68..70].copy_from_slice(&0x8664_u16.to_le_bytes());
    // Size of the optional header; an executable image that is a library.
    file[84] = 240;
    file[86..88].copy_from_slice(&0x2022_u16.to_le_bytes());
    file[88..90].copy_from_slice(&0x020b_u16.to_le_bytes());
    // Number of data directories.
    file[196] = 16;
    file
}

/// The headers of a macOS library for 64-bit ARM processors, without load commands.
fn macos_library() -> Vec<u8> {
    [0xfeed_facf_u32, 0x0100_000c, 0, 6, 0, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A macOS library for several processors, in part.
fn universal_macos_library() -> Vec<u8> {
    [0xcafe_babe_u32, 2, 0x0100_0007, 3].iter().flat_map(|word| word.to_be_bytes()).collect()
}

#[test]
fn a_plugin_of_another_system_or_processor_is_refused_and_both_are_named() {
    let probe = std::fs::read(plugin_file("probe")).unwrap();
    // EM_AARCH64, or EM_X86_64 on such a machine.
    let (machine, name) = if cfg!(target_arch = "aarch64") { (62, "X86_64") } else { (183, "Aarch64") };
    let needed = if cfg!(target_arch = "aarch64") { "Linux on Aarch64" } else { "Linux on X86_64" };
    let files = [
        (with_machine(probe.clone(), machine), format!("Linux on {name}")),
        (with_machine(probe, 243), "Linux on Riscv64".to_owned()),
        (windows_library(), "Windows on X86_64".to_owned()),
        (windows_library()[..320].to_vec(), "Windows".to_owned()),
        (macos_library(), "macOS on Aarch64".to_owned()),
        (universal_macos_library(), "macOS".to_owned()),
    ];
    for (bytes, found) in files {
        let place = Place::new();
        let path = place.plugin("foreign");
        std::fs::write(&path, bytes).unwrap();
        let (built, needs) = (format!("was built for {found}, "), format!("this system needs {needed};"));
        place
            .refuses_plugin("use: foreign", &[path.to_str().unwrap(), &built, &needs, "install the plugin's file for"]);
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
