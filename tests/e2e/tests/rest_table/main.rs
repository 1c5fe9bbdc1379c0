//! Every endpoint of Butler 16's API, and those that kept their paths, by one table (`endpoints.json`): what is sent, and which
//! status and body come back; who may; and what every endpoint has in common.
//!
//! Facts of the table are those of Butler 16, or the better ones: 400 instead of 500 for wrong digits, 400 for a copy of what is not
//! there, content types. An answer in the table is a form: `"<string>"`, `"<array>"`, `"<uuid>"`, `"<version>"`, `"<any>"` stand
//! for values, `"<starts with …>"` for texts of which the beginning counts, and an object with `"<more>"` may have further keys.
//! Cases run in order; `keep` remembers a field of the answer as `{kept}`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::process::Command;

use e2e::qlik::Site;
use e2e::{Everything, http};
use serde_json::{Value, json};

const SCOPES: [&str; 8] = ["read", "deliveries", "tasks", "kv", "files", "messages", "scheduler", "admin"];
/// The 35 of Butler 16's API, one that its switch `updateSchedule` was for, two of Butler 4 to 6, health, and the documentation.
const ENDPOINTS: usize = 44;

fn table() -> Vec<Value> {
    let table: Value = serde_json::from_str(include_str!("endpoints.json")).expect("the table is JSON");
    table["endpoints"].as_array().expect("the table is a list").clone()
}

/// With a token for each scope, one for all but that, and one for all.
async fn site(rest: &str) -> Everything {
    let mut tokens = vec![("all".to_owned(), SCOPES.join(","))];
    for scope in SCOPES {
        let others: Vec<&str> = SCOPES.into_iter().filter(|other| *other != scope).collect();
        tokens.extend([(scope.to_owned(), scope.to_owned()), (format!("not-{scope}"), others.join(","))]);
    }
    let tokens: Vec<(&str, &str)> = tokens.iter().map(|(name, scopes)| (name.as_str(), scopes.as_str())).collect();
    Everything::start(&tokens, rest).await
}

/// What stands for facts of the site.
struct Facts {
    folder: String,
    kept: String,
}

impl Facts {
    fn put(&self, text: &str) -> String {
        text.replace("{folder}", &self.folder)
            .replace("{kept}", &self.kept)
            .replace("{task}", Site::SAMPLE_RELOAD_TASK)
            .replace("{app}", Site::SAMPLE_APP)
    }

    fn put_all(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.put(text).into(),
            Value::Array(items) => items.iter().map(|item| self.put_all(item)).collect(),
            Value::Object(entries) => entries
                .iter()
                .map(|(name, entry)| (name.clone(), self.put_all(entry)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            other => other.clone(),
        }
    }
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or_default()
}

/// Whether an answer has the form of the table.
fn fits(form: &Value, answer: &Value) -> bool {
    match (form, answer) {
        (Value::String(form), answer) if form.starts_with('<') && form.ends_with('>') => match form.as_str() {
            "<any>" => true,
            "<string>" => answer.is_string(),
            "<array>" => answer.as_array().is_some_and(|items| !items.is_empty()),
            "<uuid>" => answer.as_str().is_some_and(|id| id.len() == 36 && id.split('-').count() == 5),
            "<version>" => answer.as_str().is_some_and(|version| version.split('.').count() == 3),
            other => {
                let beginning = other.strip_prefix("<starts with ").and_then(|rest| rest.strip_suffix('>'));
                let beginning = beginning.unwrap_or_else(|| panic!("the table has the form {other}"));
                answer.as_str().is_some_and(|answer| answer.starts_with(beginning))
            }
        },
        (Value::Array(forms), Value::Array(items)) => {
            forms.len() == items.len() && forms.iter().zip(items).all(|(form, item)| fits(form, item))
        }
        (Value::Object(form), Value::Object(answer)) => {
            let more = form.contains_key("<more>");
            let named = form.iter().filter(|(name, _)| *name != "<more>");
            named.clone().all(|(name, form)| answer.get(name).is_some_and(|value| fits(form, value)))
                && (more || named.count() == answer.len())
        }
        (form, answer) => form == answer,
    }
}

struct Got {
    status: u16,
    content_type: String,
    answer: Value,
    length: usize,
}

/// Sends what a case says. `how`: the method on the wire, and the one in the header that names another.
async fn send(site: &Everything, case: &Value, path: &str, how: (&str, Option<&str>), token: Option<&str>) -> Got {
    let (method, meant) = how;
    let mut request = http().request(method.parse().unwrap(), format!("{}{path}", site.butler.rest()));
    if let Some(token) = token {
        request = request.bearer_auth(site.token(token));
    }
    if let Some(meant) = meant {
        request = request.header("X-HTTP-Method-Override", meant);
    }
    let body = case.get("body").map(Value::to_string).or_else(|| case["text"].as_str().map(str::to_owned));
    if let Some(content_type) = case["type"].as_str() {
        request = request.header("content-type", content_type);
    } else if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let answer = request.body(body.unwrap_or_default()).send().await.expect("the daemon answers");
    let status = answer.status().as_u16();
    let header = answer.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
    let bytes = answer.bytes().await.expect("the daemon answers whole");
    let length = bytes.len();
    let answer =
        serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes).into_owned()));
    Got { status, content_type: header.unwrap_or_default(), answer, length }
}

