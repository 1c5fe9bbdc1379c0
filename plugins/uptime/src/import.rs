//! The section `uptimeMonitor` of Butler 16. Where its figures go, the destinations read there.

use butler_plugin_api::OperationError;
use butler_plugin_api::import::Import;
use serde_json::{Value, json};

use crate::settings::Settings;

pub(crate) fn import(old: Value) -> Result<Value, OperationError> {
    let mut import = Import::new(old)?;
    if import.flag("uptimeMonitor.enable") {
        let mut settings = json!({});
        if let Some(when) = import.when("uptimeMonitor.frequency") {
            settings["when"] = when;
        }
        if let Some(level) = import.log_level("uptimeMonitor.logLevel") {
            settings["logLevel"] = level.into();
        }
        import.checked("uptimeMonitor", json!({ "settings": settings }), |_: Settings| Ok(()));
    } else {
        import.off("uptimeMonitor");
    }
    Ok(import.finish())
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::testing::{FakeHost, block_on, damage, filled_settings, import_of};
    use proptest::prelude::*;

    use super::*;
    use crate::Uptime;

    fn complete() -> Value {
        json!({ "uptimeMonitor": { "enable": true, "frequency": "every 15 minutes", "logLevel": "verbose" } })
    }

    #[test]
    fn all_keys_are_taken_over() {
        let answer = import_of::<Uptime>(&complete());
        insta::assert_snapshot!("complete", format!("{answer:#}"));
        for settings in filled_settings(&answer) {
            block_on(FakeHost::new("uptime").start::<Uptime>(settings)).unwrap();
        }
    }

    #[test]
    fn what_is_off_makes_no_instance() {
        let mut old = complete();
        old["uptimeMonitor"]["enable"] = false.into();
        // What the destinations read is off as well.
        old["uptimeMonitor"]["storeInInfluxdb"] = json!({ "enable": true });
        assert_eq!(import_of::<Uptime>(&old)["instances"], json!([]));
        assert_eq!(import_of::<Uptime>(&json!({}))["remarks"], json!([]));
    }

    proptest! {
        #[test]
        fn broken_configs_are_read(faults in prop::collection::vec(any::<(usize, usize)>(), 1..6)) {
            let mut old = complete();
            for (place, how) in faults {
                damage(&mut old, place, how);
            }
            import_of::<Uptime>(&old);
        }
    }
}
