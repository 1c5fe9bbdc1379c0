//! The commands of the executable beside `run`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use butler::ingest::sample::{Fields, SampleKind, message};
use e2e::qlik::{Options, QlikSimulator};
use e2e::{
    Answer, Butler, Output, Sink, butler_exe, command, http, plugin_file_name, provide_test_plugins, run, run_with,
    stop_gently, target_dir, wait_for,
};
use serde_json::Value;
use tempfile::TempDir;

/// A folder with a config in it.
fn folder_with(config: &str) -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("butler.yaml");
    std::fs::write(&path, config).unwrap();
    provide_test_plugins(folder.path(), config);
    (folder, path.to_str().unwrap().to_owned())
}

/// The line of `butler check` about something.
fn line<'o>(output: &'o Output, begin: &str, what: &str) -> &'o str {
    let found = output.stdout.lines().find(|line| {
        line.strip_prefix(begin)
            .is_some_and(|rest| rest.trim_start().strip_prefix(what).is_some_and(|rest| rest.starts_with(' ')))
    });
    found.unwrap_or_else(|| panic!("no line `{begin} {what}` in {output:?}"))
}

fn failed_task(name: &str) -> String {
    let fields = Fields { task_name: name.to_owned(), ..Fields::random().unwrap() };
    message(SampleKind::TaskFailed, &fields)
}

/// `qlik:` of a config for a simulator whose certificates lie beside the config.
async fn qlik(folder: &Path) -> (QlikSimulator, String) {
    let simulator = QlikSimulator::start(Options::default()).await.expect("the simulator starts");
    simulator.certificates().write_to(folder).unwrap();
    let (port, engine) = (simulator.addr().port(), simulator.engine_addr().port());
    let section = format!(
        "qlik:\n  host: 127.0.0.1\n  user: LAB\\butler\n  certificates: {{ client: client.pem, key: client_key.pem, ca: root.pem }}\n  \
         ports: {{ repository: {port}, engine: {engine} }}\n"
    );
    (simulator, section)
}

