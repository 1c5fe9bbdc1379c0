//! The store of an earlier version on Windows: brought to this one with a copy beside it; and a newer one, refused.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use e2e::{STORE_VERSION, Wine, old_store, sqlite};
use tempfile::TempDir;

use super::{stops, wine};

const COUNTS: &str = "SELECT count(*) FROM events; SELECT count(*) FROM keys; SELECT count(*) FROM deliveries;";

/// Names of the copies in a folder, finished or not.
fn copies(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".bak")).collect()
}

/// Starts over the store of version 1 in a folder that is named by this path.
async fn migrates(wine: &Wine, folder: &Arc<TempDir>, inside: &str) {
    let store = old_store(folder.path(), 1, 0);
    let before = sqlite(&store, COUNTS);
    let config = format!("store: {{ path: '{inside}\\butler.db' }}\nplugins: []\n");
    let log = stops(wine.butler(folder, &config).await).await;
    assert!(log.contains("the store is migrated"), "{log}");
    let names = copies(folder.path());
    let [copy] = &names[..] else { panic!("{names:?}\n{log}") };
    assert!(copy.starts_with("butler.v1-") && Path::new(copy).extension().is_some_and(|end| end == "bak"), "{names:?}");
    let version = "PRAGMA user_version; PRAGMA integrity_check;";
    assert_eq!(sqlite(&store, version), format!("{STORE_VERSION}\nok"));
    let copy = folder.path().join(copy);
    assert_eq!(sqlite(&copy, version), "1\nok");
    assert_eq!(sqlite(&copy, COUNTS), before, "the copy is whole");
    let log = stops(wine.butler_as_is(folder, &[]).await).await;
    assert!(!log.contains("the store is migrated"), "{log}");
    assert_eq!(copies(folder.path()), names);
}

#[tokio::test]
async fn an_older_store_is_copied_and_brought_to_this_version() {
    let wine = wine();
    for form in [r"C:\", r"\\?\C:\"] {
        let folder = wine.folder_on_c("büro größe ");
        let name = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
        migrates(&wine, &folder, &format!("{form}{name}")).await;
    }
}

#[tokio::test]
async fn a_newer_store_is_refused_untouched_and_the_copy_to_go_back_to_is_named() {
    let (wine, folder) = (wine(), wine().folder_on_c("büro größe "));
    let store = old_store(folder.path(), STORE_VERSION, 0);
    sqlite(&store, &format!("PRAGMA user_version = {};", STORE_VERSION + 1));
    let copy = folder.path().join(format!("butler.v{STORE_VERSION}-20260102T030405Z.bak"));
    fs::write(&copy, "").unwrap();
    let before = fs::read(&store).unwrap();
    let config = wine.prepare(&folder, "plugins: []\n");
    let output = wine.ask(&["run", "-c", &Wine::path(&config)]).await;
    assert_eq!(output.code, 1, "{output:?}");
    for word in ["left as it was", &format!("has version {}", STORE_VERSION + 1), &Wine::path(&copy)] {
        assert!(output.stderr.contains(word), "`{word}` is not in {output:?}");
    }
    assert!(fs::read(&store).unwrap() == before, "the store is as it was");
}
