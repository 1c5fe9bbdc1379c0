//! What the server says to each recipient, and what comes of it.

use butler_plugin_api::testing::block_on;
use butler_plugin_api::{Health, Plugin};

use super::server::Say;
use super::*;

#[test]
fn one_mail_for_each_over_one_connection_that_is_kept() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    block_on(async {
        let email = start(&fake, &server, five()).await;
        email.deliver(&failure()).await.unwrap();
        email.deliver(&failure()).await.unwrap();
        email.stop().await;
    });
    assert_eq!((server.mails().len(), server.connections()), (10, 1));
    assert!(server.mails().iter().all(|mail| mail.from == "q@acme.test" && mail.to.len() == 1));
    assert_eq!(server.recipients()[..5], ["a@x.io", "b@x.io", "c@x.io", "d@x.io", "e@x.io"]);
    assert_eq!(server.commands().last().unwrap(), "QUIT");
    assert_eq!(fake.metric(r#"recipients_total{outcome="sent"}"#), Some(10.0));
    assert_eq!(fake.metric("connections_total"), Some(1.0));
}

#[test]
fn one_of_five_is_refused_in_one_transaction_and_four_get_the_mail() {
    for mode in ["oneForAll", "oneForAllVisible", "onePerRecipient"] {
        let (server, fake) = (MailServer::start(), FakeHost::new("email"));
        server.script(|command| command.contains("c@x.io").then_some(Say::Line("550 5.1.1 no such user")));
        let mut more = five();
        more["mode"] = mode.into();
        block_on(async {
            let email = start(&fake, &server, more).await;
            email.deliver(&failure()).await.unwrap();
            let Health::Degraded(text) = email.health().await else { panic!("a refusal is not seen") };
            assert!(text.contains("c@x.io") && text.contains("550 5.1.1 no such user"), "{text}");
            server.script(|_| None);
            email.deliver(&failure()).await.unwrap();
            assert_eq!(email.health().await, Health::Good);
        });
        assert_eq!(server.recipients()[..4], ["a@x.io", "b@x.io", "d@x.io", "e@x.io"], "{mode}");
        assert_eq!(server.mails().len(), if mode == "onePerRecipient" { 9 } else { 2 });
        assert!(fake.records().iter().any(|record| record.level == 2 && record.message.contains("refuses c@x.io")));
        assert_eq!(fake.metric(r#"recipients_total{outcome="refused"}"#), Some(1.0));
    }
}

#[test]
fn only_those_who_lack_the_mail_get_it_later() {
    for mode in ["oneForAll", "onePerRecipient"] {
        let (server, fake) = (MailServer::start(), FakeHost::new("email"));
        server.script(|command| match command {
            "RCPT TO:<b@x.io>" => Some(Say::Line("451 4.2.1 mailbox busy")),
            "RCPT TO:<c@x.io>" => Some(Say::Line("550 gone")),
            _ => None,
        });
        let mut more = five();
        more["mode"] = mode.into();
        block_on(async {
            let email = start(&fake, &server, more).await;
            let (message, progress) = retry(email.deliver(&failure()).await.unwrap_err());
            assert!(
                message.contains("1 of 5") && message.contains("b@x.io") && message.contains("451 4.2.1"),
                "{message}"
            );
            assert_eq!(server.recipients(), ["a@x.io", "d@x.io", "e@x.io"]);
            server.script(|_| None);
            email.deliver(&again(&failure(), progress)).await.unwrap();
        });
        assert_eq!(server.recipients(), ["a@x.io", "d@x.io", "e@x.io", "b@x.io"], "who was refused is not tried again");
    }
}

#[test]
fn outcomes_go_by_what_the_server_says() {
    /// Command, answer, whether it is tried again, and what the error says.
    const CASES: [(&str, &str, bool, &str); 12] = [
        ("GREETING", "554 go away", true, "554 go away"),
        ("GREETING", "421 too busy", true, "421 too busy"),
        ("MAIL", "451 later", true, "takes no mails from q@acme.test: 451 later"),
        ("MAIL", "550 not you", true, "550 not you"),
        ("RCPT", "450 later", true, "450 later"),
        ("RCPT", "550 no such user", false, "refuses a@x.io: 550 no such user"),
        ("RCPT", "554 relay denied", false, "554 relay denied"),
        ("DATA", "451 later", true, "451 later"),
        ("DATA", "554 never", false, "554 never"),
        (".", "452 full", true, "452 full"),
        (".", "554 spam", false, "554 spam"),
        (".", "552 too large", false, "552 too large"),
    ];
    for (at, line, retried, part) in CASES {
        let (server, fake) = (MailServer::start(), FakeHost::new("email"));
        server.script(move |command| command.starts_with(at).then_some(Say::Line(line)));
        block_on(async {
            let email = start(&fake, &server, json!({})).await;
            let error = email.deliver(&failure()).await.unwrap_err();
            assert_eq!(matches!(error, DeliveryError::Retry { .. }), retried, "{at} {line}: {error:?}");
            assert!(error.to_string().contains(part), "{at} {line}: {error}");
            // The connection is in order again.
            server.script(|_| None);
            email.deliver(&failure()).await.unwrap();
        });
        assert_eq!(server.mails().len(), 1, "{at} {line}");
    }
}

#[test]
fn all_are_refused_one_after_the_other_and_the_delivery_is_dead() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    server.script(|command| command.starts_with("RCPT").then_some(Say::Line("550 5.7.1 no")));
    block_on(async {
        let error = start(&fake, &server, five()).await.deliver(&failure()).await.unwrap_err();
        assert!(
            matches!(&error, DeliveryError::Reject { message } if message.contains("all 5") && message.contains("5.7.1")),
            "{error:?}"
        );
    });
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_kept_connection_that_died_costs_nothing() {
    for at in ["MAIL", "RCPT", "DATA"] {
        let (server, fake) = (MailServer::start(), FakeHost::new("email"));
        block_on(async {
            let email = start(&fake, &server, json!({})).await;
            email.deliver(&failure()).await.unwrap();
            let mut deaths = 1;
            server.script(move |command| {
                let dies = command.starts_with(at) && deaths > 0;
                deaths -= i32::from(dies);
                dies.then_some(Say::Close)
            });
            email.deliver(&failure()).await.unwrap();
            let mut deaths = 1;
            server.script(move |command| {
                let dies = command.starts_with(at) && deaths > 0;
                deaths -= i32::from(dies);
                dies.then_some(Say::Line("421 too many mails"))
            });
            email.deliver(&failure()).await.unwrap();
        });
        assert_eq!((server.mails().len(), server.connections()), (3, 3), "{at}");
    }
}

#[test]
fn a_connection_that_breaks_behind_the_mail_is_a_retry() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    server.script(|command| (command == ".").then_some(Say::Close));
    block_on(async {
        let email = start(&fake, &server, five()).await;
        let (message, progress) = retry(email.deliver(&failure()).await.unwrap_err());
        assert!(message.contains("broke"), "{message}");
        assert_eq!((progress, server.connections()), (None, 3), "after three in a row the server is at fault");
    });
}

#[test]
fn who_breaks_connections_keeps_the_others_from_nothing() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    server.script(|command| {
        ["a@", "b@", "c@"].iter().any(|bad| command.starts_with("RCPT") && command.contains(bad)).then_some(Say::Close)
    });
    block_on(async {
        let email = start(&fake, &server, five()).await;
        let (_, progress) = retry(email.deliver(&failure()).await.unwrap_err());
        assert!(server.mails().is_empty());
        // The next attempt begins with another one.
        let delivery = again(&failure(), progress);
        let (_, progress) = retry(email.deliver(&delivery).await.unwrap_err());
        assert_eq!(server.recipients(), ["d@x.io", "e@x.io"]);
        server.script(|_| None);
        email.deliver(&again(&delivery, progress)).await.unwrap();
    });
    assert_eq!(server.mails().len(), 5);
}

#[test]
fn a_server_that_hangs_is_left_after_its_time() {
    for at in ["GREETING", "EHLO", "MAIL", "RCPT"] {
        let (server, fake) = (MailServer::start(), FakeHost::new("email"));
        server.script(move |command| command.starts_with(at).then_some(Say::Nothing));
        block_on(async {
            let mut settings = settings(&server, five());
            settings["smtp"]["timeout"] = "100ms".into();
            let email: Email = fake.start(settings).await.unwrap();
            let (message, _) = retry(email.deliver(&failure()).await.unwrap_err());
            assert!(message.contains("no answer within 100 ms"), "{at}: {message}");
        });
    }
}

#[test]
fn nobody_to_tell_is_done_and_nobody_to_reach_is_dead() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    block_on(async {
        let by_property = json!({ "recipients": [], "recipientsFromProperty": "Mail" });
        let email = start(&fake, &server, by_property).await;
        email.deliver(&failure()).await.unwrap();
        assert!(fake.records().iter().any(|record| record.level == 3 && record.message.contains("nobody is to get")));
        let mut delivery = failure();
        let properties = &mut delivery.event.data.task.as_mut().unwrap().custom_properties;
        properties.insert("Mail".to_owned(), vec!["joe@localhost".to_owned()]);
        let error = email.deliver(&delivery).await.unwrap_err();
        assert!(matches!(&error, DeliveryError::Reject { message } if message.contains("joe@localhost")), "{error:?}");
    });
    assert_eq!(server.connections(), 0);
}

