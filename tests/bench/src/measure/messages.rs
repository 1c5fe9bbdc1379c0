//! Messages that people read: how fast each plugin makes and sends them, and what mails cost that cannot be sent yet.
//!
//! From the datagram on, with everything that is before: store, facts, script log, routes.

use std::time::{Duration, Instant};

use crate::lab::{Lab, Variant, sender};
use crate::mailbox::Mailbox;
use crate::process::Usage;
use crate::sender::failures;
use crate::statistics::{figure, median};
use crate::table::{Row, number};

const RUNS: usize = 3;
const MESSAGES: usize = 3_000;
const WAITING: usize = 10_000;
/// Nothing comes for so long: the rest is lost. Retries wait for up to 10 minutes; the measurement asks for less.
const PATIENCE: Duration = Duration::from_secs(30);

/// What one run showed.
struct Run {
    per_second: f64,
    cpu_per_thousand: f64,
    /// Missing, or too many.
    lost: usize,
}

/// Rates of all three, then the mails that wait.
pub async fn measure() -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for plugin in ["teams", "slack", "email"] {
        let mut runs = Vec::with_capacity(RUNS);
        for _ in 0..RUNS {
            runs.push(if plugin == "email" { mails().await? } else { posts(plugin).await? });
        }
        let lost: usize = runs.iter().map(|run| run.lost).sum();
        let rate = median(runs.iter().map(|run| run.per_second));
        rows.push(Row::at_least(
            format!("messages/s by {plugin}, with script log (median of {RUNS})"),
            rate,
            500.0,
            "/s",
        ));
        rows.push(
            Row::text(
                format!("   {} messages by {plugin}, each once", number(figure(MESSAGES))),
                format!("{lost} lost"),
            )
            .with_target("0 lost", lost == 0),
        );
        rows.push(Row::new(
            "   CPU of the host for 1,000 of them",
            median(runs.iter().map(|run| run.cpu_per_thousand)),
            "s",
        ));
    }
    rows.extend(waiting().await?);
    Ok(rows)
}

/// The text lives as long as the process: variants hold such texts only.
fn lasting(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

async fn posts(plugin: &str) -> anyhow::Result<Run> {
    let lab = Lab::start().await?;
    let entry = format!(
        "  - use: {plugin}\n    name: measured\n    settings: {{ webhookUrl: \"{}\" }}\n",
        lab.sink.url("/post")
    );
    let butler = lab.butler(only(entry)).await?;
    let idle = Usage::of(butler.pid())?;
    let (sender, datagrams) = (sender(&butler)?, failures(0, MESSAGES, Some(50))?);
    let began = tokio::task::spawn_blocking(move || sender.burst(&datagrams)).await??;
    lab.sink.wait(MESSAGES, PATIENCE).await;
    let used = Usage::at_rest(butler.pid()).await?;
    // A message need not show the number of its datagram: the requests are counted.
    let told = lab.sink.told();
    Ok(run(told.len(), began, told.last().map(|last| last.at), used.cpu_seconds - idle.cpu_seconds))
}

async fn mails() -> anyhow::Result<Run> {
    let lab = Lab::start().await?;
    let mailbox = Mailbox::start(0).await?;
    let butler = lab.butler(only(entry_of_email(mailbox.port()))).await?;
    let idle = Usage::of(butler.pid())?;
    let (sender, datagrams) = (sender(&butler)?, failures(0, MESSAGES, Some(50))?);
    let began = tokio::task::spawn_blocking(move || sender.burst(&datagrams)).await??;
    let taken = mailbox.wait(MESSAGES, PATIENCE).await;
    let used = Usage::at_rest(butler.pid()).await?;
    Ok(run(taken.distinct, began, taken.last, used.cpu_seconds - idle.cpu_seconds))
}

fn run(told: usize, began: Instant, last: Option<Instant>, cpu_seconds: f64) -> Run {
    let seconds = last.map_or(f64::INFINITY, |last| last.duration_since(began).as_secs_f64());
    Run {
        per_second: figure(told) / seconds,
        cpu_per_thousand: cpu_seconds / figure(told) * 1_000.0,
        lost: MESSAGES.abs_diff(told),
    }
}

/// 10,000 events whose mails cannot be sent, since the server is down; then it comes up.
async fn waiting() -> anyhow::Result<Vec<Row>> {
    let lab = Lab::start().await?;
    let port = Mailbox::free_port()?;
    let mut entry = entry_of_email(port);
    entry.push_str("    retry: { initial: 1s, max: 5s }\n");
    let butler = lab.butler(only(entry)).await?;
    let (sender, datagrams) = (sender(&butler)?, failures(0, WAITING, Some(50))?);
    tokio::task::spawn_blocking(move || sender.burst(&datagrams)).await??;
    e2e::wait_for("all mails to wait", || async {
        let waiting = butler.metric("butler_deliveries_open{instance=\"measured\"}").await?;
        (waiting >= figure(WAITING)).then_some(())
    })
    .await;
    let waits = Usage::of(butler.pid())?;
    let mailbox = Mailbox::start(port).await?;
    let taken = mailbox.wait(WAITING, PATIENCE).await;
    let used = Usage::of(butler.pid())?;
    let what = format!("{} mails that wait for their server", number(figure(WAITING)));
    let lost = WAITING - taken.distinct.min(WAITING);
    Ok(vec![
        Row::at_most(format!("memory with {what}"), waits.peak_mb, 150.0, "MB"),
        Row::at_most("   memory at its peak when they are sent at last", used.peak_mb, 150.0, "MB"),
        Row::text(format!("   {what}, sent at last"), format!("{lost} lost")).with_target("0 lost", lost == 0),
    ])
}

fn entry_of_email(port: u16) -> String {
    format!(
        "  - use: email\n    name: measured\n    settings: {{ smtp: {{ host: 127.0.0.1, port: {port}, tls: none }}, from: \
         butler@lab.test, recipients: [night@lab.test] }}\n"
    )
}

fn only(entry: String) -> Variant {
    Variant { nobody_wants: true, script_log: true, neighbour: lasting(entry), ..Variant::default() }
}
