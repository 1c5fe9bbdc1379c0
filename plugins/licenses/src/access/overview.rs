//! Reading the overview of the access licences.

use butler_plugin_api::{AccessLicenses, AccessUse, CapacityUse, LoginTokens, Tokens, UserTokens};
use serde_json::Value;

pub(super) const PATH: &str = "license/accesstypeoverview";

/// Types of which something can be left; the words of the metrics.
pub(super) const PROFESSIONAL: &str = "professional";
pub(super) const ANALYZER: &str = "analyzer";
pub(super) const CAPACITY: &str = "analyzer_capacity";
pub(super) const TOKENS: &str = "tokens";

/// How much of a type is left.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Left {
    pub(super) name: &'static str,
    pub(super) count: f64,
    /// Of so many.
    total: Option<f64>,
    /// What they are called, of one and of others.
    one: &'static str,
    others: &'static str,
    quarantined: i64,
    excess: i64,
}

/// The types that the site uses: those with `enabled: true`, tokens with `tokensEnabled: true`. What the answer lacks is absent.
pub(super) fn read(body: &Value) -> AccessLicenses {
    let enabled = |name: &str| Some(&body[name]).filter(|section| section["enabled"] == true);
    AccessLicenses {
        analyzer: enabled("analyzerAccess").map(access),
        analyzer_capacity: enabled("analyzerTimeAccess").map(|section| CapacityUse {
            allocated_minutes: whole(section, "allocatedMinutes"),
            unavailable_minutes: whole(section, "unavailableMinutes"),
            used_minutes: whole(section, "usedMinutes"),
        }),
        professional: enabled("professionalAccess").map(access),
        token_login: enabled("loginAccess").map(|section| LoginTokens {
            allocated_tokens: section["allocatedTokens"].as_f64(),
            token_cost: section["tokenCost"].as_f64(),
            unavailable_tokens: section["unavailableTokens"].as_f64(),
            used_tokens: section["usedTokens"].as_f64(),
        }),
        token_user: enabled("userAccess").map(|section| UserTokens {
            allocated_tokens: section["allocatedTokens"].as_f64(),
            quarantined_tokens: section["quarantinedTokens"].as_f64(),
            token_cost: section["tokenCost"].as_f64(),
            used_tokens: section["usedTokens"].as_f64(),
        }),
        tokens: (body["tokensEnabled"] == true)
            .then(|| Tokens { available: body["availableTokens"].as_f64(), total: body["totalTokens"].as_f64() }),
    }
}

fn access(section: &Value) -> AccessUse {
    AccessUse {
        allocated: whole(section, "allocated"),
        available: whole(section, "available"),
        excess: whole(section, "excess"),
        quarantined: whole(section, "quarantined"),
        total: whole(section, "total"),
        used: whole(section, "used"),
    }
}

/// A whole number, also one that is written as `12.0`.
#[allow(
    clippy::cast_possible_truncation,
    reason = "a number of licences or minutes is small, and cut off if it is not"
)]
fn whole(section: &Value, name: &str) -> Option<i64> {
    section[name].as_i64().or_else(|| Some(section[name].as_f64()?.round() as i64))
}

