//! Where the broker is, and how it is known to be the right one.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::client::{Target, Version};
use crate::tls::{Tls, Verify};

/// Version of MQTT.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(super) enum MqttVersion {
    #[default]
    #[serde(rename = "3.1.1")]
    V311,
    #[serde(rename = "5")]
    V5,
}

impl From<MqttVersion> for Version {
    fn from(version: MqttVersion) -> Self {
        match version {
            MqttVersion::V311 => Self::V311,
            MqttVersion::V5 => Self::V5,
        }
    }
}

/// TLS of the connection. Paths are relative to the config file; the files are read for each connection.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct TlsSettings {
    /// File with the certificate authority of the broker (PEM), relative to the config file. Absent: those of the
    /// system.
    ca: Option<PathBuf>,
    /// File with the client certificate, and those of authorities between (PEM). Needs `key`.
    certificate: Option<PathBuf>,
    /// File with the key of `certificate` (PEM, not encrypted).
    key: Option<PathBuf>,
    /// `full`, or `none`: then anybody on the way can pretend to be the broker.
    verify: VerifyMode,
}

/// What is checked of the broker's certificate.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum VerifyMode {
    #[default]
    Full,
    None,
}

impl TlsSettings {
    /// `None` if the connection is not encrypted.
    pub(super) fn check(self, encrypted: bool, folder: &Path) -> Result<Option<Tls>, String> {
        let Self { ca, certificate, key, verify } = self;
        if !encrypted {
            let unused = ca.is_some() || certificate.is_some() || key.is_some() || verify != VerifyMode::Full;
            if unused {
                return Err("`tls` is for `mqtts://` and `wss://`: correct `url`, or remove `tls`".to_owned());
            }
            return Ok(None);
        }
        let client = match (certificate, key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((folder.join(certificate), folder.join(key))),
            _ => return Err("`tls.certificate` and `tls.key` go together: name both or none".to_owned()),
        };
        if ca.is_some() && verify == VerifyMode::None {
            return Err("`tls.ca` is not looked at with `tls.verify: none`: remove one of the two".to_owned());
        }
        let verify = match verify {
            VerifyMode::None => Verify::Nothing,
            VerifyMode::Full => ca.map_or(Verify::System, |ca| Verify::Ca(folder.join(ca))),
        };
        Ok(Some(Tls { verify, client }))
    }
}

/// Reads `url`. The second part is what may be shown.
pub(super) fn target(text: &str) -> Result<(Target, String), String> {
    // Not quoted: whoever puts a password into it would find it in logs.
    let fault = |why: String| {
        format!("`url`: {why}: write `mqtt://broker.example.com:1883`, `mqtts://…`, `ws://…/mqtt` or `wss://…`")
    };
    let url = Url::parse(text.trim()).map_err(|error| fault(format!("it is no address ({error})")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("`url`: user and password stand in `user` and `password`".to_owned());
    }
    let (encrypted, is_websocket, port) = match url.scheme() {
        "mqtt" => (false, false, 1883),
        "mqtts" => (true, false, 8883),
        "ws" => (false, true, 80),
        "wss" => (true, true, 443),
        other => return Err(fault(format!("there is no way to `{other}:`"))),
    };
    let host = match url.host() {
        Some(Host::Ipv6(address)) => address.to_string(),
        Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        _ => return Err(fault("there is no host in it".to_owned())),
    };
    let has_path = !matches!(url.path(), "" | "/");
    if url.fragment().is_some() || (!is_websocket && (has_path || url.query().is_some())) {
        return Err(fault("only `ws:` and `wss:` have a path".to_owned()));
    }
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let port = url.port().unwrap_or(port);
    let target = Target { host, port, encrypted, websocket: is_websocket.then_some(path) };
    let shown = format!("{}://{}{}", url.scheme(), target.address(), if has_path { url.path() } else { "" });
    Ok((target, shown))
}
