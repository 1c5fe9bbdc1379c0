//! The settings. What has a section is done.

use std::time::Duration;

use butler_plugin_api::When;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::release;

/// Most thresholds, and the highest.
const MOST_THRESHOLDS: usize = 20;
pub(crate) const HIGHEST_THRESHOLD: u16 = 3_650;

/// What is watched and done. There must be one section at least.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Watches until when the licence of the server is valid. `{}` for the defaults.
    pub(crate) server_license: Option<ServerLicense>,
    /// Watches how many access licences are in use and left. `{}` for the defaults.
    pub(crate) access_licenses: Option<AccessLicenses>,
    /// Takes back access licences that nobody uses. A dry run unless `release` is true.
    pub(crate) unused_licenses: Option<release::Settings>,
}

/// How the licence of the server is watched.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ServerLicense {
    /// When it is looked at.
    pub(crate) when: When,
    /// Days left at which `server-license.expiring` is emitted, each once: 1 to 3650, at most 20 of them. `[]`: only
    /// the end is told.
    #[schemars(length(max = 20), inner(range(min = 1, max = 3650)))]
    pub(crate) threshold_days: Vec<u16>,
}

/// How the access licences are watched.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct AccessLicenses {
    /// When they are looked at.
    pub(crate) when: When,
    /// What few is: at so many left `access-license.low` is emitted, once until there are more again. What is absent
    /// raises nothing; 0 is "none is left".
    pub(crate) low: Low,
}

/// At how many left there are few. What is absent raises nothing; 0 is "none is left".
#[derive(Debug, Default, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Low {
    /// Professional access licences.
    pub(crate) professional: Option<u32>,
    /// Analyzer access licences.
    pub(crate) analyzer: Option<u32>,
    /// Minutes of analyzer capacity.
    pub(crate) analyzer_capacity_minutes: Option<u32>,
    /// Tokens.
    pub(crate) tokens: Option<u32>,
}

impl Default for ServerLicense {
    fn default() -> Self {
        Self { when: When::every(Duration::from_hours(24)), threshold_days: vec![60, 30, 14, 7, 1] }
    }
}

impl Default for AccessLicenses {
    fn default() -> Self {
        Self { when: When::every(Duration::from_hours(6)), low: Low::default() }
    }
}

impl Settings {
    /// An error says for people which setting is wrong, and what would be right.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.whens().is_empty() {
            return Err("nothing is to be done: write at least one of `serverLicense: {}`, `accessLicenses: {}` and \
                 `unusedLicenses: {}`"
                .to_owned());
        }
        if let Some(unused) = &self.unused_licenses {
            unused.check()?;
        }
        let Some(server) = &self.server_license else { return Ok(()) };
        if server.threshold_days.len() > MOST_THRESHOLDS {
            return Err(format!("`serverLicense.thresholdDays` may have {MOST_THRESHOLDS} numbers at most"));
        }
        match server.threshold_days.iter().find(|days| !(1..=HIGHEST_THRESHOLD).contains(*days)) {
            Some(days) => Err(format!(
                "`serverLicense.thresholdDays` has {days}, but each must be between 1 and {HIGHEST_THRESHOLD}"
            )),
            None => Ok(()),
        }
    }

    /// The planned times, each with the name of its setting.
    pub(crate) fn whens(&self) -> Vec<(&'static str, &When)> {
        let server = self.server_license.as_ref().map(|server| ("serverLicense.when", &server.when));
        let access = self.access_licenses.as_ref().map(|access| ("accessLicenses.when", &access.when));
        let unused = self.unused_licenses.as_ref().map(|unused| ("unusedLicenses.when", &unused.when));
        [server, access, unused].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(settings: Value) -> Result<Settings, String> {
        let settings: Settings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
        settings.check().map(|()| settings)
    }

    #[test]
    fn sections_have_defaults_and_what_cannot_work_is_refused() {
        let settings = check(json!({ "serverLicense": {}, "accessLicenses": {} })).unwrap();
        let (server, access) = (settings.server_license.unwrap(), settings.access_licenses.unwrap());
        assert_eq!(server.threshold_days, [60, 30, 14, 7, 1]);
        assert_eq!(
            (server.when, access.when),
            (When::every(Duration::from_hours(24)), When::every(Duration::from_hours(6)))
        );
        assert_eq!((access.low.professional, access.low.analyzer, access.low.tokens), (None, None, None));
        let low = check(json!({ "accessLicenses": { "low": { "professional": 0, "analyzer": 5 } } })).unwrap();
        assert_eq!(low.access_licenses.unwrap().low.professional, Some(0));
        assert!(check(json!({ "serverLicense": { "thresholdDays": [] } })).is_ok(), "only `expired`");
        for (settings, part) in [
            (json!({}), "at least one of `serverLicense: {}`"),
            (json!({ "serverLicense": { "thresholdDays": [30, 0] } }), "`serverLicense.thresholdDays` has 0"),
            (json!({ "serverLicense": { "thresholdDays": [3651] } }), "between 1 and 3650"),
            (json!({ "serverLicense": { "thresholdDays": vec![5; 21] } }), "20 numbers at most"),
            (json!({ "serverLicense": { "thresholdDays": [-1] } }), "-1"),
            (json!({ "serverLicense": { "thresholds": [30] } }), "unknown field"),
            (json!({ "accessLicenses": { "low": { "login": 5 } } }), "unknown field"),
            (json!({ "accessLicenses": { "when": { "every": "6h", "cron": "0 6 * * *" } } }), "either `every`"),
        ] {
            let error = check(settings.clone()).unwrap_err();
            assert!(error.contains(part), "{settings}: {error}");
        }
    }
}
