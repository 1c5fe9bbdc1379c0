//! Every endpoint under requests that Schemathesis makes from the daemon's own description: with input that fits, nearly fits and
//! does not fit; once without a token and once with all scopes.
//!
//! The description gets examples of things that are there (`fixtures.json`), so that every operation is seen succeeding. Seed
//! and number of examples are fixed; `BUTLER_FUZZ_EXAMPLES` makes the run longer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use e2e::qlik::Site;
use e2e::{Everything, failure, http, resident, wait_for, webhook};
use serde_json::{Map, Value, json};

/// What one run may take for each example of an operation, and besides.
const PER_EXAMPLE: Duration = Duration::from_secs(4);
const BESIDES: Duration = Duration::from_mins(3);
/// How long any answer may take: an operation that hangs fails.
const ANSWER: &str = "20";
/// Memory that the daemon may have more afterwards, in bytes.
const GROWTH: u64 = 200 << 20;

/// Operations whose success needs what Schemathesis does not have: a secret that Qlik Sense alone is told, and a signature.
/// Other tests show those; the second one is called here as well.
const SECRET: &str = "POST /v5/qlik/notifications/{secret}";
const SIGNED: &str = "POST /v5/qlik-cloud/events";
/// What may fail: operation, status, and how the message begins. As Butler 16 does: where the app is not there, and where a file is
/// that must not be overwritten. And a schedule may name a task that Qlik Sense does not have.
const MAY_FAIL: [(&str, u16, &str); 5] = [
    ("GET /v4/app/{appId}/dump", 500, "Failed dumping app"),
    ("GET /v4/senseappdump/{appId}", 500, "Failed dumping app"),
    ("PUT /v4/app/{appId}/reload", 500, "Failed reloading app"),
    ("PUT /v4/filemove", 500, "Failed moving file: toFile exists, and `overwrite` is false"),
    ("POST /v5/schedules/{id}/run", 502, "Qlik Sense has no task with this id"),
];

/// What was answered.
#[derive(Default)]
struct Seen {
    /// Statuses by operation, of requests with its own method.
    statuses: BTreeMap<String, BTreeSet<u16>>,
    /// Whatever failed: operation, method, status and message.
    failures: BTreeSet<String>,
}

impl Seen {
    fn get(&self, operation: &str) -> BTreeSet<u16> {
        self.statuses.get(operation).cloned().unwrap_or_default()
    }

    fn any(&self, operation: &str, hundreds: u16) -> bool {
        self.get(operation).iter().any(|status| status / 100 == hundreds)
    }
}

fn examples() -> u32 {
    std::env::var("BUTLER_FUZZ_EXAMPLES").ok().and_then(|number| number.parse().ok()).unwrap_or(40)
}

