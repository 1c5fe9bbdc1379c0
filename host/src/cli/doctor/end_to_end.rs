//! `butler doctor --end-to-end`: a sample goes the way of a real failure, and is followed from its datagram to every
//! instance.
//!
//! It is sealed (`ingest::Seal`), so the daemon takes it for a test: messages say so, incidents are not opened, throttles
//! and metrics are left alone. Its task exists nowhere, so no later event can be taken for the same.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::time::Duration;

use butler_plugin_api::Event;
use serde_json::Value;
use tokio::time::Instant;

use super::super::client::{ANSWER, Daemon, Ready};
use super::super::findings::Findings;
use super::super::progress::waiting;
use super::drops::Drops;
use crate::config::{Config, PluginEntry, network};
use crate::daemon::Setup;
use crate::ingest::{Guard, Seal};
use crate::pipeline::Router;
use crate::qlik::QlikError;
use crate::store::now_ms;

const SENT: &str = "sample sent";
const HEARD: &str = "sample heard";
const STORED: &str = "sample stored";
const FACTS: &str = "sample facts";
const ROUTED: &str = "sample routed";

/// A datagram on the own machine takes milliseconds; the store may wait for its disk.
const HEAR: Duration = Duration::from_secs(10);
/// Beyond `enrich.giveUpAfter`: results and logs are looked for some seconds, too.
const ROUTE: Duration = Duration::from_secs(25);
/// For the same questions again.
const PATIENCE: Duration = Duration::from_secs(10);
const DELIVER: Duration = Duration::from_secs(30);
/// So often the daemon is asked.
const LOOK: Duration = Duration::from_millis(100);

/// Sends a sample and follows it.
pub(super) async fn run(daemon: &Daemon, setup: &Setup, findings: &mut Findings) {
    let config = &setup.loaded.config;
    let before = Drops::of(daemon).await;
    let Some(task) = send(daemon, config, findings).await else { return };
    // Not before: names in `udp.allowFrom` may take long to resolve.
    let began = Instant::now();
    let Some(id) = heard(daemon, &task, &before, began, findings).await else { return };
    let Some(event) = routed(daemon, config, &id, findings).await else { return };
    instances(daemon, setup, &id, &event, findings).await;
}

/// Sends it; the id of its task.
async fn send(daemon: &Daemon, config: &Config, findings: &mut Findings) -> Option<String> {
    let run = daemon.run();
    let listen = run.udp.as_deref().and_then(|address| address.parse::<SocketAddr>().ok());
    let Some((listen, section)) = listen.zip(config.udp.as_ref()) else {
        let detail = "the daemon does not listen for UDP, as it runs with a config without `udp:`";
        findings.failed(
            SENT,
            detail,
            "add `udp:` and start it again; `butler test-alert` tries an instance without it",
        );
        return None;
    };
    let guard = match Guard::new(section.allow_from.as_deref()) {
        Ok(guard) => guard,
        Err(error) => {
            findings.failed(SENT, &error.to_string(), "");
            return None;
        }
    };
    let senders = senders(listen.ip(), config);
    // Names may take the system's resolver long.
    let resolving = tokio::task::spawn_blocking(move || {
        guard.resolve_now();
        let senders = senders();
        (guard, senders)
    });
    let (guard, tried) = match waiting("the names in `udp.allowFrom`", resolving).await {
        Ok(done) => done,
        Err(error) => {
            findings.failed(SENT, &error.to_string(), "");
            return None;
        }
    };
    let Some(address) = tried.iter().find(|address| guard.allows(**address)).copied() else {
        let tried: Vec<String> = tried.iter().map(ToString::to_string).collect();
        let detail = format!("no address of this machine is in `udp.allowFrom`: tried {}", tried.join(", "));
        findings.failed(
            SENT,
            &detail,
            &format!("add one of them, such as {}, and reload or start the daemon again", tried[0]),
        );
        return None;
    };
    let target = SocketAddr::new(address, listen.port());
    let sample = Seal::new(&run.token).sample().map_err(anyhow::Error::from).and_then(|(text, task)| {
        // The sender's address is that of the target: it is this machine's own.
        UdpSocket::bind((address, 0))?.send_to(text.as_bytes(), target)?;
        Ok(task)
    });
    match sample {
        Ok(task) => {
            findings
                .ok(SENT, &format!("reload-task.failed, marked as a test, from {address} to {target}; task {task}"));
            Some(task)
        }
        Err(error) => {
            findings.failed(SENT, &format!("a datagram from {address} to {target} cannot be sent: {error:#}"), "");
            None
        }
    }
}

