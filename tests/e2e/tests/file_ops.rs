//! File operations as load scripts ask for them, by the real executable: whole or not at all, and never outside of the approved
//! directories.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::{Butler, Disk, StoreLock, command, http, take_all_room, wait_for};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Folders `in`, `out` and `qvd` in a place, and one that is not approved.
fn prepare(place: &Path) {
    for folder in ["in", "out", "qvd", "secret"] {
        fs::create_dir_all(place.join(folder)).unwrap();
    }
    fs::write(place.join("in/a.txt"), "text").unwrap();
    fs::write(place.join("secret/key"), "secret").unwrap();
}

fn config(from: &Path, to: &Path) -> String {
    let (from, to) = (from.display(), to.display());
    format!(
        "plugins:\n  - use: file-ops\n    settings:\n      copy: [{{ from: \"{from}/in\", to: \"{to}/out\" }}]\n      \
         move: [{{ from: \"{from}/in\", to: \"{to}/out\" }}, {{ from: \"{from}/in\", to: \"{from}/in\" }}]\n      \
         delete: [\"{to}/out\"]\n      createDir: [\"{to}/out\"]\n      qvdDir: ./qvd\n"
    )
}

/// A daemon in a place of its own.
async fn start() -> (Butler, PathBuf) {
    let folder = Arc::new(TempDir::new().unwrap());
    prepare(folder.path());
    let place = folder.path().to_owned();
    let butler = Butler::start_in(folder, &config(&place, &place), &[]).await;
    runs(&butler).await;
    (butler, place)
}

/// Waits until the instance has started.
async fn runs(butler: &Butler) {
    let nowhere = json!({ "deleteFile": "relative" });
    wait_for("the instance to run", || async {
        (ask(butler, "DELETE", "/v4/filedelete", Some(&nowhere)).await.0 == 400).then_some(())
    })
    .await;
}

/// A call as the Qlik REST connector makes it: POST with the method in a header. Status and body, or the text of a body that
/// is no JSON.
async fn ask(butler: &Butler, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let mut request = http().post(format!("{}{path}", butler.rest())).bearer_auth(butler.token());
    request = request.header("x-http-method-override", method);
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let bytes = answer.bytes().await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into()))
}

async fn copy(butler: &Butler, from: &Path, to: &Path, overwrite: bool) -> (u16, String) {
    let body = json!({ "fromFile": from, "toFile": to, "overwrite": overwrite.to_string() });
    let (status, answer) = ask(butler, "PUT", "/v4/filecopy", Some(&body)).await;
    (status, answer["message"].as_str().unwrap_or_default().to_owned())
}

