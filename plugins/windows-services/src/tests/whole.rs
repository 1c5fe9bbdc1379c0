use std::path::Path;
use std::sync::Arc;

use butler_plugin_api::testing::{FakeHost, block_on as block_on_host, conformance};
use butler_plugin_api::{Health, OperationError, Plugin as _, ServiceError, StartError};
use serde_json::{Value, json};

use super::{printed, script};
use crate::WindowsServices;

fn settings(program: &str) -> Value {
    json!({
        "hosts": [{ "host": "srv1", "services": ["Spooler", { "name": "BITS", "friendlyName": "Transfer" }] }],
        "backend": { "sc": { "program": program } }
    })
}

/// Prints the files of a folder.
fn sc(folder: &Path) -> String {
    std::fs::write(folder.join("list"), printed("query_all_de")).unwrap();
    std::fs::write(folder.join("config"), printed("qc_de")).unwrap();
    script(folder, "sc", r#"cd "$(dirname "$0")"; case "$2" in qc) cat config;; *) cat list;; esac"#)
}

#[test]
fn it_keeps_the_rules_of_the_house() {
    let folder = tempfile::tempdir().unwrap();
    conformance::<WindowsServices>(settings(&sc(folder.path())));
    conformance::<WindowsServices>(settings("/nowhere/sc"));
    conformance::<WindowsServices>(json!({ "hosts": [{ "services": ["ssh"] }], "backend": { "systemd": {} },
        "when": { "cron": "* * * * *", "timeZone": "Europe/Oslo" }, "failAfter": 2, "states": false, "statesEvery": "5m",
        "timeouts": { "call": "2s", "round": "20s" }, "limits": { "hosts": 1, "processes": 1 } }));
}

#[test]
fn it_looks_when_the_time_has_come() {
    let folder = tempfile::tempdir().unwrap();
    let fake = FakeHost::new("windows-services");
    let plugin: Arc<WindowsServices> = block_on_host(fake.run(settings(&sc(folder.path())))).unwrap();
    fake.wait_until("it waits", |fake| fake.awaits_tick("look"));
    assert!(fake.emitted().is_empty(), "it looks only then");
    fake.tick("look");
    fake.wait_until("the states", |fake| fake.emitted().len() >= 3);
    let emitted = fake.emitted();
    let (kind, data) = &emitted[0];
    assert_eq!(kind, "service.stopped");
    assert_eq!(
        data,
        &json!({
            "node": "srv1", "message": "`Transfer` on srv1 is stopped, and was not started since the machine was",
            "service": {
                "host": "srv1", "name": "BITS", "displayName": "Acme-Ladedienst für Übersichten", "friendlyName": "Transfer",
                "startType": "Automatic (delayed start)", "dependencies": ["RpcSs", "http"],
                "exePath": r#""C:\Program Files\Acme\reload.exe" --service --url http://localhost:80"#,
                "state": "STOPPED", "exitCode": 1077, "serviceExitCode": 0
            }
        })
    );
    fake.wait_until("it waits", |fake| fake.awaits_tick("look"));
    assert_eq!(block_on_host(plugin.health()), Health::Good);
    std::fs::write(folder.path().join("list"), "[SC] OpenSCManager FEHLER 5:\r\n\r\nZugriff verweigert\r\n").unwrap();
    fake.tick("look");
    fake.wait_until("what cannot be checked", |fake| fake.emitted().len() >= 5);
    fake.wait_until("it waits", |fake| fake.awaits_tick("look"));
    let health = block_on_host(plugin.health());
    assert!(matches!(&health, Health::Bad(text) if text.contains("error 5 (Zugriff verweigert)")), "{health:?}");
    fake.stop();
}

#[test]
fn a_look_that_is_under_way_ends_with_the_instance() {
    let folder = tempfile::tempdir().unwrap();
    let hanging = script(folder.path(), "sc", r#"echo $$ > "$(dirname "$0")/pid"; exec sleep 600"#);
    let fake = FakeHost::new("windows-services");
    let plugin: Arc<WindowsServices> = block_on_host(fake.run(settings(&hanging))).unwrap();
    fake.wait_until("it waits", |fake| fake.awaits_tick("look"));
    fake.tick("look");
    let pid = folder.path().join("pid");
    fake.wait_until("the program", |_| std::fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n')));
    // A second time does not begin a second look.
    fake.tick("look");
    assert!(!fake.awaits_tick("look"));
    fake.stop();
    drop(plugin);
    let process = format!("/proc/{}/stat", std::fs::read_to_string(pid).unwrap().trim());
    fake.wait_until("its end", |_| !std::fs::read_to_string(&process).is_ok_and(|stat| !stat.contains(") Z ")));
}

#[test]
fn a_check_says_what_it_found() {
    let folder = tempfile::tempdir().unwrap();
    let fake = FakeHost::new("windows-services");
    let plugin: WindowsServices = block_on_host(fake.start(settings(&sc(folder.path())))).unwrap();
    let check = |plugin: &WindowsServices| block_on_host(plugin.invoke("check", Value::Null));
    assert_eq!(check(&plugin), Ok(json!("srv1: Spooler RUNNING, BITS STOPPED")));
    assert_eq!(
        block_on_host(plugin.invoke("render", Value::Null)),
        Err(OperationError::Unsupported("render".to_owned()))
    );
    let plugin: WindowsServices = block_on_host(fake.start(settings("/nowhere/sc"))).unwrap();
    let Err(OperationError::Failed(text)) = check(&plugin) else { panic!("it has not failed") };
    assert!(text.starts_with("srv1: `/nowhere/sc` cannot be started"), "{text}");
    assert!(fake.emitted().is_empty());
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refused = |settings: Value| refused_by(&FakeHost::new("windows-services"), settings);

    let text = refused(json!({ "hosts": [{ "host": "-x", "services": ["A"] }] }));
    assert!(text.contains("`host` is `-x`"), "{text}");
    let text = refused(json!({ "hosts": [{ "services": ["a b"] }], "backend": { "systemd": {} } }));
    assert!(text.contains("`a b` is no name of a service of systemd"), "{text}");
    let fake = FakeHost::new("x").fail_service("schedule", ServiceError::Invalid("no such zone".to_owned()));
    assert_eq!(refused_by(&fake, json!({ "hosts": [{ "services": ["A"] }] })), "`when`: no such zone");
}

fn refused_by(fake: &FakeHost, settings: Value) -> String {
    match block_on_host(fake.start::<WindowsServices>(settings)) {
        Err(StartError::Config(text)) => text,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it has started"),
    }
}