#[test]
fn version_and_help_are_printed() {
    let version = run(&["--version"]);
    assert_eq!((version.code, version.stderr.as_str()), (0, ""));
    assert_eq!(version.stdout, format!("butler {}\n", env!("CARGO_PKG_VERSION")));
    let help = run(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    for command in [
        "init",
        "run",
        "check",
        "doctor",
        "health",
        "render",
        "test-alert",
        "schema",
        "plugins",
        "deliveries",
        "token",
        "udp-send",
    ] {
        assert!(help.stdout.lines().any(|line| line.trim_start().starts_with(command)), "{command}: {help:?}");
        let own = run(&[command, "--help"]);
        assert!(own.code == 0 && own.stdout.contains(&format!("butler {command}")), "{own:?}");
    }
    let unknown = run(&["chek"]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (2, ""));
    assert!(unknown.stderr.contains("'check'"), "{unknown:?}");
}

#[tokio::test]
async fn check_says_that_all_is_well_and_sends_no_alert() {
    let folder = TempDir::new().unwrap();
    let (_simulator, section) = qlik(folder.path()).await;
    let sink = Sink::start().await;
    let config = format!(
        "version: 1\n{section}plugins:\n  - use: console\n  - use: webhook\n    name: desk\n    settings: {{ url: \"{}\" }}\n  - use: probe\npluginDirs: [plugins]\n",
        sink.url("/hook")
    );
    let path = folder.path().join("butler.yaml");
    std::fs::write(&path, &config).unwrap();
    provide_test_plugins(folder.path(), &config);
    let output = command(&["check", "-c", path.to_str().unwrap()]).await;
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
    assert!(line(&output, "ok", "config").contains("3 instances"), "{output:?}");
    let qlik = line(&output, "ok", "qlik");
    assert!(qlik.contains("127.0.0.1:") && qlik.ends_with("version 14.187.4.0"), "{qlik}");
    assert!(line(&output, "ok", "engine").contains("version "), "{output:?}");
    line(&output, "ok", "instance console");
    assert!(line(&output, "ok", "instance desk").contains("no alert was sent"), "{output:?}");
    assert!(line(&output, "ok", "instance probe").contains("the probe is content"), "{output:?}");
    assert!(!output.stdout.contains("failed"), "{output:?}");
    let methods: Vec<String> = sink.received().into_iter().map(|request| request.method).collect();
    assert_eq!(methods, ["OPTIONS"]);
    // Not even the folder of the store is made.
    assert!(!folder.path().join("data").exists());
}

#[tokio::test]
async fn check_says_which_part_is_down() {
    let folder = TempDir::new().unwrap();
    let (simulator, section) = qlik(folder.path()).await;
    let sink = Sink::start().await;
    let address = sink.address();
    let config = format!(
        "version: 1\n{section}plugins:\n  - use: console\n  - use: webhook\n    settings: {{ url: \"{}\" }}\n",
        sink.url("/hook")
    );
    let path = folder.path().join("butler.yaml");
    std::fs::write(&path, config).unwrap();
    let path = path.to_str().unwrap();

    // Not everybody needs the engine.
    simulator.stop_engine().await;
    let output = command(&["check", "-c", path]).await;
    assert_eq!(output.code, 0, "{output:?}");
    assert!(line(&output, "note", "engine").contains("`ports.engine`"), "{output:?}");

    simulator.stop().await;
    let output = command(&["check", "-c", path]).await;
    assert_eq!(output.code, 1, "{output:?}");
    assert!(line(&output, "failed", "qlik").contains(&simulator.addr().to_string()), "{output:?}");
    line(&output, "ok", "instance webhook");
    assert!(output.stderr.contains("1 check failed"), "{output:?}");

    simulator.restart().await.unwrap();
    drop(sink);
    // The listener goes with its task.
    wait_for("the sink is gone", || async { std::net::TcpStream::connect(address).is_err().then_some(()) }).await;
    let output = command(&["check", "-c", path]).await;
    assert_eq!(output.code, 1, "{output:?}");
    line(&output, "ok", "qlik");
    line(&output, "failed", "instance webhook");
    line(&output, "ok", "instance console");

    simulator.stop().await;
    let output = command(&["check", "-c", path]).await;
    assert!(output.code == 1 && output.stderr.contains("2 checks failed"), "{output:?}");
}

#[tokio::test]
async fn check_says_which_certificate_is_bad_and_which_instance_does_not_start() {
    let faults = [("unavailable", "not yet"), ("config", "told to refuse"), ("panicInStart", "told to panic")];
    for (fault, reason) in faults {
        let (folder, path) = folder_with(&format!(
            "version: 1\npluginDirs: [plugins]\nqlik:\n  host: 127.0.0.1\n  user: LAB\\butler\n  \
             certificates: {{ client: a.pem, key: b.pem, ca: c.pem }}\nplugins:\n  - use: probe\n    name: odd\n    \
             settings: {{ fault: {fault} }}\n  - use: console\n"
        ));
        let output = command(&["check", "-c", &path]).await;
        assert_eq!(output.code, 1, "{output:?}");
        let certificates = line(&output, "failed", "qlik certificates");
        assert!(certificates.contains(folder.path().to_str().unwrap()), "{certificates}");
        assert!(line(&output, "failed", "instance odd").contains(reason), "{output:?}");
        line(&output, "ok", "instance console");
        assert!(output.stderr.contains("2 checks failed"), "{output:?}");
    }
}

#[test]
fn check_and_run_report_the_same_faults() {
    let (_folder, path) = folder_with(
        "version: 2\nlog: { level: loud }\nplugins:\n  - use: console\n    settings: { colour: red }\n  - use: consol\n",
    );
    let [check, run] = ["check", "run"].map(|command| run(&[command, "-c", &path]));
    assert_eq!((check.code, run.code), (2, 2), "{check:?}");
    assert!(check.stderr.starts_with("4 errors in "), "{check:?}");
    assert_eq!((check.stdout, check.stderr), (run.stdout, run.stderr));
}

#[tokio::test]
async fn check_does_not_disturb_a_running_daemon() {
    let butler = Butler::start("plugins:\n  - use: console\n  - use: probe\n    name: keeper\n").await;
    // With the addresses that the daemon has: a check that bound them would fail.
    let config = format!(
        "version: 1\nstore: {{ path: butler.db }}\npluginDirs: [plugins]\nudp: {{ listen: \"{}\" }}\nrest: {{ listen: \"{}\" }}\n\
         plugins:\n  - use: console\n  - use: probe\n    name: keeper\n    settings: {{ fault: unavailable }}\n",
        butler.udp(),
        butler.rest().trim_start_matches("http://")
    );
    let path = butler.folder().join("checked.yaml");
    std::fs::write(&path, config).unwrap();
    let run_file = std::fs::read(butler.folder().join("butler.db.run.json")).unwrap();
    // What the plugin stores when it is started for a check is forgotten: it is never started "for the second time".
    for _ in 0..2 {
        let output = command(&["check", "-c", path.to_str().unwrap()]).await;
        assert_eq!(output.code, 1, "{output:?}");
        line(&output, "ok", "instance console");
        assert!(line(&output, "failed", "instance keeper").contains("not yet"), "{output:?}");
    }
    assert_eq!(std::fs::read(butler.folder().join("butler.db.run.json")).unwrap(), run_file);
    butler.send(&[failed_task("Load after the check")]);
    wait_for("the alert", || async { butler.stdout().contains("Load after the check").then_some(()) }).await;
    let (_, log) = butler.stop().await;
    assert!(!log.contains(" ERROR "), "{log}");
}

#[test]
fn schema_prints_one_schema_with_all_plugins_and_writes_all_schemas() {
    let output = run(&["schema"]);
    assert_eq!(output.code, 0, "{output:?}");
    let schema: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(schema["$id"], "urn:butler:schema:config:1");
    for plugin in ["console", "teams", "webhook"] {
        assert!(schema["$defs"][plugin].is_object(), "{plugin} is missing");
        let branches = schema["$defs"]["PluginEntry"]["allOf"].as_array().unwrap();
        assert!(branches.iter().any(|branch| branch["if"]["properties"]["use"]["const"] == plugin), "{plugin}");
    }

    let (folder, path) = folder_with("pluginDirs: [plugins]\nplugins:\n  - use: probe\n");
    let with_probe: Value = serde_json::from_str(&run(&["schema", "-c", &path]).stdout).unwrap();
    assert!(with_probe["$defs"]["probe"].is_object() && with_probe["$defs"]["teams"].is_object());

    let out = folder.path().join("a/new/folder");
    let output = run(&["schema", "--out", out.to_str().unwrap()]);
    assert_eq!(output.code, 0, "{output:?}");
    let mut names: Vec<String> =
        std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let expected = ["butler", "delivery", "event", "manifest", "outcome"].map(|name| format!("{name}.schema.json"));
    assert_eq!(names, expected);
    for name in expected {
        assert!(output.stdout.contains(out.join(&name).to_str().unwrap()), "{output:?}");
        let written: Value = serde_json::from_slice(&std::fs::read(out.join(&name)).unwrap()).unwrap();
        assert_eq!(written["$schema"], "https://json-schema.org/draft/2020-12/schema", "{name}");
        if name == "butler.schema.json" {
            assert_eq!(written, schema);
        }
    }
    let output = run(&["schema", "--out", "/dev/null/x"]);
    assert!(output.code == 1 && output.stderr.contains("/dev/null/x cannot be made"), "{output:?}");
}

#[test]
fn plugins_list_shows_each_plugin_and_its_instances() {
    let output = run(&["plugins", "list"]);
    assert_eq!(output.code, 0, "{output:?}");
    let row = output.stdout.lines().find(|line| line.starts_with("webhook ")).expect("webhook is listed");
    let columns: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(&columns[1..4], [env!("CARGO_PKG_VERSION"), butler_plugin_api::API_VERSION, "0"], "{row}");
    assert!(row.ends_with("Calls an HTTP address for each event"), "{row}");

    // A config with faults is good enough to count instances.
    let (folder, path) = folder_with(
        "pluginDirs: [plugins]\nplugins:\n  - use: console\n  - use: console\n    name: two\n  - use: probe\n  - use: gone\nunknown: 1\n",
    );
    let broken = folder.path().join("plugins").join(plugin_file_name("broken"));
    std::fs::write(&broken, "no library").unwrap();
    let output = run(&["plugins", "list", "--json", "-c", &path]);
    assert_eq!(output.code, 0, "{output:?}");
    let rows: Value = serde_json::from_str(&output.stdout).unwrap();
    let row = |name: &str| {
        rows.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}: {rows}"))
    };
    assert_eq!(
        (&row("console")["instances"], &row("probe")["instances"], &row("teams")["instances"]),
        (&2.into(), &1.into(), &0.into())
    );
    assert_eq!(row("console")["file"], target_dir().join(plugin_file_name("console")).to_str().unwrap());
    assert!(row("probe")["file"].as_str().unwrap().starts_with(folder.path().to_str().unwrap()), "{rows}");
    assert!(row("console").get("error").is_none());
    let error = row("broken")["error"].as_str().unwrap();
    assert!(error.contains("not a dynamic library") && error.contains(broken.to_str().unwrap()), "{error}");
    assert!(output.stderr.contains("`gone`, which is not in the search path"), "{output:?}");
}

