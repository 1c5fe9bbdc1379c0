//! The whole way of an alert, and over a restart.

use e2e::qlik::Site;
use e2e::{Answer, MailServer, Sense, Sink, failure, http, wait_for};
use serde_json::{Value, json};

use super::{hook, runs, stops, wine};

fn config(sink: &Sink, mail: &MailServer) -> String {
    format!(
        "plugins:\n{}  - use: email\n    settings:\n      smtp: {{ host: 127.0.0.1, port: {}, tls: none }}\n      \
         from: qlik@acme.test\n      recipients: [ann@acme.test]\n      subject: 'Failed: {{{{taskName}}}}'\n  - use: key-value\n  \
         - use: console\n",
        hook(sink),
        mail.port()
    )
}

#[tokio::test]
async fn an_alert_reaches_its_destinations_with_facts_over_reload_stop_and_restart() {
    let (wine, sense, sink, mail) = (wine(), Sense::start().await, Sink::start().await, MailServer::start().await);
    let config = sense.section("") + &config(&sink, &mail);
    let butler = wine.butler(&sense.shared_folder(), &config).await;

    // By UDP, with facts of Qlik's repository service by mutual TLS, to webhook and mailbox.
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    let event = sink.wait(1).await[0].json();
    assert_eq!((&event["kind"], &event["data"]["missing"]), (&json!("reload-task.failed"), &Value::Null), "{event}");
    assert_eq!(event["data"]["app"]["owner"]["name"], "Ann Berg", "{event}");
    assert!(event["data"]["scriptLog"]["characters"].as_u64() > Some(0), "{event}");
    let task = event["data"]["task"]["name"].as_str().unwrap().to_owned();
    let mail_of_it = mail.wait(1).await[0].clone();
    assert_eq!(mail_of_it["subject"], format!("Failed: {task}"));
    wait_for("the console", || async { butler.stdout().contains(&task).then_some(()) }).await;

    // Load scripts keep values by REST.
    runs(&butler, "key-value").await;
    let values = format!("{}/v4/keyvalues/ns", butler.rest());
    let kept = http().post(&values).header("content-type", "application/json");
    let kept = kept.body(json!({ "key": "k", "value": "Größe" }).to_string()).send().await.unwrap();
    assert_eq!(kept.status(), 201);

    // Another address by a reload; the other instances are left alone.
    butler.rewrite(&config.replace(&sink.url("/"), &sink.url("/new")));
    let path = e2e::Wine::path(butler.config());
    let reload = wine.ask(&["reload", "-c", &path]).await;
    assert_eq!(reload.code, 0, "{reload:?}");
    assert!(reload.stdout.contains("restarted: webhook"), "{reload:?}");
    let before = mail.mails().len();
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    sink.wait_where("the alert at the new address", |request| request.target == "/new").await;
    mail.wait(before + 1).await;

    // What cannot be delivered waits over a stop, and over a crash.
    sink.always(Some(Answer::Status(503)));
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    let waiting = butler.wait_delivery("pending", "webhook").await;
    let (folder, store) = (sense.shared_folder(), sense.folder().join("butler.db"));
    let log = stops(butler).await;
    assert!(log.contains("Ctrl-C"), "{log}");
    assert!(store.is_file() && !sense.folder().join("butler.db.run.json").exists(), "the run file is gone");
    let butler = wine.butler_as_is(&folder, &[]).await;
    let butler = butler.kill_and_start().await;
    sink.always(None);
    let got = wait_for("the alert that waited", || async {
        let id = waiting["id"].as_str().unwrap();
        sink.successes().into_iter().find(|request| request.header("idempotency-key") == Some(id))
    })
    .await;
    assert_eq!(got.json()["data"]["task"]["name"], task);
    runs(&butler, "key-value").await;
    let value = http().get(format!("{}/v4/keyvalues/ns?key=k", butler.rest())).send().await.unwrap();
    assert_eq!(value.text().await.unwrap(), r#"{"namespace":"ns","key":"k","value":"Größe"}"#);
    // What the system tells of the process.
    let (_, page) = butler.get("/metrics").await;
    assert!(page.as_str().unwrap().lines().any(|line| line.starts_with("butler_resident_memory_bytes ")), "{page}");
    stops(butler).await;
}

#[tokio::test]
async fn the_certificates_may_be_those_that_the_qmc_exports_for_windows() {
    let (wine, sense, sink) = (wine(), Sense::start().await, Sink::start().await);
    sense.certificates().write_windows_to(sense.folder().join("pfx"), "Paß wort").unwrap();
    let certificates = r"{ pfx: 'pfx\client.pfx', passphrase: '${env:PFX_WORD}', ca: 'pfx\root.cer' }";
    let config = sense.section_by(certificates, "") + "plugins:\n" + &hook(&sink);
    let butler = wine.butler_with(&sense.shared_folder(), &config, &[("PFX_WORD", "Paß wort")]).await;
    butler.send(&[failure(&sense.failed(Site::SAMPLE_RELOAD_TASK))]);
    let event = sink.wait(1).await[0].json();
    assert_eq!(event["data"]["app"]["owner"]["name"], "Ann Berg", "{event}");
    stops(butler).await;
}
