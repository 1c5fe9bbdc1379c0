//! `butler plugins new`: what it writes is formatted, builds without a warning and passes its own tests, which run the real
//! executable.
//!
//! Nothing is fetched: the crates are built offline, with the workspace's lock file as the beginning of their own, against
//! the `plugin-api` of this checkout. Crates and their target folder stay where they are, so only the first run takes long.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use e2e::{butler_exe, target_dir};
use tempfile::TempDir;

/// The checkout.
fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Runs `butler plugins new` in a folder.
fn new(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(butler_exe()).args(["plugins", "new"]).args(arguments).current_dir(folder).output().unwrap()
}

/// Has the crate written; its folder.
fn written(folder: &Path, name: &str, options: &[&str]) -> PathBuf {
    let checkout = checkout();
    let output = new(folder, &[&[name, "--api-path", checkout.to_str().unwrap()], options].concat());
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    let package = format!("butler-plugin-{name}");
    for word in [&format!("cd {package}"), "cargo test", "cargo build --release", "pluginDirs", &format!("use: {name}")]
    {
        assert!(stdout.contains(word), "{word} is missing in: {stdout}");
    }
    folder.join(package)
}

/// Runs cargo in a crate; its output, which must not have a warning.
fn cargo_in(krate: &Path, arguments: &[&str]) -> String {
    let output = Command::new(cargo())
        .args(arguments)
        .current_dir(krate)
        .env("BUTLER", butler_exe())
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_TARGET_DIR", target())
        .env("CARGO_TERM_COLOR", "never")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "cargo {}:\n{text}", arguments.join(" "));
    assert!(!text.contains("warning"), "cargo {}:\n{text}", arguments.join(" "));
    text
}

/// The target folder of all crates.
fn target() -> PathBuf {
    target_dir().join("plugins-new")
}

/// Has a crate written that can be built. It lies within the workspace's folder and must not become a part of it.
fn buildable(name: &str, options: &[&str]) -> PathBuf {
    let folder = target().join("crates");
    let former = folder.join(format!("butler-plugin-{name}"));
    if former.exists() {
        std::fs::remove_dir_all(&former).unwrap();
    }
    std::fs::create_dir_all(&folder).unwrap();
    let krate = written(&folder, name, options);
    std::fs::copy(checkout().join("Cargo.lock"), krate.join("Cargo.lock")).unwrap();
    krate
}

/// Builds a crate and runs its tests; `tests` are among them.
fn passes_its_tests(name: &str, options: &[&str], tests: &[&str]) {
    let krate = buildable(name, options);
    cargo_in(&krate, &["build"]);
    let text = cargo_in(&krate, &["test"]);
    let common = [
        "tests::an_alert_is_posted",
        "tests::a_busy_destination_gets_it_later_and_a_refused_one_never_comes_again",
        "tests::the_plugin_keeps_the_rules_of_the_house",
        "an_event_reaches_the_destination",
    ];
    for test in common.iter().chain(tests) {
        assert!(text.contains(&format!("test {test} ... ok")), "{test} did not run:\n{text}");
    }
}

#[test]
fn a_plain_plugin_builds_and_passes_its_tests() {
    passes_its_tests("plain", &[], &[]);
}

#[test]
fn a_plugin_with_everything_builds_and_passes_its_tests() {
    let tests = [
        "tests::the_endpoint_passes_a_text_on",
        "tests::each_of_the_news_is_emitted_once",
        "tests::the_feed_is_followed",
        "a_caller_of_the_endpoint_reaches_the_destination",
        "news_become_events",
    ];
    passes_its_tests("big-chat", &["--endpoint", "--source"], &tests);
}

#[test]
fn all_variants_are_formatted_with_names_of_any_length() {
    let folder = TempDir::new().unwrap();
    let variants: [&[&str]; 4] = [&[], &["--endpoint"], &["--source"], &["--endpoint", "--source"]];
    for (number, options) in variants.into_iter().enumerate() {
        for name in [format!("v{number}"), format!("v{number}-{}", "x".repeat(37))] {
            let krate = written(folder.path(), &name, options);
            cargo_in(&krate, &["fmt", "--check"]);
            assert_eq!(krate.join("src/feed.rs").exists(), options.contains(&"--source"));
        }
    }
}

#[test]
fn a_test_without_the_executable_fails_and_says_what_it_needs() {
    let krate = buildable("alone", &[]);
    let output = Command::new(cargo())
        .args(["test", "--test", "end_to_end"])
        .current_dir(&krate)
        .env("BUTLER", krate.join("nothing"))
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_TARGET_DIR", target())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success());
    assert!(text.contains("name it by the environment variable BUTLER"), "{text}");
}

#[test]
fn wrong_names_and_folders_that_exist_are_refused() {
    let folder = TempDir::new().unwrap();
    for name in ["Chat", "big_chat", "../chat", "-chat", ""] {
        let output = new(folder.path(), &["--", name]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("lower-case letters and digits, with single `-` between"), "{stderr}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    std::fs::create_dir(folder.path().join("butler-plugin-chat")).unwrap();
    let output = new(folder.path(), &["chat"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("butler-plugin-chat exists already: remove it, or take another name"), "{stderr}");
    assert_eq!(std::fs::read_dir(folder.path().join("butler-plugin-chat")).unwrap().count(), 0);
}

#[test]
fn the_api_comes_from_the_registry_unless_said_otherwise() {
    let folder = TempDir::new().unwrap();
    let manifest = |name: &str, options: &[&str]| {
        let output = new(folder.path(), &[&[name], options].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::read_to_string(folder.path().join(format!("butler-plugin-{name}/Cargo.toml"))).unwrap()
    };
    let minor = butler_plugin_api::API_VERSION.rsplit_once('.').unwrap().0;
    assert!(manifest("one", &[]).contains(&format!("butler-plugin-api = {{ version = \"~{minor}\" }}")));
    assert!(manifest("two", &["--api", "=0.7.1"]).contains("butler-plugin-api = { version = \"=0.7.1\" }"));
    let git = manifest("three", &["--api", "https://git.example.com/butler.git"]);
    assert!(git.contains("butler-plugin-api = { git = \"https://git.example.com/butler.git\" }"), "{git}");
    let output = new(folder.path(), &["four", "--api-path", "nowhere"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no folder nowhere"));
}
