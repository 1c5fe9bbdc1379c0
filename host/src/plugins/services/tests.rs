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
            qlik: None,
            task_starter: None,
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
async fn what_this_version_lacks_is_told_from_what_makes_no_sense() {
    let Fixture { shared, manifest, .. } = Fixture::new().await;
    let owner = Owner { plugin: "chat", instance: "i" };
    for (op, lacking) in [("explode", true), ("get", false)] {
        let errors = [
            storage(&shared, "i", json!({ "op": op })).await,
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
