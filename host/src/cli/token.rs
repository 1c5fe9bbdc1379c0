//! `butler token new`: makes a token for the REST API. Butler keeps only its hash.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use butler_plugin_api::Scope;
use clap::Subcommand;
use sha2::{Digest, Sha256};

#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Make a token and print what belongs into the config.
    New {
        /// Who will use it.
        #[arg(long, default_value = "script")]
        name: String,
        /// What it allows, separated by commas: read, deliveries, tasks, kv, files, messages, scheduler, admin.
        #[arg(long, value_delimiter = ',', default_value = "read", value_parser = scope)]
        scopes: Vec<Scope>,
        /// Address or network from which it may be used, such as 10.1.2.3 or 10.1.0.0/16; several: once for each. Without
        /// it: from everywhere.
        #[arg(long = "network", value_name = "NETWORK", value_parser = network)]
        networks: Vec<String>,
    },
}

fn scope(text: &str) -> Result<Scope, String> {
    serde_json::from_value(text.into())
        .map_err(|_| "write read, deliveries, tasks, kv, files, messages, scheduler or admin".to_owned())
}

fn network(text: &str) -> Result<String, String> {
    let known = crate::config::network(text).map(|_| text.to_owned());
    known.ok_or_else(|| "write an address or a network, such as 10.1.2.3 or 10.1.0.0/16".to_owned())
}

impl Token {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let Self::New { name, scopes, networks } = self;
        let mut random = [0_u8; 32];
        getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("the system gives no random numbers: {error}"))?;
        let token = URL_SAFE_NO_PAD.encode(random);
        let hash = Sha256::digest(token.as_bytes()).iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        let scopes: Vec<String> = scopes.iter().map(|scope| format!("{scope:?}").to_lowercase()).collect();
        println!("Token, shown only now; callers send it as `Authorization: Bearer {token}`\n");
        println!("Add to the config:\n\nrest:\n  tokens:");
        println!("    - name: {}", serde_json::to_string(&name)?);
        println!("      sha256: {hash}\n      scopes: [{}]", scopes.join(", "));
        if !networks.is_empty() {
            // In quotes: those of IPv6 have colons.
            println!("      networks: {}", serde_json::to_string(&networks)?);
        }
        Ok(())
    }
}
