//! Instances that answer each other's events: the chain ends, whether they say what they answer or not, and a restart does
//! not begin it anew.

use butler_plugin_api::kind::matches;
use e2e::{Answer, Butler, Sink, failure, fields, wait_for};
use serde_json::Value;

use super::{assert_served, assert_stops, end_of, has_line, start, wait_state};

/// Two instances of a plugin that answer each other; a listener for what they emit.
fn entries(plugin: &str, url: &str, listener: &Sink) -> [String; 3] {
    let player = |name: &str, on: &str, emits: &str| {
        format!(
            "  - use: {plugin}\n    name: {name}\n    retry: {{ initial: 50ms, max: 200ms }}\n    \
             on: [{{ events: [{on}] }}]\n    settings: {{ emits: {emits}{url} }}\n"
        )
    };
    [
        player("ping", &format!("reload-task.failed, {plugin}.ping"), &format!("{plugin}.pong")),
        player("pong", &format!("{plugin}.pong"), &format!("{plugin}.ping")),
        format!(
            "  - use: webhook\n    name: listener\n    on: [{{ events: [\"{plugin}.p*ng\"] }}]\n    \
             settings: {{ format: event, url: {} }}\n",
            listener.url("/")
        ),
    ]
}

/// The depths of the events of the chain that are in the store, in order.
async fn depths(butler: &Butler) -> Vec<u64> {
    let (_, answer) = butler.get("/v5/events?limit=100").await;
    let events = answer["events"].as_array().cloned().unwrap_or_default();
    let of_chain = events.iter().filter(|event| event["kind"].as_str().is_some_and(|kind| matches("*.p*ng", kind)));
    let mut depths: Vec<u64> = of_chain.filter_map(|event| event["data"]["chainDepth"].as_u64()).collect();
    depths.sort_unstable();
    depths
}

async fn wait_cut(butler: &Butler) {
    let cut = async |name: &str| {
        butler.metric(&format!("butler_chains_cut_total{{instance=\"{name}\"}}")).await.unwrap_or_default()
    };
    wait_for(&format!("the chain to be cut; log:\n{}", end_of(&butler.log())), || async {
        (cut("ping").await + cut("pong").await >= 1.0).then_some(())
    })
    .await;
}

async fn assert_ended(butler: &Butler, listener: &Sink, chains: usize) {
    let all: Vec<u64> = (1..=9).flat_map(|depth| std::iter::repeat_n(depth, chains)).collect();
    wait_for("all events of the chain", || async { (depths(butler).await.len() >= all.len()).then_some(()) }).await;
    listener.wait(8 * chains).await;
    wait_for("nothing to be under way", || async {
        let open = butler.get("/v5/plugins").await.1["plugins"].as_array().cloned().unwrap_or_default();
        open.iter().all(|instance| instance["open"] == 0).then_some(())
    })
    .await;
    assert_eq!(depths(butler).await, all, "the ninth is kept, and leads to nothing");
    assert_eq!(listener.received().len(), 8 * chains, "the ninth goes to nobody");
    let told: Vec<Value> =
        listener.received().iter().map(|request| request.json()["data"]["chainDepth"].clone()).collect();
    assert!(told.iter().all(|depth| depth.as_u64() <= Some(8)), "{told:?}");
}

async fn play(plugin: &str) {
    let (healthy, listener) = (Sink::start().await, Sink::start().await);
    let butler = start(&entries(plugin, "", &listener), &healthy, &[]).await;
    for name in ["ping", "pong", "listener"] {
        wait_state(&butler, name, "running").await;
    }
    butler.send(&[failure(&fields())]);
    wait_cut(&butler).await;
    assert_ended(&butler, &listener, 1).await;
    let log = butler.log();
    let remedy = ["events of plugins lead to one another without end", "`on:`", "butler_chains_cut_total"];
    assert!(has_line(&log, &remedy), "{}", end_of(&log));
    assert_served(&butler, &healthy).await;
    wait_cut(&butler).await;
    let log = assert_stops(butler).await;
    let said = log.matches("lead to one another without end").count();
    assert!(said <= 2, "once for an instance: {said} times");
}

#[tokio::test]
async fn a_chain_of_events_ends() {
    play("relay").await;
}

#[tokio::test]
async fn a_chain_ends_too_where_nobody_says_what_led_to_an_event() {
    play("rogue").await;
}

#[tokio::test]
async fn a_chain_goes_on_where_it_was_after_a_restart() {
    let (healthy, listener, gate) = (Sink::start().await, Sink::start().await, Sink::start().await);
    // The relay posts, then emits: the fifth post is refused until the daemon has been killed.
    let mut posts = 0;
    gate.choose(move |_| {
        posts += 1;
        Answer::Status(if posts >= 5 { 503 } else { 200 })
    });
    let url = format!(", url: {}", gate.url("/"));
    let butler = start(&entries("relay", &url, &listener), &healthy, &[]).await;
    for name in ["ping", "pong", "listener"] {
        wait_state(&butler, name, "running").await;
    }
    butler.send(&[failure(&fields())]);
    listener.wait(4).await;
    wait_for("the refused post", || async { (gate.received().len() >= 5).then_some(()) }).await;
    let butler = butler.kill_and_start().await;
    assert_eq!(depths(&butler).await, [1, 2, 3, 4], "it is still under way");
    gate.choose(|_| Answer::Status(200));
    wait_cut(&butler).await;
    wait_for("the ninth event", || async { (depths(&butler).await.last() == Some(&9)).then_some(()) }).await;
    assert_eq!(depths(&butler).await, (1..=9).collect::<Vec<u64>>());
    assert_stops(butler).await;
}