#[tokio::test]
async fn a_dead_delivery_is_listed_and_sent_again() {
    let sink = Sink::start().await;
    sink.next([Answer::Status(400)]);
    let config = format!(
        "plugins:\n  - use: console\n    on: [{{ events: [reload-task.failed] }}]\n  - use: webhook\n    \
         on: [{{ events: [reload-task.failed] }}]\n    settings: {{ url: \"{}\" }}\n",
        sink.url("/hook")
    );
    let butler = Butler::start(&config).await;
    let file = butler.config().to_str().unwrap();
    butler.send(&[failed_task("Load orders")]);
    let dead = butler.wait_delivery("dead", "webhook").await;
    butler.wait_delivery("delivered", "console").await;
    let id = dead["id"].as_str().unwrap();

    let all = command(&["deliveries", "list", "-c", file]).await;
    assert_eq!((all.code, all.stderr.as_str(), all.stdout.lines().count()), (0, "", 3), "{all:?}");
    let only = command(&["deliveries", "list", "-c", file, "--state", "dead", "--instance", "webhook"]).await;
    let [head, row] = only.stdout.lines().collect::<Vec<_>>()[..] else { panic!("{only:?}") };
    assert!(head.starts_with("ID ") && head.ends_with("ERROR"), "{head}");
    assert!(
        row.starts_with(id) && row.contains(" dead ") && row.contains("reload-task.failed") && row.contains("400"),
        "{row}"
    );
    let json = command(&["deliveries", "list", "-c", file, "--state", "dead", "--json"]).await;
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["deliveries"][0]["id"], id);
    let none = command(&["deliveries", "list", "-c", file, "--task", "x"]).await;
    assert_eq!((none.code, none.stdout.lines().count()), (0, 1), "{none:?}");
    let wrong = command(&["deliveries", "list", "-c", file, "--state", "gone"]).await;
    assert!(wrong.code == 1 && wrong.stderr.contains("querystring/state must be one of pending, "), "{wrong:?}");

    let retried = command(&["deliveries", "retry", "-c", file, id]).await;
    assert_eq!(
        (retried.code, retried.stdout.as_str()),
        (0, format!("{id} is pending again\n").as_str()),
        "{retried:?}"
    );
    let requests = sink.wait(2).await;
    assert_eq!(requests[0].body, requests[1].body);
    let key = |index: usize| requests[index].header("idempotency-key").map(str::to_owned);
    assert!(key(0).is_some() && key(0) == key(1));
    let delivered = butler.wait_delivery("delivered", "webhook").await;
    assert_eq!((delivered["id"].as_str(), delivered["error"].as_str()), (Some(id), None), "{delivered}");

    let unknown = command(&["deliveries", "retry", "-c", file, "nothing-d7"]).await;
    assert!(unknown.code == 1 && unknown.stderr.contains("there is no delivery `nothing-d7`"), "{unknown:?}");
}

