//! What Butler publishes for other programs, held against those programs: JSON Schemas against `check-jsonschema`, metrics
//! against `promtool`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use e2e::qlik::Site;
use e2e::{Butler, Sense, Sink, datagram, run, run_with, wait_for};
use serde_json::Value;
use tempfile::TempDir;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// All YAML files in a folder and below it.
fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(yaml_files(&path));
        } else if path.extension().is_some_and(|end| end == "yaml" || end == "yml") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn configs() -> Vec<PathBuf> {
    let files = yaml_files(&workspace().join("config"));
    assert!(files.len() >= 3, "{files:?}");
    files
}

fn refused() -> Vec<PathBuf> {
    let files = yaml_files(&workspace().join("tests/configs/refused"));
    assert!(files.len() >= 32, "{files:?}");
    files
}

/// Holds files against a published schema; the names of those that do not fit.
fn misfits(schema: &str, files: &[PathBuf]) -> BTreeSet<PathBuf> {
    let output = Command::new("check-jsonschema")
        .args(["--output-format", "json", "--schemafile"])
        .arg(workspace().join("schemas").join(schema))
        .args(files)
        .output()
        .expect("check-jsonschema is installed (tests/requirements.txt)");
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(report["parse_errors"].as_array().map_or(0, Vec::len), 0, "{report:#}");
    let misfits: BTreeSet<PathBuf> =
        report["errors"].as_array().unwrap().iter().map(|error| error["filename"].as_str().unwrap().into()).collect();
    assert_eq!(output.status.success(), misfits.is_empty(), "{report:#}");
    misfits
}

#[test]
fn the_published_schema_takes_every_config_of_ours() {
    assert_eq!(misfits("butler.schema.json", &configs()), BTreeSet::new());
}

#[test]
fn the_published_schema_refuses_every_faulty_config() {
    let files = refused();
    assert_eq!(misfits("butler.schema.json", &files), files.into_iter().collect());
}

