//! Who may call from where, who is slowed, what is taken down, and what the log does not tell.

use e2e::qlik::Site;
use e2e::{Butler, Sense, StoreLock, http_from, run, wait_for};
use reqwest::{Client, Response};
use serde_json::Value;

/// A client at an address of this machine: 127.0.0.LAST.
fn at(last: u8) -> Client {
    http_from([127, 0, 0, last])
}

async fn send(butler: &Butler, from: u8, method: &str, path: &str, token: Option<&str>) -> Response {
    let mut request = at(from).request(method.parse().expect("a method"), format!("{}{path}", butler.rest()));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request.send().await.expect("the daemon answers")
}

async fn status(butler: &Butler, from: u8, method: &str, path: &str, token: Option<&str>) -> u16 {
    send(butler, from, method, path, token).await.status().as_u16()
}

/// Makes a token: the token, and the section of the config.
fn new_token(arguments: &[&str]) -> (String, String) {
    let output = run(&[&["token", "new"], arguments].concat());
    assert_eq!(output.code, 0, "{output:?}");
    let token = output.stdout.split("Bearer ").nth(1).and_then(|rest| rest.split('`').next()).expect("the token");
    let (_, section) = output.stdout.split_once("Add to the config:\n\n").expect("the section");
    (token.to_owned(), section.replace("rest:\n", "rest:\n  listen: \"127.0.0.1:0\"\n"))
}

/// Lines of a log with this text.
fn lines<'a>(log: &'a str, text: &str) -> Vec<&'a str> {
    log.lines().filter(|line| line.contains(text)).collect()
}

