//! What the services say to input of every kind.

use super::*;

struct Fixture {
    shared: Shared,
    manifest: Manifest,
    chains: Chains,
    _folder: tempfile::TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("butler.db")).await.unwrap();
        let shared = Shared {
            runtime: Handle::current(),
            cloud_events: CloudEvents::new(None, store.clone(), Arc::default()),
            store,
            accepted: Arc::default(),
            http: HttpClients::new(BTreeMap::new()),
            started_ms: now_ms(),
            udp: None,
            roads: Arc::default(),
            qlik: None,
            task_starter: None,
            only_looks: false,
            config: Arc::new(Current::new(serde_json::from_value::<Config>(json!({ "version": 1 })).unwrap())),
            metrics: Arc::default(),
            secrets: Arc::new(Secrets::new(["s3cret-1".to_owned()])),
        };
        let manifest = Manifest::new("chat", "Posts alerts").emits(&["node.silent", "chat.*"]);
        Self { shared, manifest, chains: Chains::default(), _folder: folder }
    }

    async fn emit(&self, kind: &str, data: Value) -> Result<Value, ServiceError> {
        let input = json!({ "kind": kind, "data": data, "fieldOfALaterVersion": {} });
        emit(&self.shared, &self.manifest, "i", &self.chains, input).await
    }
}

#[tokio::test]
async fn only_events_that_the_manifest_names_are_taken() {
    let fixture = Fixture::new().await;
    for kind in ["node.silent", "chat.told"] {
        fixture.emit(kind, json!({})).await.unwrap();
    }
    for kind in ["reload-task.failed", "chat-room.told"] {
        let error = fixture.emit(kind, json!({})).await.unwrap_err();
        assert!(matches!(&error, ServiceError::Denied(text) if text.contains("add it to `emits`")), "{kind}: {error}");
    }
    let invalid = [("moon", json!({})), ("chat.s3cret-1", json!({})), ("chat.told", json!("text"))];
    for (kind, data) in invalid {
        let error = fixture.emit(kind, data).await.unwrap_err();
        assert!(matches!(error, ServiceError::Invalid(_)), "{kind}: {error}");
    }
}

#[tokio::test]
async fn a_known_fact_of_another_form_is_emitted_as_it_is() {
    let fixture = Fixture::new().await;
    let emitted = fixture.emit("chat.told", json!({ "node": "sense1", "task": "Sales", "message": 7 })).await.unwrap();
    let seq = emitted["id"].as_str().and_then(|id| id.rsplit('-').next()?.parse().ok()).unwrap();
    let event = fixture.shared.store.event(seq).await.unwrap().unwrap().event;
    assert_eq!((event.data.node.as_deref(), &event.data.task), (Some("sense1"), &None));
    let facts = serde_json::to_value(&event.data).unwrap();
    assert_eq!((&facts["task"], &facts["message"]), (&json!("Sales"), &json!(7)), "{facts}");
}

#[tokio::test]
async fn who_only_looks_writes_nothing_and_is_told_what_the_daemon_may() {
    let Fixture { mut shared, mut manifest, .. } = Fixture::new().await;
    manifest = manifest.qlik_writes(&["tag"]);
    shared.only_looks = true;
    let write = json!({ "op": "write", "method": "POST", "path": "tag", "body": {} });
    let error = qlik::answer(&shared, &manifest, "i", write).await.unwrap_err();
    assert!(matches!(&error, ServiceError::Denied(text) if text.contains("only looks")), "{error}");
    let may = async |path: &str| qlik::answer(&shared, &manifest, "i", json!({ "op": "mayWrite", "path": path })).await;
    assert!(matches!(may("app").await, Err(ServiceError::Denied(_))), "the manifest does not name it");
    // That the config has no Qlik Sense is all that is wrong.
    assert!(matches!(may("tag").await, Err(ServiceError::Unavailable(_))));
}