#[test]
fn one_that_breaks_each_transaction_is_left_alone_in_the_end() {
    for mode in ["oneForAll", "oneForAllVisible"] {
        let (server, fake) = (MailServer::start(), FakeHost::new("email"));
        server.script(|command| command.contains("c@x.io").then_some(Say::Line("421 4.7.0 go away")));
        let mut more = five();
        more["mode"] = mode.into();
        block_on(async {
            let email = start(&fake, &server, more).await;
            let mut delivery = failure();
            for _ in 1..=3 {
                let (_, progress) = retry(email.deliver(&delivery).await.unwrap_err());
                delivery = again(&delivery, progress);
            }
        });
        let mut got = server.recipients();
        got.sort();
        assert_eq!(got, ["a@x.io", "b@x.io", "d@x.io", "e@x.io"], "{mode}");
    }
}

#[test]
fn a_connection_that_is_an_answer_behind_is_not_kept() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    server.script(|command| match command {
        "RCPT TO:<a@x.io>" => Some(Say::Line("550 no")),
        "RSET" => Some(Say::Late(300)),
        "." => Some(Say::Line("554 spam")),
        _ => None,
    });
    block_on(async {
        let mut settings = settings(&server, json!({ "recipients": ["a@x.io", "b@x.io"] }));
        settings["smtp"]["timeout"] = "200ms".into();
        let email: Email = fake.start(settings).await.unwrap();
        let error = email.deliver(&failure()).await.unwrap_err();
        assert!(matches!(&error, DeliveryError::Reject { message } if message.contains("all 2")), "{error:?}");
    });
    let commands = server.commands();
    let reset = commands.iter().position(|command| command == "RSET").unwrap();
    assert_eq!(commands[reset + 1], "GREETING", "{commands:?}");
}

