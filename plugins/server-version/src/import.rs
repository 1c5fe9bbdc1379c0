//! The section `qlikSenseVersion` of Butler 16. Where the version goes, the destinations read there.

use butler_plugin_api::OperationError;
use butler_plugin_api::import::Import;
use serde_json::{Value, json};

use crate::Settings;

pub(crate) fn import(old: Value) -> Result<Value, OperationError> {
    const MONITOR: &str = "qlikSenseVersion.versionMonitor";
    let mut import = Import::new(old)?;
    if import.flag(&format!("{MONITOR}.enable")) {
        let mut settings = json!({});
        if let Some(when) = import.when(&format!("{MONITOR}.frequency")) {
            settings["when"] = when;
        }
        // Butler has one Qlik Sense now, for all that it asks.
        for (own, of_all, instead) in [
            ("host", "configQRS.host", "`qlik.host` is asked now, port 9032"),
            ("rejectUnauthorized", "configQRS.rejectUnauthorized", "`qlik.verify` says now whether it is checked"),
        ] {
            let own = format!("{MONITOR}.{own}");
            let (own_value, value_of_all) = (import.value(&own), import.value(of_all));
            if own_value.is_some() && own_value != value_of_all {
                import.differs(&own, instead);
            }
        }
        import.checked(MONITOR, json!({ "settings": settings }), |_: Settings| Ok(()));
    } else {
        import.off("qlikSenseVersion");
    }
    Ok(import.finish())
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::testing::{FakeHost, block_on, damage, filled_settings, import_of};
    use proptest::prelude::*;

    use super::*;
    use crate::ServerVersion;

    fn complete() -> Value {
        json!({
            "qlikSenseVersion": { "versionMonitor": {
                "enable": true, "frequency": "every 24 hours", "host": "sense1.test", "rejectUnauthorized": false,
            } },
            "configQRS": { "host": "10.11.12.13", "rejectUnauthorized": false },
        })
    }

    #[test]
    fn all_keys_are_taken_over() {
        let answer = import_of::<ServerVersion>(&complete());
        insta::assert_snapshot!("complete", format!("{answer:#}"));
        for settings in filled_settings(&answer) {
            block_on(FakeHost::new("server-version").start::<ServerVersion>(settings)).unwrap();
        }
    }

    #[test]
    fn what_is_off_makes_no_instance() {
        let mut old = json!({ "qlikSenseVersion": complete()["qlikSenseVersion"] });
        old["qlikSenseVersion"]["versionMonitor"]["enable"] = false.into();
        assert_eq!(import_of::<ServerVersion>(&old)["instances"], json!([]));
        assert_eq!(import_of::<ServerVersion>(&json!({}))["remarks"], json!([]));
    }

    #[test]
    fn another_host_than_that_of_the_repository_is_told() {
        let told = |host: &str| {
            let mut old = complete();
            old["configQRS"]["host"] = host.into();
            import_of::<ServerVersion>(&old)["remarks"].to_string().contains("versionMonitor.host")
        };
        assert!(told("sense2.test") && !told("sense1.test"));
    }

    proptest! {
        #[test]
        fn broken_configs_are_read(faults in prop::collection::vec(any::<(usize, usize)>(), 1..6)) {
            let mut old = json!({ "qlikSenseVersion": complete()["qlikSenseVersion"] });
            for (place, how) in faults {
                damage(&mut old, place, how);
            }
            import_of::<ServerVersion>(&old);
        }
    }
}
