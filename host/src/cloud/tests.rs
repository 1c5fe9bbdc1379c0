//! Messages of every form, and what becomes of them.

use proptest::prelude::*;
use qlik_simulator::{CloudSimulator, Envelope, FailedReload, Teller};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

mod variables;

const ENVELOPES: [Envelope; 3] = [Envelope::Legacy, Envelope::V1, Envelope::Hybrid];
const TENANT: &str = "acme-id";

struct Lab {
    tenant: CloudSimulator,
    events: Arc<CloudEvents>,
    store: Store,
    _folder: TempDir,
}

async fn lab() -> Lab {
    let tenant = CloudSimulator::start(TENANT).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("s.db")).await.unwrap();
    let config: QlikCloud = serde_json::from_value(json!({ "tenants": [
        { "id": TENANT, "url": "https://acme.test/", "comment": "Lab", "token": "t", "webhookSecret": CloudSimulator::SECRET,
          "links": { "qmc": "https://acme.test/console" } },
        { "id": "mute", "url": "https://mute.test", "token": "t" },
    ] }))
    .unwrap();
    let events = CloudEvents::new(Some(&config), store.clone(), Arc::default());
    Lab { tenant, events, store, _folder: folder }
}

impl Lab {
    async fn receive(&self, message: &Value) -> Result<HandedOver, Refused> {
        let body = message.to_string();
        self.events.receive(Some(&self.tenant.sign(body.as_bytes())), body.as_bytes()).await
    }

    /// The facts of the event with this id.
    async fn event(&self, id: &str) -> Value {
        let seq = id.rsplit('-').next().unwrap().parse().unwrap();
        serde_json::to_value(self.store.event(seq).await.unwrap().unwrap().event).unwrap()
    }

    fn count(&self, outcome: &str) -> u64 {
        self.events.counts().find(|(name, _)| *name == outcome).unwrap().1
    }
}

fn failure(reload: &FailedReload) -> Value {
    reload.message(Envelope::Hybrid, Teller::Engine)
}

