//! Updates of the store that take long: what arrives meanwhile, a stop; and with something in the way. For kills at any moment see
//! `store_versions.rs`.

use std::sync::Arc;

use e2e::{
    Butler, Sink, Starting, StoreLock, failure, fields, go_on, old_store, run_with, sqlite, sqlite_of_dead, stop_gently,
};
use tempfile::TempDir;

use super::{EARLIER, PLAIN, PRESENT, assert_as_before, contents, copies, held, write_config};

#[tokio::test]
async fn a_stop_in_the_middle_is_heard_and_leaves_the_old_store() {
    let folder = Arc::new(TempDir::new().unwrap());
    let store = old_store(folder.path(), 1, 150_000);
    let counts = "PRAGMA user_version; SELECT count(*) FROM events; SELECT count(*) FROM keys; PRAGMA integrity_check;";
    let before = sqlite(&store, counts);
    let config = write_config(folder.path(), PLAIN);
    let mut starting = held(&config, &store).await;
    stop_gently(starting.child());
    go_on(starting.child());
    let status = starting.wait_end().await;
    let log = starting.log();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("stopped before the start was over") && !log.contains("the store is migrated"), "{log}");
    assert_eq!(sqlite_of_dead(&store, counts), before);

    let (status, log) = Butler::run_config(folder.clone(), "butler.yaml").await.stop().await;
    assert!(status.success() && log.contains("the store is migrated"), "{log}");
    let [copy] = &copies(folder.path())[..] else { panic!("{:?}", copies(folder.path())) };
    assert_eq!(sqlite(&folder.path().join(copy), counts), before, "one copy, and whole");
}

#[tokio::test]
async fn a_migration_that_meets_what_it_does_not_expect_is_undone_with_all_before_it() {
    let folder = Arc::new(TempDir::new().unwrap());
    let store = old_store(folder.path(), 1, 0);
    // Somebody's own: the last migration makes a table of this name.
    sqlite(&store, "CREATE TABLE schedules (mine TEXT); INSERT INTO schedules VALUES ('x');");
    let config = write_config(folder.path(), PLAIN);
    let before = contents(folder.path());
    for _ in 0..2 {
        let output = run_with(&["run", "-c", config.to_str().unwrap()], &[]);
        assert_eq!(output.code, 1, "{output:?}");
        let said = format!("cannot be brought from version 1 to {PRESENT}");
        for word in
            [said.as_str(), "schedules already exists", "nothing was changed", "go on with the Butler that it is of"]
        {
            assert!(output.stderr.contains(word), "`{word}` is not in {output:?}");
        }
        assert_as_before(folder.path(), &before, "");
    }
    sqlite(&store, "DROP TABLE schedules;");
    let (status, log) = Butler::run_config(folder.clone(), "butler.yaml").await.stop().await;
    assert!(status.success(), "{log}");
    assert_eq!(sqlite(&store, "PRAGMA user_version;"), PRESENT.to_string());
}

/// Sends a datagram to a daemon that has no run file yet.
fn send(starting: &Starting, message: &str) {
    let log = starting.log();
    let address = log.split("udp.listen=").nth(1).and_then(|rest| rest.split_whitespace().next());
    let address = address.unwrap_or_else(|| panic!("it does not listen yet:\n{log}"));
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().send_to(message.as_bytes(), address).unwrap();
}

#[tokio::test]
async fn what_came_by_udp_is_counted_when_the_start_fails() {
    let folder = TempDir::new().unwrap();
    let store = old_store(folder.path(), 1, 0);
    let config = write_config(folder.path(), &format!("{PLAIN}udp: {{ listen: \"127.0.0.1:0\" }}\n"));
    // For longer than a start waits for it.
    let lock = StoreLock::take(&store);
    let mut starting = Starting::new(&config, &[]);
    starting.wait_log(EARLIER).await;
    for _ in 0..2 {
        send(&starting, &failure(&fields()));
    }
    let status = starting.wait_end().await;
    let log = starting.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("is not kept") && log.contains("messages=2"), "{log}");
    assert!(log.contains("nothing was changed: another program has it open (a backup, `sqlite3`): end that"), "{log}");
    drop(lock);
    assert_eq!(sqlite(&store, "PRAGMA user_version;"), "1");
}

#[tokio::test]
async fn what_arrives_while_the_store_is_brought_to_this_version_waits() {
    let (folder, sink) = (TempDir::new().unwrap(), Sink::start().await);
    let store = old_store(folder.path(), 1, 10_000);
    let plugins = format!(
        "udp: {{ listen: \"127.0.0.1:0\" }}\nplugins:\n  - use: webhook\n    settings: {{ url: {}, format: event }}\n",
        sink.url("/")
    );
    let config = write_config(folder.path(), &format!("{PLAIN}{plugins}"));
    let starting = held(&config, &store).await;
    let told = fields();
    send(&starting, &failure(&told));
    go_on(starting.child());
    sink.wait_where("the alert", |request| request.json()["data"]["task"]["id"] == told.task_id.as_str()).await;
}
