//! Who sends too much, who tries tokens, and what is taken down of writes.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use butler_plugin_api::{Endpoint, Event, Scope, kind};
use futures_util::FutureExt;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::super::endpoints::Mount;
use super::{ADMIN, Options, Site, answer, echo, text, token};
use crate::config::{Rest, TlsProfile};
use crate::qlik;
use crate::store::EventFilter;

/// A client at another address of this machine.
fn client_at(address: [u8; 4]) -> Client {
    Client::builder()
        .tls_backend_preconfigured(qlik::profile(&TlsProfile::default()).unwrap())
        .no_proxy()
        .local_address(IpAddr::from(address))
        .build()
        .unwrap()
}

/// Status and what the headers say of the allowance: limit and remaining.
async fn allowance(request: RequestBuilder) -> (u16, Option<(u64, u64)>) {
    let response = request.send().await.unwrap();
    let number = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().parse::<u64>().unwrap());
    let status = response.status().as_u16();
    let counted = number("x-ratelimit-limit").zip(number("x-ratelimit-remaining"));
    assert_eq!(number("x-ratelimit-reset").is_some_and(|reset| (1..=60).contains(&reset)), counted.is_some());
    assert_eq!(number("retry-after"), number("x-ratelimit-reset").filter(|_| status == 429));
    (status, counted)
}

#[tokio::test]
async fn a_client_has_so_many_requests_a_minute() {
    let rest = Rest { max_per_minute: 4, ..Rest::default() };
    let site = Site::start(Options { rest, ..Options::default() }).await;
    // What a page of another site sends takes nothing from the scripts of this machine, and has its own limit.
    let foreign = || site.get("/v4/butlerping").header("origin", "http://evil.example");
    for left in [3, 2, 1, 0] {
        assert_eq!(allowance(foreign()).await, (403, Some((4, left))));
    }
    assert_eq!(allowance(foreign()).await, (429, Some((4, 0))));
    assert_eq!(allowance(site.get("/v4/butlerping").header("host", "evil.example")).await, (429, Some((4, 0))));
    assert_eq!(allowance(site.get("/v4/butlerping")).await, (200, Some((4, 3))));
    assert_eq!(allowance(site.get("/v4/nothing")).await, (404, Some((4, 2))));
    assert_eq!(allowance(site.get("/documentation/json")).await, (200, Some((4, 1))));
    // The CLI of this machine does not count, and neither do Qlik's own calls.
    assert_eq!(allowance(site.get("/v4/butlerping").bearer_auth(ADMIN)).await, (200, None));
    assert_eq!(allowance(site.request(Method::POST, "/v5/qlik/notifications/x")).await, (404, None));
    assert_eq!(allowance(site.request(Method::POST, "/v5/reload").body("{}")).await, (422, Some((4, 0))));
    for path in ["/v4/butlerping", "/v4/nothing", "/documentation/json"] {
        assert_eq!(allowance(site.get(path)).await, (429, Some((4, 0))), "{path}");
    }
    // Who watches whether Butler is well goes on.
    for path in ["/health", "/v5/health/live", "/v5/health/ready"] {
        assert_eq!(allowance(site.get(path)).await, (200, None), "{path}");
    }
    let (status, body) = text(site.get("/v4/butlerping")).await;
    let start = r#"{"statusCode":429,"error":"Too Many Requests","message":"Rate limit exceeded, retry in "#;
    assert!(status == 429 && body.starts_with(start), "{body}");
    assert_eq!(allowance(site.get("/v4/butlerping").bearer_auth(ADMIN)).await, (200, None));
    let other = client_at([127, 0, 0, 5]).get(format!("http://{}/v4/butlerping", site.address));
    assert_eq!(allowance(other).await, (200, Some((4, 3))));
    let (_, page) = text(site.get("/metrics").bearer_auth(ADMIN)).await;
    assert!(page.contains("\nbutler_rest_rate_limited_total 6\n"), "{page}");
    // What was refused so is not taken down as a write.
    assert_eq!(answer(site.request(Method::POST, "/v5/reload")).await.0, 429);
    let (_, log) = answer(site.get("/v5/audit").bearer_auth(ADMIN)).await;
    assert_eq!(log["writes"].as_array().unwrap().len(), 1, "{log}");
}

