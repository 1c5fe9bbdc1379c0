//! Plugins from outside of the workspace, built by two compilers, in one host; and one built against a frozen copy of the
//! plugin API. `tests/third-party/build.sh` builds them.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use e2e::{
    Butler, Compiler, Sink, WirePeer, compiler_of, failure, fields, http, provide_stranger, run, stranger_file,
    wait_for,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The compilers of ticker and wire in one daemon: each plugin comes from both, and no two in one daemon from the same.
type Pair = (Compiler, Compiler);
const ONE_WAY: Pair = (Compiler::Workspace, Compiler::Debian);
const OTHER_WAY: Pair = (Compiler::Debian, Compiler::Workspace);

/// Where the strangers' deliveries and events go.
struct Outside {
    peer: WirePeer,
    sink: Sink,
}

impl Outside {
    async fn new() -> Self {
        Self { peer: WirePeer::start().await, sink: Sink::start().await }
    }

    /// Ticker and wire, and a webhook that tells what they emit.
    async fn butler(&self, pair: Pair, more: &str) -> Butler {
        let folder = Arc::new(TempDir::new().unwrap());
        provide_stranger(folder.path(), "ticker", pair.0);
        provide_stranger(folder.path(), "wire", pair.1);
        let config = format!(
            "{more}\nplugins:\n  - use: ticker\n    settings: {{ everyMs: 5, storeEvery: 50 }}\n  - use: wire\n    \
             on: [{{ events: [\"reload-task.*\"] }}]\n    retry: {{ initial: 50ms, max: 200ms }}\n    \
             settings: {{ address: \"{}\" }}\n  - use: webhook\n    on: [{{ events: [\"ticker.*\", \"wire.*\"] }}]\n    \
             settings: {{ url: {}, format: event }}\n",
            self.peer.address(),
            self.sink.url("/")
        );
        let butler = Butler::start_in(folder, &config, &[]).await;
        wait_running(&butler).await;
        butler
    }

    /// Events of a kind at the sink: the id of the event for each value of a field. One event may be told twice after a
    /// kill, two events with the same value may not be.
    fn told(&self, kind: &str, field: &str) -> BTreeMap<String, String> {
        let mut told = BTreeMap::new();
        for event in self.sink.successes().iter().map(e2e::Received::json).filter(|event| event["kind"] == kind) {
            let (value, id) = (event["data"][field].to_string(), event["id"].as_str().unwrap().to_owned());
            let before = told.insert(value.clone(), id.clone());
            assert!(before.is_none_or(|before| before == id), "{kind} with {field} {value} was emitted twice");
        }
        told
    }
}

async fn wait_running(butler: &Butler) {
    wait_for(&format!("all instances to run:\n{}", butler.log()), || async {
        let (_, answer) = butler.get("/v5/plugins").await;
        let plugins = answer["plugins"].as_array()?;
        plugins.iter().all(|plugin| plugin["condition"]["state"] == "running").then_some(())
    })
    .await;
}

/// Ids of the wire's deliveries in a state.
async fn wire_deliveries(butler: &Butler, state: &str) -> BTreeSet<String> {
    let deliveries = butler.deliveries(&format!("instance=wire&state={state}&limit=500")).await;
    deliveries.iter().map(|delivery| delivery["id"].as_str().unwrap().to_owned()).collect()
}

/// Sends so many failures, each of a task of its own.
fn send_failures(butler: &Butler, count: usize) {
    let messages: Vec<String> = (0..count).map(|_| failure(&fields())).collect();
    butler.send(&messages);
}

/// Makes a token; the token and its entry in the config.
fn token(name: &str, scopes: &str) -> (String, String) {
    let output = run(&["token", "new", "--name", name, "--scopes", scopes]);
    let secret = output.stdout.split("Bearer ").nth(1).and_then(|rest| rest.split('`').next()).expect("a token");
    let (_, entry) = output.stdout.split_once("tokens:\n").expect("an entry for the config");
    (secret.to_owned(), entry.to_owned())
}

