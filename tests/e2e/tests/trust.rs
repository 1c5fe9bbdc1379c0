//! Which plugin files are opened: pins, files in the way of others, rights along the way.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use e2e::place::{PRIVATE, Place};
use e2e::{Butler, Output, plugin_file, plugin_file_name, run};
use tempfile::TempDir;

fn pin(config: &Path, plugins: &[&str]) -> Output {
    run(&[&["plugins", "pin", "-c", config.to_str().unwrap()], plugins].concat())
}

#[tokio::test]
async fn pins_that_butler_writes_let_the_plugin_start_and_no_other_file() {
    let folder = Arc::new(TempDir::new().unwrap());
    let plugins = folder.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    let file = plugins.join(plugin_file_name("webhook"));
    std::fs::copy(plugin_file("webhook"), &file).unwrap();
    let entry = "pluginDirs: [plugins]\nplugins:\n  # the chat of the night shift\n  - use: webhook\n    \
                 settings: { url: \"http://127.0.0.1:9/\" }\n  - { use: console }\n";
    let config = Butler::prepare(&folder, entry);
    let before = std::fs::read_to_string(&config).unwrap();

    let pinned = pin(&config, &[]);
    assert_eq!(pinned.code, 0, "{pinned:?}");
    assert!(pinned.stdout.contains(file.to_str().unwrap()) && pinned.stdout.contains("2 instances"), "{pinned:?}");
    let after = std::fs::read_to_string(&config).unwrap();
    let without: Vec<&str> = after.lines().filter(|line| !line.trim_start().starts_with("sha256: ")).collect();
    assert_eq!(without.len(), before.lines().count(), "{after}");
    assert!(after.contains("# the chat of the night shift") && after.contains("{ use: console, sha256: \""), "{after}");
    let again = pin(&config, &[]);
    assert!(again.code == 0 && again.stdout.contains("has these pins already"), "{again:?}");
    assert_eq!(std::fs::read_to_string(&config).unwrap(), after);

    let (status, log) = Butler::start_in(folder.clone(), &after, &[]).await.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");

    // Another file: a byte more than before.
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.push(0);
    std::fs::write(&file, bytes).unwrap();
    let check = run(&["check", "-c", config.to_str().unwrap()]);
    assert_eq!(check.code, 2, "{check:?}");
    assert!(check.stderr.contains("butler plugins pin") && !check.stderr.contains("console"), "{check:?}");
    let pinned = pin(&config, &["webhook"]);
    assert!(pinned.code == 0 && pinned.stdout.contains("1 instance pinned"), "{pinned:?}");
    let check = run(&["check", "-c", config.to_str().unwrap()]);
    assert!(!check.stderr.contains("sha256"), "{check:?}");
}

#[test]
fn what_cannot_be_pinned_leaves_the_config_as_it_is() {
    let place = Place::new();
    let config = place.path("butler.yaml");
    let text = format!("{PRIVATE}plugins:\n  - use: absent\n  - use: console\n");
    std::fs::write(&config, &text).unwrap();
    let pinned = pin(&config, &[]);
    assert!(pinned.code == 1 && pinned.stderr.contains("no plugin `absent`"), "{pinned:?}");
    let pinned = pin(&config, &["teams"]);
    assert!(pinned.code == 1 && pinned.stderr.contains("does not use the plugin `teams`"), "{pinned:?}");
    assert_eq!(std::fs::read_to_string(&config).unwrap(), text);
}

#[tokio::test]
async fn a_plugin_in_the_way_of_a_bundled_one_is_reported() {
    let folder = Arc::new(TempDir::new().unwrap());
    std::fs::create_dir(folder.path().join("plugins")).unwrap();
    let file = folder.path().join("plugins").join(plugin_file_name("console"));
    std::fs::copy(plugin_file("console"), &file).unwrap();
    let config = "pluginDirs: [plugins]\nplugins:\n  - use: console\n";
    let butler = Butler::start_in(folder.clone(), config, &[]).await;
    let told = format!("the plugin `console` is {}, which hides {}", file.display(), plugin_file("console").display());
    assert!(butler.log().contains(&told), "{}", butler.log());
    let list = run(&["plugins", "list", "-c", butler.config().to_str().unwrap()]);
    assert!(list.stdout.contains(&format!("hides {}", plugin_file("console").display())), "{list:?}");
    butler.stop().await;
}

#[test]
fn a_plugin_whose_folder_could_be_replaced_by_everybody_is_refused() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("open/plugins")).unwrap();
    let file = place.path("open/plugins").join(plugin_file_name("probe"));
    std::fs::copy(plugin_file("probe"), &file).unwrap();
    std::fs::set_permissions(place.path("open"), PermissionsExt::from_mode(0o777)).unwrap();
    let config = format!("{}plugins:\n  - use: probe\n", PRIVATE.replace("[plugins]", "[open/plugins]"));
    let output = place.start(&config);
    assert_eq!(output.code, 2, "{output:?}");
    let told = format!("{} may be changed by every user", place.path("open").display());
    assert!(output.stderr.contains(&told), "{output:?}");
    place.untouched();
}