#[tokio::test]
async fn tries_of_tokens_where_some_are_told_more_have_the_same_limit() {
    let tokens = vec![token("reader", "reader-secret", &[Scope::Read])];
    let site =
        Site::start(Options { rest: Rest { max_per_minute: 3, tokens, ..Rest::default() }, ..Options::default() })
            .await;
    // Another connection keeps the store from being written, which is something to tell.
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(site.store.path());
    let mut other = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&file).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let store = site.store.clone();
    tokio::spawn(async move { store.storage_set("any", "key", json!(1), None).await });
    while site.store.trouble().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ready = |token: &str| site.get("/v5/health/ready").bearer_auth(token);
    let told = async |token: &str| !answer(ready(token)).await.1.to_string().contains("Butler's log says why");
    assert!(told("reader-secret").await && !told("wrong").await);
    assert_eq!(allowance(ready("wrong")).await, (503, Some((3, 0))));
    for token in ["wrong", "reader-secret"] {
        assert_eq!(allowance(ready(token)).await, (503, None), "{token}");
        assert!(!told(token).await, "{token}");
    }
    assert_eq!(allowance(site.get("/v5/health/ready")).await, (503, None));
    assert!(told(ADMIN).await);
}

#[tokio::test]
async fn without_a_limit_nothing_is_said_of_it() {
    let rest = Rest { max_per_minute: 0, ..Rest::default() };
    let site = Site::start(Options { rest, ..Options::default() }).await;
    assert_eq!(allowance(site.get("/v4/butlerping")).await, (200, None));
}

#[tokio::test]
async fn who_tries_tokens_is_slowed_and_right_tokens_pass() {
    let rest = Rest { tokens: vec![token("reader", "reader-secret", &[Scope::Read])], ..Rest::default() };
    let site = Site::start(Options { rest, ..Options::default() }).await;
    let ping = |token: &str| site.get("/v4/butlerping").bearer_auth(token);
    for n in 0..10 {
        assert_eq!(answer(ping(&format!("wrong{n}"))).await.0, 401);
    }
    let refused = ping("wrong").send().await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (429, "1"));
    assert!(!refused.headers().contains_key("www-authenticate"));
    let (status, body) = answer(ping("wrong")).await;
    assert_eq!((status, &body["error"]), (429, &json!("Too Many Requests")), "{body}");
    assert_eq!(answer(ping("reader-secret")).await.0, 200);
    // What everybody may ask is answered, whatever is sent along; and who sends no token is told that one is needed.
    assert_eq!(answer(site.get("/v5/health/live").bearer_auth("wrong")).await.0, 200);
    assert_eq!(answer(site.get("/v4/butlerping")).await.0, 401);
    let other = client_at([127, 0, 0, 5]).get(format!("http://{}/v4/butlerping", site.address));
    assert_eq!(answer(other.bearer_auth("wrong")).await.0, 401);
    let (_, page) = text(site.get("/metrics").bearer_auth(ADMIN)).await;
    for line in ["butler_rest_wrong_tokens_total{reason=\"unknown\"} 14", "butler_rest_guesses_refused_total 3"] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
}

impl Site {
    /// The events about writes, the oldest first.
    async fn audited(&self) -> Vec<Event> {
        let kind = Some(kind::AUDIT_WRITE.to_owned());
        let filter = EventFilter { kind, limit: 100, ..EventFilter::default() };
        let mut rows = self.store.events(&filter).await.unwrap();
        rows.reverse();
        rows.into_iter().map(|row| row.event).collect()
    }

    async fn log(&self, query: &str) -> Vec<Value> {
        let (status, log) = answer(self.get(&format!("/v5/audit{query}")).bearer_auth(ADMIN)).await;
        assert_eq!(status, 200, "{log}");
        log["writes"].as_array().unwrap().clone()
    }
}

/// What a row of the log says, the time apart.
fn told(row: &Value) -> (&str, bool, Option<&str>, &str, &str, Option<u64>) {
    let text = |name: &str| row[name].as_str();
    assert!(
        text("time").unwrap().ends_with('Z') && row["durationMs"].is_u64() && row["address"] == "127.0.0.1",
        "{row}"
    );
    (
        text("scope").unwrap(),
        row["allowed"].as_bool().unwrap(),
        text("caller"),
        text("method").unwrap(),
        text("path").unwrap(),
        row["status"].as_u64(),
    )
}

