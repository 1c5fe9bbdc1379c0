//! Starts of a new version that are refused: nothing of what the old one has left is changed.

use std::net::{TcpListener, UdpSocket};
use std::path::Path;

use e2e::{Butler, Output, old_store, run_with, sqlite};
use tempfile::TempDir;

use super::{PLAIN, PRESENT, assert_as_before, contents, copies, write_config};

fn start(folder: &Path, config: &str) -> Output {
    let config = write_config(folder, config);
    run_with(&["run", "-c", config.to_str().unwrap()], &[])
}

/// Starts over the store of the first version; the start is refused with this exit code and these words.
fn refuses(what: &str, config: &str, code: i32, words: &[&str]) {
    let folder = TempDir::new().unwrap();
    let store = old_store(folder.path(), 1, 0);
    write_config(folder.path(), config);
    let before = contents(folder.path());
    let output = start(folder.path(), config);
    assert_eq!(output.code, code, "{what}: {output:?}");
    for word in words {
        assert!(output.stderr.contains(word), "{what}: `{word}` is not in {output:?}");
    }
    assert_as_before(folder.path(), &before, what);
    // The cause mended, it works.
    let output = run_with(&["doctor", "-c", write_config(folder.path(), PLAIN).to_str().unwrap()], &[]);
    assert!(output.stdout.contains("has version 1"), "{what}: {output:?}");
    assert_eq!(sqlite(&store, "PRAGMA user_version;"), "1");
}

#[test]
fn what_refuses_a_start_comes_before_the_store_is_touched() {
    let with = |more: &str| format!("{PLAIN}{more}\n");
    refuses("an unknown key", &with("qlick: {}"), 2, &["qlick: unknown key", "did you mean `qlik`?"]);
    refuses("no such plugin", &with("plugins: [{ use: telegraph }]"), 2, &["no plugin `telegraph`"]);
    let newer = with("plugins: [{ use: other-version }]");
    refuses("a plugin of a newer API", &newer, 2, &["butler-plugin-api 9.0.0", "install a newer Butler"]);
    refuses("a plugin of another layout", &with("plugins: [{ use: other-layout }]"), 2, &["another layout"]);
    let sum = format!("plugins: [{{ use: console, sha256: \"{}\" }}]", "0".repeat(64));
    refuses("a plugin that is not the one pinned", &with(&sum), 2, &["sha256", "butler plugins pin"]);
    let settings = with("plugins: [{ use: webhook, settings: { urll: \"http://localhost/\" } }]");
    refuses("settings that do not fit", &settings, 2, &["plugins[0].settings.urll: unknown key"]);

    let rest = "rest: { listen: \"127.0.0.1:0\"";
    let tls = PLAIN.replace(rest, &format!("{rest}, tls: {{ certificate: no.pem, key: no_key.pem }}"));
    refuses("no certificate for REST", &tls, 2, &["no.pem", "cannot be read"]);
    let qlik = "qlik: { host: 127.0.0.1, user: \"LAB\\\\b\", certificates: { client: c.pem, key: k.pem, ca: r.pem } }";
    refuses("no certificates for Qlik Sense", &with(qlik), 1, &["c.pem", "cannot be read"]);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = PLAIN.replace("127.0.0.1:0", &address);
    refuses("the REST port is taken", &config, 1, &[&address, "`rest.listen`", "perhaps another Butler"]);
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = with(&format!("udp: {{ listen: \"{address}\" }}"));
    refuses("the UDP port is taken", &config, 1, &[&address, "`udp.listen`", "in use"]);
    let config = with(&format!("udp: {{ listen: \"127.0.0.1:0\", sessions: {{ listen: \"{address}\" }} }}"));
    refuses("the port for sessions is taken", &config, 1, &[&address, "`udp.sessions.listen`"]);
}

#[test]
fn a_newer_store_is_refused_and_the_copy_to_go_back_to_is_named() {
    let folder = TempDir::new().unwrap();
    let store = old_store(folder.path(), PRESENT, 0);
    let newer = PRESENT + 1;
    sqlite(&store, &format!("PRAGMA user_version = {newer};"));
    // Its update was killed when all but the name of its copy was done.
    let copy = format!("butler.v{PRESENT}-20260102T030405Z.bak.part");
    for name in [&copy, &format!("butler.v{PRESENT}-20250102T030405Z.bak"), "butler.v1-20260303T030405Z.bak.new"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    let config = write_config(folder.path(), PLAIN);
    let before = contents(folder.path());
    let output = start(folder.path(), PLAIN);
    let (found, known) = (format!("has version {newer}"), format!("knows up to {PRESENT}"));
    let words = [found.as_str(), &known, "left as it was", "install the newer Butler again", &copy, "The way back"];
    assert_eq!(output.code, 1, "{output:?}");
    assert!(words.iter().all(|word| output.stderr.contains(word)), "{output:?}");
    let output = run_with(&["doctor", "-c", config.to_str().unwrap()], &[]);
    let line = output.stdout.lines().find(|line| line.contains(&found)).unwrap_or_else(|| panic!("{output:?}"));
    assert!(line.starts_with("failed"), "{line}");
    assert!(words.iter().all(|word| line.contains(word)), "{line}");
    assert_as_before(folder.path(), &before, "");
}

#[test]
fn doctor_says_beforehand_what_becomes_of_the_store() {
    let folder = TempDir::new().unwrap();
    old_store(folder.path(), 1, 0);
    let config = write_config(folder.path(), PLAIN);
    let before = contents(folder.path());
    let output = run_with(&["doctor", "-c", config.to_str().unwrap()], &[]);
    let line =
        output.stdout.lines().find(|line| line.contains("butler.db has version")).expect("a line about the store");
    assert!(line.starts_with("note"), "{line}");
    for word in ["has version 1", &format!("copies it and brings it to {PRESENT}"), "which takes 5 MB"] {
        assert!(line.contains(word), "`{word}` is not in {line}");
    }
    assert_as_before(folder.path(), &before, "");
}

#[tokio::test]
async fn a_new_version_beside_a_running_one_is_told_who_has_the_store_and_who_the_port() {
    let butler = Butler::start("plugins: []\n").await;
    let address = butler.rest().trim_start_matches("http://").to_owned();
    let refused = async |store: String| {
        let config = format!("version: 1\nstore: {{ path: {store} }}\nrest: {{ listen: \"{address}\" }}\n");
        tokio::task::spawn_blocking(move || {
            let folder = TempDir::new().unwrap();
            let output = start(folder.path(), &config);
            assert_eq!(copies(folder.path()).len(), 0);
            assert!(!folder.path().join("butler.db").exists(), "no store is made in vain");
            output
        })
        .await
        .unwrap()
    };
    // Store and port: the store says who it is.
    let output = refused(butler.folder().join("butler.db").display().to_string()).await;
    let who = format!("in use by another Butler (process {}, Butler {})", butler.pid(), env!("CARGO_PKG_VERSION"));
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains(&who) && !output.stderr.contains("rest.listen"), "{output:?}");
    let output = refused("butler.db".to_owned()).await;
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("`rest.listen`") && output.stderr.contains("another Butler, has it"), "{output:?}");
    assert_eq!(butler.get("/v5/health/ready").await.0, 200);
}