/// Names of all that is in a folder, with what is being made.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn load_scripts_are_answered_as_by_butler_16() {
    let (butler, place) = start().await;
    let at = |name: &str| place.join(name).to_str().unwrap().to_owned();
    let message = |answer: &(u16, Value)| (answer.0, answer.1["message"].as_str().unwrap_or_default().to_owned());
    let said = |status: u16, text: &str| (status, text.to_owned());

    // A copy makes the directories around its target.
    let sub =
        |overwrite: &str| json!({ "fromFile": at("in/a.txt"), "toFile": at("out/sub/a.txt"), "overwrite": overwrite });
    let answer = ask(&butler, "PUT", "/v4/filecopy", Some(&sub("true"))).await;
    let expected = json!({
        "fromFile": at("in/a.txt"), "toFile": at("out/sub/a.txt"), "overwrite": true, "preserveTimestamp": false,
    });
    assert_eq!(answer, (201, expected));
    assert_eq!(fs::read_to_string(at("out/sub/a.txt")).unwrap(), "text");
    let answer = ask(&butler, "PUT", "/v4/filecopy", Some(&sub("yes"))).await;
    assert_eq!(message(&answer), said(400, "body/overwrite must be boolean"));

    // `..` is resolved before the test.
    let away = json!({ "fromFile": at("in/a.txt"), "toFile": at("out/../secret/a.txt") });
    for (path, what) in [("/v4/filecopy", "copy"), ("/v4/filemove", "move")] {
        let answer = ask(&butler, "PUT", path, Some(&away)).await;
        assert_eq!(message(&answer), said(403, &format!("No approved fromDir/toDir for file {what}")));
        let answer = ask(&butler, "PUT", path, None).await;
        assert_eq!(message(&answer), said(400, "body must be object"));
        let answer = ask(&butler, "PUT", path, Some(&json!({ "fromFile": at("in/a.txt") }))).await;
        assert_eq!(message(&answer), said(400, "Required parameter missing"));
    }

    // The target exists.
    fs::write(at("out/there"), "other").unwrap();
    let there = json!({ "fromFile": at("in/a.txt"), "toFile": at("out/there"), "overwrite": false });
    let answer = ask(&butler, "PUT", "/v4/filecopy", Some(&there)).await;
    assert_eq!((answer.0, fs::read_to_string(at("out/there")).unwrap().as_str()), (201, "other"));
    let (status, text) = message(&ask(&butler, "PUT", "/v4/filemove", Some(&there)).await);
    assert!(status == 500 && text.starts_with("Failed moving file"), "{status} {text}");
    assert_eq!(
        (fs::read_to_string(at("in/a.txt")).unwrap(), fs::read_to_string(at("out/there")).unwrap()),
        ("text".into(), "other".into())
    );

    let delete = |body: Option<Value>| {
        let butler = &butler;
        async move { ask(butler, "DELETE", "/v4/filedelete", body.as_ref()).await }
    };
    let none = delete(Some(json!({ "deleteFile": at("out/none.txt") }))).await;
    assert_eq!(message(&none), said(400, "Delete failed, file does not exist"));
    assert_eq!(message(&delete(Some(json!({}))).await), said(400, "Required parameter missing"));
    assert_eq!(message(&delete(None).await), said(400, "body must be object"));
    assert_eq!(delete(Some(json!({ "deleteFile": at("out/sub") }))).await, (204, Value::from("")));
    assert!(!Path::new(&at("out/sub")).exists());

    let qvd = ask(&butler, "POST", "/v4/createdirqvd", Some(&json!({ "directory": "../x" }))).await;
    assert_eq!(message(&qvd), said(403, "Directory must be within the QVD folder"));
    let body = json!({ "directory": "2031/q1" });
    assert_eq!(ask(&butler, "POST", "/v4/createdirqvd", Some(&body)).await, (201, body));
    assert!(Path::new(&at("qvd/2031/q1")).is_dir());
    let body = json!({ "directory": at("out/a/b") });
    assert_eq!(ask(&butler, "POST", "/v4/createdir", Some(&body)).await, (201, body));
    assert!(Path::new(&at("out/a/b")).is_dir());

    assert_eq!(
        butler
            .metric(r#"butler_plugin_file_ops_operations_total{instance="file-ops",operation="copy",result="done"}"#)
            .await,
        Some(1.0)
    );
    let checked = command(&["check", "-c", butler.config().to_str().unwrap()]).await;
    assert!(checked.stdout.contains("approved directories are there and can be used"), "{checked:?}");
}

