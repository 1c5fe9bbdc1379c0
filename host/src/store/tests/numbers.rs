//! Versions of stores, backups, and numbers over both.

use super::*;

#[tokio::test]
async fn numbers_rise_and_do_not_come_twice() {
    let fixture = Fixture::new().await;
    let first = fixture.store.accept(vec![event(&[])]).await.unwrap()[0].seq();
    let fixture = fixture.reopen().await;
    assert!(fixture.store.accept(vec![event(&[])]).await.unwrap()[0].seq() > first);
    let id = fixture.store.event_id(first);
    assert_eq!(fixture.store.parse_event_id(&id), Some(first));
    assert_eq!(fixture.store.parse_delivery_id(&id), None);
    assert_eq!(fixture.store.parse_event_id("other-1"), None);
}

/// Closes a store and leaves its folder.
async fn closed(fixture: Fixture) -> tempfile::TempDir {
    fixture.store.close().await;
    fixture.folder
}

#[tokio::test]
async fn numbers_of_a_restored_backup_are_new() {
    let fixture = Fixture::new().await;
    let folder = closed(fixture).await;
    let (path, backup) = (folder.path().join("s.db"), folder.path().join("copy"));
    std::fs::copy(&path, &backup).unwrap();
    let mut numbers = Vec::new();
    for _ in 0..2 {
        // As when the file is put back after a loss, with the numbers of the lost one known to others.
        std::fs::copy(&backup, &path).unwrap();
        for rest in ["s.db-wal", "s.db-shm"] {
            let _ = std::fs::remove_file(folder.path().join(rest));
        }
        let fixture = Fixture { store: Store::open(&path).await.unwrap(), folder: tempfile::tempdir().unwrap() };
        let delivery = fixture.routed(vec![to("x")]).await[0].id;
        let filter = DeliveryFilter { id: Some(delivery), limit: 1, ..DeliveryFilter::default() };
        numbers.push((fixture.store.deliveries(&filter).await.unwrap()[0].event, delivery));
        closed(fixture).await;
    }
    assert!(numbers[0].0 < numbers[1].0 && numbers[0].1 < numbers[1].1, "{numbers:?}");
    assert!(numbers[1].0.max(numbers[1].1) < 1 << 53, "exact in JSON");
}

#[tokio::test]
async fn a_newer_store_is_refused() {
    let fixture = Fixture::new().await;
    let path = fixture.path();
    fixture.store.close().await;
    drop(fixture.store);
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 99").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    assert!(matches!(Store::open(&path).await, Err(StoreError::Newer { found: 99, .. })));
}

/// The store of version 1 that the end-to-end tests have.
fn old_store(folder: &Path) -> PathBuf {
    let path = folder.join("s.db");
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/e2e/stores/v1.db");
    std::fs::copy(old, &path).unwrap();
    path
}

fn backups(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.contains(".bak")).collect();
    names.sort();
    names
}

#[tokio::test]
async fn each_update_has_a_backup_of_its_own_and_a_second_try_of_it_has_none() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("s.v1.bak"), "of an earlier update").unwrap();
    for _ in 0..2 {
        let path = old_store(folder.path());
        Store::open(&path).await.unwrap().close().await;
    }
    assert_eq!(backups(folder.path()), ["s.v1-20261125T063210453Z.bak", "s.v1.bak"]);
    let path = old_store(folder.path());
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    sqlx::raw_sql("UPDATE events SET received = received + 60000").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    Store::open(&path).await.unwrap().close().await;
    assert_eq!(backups(folder.path()).len(), 3, "it went on under the older version meanwhile");
}
