//! One run: reads the lists page by page, and releases what is due and not protected.

mod outcome;

use std::collections::{BTreeMap, BTreeSet};

use butler_plugin_api::Host;
use jiff::Timestamp;
use serde_json::Value;

use super::access::{Access, AccessType, LastUsed, NEVER_UNTIL, User};
use super::journal::{Item, Items, Journal, Outcome, Report, Run};
use super::report::{self, Tally};
use super::requests::{FAILURES, Requests, Stop};
use super::rules::{self, Kept, Reason, Verdict};
use super::settings::Settings;
use super::windows::{Window, Windows};
use crate::part::Trouble;
use outcome::used_meanwhile;

/// Users that are read at once.
const USERS: usize = 50;
/// Qlik Sense is younger: what it has was made after this.
const BEGINNING: &str = "2014-01-01T00:00:00.000Z";

/// A run under way.
pub(super) struct Runner<'a> {
    settings: &'a Settings,
    now: Timestamp,
    requests: Requests<'a>,
    journal: Journal<'a>,
    run: Run,
    /// Licences whose release was begun; in a dry run those that would be released.
    items: Items,
    tally: Tally,
    /// Releases that failed since one succeeded.
    failures: u32,
    /// Licences whose release was begun before the run was cut off, which were still there when it went on, and which it has
    /// not met again.
    begun_before: BTreeSet<String>,
    /// What was said instead of an answer when the release of a licence was asked for.
    unanswered: BTreeMap<String, String>,
    /// Licences whose release was begun, and that are to be kept by now if they are still there.
    spared: BTreeMap<String, Kept>,
    /// Licences that were due, but whose users cannot be read.
    unknown_users: u32,
    /// Some users can be read.
    reads_users: bool,
    /// Why a licence could not be looked at again, the last time.
    unseen: Option<String>,
}

/// Licences that are read by one filter, and in pages by one time.
struct Group {
    access_type: AccessType,
    unused_days: i64,
    /// By the time of the last use; the others have none and go by the time when they were given.
    was_used: bool,
}

impl Group {
    fn filter(&self, window: &Window) -> String {
        let (base, window) = if self.was_used {
            (format!("lastUsed ge '{NEVER_UNTIL}'"), window.filter("lastUsed"))
        } else {
            (format!("lastUsed lt '{NEVER_UNTIL}'"), window.filter("createdDate"))
        };
        if window.is_empty() { base } else { format!("{base} and {window}") }
    }
}

/// A licence that is due, with full days since its last use.
type Due = (Access, Option<i64>);

impl<'a> Runner<'a> {
    /// Begins a run, or goes on with one.
    pub(super) async fn begin(
        host: &'a Host,
        settings: &'a Settings,
        now: Timestamp,
        planned: &str,
        mut journal: Journal<'a>,
        begun: Option<(Run, Items)>,
    ) -> Result<Self, Trouble> {
        let (mut run, items) =
            begun.unwrap_or_else(|| (Run { planned: planned.to_owned(), dry_run: true, ended: None }, Items::new()));
        if items.is_empty() {
            run.dry_run = !settings.release;
        } else if !settings.release && run.ended.is_none() {
            run.ended = Some("the settings ask for a dry run now".to_owned());
        }
        journal.set_run(&run).await?;
        Ok(Self {
            settings,
            now,
            requests: Requests::new(host, settings.requests_per_second),
            journal,
            run,
            items,
            tally: Tally::default(),
            failures: 0,
            begun_before: BTreeSet::new(),
            unanswered: BTreeMap::new(),
            spared: BTreeMap::new(),
            unknown_users: 0,
            reads_users: false,
            unseen: None,
        })
    }

    pub(super) async fn go(mut self) -> Result<(), Trouble> {
        self.begun_before = self.look_up().await?.into_keys().collect();
        match self.release_all().await {
            Ok(()) => {}
            Err(Stop::Trouble(trouble)) => return Err(trouble),
            // Nothing has come of it yet: better all of it, later.
            Err(Stop::End(why)) if self.run.dry_run || self.items.is_empty() => return Err(Trouble::Failed(why)),
            Err(Stop::End(why)) => self.end(why).await?,
        }
        self.close().await
    }

    /// Releases nothing more, and tells what has come of the run.
    pub(super) async fn close(mut self) -> Result<(), Trouble> {
        self.decide().await?;
        self.tell().await
    }

    fn keep(&mut self, access: &Access, kept: Kept) {
        if self.items.contains_key(&access.id) {
            self.spared.insert(access.id.clone(), kept);
        } else {
            self.tally.keep(access, &kept);
        }
    }