#[tokio::test]
async fn nothing_leads_out_of_the_approved_directories() {
    let (butler, place) = start().await;
    let at = |name: &str| place.join(name).to_str().unwrap().to_owned();
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, place.join(name)).unwrap();
    link("../secret", "in/up");
    link(&at("secret"), "in/way");
    link(&at("secret"), "out/way");
    link("../secret", "out/up");
    fs::hard_link(at("secret/key"), at("in/second name")).unwrap();
    let forms = [
        "../secret/key",
        "./../secret/key",
        "x/../../secret/key",
        "..\\secret\\key",
        "\\..\\secret/key",
        "..//secret//key",
        "up/key",
        "way/key",
        "up/../../secret/key",
        "%2e%2e/secret/key",
        "..%2fsecret%2fkey",
        "%2e%2e%2fsecret%2fkey",
        "..%5csecret%5ckey",
        "..;/secret/key",
        "....//secret/key",
        "..%00/secret/key",
        "../secret/key\0.txt",
        "..\0/secret/key",
        "%c0%ae%c0%ae/secret/key",
        "\u{ff0e}\u{ff0e}/secret/key",
        "second name",
        "C:/x",
        "NUL",
        "~/key",
        "file:///x",
        "a:b",
    ];
    let long = "x".repeat(300);
    let deep = "y/".repeat(3000);
    let mut tried = 0;
    for form in forms.into_iter().chain([long.as_str(), deep.as_str()]) {
        let (from, to) = (format!("{}/{form}", at("in")), format!("{}/{form}", at("out")));
        let plain = at(&format!("out/got{tried}"));
        for (method, path, body) in [
            ("PUT", "/v4/filecopy", json!({ "fromFile": from, "toFile": plain, "overwrite": true })),
            ("PUT", "/v4/filemove", json!({ "fromFile": from, "toFile": plain, "overwrite": true })),
            ("DELETE", "/v4/filedelete", json!({ "deleteFile": to })),
        ] {
            let (status, answer) = ask(&butler, method, path, Some(&body)).await;
            assert!((400..500).contains(&status), "{method} {path} {body}: {status} {answer}");
            tried += 1;
        }
        // As targets some are plain names of files.
        for (method, path, body) in [
            ("PUT", "/v4/filecopy", json!({ "fromFile": at("in/a.txt"), "toFile": to, "overwrite": true })),
            ("POST", "/v4/createdirqvd", json!({ "directory": form })),
            ("POST", "/v4/createdir", json!({ "directory": to })),
        ] {
            let (status, answer) = ask(&butler, method, path, Some(&body)).await;
            assert!(status < 500 || answer.to_string().contains("a file is where"), "{path} {body}: {status} {answer}");
        }
        assert!(!Path::new(&plain).exists(), "{form}");
        assert_eq!(names(&place.join("secret")), ["key"], "{form}");
        assert_eq!(fs::read_to_string(at("secret/key")).unwrap(), "secret", "{form}");
    }
    let beside: Vec<String> = names(&place).into_iter().filter(|name| !name.starts_with("butler.")).collect();
    assert_eq!(beside, ["in", "out", "qvd", "secret"], "nothing was made beside the directories");

    let made = std::process::Command::new("mkfifo").arg(at("in/pipe")).status().unwrap();
    assert!(made.success());
    let (status, why) = copy(&butler, &place.join("in/pipe"), &place.join("out/pipe"), true).await;
    assert!(status == 403 && why.contains("neither a file nor a directory"), "{status} {why}");
}