#[test]
fn only_the_right_answers_count() {
    for (at, line) in [("DATA", "250 what?"), (".", "354 go on"), ("RCPT", "354 go on"), ("MAIL", "354 go on")] {
        let (server, fake) = (MailServer::start(), FakeHost::new("email"));
        server.script(move |command| command.starts_with(at).then_some(Say::Line(line)));
        block_on(async {
            let email = start(&fake, &server, json!({})).await;
            let (message, _) = retry(email.deliver(&failure()).await.unwrap_err());
            assert!(message.contains(line), "{at}: {message}");
            // That connection is not used again.
            server.script(|_| None);
            let before = server.connections();
            email.deliver(&failure()).await.unwrap();
            assert_eq!(server.connections(), before + 1, "{at}");
        });
    }
}

#[test]
fn too_many_recipients_is_no_refusal() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    server.script(|command| command.contains("b@x.io").then_some(Say::Line("552 too many recipients")));
    let mut more = five();
    more["mode"] = "oneForAll".into();
    block_on(async {
        let email = start(&fake, &server, more).await;
        let (message, progress) = retry(email.deliver(&failure()).await.unwrap_err());
        assert!(message.contains("552 too many"), "{message}");
        server.script(|_| None);
        email.deliver(&again(&failure(), progress)).await.unwrap();
    });
    assert_eq!(server.recipients(), ["a@x.io", "c@x.io", "d@x.io", "e@x.io", "b@x.io"]);
}

