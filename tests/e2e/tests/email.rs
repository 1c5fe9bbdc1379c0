//! Alerts by email: the real executable and a real mail server; what is asserted is what a mail program shows.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::post;
use e2e::{Butler, Fields, MailServer, failure, fields, run, wait_for};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

/// An instance with short waits between attempts; `smtp` and `more` are YAML in one line.
fn config(server: &MailServer, smtp: &str, more: &str) -> String {
    format!(
        "plugins:\n  - use: email\n    retry: {{ initial: 50ms, max: 200ms }}\n    settings:\n      \
         smtp: {{ host: 127.0.0.1, port: {}, {smtp} }}\n      from: Qlik Sense Köln <noreply@acme.test>\n{more}",
        server.port()
    )
}

const PLAIN: &str = "tls: none, timeout: 5s";
const FIVE: &str = "      recipients: [a@x.io, b@x.io, c@x.io, d@x.io, e@x.io]\n";
const ANN: &str = "      recipients: [ann@x.io]\n";

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn header<'a>(mail: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = mail["headers"].as_array().into_iter().flatten();
    headers.filter(|header| text(&header[0]).eq_ignore_ascii_case(name)).map(|header| text(&header[1])).collect()
}

/// Certificates of an authority that nobody else knows: `ca.pem`, `server.pem` and `server.key` for 127.0.0.1.
fn certificates(folder: &Path) {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned(), "mail.test".to_owned()]).unwrap();
    let server = server.signed_by(&key, &ca).unwrap();
    for (name, content) in [("ca.pem", ca.pem()), ("server.pem", server.pem()), ("server.key", key.serialize_pem())] {
        std::fs::write(folder.join(name), content).unwrap();
    }
}

/// A folder for a daemon with certificates in it, and a mail server that uses them.
async fn encrypted(mut options: Value) -> (Arc<TempDir>, MailServer) {
    let folder = Arc::new(TempDir::new().unwrap());
    certificates(folder.path());
    options["cert"] = folder.path().join("server.pem").to_str().into();
    options["key"] = folder.path().join("server.key").to_str().into();
    (folder, MailServer::with(options).await)
}

/// The error of a delivery that waits for its next attempt.
async fn waiting(butler: &Butler) -> String {
    wait_for(&format!("a failed attempt; log:\n{}", butler.log()), || async {
        let deliveries = butler.deliveries("instance=email").await;
        deliveries.into_iter().find_map(|delivery| delivery["error"].as_str().map(str::to_owned))
    })
    .await
}

#[tokio::test]
async fn a_mail_program_shows_the_alert_whatever_its_names_are_like() {
    let server = MailServer::start().await;
    let more = "      recipients: [ann@x.io, bo@x.io]\n      priority: high\n      subject: 'Failed: {{taskName}}'\n";
    let butler = Butler::start(&config(&server, PLAIN, more)).await;
    let nasty = "R&D <script>alert(1)</script> \"x\" \u{1F600} \u{5e9}\u{5dc}\u{5d5}\u{5dd} Größe";
    let fields = Fields { task_name: nasty.to_owned(), ..fields() };
    butler.send(&[failure(&fields)]);
    let mails = server.wait(2).await;
    assert_eq!(server.recipients(), ["ann@x.io", "bo@x.io"]);
    for (mail, to) in mails.iter().zip(["ann@x.io", "bo@x.io"]) {
        assert_eq!((text(&mail["from"]), &mail["type"]), ("noreply@acme.test", &json!("multipart/alternative")));
        assert_eq!(mail["subject"], format!("Failed: {nasty}"));
        assert_eq!((header(mail, "To"), header(mail, "From")), (vec![to], vec!["Qlik Sense Köln <noreply@acme.test>"]));
        assert_eq!((header(mail, "Cc"), header(mail, "Bcc")), (vec![], vec![]));
        assert_eq!(header(mail, "Auto-Submitted"), ["auto-generated"]);
        assert_eq!((header(mail, "X-Priority"), header(mail, "Importance")), (vec!["1 (Highest)"], vec!["High"]));
        assert!(text(&mail["text"]).contains(nasty), "{mail}");
        assert!(text(&mail["html"]).contains("R&amp;D &lt;script&gt;") && !text(&mail["html"]).contains("<script>"));
        assert_eq!(mail["defects"], json!([]), "{mail}");
        assert!(mail["longestLine"].as_u64() <= Some(998), "{mail}");
    }
    let ids: Vec<_> = mails.iter().flat_map(|mail| header(mail, "Message-ID")).collect();
    assert!(ids.len() == 2 && ids[0] != ids[1] && ids[0].ends_with("@acme.test>"), "{ids:?}");
    butler.wait_delivery("delivered", "email").await;
    let (status, _) = butler.stop().await;
    assert!(status.success());
    wait_for("the connection to be closed", || async { (server.said("quit").len() == 1).then_some(()) }).await;
    assert_eq!(server.said("connected").len(), 1);
}

