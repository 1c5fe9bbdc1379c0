//! Alerts that belong together.

use butler_plugin_api::{DeliveryError, ServiceError};

use super::*;

const KEY: &str = "thread/task/11111111-2222-4333-8444-555555555555";

fn taken(ts: &str) -> String {
    json!({ "ok": true, "ts": ts, "channel": "C1" }).to_string()
}

fn refused(error: &str) -> String {
    json!({ "ok": false, "error": error }).to_string()
}

/// A delivery with an id of its own.
fn delivery(id: &str, kind: &str) -> Delivery {
    let mut delivery = sample_delivery(kind);
    id.clone_into(&mut delivery.delivery_id);
    delivery
}

/// Delivers in order; for each request its thread, and whether the channel shows it.
fn threads(fake: &FakeHost, settings: Value, deliveries: &[Delivery]) -> Vec<(Value, Value)> {
    block_on(async {
        let chat = start(fake, settings).await;
        for delivery in deliveries {
            chat.deliver(delivery).await.unwrap();
        }
    });
    bodies(fake).iter().map(|body| (body["thread_ts"].clone(), body["reply_broadcast"].clone())).collect()
}

const NEW: (Value, Value) = (Value::Null, Value::Null);

fn reply(ts: &str) -> (Value, Value) {
    (ts.into(), true.into())
}

#[test]
fn failures_answer_the_first_one_until_a_success() {
    let (fake, _folder) = fake();
    let fake = (1..=7).fold(fake, |fake, number| fake.answer(200, &taken(&format!("{number}.0"))));
    let kinds = ["reload-task.failed", "reload-task.aborted", "certificate.expiring", "reload-task.succeeded"];
    let mut deliveries: Vec<_> = kinds.iter().map(|kind| delivery(kind, kind)).collect();
    deliveries.extend([delivery("5", "reload-task.succeeded"), delivery("6", "reload-task.failed")]);
    let mut other = delivery("7", "reload-task.failed");
    other.event.data.task.as_mut().unwrap().id = "other".to_owned();
    deliveries.push(other);
    let expected = [NEW, reply("1.0"), NEW, reply("1.0"), NEW, NEW, NEW];
    assert_eq!(threads(&fake, token(&json!({})), &deliveries), expected);
    let stored = fake.stored(KEY).unwrap();
    assert_eq!((&stored["ts"], &stored["channel"], &stored["delivery"]), (&json!("6.0"), &json!("#ops"), &json!("6")));
}

#[test]
fn quiet_threads_no_threads_and_webhooks() {
    let two = [delivery("1", "reload-task.failed"), delivery("2", "reload-task.failed")];
    let host = || fake().0.answer(200, &taken("1.0")).answer(200, &taken("2.0"));
    let quiet = threads(&host(), token(&json!({ "threads": "quiet" })), &two);
    assert_eq!(quiet, [NEW, ("1.0".into(), Value::Null)]);
    assert_eq!(threads(&host(), token(&json!({ "threads": "off" })), &two), [NEW, NEW]);
    assert_eq!(threads(&host(), json!({}), &two), [NEW, NEW]);
}

#[test]
fn a_thread_survives_the_instance_and_ends_after_a_week_or_in_another_channel() {
    let (fake, _folder) = fake();
    let fake = (1..=4).fold(fake, |fake, number| fake.answer(200, &taken(&format!("{number}.0")))).manual_time();
    let one = |id: &str| [delivery(id, "reload-task.failed")];
    threads(&fake, token(&json!({})), &one("1"));
    assert_eq!(threads(&fake, token(&json!({})), &one("2"))[1..], [reply("1.0")]);
    assert_eq!(threads(&fake, token(&json!({ "channel": "#other" })), &one("3"))[2..], [NEW]);
    fake.advance(std::time::Duration::from_hours(7 * 24));
    assert_eq!(threads(&fake, token(&json!({ "channel": "#other" })), &one("4"))[3..], [NEW]);
}

#[test]
fn a_quiet_thread_ends_after_a_day_so_that_the_channel_sees_a_new_failure() {
    let (fake, _folder) = fake();
    let fake = (1..=3).fold(fake, |fake, number| fake.answer(200, &taken(&format!("{number}.0")))).manual_time();
    let quiet = || token(&json!({ "threads": "quiet" }));
    let one = |id: &str| [delivery(id, "reload-task.failed")];
    threads(&fake, quiet(), &one("1"));
    fake.advance(std::time::Duration::from_hours(23));
    assert_eq!(threads(&fake, quiet(), &one("2"))[1..], [("1.0".into(), Value::Null)]);
    fake.advance(std::time::Duration::from_hours(1));
    assert_eq!(threads(&fake, quiet(), &one("3"))[2..], [NEW]);
}

