use std::fs;
use std::path::Path;

use butler_plugin_api::testing::{FakeHost, block_on, conformance, manifest_of};
use butler_plugin_api::{Scope, ServiceError};
use serde_json::json;
use tempfile::TempDir;

use super::*;

fn site() -> TempDir {
    let site = TempDir::new().unwrap();
    for folder in ["in", "out", "qvd"] {
        fs::create_dir(site.path().join(folder)).unwrap();
    }
    fs::write(site.path().join("in/a.txt"), "text").unwrap();
    site
}

fn fake(site: &TempDir) -> FakeHost {
    FakeHost::new("file-ops").config_dir(site.path().to_str().unwrap())
}

fn settings() -> Value {
    json!({
        "copy": [{ "from": "in", "to": "out" }],
        "move": [{ "from": "in", "to": "out" }],
        "delete": ["out"],
        "createDir": ["out"],
        "qvdDir": "./qvd",
    })
}

/// Status, message or body of the answer to a request.
fn ask(plugin: &FileOps, method: &str, route: &str, body: &Value) -> (u16, String) {
    let mut request = Request::new(method, route);
    request.body = body.to_string().into_bytes();
    let response = block_on(plugin.call(request));
    let value: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let raw = || String::from_utf8(response.body.clone()).unwrap();
    let text = value["message"].as_str().map_or_else(raw, str::to_owned);
    (response.status, text)
}

