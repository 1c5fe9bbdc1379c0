//! The sections of the config that say what is heard, and what of it is told.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::patterns::Patterns;
use super::units::Size;

/// UDP ingestion.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Udp {
    /// Address and port to listen on, such as `0.0.0.0:9998`.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Who may send: addresses, networks (`10.1.0.0/16`) and names, which are resolved again every minute. Absent:
    /// everybody. Given but nothing resolves: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_from: Option<Vec<String>>,
    /// Longest datagram in bytes; longer ones are counted and dropped.
    #[serde(default = "default_max_size")]
    pub max_size: Size,
    /// At most so many datagrams a minute on each port; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_per_minute: Option<u32>,
    /// Sessions and connections of users, as the proxy's log appenders send them.
    #[serde(default)]
    pub sessions: Sessions,
}

fn default_max_size() -> Size {
    Size::bytes(65_507)
}

/// Sessions and connections of users, as the proxy's log appenders send them.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Sessions {
    /// A second address and port to listen on, for proxies that send to a port of their own, such as `0.0.0.0:9997`. It is
    /// guarded as the first one is, and both take all messages. Absent: they come to `udp.listen`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub listen: Option<SocketAddr>,
    /// Users whose sessions and connections are counted and left out, `DIRECTORY\id`; `*` stands for any text, and case
    /// does not matter.
    pub exclude_users: Patterns,
}

/// Which failed reloads outside the scheduler (editor, hub, API) are told. One is told when its user, its app or its stream
/// is in a list, and when that cannot be found out. The others stay in the history, without deliveries. In all lists `*`
/// stands for any text, and case does not matter.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AppReload {
    /// Users that the reload ran for, `DIRECTORY\id`.
    pub users: Patterns,
    /// Names or ids of apps.
    pub apps: Patterns,
    /// Names or ids of streams.
    pub streams: Patterns,
    /// Users whose reloads are not told, whatever the other lists say: the scheduler's own are told as tasks.
    pub except_users: Patterns,
}

impl Default for AppReload {
    fn default() -> Self {
        // Service accounts: who develops an app sees its reload fail.
        Self {
            users: Patterns::new([r"INTERNAL\*"]),
            apps: Patterns::default(),
            streams: Patterns::default(),
            except_users: Patterns::new([r"INTERNAL\sa_scheduler"]),
        }
    }
}
