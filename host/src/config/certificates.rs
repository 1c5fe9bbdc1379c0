//! `qlik.certificates`: the files by which Qlik Sense knows Butler, and Butler Qlik Sense.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Certificate files, as the QMC exports them: `client` and `key` in PEM form ("platform independent"), or `pfx` ("Windows").
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(try_from = "Written", into = "Written")]
pub struct Certificates {
    /// Who Butler is.
    pub client: ClientFiles,
    /// Certificate authority of the site. Absent: nothing is checked, or those in the PFX file count.
    pub ca: Option<PathBuf>,
    /// What the key or the PFX file is encrypted with.
    pub passphrase: Option<Passphrase>,
}

/// A client certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientFiles {
    /// Two files in PEM form.
    Pem {
        /// The certificate, and those that lead to its authority.
        certificate: PathBuf,
        /// The private key.
        key: PathBuf,
    },
    /// One file (PKCS#12) with both.
    Pfx(PathBuf),
}

impl Certificates {
    /// Three files in PEM form, the key not encrypted.
    pub fn pem(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>, ca: impl Into<PathBuf>) -> Self {
        let client = ClientFiles::Pem { certificate: certificate.into(), key: key.into() };
        Self { client, ca: Some(ca.into()), passphrase: None }
    }

    /// The paths of all files.
    pub(super) fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let client = match &mut self.client {
            ClientFiles::Pem { certificate, key } => [Some(certificate), Some(key)],
            ClientFiles::Pfx(file) => [Some(file), None],
        };
        client.into_iter().flatten().chain(&mut self.ca)
    }
}

/// A passphrase.
// Serialized as it is, since a reload compares configs in that form; a config is shown as it stands in its file.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Passphrase(#[schemars(length(min = 1))] String);

impl Passphrase {
    /// From a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Does not show it.
impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

/// The section as it stands in the file.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend(
    "if" = json!({ "required": ["pfx"] }),
    "then" = json!({ "properties": {
        "client": { "not": {}, "errorMessage": "does not go with `pfx`, which has the client certificate in it: give one of both" },
        "key": { "not": {}, "errorMessage": "does not go with `pfx`, which has the key in it: give one of both" },
    } }),
    "else" = json!({ "required": ["client", "key"] }),
))]
struct Written {
    /// Client certificate in PEM form (`client.pem`); or `pfx` in place of this and `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<PathBuf>,
    /// Private key of `client` in PEM form (`client_key.pem`); if it is encrypted, with `passphrase`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<PathBuf>,
    /// Client certificate and key in one file (`client.pfx`), in place of `client` and `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pfx: Option<PathBuf>,
    /// Certificate authority of the site (`root.pem`, `root.cer`). May be absent beside a PFX file that has it in it, and
    /// with `verify: none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca: Option<PathBuf>,
    /// What the key or the PFX file is encrypted with; as `${env:NAME}` or `${file:PATH}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    passphrase: Option<Passphrase>,
}

impl TryFrom<Written> for Certificates {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let Written { client, key, pfx, ca, passphrase } = written;
        let client = match (client, key, pfx) {
            (Some(certificate), Some(key), None) => ClientFiles::Pem { certificate, key },
            (None, None, Some(file)) => ClientFiles::Pfx(file),
            _ => return Err("either `client` and `key` are needed, or `pfx`"),
        };
        Ok(Self { client, ca, passphrase })
    }
}

impl From<Certificates> for Written {
    fn from(certificates: Certificates) -> Self {
        let Certificates { client, ca, passphrase } = certificates;
        let (client, key, pfx) = match client {
            ClientFiles::Pem { certificate, key } => (Some(certificate), Some(key), None),
            ClientFiles::Pfx(file) => (None, None, Some(file)),
        };
        Self { client, key, pfx, ca, passphrase }
    }
}
