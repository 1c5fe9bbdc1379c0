//! This machine: who may read secrets, where the store is, who reaches the REST server; and the destinations.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use e2e::{Disk, Sink, command, wait_for};

use super::{desk, doctor, raw, sense, write};

pub(crate) fn set(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn secrets_that_everybody_may_read_are_told() {
    let sense = sense().await;
    let config = |secret: &str| {
        sense.section("") + &format!("plugins:\n  - use: probe\n    settings: {{ secret: \"{secret}\" }}\n")
    };
    let path = write(sense.folder(), &config("hunter2-hunter2"));
    let key = sense.folder().join("certificates/client_key.pem");
    for file in [&path, &key] {
        set(file, 0o644);
    }
    // Nobody comes through the folder.
    set(sense.folder(), 0o700);
    let said = doctor(&path, &[]).await;
    said.only_fails(&[]);
    said.finds("file permissions", "ok", &["2 files with secrets", "the plugin file can be changed by nobody else"]);

    set(sense.folder(), 0o755);
    let said = doctor(&path, &[]).await;
    said.only_fails(&["file permissions"]);
    said.finds(
        "file permissions",
        "failed",
        &["`plugins[0].settings.secret` is written out in the config", "${env:NAME}"],
    );
    said.finds(
        "file permissions",
        "failed",
        &["the private key", "client_key.pem can be read by every user", "chmod 640"],
    );
    let text = format!("{:?}{:?}", said.findings, raw(&path, &[], &[]).await);
    assert!(!text.contains("hunter2"), "{text}");

    set(&key, 0o640);
    set(&path, 0o640);
    doctor(&path, &[]).await.only_fails(&[]);

    let path = write(sense.folder(), &config("${file:secret.txt}"));
    let secret = sense.folder().join("secret.txt");
    fs::write(&secret, "hunter2-hunter2").unwrap();
    set(&secret, 0o644);
    let said = doctor(&path, &[]).await;
    said.only_fails(&["file permissions"]);
    said.finds("file permissions", "failed", &["the secret in", "secret.txt can be read by every user"]);
    set(&secret, 0o600);
    doctor(&path, &[]).await.only_fails(&[]);
}

#[tokio::test]
async fn what_a_plugin_calls_a_secret_is_one_whatever_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(
        folder.path(),
        "plugins:\n  - use: teams\n    settings: { webhookUrl: \"https://127.0.0.1:1/hook\" }\n  - use: webhook\n    \
         settings: { url: \"http://127.0.0.1:1/\", headers: { Accept: text/plain } }\n",
    );
    set(folder.path(), 0o755);
    set(&path, 0o644);
    let said = doctor(&path, &[]).await;
    said.finds("file permissions", "failed", &["`plugins[0].settings.webhookUrl` is written out in the config"]);
    let open = fs::read_to_string(&path).unwrap().replace("https://127.0.0.1:1/hook", "${env:HOOK}");
    fs::write(&path, open).unwrap();
    let said = super::doctor_under(&path, &[], &[("HOOK", "https://127.0.0.1:1/hook")]).await;
    said.finds("file permissions", "ok", &["no file holds a secret"]);
}

#[tokio::test]
async fn without_room_for_temporary_files_everything_else_is_looked_at() {
    let (disk, folder) = (Disk::in_memory(1), tempfile::tempdir().unwrap());
    let path = write(folder.path(), "plugins:\n  - use: console\n");
    let temporary = disk.path().to_str().unwrap();
    fs::write(disk.path().join("full"), vec![0; 2 << 20]).unwrap_err();
    for _ in ["full", "read-only"] {
        let said = super::doctor_under(&path, &[], &[("TMPDIR", temporary)]).await;
        said.only_fails(&["instances"]);
        said.finds("instances", "failed", &[temporary, "make room"]);
        said.finds("disk space", "ok", &[]);
        said.finds("daemon", "note", &[]);
        disk.read_only();
    }
}

#[tokio::test]
async fn a_disk_without_room_and_one_that_is_read_only_are_told() {
    let (disk, folder) = (Disk::in_memory(16), tempfile::tempdir().unwrap());
    let store = |size: &str| {
        let at = disk.path().join("data/butler.db");
        write(folder.path(), &format!("store: {{ path: \"{}\", maxSize: {size} }}\n", at.display()))
    };
    doctor(&store("8MB"), &[]).await.only_fails(&[]);
    let said = doctor(&store("1GB"), &[]).await;
    said.only_fails(&["disk space"]);
    said.finds("disk space", "failed", &["1", "MB free", "may grow to 1", "make room"]);
    assert!(!disk.path().join("data").exists(), "nothing is made");
    disk.read_only();
    let said = doctor(&store("8MB"), &[]).await;
    said.only_fails(&["store"]);
    said.finds("store", "failed", &["cannot be written by this account", "Read-only", "`store.path`"]);

    let roomy = Disk::in_memory(300);
    let path = write(
        folder.path(),
        &format!("store: {{ path: \"{}\", maxSize: 4GB }}\n", roomy.path().join("b.db").display()),
    );
    let said = doctor(&path, &[]).await;
    said.only_fails(&[]);
    said.finds("disk space", "note", &["set `store.maxSize` to what the disk has"]);
}

#[tokio::test]
async fn what_the_rest_server_lets_in_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let made = command(&["token", "new", "--name", "t", "--scopes", "read"]).await.stdout;
    let tokens = made.split_once("tokens:\n").unwrap().1.replace('\n', "\n  ");
    let tokens = format!("  tokens:\n  {tokens}");
    let at = async |rest: &str| doctor(&write(folder.path(), &format!("rest:\n{rest}\n")), &[]).await;

    at("  listen: 127.0.0.1:8080").await.finds("rest", "ok", &["from this machine alone", "it has no tokens"]);
    let said = at("  listen: 0.0.0.0:8080\n  insecure: true").await;
    said.only_fails(&["rest"]);
    said.finds("rest", "failed", &["everybody who reaches 0.0.0.0:8080 may start tasks", "butler token new"]);
    let said = at(&format!("  listen: 0.0.0.0:8080\n  insecure: true\n{tokens}")).await;
    said.only_fails(&[]);
    said.finds("rest", "note", &["without encryption", "`rest.tls`"]);
    said.finds("rest", "note", &["`rest.insecure` is set, and of no use"]);
    let said = at("  listen: 0.0.0.0:8080\n  grants: [{ network: 10.0.0.0/8, scopes: [tasks] }]").await;
    said.only_fails(&[]);
    said.finds("rest", "note", &["a wide network: 10.0.0.0/8 needs no token for tasks"]);
    let said = at("  listen: 0.0.0.0:8080\n  grants: [{ network: 0.0.0.0/0, scopes: [tasks, files] }]").await;
    said.only_fails(&["rest"]);
    said.finds("rest", "failed", &["everybody: 0.0.0.0/0 needs no token for tasks, files"]);
}

#[tokio::test]
async fn a_destination_that_is_away_is_told_by_its_plugin() {
    let (sink, other, folder) = (Sink::start().await, Sink::start().await, tempfile::tempdir().unwrap());
    let away = other.address();
    let config = desk(&sink, "") + &desk(&other, "").replace("plugins:\n", "").replace("name: desk", "name: away");
    let path = write(folder.path(), &config);
    drop(other);
    wait_for("the sink is gone", || async { std::net::TcpStream::connect(away).is_err().then_some(()) }).await;
    let said = doctor(&path, &[]).await;
    said.only_fails(&["instance away"]);
    said.finds("instance desk", "ok", &[]);
    said.finds("daemon", "note", &["Butler is not running with this config", "start it"]);
}