/// Which addresses of this machine may send to an address that it listens on, the likeliest first; found out when it is called.
fn senders(listen: IpAddr, config: &Config) -> impl FnOnce() -> Vec<IpAddr> + Send + 'static {
    let allowed = config.udp.as_ref().and_then(|udp| udp.allow_from.clone()).unwrap_or_default();
    let host = config.qlik.as_ref().map(|qlik| qlik.host.clone());
    move || {
        if !listen.is_unspecified() {
            return vec![listen];
        }
        // An unspecified IPv6 address hears IPv4 as well.
        let both = listen.is_ipv6();
        let mut senders: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into()];
        if both {
            senders.insert(0, Ipv6Addr::LOCALHOST.into());
        }
        for place in allowed.iter().chain(&host) {
            let towards = match network(place) {
                Some(network) => vec![network.addr()],
                None => (place.as_str(), 0)
                    .to_socket_addrs()
                    .map(|all| all.map(|one| one.ip()).collect())
                    .unwrap_or_default(),
            };
            for there in towards.into_iter().filter(|there| both || there.is_ipv4()) {
                let any: IpAddr =
                    if there.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
                // Sends nothing: the system only chooses the way.
                let own = UdpSocket::bind((any, 0)).and_then(|socket| {
                    socket.connect((there, 9))?;
                    Ok(socket.local_addr()?.ip())
                });
                senders.extend(own.ok().filter(|own| !senders.contains(own)));
            }
        }
        senders
    }
}

