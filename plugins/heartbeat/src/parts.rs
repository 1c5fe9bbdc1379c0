//! Whether the parts are well that must be.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use butler_plugin_api::{Host, PartStatus, QlikReply, ServiceError, Status};
use futures_util::future::{Either, select};
use serde_json::json;

use crate::settings::Part;

/// Key of what is written to see that the store takes it.
const PROBE: &str = "beat";

/// What one look leaves to the next.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// How many looks there were.
    looks: u64,
    /// How many UDP messages Butler's buffer had had no room for.
    dropped: Option<u64>,
}

/// What is wrong with the parts that `require` names, or with all that the config has; `None`: nothing.
pub(crate) async fn fault(host: &Host, require: Option<&[Part]>, limit: Duration, past: &mut Past) -> Option<String> {
    if require.is_some_and(<[Part]>::is_empty) {
        return None;
    }
    let status = match within(host, limit, host.status()).await {
        Some(Ok(status)) => status,
        Some(Err(error)) => return Some(format!("Butler does not tell how it is: {error}")),
        None => return Some(format!("Butler does not tell within {} s how it is", limit.as_secs_f64())),
    };
    let look = past.looks;
    past.looks += 1;
    let dropped = status.ingest.as_ref().and_then(|ingest| ingest.dropped.get("buffer-full")).copied();
    let before = std::mem::replace(&mut past.dropped, dropped);
    let is_losing = before.zip(dropped).is_some_and(|(before, now)| now > before);
    let mut faults = Vec::new();
    for part in [Part::Store, Part::Udp, Part::Qlik] {
        let is_required = require.is_some_and(|require| require.contains(&part));
        if is_required || (require.is_none() && is_there(part, &status)) {
            let fault = match part {
                Part::Store => store(host, &status.store, limit, look).await,
                Part::Udp => udp(status.udp.as_ref(), is_losing),
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
async fn store(host: &Host, known: &PartStatus, limit: Duration, look: u64) -> Option<String> {
    if !known.healthy {
        return Some(format!("the store cannot be written: {}", why(known)));
    }
    let (storage, value) = (host.storage(), json!(look));
    match within(host, limit, storage.set(PROBE, &value, None)).await {
        Some(Ok(())) => None,
        Some(Err(error)) => Some(format!("the store cannot be written: {error}")),
        None => Some(format!("the store has taken nothing for {} s; Butler's log says why", limit.as_secs_f64())),
    }
}

/// `is_losing`: messages were dropped since the last look. How many does not belong into the reason: it is said when it changes.
fn udp(known: Option<&PartStatus>, is_losing: bool) -> Option<String> {
    match known {
        None => Some("the config has no `udp:`, which `require` asks for".to_owned()),
        Some(part) if !part.healthy => Some(format!("UDP: {}", why(part))),
        Some(_) => is_losing.then(|| {
            "UDP: messages were dropped, since the buffer is full: the store does not keep up, see Butler's log"
                .to_owned()
        }),
    }
}

/// Asks Qlik Sense: when nothing happens nobody else does, and what was so at the last call may be long past.
async fn qlik(host: &Host, known: Option<&PartStatus>, limit: Duration) -> Option<String> {
    let Some(known) = known else {
        return Some("the config has no `qlik:`, which `require` asks for".to_owned());
    };
    let answer = within(host, limit, host.qlik().get("about", &[])).await;
    judged(answer, known, limit)
}

/// Why such an answer is none that Qlik Sense gives when it is well.
fn judged(answer: Option<Result<QlikReply, ServiceError>>, known: &PartStatus, limit: Duration) -> Option<String> {
    match answer {
        Some(Ok(reply)) if (200..300).contains(&reply.status) => None,
        Some(Ok(reply)) => Some(format!("Qlik Sense answered {} to GET about", reply.status)),
        // While it is away it is asked now and then only, and the error says when next: the reason behind it stays the same.
        Some(Err(error)) => Some(known.message.clone().unwrap_or_else(|| error.to_string())),
        // Likewise: while it hangs, some of these calls wait for an answer and others are not made.
        None => {
            let why = || format!("Qlik Sense gave no answer within {} s", limit.as_secs_f64());
            Some(known.message.clone().unwrap_or_else(why))
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qlik_sense_that_hangs_has_one_reason_whether_it_was_asked_or_not() {
        let limit = Duration::from_secs(10);
        let known = PartStatus::new(Some("Qlik Sense at sense1 did not answer in time".to_owned()));
        let gated =
            ServiceError::Unavailable("did not answer (it is asked again in 999 ms at the earliest)".to_owned());
        assert_eq!(judged(None, &known, limit), known.message);
        assert_eq!(judged(Some(Err(gated)), &known, limit), known.message);
        let first = judged(None, &PartStatus::new(None), limit);
        assert_eq!(first.as_deref(), Some("Qlik Sense gave no answer within 10 s"));
    }
}
