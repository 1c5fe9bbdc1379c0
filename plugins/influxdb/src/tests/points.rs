//! Points of every kind.

use butler_plugin_api::butler16::LogLines;
use butler_plugin_api::testing::{FakeHost, block_on, sample_delivery, sample_event};
use butler_plugin_api::{Data, Event, Plugin, ScriptLog, kind};
use serde_json::{Value, json};

use super::{maker, refused, settings};
use crate::Influxdb;
use crate::points::Maker;

/// Lines without time.
fn lines(maker: &Maker, event: &Event) -> Vec<String> {
    let log = event
        .data
        .script_log
        .as_ref()
        .and_then(|log| maker.script_log(event).map(|wanted| LogLines::of_event(log, wanted.head, wanted.tail)));
    maker.points(event, log.as_ref()).iter().filter_map(|point| point.line(None)).collect()
}

fn one(maker: &Maker, event: &Event) -> String {
    let [line] = lines(maker, event).try_into().unwrap();
    line
}

#[allow(clippy::needless_pass_by_value, reason = "written where it is used")]
fn event(kind: &str, data: Value) -> Event {
    Event { data: Data::from_json(&data), ..sample_event(kind) }
}

#[test]
fn every_kind_is_points() {
    let fake = FakeHost::new("influx");
    let mut text = String::new();
    block_on(async {
        let plugin: Influxdb = fake.start(settings(json!({ "tags": { "env": "prod" } }))).await.unwrap();
        for kind in kind::ALL.iter().chain(&["moon.risen"]) {
            let delivery = serde_json::to_value(sample_delivery(kind)).unwrap();
            let shown = plugin.invoke("render", delivery).await.unwrap();
            let shown = shown.as_str().unwrap();
            assert!(!shown.is_empty(), "{kind}");
            text.extend(["## ", *kind, "\n", &shown.replace('\r', "␍").replace(',', "\n  ,"), "\n"]);
        }
    });
    insta::assert_snapshot!("kinds", text);
    assert!(fake.requests().is_empty(), "nothing is sent to show what would be sent");
}

#[test]
fn every_kind_has_a_measurement_which_the_settings_tell_who_writes_another() {
    for queue in ["butler_udp_queue", "my-queue"] {
        let settings =
            |name: &str| json!({ "queueMeasurement": queue, "measurements": { name: { "tags": { "a": "b" } } } });
        for kind in kind::ALL {
            let points = maker(json!({ "queueMeasurement": queue })).points(&sample_event(kind), None);
            let right = points[0].measurement.clone();
            for point in &points {
                let points = maker(settings(&point.measurement)).points(&sample_event(kind), None);
                assert!(points.iter().any(|point| point.tags.contains_key("a")), "{kind}");
            }
            let plain = kind.replace(['-', '.'], "_");
            for wrong in [kind.to_string(), plain.clone(), plain.replace('_', " ")] {
                // `butler_uptime` is another measurement of its kind.
                if points.iter().any(|point| point.measurement == wrong) {
                    continue;
                }
                let error = refused(settings(&wrong));
                assert!(
                    error.contains(&format!("`{wrong}` is no")) && error.contains(&format!("write `{right}`")),
                    "{error}"
                );
            }
        }
    }
    assert!(refused(json!({ "measurements": { "_moon.risen": {} } })).contains("write `moon_risen`"));
    assert!(refused(json!({ "measurements": { "": {} } })).contains("`measurements`"));
    assert!(refused(json!({ "measurements": { "a-b": {} }, "queueMeasurement": "a.b" })).contains("write `a_b`"));
}

#[test]
fn memory_is_the_line_of_butler_16() {
    let mb = |mb: f64| json!((mb * 1_048_576.0).round());
    let mut event = event(kind::BUTLER_UPTIME, json!({ "butler": { "version": "16.0.4", "memory": {} } }));
    let memory = json!({ "heapUsedBytes": 31_457_280, "heapTotalBytes": 42_205_184, "externalBytes": 3_670_016,
                         "processBytes": 94_497_669 });
    assert!(mb(30.0) == 31_457_280.0 && mb(90.12).as_f64().unwrap() - 94_497_669.0 < 2.0);
    let butler = event.data.butler.as_mut().unwrap();
    butler.memory = serde_json::from_value(memory).unwrap();
    assert_eq!(
        lines(&maker(json!({ "tags": { "env": "prod" } })), &event),
        ["butler_memory_usage,env=prod,version=16.0.4 external=3.5,heap_total=40.25,heap_used=30,process_memory=90.12"]
    );
    // A version without a managed heap: what it does not have is left out.
    event.data.butler.as_mut().unwrap().memory.as_mut().unwrap().heap_used_bytes = None;
    assert!(!one(&maker(json!({})), &event).contains("heap_used"));
}

