//! The webhook against receivers that check what they get: signatures, CloudEvents in both modes, templated requests.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use butler_plugin_api::kind;
use butler_plugin_api::testing::sample_event;
use e2e::qlik::{Site, sign};
use e2e::{Answer, Butler, Fields, Received, Sense, Sink, command, failure, fields, wait_for};
use ring::hmac;
use serde_json::{Value, json};

const KEY: &[u8] = b"a secret of both sides, long enough";
const PLAIN: &str = "It's a Secret to Everybody";

fn hook(name: &str, sink: &Sink, more: &str) -> String {
    format!(
        "  - use: webhook\n    name: {name}\n    on: [{{ events: [\"*\"] }}]\n    retry: {{ initial: 50ms, max: 200ms }}\n    \
         settings: {{ url: \"{}\"{more} }}\n",
        sink.url(&format!("/{name}"))
    )
}

/// What a receiver of Standard Webhooks checks (specification 1.0, "Verifying webhook authenticity").
fn check_standard(request: &Received, key: &[u8]) -> Result<(), String> {
    let header = |name: &str| request.header(name).ok_or_else(|| format!("no header {name}"));
    let (id, time) = (header("webhook-id")?, header("webhook-timestamp")?);
    let sent: u64 = time.parse().map_err(|_| format!("{time} is no time"))?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    if now.abs_diff(sent) > 300 {
        return Err(format!("{time} is not now"));
    }
    let content = format!("{id}.{time}.{}", request.body);
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let signatures = header("webhook-signature")?.split(' ').filter_map(|one| one.strip_prefix("v1,"));
    let fits = |one: &str| STANDARD.decode(one).is_ok_and(|code| hmac::verify(&key, content.as_bytes(), &code).is_ok());
    if signatures.into_iter().any(fits) { Ok(()) } else { Err("no signature fits".to_owned()) }
}

/// A CloudEvent as a receiver has it: context attributes, and the data.
struct Parsed {
    attributes: BTreeMap<String, String>,
    data: Value,
}

impl Parsed {
    /// In either mode, told apart as the HTTP binding 1.0.2 says (section 3).
    fn of(request: &Received) -> Self {
        let content_type = request.header("content-type").expect("a body has a type");
        let parsed = if content_type.starts_with("application/cloudevents") {
            assert_eq!(content_type, "application/cloudevents+json");
            Self::structured(&request.json())
        } else {
            Self::binary(request, content_type)
        };
        for name in ["specversion", "id", "source", "type"] {
            assert!(parsed.attributes.get(name).is_some_and(|value| !value.is_empty()), "{name} is required");
        }
        let attributes = &parsed.attributes;
        assert_eq!(
            (attributes["specversion"].as_str(), attributes["datacontenttype"].as_str()),
            ("1.0", "application/json")
        );
        for (name, value) in attributes {
            // Specification 1.0, "Naming conventions" and "Type system".
            assert!(name.len() <= 20 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()), "{name}");
            assert!(!value.chars().any(char::is_control), "{name}: {value:?}");
        }
        reqwest::Url::parse(&attributes["source"]).expect("the source is a URI");
        attributes["time"].parse::<jiff::Timestamp>().expect("the time is one of RFC 3339");
        assert!(attributes.get("subject").is_none_or(|subject| !subject.is_empty()));
        parsed
    }

    /// JSON format 1.0.2: attributes are members, texts here all of them; the facts are in `data`.
    fn structured(body: &Value) -> Self {
        let mut attributes = BTreeMap::new();
        for (name, value) in body.as_object().expect("an object") {
            if name != "data" {
                attributes.insert(name.clone(), value.as_str().expect("attributes are texts").to_owned());
            }
        }
        Self { attributes, data: body["data"].clone() }
    }

    fn binary(request: &Received, content_type: &str) -> Self {
        let mut attributes = BTreeMap::from([("datacontenttype".to_owned(), content_type.to_owned())]);
        for (name, value) in &request.headers {
            if let Some(name) = name.as_str().strip_prefix("ce-") {
                assert_ne!(name, "datacontenttype", "it is the header Content-Type");
                assert!(attributes.insert(name.to_owned(), decoded(value.as_bytes())).is_none(), "{name} twice");
            }
        }
        Self { attributes, data: request.json() }
    }
}