#[tokio::test]
async fn writes_are_taken_down_and_those_that_matter_are_events() {
    let rest = Rest {
        tokens: vec![token("ops", "ops-secret", Scope::ALL), token("script", "script-secret", &[Scope::Kv])],
        ..Rest::default()
    };
    let mounts = vec![
        echo("a", Endpoint::new("POST", "/v4/keyvalues/{ns}", Scope::Kv, "")),
        echo("a", Endpoint::new("DELETE", "/v4/plans/{id}", Scope::Scheduler, "")),
        echo("a", Endpoint::new("GET", "/v4/plans", Scope::Scheduler, "")),
    ];
    let secrets = vec!["s3cret-value".to_owned()];
    let site = Site::start(Options { rest, mounts, secrets, ..Options::default() }).await;
    let call = async |method: &str, path: &str, token: &str| {
        let request = site.request(method.parse().unwrap(), path).bearer_auth(token).body("{}");
        answer(request).await.0
    };
    assert_eq!(call("POST", "/v4/keyvalues/script-secret?key=x", "script-secret").await, 201);
    assert_eq!(call("DELETE", "/v4/plans/s3cret-value?why=x", "ops-secret").await, 201);
    assert_eq!(call("POST", "/v5/reload", "ops-secret").await, 422);
    assert_eq!(call("POST", "/v5/deliveries/x/retry", ADMIN).await, 404);
    assert_eq!(call("POST", "/v5/reload", "script-secret").await, 403);
    assert_eq!(call("POST", "/v5/reload", "wrong").await, 401);
    // As the REST connector deletes.
    let delete = site.request(Method::POST, "/v4/plans/7").header("X-HTTP-Method-Override", "DELETE");
    assert_eq!(answer(delete.bearer_auth("ops-secret")).await.0, 201);
    // None of these is a write.
    assert_eq!(call("GET", "/v4/plans", "ops-secret").await, 201);
    let read = site.request(Method::POST, "/v4/plans").header("X-HTTP-Method-Override", "GET");
    assert_eq!(answer(read.bearer_auth("ops-secret")).await.0, 201);
    assert_eq!(call("POST", "/v5/qlik/notifications/x", "ops-secret").await, 404);
    assert_eq!(call("POST", "/v5/nothing", "ops-secret").await, 404);

    let log = site.log("").await;
    let own = Some("the run file's token");
    let expected = [
        ("scheduler", true, Some("token `ops`"), "DELETE", "/v4/plans/7", Some(201)),
        ("admin", false, None, "POST", "/v5/reload", Some(401)),
        ("admin", false, Some("token `script`"), "POST", "/v5/reload", Some(403)),
        ("deliveries", true, own, "POST", "/v5/deliveries/x/retry", Some(404)),
        ("admin", true, Some("token `ops`"), "POST", "/v5/reload", Some(422)),
        ("scheduler", true, Some("token `ops`"), "DELETE", "/v4/plans/[redacted]", Some(201)),
        ("kv", true, Some("token `script`"), "POST", "/v4/keyvalues/[redacted]", Some(201)),
    ];
    assert_eq!(log.iter().map(told).collect::<Vec<_>>(), expected);
    let admin: Vec<_> = site.log("?scope=admin&limit=2").await;
    assert_eq!(admin, [log[1].clone(), log[2].clone()]);
    for wrong in ["?scope=write", "?limit=0", "?scop=kv"] {
        assert_eq!(answer(site.get(&format!("/v5/audit{wrong}")).bearer_auth(ADMIN)).await.0, 400, "{wrong}");
    }
    assert_eq!(answer(site.get("/v5/audit").bearer_auth("script-secret")).await.0, 403);

    // Those with the scope, and not those of scripts.
    let events = site.audited().await;
    let of = |event: &Event| {
        let audit = event.data.audit.clone().unwrap();
        assert_eq!((audit.address.as_deref(), event.source.as_str()), (Some("127.0.0.1"), "rest"));
        (audit.caller.unwrap(), format!("{} {}", audit.method.unwrap(), audit.path.unwrap()), audit.status)
    };
    let told = |caller: &str, call: &str, status| (caller.to_owned(), call.to_owned(), Some(status));
    assert_eq!(
        events.iter().map(of).collect::<Vec<_>>(),
        [
            told("token `ops`", "DELETE /v4/plans/[redacted]", 201),
            told("token `ops`", "POST /v5/reload", 422),
            told("the run file's token", "POST /v5/deliveries/x/retry", 404),
            told("token `ops`", "DELETE /v4/plans/7", 201),
        ]
    );
    let (_, page) = text(site.get("/metrics").bearer_auth(ADMIN)).await;
    let counts: BTreeMap<&str, &str> =
        page.lines().filter_map(|line| line.strip_prefix("butler_rest_writes_total")?.rsplit_once(' ')).collect();
    let not_none: Vec<_> = counts.into_iter().filter(|(_, count)| *count != "0").collect();
    assert_eq!(
        not_none,
        [
            ("{scope=\"admin\",result=\"invalid\"}", "1"),
            ("{scope=\"admin\",result=\"refused\"}", "2"),
            ("{scope=\"deliveries\",result=\"invalid\"}", "1"),
            ("{scope=\"kv\",result=\"ok\"}", "1"),
            ("{scope=\"scheduler\",result=\"ok\"}", "2"),
        ]
    );
}

