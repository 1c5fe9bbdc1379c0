use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn read(value: Value) -> Result<(Plan, BackendSettings), String> {
    let settings: Settings = serde_json::from_value(value).map_err(|error| error.to_string())?;
    settings.check("BUTLER1")
}

fn host(name: &str) -> Value {
    json!({ "hosts": [{ "host": name, "services": ["A"] }] })
}

#[test]
fn what_is_absent_has_sane_values() {
    let (plan, backend) = read(json!({ "hosts": [{ "services": ["MSSQL$INSTANCE", "Größe & Co. (x)"] }] })).unwrap();
    assert_eq!(plan.when, When::every(Duration::from_secs(30)));
    assert_eq!((plan.fail_after, plan.call, plan.round), (1, Duration::from_secs(5), Duration::from_mins(1)));
    assert_eq!((plan.hosts_at_once, plan.processes, plan.states), (16, 16, Some(Duration::from_mins(5))));
    assert_eq!((plan.hosts[0].name.as_str(), plan.hosts[0].address.as_str()), ("BUTLER1", ""));
    assert!(matches!(backend, BackendSettings::Sc(ScSettings { program: None })));
}

#[test]
fn this_machine_is_known_by_its_names() {
    for (name, address) in [("localhost", ""), ("butler1", ""), ("127.0.0.1", ""), ("10.1.2.3", "10.1.2.3")] {
        let (plan, _) = read(host(name)).unwrap();
        assert_eq!((plan.hosts[0].name.as_str(), plan.hosts[0].address.as_str()), (name, address));
    }
}

/// Else two entries would ask, count and tell each for itself.
#[test]
fn this_machine_is_watched_by_one_entry() {
    let names = [None, Some("localhost"), Some("127.0.0.1"), Some("Butler1")];
    for (first, second) in
        names.iter().enumerate().flat_map(|(at, name)| names[at + 1..].iter().map(move |n| (name, n)))
    {
        let entry = |name: Option<&str>| match name {
            Some(name) => json!({ "host": name, "services": ["A"] }),
            None => json!({ "services": ["A"] }),
        };
        let error = read(json!({ "hosts": [entry(*first), entry(*second)] })).unwrap_err();
        assert!(error.contains("the same machine twice"), "{error}");
    }
}

#[test]
fn names_of_units_may_have_escapes() {
    let settings = |backend: Value| json!({ "hosts": [{ "services": [r"acme\x2dindex"] }], "backend": backend });
    assert!(read(settings(json!({ "systemd": {} }))).is_ok());
    let error = read(settings(json!({ "sc": {} }))).unwrap_err();
    assert!(error.contains("slash"), "{error}");
}

#[test]
fn states_are_told_as_often_as_the_settings_say() {
    let states = |more: Value| {
        let mut settings = host("a");
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        read(settings).unwrap().0.states
    };
    assert_eq!(states(json!({ "statesEvery": "1h" })), Some(Duration::from_hours(1)));
    assert_eq!(states(json!({ "statesEvery": "0s" })), Some(Duration::ZERO));
    assert_eq!(states(json!({ "states": false, "statesEvery": "5m" })), None);
}

#[test]
fn what_cannot_work_is_refused() {
    let service = |name: &str| json!({ "hosts": [{ "host": "a", "services": [name] }] });
    let long = "s".repeat(257);
    for (settings, part) in [
        (json!({ "hosts": [] }), "`hosts` is empty"),
        (json!({ "hosts": [{ "services": [] }] }), "has 0 entries"),
        (json!({ "hosts": [{ "services": vec!["A"; 501] }] }), "has 501 entries"),
        (json!({ "hosts": [{ "services": ["A", "a"] }] }), "has `a` twice"),
        (json!({ "hosts": [{ "host": "Srv", "services": ["A"] }, { "host": "srv", "services": ["B"] }] }), "twice"),
        (json!({ "hosts": [{ "host": "srv", "services": ["A"] }], "backend": { "systemd": {} } }), "leave `host` out"),
        (json!({ "hosts": [{ "services": ["A"] }], "failAfter": 0 }), "`failAfter` is 0"),
        (json!({ "hosts": [{ "services": ["A"] }], "limits": { "hosts": 0 } }), "`limits.hosts` is 0"),
        (json!({ "hosts": [{ "services": ["A"] }], "timeouts": { "call": "5" } }), "`timeouts.call` is `5`"),
        (json!({ "hosts": [{ "services": ["A"] }], "timeouts": { "round": "0s" } }), "between 1s and 1h"),
        (json!({ "hosts": [{ "services": ["A"] }], "statesEvery": "often" }), "`statesEvery` is `often`"),
        (json!({ "hosts": [{ "services": ["A"] }], "backend": { "wmi": {} } }), "unknown variant"),
        (json!({ "hosts": [{ "services": ["A"], "service": "B" }] }), "unknown field"),
        (service(""), "is empty"),
        (service(" A"), "blanks around"),
        (service(&long), "more than 256"),
        (service("a\nb"), "control character"),
        (service(r"a\b"), "slash"),
        (service("-x"), "option"),
        (service("state="), "option"),
    ] {
        let error = read(settings.clone()).unwrap_err();
        assert!(error.contains(part), "{settings}: {error}");
    }
}

#[test]
fn hosts_are_names_or_addresses() {
    for name in ["srv1", "srv_1.example.com", "SENSE-1", "192.168.1.20", &"a".repeat(63)] {
        assert!(read(host(name)).is_ok(), "{name}");
    }
    let long = ["a".repeat(63).as_str(); 4].join(".") + ".b";
    for name in [
        "",
        "-h",
        "--help",
        "_srv",
        "srv-",
        "a..b",
        ".",
        "::1",
        r"\\srv",
        "a/b",
        "../x",
        "a b",
        "a;b",
        "a\n",
        "näme",
        "<host>",
        "a.",
        &"a".repeat(64),
        &long,
    ] {
        let error = read(host(name)).unwrap_err();
        assert!(error.contains("must be a name"), "{name}: {error}");
    }
}

proptest! {
    #[test]
    fn a_host_that_is_taken_is_no_option_and_no_path(name in r"[-a-zA-Z0-9_.\\/:$ ]{0,20}") {
        if check_host(&name).is_ok() {
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
            prop_assert!(!name.starts_with(['-', '.']) && !name.contains(".."));
        }
    }

    #[test]
    fn a_service_that_is_taken_is_no_option_and_no_path(name in any::<String>()) {
        if check_service(&name, false).is_ok() {
            prop_assert!(!name.chars().any(char::is_control) && !name.contains(['/', '\\']));
            prop_assert!(!name.starts_with('-') && !name.is_empty() && name.chars().count() <= 256);
        }
    }
}
