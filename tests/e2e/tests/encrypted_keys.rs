//! Encrypted keys of the connection to Qlik Sense: PFX files and PEM with a passphrase.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::time::{Duration, SystemTime};

use e2e::place::{PRIVATE, Place, fails_with};
use e2e::qlik::{Certificates, Ends, Options, Site};
use e2e::{Butler, Sense, Sink, failure, run_with, wait_for};
use serde_json::Value;

const PASSPHRASE: &str = "tr0ubadour & co";
const ENVIRONMENT: [(&str, &str); 1] = [("QLIK_PASSPHRASE", PASSPHRASE)];
const PFX: &str = "{ pfx: certificates/client.pfx, passphrase: \"${env:QLIK_PASSPHRASE}\" }";
const GIVEN: &str = "passphrase: \"${env:QLIK_PASSPHRASE}\"";
const DAY: Duration = Duration::from_hours(24);

fn config(sink: &Sink) -> String {
    format!(
        "log: {{ level: debug }}\nenrich: {{ giveUpAfter: 5m }}\nplugins:\n  - use: webhook\n    on: [{{ events: [\"*\"] }}]\n    \
         settings: {{ url: {}, format: event }}\n",
        sink.url("/")
    )
}

/// A failure is told with the facts that only Qlik Sense knows.
async fn is_enriched(sense: &Sense, butler: &Butler, sink: &Sink) {
    let told = || sink.received().into_iter().map(|it| it.json()).filter(|event| event["kind"] == "reload-task.failed");
    let before = told().count();
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    let event = wait_for("the event", || async { told().nth(before) }).await;
    assert_eq!(event["data"]["app"]["owner"]["name"], "Ann Berg", "{event}");
    assert_eq!(event["data"]["missing"], Value::Null, "{event}");
}

/// The passphrase is nowhere to be seen.
async fn is_silent(butler: &Butler, sink: &Sink) {
    let mut texts = vec![butler.log(), butler.stdout()];
    for path in ["/v5/health/ready", "/v5/health", "/v5/plugins", "/v5/events", "/v5/deliveries", "/v5/nodes"] {
        texts.push(butler.get(path).await.1.to_string());
    }
    texts.extend(sink.received().iter().map(|request| request.json().to_string()));
    assert!(texts[0].contains("DEBUG"), "{}", texts[0]);
    for text in texts {
        assert!(!text.contains(PASSPHRASE) && !text.contains("tr0ubadour"), "{text}");
    }
}

#[tokio::test]
async fn events_get_their_facts_by_a_pfx_file_also_after_its_renewal() {
    let ends = Ends { client: Some(SystemTime::now() + DAY * 20), ..Ends::default() };
    let sense = Sense::with(Options::default().certificates(Certificates::ending(ends).unwrap())).await;
    let folder = sense.folder().join("certificates");
    sense.certificates().write_windows_to(&folder, PASSPHRASE).unwrap();
    // What is in the folder besides is not needed.
    for name in ["client.pem", "client_key.pem", "root.pem", "root.cer", "server.pfx"] {
        fs::remove_file(folder.join(name)).unwrap();
    }
    let sink = Sink::start().await;
    let butler = sense.butler_by(PFX, &ENVIRONMENT, &config(&sink)).await;
    is_enriched(&sense, &butler, &sink).await;
    let (_, ready) = butler.get("/v5/health/ready").await;
    let note = ready["notes"].as_array().unwrap().iter().find(|note| note["subject"] == "certificate").unwrap();
    assert!(note.to_string().contains("client.pfx is valid for 20 more days"), "{note}");

    // New ones on the server; a file that does not open is told and changes nothing.
    let fresh = Certificates::generate().unwrap();
    fs::write(folder.join("client.pfx"), fresh.client_pfx("another passphrase")).unwrap();
    sense.set_certificates(fresh.clone()).unwrap();
    sense.restart().await.unwrap();
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    wait_for("a warning", || async { butler.log().contains("the former ones stay in use").then_some(()) }).await;
    assert!(butler.log().contains("the passphrase does not open the PFX file"), "{}", butler.log());
    fs::write(folder.join("client.pfx"), fresh.client_pfx(PASSPHRASE)).unwrap();
    wait_for("the renewal", || async {
        butler.log().contains("certificates for Qlik Sense were renewed").then_some(())
    })
    .await;
    is_enriched(&sense, &butler, &sink).await;
    assert_eq!(butler.log().matches("the former ones stay in use").count(), 1, "{}", butler.log());
    is_silent(&butler, &sink).await;
}

