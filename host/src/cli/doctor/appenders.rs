//! Whether log appenders of Qlik Sense are heard.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::super::client::{Daemon, Presence};
use super::super::findings::Findings;
use crate::config::{Span, Udp};
use crate::ingest::{self, Datagram, Snapshot, UdpServer};

/// Their link.
pub(super) const LINK: &str = "log appender";
/// So often the daemon is asked what it has heard.
const LOOK: Duration = Duration::from_millis(250);

const REMEDY: &str = "put the LocalLogConfig.xml that `butler log-appender` writes on the nodes (config/log4net/README.md says where), \
                      open the UDP port from there to Butler, and name the nodes in `udp.allowFrom`";

const CANNOT_ASK: &str = "what Butler hears cannot be seen, as it cannot be asked: see the link `daemon`";

/// What the running daemon has heard of each node.
pub(super) async fn check(presence: &Presence, findings: &mut Findings) {
    let daemon = match presence {
        Presence::Runs(daemon) => daemon,
        Presence::Stopped => {
            let remedy = "start Butler, or use `--wait-for-appender 10m` while it does not run";
            return findings.note(LINK, "Butler does not run, so what it hears cannot be seen", remedy);
        }
        Presence::Unclear => return findings.note(LINK, CANNOT_ASK, ""),
    };
    let nodes = match daemon.get("/v5/nodes", &[]).await {
        Ok(nodes) => nodes,
        Err(error) => return findings.failed(LINK, &format!("what was heard cannot be asked for: {error:#}"), ""),
    };
    let heard = by_udp(&nodes);
    let all = nodes["nodes"].as_array().into_iter().flatten().filter_map(|node| node["name"].as_str());
    let silent: Vec<&str> = all.filter(|name| !heard.contains_key(*name)).collect();
    if heard.is_empty() {
        let detail = "none was heard of yet: nothing has ended since Butler was started first, or nothing arrives";
        let remedy = format!("let a task fail or succeed, with `--wait-for-appender 10m`; if nothing comes, {REMEDY}");
        findings.note(LINK, detail, &remedy);
    } else {
        let last: Vec<String> = heard.iter().map(|(node, time)| format!("{node} at {time}")).collect();
        findings.ok(LINK, &format!("last heard: {}", last.join(", ")));
    }
    if !silent.is_empty() && !heard.is_empty() {
        let detail = format!("{} known by other roads, but no log appender there was ever heard", silent.join(", "));
        findings.note(LINK, &detail, REMEDY);
    }
}

/// When each node was last heard of by UDP.
fn by_udp(nodes: &Value) -> BTreeMap<String, String> {
    let heard = |node: &Value| Some((node["name"].as_str()?.to_owned(), node["roads"]["udp"].as_str()?.to_owned()));
    nodes["nodes"].as_array().into_iter().flatten().filter_map(heard).collect()
}

/// Waits until something new is heard: by the running daemon, or else by this process in its place.
pub(super) async fn wait(presence: &Presence, udp: &Udp, span: Span, findings: &mut Findings) {
    if matches!(presence, Presence::Unclear) {
        return findings.failed(LINK, CANNOT_ASK, "");
    }
    if std::io::stderr().is_terminal() {
        eprintln!("waits up to {span} for a message of a log appender: let a task of Qlik Sense fail or succeed");
    }
    let until = Instant::now() + span.duration();
    match presence {
        Presence::Runs(daemon) => by_daemon(daemon, span, until, findings).await,
        Presence::Stopped | Presence::Unclear => by_itself(udp, span, until, findings).await,
    }
}

async fn by_daemon(daemon: &Daemon, span: Span, until: Instant, findings: &mut Findings) {
    let mut before = None;
    loop {
        match daemon.get("/v5/nodes", &[]).await {
            Ok(nodes) => {
                let now = by_udp(&nodes);
                let before = before.get_or_insert_with(|| now.clone());
                // Not by the clock: it may be set while this waits.
                if let Some((node, time)) = now.iter().find(|(node, time)| before.get(*node) != Some(time)) {
                    return findings.ok(LINK, &format!("{node} was heard at {time}"));
                }
            }
            Err(error) => {
                let detail = format!("the daemon does not answer any more: {error:#}");
                return findings.failed(LINK, &detail, "see its log");
            }
        }
        if Instant::now() >= until {
            let detail = format!("nothing came within {span}");
            return findings.failed(LINK, &detail, REMEDY);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Listens where the daemon would.
async fn by_itself(udp: &Udp, span: Span, until: Instant, findings: &mut Findings) {
    let listening = UdpServer::bind(udp).map_err(anyhow::Error::from);
    let listening = match listening.and_then(|server| Ok(server.start()?)) {
        Ok(listening) => listening,
        Err(error) => {
            return findings.failed(LINK, &format!("{error:#}"), "if Butler runs with another config, name that one");
        }
    };
    let came = tokio::time::timeout_at(until, listening.next_batch(1)).await;
    listening.stop();
    let came = came.ok().flatten().unwrap_or_default();
    if let Some(datagram) = came.first() {
        heard(datagram, findings);
    } else {
        let (address, refused) = (listening.local_addr(), refused(&listening.snapshot()));
        findings.failed(LINK, &format!("nothing came to {address} within {span}{refused}"), REMEDY);
    }
}

fn heard(datagram: &Datagram, findings: &mut Findings) {
    let from = datagram.from.ip().to_canonical();
    match ingest::parse(&datagram.bytes) {
        Ok(heard) => {
            let node = heard.data.node.map(|node| format!(" ({node})")).unwrap_or_default();
            let detail = format!("{from}{node} sent {}; while Butler does not run, nobody else takes it", heard.kind);
            findings.ok(LINK, &detail);
        }
        Err(reject) => {
            let detail = format!("{from} sent a message that is no event: {reject}");
            findings.failed(
                LINK,
                &detail,
                "replace the file of the log appender by that which `butler log-appender` writes",
            );
        }
    }
}

/// How many came that the guard has refused.
fn refused(counts: &Snapshot) -> String {
    let dropped: Vec<String> = counts
        .dropped
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{count} by {reason}"))
        .collect();
    if dropped.is_empty() {
        return String::new();
    }
    format!("; dropped were {} (`source`: the sender is not in `udp.allowFrom`)", dropped.join(", "))
}
