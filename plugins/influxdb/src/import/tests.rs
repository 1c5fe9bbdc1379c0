use butler_plugin_api::testing::{FakeHost, block_on, damage, filled_settings, import_of};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::Influxdb;

/// A section of a task, switched on.
fn task(name: &str) -> Value {
    let tag = json!({ "static": [{ "name": "section", "value": name }], "dynamic": { "useTaskTags": true } });
    json!({ "enable": true, "tag": tag })
}

/// All keys; of the versions of InfluxDB those of version 3 count.
fn complete() -> Value {
    let mut influx = json!({
        "enable": true,
        "hostIP": "influx.test",
        "hostPort": 8087,
        "version": 3,
        "v1Config": {
            "auth": { "enable": true, "username": "joe", "password": "joes ${secret}" },
            "dbName": "butler1",
            "retentionPolicy": { "name": "ten", "duration": "10d" },
        },
        "v2Config": {
            "org": "my-org", "bucket": "butler2", "description": "d", "token": "my-v2-token", "retentionDuration": "10d",
        },
        "v3Config": {
            "database": "butler3", "description": "d", "token": "my-v3-token", "retentionDuration": "10d",
            "writeTimeout": 20_000, "queryTimeout": 60_000,
        },
        "auth": { "enable": true, "username": "jane", "password": "janes-secret" },
        "dbName": "butler0",
        "retentionPolicy": { "name": "old", "duration": "5w" },
        "tag": { "static": [{ "name": "butler_instance", "value": "prod-1" }] },
        "reloadTaskFailure": {
            "enable": true,
            "tailScriptLogLines": 20,
            "tag": {
                "static": [{ "name": "section", "value": "failure" }],
                "dynamic": { "useAppTags": true, "useTaskTags": false },
            },
        },
        "reloadTaskSuccess": {
            "enable": true,
            "allReloadTasks": { "enable": false },
            "byCustomProperty": { "enable": true, "customPropertyName": "Butler_Success", "enabledValue": "Yes" },
            "headScriptLogLines": 15,
            "tailScriptLogLines": 25,
            "tag": { "static": null, "dynamic": { "useAppTags": false, "useTaskTags": false } },
        },
    });
    for name in [
        "userSyncTaskSuccess",
        "userSyncTaskFailure",
        "externalProgramTaskSuccess",
        "externalProgramTaskFailure",
        "distributeTaskSuccess",
        "distributeTaskFailure",
        "preloadTaskSuccess",
        "preloadTaskFailure",
    ] {
        influx[name] = task(name);
    }
    let destination = |value: &str| {
        let tag = json!({ "static": [{ "name": "foo", "value": value }] });
        json!({ "influxDb": { "enable": true, "tag": tag } })
    };
    let license = |value: &str| json!({ "enable": true, "destination": destination(value) });
    json!({
        "influxDb": influx,
        "uptimeMonitor": { "enable": true, "storeInInfluxdb": { "enable": true } },
        "serviceMonitor": { "enable": true, "alertDestination": { "influxDb": { "enable": true } } },
        "qlikSenseVersion": { "versionMonitor": license("version") },
        "qlikSenseLicense": {
            "serverLicenseMonitor": license("server"),
            "licenseMonitor": license("access"),
            "licenseRelease": license("release"),
        },
        "udpServerConfig": { "queueMetrics": { "influxdb": {
            "enable": true,
            "writeFrequency": 20_000,
            "measurementName": "butler_udp_queue",
            "tags": [{ "name": "a", "value": "b" }],
        } } },
    })
}

/// With other values in the section `influxDb`.
#[allow(clippy::needless_pass_by_value, reason = "written where it is used")]
fn with(changes: Value) -> Value {
    let mut old = complete();
    for (name, value) in changes.as_object().unwrap() {
        old["influxDb"][name] = value.clone();
    }
    old
}

