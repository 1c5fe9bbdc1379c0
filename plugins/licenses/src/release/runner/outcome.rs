//! Asking for releases, and what has become of them. That a licence is still there says nothing as long as there was no answer:
//! the release may take effect late. The run goes on meanwhile, and its end decides.

use std::collections::BTreeMap;
use std::time::Duration;

use butler_plugin_api::{QlikReply, ServiceError};
use serde_json::Value;

use super::super::access::{Access, AccessType, LastUsed, path_of};
use super::super::journal::Outcome;
use super::super::not_allowed;
use super::super::requests::Stop;
use super::super::rules::{Kept, Reason};
use super::Runner;
use crate::part::Trouble;
use crate::qrs;

/// What a release without an answer has come to is looked up so often at the end of a run, with this pause in between: it may
/// take effect late.
const LOOKS: usize = 6;
const PAUSE: Duration = Duration::from_secs(5);

impl Runner<'_> {
    /// Looks up what became of licences whose release was begun and has no outcome. Those that are still there are returned,
    /// each with when it was used last: the release may take effect later.
    pub(super) async fn look_up(&mut self) -> Result<BTreeMap<String, LastUsed>, Trouble> {
        let open = self.items.iter().filter(|(_, item)| item.outcome == Outcome::Open);
        let open: Vec<_> = open.map(|(id, item)| (id.clone(), item.access_type)).collect();
        let mut still_there = BTreeMap::new();
        for (id, access_type) in open {
            let found = self.requests.find(&path_of(access_type, &id), &[]).await;
            let found = found.map_err(|stop| match stop {
                Stop::End(why) => Trouble::Failed(format!("what became of a release is not known yet: {why}")),
                Stop::Trouble(trouble) => trouble,
            })?;
            if is_released(access_type, found.as_ref()) {
                self.settle(&id, Outcome::Released);
            } else {
                let access = found.and_then(|json| Access::read(access_type, &json));
                still_there.insert(id, access.map_or(LastUsed::Unknown, |access| access.last_used));
            }
        }
        self.journal.flush().await?;
        Ok(still_there)
    }

    /// Gives each licence whose release was begun an outcome. Whoever did not answer gets some time to do so late.
    pub(super) async fn decide(&mut self) -> Result<(), Trouble> {
        let mut open = self.look_up().await?;
        if !open.is_empty() {
            tracing::info!("what became of {} releases is not known yet: they are looked up again", open.len());
        }
        for _ in 0..LOOKS {
            if open.is_empty() {
                break;
            }
            self.requests.wait(PAUSE).await;
            open = self.look_up().await?;
        }
        for (id, last_used) in open {
            let used = || self.was_used_since(&id, last_used).then(used_meanwhile);
            if let Some(kept) = self.spared.get(&id).cloned().or_else(used) {
                // The journal has it until the run is told.
                if let Some(item) = self.items.remove(&id) {
                    self.tally.add(&id, item.access_type, &item.user, &kept);
                }
                continue;
            }
            let why = self.unanswered.remove(&id).unwrap_or_else(|| "Qlik Sense did not answer".to_owned());
            self.settle(&id, Outcome::Failed(format!("{why}; the licence is still there")));
        }
        Ok(())
    }

    /// Somebody has used a licence since its release was noted, and this run has not asked for the release.
    fn was_used_since(&self, id: &str, last_used: LastUsed) -> bool {
        let noted = self.items.get(id).and_then(|item| item.last_used.as_ref());
        matches!(last_used, LastUsed::At(_)) && last_used.text().as_ref() != noted && !self.unanswered.contains_key(id)
    }

    pub(super) fn settle(&mut self, id: &str, outcome: Outcome) {
        if let Some(item) = self.items.get_mut(id) {
            item.outcome = outcome;
            self.journal.settle(id, item);
        }
    }

    /// Asks for the release of a licence. `before`: that was done already, and what has come of it is not known.
    pub(super) async fn release(&mut self, access: &Access, before: bool) -> Result<Outcome, Stop> {
        let why = match self.requests.delete(&access.path()).await {
            Ok(reply) if reply.status == 204 => return Ok(Outcome::Released),
            Ok(reply) if reply.status == 404 && before => return Ok(Outcome::Released),
            Ok(reply) if (400..500).contains(&reply.status) && !before => {
                return Ok(Outcome::Failed(refusal(access, &reply)));
            }
            Ok(reply) => refusal(access, &reply),
            Err(ServiceError::Stopped) => return Err(Stop::Trouble(Trouble::Stopped)),
            Err(ServiceError::Denied(_)) => {
                let why = not_allowed();
                self.end(why.clone()).await?;
                if !before {
                    return Ok(Outcome::Failed(why));
                }
                why
            }
            Err(error) => error.to_string(),
        };
        // It may have arrived all the same. That it is still there says nothing: it may take effect later.
        match self.requests.find(&access.path(), &[]).await {
            Ok(found) if is_released(access.access_type, found.as_ref()) => return Ok(Outcome::Released),
            Ok(_) | Err(Stop::End(_)) => {}
            Err(trouble) => return Err(trouble),
        }
        self.unanswered.insert(access.id.clone(), why);
        Ok(Outcome::Open)
    }
}

/// Why a licence is kept that somebody has used by now.
pub(super) fn used_meanwhile() -> Kept {
    Kept::new(Reason::UsedMeanwhile, "it was used since the list was read")
}

/// QRS has no licence any more that was released, or keeps it in quarantine if it was used lately.
fn is_released(access_type: AccessType, found: Option<&Value>) -> bool {
    found.is_none_or(|json| Access::read(access_type, json).is_some_and(|access| access.quarantined))
}

/// Why a release was refused, and what to do.
fn refusal(access: &Access, reply: &QlikReply) -> String {
    match reply.status {
        401 | 403 => format!(
            "Qlik Sense answers {}: the user of `qlik.user` has no right to delete {} access; in the QMC give it a role or \
             security rule with Delete on `License*`, or use one that has it, such as INTERNAL\\sa_repository",
            reply.status, access.access_type
        ),
        404 => "Qlik Sense answers 404: somebody else has taken it back".to_owned(),
        _ => qrs::refusal(&access.path(), reply),
    }
}
