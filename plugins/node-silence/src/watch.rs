//! A look at all nodes: who is silent, and is that told?

use butler_plugin_api::{HeardNode, Host, Status, kind, node_names};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::hours::Hours;
use crate::memory::Memory;
use crate::settings::{Limits, Settings};
use crate::silence::{SLACK, Silence};
use crate::site::Site;
use crate::trouble::Trouble;

/// So long a log line may take: what has ended later proves nothing.
const DELAY: SignedDuration = SignedDuration::from_mins(1);
/// So many other names are listed.
const MAX_NAMES: usize = 10;

/// Watches all nodes.
pub(crate) struct Watch {
    pub(crate) host: Host,
    pub(crate) settings: Settings,
    pub(crate) limits: Limits,
    pub(crate) hours: Hours,
    /// A look that comes later than this finds that the machine was suspended.
    pub(crate) late: SignedDuration,
}

impl Watch {
    /// Looks once, as was planned for some time. What was found out counts, also where the look ends in trouble.
    pub(crate) async fn look(&self, now: Timestamp, planned: Timestamp) -> Result<(), Trouble> {
        let status = self.host.status().await?;
        if status.qlik.is_none() {
            return Err(Trouble::NoQlik);
        }
        if status.udp.is_none() {
            return Err(Trouble::NoUdp);
        }
        let mut memory = Memory::read(&self.host).await?;
        let site = Site::ask(&self.host).await;
        if matches!(site, Err(Trouble::Stopped)) {
            return Err(Trouble::Stopped);
        }
        let listened = memory.look(&status, now, planned, self.late);
        if let Ok(site) = &site {
            self.keep_watched(site, &mut memory, &status, now);
        }
        for (node, silence) in &mut memory.nodes {
            if silence.go_on(last_heard(&status, node), listened, now, &self.hours) {
                tracing::info!(node = node.as_str(), "is heard by UDP again");
            }
            if silence.heard {
                let seconds = now.duration_since(silence.since).as_secs_f64().max(0.0);
                self.host.metrics().gauge("seconds_since_heard", &[("node", node)], seconds);
            }
        }
        let told = match &site {
            Ok(site) => self.tell(site, &mut memory, &status, now).await,
            Err(trouble) => Err(trouble.clone()),
        };
        // After the events: when it is not written any more, they are emitted again, under the same keys.
        memory.write(&self.host).await?;
        told
    }

    /// New nodes come under watch, and those that are gone, or ignored, are forgotten.
    fn keep_watched(&self, site: &Site, memory: &mut Memory, status: &Status, now: Timestamp) {
        let watched: Vec<&String> = site.watched(&self.settings.ignore_nodes).collect();
        memory.nodes.retain(|node, _| watched.contains(&node));
        for node in watched {
            let new = || Silence::new(last_heard(status, node), now);
            memory.nodes.entry(node.clone()).or_insert_with(new);
        }
    }

    async fn tell(&self, site: &Site, memory: &mut Memory, status: &Status, now: Timestamp) -> Result<(), Trouble> {
        // While it is deaf, or was until now, nothing proves anything.
        let Some(listening) = memory.listening_since else { return Ok(()) };
        for (node, silence) in &mut memory.nodes {
            let Some(number) = silence.due(self.limits) else { continue };
            // Fails at the ends of all time only.
            let (Ok(from), Ok(to)) = (silence.since.max(listening).checked_add(SLACK), now.checked_sub(DELAY)) else {
                continue;
            };
            if from >= to {
                continue;
            }
            let tasks = site.tasks(&self.host, node, (from, to), self.settings.successes).await?;
            if tasks == 0 {
                continue;
            }
            let key = format!("{node} {} {number}", silence.since);
            let event = event(node, silence, tasks, &other_names(status, node), now);
            self.host.emit_once(&key, kind::NODE_SILENT, event).await?;
            silence.told = Some(number);
        }
        Ok(())
    }

