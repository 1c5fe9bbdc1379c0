//! Logins and tokens; encryption is tried with a real server, end to end.

use std::time::Duration;

use butler_plugin_api::testing::{FakeHost, block_on, sample_delivery};
use butler_plugin_api::{DeliveryError, Plugin};
use serde_json::{Value, json};

use crate::Email;
use crate::tests::server::{MailServer, Say};

/// `u\0p` and so on in base64.
const PLAIN: &str = "AUTH PLAIN AHUAcGFzc3dvcmQ=";

async fn start(fake: &FakeHost, server: &MailServer, auth: Value) -> Email {
    let smtp = json!({ "host": "127.0.0.1", "port": server.port, "tls": "none", "timeout": "2s", "auth": auth });
    let settings = json!({ "smtp": smtp, "from": "q@acme.test", "recipients": ["a@x.io"] });
    fake.start(settings).await.unwrap()
}

async fn deliver(email: &Email) -> Result<(), DeliveryError> {
    email.deliver(&sample_delivery("reload-task.failed")).await
}

fn auth(method: &str) -> Value {
    json!({ "user": "u", "password": "password", "method": method, "allowPlainText": true })
}

fn oauth() -> Value {
    let oauth = json!({
        "tokenUrl": "https://login.test/token", "clientId": "id", "clientSecret": "s&cret", "scope": "https://mail.test/.default"
    });
    json!({ "user": "u", "oauth": oauth, "allowPlainText": true })
}

#[test]
fn logins_by_what_the_server_offers() {
    for (method, offers, wanted) in [
        ("auto", "250-mail.test\r\n250 AUTH LOGIN PLAIN", PLAIN),
        ("auto", "250-mail.test\r\n250 AUTH GSSAPI LOGIN", "AUTH LOGIN"),
        ("login", "250-mail.test\r\n250 AUTH LOGIN PLAIN", "AUTH LOGIN"),
        ("plain", "250-mail.test\r\n250 AUTH LOGIN PLAIN", PLAIN),
    ] {
        let (server, fake) = (MailServer::start(), FakeHost::new("email"));
        server.script(move |command| match command {
            "AUTH LOGIN" => Some(Say::Line("334 VXNlcm5hbWU6")),
            "dQ==" => Some(Say::Line("334 UGFzc3dvcmQ6")),
            "cGFzc3dvcmQ=" => Some(Say::Line("235 fine")),
            other => other.starts_with("EHLO").then_some(Say::Line(offers)),
        });
        block_on(async { deliver(&start(&fake, &server, auth(method)).await).await.unwrap() });
        let commands = server.commands();
        assert!(commands.iter().any(|command| command == wanted), "{method} {offers}: {commands:?}");
        assert_eq!(commands.iter().any(|command| command == "cGFzc3dvcmQ="), wanted == "AUTH LOGIN");
    }
}

#[test]
fn a_server_without_a_fitting_login_gets_no_mail() {
    for (offers, part) in [
        ("250 mail.test", "no login that is known here"),
        ("250-mail.test\r\n250 AUTH CRAM-MD5", "no login that is known here"),
        ("250-mail.test\r\n250 AUTH XOAUTH2", "does not offer PLAIN or LOGIN, but XOAUTH2"),
    ] {
        let (server, fake) = (MailServer::start(), FakeHost::new("email"));
        server.script(move |command| command.starts_with("EHLO").then_some(Say::Line(offers)));
        let error = block_on(async { deliver(&start(&fake, &server, auth("auto")).await).await.unwrap_err() });
        assert!(matches!(&error, DeliveryError::Retry { message, .. } if message.contains(part)), "{error:?}");
        assert!(server.mails().is_empty() && server.commands().last().unwrap() == "QUIT");
    }
}

#[test]
fn a_wrong_password_is_tried_again_and_its_words_are_told() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    server.script(|command| command.starts_with("AUTH").then_some(Say::Line("535 5.7.8 wrong")));
    let error = block_on(async { deliver(&start(&fake, &server, auth("auto")).await).await.unwrap_err() });
    assert!(matches!(&error, DeliveryError::Retry { message, .. } if message.contains("535 5.7.8 wrong")), "{error:?}");
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_refused_login_is_not_tried_again_at_once() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    server.script(|command| command.starts_with("AUTH").then_some(Say::Line("535 5.7.8 wrong")));
    block_on(async {
        let email = start(&fake, &server, auth("auto")).await;
        for _ in 0..3 {
            let error = deliver(&email).await.unwrap_err();
            assert!(matches!(&error, DeliveryError::Retry { message, .. } if message.contains("535 5.7.8 wrong")));
        }
        assert_eq!(server.connections(), 1, "accounts get locked");
        server.script(|_| None);
        // Whoever asks wants to know it now.
        email.invoke("check", Value::Null).await.unwrap();
        deliver(&email).await.unwrap();
        server.script(|command| command.starts_with("AUTH").then_some(Say::Line("454 busy")));
        email.stop().await;
        for _ in 0..2 {
            deliver(&email).await.unwrap_err();
        }
    });
    assert_eq!(server.connections(), 5, "what passes is tried again");
}