/// A value of a header by the binding, section 3.1.3.2; nothing that must be encoded may be there as it is.
fn decoded(value: &[u8]) -> String {
    let (mut bytes, mut rest) = (Vec::new(), value);
    while let Some((first, more)) = rest.split_first() {
        assert!((0x21..=0x7e).contains(first) && *first != b'"', "{first:#x} must be encoded");
        if *first == b'%' {
            let digits = std::str::from_utf8(&more[..2]).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
            rest = &more[2..];
        } else {
            bytes.push(*first);
            rest = more;
        }
    }
    String::from_utf8(bytes).expect("UTF-8")
}

/// Emits an event by the test plugin, which starts a little later than the daemon is ready.
async fn emit(butler: &Butler, event: &Value) {
    wait_for(&format!("{event} to be taken"), || async {
        (butler.post("/v5/probe/emit", event).await.0 == 201).then_some(())
    })
    .await;
}

fn to<'a>(requests: &'a [Received], target: &str) -> Vec<&'a Received> {
    requests.iter().filter(|request| request.target.split('?').next() == Some(target)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_is_a_cloud_event_in_both_modes_and_signed() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let secret = STANDARD.encode(KEY);
    let signed = format!("signature: {{ secret: \"whsec_{secret}\" }}");
    let config = [
        "plugins:\n  - use: probe\n    on: [{ events: [\"probe.*\"] }]\n".to_owned(),
        hook("structured", &sink, &format!(", format: cloudevents, {signed}")),
        hook("binary", &sink, &format!(", format: cloudevents, mode: binary, method: PUT, {signed}")),
        hook("flat", &sink, &format!(", signature: {{ secret: \"{PLAIN}\", scheme: body }}")),
        hook("query", &sink, ", method: GET, query: { token: t }"),
    ];
    let butler =
        sense.butler(&("pluginDirs: [plugins]\nappReload: { users: [\"*\"] }\n".to_owned() + &config.concat())).await;
    for name in kind::ALL {
        emit(&butler, &json!({ "kind": name, "data": sample_event(name).data })).await;
    }
    // One from a log line, and a test.
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    let file = butler.config().to_str().unwrap();
    for instance in ["structured", "binary"] {
        let output = command(&["test-alert", "-c", file, "--instance", instance, "--event", "node.silent"]).await;
        assert_eq!(output.code, 0, "{output:?}");
    }
    let kinds = |requests: &[Received], target: &str| -> BTreeSet<String> {
        let requests = to(requests, target).into_iter();
        requests
            .map(|request| Parsed::of(request).attributes["type"].strip_prefix("butler.").unwrap().to_owned())
            .collect()
    };
    let all: BTreeSet<String> = kind::ALL.iter().map(|kind| (*kind).to_owned()).collect();
    let requests = wait_for("all kinds in both modes", || async {
        let received = sink.received();
        let ids = ["/structured", "/binary"].map(|target| {
            let told = to(&received, target).into_iter().map(|request| Parsed::of(request).attributes["id"].clone());
            told.filter(|id| !id.starts_with("test-")).collect::<BTreeSet<String>>()
        });
        let done = ids[0] == ids[1] && all.is_subset(&kinds(&received, "/binary"));
        let counts = ["/flat", "/query"].map(|target| to(&received, target).len() > all.len());
        (done && counts == [true, true]).then_some(received)
    })
    .await;
    let (mut tests, mut by_id) = (0, BTreeMap::<String, Vec<Parsed>>::new());
    for target in ["/structured", "/binary"] {
        for request in to(&requests, target) {
            check_standard(request, KEY).unwrap_or_else(|why| panic!("{why}: {request:?}"));
            assert!(check_standard(request, b"another").is_err());
            assert_eq!(request.header("webhook-id"), request.header("idempotency-key"));
            let parsed = Parsed::of(request);
            assert_eq!(parsed.attributes["source"], format!("urn:butler:{}", &target[1..]));
            let note = parsed.attributes.get("butlernote").map(String::as_str).unwrap_or_default();
            let is_test = parsed.attributes["id"].starts_with("test-");
            assert_eq!(note.contains("this is a test"), is_test, "{note}");
            tests += usize::from(is_test);
            by_id.entry(parsed.attributes["id"].clone()).or_default().push(parsed);
        }
    }
    assert_eq!(tests, 2);
    // Both modes say the same.
    let pairs: Vec<_> = by_id.values().filter(|parsed| parsed.len() == 2).collect();
    assert!(pairs.len() >= all.len(), "{}", pairs.len());
    for pair in pairs {
        assert_eq!(pair[0].data, pair[1].data);
        for name in ["type", "time", "subject", "butlernote"] {
            assert_eq!(pair[0].attributes.get(name), pair[1].attributes.get(name), "{name}");
        }
    }
    for request in to(&requests, "/flat") {
        let expected = format!("sha256={}", sign(PLAIN, request.body.as_bytes()));
        assert_eq!(request.header("x-hub-signature-256"), Some(expected.as_str()));
        let body = request.json();
        assert!(body["event"].is_string() && body["eventId"].is_string(), "{body}");
        assert!(!request.body.contains("undefined"), "{}", request.body);
    }
    for request in to(&requests, "/query") {
        assert!(request.target.starts_with("/query?token=t&event="), "{}", request.target);
        assert!(!request.target.contains("undefined") && !request.target.contains("=null"), "{}", request.target);
        assert_eq!((request.method.as_str(), request.body.as_str()), ("GET", ""));
    }
    let (_, log) = butler.stop().await;
    assert!(!log.contains(&secret) && !log.contains(PLAIN), "{log}");
}