    /// For `butler check`: who is watched, and what Qlik Sense shows of the last day.
    pub(crate) async fn check(&self, now: Timestamp) -> Result<String, Trouble> {
        let status = self.host.status().await?;
        if status.qlik.is_none() {
            return Err(Trouble::NoQlik);
        }
        let site = Site::ask(&self.host).await?;
        let mut lines = Vec::new();
        for node in site.watched(&self.settings.ignore_nodes) {
            let day = (now - SignedDuration::from_hours(24), now);
            let tasks = site.tasks(&self.host, node, day, self.settings.successes).await?;
            // `butler check` runs beside the daemon and has heard nothing itself.
            let heard = last_heard(&status, node).map(|heard| format!(", last heard {heard:.0}")).unwrap_or_default();
            let of = status.nodes.iter().filter(|other| node_names::same(&other.name, node));
            let executed = of.filter_map(|other| other.qrs.as_deref()).max();
            let executed = executed.map(|time| format!(", last executed a task {time}")).unwrap_or_default();
            lines.push(format!("{node} ({tasks} tasks to tell of in the last 24 h{heard}{executed})"));
        }
        let watched = if lines.is_empty() { "no node, all are ignored".to_owned() } else { lines.join(", ") };
        let workers = match site.workers.as_slice() {
            [] => String::new(),
            workers => format!("; only execute, so another node tells of it: {}", workers.join(", ")),
        };
        Ok(format!("watches {watched}{workers}"))
    }
}

/// When the log appenders of a node sent something last.
fn last_heard(status: &Status, node: &str) -> Option<Timestamp> {
    let of_node = status.nodes.iter().filter(|other| node_names::same(&other.name, node));
    let times = of_node.filter_map(|other| other.udp.as_deref()?.parse::<Timestamp>().ok());
    times.max()
}

/// Names by which log appenders of other nodes sent something, the latest first: the node may be among them by another name.
fn other_names(status: &Status, node: &str) -> String {
    let others = status.nodes.iter().filter(|other| !node_names::same(&other.name, node));
    let heard = |other: &HeardNode| other.udp.as_deref()?.parse::<Timestamp>().ok();
    let mut others: Vec<_> = others.filter_map(|other| Some((heard(other)?, other.name.as_str()))).collect();
    others.sort_unstable_by(|one, other| other.cmp(one));
    let more = if others.len() > MAX_NAMES { ", …" } else { "" };
    let names: Vec<&str> = others.into_iter().take(MAX_NAMES).map(|(_, name)| name).collect();
    if names.is_empty() { "no node".to_owned() } else { names.join(", ") + more }
}

fn event(node: &str, silence: &Silence, tasks: u64, others: &str, now: Timestamp) -> serde_json::Value {
    let counted = words(silence.counted_ms);
    let last =
        if silence.heard { format!("the last was at {:.0}", silence.since) } else { "there never was one".to_owned() };
    let ended = if tasks == 1 { "1 task has ended".to_owned() } else { format!("{tasks} tasks have ended") };
    let message = format!(
        "No log line by UDP from {node} in {counted} of working time ({last}), though {ended} that its scheduler logs. Check on that \
         node that C:\\ProgramData\\Qlik\\Sense\\Scheduler\\LocalLogConfig.xml is there and names Butler's address (`butler \
         log-appender --service scheduler` writes it); on the way that firewalls let UDP through; in Butler's config `udp.listen` \
         and `udp.allowFrom`. Other names that were heard: {others}; if one of these is that node, or it need not be heard, write \
         {node} into `ignoreNodes`"
    );
    let seconds = u64::try_from(now.duration_since(silence.since).as_secs()).unwrap_or_default();
    let mut facts = json!({ "seconds": seconds });
    if silence.heard {
        facts["lastHeardAt"] = json!(format!("{:.3}", silence.since));
    }
    json!({ "node": node, "message": message, "silence": facts })
}

fn words(millis: u64) -> String {
    match (millis / 3_600_000, millis / 60_000 % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}