#[test]
fn requests_are_answered_as_by_the_original() {
    let site = site();
    let path = |name: &str| site.path().join(name).to_str().unwrap().to_owned();
    let fake = fake(&site);
    let plugin = block_on(fake.start::<FileOps>(settings())).unwrap();
    let copy = |from: &str, to: &str| {
        ask(
            &plugin,
            "PUT",
            "/v4/filecopy",
            &json!({ "fromFile": from, "toFile": to, "overwrite": true, "preserveTimestamp": false }),
        )
    };
    let moved = |from: &str, to: &str| {
        ask(&plugin, "PUT", "/v4/filemove", &json!({ "fromFile": from, "toFile": to, "overwrite": false }))
    };
    let delete = |name: &str| ask(&plugin, "DELETE", "/v4/filedelete", &json!({ "deleteFile": name }));
    let create = |body: Value| ask(&plugin, "POST", "/v4/createdir", &body);
    let qvd = |directory: &str| ask(&plugin, "POST", "/v4/createdirqvd", &json!({ "directory": directory }));
    let is = |answer: (u16, String), status: u16, text: &str| assert_eq!((answer.0, answer.1.as_str()), (status, text));
    let begins = |answer: (u16, String), status: u16, text: &str| {
        assert!(answer.0 == status && answer.1.starts_with(text), "{answer:?} instead of {status} {text}");
    };

    let (status, body) = copy(&path("in/./x/../a.txt"), &path("out//sub/a.txt"));
    let expected = format!(
        r#"{{"fromFile":"{}","toFile":"{}","overwrite":true,"preserveTimestamp":false}}"#,
        path("in/a.txt"),
        path("out/sub/a.txt")
    );
    assert_eq!((status, body), (201, expected));
    assert_eq!(fs::read_to_string(path("out/sub/a.txt")).unwrap(), "text");
    is(copy("", "/x"), 400, "Required parameter missing");
    is(copy("/x", ""), 400, "Required parameter missing");
    is(ask(&plugin, "PUT", "/v4/filemove", &json!({})), 400, "Required parameter missing");
    is(delete(""), 400, "Required parameter missing");
    is(create(json!({})), 400, "Required parameter missing");
    is(
        copy(r"\\nas\share\a", &path("out/a")),
        400,
        r"UNC paths not supported for file copy operations when running Butler on non-Windows OS. Path: \\nas\share\a",
    );
    is(
        moved(&path("in/a.txt"), "//nas/share/a"),
        400,
        "UNC paths not supported for file move operations when running Butler on non-Windows OS. Path: //nas/share/a",
    );
    begins(delete("//nas/share/a"), 400, "UNC paths not supported for file copy operations");
    begins(copy("in/a.txt", &path("out/a")), 400, "fromFile must be an absolute path: in/a.txt");
    begins(delete(&path("out/a\0")), 400, "deleteFile holds a NUL");
    // What is not approved is not looked for.
    is(copy(&path("elsewhere/none"), &path("out/a")), 403, "No approved fromDir/toDir for file copy");
    is(copy(&path("in/a.txt"), &path("out/../etc/a.txt")), 403, "No approved fromDir/toDir for file copy");
    is(copy(&path("in"), &path("out/a")), 403, "No approved fromDir/toDir for file copy");
    is(moved(&path("out/sub/a.txt"), &path("in/a")), 403, "No approved fromDir/toDir for file move");
    is(delete(&path("in/a.txt")), 403, "No approved directory for file delete");
    is(delete(&path("out")), 403, "No approved directory for file delete");
    is(copy(&path("in/none"), &path("out/a")), 400, "fromFile does not exist");
    is(moved(&path("in/none"), &path("out/a")), 400, "fromFile does not exist");
    is(delete(&path("out/none.txt")), 400, "Delete failed, file does not exist");
    is(
        moved(&path("in/a.txt"), &path("out/sub/a.txt")),
        500,
        "Failed moving file: toFile exists, and `overwrite` is false",
    );
    is(
        moved(&path("in/a.txt"), &path("out/b.txt")),
        201,
        &format!(r#"{{"fromFile":"{}","toFile":"{}","overwrite":false}}"#, path("in/a.txt"), path("out/b.txt")),
    );
    is(delete(&path("out/b.txt")), 204, "");
    is(create(json!({ "directory": path("out/x/./y") })), 201, &format!(r#"{{"directory":"{}"}}"#, path("out/x/./y")));
    is(create(json!({ "directory": path("in/x") })), 403, "No approved directory for creating directories");
    begins(create(json!({ "directory": "" })), 400, "directory must be an absolute path");
    is(create(json!({ "directory": "//nas/share" })), 403, "No approved directory for creating directories");
    is(qvd("2031/q1"), 201, r#"{"directory":"2031/q1"}"#);
    is(qvd("/etc"), 201, r#"{"directory":"/etc"}"#);
    is(qvd(""), 201, r#"{"directory":""}"#);
    is(qvd("../x"), 403, "Directory must be within the QVD folder");
    begins(qvd(&"x".repeat(256)), 400, "directory is too long");
    assert!(Path::new(&path("qvd/2031/q1")).is_dir() && Path::new(&path("qvd/etc")).is_dir());
    begins(ask(&plugin, "PUT", "/v4/filecopy", &json!([])), 400, "");
    is(ask(&plugin, "PUT", "/v4/other", &json!({})), 404, "the plugin file-ops does not serve /v4/other");
    block_on(plugin.stop());
}

#[test]
fn what_is_not_configured_is_not_approved() {
    let site = site();
    let fake = fake(&site);
    let plugin = block_on(fake.start::<FileOps>(json!({}))).unwrap();
    let path = site.path().join("in/a.txt");
    let (from, to) = (path.to_str().unwrap(), site.path().join("out/a"));
    for (method, route, body, text) in [
        ("PUT", "/v4/filecopy", json!({ "fromFile": from, "toFile": to }), "No approved fromDir"),
        ("PUT", "/v4/filemove", json!({ "fromFile": from, "toFile": to }), "No approved fromDir"),
        ("DELETE", "/v4/filedelete", json!({ "deleteFile": from }), "No approved directory"),
        ("POST", "/v4/createdir", json!({ "directory": from }), "No approved directory"),
        ("POST", "/v4/createdirqvd", json!({ "directory": "x" }), "there is no QVD folder"),
    ] {
        let (status, message) = ask(&plugin, method, route, &body);
        assert!(status == 403 && message.starts_with(text), "{status} {message}");
    }
    let checked = block_on(plugin.invoke("check", Value::Null)).unwrap();
    assert!(checked.as_str().unwrap().contains("no directories are approved"), "{checked}");
}

#[test]
fn a_directory_that_is_away_degrades_the_health_and_fails_the_check() {
    let site = site();
    let fake = fake(&site).manual_time();
    fs::rename(site.path().join("out"), site.path().join("away")).unwrap();
    let plugin = block_on(fake.run::<FileOps>(settings())).unwrap();
    fake.wait_until("the look", |_| block_on(plugin.health()) != Health::Good);
    let Health::Degraded(text) = block_on(plugin.health()) else { panic!("it is bad") };
    assert!(text.contains("/out: it is not there: make it, or mount"), "{text}");
    let error = block_on(plugin.invoke("check", Value::Null)).unwrap_err().to_string();
    assert!(error.contains("/out: it is not there"), "{error}");
    let from = site.path().join("in/a.txt");
    let body = json!({ "fromFile": from, "toFile": site.path().join("out/a.txt") });
    let (status, message) = ask(&plugin, "PUT", "/v4/filecopy", &body);
    assert!(status == 500 && message.contains("Failed copying file: the approved directory"), "{status} {message}");

    fs::rename(site.path().join("away"), site.path().join("out")).unwrap();
    fake.wait_until("the pause", |fake| fake.slept().contains(&LOOKED_AT));
    fake.advance(LOOKED_AT);
    fake.wait_until("the next look", |_| block_on(plugin.health()) == Health::Good);
    assert_eq!(ask(&plugin, "PUT", "/v4/filecopy", &body).0, 201);
    let checked = block_on(plugin.invoke("check", Value::Null)).unwrap();
    assert!(checked.as_str().unwrap().contains("3 approved directories are there"), "{checked}");
    assert_eq!(fs::read_dir(site.path().join("qvd")).unwrap().count(), 0);
    fake.stop();
}

#[test]
fn what_a_killed_process_left_is_removed_where_it_was_noted() {
    let site = site();
    let (file, tree) = (".butler-file-ops-1-a-1.part", ".butler-file-ops-1-a-2.part");
    let own = site.path().join("out/.butler-file-ops-1-a-9.part");
    fs::create_dir_all(site.path().join("out/deep").join(tree).join("x")).unwrap();
    fs::write(site.path().join("out").join(file), "half").unwrap();
    for (name, text) in [("1-a-1-0", "put aside"), ("1-a-1-1", "replaced"), ("1-a-2-0", "put aside")] {
        let folder = site.path().join(if name == "1-a-2-0" { "out/deep" } else { "out" });
        let folder = folder.join(format!(".butler-file-ops-{name}.part"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("x"), text).unwrap();
    }
    fs::create_dir(site.path().join("out/deep/b")).unwrap();
    fs::write(&own, "noted by nobody").unwrap();
    let out = site.path().join("out").to_str().unwrap().to_owned();
    let fake = fake(&site)
        .manual_time()
        .store(&format!("part/{file}"), json!({ "directory": out, "folders": [], "name": "a" }))
        .store(&format!("part/{tree}"), json!({ "directory": out, "folders": ["deep"], "name": "b" }))
        .store("part/.butler-file-ops-1-a-3.part", json!({ "directory": "/elsewhere", "folders": [], "name": "c" }))
        .store("part/.butler-file-ops-1-a-4.part", json!("nonsense"));
    let plugin = block_on(fake.run::<FileOps>(settings())).unwrap();
    fake.wait_until("the sweep", |fake| {
        (1..=4).all(|number| fake.stored(&format!("part/.butler-file-ops-1-a-{number}.part")).is_none())
    });
    let left: Vec<_> = walk(&site.path().join("out"));
    // The old directory has its name again, unless another one has it.
    let aside = "deep/.butler-file-ops-1-a-2-0.part";
    let expected = [".butler-file-ops-1-a-9.part", "a", "a/x", "deep", aside, &format!("{aside}/x"), "deep/b"];
    assert_eq!(left, expected);
    assert_eq!(fs::read_to_string(site.path().join("out/a/x")).unwrap(), "put aside");
    assert!(fake.records().iter().any(|record| record.message.contains("is what `b` was before")));
    for number in 1..=4 {
        assert_eq!(fake.stored(&format!("part/.butler-file-ops-1-a-{number}.part")), None);
    }
    // Nothing is noted when the work is done.
    let body = json!({ "fromFile": site.path().join("in/a.txt"), "toFile": site.path().join("out/deep/a.txt") });
    assert_eq!(ask(&plugin, "PUT", "/v4/filecopy", &body).0, 201);
    fake.wait_until("the note to go", |fake| block_on(fake.host().storage().list("part/")).unwrap().is_empty());
    assert_eq!(fake.metric(r#"operations_total{operation="copy",result="done"}"#), Some(1.0));
    assert_eq!(fake.metric("copied_bytes_total"), Some(4.0));
    fake.stop();
}

/// A share that hangs answers no system call.
#[test]
fn a_directory_that_does_not_answer_is_named_and_holds_up_nobody() {
    let site = site();
    let fake = fake(&site).manual_time();
    let plugin = block_on(fake.start::<FileOps>(settings())).unwrap();
    let (release, hang) = std::sync::mpsc::channel::<()>();
    let hang = Mutex::new(hang);
    let shared = plugin.0.clone();
    let needs = probe::needs(&shared.approved);
    let (tell, hanging) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        block_on(shared.watch(move |looked_at| {
            probe::look(&needs, |directory| {
                looked_at(directory);
                if directory.location.to_string().ends_with("/out") {
                    let _ = tell.send(());
                    let _ = hang.lock().unwrap().recv();
                }
            })
        }));
    });
    hanging.recv().unwrap();
    for _ in 0..6 {
        fake.wait_until("the look", |fake| fake.slept().last() == Some(&LOOK));
        fake.advance(LOOK);
        fake.wait_until("the pause", |fake| fake.slept().last() == Some(&LOOKED_AT));
        let Health::Degraded(text) = block_on(plugin.health()) else { panic!("it is bad") };
        assert!(text.contains("/out does not answer: see to the disk or share"), "{text}");
        fake.advance(LOOKED_AT);
    }
    assert_eq!(ask(&plugin, "POST", "/v4/createdirqvd", &json!({ "directory": "a" })).0, 201);
    drop(release);
    fake.wait_until("the next look", |_| block_on(plugin.health()) == Health::Good);
}

#[test]
fn what_comes_when_the_instance_stops_is_told_to_come_again() {
    let site = site();
    let fake = fake(&site);
    let plugin = block_on(fake.start::<FileOps>(settings())).unwrap();
    let fake = fake.fail_service("storage", ServiceError::Failed("x".to_owned()));
    let body = json!({ "fromFile": site.path().join("in/a.txt"), "toFile": site.path().join("out/a.txt") });
    // It waits for its turn when the stop begins, or comes when that is over.
    plugin.0.is_ending.store(true, Ordering::Relaxed);
    assert_eq!(ask(&plugin, "PUT", "/v4/filecopy", &body), (503, ENDING.to_owned()));
    block_on(plugin.stop());
    assert_eq!(ask(&plugin, "PUT", "/v4/filecopy", &body), (503, ENDING.to_owned()));
    assert!(!site.path().join("out/a.txt").exists());
    // Where the store is waited for, it is told that it fails.
    assert!(!fake.records().iter().any(|record| record.message.contains("would be left")), "it waited for the store");
}

fn walk(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .flat_map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let inner = if entry.path().is_dir() { walk(&entry.path()) } else { Vec::new() };
            let inner: Vec<String> = inner.into_iter().map(|inner| format!("{name}/{inner}")).collect();
            std::iter::once(name).chain(inner)
        })
        .collect();
    names.sort();
    names
}

#[test]
fn it_keeps_the_rules_of_the_house() {
    let site = site();
    let at = |name: &str| site.path().join(name);
    conformance::<FileOps>(json!({
        "copy": [{ "from": at("in"), "to": at("out") }],
        "move": [{ "from": at("in"), "to": at("out") }],
        "delete": [at("out")],
        "createDir": [at("out")],
        "qvdDir": at("qvd"),
    }));
    let manifest = manifest_of::<FileOps>();
    let names: Vec<&str> = manifest.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    assert_eq!(names, ["fileCopy", "fileMove", "fileDelete", "createDir", "createDirQVD"]);
    assert!(manifest.endpoints.iter().all(|endpoint| endpoint.scope == Scope::Files));
}
