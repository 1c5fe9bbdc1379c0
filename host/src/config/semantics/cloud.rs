//! Tenants of Qlik Cloud.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Semantics;
use crate::config::cloud::CloudTenant;
use crate::config::report::{join, similar};

const TENANTS: &str = "/qlikCloud/tenants";

impl Semantics<'_> {
    pub(super) fn qlik_cloud(&mut self) {
        let profiles = self.section::<BTreeMap<String, Value>>("/tls").unwrap_or_default();
        let mut ids = Vec::new();
        for (index, tenant) in self.entries::<CloudTenant>(TENANTS) {
            let pointer = join(TENANTS, index);
            ids.push((join(&pointer, "id"), tenant.id));
            self.tenant_address(&join(&pointer, "url"), &tenant.url);
            if let Some(name) = tenant.tls.filter(|name| !profiles.contains_key(name)) {
                let at = join(&pointer, "tls");
                let message = self.with_value(&at, "must be the name of a profile under `tls`", &name);
                match similar(&name, profiles.keys().map(String::as_str)) {
                    Some(right) => self.suggest(at, message, format!("did you mean `{right}`?")),
                    None => self.suggest(
                        at,
                        message,
                        "add the profile there, or leave this out for the system's authorities",
                    ),
                }
            }
            let sound = !tenant.token.is_empty() && tenant.token.chars().all(|letter| letter.is_ascii_graphic());
            self.secret(&join(&pointer, "token"), sound);
            if let Some(secret) = &tenant.webhook_secret {
                // With an empty one everybody could sign.
                let sound = !secret.is_empty() && !secret.chars().any(char::is_control);
                self.secret(&join(&pointer, "webhookSecret"), sound);
            }
            for name in ["qmc", "hub"] {
                self.link(join(&join(&pointer, "links"), name));
            }
        }
        for (at, (pointer, id)) in ids.iter().enumerate() {
            if ids[..at].iter().any(|(_, other)| other == id) {
                self.suggest(
                    pointer,
                    "another tenant has the same `id`",
                    "put what belongs to one tenant into one entry: events are told apart by it",
                );
            }
        }
    }

    fn tenant_address(&mut self, pointer: &str, address: &str) {
        let url = url::Url::parse(address).ok().filter(url::Url::has_host);
        let alone = |url: &url::Url| {
            url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty()
        };
        let words = "must be the address of the tenant alone, such as `https://acme.eu.qlikcloud.com`";
        let message = self.with_value(pointer, words, address);
        match url {
            Some(url) if url.scheme() == "https" && alone(&url) && url.password().is_none() => {}
            Some(url) if url.scheme() == "http" => {
                self.suggest(pointer, message, "write `https`: the token must not travel where others can read it");
            }
            _ => self.problem(pointer, message),
        }
    }

    fn secret(&mut self, pointer: &str, sound: bool) {
        if !sound {
            let what = "must not be empty, and in one piece, without line breaks and the like";
            self.suggest(pointer, what, "is the right value in the environment variable or file?");
        } else if !self.resolved.tainted.contains_key(pointer) {
            let text =
                "is written out, so Butler cannot hide it in logs and answers: use `${env:NAME}` or `${file:PATH}`";
            self.warn(pointer, text);
        }
    }
}
