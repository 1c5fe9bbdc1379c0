//! The looks: all hosts side by side, each for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use butler_plugin_api::{Health, Host, ServiceError, kind};
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use crate::backend::{Asked, Backend, Failure, Found, State};
use crate::kept::{Row, Seen};
use crate::record::Record;
use crate::settings::{Plan, WatchedHost, WatchedService};
use crate::told;

/// Events of one host that are emitted at once.
const EMIT_AT_ONCE: usize = 8;
/// Hosts that the health names.
const NAMED: usize = 5;

/// What may be in trouble.
const CHANGES: &str = "changes of its services cannot be told yet, the next look tries again";
const STATES: &str = "the states of its services cannot be told, the next look tries again";

/// What a look at a service has shown.
pub(crate) type Answer = Result<Found, Failure>;

/// A host with what is known of it.
pub(crate) struct HostWatch {
    watched: WatchedHost,
    names: Vec<String>,
    record: Record,
    /// The storage does not have the record as it is.
    unsaved: bool,
    services: Vec<ServiceWatch>,
    /// Why it cannot be asked, as it was logged.
    failure: Option<String>,
    /// The last look was over before it was its turn, or before it had the time to answer.
    waits: bool,
    /// What could not be stored or emitted, as it was logged.
    troubles: BTreeSet<String>,
    /// There was none in this look.
    sound: bool,
    states_told: Option<Instant>,
}

/// A service with what is known of it since the start.
#[derive(Default)]
struct ServiceWatch {
    row: Row,
    /// What was found out last.
    found: Option<Found>,
    /// Why it alone cannot be checked, as it was logged.
    failure: Option<String>,
    /// State and start type, as `service.state` told them last.
    told: Option<(State, Option<&'static str>)>,
}

impl HostWatch {
    async fn load(host: &Host, watched: &WatchedHost) -> Result<Self, ServiceError> {
        let mut record = Record::load(host, &watched.name).await?;
        let names: Vec<String> = watched.services.iter().map(|service| service.name.clone()).collect();
        let lower: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
        let before = record.services.len();
        record.services.retain(|name, _| lower.contains(name));
        let unsaved = record.services.len() != before;
        let services = names.iter().map(|_| ServiceWatch::default()).collect();
        let watched = watched.clone();
        Ok(Self {
            watched,
            names,
            record,
            unsaved,
            services,
            failure: None,
            waits: false,
            troubles: BTreeSet::new(),
            sound: true,
            states_told: None,
        })
    }

    /// When it is asked: those that hang come last, and hold up only each other; first comes whoever was not asked the last
    /// time.
    fn turn(&self) -> (bool, bool) {
        (self.failure.is_some(), !self.waits)
    }
}

/// Looks at all hosts of an instance.
pub(crate) struct Watch<'a, B> {
    pub(crate) host: &'a Host,
    pub(crate) plan: &'a Plan,
    pub(crate) backend: &'a B,
    pub(crate) troubles: &'a Troubles,
}

