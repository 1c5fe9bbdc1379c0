//! Certificates of the connection to Qlik Sense: renewed while Butler runs, and said to expire in time.

use std::fs;
use std::time::{Duration, SystemTime};

use e2e::qlik::{Certificates, Ends, Options, Site};
use e2e::{Butler, Received, Sense, Sink, failure, run, wait_for};
use serde_json::json;

const DAY: Duration = Duration::from_hours(24);

/// A webhook with whole events, told of each start, too.
fn config(sink: &Sink) -> String {
    format!(
        "enrich: {{ giveUpAfter: 5m }}\nplugins:\n  - use: webhook\n    on: [{{ events: [\"butler.started\", \
         \"certificate.*\", \"*-task.*\"] }}]\n    settings: {{ url: {}, format: event }}\n",
        sink.url("/")
    )
}

async fn sense(ends: Ends) -> Sense {
    let certificates = Certificates::ending(ends).expect("certificates can be made");
    Sense::with(Options::default().certificates(certificates)).await
}

fn of_kind(sink: &Sink, kind: &str) -> Vec<Received> {
    sink.received().into_iter().filter(|request| request.json()["kind"] == kind).collect()
}

async fn wait_kind(sink: &Sink, kind: &str, count: usize) -> Vec<Received> {
    wait_for(&format!("{count} events {kind}"), || async {
        let found = of_kind(sink, kind);
        (found.len() >= count).then_some(found)
    })
    .await
}

fn times(butler: &Butler, text: &str) -> usize {
    butler.log().matches(text).count()
}

#[tokio::test]
async fn events_that_wait_for_an_expired_certificate_get_their_facts_after_its_renewal() {
    let sense = sense(Ends { client: Some(SystemTime::now() - DAY / 2), ..Ends::default() }).await;
    let sink = Sink::start().await;
    let butler = sense.butler(&config(&sink)).await;
    let said = wait_kind(&sink, "certificate.expiring", 1).await[0].json();
    let message = said["data"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("client.pem has expired") && message.contains("from the QMC"), "{said}");
    let certificate = &said["data"]["certificate"];
    assert_eq!((&certificate["subject"], &certificate["daysUntilExpiry"]), (&json!("CN=QlikClient"), &json!(0)));
    let (status, ready) = butler.get("/v5/health/ready").await;
    let told = ready["notes"].as_array().is_some_and(|notes| notes.iter().any(|note| note["subject"] == "certificate"));
    assert!(status == 200 && told, "{ready}");

    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    wait_for("a refusal", || async { butler.log().contains("refuses our client certificate").then_some(()) }).await;
    butler.wait_metric("butler_events_waiting", 1.0).await;
    assert_eq!(sense.counts().requests, 0);

    // A copy under way: the certificate is there to its half, then whole, but its key is the former one.
    let renewed = sense.certificates().renew_client(None).expect("certificates can be made");
    let folder = sense.folder().join("certificates");
    let pem = renewed.client_pem();
    fs::write(folder.join("client.pem"), &pem[..pem.len() / 2]).expect("the folder can be written");
    wait_for("a warning", || async { (times(&butler, "the former ones stay in use") > 0).then_some(()) }).await;
    assert!(butler.log().contains("client.pem is damaged"), "{}", butler.log());
    let refused = sense.counts().handshakes_failed;
    wait_for("further attempts", || async { (sense.counts().handshakes_failed > refused + 1).then_some(()) }).await;
    assert_eq!(times(&butler, "the former ones stay in use"), 1, "{}", butler.log());
    assert_eq!(of_kind(&sink, "reload-task.failed").len(), 0);

    renewed.write_to(&folder).expect("the folder can be written");
    let event = wait_kind(&sink, "reload-task.failed", 1).await[0].json();
    assert_eq!(event["data"]["missing"], json!(null), "{event}");
    assert_eq!(event["data"]["app"]["owner"]["name"], "Ann Berg", "{event}");
    assert_eq!(butler.get("/v5/health/ready").await.0, 200);
    assert_eq!(times(&butler, "certificates for Qlik Sense were renewed"), 1, "{}", butler.log());
}

