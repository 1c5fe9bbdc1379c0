//! Numbers over restarts, and over copies that are put back.

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