/// Checks 6 and 7: the address of a GET, the fields and their order of a POST.
#[tokio::test]
async fn queries_and_bodies_are_those_of_the_original_and_the_query_of_the_address_stays() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    let hook = |name: &str, sink: &Sink, more: &str| hook(name, sink, more).replace("[\"*\"]", "[reload-task.failed]");
    let config = hook("get", &sink, ", method: GET").replace("/get\"", "/get?key=1\"")
        + &hook("post", &sink, "").replace("/post\"", "/post?key=1\"");
    let butler = sense.butler(&format!("plugins:\n{config}")).await;
    let about = sense.about(Site::SAMPLE_RELOAD_TASK_OF_MAILLESS_OWNER);
    let fields = Fields { node: "s1".to_owned(), user: r"LAB\anna".to_owned(), ..about };
    sense.site().fail_task(&fields.task_id, &fields.execution_id).unwrap();
    butler.send(&[failure(&fields)]);
    let requests = sink.wait(2).await;
    let get = &to(&requests, "/get")[0].target;
    let task = fields.task_name.replace(' ', "+");
    let start = format!(
        "/get?key=1&event=Qlik+Sense+reload+failed&hostName=s1&user=LAB%5Canna&taskName={task}&taskId={}&appName=",
        fields.task_id
    );
    assert!(get.starts_with(&start), "{get}\n{start}");
    let post = to(&requests, "/post")[0];
    assert_eq!((post.target.as_str(), post.header("content-type")), ("/post?key=1", Some("application/json")));
    assert_eq!(post.json()["appOwnerEmail"], "");
    let names: Vec<&str> = get.split(['?', '&']).skip(2).map(|pair| pair.split('=').next().unwrap()).collect();
    let original = "event hostName user taskName taskId appName appId appOwnerName appOwnerUserDirectory appOwnerUserId \
                    appOwnerEmail logTimeStamp logLevel executionId logMessage eventId";
    assert_eq!(names, original.split_whitespace().collect::<Vec<_>>());
    let mut at = 0;
    for name in names {
        let place = post.body.find(&format!("\"{name}\":")).expect("the body has the same names");
        assert!(place >= at, "{name} stands too early");
        at = place;
    }
    assert_eq!(post.json().as_object().unwrap().len(), 16);
}

