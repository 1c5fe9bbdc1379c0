//! Schedules of plugins.

use super::*;

#[tokio::test]
async fn schedules_of_plugins_go_on_over_restarts_and_hold_no_stop_up() {
    let sense = Sense::start().await;
    let config = |when: &str| format!("plugins:\n  - use: probe\n    settings: {{ when: {when} }}\n");
    let ticks = |butler: &Butler| {
        let get = butler.rest().to_owned();
        async move {
            let answer = http().get(format!("{get}/v5/events?kind=node.silent&limit=500")).send().await.unwrap();
            let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
            answer["events"].as_array().map_or(0, Vec::len)
        }
    };
    let butler = sense.butler(&config("{ every: 1s }")).await;
    wait_for("three ticks", || async { (ticks(&butler).await >= 3).then_some(()) }).await;
    let (status, _) = butler.stop().await;
    assert_eq!(status.code(), Some(0));
    let butler = sense.butler(&config("{ every: 1d }")).await;
    let before = ticks(&butler).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(ticks(&butler).await, before, "an interval of a day began anew");
    // Waiting takes no place of other calls, and holds no stop up.
    let begun = std::time::Instant::now();
    let (status, log) = butler.stop().await;
    assert!(status.code() == Some(0) && begun.elapsed() < Duration::from_secs(8), "{:?}\n{log}", begun.elapsed());
    assert!(!log.contains("did not stop in time"), "{log}");
}

#[tokio::test]
async fn a_plugin_whose_schedule_cannot_be_read_refuses_its_settings() {
    let place = e2e::place::Place::new();
    let output = place.start(&format!(
        "{}plugins:\n  - use: probe\n    settings: {{ when: {{ cron: \"0 25 * * *\", timeZone: Europe/Oslo }} }}\n",
        e2e::place::PRIVATE
    ));
    assert_eq!(output.code, 2, "{output:?}");
    assert!(output.stderr.contains("`cron` `0 25 * * *`: column 3 (hour)"), "{output:?}");
}
