//! What is told of a run: one event.

use std::collections::BTreeMap;

use butler_plugin_api::{KeptLicense, LicenseRelease, ReleasedLicense};
use serde_json::{Value, json};

use super::access::{Access, AccessType};
use super::journal::{Item, Items, Outcome, Run};
use super::rules::{Kept, Reason};

/// Most licences that were kept and are listed; all are counted.
const MOST_KEPT: usize = 1_000;
/// Longest name of a user and longest detail, in characters.
const MOST_CHARS: usize = 200;
/// Most bytes of the data; the host takes 1 MB.
const MOST_BYTES: usize = 950_000;

/// What was kept so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    kept: Vec<KeptLicense>,
    by_reason: BTreeMap<String, u64>,
    /// One of them lies idle.
    any_unused: bool,
}

impl Tally {
    pub(super) fn keep(&mut self, access: &Access, kept: &Kept) {
        self.add(&access.id, access.access_type, &access.name(), kept);
    }

    pub(super) fn add(&mut self, id: &str, access_type: AccessType, user: &str, kept: &Kept) {
        self.any_unused |= kept.reason.is_unused();
        *self.by_reason.entry(kept.reason.word().to_owned()).or_default() += 1;
        if self.kept.len() < MOST_KEPT {
            self.kept.push(KeptLicense {
                id: Some(id.to_owned()),
                license_type: Some(access_type.to_string()),
                user: Some(shown(user)),
                reason: Some(kept.reason.word().to_owned()),
                detail: Some(shown(&kept.detail)),
            });
        }
    }

    /// How many were kept.
    fn count(&self) -> u64 {
        self.by_reason.values().sum()
    }
}

/// The data of the event; absent if no licence is unused.
pub(super) fn data(run: &Run, items: &Items, mut tally: Tally) -> Option<Value> {
    let mut all: Vec<(&String, &Item)> = items.iter().collect();
    all.sort_by_key(|(_, item)| item.number);
    let released: Vec<ReleasedLicense> = all
        .iter()
        .filter(|(_, item)| item.outcome == Outcome::Released)
        .map(|(id, item)| ReleasedLicense {
            id: Some((*id).clone()),
            license_type: Some(item.access_type.to_string()),
            user: Some(shown(&item.user)),
            last_used: item.last_used.clone(),
            days_since_last_use: item.days,
        })
        .collect();
    let mut failed =
        Tally { kept: Vec::new(), by_reason: std::mem::take(&mut tally.by_reason), any_unused: tally.any_unused };
    for (id, item) in &all {
        if let Outcome::Failed(why) = &item.outcome {
            failed.add(id, item.access_type, &item.user, &Kept::new(Reason::Failed, why.as_str()));
        }
    }
    let failures = failed.by_reason.get(Reason::Failed.word()).copied().unwrap_or_default();
    if released.is_empty() && !failed.any_unused {
        return None;
    }
    // What failed comes first: somebody has to do something about it.
    failed.kept.append(&mut tally.kept);
    failed.kept.truncate(MOST_KEPT);
    let message = message(run, &released, failures, failed.count());
    let mut kept = failed.kept;
    loop {
        let release = LicenseRelease {
            dry_run: Some(run.dry_run),
            released: Some(released.clone()),
            kept: Some(kept.clone()),
            kept_by_reason: Some(failed.by_reason.clone()),
        };
        let data = json!({ "message": message, "licenseRelease": release });
        if data.to_string().len() <= MOST_BYTES || kept.is_empty() {
            return Some(data);
        }
        kept.truncate(kept.len() / 2);
    }
}

/// How many were kept for which reason, for the log.
pub(super) fn reasons(data: &Value) -> String {
    let reasons = data["licenseRelease"]["keptByReason"].as_object().into_iter().flatten();
    let reasons: Vec<String> = reasons.map(|(reason, count)| format!("{reason} {count}")).collect();
    if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) }
}

fn message(run: &Run, released: &[ReleasedLicense], failures: u64, kept: u64) -> String {
    let of = |wanted: AccessType| {
        let wanted = wanted.to_string();
        released.iter().filter(|license| license.license_type.as_deref() == Some(wanted.as_str())).count()
    };
    let count = released.len();
    let licences = if count == 1 { "access licence" } else { "access licences" };
    let types = format!("{} professional, {} analyzer", of(AccessType::Professional), of(AccessType::Analyzer));
    let done = match (run.dry_run, count) {
        (true, _) => format!("dry run, nothing was released: {count} unused {licences} would be ({types})"),
        (false, 1) => format!("1 unused {licences} was released ({types})"),
        (false, _) => format!("{count} unused {licences} were released ({types})"),
    };
    let were = if kept == 1 { "was" } else { "were" };
    let failed = match failures {
        0 => String::new(),
        _ => format!(", among them {failures} that could not be released"),
    };
    let ended = run.ended.as_ref().map_or_else(String::new, |why| format!("; the run ended early: {why}"));
    format!("{done}, {kept} {were} kept{failed}{ended}")
}

fn shown(text: &str) -> String {
    let mut shown: String = text.chars().filter(|c| !c.is_control()).take(MOST_CHARS).collect();
    if text.chars().nth(MOST_CHARS).is_some() {
        shown.push('…');
    }
    shown
}
