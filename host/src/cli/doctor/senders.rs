//! Names in `udp.allowFrom`: what is sent from a node whose name does not resolve here is refused.

use std::time::Duration;

use futures_util::future::join_all;

use super::super::findings::Findings;
use super::super::progress::waiting;
use crate::config::{Udp, network};

const LINK: &str = "udp.allowFrom";

/// The system's resolver may ask servers that are away.
const RESOLVE: Duration = Duration::from_secs(10);

/// Resolves all of them.
pub(super) async fn check(udp: &Udp, findings: &mut Findings) {
    let entries = udp.allow_from.iter().flatten();
    let names: Vec<&String> = entries.filter(|entry| network(entry).is_none()).collect();
    if names.is_empty() {
        return;
    }
    let all = join_all(names.iter().map(|name| trouble(name)));
    let troubles = waiting("the names in `udp.allowFrom`", all).await;
    let mut good = Vec::new();
    for (name, trouble) in names.into_iter().zip(troubles) {
        let Some(trouble) = trouble else {
            good.push(name.as_str());
            continue;
        };
        let detail = format!("`{name}` does not resolve here ({trouble}), so all that its node sends is refused");
        findings.failed(LINK, &detail, "write its address instead, or put the name into DNS or the hosts file");
    }
    if !good.is_empty() {
        findings.ok(LINK, &format!("resolves here: {}", good.join(", ")));
    }
}

/// Why a name has no address.
async fn trouble(name: &str) -> Option<String> {
    match tokio::time::timeout(RESOLVE, tokio::net::lookup_host((name, 0))).await {
        Ok(Ok(mut addresses)) => addresses.next().is_none().then(|| "it has no address".to_owned()),
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {} s", RESOLVE.as_secs())),
    }
}