#[test]
fn the_published_schemas_are_schemas() {
    let files: Vec<PathBuf> = ["butler", "delivery", "event", "manifest", "outcome"]
        .map(|name| workspace().join(format!("schemas/{name}.schema.json")))
        .into();
    let output = Command::new("check-jsonschema").arg("--check-metaschema").args(files).output();
    let output = output.expect("check-jsonschema is installed (tests/requirements.txt)");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_published_schema_knows_our_plugins_and_no_others() {
    let schema = std::fs::read(workspace().join("schemas/butler.schema.json")).unwrap();
    let schema: Value = serde_json::from_slice(&schema).unwrap();
    let branches = schema["$defs"]["PluginEntry"]["allOf"].as_array().unwrap();
    let known: BTreeSet<String> =
        branches.iter().map(|branch| branch["if"]["properties"]["use"]["const"].as_str().unwrap().to_owned()).collect();
    let ours = std::fs::read_dir(workspace().join("plugins")).unwrap();
    let ours = ours.map(|entry| entry.unwrap()).filter(|entry| entry.path().join("Cargo.toml").is_file());
    assert_eq!(known, ours.map(|entry| entry.file_name().into_string().unwrap()).collect());
}

#[test]
fn the_host_refuses_every_faulty_config_for_its_one_fault() {
    for file in refused() {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.to_str().unwrap();
        assert!(text.starts_with("# Fault: "), "{name} does not say what is wrong with it");
        let output = run(&["check", "-c", name]);
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{name}: {output:?}");
        assert!(output.stderr.starts_with(&format!("1 error in {name}\n{name}:")), "{name}: {}", output.stderr);
    }
}

#[test]
fn the_host_takes_every_config_of_ours() {
    let folder = TempDir::new().unwrap();
    for file in configs() {
        // A copy, so that nothing is made beside the original. Where a config names certificates, there are none in this
        // folder: that is looked at after the config was taken, and before anything is done.
        let copy = folder.path().join("copy.yaml");
        let mut text = std::fs::read_to_string(&file).unwrap();
        if !text.contains("\nqlik:") {
            text += "\nqlik:\n  host: 127.0.0.1\n  user: LAB\\butler\n  certificates: { client: a.pem, key: b.pem, ca: c.pem }\n";
        }
        std::fs::write(&copy, text).unwrap();
        let environment = [
            ("TEAMS_URL", "http://127.0.0.1:1/teams"),
            ("SLACK_TOKEN", "xoxb-any-token"),
            ("MAIL_PASSWORD", "any-password"),
            ("MQTT_PASSWORD", "any-password"),
            ("DESK_TOKEN", "any-token"),
            ("NEW_RELIC_KEY", "any-key"),
            ("SIGNL4_SECRET", "any-secret"),
            ("INFLUX_TOKEN", "any-token"),
            ("DEMO_FOLDER", folder.path().to_str().unwrap()),
            ("DEMO_QRS_PORT", "1"),
            ("DEMO_DESTINATIONS", "http://127.0.0.1:1"),
        ];
        let output = run_with(&["run", "-c", copy.to_str().unwrap()], &environment);
        assert_eq!(output.code, 1, "{}: {output:?}", file.display());
        assert!(output.stderr.contains(".pem cannot be read"), "{}: {output:?}", file.display());
    }
}

#[tokio::test]
async fn what_plugins_get_fits_the_published_schemas() {
    let sense = Sense::start().await;
    let sink = Sink::start().await;
    let butler = sense
        .butler(&format!(
            "plugins:\n  - use: console\n    on: [{{ events: [\"*\"] }}]\n    settings: {{ format: json }}\n  - use: probe\n    \
             on: [{{ events: [reload-task.failed] }}]\n    retry: {{ initial: 50ms, max: 100ms }}\n    settings: {{ url: \"{}\" }}\n",
            sink.url("/report")
        ))
        .await;
    butler.send(&[datagram("reload-task.failed", &sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    // One that Qlik Sense does not know: its facts are missing.
    butler.send(&[datagram("reload-task.failed", &e2e::fields())]);
    sink.wait_where("the first report", |request| request.target == "/report").await;
    wait_for("both events and the probe's own", || async {
        let stdout = butler.stdout();
        let of = |kind: &str| stdout.matches(&format!("\"kind\":\"{kind}\"")).count();
        (of("reload-task.failed") >= 2 && of("node.silent") >= 2).then_some(())
    })
    .await;
    wait_for("both reports", || async {
        (sink.received().iter().filter(|request| request.target == "/report").count() >= 2).then_some(())
    })
    .await;

    let folder = Arc::new(TempDir::new().unwrap());
    let write = |name: String, value: &Value| {
        let path = folder.path().join(name);
        std::fs::write(&path, value.to_string()).unwrap();
        path
    };
    let events: Vec<PathBuf> = butler
        .stdout()
        .lines()
        .enumerate()
        .map(|(n, line)| write(format!("event-{n}.json"), &serde_json::from_str(line).unwrap()))
        .collect();
    assert!(events.len() >= 5, "{}", butler.stdout());
    assert_eq!(misfits("event.schema.json", &events), BTreeSet::new());
    let reports = sink.received().into_iter().filter(|request| request.target == "/report");
    let deliveries: Vec<PathBuf> = reports
        .enumerate()
        .map(|(n, report)| write(format!("delivery-{n}.json"), &report.json()["delivery"]))
        .collect();
    assert_eq!(misfits("delivery.schema.json", &deliveries), BTreeSet::new());
    // The other way round: the schemas are not so wide that anything fits.
    let nothing = write("nothing.json".to_owned(), &serde_json::json!({ "kind": 1 }));
    assert_eq!(misfits("event.schema.json", std::slice::from_ref(&nothing)), BTreeSet::from([nothing.clone()]));
    assert_eq!(misfits("delivery.schema.json", std::slice::from_ref(&nothing)), BTreeSet::from([nothing]));
}

/// `/metrics` as it comes, with its content type.
async fn metrics(butler: &Butler) -> (String, String) {
    let answer =
        e2e::http().get(format!("{}/metrics", butler.rest())).bearer_auth(butler.token()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (content_type, answer.text().await.unwrap())
}

#[tokio::test]
async fn prometheus_takes_the_metrics() {
    let sense = Sense::start().await;
    let sink = Sink::start().await;
    let butler = sense
        .butler(&format!(
            "plugins:\n  - use: console\n  - use: probe\n    on: [{{ events: [\"reload-task.*\"] }}]\n    \
             retry: {{ initial: 50ms, max: 100ms }}\n    settings: {{ url: \"{}\" }}\n  - use: webhook\n    name: dead-end\n    \
             on: [{{ events: [reload-task.failed] }}]\n    settings: {{ url: \"{}\" }}\n",
            sink.url("/report"),
            "http://127.0.0.1:1/"
        ))
        .await;
    let failed = sense.failed(Site::SAMPLE_RELOAD_TASK);
    // A name that could break a label.
    let odd = e2e::Fields { task_name: r#"Say "hello" \ bye {é}"#.to_owned(), ..e2e::fields() };
    butler.send(&[datagram("reload-task.failed", &failed), datagram("reload-task.succeeded", &odd)]);
    butler.send(&["no event at all"]);
    wait_for("metrics of both tasks and of the plugin", || async {
        let (_, page) = metrics(&butler).await;
        let of = |name: &str, id: &str| page.contains(&format!("{name}{{task_id=\"{id}\""));
        let tasks = of("butler_task_state", &failed.task_id) && of("butler_task_state", &odd.task_id);
        let plugin = |kind: &str| {
            page.contains(&format!("butler_plugin_probe_reports_total{{instance=\"probe\",kind=\"{kind}\"}} 1\n"))
        };
        (tasks && plugin("reload-task.failed") && plugin("reload-task.succeeded")).then_some(())
    })
    .await;
    butler.wait_metric("butler_udp_received_total", 3.0).await;

    let (content_type, page) = metrics(&butler).await;
    assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
    let odd_label = r#"task_name="Say \"hello\" \\ bye {é}""#;
    assert!(page.contains(odd_label), "{page}");
    for name in
        ["butler_build_info{version=", "butler_udp_rejected_total{", "butler_qlik_reachable 1", "butler_instance_up{"]
    {
        assert!(page.contains(name), "{name} is missing in\n{page}");
    }
    let good = promtool(&page);
    assert!(good.status.success() && good.stdout.is_empty() && good.stderr.is_empty(), "{good:?}\n{page}");
    // It looks closely: a name without its ending is noticed.
    let bad = promtool(&page.replace("butler_plugin_probe_reports_total", "butler_plugin_probe_reports"));
    assert!(!bad.status.success(), "{bad:?}");
}

/// `promtool check metrics` of a page.
fn promtool(page: &str) -> std::process::Output {
    use std::io::Write as _;
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed (tests/packages.txt)");
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}