#[tokio::test]
async fn an_end_that_is_near_is_said_once_everywhere() {
    let end = SystemTime::now() + DAY * 20;
    let sense = sense(Ends { client: Some(end), server: Some(SystemTime::now() + DAY * 100), ..Ends::default() }).await;
    let sink = Sink::start().await;
    let butler = sense.butler(&config(&sink)).await;
    let event = wait_kind(&sink, "certificate.expiring", 1).await[0].json();
    assert_eq!(event["source"], "butler", "{event}");
    let certificate = &event["data"]["certificate"];
    assert!(certificate["file"].as_str().is_some_and(|file| file.ends_with("client.pem")), "{event}");
    assert_eq!((&certificate["subject"], &certificate["daysUntilExpiry"]), (&json!("CN=QlikClient"), &json!(20)));
    assert!(certificate["expiryDate"].as_str().is_some_and(|date| date.ends_with('Z')), "{event}");

    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    wait_kind(&sink, "reload-task.failed", 1).await;
    let (status, ready) = butler.get("/v5/health/ready").await;
    assert_eq!((status, &ready["reasons"]), (200, &json!([])));
    let note = ready["notes"].as_array().and_then(|notes| notes.iter().find(|note| note["subject"] == "certificate"));
    let note = note.unwrap_or_else(|| panic!("no note about the certificate: {ready}"));
    assert!(note["state"] == "client" && note.to_string().contains("valid for 20 more days"), "{note}");
    let expiry = async |label: &str| {
        let series = format!("butler_certificate_expiry_timestamp_seconds{{certificate=\"{label}\"}}");
        butler.metric(&series).await.unwrap_or_else(|| panic!("no series {series}"))
    };
    let seconds = end.duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970").as_secs_f64();
    assert!((expiry("client").await - seconds).abs() < 2.0);
    let days = async |label: &str| (expiry(label).await - seconds) / 86_400.0;
    assert!((days("server").await - 80.0).abs() < 0.1 && days("ca").await > 100.0);

    let path = butler.config().to_str().expect("the path is a text").to_owned();
    let check = tokio::task::spawn_blocking(move || run(&["check", "-c", &path])).await.expect("it ends");
    let line = |begin: &str, what: &str| {
        let found = check.stdout.lines().find(|line| line.starts_with(begin) && line.contains(what));
        found.unwrap_or_else(|| panic!("no line `{begin} {what}` in {check:?}")).to_owned()
    };
    assert_eq!(check.code, 0, "{check:?}");
    assert!(line("note", "certificate client").contains("valid for 20 more days"));
    assert!(line("ok", "certificate server").contains("CN=localhost"));
    assert!(line("ok", "certificate ca").contains("-CA"));

    let butler = butler.kill_and_start().await;
    wait_kind(&sink, "butler.started", 2).await;
    wait_for("the warning of the second start", || async { (times(&butler, "20 more days") > 0).then_some(()) }).await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    wait_kind(&sink, "reload-task.failed", 2).await;
    assert_eq!(of_kind(&sink, "certificate.expiring").len(), 1);
}

#[tokio::test]
async fn check_fails_for_an_expired_certificate() {
    let sense = sense(Ends { client: Some(SystemTime::now() - DAY * 3), ..Ends::default() }).await;
    let config = sense.folder().join("butler.yaml");
    fs::write(&config, format!("version: 1\n{}plugins: []\n", sense.section(""))).expect("the folder can be written");
    let path = config.to_str().expect("the path is a text").to_owned();
    let check = tokio::task::spawn_blocking(move || run(&["check", "-c", &path])).await.expect("it ends");
    assert_eq!(check.code, 1, "{check:?}");
    let failed = check.stdout.lines().find(|line| line.starts_with("failed  certificate client"));
    assert!(failed.is_some_and(|line| line.contains("has expired") && line.contains("QMC")), "{check:?}");
}
