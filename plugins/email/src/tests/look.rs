//! What mails say, and the operations.

use butler_plugin_api::testing::{block_on, conformance, manifest_of};
use butler_plugin_api::{CustomLink, Health, Links, OperationError, Plugin, StartError};

use super::server::Say;
use super::*;

#[test]
fn a_broken_template_loses_no_alert() {
    let (server, folder) = (MailServer::start(), tempfile::tempdir().unwrap());
    let fake = FakeHost::new("email").config_dir(folder.path().to_str().unwrap());
    let path = folder.path().join("mine.handlebars");
    let last = || server.mails().pop().unwrap().data;
    block_on(async {
        let email = start(&fake, &server, json!({ "templateFile": "mine.handlebars" })).await;
        assert!(matches!(email.health().await, Health::Degraded(_)), "the file is not there yet");
        for (source, part) in [
            (None, "mine.handlebars"),
            (Some("{{#if x}}"), "line 1"),
            (Some("a\n{{upper taskName}}"), "line 2: there is no helper `upper`"),
        ] {
            if let Some(source) = source {
                std::fs::write(&path, source).unwrap();
            }
            email.deliver(&failure()).await.unwrap();
            let mail = last().replace("=\r\n", "");
            assert!(mail.contains("Subject: Reload task failed: Sales nightly"), "{mail}");
            assert!(mail.contains(part) && mail.contains("Sales nightly") && !mail.contains("text/html"), "{mail}");
            assert!(matches!(email.health().await, Health::Degraded(text) if text.contains(part)));
            let error = email.invoke("check", Value::Null).await.unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
        std::fs::write(&path, "<p>{{taskName}} {{emailRecipients.common}}</p>").unwrap();
        email.deliver(&failure()).await.unwrap();
        assert!(last().contains("<p>Sales nightly a@x.io</p>"), "{}", last());
        assert_eq!(email.health().await, Health::Good);

        let email = start(&fake, &server, json!({ "subject": "{{#if}}" })).await;
        email.deliver(&failure()).await.unwrap();
        assert!(last().replace("=\r\n", "").contains("template `subject`"), "{}", last());
    });
}

#[test]
fn a_subject_template_prints_names_as_they_are() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    let mut delivery = failure();
    delivery.event.data.task.as_mut().unwrap().name = "R&D \"x\"\r\nBcc: eve@x.io".to_owned();
    block_on(async {
        let email = start(&fake, &server, json!({ "subject": "Failed: {{taskName}}" })).await;
        email.deliver(&delivery).await.unwrap();
    });
    let mail = server.mails().pop().unwrap();
    assert!(mail.data.contains("\r\nSubject: Failed: R&D \"x\" Bcc: eve@x.io\r\n"), "{}", mail.data);
    assert_eq!(mail.to, ["a@x.io"]);
}

#[test]
fn the_user_has_one_backslash() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    block_on(async {
        for user in [r"ACME\anna", r"ACME\\anna"] {
            let mut delivery = failure();
            delivery.event.data.user = Some(user.to_owned());
            let email = start(&fake, &server, json!({ "subject": "by {{user}}" })).await;
            let shown = email.invoke("render", serde_json::to_value(&delivery).unwrap()).await.unwrap();
            assert_eq!(shown["subject"], r"by ACME\anna", "{user}");
        }
    });
}

#[test]
fn every_kind_has_a_mail() {
    let (server, links) = (
        MailServer::start(),
        Links {
            qmc: Some("https://sense.test/qmc".to_owned()),
            hub: Some("https://sense.test/hub".to_owned()),
            app_base_url: Some("https://sense.test/sense/app".to_owned()),
            custom: vec![CustomLink::new("Wiki", "https://wiki.test/?a=b&c={{taskId}}")],
        },
    );
    let fake = FakeHost::new("email").links(links);
    block_on(async {
        let email = start(&fake, &server, json!({})).await;
        for kind in kind::ALL {
            let delivery = serde_json::to_value(sample_delivery(kind)).unwrap();
            let shown = email.invoke("render", delivery).await.unwrap();
            let part = |name: &str| shown[name].as_str().unwrap().to_owned();
            insta::with_settings!({ snapshot_path => "snapshots/kinds", prepend_module_to_snapshot => false }, {
                insta::assert_snapshot!(format!("{kind}.txt"), format!("{}\n\n{}", part("subject"), part("text")));
                insta::assert_snapshot!(format!("{kind}.html"), part("html"));
            });
        }
    });
}