#[test]
fn a_thread_that_is_gone_is_replaced() {
    let (fake, _folder) = fake();
    let fake = fake.answer(200, &taken("1.0")).answer(200, &refused("thread_not_found")).answer(200, &taken("2.0"));
    let fake = fake.answer(200, &taken("3.0"));
    let deliveries = ["1", "2", "3"].map(|id| delivery(id, "reload-task.failed"));
    assert_eq!(threads(&fake, token(&json!({})), &deliveries), [NEW, reply("1.0"), NEW, reply("2.0")]);
}

#[test]
fn a_repeated_delivery_opens_no_second_thread() {
    // The process ended after the thread was stored, and before the host noted the outcome.
    let (fake, _folder) = fake();
    let fake = fake.answer(200, &taken("1.0"));
    let one = delivery("1", "reload-task.failed");
    let mut again = one.clone();
    again.attempt = 2;
    assert_eq!(threads(&fake, token(&json!({})), &[one.clone(), again]), [NEW], "posted once");

    // The thread could not be stored: its message is not posted again.
    let fake = FakeHost::new("slack").answer(200, &taken("1.0"));
    let failing = fake.clone().fail_service("storage", ServiceError::Unavailable("the disk is full".to_owned()));
    let error = block_on(async { start(&failing, token(&json!({}))).await.deliver(&one).await.unwrap_err() });
    let DeliveryError::Retry { progress: Some(progress), message, .. } = error else { panic!("{error:?}") };
    assert!(message.contains("the message is posted"), "{message}");
    let mut again = one.clone();
    again.progress = Some(progress.clone());
    let sound = FakeHost::new("slack");
    threads(&sound, token(&json!({})), &[again.clone()]);
    assert!(sound.requests().is_empty());
    assert_eq!(sound.stored(KEY).unwrap(), progress);
    threads(&sound, token(&json!({ "threads": "off" })), &[again]);
    assert!(sound.requests().is_empty());

    // Nothing was posted: it is new.
    let fake = FakeHost::new("slack").answer(200, &refused("internal_error")).answer(200, &taken("1.0"));
    block_on(async {
        let chat = start(&fake, token(&json!({}))).await;
        chat.deliver(&one).await.unwrap_err();
        assert_eq!(fake.stored(KEY), None);
        chat.deliver(&one).await.unwrap();
    });
    assert_eq!(fake.stored(KEY).unwrap()["ts"], "1.0");
}

#[test]
fn a_full_storage_costs_the_thread_and_not_the_alert() {
    let fake = FakeHost::new("slack").answer(200, &taken("1.0"));
    let fake = fake.fail_service("storage", ServiceError::Quota("too many values".to_owned()));
    assert_eq!(threads(&fake, token(&json!({})), &[delivery("1", "reload-task.failed")]), [NEW]);
}

#[test]
fn the_plain_form_goes_into_the_thread_too_and_a_template_may_have_its_own() {
    let (fake, folder) = fake();
    let fake = fake.answer(200, &taken("1.0")).answer(200, &refused("invalid_blocks")).answer(200, &taken("2.0"));
    let two = [delivery("1", "service.stopped"), delivery("2", "service.started")];
    assert_eq!(threads(&fake, token(&json!({})), &two), [NEW, reply("1.0"), reply("1.0")]);
    std::fs::write(folder.path().join("mine.json"), r#"{ "text": "t", "thread_ts": "9.9" }"#).unwrap();
    let fake = fake.answer(200, &taken("3.0"));
    let one = [delivery("3", "reload-task.failed")];
    let own = threads(&fake, token(&json!({ "templateFile": "mine.json" })), &one);
    assert_eq!(own[3], ("9.9".into(), Value::Null));
    assert_eq!(fake.stored(KEY), None);
    let fake = fake.answer(200, &refused("thread_not_found")).answer(200, &taken("4.0"));
    let own = threads(&fake, token(&json!({ "templateFile": "mine.json" })), &one);
    assert_eq!(own[5], NEW, "the plain form, since its thread is not there");
}
