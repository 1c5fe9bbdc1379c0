//! Stores of earlier versions: opened, migrated, complete, also when the migration is killed.
//!
//! The stores are in `stores/`, and the README there says how they were made. The daemon's clock shows the time half an
//! hour after that, so that nothing is too old to be sent or kept.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::{Butler, Fields, Sink, Starting, WallClock, failure, fields, old_store, sqlite, sqlite_of_dead, wait_for};
use serde_json::{Value, json};
use tempfile::TempDir;

const WEBHOOKS: [&str; 7] = ["hook", "waiting", "refused", "throttled", "unknown", "hanging", "notices"];
const COUNTS: &str = "SELECT count(*) FROM events; SELECT count(*) FROM deliveries; SELECT count(*) FROM keys;
    SELECT count(*) || ' ' || sum(length(text)) FROM script_logs; SELECT count(*) FROM throttles; PRAGMA integrity_check;";

/// The instances of the store; what is sent shows by its path whose it is.
fn config(sink: &Sink, more: &[&str]) -> String {
    let mut text = format!(
        "plugins:\n  - use: teams\n    on: [{{ events: [reload-task.failed], where: {{ node: teams }} }}]\n    settings: {{ webhookUrl: {} }}\n  \
         - use: probe\n    on: [{{ events: [reload-task.failed], where: {{ node: probe }} }}]\n    settings: {{ fault: unavailable, url: {} }}\n  \
         - use: relay\n    name: ordered\n    on: [{{ events: [reload-task.failed], where: {{ node: ordered }} }}]\n    settings: {{ url: {} }}\n",
        sink.url("/teams"),
        sink.url("/probe"),
        sink.url("/ordered"),
    );
    for name in WEBHOOKS.iter().chain(more) {
        let (kind, throttle) = match *name {
            "notices" => ("delivery.dead".to_owned(), ""),
            "throttled" => ("reload-task.failed".to_owned(), ", throttle: { per: task, every: 12h }"),
            _ => ("\"*.failed\"".to_owned(), ""),
        };
        let node = if *name == "hook" { "sense1" } else { name };
        let condition = if *name == "notices" { String::new() } else { format!(", where: {{ node: {node} }}") };
        let _ = write!(
            text,
            "  - use: webhook\n    name: {name}\n    on: [{{ events: [{kind}]{condition}{throttle} }}]\n    settings: {{ url: {}, format: event }}\n",
            sink.url(&format!("/{name}"))
        );
    }
    text
}

/// A store of an earlier version.
struct Old {
    file: PathBuf,
    version: u32,
    said: Value,
}

impl Old {
    fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("stores");
        let files = std::fs::read_dir(folder).expect("the stores are there").flatten().map(|entry| entry.path());
        let mut stores: Vec<Self> = files
            .filter(|file| file.extension().is_some_and(|extension| extension == "db"))
            .map(|file| {
                let name = file.file_stem().and_then(|name| name.to_str()).expect("names of stores are plain");
                let version = name.trim_start_matches('v').parse().expect("stores are named by their version");
                assert_eq!(sqlite(&file, "PRAGMA user_version;"), format!("{version}"), "{}", file.display());
                let said = std::fs::read(file.with_extension("json")).expect("each store has its description");
                Self { said: serde_json::from_slice(&said).expect("the description is JSON"), version, file }
            })
            .collect();
        stores.sort_by_key(|store| store.version);
        assert_eq!(stores.first().map(|store| store.version), Some(1), "the oldest store is there");
        stores
    }

    /// A folder with a copy of it.
    fn copy(&self) -> Arc<TempDir> {
        let folder = Arc::new(TempDir::new().expect("a folder can be made"));
        std::fs::copy(&self.file, folder.path().join("butler.db")).expect("the store can be copied");
        folder
    }

    /// A clock that shows the time half an hour after it was made.
    fn clock(&self) -> WallClock {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970");
        let now = i64::try_from(now.as_secs()).expect("and long before the end of time");
        let clock = WallClock::right();
        clock.set(self.said["madeAt"].as_i64().expect("a time") / 1000 + 1800 - now);
        clock
    }

    fn events(&self) -> &[Value] {
        self.said["events"].as_array().expect("a list")
    }

    fn deliveries(&self) -> &[Value] {
        self.said["deliveries"].as_array().expect("a list")
    }

    /// The ids of its deliveries in one of these states.
    fn ids(&self, states: &[&str]) -> BTreeSet<&str> {
        let fits = |delivery: &&Value| states.contains(&text(&delivery["state"]));
        self.deliveries().iter().filter(fits).map(|delivery| text(&delivery["id"])).collect()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The backup that a migration has made.
fn backup(store: &Path, version: u32) -> Option<PathBuf> {
    let folder = std::fs::read_dir(store.parent().expect("the store is in a folder")).expect("the folder is there");
    let start = format!("butler.v{version}-");
    let mut backups = folder.flatten().map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).expect("names are plain");
        name.starts_with(&start) && path.extension().is_some_and(|extension| extension == "bak")
    });
    let first = backups.next();
    assert_eq!(backups.next(), None, "one update, one backup");
    first
}

