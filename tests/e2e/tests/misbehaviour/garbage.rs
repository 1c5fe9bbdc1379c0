//! Answers that make no sense: of the wrong number, of the wrong form, no JSON at all, without end.

use e2e::place::Place;
use e2e::{Sink, http, run};

use super::{assert_served, assert_stops, entry, instance, rogue, start, wait_error, wait_state};

const DELIVERED: &str = r#"{ "outcome": "delivered" }"#;

#[tokio::test]
async fn outcomes_that_make_no_sense_are_failed_attempts() {
    let healthy = Sink::start().await;
    let two = format!("[{DELIVERED}, {DELIVERED}]");
    let cases = [
        ("empty", "", "the plugin's outcomes cannot be read: "),
        ("no-json", "so it is", "the plugin's outcomes cannot be read: "),
        ("object", "{}", "the plugin's outcomes cannot be read: "),
        ("none", "[]", "the plugin answered 1 deliveries with 0 outcomes"),
        ("two", &two, "the plugin answered 1 deliveries with 2 outcomes"),
        ("unknown", r#"[{ "outcome": "perhaps" }]"#, "unknown variant `perhaps`"),
        ("no-message", r#"[{ "outcome": "retry" }]"#, "missing field `message`"),
        (
            "negative",
            r#"[{ "outcome": "retry", "message": "m", "afterMs": -1 }]"#,
            "the plugin's outcomes cannot be read: ",
        ),
        ("deep", "[[[[HUGE", "the plugin's outcomes cannot be read: "),
        ("endless", r#"[{ "outcome": "retry", "message": "HUGE" }]"#, "xxxxxxxx"),
        ("late", r#"[{ "outcome": "retry", "message": "come back", "afterMs": 18446744073709551615 }]"#, "come back"),
    ];
    let mut entries: Vec<String> =
        cases.iter().map(|(name, answer, _)| entry("garbage", name, &format!("deliver: '{answer}'"))).collect();
    entries.push(entry("garbage", "error", "deliverError: HUGE"));
    entries.push(entry("garbage", "start", "startError: no JSON but HUGE"));
    entries.push(rogue("miscount", "fault: miscount"));
    let butler = start(&entries, &healthy, &[]).await;
    for (name, ..) in cases {
        wait_state(&butler, name, "running").await;
    }
    assert_served(&butler, &healthy).await;
    for (name, _, error) in cases {
        let told = wait_error(&butler, name, error).await;
        assert!(told.len() < 10_000, "{name}: {} bytes", told.len());
        assert_eq!(butler.deliveries(&format!("instance={name}&state=dead")).await.len(), 0, "{name} is tried again");
    }
    wait_error(&butler, "error", "xxxxxxxx").await;
    for endless in ["endless", "error"] {
        let last = instance(&butler, endless).await["lastError"].to_string();
        assert!(last.ends_with("xxx… (1048576 bytes, cut)\"") && last.len() < 10_000, "{last}");
    }
    wait_error(&butler, "miscount", "answered 1 deliveries with 2 results").await;
    let refused = wait_state(&butler, "start", "unavailable").await;
    let message = refused["condition"]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("no JSON but xxx") && message.len() < 10_000, "{} bytes", message.len());
    assert_served(&butler, &healthy).await;
    let log = assert_stops(butler).await;
    assert!(log.len() < 20 << 20, "the log has {} bytes", log.len());
}

#[test]
fn manifests_that_make_no_sense_are_refused() {
    let cases = [
        ("so it is", "gives no usable manifest: expected value"),
        ("[]", "gives no usable manifest: "),
        (r#"{ "name": "garbage" }"#, "missing field `description`"),
        (r#"{ "name": "other", "description": "" }"#, "holds the plugin `other`, its file name says `garbage`"),
        (r#"{ "name": "garbage", "description": "HUGEHUGEHUGEHUGEHUGE" }"#, "gives no usable manifest: 52429"),
        (r#"{ "name": "garbage", "description": "", "batch": { "max": 0 } }"#, "batches of 0"),
        (r#"{ "name": "garbage", "description": "", "concurrency": 4294967295 }"#, "concurrency of 4294967295"),
        (r#"{ "name": "garbage", "description": "", "deadlineSeconds": 4294967295 }"#, "deadline of 4294967295 s"),
        (r#"{ "name": "garbage", "description": "", "emits": ["node.moved"] }"#, "has `node.moved` among `emits`"),
        (
            r#"{ "name": "garbage", "description": "", "endpoints": [{ "method": "GET", "path": "/v5/x", "scope": "read" }] }"#,
            "`GET /v5/x` is out of place",
        ),
        (r#"{ "name": "garbage", "description": "", "settingsSchema": { "type": 7 } }"#, "schema"),
    ];
    for (manifest, reason) in cases {
        let place = Place::new();
        let config = format!("{}plugins:\n  - use: garbage\n", e2e::place::PRIVATE);
        let output = place.start_with(&config, &[("BUTLER_E2E_MANIFEST", manifest)]);
        assert_eq!(output.code, 2, "{manifest}: {output:?}");
        assert!(output.stderr.contains(reason) && output.stderr.len() < 10_000, "{manifest}: {output:?}");
        place.untouched();
    }
}

#[tokio::test]
async fn answers_of_endpoints_and_operations_that_make_no_sense_are_errors() {
    let healthy = Sink::start().await;
    let mut served = Vec::new();
    for (settings, status) in [
        ("status: 7", 502),
        ("status: 101", 502),
        ("status: 999, header: \"a\\nb\", options: '[[['", 999),
        ("body: ENDLESS", 502),
        ("body: HUGE, options: HUGE", 200),
    ] {
        let entries = [entry("garbage", "garbage", &format!("{settings}, deliver: '[{DELIVERED}]'"))];
        let butler = start(&entries, &healthy, &[("BUTLER_E2E_ENDPOINT", "1")]).await;
        wait_state(&butler, "garbage", "running").await;
        let request = http().get(format!("{}/v5/garbage", butler.rest())).bearer_auth(butler.token());
        let answer = request.send().await.expect("the daemon answers");
        assert_eq!(answer.status().as_u16(), status, "{settings}");
        assert!(answer.headers().get("x-told").is_none_or(|header| !header.as_bytes().contains(&b'\n')));
        served.push(answer.bytes().await.expect("the daemon answers whole").len());
        assert_served(&butler, &healthy).await;
        assert_stops(butler).await;
        healthy.forget();
    }
    assert_eq!(served[4], (1 << 20) + 2, "what is large but not endless is answered");

    let folder = tempfile::tempdir().expect("a folder can be made");
    for (settings, told) in [
        ("invoke: so it is", "expected value"),
        ("invokeError: so it is", "so it is"),
        ("invokeError: HUGE", "(1048576 bytes, cut)"),
        ("invoke: '\"HUGE\"'", "at most 1048576 are taken"),
    ] {
        let path = e2e::Butler::prepare(&folder, &super::config(&[entry("garbage", "garbage", settings)], &healthy));
        let file = path.to_str().expect("paths of tests are UTF-8").to_owned();
        let output = tokio::task::spawn_blocking(move || run(&["check", "-c", &file]));
        let output = output.await.expect("the command can be run");
        assert_eq!(output.code, 1, "{settings}: {output:?}");
        let text = output.stdout + &output.stderr;
        assert!(text.contains(told) && text.len() < 20_000, "{settings}: {} bytes, {text:.2000}", text.len());
    }
}
