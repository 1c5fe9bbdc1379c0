//! Many recipients, throttled ones, redirected ones.

use butler_plugin_api::Plugin;
use butler_plugin_api::testing::block_on;

use super::server::Say;
use super::*;

#[test]
fn three_hundred_recipients() {
    for (mode, mails) in [("onePerRecipient", 300), ("oneForAll", 3)] {
        let (server, fake) = (MailServer::start(), FakeHost::new("email"));
        let all: Vec<String> = (0..300).map(|number| format!("user{number}@x.io")).collect();
        block_on(async {
            let email = start(&fake, &server, json!({ "recipients": all, "mode": mode })).await;
            email.deliver(&failure()).await.unwrap();
        });
        let mut got = server.recipients();
        got.sort();
        let mut all = all;
        all.sort();
        assert_eq!((got, server.mails().len(), server.connections()), (all, mails, 1), "{mode}");
    }
}

#[test]
fn a_throttle_holds_per_recipient_and_is_given_back_when_a_mail_fails() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    let named = |number: u32| Delivery { delivery_id: format!("d{number}"), ..failure() };
    block_on(async {
        let more = json!({ "recipients": ["a@x.io", "b@x.io"], "throttle": { "every": "10m" } });
        let email = start(&fake, &server, more).await;
        server.script(|command| command.contains("b@x.io").then_some(Say::Line("450 later")));
        let (_, progress) = retry(email.deliver(&named(1)).await.unwrap_err());
        server.script(|_| None);
        email.deliver(&named(2)).await.unwrap();
        assert_eq!(server.recipients(), ["a@x.io", "b@x.io"], "a had one, the window of b was given back");
        email.deliver(&again(&named(1), progress)).await.unwrap();
        assert_eq!(server.mails().len(), 2, "b has had the news by the other mail");
        let mut aborted = sample_delivery(kind::RELOAD_TASK_ABORTED);
        aborted.delivery_id = "d3".to_owned();
        email.deliver(&aborted).await.unwrap();
        assert_eq!(server.mails().len(), 4, "another kind has windows of its own");
    });
    assert_eq!(fake.metric(r#"recipients_total{outcome="throttled"}"#), Some(2.0));
}

#[test]
fn what_was_held_back_is_told() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    let named = |number: u32| Delivery { delivery_id: format!("d{number}"), suppressed: 1, ..failure() };
    block_on(async {
        let email = start(&fake, &server, json!({ "throttle": { "every": "1s" } })).await;
        for number in 1..=3 {
            email.deliver(&named(number)).await.unwrap();
        }
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        for number in 4.. {
            email.deliver(&named(number)).await.unwrap();
            if server.mails().len() == 2 {
                break;
            }
            assert!(std::time::Instant::now() < until);
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    let mails = server.mails();
    assert!(mails[0].data.contains("1 more suppressed"), "{}", mails[0].data);
    let before = mails[1].data.split(" more suppressed").next().unwrap();
    let told = before.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap();
    let held = fake.metric(r#"recipients_total{outcome="throttled"}"#).unwrap();
    assert_eq!(told, format!("{}", held + 1.0), "{}", mails[1].data);
}

#[test]
fn everything_goes_to_one_address_for_tries_and_says_so() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    let all: Vec<String> = (0..300).map(|number| format!("user{number}@x.io")).collect();
    block_on(async {
        let more = json!({ "recipients": all, "redirectTo": "me@x.io", "recipientsIf": { "property": "Butler_Mail", "value": "Yes" } });
        let email = start(&fake, &server, more).await;
        email.deliver(&failure()).await.unwrap();
        let mut nobody = failure();
        nobody.event.data.task.as_mut().unwrap().custom_properties.clear();
        email.deliver(&nobody).await.unwrap();
    });
    assert_eq!(server.recipients(), ["me@x.io", "me@x.io"]);
    let flat = |data: &str| data.replace("=\r\n", "").replace("\r\n", " ");
    let [first, second] = &server.mails()[..] else { panic!() };
    assert_eq!(flat(&first.data).matches("user49@x.io and 250 more").count(), 2, "text and HTML say it");
    assert!(flat(&second.data).contains("gone to: nobody (`recipients` are for tasks with"), "{}", second.data);
}

#[test]
fn who_was_held_back_is_held_back_for_this_delivery() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    let named = |number: u32| Delivery { delivery_id: format!("d{number}"), ..failure() };
    block_on(async {
        let more = json!({ "recipients": ["a@x.io", "b@x.io"], "throttle": { "every": "1s" } });
        let email = start(&fake, &server, more).await;
        server.script(|command| command.contains("b@x.io").then_some(Say::Line("450 later")));
        let _ = retry(email.deliver(&named(1)).await.unwrap_err());
        let mut second = named(2);
        for _ in 1..=2 {
            let (_, progress) = retry(email.deliver(&second).await.unwrap_err());
            second = again(&second, progress);
        }
        let held = fake.records().into_iter().filter(|record| record.level == 3 && record.message.contains("a@x.io"));
        assert_eq!(held.count(), 1, "it is told once");
        // Its window is over: it is not mailed after all.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        server.script(|_| None);
        email.deliver(&second).await.unwrap();
        assert_eq!(server.recipients(), ["a@x.io", "b@x.io"]);
        email.deliver(&named(3)).await.unwrap();
    });
    assert!(server.mails()[2].data.contains("1 more suppressed"), "{}", server.mails()[2].data);
    // Only d3 may have held back b.
    let throttled = fake.metric(r#"recipients_total{outcome="throttled"}"#).unwrap();
    assert!(throttled <= 2.0, "{throttled}");
}

#[test]
fn a_redirected_mail_names_nobody_who_does_not_get_it() {
    let (server, fake) = (MailServer::start(), FakeHost::new("email"));
    let mut more = five();
    (more["redirectTo"], more["mode"]) = ("me@x.io".into(), "oneForAllVisible".into());
    block_on(async { start(&fake, &server, more).await.deliver(&failure()).await.unwrap() });
    let data = &server.mails()[0].data;
    let to: Vec<_> = data.split("\r\n\r\n").next().unwrap().lines().filter(|line| line.contains("@x.io")).collect();
    assert_eq!(to, ["To: me@x.io"]);
}