#[tokio::test]
async fn one_of_five_is_refused_in_a_single_transaction_and_is_named() {
    let mut server = MailServer::start().await;
    server.rules(json!({ "rcpt": { "c@x.io": "550 5.1.1 no such user" } })).await;
    let butler = Butler::start(&config(&server, PLAIN, &format!("{FIVE}      mode: oneForAll\n"))).await;
    butler.send(&[failure(&fields())]);
    butler.wait_delivery("delivered", "email").await;
    let mails = server.mails();
    assert_eq!((mails.len(), &mails[0]["to"]), (1, &json!(["a@x.io", "b@x.io", "d@x.io", "e@x.io"])));
    assert!(header(&mails[0], "To").iter().all(|to| !to.contains('@')), "nobody sees the others: {mails:?}");
    assert!(butler.log().contains("refuses c@x.io") && butler.log().contains("550 5.1.1 no such user"));
    butler.wait_metric("butler_plugin_email_recipients_total{instance=\"email\",outcome=\"refused\"}", 1.0).await;
    butler.wait_metric("butler_plugin_email_recipients_total{instance=\"email\",outcome=\"sent\"}", 4.0).await;
}

#[tokio::test]
async fn who_is_refused_altogether_is_visibly_dead() {
    let mut server = MailServer::start().await;
    server.rules(json!({ "rcpt": { "ann@x.io": "550 5.1.1 no such user" } })).await;
    let butler = Butler::start(&config(&server, PLAIN, ANN)).await;
    butler.send(&[failure(&fields())]);
    let dead = butler.wait_delivery("dead", "email").await;
    assert!(text(&dead["error"]).contains("ann@x.io: 550 5.1.1 no such user"), "{dead}");
    assert_eq!(dead["attempt"], 1);
}