fn no_route(method: &str, path: &str) -> Value {
    json!({ "message": format!("Route {method}:{path} not found"), "error": "Not Found", "statusCode": 404 })
}

#[tokio::test]
async fn every_endpoint_answers_as_the_table_says() {
    let (table, site) = (table(), site("").await);
    assert_eq!(table.len(), ENDPOINTS);
    let folder = site.files().to_string_lossy().replace('\\', "/");
    let mut facts = Facts { folder, kept: String::new() };
    let (_, document) = site.butler.get("/documentation/json").await;
    let (_, names) = site.butler.get("/v4/configfile/endpointsenabled").await;
    let mut seen = 0;
    for row in &table {
        let (method, declared, scope) = (text(row, "method"), text(row, "path"), row["scope"].as_str());
        let title = format!("{method} {declared}");
        let operation = &document["paths"][declared][method.to_lowercase()];
        assert!(operation.is_object(), "{title} is not described");
        let security = scope.map_or(Value::Null, |scope| json!([{ "bearer": [scope] }]));
        assert_eq!(operation["security"], security, "{title}");
        let name = text(row, "name");
        let listed = names.as_array().unwrap().iter().filter(|other| *other == name).count();
        assert_eq!(listed, usize::from(!name.is_empty()), "{title}: {name} in {names}");

        for case in row["cases"].as_array().unwrap() {
            let path = facts.put(case["at"].as_str().unwrap_or(declared));
            let case = facts.put_all(case);
            let status = case["status"].as_u64().unwrap();
            if let Some(scope) = scope {
                // First those who may not, so that nothing is done by them that is seen after.
                let got = send(&site, &case, &path, (method, None), None).await;
                assert_eq!((got.status, text(&got.answer, "error")), (401, "Unauthorized"), "{title} {case}");
                let got = send(&site, &case, &path, (method, None), Some(&format!("not-{scope}"))).await;
                assert_eq!((got.status, text(&got.answer, "error")), (403, "Forbidden"), "{title} {case}");
                assert!(text(&got.answer, "message").contains(&format!("scope `{scope}`")), "{title} {}", got.answer);
            }
            let got = send(&site, &case, &path, (method, None), scope).await;
            assert_eq!(u64::from(got.status), status, "{title} {case}: {}", got.answer);
            if let Some(form) = case.get("answer") {
                assert!(fits(form, &got.answer), "{title} {case}: {}", got.answer);
            }
            if got.status == 204 {
                assert_eq!(got.length, 0, "{title}");
            } else if got.answer.is_array() || got.answer.is_object() {
                assert_eq!(got.content_type, "application/json; charset=utf-8", "{title} {case}");
            }
            let is_told = operation["responses"].get(got.status.to_string()).is_some()
                || got.status >= 500 && operation["responses"].get("5XX").is_some();
            assert!(is_told, "{title} does not declare {status}");
            // What all have in common is a reference, and JSON.
            let content = operation["responses"][got.status.to_string()]["content"].as_object();
            let as_told = |told: &String| told == "*/*" || got.content_type.split(';').next() == Some(told);
            assert!(content.is_none_or(|content| content.keys().any(as_told)), "{title} {case}: {}", got.content_type);
            if let Some(field) = case["keep"].as_str() {
                text(&got.answer, field).clone_into(&mut facts.kept);
            }
            // Refused again by the method that clients without PUT and DELETE name in a header.
            if status >= 400 && matches!(method, "PUT" | "DELETE") {
                let got = send(&site, &case, &path, ("POST", Some(&method.to_lowercase())), scope).await;
                assert_eq!(u64::from(got.status), status, "POST for {title} {case}: {}", got.answer);
            }
            if method == "GET" {
                let head = send(&site, &case, &path, ("HEAD", None), scope).await;
                assert_eq!((u64::from(head.status), head.length), (status, 0), "HEAD {path}");
                let over = json!({ "body": { "is": "ignored" } });
                let got = send(&site, &over, &path, ("POST", Some("GET")), scope).await;
                assert_eq!(u64::from(got.status), status, "POST for GET {path}");
            }
            seen += 1;
        }
        let path = facts.put(row["cases"][0]["at"].as_str().unwrap_or(declared)).split('?').next().unwrap().to_owned();
        for wrong in [format!("{path}/x/y/z"), path.replacen("/v4/", "/V4/", 1), format!("{path}/")] {
            if wrong == path || wrong == "/documentation/" {
                continue;
            }
            let got = send(&site, &Value::Null, &wrong, (method, None), Some("all")).await;
            // An empty segment is a parameter where there is one.
            if got.status != 404 && document["paths"].get(format!("{declared}/{{key}}")).is_some() {
                continue;
            }
            assert_eq!((got.status, got.answer), (404, no_route(method, &wrong)), "{title}");
        }
        for wrong in ["PATCH", "OPTIONS"] {
            let got = send(&site, &Value::Null, &path, (wrong, None), Some("all")).await;
            assert_eq!((got.status, got.answer), (404, no_route(wrong, &path)), "{title}");
        }
    }
    assert!(seen > 60, "{seen}");

    // Nothing of the API of Butler 16 is served that the table does not have.
    let described = document["paths"].as_object().unwrap().iter().filter(|(path, _)| path.starts_with("/v4/"));
    let described: BTreeSet<String> = described
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let rows = table.iter().map(|row| format!("{} {}", text(row, "method"), text(row, "path")));
    assert_eq!(described, rows.filter(|row| row.contains(" /v4/")).collect());
}

