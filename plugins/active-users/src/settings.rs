//! The settings, and the checked form of them.

use std::time::Duration;

use butler_plugin_api::settings::duration;
use schemars::JsonSchema;
use serde::Deserialize;

/// Most users that can be set: with their last events they fit in the storage of an instance.
const MAX_USERS: u32 = 50_000;

/// Settings of the count of active users.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// After this time without any event of a user on a node, the user is no longer there: many never log out. `1m` to `30d`.
    #[schemars(extend("pattern" = "^[0-9]{1,10} ?(ms|s|m|h|d)$"))]
    expire_after: String,
    /// Changes are told at most so often, `1s` to `1h`; with hundreds of users sometimes more seldom, so that their
    /// lists do not fill the store.
    #[schemars(extend("pattern" = "^[0-9]{1,10} ?(ms|s|m|h|d)$"))]
    publish_every: String,
    /// Most users that are remembered, also those who left less than `expireAfter` ago; up to 50,000. One who uses two
    /// nodes counts twice.
    #[schemars(range(min = 1, max = 50_000))]
    max_users: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { expire_after: "8h".to_owned(), publish_every: "10s".to_owned(), max_users: 20_000 }
    }
}

/// Checked settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) expire_ms: i64,
    pub(crate) publish_every: Duration,
    pub(crate) max_users: usize,
}

impl Settings {
    /// An error says for people which setting is wrong, and what would be right.
    pub(crate) fn check(&self) -> Result<Rules, String> {
        let month = Duration::from_hours(30 * 24);
        let expire = duration("expireAfter", &self.expire_after, &(Duration::from_mins(1)..=month))?;
        let allowed = Duration::from_secs(1)..=Duration::from_hours(1);
        let publish_every = duration("publishEvery", &self.publish_every, &allowed)?;
        let fits = (1..=MAX_USERS).contains(&self.max_users);
        let max_users = usize::try_from(self.max_users).ok().filter(|_| fits);
        let max_users = max_users
            .ok_or_else(|| format!("`maxUsers` is {}, but must be between 1 and {MAX_USERS}", self.max_users))?;
        // A month has fewer milliseconds than fit.
        Ok(Rules { expire_ms: i64::try_from(expire.as_millis()).unwrap_or(i64::MAX), publish_every, max_users })
    }
}
