//! Events that are put off, kinds and keys that are fixed.

use super::*;

pub(super) fn event(kind: &str, task: &str) -> Event {
    serde_json::from_value(
        serde_json::json!({ "id": "x-1", "kind": kind, "time": "", "receivedAt": "", "source": "udp",
        "data": { "task": { "id": task, "name": "T" } } }),
    )
    .unwrap()
}

#[test]
fn what_was_found_out_counts_more_than_what_could_not_be_read() {
    let mut event = event("reload-task.failed", "t");
    event.data.other = Data::from_json(&serde_json::json!({ "task": "T", "app": "A", "moon": 1 })).other;
    drop_doubles(&mut event.data);
    assert_eq!(event.data.other.keys().collect::<Vec<_>>(), ["app", "moon"]);
    let text = serde_json::to_string(&event.data).unwrap();
    assert_eq!(serde_json::from_str::<Data>(&text).unwrap().task, event.data.task, "{text}");
}

#[tokio::test]
async fn an_event_that_cannot_be_routed_is_put_off_and_holds_up_no_other() {
    use sqlx::Connection as _;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    let store = Store::open(&path).await.unwrap();
    let manifest = butler_plugin_api::Manifest::new("x", "");
    let config: Config =
        serde_json::from_value(serde_json::json!({ "version": 1, "plugins": [{ "use": "x" }] })).unwrap();
    let parts = EnricherParts {
        store: store.clone(),
        accepted: Arc::new(Notify::new()),
        lookups: None,
        cloud: Cloud::new(&config).unwrap(),
        router: Arc::new(Current::new(Router::new([(&config.plugins[0], &manifest)]))),
        config: Arc::new(Current::new(config)),
        queues: Queues::default(),
        tasks: Arc::default(),
        untold: Arc::default(),
    };
    let new = |kind: &str| {
        let event = event(kind, "a");
        crate::store::NewEvent {
            kind: event.kind,
            time: now_ms(),
            received: now_ms(),
            source: event.source,
            keys: Vec::new(),
            data: event.data,
        }
    };
    let accepted = store.accept(vec![new("reload-task.failed"), new("reload-task.aborted")]).await.unwrap();
    let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    sqlx::raw_sql(
        "CREATE TRIGGER refuse BEFORE UPDATE OF state ON events WHEN old.kind = 'reload-task.failed' AND new.state = 1
         BEGIN SELECT RAISE(ABORT, 'not now'); END",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(Enricher::new(parts).run(stopped));
    let state = async |seq: i64| store.event(seq).await.unwrap().unwrap().state;
    let tries = "SELECT tries FROM events ORDER BY seq LIMIT 1";
    let course = async {
        for sought in [1, 2] {
            while sqlx::query_scalar::<_, i64>(tries).fetch_one(&mut connection).await.unwrap() < sought {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(state(accepted[0].seq()).await, "accepted");
            sqlx::raw_sql("UPDATE events SET due = due - 60000 WHERE state = 0")
                .execute(&mut connection)
                .await
                .unwrap();
        }
        while state(accepted[1].seq()).await != "routed" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        sqlx::raw_sql("DROP TRIGGER refuse; UPDATE events SET due = 0 WHERE state = 0")
            .execute(&mut connection)
            .await
            .unwrap();
        while state(accepted[0].seq()).await != "routed" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), course).await.expect("it is tried again, and routed");
    stop.send_replace(true);
    running.await.unwrap();
}

#[test]
fn a_distribution_has_the_key_of_its_outcome_also_when_that_is_assumed() {
    for (kind, outcome) in [("distribute-task.succeeded", "succeeded"), (DISTRIBUTE_PENDING, "failed")] {
        let (mut event, mut keys) = (event(kind, "a"), Vec::new());
        event.data.execution = Some(butler_plugin_api::Execution { id: Some("E".to_owned()), ..Default::default() });
        end_distribution(&mut event, &mut keys);
        assert_eq!(keys, [format!("exec:e:{outcome}")]);
        assert_eq!(event.kind, format!("distribute-task.{outcome}"));
    }
}