#[tokio::test]
async fn a_full_or_read_only_disk_leaves_no_half_file() {
    let (place, disk) = (TempDir::new().unwrap(), Disk::in_memory(8));
    prepare(place.path());
    prepare(disk.path());
    fs::write(place.path().join("in/large"), vec![7; 12 << 20]).unwrap();
    fs::create_dir(place.path().join("in/tree")).unwrap();
    for name in ["a", "b", "c"] {
        fs::write(place.path().join("in/tree").join(name), vec![7; 4 << 20]).unwrap();
    }
    let butler = Butler::start(&config(place.path(), disk.path()).replace("qvdDir: ./qvd", "")).await;
    runs(&butler).await;
    let (from, out) = (place.path().join("in"), disk.path().join("out"));
    fs::write(out.join("there"), "old").unwrap();
    for (source, target) in [("large", "new"), ("large", "there"), ("tree", "tree")] {
        let (status, why) = copy(&butler, &from.join(source), &out.join(target), true).await;
        assert_eq!((status, why.as_str()), (500, "Failed copying file: there is no room left on the disk"), "{source}");
        assert_eq!(names(&out), ["there"], "{source}");
    }
    // From one disk to the other, by copying: the source stays.
    let body = json!({ "fromFile": from.join("large"), "toFile": out.join("there"), "overwrite": true });
    let (status, answer) = ask(&butler, "PUT", "/v4/filemove", Some(&body)).await;
    assert!(status == 500 && answer.to_string().contains("no room left"), "{answer}");
    assert_eq!(fs::read_to_string(out.join("there")).unwrap(), "old");
    assert_eq!(fs::metadata(from.join("large")).unwrap().len(), 12 << 20);
    // There is room for one of them.
    for (name, overwrite, status) in [("a", false, 201), ("b", false, 500)] {
        let body = json!({ "fromFile": from.join("tree").join(name), "toFile": out.join("a"), "overwrite": overwrite });
        assert_eq!(ask(&butler, "PUT", "/v4/filemove", Some(&body)).await.0, status, "{name}");
    }
    assert!(!from.join("tree/a").exists() && from.join("tree/b").exists());
    assert_eq!(fs::read(out.join("a")).unwrap(), vec![7; 4 << 20]);
    take_all_room(&disk.path().join("filler"));
    assert_eq!(copy(&butler, &from.join("a.txt"), &out.join("small"), false).await.0, 500);
    assert_eq!(names(&out), ["a", "there"]);

    disk.read_only();
    let (status, why) = copy(&butler, &from.join("a.txt"), &out.join("small"), false).await;
    assert!(status == 500 && why.contains("the disk is read-only"), "{status} {why}");
    let checked = command(&["check", "-c", butler.config().to_str().unwrap()]).await;
    assert!(checked.code != 0 && format!("{checked:?}").contains("the disk is read-only"), "{checked:?}");
}

#[tokio::test]
async fn a_large_copy_holds_up_nobody() {
    const SIZE: u64 = 1 << 30;
    let (butler, place) = start().await;
    let large = place.join("in/large");
    fs::File::create(&large).unwrap().set_len(SIZE).unwrap();
    let butler = Arc::new(butler);
    let copying = {
        let (butler, from, to) = (butler.clone(), large.clone(), place.join("out/large"));
        tokio::spawn(async move { copy(&butler, &from, &to, false).await })
    };
    let unfinished = || names(&place.join("out")).into_iter().find(|name| name.starts_with(".butler-"));
    wait_for("the copy to be under way", || async { unfinished() }).await;
    assert!(!place.join("out/large").exists(), "it has no name before it is whole");
    let (mut slowest, mut meanwhile) = (Duration::ZERO, 0);
    while !copying.is_finished() {
        let started = Instant::now();
        let ping = butler.get("/v4/butlerping").await.0;
        let small = copy(&butler, &place.join("in/a.txt"), &place.join(format!("out/small{meanwhile}")), false).await.0;
        assert_eq!((ping, small), (200, 201));
        slowest = slowest.max(started.elapsed());
        meanwhile += usize::from(!copying.is_finished());
    }
    assert_eq!(copying.await.unwrap(), (201, String::new()));
    assert!(meanwhile >= 3 && slowest < Duration::from_secs(5), "{meanwhile} meanwhile, the slowest took {slowest:?}");
    assert_eq!(fs::metadata(place.join("out/large")).unwrap().len(), SIZE);
    assert_eq!(unfinished(), None);
}