#[tokio::test]
async fn after_a_kill_only_the_rest_gets_the_mail() {
    let mut server = MailServer::start().await;
    server.rules(json!({ "rcpt": { "b@x.io": "451 4.2.1 busy", "d@x.io": "421 4.3.2 going down" } })).await;
    let butler = Butler::start(&config(&server, PLAIN, FIVE)).await;
    butler.send(&[failure(&fields())]);
    // The second attempt has begun: the outcome of the first one is in the store.
    wait_for("a second attempt", || async {
        let delivery = butler.deliveries("instance=email").await.into_iter().next()?;
        (delivery["attempt"].as_u64() >= Some(2)).then_some(())
    })
    .await;
    let killed = butler.kill();
    assert_eq!(server.recipients(), ["a@x.io", "c@x.io", "e@x.io"]);
    server.rules(json!({})).await;
    let butler = killed.start().await;
    server.wait(5).await;
    butler.wait_delivery("delivered", "email").await;
    let mut all = server.recipients();
    all.sort();
    assert_eq!(all, ["a@x.io", "b@x.io", "c@x.io", "d@x.io", "e@x.io"]);
    let mut ids: Vec<_> = server
        .mails()
        .iter()
        .flat_map(|mail| header(mail, "Message-ID").into_iter().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5);
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_long_delivery_costs_a_second_mail_to_few() {
    let mut server = MailServer::start().await;
    server.rules(json!({ "delay": 0.1 })).await;
    let all: Vec<String> = (0..80).map(|number| format!("user{number}@x.io")).collect();
    let more = format!("      recipients: [{}]\n", all.join(", "));
    let butler = Butler::start(&config(&server, PLAIN, &more)).await;
    butler.send(&[failure(&fields())]);
    server.wait(45).await;
    let killed = butler.kill();
    server.rules(json!({})).await;
    let butler = killed.start().await;
    butler.wait_delivery("delivered", "email").await;
    let mut got = server.recipients();
    // What was noted at most two seconds before the end: with 0.1 s for a mail these are 20, and some on their way.
    assert!(got.len() <= 80 + 25, "{} mails", got.len());
    got.sort();
    got.dedup();
    assert_eq!(got.len(), 80);
}

#[tokio::test]
async fn broken_connections_and_a_server_that_hangs_lose_nothing() {
    let mut server = MailServer::start().await;
    server.rules(json!({ "drop": { "MAIL": 1, "RCPT": 1, "CONTENT": 1 } })).await;
    let butler = Butler::start(&config(&server, "tls: none, timeout: 500ms", FIVE)).await;
    butler.send(&[failure(&fields())]);
    server.wait(5).await;
    butler.wait_delivery("delivered", "email").await;
    let mut got = server.recipients();
    got.sort();
    assert_eq!(got, ["a@x.io", "b@x.io", "c@x.io", "d@x.io", "e@x.io"]);

    server.rules(json!({ "hang": "RCPT" })).await;
    butler.send(&[failure(&fields())]);
    let error = waiting(&butler).await;
    assert!(error.contains("no answer within 500 ms"), "{error}");
    server.rules(json!({})).await;
    server.wait(10).await;
}

#[tokio::test]
async fn starttls_with_an_own_authority_and_a_login() {
    let login = json!({ "tls": "starttls", "auth": ["PLAIN", "LOGIN"], "user": "qlik", "password": "s3cret-word" });
    for method in ["auto", "login"] {
        let (folder, server) = encrypted(login.clone()).await;
        let smtp =
            format!("ca: ca.pem, auth: {{ user: qlik, password: \"${{env:MAIL_PASSWORD}}\", method: {method} }}");
        let environment = [("MAIL_PASSWORD", "s3cret-word")];
        let butler = Butler::start_in(folder, &config(&server, &smtp, ANN), &environment).await;
        butler.send(&[failure(&fields())]);
        let mails = server.wait(1).await;
        assert_eq!(mails[0]["encrypted"], true);
        assert_eq!(server.said("login"), [if method == "login" { "LOGIN" } else { "PLAIN" }]);
    }
    let (folder, server) = encrypted(login).await;
    let smtp = "ca: ca.pem, auth: { user: qlik, password: \"${env:MAIL_PASSWORD}\" }";
    let environment = [("MAIL_PASSWORD", "wr0ng-word")];
    let butler = Butler::start_in(folder, &config(&server, smtp, ANN), &environment).await;
    butler.send(&[failure(&fields())]);
    let error = waiting(&butler).await;
    assert!(error.contains("refuses the login: 535 5.7.8") && !error.contains("wr0ng-word"), "{error}");
    assert!(server.mails().is_empty() && !butler.log().contains("wr0ng-word"));
}

#[tokio::test]
async fn words_in_latin_1_are_understood_over_tls() {
    for tls in ["starttls", "implicit"] {
        let (folder, mut server) = encrypted(json!({ "tls": tls })).await;
        server.rules(json!({ "rcpt": { "ann@x.io": "550 5.1.1 Empfänger unbekannt" } })).await;
        let butler = Butler::start_in(folder, &config(&server, &format!("tls: {tls}, ca: ca.pem"), ANN), &[]).await;
        butler.send(&[failure(&fields())]);
        let dead = butler.wait_delivery("dead", "email").await;
        assert!(text(&dead["error"]).contains("ann@x.io: 550 5.1.1 Empf?nger unbekannt"), "{tls}: {dead}");
    }
}

#[tokio::test]
async fn implicit_tls_names_and_certificates() {
    let (folder, server) = encrypted(json!({ "tls": "implicit" })).await;
    let other = TempDir::new().unwrap();
    certificates(other.path());
    std::fs::copy(other.path().join("ca.pem"), folder.path().join("other.pem")).unwrap();
    for (smtp, part) in [
        ("tls: implicit, ca: other.pem", "certificate"),
        ("tls: implicit", "certificate"),
        ("tls: implicit, ca: ca.pem, serverName: other.test", "certificate"),
        ("tls: starttls, ca: ca.pem, timeout: 1s", "cannot be reached"),
    ] {
        let butler = Butler::start_in(folder.clone(), &config(&server, smtp, ANN), &[]).await;
        butler.send(&[failure(&fields())]);
        let error = waiting(&butler).await;
        assert!(error.contains(part), "{smtp}: {error}");
        butler.stop().await;
        std::fs::remove_file(folder.path().join("butler.db")).unwrap();
    }
    assert!(server.mails().is_empty());
    for (number, smtp) in (1..).zip([
        "tls: implicit, ca: ca.pem",
        "tls: implicit, ca: ca.pem, serverName: mail.test",
        "tls: implicit, verify: false",
    ]) {
        let butler = Butler::start_in(folder.clone(), &config(&server, smtp, ANN), &[]).await;
        butler.send(&[failure(&fields())]);
        assert_eq!(server.wait(number).await[number - 1]["encrypted"], true, "{smtp}");
        butler.stop().await;
    }
}

#[tokio::test]
async fn no_password_goes_over_an_open_line_unless_that_is_wanted() {
    let options = json!({ "tls": "none", "auth": ["PLAIN"], "user": "qlik", "password": "s3cret-word" });
    let server = MailServer::with(options).await;
    for (smtp, part) in [
        ("auth: { user: qlik, password: s3cret-word }", "does not offer STARTTLS"),
        ("tls: starttlsIfOffered, auth: { user: qlik, password: s3cret-word }", "is not encrypted"),
    ] {
        let butler = Butler::start(&config(&server, smtp, ANN)).await;
        butler.send(&[failure(&fields())]);
        let error = waiting(&butler).await;
        assert!(error.contains(part), "{error}");
    }
    assert!(server.said("login").is_empty());
    let smtp = "tls: starttlsIfOffered, auth: { user: qlik, password: s3cret-word, allowPlainText: true }";
    let butler = Butler::start(&config(&server, smtp, ANN)).await;
    butler.send(&[failure(&fields())]);
    assert_eq!(server.wait(1).await[0]["encrypted"], false);

    // And where it is offered, it is used.
    let (folder, server) = encrypted(json!({ "tls": "starttls" })).await;
    let smtp = "tls: starttlsIfOffered, ca: ca.pem";
    let butler = Butler::start_in(folder, &config(&server, smtp, ANN), &[]).await;
    butler.send(&[failure(&fields())]);
    assert_eq!(server.wait(1).await[0]["encrypted"], true);
}

#[tokio::test]
async fn xoauth2_with_tokens_of_a_token_server() {
    let asked = Arc::new(AtomicUsize::new(0));
    let (count, router) = (asked.clone(), Router::new());
    let router = router.route(
        "/tenant/token",
        post(move |body: String| async move {
            let fine = body == "grant_type=client_credentials&client_id=app&client_secret=s3cret-word&scope=mail";
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            if fine { format!("{{\"access_token\":\"tok{number}\",\"expires_in\":3600}}") } else { "{}".to_owned() }
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/tenant/token", listener.local_addr().unwrap());
    let tokens = tokio::spawn(async move { axum::serve(listener, router).await });

    let options = json!({ "tls": "starttls", "auth": ["XOAUTH2", "PLAIN"], "user": "qlik@acme.test", "token": "tok1" });
    let (folder, mut server) = encrypted(options).await;
    let oauth = format!("{{ tokenUrl: \"{url}\", clientId: app, clientSecret: \"${{env:SECRET}}\", scope: mail }}");
    let smtp = format!("ca: ca.pem, auth: {{ user: qlik@acme.test, oauth: {oauth} }}");
    let environment = [("SECRET", "s3cret-word")];
    let butler = Butler::start_in(folder, &config(&server, &smtp, ANN), &environment).await;
    butler.send(&[failure(&fields())]);
    server.wait(1).await;
    butler.send(&[failure(&fields())]);
    server.wait(2).await;
    assert_eq!((asked.load(Ordering::SeqCst), server.said("connected").len()), (1, 1));

    // The server forgets the token and the connection: another token is fetched, and nothing is lost.
    server.rules(json!({ "token": "tok2", "drop": { "MAIL": 1 } })).await;
    butler.send(&[failure(&fields())]);
    server.wait(3).await;
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert!(server.said("login").iter().all(|login| login == "XOAUTH2"));
    assert!(!butler.log().contains("s3cret-word") && !butler.log().contains("tok2"));
    tokens.abort();
}

#[tokio::test]
async fn redirected_mails_go_to_one_address_and_say_whose_they_are() {
    let server = MailServer::start().await;
    let butler = Butler::start(&config(&server, PLAIN, &format!("{FIVE}      redirectTo: me@x.io\n"))).await;
    butler.send(&[failure(&fields())]);
    let mails = server.wait(1).await;
    butler.wait_delivery("delivered", "email").await;
    assert_eq!(server.recipients(), ["me@x.io"]);
    for part in ["text", "html"] {
        assert!(text(&mails[0][part]).contains("a@x.io, b@x.io, c@x.io, d@x.io, e@x.io"), "{mails:?}");
    }
}

#[tokio::test]
async fn three_hundred_recipients_get_one_mail_each() {
    let server = MailServer::start().await;
    let all: Vec<String> = (0..300).map(|number| format!("user{number}@x.io")).collect();
    let butler = Butler::start(&config(&server, PLAIN, &format!("      recipients: [{}]\n", all.join(", ")))).await;
    butler.send(&[failure(&fields())]);
    server.wait(300).await;
    butler.wait_delivery("delivered", "email").await;
    assert_eq!((server.recipients(), server.said("connected").len()), (all, 1));
}

#[tokio::test]
async fn a_throttle_holds_over_a_kill_and_the_next_mail_tells() {
    let server = MailServer::start().await;
    let more = format!("{ANN}      throttle: {{ every: 3s }}\n");
    let butler = Butler::start(&config(&server, PLAIN, &more)).await;
    let task = fields();
    let again = || Fields { execution_id: fields().execution_id, ..task.clone() };
    butler.send(&[failure(&again())]);
    server.wait(1).await;
    butler.wait_delivery("delivered", "email").await;
    let butler = butler.kill_and_start().await;
    butler.send(&[failure(&again())]);
    let throttled = "butler_plugin_email_recipients_total{instance=\"email\",outcome=\"throttled\"}";
    butler.wait_metric(throttled, 1.0).await;
    assert_eq!(server.mails().len(), 1);
    let mails = wait_for("the window to end", || async {
        butler.send(&[failure(&again())]);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        Some(server.mails()).filter(|mails| mails.len() == 2)
    })
    .await;
    assert!(text(&mails[1]["text"]).contains("more suppressed since the last message"), "{mails:?}");
}

#[tokio::test]
async fn check_says_what_the_server_offers_and_sends_no_mail() {
    let options = json!({ "tls": "starttls", "auth": ["LOGIN"], "user": "qlik", "password": "s3cret-word" });
    let (folder, server) = encrypted(options).await;
    let smtp = "ca: ca.pem, auth: { user: qlik, password: s3cret-word }";
    let path = Butler::prepare(&folder, &config(&server, smtp, ANN));
    let output = run(&["check", "-c", path.to_str().unwrap()]);
    assert_eq!(output.code, 0, "{output:?}");
    for part in ["encrypted, certificate checked", "login by LOGIN works", "SIZE", "no mail was sent"] {
        assert!(output.stdout.contains(part), "`{part}` is not in {output:?}");
    }
    assert!(server.mails().is_empty());
    drop(server);
    let output = run(&["check", "-c", path.to_str().unwrap()]);
    assert!(output.code != 0 && output.stdout.contains("cannot be reached"), "{output:?}");
}
