//! The log in files.

use std::fs;

use e2e::{failure, fields, wait_for};

use super::{folder, stops, text, wine};

#[tokio::test]
async fn the_log_goes_on_when_its_file_is_renamed_and_old_ones_are_removed() {
    let (wine, folder) = (wine(), folder());
    let logs = folder.path().join("logs");
    fs::create_dir(&logs).unwrap();
    for day in ["2020-01-01", "2020-01-02", "2020-01-03"] {
        fs::write(logs.join(format!("butler.{day}.log")), "old\n").unwrap();
    }
    fs::write(logs.join("other.2020-01-01.log"), "somebody else's\n").unwrap();
    let config = "log: { level: debug, file: { path: 'logs\\butler.log', keep: 2 } }\nplugins:\n  - use: console\n";
    let butler = wine.butler(&folder, config).await;
    let names = || {
        let mut names: Vec<String> =
            fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    wait_for("the old ones to be removed", || async { (names().len() == 3).then_some(()) }).await;
    assert!(names().contains(&"other.2020-01-01.log".to_owned()), "{:?}", names());
    // Two are kept: the former one as well, unless midnight has come meanwhile.
    let ours = || names().into_iter().filter(|name| name.starts_with("butler.2")).collect::<Vec<_>>();
    let old = |name: &str| name == "butler.2020-01-01.log" || name == "butler.2020-01-02.log";
    assert!(ours().len() == 2 && !ours().iter().any(|name| old(name)), "{:?}", ours());
    let current = || ours().pop().map(|name| logs.join(name)).filter(|path| !path.to_string_lossy().contains(".2020-"));
    let today = current().expect("a file of today");
    wait_for("the log", || async { text(&today).contains("started instance=\"console\"").then_some(()) }).await;
    assert!(!text(&today).contains('\u{1b}'), "no colours in files");

    // It may be read, renamed and removed by other programs meanwhile.
    let (from, to) = (e2e::Wine::path(&today), "butler.saved");
    let renamed = wine.command_of("cmd.exe".as_ref()).args(["/c", "ren", &from, to]).output().unwrap();
    assert!(renamed.status.success() && !today.exists(), "{renamed:?}");
    // It looks after its file from time to time, when it writes.
    let new = wait_for("a new file", || async {
        let told = fields();
        butler.send(&[failure(&told)]);
        butler.wait_routed(&told.task_id, "reload-task.failed").await;
        current().filter(|path| *path >= today)
    })
    .await;
    let log = stops(butler).await;
    assert!(log.contains("was removed or renamed: a new one is begun"), "{log}");
    let last = current().unwrap_or(new);
    assert!(text(&last).contains("stopped"), "{}", text(&last));
}
