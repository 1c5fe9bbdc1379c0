//! The part of `butler check` and `butler doctor` about the roads by which Butler hears: which are open, and which are in use.

use std::path::Path;

use serde_json::Value;

use super::client::{Daemon, Presence};
use super::findings::Findings;
use super::progress::waiting;
use crate::config::Config;
use crate::qlik::Lookups;

/// So far back Qlik Sense is asked for what has ended, to see whether it may be asked.
const SAMPLE_MS: i64 = 60_000;

/// Looks at all roads. What the running daemon has heard is asked for, if there is one.
pub(super) async fn check(path: &Path, config: &Config, qlik: Option<&Lookups>, findings: &mut Findings) {
    let nodes = match Daemon::find_by(path) {
        Ok(daemon) => daemon.get("/v5/nodes", &[]).await,
        Err(error) => Err(error),
    };
    let last = |road: &str| match &nodes {
        Ok(nodes) => last_heard(nodes, road).map_or(Heard::Nothing, Heard::Last),
        Err(error) if matches!(Presence::without(error), Presence::Stopped) => Heard::Unknown("Butler does not run"),
        Err(_) => Heard::Unknown("the running Butler cannot be asked"),
    };
    match &config.udp {
        Some(udp) => note_road(findings, "road UDP", &format!("log appenders send to {}", udp.listen), last("udp")),
        None => findings.note("road UDP", "off (no `udp:` in the config)", ""),
    }
    let Some(section) = &config.qlik else {
        let detail = "off (no `qlik:` in the config): nothing but UDP tells what has ended";
        return findings.note("road Qlik Sense", detail, "");
    };
    let Some(lookups) = qlik else {
        let detail = "not looked at, since the certificates cannot be used, as said above";
        return findings.note("road Qlik Sense", detail, "");
    };
    if !section.reconcile.enabled {
        findings.note("road Qlik Sense", "off (`qlik.reconcile.enabled`): what UDP loses, nobody hears of", "");
    } else if !lookups.repository().state().reachable {
        let detail = "not there at present, as said above; what ends meanwhile is asked for later";
        findings.note("road Qlik Sense", detail, "");
    } else {
        let now = crate::store::now_ms();
        match waiting("Qlik Sense", lookups.ended(now - SAMPLE_MS, now)).await {
            Ok(_) => {
                let how = format!("asked every {}", section.reconcile.every);
                note_road(findings, "road Qlik Sense", &how, last("qrs"));
            }
            Err(error) => {
                findings.failed("road Qlik Sense", &format!("cannot be asked for what has ended: {error}"), "");
            }
        }
    }
    match &section.notifications {
        Some(settings) => {
            let how = format!("Qlik Sense calls {}", settings.callback);
            note_road(findings, "road notifications", &how, last("notifications"));
        }
        None => findings.note("road notifications", "off (no `qlik.notifications` in the config)", ""),
    }
}

/// What has come by a road.
enum Heard {
    /// No daemon tells: why.
    Unknown(&'static str),
    Nothing,
    /// From which node, and when.
    Last(String),
}

fn note_road(findings: &mut Findings, what: &str, how: &str, heard: Heard) {
    match heard {
        Heard::Last(heard) => findings.ok(what, &format!("{how}; last heard: {heard}")),
        Heard::Nothing => findings.note(what, &format!("{how}; nothing was heard yet"), ""),
        Heard::Unknown(why) => {
            let detail = format!("{how}; {why}, so whether anything comes cannot be seen");
            findings.note(what, &detail, "");
        }
    }
}

/// The node that was heard of last by a road, and when.
fn last_heard(nodes: &Value, road: &str) -> Option<String> {
    let heard = |node: &Value| Some((node["roads"][road].as_str()?.to_owned(), node["name"].as_str()?.to_owned()));
    let (time, node) = nodes["nodes"].as_array()?.iter().filter_map(heard).max()?;
    Some(format!("{node} at {time}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_latest_counts() {
        let node = |name: &str, time: Option<&str>| json!({ "name": name, "roads": { "udp": time, "qrs": null } });
        let nodes = json!({ "nodes": [
            node("a", Some("2026-03-04T05:06:07.000Z")), node("b", Some("2026-03-04T05:06:08.000Z")), node("c", None)
        ] });
        assert_eq!(last_heard(&nodes, "udp").as_deref(), Some("b at 2026-03-04T05:06:08.000Z"));
        assert_eq!(last_heard(&nodes, "qrs"), None);
        assert_eq!(last_heard(&Value::Null, "udp"), None);
    }
}