/// Waits until it is in the store; the id of the event.
async fn heard(daemon: &Daemon, task: &str, before: &Drops, began: Instant, findings: &mut Findings) -> Option<String> {
    let query = [("task", task.to_owned()), ("limit", "1".to_owned())];
    let hearing = async {
        loop {
            let answer = daemon.get("/v5/events", &query).await.unwrap_or_default();
            let id = answer["events"][0]["id"].as_str().map(str::to_owned);
            if id.is_some() || began.elapsed() >= HEAR {
                return id;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    if let Some(id) = waiting("the sample to be heard", hearing).await {
        findings.ok(HEARD, &format!("by the daemon's socket, within {} ms", began.elapsed().as_millis()));
        findings.ok(STORED, &format!("as the event {id}: it survives a crash from here on"));
        return Some(id);
    }
    let ready = daemon.ready(Some(ANSWER)).await.map(Ready::said).unwrap_or_default();
    let store = ready["reasons"].as_array().into_iter().flatten().find(|reason| reason["subject"] == "store");
    if let Some(reason) = store.and_then(|reason| reason["message"].as_str()) {
        findings.failed(
            STORED,
            &format!("not within {} s: {reason}", HEAR.as_secs()),
            "make room on its disk, or mend its permissions",
        );
        return None;
    }
    let drops = Drops::of(daemon).await.since(before);
    let why =
        if drops.is_empty() { "no drop was counted".to_owned() } else { format!("meanwhile was dropped: {drops}") };
    let detail = format!("not within {} s; {why}", HEAR.as_secs());
    let remedy = "see the daemon's log: it says which messages it drops, and why; does it run with this config (`butler reload`)?";
    findings.failed(HEARD, &detail, remedy);
    None
}

/// Waits until its facts were looked for and its deliveries made.
async fn routed(daemon: &Daemon, config: &Config, id: &str, findings: &mut Findings) -> Option<Event> {
    let began = Instant::now();
    let limit = config.enrich.give_up_after.duration() + ROUTE;
    let looking_up = async {
        loop {
            let answer = daemon.get(&format!("/v5/events/{id}"), &[]).await.unwrap_or_default();
            if answer["state"] == "routed" || began.elapsed() >= limit {
                return answer;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let answer = waiting("the facts of the sample", looking_up).await;
    let ready = daemon.ready(Some(ANSWER)).await.map(Ready::said).unwrap_or_default();
    let notes = ready["notes"].as_array().into_iter().flatten();
    let away = notes.filter(|note| note["subject"] == "qlik").find_map(|note| note["message"].as_str());
    if answer["state"] != "routed" {
        let why = away.unwrap_or("the daemon's log may say why");
        let state = answer["state"].as_str().unwrap_or("gone");
        let detail = format!("not looked up within {} s (it is {state}): {why}", limit.as_secs());
        findings.failed(FACTS, &detail, "");
        return None;
    }
    let event: Event = match serde_json::from_value(answer) {
        Ok(event) => event,
        Err(error) => {
            findings.failed(FACTS, &format!("the daemon's answer is odd: {error}"), "use the daemon's own executable");
            return None;
        }
    };
    if event.source != Event::TEST {
        let detail = format!("the daemon took it for real (`{}`)", event.source);
        findings.failed(STORED, &detail, "tell those who are alerted now; use the daemon's own executable");
    }
    let refused = if away.is_none() && !event.data.missing.is_empty() { refused(config, &event).await } else { None };
    facts(&event, config, away, refused, findings);
    Some(event)
}

/// Why Qlik Sense does not answer what the daemon has asked it, if it does not: what it does not know and what it refuses to
/// tell are both missing in the event. It is asked the same from here.
async fn refused(config: &Config, event: &Event) -> Option<QlikError> {
    let lookups = crate::daemon::lookups(config).ok()??;
    waiting("Qlik Sense", lookups.enrich(&event.data, &event.kind, now_ms(), false, PATIENCE)).await.transient
}

fn facts(event: &Event, config: &Config, away: Option<&str>, refused: Option<QlikError>, findings: &mut Findings) {
    let missing = event.data.missing.join(", ");
    if config.qlik.is_none() {
        findings.note(FACTS, "none but those of the message, since the config has no `qlik:`", "");
    } else if let Some(away) = away {
        let detail = format!("goes on without {missing}: Qlik Sense {away}");
        findings.failed(FACTS, &detail, "the links of Qlik Sense above say what to do");
    } else if let Some(error) = refused {
        let detail = format!("goes on without {missing}, and not because Qlik Sense does not know them: {error}");
        let remedy = "let the user of `qlik.user` read tasks, apps and execution results; see the logs of Qlik Sense's repository service";
        findings.failed(FACTS, &detail, remedy);
    } else if missing.is_empty() {
        findings.ok(FACTS, "Qlik Sense was asked, and knows all of them");
    } else {
        let detail = format!(
            "Qlik Sense was asked, and knows none of {missing}, which is right, since the sample's task does not exist \
             (`butler test-alert --task` shows those of a real one)"
        );
        findings.ok(FACTS, &detail);
    }
}

/// Who gets it, who does not and why, and what becomes of each delivery.
async fn instances(daemon: &Daemon, setup: &Setup, id: &str, event: &Event, findings: &mut Findings) {
    let entries: Vec<&PluginEntry> =
        setup.loaded.config.plugins.iter().filter(|entry| setup.libraries.contains_key(&entry.plugin)).collect();
    let manifests =
        entries.iter().filter_map(|entry| Some((*entry, setup.libraries.get(&entry.plugin)?.library.manifest())));
    let rulings = Router::new(manifests).explain(event);
    let mut open = deliveries(daemon, id).await;
    let names: Vec<String> = open.keys().cloned().collect();
    if names.is_empty() {
        let remedy =
            "let at least one instance have reload-task.failed: by `on:`, or a plugin whose usual events it is among";
        findings.failed(ROUTED, "to no instance: nobody would hear of a failed task", remedy);
    } else {
        findings.ok(ROUTED, &format!("to {}", names.join(", ")));
    }
    for (entry, rulings) in entries.iter().zip(rulings).filter(|(entry, _)| !open.contains_key(entry.instance())) {
        let link = format!("sample to {}", entry.instance());
        if let Some(ruling) = rulings.iter().find(|ruling| ruling.refusal.is_none()) {
            let detail = format!("no delivery, though {} takes it: the daemon runs with another config", ruling.rule);
            findings.failed(&link, &detail, "`butler reload` has it read this one");
        } else {
            let reasons = rulings.iter().filter_map(|one| Some(format!("{}: {}", one.rule, one.refusal.as_ref()?)));
            let reasons: Vec<String> = reasons.collect();
            findings.note(&link, &format!("does not get it; {}", reasons.join("; ")), "");
        }
    }
    let began = Instant::now();
    while !open.is_empty() {
        let late = began.elapsed() >= DELIVER;
        let (done, left): (BTreeMap<_, _>, BTreeMap<_, _>) =
            open.into_iter().partition(|(_, row)| late || is_decided(row));
        for (instance, row) in done {
            delivered(&instance, &row, began.elapsed(), findings);
        }
        open = left;
        if !open.is_empty() {
            let what = format!("the delivery to {}", open.keys().cloned().collect::<Vec<_>>().join(", "));
            open = waiting(&what, decided(daemon, id, open, began)).await;
        }
    }
}

/// These deliveries as they are once one of them is decided, or when the time for all is up.
async fn decided(
    daemon: &Daemon,
    id: &str,
    mut open: BTreeMap<String, Value>,
    began: Instant,
) -> BTreeMap<String, Value> {
    loop {
        tokio::time::sleep(LOOK).await;
        let mut now = deliveries(daemon, id).await;
        for (name, row) in &mut open {
            if let Some(later) = now.remove(name) {
                *row = later;
            }
        }
        if began.elapsed() >= DELIVER || open.values().any(is_decided) {
            return open;
        }
    }
}

/// The deliveries of the event by their instances.
async fn deliveries(daemon: &Daemon, id: &str) -> BTreeMap<String, Value> {
    let answer = daemon.get(&format!("/v5/events/{id}"), &[]).await.unwrap_or_default();
    let rows = answer["deliveries"].as_array().into_iter().flatten();
    rows.filter_map(|row| Some((row["instance"].as_str()?.to_owned(), row.clone()))).collect()
}

fn is_decided(row: &Value) -> bool {
    !matches!(row["state"].as_str(), Some("pending" | "leased"))
        || (row["state"] == "pending" && row["error"].is_string())
}

fn delivered(instance: &str, row: &Value, took: Duration, findings: &mut Findings) {
    let link = format!("sample to {instance}");
    let error = row["error"].as_str().unwrap_or("without a reason");
    let delivery = row["id"].as_str().unwrap_or_default();
    match row["state"].as_str().unwrap_or_default() {
        "delivered" => findings.ok(&link, &format!("delivered, the destination has it (attempt {})", row["attempt"])),
        "pending" if row["error"].is_string() => {
            let detail = format!("not delivered: {error}");
            let remedy =
                "mend the cause; Butler tries again by itself, so this test arrives then (`butler deliveries list`)";
            findings.failed(&link, &detail, remedy);
        }
        "dead" => {
            let detail = format!("refused for good: {error}");
            findings.failed(&link, &detail, &format!("mend the cause, then `butler deliveries retry {delivery}`"));
        }
        state => {
            let detail = format!("no outcome within {} s (it is {state})", took.as_secs());
            let remedy = "its destination is slow, or events are ahead of it in its queue: `butler deliveries list --instance` shows them";
            findings.failed(&link, &detail, remedy);
        }
    }
}
