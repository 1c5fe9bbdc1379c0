//! The sockets of the REST server: HTTPS, HTTP/2, many and slow connections, bodies that are too long, odd requests.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod http2;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use e2e::{Butler, command, http, https, peak, tls_trusting, wait_for};
use rustls::pki_types::ServerName;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use http2::{h2_ask, h2_over, head};

const DAY: Duration = Duration::from_hours(24);
const WITH_TLS: &str =
    "log: { level: debug }\nrest: { listen: \"127.0.0.1:0\", tls: { certificate: tls/cert.pem, key: tls/key.pem } }\n";
/// Longest time for an answer to a good client.
const PROMPT: Duration = Duration::from_secs(3);

/// Puts a new certificate that is valid so long in place of the files; the certificate.
fn renew(folder: &Path, valid: Duration) -> String {
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.not_before = (SystemTime::now() - 10 * DAY).into();
    params.not_after = (SystemTime::now() + valid).into();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    std::fs::create_dir_all(folder.join("tls")).unwrap();
    std::fs::write(folder.join("tls/cert.pem"), &certificate).unwrap();
    std::fs::write(folder.join("tls/key.pem"), key.serialize_pem()).unwrap();
    certificate
}

/// A daemon with HTTPS and its certificate.
async fn secured() -> (Butler, String) {
    let folder = Arc::new(TempDir::new().unwrap());
    let certificate = renew(folder.path(), 300 * DAY);
    (Butler::start_in(folder, WITH_TLS, &[]).await, certificate)
}

fn address(butler: &Butler) -> SocketAddr {
    butler.rest().split_once("://").unwrap().1.parse().unwrap()
}

/// Status of a request to a path by this client.
async fn status(client: &reqwest::Client, butler: &Butler, path: &str) -> Option<u16> {
    let answer = client.get(format!("{}{path}", butler.rest())).bearer_auth(butler.token()).send().await.ok()?;
    Some(answer.status().as_u16())
}

/// Sends bytes and reads until the server closes.
async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    let reading = reader.read_to_end(&mut answer);
    // The server may close before it has read everything.
    let (_, _) =
        tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(writer.write_all(bytes), reading) })
            .await
            .expect("the server answers and closes");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn list_deliveries(butler: &Butler) -> e2e::Output {
    command(&["deliveries", "list", "-c", butler.config().to_str().unwrap()]).await
}

#[tokio::test]
async fn https_by_a_certificate_that_may_be_renewed() {
    let (butler, first) = secured().await;
    assert!(butler.rest().starts_with("https://"), "{}", butler.rest());
    assert_eq!(status(&https(&first), &butler, "/v5/events").await, Some(200));
    let listed = list_deliveries(&butler).await;
    assert_eq!(listed.code, 0, "{listed:?}");

    let second = renew(butler.folder(), 20 * DAY);
    wait_for("the renewed certificate", || async { status(&https(&second), &butler, "/v5/events").await }).await;
    assert_eq!(status(&https(&first), &butler, "/v5/events").await, None, "the former one is not shown any more");
    wait_for("the command line to know it", || async { (list_deliveries(&butler).await.code == 0).then_some(()) })
        .await;

    std::fs::write(butler.folder().join("tls/key.pem"), "nothing").unwrap();
    let said = "keeps its former certificate (`rest.tls`)";
    wait_for("the fault to be said", || async { butler.log().contains(said).then_some(()) }).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(butler.log().matches(said).count(), 1, "once");
    assert_eq!(status(&https(&second), &butler, "/v5/events").await, Some(200));
    assert_eq!(list_deliveries(&butler).await.code, 0);
    let page = https(&second).get(format!("{}/metrics", butler.rest())).bearer_auth(butler.token());
    let page = page.send().await.unwrap().text().await.unwrap();
    assert!(page.contains("butler_certificate_expiry_timestamp_seconds{certificate=\"rest\"} "), "{page}");
    let (ended, log) = butler.stop().await;
    assert_eq!(ended.code(), Some(0), "{log}");
}

#[tokio::test]
async fn the_command_line_trusts_no_other_certificate() {
    let (butler, _) = secured().await;
    let run_file = butler.folder().join("butler.db.run.json");
    let text = std::fs::read_to_string(&run_file).unwrap();
    let run: serde_json::Value = serde_json::from_str(&text).unwrap();
    let known = run["certificateSha256"].as_str().unwrap();
    std::fs::write(&run_file, text.replace(known, &"0".repeat(64))).unwrap();
    let refused = list_deliveries(&butler).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("does not answer") || refused.stderr.contains("certificate"), "{refused:?}");
    std::fs::write(&run_file, text).unwrap();
    assert_eq!(list_deliveries(&butler).await.code, 0);
}