/// Check 8, and the licence: the states of services, `null` for what is not known in JSON, nothing in a query.
#[tokio::test]
async fn services_and_licences_are_those_of_the_original() {
    let sink = Sink::start().await;
    let config = "pluginDirs: [plugins]\nplugins:\n  - use: probe\n    on: [{ events: [\"probe.*\"] }]\n".to_owned()
        + &hook("get", &sink, ", method: GET")
        + &hook("post", &sink, "");
    let butler = Butler::start(&config).await;
    let service = |state: &str, before: &str| {
        json!({ "service": { "host": "srv1", "name": "QlikSenseEngineService", "displayName": "Engine",
                             "startType": "Automatic", "state": state, "previousState": before } })
    };
    for (kind, data) in [
        ("service.stopped", service("STOPPED", "RUNNING")),
        ("service.started", service("running", "stopped")),
        ("server-license.status", json!({ "serverLicense": { "expired": false } })),
        (
            "server-license.expired",
            json!({ "serverLicense": { "expired": true, "expiryDate": "2026-03-31", "daysUntilExpiry": -3 } }),
        ),
    ] {
        emit(&butler, &json!({ "kind": kind, "data": data })).await;
    }
    let requests = wait_for("all of them", || async {
        let requests = sink.received();
        let texts = ["\"currState\":\"STOPPED\"", "\"currState\":\"RUNNING\"", "license status", "has expired"];
        let queries = ["currstate=STOPPED", "currstate=RUNNING", "license+status", "has+expired"];
        let found = texts.iter().all(|text| to(&requests, "/post").iter().any(|request| request.body.contains(text)));
        let asked =
            queries.iter().all(|text| to(&requests, "/get").iter().any(|request| request.target.contains(text)));
        (found && asked).then_some(requests)
    })
    .await;
    let body = |text: &str| {
        let found = to(&requests, "/post").into_iter().find(|request| request.body.contains(text)).unwrap();
        let mut body = found.json();
        body.as_object_mut().unwrap().remove("eventId").unwrap();
        body
    };
    assert_eq!(
        body("\"currState\":\"STOPPED\""),
        json!({ "event": "Windows service monitor", "host": "srv1", "serviceStatus": "STOPPED",
                "serviceName": "QlikSenseEngineService", "serviceDisplayName": "Engine", "serviceStartType": "Automatic",
                "prevState": "RUNNING", "currState": "STOPPED", "stateChanged": true })
    );
    assert_eq!(body("\"currState\":\"RUNNING\"")["prevState"], "STOPPED");
    assert_eq!(
        body("license status"),
        json!({ "event": "server license status", "licenseExpired": false, "expiryDateStr": null, "daysUntilExpiry": null })
    );
    assert_eq!(
        body("has expired"),
        json!({ "event": "server license has expired alert", "licenseExpired": true, "expiryDateStr": "2026-03-31",
                "daysUntilExpiry": -3 })
    );
    let query = |text: &str| {
        let requests = to(&requests, "/get");
        requests.into_iter().find(|request| request.target.contains(text)).unwrap().target.clone()
    };
    let stopped = query("currstate=STOPPED");
    let expected = "/get?event=Windows+service+monitor&host=srv1&servicestatus=STOPPED&servicename=QlikSenseEngineService&\
                    servicedisplayname=Engine&servicestarttype=Automatic&prevstate=RUNNING&currstate=STOPPED&statechanged=true&";
    assert!(stopped.starts_with(expected), "{stopped}");
    let status = query("license+status");
    assert!(status.starts_with("/get?event=server+license+status&licenseExpired=false&eventId="), "{status}");
}