#[tokio::test]
async fn what_a_kill_leaves_goes_at_the_next_start() {
    let (butler, place) = start().await;
    let large = place.join("in/large");
    fs::File::create(&large).unwrap().set_len(4 << 30).unwrap();
    fs::write(place.join("out/large"), "old").unwrap();
    let url = format!("{}/v4/filecopy", butler.rest());
    let body = json!({ "fromFile": large, "toFile": place.join("out/large"), "overwrite": true });
    let request =
        http().put(url).bearer_auth(butler.token()).header("content-type", "application/json").body(body.to_string());
    let asked = tokio::spawn(async move { request.send().await.map(|answer| answer.status()) });
    let unfinished = || names(&place.join("out")).into_iter().find(|name| name.starts_with(".butler-"));
    wait_for("the copy to be under way", || async {
        let part = place.join("out").join(unfinished()?);
        (fs::metadata(part).ok()?.len() > 0).then_some(())
    })
    .await;
    let killed = butler.kill();
    assert!(asked.await.unwrap().is_err(), "the copy had ended before");
    assert_eq!(fs::read_to_string(place.join("out/large")).unwrap(), "old");
    assert!(unfinished().is_some(), "there is nothing to clean up");
    let butler = killed.start().await;
    wait_for("the unfinished file to be removed", || async { unfinished().is_none().then_some(()) }).await;
    wait_for("the log to say so", || async {
        butler.log().contains("the unfinished copy of a former run").then_some(())
    })
    .await;
    assert_eq!(names(&place.join("out")), ["large"]);
    fs::File::create(&large).unwrap().set_len(1 << 20).unwrap();
    assert_eq!(copy(&butler, &large, &place.join("out/large"), true).await.0, 201);
    assert_eq!(fs::metadata(place.join("out/large")).unwrap().size(), 1 << 20);
}

#[tokio::test]
async fn a_kill_while_a_directory_is_moved_onto_another_one_loses_neither() {
    let (folder, disk) = (Arc::new(TempDir::new().unwrap()), Disk::in_memory(1_200));
    prepare(folder.path());
    prepare(disk.path());
    let (from, out) = (folder.path().join("in/tree"), disk.path().join("out"));
    for place in [&from, &out.join("tree")] {
        fs::create_dir(place).unwrap();
    }
    fs::File::create(from.join("large")).unwrap().set_len(1 << 30).unwrap();
    fs::write(out.join("tree/old"), "old").unwrap();
    let config = config(folder.path(), disk.path()).replace("qvdDir: ./qvd", "");
    let butler = Butler::start_in(folder.clone(), &config, &[]).await;
    runs(&butler).await;
    let request = http().put(format!("{}/v4/filemove", butler.rest())).bearer_auth(butler.token());
    let body = json!({ "fromFile": from, "toFile": out.join("tree"), "overwrite": true });
    let request = request.header("content-type", "application/json").body(body.to_string());
    let asked = tokio::spawn(async move { request.send().await.map(|answer| answer.status()) });
    let unfinished = || names(&out).into_iter().find(|name| name.starts_with(".butler-"));
    wait_for("the move to be under way", || async {
        let is_one = |name: &String| fs::metadata(out.join(name).join("large")).is_ok_and(|found| found.len() > 0);
        names(&out).iter().any(is_one).then_some(())
    })
    .await;
    let killed = butler.kill();
    assert!(asked.await.unwrap().is_err(), "the move had ended before");
    assert!(unfinished().is_some(), "there is nothing to clean up");
    let butler = killed.start().await;
    wait_for("the unfinished tree to be removed", || async { unfinished().is_none().then_some(()) }).await;
    assert_eq!(fs::read_to_string(out.join("tree/old")).unwrap(), "old");
    assert_eq!(fs::metadata(from.join("large")).unwrap().len(), 1 << 30);
    runs(&butler).await;
    assert_eq!(ask(&butler, "PUT", "/v4/filemove", Some(&body)).await.0, 201);
    assert_eq!((names(&out), names(&out.join("tree"))), (vec!["tree".to_owned()], vec!["large".to_owned()]));
    assert!(!from.exists());
}

