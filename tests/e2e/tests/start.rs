//! Starts that must be refused, each with one clear message and nothing left behind; starts that must not be.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use butler::ingest::sample::{Fields, SampleKind, message};
use e2e::place::{PRIVATE, Place, fails_with};
use e2e::qlik::Certificates;
use e2e::{Butler, Output, run_with, wait_for};
use tempfile::TempDir;

fn failed_task() -> String {
    message(SampleKind::TaskFailed, &Fields::random().unwrap())
}

#[test]
fn a_wrong_config_is_refused_with_all_its_faults_before_anything_is_done() {
    let place = Place::new();
    // Both ports are taken: a start that got as far as binding would say so.
    let (udp, rest) = (UdpSocket::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (udp_address, rest_address) = (udp.local_addr().unwrap(), rest.local_addr().unwrap());
    let config = format!(
        r#"version: 1
udp:
  listen: {udp_address}
  maxSize: 64 kilobytes
rest:
  listen: {rest_address}
  token: []
store: {{ path: butler.db }}
log: {{ level: loud }}
plugins:
  - use: console
    settings:
      format: detailled
  - use: console
    retry:
      maxAge: 24
  - use: webhook
    name: desk
    on:
      - events: [reload-task.failed]
        where:
          "task.name['a": x
    settings:
      urll: http://localhost/
  - use: webhok
qlick: {{}}
"#
    );
    let output = place.start(&config);
    assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{output:?}");
    let file = place.path("butler.yaml").display().to_string();
    let report = output.stderr.replace(&file, "FILE");
    assert!(report.starts_with("11 errors in FILE\n"), "{report}");
    let expected = [
        ("FILE:4:", "udp.maxSize: must be a whole number and a unit", ""),
        ("FILE:7:", "rest.token: unknown key", "did you mean `tokens`?"),
        ("FILE:9:", "log.level: must be one of `error`, `warn`, `info`, `debug`, `trace`, not `loud`", ""),
        (
            "FILE:13:",
            "plugins[0].settings.format: must be one of `line`, `detailed`, `json`",
            "did you mean `detailed`?",
        ),
        ("FILE:14:", "plugins[1].use: plugins[0] has the same instance name, `console`", "another `name`"),
        ("FILE:16:", "plugins[1].retry.maxAge: must be a whole number and a unit", ""),
        ("FILE:22:", "plugins[2].on[0].where['task.name['a']: ", ""),
        ("FILE:23:", "plugins[2].settings: `url` is missing", "add `url:`"),
        ("FILE:24:", "plugins[2].settings.urll: unknown key", "did you mean `url`?"),
        ("FILE:25:", "plugins[3].use: no plugin `webhok`", "did you mean `webhook`?"),
        ("FILE:26:", "qlick: unknown key", "did you mean `qlik`?"),
    ];
    let lines: Vec<&str> = report.lines().collect();
    for (line, fault, suggestion) in expected {
        let at = lines.iter().position(|text| text.starts_with(line));
        let at = at.unwrap_or_else(|| panic!("nothing about {line} in\n{report}"));
        assert!(lines[at].contains(fault), "{fault} is not in {}", lines[at]);
        let end = (at + 1..lines.len()).find(|&next| lines[next].starts_with("FILE:")).unwrap_or(lines.len());
        assert!(lines[at..end].join("\n").contains(suggestion), "{suggestion} is not in\n{report}");
    }
    place.untouched();
}

/// What is promised about updates: nothing is left out that an older Butler does not know, and nothing is made.
#[test]
fn a_config_of_a_newer_butler_is_refused_before_anything_is_done() {
    let place = Place::new();
    for (config, line, fault, remedy) in [
        ("store: { path: butler.db }\n", 1, "`version` is missing", "add `version:`"),
        ("version: 2\nstore: { path: butler.db }\n", 1, "version: must be at most 1, not `2`", "run the newer one"),
        ("version: one\nstore: { path: butler.db }\n", 1, "version: must be a whole number, not a text", ""),
        ("version: 1\nstore: { path: butler.db, mirror: x }\n", 2, "store.mirror: unknown key", "known here: keep"),
    ] {
        let output = place.start(config);
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{output:?}");
        let file = place.path("butler.yaml").display().to_string();
        assert!(output.stderr.starts_with(&format!("1 error in {file}\n{file}:{line}:")), "{output:?}");
        assert!(output.stderr.contains(fault) && output.stderr.contains(remedy), "{output:?}");
        place.untouched();
    }
}

#[test]
fn a_missing_config_is_told_with_its_name() {
    let output = run_with(&["run", "-c", "/no/such/butler.yaml"], &[]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains("/no/such/butler.yaml: the file cannot be read"), "{output:?}");
}

#[test]
fn a_rest_port_that_is_taken_ends_the_start_with_its_address() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = place.start(&format!("version: 1\nstore: {{ path: butler.db }}\nrest: {{ listen: \"{address}\" }}\n"));
    fails_with(&output, &[&address, "`rest.listen`", "in use"]);
    assert!(!place.path("butler.db.run.json").exists());
}

#[test]
fn a_udp_port_that_is_taken_ends_the_start_with_its_address() {
    let place = Place::new();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = place.start(&format!("{PRIVATE}udp: {{ listen: \"{address}\" }}\n"));
    fails_with(&output, &[&address, "`udp.listen`", "in use"]);
    assert!(!place.path("butler.db.run.json").exists());
}

