//! `butler doctor`: the whole chain link by link, each with its failing case by its cause.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod certificates;
mod end_to_end;
#[cfg(unix)]
mod machine;
mod running;
mod sense;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use e2e::qlik::{Options, Run, Site, Status};
use e2e::{Output, Sense, Sink, provide_test_plugins, run_with};
use serde_json::Value;

/// What the doctor said.
struct Said {
    code: i32,
    findings: Vec<Value>,
    verdict: String,
    stderr: String,
}

/// Runs the doctor of a config, with its answer as JSON.
async fn doctor(config: &Path, more: &[&str]) -> Said {
    doctor_under(config, more, &[]).await
}

/// The same with environment variables.
async fn doctor_under(config: &Path, more: &[&str], environment: &[(&str, &str)]) -> Said {
    let output = raw(config, &[&["--json"], more].concat(), environment).await;
    let json: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let findings = json["findings"].as_array().unwrap().clone();
    Said { code: output.code, findings, verdict: json["verdict"].as_str().unwrap().to_owned(), stderr: output.stderr }
}

async fn raw(config: &Path, more: &[&str], environment: &[(&str, &str)]) -> Output {
    let owned = |text: &&str| (*text).to_owned();
    let mut arguments = vec!["doctor".to_owned(), "-c".to_owned(), config.to_str().unwrap().to_owned()];
    arguments.extend(more.iter().map(owned));
    let environment: Vec<(String, String)> = environment.iter().map(|(k, v)| (owned(k), owned(v))).collect();
    let run = move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let environment: Vec<(&str, &str)> = environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        run_with(&arguments, &environment)
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

impl Said {
    /// A finding about a link with this verdict that says all of these words, in its detail or remedy.
    fn finds(&self, link: &str, verdict: &str, words: &[&str]) -> String {
        let text = |finding: &Value| {
            format!("{} {}", finding["detail"].as_str().unwrap(), finding["remedy"].as_str().unwrap_or_default())
        };
        let fits = |finding: &&Value| {
            finding["link"] == link
                && finding["verdict"] == verdict
                && words.iter().all(|word| text(finding).contains(word))
        };
        let found = self.findings.iter().find(fits);
        let missing = || panic!("no finding `{link}` {verdict} with {words:?} in {:#?}", self.findings);
        found.map_or_else(missing, text)
    }

    /// The links that have failed.
    fn failed(&self) -> BTreeSet<&str> {
        let failed = self.findings.iter().filter(|finding| finding["verdict"] == "failed");
        failed.map(|finding| finding["link"].as_str().unwrap()).collect()
    }

    /// Nothing but these links has failed, and the exit code says so.
    fn only_fails(&self, links: &[&str]) {
        assert_eq!(self.failed(), links.iter().copied().collect(), "{:#?}", self.findings);
        assert_eq!(self.code, i32::from(!links.is_empty()), "{}", self.stderr);
        assert_eq!(self.verdict == "failed", !links.is_empty());
    }
}

/// Lets nobody but the owner into a folder.
fn only_owner(folder: &Path) {
    #[cfg(unix)]
    machine::set(folder, 0o700);
}

/// A simulated Qlik Sense whose exported files lie in a folder that only its owner may enter.
async fn sense_with(options: Options) -> Sense {
    let sense = Sense::with(options).await;
    only_owner(sense.folder());
    sense
}

/// The same with the sample site.
async fn sense() -> Sense {
    sense_with(Options::default()).await
}

/// Writes a config beside a simulated Qlik Sense, nothing running; sections that a test does not care for are added.
fn write(folder: &Path, config: &str) -> PathBuf {
    let mut text = "version: 1\n".to_owned();
    for (key, section) in [
        ("store:", "store: { path: butler.db, maxSize: 1MB }\n"),
        ("rest:", "rest: { listen: \"127.0.0.1:0\" }\n"),
        ("pluginDirs:", "pluginDirs: [plugins]\n"),
    ] {
        if !config.lines().any(|line| line.starts_with(key)) {
            text.push_str(section);
        }
    }
    let path = folder.join("butler.yaml");
    std::fs::write(&path, text + config).unwrap();
    provide_test_plugins(folder, config);
    path
}

/// A webhook with whole events.
fn desk(sink: &Sink, more: &str) -> String {
    format!(
        "plugins:\n  - use: webhook\n    name: desk\n    {more}\n    settings: {{ url: \"{}\", format: event }}\n",
        sink.url("/desk")
    )
}

/// The usual routes of the simulated site.
const ROUTES: &str = "on: [{ events: [reload-task.failed], where: { task.customProperties.taskGroup: [sales, stock], task.tags: nightly } }]";

#[tokio::test]
async fn a_healthy_chain_has_a_verdict_for_each_link_in_both_forms() {
    let (sense, sink) = (sense().await, Sink::start().await);
    let long_ago = Run::new(Status::FinishedSuccess).ending_at(SystemTime::now() - Duration::from_hours(48));
    sense.site().run_task(Site::SAMPLE_RELOAD_TASK, "5d2f9a10-7c3b-4e6a-9d41-6b1c2e3f4a01", long_ago).unwrap();
    let butler = sense.butler(&format!("store: {{ path: butler.db, maxSize: 1MB }}\n{}", desk(&sink, ROUTES))).await;
    let said = doctor(butler.config(), &[]).await;
    said.only_fails(&[]);
    assert_eq!((said.verdict.as_str(), said.stderr.as_str()), ("note", ""), "{:#?}", said.findings);
    for link in [
        "config",
        "file permissions",
        "store",
        "disk space",
        "rest",
        "qlik",
        "certificate client",
        "certificate ca",
        "certificate server",
        "certificate chain",
        "clock",
        "rights",
        "custom properties",
        "tags",
        "engine",
        "qlik version",
        "instance desk",
        "daemon",
    ] {
        said.finds(link, "ok", &[]);
    }
    said.finds("rights", "ok", &["LAB\\sa_repository sees 7 tasks, 3 apps, 3 users, 1 execution results"]);
    said.finds("road UDP", "note", &["nothing was heard yet"]);
    said.finds("log appender", "note", &["--wait-for-appender"]);
    for finding in &said.findings {
        let keys: BTreeSet<&str> = finding.as_object().unwrap().keys().map(String::as_str).collect();
        assert!(keys.is_subset(&BTreeSet::from(["link", "verdict", "detail", "remedy"])), "{finding}");
        let texts: Vec<&str> = keys.iter().map(|key| finding[*key].as_str().unwrap()).collect();
        assert!(keys.len() >= 3 && texts.iter().all(|text| !text.is_empty()), "{finding}");
        assert!(["ok", "note", "failed"].contains(&finding["verdict"].as_str().unwrap()), "{finding}");
    }
    assert_eq!(sink.received().iter().filter(|request| request.method == "POST").count(), 0);

    let lines = raw(butler.config(), &[], &[]).await;
    assert_eq!((lines.code, lines.stderr.as_str()), (0, ""), "{lines:?}");
    let begins: Vec<(&str, &str)> =
        lines.stdout.lines().filter(|line| !line.starts_with(' ')).map(|line| line.split_at(8)).collect();
    assert_eq!(begins.len(), said.findings.len(), "{lines:?}");
    for (finding, (verdict, line)) in said.findings.iter().zip(begins) {
        assert_eq!(verdict.trim_end(), finding["verdict"].as_str().unwrap());
        assert!(line.starts_with(finding["link"].as_str().unwrap()), "{line}");
    }

    butler.send(&[e2e::failure(&e2e::fields())]);
    e2e::wait_for("the node", || async {
        butler.get("/v5/nodes").await.1["nodes"][0]["name"].is_string().then_some(())
    })
    .await;
    let said = doctor(butler.config(), &[]).await;
    said.finds("log appender", "ok", &["sense1 at 20"]);
    said.finds("road UDP", "ok", &["last heard: sense1"]);
}

#[tokio::test]
async fn a_config_that_cannot_be_used_is_exit_code_2_in_both_forms() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "plugins:\n  - use: consol\n");
    let said = doctor(&path, &[]).await;
    assert_eq!((said.code, said.verdict.as_str()), (2, "failed"));
    said.finds("config", "failed", &["1 error in", "consol"]);
    let lines = raw(&path, &[], &[]).await;
    assert_eq!((lines.code, lines.stdout.as_str()), (2, ""), "{lines:?}");
    assert!(lines.stderr.starts_with("1 error in "), "{lines:?}");
    let wrong = raw(&path, &["--wait-for-appender", "soon"], &[]).await;
    assert!(wrong.code == 2 && wrong.stderr.contains("write a whole number and a unit"), "{wrong:?}");
}
