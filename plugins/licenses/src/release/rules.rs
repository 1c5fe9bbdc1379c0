//! Which access licences are released: those that were not used for long enough and that no rule protects.

use jiff::{SignedDuration, Timestamp};

use super::access::{Access, LastUsed, User};
use super::settings::{Matters, NeverRelease, NeverUsed};

/// Why an access licence that nobody uses is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Reason {
    Quarantined,
    NeverUsed,
    /// Nor used, nor given long enough ago to be unused.
    JustGiven,
    User,
    UserDirectory,
    Tag,
    CustomProperty,
    Inactive,
    Blocked,
    RemovedExternally,
    Unreadable,
    UsedMeanwhile,
    Gone,
    Cap,
    Failed,
    NotReached,
}

impl Reason {
    /// As events have it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Quarantined => "quarantined",
            Self::NeverUsed | Self::JustGiven => "never used",
            Self::User => "user",
            Self::UserDirectory => "user directory",
            Self::Tag => "tag",
            Self::CustomProperty => "custom property",
            Self::Inactive => "inactive",
            Self::Blocked => "blocked",
            Self::RemovedExternally => "removed externally",
            Self::Unreadable => "unreadable",
            Self::UsedMeanwhile => "used meanwhile",
            Self::Gone => "gone",
            Self::Cap => "cap",
            Self::Failed => "failed",
            Self::NotReached => "not reached",
        }
    }

    /// Whether such a licence lies idle: a site always has some of the others, and nobody has to hear of them.
    pub(super) const fn is_unused(self) -> bool {
        !matches!(self, Self::Quarantined | Self::JustGiven)
    }
}

/// A reason, with more about it for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) reason: Reason,
    pub(super) detail: String,
}

impl Kept {
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// What the licence itself says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was used lately.
    InUse,
    Keep(Kept),
    /// It was not used for so many full days; absent: never.
    Due(Option<i64>),
}

/// A day is 24 hours, whatever the zone and its clocks do: N days are over N times 24 hours later, to the millisecond.
pub(super) fn full_days(since: Timestamp, now: Timestamp) -> i64 {
    now.duration_since(since).as_hours().div_euclid(24)
}

/// What was used at this time or before was not used for so many days.
pub(super) fn cut_off(unused_days: i64, now: Timestamp) -> Timestamp {
    now.checked_sub(SignedDuration::from_hours(24 * unused_days)).unwrap_or(Timestamp::MIN)
}

/// Looks at a licence without looking at its user.
pub(super) fn judge(access: &Access, unused_days: i64, never_used: NeverUsed, now: Timestamp) -> Verdict {
    let due = match access.last_used {
        LastUsed::At(time) if time > cut_off(unused_days, now) => return Verdict::InUse,
        LastUsed::At(time) => Ok(Some(full_days(time, now))),
        LastUsed::Never => long_given(access, unused_days, never_used, now).map(|()| None),
        LastUsed::Unknown => Err(Kept::new(Reason::Unreadable, "when it was used last cannot be read")),
    };
    if access.quarantined {
        return Verdict::Keep(Kept::new(Reason::Quarantined, "it was taken back already"));
    }
    due.map_or_else(Verdict::Keep, Verdict::Due)
}

fn long_given(access: &Access, unused_days: i64, never_used: NeverUsed, now: Timestamp) -> Result<(), Kept> {
    match access.created {
        Some(created) if created > cut_off(unused_days, now) => {
            let days = full_days(created, now).max(0);
            Err(Kept::new(Reason::JustGiven, format!("it was given {days} days ago")))
        }
        _ if never_used == NeverUsed::Keep => Err(Kept::new(Reason::NeverUsed, "`neverUsed` is `keep`")),
        Some(_) => Ok(()),
        None => Err(Kept::new(Reason::NeverUsed, "when it was given cannot be read")),
    }
}

/// Whether a rule protects the licence, by what it says of its user.
pub(super) fn protected_by_name(access: &Access, rules: &NeverRelease) -> Option<Kept> {
    let fits = |rule: &str, text: &Option<String>| text.as_ref().is_some_and(|text| same(rule, text));
    if rules.users.iter().any(|user| fits(&user.directory, &access.directory) && fits(&user.user_id, &access.user_id)) {
        return Some(Kept::new(Reason::User, "the user is named in `neverRelease.users`"));
    }
    if let Some(directory) = rules.user_directories.iter().find(|directory| fits(directory, &access.directory)) {
        return Some(Kept::new(Reason::UserDirectory, format!("the user is of the directory `{directory}`")));
    }
    if access.directory.is_none() && !(rules.users.is_empty() && rules.user_directories.is_empty()) {
        return Some(unreadable("directory"));
    }
    (access.user_id.is_none() && !rules.users.is_empty()).then(|| unreadable("id"))
}

/// Whether a rule protects the licences of this user.
pub(super) fn protected_by_user(user: &User, rules: &NeverRelease) -> Option<Kept> {
    by_tag(user, rules)
        .or_else(|| by_custom_property(user, rules))
        .or_else(|| by_state(Reason::Inactive, "inactive", rules.inactive, user.inactive))
        .or_else(|| by_state(Reason::Blocked, "blocked", rules.blocked, user.blocked))
        .or_else(|| {
            by_state(Reason::RemovedExternally, "removedExternally", rules.removed_externally, user.removed_externally)
        })
}

fn by_tag(user: &User, rules: &NeverRelease) -> Option<Kept> {
    if rules.tags.is_empty() {
        return None;
    }
    let Some(tags) = &user.tags else { return Some(unreadable("tags")) };
    let tag = rules.tags.iter().find(|tag| tags.iter().any(|other| same(tag, other)))?;
    Some(Kept::new(Reason::Tag, format!("the user has the tag `{tag}`")))
}

fn by_custom_property(user: &User, rules: &NeverRelease) -> Option<Kept> {
    if rules.custom_properties.is_empty() {
        return None;
    }
    let Some(properties) = &user.custom_properties else { return Some(unreadable("custom properties")) };
    let has = |wanted: &&super::settings::Property| {
        properties.iter().any(|(name, value)| same(&wanted.name, name) && same(&wanted.value, value))
    };
    let property = rules.custom_properties.iter().find(has)?;
    let detail = format!("the user has the custom property `{}` with `{}`", property.name, property.value);
    Some(Kept::new(Reason::CustomProperty, detail))
}

fn by_state(reason: Reason, setting: &str, matters: Matters, state: Option<bool>) -> Option<Kept> {
    let wanted = match matters {
        Matters::Ignore => return None,
        Matters::Yes => true,
        Matters::No => false,
    };
    let Some(state) = state else { return Some(unreadable(reason.word())) };
    let (is, word) = if wanted { ("is", "yes") } else { ("is not", "no") };
    (state == wanted).then(|| {
        Kept::new(reason, format!("the user {is} {}, and `neverRelease.{setting}` is `{word}`", reason.word()))
    })
}

fn unreadable(what: &str) -> Kept {
    Kept::new(Reason::Unreadable, format!("the user's {what} cannot be read"))
}

/// A rule is to protect rather too much than too little.
fn same(rule: &str, text: &str) -> bool {
    rule == text || rule.to_lowercase() == text.to_lowercase()
}
