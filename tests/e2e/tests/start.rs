//! Starts that must be refused, each with one clear message and nothing left behind; starts that must not be; and ends.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use butler::ingest::sample::{Fields, SampleKind, message};
use e2e::qlik::Certificates;
use e2e::{
    Answer, Butler, Output, Sink, http, plugin_file, plugin_file_name, provide_test_plugins, run_with, wait_for,
};
use serde_json::Value;
use tempfile::TempDir;

/// Sections that keep a config from touching anything but its own folder.
const PRIVATE: &str =
    "version: 1\nstore: { path: butler.db }\nrest: { listen: \"127.0.0.1:0\" }\npluginDirs: [plugins]\n";

/// A folder for a start that is to be refused.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(TempDir::new().unwrap());
        std::fs::create_dir(place.path("plugins")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The file of a plugin in its `plugins`.
    fn plugin(&self, name: &str) -> PathBuf {
        self.path("plugins").join(plugin_file_name(name))
    }

    /// Starts the daemon with exactly this config; it must end by itself.
    fn start(&self, config: &str) -> Output {
        self.start_with(config, &[])
    }

    fn start_with(&self, config: &str, environment: &[(&str, &str)]) -> Output {
        let path = self.path("butler.yaml");
        std::fs::write(&path, config).unwrap();
        provide_test_plugins(self.0.path(), config);
        run_with(&["run", "-c", path.to_str().unwrap()], environment)
    }

    /// Starts it with one instance of a plugin, which must be refused as a fault of the config: the line of the entry,
    /// the reason, and no trace of a start.
    fn refuses_plugin(&self, entry: &str, reasons: &[&str]) -> Output {
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
    fn untouched(&self) {
        let made: Vec<String> = std::fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains("butler.db"))
            .collect();
        assert!(made.is_empty(), "{made:?}");
    }
}

/// What was written to standard error apart from log lines, which begin with their time.
fn messages(output: &Output) -> Vec<&str> {
    let is_log = |line: &&str| line.get(..5).is_some_and(|start| start.ends_with('-') && start.starts_with("20"));
    output.stderr.lines().filter(|line| !is_log(line)).collect()
}

/// Ended with exit code 1 and one message, which says all of this.
fn fails_with(output: &Output, parts: &[&str]) {
    assert_eq!(output.code, 1, "{output:?}");
    let [message] = messages(output)[..] else { panic!("not one message: {output:?}") };
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in `{message}`");
    }
    assert!(message.matches("os error").count() <= 1, "the cause is told twice: {message}");
    assert_eq!(output.stderr.matches(" ERROR ").count(), 0, "{output:?}");
}

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
fn a_missing_config_is_told_with_its_name() {
    let output = run_with(&["run", "-c", "/no/such/butler.yaml"], &[]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains("/no/such/butler.yaml: the file cannot be read"), "{output:?}");
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
    place.refuses_plugin("use: other-version", &[&path, "butler-plugin-api 9.0.0", "this Butler needs 0.1", "install"]);
}

