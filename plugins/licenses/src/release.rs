//! Takes back access licences that nobody uses.
//!
//! * `access`: what QRS says of licences and users; `rules`: which are released; both without asking anybody.
//! * `requests`: asking QRS, not too often; `windows`: lists in pages.
//! * `runner`: one run; `journal`: what it keeps, so that a run that was cut off goes on; `report`: its event.

mod access;
mod journal;
mod report;
mod requests;
mod rules;
mod runner;
mod settings;
#[cfg(test)]
mod tests;
mod windows;

use butler_plugin_api::{Host, ServiceError};
use jiff::Timestamp;

use crate::part::Trouble;

use access::NEVER_UNTIL;
use journal::Journal;
use requests::{Requests, Stop};
use runner::Runner;

pub(crate) use settings::Settings;

/// The paths that are written to, as the manifest and the config name them.
pub(crate) const WRITES: [&str; 2] = ["license/professionalaccesstype/*", "license/analyzeraccesstype/*"];

/// The run of a planned time. One that was cut off goes on instead, and tells all of it.
pub(crate) async fn run(host: &Host, settings: &Settings, now: Timestamp, planned: &str) -> Result<(), Trouble> {
    let mut journal = Journal::new(host);
    if let Some(report) = journal.report().await? {
        journal.emit(&report).await?;
    }
    if journal.is_done(planned).await? {
        return Ok(());
    }
    let begun = journal.run().await?;
    Runner::begin(host, settings, now, planned, journal, begun).await?.go().await
}

/// The end of a run that was begun when there was a section for it. Nothing more is released; what it has released is told.
pub(crate) async fn end(host: &Host, now: Timestamp) -> Result<(), Trouble> {
    let mut journal = Journal::new(host);
    if let Some(report) = journal.report().await? {
        journal.emit(&report).await?;
    }
    let Some((mut run, items)) = journal.run().await? else { return Ok(()) };
    run.ended.get_or_insert_with(|| "the section `unusedLicenses` was removed".to_owned());
    let (settings, planned) = (Settings::default(), run.planned.clone());
    Runner::begin(host, &settings, now, &planned, journal, Some((run, items))).await?.close().await
}

/// Why the config does not let licences be released, though the settings ask for that.
pub(crate) async fn allowed(host: &Host, settings: &Settings) -> Result<(), String> {
    if !settings.release {
        return Ok(());
    }
    for (access_type, _) in settings.types() {
        // Of no licence; nothing is asked of Qlik Sense.
        let path = access::path_of(access_type, "00000000-0000-0000-0000-000000000000");
        if let Err(ServiceError::Denied(_)) = host.qlik().may_write(&path).await {
            return Err(not_allowed());
        }
    }
    Ok(())
}

fn not_allowed() -> String {
    format!(
        "`unusedLicenses.release` is true, but the config does not let plugins release licences: add \
         `writes: [\"{}\", \"{}\"]` under `qlik:`, or take `release` away for a dry run",
        WRITES[0], WRITES[1]
    )
}

/// How many licences were not used for long enough, for `butler check`. Rules are not looked at.
pub(crate) async fn describe(host: &Host, settings: &Settings, now: Timestamp) -> Result<String, Trouble> {
    let mut requests = Requests::new(host, settings.requests_per_second).at_once();
    let mut said = Vec::new();
    for (access_type, days) in settings.types() {
        let count = requests.count(access_type.path(), &used_filter(rules::cut_off(days, now))).await;
        let count = count.map_err(|stop| match stop {
            Stop::End(why) => Trouble::Failed(why),
            Stop::Trouble(trouble) => trouble,
        })?;
        said.push(format!("{count} {access_type} licences not used for {days} days"));
    }
    let mode = if settings.release { "released at the next run unless a rule protects them" } else { "dry run" };
    Ok(format!("{} ({mode})", said.join(", ")))
}

/// What was used, but not after a time.
fn used_filter(until: Timestamp) -> String {
    format!("lastUsed ge '{NEVER_UNTIL}' and lastUsed le '{until:.3}'")
}