#[tokio::test]
async fn deliveries_without_a_daemon_say_so() {
    let (_folder, path) = folder_with("version: 1\nstore: { path: butler.db }\n");
    for arguments in [&["deliveries", "list", "-c", &path][..], &["deliveries", "retry", "-c", &path, "x-d1"]] {
        let output = command(arguments).await;
        assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{output:?}");
        assert!(output.stderr.starts_with("Butler is not running with this config: there is no "), "{output:?}");
        assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
    }
    // A killed one leaves its run file behind.
    let butler = Butler::start("plugins: []\n").await;
    let folder = TempDir::new().unwrap();
    std::fs::copy(butler.folder().join("butler.db.run.json"), folder.path().join("butler.db.run.json")).unwrap();
    let address = butler.rest().to_owned();
    butler.stop().await;
    let path = folder.path().join("butler.yaml");
    std::fs::write(&path, "version: 1\nstore: { path: butler.db }\n").unwrap();
    let output = command(&["deliveries", "list", "-c", path.to_str().unwrap()]).await;
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains(&format!("the daemon does not answer at {address}")), "{output:?}");
}

#[tokio::test]
async fn a_new_token_opens_what_its_scopes_allow_and_nothing_else() {
    let output = command(&["token", "new", "--name", "night watch", "--scopes", "read,messages"]).await;
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output:?}");
    let token = output.stdout.split("Bearer ").nth(1).and_then(|rest| rest.split('`').next()).expect("the token");
    let (_, section) = output.stdout.split_once("Add to the config:\n\n").expect("the section");
    assert!(token.len() >= 43 && !section.contains(token), "{output:?}");
    let again = command(&["token", "new"]).await;
    assert!(again.stdout.contains("Bearer ") && !again.stdout.contains(token), "{again:?}");

    let section = section.replace("rest:\n", "rest:\n  listen: \"127.0.0.1:0\"\n");
    let butler = Butler::start(&format!("{section}plugins:\n  - use: probe\n")).await;
    let ask = async |method: reqwest::Method, path: &str, token: Option<&str>| {
        let mut request = http().request(method, format!("{}{path}", butler.rest())).body("{}");
        request = request.header("content-type", "application/json");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.expect("the daemon answers");
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let get = reqwest::Method::GET;
    let post = reqwest::Method::POST;
    assert_eq!(ask(get.clone(), "/v5/plugins", Some(token)).await.0, 200);
    for wrong in [None, Some(""), Some("x"), Some(&token[1..]), Some(&format!("{token}A"))] {
        assert_eq!(ask(get.clone(), "/v5/plugins", wrong).await.0, 401, "{wrong:?}");
    }
    let (status, body) = ask(get.clone(), "/v5/deliveries", Some(token)).await;
    assert!(status == 403 && body.contains("`deliveries`") && body.contains("night watch"), "{status} {body}");
    assert_eq!(ask(post.clone(), "/v5/deliveries/x/retry", Some(token)).await.0, 403);
    // An endpoint of a plugin asks for the scope that its manifest names.
    wait_for("the endpoint is served", || async {
        (ask(post.clone(), "/v5/probe/news", Some(token)).await.0 == 201).then_some(())
    })
    .await;
    assert_eq!(ask(post, "/v5/probe/news", None).await.0, 401);
    // The CLI uses the token of the run file.
    let output = command(&["deliveries", "list", "-c", butler.config().to_str().unwrap()]).await;
    assert_eq!(output.code, 0, "{output:?}");

    let output = command(&["token", "new", "--scopes", "read,everything"]).await;
    assert!(output.code == 2 && output.stderr.contains("write read, deliveries"), "{output:?}");
}