#[test]
fn durations_are_computed_as_in_butler_16() {
    let mut event = sample_event(kind::USER_SYNC_TASK_SUCCEEDED);
    event.data.execution.as_mut().unwrap().duration_ms = Some(5_436_000);
    let line = one(&maker(json!({})), &event);
    for part in [
        "task_executionDuration_sec=5436,",
        "task_executionDuration_min=90.6,",
        "task_executionDuration_h=1.51,",
        r#"task_executionDuration_json="{\"hours\":1,\"minutes\":30,\"seconds\":36}","#,
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[test]
fn a_failure_without_script_log_says_so() {
    let mut event = sample_event(kind::RELOAD_TASK_FAILED);
    event.data.script_log = None;
    let line = one(&maker(json!({})), &event);
    for part in [
        "task_executingNodeName=unknown",
        "task_executionStatusNum=-1",
        "task_exeuctionStatusText=Script\\ log\\ not\\ available",
        "task_executionStatusText=FinishedFail",
        "scriptLog=\"Script log not available\"",
        "task_scriptLogSize=0",
        "task_scriptLogTailCount=0",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!line.contains("reload_log") && !line.contains("Duration") && !line.contains("Time_json"), "{line}");

    event.kind = kind::RELOAD_TASK_SUCCEEDED.to_owned();
    let line = one(&maker(json!({})), &event);
    assert!(line.contains("task_executingNodeName=sense1.lab.test") && line.contains("Duration_sec=66"), "{line}");
    assert!(line.contains("task_scriptLogHeadCount=0,task_scriptLogSize=0,task_scriptLogTailCount=0"), "{line}");
}

#[test]
fn what_is_not_known_is_left_out() {
    let event = event(kind::PRELOAD_TASK_FAILED, json!({ "task": { "id": "t", "name": "Load" }, "missing": ["app"] }));
    assert_eq!(
        one(&maker(json!({})), &event),
        "preload_task_failed,task_id=t,task_name=Load log_message=\"Preload task failed: Load\""
    );
    let nothing = super::points::event(kind::RELOAD_TASK_FAILED, json!({}));
    assert!(one(&maker(json!({})), &nothing).contains("log_message=\"Reload task failed\""));
    for kind in kind::ALL {
        for line in lines(&maker(json!({})), &super::points::event(kind, json!({}))) {
            assert!(!line.contains("undefined") && !line.contains("null") && !line.contains("NaN"), "{line}");
        }
    }
}

#[test]
fn states_of_services_have_numbers() {
    let of = |state: &str, start: &str| {
        let service = json!({ "service": { "host": "h", "name": "n", "state": state, "startType": start } });
        one(&maker(json!({})), &event(kind::SERVICE_STATE, service))
    };
    let running = "startup_mode_num=0,startup_mode_text=\"Automatic\",state_num=4,state_text=\"RUNNING\"";
    assert_eq!(of("RUNNING", "Automatic"), format!("win_service_state,host=h,service_name=n {running}"));
    assert!(of("FOO", "x").contains("startup_mode_num=-1,startup_mode_text=\"x\",state_num=-1,state_text=\"FOO\""));
    assert!(of("PAUSED", "Automatic (delayed start)").contains("startup_mode_num=1,"));
}

#[test]
fn tags_of_the_settings_have_their_places() {
    let of = |settings: Value, kind: &str| one(&maker(settings), &sample_event(kind));
    let kind = kind::EXTERNAL_PROGRAM_TASK_FAILED;
    let section = of(json!({ "measurements": { "external_program_task_failed": { "tags": { "host": "X" } } } }), kind);
    assert!(section.contains(",host=X,"), "{section}");
    let all = of(json!({ "tags": { "host": "X", "env": "a b" } }), kind);
    assert!(all.contains(",host=sense1,") && all.contains(",env=a\\ b,"), "{all}");
    assert!(all.contains(",taskTag_finance=true,taskTag_nightly=true"), "{all}");
    let off = json!({ "measurements": { "reload_task_success": { "taskTags": false, "tags": { "appTag_eu": "mine" } },
                                        "reload_task_aborted": { "appTags": false } } });
    let line = of(off.clone(), kind::RELOAD_TASK_SUCCEEDED);
    assert!(!line.contains("taskTag_") && line.contains("appTag_eu=mine"), "{line}");
    let line = of(off.clone(), kind::RELOAD_TASK_ABORTED);
    assert!(line.contains("taskTag_nightly=true") && !line.contains("appTag_"), "{line}");
    assert!(of(off, kind::RELOAD_TASK_FAILED).contains("appTag_eu=true"));
    let settings = json!({ "measurements": { "qlik_sense_license": { "tags": { "license_type": "x", "a": "b" } } } });
    let licenses = lines(&maker(settings), &sample_event(kind::ACCESS_LICENSE_USAGE));
    assert!(licenses[0].starts_with("qlik_sense_license,a=b,license_type=analyzer "), "{}", licenses[0]);
}

#[test]
fn users_have_slashes_but_in_releases() {
    let mut event = sample_event(kind::RELOAD_TASK_FAILED);
    for (user, tag) in [(r"LAB\\anna", ",user=LAB//anna "), (r"LAB\anna", ",user=LAB/anna ")] {
        event.data.user = Some(user.to_owned());
        assert!(one(&maker(json!({})), &event).contains(tag));
    }
    assert!(one(&maker(json!({})), &sample_event(kind::ACCESS_LICENSE_RELEASED)).contains(r",user=LAB\ann "));
}

#[test]
fn a_licence_without_dates_and_a_dry_run() {
    let license = event(kind::SERVER_LICENSE_STATUS, json!({ "serverLicense": { "expired": false } }));
    assert_eq!(one(&maker(json!({})), &license), "qlik_sense_server_license license_expired=false");
    let unknown = event(kind::SERVER_LICENSE_STATUS, json!({ "serverLicense": {} }));
    assert!(lines(&maker(json!({})), &unknown).is_empty());
    let dry = json!({ "licenseRelease": { "released": [{ "type": "analyzer", "user": "LAB\\ann" }], "dryRun": true } });
    assert!(lines(&maker(json!({})), &event(kind::ACCESS_LICENSE_RELEASED, dry)).is_empty());
    let never = json!({ "licenseRelease": { "released": [{ "type": "analyzer", "user": "LAB\\ann" }] } });
    assert!(one(&maker(json!({})), &event(kind::ACCESS_LICENSE_RELEASED, never)).ends_with(" never_used=true"));
}

#[test]
fn counters_of_an_interval_keep_their_sum() {
    let line = one(&maker(json!({ "queueMeasurement": "my queue" })), &sample_event(kind::BUTLER_INGEST));
    assert!(line.starts_with("my\\ queue,queue_type=task_results backpressure_active=0,"), "{line}");
    let number = |name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=")).unwrap();
        rest.split([',', ' ']).next().unwrap().parse::<f64>().unwrap()
    };
    let drops = ["queue_full", "rate_limit", "size", "duplicate"].map(|what| number(&format!("dropped_{what}")));
    assert!((number("messages_dropped_total") - drops.iter().sum::<f64>()).abs() < 0.1, "{line}");
    // A message whose event was known is dropped, and not queued.
    let received = number("messages_queued") + number("messages_dropped_total");
    assert_eq!((number("messages_received"), received, number("messages_queued")), (1200.0, 1200.0, 1192.0), "{line}");
    assert_eq!((number("processing_time_p95_ms"), number("queue_utilization_pct")), (4.2, 0.01));
    let idle = one(&maker(json!({})), &event(kind::BUTLER_INGEST, json!({ "ingest": { "duplicates": 2 } })));
    assert!(idle.contains(",messages_queued=0,"), "of an interval before: {idle}");
    let times = ",processing_time_avg_ms=0,processing_time_max_ms=0,processing_time_p95_ms=0,";
    assert!(idle.contains(times), "{idle}");
    let full = json!({ "ingest": { "bufferedBytes": 90, "capacityBytes": 100 } });
    assert!(one(&maker(json!({})), &event(kind::BUTLER_INGEST, full)).contains("backpressure_active=1,"));
    let none = json!({ "ingest": { "bufferedBytes": 90, "capacityBytes": 0 } });
    assert!(!one(&maker(json!({})), &event(kind::BUTLER_INGEST, none)).contains("backpressure"));
}

#[test]
fn texts_of_a_megabyte_and_many_tags_stay_within_the_limits() {
    let mut event = sample_event(kind::RELOAD_TASK_SUCCEEDED);
    let long = "ö\u{1}\"\\".repeat(1 << 18);
    let task = event.data.task.as_mut().unwrap();
    task.name = long.clone();
    task.tags = (0..5000).map(|number| format!("{number} {}", "t=,".repeat(1000))).collect();
    event.data.app.as_mut().unwrap().tags = task.tags.clone();
    event.data.log.as_mut().unwrap().message = long.clone();
    event.data.script_log = Some(ScriptLog {
        head: vec![long.clone(); 15],
        tail: vec![long.clone(); 25],
        rows: 40,
        ..ScriptLog::default()
    });
    let line = one(&maker(json!({})), &event);
    let series = line.split_once(" execution_id").unwrap().0;
    assert!(series.len() < 65_535, "{}", series.len());
    assert!(line.len() < 500_000 && line.contains("taskTag_0\\ t\\=\\,"), "{}", line.len());
}

#[test]
fn a_test_is_marked_as_one() {
    let mut event = sample_event(kind::RELOAD_TASK_FAILED);
    event.source = Event::TEST.to_owned();
    assert!(one(&maker(json!({})), &event).contains(",test=true,"));
}
