//! The fake host behaves like the host.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::conformance::add_unknown;
use super::*;
use crate::{
    CustomLink, Delivery, Emitted, Host, HttpError, Instance, Links, QlikReply, ServiceError, StartError,
    StorageChange, When, kind,
};

const HOUR: std::time::Duration = std::time::Duration::from_hours(1);

#[test]
fn storage_and_emit_behave_like_the_host() {
    let fake = FakeHost::new("t").store("old", json!(1));
    let host = fake.host();
    block_on(async {
        host.storage().set("a/1", &json!({ "n": 1 }), None).await.unwrap();
        assert_eq!(host.storage().get("a/1").await.unwrap(), Some(json!({ "n": 1 })));
        assert_eq!(host.storage().list("").await.unwrap(), ["a/1", "old"]);
        assert!(host.storage().delete("a/1").await.unwrap());
        assert_eq!(host.storage().get("a/1").await.unwrap(), None);
        let error = host.storage().set(&"k".repeat(513), &json!(1), None).await.unwrap_err();
        assert!(matches!(error, ServiceError::Quota(_)), "{error}");
        assert!(!host.emit_once("k", "node.silent", json!({})).await.unwrap().duplicate);
        assert!(host.emit_once("k", "node.silent", json!({})).await.unwrap().duplicate);
        for (kind, data) in [("moon", json!({})), ("node.silent", json!("text"))] {
            assert!(matches!(host.emit(kind, data).await, Err(ServiceError::Invalid(_))), "{kind}");
        }
        host.emit("node.silent", json!({ "message": 7 })).await.unwrap();
    });
    assert_eq!(fake.emitted().len(), 2);
}

#[test]
fn changes_and_pages_of_the_storage_are_those_of_the_host() {
    let host = FakeHost::new("t").store("b", json!(1)).host();
    let set = |key: &str, ttl| StorageChange::Set { key: key.to_owned(), value: json!(key), ttl };
    let storage = host.storage();
    block_on(async {
        let gone = StorageChange::DeletePrefix { prefix: "a/".to_owned() };
        let changes = [set("a/1", None), gone, set("a/2", Some(HOUR)), StorageChange::Delete { key: "b".to_owned() }];
        storage.apply(&changes).await.unwrap();
        let page = storage.entries("", None, 10).await.unwrap();
        let shown: Vec<_> = page.entries.iter().map(|entry| (entry.key.as_str(), entry.ttl_ms)).collect();
        assert_eq!((shown, page.more), (vec![("a/2", Some(3_600_000))], false));
        let error = storage.apply(&[set("c", None), set(&"k".repeat(513), None)]).await.unwrap_err();
        assert!(matches!(error, ServiceError::Quota(_)), "{error}");
        let many = vec![set("c", None); 10_001];
        assert!(matches!(storage.apply(&many).await, Err(ServiceError::Quota(_))));
        let unknown = json!({ "op": "apply", "changes": [{ "op": "explode" }] });
        assert!(matches!(host.invoke("storage", &unknown).await, Err(ServiceError::Unsupported(_))));
        assert_eq!(storage.get("c").await.unwrap(), None, "all or nothing");

        storage.apply(&["a/3", "a/4", "a0", "a"].map(|key| set(key, Some(std::time::Duration::MAX)))).await.unwrap();
        let mut read = Vec::new();
        loop {
            let after = read.last().map(String::as_str);
            let page = storage.entries("a/", after, 2).await.unwrap();
            read.extend(page.entries.into_iter().map(|entry| entry.key));
            if !page.more {
                break;
            }
        }
        assert_eq!(read, ["a/2", "a/3", "a/4"]);
    });
}

#[test]
fn a_plugin_emits_only_what_its_manifest_names() {
    struct Source(Host);
    impl Plugin for Source {
        type Settings = Value;

        fn manifest() -> Manifest {
            Manifest::new("source", "Tells").emits(&["source.*"])
        }

        async fn start(_: Value, host: Host) -> Result<Self, StartError> {
            Ok(Self(host))
        }
    }
    let fake = FakeHost::new("t");
    let Source(host) = block_on(fake.start(json!({}))).unwrap();
    block_on(host.emit("source.told", json!({}))).unwrap();
    let error = block_on(host.emit("node.silent", json!({}))).unwrap_err();
    assert!(matches!(&error, ServiceError::Denied(text) if text.contains("add it to `emits`")), "{error}");
    assert_eq!(fake.emitted().len(), 1);
}