#[test]
fn the_strangers_are_of_two_compilers() {
    for plugin in ["ticker", "wire"] {
        let [ours, debians] = [Compiler::Workspace, Compiler::Debian].map(|who| stranger_file(plugin, who));
        let (ours, debians) = (compiler_of(&ours), compiler_of(&debians));
        assert_ne!(ours, debians, "both builds of {plugin} are by the same compiler: run tests/third-party/build.sh");
        assert_eq!(ours, compiler_of(&e2e::butler_exe()), "{plugin} was to be built by the compiler of the host");
    }
}

async fn endpoint_demands_its_scope(pair: Pair) {
    let outside = Outside::new().await;
    let (reader, reader_entry) = token("reader", "read");
    let (scheduler, scheduler_entry) = token("timer", "scheduler,read");
    let rest = format!("rest:\n  listen: 127.0.0.1:0\n  tokens:\n{reader_entry}{scheduler_entry}\n");
    let butler = outside.butler(pair, &rest).await;
    let call = async |token: Option<&str>, method: &str| {
        let path = if method == "GET" { "/v5/ticker" } else { "/v5/ticker/ticks" };
        let method = method.parse().unwrap();
        let mut request = http().request(method, format!("{}{path}", butler.rest()));
        request = request.header("content-type", "application/json").body(json!({ "count": 3 }).to_string());
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.expect("the daemon answers");
        let status = answer.status().as_u16();
        (status, serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap_or_default())
    };
    assert_eq!(call(Some(&reader), "GET").await, (200, json!({ "position": 0, "target": 0 })));
    let (status, body) = call(Some(&reader), "POST").await;
    assert_eq!(status, 403, "{body}");
    assert!(body.to_string().contains("scheduler"), "the missing scope is named: {body}");
    assert_eq!(call(None, "POST").await.0, 401);
    assert_eq!(call(Some(&scheduler), "POST").await.0, 202);
    wait_for("three ticks", || async {
        (call(Some(&reader), "GET").await.1 == json!({ "position": 3, "target": 3 })).then_some(())
    })
    .await;
    wait_for("three events", || async { (outside.told("ticker.tick", "tick").len() == 3).then_some(()) }).await;
}

async fn ticks_arrive_once_over_kills(pair: Pair) {
    const TICKS: u64 = 250;
    let outside = Outside::new().await;
    let mut butler = outside.butler(pair, "").await;
    assert_eq!(butler.post("/v5/ticker/ticks", &json!({ "count": TICKS })).await.0, 202);
    let mut repeated = 0;
    for kills in 1..=3 {
        // Not near a multiple of fifty: there the position is stored.
        wait_for("some ticks", || async {
            let position = butler.get("/v5/ticker").await.1["position"].as_u64()?;
            (position > kills * 50 && (10..40).contains(&(position % 50))).then_some(())
        })
        .await;
        butler = butler.kill_and_start().await;
        wait_running(&butler).await;
        wait_for("the ticker to go on", || async { butler.log().contains("the ticker starts").then_some(()) }).await;
        wait_for("a tick after the restart", || async {
            let position = butler.get("/v5/ticker").await.1["position"].as_u64()?;
            (position > kills * 50 + 20).then_some(())
        })
        .await;
        assert!(!butler.log().contains("position=0 "), "it goes on, not from the start:\n{}", butler.log());
        repeated += butler.log().matches("this tick was emitted before").count();
    }
    wait_for("all ticks", || async { (outside.told("ticker.tick", "tick").len() as u64 == TICKS).then_some(()) }).await;
    let expected: BTreeSet<String> = (1..=TICKS).map(|tick| tick.to_string()).collect();
    assert_eq!(outside.told("ticker.tick", "tick").into_keys().collect::<BTreeSet<_>>(), expected);
    let (_, page) = butler.get("/v5/events?kind=ticker.tick&limit=500").await;
    assert_eq!(
        page["events"].as_array().map(|events| events.len() as u64),
        Some(TICKS),
        "no event that was not told, none twice"
    );
    assert!(repeated > 0, "no kill came between an event and the stored position");
}