#[tokio::test]
async fn an_old_script_works_from_its_server_only_and_is_taken_down() {
    let sense = Sense::start().await;
    let (token, section) = new_token(&["--name", "ops", "--scopes", "read,admin"]);
    let config = format!("{section}  grants: [{{ network: 127.0.0.5, scopes: [tasks] }}]\n");
    let butler = sense.butler(&config).await;
    let path = format!("/v4/reloadtask/{}/start", Site::SAMPLE_RELOAD_TASK);
    for stranger in [1, 6] {
        assert_eq!(status(&butler, stranger, "PUT", &path, None).await, 401);
    }
    assert_eq!(sense.site().starts().len(), 0);
    // As the REST connector sends it.
    let script = at(5).post(format!("{}{path}", butler.rest())).header("X-HTTP-Method-Override", "PUT");
    assert_eq!(script.send().await.expect("the daemon answers").status().as_u16(), 200);
    assert_eq!(sense.site().starts().len(), 1);
    // Nothing else, from there neither.
    assert_eq!(status(&butler, 5, "POST", "/v5/reload", None).await, 403);
    assert_eq!(status(&butler, 5, "GET", "/v5/audit", None).await, 403);
    assert_eq!(status(&butler, 6, "POST", "/v5/reload", Some(&token)).await, 200);

    let events = wait_for("the writes as events", || async {
        let (_, page) = butler.get("/v5/events?kind=audit.write").await;
        let events = page["events"].as_array().cloned().unwrap_or_default();
        (events.len() >= 2 && events.iter().all(|event| event["state"] == "routed")).then_some(events)
    })
    .await;
    let told = |event: &Value| {
        let audit = &event["data"]["audit"];
        let text = |name: &str| audit[name].as_str().unwrap_or_default().to_owned();
        (text("caller"), text("address"), text("method"), text("path"), audit["status"].as_u64())
    };
    let expected = |caller: &str, address: &str, method: &str, path: &str| {
        (caller.to_owned(), address.to_owned(), method.to_owned(), path.to_owned(), Some(200))
    };
    assert_eq!(
        events.iter().map(told).collect::<Vec<_>>(),
        [
            expected("token `ops`", "127.0.0.6", "POST", "/v5/reload"),
            expected("grant `127.0.0.5`", "127.0.0.5", "PUT", &path),
        ]
    );
    let log = send(&butler, 6, "GET", "/v5/audit?scope=tasks", Some(&token)).await.text().await.expect("a body");
    let log: Value = serde_json::from_str(&log).expect("JSON");
    let rows: Vec<(u64, &str)> = log["writes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| (row["status"].as_u64().unwrap_or_default(), row["address"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(rows, [(200, "127.0.0.5"), (401, "127.0.0.6"), (401, "127.0.0.1")], "{log}");
}

#[tokio::test]
async fn a_token_is_of_use_in_its_networks_only() {
    let networks = ["--network", "127.0.0.5", "--network", "127.1.0.0/16", "--network", "fd00::/8"];
    let (token, section) = new_token(&[&["--name", "sense"], &networks[..]].concat());
    let butler = Butler::start(&format!("{section}plugins: []\n")).await;
    assert_eq!(status(&butler, 5, "GET", "/v4/butlerping", Some(&token)).await, 200);
    let (unknown, elsewhere) = (
        send(&butler, 6, "GET", "/v4/butlerping", Some("no-such-token")).await,
        send(&butler, 7, "GET", "/v4/butlerping", Some(&token)).await,
    );
    assert_eq!((unknown.status().as_u16(), elsewhere.status().as_u16()), (401, 401));
    let headers = |answer: &Response| {
        let mut headers = answer.headers().clone();
        headers.remove("date");
        headers
    };
    assert_eq!(headers(&unknown), headers(&elsewhere));
    let (unknown, elsewhere) = (unknown.text().await.expect("a body"), elsewhere.text().await.expect("a body"));
    assert_eq!(unknown, elsewhere, "who tries tokens must not learn that this one is right");
    for _ in 0..3 {
        assert_eq!(status(&butler, 7, "GET", "/v4/butlerping", Some(&token)).await, 401);
    }
    butler.wait_metric("butler_rest_wrong_tokens_total{reason=\"network\"}", 4.0).await;
    let log = butler.log();
    let told = lines(&log, "from outside its `networks`");
    assert!(told.len() == 1 && told[0].contains("`sense`") && told[0].contains("127.0.0.7"), "{log}");
    assert!(told[0].contains("WARN") && !log.contains(&token), "{log}");

    let output = run(&["token", "new", "--network", "sense.example.com"]);
    assert!(output.code == 2 && output.stderr.contains("10.1.0.0/16"), "{output:?}");
}

#[tokio::test]
async fn who_tries_tokens_and_who_sends_too_much_is_slowed_told_once_and_harms_nobody() {
    let (token, section) = new_token(&["--name", "script"]);
    let butler = Butler::start(&format!("{section}  maxPerMinute: 40\nplugins: []\n")).await;
    let call = async |from, token: &str| {
        let answer = send(&butler, from, "GET", "/v4/butlerping", Some(token)).await;
        let wait = answer.headers().get("retry-after").and_then(|wait| wait.to_str().ok()?.parse::<u64>().ok());
        (answer.status().as_u16(), wait)
    };
    for _ in 0..10 {
        assert_eq!(call(6, "old-token").await, (401, None));
    }
    for wait in [1, 2, 4, 8] {
        assert_eq!(call(6, "old-token").await, (429, Some(wait)));
    }
    // The other scripts of that machine, and the mistakes of others.
    assert_eq!(call(6, &token).await, (200, None));
    assert_eq!(call(7, "old-token").await, (401, None));
    for _ in 15..40 {
        assert_eq!(call(6, &token).await, (200, None));
    }
    for _ in 0..3 {
        let (status, wait) = call(6, &token).await;
        assert!(status == 429 && wait.is_some_and(|wait| (1..=60).contains(&wait)), "{status} {wait:?}");
    }
    assert_eq!(call(7, &token).await, (200, None));
    assert_eq!(call(6, butler.token()).await, (200, None), "the run file's token does not count");
    butler.wait_metric("butler_rest_guesses_refused_total", 4.0).await;
    butler.wait_metric("butler_rest_rate_limited_total", 3.0).await;
    let log = butler.log();
    for (text, beside) in [("too many wrong tokens", "127.0.0.6"), ("`rest.maxPerMinute`", "127.0.0.6")] {
        let told = lines(&log, text);
        assert!(told.len() == 1 && told[0].contains("WARN") && told[0].contains(beside), "{text}: {told:?}\n{log}");
    }
}

#[tokio::test]
async fn a_write_is_answered_while_its_event_cannot_be_stored() {
    let butler = Butler::start("plugins: []\n").await;
    let lock = StoreLock::take(&butler.folder().join("butler.db"));
    // The client waits 20 s at most.
    let (status, answer) = butler.post("/v5/reload", &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    let (_, log) = butler.get("/v5/audit").await;
    assert_eq!((&log["writes"][0]["path"], &log["writes"][0]["status"]), (&"/v5/reload".into(), &200.into()), "{log}");
    drop(lock);
    wait_for("the event", || async {
        let (_, page) = butler.get("/v5/events?kind=audit.write").await;
        (page["events"].as_array().map(Vec::len) == Some(1)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_log_tells_who_called_and_no_secret() {
    const SECRET: &str = "secret-of-the-config-71f2";
    const VALUE: &str = "value-that-a-script-keeps-93ab";
    const QUERY: &str = "text-of-a-query-5c0d";
    let (token, section) = new_token(&["--name", "script", "--scopes", "read,messages,deliveries"]);
    let probe = "plugins:\n  - use: probe\n    settings: { secret: \"${env:BUTLER_E2E_SECRET}\" }\n";
    let config = format!("{section}log: {{ level: debug, format: json }}\n{probe}");
    let butler = Butler::start_with(&config, &[("BUTLER_E2E_SECRET", SECRET)]).await;
    let call = async |method: &str, path: &str, bearer: &str, body: String| {
        let request = at(5).request(method.parse().expect("a method"), format!("{}{path}", butler.rest()));
        let request = request.bearer_auth(bearer).header("content-type", "application/json").body(body);
        request.send().await.expect("the daemon answers").status().as_u16()
    };
    let body = || format!("{{\"key\":\"k\",\"value\":\"{VALUE}\",\"text\":\"{VALUE}\"}}");
    wait_for("the probe", || async { (call("POST", "/v5/probe/a", &token, body()).await == 201).then_some(()) }).await;
    assert_eq!(call("POST", &format!("/v5/probe/a?value={QUERY}"), &token, body()).await, 201);
    assert_eq!(call("POST", &format!("/v5/probe/{SECRET}"), &token, body()).await, 201);
    assert_eq!(call("POST", "/v5/messages", &token, format!("{{\"text\":\"{VALUE}\"}}")).await, 202);
    // Sent by mistake in the path and in the query, as it is and encoded.
    let encoded = token.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"));
    for sent in [&token, butler.token(), &encoded] {
        assert_eq!(call("POST", &format!("/v5/probe/{sent}"), &token, body()).await, 201);
        assert_eq!(call("GET", &format!("/v5/events/{sent}"), &token, String::new()).await, 404);
        assert_eq!(call("GET", &format!("/v4/token={sent}/x?token={sent}"), &token, String::new()).await, 404);
        assert_eq!(
            call("GET", &format!("/v4/butlerping?token={sent}"), sent, String::new()).await / 100,
            2 + u16::from(*sent == encoded) * 2
        );
        assert_eq!(call("POST", &format!("/v5/deliveries/{sent}/retry"), &token, String::new()).await, 404);
    }
    assert_eq!(call("GET", &format!("/v5/probe/panic?value={QUERY}"), &token, String::new()).await / 100, 5);
    assert_eq!(call("GET", &format!("/v5/events?kind={QUERY}&x={QUERY}"), &token, String::new()).await, 400);
    assert_eq!(call("POST", &format!("/v5/qlik/notifications/{VALUE}"), &token, body()).await, 404);
    assert_eq!(call("GET", "/v4/butlerping", &format!("wrong-{VALUE}"), String::new()).await, 401);
    assert_eq!(call("POST", "/v5/reload", &token, String::new()).await, 403);
    let last = |log: &str| lines(log, "REST write").iter().any(|line| line.contains("\"/v5/reload\""));
    wait_for("the last line", || async { last(&butler.log()).then_some(()) }).await;

    let (_, audit) = butler.get("/v5/audit?limit=500").await;
    let (run_token, log) = (butler.token().to_owned(), butler.stop().await.1);
    for (what, text) in [("the log", &log), ("the audit", &audit.to_string())] {
        for hidden in [SECRET, VALUE, QUERY, &token, &encoded, &run_token] {
            assert!(!text.contains(hidden), "{what} tells `{hidden}`:\n{text}");
        }
    }
    let records: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let find = |message: &str, path: &str| {
        let found = records.iter().find(|record| record["message"] == message && record["path"] == path);
        found.unwrap_or_else(|| panic!("no `{message}` of {path} in\n{log}"))
    };
    let request = find("REST request", "/v5/probe/[redacted]");
    assert_eq!((&request["caller"], &request["address"]), (&"token `script`".into(), &"127.0.0.5".into()), "{request}");
    assert_eq!((&request["method"], &request["status"]), (&"POST".into(), &201.into()), "{request}");
    let stranger = records.iter().find(|record| record["message"] == "REST request" && record["status"] == 401);
    let stranger = stranger.expect("the request with a wrong token");
    assert!(stranger["caller"].is_null() && stranger["address"] == "127.0.0.5", "{stranger}");
    let write = find("REST write", "/v5/probe/[redacted]");
    assert_eq!((&write["target"], &write["scope"]), (&"butler::audit".into(), &"messages".into()), "{write}");
    assert_eq!(find("REST write", "/v5/reload")["allowed"], false);
    find("REST request", "/v5/qlik/notifications/");
    find("REST request", "/v4/[redacted]/x");
}