#[tokio::test]
async fn every_endpoint_can_be_switched_off() {
    let table = table();
    let entry = |row: &Value| match text(row, "name") {
        "" => format!("{} {}", text(row, "method"), text(row, "path")),
        name => name.to_owned(),
    };
    let entries: BTreeSet<String> = table
        .iter()
        .map(entry)
        .filter(|entry| entry != "apiListEnabledEndpoints" && !entry.ends_with("/json"))
        .collect();
    let list: Vec<String> = entries.iter().map(|entry| format!("\"{entry}\"")).collect();
    let site = site(&format!("  disabledEndpoints: [{}]", list.join(", "))).await;
    for row in table.iter().filter(|row| entries.contains(&entry(row))) {
        let (method, path) = (text(row, "method"), text(row, "path"));
        let wire = path.replace(['{', '}'], "");
        for token in [None, Some("all")] {
            let got = send(&site, &row["cases"][0], &wire, (method, None), token).await;
            assert_eq!((got.status, got.answer), (404, no_route(method, &wire)), "{method} {path}");
        }
    }
    let (_, names) = site.butler.get("/v4/configfile/endpointsenabled").await;
    assert_eq!(names, json!(["apiListEnabledEndpoints"]));
    let (_, document) = site.butler.get("/documentation/json").await;
    let described = document["paths"].as_object().unwrap();
    let paths: Vec<&String> = described.keys().filter(|path| path.starts_with("/v4")).collect();
    assert_eq!(paths, ["/v4/configfile/endpointsenabled"]);
    // What does the same under `/v5` is off with it.
    let schedules: Vec<&String> = described.keys().filter(|path| path.starts_with("/v5/schedules")).collect();
    assert!(schedules.is_empty(), "{schedules:?}");
    assert!(!described.keys().any(|path| path.starts_with("/v5/key-value")), "{document}");

    // At a reload they come back, and need no restart.
    let file = site.butler.config();
    let config = std::fs::read_to_string(file).unwrap();
    let lines: Vec<&str> = config.lines().filter(|line| !line.contains("disabledEndpoints")).collect();
    std::fs::write(file, lines.join("\n") + "\n").unwrap();
    let (status, done) = site.butler.post("/v5/reload", &Value::Null).await;
    assert_eq!((status, &done["needRestart"], &done["restarted"]), (200, &json!([]), &json!([])), "{done}");
    assert_eq!(site.butler.get("/v4/butlerping").await.0, 200);
    assert_eq!(site.butler.get("/health").await.0, 200);
    let (_, names) = site.butler.get("/v4/configfile/endpointsenabled").await;
    assert!(names.as_array().unwrap().contains(&json!("slackPostMessage")), "{names}");

    // One that means nothing is refused, and what is served stays.
    let wrong = config.replace("disabledEndpoints: [", "disabledEndpoints: [slackPostMesage, ");
    std::fs::write(file, wrong).unwrap();
    let (status, refused) = site.butler.post("/v5/reload", &Value::Null).await;
    let message = text(&refused, "message");
    assert!(status == 422 && message.contains("did you mean `slackPostMessage`?"), "{refused}");
    assert!(message.contains("rest.disabledEndpoints[0]"), "{refused}");
    assert_eq!(site.butler.get("/v4/butlerping").await.0, 200);
}