fn starts(answer: &Value) -> Value {
    let settings = filled_settings(answer).pop().unwrap();
    block_on(FakeHost::new("influxdb").start::<Influxdb>(settings.clone())).unwrap();
    settings
}

#[test]
fn all_keys_are_taken_over() {
    let answer = import_of::<Influxdb>(&complete());
    insta::assert_snapshot!("complete", format!("{answer:#}"));
    starts(&answer);
}

#[test]
fn everything_off_is_nothing() {
    let old = with(json!({ "enable": false }));
    let answer = import_of::<Influxdb>(&old);
    assert_eq!(answer["instances"], json!([]));
    insta::assert_snapshot!("off", format!("{:#}", answer["remarks"]));
    // Nothing of it is to be written.
    let mut old = complete();
    let off = json!({ "enable": false });
    for (_, section) in old["influxDb"].as_object_mut().unwrap() {
        if section["enable"] == true {
            section["enable"] = false.into();
        }
    }
    for section in ["uptimeMonitor", "serviceMonitor"] {
        old[section]["enable"] = false.into();
    }
    old["qlikSenseVersion"]["versionMonitor"]["destination"]["influxDb"] = off.clone();
    for section in ["serverLicenseMonitor", "licenseMonitor"] {
        old["qlikSenseLicense"][section]["destination"]["influxDb"] = off.clone();
    }
    old["qlikSenseLicense"]["licenseRelease"]["enable"] = false.into();
    assert_eq!(import_of::<Influxdb>(&old)["instances"], json!([]));
    assert_eq!(import_of::<Influxdb>(&json!({}))["remarks"], json!([]));
}

#[test]
fn versions_have_settings_of_their_own() {
    let server = |changes: Value| {
        let mut settings = starts(&import_of::<Influxdb>(&with(changes)));
        for other in ["tags", "measurements", "headScriptLogLines", "tailScriptLogLines"] {
            settings.as_object_mut().unwrap().remove(other);
        }
        settings
    };
    let url = "http://influx.test:8087";
    let v1 = json!({ "url": url, "version": 1, "database": "butler1", "username": "joe", "password": "joes ${secret}",
                     "retentionPolicy": "ten", "retention": "10d" });
    assert_eq!(server(json!({ "version": 1 })), v1);
    let flat = json!({ "url": url, "version": 1, "database": "butler0", "username": "jane", "password": "janes-secret",
                       "retentionPolicy": "old", "retention": "5w" });
    // Without a version it is 1.
    assert_eq!(server(json!({ "version": null, "v1Config": null })), flat);
    let open = json!({ "auth": { "enable": false, "username": "x", "password": "y" }, "dbName": "d" });
    assert_eq!(server(json!({ "version": 1, "v1Config": open })), json!({ "url": url, "version": 1, "database": "d" }));
    let v2 = json!({ "url": url, "version": 2, "org": "my-org", "bucket": "butler2", "token": "my-v2-token" });
    assert_eq!(server(json!({ "version": 2 })), v2);
    let v3 = json!({ "url": url, "version": 3, "database": "butler3", "token": "my-v3-token", "timeout": "20000ms" });
    assert_eq!(server(json!({})), v3);
    assert_eq!(server(json!({ "hostPort": null }))["url"], "http://influx.test:8086");
}

#[test]
fn without_a_server_there_is_no_instance() {
    for changes in [
        json!({ "hostIP": null }),
        json!({ "hostIP": "a b" }),
        json!({ "version": 4 }),
        json!({ "version": "3" }),
        json!({ "version": 2, "v2Config": { "org": "o", "bucket": "b", "token": "" } }),
        json!({ "v3Config": null }),
    ] {
        let answer = import_of::<Influxdb>(&with(changes.clone()));
        assert_eq!(answer["instances"], json!([]), "{changes}");
        assert!(answer["remarks"].to_string().contains("there is no instance without"), "{changes}");
    }
}

