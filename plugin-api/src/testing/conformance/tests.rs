//! For each rule a plugin that breaks it.

mod of_settings;
#[cfg(feature = "runtime")]
mod with_runtime;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::{Delivery, DeliveryError, Endpoint, Health, Host, OperationError, Scope, StartError, kind};

/// Settings without fault.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Address.
    #[allow(dead_code, reason = "only read")]
    url: String,
    /// How often it is tried.
    #[serde(default = "three")]
    #[allow(dead_code, reason = "only read")]
    tries: u32,
}

fn three() -> u32 {
    3
}

/// What a plugin does wrong.
type Fault = u8;
const NOTHING: Fault = 0;
const MANIFEST_PANICS: Fault = 1;
const BAD_MANIFEST: Fault = 2;
const BAD_ENDPOINT_SCHEMA: Fault = 3;
const START_FAILS: Fault = 4;
const START_PANICS: Fault = 5;
const STARTS_ONCE: Fault = 6;
const PANICS_WITHOUT_TASK: Fault = 7;
const PANICS_ON_UNKNOWN_KIND: Fault = 8;
const PANICS_ON_UNKNOWN_FIELD: Fault = 9;
const HANGS: Fault = 10;
const SLEEPS_TOO_LONG: Fault = 11;
const TOO_FEW_OUTCOMES: Fault = 12;
const LARGE_PROGRESS: Fault = 13;
const REJECTS_REPEATED: Fault = 14;
const CHECK_PANICS: Fault = 15;
const RENDER_SENDS: Fault = 16;
const RENDER_UNSUPPORTED: Fault = 17;
const HEALTH_PANICS: Fault = 18;
const LOSES_DELIVERIES: Fault = 19;
const STOP_HANGS: Fault = 20;
const BACKGROUND_BLOCKS: Fault = 21;
const THREAD_REMAINS: Fault = 22;
const DROP_BLOCKS: Fault = 23;
const BLOCKS: Fault = 24;
const IMPORT_PANICS: Fault = 25;
const EMITS_UNNAMED: Fault = 27;
/// Not faults, but hard: a background task by the hour, deliveries that sleep.
const BUSY: Fault = 26;

/// A value that takes its time to be dropped.
struct Block;

impl Drop for Block {
    fn drop(&mut self) {
        std::thread::sleep(Duration::from_secs(6));
    }
}

struct Bad<const FAULT: u8> {
    host: Host,
    stopping: AtomicBool,
}

impl<const FAULT: u8> Plugin for Bad<FAULT> {
    type Settings = Settings;

    fn manifest() -> Manifest {
        assert!(FAULT != MANIFEST_PANICS, "no manifest");
        let mut manifest = Manifest::new("bad", "Breaks one rule").default_events(&["reload-task.*"]).concurrency(3);
        if matches!(FAULT, HANGS | SLEEPS_TOO_LONG | BLOCKS | LOSES_DELIVERIES) {
            manifest.deadline_seconds = 1;
        }
        match FAULT {
            BAD_MANIFEST => manifest.concurrency(0).operation("explode"),
            BAD_ENDPOINT_SCHEMA => {
                let mut endpoint = Endpoint::new("PUT", "/v5/bad", Scope::Admin, "");
                endpoint.body = json!({ "type": "nonsense" });
                manifest.endpoint(endpoint)
            }
            TOO_FEW_OUTCOMES => manifest.batch(4),
            // So the two cases of each kind are under way together, wherever it stands among the others.
            HANGS => manifest.concurrency(2),
            CHECK_PANICS => manifest.operation("check"),
            RENDER_SENDS | RENDER_UNSUPPORTED => manifest.operation("render"),
            IMPORT_PANICS => manifest.operation("import"),
            _ => manifest,
        }
    }

