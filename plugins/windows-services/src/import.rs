//! The section `serviceMonitor` of Butler 16. Where changes and states go, the destinations read there.

use butler_plugin_api::OperationError;
use butler_plugin_api::import::Import;
use serde_json::{Value, json};

use crate::machine;
use crate::settings::Settings;

const MONITOR: &str = "serviceMonitor.monitor";

pub(crate) fn import(old: Value) -> Result<Value, OperationError> {
    let mut import = Import::new(old)?;
    if import.flag("serviceMonitor.enable") {
        monitor(&mut import);
    } else {
        import.off("serviceMonitor");
    }
    Ok(import.finish())
}

fn monitor(import: &mut Import) {
    let when = import.when("serviceMonitor.frequency");
    if when.is_some() {
        let states = "InfluxDB and MQTT get the state of a service that stays as it is every 5 minutes now, and changes at \
                      once: for all looks set `statesEvery: 0s`";
        import.differs("serviceMonitor.frequency", states);
    }
    let hosts = hosts(import);
    if hosts.is_empty() {
        return import.todo("serviceMonitor", "there is nothing to watch without hosts and services in `monitor`");
    }
    let mut settings = json!({ "hosts": hosts });
    if let Some(when) = when {
        settings["when"] = when;
    }
    let check = |settings: Settings| settings.check(&machine()).map(drop);
    import.checked(MONITOR, json!({ "settings": settings }), check);
}

/// The hosts; one that is listed twice, under whatever name, has the services of both. What the plugin would refuse is left
/// out.
fn hosts(import: &mut Import) -> Vec<Value> {
    let mut hosts: Vec<Host> = Vec::new();
    for item in 0..import.len(MONITOR) {
        let item = format!("{MONITOR}[{item}]");
        let name = import.text(&format!("{item}.host"));
        let services = services(import, &format!("{item}.services"));
        let services: Vec<Service> = services.into_iter().filter(|service| service.is_sound(import)).collect();
        let Some(name) = name.filter(|_| !services.is_empty()) else {
            import.todo(&item, "an entry needs `host` and `services`, and is left out");
            continue;
        };
        let address = match address(&name, "AnyService") {
            Ok(address) => address,
            Err(why) => {
                import.todo(&item, &format!("it is left out: {why}"));
                continue;
            }
        };
        match hosts.iter_mut().find(|known| known.address == address) {
            Some(known) => known.services.extend(services),
            None => hosts.push(Host { name, address, services }),
        }
    }
    for host in &mut hosts {
        let mut known = Vec::new();
        host.services.retain(|service| {
            let name = service.name.to_lowercase();
            let is_new = !known.contains(&name);
            if is_new {
                known.push(name);
            } else {
                import.dropped(&service.path, "the host has this service twice");
            }
            is_new
        });
    }
    let entry = |host: Host| {
        let services: Vec<Value> = host.services.into_iter().map(Service::into_setting).collect();
        json!({ "host": host.name, "services": services })
    };
    hosts.into_iter().map(entry).collect()
}

/// The address that the plugin would ask a host by, which is the same for all names of this machine; the error says why it
/// would not take host or service.
fn address(host: &str, service: &str) -> Result<String, String> {
    let settings = json!({ "hosts": [{ "host": host, "services": [service] }] });
    let settings: Settings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
    let (plan, _) = settings.check(&machine())?;
    Ok(plan.hosts.first().map_or_else(String::new, |host| host.address.to_lowercase()))
}

/// A host to be.
struct Host {
    name: String,
    address: String,
    services: Vec<Service>,
}

/// A service, and where it stands in the old config.
struct Service {
    path: String,
    name: String,
    friendly_name: Option<String>,
}

impl Service {
    /// Whether the plugin would take it; if not, that is told.
    fn is_sound(&self, import: &mut Import) -> bool {
        let fault = address("localhost", &self.name).err();
        if let Some(why) = &fault {
            import.todo(&self.path, &format!("it is left out: {why}"));
        }
        fault.is_none()
    }

    fn into_setting(self) -> Value {
        match self.friendly_name {
            Some(friendly_name) => json!({ "name": self.name, "friendlyName": friendly_name }),
            None => self.name.into(),
        }
    }
}

