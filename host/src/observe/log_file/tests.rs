//! Files of days: their names, their end, and what is said of trouble.

use super::*;

fn files(path: &Path, keep: u32) -> DailyFile {
    DailyFile::new(&config::LogFile { path: path.to_owned(), keep, max_size: Size::bytes(12) })
}

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn old_files_of_ours_go_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let others =
        ["butler-sos.2020-01-01.log", "butler.2020-01-01.log.gz", "butler.2020-1-1.log", "butler.log", "butler.x.log"];
    for name in others.into_iter().chain(["butler.2020-01-01.log", "butler.2026-02-27.log"]) {
        fs::write(folder.path().join(name), "x").unwrap();
    }
    fs::create_dir(folder.path().join("butler.2019-01-01.log")).unwrap();
    let mut log = files(&folder.path().join("butler.log"), 3);
    for text in ["2026-02-28", "2026-02-28", "2026-03-01"] {
        assert!(log.append(b"line\n", day(text)).is_empty());
    }
    let mut expected: Vec<&str> = others.to_vec();
    expected.extend([
        "butler.2019-01-01.log",
        "butler.2026-02-27.log",
        "butler.2026-02-28.log",
        "butler.2026-03-01.log",
    ]);
    expected.sort_unstable();
    assert_eq!(names(folder.path()), expected);
    assert_eq!(fs::read_to_string(folder.path().join("butler.2026-02-28.log")).unwrap(), "line\nline\n");

    // The clock goes back: today's file is never the one that is removed.
    let mut one = files(&folder.path().join("butler.log"), 1);
    assert!(one.append(b"line\n", day("2001-01-01")).is_empty());
    assert!(names(folder.path()).contains(&"butler.2001-01-01.log".to_owned()));
    assert!(!names(folder.path()).contains(&"butler.2026-03-01.log".to_owned()));
}

#[test]
fn names_without_an_ending_have_none() {
    let names = Names::new(Path::new("/var/log/butler"));
    assert_eq!(names.path(day("2026-03-04")), Path::new("/var/log/butler.2026-03-04"));
    assert_eq!(names.day("butler.2026-03-04"), Some(day("2026-03-04")));
    assert_eq!(names.day("butler.20260304"), None);
}

#[test]
fn trouble_is_said_once_and_so_is_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("logs");
    fs::write(&blocked, "a file").unwrap();
    let mut log = files(&blocked.join("butler.log"), 3);
    let today = day("2026-03-04");
    assert!(matches!(log.append(b"one\n", today)[..], [Said::Failed(_)]));
    fs::remove_file(&blocked).unwrap();
    // Not tried again at once.
    assert!(log.append(b"two\n", today).is_empty());
    let soon = |log: &mut DailyFile| log.trouble.as_mut().unwrap().again = Instant::now();
    soon(&mut log);
    fs::write(&blocked, "a file").unwrap();
    assert!(log.append(b"three\n", today).is_empty());
    fs::remove_file(&blocked).unwrap();
    soon(&mut log);
    log.torn = true;
    assert!(matches!(log.append(b"four\n", today)[..], [Said::WellAgain { missing: 3 }]));
    assert!(log.append(b"five\n", today).is_empty());
    assert_eq!(fs::read_to_string(blocked.join("butler.2026-03-04.log")).unwrap(), "\nfour\nfive\n");
}

#[test]
fn a_file_that_was_removed_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs");
    let mut log = files(&logs.join("butler.log"), 3);
    let today = day("2026-03-04");
    assert!(log.append(b"one\n", today).is_empty());
    let later = |log: &mut DailyFile| log.open.as_mut().unwrap().seen -= AGAIN;
    later(&mut log);
    assert!(log.append(b"two\n", today).is_empty());
    fs::remove_dir_all(&logs).unwrap();
    later(&mut log);
    assert!(matches!(log.append(b"three\n", today)[..], [Said::Gone]));
    let file = logs.join("butler.2026-03-04.log");
    assert_eq!(fs::read_to_string(&file).unwrap(), "three\n");
    // Renamed, and there is another of this name.
    fs::rename(&file, logs.join("old")).unwrap();
    fs::write(&file, "").unwrap();
    later(&mut log);
    let said = log.append(b"four\n", today);
    assert_eq!(matches!(said[..], [Said::Gone]), cfg!(unix), "{said:?}");
    assert_eq!(fs::read_to_string(&file).unwrap() == "four\n", cfg!(unix));
}

#[test]
fn the_file_of_a_day_has_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = files(&folder.path().join("butler.log"), 3);
    let (today, tomorrow) = (day("2026-03-04"), day("2026-03-05"));
    for _ in 0..2 {
        assert!(log.append(b"sixteen bytes..\n".get(9..).unwrap(), today).is_empty());
    }
    let said = log.append(b"line\n", today);
    let [Said::Failed(error)] = &said[..] else { panic!("{said:?}") };
    assert!(error.to_string().contains("`log.file.maxSize`") && remedy(error).contains("`log.level`"), "{error}");
    log.trouble.as_mut().unwrap().again = Instant::now();
    assert!(log.append(b"line\n", today).is_empty());
    // Neither are the files of former starts made larger.
    let mut next = files(&folder.path().join("butler.log"), 3);
    assert!(matches!(next.append(b"line\n", today)[..], [Said::Failed(_)]));
    assert_eq!(fs::read(folder.path().join("butler.2026-03-04.log")).unwrap().len(), 14);
    assert!(matches!(log.append(b"line\n", tomorrow)[..], [Said::WellAgain { missing: 2 }]));
    assert_eq!(fs::read_to_string(folder.path().join("butler.2026-03-05.log")).unwrap(), "line\n");
}

#[cfg(unix)]
#[test]
fn links_are_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = folder.path().join("elsewhere");
    fs::write(&elsewhere, "").unwrap();
    std::os::unix::fs::symlink(&elsewhere, folder.path().join("butler.2026-03-04.log")).unwrap();
    let said = files(&folder.path().join("butler.log"), 3).append(b"line\n", day("2026-03-04"));
    let [Said::Failed(error)] = &said[..] else { panic!("{said:?}") };
    assert!(remedy(error).contains("symbolic link"), "{error}");
    assert_eq!(fs::read(&elsewhere).unwrap(), b"");
}

#[test]
fn what_could_be_written_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/butler.log");
    assert_eq!(log_file_writable(&path), Ok(Names::new(&path).path(today())));
    assert!(names(folder.path()).is_empty());
    let (fault, remedy) = log_file_writable(folder.path()).unwrap_err();
    assert!(fault.ends_with("is a folder") && remedy.contains("name the file"), "{fault}; {remedy}");
    fs::write(folder.path().join("file"), "").unwrap();
    let path = folder.path().join("file/butler.log");
    let (fault, remedy) = log_file_writable(&path).unwrap_err();
    assert!(fault.contains("cannot be written") && remedy.contains("a file where a folder"), "{fault}; {remedy}");
}