#[tokio::test]
async fn an_encrypted_key_and_an_authority_in_der_do_as_well() {
    let sense = Sense::start().await;
    let folder = sense.folder().join("certificates");
    sense.certificates().write_encrypted_to(&folder, PASSPHRASE).unwrap();
    sense.certificates().write_windows_to(&folder, "of no interest").unwrap();
    fs::write(folder.join("passphrase"), format!("{PASSPHRASE}\r\n")).unwrap();
    let sink = Sink::start().await;
    let files = "{ client: certificates/client.pem, key: certificates/client_key.pem, ca: certificates/root.cer, \
                 passphrase: \"${file:certificates/passphrase}\" }";
    let butler = sense.butler_by(files, &[], &config(&sink)).await;
    is_enriched(&sense, &butler, &sink).await;
    is_silent(&butler, &sink).await;

    let path = butler.config().to_str().unwrap().to_owned();
    let check = tokio::task::spawn_blocking(move || run_with(&["check", "-c", &path], &[])).await.unwrap();
    assert!(check.code == 0 && check.stdout.contains("certificate client"), "{check:?}");
    assert!(!format!("{check:?}").contains("tr0ubadour"), "{check:?}");
}

#[tokio::test]
async fn a_passphrase_that_nothing_needs_is_told() {
    let sense = Sense::start().await;
    let sink = Sink::start().await;
    let files = "{ client: certificates/client.pem, key: certificates/client_key.pem, ca: certificates/root.pem, \
                 passphrase: \"${env:QLIK_PASSPHRASE}\" }";
    let butler = sense.butler_by(files, &ENVIRONMENT, &config(&sink)).await;
    is_enriched(&sense, &butler, &sink).await;
    let told = "client_key.pem is not encrypted: leave the passphrase out";
    assert!(butler.log().contains(told), "{}", butler.log());
    is_silent(&butler, &sink).await;
}

#[test]
fn what_cannot_be_opened_ends_the_start() {
    let generated = Certificates::generate().unwrap();
    let with = |certificates: &str, passphrase: &str| {
        let place = Place::new();
        generated.write_windows_to(place.path("certs"), PASSPHRASE).unwrap();
        generated.write_encrypted_to(place.path("certs"), PASSPHRASE).unwrap();
        let qlik = format!(
            "{PRIVATE}qlik:\n  host: 127.0.0.1\n  user: LAB\\butler\n  ports: {{ repository: 1 }}\n  certificates: {{ {certificates} }}\n"
        );
        let output = place.start_with(&qlik, &[("QLIK_PASSPHRASE", passphrase)]);
        assert!(!format!("{output:?}").contains(passphrase), "{output:?}");
        place.untouched();
        output
    };
    let pem = "client: certs/client.pem, key: certs/client_key.pem, ca: certs/root.pem";
    let wrong = ["the passphrase does not open", "`certificates.passphrase`"];
    let missing = ["is encrypted, and there is no passphrase", "`certificates.passphrase`"];
    for (certificates, passphrase, file, parts) in [
        (format!("pfx: certs/client.pfx, {GIVEN}"), "wr0ng-passphrase", "certs/client.pfx", wrong),
        (format!("{pem}, {GIVEN}"), "wr0ng-passphrase", "certs/client_key.pem", wrong),
        ("pfx: certs/client.pfx".to_owned(), "wr0ng-passphrase", "certs/client.pfx", missing),
        (pem.to_owned(), "wr0ng-passphrase", "certs/client_key.pem", missing),
        (
            format!("pfx: certs/server.pfx, {GIVEN}"),
            PASSPHRASE,
            "certs/server.pfx",
            ["is not for clients", "`client.pfx`"],
        ),
        (
            format!("pfx: certs/client.pem, {GIVEN}"),
            PASSPHRASE,
            "certs/client.pem",
            ["it is PEM text", "`client` and `key`"],
        ),
        (
            pem.replace("client.pem", "client.pfx"),
            PASSPHRASE,
            "certs/client.pfx",
            ["is a PFX file", "`certificates.pfx`"],
        ),
    ] {
        let output = with(&certificates, passphrase);
        fails_with(&output, &[&[file], &parts[..]].concat());
    }
}