#[test]
fn successes_are_of_all_tasks_or_of_those_with_a_property() {
    let rules = |change: &dyn Fn(&mut Value)| {
        let mut old = complete();
        change(&mut old["influxDb"]["reloadTaskSuccess"]);
        let answer = import_of::<Influxdb>(&old);
        answer["instances"][0]["on"].as_array().unwrap()[1..].to_vec()
    };
    let succeeded = json!(["reload-task.succeeded"]);
    assert_eq!(rules(&|it| it["allReloadTasks"]["enable"] = true.into()), [json!({ "events": succeeded })]);
    let named = |name: &'static str| rules(&move |it| it["byCustomProperty"]["customPropertyName"] = name.into());
    for (name, path) in
        [("Show in Influx", "task.customProperties.Show in Influx"), ("a.b", "task.customProperties['a.b']")]
    {
        assert_eq!(named(name), [json!({ "events": succeeded, "where": { path: "Yes" } })]);
    }
    assert!(named("a']").is_empty() && named("").is_empty());
    assert!(rules(&|it| it["byCustomProperty"]["enable"] = false.into()).is_empty());
    assert!(rules(&|it| it["byCustomProperty"]["enabledValue"] = "> 5".into()).is_empty());
    assert!(rules(&|it| it["enable"] = false.into()).is_empty());
}

/// Butler 16 wrote them as failed.
#[test]
fn distributions_that_were_aborted_are_written() {
    let answer = import_of::<Influxdb>(&complete());
    let events = answer["instances"][0]["on"][0]["events"].as_array().unwrap();
    assert!(events.contains(&json!("distribute-task.failed")) && events.contains(&json!("distribute-task.aborted")));
    let measurements = &answer["instances"][0]["settings"]["measurements"];
    let marks = json!({ "tags": { "section": "distributeTaskFailure" } });
    assert_eq!([&measurements["distribute_task_failed"], &measurements["distribute_task_aborted"]], [&marks, &marks]);
    assert!(answer["remarks"].to_string().contains("in `distribute_task_aborted` now"));
    let answer = import_of::<Influxdb>(&with(json!({ "distributeTaskFailure": { "enable": false } })));
    assert!(!answer["instances"].to_string().contains("distribute-task.aborted"));
}

#[test]
fn tags_beyond_the_most_are_left_out() {
    let tags: Vec<Value> = (0..31).map(|number| json!({ "name": format!("t{number}"), "value": "x" })).collect();
    let answer = import_of::<Influxdb>(&with(json!({ "tag": { "static": tags } })));
    assert_eq!(starts(&answer)["tags"].as_object().unwrap().len(), 30);
    assert!(answer["remarks"].to_string().contains("influxDb.tag.static[30]"));
}

#[test]
fn what_does_not_fit_is_told() {
    for (changes, part) in [
        (
            json!({ "tag": { "static": [{ "name": "time", "value": "x" }] } }),
            "does not allow a tag with the name `time`",
        ),
        (
            json!({ "version": 1, "v1Config": { "dbName": "b", "retentionPolicy": { "name": "n", "duration": "1h30m" } } }),
            "`1h30m` is not one number",
        ),
        (json!({ "v3Config": { "database": "b", "token": "t", "writeTimeout": 60_000 } }), "it is 50000 ms now"),
        (json!({ "reloadTaskFailure": { "enable": true, "tailScriptLogLines": 2000 } }), "at most 1000 lines of"),
    ] {
        let answer = import_of::<Influxdb>(&with(changes));
        assert!(answer["remarks"].to_string().contains(part), "{part}: {:#}", answer["remarks"]);
        starts(&answer);
        assert_eq!(answer["instances"].as_array().unwrap().len(), 1, "{part}");
    }
}

proptest! {
    #[test]
    fn broken_configs_are_read(version in 1..4, faults in prop::collection::vec(any::<(usize, usize)>(), 1..9)) {
        let mut old = with(json!({ "version": version }));
        for (place, how) in faults {
            damage(&mut old, place, how);
        }
        import_of::<Influxdb>(&old);
    }
}
