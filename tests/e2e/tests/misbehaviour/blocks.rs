//! Instances that block their thread, keep it busy, or never end what they began.

use std::time::{Duration, Instant};

use e2e::place::Place;
use e2e::{Sink, failure, fields, wait_for};

use super::{
    assert_served, assert_stops, end_of, entry, has_line, instance, rogue, start, wait_error, wait_log, wait_state,
};

const GIVEN_UP: &str = "did not stop in time and is abandoned";

#[tokio::test]
async fn whatever_blocks_for_ever_holds_up_nobody_else_and_not_the_stop() {
    let healthy = Sink::start().await;
    let blocking = ["batch", "future", "task", "stop", "drop"];
    let mut entries = blocking.map(|place| rogue(place, &format!("fault: block, at: {place}"))).to_vec();
    entries.push(rogue("hangs-in-start", "fault: hang, at: start"));
    entries.push(rogue("hangs-in-stop", "fault: hang, at: stop"));
    entries.push(rogue("blocks-in-start", "fault: block, at: start"));
    entries.push(entry("garbage", "blocks-in-call", "block: true, deliver: '[{ \"outcome\": \"delivered\" }]'"));
    let butler = start(&entries, &healthy, &[("BUTLER_E2E_ENDPOINT", "1")]).await;
    wait_state(&butler, "blocks-in-call", "running").await;
    // Nobody waits for its answer; what comes after it finds the thread blocked.
    let call = butler.get("/v5/garbage");
    assert!(tokio::time::timeout(Duration::from_millis(500), call).await.is_err(), "it does not answer");
    for _ in 0..2 {
        assert_served(&butler, &healthy).await;
    }
    for stuck in ["batch", "future", "task", "blocks-in-call"] {
        wait_state(&butler, stuck, "stuck").await;
        let named = format!("instance=\"{stuck}\"");
        wait_for(&format!("the log to name {stuck}"), || async {
            has_line(&butler.log(), &[&named, "blocks its thread"]).then_some(())
        })
        .await;
    }
    let (status, answer) = butler.get("/v5/garbage").await;
    assert_eq!(status, 503, "at once: {answer}");
    assert_served(&butler, &healthy).await;
    for well in ["stop", "drop", "hangs-in-stop"] {
        butler.wait_delivery("delivered", well).await;
    }
    let (status, ready) = butler.get("/v5/health/ready").await;
    assert_eq!(status, 200, "{ready}");
    let log = assert_stops(butler).await;
    for name in ["batch", "future", "task", "stop", "drop", "hangs-in-stop", "blocks-in-call"] {
        assert!(has_line(&log, &[&format!("\"{name}\""), GIVEN_UP]), "{name} is not named:\n{}", end_of(&log));
    }
}

#[tokio::test]
async fn whoever_keeps_the_processor_busy_harms_only_itself() {
    let healthy = Sink::start().await;
    let spinning = ["deliver", "task"].map(|place| rogue(place, &format!("fault: spin, at: {place}")));
    let butler = start(&spinning, &healthy, &[]).await;
    let began = Instant::now();
    for _ in 0..3 {
        assert_served(&butler, &healthy).await;
    }
    for place in ["deliver", "task"] {
        wait_state(&butler, place, "stuck").await;
        wait_error(&butler, place, "no outcome within 2 s").await;
    }
    assert!(began.elapsed() < Duration::from_secs(25), "a delivery finds it out, not the health half a minute later");
    assert_served(&butler, &healthy).await;
    assert_stops(butler).await;
}

#[test]
fn a_plugin_that_blocks_in_its_manifest_is_refused() {
    let place = Place::new();
    let config = format!("{}plugins:\n  - use: rogue\n", e2e::place::PRIVATE);
    let output = place.start_with(&config, &[("BUTLER_E2E_MANIFEST", "block")]);
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains("`manifest` did not return within 10 s"), "{output:?}");
    place.untouched();
}

/// Half a minute passes before a start is given up and before a health is asked for.
#[tokio::test]
async fn a_start_that_blocks_and_a_health_that_blocks_panics_or_makes_no_sense_are_told() {
    let healthy = Sink::start().await;
    let butler = start(
        &[
            rogue("start", "fault: block, at: start"),
            rogue("blocks", "fault: block, at: health"),
            rogue("panics", "fault: panic, at: health"),
            rogue("tells", "secret: 'a ${env:BUTLER_E2E_SECRET}'"),
            entry(
                "garbage",
                "makes-no-sense",
                "health: '{\"state\": HUGE', deliver: '[{ \"outcome\": \"delivered\" }]'",
            ),
        ],
        &healthy,
        &[("BUTLER_E2E_SECRET", "k9#Vq/7w")],
    )
    .await;
    for name in ["blocks", "panics"] {
        wait_state(&butler, name, "running").await;
    }
    assert_served(&butler, &healthy).await;
    let told = async |name: &str, state: &str, message: &str| {
        wait_for(&format!("the health of {name}; log:\n{}", end_of(&butler.log())), || async {
            let health = instance(&butler, name).await["health"].clone();
            let fits =
                health["state"] == state && health["message"].as_str().is_some_and(|text| text.contains(message));
            fits.then_some(())
        })
        .await;
    };
    told("panics", "bad", "panicked: the rogue was told to panic at Health").await;
    told("makes-no-sense", "bad", "the plugin's health cannot be read").await;
    told("tells", "degraded", "a [redacted]").await;
    // The health has its own, longer deadline: a delivery is found out earlier.
    butler.send(&[failure(&fields())]);
    wait_state(&butler, "blocks", "stuck").await;
    let start = wait_state(&butler, "start", "unavailable").await;
    assert_eq!(start["condition"]["message"], "it did not start within 30 s", "{start}");
    assert_eq!(start["abandonedThreads"], 1, "{start}");
    let series = "butler_instance_abandoned_threads{instance=\"start\"}";
    assert_eq!(butler.metric(series).await, Some(1.0));
    wait_log(&butler, "the plugin blocks its thread, which is given up").await;
    assert_served(&butler, &healthy).await;
    assert_stops(butler).await;
}