#[test]
fn metrics_are_there_at_once_and_fail_nobody() {
    let fake = FakeHost::new("t");
    let host = fake.host();
    host.metrics().count("sent_total", &[("kind", "x")], 2);
    std::thread::scope(|scope| scope.spawn(|| host.metrics().count("sent_total", &[("kind", "x")], 1)).join()).unwrap();
    assert_eq!(fake.metric("sent_total{kind=\"x\"}"), Some(3.0));
    for value in 0..100 {
        host.metrics().gauge("waiting", &[], f64::from(value));
    }
    assert_eq!(fake.metric("waiting"), Some(99.0));
    assert!(fake.records().is_empty());
    host.metrics().gauge("Not-a-name", &[], 1.0);
    host.metrics().gauge("waiting", &[], f64::NAN);
    let said: Vec<String> = fake.records().into_iter().map(|record| record.message).collect();
    assert!(said[0].contains("Not-a-name") && said[1].contains("no finite number"), "{said:?}");
    let fake = fake.fail_service("metrics", ServiceError::Failed("broken".to_owned()));
    host.metrics().count("sent_total", &[], 1);
    assert_eq!(fake.metric("sent_total"), None);
}

#[test]
fn answers_come_by_address_and_in_order() {
    let fake = FakeHost::new("t").answer_to("get", "https://a.test/status", 204, "").answer(500, "first");
    let fake = fake.fail(HttpError::Timeout("slow".to_owned())).fail_service("qlik", ServiceError::Stopped);
    let host = fake.host();
    block_on(async {
        let status =
            async |method: &str, url: &str| host.http().request(method, url).send().await.map(|reply| reply.status());
        assert_eq!(status("GET", "https://a.test/status?x=1").await, Ok(204));
        assert_eq!(status("POST", "https://a.test/status").await, Ok(500));
        assert_eq!(status("GET", "https://a.test/status").await, Ok(204));
        assert_eq!(status("POST", "https://a.test/").await, Err(HttpError::Timeout("slow".to_owned())));
        assert_eq!(status("POST", "https://a.test/").await, Ok(200));
        assert_eq!(host.qlik().get("about", &[]).await, Err(ServiceError::Stopped));
    });
    assert_eq!(fake.requests().len(), 5);
}

#[test]
fn sleeps_end_at_once_and_the_clock_jumps() {
    let fake = FakeHost::new("t");
    let host = fake.host();
    block_on(async {
        host.storage().set("k", &json!(1), Some(HOUR)).await.unwrap();
        host.sleep(HOUR / 2).await;
        assert!(host.storage().get("k").await.unwrap().is_some());
        host.sleep(HOUR / 2).await;
        assert_eq!(host.storage().get("k").await.unwrap(), None);
    });
    assert_eq!(fake.slept(), [HOUR / 2, HOUR / 2]);
    assert_eq!(fake.sleeping(), 0);
}