impl<B: Backend> Watch<'_, B> {
    /// Reads what was kept, and tells what was to be told when Butler ended.
    pub(crate) async fn load(&self) -> Result<Vec<HostWatch>, ServiceError> {
        // Before those of the services: the host keeps only so many.
        self.host.metrics().gauge("round_seconds", &[], 0.0);
        Record::forget_others(self.host, self.plan.hosts.iter().map(|host| host.name.as_str())).await?;
        let mut hosts = Vec::with_capacity(self.plan.hosts.len());
        for watched in &self.plan.hosts {
            let mut host = HostWatch::load(self.host, watched).await?;
            self.tell(&mut host).await;
            hosts.push(host);
        }
        Ok(hosts)
    }

    /// One look at all of them.
    pub(crate) async fn round(&self, hosts: &mut [HostWatch]) {
        let begun = Instant::now();
        let end = begun + self.plan.round;
        hosts.sort_by_key(HostWatch::turn);
        let looks: Vec<_> = hosts.iter_mut().map(|host| self.look(host, end)).collect();
        stream::iter(looks).buffer_unordered(self.plan.hosts_at_once).collect::<()>().await;
        self.host.metrics().gauge("round_seconds", &[], begun.elapsed().as_secs_f64());
        let waiting = hosts.iter().filter(|host| host.waits).count();
        if !self.troubles.late.swap(waiting > 0, Ordering::Relaxed) && waiting > 0 {
            tracing::warn!("{waiting} of {} hosts come at the next look only: {}", hosts.len(), self.not_its_turn());
        }
    }

    fn not_its_turn(&self) -> String {
        format!(
            "it was not its turn, as a look takes longer than the {:?} of `timeouts.round`: raise that or \
             `limits.hosts`, or lower `timeouts.call`",
            self.plan.round
        )
    }

    async fn look(&self, host: &mut HostWatch, end: Instant) {
        let asked = Asked::now();
        let answers = if Instant::now() < end {
            tokio::time::timeout_at(end, self.backend.look(&host.watched.address, &host.names, &asked)).await.ok()
        } else {
            None
        };
        host.waits = answers.is_none() && !asked.had(self.plan.call.min(self.plan.round / 2));
        if host.waits {
            // Says nothing of the host. What is known of one that hangs stays.
            if host.failure.is_none() {
                self.troubles.set(&host.watched.name, Some(self.not_its_turn()));
            }
            return;
        }
        let answers = answers.unwrap_or_else(|| {
            let limit = self.plan.round;
            Err(Failure::Host(format!(
                "it had not answered when the {limit:?} of `timeouts.round` for a look at all hosts were over"
            )))
        });
        let answers = answers.unwrap_or_else(|failure| vec![Err(failure); host.names.len()]);
        host.sound = true;
        self.note(host, &answers);
        self.count(host, &answers).await;
        self.tell_states(host, &answers).await;
        if host.sound {
            host.troubles.clear();
        }
    }

    /// Takes what the answers change into the record, stores that with the events that it leads to, and tells them: so many at a
    /// time as a record holds.
    async fn count(&self, host: &mut HostWatch, answers: &[Answer]) {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let now = Instant::now();
        let mut counts = Vec::with_capacity(answers.len());
        for (watch, answer) in host.services.iter_mut().zip(answers) {
            if let Ok(found) = answer {
                watch.found = Some(found.clone());
            }
            let seen = Seen::of(answer.as_ref().ok().map(|found| found.state));
            let count = watch.row.add(seen, now, self.plan.fail_after, self.plan.passing);
            if count && seen == Seen::Unknown {
                // Whatever it is when it can be checked again is told at once.
                watch.told = None;
            }
            counts.push((seen, count));
        }
        let name = host.watched.name.clone();
        let mut next = 0;
        loop {
            let mut record = host.record.clone();
            while next < counts.len() && !record.is_full() {
                let (service, (seen, counts)) = (&host.watched.services[next], counts[next]);
                if counts {
                    let kept = record.services.entry(service.name.to_lowercase()).or_default();
                    if let Some(change) = kept.take(seen) {
                        let why = answers[next].as_ref().err().map(ToString::to_string).unwrap_or_default();
                        let (kind, data) =
                            told::change(&name, service, change, host.services[next].found.as_ref(), &why);
                        record.push(&name, time, kind, data);
                    }
                }
                next += 1;
            }
            if record != host.record || host.unsaved {
                // What cannot be stored has not happened: the next look comes to the same.
                if let Err(error) = record.save(self.host, &name).await {
                    trouble(host, CHANGES, &error);
                    return self.tell(host).await;
                }
                host.record = record;
                host.unsaved = false;
            }
            self.tell(host).await;
            // What there is no room for comes at the next look.
            if next == counts.len() || !host.record.pending.is_empty() {
                return;
            }
        }
    }

    /// Emits what is to be told, and forgets it.
    async fn tell(&self, host: &mut HostWatch) {
        let texts: Vec<String> = host
            .record
            .pending
            .iter()
            .map(|event| event.data["message"].as_str().unwrap_or_default().to_owned())
            .collect();
        let (any, outcome) = host.record.emit(self.host).await;
        for text in &texts[..texts.len() - host.record.pending.len()] {
            tracing::info!("{text}");
        }
        if let Err(error) = outcome {
            trouble(host, CHANGES, &error);
        }
        if any && let Err(error) = host.record.save(self.host, &host.watched.name).await {
            // Emitted once more after a restart, and then known by its key.
            host.unsaved = true;
            trouble(host, CHANGES, &error);
        }
    }

    /// Tells the state of each service, if it is time to; of one that is not as it was told, at once.
    async fn tell_states(&self, host: &mut HostWatch, answers: &[Answer]) {
        let Some(every) = self.plan.states else { return };
        // Looks are not to the millisecond as far apart as they are planned.
        let slack = Duration::from_millis(500);
        let due = host.states_told.is_none_or(|told| told.elapsed() + slack >= every);
        if due {
            host.states_told = Some(Instant::now());
        }
        let name = &host.watched.name;
        let services = host.watched.services.iter().zip(&mut host.services).zip(answers);
        let events = services.filter_map(|((service, watch), answer)| {
            let found = answer.as_ref().ok()?;
            let shown = Some((found.state, found.start_type));
            let event = (due || watch.told != shown).then(|| told::state(name, service, found))?;
            Some(async move {
                let outcome = self.host.emit(kind::SERVICE_STATE, event).await;
                // What could not be told is told at the next look.
                watch.told = shown.filter(|_| outcome.is_ok());
                outcome
            })
        });
        let events: Vec<_> = events.collect();
        let outcomes: Vec<_> = stream::iter(events).buffer_unordered(EMIT_AT_ONCE).collect().await;
        if let Some(error) = outcomes.into_iter().find_map(Result::err) {
            trouble(host, STATES, &error);
        }
    }

    /// Says what fails, once for each change of it: log, health and metrics.
    fn note(&self, host: &mut HostWatch, answers: &[Answer]) {
        let name = host.watched.name.clone();
        let metrics = self.host.metrics();
        for (service, answer) in host.watched.services.iter().zip(answers) {
            let number = answer.as_ref().map_or(0, |found| found.state.number());
            metrics.gauge("state", &[("host", &name), ("service", &service.name)], number.into());
        }
        if answers.iter().any(Result::is_err) {
            metrics.count("failures_total", &[("host", &name)], 1);
        }
        let of_host = answers.iter().find_map(|answer| match answer {
            Err(failure @ Failure::Host(_)) => Some(failure.to_string()),
            _ => None,
        });
        match (&of_host, &host.failure) {
            (Some(now), before) if before.as_ref() != Some(now) => {
                tracing::warn!(host = name, "its services cannot be checked: {now}");
            }
            (None, Some(_)) => tracing::info!(host = name, "its services can be checked again"),
            _ => {}
        }
        let mut of_services = Vec::new();
        for ((service, watch), answer) in host.watched.services.iter().zip(&mut host.services).zip(answers) {
            let now =
                answer.as_ref().err().filter(|failure| !matches!(failure, Failure::Host(_))).map(ToString::to_string);
            log(&name, service, watch.failure.as_deref(), now.as_deref(), of_host.is_some());
            of_services.extend(now.as_ref().map(|why| format!("`{}`: {why}", service.name)));
            if of_host.is_none() {
                watch.failure = now;
            }
        }
        let text = of_host.clone().or_else(|| (!of_services.is_empty()).then(|| of_services.join("; ")));
        self.troubles.set(&name, text);
        host.failure = of_host;
    }
}

