//! An ordered instance: for one task, what came later never arrives before what came earlier, however often deliveries
//! fail, however many are under way, and over a kill.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use e2e::{Answer, Butler, Fields, Killed, Sink, datagram, fields, sqlite_of_dead, wait_for};

const TASKS: usize = 50;
/// Runs of each task; they fail and succeed in turn.
const RUNS: usize = 24;
const RETRIES: usize = 1_000;

/// A plain generator: its seed is told, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = RandomState::new().hash_one(0) | 1;
        eprintln!("seed: {seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// What the destination says: somewhat less than half of the answers are good ones.
    fn answer(&mut self) -> Answer {
        let delay = Duration::from_millis(self.below(25));
        match self.below(100) {
            0..30 => Answer::Status(200),
            30..45 => Answer::After(delay, 200),
            45..70 => Answer::Status(503),
            70..85 => Answer::After(delay, 500),
            85..92 => Answer::Status(404),
            92..97 => Answer::RetryAfter(429, 0),
            97..98 => Answer::RetryAfter(503, 1),
            98..99 => Answer::After(Duration::from_millis(290) + delay, 200),
            _ => Answer::Hang,
        }
    }
}

fn id_of(request: &e2e::Received) -> (String, String) {
    let data = &request.json()["event"]["data"];
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    (text(&data["task"]["id"]), text(&data["execution"]["id"]))
}

/// So many attempts that did not succeed, as far as the destination knows.
fn failures(sink: &Sink) -> usize {
    sink.received().len() - sink.successes().len()
}

/// How many deliveries a killed daemon had handed out or was about to.
fn under_way(killed: &Killed) -> usize {
    let store = killed.folder().join("butler.db");
    let count = sqlite_of_dead(&store, "SELECT count(*) FROM deliveries WHERE state = 1;");
    count.parse().expect("sqlite3 prints a number")
}

#[tokio::test]
async fn a_success_never_overtakes_the_failure_before_it_over_a_thousand_retries_and_two_kills() {
    let sink = Sink::start().await;
    let mut random = Random::new();
    sink.choose(move |_| random.answer());
    let mut butler = Butler::start(&format!(
        "plugins:\n  - use: relay\n    retry: {{ initial: 10ms, max: 60ms }}\n    settings: {{ url: {} }}\n",
        sink.url("/")
    ))
    .await;
    let tasks: Vec<Fields> = (0..TASKS).map(|_| fields()).collect();
    let mut sent: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for run in 0..RUNS {
        let kind = if run.is_multiple_of(2) { "reload-task.failed" } else { "reload-task.succeeded" };
        let runs = tasks.iter().map(|task| Fields { execution_id: fields().execution_id, ..task.clone() });
        let runs: Vec<Fields> = runs.collect();
        butler.send(&runs.iter().map(|run| datagram(kind, run)).collect::<Vec<_>>());
        for run in runs {
            sent.entry(run.task_id).or_default().push(run.execution_id);
        }
        // No more at once than the socket's buffer holds.
        #[allow(clippy::cast_precision_loss, reason = "the number is small")]
        butler.wait_metric("butler_udp_processed_total", ((run + 1) * TASKS) as f64).await;
    }
    let mut twice = 0;
    for failed in [RETRIES / 4, RETRIES / 2] {
        wait_for("deliveries to fail", || async { (failures(&sink) >= failed).then_some(()) }).await;
        let killed = butler.kill();
        twice += under_way(&killed);
        butler = killed.start().await;
    }
    wait_for(&format!("all to be delivered; log:\n{}", butler.log()), || async {
        (butler.metric("butler_deliveries_open{instance=\"relay\"}").await == Some(0.0)).then_some(())
    })
    .await;
    assert_eq!(butler.metric("butler_deliveries_dead{instance=\"relay\"}").await, Some(0.0));
    let failures = failures(&sink);
    assert!(failures >= RETRIES, "only {failures} retries");

    let mut arrived: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for request in sink.successes() {
        let (task, run) = id_of(&request);
        arrived.entry(task).or_default().push(run);
    }
    let all: usize = arrived.values().map(Vec::len).sum();
    // What was under way at a kill is told again, before anything else of its task.
    arrived.values_mut().for_each(Vec::dedup);
    for (task, runs) in &sent {
        assert_eq!(arrived.get(task), Some(runs), "the order of task {task}");
    }
    assert_eq!(arrived.len(), TASKS);
    assert!(all <= TASKS * RUNS + twice, "{all} successes for {} events, {twice} under way at kills", TASKS * RUNS);
    let most = sink.most_at_once();
    assert!(most > 4, "at most {most} were under way at once");
}