#[test]
fn manual_time_passes_when_the_test_says_so() {
    let fake = FakeHost::new("t").manual_time();
    let host = fake.host();
    block_on(host.storage().set("k", &json!(1), Some(HOUR))).unwrap();
    let rounds = Arc::new(AtomicU32::new(0));
    let (sleeper, counted) = (host.clone(), rounds.clone());
    host.spawn(async move {
        loop {
            sleeper.sleep(HOUR).await;
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    for round in 0..3 {
        fake.wait_until("the task sleeps", |fake| fake.sleeping() == 1);
        assert_eq!(rounds.load(Ordering::SeqCst), round);
        let bit = std::time::Duration::from_nanos(1);
        fake.advance(HOUR.saturating_sub(bit));
        assert_eq!((fake.sleeping(), fake.stored("k").is_some()), (1, round == 0));
        fake.advance(bit);
        fake.wait_until("a round", |_| rounds.load(Ordering::SeqCst) == round + 1);
    }
    fake.stop();
    assert_eq!(fake.sleeping(), 0, "the task has ended");
}

#[test]
fn after_a_stop_every_call_is_answered_with_stopped() {
    struct Tell(Arc<AtomicU32>);
    impl Drop for Tell {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let fake = FakeHost::new("t");
    let host = fake.host();
    let dropped = Arc::new(AtomicU32::new(0));
    let background = |host: &Host| {
        let (tell, sleeper) = (Tell(dropped.clone()), host.clone());
        host.spawn(async move {
            let _tell = tell;
            // Even a loop that never waits for anything is ended.
            loop {
                sleeper.sleep(HOUR).await;
            }
        });
    };
    background(&host);
    fake.stop();
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    background(&host);
    assert_eq!(dropped.load(Ordering::SeqCst), 2, "what is spawned after the stop is dropped");
    block_on(async {
        assert!(matches!(host.http().get("https://a.test/").send().await, Err(HttpError::Stopped)));
        assert_eq!(host.storage().get("k").await, Err(ServiceError::Stopped));
        assert_eq!(host.emit("a.b", json!({})).await, Err(ServiceError::Stopped));
    });
    assert!(fake.requests().is_empty());
}

#[test]
fn the_last_clone_ends_the_background() {
    let fake = FakeHost::new("t").manual_time();
    let host = fake.host();
    let alive = Arc::new(());
    let held = alive.clone();
    host.spawn(async move {
        std::future::pending::<()>().await;
        drop(held);
    });
    let shared = Arc::downgrade(&fake.shared);
    drop(fake);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while Arc::strong_count(&alive) > 1 {
        assert!(std::time::Instant::now() < until, "the task still lives");
        std::thread::yield_now();
    }
    assert!(shared.strong_count() > 0, "the handle still works");
}

#[test]
fn log_records_of_a_test_come_to_its_fake_host() {
    let one = FakeHost::new("one");
    let _host = one.host();
    tracing::info!(count = 3, "from the first");
    let two = FakeHost::new("two");
    let host = two.host();
    log::warn!("from the second");
    host.spawn(async { tracing::error!("from the background") });
    two.wait_until("the record of the background", |two| two.records().len() == 2);
    let said = |fake: &FakeHost| {
        fake.records()
            .into_iter()
            .map(|record| format!("{} {}{}", record.level, record.message, record.fields))
            .collect::<Vec<_>>()
    };
    assert_eq!(said(&one), ["3 from the first{\"count\":3}"]);
    assert_eq!(said(&two), ["2 from the second", "1 from the background"]);
}

#[test]
fn what_a_newer_host_adds_to_its_documents_is_read_over() {
    let more = |document: &dyn Fn() -> Value| {
        let mut value = document();
        add_unknown(&mut value);
        value
    };
    let mut links = Links { qmc: Some("https://sense.test/qmc".to_owned()), ..Links::default() };
    links.custom.push(CustomLink::new("Wiki", "https://wiki.test/"));
    let instance = json!(Instance { name: "chat".to_owned(), links, log_level: 3, ..Instance::default() });
    let grown = more(&|| instance.clone());
    assert!(grown["links"]["custom"][0]["fieldOfALaterVersion"].is_object(), "{grown}");
    assert_eq!(json!(serde_json::from_value::<Instance>(grown).unwrap()), instance);

    for kind in kind::ALL {
        let mut delivery = sample_delivery(kind);
        (delivery.progress, delivery.late_seconds, delivery.suppressed) = (Some(json!(1)), Some(400), 2);
        let grown = more(&|| json!(delivery));
        let sections = grown["event"]["data"].as_object().unwrap();
        let objects: Vec<&Value> = sections.values().filter(|section| section.is_object()).collect();
        assert!(
            objects
                .iter()
                .all(|section| section.get("fieldOfALaterVersion").is_some() || section.get("deep").is_some())
        );
        // Each section by itself takes it: not one comes to `other`.
        let mut read: Delivery = serde_json::from_value(grown).unwrap();
        assert!(read.event.data.other.remove("fieldOfALaterVersion").is_some(), "{kind}");
        assert_eq!(read, delivery);
    }

    let emitted = more(&|| json!({ "id": "e-1", "duplicate": true }));
    assert!(serde_json::from_value::<Emitted>(emitted).unwrap().duplicate);
    let reply = more(&|| json!({ "status": 200, "body": [] }));
    assert_eq!(serde_json::from_value::<QlikReply>(reply).unwrap().status, 200);
}

#[test]
fn qlik_does_what_the_real_one_does() {
    let task = |id: &str, tag: &str| crate::Task {
        id: id.to_owned(),
        name: format!("task {id}"),
        tags: vec![tag.to_owned()],
        ..crate::Task::default()
    };
    let fake = FakeHost::new("t")
        .qlik("POST tag", json!({ "id": "7" }))
        .qlik("systemInfo", json!({ "version": "14.1.0" }))
        .qlik_status("DELETE tag/8", 403)
        .qlik_status("about", 503)
        .task(task("a", "nightly"))
        .task(task("b", "nightly"));
    let host = fake.host();
    let qlik = host.qlik();
    block_on(async {
        let made = qlik.post("tag", &json!({ "name": "x" })).await.unwrap();
        assert_eq!((made.status, &made.body["id"]), (201, &json!("7")));
        assert_eq!(qlik.may_write("tag/7").await, Ok(()));
        assert!(matches!(qlik.may_write("tag/%37").await, Err(ServiceError::Invalid(_))));
        assert_eq!(qlik.delete("tag/7").await.unwrap().status, 204);
        assert_eq!(qlik.delete("tag/8").await.unwrap().status, 403);
        assert_eq!(qlik.get("about", &[]).await.unwrap().status, 503);
        assert_eq!(qlik.system_info().await.unwrap().version.as_deref(), Some("14.1.0"));
        let started =
            qlik.start_tasks(&crate::StartTasks::new().task_id("a").task_id("c").tag("nightly")).await.unwrap();
        assert_eq!((started.tasks.len(), started.unknown.len()), (2, 1), "{started:?}");
        let held = crate::StartTasks::new().task_id("a").task_id("c").all_task_ids_must_exist();
        assert_eq!(qlik.start_tasks(&held).await.unwrap().denied, ["a"]);
        let message = r#"{ "data": { "reloadId": "r1" } }"#;
        let first = qlik.cloud_event(message).await.unwrap();
        let second = qlik.cloud_event(message).await.unwrap();
        assert_eq!((first.id, first.duplicate, second.duplicate), (second.id, false, true));
        assert!(matches!(qlik.cloud_event("x").await, Err(ServiceError::Invalid(_))));
    });
    assert_eq!(fake.started(), ["a", "b"]);
    assert_eq!(fake.cloud_events(), ["r1"]);
    assert_eq!(
        fake.qlik_writes(),
        [
            ("POST tag".to_owned(), json!({ "name": "x" })),
            ("DELETE tag/7".to_owned(), json!(null)),
            ("DELETE tag/8".to_owned(), json!(null))
        ]
    );

    fake.of(Manifest::new("t", "Writes nothing"));
    assert!(matches!(block_on(host.qlik().delete("tag/7")), Err(ServiceError::Denied(_))));
    assert!(matches!(block_on(host.qlik().may_write("tag/7")), Err(ServiceError::Denied(_))));
}

#[test]
fn the_times_of_schedules_come_when_the_test_says_so() {
    struct Watch(Host);
    impl Plugin for Watch {
        type Settings = Value;
        fn manifest() -> Manifest {
            Manifest::new("watch", "")
        }
        async fn start(_: Value, host: Host) -> Result<Self, StartError> {
            let bad = host.invoke("schedule", &json!({ "op": "check", "when": {} })).await;
            assert!(matches!(bad, Err(ServiceError::Invalid(_))), "{bad:?}");
            host.schedule().check(&When::every(HOUR)).await.map_err(|error| StartError::Config(error.to_string()))?;
            Ok(Self(host))
        }
        async fn run(&self) {
            while let Ok(tick) = self.0.schedule().next("look", &When::every(HOUR)).await {
                self.0.metrics().count("looks", &[], 1);
                assert!(!tick.planned.is_empty());
            }
        }
        async fn deliver(&self, _: &Delivery) -> Result<(), crate::DeliveryError> {
            Ok(())
        }
    }
    let fake = FakeHost::new("watch");
    block_on(fake.run::<Watch>(json!({}))).unwrap();
    fake.wait_until("a wait", |fake| fake.awaits_tick("look"));
    assert_eq!(fake.metric("looks"), None);
    for n in [1.0, 2.0] {
        fake.tick("other");
        fake.tick("look");
        fake.wait_until("the look", |fake| fake.metric("looks") == Some(n) && fake.awaits_tick("look"));
    }
    // Two that come at once are two.
    fake.tick("look");
    fake.tick("look");
    fake.wait_until("both", |fake| fake.metric("looks") == Some(4.0));
    fake.stop();
}