#[test]
fn whom_an_attempt_before_a_crash_was_refused_for_does_not_look_delivered() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    let refused = crate::throttle::hash(&"a@x.io".parse().unwrap());
    let other = crate::throttle::hash(&"b@x.io".parse().unwrap());
    block_on(async {
        let email = start(&fake, &server, json!({ "recipients": ["a@x.io", "b@x.io"] })).await;
        let both = json!({ "sent": "", "refused": format!("{refused}{other}") });
        let error = email.deliver(&again(&failure(), Some(both))).await.unwrap_err();
        assert!(matches!(&error, DeliveryError::Reject { message } if message.contains("refuses all")), "{error:?}");
        let one = json!({ "sent": other, "refused": refused });
        email.deliver(&again(&failure(), Some(one))).await.unwrap();
    });
    assert_eq!(server.connections(), 0);
}

#[test]
fn answers_in_latin_1_are_answers() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    server.script(|command| match command {
        "GREETING" => Some(Say::Bytes(b"220 M\xfcnchen\r\n")),
        "RCPT TO:<a@x.io>" => Some(Say::Bytes(b"550 5.1.1 Empf\xe4nger unbekannt\r\n")),
        _ => None,
    });
    block_on(async {
        let email = start(&fake, &server, json!({})).await;
        let error = email.deliver(&failure()).await.unwrap_err();
        assert!(
            matches!(&error, DeliveryError::Reject { message } if message.contains("550 5.1.1 Empf?nger unbekannt")),
            "{error:?}"
        );
    });
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_test_that_nobody_gets_is_no_success() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    block_on(async {
        let by_property = json!({ "recipients": [], "recipientsFromProperty": "Mail" });
        let email = start(&fake, &server, by_property).await;
        let mut test = failure();
        butler_plugin_api::Event::TEST.clone_into(&mut test.event.source);
        let error = email.deliver(&test).await.unwrap_err();
        assert!(
            matches!(&error, DeliveryError::Reject { message } if message.contains("`Mail`") && message.contains("redirectTo")),
            "{error:?}"
        );
        let email = start(&fake, &server, json!({ "recipients": [], "owner": {} })).await;
        test.event.data.app.as_mut().unwrap().owner.as_mut().unwrap().emails.clear();
        let error = email.deliver(&test).await.unwrap_err();
        assert!(
            matches!(&error, DeliveryError::Reject { message } if message.contains("samples") && message.contains("--task")),
            "{error:?}"
        );
    });
    assert_eq!(server.connections(), 0);
}

#[test]
fn errors_name_three_and_a_number() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    server.script(|command| {
        (command.starts_with("RCPT") && !command.contains("a@x.io")).then_some(Say::Line("450 later"))
    });
    block_on(async {
        let email = start(&fake, &server, five()).await;
        let (message, _) = retry(email.deliver(&failure()).await.unwrap_err());
        assert!(message.contains("b@x.io, c@x.io, d@x.io and 1 more"), "{message}");
        let by_property = json!({ "recipients": [], "recipientsFromProperty": "Mail" });
        let email = start(&fake, &server, by_property).await;
        let mut delivery = failure();
        let properties = &mut delivery.event.data.task.as_mut().unwrap().custom_properties;
        properties.insert("Mail".to_owned(), (0..5).map(|number| format!("user{number}@localhost")).collect());
        let error = email.deliver(&delivery).await.unwrap_err().to_string();
        assert!(error.contains("user2@") && !error.contains("user3@") && error.ends_with("and 2 more"), "{error}");
    });
}
