//! Versions of stores: what is refused, and how older ones are brought to the present version.

use std::path::Path;

use super::*;

/// The store of version 1 that the end-to-end tests have.
fn old_store(folder: &Path) -> PathBuf {
    let path = folder.join("s.db");
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/e2e/stores/v1.db");
    std::fs::copy(old, &path).unwrap();
    path
}

/// Runs SQL in a store that nobody has open.
async fn alter(path: &Path, sql: &'static str) {
    let mut connection = SqliteConnection::connect_with(&plain(path)).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn number(path: &Path, sql: &'static str) -> i64 {
    let mut connection = SqliteConnection::connect_with(&plain(path)).await.unwrap();
    let number = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    number
}

/// Names of files beside the store that are called as copies are, finished or not.
fn copies(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.contains(".bak")).collect();
    names.sort();
    names
}

/// Everything in a folder but the lock, which is no part of the store.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
        .filter(|(name, _)| name != "s.lock")
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn an_older_store_is_copied_and_brought_to_this_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = old_store(folder.path());
    std::fs::write(folder.path().join("s.v1.bak"), "somebody's own").unwrap();
    let (before, events) = (jiff::Timestamp::now(), number(&path, "SELECT count(*) FROM events").await);
    #[cfg(unix)]
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    Store::open(&path).await.unwrap().close().await;
    assert_eq!(number(&path, "PRAGMA user_version").await, crate::store::migrations::known());
    let names = copies(folder.path());
    assert_eq!((names.len(), names[1].as_str()), (2, "s.v1.bak"), "{names:?}");
    let made = names[0].strip_prefix("s.v1-").unwrap().strip_suffix(".bak").unwrap();
    let made =
        jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", made).unwrap().to_zoned(jiff::tz::TimeZone::UTC).unwrap();
    let late = (made.timestamp() - before).total(jiff::Unit::Second).unwrap();
    assert!((-1.0..60.0).contains(&late), "its name says when it was made: {names:?}");
    let copy = folder.path().join(&names[0]);
    assert_eq!(number(&copy, "PRAGMA user_version").await, 1);
    assert_eq!(number(&copy, "SELECT count(*) FROM events").await, events);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o640, "as the store's");
    }
    Store::open(&path).await.unwrap().close().await;
    assert_eq!(copies(folder.path()), names, "nothing is left to be done");
}

#[tokio::test]
async fn a_migration_that_fails_changes_nothing_however_many_came_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = old_store(folder.path());
    // The last migration makes a table of this name.
    alter(&path, "PRAGMA journal_mode = WAL; CREATE TABLE schedules (mine TEXT)").await;
    let before = contents(folder.path());
    let error = Store::open(&path).await.err().unwrap();
    assert!(matches!(error, StoreError::Update { found: 1, .. }), "{error}");
    let error = error.to_string();
    for part in ["from version 1", "table schedules already exists", "nothing was changed", "go on with the Butler"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(contents(folder.path()) == before, "{:?}", copies(folder.path()));
    alter(&path, "DROP TABLE schedules").await;
    Store::open(&path).await.unwrap().close().await;
}

#[tokio::test]
async fn what_an_interrupted_update_has_left_is_put_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = old_store(folder.path());
    // Of one that was interrupted before its end: the store is as it was.
    std::fs::write(folder.path().join("s.v1-20260102T030405Z.bak.part"), "whole").unwrap();
    // Of those that were interrupted while they copied, also of a store that was here before.
    for half in
        ["s.v1-20260102T030406Z.bak.new", "s.v1-20260102T030406Z.bak.new-journal", "s.v0-20250102T030406Z.bak.new"]
    {
        std::fs::write(folder.path().join(half), "half").unwrap();
    }
    // Of one that was done, all but for the name of the copy.
    std::fs::write(folder.path().join("s.v0-20250102T030405Z.bak.part"), "whole").unwrap();
    // Those of others.
    for other in [
        "t.v1-20260102T030405Z.bak.part",
        "t.v1-20260102T030405Z.bak.new",
        "s.v9-20260102T030405Z.bak.part",
        "s.vx-1.bak.part",
    ] {
        std::fs::write(folder.path().join(other), "other").unwrap();
    }
    Store::open(&path).await.unwrap().close().await;
    let mut names = copies(folder.path());
    names.retain(|name| Path::new(name).extension().is_none_or(|end| end != "bak") || name.contains("v0"));
    let expected = [
        "s.v0-20250102T030405Z.bak",
        "s.v9-20260102T030405Z.bak.part",
        "s.vx-1.bak.part",
        "t.v1-20260102T030405Z.bak.new",
        "t.v1-20260102T030405Z.bak.part",
    ];
    assert_eq!(names, expected);
}