#[tokio::test]
async fn what_this_version_lacks_is_told_from_what_makes_no_sense() {
    let Fixture { shared, manifest, .. } = Fixture::new().await;
    let owner = Owner { plugin: "chat", instance: "i" };
    for (op, lacking) in [("explode", true), ("get", false)] {
        let errors = [
            storage::answer(&shared.store, "i", json!({ "op": op })).await,
            qlik::answer(&shared, &manifest, "i", json!({ "op": op })).await,
        ];
        for error in errors.map(Result::unwrap_err) {
            assert_eq!(matches!(error, ServiceError::Unsupported(_)), lacking, "{op}: {error}");
            assert_eq!(matches!(error, ServiceError::Invalid(_)), !lacking, "{op}: {error}");
        }
    }
    let lacking = metrics(&shared, owner, r#"{ "op": "histogram", "name": "x", "value": 1 }"#);
    assert!(matches!(lacking, Err(ServiceError::Unsupported(_))), "{lacking:?}");
    for input in [r#"{ "op": "gauge", "name": "x", "value": null }"#, "{}", "[]", "", r#"{ "op": "count", "name": 7 }"#]
    {
        let invalid = metrics(&shared, owner, input);
        assert!(matches!(invalid, Err(ServiceError::Invalid(_))), "{input}: {invalid:?}");
    }
}

#[tokio::test]
async fn changes_of_the_storage_are_made_together_or_not_at_all() {
    let fixture = Fixture::new().await;
    let shared = &fixture.shared;
    let call = async |input: Value| storage::answer(&shared.store, "i", input).await;
    let set = |key: &str, value: Value| json!({ "op": "set", "key": key, "value": value, "fieldOfALaterVersion": 1 });
    let entries = json!({ "op": "entries", "prefix": "" });
    let first = json!([set("a/1", json!(1)), set("a/2", json!({ "n": 2 })), set("b", json!("x")), set("a", json!(0))]);
    assert_eq!(call(json!({ "op": "apply", "changes": first })).await.unwrap(), json!({}));
    assert_eq!(call(json!({ "op": "apply", "changes": [] })).await.unwrap(), json!({}));
    // In their order: what comes later counts.
    let second = json!([
        set("a/2", json!("gone")), { "op": "deletePrefix", "prefix": "a/" }, set("a/3", json!(3)),
        { "op": "delete", "key": "b" }, { "op": "delete", "key": "never" },
        { "op": "delete", "key": "c" }, { "op": "set", "key": "c", "value": null, "ttlMs": 3_600_000 },
    ]);
    call(json!({ "op": "apply", "changes": second })).await.unwrap();
    let mut page = call(entries.clone()).await.unwrap();
    let ttl = page["entries"][2].as_object_mut().unwrap().remove("ttlMs").and_then(|ttl| ttl.as_i64()).unwrap();
    assert!((3_590_000..=3_600_000).contains(&ttl), "{ttl}");
    let kept = json!([{ "key": "a", "value": 0 }, { "key": "a/3", "value": 3 }, { "key": "c", "value": null }]);
    assert_eq!(page, json!({ "entries": kept, "more": false }));

    let good = set("d", json!(1));
    let (long, huge) = (set(&"k".repeat(513), json!(1)), set("k", json!("v".repeat(1 << 20))));
    let many = vec![good.clone(); 10_001];
    let large = vec![set("d", json!("v".repeat(1_000_000))); 17];
    for (changes, expected) in [
        (
            json!([good, { "op": "explode", "key": "a" }]),
            "this Butler's service `storage.apply` has no operation `explode`",
        ),
        (json!([good, { "op": "delete" }]), "missing field `key`"),
        (json!([good, 7]), "cannot be read"),
        (json!(good), "cannot be read"),
        (json!([good, long]), "the key has 513 bytes"),
        (json!([good, huge]), "the value has 1048578 bytes"),
        (json!(many), "10001 changes at once, at most 10000"),
        (json!(large), "at most 16777216 are taken"),
    ] {
        let error = call(json!({ "op": "apply", "changes": changes })).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error:?}");
        assert_eq!(matches!(error, ServiceError::Unsupported(_)), expected.contains("has no operation"), "{error:?}");
    }
    assert_eq!(call(json!({ "op": "get", "key": "d" })).await.unwrap()["found"], false);
}

#[tokio::test]
async fn the_storage_is_read_in_pages() {
    let fixture = Fixture::new().await;
    let shared = &fixture.shared;
    let call = async |input: Value| storage::answer(&shared.store, "i", input).await.unwrap();
    let keys: Vec<String> = (0..25).map(|n| format!("k/{n:02}")).collect();
    let others = ["", "j", "k", "k0", "k/\0", "é"];
    let all = keys.iter().map(String::as_str).chain(others);
    let changes: Vec<Value> = all.map(|key| json!({ "op": "set", "key": key, "value": key })).collect();
    call(json!({ "op": "apply", "changes": changes })).await;
    storage::answer(&shared.store, "other", json!({ "op": "set", "key": "k/00", "value": 1 })).await.unwrap();
    call(json!({ "op": "set", "key": "k/expired", "value": 1, "ttlMs": 0 })).await;
    for (limit, pages) in [(json!(10), 3), (json!(26), 1), (Value::Null, 1), (json!(1), 26)] {
        let (mut read, mut after, mut count) = (Vec::new(), Value::Null, 0);
        loop {
            let page = call(json!({ "op": "entries", "prefix": "k/", "after": after, "limit": limit })).await;
            count += 1;
            for entry in page["entries"].as_array().unwrap() {
                assert_eq!((&entry["key"], entry.get("ttlMs")), (&entry["value"], None));
                after = entry["key"].clone();
                read.push(after.as_str().unwrap().to_owned());
            }
            if page["more"] == false {
                break;
            }
        }
        let expected: Vec<&str> = std::iter::once("k/\0").chain(keys.iter().map(String::as_str)).collect();
        assert_eq!((read.iter().map(String::as_str).collect::<Vec<_>>(), count), (expected, pages));
    }
    // Long values make short pages.
    for n in 0..6 {
        call(json!({ "op": "set", "key": format!("l/{n}"), "value": "v".repeat(1_000_000) })).await;
    }
    let page = call(json!({ "op": "entries", "prefix": "l/" })).await;
    assert_eq!((page["entries"].as_array().unwrap().len(), &page["more"]), (5, &json!(true)));
}

#[tokio::test]
async fn the_status_does_not_wait_for_long_queries() {
    let fixture = Fixture::new().await;
    let [free, _held] = fixture.shared.store.hold_readers().await;
    drop(free);
    let told = tokio::time::timeout(Duration::from_secs(8), status_of(&fixture.shared)).await.unwrap();
    assert_eq!((told.events_waiting, told.deliveries_open, told.deliveries_dead), (Some(0), None, None));
    assert!(told.store.healthy, "{told:?}");
}

async fn status_of(shared: &Shared) -> butler_plugin_api::Status {
    serde_json::from_value(status::answer(shared).await.unwrap()).unwrap()
}

#[tokio::test]
async fn the_status_tells_of_the_process_and_of_what_is_there() {
    let mut fixture = Fixture::new().await;
    let shared = &mut fixture.shared;
    shared.started_ms = now_ms() - 5000;
    let told = status_of(shared).await;
    assert_eq!(told.version, env!("CARGO_PKG_VERSION"));
    assert!((5000..60_000).contains(&told.uptime_ms) && told.started_at.ends_with('Z'), "{told:?}");
    assert!(told.store.healthy && told.udp.is_none() && told.qlik.is_none() && told.ingest.is_none(), "{told:?}");
    assert_eq!((told.events_waiting, told.deliveries_open, told.deliveries_dead), (Some(0), Some(0), Some(0)));
    if cfg!(any(target_os = "linux", windows)) {
        let memory = told.memory.unwrap();
        assert!(memory.process_bytes.unwrap() > 1 << 20 && memory.heap_used_bytes.unwrap() > 0, "{memory:?}");
        assert!(
            memory.heap_total_bytes.is_some() && memory.external_bytes.is_some() && told.cpu_ms.is_some(),
            "{memory:?}"
        );
    }

    shared.roads.heard("sense1", crate::observe::Road::Udp, 1_772_600_000_000);
    shared.roads.heard("sense1", crate::observe::Road::Qrs, 1_772_600_001_000);
    let nodes = status_of(shared).await.nodes;
    assert_eq!(nodes.len(), 1);
    assert_eq!(nodes[0].udp.as_deref(), Some("2026-03-04T04:53:20.000Z"));
    assert_eq!(nodes[0].qrs.as_deref(), Some("2026-03-04T04:53:21.000Z"));
}

#[tokio::test]
async fn the_status_follows_messages_on_their_way_to_the_store() {
    use crate::ingest::{UdpServer, sample};
    let mut fixture = Fixture::new().await;
    let shared = &mut fixture.shared;
    let config = json!({ "listen": "127.0.0.1:0", "maxPerMinute": 100 });
    let running = UdpServer::bind(&serde_json::from_value(config).unwrap()).unwrap().start().unwrap();
    let running = Arc::new(running);
    shared.udp = Some(running.clone());
    let before = status_of(shared).await;
    let idle = before.ingest.unwrap();
    assert_eq!(before.udp, Some(butler_plugin_api::PartStatus::new(None)));
    assert_eq!((idle.processing_average_us, idle.pending, idle.per_minute), (None, Some(0), Some(0)));
    assert_eq!((idle.capacity_bytes, idle.interval_ms), (Some(16 << 20), None));

    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let failed = || sample::message("reload-task.failed".parse().unwrap(), &sample::Fields::random().unwrap());
    for message in [failed(), failed(), "/nonsense/".to_owned()] {
        sender.send_to(message.as_bytes(), running.local_addr()).unwrap();
    }
    let waited = std::time::Instant::now();
    while running.counters().received.get() < 3 || running.snapshot().per_minute != Some(3) {
        assert!(waited.elapsed().as_secs() < 20, "the datagrams do not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Taken, and not stored yet: what was received so long ago took at least so long.
    let held = Duration::from_millis(30);
    tokio::time::sleep(held).await;
    running.stop();
    crate::pipeline::accept_datagrams(
        running,
        crate::config::Patterns::default(),
        ingest::Seal::new("token"),
        shared.store.clone(),
        Arc::default(),
        Arc::default(),
    )
    .await;
    let told = status_of(shared).await;
    let ingest = told.ingest.unwrap();
    assert_eq!((ingest.received, ingest.processed, ingest.rejected.values().sum::<u64>()), (3, 2, 1));
    assert_eq!((told.events_waiting, ingest.pending, ingest.per_minute), (Some(2), Some(0), Some(3)));
    let took = [ingest.processing_average_us, ingest.processing_p95_us, ingest.processing_max_us].map(Option::unwrap);
    assert!(took[0] >= 30_000 && took[0] <= took[2] && took[1] <= took[2] && took[2] < 20_000_000, "{took:?}");
}

#[tokio::test]
async fn the_status_says_that_nobody_may_send() {
    let mut fixture = Fixture::new().await;
    let config = json!({ "listen": "127.0.0.1:0", "allowFrom": ["does-not-exist.invalid"] });
    let running = ingest::UdpServer::bind(&serde_json::from_value(config).unwrap()).unwrap().start().unwrap();
    fixture.shared.udp = Some(Arc::new(running));
    let waited = std::time::Instant::now();
    let told = loop {
        let udp = status_of(&fixture.shared).await.udp.unwrap();
        if !udp.healthy {
            break udp.message.unwrap();
        }
        assert!(waited.elapsed().as_secs() < 60, "it is never told");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(told.starts_with("no entry of `udp.allowFrom` resolves"), "{told}");
}

#[tokio::test]
async fn a_qlik_section_without_qlik_sense_is_trouble_for_who_checks_and_none_yet_for_the_daemon() {
    let mut fixture = Fixture::new().await;
    let ask = async |shared: &Shared| {
        let input = json!({ "op": "get", "path": "about", "query": {} });
        qlik::answer(shared, &Manifest::new("chat", ""), "i", input).await.unwrap_err().to_string()
    };
    assert_eq!(status_of(&fixture.shared).await.qlik, None);
    assert!(ask(&fixture.shared).await.contains("no `qlik:` section"));

    let config = json!({ "version": 1, "qlik": { "host": "sense1", "user": r"LAB\ann",
                         "certificates": { "client": "c.pem", "key": "k.pem", "ca": "ca.pem" } } });
    fixture.shared.config.set(serde_json::from_value::<Config>(config).unwrap());
    assert_eq!(status_of(&fixture.shared).await.qlik, None);
    assert!(ask(&fixture.shared).await.contains("start Butler again"));

    fixture.shared.only_looks = true;
    assert!(!status_of(&fixture.shared).await.qlik.unwrap().healthy);
    assert!(ask(&fixture.shared).await.contains("`qlik.certificates` cannot be used"));
}