#[tokio::test]
async fn udp_send_tells_the_daemon_of_an_event() {
    let butler = Butler::start("plugins:\n  - use: console\n    on: [{ events: [\"*-task.*\"] }]\n").await;
    let port = butler.udp().rsplit(':').next().unwrap().to_owned();
    let to = ["udp-send", "--ip", "127.0.0.1", "--port", &port];
    let sent =
        command(&[&to[..], &["--event", "reload-task.failed", "--task-name", "Load; all", "--count", "2"]].concat())
            .await;
    assert_eq!(sent.code, 0, "{sent:?}");
    assert!(sent.stdout.starts_with(&format!("2 UDP messages sent to 127.0.0.1:{port}, ")), "{sent:?}");
    wait_for("both events", || async {
        let stdout = butler.stdout();
        (stdout.matches("reload-task.failed").count() == 2 && stdout.matches("Load; all").count() >= 2).then_some(())
    })
    .await;
    let sent = command(&to).await;
    assert_eq!((sent.code, sent.stdout), (0, format!("UDP message sent to 127.0.0.1:{port}, 12 bytes.\n")));
    butler.wait_metric("butler_udp_received_total", 3.0).await;
    let wrong = command(&[&to[..], &["--event", "moon.risen"]].concat()).await;
    assert!(wrong.code == 2 && wrong.stderr.contains("moon.risen"), "{wrong:?}");
}

