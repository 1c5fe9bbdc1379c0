//! Access licences that were given to users: of the types professional and analyzer.
//!
//! Form: `license/professionalaccesstype/full` and `license/analyzeraccesstype/full` of the repository service.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    CREATED, MODIFIED_BY, NO_TIME, Site, UnknownUser, stamp,
    state::State,
    table::{Identified, Table},
    user,
};
use crate::ids;

/// Who was there within this time has the licence for as long after its release: it is in quarantine.
const QUARANTINE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A type of access licences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccessType {
    /// May make apps.
    Professional,
    /// May use apps.
    Analyzer,
}

/// An access licence of a user.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// Identifier, a GUID.
    pub id: String,
    /// Identifier of the user.
    pub user: String,
    /// When it was given, ISO.
    pub created: String,
    /// When it was used last, ISO.
    pub last_used: String,
    /// It was released, but soon after it was used.
    pub quarantined: bool,
    /// Its JSON, so that lists of thousands cost little.
    json: Value,
}

/// A request to release an access licence that has reached the site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessRelease {
    /// Type that the path names.
    pub access_type: AccessType,
    /// Identifier that the path names.
    pub id: String,
    /// There was one such, and it was released.
    pub released: bool,
}

impl Access {
    /// A licence that was never used, given long ago, with a new identifier.
    pub fn new(user: impl Into<String>) -> Self {
        Self {
            id: ids::random(),
            user: user.into(),
            created: CREATED.to_owned(),
            last_used: NO_TIME.to_owned(),
            quarantined: false,
            json: Value::Null,
        }
    }

    /// Replaces the identifier.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// It was used last at this time.
    #[must_use]
    pub fn last_used(mut self, time: Timestamp) -> Self {
        self.last_used = stamp(time);
        self
    }

    /// It was used last so many days ago.
    #[must_use]
    pub fn days_ago(self, days: i64) -> Self {
        self.last_used(Timestamp::now() - SignedDuration::from_hours(24 * days))
    }

    /// It was given at this time.
    #[must_use]
    pub fn created(mut self, time: Timestamp) -> Self {
        self.created = stamp(time);
        self
    }

    /// It is in quarantine.
    #[must_use]
    pub fn quarantined(mut self) -> Self {
        self.quarantined = true;
        self
    }

    pub(crate) fn json(&self) -> &Value {
        &self.json
    }

    fn write_json(&mut self, access_type: AccessType, state: &State) {
        let schema = match access_type {
            AccessType::Professional => "License.ProfessionalAccessType",
            AccessType::Analyzer => "License.AnalyzerAccessType",
        };
        self.json = json!({
            "id": self.id,
            "createdDate": self.created,
            "modifiedDate": self.created,
            "modifiedByUserName": MODIFIED_BY,
            "user": user::owner(&self.user, state),
            "quarantined": self.quarantined,
            "quarantineEnd": NO_TIME,
            "lastUsed": self.last_used,
            "excess": false,
            "privileges": null,
            "schemaPath": schema,
        });
    }
}

impl Identified for Access {
    fn id(&self) -> &str {
        &self.id
    }
}

/// What a site has of both types.
#[derive(Default)]
pub(crate) struct Accesses {
    professional: Table<Access>,
    analyzer: Table<Access>,
    releases: Vec<AccessRelease>,
    /// Nobody may release any.
    forbidden: bool,
}

impl Accesses {
    pub(crate) fn of(&self, access_type: AccessType) -> &Table<Access> {
        match access_type {
            AccessType::Professional => &self.professional,
            AccessType::Analyzer => &self.analyzer,
        }
    }

    fn of_mut(&mut self, access_type: AccessType) -> &mut Table<Access> {
        match access_type {
            AccessType::Professional => &mut self.professional,
            AccessType::Analyzer => &mut self.analyzer,
        }
    }
}

/// What became of a request to release one.
pub(crate) enum Released {
    Done,
    Unknown,
    Forbidden,
}

impl State {
    /// `DELETE license/<type>/{id}`: who used it lately keeps it in quarantine.
    pub(crate) fn release_access(&mut self, access_type: AccessType, id: &str) -> Released {
        if self.accesses.forbidden {
            return Released::Forbidden;
        }
        let found = self.accesses.of(access_type).get(id).cloned();
        let release = AccessRelease { access_type, id: id.to_owned(), released: found.is_some() };
        self.accesses.releases.push(release);
        let Some(mut access) = found else { return Released::Unknown };
        let recently = |time: Timestamp| Timestamp::now().duration_since(time) < QUARANTINE;
        if access.last_used.parse().is_ok_and(recently) {
            access.quarantined = true;
            access.write_json(access_type, self);
            self.accesses.of_mut(access_type).insert(access);
        } else {
            self.accesses.of_mut(access_type).remove(id);
        }
        Released::Done
    }
}

/// Access licences.
impl Site {
    /// Gives or replaces an access licence of a user of the site.
    pub fn give_access(&self, access_type: AccessType, mut access: Access) -> Result<String, UnknownUser> {
        let mut state = self.write();
        if state.users.get(&access.user).is_none() {
            return Err(UnknownUser(access.user));
        }
        access.write_json(access_type, &state);
        let id = access.id.clone();
        state.accesses.of_mut(access_type).insert(access);
        Ok(id)
    }

    /// Somebody uses an access licence now; false if there is none such.
    pub fn use_access(&self, access_type: AccessType, id: &str) -> bool {
        self.change_access(access_type, id, |access| access.last_used = stamp(Timestamp::now()))
    }

    /// An access licence goes into quarantine; false if there is none such.
    pub fn quarantine_access(&self, access_type: AccessType, id: &str) -> bool {
        self.change_access(access_type, id, |access| access.quarantined = true)
    }

    /// Somebody else takes an access licence away; false if there was none such.
    pub fn remove_access(&self, access_type: AccessType, id: &str) -> bool {
        self.write().accesses.of_mut(access_type).remove(id)
    }

    /// Whether clients may release access licences. They may unless changed; else the answer is 403.
    pub fn set_release_allowed(&self, allowed: bool) {
        self.write().accesses.forbidden = !allowed;
    }

    /// An access licence by its identifier.
    pub fn access(&self, access_type: AccessType, id: &str) -> Option<Access> {
        self.read().accesses.of(access_type).get(id).cloned()
    }

    /// How many access licences of a type there are.
    pub fn access_count(&self, access_type: AccessType) -> usize {
        self.read().accesses.of(access_type).len()
    }

    /// The requests to release access licences that have reached the site and were not forbidden, in order.
    pub fn access_releases(&self) -> Vec<AccessRelease> {
        self.read().accesses.releases.clone()
    }

    fn change_access(&self, access_type: AccessType, id: &str, change: impl FnOnce(&mut Access)) -> bool {
        let mut state = self.write();
        let Some(mut access) = state.accesses.of(access_type).get(id).cloned() else { return false };
        change(&mut access);
        access.write_json(access_type, &state);
        state.accesses.of_mut(access_type).insert(access);
        true
    }
}