#[tokio::test]
async fn files_that_cannot_be_used_are_told_before_anything_is_bound() {
    let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let path = Butler::prepare(&folder, WITH_TLS);
    let config = path.to_str().unwrap();
    let refused = async |expected: &str| {
        for name in ["check", "run"] {
            let output = command(&[name, "-c", config]).await;
            assert_eq!(output.code, 2, "{output:?}");
            let text = output.stderr + &output.stdout;
            assert!(text.contains("rest.tls") && text.contains(expected), "{text}");
        }
    };
    refused("cert.pem cannot be read").await;
    renew(folder.path(), DAY);
    renew(other.path(), DAY);
    std::fs::copy(other.path().join("tls/key.pem"), folder.path().join("tls/key.pem")).unwrap();
    refused("does not belong to the certificate").await;
    std::fs::write(folder.path().join("tls/key.pem"), "x").unwrap();
    refused("has no private key in it").await;
    std::fs::write(folder.path().join("tls/cert.pem"), "x").unwrap();
    refused("has no certificate in it").await;
    // Over: Butler serves it all the same, and clients refuse it.
    renew(folder.path(), Duration::ZERO);
    let checked = command(&["check", "-c", config]).await;
    assert_eq!(checked.code, 1, "{checked:?}");
    assert!(checked.stdout.contains("failed  certificate rest"), "{checked:?}");
    assert_eq!(checked.stdout.matches("has expired").count(), 1, "{checked:?}");
}

#[tokio::test]
async fn a_certificate_that_expires_is_an_event() {
    let folder = Arc::new(TempDir::new().unwrap());
    let certificate = renew(folder.path(), 5 * DAY);
    let butler = Butler::start_in(folder, WITH_TLS, &[]).await;
    let client = https(&certificate);
    let event = wait_for("the event", || async {
        let url = format!("{}/v5/events?kind=certificate.expiring", butler.rest());
        let answer = client.get(url).bearer_auth(butler.token()).send().await.ok()?.text().await.ok()?;
        let answer: serde_json::Value = serde_json::from_str(&answer).ok()?;
        answer["events"].get(0).cloned()
    })
    .await;
    let text = event.to_string();
    assert!(text.contains("Butler's REST server") && text.contains("tls/cert.pem"), "{text}");
    let answer = client.get(format!("{}/v5/health/ready", butler.rest())).bearer_auth(butler.token()).send().await;
    let ready = answer.unwrap().text().await.unwrap();
    assert!(ready.contains("\"rest\"") && ready.contains("5 more days"), "{ready}");
}

#[tokio::test]
async fn the_wrong_language_is_no_fault_of_the_server() {
    let (butler, certificate) = secured().await;
    let at = address(&butler);
    let answer = raw(at, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("https://"), "{answer}");
    // No end, the beginning of one, and noise after a true beginning.
    let hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
    let mut held = Vec::new();
    for n in 0..200 {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(&hello[..n % hello.len()]).await.unwrap();
        held.push(stream);
    }
    raw(at, &[hello.as_slice(), &[0xff; 600]].concat()).await;
    let asked = Instant::now();
    assert_eq!(status(&https(&certificate), &butler, "/v5/events").await, Some(200));
    assert!(asked.elapsed() < PROMPT, "{:?}", asked.elapsed());
    // They are closed within the time for a head.
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(25), held[0].read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "a handshake that does not come is waited for without end");

    let plain = Butler::start("log: { level: debug }\n").await;
    let tls = TlsConnector::from(Arc::new(tls_trusting(None)));
    let stream = TcpStream::connect(address(&plain)).await.unwrap();
    let handshake = tls.connect(ServerName::try_from("localhost").unwrap(), stream);
    assert!(tokio::time::timeout(PROMPT, handshake).await.unwrap().is_err());
    assert_eq!(plain.get("/v5/events").await.0, 200);
    for butler in [butler, plain] {
        let log = butler.log();
        let loud: Vec<_> = log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
        assert!(loud.is_empty(), "{loud:?}");
        assert_eq!(butler.stop().await.0.code(), Some(0));
    }
}

