//! Signed requests: HMAC-SHA256 over the body, by which the other side can tell that a request is Butler's.
//!
//! `standard` is the scheme of Standard Webhooks 1.0: `webhook-signature` is over id, time and body, so that a request cannot
//! be sent again later. `body` is the header that GitHub made usual, over the body alone.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// How requests are signed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SignatureSettings {
    /// What both sides know: write it as `${env:NAME}` or `${file:path}`. `whsec_…` is base64, all else is taken as it is.
    #[schemars(extend("writeOnly" = true))]
    secret: String,
    /// `standard`: the headers `webhook-id`, `webhook-timestamp` and `webhook-signature` of Standard Webhooks. `body`: one header,
    /// `sha256=` and the signature of the body in hexadecimal digits.
    #[serde(default)]
    scheme: Scheme,
    /// Name of the header of the scheme `body`. Absent: `X-Hub-Signature-256`.
    #[serde(default)]
    header: Option<String>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Scheme {
    #[default]
    Standard,
    Body,
}

/// Signs requests.
pub(crate) enum Signer {
    Standard(Vec<u8>),
    Body { key: Vec<u8>, header: String },
}

impl std::fmt::Debug for Signer {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("headers", &self.headers()).finish_non_exhaustive()
    }
}

impl TryFrom<SignatureSettings> for Signer {
    /// Never quotes the secret.
    type Error = String;

    fn try_from(settings: SignatureSettings) -> Result<Self, String> {
        let key = match settings.secret.strip_prefix("whsec_") {
            Some(encoded) => STANDARD.decode(encoded).map_err(|_| {
                "`signature.secret` begins with `whsec_`, but what follows is not base64: copy it again".to_owned()
            })?,
            None => settings.secret.into_bytes(),
        };
        if key.is_empty() {
            return Err("`signature.secret` is empty: take a long random text".to_owned());
        }
        match (settings.scheme, settings.header) {
            (Scheme::Standard, None) => Ok(Self::Standard(key)),
            (Scheme::Standard, Some(_)) => {
                Err("`signature.header` goes with `scheme: body` only: the other scheme has names of its own"
                    .to_owned())
            }
            (Scheme::Body, header) => {
                Ok(Self::Body { key, header: header.unwrap_or_else(|| "X-Hub-Signature-256".to_owned()) })
            }
        }
    }
}

impl Signer {
    /// Names of the headers that it sets.
    pub(crate) fn headers(&self) -> Vec<&str> {
        match self {
            Self::Standard(_) => vec!["webhook-id", "webhook-timestamp", "webhook-signature"],
            Self::Body { header, .. } => vec![header],
        }
    }

    /// The headers of a request. `id` is the same when it is repeated; `time` is now, in seconds since 1970.
    pub(crate) fn sign(&self, id: &str, time: u64, body: &[u8]) -> Vec<(String, String)> {
        let values = match self {
            Self::Standard(key) => {
                let time = time.to_string();
                let code = code(key, &[id.as_bytes(), b".", time.as_bytes(), b".", body]);
                vec![id.to_owned(), time, format!("v1,{}", STANDARD.encode(code))]
            }
            Self::Body { key, .. } => {
                let mut value = "sha256=".to_owned();
                for byte in code(key, &[body]) {
                    // Writing into a text does not fail.
                    let _ = write!(value, "{byte:02x}");
                }
                vec![value]
            }
        };
        self.headers().into_iter().map(str::to_owned).zip(values).collect()
    }
}

fn code(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn signer(settings: Value) -> Result<Signer, String> {
        Signer::try_from(serde_json::from_value::<SignatureSettings>(settings).map_err(|error| error.to_string())?)
    }

    fn header(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    /// The example that the libraries of Standard Webhooks are tested with.
    #[test]
    fn standard_signatures_are_those_of_its_libraries() {
        let signer = signer(json!({ "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" })).unwrap();
        assert_eq!(
            signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#),
            [
                header("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                header("webhook-timestamp", "1614265330"),
                header("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
            ]
        );
    }

    /// The example of GitHub's documentation ("Validating webhook deliveries").
    #[test]
    fn signatures_of_bodies_are_those_of_github() {
        let secret = "It's a Secret to Everybody";
        let value = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let hub = signer(json!({ "secret": secret, "scheme": "body" })).unwrap();
        assert_eq!(hub.sign("d1", 7, b"Hello, World!"), [header("X-Hub-Signature-256", value)]);
        let own = signer(json!({ "secret": secret, "scheme": "body", "header": "X-Signature" })).unwrap();
        assert_eq!(own.sign("d2", 8, b"Hello, World!"), [header("X-Signature", value)]);
        assert!(!format!("{own:?}").contains("Secret"), "{own:?}");
    }

    #[test]
    fn what_cannot_work_is_refused_without_the_secret() {
        for (settings, part) in [
            (json!({ "secret": "" }), "`signature.secret` is empty"),
            (json!({ "secret": "whsec_" }), "`signature.secret` is empty"),
            (json!({ "secret": "whsec_gehe!m" }), "not base64"),
            (json!({ "secret": "geheim", "header": "X-Signature" }), "`scheme: body` only"),
            (json!({ "secret": "geheim", "scheme": "md5" }), "unknown variant"),
        ] {
            let error = signer(settings).unwrap_err();
            assert!(error.contains(part) && !error.contains("gehe"), "{error}");
        }
    }
}
