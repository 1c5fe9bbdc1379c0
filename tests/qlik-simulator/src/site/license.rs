//! The licence of the server, and how the access licences are used.

use serde_json::{Value, json};

use super::{CREATED, MODIFIED_BY};
use crate::ids;

/// The licence of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct License {
    /// It has expired.
    pub is_expired: bool,
    /// Why; empty if it has not.
    pub expired_reason: String,
    /// Its details: normally a text of lines with one `Valid To: <date>` among them.
    pub key_details: Value,
}

impl License {
    /// One that is valid to this day, `2026-12-31`.
    pub fn valid_to(day: &str) -> Self {
        let details = format!(
            "Product: Qlik Sense Enterprise\r\nValid From: 2020-01-01\r\nValid To: {day}\r\nProfessional: 40\r\nAnalyzer: 90\r\n"
        );
        Self { is_expired: false, expired_reason: String::new(), key_details: details.into() }
    }

    /// The same after its end.
    #[must_use]
    pub fn expired(mut self, reason: &str) -> Self {
        self.is_expired = true;
        reason.clone_into(&mut self.expired_reason);
        self
    }

    /// Replaces the details, also by something that is no text.
    #[must_use]
    pub fn key_details(mut self, details: impl Into<Value>) -> Self {
        self.key_details = details.into();
        self
    }

    pub(crate) fn full(&self) -> Value {
        json!({
            "id": ids::derived("license", "license"),
            "createdDate": CREATED,
            "modifiedDate": CREATED,
            "modifiedByUserName": MODIFIED_BY,
            "lef": "",
            "serial": "9999000000001234",
            "check": "",
            "key": "",
            "keyDetails": self.key_details,
            "name": "Lab",
            "organization": "Lab",
            "product": 30,
            "numberOfCores": -1,
            "isExpired": self.is_expired,
            "expiredReason": self.expired_reason,
            "isBlacklisted": false,
            "isInvalid": false,
            "isSubscription": true,
            "isCloudServices": false,
            "isElastic": false,
            "updated": CREATED,
            "privileges": null,
            "schemaPath": "License",
        })
    }
}

impl Default for License {
    fn default() -> Self {
        Self::valid_to("2099-12-31")
    }
}

/// How the access licences of a type are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessUse {
    /// All.
    pub total: i64,
    /// Assigned to users.
    pub allocated: i64,
    /// Assigned and used.
    pub used: i64,
    /// Taken away and not yet free again.
    pub quarantined: i64,
    /// Assigned beyond what the licence allows.
    pub excess: i64,
}

impl AccessUse {
    /// So many are assigned of so many.
    pub fn of(total: i64, allocated: i64) -> Self {
        Self { total, allocated, used: allocated, ..Self::default() }
    }

    fn details(self) -> Value {
        json!({
            "enabled": true,
            "total": self.total,
            "allocated": self.allocated,
            "used": self.used,
            "quarantined": self.quarantined,
            "excess": self.excess,
            "available": self.total - self.allocated - self.quarantined,
            "schemaPath": "AccessTypeOverview.Details",
        })
    }
}

/// Which types of access licences there are, and their use. Those that are absent are not enabled.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessTypes {
    /// Professional access.
    pub professional: Option<AccessUse>,
    /// Analyzer access.
    pub analyzer: Option<AccessUse>,
    /// Minutes of analyzer capacity: allocated and used.
    pub analyzer_minutes: Option<(i64, i64)>,
    /// Tokens: all and free. With them come access by users and by logins.
    pub tokens: Option<(f64, f64)>,
    /// Sections of the answer that are left out, such as `loginAccess`.
    pub without: Vec<String>,
}

impl AccessTypes {
    pub(crate) fn overview(&self) -> Value {
        let details = |access: Option<AccessUse>| {
            let off = json!({ "enabled": false, "schemaPath": "AccessTypeOverview.Details" });
            access.map_or(off, AccessUse::details)
        };
        let (allocated, used) = self.analyzer_minutes.unwrap_or_default();
        let (total, available) = self.tokens.unwrap_or_default();
        let with_tokens = self.tokens.is_some();
        let mut overview = json!({
            "totalTokens": total,
            "availableTokens": available,
            "tokensEnabled": with_tokens,
            "userAccess": {
                "enabled": with_tokens, "tokenCost": 1, "allocatedTokens": total - available, "usedTokens": total - available,
                "quarantinedTokens": 0, "schemaPath": "AccessTypeOverview.UserAccessDetails",
            },
            "loginAccess": {
                "enabled": with_tokens, "tokenCost": 0.1, "allocatedTokens": 0, "usedTokens": 0, "unavailableTokens": 0,
                "schemaPath": "AccessTypeOverview.LoginAccessDetails",
            },
            "professionalAccess": details(self.professional),
            "analyzerAccess": details(self.analyzer),
            "analyzerTimeAccess": {
                "enabled": self.analyzer_minutes.is_some(), "allocatedMinutes": allocated, "usedMinutes": used,
                "unavailableMinutes": 0, "schemaPath": "AccessTypeOverview.AnalyzerTimeAccessDetails",
            },
            "schemaPath": "AccessTypeOverview",
        });
        if let Some(sections) = overview.as_object_mut() {
            sections.retain(|name, _| !self.without.contains(name));
        }
        overview
    }
}

impl Default for AccessTypes {
    /// 28 of 40 professional and 30 of 90 analyzer licences are free.
    fn default() -> Self {
        Self {
            professional: Some(AccessUse { used: 9, ..AccessUse::of(40, 12) }),
            analyzer: Some(AccessUse { used: 41, ..AccessUse::of(90, 60) }),
            analyzer_minutes: None,
            tokens: None,
            without: Vec::new(),
        }
    }
}
