//! Whether log appenders of Qlik Sense are heard.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use butler_plugin_api::node_names;
use serde_json::Value;
use tokio::time::Instant;

use super::super::client::{Daemon, Presence};
use super::super::findings::Findings;
use super::drops::Drops;
use crate::config::{Span, Udp};
use crate::ingest::{self, Datagram, Snapshot, UdpServer};

/// Their link.
pub(super) const LINK: &str = "log appender";
/// So often the daemon is asked what it has heard.
const LOOK: Duration = Duration::from_millis(250);

const REMEDY: &str = "put the LocalLogConfig.xml that `butler log-appender` writes on the nodes (config/log4net/README.md says where), \
                      open the UDP port from there to Butler, and name the nodes in `udp.allowFrom`";

/// What the reason `source` of dropped messages means.
const SOURCE: &str = "`source`: the sender is not in `udp.allowFrom`";

const REPLACE: &str = "replace the file of the log appender by that which `butler log-appender` writes";

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
    let (heard, silent) = (by_udp(&nodes), silent(&nodes));
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
        let remedy = format!(
            "right for nodes that only execute tasks: how those ended is logged by the nodes whose scheduler manages them; on such a \
             node {REMEDY}"
        );
        findings.note(LINK, &detail, &remedy);
    }
    dropped(&Drops::of(daemon).await, !heard.is_empty() && silent.is_empty(), findings);
}

/// What the daemon has dropped since it was started. `complete`: every node that is known was heard.
fn dropped(drops: &Drops, complete: bool, findings: &mut Findings) {
    let (strangers, no_event) = (drops.of_strangers(), drops.of_no_event());
    if strangers > 0.0 {
        let detail = format!("dropped were {strangers} by source since Butler was started ({SOURCE})");
        let remedy =
            "the daemon's log says who sent them: if it is a node of Qlik Sense, add its address to `udp.allowFrom`";
        // A stranger may be none of the site.
        if complete {
            findings.note(LINK, &detail, remedy);
        } else {
            findings.failed(LINK, &detail, remedy);
        }
    }
    if no_event > 0.0 {
        let detail = format!("{no_event} messages since Butler was started were no events; its log says of whom");
        findings.note(LINK, &detail, REPLACE);
    }
}

/// Names of the nodes of which is heard by other roads alone. The roads spell the same node in different ways.
fn silent(nodes: &Value) -> Vec<&str> {
    let heard = by_udp(nodes);
    let all = nodes["nodes"].as_array().into_iter().flatten().filter_map(|node| node["name"].as_str());
    all.filter(|name| !heard.keys().any(|other| node_names::same(other, name))).collect()
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
    let (mut before, dropped) = (None, Drops::of(daemon).await);
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
            let drops = Drops::of(daemon).await.since(&dropped);
            let mut detail = format!("nothing came within {span}");
            if !drops.is_empty() {
                detail = format!("{detail} that could be taken; meanwhile was dropped: {drops} ({SOURCE})");
            }
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
            findings.failed(LINK, &detail, REPLACE);
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
    format!("; dropped were {} ({SOURCE})", dropped.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::findings::{Form, Verdict};
    use super::*;
    use crate::config::Secrets;

    #[test]
    fn a_node_that_the_roads_spell_in_different_ways_is_heard() {
        let node = |name: &str, road: &str| json!({ "name": name, "roads": { road: "2026-03-04T05:06:07.000Z" } });
        let nodes = json!({ "nodes": [
            node("SENSE1", "udp"), node("sense1.lab.local", "qrs"), node("sense2.lab.local", "qrs")
        ] });
        assert_eq!(silent(&nodes), ["sense2.lab.local"]);
    }

    #[test]
    fn strangers_fail_unless_every_node_was_heard() {
        let verdict = |page: &str, complete| {
            let mut findings = Findings::new(Form::Json, Secrets::default());
            dropped(&Drops::read(page), complete, &mut findings);
            findings.verdict()
        };
        let strangers = "butler_udp_dropped_total{reason=\"source\"} 2\n";
        assert_eq!((verdict(strangers, false), verdict(strangers, true)), (Verdict::Failed, Verdict::Note));
        assert_eq!(verdict("butler_udp_rejected_total{reason=\"form\"} 2\n", true), Verdict::Note);
        assert_eq!(verdict("butler_udp_dropped_total{reason=\"source\"} 0\n", false), Verdict::Ok);
    }
}
