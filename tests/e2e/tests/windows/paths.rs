//! Paths of Windows in the config: drives, shares, those past the rules for names, letters beyond ASCII, either slash.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use e2e::{Butler, Sink, Wine, failure, fields, http};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{hook, runs, stops, wine};

/// Starts with store and log file named by such a path to this folder, tells an event, and stops. What `doctor` says meanwhile.
async fn works(wine: &Wine, folder: &Arc<TempDir>, inside: &str) -> String {
    let sink = Sink::start().await;
    let config = format!(
        "store: {{ path: '{inside}\\butler.db' }}\nlog: {{ file: {{ path: '{inside}\\logs\\butler.log' }} }}\n\
         plugins:\n{}",
        hook(&sink)
    );
    Butler::prepare(folder, &config);
    let path = Wine::path(&folder.path().join("butler.yaml"));
    let checked = wine.ask(&["check", "-c", &path]).await;
    assert_eq!(checked.code, 0, "{checked:?}");
    let butler = wine.butler_as_is(folder, &[]).await;
    butler.send(&[failure(&fields())]);
    sink.wait_where("the alert", |request| request.json()["kind"] == "reload-task.failed").await;
    let doctor = wine.ask(&["doctor", "-c", &path]).await;
    stops(butler).await;
    assert!(folder.path().join("butler.db").is_file());
    let logs: Vec<_> = fs::read_dir(folder.path().join("logs")).unwrap().collect();
    assert_eq!(logs.len(), 1, "{logs:?}");
    assert!(
        doctor.stdout.contains(&format!("ok      store                        {inside}\\butler.db has version ")),
        "{doctor:?}"
    );
    doctor.stdout
}

#[tokio::test]
async fn the_store_may_be_named_by_a_drive_by_a_share_and_past_the_rules_for_names() {
    let wine = wine();
    for form in [r"C:\", r"\\?\C:\", r"C:/"] {
        let folder = wine.folder_on_c("büro größe ");
        let name = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
        let doctor = works(&wine, &folder, &format!("{form}{name}")).await;
        assert!(doctor.contains(" MB free"), "{doctor}");
    }
    // Wine has no shares but this one: the whole system. It does not tell the room on it.
    let folder = Arc::new(tempfile::Builder::new().prefix("büro größe ").tempdir().unwrap());
    let inside = Wine::path(folder.path()).replacen("Z:", r"\\?\unix", 1);
    works(&wine, &folder, &inside).await;
}

/// Asks `file-ops` to copy.
async fn copy(butler: &Butler, from: &str, to: &str) -> (u16, Value) {
    let body = json!({ "fromFile": from, "toFile": to, "overwrite": "true", "preserveTimestamp": "false" });
    let request = http().post(format!("{}/v4/filecopy", butler.rest())).header("x-http-method-override", "PUT");
    let request = request.header("content-type", "application/json").bearer_auth(butler.token()).body(body.to_string());
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
}

fn prepare(folder: &Path) {
    for name in ["in", "out", "secret"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    fs::write(folder.join("in/Größe.txt"), "text").unwrap();
    fs::write(folder.join("secret/key"), "secret").unwrap();
}

#[tokio::test]
async fn load_scripts_copy_by_any_spelling_and_never_out_of_the_approved_folders() {
    let (wine, folder) = (wine(), wine().folder_on_c("files"));
    prepare(folder.path());
    let place = Wine::path(folder.path());
    let config = format!(
        "plugins:\n  - use: file-ops\n    settings:\n      copy: [{{ from: '{place}\\in', to: '{place}\\out' }}]\n"
    );
    let butler = wine.butler(&folder, &config).await;
    runs(&butler, "file-ops").await;
    let slashes = place.replace('\\', "/");
    let out = folder.path().join("out");
    for (number, from) in [
        format!(r"{place}\in\Größe.txt"),
        format!("{slashes}/in/Größe.txt"),
        // Windows does not tell upper from lower case.
        format!(r"{}\IN\GRÖSSE.txt", place.to_uppercase()).replace("GRÖSSE", "GRÖßE"),
    ]
    .iter()
    .enumerate()
    {
        let (status, answer) = copy(&butler, from, &format!(r"{place}\out\{number}.txt")).await;
        assert_eq!(status, 201, "{from}: {answer}; {}", butler.log());
        assert_eq!(fs::read_to_string(out.join(format!("{number}.txt"))).unwrap(), "text");
    }
    for from in [
        format!(r"{place}\in\..\secret\key"),
        format!(r"{place}\secret\key"),
        format!(r"\\?\{place}\in\Größe.txt"),
        r"\\localhost\c$\in\Größe.txt".to_owned(),
        format!(r"{place}\in\Größe.txt:stream"),
        format!(r"{place}\in\nul"),
        "in\\Größe.txt".to_owned(),
    ] {
        let (status, answer) = copy(&butler, &from, &format!(r"{place}\out\no.txt")).await;
        assert!((400..500).contains(&status), "{from}: {status} {answer}");
        assert!(!out.join("no.txt").exists(), "{from}");
    }
    assert_eq!(fs::read_dir(&out).unwrap().count(), 3, "nothing more");
    stops(butler).await;
}
