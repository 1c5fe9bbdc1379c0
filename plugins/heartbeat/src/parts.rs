//! Whether the parts are well that must be.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use butler_plugin_api::{Host, PartStatus, Status};
use futures_util::future::{Either, select};
use serde_json::json;

use crate::settings::Part;

/// Key of what is written to see that the store takes it.
const PROBE: &str = "beat";

/// What is wrong with the parts that `require` names, or with all that the config has; `None`: nothing. `beat`: the number of
/// this look.
pub(crate) async fn fault(host: &Host, require: Option<&[Part]>, limit: Duration, beat: u64) -> Option<String> {
    if require.is_some_and(<[Part]>::is_empty) {
        return None;
    }
    let status = match within(host, limit, host.status()).await {
        Some(Ok(status)) => status,
        Some(Err(error)) => return Some(format!("Butler does not tell how it is: {error}")),
        None => return Some(format!("Butler does not tell within {} s how it is", limit.as_secs_f64())),
    };
    let mut faults = Vec::new();
    for part in [Part::Store, Part::Udp, Part::Qlik] {
        let is_required = require.is_some_and(|require| require.contains(&part));
        if is_required || (require.is_none() && is_there(part, &status)) {
            let fault = match part {
                Part::Store => store(host, &status.store, limit, beat).await,
                Part::Udp => udp(status.udp.as_ref()),
                Part::Qlik => qlik(host, status.qlik.as_ref(), limit).await,
            };
            faults.extend(fault);
        }
    }
    (!faults.is_empty()).then(|| faults.join("; "))
}

fn is_there(part: Part, status: &Status) -> bool {
    match part {
        Part::Store => true,
        Part::Udp => status.udp.is_some(),
        Part::Qlik => status.qlik.is_some(),
    }
}

/// Writes something: on a site where nothing happens a disk without room would be seen by nobody else. Another number each
/// time, since SQLite writes nothing for a value that stays the same.
async fn store(host: &Host, known: &PartStatus, limit: Duration, beat: u64) -> Option<String> {
    if !known.healthy {
        return Some(format!("the store cannot be written: {}", why(known)));
    }
    let (storage, value) = (host.storage(), json!(beat));
    match within(host, limit, storage.set(PROBE, &value, None)).await {
        Some(Ok(())) => None,
        Some(Err(error)) => Some(format!("the store cannot be written: {error}")),
        None => Some(format!("the store has taken nothing for {} s; Butler's log says why", limit.as_secs_f64())),
    }
}

fn udp(known: Option<&PartStatus>) -> Option<String> {
    match known {
        None => Some("the config has no `udp:`, which `require` asks for".to_owned()),
        Some(part) => (!part.healthy).then(|| format!("UDP: {}", why(part))),
    }
}

/// Asks Qlik Sense: when nothing happens nobody else does, and what was so at the last call may be long past.
async fn qlik(host: &Host, known: Option<&PartStatus>, limit: Duration) -> Option<String> {
    let Some(known) = known else {
        return Some("the config has no `qlik:`, which `require` asks for".to_owned());
    };
    match within(host, limit, host.qlik().get("about", &[])).await {
        Some(Ok(reply)) if (200..300).contains(&reply.status) => None,
        Some(Ok(reply)) => Some(format!("Qlik Sense answered {} to GET about", reply.status)),
        // While it is away it is asked now and then only, and the error says when next: the reason behind it stays the same.
        Some(Err(error)) => Some(known.message.clone().unwrap_or_else(|| error.to_string())),
        None => Some(format!("Qlik Sense gave no answer within {} s", limit.as_secs_f64())),
    }
}

fn why(part: &PartStatus) -> &str {
    part.message.as_deref().unwrap_or("Butler's log says why")
}

/// The outcome of a future, if it ends in time.
async fn within<T>(host: &Host, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    match select(pin!(future), pin!(host.sleep(limit))).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}