/// The version and the tables of a store that the present daemon has made.
async fn fresh() -> (u32, String) {
    let folder = Arc::new(TempDir::new().expect("a folder can be made"));
    let (status, log) = Butler::start_in(folder.clone(), "plugins: []\n", &[]).await.stop().await;
    assert_eq!(status.code(), Some(0), "{log}");
    let store = folder.path().join("butler.db");
    (sqlite(&store, "PRAGMA user_version;").parse().expect("a number"), schema(&store))
}

fn schema(store: &Path) -> String {
    sqlite(store, "SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2;")
}

/// What is finished is as it was, and what was open is delivered.
async fn assert_complete(butler: &Butler, old: &Old) {
    let open = old.ids(&["pending", "leased"]);
    for id in &open {
        wait_for(&format!("{id} to be sent; log:\n{}", butler.log()), || async {
            (butler.get(&format!("/v5/deliveries/{id}")).await.1["state"] == "delivered").then_some(())
        })
        .await;
    }
    for before in old.deliveries() {
        let (status, now) = butler.get(&format!("/v5/deliveries/{}", text(&before["id"]))).await;
        assert_eq!(status, 200, "{before}");
        if open.contains(text(&before["id"])) {
            assert!(now["attempt"].as_u64() > before["attempt"].as_u64(), "{before}\n{now}");
            for field in ["event", "instance", "kind", "taskName", "createdAt", "suppressed", "unknown"] {
                assert_eq!(now[field], before[field], "{field}: {before}\n{now}");
            }
        } else {
            assert_eq!(&now, before);
        }
    }
    for before in old.events() {
        let mut now = butler.event(text(&before["id"])).await;
        now.as_object_mut().expect("an event").remove("deliveries");
        if before["state"] == "accepted" {
            assert_eq!(now["state"], "routed", "{now}");
            for field in ["receivedAt", "source"] {
                assert_eq!(now[field], before[field], "{field}: {before}\n{now}");
            }
            assert_eq!(now["data"]["task"]["id"], before["data"]["task"]["id"]);
        } else {
            assert_eq!(&now, before);
        }
    }
}

/// The backup is the store before the migration.
fn assert_backup(old: &Old, store: &Path, wanted: &str) {
    let backup = backup(store, old.version).expect("a migration makes a backup");
    assert_eq!(sqlite(&backup, "PRAGMA user_version;"), old.version.to_string());
    assert_eq!(sqlite(&backup, COUNTS), wanted, "the backup is whole");
    let folder = std::fs::read_dir(store.parent().expect("it is in a folder")).expect("the folder is there");
    let parts =
        folder.flatten().filter(|entry| entry.path().extension().is_some_and(|end| end == "part" || end == "new"));
    assert_eq!(parts.count(), 0, "nothing is left of copies that were interrupted");
}