#[tokio::test]
async fn a_store_that_another_start_was_still_at_is_not_migrated_twice() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = old_store(folder.path());
    let locked = LockedStore::take(&path).await.unwrap();
    // What that one has done after this one has looked.
    let done = old_store(elsewhere.path());
    Store::open(&done).await.unwrap().close().await;
    std::fs::copy(&done, &path).unwrap();
    locked.open().await.unwrap().close().await;
    assert_eq!(number(&path, "PRAGMA user_version").await, crate::store::migrations::known());
    assert_eq!(copies(folder.path()), Vec::<String>::new(), "no copy under the name of another version");
}

#[tokio::test]
async fn a_store_that_a_newer_butler_was_still_at_is_refused() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = old_store(folder.path());
    let locked = LockedStore::take(&path).await.unwrap();
    let newer = old_store(elsewhere.path());
    alter(&newer, "PRAGMA journal_mode = WAL; PRAGMA user_version = 99").await;
    std::fs::copy(&newer, &path).unwrap();
    let error = locked.open().await.err().unwrap();
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
    assert_eq!(number(&path, "PRAGMA user_version").await, 99);
    assert_eq!(copies(folder.path()), Vec::<String>::new());
}

#[cfg(unix)]
#[tokio::test]
async fn by_a_link_it_is_the_store_that_it_is() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (path, link) = (old_store(folder.path()), elsewhere.path().join("link.db"));
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let by_link = LockedStore::take(&link).await.unwrap();
    assert!(matches!(LockedStore::take(&path).await, Err(StoreError::Locked { .. })), "one store, one lock");
    let store = by_link.open().await.unwrap();
    store.accept(vec![event(&["a"])]).await.unwrap();
    // All of this is in the log only.
    let set = store.inner.writer.run((), |(), connection| {
        Box::pin(async { sqlx::raw_sql("PRAGMA user_version = 99").execute(connection).await.map(drop) })
    });
    set.await.unwrap();
    assert_eq!(Look::at(&link).await.unwrap().found, 99);
    let mut written = written_files(&link);
    written.retain(|file| file.exists());
    let real = std::fs::canonicalize(folder.path()).unwrap();
    assert_eq!(written, ["s.db", "s.db-wal", "s.db-shm", "s.lock", "s.reserve"].map(|name| real.join(name)));
    assert_eq!(copies(folder.path()).len(), 1);
    assert_eq!(contents(elsewhere.path()).len(), 1, "nothing but the link");
    store.close().await;
}

#[tokio::test]
async fn a_newer_store_is_refused_untouched_and_the_copy_to_go_back_to_is_named() {
    let fixture = Fixture::new().await;
    let path = fixture.path();
    let known = crate::store::migrations::known();
    fixture.sql("PRAGMA user_version = 99").await;
    // What a kill leaves: all of this is in the log only.
    let folder = tempfile::tempdir().unwrap();
    let of_killed = folder.path().join("s.db");
    for end in ["", "-wal"] {
        std::fs::copy(format!("{}{end}", path.display()), format!("{}{end}", of_killed.display())).unwrap();
    }
    fixture.store.close().await;
    drop(fixture.store);
    for (folder, path) in [(fixture.folder.path(), &path), (folder.path(), &of_killed)] {
        for name in [
            // Its update was killed when all but the name of its copy was done.
            format!("s.v{known}-20260102T030405Z.bak.part"),
            format!("s.v{known}-20250102T030405Z.bak"),
            format!("s.v{known}-20260302T030405Z.bak.new"),
            "s.v98-20260302T030405Z.bak".to_owned(),
            format!("t.v{known}-20260302T030405Z.bak"),
        ] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        let mut before = contents(folder);
        let error = Store::open(path).await.err().unwrap();
        assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains(&format!("knows up to {known}")) && error.contains("left as it was"), "{error}");
        assert!(error.contains(&format!("s.v{known}-20260102T030405Z.bak.part, as config/README.md says")), "{error}");
        // SQLite's index of its log is made anew by whoever needs it.
        let mut after = contents(folder);
        for files in [&mut before, &mut after] {
            files.retain(|(name, _)| name != "s.db-shm");
        }
        assert!(after == before, "{:?}", copies(folder));
    }
}