#[tokio::test]
async fn the_description_is_openapi_in_json_and_in_yaml() {
    let site = site("").await;
    let folder = tempfile::tempdir().unwrap();
    for name in ["json", "yaml"] {
        let answer = http().get(format!("{}/documentation/{name}", site.butler.rest())).send().await.unwrap();
        std::fs::write(folder.path().join(name), answer.bytes().await.unwrap()).unwrap();
    }
    let valid = Command::new("openapi-spec-validator")
        .args(["--schema", "3.1"])
        .arg(folder.path().join("json"))
        .output()
        .expect("openapi-spec-validator is installed (tests/requirements.txt)");
    assert!(valid.status.success(), "{valid:?}");
    let program = "import json, sys, yaml; sys.exit(json.load(open('json')) != yaml.safe_load(open('yaml')))";
    let same = Command::new("python3").args(["-c", program]).current_dir(folder.path()).output();
    let same = same.expect("python3 is installed (tests/packages.txt)");
    assert!(same.status.success(), "{same:?}");
}

#[tokio::test]
async fn limits_of_bodies_and_paths() {
    let site = site("").await;
    let path = "/v4/mqttpublishmessage";
    let body = |length: usize| {
        let frame = r#"{"topic":"t","message":""}"#.len();
        json!({ "body": { "topic": "t", "message": "x".repeat(length - frame) } })
    };
    let got = send(&site, &body(1 << 20), path, ("PUT", None), Some("all")).await;
    assert_eq!(got.status, 201, "{}", got.answer);
    let got = send(&site, &body((1 << 20) + 1), path, ("PUT", None), Some("all")).await;
    let too_large = json!({ "statusCode": 413, "code": "FST_ERR_CTP_BODY_TOO_LARGE", "error": "Payload Too Large",
        "message": "Request body is too large" });
    assert_eq!((got.status, got.answer), (413, too_large));

    // No limit of 100 characters, as it was; what is not percent-encoded is said.
    let long = format!("/v4/reloadtask/{}/start", "x".repeat(20_000));
    let got = send(&site, &json!({ "body": [] }), &long, ("PUT", None), Some("all")).await;
    assert_eq!(
        (got.status, got.answer["tasksId"]["invalid"].as_array().map(Vec::len)),
        (200, Some(1)),
        "{}",
        got.answer
    );
    for odd in ["%zz", "%", "%ff", "a%2", "%c3%28"] {
        let path = format!("/v4/reloadtask/{odd}/start");
        let request = http().put(format!("{}{path}", site.butler.rest())).bearer_auth(site.token("all"));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 400, "{odd}");
        assert!(answer.text().await.unwrap().contains("not percent-encoded UTF-8"), "{odd}");
    }
    for odd in ["%00", "..", "%2e%2e", "a%2fb", "%e2%80%ae"] {
        let path = format!("/v5/events/{odd}");
        let got = send(&site, &Value::Null, &path, ("GET", None), Some("all")).await;
        assert_eq!(got.status, 404, "{odd}: {}", got.answer);
    }
}