/// Check 9, by the rule's throttle: one call a task and five minutes.
#[tokio::test]
async fn a_rate_limit_is_for_a_task() {
    let sink = Sink::start().await;
    let config = hook("hook", &sink, "").replace("[\"*\"]", "[reload-task.failed], throttle: { per: task, every: 3s }");
    let butler = Butler::start(&format!("plugins:\n{config}")).await;
    let (first, other) = (fields(), fields());
    let again = |fields: &Fields| failure(&Fields { execution_id: e2e::fields().execution_id, ..fields.clone() });
    butler.send(&[failure(&first)]);
    sink.wait(1).await;
    butler.send(&[again(&first)]);
    butler.send(&[failure(&other)]);
    sink.wait(2).await;
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    butler.send(&[again(&first)]);
    let requests = sink.wait(3).await;
    let tasks: Vec<String> =
        requests.iter().map(|request| request.json()["taskId"].as_str().unwrap().to_owned()).collect();
    assert_eq!(tasks, [first.task_id.clone(), other.task_id, first.task_id]);
    let note = requests[2].json()["note"].clone();
    assert!(note.as_str().unwrap().starts_with("1 more suppressed since the last message"), "{note}");
}

#[tokio::test]
async fn templates_make_requests_and_a_broken_one_costs_no_alert() {
    let (sense, sink) = (Sense::start().await, Sink::start().await);
    std::fs::write(
        sense.folder().join("body.json"),
        "{ \"task\": \"{{taskName}}\", \"lines\": [{{#each task.tags}}\"{{this}}\",{{/each}}] }",
    )
    .unwrap();
    let hook = |name: &str, sink: &Sink, more: &str| hook(name, sink, more).replace("[\"*\"]", "[reload-task.failed]");
    let config = hook(
        "json",
        &sink,
        ", templateFile: body.json, headers: { X-Task: \"{{taskName}}\" }, query: { app: \"{{appName}}&x\" }, \
         signature: { secret: geheim-geheim, scheme: body, header: X-Sig }",
    ) + &hook("sms", &sink, ", method: GET, format: none, query: { text: \"{{heading}}: {{reason}}\" }");
    let butler = sense.butler(&format!("plugins:\n{config}")).await;
    let mut fields = sense.failed(Site::SAMPLE_RELOAD_TASK);
    butler.send(&[failure(&fields)]);
    let requests = sink.wait(2).await;
    let request = to(&requests, "/json")[0];
    assert_eq!(request.target, "/json?app=Order+analysis%26x");
    assert_eq!(request.json(), json!({ "task": "Reload order analysis", "lines": ["nightly"] }));
    assert_eq!(request.header("x-task"), Some("Reload order analysis"));
    let signature = format!("sha256={}", sign("geheim-geheim", request.body.as_bytes()));
    assert_eq!(request.header("x-sig"), Some(signature.as_str()));
    let sms = &to(&requests, "/sms")[0].target;
    assert!(
        sms.starts_with("/sms?text=Reload+task+failed%3A+Reload+order+analysis%3A+") && !sms.contains("event="),
        "{sms}"
    );

    std::fs::write(sense.folder().join("body.json"), "{ \"task\": {{taskName}} }").unwrap();
    sink.forget();
    sink.next([Answer::Status(503)]);
    fields = sense.failed(Site::SAMPLE_RELOAD_TASK);
    butler.send(&[failure(&fields)]);
    let plain = sink.wait_where("the built-in form", |request| request.body.contains("Qlik Sense reload failed")).await;
    assert!(plain.target.starts_with("/json") && plain.header("x-task").is_none(), "{plain:?}");
    wait_for("the log to say so", || async {
        let text = "alerts go out as requests in the built-in form: template `body.json`, line 1";
        butler.log().contains(text).then_some(())
    })
    .await;
}