async fn hundred_in_flight_are_delivered_when_acknowledged(pair: Pair) {
    let outside = Outside::new().await;
    let butler = outside.butler(pair, "").await;
    send_failures(&butler, 100);
    let flying = outside.peer.wait(1, 100).await;
    assert_eq!(flying.len(), 100);
    assert_eq!(outside.peer.events().len(), 100, "each once");
    // All are with the peer, none is acknowledged.
    assert_eq!(wire_deliveries(&butler, "leased").await, flying);
    assert_eq!(wire_deliveries(&butler, "delivered").await.len(), 0);
    // Every third, the last first.
    let some: BTreeSet<String> = flying.iter().step_by(3).cloned().collect();
    for id in some.iter().rev() {
        outside.peer.say(&format!("ACK {id}"));
    }
    wait_for("what was acknowledged to be delivered", || async {
        (wire_deliveries(&butler, "delivered").await.len() >= some.len()).then_some(())
    })
    .await;
    assert_eq!(wire_deliveries(&butler, "delivered").await, some);
    let mut rest = flying.difference(&some);
    let refused = rest.next().unwrap();
    outside.peer.say(&format!("REFUSE {refused} not this one"));
    let dead = butler.wait_delivery("dead", "wire").await;
    assert_eq!((dead["id"].as_str(), dead["error"].as_str()), (Some(refused.as_str()), Some("not this one")), "{dead}");
    for id in rest {
        outside.peer.say(&format!("ACK {id}"));
    }
    wait_for("all the others", || async { (wire_deliveries(&butler, "delivered").await.len() == 99).then_some(()) })
        .await;
    assert_eq!(outside.peer.events().len(), 100, "nothing was sent again");
}

async fn what_was_not_acknowledged_comes_again(pair: Pair) {
    let outside = Outside::new().await;
    let butler = outside.butler(pair, "").await;
    send_failures(&butler, 100);
    let flying = outside.peer.wait(1, 100).await;
    let half: BTreeSet<String> = flying.iter().step_by(2).cloned().collect();
    for id in &half {
        outside.peer.say(&format!("ACK {id}"));
    }
    wait_for("half of them", || async { (wire_deliveries(&butler, "delivered").await.len() == 50).then_some(()) })
        .await;
    outside.peer.hang_up();
    // The plugin connects again, and the others come by the new connection.
    let again = outside.peer.wait(2, 50).await;
    let others: BTreeSet<String> = flying.difference(&half).cloned().collect();
    assert_eq!(again, others, "those without an acknowledgement, and no other");
    let open = butler.deliveries("instance=wire&state=leased&limit=500").await;
    assert!(open.iter().all(|delivery| delivery["attempt"].as_u64() >= Some(2)), "{open:?}");
    let error = open[0]["error"].as_str().unwrap_or_default();
    assert!(error.contains("the connection broke before the peer acknowledged"), "{open:?}");
    outside.peer.acknowledge_all();
    wait_for("all", || async { (wire_deliveries(&butler, "delivered").await == flying).then_some(()) }).await;
    let late: Vec<_> = outside.peer.events().into_iter().filter(|event| event.connection > 1).collect();
    assert!(late.iter().all(|event| !half.contains(&event.delivery)), "one that was acknowledged came again");
}