#[test]
fn render_shows_the_mails_and_sends_none() {
    let (server, folder) = (MailServer::start(), tempfile::tempdir().unwrap());
    let fake = FakeHost::new("email").config_dir(folder.path().to_str().unwrap());
    std::fs::write(folder.path().join("other.handlebars"), "<b>{{taskName}}</b>").unwrap();
    block_on(async {
        let more = json!({ "recipients": ["a@x.io", "b@x.io"], "owner": {}, "priority": "high", "recipientsFromProperty": "Mail" });
        let email = start(&fake, &server, more).await;
        let mut input = serde_json::to_value(failure()).unwrap();
        let shown = email.invoke("render", input.clone()).await.unwrap();
        assert_eq!(shown["to"], json!(["a@x.io", "b@x.io", "ann@lab.test"]));
        assert!(shown["headers"].as_array().unwrap().contains(&"To: a@x.io".into()), "{shown}");
        assert!(shown["headers"].as_array().unwrap().contains(&"Importance: High".into()), "{shown}");
        insta::assert_snapshot!("text", shown["text"].as_str().unwrap());
        insta::assert_snapshot!("html", shown["html"].as_str().unwrap());
        insta::assert_json_snapshot!("not_to", shown["notTo"]);
        input["templateFile"] = "other.handlebars".into();
        let shown = email.invoke("render", input.clone()).await.unwrap();
        assert_eq!(shown["html"], "<b>Sales nightly</b>");
        input["templateFile"] = "none.handlebars".into();
        let error = email.invoke("render", input).await.unwrap_err().to_string();
        assert!(error.contains("none.handlebars"), "{error}");
        assert!(matches!(email.invoke("render", json!(1)).await, Err(OperationError::Failed(_))));
        assert!(matches!(email.invoke("import", Value::Null).await, Err(OperationError::Unsupported(_))));
    });
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_check_says_what_the_server_offers_and_sends_nothing() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    block_on(async {
        let mut settings = settings(&server, json!({ "redirectTo": "me@x.io" }));
        settings["smtp"]["auth"] = json!({ "user": "u", "password": "p", "allowPlainText": true });
        let email: Email = fake.start(settings).await.unwrap();
        let text = email.invoke("check", Value::Null).await.unwrap();
        let text = text.as_str().unwrap();
        for part in
            ["127.0.0.1:", "not encrypted", "login by PLAIN works", "8BITMIME, AUTH PLAIN LOGIN XOAUTH2", "me@x.io"]
        {
            assert!(text.contains(part), "{text}");
        }
        server.script(|command| command.starts_with("AUTH").then_some(Say::Line("535 5.7.8 bad")));
        let error = email.invoke("check", Value::Null).await.unwrap_err().to_string();
        assert!(error.contains("refuses the login: 535 5.7.8 bad"), "{error}");
    });
    assert!(server.mails().is_empty());
    assert!(server.commands().iter().all(|command| !command.starts_with("MAIL")));
}

#[test]
fn start_and_manifest() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    let error = block_on(fake.start::<Email>(settings(&server, json!({ "from": "x" })))).err().unwrap();
    assert!(matches!(error, StartError::Config(text) if text.contains("`from`")));
    let mut without = settings(&server, json!({}));
    without["smtp"] = json!({ "host": "mail.test", "ca": "/no/such/file.pem" });
    let error = block_on(fake.start::<Email>(without)).err().unwrap();
    assert!(matches!(error, StartError::Config(text) if text.contains("`smtp.ca`: /no/such/file.pem")));
    let manifest = manifest_of::<Email>();
    assert!(manifest.script_log);
    assert_eq!(manifest.operations, ["check", "render", "import"]);
    assert_eq!(manifest.settings_schema["required"], json!(["smtp", "from"]));
}

#[test]
fn it_keeps_the_rules_of_the_house() {
    let server = MailServer::start();
    conformance::<Email>(settings(&server, json!({ "owner": {}, "throttle": { "every": "10m" } })));
    assert!(!server.mails().is_empty());
}
