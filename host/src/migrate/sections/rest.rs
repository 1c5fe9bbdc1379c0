//! `restServerConfig` and `restServerEndpointsEnable`: the section `rest`.
//!
//! Butler 16 let everybody in who reached its port. Here a server beyond loopback needs tokens or networks that it trusts,
//! and old load scripts send no token: they run on the Sense servers. So the server stays where it was only if the old config
//! tells the addresses of these (senders of UDP messages, Qlik Sense's own); they may do then what the endpoints that were on
//! need. Where it tells none, the server listens on loopback until somebody names them: never open to all.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::{Listen, Sections};
use crate::config::network;
use crate::rest::SWITCHES_OF_BUTLER_16;

const SWITCHES: &str = "restServerEndpointsEnable";
/// Butler 16 had the switch, but nothing to switch.
const WITHOUT_EFFECT: &str = "updateSchedule";
const USUAL_PORT: u16 = 8080;
/// Butler 16 looked at no `Host`.
const OTHER_NAMES: &str = "Callers that use another name than this machine's short one (`butler.example.com`) are refused, unless it \
                           stands in `rest.hosts`";

impl Sections<'_> {
    pub(super) fn rest(&mut self) {
        if !self.is_on("restServerConfig") {
            let text = "off; this Butler's own commands need the REST server, so it is on, for this machine alone (127.0.0.1:8080)";
            if self.old.is_written("restServerConfig.enable") {
                self.old.differs("restServerConfig.enable", text);
            }
            self.old.dropped(SWITCHES, "the REST server was off");
            return;
        }
        let mut rest = Map::new();
        let served = self.switches(&mut rest);
        let host = "restServerConfig.serverHost";
        let listen = Listen::new(&self.old.text(host).unwrap_or_else(|| "0.0.0.0".to_owned()));
        let port = self.port("restServerConfig.serverPort").unwrap_or(USUAL_PORT);
        if listen.address.is_loopback() {
            rest.insert("listen".to_owned(), listen.with(port).into());
        } else {
            self.beyond_loopback(&mut rest, &listen, port, &served);
        }
        self.old.dropped("restServerConfig.backgroundServerPort", "there is no second port");
        self.tls(&mut rest);
        self.put("rest", rest);
    }

    /// `listen`, `grants` and `hosts` of a server that others than this machine reach.
    fn beyond_loopback(
        &mut self,
        rest: &mut Map<String, Value>,
        listen: &Listen,
        port: u16,
        served: &BTreeSet<String>,
    ) {
        let host = "restServerConfig.serverHost";
        let at = listen.with(port);
        let networks = self.sense_servers();
        let scopes = self.endpoints.scopes(served.iter().map(String::as_str));
        if networks.is_empty() || scopes.is_empty() {
            let text = format!(
                "Butler 16 let everybody in; here callers beyond this machine need a token, or an address that is trusted, and the \
                 old config names none. So the REST server listens for this machine alone (127.0.0.1:{port}). For load scripts on \
                 other servers write `listen: {at}` and, under `rest.grants`, the addresses of the Sense servers; or make a token \
                 with `butler token new`. {OTHER_NAMES}"
            );
            self.old.todo(host, &text);
            rest.insert("listen".to_owned(), format!("127.0.0.1:{port}").into());
            return;
        }
        let named = networks.join(", ");
        let text = format!(
            "Butler 16 let everybody in; now only these callers need no token: {named}. Add further Sense servers to `rest.grants`; for \
             others make tokens with `butler token new`. {OTHER_NAMES}"
        );
        if listen.name.is_none() && !listen.is_here() {
            let more = format!(
                "{} is no address of this machine: if Butler is to run here, write one that is, or 0.0.0.0 for all. {text}",
                listen.address
            );
            self.old.todo(host, &more);
        } else {
            self.old.todo(host, &text);
        }
        rest.insert("listen".to_owned(), at.into());
        let grants: Vec<Value> =
            networks.iter().map(|network| json!({ "network": network, "scopes": scopes })).collect();
        rest.insert("grants".to_owned(), grants.into());
        // Names are refused that are neither the machine's nor listed.
        if let Some(name) = &listen.name {
            rest.insert("hosts".to_owned(), json!([name]));
        }
    }

    /// Addresses of Qlik Sense's servers that the old config has, where load scripts run.
    fn sense_servers(&self) -> Vec<String> {
        let text = |section: &str, key: &str| self.butler.get(section)?.get(key)?.as_str().map(str::to_owned);
        let udp = self.butler.get("udpServerConfig");
        let guarded = udp.is_some_and(|udp| udp["enable"] == true && udp["enableSourceValidation"] == true);
        let senders = udp.filter(|_| guarded).and_then(|udp| udp["allowedSources"].as_array());
        let senders = senders.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        let servers = ["configQRS", "configEngine"].into_iter().filter_map(|section| text(section, "host"));
        let mut networks: Vec<String> = Vec::new();
        for address in senders.chain(servers) {
            let address = address.trim().to_owned();
            let own = address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified());
            // A network of all addresses is nobody's.
            let sound = network(&address).is_some_and(|network| network.prefix_len() > 0);
            if sound && !own && !networks.contains(&address) {
                networks.push(address);
            }
        }
        networks
    }

    /// `disabledEndpoints`; the names of those that were on.
    fn switches(&mut self, rest: &mut Map<String, Value>) -> BTreeSet<String> {
        let mut on = BTreeSet::new();
        for name in SWITCHES_OF_BUTLER_16 {
            let path = path_of(name);
            if name == WITHOUT_EFFECT {
                self.old.no_effect(&path, "there was no such endpoint");
            } else if self.old.flag(&path) {
                on.insert(name.to_owned());
            }
        }
        let off = SWITCHES_OF_BUTLER_16.into_iter().filter(|name| *name != WITHOUT_EFFECT && !on.contains(*name));
        let off: Vec<&str> = off.collect();
        if !off.is_empty() {
            rest.insert("disabledEndpoints".to_owned(), json!(off));
        }
        on
    }

    fn tls(&mut self, rest: &mut Map<String, Value>) {
        let section = "restServerConfig.tls";
        if !self.is_on(section) {
            return;
        }
        let (certificate, key) = (self.old.path(&format!("{section}.cert")), self.old.path(&format!("{section}.key")));
        if let (Some(certificate), Some(key)) = (certificate, key) {
            rest.insert("tls".to_owned(), json!({ "certificate": certificate, "key": key }));
        } else {
            self.old.todo(section, "has no `cert` or no `key`: the REST server is without TLS");
        }
        let ca = format!("{section}.ca");
        if self.old.text(&ca).is_some() {
            self.old.todo(&ca, "put the certificates of the authorities behind the server's own, into the file of `rest.tls.certificate`");
        }
    }
}

/// Where a switch stands in the old config.
fn path_of(switch: &str) -> String {
    let group = match switch {
        "postNewRelicEvent" | "postNewRelicMetric" => "newRelic.",
        "createNewSchedule"
        | "deleteSchedule"
        | "getSchedule"
        | "getScheduleStatusAll"
        | "startSchedule"
        | "stopSchedule"
        | WITHOUT_EFFECT => "scheduler.",
        _ => "",
    };
    format!("{SWITCHES}.{group}{switch}")
}