async fn what_the_peer_says_becomes_events(pair: Pair) {
    let outside = Outside::new().await;
    let butler = outside.butler(pair, "").await;
    wait_for("a connection", || async { butler.log().contains("connected").then_some(()) }).await;
    // While deliveries are in flight, and one of the messages twice.
    send_failures(&butler, 10);
    outside.peer.wait(1, 10).await;
    for id in (0..50).chain([7]) {
        outside.peer.say(&format!("SAY m{id} message {id}"));
    }
    wait_for("the plugin to have heard all", || async { (outside.peer.heard().len() == 50).then_some(()) }).await;
    // Heard means stored: a kill right now loses none.
    let butler = butler.kill_and_start().await;
    wait_for("all messages", || async { (outside.told("wire.said", "message").len() == 50).then_some(()) }).await;
    let (_, page) = butler.get("/v5/events?kind=wire.said&limit=500").await;
    assert_eq!(page["events"].as_array().map(Vec::len), Some(50), "one event for each message");
    assert_eq!(page["events"][0]["source"], "instance:wire", "{}", page["events"][0]);
    outside.peer.wait(2, 10).await;
    outside.peer.acknowledge_all();
    wait_for("the deliveries", || async { (wire_deliveries(&butler, "delivered").await.len() == 10).then_some(()) })
        .await;
    let (status, log) = butler.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
}

/// Each test with both pairs.
macro_rules! both_ways {
    ($($test:ident),+ $(,)?) => {
        mod ticker_by_workspace_and_wire_by_debian {
            $(#[tokio::test] async fn $test() { super::$test(super::ONE_WAY).await; })+
        }
        mod ticker_by_debian_and_wire_by_workspace {
            $(#[tokio::test] async fn $test() { super::$test(super::OTHER_WAY).await; })+
        }
    };
}

both_ways!(
    endpoint_demands_its_scope,
    ticks_arrive_once_over_kills,
    hundred_in_flight_are_delivered_when_acknowledged,
    what_was_not_acknowledged_comes_again,
    what_the_peer_says_becomes_events,
);

#[tokio::test]
async fn a_plugin_built_against_the_frozen_api_works() {
    let (reports, seen) = (Sink::start().await, Sink::start().await);
    let folder = Arc::new(TempDir::new().unwrap());
    provide_stranger(folder.path(), "heirloom", Compiler::Debian);
    let config = format!(
        "plugins:\n  - use: heirloom\n    retry: {{ initial: 50ms, max: 200ms }}\n    settings: {{ url: {} }}\n  \
         - use: webhook\n    on: [{{ events: [\"heirloom.*\"] }}]\n    settings: {{ url: {}, format: event }}\n",
        reports.url("/"),
        seen.url("/")
    );
    let butler = Butler::start_in(folder, &config, &[]).await;
    wait_running(&butler).await;
    send_failures(&butler, 1);
    let report = reports.wait(1).await[0].json();
    assert_eq!((&report["kind"], &report["progress"]), (&json!("reload-task.failed"), &json!({ "step": 1 })));
    assert_eq!(seen.wait(1).await[0].json()["data"]["message"], report["event"]);
    butler.wait_delivery("delivered", "heirloom").await;
    assert_eq!(butler.get("/v5/heirloom/x%20y").await, (200, json!({ "what": "x y", "count": 1 })));
    assert!(butler.log().contains("the heirloom starts"), "{}", butler.log());
    // The sinks of this test are asked as well.
    let config = butler.config().to_str().unwrap().to_owned();
    let check = tokio::task::spawn_blocking(move || run(&["check", "-c", &config])).await.unwrap();
    assert!(check.stdout.contains("the heirloom is whole"), "{check:?}");

    let butler = butler.kill_and_start().await;
    send_failures(&butler, 1);
    seen.wait(2).await;
    wait_for("the second delivery in storage", || async {
        (butler.get("/v5/heirloom/x").await.1["count"] == 2).then_some(())
    })
    .await;
    let (_, plugins) = butler.get("/v5/plugins").await;
    let heirloom = plugins["plugins"].as_array().unwrap().iter().find(|plugin| plugin["name"] == "heirloom").unwrap();
    assert_eq!(heirloom["version"], "1.2.3", "{heirloom}");
}