/// What is planned is planned as before, and what has run is known. Versions up to 4 had no schedules.
async fn assert_schedules(butler: &Butler, old: &Old) {
    let Some(before) = old.said["schedules"].as_array() else {
        assert!(old.version < 5, "there are no schedules in version {}", old.version);
        return;
    };
    assert!(before.len() >= 2 && before.iter().any(|schedule| schedule["lastRun"].is_object()), "{before:?}");
    let (_, now) = butler.get("/v5/schedules").await;
    assert_eq!(now["schedules"].as_array().map(Vec::len), Some(before.len()), "{now}");
    for (before, now) in before.iter().zip(now["schedules"].as_array().into_iter().flatten()) {
        let before = before.as_object().expect("a schedule");
        for (name, value) in before.iter().filter(|(name, _)| !name.starts_with("next")) {
            assert_eq!(&now[name], value, "{name}: {now}");
        }
    }
    let ticks = "SELECT count(*) FROM plugin_ticks WHERE instance = 'ticks'; SELECT count(*) FROM schedule_runs WHERE state = 1;";
    let counts = sqlite(&butler.folder().join("butler.db"), ticks);
    assert!(counts.starts_with("1\n") && !counts.ends_with("\n0"), "{counts}");
}

/// Everything that was remembered for later has its effect.
async fn assert_memory(butler: &Butler, sink: &Sink, old: &Old) {
    // A run that was heard of is known.
    let known = |event: &&Value| event["source"] == "udp" && event["kind"] == "reload-task.failed";
    let run = &old.events().iter().find(known).expect("a failure")["data"];
    let task_id = text(&run["task"]["id"]).to_owned();
    butler.send(&[failure(&Fields { execution_id: text(&run["execution"]["id"]).to_owned(), task_id, ..fields() })]);
    butler.wait_metric("butler_udp_duplicates_total", 1.0).await;

    // A throttle holds.
    let throttled = old.deliveries().iter().find(|delivery| delivery["state"] == "suppressed").expect("a throttle");
    let event = butler.event(text(&throttled["event"])).await;
    let again = Fields { task_id: text(&event["data"]["task"]["id"]).to_owned(), node: "throttled".into(), ..fields() };
    butler.send(&[failure(&again)]);
    wait_for("a suppressed delivery", || async {
        let suppressed = butler.deliveries("state=suppressed&instance=throttled").await;
        (suppressed.len() == 3).then_some(())
    })
    .await;

    // The progress of a delivery and the storage of its plugin.
    let reported = |request: &&e2e::Received| request.target == "/probe" && request.json()["delivery"].is_object();
    let report = sink.received().iter().find(reported).expect("a report").json();
    assert_eq!(report["delivery"]["progress"], json!({ "step": 1 }), "{report}");
    let counted = sqlite(&old.file, "SELECT value FROM storage WHERE instance = 'probe' AND key = 'count';");
    let counted: u64 = counted.parse().expect("the probe counts its reports");
    assert_eq!(report["count"], counted + 1, "reports were counted: {report}");
    assert!(!butler.log().contains("not yet"), "the probe has seen this store before: {}", butler.log());

    // What was not said of deaths is said.
    let notice = sink.wait_where("the notice", |request| request.target == "/notices").await.json();
    let dead = &notice["data"]["dead"];
    assert_eq!((&dead["instance"], &dead["count"]), (&json!("refused"), &json!(2)), "{notice}");

    // What was given up, suppressed or delivered can be sent again.
    for state in ["dead", "suppressed", "delivered"] {
        let id = *old.ids(&[state]).first().expect("one in each state");
        let before = sink.received().len();
        let (status, answer) = butler.post(&format!("/v5/deliveries/{id}/retry"), &Value::Null).await;
        assert_eq!(status, 200, "{answer}");
        sink.wait(before + 1).await;
    }
}

