//! The host's own sections of the old config.

mod cloud;
mod other;
mod qlik;
mod rest;
mod udp;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use butler_plugin_api::OperationError;
use butler_plugin_api::import::{Import, Imported};
use serde_json::{Map, Value, json};

use super::account::Reader;
use crate::rest::Known;

/// What the host is called in reports.
pub(super) const HOST: &str = "butler";

/// The host's sections, being translated.
pub(super) struct Sections<'a> {
    old: Import,
    /// What stands below `Butler`, for what cannot be asked for by path.
    butler: &'a Map<String, Value>,
    /// Where relative paths may start.
    folders: Vec<PathBuf>,
    /// Endpoints, for the scopes that callers need.
    endpoints: &'a Known,
    config: Map<String, Value>,
}

/// What came of it.
pub(super) struct Translated {
    /// The new config without `plugins`.
    pub config: Map<String, Value>,
    /// What was read, and is to be told.
    pub reader: Reader,
    /// Secrets by file.
    pub secrets: BTreeMap<String, String>,
    /// The file of schedules, where the old config names one that is there.
    pub schedules: Option<String>,
}

/// Translates the host's sections. `input` is what plugins get; `has_schedules`: a file of schedules was named beside the
/// config.
pub(super) fn translate(input: Value, endpoints: &Known, has_schedules: bool) -> Result<Translated, OperationError> {
    let butler = input["butler"].as_object().cloned().unwrap_or_default();
    let folders =
        input["folders"].as_array().into_iter().flatten().filter_map(Value::as_str).map(PathBuf::from).collect();
    let old = Import::new(input)?;
    let config = Map::from_iter([("version".to_owned(), json!(1))]);
    let mut sections = Sections { old, butler: &butler, folders, endpoints, config };
    sections.qlik();
    sections.qlik_cloud();
    sections.udp();
    sections.rest();
    let schedules = sections.scheduler(has_schedules);
    sections.links();
    sections.log();
    sections.without_successor();
    let Sections { old, config, .. } = sections;
    let imported: Imported =
        serde_json::from_value(old.finish()).map_err(|error| OperationError::Failed(error.to_string()))?;
    let reader = Reader::new(HOST, &imported);
    Ok(Translated { config, reader, secrets: imported.secrets, schedules })
}

impl Sections<'_> {
    /// Puts a section into the new config, if it holds anything.
    fn put(&mut self, name: &str, section: Map<String, Value>) {
        if !section.is_empty() {
            self.config.insert(name.to_owned(), Value::Object(section));
        }
    }

    /// A port.
    fn port(&mut self, path: &str) -> Option<u16> {
        let number = self.old.number(path)?;
        let port = u16::try_from(number).ok().filter(|port| *port > 0);
        if port.is_none() {
            self.old.todo(path, &format!("{number} is no port, and is left out"));
        }
        port
    }

    /// Whether a section that has a switch is on; if it is off, that is told.
    fn is_on(&mut self, section: &str) -> bool {
        let on = self.old.flag(&format!("{section}.enable"));
        if !on {
            self.old.off(section);
        }
        on
    }
}

/// An address to listen on that was an address or a name, and the name.
struct Listen {
    address: IpAddr,
    name: Option<String>,
}

impl Listen {
    fn new(host: &str) -> Self {
        match host.parse() {
            Ok(address) => Self { address, name: None },
            Err(_) if host.eq_ignore_ascii_case("localhost") => {
                Self { address: IpAddr::from([127, 0, 0, 1]), name: None }
            }
            Err(_) => Self { address: IpAddr::from([0, 0, 0, 0]), name: Some(host.to_owned()) },
        }
    }

    fn with(&self, port: u16) -> String {
        SocketAddr::from((self.address, port)).to_string()
    }

    /// Whether this machine has the address.
    fn is_here(&self) -> bool {
        UdpSocket::bind((self.address, 0)).is_ok()
    }
}

/// Whether people's browsers open this address.
fn is_web_address(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

#[cfg(test)]
mod tests;
