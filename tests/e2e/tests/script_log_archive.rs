//! Script logs on disk: whole, once each, never outside of their folder, whatever happens to the disk and the process.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use e2e::qlik::{CloudCall, CloudFault, Fault, Options, Run, Site, Status};
use e2e::{Butler, Disk, Fields, Sense, Tenants, command, failure, sqlite, take_all_room, wait_for};
use serde_json::json;

fn config(folder: &Path, more: &str) -> String {
    format!(
        "scriptLog: {{ maxSize: 16MB }}\nplugins:\n  - use: script-log-archive\n    name: archive\n    \
         retry: {{ initial: 50ms, max: 200ms }}\n    settings: {{ folder: \"{}\"{more} }}\n",
        folder.display()
    )
}

/// A task fails with this script log; the fields of the message about it.
fn fails_with(sense: &Sense, task: &str, log: &str) -> Fields {
    let fields = sense.about(task);
    let run = Run::new(Status::FinishedFail).script_log(log);
    sense.site().run_task(task, &fields.execution_id, run).unwrap();
    fields
}

/// What the archive knows of its files.
const INDEX: &str = ".butler-archive-98fe03c5.index";

/// All files below a folder with their contents, but those that the archive keeps for itself.
fn files(folder: &Path) -> BTreeMap<String, String> {
    fn walk(folder: &Path, start: &str, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{start}{}", path.file_name().unwrap().to_str().unwrap());
            if path.is_dir() {
                walk(&path, &format!("{name}/"), found);
            } else if !name.starts_with(".butler-") {
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    // It is made when the instance starts.
    if folder.exists() {
        walk(folder, "", &mut found);
    }
    found
}

async fn wait_files(folder: &Path, count: usize) -> BTreeMap<String, String> {
    wait_for(&format!("{count} files in {}", folder.display()), || async {
        let found = files(folder);
        (found.len() == count).then_some(found)
    })
    .await
}

async fn wait_delivered(butler: &Butler, count: usize) {
    wait_for(&format!("{count} deliveries; log:\n{}", butler.log()), || async {
        (butler.deliveries("state=delivered&instance=archive").await.len() == count).then_some(())
    })
    .await;
}

fn usual(fields: &Fields) -> String {
    let stamp = &fields.timestamp[..19];
    let name = stamp.replace(' ', "_").replace(':', "-");
    format!("{}/{name}_appId={}_taskId={}.log", &stamp[..10], fields.app_id, fields.task_id)
}

#[tokio::test]
async fn a_failed_reload_leaves_its_whole_log_under_the_usual_name() {
    let sense = Sense::start().await;
    let folder = sense.folder().join("logs");
    let butler = sense.butler(&config(&folder, "")).await;
    let line = "2026-03-04 05:06:07      0012  LOAD \"Umsätze\" FROM [lib://x/y.qvd] (qvd)  \r\n";
    let text = format!("{}last line, without an end", line.repeat((5 << 20) / line.len()));
    let fields = fails_with(&sense, Site::SAMPLE_RELOAD_TASK, &text);
    butler.send(&[failure(&fields)]);
    let delivery = butler.wait_delivery("delivered", "archive").await;
    assert_eq!(delivery["attempt"], json!(1));
    let found = files(&folder);
    assert_eq!(found.keys().collect::<Vec<_>>(), [&usual(&fields)]);
    let stored = &found[&usual(&fields)];
    assert!(stored.len() > 5_000_000 && *stored == text.replace("\r\n", "\n"), "{} bytes", stored.len());

    // Another run of the task, told in the same second, and one of another task.
    let again = fails_with(&sense, Site::SAMPLE_RELOAD_TASK, "another\r\nrun");
    let again = Fields { timestamp: fields.timestamp.clone(), ..again };
    let other = fails_with(&sense, Site::SAMPLE_RELOAD_TASK_OF_MAILLESS_OWNER, "other");
    butler.send(&[failure(&again), failure(&other)]);
    wait_delivered(&butler, 3).await;
    let found = files(&folder);
    let result = sense.site().last_result(Site::SAMPLE_RELOAD_TASK).unwrap();
    let second = usual(&fields).replace(".log", &format!("_executionId={}.log", result.id));
    assert_eq!(found.get(&second).map(String::as_str), Some("another\nrun"), "{:?}", found.keys());
    assert_eq!((found[&usual(&other)].as_str(), found.len()), ("other", 3));
    assert_eq!(found[&usual(&fields)], *stored);
}

#[tokio::test]
async fn a_cloud_reload_leaves_its_log_and_one_that_cannot_be_had_is_told() {
    let tenants = Tenants::start(&["acme-id"]).await;
    let folder = tenants.folder().path().join("logs");
    let butler = tenants.butler(&format!("enrich: {{ giveUpAfter: 1s }}\n{}", config(&folder, ""))).await;
    let reload = tenants.fail(&butler, "Orders").await;
    let found = wait_files(&folder, 1).await;
    let (name, text) = found.first_key_value().unwrap();
    // As the tenant tells it: 2026-03-04T05:06:07.890Z.
    let stamp = reload.time(0)[..19].replace(':', "-");
    let expected = format!("{}/{stamp}_appId={}_reloadId={}.log", &stamp[..10], reload.app_id, reload.reload_id);
    assert_eq!(*name, expected);
    assert!(text.lines().count() > 3 && !text.contains('\r'), "{text}");

    tenants[0].add_fault(CloudFault::status(500).on(CloudCall::ScriptLog));
    tenants.fail(&butler, "Sales").await;
    let dead = butler.wait_delivery("dead", "archive").await;
    assert!(dead.to_string().contains("the archive lacks it"), "{dead}");
    assert_eq!(files(&folder).len(), 1);
}

#[tokio::test]
async fn a_template_makes_folders_and_values_make_none() {
    let sense = Sense::start().await;
    let folder = sense.folder().join("logs");
    let path = ", path: \"{{appStreamName}}/{{logMessage}}/{{taskName}}.log\"";
    let butler = sense.butler(&config(&folder, path)).await;
    let mut fields = fails_with(&sense, Site::SAMPLE_RELOAD_TASK, "text");
    fields.message = Some(r"../../../etc/cron.d/x C:\evil: NUL".to_owned());
    butler.send(&[failure(&fields)]);
    let found = wait_files(&folder, 1).await;
    let expected = "Everyone/..-..-..-etc-cron.d-x C--evil- NUL/Reload order analysis.log";
    assert_eq!(found.keys().collect::<Vec<_>>(), [expected]);

    let file = butler.config().to_str().unwrap();
    let shown = command(&["render", "-c", file, "--instance", "archive", "--part", "path"]).await;
    assert_eq!(
        (shown.code, shown.stdout.as_str()),
        (0, "Finance EU/Max retries reached/Sales nightly.log\n"),
        "{shown:?}"
    );
    let sent = command(&["test-alert", "-c", file, "--instance", "archive"]).await;
    assert_eq!(sent.code, 0, "{sent:?}");
    let found = wait_files(&folder, 2).await;
    assert!(found["Finance EU/Max retries reached/Sales nightly.log"].contains("Execution started"));
    let checked = command(&["check", "-c", file]).await;
    assert!(checked.stdout.contains("files can be written in"), "{checked:?}");
    assert_eq!(files(&folder).len(), 2);
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_that_leads_out_is_refused_until_it_is_gone() {
    let sense = Sense::start().await;
    let (folder, outside) = (sense.folder().join("logs"), sense.folder().join("outside"));
    fs::create_dir(&folder).unwrap();
    fs::create_dir(&outside).unwrap();
    let fields = fails_with(&sense, Site::SAMPLE_RELOAD_TASK, "text");
    let day = &usual(&fields)[..10];
    std::os::unix::fs::symlink(&outside, folder.join(day)).unwrap();
    let butler = sense.butler(&config(&folder, "")).await;
    butler.send(&[failure(&fields)]);
    wait_for("the reason", || async {
        let open = butler.deliveries("instance=archive").await;
        open.first()?.to_string().contains("a link in it leads out of it").then_some(())
    })
    .await;
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    fs::remove_file(folder.join(day)).unwrap();
    butler.wait_delivery("delivered", "archive").await;
    assert_eq!(files(&folder)[&usual(&fields)], "text");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[tokio::test]
async fn a_full_disk_costs_no_log_and_leaves_no_half_one() {
    let sense = Sense::start().await;
    let disk = Disk::in_memory(2);
    let folder = disk.path().join("logs");
    let butler = sense.butler(&config(&folder, "")).await;
    let first = fails_with(&sense, Site::SAMPLE_RELOAD_TASK, "first");
    butler.send(&[failure(&first)]);
    wait_delivered(&butler, 1).await;
    let index = fs::read_to_string(folder.join(INDEX)).unwrap();

    let filler = disk.path().join("filler");
    take_all_room(&filler);
    let text = "x".repeat(500_000);
    let second = fails_with(&sense, Site::SAMPLE_RELOAD_TASK, &text);
    butler.send(&[failure(&second)]);
    let waits = wait_for("the reason", || async {
        let open = butler.deliveries("instance=archive").await;
        open.iter().find(|row| row.to_string().contains("there is no room left: free some")).cloned()
    })
    .await;
    assert_ne!(waits["state"], "dead", "{waits}");
    wait_for("the unfinished file to be removed", || async { unfinished(&folder).is_empty().then_some(()) }).await;
    assert_eq!(files(&folder).len(), 1);
    assert_eq!(fs::read_to_string(folder.join(INDEX)).unwrap(), index);
    fs::remove_file(&filler).unwrap();
    wait_delivered(&butler, 2).await;
    // Perhaps of the same second: then its name has more to it.
    assert!(files(&folder).values().any(|stored| *stored == text));
    let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "the index and the day: {left:?}");

    disk.read_only();
    butler.send(&[failure(&fails_with(&sense, Site::SAMPLE_RELOAD_TASK, "third"))]);
    wait_for("the reason", || async {
        let open = butler.deliveries("instance=archive").await;
        open.iter().any(|row| row.to_string().contains("it is read-only: mount it for writing")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_is_refused_and_one_that_may_come_is_waited_for() {
    let sense = Sense::start().await;
    let (parent, file) = (sense.folder().join("share"), sense.folder().join("file"));
    fs::write(&file, "").unwrap();
    let config_file = sense.folder().join("refused.yaml");
    let text =
        format!("version: 1\nstore: {{ path: other.db }}\nrest: {{ listen: \"127.0.0.1:0\" }}\n{}", config(&file, ""));
    fs::write(&config_file, text).unwrap();
    let refused = command(&["run", "-c", config_file.to_str().unwrap()]).await;
    assert!(refused.code != 0 && refused.stderr.contains("is a file: name a folder"), "{refused:?}");

    let folder = parent.join("logs");
    let butler = sense.butler(&config(&folder, "")).await;
    let fields = fails_with(&sense, Site::SAMPLE_RELOAD_TASK, "text");
    butler.send(&[failure(&fields)]);
    wait_for("the start to say why", || async {
        butler.log().contains("there is no folder that `folder`").then_some(())
    })
    .await;
    fs::create_dir(&parent).unwrap();
    butler.wait_delivery("delivered", "archive").await;
    assert_eq!(files(&folder)[&usual(&fields)], "text");
}

#[tokio::test]
async fn kills_leave_whole_logs_and_each_of_them() {
    const TASKS: usize = 60;
    let sense = Sense::with(Options::default().site(Site::with_tasks(TASKS))).await;
    let folder = sense.folder().join("logs");
    let config = config(&folder, "");
    let mut expected = BTreeMap::new();
    let mut butler = sense.butler(&config).await;
    let mut met = 0;
    let tasks: Vec<String> = (0..TASKS).map(Site::numbered_task).collect();
    for (round, tasks) in tasks.chunks(12).enumerate() {
        let mut messages = Vec::new();
        for task in tasks {
            let text = format!("{task} {round}\n").repeat(40_000);
            let fields = fails_with(&sense, task, &text);
            messages.push(failure(&fields));
            expected.insert(usual(&fields), text);
        }
        let before = files(&folder).len();
        butler.send(&messages);
        butler.wait_metric("butler_udp_processed_total", 12.0).await;
        // In the middle: some are there, and not all.
        wait_for("some of the files", || async {
            let now = index_lines(&folder);
            (now > before + round % 4).then_some(())
        })
        .await;
        let killed = butler.kill();
        let found = files(&folder);
        met += usize::from(found.len() < expected.len());
        for (name, text) in &found {
            assert!(expected.get(name) == Some(text), "{name} is not whole: {} bytes", text.len());
        }
        butler = killed.start().await;
    }
    assert!(met >= 2, "only {met} kills came while logs were being stored");
    wait_files(&folder, expected.len()).await;
    wait_for("all deliveries", || async {
        (butler.metric("butler_deliveries_open{instance=\"archive\"}").await == Some(0.0)).then_some(())
    })
    .await;
    let found = files(&folder);
    assert!(found == expected, "{:?}", found.keys());
    assert!(unfinished(&folder).is_empty());
    let store = sense.folder().join("butler.db");
    assert_eq!(sqlite(&store, "SELECT count(*) FROM deliveries WHERE state <> 2;"), "0");
}

/// Names of files that are being written.
fn unfinished(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".part")).collect()
}

fn index_lines(folder: &Path) -> usize {
    fs::read_to_string(folder.join(INDEX)).map_or(0, |text| text.lines().count())
}

#[tokio::test]
async fn limits_take_the_oldest_files_of_the_archive_and_no_others() {
    let sense = Sense::with(Options::default().site(Site::with_tasks(6))).await;
    let folder = sense.folder().join("logs");
    let butler = sense.butler(&config(&folder, "")).await;
    let tasks: Vec<String> = (0..6).map(Site::numbered_task).collect();
    let mut names = Vec::new();
    for (number, task) in tasks.iter().take(5).enumerate() {
        let mut fields = fails_with(&sense, task, &"x".repeat(400_000));
        fields.timestamp = format!("2020-01-0{} 01:02:03,000", number + 1);
        butler.send(&[failure(&fields)]);
        wait_delivered(&butler, number + 1).await;
        names.push(usual(&fields));
    }
    butler.stop().await;
    // Of others: in the way of the folder, like one of ours by name, and one of ours that somebody has worked on.
    fs::write(folder.join("2020-01-02/notes.txt"), "mine").unwrap();
    let like = "2019-01-01/2019-01-01_01-02-03_appId=a_taskId=t.log";
    fs::create_dir(folder.join("2019-01-01")).unwrap();
    fs::write(folder.join(like), "x".repeat(2 << 20)).unwrap();
    fs::write(folder.join(&names[2]), "cut by somebody").unwrap();
    // By the index there are five of 400,000 bytes. Three have to go, the last of which is not ours any more.
    let butler = sense.butler(&config(&folder, ", maxSize: 1MB")).await;
    wait_for("the removal", || async { butler.log().contains("by `maxAge` or `maxSize`: 2").then_some(()) }).await;
    assert!(!folder.join("2020-01-01").exists(), "its folder is empty, and gone");
    let found = files(&folder);
    let mut left = vec![like, "2020-01-02/notes.txt", &names[2], &names[3], &names[4]];
    left.sort_unstable();
    assert_eq!(found.keys().collect::<Vec<_>>(), left);
    assert_eq!(found[&names[2]], "cut by somebody");
    // And it goes on.
    let fields = fails_with(&sense, &tasks[5], "new");
    butler.send(&[failure(&fields)]);
    wait_files(&folder, 6).await;
}

#[tokio::test]
async fn a_qlik_sense_that_is_away_means_a_dead_delivery_that_says_so() {
    let sense = Sense::start().await;
    let folder = sense.folder().join("logs");
    let config = format!("enrich: {{ giveUpAfter: 1s }}\n{}", config(&folder, ""));
    let butler = sense.butler(&config).await;
    let fields = fails_with(&sense, Site::SAMPLE_RELOAD_TASK, "text");
    sense.faults().add(Fault::latency(Duration::from_secs(30)));
    butler.send(&[failure(&fields)]);
    let dead = butler.wait_delivery("dead", "archive").await;
    assert!(dead.to_string().contains("the archive lacks it"), "{dead}");
    assert!(files(&folder).is_empty());
}
