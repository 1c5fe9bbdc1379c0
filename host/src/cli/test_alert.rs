//! `butler test-alert`: one alert to the real destination of an instance.

use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use butler_plugin_api::{Delivery, Event, Outcome, sample_delivery};

use super::progress::waiting;
use super::{ConfigFile, Subject, try_out};
use crate::config::Level;
use crate::daemon::{Alone, Failure, Routed};
use crate::ingest::sample::guid;
use crate::store::{now_ms, rfc3339};

#[derive(Debug, clap::Args)]
pub(super) struct TestAlert {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    subject: Subject,
    /// A task of Qlik Sense, told as failed instead of a sample, by its id: with the facts of its last execution, and by the
    /// rules of the instance (`on:`).
    #[arg(long, value_name = "ID", conflicts_with = "event")]
    task: Option<String>,
}

impl TestAlert {
    pub(super) async fn run(self, log_level: Option<Level>) -> Result<(), Failure> {
        let alone = try_out(&self.file, &self.subject.instance, log_level).await?;
        let sent = self.send(&alone).await;
        alone.stop().await;
        Ok(sent?)
    }

    async fn send(&self, alone: &Alone) -> anyhow::Result<()> {
        let delivery = if let Some(id) = &self.task {
            let routed = waiting("the facts of the task", alone.route_task(id)).await?;
            facts(&routed.event);
            taken(routed)?
        } else {
            let delivery = sample(&self.subject.event)?;
            line("event", &format!("{}, a sample", delivery.event.kind));
            delivery
        };
        let began = Instant::now();
        let name = alone.instance().name();
        let outcome = waiting(&format!("the destination of {name}"), alone.deliver(delivery)).await?;
        told(name, outcome, began.elapsed())
    }
}

fn line(what: &str, detail: &str) {
    println!("{what:<11} {detail}");
}

/// A delivery of a sample event, told as a test that happens now.
fn sample(kind: &str) -> anyhow::Result<Delivery> {
    let mut delivery = sample_delivery(kind);
    // Each test is another one for destinations that tell repeated messages apart.
    let id = guid()?;
    delivery.delivery_id = format!("test-d-{id}");
    delivery.event.id = format!("test-{id}");
    Event::TEST.clone_into(&mut delivery.event.source);
    let now = rfc3339(now_ms());
    delivery.event.time.clone_from(&now);
    delivery.event.received_at.clone_from(&now);
    delivery.first_attempt_at = now;
    // Nobody has the sample's address: a mail to it would come back.
    if let Some(owner) = delivery.event.data.app.as_mut().and_then(|app| app.owner.as_mut()) {
        owner.emails.clear();
    }
    // It goes where the settings say: the sample's channel does not exist, or is that of others.
    if let Some(posted) = &mut delivery.event.data.posted {
        (posted.channel, posted.topic) = (None, None);
    }
    Ok(delivery)
}

/// Prints what was found out about an event of a task.
fn facts(event: &Event) {
    let data = &event.data;
    line("event", &event.kind);
    if let Some(task) = &data.task {
        line("task", &format!("{} ({})", task.name, task.id));
    }
    if let Some(app) = &data.app {
        let stream = app.stream.as_ref().map(|stream| format!(", stream {}", stream.name)).unwrap_or_default();
        line("app", &format!("{}{stream}", app.name));
        if let Some(owner) = &app.owner {
            let emails = if owner.emails.is_empty() { "no address".to_owned() } else { owner.emails.join(", ") };
            line("owner", &format!("{}\\{}, {emails}", owner.user_directory, owner.user_id));
        }
    }
    if let Some(execution) = &data.execution {
        let said = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
        let (status, start, stop) =
            (said(&execution.status_text), said(&execution.start_time), said(&execution.stop_time));
        line("execution", &format!("the last one: {status}, {start} to {stop}"));
    }
    if let Some(log) = &data.script_log {
        line("script log", &format!("{} lines", log.rows));
    }
    if !data.missing.is_empty() {
        line("missing", &data.missing.join(", "));
    }
}

/// The delivery, if a rule takes the event; prints which one, or what each says against it.
fn taken(routed: Routed) -> anyhow::Result<Delivery> {
    let takes = routed.rulings.iter().find(|ruling| ruling.refusal.is_none());
    if let (Some(delivery), Some(ruling)) = (routed.delivery, takes) {
        let unknown = ruling.unknown.as_ref();
        let unknown =
            unknown.map(|path| format!("; `{path}` could not be found out, so it is delivered (`onUnknown`)"));
        line("route", &format!("{}{}", ruling.rule, unknown.unwrap_or_default()));
        return Ok(delivery);
    }
    for ruling in &routed.rulings {
        line("route", &format!("{}: {}", ruling.rule, ruling.refusal.as_deref().unwrap_or_default()));
    }
    bail!("nothing was sent: the routes of the instance do not take the event")
}

fn told(instance: &str, outcome: Outcome, took: Duration) -> anyhow::Result<()> {
    match outcome {
        Outcome::Delivered => {
            line("delivered", &format!("by {instance} in {} ms: the destination has it", took.as_millis()));
            Ok(())
        }
        Outcome::Reject { message } => Err(anyhow!(
            "rejected, Butler would not try this again: {message}\nThe destination refuses the content or the settings: \
             `butler render` shows what is sent"
        )),
        Outcome::Retry { message, after_ms, panicked, .. } => {
            let asked = after_ms.map(|ms| format!(", as it asks not before {} s", ms.div_ceil(1000)));
            let what = if panicked { "the plugin failed" } else { "not delivered" };
            Err(anyhow!(
                "{what}, Butler would try again{}: {message}\nMend the cause and repeat this",
                asked.unwrap_or_default()
            ))
        }
        other => Err(anyhow!("an outcome that this Butler does not know: {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use butler_plugin_api::kind;

    use super::*;

    #[test]
    fn samples_are_tests_of_now_and_each_is_another() {
        for kind in kind::ALL {
            let (one, other) = (sample(kind).unwrap(), sample(kind).unwrap());
            assert_eq!((one.event.kind.as_str(), one.event.source.as_str()), (*kind, Event::TEST));
            assert!(one.note().starts_with("this is a test"), "{}", one.note());
            assert_ne!((&one.delivery_id, &one.event.id), (&other.delivery_id, &other.event.id));
            if let Some(posted) = one.event.data.posted {
                let places = (posted.channel, posted.topic);
                assert_eq!(places, (None, None), "nobody has the sample's channel, or somebody has");
            }
            let time: jiff::Timestamp = one.event.time.parse().unwrap();
            assert!((now_ms() - time.as_millisecond()).abs() < 60_000);
        }
    }

    #[test]
    fn outcomes_say_what_to_do() {
        let said = |outcome| told("x", outcome, Duration::ZERO).unwrap_err().to_string();
        let retry = |after_ms, panicked| Outcome::Retry { message: "busy".into(), after_ms, progress: None, panicked };
        assert!(said(retry(None, false)).starts_with("not delivered, Butler would try again: busy\nMend"));
        let asked = said(retry(Some(29_001), false));
        assert!(asked.contains("try again, as it asks not before 30 s: busy"), "{asked}");
        assert!(said(retry(None, true)).starts_with("the plugin failed"));
        assert!(said(Outcome::Reject { message: "too large".into() }).starts_with("rejected, Butler would not try"));
        assert!(told("x", Outcome::Delivered, Duration::ZERO).is_ok());
    }
}