#[test]
fn times_are_in_peoples_units() {
    for (limit, text) in [(30_000, "within 30 s"), (1500, "within 1500 ms")] {
        let error = crate::smtp::StepError::Slow(Duration::from_millis(limit)).to_string();
        assert!(error.ends_with(text), "{error}");
    }
}

#[test]
fn a_token_is_fetched_once_and_used_for_all_connections() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    let fake = fake.answer(200, r#"{ "access_token": "tok1", "expires_in": 3600 }"#);
    block_on(async {
        let email = start(&fake, &server, oauth()).await;
        deliver(&email).await.unwrap();
        email.stop().await;
        deliver(&email).await.unwrap();
    });
    let [request] = &fake.requests()[..] else { panic!("{:?}", fake.requests()) };
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "https://login.test/token"));
    let body = String::from_utf8_lossy(&request.body);
    assert_eq!(
        body,
        "grant_type=client_credentials&client_id=id&client_secret=s%26cret&scope=https%3A%2F%2Fmail.test%2F.default"
    );
    // user=u ^A auth=Bearer tok1 ^A ^A
    let logins: Vec<_> = server.commands().into_iter().filter(|command| command.starts_with("AUTH")).collect();
    assert_eq!(logins, ["AUTH XOAUTH2 dXNlcj11AWF1dGg9QmVhcmVyIHRvazEBAQ=="; 2]);
}

#[test]
fn a_token_that_is_refused_is_renewed_once() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    let fake = fake
        .answer(200, r#"{ "access_token": "tok1", "expires_in": 3600 }"#)
        .answer(200, r#"{ "access_token": "tok2", "expires_in": 3600 }"#)
        .answer(200, r#"{ "access_token": "tok3", "expires_in": 3600 }"#);
    block_on(async {
        let email = start(&fake, &server, oauth()).await;
        // As the servers do it: the reason as a challenge, the refusal after an empty answer.
        server.script(|command| match command {
            "" => Some(Say::Line("535 5.7.3 unsuccessful")),
            other => other.contains("dG9rMQ").then_some(Say::Line("334 eyJzdGF0dXMiOiI0MDEifQ==")).or_else(|| {
                other.contains("Rvaz").then(|| {
                    if other.contains("RvazEB") {
                        Say::Line("334 eyJzdGF0dXMiOiI0MDEifQ==")
                    } else {
                        Say::Line("235 fine")
                    }
                })
            }),
        });
        deliver(&email).await.unwrap();
        assert_eq!(fake.requests().len(), 2);
        email.stop().await;
        server.script(|command| {
            if command.is_empty() {
                Some(Say::Line("535 5.7.3 unsuccessful"))
            } else {
                command.starts_with("AUTH").then_some(Say::Line("334 eyJzdGF0dXMiOiI0MDEifQ=="))
            }
        });
        let error = deliver(&email).await.unwrap_err();
        assert!(matches!(&error, DeliveryError::Retry { message, .. } if message.contains("535 5.7.3")), "{error:?}");
    });
    assert_eq!(fake.requests().len(), 3, "once for each attempt");
}

#[test]
fn without_a_token_there_is_no_mail() {
    for (status, body, part) in [
        (
            401,
            r#"{ "error": "invalid_client", "error_description": "wrong\nsecret" }"#,
            "401 invalid_client wrong secret",
        ),
        (200, "<html>", "it answered 200"),
        (200, r#"{ "access_token": "a b\r\nMAIL" }"#, "it answered 200"),
    ] {
        let (server, fake) = (MailServer::start(), FakeHost::new("email"));
        let fake = fake.answer(status, body);
        let error = block_on(async { deliver(&start(&fake, &server, oauth()).await).await.unwrap_err() });
        assert!(matches!(&error, DeliveryError::Retry { message, .. } if message.contains(part)), "{error:?}");
        assert!(!error.to_string().contains("s&cret") && server.mails().is_empty());
    }
}

#[test]
fn a_token_is_renewed_before_it_ends() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    let token = r#"{ "access_token": "tok1", "expires_in": 0 }"#;
    let fake = fake.answer(200, token).answer(200, token);
    block_on(async {
        let email = start(&fake, &server, oauth()).await;
        deliver(&email).await.unwrap();
        email.stop().await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        deliver(&email).await.unwrap();
    });
    assert_eq!(fake.requests().len(), 2);
}