#[tokio::test]
async fn a_look_sees_what_is_there_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let known = crate::store::migrations::known();
    let absent = folder.path().join("none.db");
    let look = Look::at(&absent).await.unwrap();
    assert_eq!((look.found, look.known, look.room()), (0, known, 0));
    assert!(!look.is_newer() && !look.is_older() && !absent.exists());

    let path = old_store(folder.path());
    alter(&path, "PRAGMA journal_mode = WAL").await;
    let before = contents(folder.path());
    let look = Look::at(&path).await.unwrap();
    assert_eq!((look.found, look.is_older()), (1, true));
    assert!(look.room() > 2 * std::fs::metadata(&path).unwrap().len());
    assert!(contents(folder.path()) == before, "nothing stays");

    // Beside a daemon, too.
    let store = Store::open(&path).await.unwrap();
    store.accept(vec![event(&["a"])]).await.unwrap();
    let look = Look::at(&path).await.unwrap();
    assert_eq!((look.found, look.is_older(), look.room()), (known, false, 0));
    store.accept(vec![event(&["b"])]).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn what_a_killed_update_has_left_takes_no_room_twice() {
    let (folder, of_killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = old_store(folder.path());
    alter(&path, "PRAGMA journal_mode = WAL").await;
    let (size, room) = (std::fs::metadata(&path).unwrap().len(), Look::at(&path).await.unwrap().room());
    // What is changed does not fit into its memory: so it is in the log before the end.
    let mut connection = SqliteConnection::connect_with(&plain(&path)).await.unwrap();
    let half = "PRAGMA cache_size = 10; BEGIN; CREATE TABLE t (x); INSERT INTO t SELECT zeroblob(900) FROM events, events LIMIT 500";
    sqlx::raw_sql(half).execute(&mut connection).await.unwrap();
    for end in ["s.db", "s.db-wal"] {
        std::fs::copy(folder.path().join(end), of_killed.path().join(end)).unwrap();
    }
    connection.close().await.unwrap();
    let path = of_killed.path().join("s.db");
    let log = std::fs::metadata(of_killed.path().join("s.db-wal")).unwrap().len();
    assert!(log > 100_000, "{log}");
    let look = Look::at(&path).await.unwrap();
    assert_eq!((look.found, look.size, look.room()), (1, size, room - log));
    for (leftover, length) in
        [("v1-20260102T030405Z.bak.part", 7), ("v0-20260102T030405Z.bak.new", 5), ("v0-20250102T030405Z.bak.part", 3)]
    {
        std::fs::write(path.with_extension(leftover), vec![0; length]).unwrap();
    }
    assert_eq!(Look::at(&path).await.unwrap().room(), room - log - 12, "the last one stays, as a copy");
}

#[tokio::test]
async fn a_stopped_store_is_one_file() {
    let fixture = Fixture::new().await;
    fixture.store.accept(vec![event(&["a"])]).await.unwrap();
    assert_eq!(fixture.store.accepted_count().await.unwrap(), 1);
    fixture.store.events(&EventFilter { limit: 1, ..EventFilter::default() }).await.unwrap();
    let log = fixture.folder.path().join("s.db-wal");
    assert!(log.exists());
    fixture.store.close().await;
    assert!(!log.exists());
    assert_eq!(number(&fixture.path(), "SELECT count(*) FROM events").await, 1);
}

#[tokio::test]
async fn a_damaged_store_is_called_that() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    std::fs::write(&path, vec![0x42; 8192]).unwrap();
    let error = Store::open(&path).await.err().unwrap().to_string();
    assert!(error.contains("its file is damaged") && error.contains("restore a backup"), "{error}");
    assert!(!error.contains("local disk"), "{error}");
}

#[tokio::test]
async fn a_store_that_is_only_locked_is_as_it_was_and_its_lock_says_whose_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = old_store(folder.path());
    let before = contents(folder.path());
    let locked = LockedStore::take(&path).await.unwrap();
    let error = LockedStore::take(&path).await.err().unwrap().to_string();
    assert!(
        error.contains(&format!("process {}, Butler {}", std::process::id(), env!("CARGO_PKG_VERSION"))),
        "{error}"
    );
    drop(locked);
    assert!(contents(folder.path()) == before, "not even the name of the owner stays");
    // Of a process that was killed, which is not asked.
    std::fs::write(folder.path().join("s.owner"), "process 1").unwrap();
    drop(LockedStore::take(&path).await.unwrap());
    assert!(!folder.path().join("s.owner").exists());
}

#[cfg(unix)]
#[tokio::test]
async fn folders_that_are_made_for_a_store_are_its_owner_s_alone() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    Store::open(&folder.path().join("a/b/s.db")).await.unwrap().close().await;
    let mode = |path: &str| std::fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("a"), mode("a/b"), mode(".")), (0o700, 0o700, 0o755));
}

#[test]
fn room_and_full_disks_are_told_with_their_figures() {
    let look = Look { found: 1, known: 5, size: 10 << 20, reused: 0 };
    assert_eq!(look.room(), 24 << 20);
    let error = StoreError::NoRoom {
        path: "s.db".into(),
        found: 1,
        known: 5,
        needed: Megabytes::from(look.room()),
        free: Megabytes::from(3 << 20),
    };
    let error = error.to_string();
    assert!(error.contains("takes 24 MB") && error.contains("3 MB are free") && error.contains("nothing was changed"));
    let full = sqlx::Error::Io(std::io::Error::from(std::io::ErrorKind::StorageFull));
    let error = disk::not_opened(Path::new("s.db"), &full).to_string();
    assert!(error.contains("make room on its disk, 100 MB at least"), "{error}");
}
