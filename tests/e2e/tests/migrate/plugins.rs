//! How the host asks plugins: with one that does as the old config tells it.

use std::path::Path;
use std::process::{Command, Stdio};

use e2e::{Output, butler_exe, plugin_file, plugin_file_name, target_dir};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The executable in a folder with no other plugin than the rogue.
struct Alone(TempDir);

impl Alone {
    fn new(plugins: &[&str]) -> Self {
        // A link needs the same disk.
        let folder = tempfile::Builder::new().prefix("migrate-").tempdir_in(target_dir()).unwrap();
        let alone = Self(folder);
        provide(&butler_exe(), &alone.path().join("butler"));
        for plugin in plugins {
            provide(&plugin_file(plugin), &alone.path().join(plugin_file_name(plugin)));
        }
        alone
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn migrate(&self, butler: &Value) -> Output {
        let (old, out) = (self.path().join("old.yaml"), self.path().join("new"));
        std::fs::write(&old, serde_json::to_string_pretty(&json!({ "Butler": butler })).unwrap()).unwrap();
        let _ = std::fs::remove_dir_all(&out);
        let output = Command::new(self.path().join("butler"))
            .arg("migrate")
            .arg(&old)
            .arg("--out")
            .arg(&out)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Output { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join("new").join(name)).unwrap()
    }
}

fn provide(from: &Path, to: &Path) {
    std::fs::hard_link(from, to).or_else(|_| std::fs::copy(from, to).map(drop)).unwrap();
}

#[test]
fn what_a_plugin_makes_of_the_old_config_becomes_the_new_one() {
    let alone = Alone::new(&["rogue"]);
    let butler = json!({
        "logLevel": "info",
        "rogue": { "ca": "/ca.pem", "instances": [{ "url": "http://one", "secret": "first-secret" }, { "url": "http://two" }, { "url": "http://three", "name": "own" }] },
    });
    let output = alone.migrate(&butler);
    assert_eq!(output.code, 0, "{output:?}");
    let config = alone.read("butler.yaml");
    let entry = |name: &str, url: &str, secret: &str| {
        format!("  - use: rogue\n{name}    settings:\n      url: \"{url}\"\n      secret: \"{secret}\"\n")
    };
    let entries = [
        entry("", "http://one", "${file:secrets/rogue.instances.0.secret}"),
        entry("    name: rogue-2\n", "http://two", ""),
        entry("    name: own\n", "http://three", ""),
    ];
    let expected = format!("plugins:\n{}", entries.join("\n"));
    assert!(config.ends_with(&format!("\ntls:\n  rogue:\n    ca: /ca.pem\n\n{expected}")), "{config}");
    assert_eq!(alone.read("secrets/rogue.instances.0.secret"), "first-secret\n");
    let report = alone.read("migration.md");
    for part in ["`rogue.instances[1].url`: it is odd (rogue)", "| `rogue.instances[0].secret` | taken over | rogue |"]
    {
        assert!(report.contains(part), "{part}: {report}");
    }
    assert!(output.stdout.contains("     0  not known\n"), "{output:?}");
}

#[test]
fn a_plugin_that_fails_is_told_and_the_rest_is_migrated() {
    let alone = Alone::new(&["rogue", "heartbeat"]);
    for (does, part) in [
        ("panic", "told to panic at Import"),
        ("block", "it did not answer within 10 s"),
        ("nonsense", "its answer cannot be read"),
        ("outside", "it wants a secret in `../outside`, which is no file in the folder `secrets`"),
        ("other", "an entry of its answer is no mapping, or names a plugin"),
    ] {
        let output = alone.migrate(&json!({ "logLevel": "debug", "rogue": { "does": does } }));
        assert_eq!(output.code, 1, "{does}: {output:?}");
        let told = format!("the plugin `rogue` could not translate its sections: {part}");
        assert!(output.stdout.contains(&told) || does == "panic" && output.stdout.contains(part), "{does}: {output:?}");
        assert!(alone.read("migration.md").contains(part), "{does}");
        assert!(alone.read("butler.yaml").contains("level: debug"), "{does}");
        assert!(output.stdout.contains("rogue: nobody who was asked knows it"), "{does}: {output:?}");
        assert!(!alone.path().join("outside").exists());
    }
    // What it says of settings is checked as well.
    let output = alone.migrate(&json!({ "rogue": { "instances": [{ "url": "x", "fault": "odd" }] } }));
    assert!(output.code == 1 && output.stderr.contains("plugins[0].settings.fault"), "{output:?}");
}

#[test]
fn a_file_that_is_no_plugin_is_left_out() {
    let alone = Alone::new(&["rogue", "other-version"]);
    let output = alone.migrate(&json!({ "logLevel": "info" }));
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stdout.contains("the plugin `other-version` is left out: "), "{output:?}");

    let alone = Alone::new(&[]);
    let output = alone.migrate(&json!({ "logLevel": "info" }));
    assert!(output.code == 1 && output.stdout.contains("no plugin was found that knows Butler 16"), "{output:?}");
}