#[tokio::test]
async fn bodies_of_100_mb_are_refused_and_their_senders_see_it() {
    const LENGTH: usize = 100 << 20;
    let butler = Butler::start("").await;
    let (at, before) = (address(&butler), peak(butler.pid()));
    let head_of = |more: &str| {
        let token = butler.token();
        format!("POST /v5/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{more}\r\n\r\n")
    };
    let announced = [head_of(&format!("Content-Length: {LENGTH}")).as_bytes(), &vec![b'x'; LENGTH]].concat();
    let chunk = [b"100000\r\n".as_slice(), &vec![b'x'; 1 << 20], b"\r\n"].concat();
    let chunked = [head_of("Transfer-Encoding: chunked").as_bytes(), &chunk.repeat(100), b"0\r\n\r\n"].concat();
    for (what, request) in [("announced", announced), ("chunked", chunked)] {
        let answer = raw(at, &request).await;
        assert!(
            answer.starts_with("HTTP/1.1 413") && answer.contains("FST_ERR_CTP_BODY_TOO_LARGE"),
            "{what}: {answer}"
        );
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{what}: {answer}");
    }
    // Who goes on sending after the answer is not reset: that could take the answer away.
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(head_of(&format!("Content-Length: {}", 3 << 20)).as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stream.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
    }
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(String::from_utf8(answer).unwrap().ends_with('}'), "the whole answer");
    // Who asks first need not send it.
    let expecting = raw(at, head_of(&format!("Content-Length: {LENGTH}\r\nExpect: 100-continue")).as_bytes()).await;
    assert!(expecting.starts_with("HTTP/1.1 413"), "{expecting}");

    let mut client = h2_over(TcpStream::connect(at).await.unwrap()).await;
    let request = head("POST", "http://localhost/v5/messages", &butler).body(()).unwrap();
    let (answer, mut body) = client.send_request(request, false).unwrap();
    let sending = async {
        let mut sent = 0;
        while sent < LENGTH {
            body.reserve_capacity(1 << 16);
            // Nothing more once the server has had enough.
            let Some(Ok(room)) = std::future::poll_fn(|context| body.poll_capacity(context)).await else { break };
            if body.send_data(vec![b'x'; room].into(), false).is_err() {
                break;
            }
            sent += room;
        }
        sent
    };
    let (answer, sent) = tokio::join!(answer, sending);
    assert_eq!(answer.unwrap().status(), 413);
    assert!(sent < LENGTH / 2, "{sent} bytes were taken");
    assert_eq!(h2_ask(&mut client, head("GET", "http://localhost/v5/events", &butler)).await.0, 200);
    let grown = peak(butler.pid()) - before;
    assert!(grown < 60 << 20, "{} MB", grown >> 20);
}

#[tokio::test]
async fn odd_requests_get_a_clean_answer() {
    let butler = Butler::start("").await;
    let at = address(&butler);
    let long = |length: usize| "x".repeat(length);
    let requests = [
        ("/v5/%2e%2e/%2e%2e/etc/passwd".to_owned(), String::new(), [404, 404]),
        ("/v5/events/%2e%2e%2fdeliveries".to_owned(), String::new(), [400, 404]),
        ("/v5/events/%00".to_owned(), String::new(), [400, 404]),
        ("/v5/events/a\0b".to_owned(), String::new(), [400, 400]),
        ("/v5/events/%zz".to_owned(), String::new(), [400, 400]),
        ("/v5/events/%ff%fe".to_owned(), String::new(), [400, 400]),
        ("/v5/events/%e2%82".to_owned(), String::new(), [400, 400]),
        ("/v5/events?limit=%zz".to_owned(), String::new(), [400, 400]),
        (format!("/v5/events/{}", long(60_000)), String::new(), [400, 431]),
        (format!("/{}", "a/".repeat(30_000)), String::new(), [404, 431]),
        (format!("/v5/events/{}", long(70_000)), String::new(), [414, 431]),
        ("/v5/events".to_owned(), format!("{}: 1\r\n", long(30_000)), [200, 431]),
        ("/v5/events".to_owned(), format!("{}: 1\r\n", long(70_000)), [400, 431]),
        ("/v5/events".to_owned(), "x: y\r\n".repeat(2_000), [431, 431]),
        ("/v5/events".to_owned(), "bad name: y\r\n".to_owned(), [400, 400]),
        ("/v5/events".to_owned(), "x: a\0b\r\n".to_owned(), [400, 400]),
        ("/v5/events".to_owned(), "Content-Length: 5\r\nContent-Length: 6\r\n".to_owned(), [400, 400]),
        ("/v5/events".to_owned(), "Transfer-Encoding: gzip\r\n".to_owned(), [400, 400]),
        ("http://evil.example/v5/events".to_owned(), String::new(), [403, 403]),
        ("*".to_owned(), String::new(), [400, 404]),
        ("no-slash".to_owned(), String::new(), [400, 404]),
    ];
    for (path, headers, expected) in requests {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        let asked = Instant::now();
        let answer = raw(at, request.as_bytes()).await;
        let what: String = request.chars().take(80).collect();
        let status: u16 = answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default();
        assert!(
            (expected[0]..=expected[1]).contains(&status),
            "{what}: {}",
            answer.chars().take(200).collect::<String>()
        );
        assert!(asked.elapsed() < PROMPT, "{what}: {:?}", asked.elapsed());
    }
    assert_eq!(butler.get("/v5/events").await.0, 200);
}

