//! Calls of the host from a plugin's own threads, also after the stop of its instance; leaked memory and leaked threads.

use e2e::{Butler, Sink, resident, wait_for};
use serde_json::Value;

use super::{assert_served, assert_stops, config, end_of, rogue, start, wait_log, wait_state};

#[tokio::test]
async fn a_thread_may_call_the_host_and_is_refused_after_the_stop() {
    let healthy = Sink::start().await;
    let butler = start(&[rogue("calls", "fault: callHost")], &healthy, &[]).await;
    wait_state(&butler, "calls", "running").await;
    let series = "butler_plugin_rogue_calls_total{instance=\"calls\"}";
    wait_for("calls from the thread", || async { butler.metric(series).await.filter(|calls| *calls >= 10.0) }).await;
    assert_served(&butler, &healthy).await;
    butler.wait_delivery("delivered", "calls").await;

    butler.rewrite(&config(&[], &healthy));
    let (status, done) = butler.post("/v5/reload", &Value::Null).await;
    assert_eq!((status, &done["stopped"][0]), (200, &"calls".into()), "{done}");
    wait_log(&butler, "after the stop: ").await;
    let log = butler.log();
    let line = log.lines().find(|line| line.contains("after the stop: ")).unwrap_or_default();
    // Storage, emit, an unknown service, HTTP.
    assert_eq!(line.matches("the instance has been stopped").count() + line.matches("Stopped").count(), 4, "{line}");
    let calls = butler.metric(series).await;
    assert_served(&butler, &healthy).await;
    assert_eq!(butler.metric(series).await, calls, "nothing is done for it any more");
    let log = assert_stops(butler).await;
    assert!(!log.contains("did not stop in time"), "its own threads hold up no stop:\n{}", end_of(&log));
}

#[tokio::test]
async fn leaks_are_told_and_do_not_hold_up_the_stop() {
    let healthy = Sink::start().await;
    let leaks = [rogue("memory", "fault: leakMemory"), rogue("threads", "fault: leakThreads")];
    let butler = start(&leaks, &healthy, &[]).await;
    for name in ["memory", "threads"] {
        wait_state(&butler, name, "running").await;
    }
    let told = async |butler: &Butler, series: &str| butler.metric(series).await.expect("the series is there");
    let (memory, threads) =
        (told(&butler, "butler_resident_memory_bytes").await, told(&butler, "butler_threads").await);
    assert!((10e6..200e6).contains(&memory) && (5.0..60.0).contains(&threads), "{memory} bytes, {threads} threads");
    assert_served(&butler, &healthy).await;
    for name in ["memory", "threads"] {
        butler.wait_metric(&format!("butler_deliveries_delivered_total{{instance=\"{name}\"}}"), 20.0).await;
    }
    let (more, others) = (told(&butler, "butler_resident_memory_bytes").await, told(&butler, "butler_threads").await);
    assert!(more - memory >= 19.0 * f64::from(20 << 20), "{memory} bytes became {more}");
    assert!(others - threads >= 400.0, "{threads} threads became {others}");
    #[allow(clippy::cast_precision_loss, reason = "a gigabyte is exact")]
    let seen = resident(butler.pid()) as f64;
    assert!((seen - more).abs() < 50e6, "the system says {seen}, the daemon {more}");
    assert_served(&butler, &healthy).await;
    assert_stops(butler).await;
}