#[test]
fn a_plugin_of_another_layout_is_refused() {
    let place = Place::new();
    let path = place.plugin("other-layout").display().to_string();
    let output = place.refuses_plugin("use: other-layout", &[&path, "another layout", "build it again"]);
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

#[tokio::test]
async fn a_signal_ends_the_daemon_in_time_even_if_a_destination_hangs() {
    for signal in [nix::sys::signal::Signal::SIGTERM, nix::sys::signal::Signal::SIGINT] {
        let sink = Sink::start().await;
        sink.always(Some(Answer::Hang));
        let config = format!(
            "shutdownTimeout: 2s\nplugins:\n  - use: webhook\n    settings: {{ url: \"{}\", timeout: 50s }}\n",
            sink.url("/")
        );
        let mut butler = Butler::start(&config).await;
        let run_file = butler.folder().join("butler.db.run.json");
        assert!(run_file.exists());
        butler.send(&[failed_task()]);
        sink.wait(1).await;
        let asked = Instant::now();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(butler.pid()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
        let status = butler.wait_end().await;
        // Two seconds, and two for closing the store.
        assert!(asked.elapsed() < Duration::from_secs(5), "{signal}: {:?}", asked.elapsed());
        assert_eq!(status.code(), Some(0), "{signal}: {}", butler.log());
        assert!(!run_file.exists(), "{signal}");
        assert!(butler.log().contains(signal.as_str()), "{}", butler.log());
    }
}

#[tokio::test]
async fn a_signal_is_heard_from_the_moment_that_the_run_file_is_there() {
    // Signals at slightly different moments: between the run file and "is ready" there are a few milliseconds.
    for _ in 0..10 {
        let butler = Butler::start("plugins: []\n").await;
        let run_file = butler.folder().join("butler.db.run.json");
        let (status, log) = butler.stop().await;
        assert_eq!(status.code(), Some(0), "ended with {status}:\n{log}");
        assert!(!run_file.exists(), "{log}");
    }
}

#[tokio::test]
async fn an_idle_daemon_ends_at_once() {
    let butler = Butler::start("plugins:\n  - use: console\n  - use: probe\n").await;
    let run_file = butler.folder().join("butler.db.run.json");
    let asked = Instant::now();
    let (status, log) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}\n{log}", asked.elapsed());
    assert!(!run_file.exists());
    assert!(!log.contains(" ERROR "), "{log}");
}

/// A secret, what becomes of it in a URL and in JSON, and what it makes of base64 at each of the three alignments.
const SECRET: &str = r#"k9#Vq/7w"Zp\2=Lm x"#;
const FORMS: [&str; 6] = [
    SECRET,
    "k9%23Vq%2F7w%22Zp%5C2%3DLm%20x",
    r#"k9#Vq/7w\"Zp\\2=Lm x"#,
    "VnEvN3ciWnBcMj1M",
    "I1ZxLzd3IlpwXDI9TG0g",
    "OSNWcS83dyJacFwyPUxt",
];
const FILE_SECRET: &str = "of-a-file-82h3f";

/// Nothing of the secrets is in a text.
fn is_clean(what: &str, text: &str) {
    for form in FORMS.into_iter().chain([FILE_SECRET]) {
        assert!(!text.contains(form), "{what} tells the secret (`{form}`):\n{text}");
    }
}

#[tokio::test]
async fn secrets_never_come_out_in_any_form() {
    let folder = Arc::new(TempDir::new().unwrap());
    std::fs::write(folder.path().join("secret.txt"), format!("{FILE_SECRET}\n")).unwrap();
    // The last four are written out: forms of the secret that a plugin could make and tell.
    let told = [
        "${env:BUTLER_E2E_SECRET}",
        "${file:secret.txt}",
        "https://example.com/?key=k9%23Vq%2F7w%22Zp%5C2%3DLm%20x",
        "Basic bWU6azkjVnEvN3ciWnBcMj1MbSB4",
        "Basic eW91Oms5I1ZxLzd3IlpwXDI9TG0geA==",
        "Basic dXNlcjprOSNWcS83dyJacFwyPUxtIHg=",
    ];
    let mut config = format!(
        "udp: {{ listen: \"127.0.0.1:0\" }}\nplugins:\n  - use: console\n    on: [{{ events: [\"*\"] }}]\n    \
         settings: {{ format: json }}\n  - use: probe\n    on: [{{ events: [reload-task.failed] }}]\n    \
         settings: {{ fault: tellSecret, secret: '{}' }}\n",
        told.join(" | ")
    );
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let webhook = format!(
        "  - use: webhook\n    on: [{{ events: [reload-task.failed] }}]\n    settings:\n      \
         url: 'http://{closed}/hook?key=${{file:secret.txt}}'\n      headers: {{ X-Key: '${{env:BUTLER_E2E_SECRET}}' }}\n"
    );
    config += &webhook;
    let environment = [("BUTLER_E2E_SECRET", SECRET)];
    let butler = Butler::start_in(folder, &config, &environment).await;
    butler.send(&[failed_task()]);
    let delivery = butler.wait_delivery("dead", "probe").await;
    let error = delivery["error"].as_str().unwrap();
    is_clean("the delivery", error);
    // Each form is replaced, and what is beside it is not.
    assert_eq!(error.matches("[redacted]").count(), told.len(), "{error}");
    let beside = ["the secret is ", "https://example.com/?key=", "Basic "];
    assert!(beside.iter().all(|text| error.contains(text)), "{error}");
    wait_for("the probe's last error", || async { instance(&butler, "probe").await["lastError"].as_str().map(drop) })
        .await;
    wait_for("the webhook fails", || async {
        let row = instance(&butler, "webhook").await;
        row["lastError"].as_str().map(|error| is_clean("webhook", error))
    })
    .await;
    wait_for("the probe's log", || async { butler.log().contains("the secret is ").then_some(()) }).await;
    wait_for("the event about a dead delivery", || async { butler.stdout().contains("delivery.dead").then_some(()) })
        .await;
    is_clean("the log", &butler.log());
    is_clean("standard output", &butler.stdout());
    for path in ["/v5/plugins", "/v5/deliveries?limit=100", "/v5/events", "/v5/health/ready", "/metrics"] {
        let (status, answer) = butler.get(path).await;
        assert_eq!(status, 200, "{path}");
        is_clean(path, &answer.to_string());
        is_clean(path, answer.as_str().unwrap_or_default());
    }
    let (status, answer) = butler.get("/v5/plugins").await;
    assert!(status == 200 && answer.to_string().contains("[redacted]"), "{answer}");

    // What an endpoint of a plugin answers, here with what it was asked.
    let echo = http().post(format!("{}/v5/probe/x", butler.rest())).bearer_auth(butler.token());
    let body = serde_json::json!({ "first": SECRET, "second": FILE_SECRET, "third": "harmless" }).to_string();
    let answer = echo.header("content-type", "application/json").body(body).send().await.unwrap().text().await.unwrap();
    assert!(answer.contains("harmless") && answer.contains("[redacted]"), "{answer}");
    is_clean("an endpoint", &answer);

    let file = butler.config().to_str().unwrap().to_owned();
    for arguments in [
        &["check", "-c", &file, "--log-level", "trace"][..],
        &["plugins", "list", "-c", &file],
        &["deliveries", "list", "-c", &file],
    ] {
        let output = run_with(arguments, &environment);
        assert!(output.code <= 1, "{output:?}");
        is_clean(arguments[0], &output.stdout);
        is_clean(arguments[0], &output.stderr);
    }
}

#[test]
fn faults_never_quote_a_secret() {
    let place = Place::new();
    std::fs::write(place.path("secret.txt"), FILE_SECRET).unwrap();
    let config = "version: 1
udp: { listen: '${env:BUTLER_E2E_SECRET}' }
log: { level: '${env:BUTLER_E2E_SECRET}' }
rest: { listen: '${file:secret.txt}' }
links: { qmc: '${env:BUTLER_E2E_SECRET}' }
store: { path: butler.db, keep: '${file:secret.txt}' }
plugins:
  - use: console
    settings: { format: '${env:BUTLER_E2E_SECRET}' }
  - use: webhook
    settings: { url: '${env:BUTLER_E2E_SECRET}' }
";
    let output = place.start_with(config, &[("BUTLER_E2E_SECRET", SECRET)]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.starts_with("7 errors in "), "{output:?}");
    is_clean("the report", &output.stderr);

    // What a plugin says of its settings when it starts is no exception.
    let config = format!(
        "{PRIVATE}plugins:\n  - use: webhook\n    settings: {{ url: 'ftp://host/', headers: {{ '${{env:BUTLER_E2E_SECRET}}': x }} }}\n"
    );
    let output = place.start_with(&config, &[("BUTLER_E2E_SECRET", SECRET)]);
    assert_eq!(output.code, 2, "{output:?}");
    is_clean("the refusal", &output.stderr);

    let output = place.start("version: 1\nlinks: { qmc: '${env:BUTLER_E2E_UNSET}' }\n");
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains(":2:") && output.stderr.contains("`BUTLER_E2E_UNSET` is not set"), "{output:?}");
}