/// How much is left of the types that tell it. Of analyzer capacity that is what was neither used nor made unavailable.
pub(super) fn left(licenses: &AccessLicenses) -> Vec<Left> {
    let access = |name, one, others, section: &Option<AccessUse>| {
        let section = section.as_ref()?;
        Some(Left {
            name,
            count: number(section.available?),
            total: section.total.map(number),
            one,
            others,
            quarantined: section.quarantined.unwrap_or_default(),
            excess: section.excess.unwrap_or_default(),
        })
    };
    let capacity = licenses.analyzer_capacity.as_ref().and_then(|section| {
        let all = section.allocated_minutes?;
        let gone = section.used_minutes?.saturating_add(section.unavailable_minutes.unwrap_or_default());
        let (one, others) = ("minute of analyzer capacity", "minutes of analyzer capacity");
        let (count, total) = (number(all.saturating_sub(gone)), Some(number(all)));
        Some(Left { name: CAPACITY, count, total, one, others, quarantined: 0, excess: 0 })
    });
    let tokens = licenses.tokens.as_ref().and_then(|section| {
        let count = section.available?;
        Some(Left {
            name: TOKENS,
            count,
            total: section.total,
            one: "token",
            others: "tokens",
            quarantined: 0,
            excess: 0,
        })
    });
    let all = [
        access(PROFESSIONAL, "professional licence", "professional licences", &licenses.professional),
        access(ANALYZER, "analyzer licence", "analyzer licences", &licenses.analyzer),
        capacity,
        tokens,
    ];
    all.into_iter().flatten().collect()
}

/// What is missing, so that nobody would be told that few are left; `limits` are those of types.
pub(super) fn fault(body: &Value, licenses: &AccessLicenses, limits: &[(&str, Option<u32>)]) -> Option<String> {
    const SECTIONS: [&str; 5] =
        ["professionalAccess", "analyzerAccess", "analyzerTimeAccess", "userAccess", "loginAccess"];
    if !SECTIONS.iter().any(|name| body[name].is_object()) && !body["tokensEnabled"].is_boolean() {
        return Some(format!(
            "the answer of Qlik Sense to `{PATH}` has no type of access licence that is known: this release of Qlik Sense may \
             be newer than the plugin, look for a newer one"
        ));
    }
    let is_on = |name: &str| match name {
        PROFESSIONAL => licenses.professional.is_some(),
        ANALYZER => licenses.analyzer.is_some(),
        CAPACITY => licenses.analyzer_capacity.is_some(),
        _ => licenses.tokens.is_some(),
    };
    let left = left(licenses);
    let silent = |name: &str| is_on(name) && !left.iter().any(|left| left.name == name);
    let silent: Vec<&str> =
        limits.iter().filter(|(name, limit)| limit.is_some() && silent(name)).map(|(name, _)| *name).collect();
    (!silent.is_empty()).then(|| {
        format!(
            "Qlik Sense does not tell in `{PATH}` how many are left, so nobody is told when there are few: {}; this release of \
             Qlik Sense may be newer than the plugin, look for a newer one",
            silent.join(", ")
        )
    })
}

/// The section of one type alone.
pub(super) fn only(licenses: &AccessLicenses, name: &str) -> AccessLicenses {
    let all = licenses.clone();
    AccessLicenses {
        analyzer: all.analyzer.filter(|_| name == ANALYZER),
        analyzer_capacity: all.analyzer_capacity.filter(|_| name == CAPACITY),
        professional: all.professional.filter(|_| name == PROFESSIONAL),
        tokens: all.tokens.filter(|_| name == TOKENS),
        token_login: None,
        token_user: None,
    }
}

#[allow(clippy::cast_precision_loss, reason = "a number of licences or minutes is far below 2^53")]
fn number(whole: i64) -> f64 {
    whole as f64
}

impl Left {
    /// `2 of 90 analyzer licences are left (1 in quarantine)`
    pub(super) fn text(&self) -> String {
        let is_one = |count: f64| (count - 1.0).abs() < f64::EPSILON;
        let one = is_one(self.total.unwrap_or(self.count));
        let what = if one { self.one } else { self.others };
        let of = self.total.map(|total| format!(" of {total}")).unwrap_or_default();
        let are = if one || is_one(self.count) { "is" } else { "are" };
        let more = [(self.quarantined, "in quarantine"), (self.excess, "assigned beyond the licence")];
        let more: Vec<String> =
            more.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        let more = if more.is_empty() { String::new() } else { format!(" ({})", more.join(", ")) };
        format!("{}{of} {what} {are} left{more}", self.count)
    }
}
