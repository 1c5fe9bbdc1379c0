//! Which alert a look leads to, by what was alerted about before.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::license::License;

/// What somebody must be told now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alert {
    /// So many days or fewer are left.
    Expiring(u16),
    /// The licence has ended.
    Expired,
}

/// What was alerted about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Told {
    /// The last day of the licence in question.
    date: Option<Date>,
    /// The lowest threshold that was reached.
    threshold: Option<u16>,
    /// That it has ended was told.
    expired: bool,
    /// It had a day, and by the last look it has none and has not ended: perhaps another licence.
    undated: bool,
}

impl Told {
    /// The alert that a look leads to, and what is told with it. Of several thresholds that were passed since the last look
    /// the lowest alone is told. A licence without a known day leaves things as they were, but if it has not ended by two
    /// looks in a row, it is another one than that with the day.
    pub(super) fn after(&self, license: &License, thresholds: &[u16]) -> (Option<Alert>, Self) {
        let undated = license.date.is_none() && license.expired == Some(false) && self.date.is_some();
        let is_other = (license.date.is_some() && license.date != self.date) || (undated && self.undated);
        let mut told =
            if is_other { Self { date: license.date, ..Self::default() } } else { Self { undated, ..self.clone() } };
        if license.has_ended() {
            let alert = (!told.expired).then_some(Alert::Expired);
            told.expired = true;
            return (alert, told);
        }
        // Without a day it is not known of which licence Qlik Sense speaks, unless none ever had one.
        if license.days.is_some() || (license.expired == Some(false) && self.date.is_none()) {
            told.expired = false;
        }
        let Some(days) = license.days else { return (None, told) };
        let reached = thresholds.iter().copied().filter(|threshold| days <= i32::from(*threshold)).min();
        // More days are left than were told of: a wrong clock has been set right.
        if told.threshold.is_some_and(|threshold| days > i32::from(threshold)) {
            told.threshold = reached;
            return (None, told);
        }
        let is_new = reached.is_some_and(|reached| told.threshold.is_none_or(|threshold| reached < threshold));
        if is_new {
            told.threshold = reached;
        }
        (reached.filter(|_| is_new).map(Alert::Expiring), told)
    }

    /// Somebody was told of the end of another licence, and it has a successor.
    pub(super) fn is_renewal_of(&self, before: &Self) -> bool {
        (before.threshold.is_some() || before.expired) && self.date > before.date && !self.expired
    }
}
