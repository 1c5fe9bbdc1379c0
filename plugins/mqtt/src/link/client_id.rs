//! Who we are to the broker. Two clients with one id end each other's connections, again and again.

use std::hash::{BuildHasher, RandomState};

use butler_plugin_api::Host;
use serde_json::Value;

use super::Purpose;
use crate::settings::Broker;

/// Where it is kept.
const KEY: &str = "clientId";

/// That of the settings. Otherwise one of our own: made once and kept in the store, so that it stays the same and two Butlers
/// have two. Beside the daemon always another one.
pub(super) async fn of(host: &Host, broker: &Broker, purpose: Purpose) -> String {
    let own = match &broker.client_id {
        Some(id) => id.clone(),
        None => kept(host).await,
    };
    match purpose {
        Purpose::Daemon => own,
        Purpose::Alone => format!("{own}-{}", random()),
    }
}

async fn kept(host: &Host) -> String {
    let storage = host.storage();
    let id = format!("{}-{}", host.instance().name, random());
    match storage.get(KEY).await {
        Ok(Some(Value::String(kept))) => return kept,
        Ok(_) => {}
        // There may be one: it must not be lost.
        Err(error) => {
            tracing::warn!("the client id cannot be read from the store, so it is {id} until the next start: {error}");
            return id;
        }
    }
    if let Err(error) = storage.set(KEY, &Value::from(id.as_str()), None).await {
        tracing::warn!("the client id {id} cannot be kept, so it will be another one next time: {error}");
    }
    id
}

/// Eight digits.
fn random() -> String {
    format!("{:08x}", RandomState::new().hash_one(0) & 0xffff_ffff)
}