#[tokio::test]
async fn a_store_of_every_earlier_version_is_migrated_and_complete() {
    let (version, tables) = fresh().await;
    for old in Old::all() {
        assert!(old.version <= version, "the store of version {} is newer than this daemon", old.version);
        for state in ["pending", "leased", "delivered", "dead", "suppressed", "parked"] {
            assert!(!old.ids(&[state]).is_empty(), "none is {state} in version {}", old.version);
        }
        let (sink, folder, clock) = (Sink::start().await, old.copy(), old.clock());
        let store = folder.path().join("butler.db");
        let counts = sqlite(&store, COUNTS);
        let butler = Butler::start_in(folder.clone(), &config(&sink, &[]), &clock.environment()).await;
        assert_complete(&butler, &old).await;
        assert_memory(&butler, &sink, &old).await;
        assert_schedules(&butler, &old).await;
        let (status, log) = butler.stop().await;
        assert_eq!(status.code(), Some(0), "{log}");
        assert_eq!(log.contains("the store is migrated"), old.version < version, "{log}");
        assert_eq!(backup(&store, old.version).is_some(), old.version < version, "a backup if it was changed");
        if old.version < version {
            assert_backup(&old, &store, &counts);
        }
        assert_eq!(sqlite(&store, "PRAGMA user_version; PRAGMA integrity_check;"), format!("{version}\nok"));
        assert_eq!(schema(&store), tables, "as in a store that was never older");

        // With its instance back, what was parked is sent; and the second start has nothing to migrate.
        let before = sink.received().len();
        let butler = Butler::start_in(folder.clone(), &config(&sink, &["gone"]), &clock.environment()).await;
        sink.wait_where("what was parked", |request| request.target == "/gone").await;
        butler.wait_delivery("delivered", "gone").await;
        let (_, log) = butler.stop().await;
        assert!(!log.contains("the store is migrated"), "{log}");
        assert_eq!(sink.received().len(), before + 1, "nothing else is sent again");
    }
}

/// Starts a daemon and kills it after a time.
async fn kill_start(config: &Path, clock: &WallClock, after: Duration) {
    let starting = Starting::new(config, &clock.environment());
    tokio::time::sleep(after).await;
    starting.kill();
}

#[tokio::test]
async fn a_migration_that_is_killed_at_any_moment_is_done_by_the_next_start() {
    /// So many kills must come before the end of the migration, and so many are tried at most: machines are not even.
    const MET: u32 = 5;
    const ROUNDS: u32 = 30;
    let (version, tables) = fresh().await;
    let old = Old::all().remove(0);
    assert!(old.version < version, "there is no migration to kill");
    let (template, clock) = (TempDir::new().expect("a folder can be made"), old.clock());
    let template = old_store(template.path(), old.version, 150_000);
    let counts = sqlite(&template, COUNTS);
    let renew = |folder: &TempDir| {
        std::fs::copy(&template, folder.path().join("butler.db")).expect("the store can be copied");
    };

    // How long a start takes that migrates.
    let folder = Arc::new(TempDir::new().expect("a folder can be made"));
    renew(&folder);
    let sink = Sink::start().await;
    let begun = Instant::now();
    drop(Butler::start_in(folder.clone(), &config(&sink, &[]), &clock.environment()).await);
    let mut start = begun.elapsed();

    let mut met = 0;
    for round in 0..ROUNDS {
        if met == MET {
            break;
        }
        let (sink, folder) = (Sink::start().await, Arc::new(TempDir::new().expect("a folder can be made")));
        renew(&folder);
        let (store, config) = (folder.path().join("butler.db"), config(&sink, &[]));
        // The file of the config, and the plugins, without a start.
        let file = Butler::prepare(&folder, &config);
        kill_start(&file, &clock, start * (2 * (round % 4) + 1) / 8).await;
        let killed = sqlite_of_dead(&store, "PRAGMA user_version;");
        if killed == old.version.to_string() {
            met += 1;
        } else {
            assert_eq!(killed, version.to_string(), "all migrations or none");
            // Starts are faster now than the one that was measured.
            start = start * 3 / 4;
        }
        let butler = Butler::start_in(folder.clone(), &config, &clock.environment()).await;
        assert_complete(&butler, &old).await;
        let (status, log) = butler.stop().await;
        assert_eq!(status.code(), Some(0), "{log}");
        assert_eq!(sqlite(&store, "PRAGMA user_version;"), version.to_string());
        assert_eq!(schema(&store), tables);
        assert_eq!(
            sqlite(&store, "SELECT count(*) FROM events WHERE task = 'old'; PRAGMA integrity_check;"),
            "150000\nok"
        );
        assert_backup(&old, &store, &counts);
    }
    assert!(met == MET, "only {met} of {ROUNDS} kills came before the end of the migration");
}
