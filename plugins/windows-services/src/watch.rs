//! The looks: all hosts side by side, each for itself.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use butler_plugin_api::{Health, Host, ServiceError, kind};
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use crate::backend::{Backend, Failure, Found};
use crate::kept::{Row, Seen};
use crate::record::Record;
use crate::settings::{Plan, WatchedHost, WatchedService};
use crate::told;

/// Events of one host that are emitted at once.
const EMIT_AT_ONCE: usize = 8;
/// Hosts that the health names.
const NAMED: usize = 5;

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
    /// Why nothing can be stored, as it was logged.
    trouble: Option<String>,
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
}

impl HostWatch {
    async fn load(host: &Host, watched: &WatchedHost) -> Result<Self, ServiceError> {
        let mut record = Record::load(host, &watched.name).await?;
        let names: Vec<String> = watched.services.iter().map(|service| service.name.clone()).collect();
        let lower: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
        record.services.retain(|name, _| lower.contains(name));
        let services = names.iter().map(|_| ServiceWatch::default()).collect();
        let watched = watched.clone();
        Ok(Self { watched, names, record, unsaved: false, services, failure: None, trouble: None, states_told: None })
    }

    /// Whether it could not be asked the last time.
    fn is_failing(&self) -> bool {
        self.failure.is_some()
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
        // Those that hang come last, and hold up only each other.
        hosts.sort_by_key(HostWatch::is_failing);
        let looks: Vec<_> = hosts.iter_mut().map(|host| self.look(host, end)).collect();
        stream::iter(looks).buffer_unordered(self.plan.hosts_at_once).collect::<()>().await;
        self.host.metrics().gauge("round_seconds", &[], begun.elapsed().as_secs_f64());
    }

    async fn look(&self, host: &mut HostWatch, end: Instant) {
        let asked = tokio::time::timeout_at(end, self.backend.look(&host.watched.address, &host.names)).await;
        let answers = asked.unwrap_or_else(|_| {
            let limit = self.plan.round;
            Err(Failure::Host(format!(
                "it was not its turn, or it had not answered, when the {limit:?} of `timeouts.round` were over; a look at all \
                 hosts takes longer than that"
            )))
        });
        let answers = answers.unwrap_or_else(|failure| vec![Err(failure); host.names.len()]);
        self.note(host, &answers);
        self.count(host, &answers).await;
        self.tell(host).await;
        self.tell_states(host, &answers).await;
    }

    /// Takes what the answers change into the record, and stores that with the events that it leads to.
    async fn count(&self, host: &mut HostWatch, answers: &[Answer]) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut record = host.record.clone();
        let name = &host.watched.name;
        for ((service, watch), answer) in host.watched.services.iter().zip(&mut host.services).zip(answers) {
            let seen = Seen::of(answer.as_ref().ok().map(|found| found.state));
            if let Ok(found) = answer {
                watch.found = Some(found.clone());
            }
            if watch.row.add(seen) < self.plan.fail_after {
                continue;
            }
            let kept = record.services.entry(service.name.to_lowercase()).or_default();
            if let Some(change) = kept.take(seen) {
                let why = answer.as_ref().err().map(ToString::to_string).unwrap_or_default();
                let (kind, data) = told::change(name, service, change, watch.found.as_ref(), &why);
                record.push(name, now, kind, data);
            }
        }
        if record == host.record && !host.unsaved {
            return;
        }
        // What cannot be stored has not happened: the next look comes to the same.
        match record.save(self.host, name).await {
            Ok(()) => {
                host.record = record;
                host.unsaved = false;
                host.trouble = None;
            }
            Err(error) => trouble(host, &error),
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
            trouble(host, &error);
        }
        if any && let Err(error) = host.record.save(self.host, &host.watched.name).await {
            // Emitted once more after a restart, and then known by its key.
            host.unsaved = true;
            trouble(host, &error);
        }
    }

    /// Tells the state of each service, if it is time to.
    async fn tell_states(&self, host: &mut HostWatch, answers: &[Answer]) {
        let Some(every) = self.plan.states else { return };
        // Looks are not to the millisecond as far apart as they are planned.
        let slack = Duration::from_millis(500);
        if host.states_told.is_some_and(|told| told.elapsed() + slack < every) {
            return;
        }
        host.states_told = Some(Instant::now());
        let name = &host.watched.name;
        let found = host.watched.services.iter().zip(answers).filter_map(|(service, answer)| {
            Some(self.host.emit(kind::SERVICE_STATE, told::state(name, service, answer.as_ref().ok()?)))
        });
        let found: Vec<_> = found.collect();
        let outcomes: Vec<_> = stream::iter(found).buffer_unordered(EMIT_AT_ONCE).collect().await;
        if let Some(error) = outcomes.into_iter().find_map(Result::err) {
            trouble(host, &error);
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

/// Says once that nothing can be stored.
fn trouble(host: &mut HostWatch, error: &ServiceError) {
    let text = error.to_string();
    if *error != ServiceError::Stopped && host.trouble.as_ref() != Some(&text) {
        tracing::warn!(
            host = host.watched.name,
            "changes of its services cannot be told yet, the next look tries again: {text}"
        );
        host.trouble = Some(text);
    }
}

/// What cannot be checked, by host.
#[derive(Default)]
pub(crate) struct Troubles(Mutex<BTreeMap<String, String>>);

impl Troubles {
    /// None: all of it can be.
    fn set(&self, host: &str, why: Option<String>) {
        let mut troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            Some(why) => troubles.insert(host.to_owned(), why),
            None => troubles.remove(host),
        };
    }

    /// Bad if no host can be checked, degraded if some cannot.
    pub(crate) fn health(&self, hosts: usize) -> Health {
        let troubles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
    let answers = match tokio::time::timeout_at(end, backend.look(&host.address, &names)).await {
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