#[tokio::test]
async fn the_log_is_bounded_and_scripts_drive_out_only_their_own() {
    let rest = Rest { tokens: vec![token("ops", "ops-secret", Scope::ALL)], max_per_minute: 0, ..Rest::default() };
    let mounts = vec![echo("a", Endpoint::new("POST", "/v4/keyvalues/{ns}", Scope::Kv, ""))];
    let site = Site::start(Options { rest, mounts, ..Options::default() }).await;
    assert_eq!(answer(site.request(Method::POST, "/v5/reload").bearer_auth("ops-secret").body("{}")).await.0, 422);
    for n in 0..1010 {
        let path = format!("/v4/keyvalues/{n}");
        assert_eq!(answer(site.request(Method::POST, &path).bearer_auth("ops-secret").body("{}")).await.0, 201);
    }
    for _ in 0..260 {
        assert_eq!(answer(site.request(Method::POST, "/v4/keyvalues/x")).await.0, 401);
    }
    let newest = site.log("?scope=kv&limit=500").await;
    assert_eq!(newest.iter().filter(|row| row["allowed"] == false).count(), 250);
    let kept: Vec<_> = newest.iter().filter(|row| row["allowed"] == true).collect();
    assert_eq!((kept.len(), kept[0]["path"].as_str().unwrap()), (250, "/v4/keyvalues/1009"));
    assert_eq!(site.log("?scope=admin").await.len(), 1);
    assert_eq!(site.audited().await.len(), 1);
    // And a long path.
    let path = format!("/v4/keyvalues/{}", "x".repeat(5000));
    assert_eq!(answer(site.request(Method::POST, &path).bearer_auth("ops-secret").body("{}")).await.0, 201);
    assert_eq!(site.log("?limit=1").await[0]["path"], "/v4/keyvalues/…");
}

#[tokio::test]
async fn an_event_about_a_write_never_makes_another() {
    let site = Site::start(Options::default()).await;
    let reload = async |delivery: &str| {
        let request = site.request(Method::POST, "/v5/reload").header("Idempotency-Key", delivery).body("{}");
        assert_eq!(answer(request).await.0, 422);
    };
    let seqs = site.accept(&[kind::AUDIT_WRITE, "reload-task.failed"]).await;
    let deliveries = [site.deliver(seqs[0], "hook").await, site.deliver(seqs[1], "hook").await];
    let [audit, other] = deliveries.map(|delivery| site.store.delivery_id(delivery));
    let count = async || site.audited().await.len();
    // Nobody sends it yet: whoever says so hides behind it.
    reload(&audit).await;
    assert_eq!(count().await, 2);
    let claimed = site.store.claim("hook", 10, false, 60_000).await.unwrap();
    assert_eq!(claimed.len(), 2);
    reload(&audit).await;
    assert_eq!(count().await, 2);
    for innocent in [other.as_str(), "x", ""] {
        reload(innocent).await;
    }
    assert_eq!(count().await, 5);
    assert_eq!(site.log("?scope=admin").await.len(), 5);
}

#[tokio::test]
async fn a_store_that_nobody_can_read_holds_up_no_answer_and_loses_no_event() {
    let site = Site::start(Options::default()).await;
    let seqs = site.accept(&["reload-task.failed"]).await;
    let delivery = site.store.delivery_id(site.deliver(seqs[0], "hook").await);
    let reload = || site.request(Method::POST, "/v5/reload").header("Idempotency-Key", &delivery).body("{}");
    // Who looks back far takes only what is for people.
    let [readers, people] = site.store.hold_readers().await;
    drop(readers);
    let asked = Instant::now();
    assert_eq!(answer(reload()).await.0, 422);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    drop(people);
    assert_eq!(site.audited().await.len(), 1);

    let [readers, people] = site.store.hold_readers().await;
    drop(people);
    let asked = Instant::now();
    assert_eq!(answer(reload()).await.0, 422);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    // And the caller goes away.
    assert!(reload().timeout(Duration::from_millis(500)).send().await.is_err());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(site.audited().await.len(), 1);
    drop(readers);
    let all = async {
        while site.audited().await.len() < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("the events");
}

#[tokio::test]
async fn what_a_caller_began_and_did_not_wait_for_is_taken_down() {
    let arrived = Arc::new(Notify::new());
    let endless = {
        let arrived = arrived.clone();
        Mount::fake("a", Endpoint::new("PUT", "/v4/start", Scope::Tasks, ""), move |_| {
            arrived.notify_one();
            std::future::pending().boxed()
        })
    };
    let site = Site::start(Options { mounts: vec![endless], ..Options::default() }).await;
    let mut stream = TcpStream::connect(site.address).unwrap();
    stream.write_all(b"PUT /v4/start HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").unwrap();
    arrived.notified().await;
    assert_eq!(site.log("").await.len(), 0);
    drop(stream);
    let event = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            if let Some(event) = site.audited().await.pop() {
                return event;
            }
            tokio::task::yield_now().await;
        }
    });
    let audit = event.await.unwrap().data.audit.unwrap();
    assert_eq!((audit.path.as_deref(), audit.status), (Some("/v4/start"), None));
    assert_eq!(told(&site.log("").await[0]), ("tasks", true, Some("this machine"), "PUT", "/v4/start", None));
}
