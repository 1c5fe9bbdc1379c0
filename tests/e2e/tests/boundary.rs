//! Rules of the plugin boundary that hold for sources, not for a running host.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::target_dir;
use tempfile::TempDir;

/// The top folder of the sources.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Files with an ending below some folders.
fn files(folders: &[&str], ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| sources().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                folders.push(path);
            } else if path.to_str().is_some_and(|name| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// A complete plugin that names no crate but the plugin API, and has no unsafe code of its own.
const PLUGIN: &str = r#"
#![forbid(unsafe_code)]
use butler_plugin_api::{Host, Manifest, Plugin, StartError};
struct Small;
impl Plugin for Small {
    type Settings = ();
    fn manifest() -> Manifest { Manifest::new("small", "Does nothing") }
    async fn start(_: (), _: Host) -> Result<Self, StartError> { Ok(Self) }
}
butler_plugin_api::export!(Small);
"#;

/// Compiles the plugin, without linking it; what the compiler said, if it refused.
fn compile(panic: &str) -> Result<(), String> {
    let folder = TempDir::new().unwrap();
    let source = folder.path().join("small.rs");
    std::fs::write(&source, PLUGIN).unwrap();
    let api = target_dir().join("libbutler_plugin_api.rlib");
    assert!(api.is_file(), "{} is missing: run `cargo build --workspace` first", api.display());
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        // What cargo would set.
        .env("CARGO_PKG_VERSION", "1.2.3")
        .args(["--edition", "2024", "--crate-type", "cdylib", "--emit", "metadata", "-C"])
        .arg(format!("panic={panic}"))
        .arg("--extern")
        .arg(format!("butler_plugin_api={}", api.display()))
        .arg("-L")
        .arg(format!("dependency={}", target_dir().join("deps").display()))
        .arg("--out-dir")
        .arg(folder.path())
        .arg(&source)
        .output()
        .expect("rustc is there");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn export_works_without_unsafe_code_and_without_other_crates() {
    compile("unwind").unwrap();
}

#[test]
fn export_refuses_to_compile_with_panic_abort() {
    let refusal = compile("abort").unwrap_err();
    let errors = refusal.lines().filter(|line| line.starts_with("error")).count();
    assert!(refusal.contains("a Butler plugin must be built with panic = \"unwind\""), "{refusal}");
    assert!(errors <= 2, "no other error hides it: {refusal}");
}

#[test]
fn only_the_boundary_has_unsafe_code() {
    for path in files(&["host/src", "plugin-api/src", "plugins"], ".rs") {
        if path.starts_with(sources().join("plugin-api/src/abi")) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            // The one attribute that `export!` needs.
            let allowed = code.trim() == "#[unsafe(no_mangle)]" && path.ends_with("plugin-api/src/lib.rs");
            let found = code.contains("unsafe ")
                || code.contains("unsafe{")
                || code.contains("unsafe_code")
                || code.contains("unsafe(");
            assert!(!found || allowed, "{}:{}: unsafe code outside of plugin-api/src/abi", path.display(), number + 1);
        }
    }
}

#[test]
fn every_unsafe_block_of_the_boundary_says_why_it_is_safe() {
    for path in files(&["plugin-api/src/abi"], ".rs") {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (number, line) in lines.iter().enumerate().filter(|(_, line)| line.contains("unsafe {")) {
            let above = &lines[number.saturating_sub(3)..number];
            let told = above.iter().any(|line| line.starts_with("// SAFETY: "));
            assert!(told, "{}:{}: no `// SAFETY:` note above `{line}`", path.display(), number + 1);
        }
    }
}

#[test]
fn only_the_plugin_api_names_the_library_below_it() {
    for path in files(&["host", "plugins", "tests/third-party", "tests/e2e", "tests/bench"], "Cargo.toml") {
        if path.starts_with(sources().join("tests/third-party/frozen-api")) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for name in ["abi_stable", "async-ffi", "libloading"] {
            assert!(!text.contains(name), "{} names {name}, which stays behind butler-plugin-api", path.display());
        }
    }
}

#[test]
fn what_hosts_judge_a_plugin_by_is_raised_on_purpose_only() {
    let text = |path: &str| std::fs::read_to_string(sources().join(path)).unwrap();
    let api = text("plugin-api/Cargo.toml");
    let own = format!("\nversion = \"{}\"\n", butler_plugin_api::API_VERSION);
    assert!(api.contains(&own), "butler-plugin-api has no version of its own");
    for pin in ["\nabi_stable = { version = \"=0.11.3\",", "\nasync-ffi = { version = \"=0.5.1\","] {
        assert!(text("Cargo.toml").contains(pin), "not pinned: {pin}");
    }
}

#[test]
fn plugins_import_nothing_else_of_ours() {
    for path in files(&["plugins", "tests/third-party"], "Cargo.toml") {
        if path.starts_with(sources().join("tests/third-party/frozen-api")) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let (_, dependencies) = text.split_once("\n[dependencies]\n").expect("a plugin has dependencies");
        let dependencies = dependencies.split("\n[").next().unwrap_or_default();
        for line in dependencies.lines() {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            let ours =
                ["butler", "e2e", "qlik-simulator", "bench"].contains(&name) || name.starts_with("butler-plugin");
            assert!(!ours || name == "butler-plugin-api", "{} depends on {name}", path.display());
        }
    }
}