    async fn start(_: Settings, host: Host) -> Result<Self, StartError> {
        static STARTED: AtomicBool = AtomicBool::new(false);
        match FAULT {
            START_FAILS => return Err(StartError::Unavailable("nobody is there".to_owned())),
            START_PANICS => panic!("no start"),
            STARTS_ONCE => assert!(!STARTED.swap(true, Ordering::SeqCst), "started twice"),
            BACKGROUND_BLOCKS => {
                drop(host.spawn(async {
                    let block = Block;
                    std::future::pending::<()>().await;
                    drop(block);
                }));
            }
            THREAD_REMAINS => {
                let kept = host.clone();
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_secs(8));
                    drop(kept);
                });
            }
            BUSY => {
                let sleeper = host.clone();
                drop(host.spawn(async move {
                    loop {
                        sleeper.sleep(Duration::from_millis(100)).await;
                        sleeper.metrics().count("rounds_total", &[], 1);
                    }
                }));
            }
            _ => {}
        }
        Ok(Self { host, stopping: AtomicBool::new(false) })
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        let event = &delivery.event;
        match FAULT {
            PANICS_WITHOUT_TASK if event.kind.contains("-task.") => {
                let task = event.data.task.as_ref();
                task.expect("a task event has a task");
            }
            PANICS_ON_UNKNOWN_KIND => assert!(kind::ALL.contains(&event.kind.as_str()), "unknown kind"),
            PANICS_ON_UNKNOWN_FIELD => assert!(event.data.other.is_empty(), "unknown field"),
            HANGS if event.kind == kind::NODE_SILENT => std::future::pending().await,
            SLEEPS_TOO_LONG => self.host.sleep(Duration::from_secs(2)).await,
            LARGE_PROGRESS if event.kind == kind::NODE_SILENT => {
                return Err(DeliveryError::retry("later").with_progress("x".repeat(20_000).into()));
            }
            REJECTS_REPEATED if delivery.attempt > 1 => return Err(DeliveryError::reject("again?")),
            LOSES_DELIVERIES => {
                let reply = self.host.http().post("https://a.test/").send().await;
                if self.stopping.load(Ordering::SeqCst) {
                    std::future::pending::<()>().await;
                }
                reply?;
            }
            // Whatever becomes of it: the kit has seen it.
            EMITS_UNNAMED => drop(self.host.emit("bad.told", json!({})).await),
            BLOCKS if event.kind == kind::NODE_SILENT => std::thread::sleep(Duration::from_secs(3)),
            BUSY => {
                self.host.sleep(Duration::from_millis(700)).await;
                self.host.http().post("https://a.test/").send().await?;
            }
            _ => {}
        }
        Ok(())
    }

    async fn deliver_batch(&self, deliveries: &[Delivery]) -> Vec<Result<(), DeliveryError>> {
        if FAULT == TOO_FEW_OUTCOMES {
            return vec![Ok(())];
        }
        let mut results = Vec::new();
        for delivery in deliveries {
            results.push(self.deliver(delivery).await);
        }
        results
    }

    async fn invoke(&self, operation: &str, _: Value) -> Result<Value, OperationError> {
        match FAULT {
            CHECK_PANICS => panic!("no check"),
            RENDER_SENDS => {
                let _ = self.host.http().post("https://a.test/").send().await;
                Ok(Value::Null)
            }
            _ => Err(OperationError::Unsupported(operation.to_owned())),
        }
    }

    fn import(_: Value) -> Result<Value, OperationError> {
        panic!("no import")
    }

    async fn health(&self) -> Health {
        assert!(FAULT != HEALTH_PANICS, "no health");
        Health::Good
    }

    async fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        if FAULT == STOP_HANGS {
            self.host.sleep(Duration::from_secs(6)).await;
        }
    }
}

impl<const FAULT: u8> Drop for Bad<FAULT> {
    fn drop(&mut self) {
        if FAULT == DROP_BLOCKS {
            std::thread::sleep(Duration::from_secs(6));
        }
    }
}

fn settings() -> Value {
    json!({ "url": "https://a.test/" })
}

/// The one fault of a plugin.
fn fault<const FAULT: u8>() -> String {
    let report = examine::<Bad<FAULT>>(settings());
    assert_eq!(report.faults.len(), 1, "{report}");
    report.faults[0].clone()
}

#[test]
fn good_plugins_pass() {
    assert_eq!(examine::<Bad<NOTHING>>(settings()), Report::default());
    assert_eq!(examine::<Bad<BUSY>>(settings()), Report::default());
    conformance::<Bad<NOTHING>>(settings());
}

#[test]
fn the_list_is_readable() {
    let panic = panics::catch(|| conformance::<Bad<BAD_MANIFEST>>(settings())).unwrap_err();
    assert!(panic.starts_with("the plugin breaks rules of the house:\n  fault: its manifest asks"), "{panic}");
    assert!(panic.contains("\n  fault: the host calls no operation `explode`"), "{panic}");
}