#[test]
fn the_environment_names_the_config_and_the_option_wins() {
    let (_good, good) = folder_with("version: 1\nplugins: []\n");
    let (_bad, bad) = folder_with("version: 1\nplugin: []\n");
    let check = run_with(&["check"], &[("BUTLER_CONFIG", &good)]);
    assert!(check.code == 0 && check.stdout.contains(&good), "{check:?}");
    let check = run_with(&["check"], &[("BUTLER_CONFIG", &bad)]);
    assert!(check.code == 2 && check.stderr.contains(&bad), "{check:?}");
    let check = run_with(&["check", "-c", &good], &[("BUTLER_CONFIG", &bad)]);
    assert_eq!(check.code, 0, "{check:?}");
    let check = run(&["check"]);
    assert!(check.code == 2 && check.stderr.contains("--config"), "{check:?}");
}

/// Runs the daemon with these arguments until it is ready, and returns its log.
async fn log_of(folder: &Arc<TempDir>, arguments: &[&str]) -> String {
    let log: PathBuf = folder.path().join("log.txt");
    let mut child = Command::new(butler_exe())
        .args(arguments)
        .env_remove("BUTLER_CONFIG")
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let run_file = folder.path().join("butler.db.run.json");
    wait_for("the daemon is ready", || async { run_file.exists().then_some(()) }).await;
    stop_gently(&child);
    let ended = tokio::task::spawn_blocking(move || child.wait());
    let status = tokio::time::timeout(e2e::PATIENCE, ended).await.expect("the daemon ends").unwrap().unwrap();
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(status.code(), Some(0), "{log}");
    log
}

#[tokio::test]
async fn the_log_level_of_the_command_line_wins() {
    let (folder, path) = folder_with(
        "version: 1\nstore: { path: butler.db }\nrest: { listen: \"127.0.0.1:0\" }\nlog: { level: error }\nplugins:\n  - use: console\n",
    );
    let folder = Arc::new(folder);
    assert_eq!(log_of(&folder, &["run", "-c", &path]).await, "");
    let log = log_of(&folder, &["run", "-c", &path, "--log-level", "info"]).await;
    assert!(log.contains(" INFO ") && log.contains("stopped") && !log.contains(" DEBUG "), "{log}");
    // Before the command as well; and of what lies below Butler, more is heard.
    let log = log_of(&folder, &["--log-level", "trace", "run", "-c", &path]).await;
    assert!(log.contains(" INFO ") && log.contains("stopped"), "{log}");
    let wrong = run(&["run", "-c", &path, "--log-level", "loud"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("write error, warn, info, debug or trace"), "{wrong:?}");
}

#[tokio::test]
async fn the_log_level_of_the_command_line_reaches_plugins() {
    let (_folder, path) =
        folder_with("version: 1\npluginDirs: [plugins]\nlog: { level: error }\nplugins:\n  - use: probe\n");
    let quiet = command(&["check", "-c", &path]).await;
    assert!(quiet.code == 0 && !quiet.stderr.contains("the probe starts"), "{quiet:?}");
    let loud = command(&["check", "-c", &path, "--log-level", "debug"]).await;
    assert!(loud.code == 0 && loud.stderr.contains("the probe starts"), "{loud:?}");
}