#[tokio::test]
async fn a_store_that_cannot_be_written_to_holds_up_no_copy() {
    let (butler, place) = start().await;
    let lock = StoreLock::take(&butler.folder().join("butler.db"));
    let started = Instant::now();
    assert_eq!(copy(&butler, &place.join("in/a.txt"), &place.join("out/a.txt"), false).await, (201, String::new()));
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    drop(lock);
    let log = butler.log();
    assert!(log.contains("would be left in the directory of the target if Butler ended now"), "{log}");
}

#[tokio::test]
async fn a_stop_ends_a_copy_and_removes_what_it_made() {
    let folder = Arc::new(TempDir::new().unwrap());
    prepare(folder.path());
    let place = folder.path().to_owned();
    let butler = Butler::start_in(folder.clone(), &config(&place, &place), &[]).await;
    runs(&butler).await;
    let large = place.join("in/large");
    fs::File::create(&large).unwrap().set_len(64 << 30).unwrap();
    let request = http().put(format!("{}/v4/filecopy", butler.rest())).bearer_auth(butler.token());
    let body = json!({ "fromFile": large, "toFile": place.join("out/large") });
    let request = request.header("content-type", "application/json").body(body.to_string());
    let asked = tokio::spawn(async move { request.send().await.map(|answer| answer.status().as_u16()) });
    wait_for("the copy to be under way", || async { (!names(&place.join("out")).is_empty()).then_some(()) }).await;
    let started = Instant::now();
    let (status, log) = butler.stop().await;
    assert!(status.success() && started.elapsed() < Duration::from_secs(15), "{:?} {log}", started.elapsed());
    assert_eq!(names(&place.join("out")), Vec::<String>::new(), "{log}");
    assert_ne!(asked.await.unwrap().ok(), Some(201));
}

#[tokio::test]
async fn of_many_that_copy_to_one_name_one_is_there_whole() {
    let (butler, place) = start().await;
    let butler = Arc::new(butler);
    let texts: Vec<String> = (0..8).map(|n| n.to_string().repeat(2_000_000)).collect();
    for (n, text) in texts.iter().enumerate() {
        fs::write(place.join(format!("in/{n}")), text).unwrap();
    }
    for overwrite in [false, true] {
        let target = place.join(format!("out/{overwrite}"));
        let copies = (0..8).map(|n| {
            let (butler, from, to) = (butler.clone(), place.join(format!("in/{n}")), target.clone());
            tokio::spawn(async move { copy(&butler, &from, &to, overwrite).await })
        });
        for copy in copies.collect::<Vec<_>>() {
            assert_eq!(copy.await.unwrap(), (201, String::new()));
        }
        let text = fs::read_to_string(&target).unwrap();
        assert!(texts.contains(&text), "{} bytes", text.len());
    }
    assert_eq!(names(&place.join("out")), ["false", "true"]);
}

#[tokio::test]
async fn directories_that_cannot_be_are_refused_and_those_that_may_come_are_waited_for() {
    let folder = Arc::new(TempDir::new().unwrap());
    let place = folder.path().to_owned();
    fs::create_dir(place.join("in")).unwrap();
    fs::write(place.join("in/a.txt"), "text").unwrap();
    let butler = Butler::start_in(folder, &config(&place, &place), &[]).await;
    runs(&butler).await;
    let (status, why) = copy(&butler, &place.join("in/a.txt"), &place.join("out/a.txt"), false).await;
    assert!(status == 500 && why.contains("/out cannot be opened: it is not there: make it"), "{status} {why}");
    wait_for("the warning", || async { butler.log().contains("/qvd: it is not there").then_some(()) }).await;
    let checked = command(&["check", "-c", butler.config().to_str().unwrap()]).await;
    assert!(checked.code != 0 && format!("{checked:?}").contains("it is not there"), "{checked:?}");
    fs::create_dir(place.join("out")).unwrap();
    assert_eq!(copy(&butler, &place.join("in/a.txt"), &place.join("out/a.txt"), false).await.0, 201);
}