/// Things that are there, under the names of the fixtures.
async fn things(site: &Everything) -> Map<String, Value> {
    let butler = &site.butler;
    butler.send(&[failure(&site.sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    let dead = butler.wait_delivery("dead", "dead").await;
    for file in ["in/move.txt", "out/fixture.txt"] {
        std::fs::write(site.files().join(file), "x").expect("the folder can be written");
    }
    for (namespace, key) in [("read", "k"), ("read", "delete"), ("delete", "k")] {
        let pair = json!({ "key": key, "value": "v" });
        let (status, answer) = butler.post(&format!("/v4/keyvalues/{namespace}"), &pair).await;
        assert_eq!(status, 201, "{answer}");
    }
    let schedule = json!({ "name": "Fuzzed", "cronSchedule": "0 6 1 0 *", "timezone": "Europe/Oslo", "startupState": "stopped",
        "qlikSenseTaskId": Site::SAMPLE_RELOAD_TASK });
    let (status, schedule) = butler.post("/v4/schedules", &schedule).await;
    assert_eq!(status, 201, "{schedule}");
    let things = json!({
        "schedule": schedule["id"], "folder": site.files(), "event": dead["event"], "delivery": dead["id"],
        "task": Site::SAMPLE_RELOAD_TASK, "app": Site::SAMPLE_APP, "reloaded": Site::SAMPLE_APP_OF_MAILLESS_OWNER,
    });
    things.as_object().expect("an object").clone()
}

fn put_in(value: &Value, things: &Map<String, Value>) -> Value {
    match value {
        Value::String(text) => {
            let filled = things.iter().fold(text.clone(), |text, (name, thing)| {
                text.replace(&format!("{{{name}}}"), thing.as_str().expect("things are texts"))
            });
            filled.into()
        }
        Value::Array(items) => items.iter().map(|item| put_in(item, things)).collect(),
        Value::Object(entries) => {
            let entries = entries.iter().map(|(name, entry)| (name.clone(), put_in(entry, things)));
            entries.collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// What is sent to each operation, by its name: parameters, and `body`.
fn fixtures() -> Value {
    serde_json::from_str(include_str!("fixtures.json")).expect("the fixtures are JSON")
}

/// The description with the fixtures as examples; all its operations.
fn with_examples(document: &mut Value, things: &Map<String, Value>) -> Vec<String> {
    let fixtures = fixtures();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object_mut().expect("there are paths") {
        for (method, operation) in methods.as_object_mut().expect("there are operations") {
            let name = format!("{} {path}", method.to_uppercase());
            let fixture = put_in(&fixtures[&name], things);
            for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
                let example = fixture[parameter["name"].as_str().expect("parameters have names")].clone();
                if !example.is_null() {
                    parameter["example"] = example;
                }
            }
            if let Some(body) = fixture.get("body") {
                let content = operation["requestBody"]["content"].as_object_mut();
                let content = content.unwrap_or_else(|| panic!("{name} has no body in the description"));
                content.values_mut().for_each(|media| media["example"] = body.clone());
            }
            operations.push(name);
        }
    }
    operations
}

/// Sends what a fixture says; the status of the answer.
async fn send(site: &Everything, described: &Value, operation: &str, fixture: &Value) -> u16 {
    let (method, path) = operation.split_once(' ').expect("method and path");
    let mut url = url::Url::parse(site.butler.rest()).expect("the address is a URL");
    let text = |name: &str| fixture[name].as_str().map_or_else(|| fixture[name].to_string(), str::to_owned);
    {
        let mut segments = url.path_segments_mut().expect("the address has a path");
        segments.clear();
        for segment in path.split('/').skip(1) {
            let name = segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}'));
            segments.push(&name.map_or_else(|| segment.to_owned(), text));
        }
    }
    for parameter in described["parameters"].as_array().into_iter().flatten().filter(|it| it["in"] == "query") {
        let name = parameter["name"].as_str().expect("parameters have names");
        if fixture.get(name).is_some() {
            url.query_pairs_mut().append_pair(name, &text(name));
        }
    }
    let mut request = http().request(method.parse().expect("a method"), url).bearer_auth(site.token("all"));
    if let Some(body) = fixture.get("body") {
        let content =
            described["requestBody"]["content"].as_object().expect("a fixture with a body is of an operation with one");
        let media_type = content.keys().next().expect("a body has a media type");
        // JSON is YAML, too.
        request = request.header("content-type", media_type).body(body.to_string());
    }
    request.send().await.expect("the daemon answers").status().as_u16()
}

/// Runs Schemathesis to its end; the statuses of all answers.
fn run(folder: &Path, document: &Path, rest: &str, token: Option<&str>) -> Seen {
    let report = folder.join(if token.is_some() { "with.ndjson" } else { "without.ndjson" });
    let mut command = Command::new("schemathesis");
    command.current_dir(folder).arg("run").arg(document).args(["--url", rest, "--no-color", "--warnings", "off"]);
    command.args(["--seed", "9", "--max-examples", &examples().to_string()]);
    command.args(["--phases", "examples,coverage,fuzzing", "--continue-on-failure", "--no-shrink"]);
    command.args(["--checks", "status_code_conformance,content_type_conformance,response_schema_conformance"]);
    command.args(["--suppress-health-check", "all", "--generation-database", "none", "--request-timeout", ANSWER]);
    command.args(["--report", "ndjson", "--report-ndjson-path"]).arg(&report);
    if let Some(token) = token {
        command.args(["--header", &format!("Authorization: Bearer {token}")]);
    }
    let printed = folder.join("printed.txt");
    let output = std::fs::File::create(&printed).expect("the folder can be written");
    command.stdin(Stdio::null()).stdout(output.try_clone().expect("a file can be shared")).stderr(output);
    let mut child = command.spawn().expect("schemathesis is installed (tests/requirements.txt)");
    let until = Instant::now() + BESIDES + PER_EXAMPLE * examples();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            panic!("schemathesis does not end:\n{}", std::fs::read_to_string(&printed).unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let printed = std::fs::read_to_string(&printed).unwrap_or_default();
    assert!(status.success(), "answers that are not as they are described:\n{printed}");
    read(&std::fs::read_to_string(&report).expect("there is a report"))
}

/// The answers in a report.
fn read(report: &str) -> Seen {
    let mut seen = Seen::default();
    for line in report.lines() {
        let event: Value = serde_json::from_str(line).expect("the report is lines of JSON");
        let recorder = &event["ScenarioFinished"]["recorder"];
        let Some(label) = recorder["label"].as_str() else { continue };
        let own_method = label.split(' ').next().unwrap_or_default();
        for interaction in recorder["interactions"].as_object().into_iter().flat_map(Map::values) {
            let (response, method) = (&interaction["response"], text(&interaction["request"]["method"]));
            let status = response["status_code"].as_u64().and_then(|status| u16::try_from(status).ok());
            if method == own_method {
                seen.statuses.entry(label.to_owned()).or_default().extend(status);
            }
            if let Some(status) = status.filter(|status| *status >= 500) {
                let body = BASE64.decode(text(&response["content"]["$base64"])).expect("the report has the body");
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                let message = text(&body["message"]);
                let allowed = |(operation, failure, beginning): &(&str, u16, &str)| {
                    *operation == label && method == own_method && status == *failure && message.starts_with(beginning)
                };
                if !MAY_FAIL.iter().any(allowed) {
                    seen.failures.insert(format!("{label} by {method} fails: {status} {message}"));
                }
            }
        }
    }
    assert!(!seen.statuses.is_empty(), "the report has no answers");
    seen
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_makes_any_endpoint_fail() {
    let all = "read,deliveries,tasks,kv,files,messages,scheduler,admin";
    let site = Everything::start(&[("all", all)], "").await;
    let things = things(&site).await;
    let (status, mut document) = site.butler.get("/documentation/json").await;
    assert_eq!(status, 200);
    let names = site.butler.get("/v4/configfile/endpointsenabled").await;
    let operations = with_examples(&mut document, &things);
    assert!(operations.len() > 30, "{operations:?}");
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("openapi.json");
    std::fs::write(&file, document.to_string()).expect("the folder can be written");

    let before = resident(site.butler.pid());
    let (rest, token) = (site.butler.rest().to_owned(), site.token("all").to_owned());
    let place = folder.path().to_owned();
    let runs = move || (run(&place, &file, &rest, None), run(&place, &file, &rest, Some(&token)));
    let (without, with) = tokio::task::spawn_blocking(runs).await.expect("both runs end well");

    let mut missing = Vec::new();
    for operation in &operations {
        let (method, path) = operation.split_once(' ').expect("method and path");
        let described = &document["paths"][path][method.to_lowercase()];
        let needs_scope = described["security"].is_array();
        let has_input = described["requestBody"].is_object() || described["parameters"].is_array();
        // Schemathesis tries tokens, too: after some of those it is turned away for a while.
        let turned_away = without.get(operation);
        if needs_scope && !(turned_away.contains(&401) && turned_away.is_subset(&BTreeSet::from([401, 429]))) {
            missing.push(format!("{operation} without a token: {turned_away:?}"));
        }
        let elsewhere = [SECRET, SIGNED].contains(&operation.as_str());
        // What it is about may have been deleted by another operation: then once more, with what is there again.
        let succeeds = elsewhere || with.any(operation, 2) || {
            let fixture = put_in(&fixtures()[operation], &self::things(&site).await);
            send(&site, described, operation, &fixture).await / 100 == 2
        };
        if !succeeds {
            missing.push(format!("{operation} does not succeed: {:?}", with.get(operation)));
        }
        // Without input there is nothing wrong that could be sent.
        if has_input && !with.any(operation, 4) {
            missing.push(format!("{operation} refuses nothing: {:?}", with.get(operation)));
        }
    }
    missing.extend(without.failures.into_iter().chain(with.failures));
    assert!(missing.is_empty(), "{}\n{}", missing.join("\n"), site.butler.log());

    // All is as it was.
    let log = site.butler.log();
    assert!(!log.contains("panicked"), "{log}");
    let reload = site.tenants[0].fail_reload("Sales");
    assert_eq!(webhook(&site.butler, &e2e::cloud_failure(&reload)).await.0, 202);
    assert_eq!(site.butler.get("/v4/configfile/endpointsenabled").await, names);
    let ready = wait_for("the daemon to be well", || async {
        let (status, ready) = site.butler.get("/v5/health/ready").await;
        (status == 200).then_some(ready)
    })
    .await;
    assert_eq!(ready["reasons"], json!([]), "{ready}");
    let (_, instances) = site.butler.get("/v5/plugins").await;
    for instance in instances["plugins"].as_array().expect("there are instances") {
        assert_eq!(
            (&instance["condition"]["state"], &instance["abandonedThreads"]),
            (&json!("running"), &json!(0)),
            "{instance}"
        );
    }
    let after = resident(site.butler.pid());
    assert!(after < before + GROWTH, "{before} bytes before, {after} after");
}