fn log(host: &str, service: &WatchedService, before: Option<&str>, now: Option<&str>, host_fails: bool) {
    let service = &service.name;
    match now {
        Some(now) if before != Some(now) => tracing::warn!(host, service, "cannot be checked: {now}"),
        None if before.is_some() && !host_fails => tracing::info!(host, service, "can be checked again"),
        _ => {}
    }
}

/// Says that something can be neither stored nor emitted: once, until a look had no trouble.
fn trouble(host: &mut HostWatch, what: &str, error: &ServiceError) {
    if *error == ServiceError::Stopped {
        return;
    }
    host.sound = false;
    let text = format!("{what}: {error}");
    if !host.troubles.contains(&text) {
        tracing::warn!(host = host.watched.name, "{text}");
        host.troubles.insert(text);
    }
}

/// What cannot be checked, by host.
#[derive(Default)]
pub(crate) struct Troubles {
    hosts: Mutex<BTreeMap<String, String>>,
    /// The last look left out hosts.
    late: AtomicBool,
}

impl Troubles {
    /// None: all of it can be.
    fn set(&self, host: &str, why: Option<String>) {
        let mut troubles = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            Some(why) => troubles.insert(host.to_owned(), why),
            None => troubles.remove(host),
        };
    }

    /// Bad if no host can be checked, degraded if some cannot.
    pub(crate) fn health(&self, hosts: usize) -> Health {
        let troubles = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if troubles.is_empty() {
            return Health::Good;
        }
        let named: Vec<String> = troubles.iter().take(NAMED).map(|(host, why)| format!("{host}: {why}")).collect();
        let more = troubles.len().saturating_sub(NAMED);
        let more = if more == 0 { String::new() } else { format!("; and {more} more") };
        let text = format!("cannot check all of {} of {hosts} hosts: {}{more}", troubles.len(), named.join("; "));
        if troubles.len() < hosts { Health::Degraded(text) } else { Health::Bad(text) }
    }
}

/// One look that changes nothing: what there is to say of each host, and whether all could be checked.
pub(crate) async fn survey<B: Backend>(plan: &Plan, backend: &B, limit: Duration) -> (bool, String) {
    let end = Instant::now() + limit.min(plan.round);
    let hosts: Vec<_> = plan.hosts.iter().map(|host| survey_host(host, backend, end)).collect();
    let lines: Vec<(bool, String)> = stream::iter(hosts).buffered(plan.hosts_at_once).collect().await;
    let all = lines.iter().all(|(sound, _)| *sound);
    (all, lines.into_iter().map(|(_, line)| line).collect::<Vec<_>>().join("; "))
}

async fn survey_host<B: Backend>(host: &WatchedHost, backend: &B, end: Instant) -> (bool, String) {
    let names: Vec<String> = host.services.iter().map(|service| service.name.clone()).collect();
    let asked = Asked::now();
    let answers = match tokio::time::timeout_at(end, backend.look(&host.address, &names, &asked)).await {
        Ok(Ok(answers)) => answers,
        Ok(Err(failure)) => return (false, format!("{}: {failure}", host.name)),
        Err(_) => return (false, format!("{}: no answer in time", host.name)),
    };
    let each = names.iter().zip(&answers).map(|(name, answer)| match answer {
        Ok(found) => format!("{name} {}", found.state.name()),
        Err(failure) => format!("{name}: {failure}"),
    });
    (answers.iter().all(Result::is_ok), format!("{}: {}", host.name, each.collect::<Vec<_>>().join(", ")))
}
