//! Starts that must be refused: a folder for each, and how the refusal is to look.
#![allow(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    clippy::new_without_default,
    reason = "for tests, which may panic"
)]

use std::path::PathBuf;

use tempfile::TempDir;

use crate::{Output, plugin_file_name, provide_test_plugins, run_with};

/// Sections that keep a config from touching anything but its own folder.
pub const PRIVATE: &str =
    "version: 1\nstore: { path: butler.db }\nrest: { listen: \"127.0.0.1:0\" }\npluginDirs: [plugins]\n";

/// A folder for a start that is to be refused.
pub struct Place(TempDir);

impl Place {
    /// An empty one.
    pub fn new() -> Self {
        let place = Self(TempDir::new().unwrap());
        std::fs::create_dir(place.path("plugins")).unwrap();
        place
    }

    /// Something in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The file of a plugin in its `plugins`.
    pub fn plugin(&self, name: &str) -> PathBuf {
        self.path("plugins").join(plugin_file_name(name))
    }

    /// Starts the daemon with exactly this config; it must end by itself.
    pub fn start(&self, config: &str) -> Output {
        self.start_with(config, &[])
    }

    /// The same with environment variables.
    pub fn start_with(&self, config: &str, environment: &[(&str, &str)]) -> Output {
        let path = self.path("butler.yaml");
        std::fs::write(&path, config).unwrap();
        provide_test_plugins(self.0.path(), config);
        run_with(&["run", "-c", path.to_str().unwrap()], environment)
    }

    /// Starts it with one instance of a plugin, which must be refused as a fault of the config: the line of the entry,
    /// the reason, and no trace of a start.
    pub fn refuses_plugin(&self, entry: &str, reasons: &[&str]) -> Output {
        let config = format!("{PRIVATE}plugins:\n  - {entry}\n");
        let output = self.start(&config);
        let config = self.path("butler.yaml");
        assert_eq!(output.code, 2, "{output:?}");
        assert!(output.stderr.starts_with(&format!("1 error in {}\n", config.display())), "{output:?}");
        assert!(output.stderr.contains(&format!("\n{}:6:", config.display())), "{output:?}");
        assert!(output.stderr.contains(" plugins[0].use: "), "{output:?}");
        for reason in reasons {
            assert!(output.stderr.contains(reason), "`{reason}` is not in {output:?}");
        }
        self.untouched();
        output
    }

    /// Nothing was made beside the config and the plugins.
    pub fn untouched(&self) {
        let made: Vec<String> = std::fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains("butler.db"))
            .collect();
        assert!(made.is_empty(), "{made:?}");
    }
}

/// What was written to standard error apart from log lines, which begin with their time.
pub fn messages(output: &Output) -> Vec<&str> {
    let is_log = |line: &&str| line.get(..5).is_some_and(|start| start.ends_with('-') && start.starts_with("20"));
    output.stderr.lines().filter(|line| !is_log(line)).collect()
}

/// Ended with exit code 1 and one message, which says all of this.
pub fn fails_with(output: &Output, parts: &[&str]) {
    assert_eq!(output.code, 1, "{output:?}");
    let [message] = messages(output)[..] else { panic!("not one message: {output:?}") };
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in `{message}`");
    }
    assert!(message.matches("os error").count() <= 1, "the cause is told twice: {message}");
    assert_eq!(output.stderr.matches(" ERROR ").count(), 0, "{output:?}");
}
