//! The section `heartbeat` of Butler 16.

use butler_plugin_api::import::Import;
use butler_plugin_api::{OperationError, settings};
use serde_json::{Value, json};

use crate::settings::{INTERVALS, Plan, Settings};

pub(crate) fn import(old: Value) -> Result<Value, OperationError> {
    let mut import = Import::new(old)?;
    if import.flag("heartbeat.enable") {
        heartbeat(&mut import);
    } else {
        import.off("heartbeat");
    }
    import.tidy();
    Ok(import.finish())
}

fn heartbeat(import: &mut Import) {
    let every = every(import);
    // Services that wait for beats know them by a secret in the path.
    let Some(url) = import.secret_address("heartbeat.remoteURL") else {
        return import.todo("heartbeat", "there is no heartbeat without an address in `remoteURL`, `https://…`");
    };
    if import.text("heartbeat.remoteURL").is_some_and(|url| !url.to_lowercase().starts_with("http:")) {
        // Of others it is told already.
        import
            .differs("heartbeat.remoteURL", "redirects are not followed any more: write the address that they lead to");
    }
    // Butler 16 called as long as its process ran.
    let mut settings = json!({ "url": url, "require": [] });
    if let Some(every) = every {
        settings["every"] = every;
    }
    let check = |settings: Settings| Plan::try_from(settings).map(drop);
    import.checked("heartbeat", json!({ "settings": settings }), check);
}

fn every(import: &mut Import) -> Option<Value> {
    const FREQUENCY: &str = "heartbeat.frequency";
    let when = import.when(FREQUENCY)?;
    let every = when["every"].as_str().filter(|every| settings::duration("every", every, &INTERVALS).is_ok());
    if every.is_none() {
        import.todo(FREQUENCY, "a heartbeat goes by an interval of at most a day: set `every`, which is 30s now");
    }
    every.map(Value::from)
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::testing::{FakeHost, block_on, damage, filled_settings, import_of};
    use proptest::prelude::*;

    use super::*;
    use crate::Heartbeat;

    fn complete() -> Value {
        json!({ "heartbeat": {
            "enable": true, "remoteURL": "http://monitor.test/some/path/", "frequency": "every 30 seconds",
        } })
    }

    #[test]
    fn all_keys_are_taken_over() {
        let answer = import_of::<Heartbeat>(&complete());
        insta::assert_snapshot!("complete", format!("{answer:#}"));
        for settings in filled_settings(&answer) {
            block_on(FakeHost::new("heartbeat").start::<Heartbeat>(settings)).unwrap();
        }
    }

    #[test]
    fn what_is_off_or_has_no_address_makes_no_instance() {
        for (key, value) in [("enable", json!(false)), ("remoteURL", json!("monitor")), ("remoteURL", json!(null))] {
            let mut old = complete();
            old["heartbeat"][key] = value;
            assert_eq!(import_of::<Heartbeat>(&old)["instances"], json!([]), "{key}");
        }
        let answer = import_of::<Heartbeat>(&json!({}));
        assert_eq!((&answer["instances"], &answer["remarks"]), (&json!([]), &json!([])));
    }

    #[test]
    fn redirects_are_told_of_once() {
        for url in
            ["http://monitor.test/a", "https://monitor.test/a", "HTTPS://monitor.test/a", "HTTP://monitor.test/a"]
        {
            let mut old = complete();
            old["heartbeat"]["remoteURL"] = url.into();
            let remarks = import_of::<Heartbeat>(&old)["remarks"].to_string();
            assert_eq!(remarks.matches("redirects are not followed").count(), 1, "{url}: {remarks}");
        }
    }

    #[test]
    fn what_is_no_interval_of_a_day_or_less_has_to_be_set() {
        for (text, every) in
            [("every 6 hours", Some("6h")), ("at 10:15", None), ("every 48 hours", None), ("soon", None)]
        {
            let mut old = complete();
            old["heartbeat"]["frequency"] = text.into();
            let answer = import_of::<Heartbeat>(&old);
            assert_eq!(answer["instances"][0]["settings"]["every"].as_str(), every, "{text}");
            let is_told = answer["remarks"].to_string().contains("heartbeat.frequency");
            assert_eq!(is_told, every.is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn broken_configs_are_read(faults in prop::collection::vec(any::<(usize, usize)>(), 1..6)) {
            let mut old = complete();
            for (place, how) in faults {
                damage(&mut old, place, how);
            }
            import_of::<Heartbeat>(&old);
        }
    }
}
