//! The section `keyValueStore` of Butler 16.

use butler_plugin_api::OperationError;
use butler_plugin_api::import::Import;
use serde_json::{Value, json};

use crate::settings::{MOST_KEYS, Settings};

pub(crate) fn import(old: Value) -> Result<Value, OperationError> {
    let mut import = Import::new(old)?;
    // Whether there is a store was decided by the switches of REST alone.
    let is_served = import.flag("restServerConfig.enable");
    if import.flag("restServerEndpointsEnable.keyValueStore") && is_served {
        import.no_effect("keyValueStore.enable", "`restServerEndpointsEnable.keyValueStore` decided");
        let entry = json!({ "settings": settings(&mut import) });
        import.checked("keyValueStore", entry, |settings: Settings| settings.check().map(drop));
    } else {
        import
            .dropped("keyValueStore", "`restServerConfig.enable` or `restServerEndpointsEnable.keyValueStore` is off");
    }
    Ok(import.finish())
}

fn settings(import: &mut Import) -> Value {
    const MOST: &str = "keyValueStore.maxKeysPerNamespace";
    let Some(most) = import.number(MOST) else { return json!({}) };
    let possible = most.clamp(1, MOST_KEYS.into());
    import.differs(MOST, &format!("it is obeyed now, as {possible}: Butler 16 took any number of keys"));
    json!({ "maxKeysPerNamespace": possible })
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::testing::{FakeHost, block_on, damage, filled_settings, import_of};
    use proptest::prelude::*;

    use super::*;
    use crate::KeyValue;

    fn complete() -> Value {
        json!({
            "keyValueStore": { "enable": false, "maxKeysPerNamespace": 500 },
            "restServerConfig": { "enable": true },
            "restServerEndpointsEnable": { "keyValueStore": true },
        })
    }

    #[test]
    fn all_keys_are_taken_over() {
        let answer = import_of::<KeyValue>(&complete());
        insta::assert_snapshot!("complete", format!("{answer:#}"));
        for settings in filled_settings(&answer) {
            block_on(FakeHost::new("key-value").start::<KeyValue>(settings)).unwrap();
        }
    }

    #[test]
    fn the_switches_of_rest_decide() {
        for (section, key) in [("restServerConfig", "enable"), ("restServerEndpointsEnable", "keyValueStore")] {
            let mut old = complete();
            old[section][key] = false.into();
            old["keyValueStore"]["enable"] = true.into();
            assert_eq!(import_of::<KeyValue>(&old)["instances"], json!([]), "{section}");
        }
        assert_eq!(import_of::<KeyValue>(&json!({}))["remarks"], json!([]));
        // Without the section it was there all the same.
        let mut old = complete();
        old.as_object_mut().unwrap().remove("keyValueStore");
        assert_eq!(import_of::<KeyValue>(&old)["instances"], json!([{ "settings": {} }]));
    }

    #[test]
    fn a_number_that_is_not_possible_becomes_the_nearest() {
        for (number, expected) in [(0, 1), (99_000, 99_000), (1_000_000, 99_000)] {
            let mut old = complete();
            old["keyValueStore"]["maxKeysPerNamespace"] = number.into();
            assert_eq!(import_of::<KeyValue>(&old)["instances"][0]["settings"]["maxKeysPerNamespace"], expected);
        }
    }

    proptest! {
        #[test]
        fn broken_configs_are_read(faults in prop::collection::vec(any::<(usize, usize)>(), 1..6)) {
            let mut old = complete();
            for (place, how) in faults {
                damage(&mut old, place, how);
            }
            import_of::<KeyValue>(&old);
        }
    }
}
