//! Disks on which a new version cannot bring the store to its form: full, read-only, not ours. They are file systems of their own,
//! so these tests need root.

use std::path::Path;
use std::process::Command;

use e2e::{Butler, Disk, Filler, Output, butler_exe, go_on, old_store, run_command, run_with, sqlite, take_all_room};
use tempfile::TempDir;

use super::{PLAIN, PRESENT, assert_as_before, contents, copies, held, write_config};

/// Takes room of a disk until so much is free.
fn leave(disk: &Disk, bytes: u64) {
    let filler = disk.path().join("filler");
    let all = u64::try_from(take_all_room(&filler)).unwrap();
    std::fs::File::options().write(true).open(filler).unwrap().set_len(all - bytes).unwrap();
}

/// What `butler doctor` says that the update takes, in MB.
fn needed(config: &Path) -> u64 {
    let output = run_with(&["doctor", "-c", config.to_str().unwrap()], &[]);
    let said = output.stdout.split("takes ").nth(1).and_then(|rest| rest.split(" MB").next()?.parse().ok());
    said.unwrap_or_else(|| panic!("{output:?}"))
}

#[tokio::test]
async fn room_for_the_copy_and_the_changes_is_looked_for_first_and_is_enough() {
    let disk = Disk::in_memory(96);
    let store = old_store(disk.path(), 1, 20_000);
    let config = write_config(disk.path(), PLAIN);
    let needed = needed(&config);
    let size = std::fs::metadata(&store).unwrap().len();
    assert!(size > 6 << 20 && needed >= 2 * (size >> 20), "{size} {needed}");

    leave(&disk, ((needed - 1) << 20) + (64 << 10));
    let before = contents(disk.path());
    let output = run_with(&["run", "-c", config.to_str().unwrap()], &[]);
    assert_eq!(output.code, 1, "{output:?}");
    let takes =
        format!("takes {needed} MB on its disk, where {} MB are free; nothing was changed: make room", needed - 1);
    assert!(output.stderr.contains(&takes), "{output:?}");
    let output = run_with(&["doctor", "-c", config.to_str().unwrap()], &[]);
    let line = output.stdout.lines().find(|line| line.contains(&takes)).unwrap_or_else(|| panic!("{output:?}"));
    assert!(line.starts_with("failed"), "{line}");
    assert_as_before(disk.path(), &before, "");

    // What was asked for is enough.
    std::fs::remove_file(disk.path().join("filler")).unwrap();
    leave(&disk, (needed << 20) + (64 << 10));
    let (status, log) = Butler::run_config(disk.folder(), "butler.yaml").await.stop().await;
    assert!(status.success() && log.contains("the store is migrated"), "{log}");
    assert_eq!(sqlite(&store, "PRAGMA user_version; PRAGMA integrity_check;"), format!("{PRESENT}\nok"));
    assert_eq!(copies(disk.path()).len(), 1);
}

#[tokio::test]
async fn what_an_interrupted_update_has_left_does_not_keep_the_next_one_from_its_room() {
    let disk = Disk::in_memory(96);
    let store = old_store(disk.path(), 1, 20_000);
    let config = write_config(disk.path(), PLAIN);
    let (needed, size) = (needed(&config), std::fs::metadata(&store).unwrap().len());
    // It had just the room that it asked for, and was killed with its copy half done.
    std::fs::write(disk.path().join("butler.v1-20260304T050607Z.bak.new"), vec![0x42; usize::try_from(size).unwrap()])
        .unwrap();
    leave(&disk, (needed << 20) + (64 << 10) - size);
    let output = run_with(&["doctor", "-c", config.to_str().unwrap()], &[]);
    assert!(output.stdout.contains("copies it and brings it to"), "{output:?}");
    let (status, log) = Butler::run_config(disk.folder(), "butler.yaml").await.stop().await;
    assert!(status.success() && log.contains("the store is migrated"), "{log}");
    assert_eq!(sqlite(&store, "PRAGMA user_version; PRAGMA integrity_check;"), format!("{PRESENT}\nok"));
    let [copy] = &copies(disk.path())[..] else { panic!("{:?}", copies(disk.path())) };
    assert!(!copy.contains("20260304T050607Z"), "{copy}");
}

#[tokio::test]
async fn a_disk_that_fills_up_meanwhile_leaves_the_old_store_and_no_half_copy() {
    let disk = Disk::in_memory(128);
    let store = old_store(disk.path(), 1, 30_000);
    let config = write_config(disk.path(), PLAIN);
    let (needed, before) = (needed(&config), std::fs::read(&store).unwrap());
    let mut starting = held(&config, &store).await;
    let filler = Filler::start(&disk);
    go_on(starting.child());
    let status = starting.wait_end().await;
    let log = starting.log();
    assert_eq!(status.code(), Some(1), "{log}");
    for word in [
        "full",
        &format!("cannot be brought from version 1 to {PRESENT}"),
        "nothing was changed",
        &format!("make room on its disk, {needed} MB"),
    ] {
        assert!(log.contains(word), "`{word}` is not in {log}");
    }
    assert!(std::fs::read(&store).unwrap() == before, "the store is as it was");
    assert_eq!(copies(disk.path()).len(), 0, "{:?}", copies(disk.path()));
    drop(filler);
    let (status, log) = Butler::run_config(disk.folder(), "butler.yaml").await.stop().await;
    assert!(status.success() && log.contains("the store is migrated"), "{log}");
}

#[tokio::test]
async fn a_disk_without_room_for_a_start_is_told_with_what_is_needed() {
    let disk = Disk::in_memory(16);
    old_store(disk.path(), PRESENT, 0);
    let config = write_config(disk.path(), PLAIN);
    leave(&disk, 4096);
    let output = run_with(&["run", "-c", config.to_str().unwrap()], &[]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("make room on its disk, 100 MB at least"), "{output:?}");
}

#[test]
fn a_store_on_a_read_only_disk_is_refused_untouched() {
    let disk = Disk::in_memory(16);
    old_store(disk.path(), 1, 0);
    let config = write_config(disk.path(), PLAIN);
    let before = contents(disk.path());
    disk.read_only();
    let output = run_with(&["run", "-c", config.to_str().unwrap()], &[]);
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("ead-only") && output.stderr.contains("that Butler may write"), "{output:?}");
    assert_as_before(disk.path(), &before, "");
}

/// Runs the daemon without the rights by which root reads and writes what is not its own.
#[cfg(unix)]
fn start_without_rights(config: &Path) -> Output {
    let mut command = Command::new("setpriv");
    command.args(["--inh-caps=-all", "--bounding-set=-all"]).arg(butler_exe()).env_remove("BUTLER_CONFIG");
    run_command(&mut command, &["run", "-c", config.to_str().unwrap()])
}

#[cfg(unix)]
#[test]
fn a_store_that_this_account_may_not_read_or_write_is_refused_untouched() {
    use std::os::unix::fs::PermissionsExt;

    for mode in [0o000, 0o400] {
        let folder = TempDir::new().unwrap();
        let store = old_store(folder.path(), 1, 0);
        let config = write_config(folder.path(), PLAIN);
        let before = contents(folder.path());
        std::fs::set_permissions(&store, PermissionsExt::from_mode(mode)).unwrap();
        let output = start_without_rights(&config);
        let said = output.stderr;
        assert_eq!(output.code, 1, "{said}");
        assert!(said.contains("ermission denied") && said.contains("that Butler may write"), "{said}");
        assert_as_before(folder.path(), &before, "");
    }
}