/// Writes good certificates, spoils them, and starts with them.
fn start_with_certificates(spoil: impl FnOnce(&Path)) -> Output {
    let place = Place::new();
    let folder = place.path("certs");
    std::fs::create_dir(&folder).unwrap();
    Certificates::generate().unwrap().write_to(&folder).unwrap();
    spoil(&folder);
    let output = place.start(&format!(
        "{PRIVATE}qlik:\n  host: 127.0.0.1\n  user: LAB\\butler\n  certificates:\n    client: certs/client.pem\n    \
         key: certs/client_key.pem\n    ca: certs/root.pem\n  ports: {{ repository: 1 }}\n"
    ));
    place.untouched();
    output
}

#[test]
fn certificates_that_cannot_be_read_end_the_start() {
    for name in ["client.pem", "client_key.pem", "root.pem"] {
        let file = format!("certs/{name}");
        let output = start_with_certificates(|folder| std::fs::remove_file(folder.join(name)).unwrap());
        fails_with(&output, &[&file, "cannot be read"]);
        // A folder cannot be read whoever asks; of a file without rights, root can.
        let output = start_with_certificates(|folder| {
            std::fs::remove_file(folder.join(name)).unwrap();
            std::fs::create_dir(folder.join(name)).unwrap();
        });
        fails_with(&output, &[&file, "cannot be read"]);
    }
}

#[test]
fn certificates_that_are_none_end_the_start() {
    let garbage = "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n";
    let garbage_key = "-----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----\n";
    for name in ["client.pem", "client_key.pem", "root.pem"] {
        for content in ["", "certainly not", garbage, garbage_key, "-----BEGIN CERTIFICATE-----\nb"] {
            let output = start_with_certificates(|folder| std::fs::write(folder.join(name), content).unwrap());
            fails_with(&output, &[&format!("certs/{name}")]);
        }
    }
}

#[test]
fn a_key_of_another_certificate_ends_the_start() {
    let output = start_with_certificates(|folder| {
        let other = Certificates::generate().unwrap();
        std::fs::write(folder.join("client_key.pem"), other.client_key_pem()).unwrap();
    });
    fails_with(&output, &["certs/client_key.pem", "does not belong to", "certs/client.pem"]);
}

#[tokio::test]
async fn good_certificates_and_a_qlik_sense_that_is_away_are_no_hindrance() {
    let folder = Arc::new(TempDir::new().unwrap());
    Certificates::generate().unwrap().write_to(folder.path()).unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "qlik:\n  host: 127.0.0.1\n  user: LAB\\butler\n  certificates: {{ client: client.pem, key: client_key.pem, ca: root.pem }}\n  \
         ports: {{ repository: {closed} }}\nenrich: {{ giveUpAfter: 500ms }}\nplugins:\n  - use: console\n"
    );
    let butler = Butler::start_in(folder, &config, &[]).await;
    butler.send(&[failed_task()]);
    wait_for("the alert, with the facts of its log line", || async {
        butler.stdout().contains("reload-task.failed").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_second_host_on_the_same_store_ends_and_names_the_first() {
    let butler = Butler::start("plugins:\n  - use: console\n").await;
    let place = Place::new();
    let store = butler.folder().join("butler.db");
    let run_file = std::fs::read(butler.folder().join("butler.db.run.json")).unwrap();
    let config = format!("version: 1\nstore: {{ path: {} }}\nrest: {{ listen: \"127.0.0.1:0\" }}\n", store.display());
    let output = tokio::task::spawn_blocking(move || place.start(&config)).await.unwrap();
    let pid = format!("process {}", butler.pid());
    fails_with(&output, &[store.to_str().unwrap(), "in use by another Butler", &pid]);

    assert_eq!(std::fs::read(butler.folder().join("butler.db.run.json")).unwrap(), run_file);
    butler.send(&[failed_task()]);
    wait_for("the first one still works", || async { butler.stdout().contains("reload-task.failed").then_some(()) })
        .await;
}

#[tokio::test]
async fn a_store_of_a_newer_butler_is_refused_and_left_as_it_is() {
    let folder = Arc::new(TempDir::new().unwrap());
    let butler = Butler::start_in(folder.clone(), "plugins: []\n", &[]).await;
    let (status, log) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    let store = folder.path().join("butler.db");
    let sqlite = |sql: &str| {
        let output = Command::new("sqlite3").arg(&store).arg(sql).output();
        let output = output.expect("sqlite3 is installed (tests/packages.txt)");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let version = sqlite("PRAGMA user_version;");
    assert!(version.parse::<u32>().unwrap() >= 1, "{version}");
    sqlite("PRAGMA user_version = 999;");

    let config = folder.path().join("butler.yaml");
    let output = run_with(&["run", "-c", config.to_str().unwrap()], &[]);
    fails_with(&output, &[store.to_str().unwrap(), "version 999", &format!("up to {version}"), "newer Butler"]);
    assert_eq!(sqlite("PRAGMA user_version;"), "999");

    sqlite(&format!("PRAGMA user_version = {version};"));
    Butler::start_in(folder, "plugins: []\n", &[]).await;
}

#[test]
fn a_store_that_cannot_be_made_ends_the_start() {
    let place = Place::new();
    let rest = "rest: { listen: \"127.0.0.1:0\" }\n";
    for path in ["/dev/null/x/butler.db", "/proc/butler.db", "plugins"] {
        let output = place.start(&format!("version: 1\nstore: {{ path: {path} }}\n{rest}"));
        fails_with(&output, &[path, "`store.path`"]);
    }
    std::fs::write(place.path("notes.txt"), "this is not a database, and long enough to be looked at\n".repeat(100))
        .unwrap();
    let output = place.start(&format!("version: 1\nstore: {{ path: notes.txt }}\n{rest}"));
    fails_with(&output, &["notes.txt"]);
    assert!(std::fs::read_to_string(place.path("notes.txt")).unwrap().starts_with("this is not a database"));
}
