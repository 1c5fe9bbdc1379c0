use butler_plugin_api::testing::{FakeHost, block_on, damage, filled_settings, import_of};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::Licenses;

fn complete() -> Value {
    json!({ "qlikSenseLicense": {
        "serverLicenseMonitor": {
            "enable": true, "frequency": "every 24 hours", "alert": { "thresholdDays": 45 },
        },
        "licenseMonitor": { "enable": true, "frequency": "every 6 hours" },
        "licenseRelease": {
            "enable": true,
            "dryRun": true,
            "frequency": "at 04:30",
            "neverRelease": {
                "user": [{ "userDir": "INTERNAL", "userId": "sa_api" }, { "userDir": "LAB", "userId": "ann" }],
                "tag": ["Keep licence"],
                "customProperty": [{ "name": "LicenseManage", "value": "do-not-release" }],
                "userDirectory": ["INTERNAL", "ADMIN"],
                "inactive": "Yes", "blocked": "no", "removedExternally": "ignore",
            },
            "licenseType": {
                "analyzer": { "enable": true, "releaseThresholdDays": 30 },
                "professional": { "enable": true, "releaseThresholdDays": 60 },
            },
        },
    } })
}

fn settings(old: &Value) -> Value {
    import_of::<Licenses>(old)["instances"][0]["settings"].clone()
}

#[test]
fn all_keys_are_taken_over() {
    let answer = import_of::<Licenses>(&complete());
    insta::assert_snapshot!("complete", format!("{answer:#}"));
    for settings in filled_settings(&answer) {
        block_on(FakeHost::new("licenses").start::<Licenses>(settings)).unwrap();
    }
}

#[test]
fn what_is_off_makes_no_section() {
    let mut old = complete();
    for (section, setting, left) in [
        ("serverLicenseMonitor", "serverLicense", 2),
        ("licenseMonitor", "accessLicenses", 1),
        ("licenseRelease", "unusedLicenses", 0),
    ] {
        old["qlikSenseLicense"][section]["enable"] = false.into();
        let settings = settings(&old);
        assert!(
            settings[setting].is_null() && settings.as_object().map_or(0, serde_json::Map::len) == left,
            "{settings}"
        );
    }
    assert_eq!(import_of::<Licenses>(&old)["instances"], json!([]));
    assert_eq!(import_of::<Licenses>(&json!({}))["remarks"], json!([]));
    let mut old = complete();
    for name in ["analyzer", "professional"] {
        old["qlikSenseLicense"]["licenseRelease"]["licenseType"][name]["enable"] = false.into();
    }
    assert!(settings(&old)["unusedLicenses"].is_null());
}

#[test]
fn the_usual_days_follow_the_first() {
    for (first, days) in [
        (60, json!([60, 30, 14, 7, 1])),
        (10, json!([10, 7, 1])),
        (0, json!([])),
        (5000, json!([3650, 60, 30, 14, 7, 1])),
    ] {
        let mut old = complete();
        old["qlikSenseLicense"]["serverLicenseMonitor"]["alert"]["thresholdDays"] = first.into();
        assert_eq!(settings(&old)["serverLicense"]["thresholdDays"], days, "{first}");
    }
}

/// Licences are taken from people only if the old config says so without any doubt.
#[test]
fn licences_are_released_only_as_before() {
    let release = |change: &dyn Fn(&mut Value)| {
        let mut old = complete();
        let section = &mut old["qlikSenseLicense"]["licenseRelease"];
        section["dryRun"] = false.into();
        change(section);
        let answer = import_of::<Licenses>(&old);
        let dry_run = answer["remarks"]
            .as_array()
            .unwrap()
            .iter()
            .any(|remark| remark["fate"] == "toDo" && remark["text"].as_str().unwrap().contains("it is a dry run"));
        (answer["instances"][0]["settings"]["unusedLicenses"]["release"].clone(), dry_run)
    };
    assert_eq!(release(&|_| {}), (json!(true), false));
    assert_eq!(release(&|section| section["neverRelease"]["tag"] = json!([])), (json!(true), false));
    assert_eq!(release(&|section| section["neverRelease"]["user"] = json!(null)), (json!(true), false));
    assert_eq!(release(&|section| section["dryRun"] = true.into()), (json!(null), false));
    for dry_run in [json!(null), json!("false"), json!(0)] {
        assert_eq!(release(&|section| section["dryRun"] = dry_run.clone()), (json!(null), true), "{dry_run}");
    }
    for (list, value) in [
        ("tag", json!(["Keep licence", 5])),
        ("tag", json!("Keep licence")),
        ("userDirectory", json!([""])),
        ("user", json!([{ "userDir": "LAB" }])),
        ("customProperty", json!([{ "name": "LicenseManage" }])),
        ("blocked", json!("often")),
        ("inactive", json!(true)),
    ] {
        let change = |section: &mut Value| section["neverRelease"][list] = value.clone();
        assert_eq!(release(&change), (json!(null), true), "{list}: {value}");
    }
    assert_eq!(release(&|section| section["neverRelease"] = json!(null)), (json!(null), true));
    for list in ["user", "tag", "customProperty", "userDirectory", "inactive"] {
        let change = |section: &mut Value| drop(section["neverRelease"].as_object_mut().unwrap().remove(list));
        assert_eq!(release(&change), (json!(null), true), "without {list}");
        let mut old = complete();
        change(&mut old["qlikSenseLicense"]["licenseRelease"]);
        let key = format!("qlikSenseLicense.licenseRelease.neverRelease.{list}");
        let remarks = import_of::<Licenses>(&old)["remarks"].clone();
        assert!(
            remarks.as_array().unwrap().iter().any(|it| it["key"] == key.as_str() && it["fate"] == "toDo"),
            "{list}"
        );
    }
    let (released, is_told) = release(&|section| drop(section.as_object_mut().unwrap().remove("dryRun")));
    assert_eq!((released, is_told), (json!(null), true));
}

proptest! {
    #[test]
    fn broken_configs_are_read(faults in prop::collection::vec(any::<(usize, usize)>(), 1..6)) {
        let mut old = complete();
        for (place, how) in faults {
            damage(&mut old, place, how);
        }
        import_of::<Licenses>(&old);
    }
}