    async fn release_all(&mut self) -> Result<(), Stop> {
        let beginning: Timestamp = BEGINNING.parse().unwrap_or(Timestamp::UNIX_EPOCH);
        for (access_type, unused_days) in self.settings.types().collect::<Vec<_>>() {
            let cut_off = rules::cut_off(unused_days, self.now);
            let used = Windows::new((beginning, cut_off), Some(cut_off));
            self.read(&Group { access_type, unused_days, was_used: true }, used).await?;
            let never_used = Windows::new((beginning, self.now), None);
            self.read(&Group { access_type, unused_days, was_used: false }, never_used).await?;
        }
        Ok(())
    }

    /// Reads a group in pages, the oldest first.
    async fn read(&mut self, group: &Group, mut windows: Windows) -> Result<(), Stop> {
        let path = group.access_type.path();
        while let Some(window) = windows.next() {
            let filter = group.filter(&window);
            let count = match window.count {
                Some(count) => count,
                None => self.requests.count(path, &filter).await?,
            };
            windows.counted(&window, count);
            if count == 0 || windows.halve(&window, count) {
                continue;
            }
            let page = self.requests.list(path, &filter).await?;
            self.page(group, &page).await?;
        }
        Ok(())
    }

    async fn page(&mut self, group: &Group, page: &[Value]) -> Result<(), Stop> {
        let Group { access_type, unused_days, was_used } = *group;
        let mut due = Vec::new();
        for json in page {
            let Some(access) = Access::read(access_type, json) else {
                tracing::warn!("an access licence of type {access_type} has no id that can be read: it is left alone");
                continue;
            };
            let before = self.begun_before.contains(&access.id);
            if before && access.quarantined {
                self.begun_before.remove(&access.id);
                self.settle(&access.id, Outcome::Released);
                continue;
            }
            if (self.items.contains_key(&access.id) && !before) || (access.last_used != LastUsed::Never) != was_used {
                continue;
            }
            match rules::judge(&access, unused_days, self.settings.never_used, self.now) {
                Verdict::InUse => {}
                Verdict::Keep(kept) => self.keep(&access, kept),
                Verdict::Due(days) => match rules::protected_by_name(&access, &self.settings.never_release) {
                    Some(kept) => self.keep(&access, kept),
                    None => due.push((access, days)),
                },
            }
        }
        due.sort_by_key(|(access, _)| match access.last_used {
            LastUsed::At(time) => Some(time),
            LastUsed::Never | LastUsed::Unknown => access.created,
        });
        for due in due.chunks(USERS) {
            let ids = due.iter().filter_map(|(access, _)| access.user.as_ref()).collect();
            let users = self.requests.users(&ids).await?;
            for one in due {
                let user = one.0.user.as_ref().and_then(|id| users.get(id));
                match self.protected(&one.0, user) {
                    Some(kept) => self.keep(&one.0, kept),
                    None => self.take(one, unused_days).await?,
                }
            }
        }
        Ok(())
    }

    fn protected(&mut self, access: &Access, user: Option<&User>) -> Option<Kept> {
        if let Some(user) = user {
            self.reads_users = true;
            return rules::protected_by_user(user, &self.settings.never_release);
        }
        self.unknown_users += u32::from(access.user.is_some());
        Some(Kept::new(Reason::Unreadable, "Qlik Sense does not tell who the user is"))
    }

    /// Releases a licence if this run may and nothing has changed.
    async fn take(&mut self, due: &Due, unused_days: i64) -> Result<(), Stop> {
        let (access, days) = due;
        let before = self.begun_before.remove(&access.id);
        let taken = self.items.values().filter(|item| !matches!(item.outcome, Outcome::Failed(_))).count();
        if !before && taken >= usize::from(self.settings.max_per_run) {
            let detail = format!("`maxPerRun` is {}: it is for a later run", self.settings.max_per_run);
            self.keep(access, Kept::new(Reason::Cap, detail));
            return Ok(());
        }
        if self.run.ended.is_some() {
            if !before {
                self.keep(access, Kept::new(Reason::NotReached, "the run ended before"));
            }
            return Ok(());
        }
        let next = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        let number = self.items.get(&access.id).map_or(next, |item| item.number);
        if self.run.dry_run {
            self.items.insert(access.id.clone(), Item::new(number, access, *days, Outcome::Released));
            return Ok(());
        }
        let outcome = match self.look_again(access, unused_days, before).await {
            Ok(Again::Unchanged) => {
                let item = Item::new(number, access, *days, Outcome::Open);
                self.journal.begin(&access.id, &item).await?;
                self.items.insert(access.id.clone(), item);
                self.release(access, before).await?
            }
            Ok(Again::Released) => Outcome::Released,
            Ok(Again::Changed(kept)) => {
                self.keep(access, kept);
                return Ok(());
            }
            Err(Stop::End(why)) => {
                let detail = format!("it could not be looked at again: {why}");
                self.unseen = Some(format!("a licence could not be looked at again: {why}"));
                // Its release was not asked for in this run: not an item of it.
                if !before {
                    self.keep(access, Kept::new(Reason::Failed, detail));
                }
                return self.failed(&why).await;
            }
            Err(trouble) => return Err(trouble),
        };
        self.settle(&access.id, outcome.clone());
        match outcome {
            Outcome::Released => {
                self.failures = 0;
                tracing::info!(user = access.name(), days, "an unused {} licence was released", access.access_type);
                Ok(())
            }
            Outcome::Failed(why) => self.failed(&why).await,
            Outcome::Open => {
                let why = self.unanswered.get(&access.id).cloned().unwrap_or_default();
                self.failed(&why).await
            }
        }
    }