#[tokio::test]
async fn a_log_in_json_is_one_object_a_line() {
    let config = "log: { level: trace, format: json }\nplugins:\n  - use: probe\n    settings: { fault: panic }\n    \
                  retry: { initial: 50ms, max: 100ms }\n";
    let butler = Butler::start(config).await;
    butler.send(&[failed_task()]);
    wait_for("what the plugin logs", || async { butler.log().contains("the probe starts").then_some(()) }).await;
    butler.send(&["nothing\nthat \"anybody\" knows"]);
    butler.wait_metric("butler_udp_received_total", 2.0).await;
    wait_for("failed attempts", || async {
        let row = instance(&butler, "probe").await;
        (row["statistics"]["retried"].as_u64() >= Some(2)).then_some(())
    })
    .await;
    let (_, log) = butler.stop().await;
    assert!(log.lines().count() > 5, "{log}");
    for line in log.lines() {
        let record: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let text = |name: &str| record[name].as_str().is_some_and(|text| !text.is_empty());
        assert!(text("timestamp") && text("level"), "{line}");
    }
    let starts = log.lines().find(|line| line.contains("the probe starts")).unwrap();
    let record: Value = serde_json::from_str(starts).unwrap();
    assert_eq!((&record["instance"], &record["level"]), (&"probe".into(), &"INFO".into()), "{starts}");
}