fn services(import: &mut Import, list: &str) -> Vec<Service> {
    let mut services = Vec::new();
    for item in 0..import.len(list) {
        let path = format!("{list}[{item}]");
        let friendly_name = import.text(&format!("{path}.friendlyName"));
        match import.text(&format!("{path}.name")) {
            Some(name) => services.push(Service { path, name, friendly_name }),
            None => import.todo(&path, "a service needs its `name`, and is left out"),
        }
    }
    services
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::testing::{damage, import_of};
    use proptest::prelude::*;

    use super::*;
    use crate::WindowsServices;

    fn complete() -> Value {
        json!({ "serviceMonitor": {
            "enable": true,
            "frequency": "every 30 seconds",
            "monitor": [
                { "host": "srv1", "services": [
                    { "name": "AcmeIndexSvc", "friendlyName": "Index" },
                    { "name": "MSSQL$ACME", "friendlyName": "" },
                ] },
                { "host": "10.1.2.3", "services": [{ "name": "QlikSenseEngineService", "friendlyName": "Engine" }] },
            ],
        } })
    }

    #[test]
    fn all_keys_are_taken_over() {
        let answer = import_of::<WindowsServices>(&complete());
        insta::assert_snapshot!("complete", format!("{answer:#}"));
        // The plugin's own rules have nothing against it.
        assert!(!answer.to_string().contains("toDo"), "{answer}");
    }

    #[test]
    fn what_is_off_or_watches_nothing_makes_no_instance() {
        let mut old = complete();
        old["serviceMonitor"]["monitor"] = json!([{ "host": "srv1", "services": null }]);
        let answer = import_of::<WindowsServices>(&old);
        assert_eq!(answer["instances"], json!([]));
        assert!(answer["remarks"].to_string().contains("nothing to watch"));
        old = complete();
        old["serviceMonitor"]["enable"] = false.into();
        old["serviceMonitor"]["alertDestination"] = json!({ "mqtt": { "enable": true } });
        assert_eq!(import_of::<WindowsServices>(&old)["instances"], json!([]));
        assert_eq!(import_of::<WindowsServices>(&json!({}))["remarks"], json!([]));
    }

    #[test]
    fn hosts_and_services_that_come_twice_become_one() {
        let mut old = complete();
        old["serviceMonitor"]["monitor"][1]["host"] = "SRV1".into();
        old["serviceMonitor"]["monitor"][1]["services"] =
            json!([{ "name": "acmeindexsvc", "friendlyName": "x" }, { "name": "Other", "friendlyName": null }]);
        let answer = import_of::<WindowsServices>(&old);
        let services = json!([{ "name": "AcmeIndexSvc", "friendlyName": "Index" }, "MSSQL$ACME", "Other"]);
        assert_eq!(answer["instances"][0]["settings"]["hosts"], json!([{ "host": "srv1", "services": services }]));
        assert!(answer["remarks"].to_string().contains("serviceMonitor.monitor[1].services[0]"));
    }

    #[test]
    fn this_machine_is_one_under_all_its_names() {
        let mut old = complete();
        old["serviceMonitor"]["monitor"][0]["host"] = "localhost".into();
        old["serviceMonitor"]["monitor"][1]["host"] = machine().into();
        let answer = import_of::<WindowsServices>(&old);
        let hosts = answer["instances"][0]["settings"]["hosts"].as_array().unwrap().clone();
        assert_eq!((hosts.len(), &hosts[0]["host"]), (1, &json!("localhost")), "{hosts:?}");
        assert_eq!(hosts[0]["services"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn hosts_and_services_that_the_plugin_refuses_are_left_out() {
        let mut old = complete();
        old["serviceMonitor"]["monitor"][0]["host"] = r"\\srv1".into();
        old["serviceMonitor"]["monitor"][1]["services"] = json!([{ "name": "a/b" }, { "name": "Engine" }]);
        let answer = import_of::<WindowsServices>(&old);
        let hosts = &answer["instances"][0]["settings"]["hosts"];
        assert_eq!(hosts, &json!([{ "host": "10.1.2.3", "services": ["Engine"] }]));
        let remarks = answer["remarks"].to_string();
        assert!(remarks.contains("it is left out: `host` is") && remarks.contains("it is left out: the service `a/b`"));
    }

    proptest! {
        #[test]
        fn broken_configs_are_read(faults in prop::collection::vec(any::<(usize, usize)>(), 1..6)) {
            let mut old = complete();
            for (place, how) in faults {
                damage(&mut old, place, how);
            }
            import_of::<WindowsServices>(&old);
        }
    }
}