    /// Whether a licence and its user are still as the lists had them.
    async fn look_again(&mut self, access: &Access, unused_days: i64, before: bool) -> Result<Again, Stop> {
        let changed = |reason, detail: &str| Ok(Again::Changed(Kept::new(reason, detail)));
        let Some(json) = self.requests.find(&access.path(), &[]).await? else {
            if before {
                return Ok(Again::Released);
            }
            return changed(Reason::Gone, "somebody else has taken it back");
        };
        let Some(now) = Access::read(access.access_type, &json) else {
            return changed(Reason::Unreadable, "it cannot be read any more");
        };
        if before && now.quarantined {
            return Ok(Again::Released);
        }
        match rules::judge(&now, unused_days, self.settings.never_used, self.now) {
            _ if now.last_used != access.last_used => return Ok(Again::Changed(used_meanwhile())),
            Verdict::InUse => return Ok(Again::Changed(used_meanwhile())),
            Verdict::Keep(kept) => return Ok(Again::Changed(kept)),
            Verdict::Due(_) => {}
        }
        if let Some(kept) = rules::protected_by_name(&now, &self.settings.never_release) {
            return Ok(Again::Changed(kept));
        }
        let user = match &now.user {
            Some(id) => self.requests.find(&format!("user/{id}"), &[]).await?,
            None => None,
        };
        let user = user.as_ref().and_then(User::read).filter(|(id, _)| Some(id) == now.user.as_ref());
        let kept = self.protected(&now, user.as_ref().map(|(_, user)| user));
        Ok(kept.map_or(Again::Unchanged, Again::Changed))
    }

    async fn failed(&mut self, why: &str) -> Result<(), Stop> {
        self.failures += 1;
        if self.failures == FAILURES {
            let why = format!("{FAILURES} releases in a row have failed, the last one: {why}");
            if self.items.is_empty() {
                return Err(Stop::End(why));
            }
            self.end(why).await?;
        }
        Ok(())
    }

    /// Nothing more is released in this run.
    async fn end(&mut self, why: String) -> Result<(), Trouble> {
        if self.run.ended.is_none() {
            self.run.ended = Some(why);
            self.journal.set_run(&self.run).await?;
        }
        Ok(())
    }

    /// Tells what has come of the run, if there is anything to tell.
    async fn tell(mut self) -> Result<(), Trouble> {
        let why = self.items.values().find_map(|item| match &item.outcome {
            Outcome::Failed(why) => Some(format!("a licence could not be released: {why}")),
            _ => None,
        });
        let unknown = (self.unknown_users > 0).then(|| {
            let (licences, are) = if self.unknown_users == 1 { ("licence", "is") } else { ("licences", "are") };
            let why = if self.reads_users {
                // They may have been deleted since the list was read.
                "Qlik Sense does not tell of their users, though it does of others: if they are still in the QMC, let the \
                 user of `qlik.user` read them too"
            } else {
                "the user of `qlik.user` cannot read their users: in the QMC give it a role or security rule with Read on \
                 `User_*`"
            };
            format!("{} {licences} {are} kept, since {why}", self.unknown_users)
        });
        let ended = self.run.ended.as_ref().map(|why| format!("the run ended early: {why}"));
        let trouble = ended.or(why).or(self.unseen).or(unknown);
        if let Some(data) = report::data(&self.run, &self.items, self.tally) {
            tracing::info!("{}{}", data["message"].as_str().unwrap_or_default(), report::reasons(&data));
            self.journal.tell(&Report { planned: self.run.planned, data }).await?;
        } else {
            tracing::info!("no unused licence was found");
            self.journal.close(&self.run.planned).await?;
        }
        trouble.map_or(Ok(()), |text| Err(Trouble::Noted(text)))
    }
}

/// What a second look has found.
enum Again {
    Unchanged,
    Changed(Kept),
    /// It was released before the run was cut off.
    Released,
}