#[test]
fn faults_of_manifest_and_start() {
    assert!(fault::<MANIFEST_PANICS>().starts_with("`manifest` panicked: no manifest at "));
    let schema = fault::<BAD_ENDPOINT_SCHEMA>();
    assert!(schema.starts_with("the schema of the body of `PUT /v5/bad`: the root: `type`"), "{schema}");
    assert_eq!(fault::<START_FAILS>(), "`start` with the settings of this test failed: nobody is there");
    assert!(fault::<START_PANICS>().contains("failed: panicked: no start at "));
    let report = examine::<Bad<STARTS_ONCE>>(settings());
    assert!(report.faults[0].contains("panicked: started twice"), "{report}");
    assert!(report.faults[1].contains("cannot be started a second time"), "{report}");
}

#[test]
fn faults_of_deliveries() {
    assert!(fault::<EMITS_UNNAMED>().contains("does not say that it emits `bad.told`"));
    let panic = fault::<PANICS_WITHOUT_TASK>();
    assert!(panic.contains("`reload-task.failed` without any facts panicked: a task event has a task"), "{panic}");
    let panic = fault::<PANICS_ON_UNKNOWN_KIND>();
    assert!(panic.contains("`moon.risen` (a kind that is not known) panicked: unknown kind"), "{panic}");
    let report = examine::<Bad<PANICS_ON_UNKNOWN_FIELD>>(settings());
    assert_eq!(report.faults.len(), kind::ALL.len(), "{report}");
    assert!(report.faults[0].contains("with fields that are not known panicked: unknown field"), "{report}");
    let large = examine::<Bad<LARGE_PROGRESS>>(settings());
    assert!(large.faults[0].contains("`node.silent` (a sample) has 20002 bytes"), "{large}");
    let few = examine::<Bad<TOO_FEW_OUTCOMES>>(settings());
    assert!(few.faults[0].ends_with("answered 4 deliveries with 1 results"), "{few}");
    let again = fault::<REJECTS_REPEATED>();
    assert!(again.starts_with("a repeated delivery of `reload-task.failed` (again) is rejected"), "{again}");
}

#[test]
fn deliveries_without_an_outcome() {
    let late = "got no outcome within its deadline";
    let report = examine::<Bad<HANGS>>(settings());
    let hanging = [
        format!("the delivery of `node.silent` (a sample) {late}"),
        format!("the delivery of `node.silent` with fields that are not known {late}"),
    ];
    assert_eq!(report.faults, hanging);
    let report = examine::<Bad<SLEEPS_TOO_LONG>>(settings());
    assert!(report.faults.len() == 3 && report.faults[0].ends_with(late), "{report}");
    let report = examine::<Bad<BLOCKS>>(settings());
    assert!(report.faults[0].contains("`node.silent` (a sample)") && report.faults[0].ends_with(late), "{report}");
}

#[test]
fn faults_of_operations() {
    assert!(fault::<CHECK_PANICS>().starts_with("the operation `check` panicked: no check at "));
    assert!(fault::<IMPORT_PANICS>().starts_with("the operation `import` panicked: no import at "));
    assert_eq!(fault::<RENDER_SENDS>(), "`render` must send nothing, but sent POST https://a.test/");
    assert!(fault::<RENDER_UNSUPPORTED>().ends_with("the operation `render`, but it is not supported"));
    assert!(fault::<HEALTH_PANICS>().starts_with("`health` panicked: no health at "));
}

#[test]
fn faults_of_a_stop() {
    let report = examine::<Bad<LOSES_DELIVERIES>>(settings());
    let text = "the delivery of `reload-task.failed` (under way) was under way when the instance was stopped, and got no \
                outcome";
    assert_eq!((report.faults.len(), report.faults[0].as_str()), (3, text), "{report}");
    assert_eq!(fault::<STOP_HANGS>(), "`stop` did not end within 5 s");
}

#[test]
fn a_background_task_that_does_not_end() {
    assert!(fault::<BACKGROUND_BLOCKS>().starts_with("a background task blocks its thread"));
}

#[test]
fn a_drop_that_does_not_end() {
    assert!(fault::<DROP_BLOCKS>().starts_with("the plugin did not come to its end"));
}

#[test]
fn a_thread_that_outlives_the_stop() {
    assert!(fault::<THREAD_REMAINS>().starts_with("something still holds the host"));
}