/// Asks again and again by new connections until told to stop; the longest time that an answer took.
async fn healthy(butler: &Butler, until: impl Future<Output = ()>) -> Duration {
    let mut longest = Duration::ZERO;
    let mut until = std::pin::pin!(until);
    loop {
        let asked = Instant::now();
        // Each with a connection of its own.
        let answered = status(&http(), butler, "/v5/events").await;
        assert_eq!(answered, Some(200), "after {:?}", asked.elapsed());
        longest = longest.max(asked.elapsed());
        if tokio::time::timeout(Duration::from_millis(50), &mut until).await.is_ok() {
            return longest;
        }
    }
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_do_not_keep_a_client_out() {
    const COUNT: usize = 10_000;
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    // The daemon raises its own limit: with this one it would keep half as many connections.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 600, most).unwrap();
    let butler = Butler::start("").await;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    assert!(most > COUNT as u64 + 500, "this test needs more open files than {most}");
    let at = address(&butler);
    let before = peak(butler.pid());
    let (opened, done) = tokio::sync::oneshot::channel();
    let opening = tokio::spawn(async move {
        let mut streams = Vec::with_capacity(COUNT);
        while streams.len() < COUNT {
            let mut batch = JoinSet::new();
            for n in 0..100 {
                batch.spawn(async move {
                    let mut stream = TcpStream::connect(at).await.unwrap();
                    // Idle ones, and some in the midst of a head or of a body.
                    let begun: &[u8] = match n % 4 {
                        0 | 1 => b"",
                        2 => b"GET /v5/events HTTP/1.1\r\nHost: loc",
                        _ => b"POST /v5/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{",
                    };
                    let _ = stream.write_all(begun).await;
                    stream
                });
            }
            streams.extend(batch.join_all().await);
        }
        opened.send(()).unwrap();
        streams
    });
    let while_opening = healthy(&butler, async { done.await.unwrap() }).await;
    let streams = opening.await.unwrap();
    let while_open = healthy(&butler, tokio::time::sleep(Duration::from_secs(2))).await;
    println!("longest answer {while_opening:?} while they are opened, {while_open:?} while they are open");
    assert!(while_opening < PROMPT && while_open < PROMPT, "{while_opening:?} {while_open:?}");
    let open = butler.metric("butler_rest_connections").await.unwrap();
    // One client has three quarters of all places.
    assert!((700.0..=768.0).contains(&open), "{open}");
    let turned_away = butler.metric("butler_rest_connections_turned_away_total{what=\"closed\"}").await.unwrap();
    assert!(turned_away > 8_000.0, "{turned_away}");
    let grown = peak(butler.pid()) - before;
    println!("the peak of memory grew by {} kB", grown >> 10);
    assert!(grown < 64 << 20, "{} MB", grown >> 20);
    assert_eq!(butler.log().matches("as many connections as it takes").count(), 1, "{}", butler.log());
    drop(streams);
    // The connection that asks is open itself.
    butler.wait_metric("butler_rest_connections", 1.0).await;
    let (ended, log) = butler.stop().await;
    assert_eq!(ended.code(), Some(0), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_stand_beside_a_healthy_one_and_are_ended() {
    let butler = Butler::start("").await;
    let at = address(&butler);
    let drip = |first: String, part: &'static [u8]| async move {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(first.as_bytes()).await.unwrap();
        let begun = Instant::now();
        let (mut reader, mut writer) = stream.split();
        let mut answer = Vec::new();
        let dripping = async {
            while writer.write_all(part).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        tokio::select! {
            _ = reader.read_to_end(&mut answer) => {}
            () = dripping => {}
        }
        (begun.elapsed(), String::from_utf8_lossy(&answer).into_owned())
    };
    let (mut heads, mut bodies) = (JoinSet::new(), JoinSet::new());
    for _ in 0..200 {
        heads.spawn(drip("GET /v5/events HTTP/1.1\r\nHost: localhost\r\nX: ".to_owned(), b"x"));
        let post = "POST /v5/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{";
        bodies.spawn(drip(post.to_owned(), b" "));
    }
    let ended = async {
        for (time, answer) in heads.join_all().await {
            assert!(time < Duration::from_secs(25), "a head took {time:?}: {answer}");
        }
        for (time, answer) in bodies.join_all().await {
            assert!(answer.starts_with("HTTP/1.1 408") && time < Duration::from_secs(40), "{time:?}: {answer}");
        }
    };
    let longest = healthy(&butler, ended).await;
    assert!(longest < PROMPT, "{longest:?}");
    assert_eq!(butler.post("/v5/messages", &json!({ "text": "well" })).await.0 / 100, 2);
}