#[tokio::test]
async fn each_envelope_of_the_engine_tells_the_same() {
    let lab = lab().await;
    for envelope in ENVELOPES {
        let reload = lab.tenant.fail_reload("Orders");
        let Ok(HandedOver::Accepted(id)) = lab.receive(&reload.message(envelope, Teller::Engine)).await else {
            panic!("{envelope:?}")
        };
        let event = lab.event(&id).await;
        let head = json!([event["kind"], event["source"], event["time"]]);
        assert_eq!(head, json!(["cloud-app-reload.failed", "qlik-cloud", reload.time(0)]), "{envelope:?}");
        let data = &event["data"];
        assert_eq!((&data["app"]["id"], &data["app"]["name"]), (&json!(reload.app_id), &json!("Orders")));
        assert_eq!((&data["user"], &data["app"]["owner"]["id"]), (&json!(reload.user_id), &json!(reload.owner_id)));
        assert_eq!(data["execution"]["durationMs"], 5_120);
        let mut cloud = data["cloud"].clone();
        let version = cloud.as_object_mut().unwrap().remove("eventTypeVersion");
        assert_eq!(version.is_some(), envelope != Envelope::V1, "CloudEvents 1.0 has none");
        let expected = json!({
            "tenantId": TENANT, "tenantComment": "Lab", "tenantUrl": "https://acme.test", "qmcUrl": "https://acme.test/console",
            "appUrl": format!("https://acme.test/sense/app/{}", reload.app_id), "reloadId": reload.reload_id,
            "source": "com.qlik/engine", "eventType": "com.qlik.v1.app.reload.finished", "status": "error", "durationMs": 5_120,
            "errors": [r#"{"qErrorString":"Table 'Orders' not found"}"#], "warnings": ["slow source"],
            "statements": [r#"{"label":"Orders","type":"Load"}"#], "endedWithMemoryConstraint": false,
            "isDirectQueryMode": false, "isPartialReload": false, "isSessionApp": false, "isSkipStore": false,
            "peakMemoryBytes": 7_340_032, "sizeMemoryBytes": 1_048_576, "rowLimit": -1, "usage": "ANALYTICS",
        });
        assert_eq!(cloud, expected, "{envelope:?}");
    }
}

#[tokio::test]
async fn each_envelope_of_the_reload_service_tells_of_the_same_reload() {
    let lab = lab().await;
    for envelope in ENVELOPES {
        let reload = lab.tenant.fail_reload("Orders");
        let Ok(HandedOver::Accepted(id)) = lab.receive(&reload.message(envelope, Teller::Service)).await else {
            panic!("{envelope:?}")
        };
        let data = &lab.event(&id).await["data"];
        assert_eq!((&data["app"]["id"], &data["cloud"]["reloadTrigger"]), (&json!(reload.app_id), &json!("chronos")));
        assert_eq!(data["execution"]["startTime"], json!(reload.time(-6_250)));
        for again in ENVELOPES {
            let other = lab.receive(&reload.message(again, Teller::Engine)).await;
            assert_eq!(other.unwrap(), HandedOver::Duplicate(id.clone()), "the engine tells of the same reload");
        }
    }
    assert_eq!((lab.count("accepted"), lab.count("duplicate")), (3, 9));
}

#[tokio::test]
async fn reloads_of_other_tenants_and_apps_without_a_guid_are_told_apart() {
    let lab = lab().await;
    let mut message = failure(&lab.tenant.fail_reload("Orders"));
    for part in ["tenantid", "toplevelresourceid"] {
        message.as_object_mut().unwrap().remove(part);
    }
    message["extensions"]["topLevelResourceId"] = json!("../users");
    let first = lab.events.accept_handed_over(message.to_string().as_bytes()).await.unwrap();
    message["extensions"]["tenantId"] = json!("mute");
    let second = lab.events.accept_handed_over(message.to_string().as_bytes()).await.unwrap();
    let (HandedOver::Accepted(first), HandedOver::Accepted(_)) = (first, second) else { panic!("told apart") };
    let data = &lab.event(&first).await["data"];
    assert_eq!(data["cloud"]["appUrl"], "https://acme.test/sense/app/..%2Fusers");
}

#[tokio::test]
async fn without_a_good_signature_nothing_is_believed_and_nothing_told() {
    let lab = lab().await;
    let reload = lab.tenant.fail_reload("Orders");
    let (body, sound) = (failure(&reload).to_string(), failure(&reload));
    let sign = |text: &str| lab.tenant.sign(text.as_bytes());
    let other = |tenant: &str| {
        let mut message = sound.clone();
        (message["tenantid"], message["extensions"]["tenantId"]) = (json!(tenant), json!(tenant));
        message.to_string()
    };
    let changed = body.replace("Orders", "orders");
    let answer = async |signature: Option<String>, body: &str| {
        lab.events.receive(signature.as_deref(), body.as_bytes()).await.unwrap_err()
    };
    let mut answers = vec![
        answer(None, &body).await,
        answer(Some(String::new()), &body).await,
        answer(Some("0".repeat(64)), &body).await,
        answer(Some(sign(&body)), &changed).await,
        answer(Some(sign(&other("nobody"))), &other("nobody")).await,
        answer(Some(sign(&other("mute"))), &other("mute")).await,
    ];
    // Old or of another type, but not signed: not even that is said.
    let old = failure(&reload.clone().ago(48 * 3_600_000)).to_string();
    answers.push(answer(Some("0".repeat(64)), &old).await);
    for refused in answers {
        assert!(matches!(refused, Refused::Signature), "{refused:?}");
        assert_eq!(refused.to_string(), "the message has no signature of a tenant that is known here");
    }
    let counted =
        ["no-signature", "wrong-signature", "unknown-tenant", "no-secret", "accepted"].map(|it| lab.count(it));
    assert_eq!(counted, [1, 4, 1, 1, 0]);
    assert!(lab.store.event(1).await.unwrap().is_none());
    assert!(matches!(lab.receive(&sound).await, Ok(HandedOver::Accepted(_))));
}

#[tokio::test]
async fn old_events_are_taken_only_when_handed_over_and_those_of_a_time_to_come_now() {
    let lab = lab().await;
    let now = now_ms();
    let (hour, minute) = (3_600_000, 60_000);
    for (ago, taken) in
        [(25 * hour, false), (24 * hour + minute, false), (23 * hour, true), (-9 * minute, true), (-48 * hour, true)]
    {
        let reload = lab.tenant.fail_reload("Orders").ago(ago);
        let body = failure(&reload).to_string();
        let result = lab.events.receive_at(Some(&lab.tenant.sign(body.as_bytes())), body.as_bytes(), now).await;
        match result {
            Ok(HandedOver::Accepted(_)) => {
                let event = lab.store.accepted_events(0, 100).await.unwrap().pop().unwrap().event;
                assert!(taken && event.time <= event.received_at, "{ago}");
            }
            Err((Outcome::Replay, _, Refused::Replay)) => {
                assert!(!taken, "{ago}");
                assert!(matches!(lab.events.accept_handed_over(body.as_bytes()).await, Ok(HandedOver::Accepted(_))));
            }
            other => panic!("{ago}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_did_not_fail_is_ignored_and_says_why() {
    let lab = lab().await;
    let reload = lab.tenant.fail_reload("Orders");
    for (teller, status) in
        [(Teller::Engine, "ok"), (Teller::Engine, "OK"), (Teller::Service, "SUCCEEDED"), (Teller::Service, "CANCELED")]
    {
        let mut message = reload.message(Envelope::V1, teller);
        message["data"]["status"] = json!(status);
        let ignored = lab.receive(&message).await.unwrap();
        assert_eq!(ignored, HandedOver::Ignored(format!("the reload did not fail: its status is `{status}`")));
    }
    let mut message = reload.message(Envelope::V1, Teller::Engine);
    message["type"] = json!("com.qlik.v1.app.opened");
    message["data"] = json!({});
    let ignored = lab.receive(&message).await.unwrap();
    assert_eq!(ignored, HandedOver::Ignored("events of type `com.qlik.v1.app.opened` are not told".to_owned()));
    for status in ["error", "FAILED", "EXCEEDED_LIMIT"] {
        let mut message = lab.tenant.fail_reload("Orders").message(Envelope::V1, Teller::Service);
        message["data"]["status"] = json!(status);
        assert!(matches!(lab.receive(&message).await, Ok(HandedOver::Accepted(_))), "{status}");
    }
    assert_eq!((lab.count("ignored"), lab.count("accepted")), (5, 3));
}

#[tokio::test]
async fn what_is_no_event_is_told_in_words() {
    let lab = lab().await;
    let reload = lab.tenant.fail_reload("Orders");
    let sound = failure(&reload);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut message = sound.clone();
        change(&mut message);
        message.to_string()
    };
    for (body, part) in [
        (String::new(), "not JSON"),
        ("[]".to_owned(), "names no tenant"),
        ("{}".to_owned(), "names no tenant"),
        (r#"{"tenantid":7}"#.to_owned(), "not JSON"),
        (r#"{"tenantid":"a","tenantid":"b"}"#.to_owned(), "duplicate field"),
        (with(&|message| message["tenantid"] = json!("other")), "two tenants"),
        (with(&|message| message["tenantid"] = json!("")), "two tenants"),
        (with(&|message| (message["type"], message["eventType"]) = (json!(7), json!(null))), "has no type"),
        (with(&|message| message["data"] = json!("text")), "has no `data.status`"),
        (with(&|message| message["data"]["reloadId"] = json!("a\nb")), "id of its reload"),
        (with(&|message| message["data"]["reloadId"] = json!("a".repeat(257))), "id of its reload"),
        (with(&|message| (message["time"], message["eventTime"]) = (json!("soon"), json!(7))), "has no time"),
    ] {
        let refused = lab.events.receive(Some(&lab.tenant.sign(body.as_bytes())), body.as_bytes()).await.unwrap_err();
        assert!(matches!(refused, Refused::Malformed(_)) && refused.to_string().contains(part), "{body}: {refused}");
    }
    let unknown = with(&|message| (message["tenantid"], message["extensions"]["tenantId"]) = (json!("x"), json!("x")));
    let refused = lab.events.accept_handed_over(unknown.as_bytes()).await.unwrap_err();
    assert!(matches!(&refused, Refused::Tenant(id) if id == "x"), "{refused:?}");
}

#[tokio::test]
async fn an_event_without_a_reload_is_known_by_its_own_id_and_one_without_both_is_none() {
    let lab = lab().await;
    let mut message = failure(&lab.tenant.fail_reload("Orders"));
    message["data"].as_object_mut().unwrap().remove("reloadId");
    assert!(matches!(lab.receive(&message).await, Ok(HandedOver::Accepted(_))));
    assert!(matches!(lab.receive(&message).await, Ok(HandedOver::Duplicate(_))));
    (message["id"], message["eventId"]) = (json!("another"), json!("another"));
    assert!(matches!(lab.receive(&message).await, Ok(HandedOver::Accepted(_))));
    (message["id"], message["eventId"]) = (json!(null), json!(null));
    assert!(matches!(lab.receive(&message).await, Err(Refused::Malformed(Malformed::Lacks(_)))));
}

/// JSON that is nearly an event.
fn nearly() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        Just(json!("error")),
        Just(json!(APP)),
        Just(json!("2025-03-09T14:05:07Z")),
        Just(json!("com.qlik.v1.app.reload.finished")),
        Just(json!("com.qlik.v1.reload.finished")),
    ];
    let names = [
        "type",
        "eventType",
        "time",
        "eventTime",
        "id",
        "eventId",
        "data",
        "extensions",
        "tenantid",
        "tenantId",
        "status",
        "reloadId",
        "size",
        "memory",
        "errors",
        "duration",
        "rowLimit",
        "toplevelresourceid",
        "topLevelResourceId",
        "userid",
    ];
    leaf.prop_recursive(4, 60, 12, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(prop::sample::select(names.to_vec()), inner, 0..12)
                .prop_map(|map| map.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

const APP: &str = "3f6d2c1a-1111-4222-8333-944445555666";

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = (message::tenant_of(&bytes), message::read(&bytes));
    }

    #[test]
    fn nothing_that_is_nearly_an_event_panics(mut json in nearly(), kind in 0_usize..3) {
        if let Value::Object(message) = &mut json {
            let kinds = ["com.qlik.v1.app.reload.finished", "com.qlik.v1.reload.finished"];
            if let Some(kind) = kinds.get(kind) {
                message.insert("type".to_owned(), json!(kind));
                if let Some(Value::Object(data)) = message.get_mut("data") {
                    data.insert("status".to_owned(), json!("error"));
                }
            }
        }
        let body = json.to_string();
        let _ = message::tenant_of(body.as_bytes());
        if let Ok(Message { about: About::Failure(failure), .. }) = message::read(body.as_bytes()) {
            prop_assert!(!failure.identity.is_empty() && !failure.identity.chars().any(char::is_control));
        }
    }
}

#[tokio::test]
async fn a_long_message_of_a_stranger_is_not_said_again() {
    let lab = lab().await;
    let body = format!(r#"{{"extensions":"{}"}}"#, "x".repeat(1 << 19));
    let (outcome, said, refused) = lab.events.receive_at(Some("00"), body.as_bytes(), now_ms()).await.unwrap_err();
    assert_eq!(outcome, Outcome::Malformed);
    assert!(said.len() < 500 && refused.to_string().len() < 500, "{} {}", said.len(), refused.to_string().len());
}
