//! Tenants of Qlik Cloud: what Butler asks them for.
//!
//! [`Cloud`] finds out the facts of a failed reload (`enrich`) by calls of a tenant's REST API (`client`), whose answers
//! (`facts`) are kept for some seconds and shared by all who want the same. As with Qlik Sense, nothing here retries for long.

mod client;
mod enrich;
mod error;
mod facts;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;
use url::Url;

pub use client::TenantState;
pub use error::CloudError;
pub(crate) use facts::short;

use super::error::QlikError;
use super::facts::is_guid;
use super::kept::Kept;
use super::script_log::{Clipper, Log};
use crate::config::{CloudTenant, Config};
use crate::http::HttpClients;
use client::{Client, address};
use facts::{AppInfo, Item, Reload, User};

/// How long an answer is used, and most answers of one sort.
const TTL: Duration = Duration::from_secs(15);
const ENTRIES: usize = 1_000;
/// Most bytes of script logs of a tenant that are kept, and how many, until their events are stored.
const LOG_BYTES: u64 = 16 << 20;
const LOGS: usize = 50;

/// Events that may wait for their facts at once, shared out among the tenants: one that hangs must not take the places of
/// others' events.
const EVENTS: usize = 256;
const FEWEST_EVENTS: usize = 4;

/// Look-ups in all tenants of the config.
pub struct Cloud {
    tenants: BTreeMap<String, Tenant>,
}

/// Look-ups in one tenant.
struct Tenant {
    base: Url,
    client: Client,
    events: Semaphore,
    reloads: Kept<Option<Arc<Reload>>, QlikError>,
    apps: Kept<Option<Arc<AppInfo>>, QlikError>,
    items: Kept<Option<Arc<Item>>, QlikError>,
    users: Kept<Option<Arc<User>>, QlikError>,
    logs: Kept<Arc<Log>, WithoutLog>,
    max_log_size: usize,
}

/// Why a script log is not kept.
#[derive(Clone)]
enum WithoutLog {
    /// The tenant has none, maybe none yet.
    None,
    Error(QlikError),
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cloud").field("tenants", &self.tenants.keys()).finish_non_exhaustive()
    }
}

impl Cloud {
    /// For the tenants of the config. Reads their TLS files; does not connect.
    pub fn new(config: &Config) -> Result<Arc<Self>, QlikError> {
        let http = HttpClients::new(config.tls.clone());
        let tenants = config.qlik_cloud.as_ref().map(|cloud| &cloud.tenants[..]).unwrap_or_default();
        let events = (EVENTS / tenants.len().max(1)).max(FEWEST_EVENTS);
        let tenant = |tenant: &CloudTenant| Ok((tenant.id.clone(), Tenant::new(tenant, config, http.clone(), events)?));
        Ok(Arc::new(Self { tenants: tenants.iter().map(tenant).collect::<Result<_, QlikError>>()? }))
    }

    /// How each tenant is doing.
    pub fn states(&self) -> impl Iterator<Item = TenantState> {
        self.tenants.values().map(|tenant| tenant.client.state())
    }

    /// Asks a tenant of the config who the owner of the token is, to see whether everything is in order: their name.
    pub async fn probe(&self, tenant: &str) -> Result<String, QlikError> {
        let setup = |reason: String| CloudError::Setup { tenant: tenant.to_owned(), reason };
        let asked = self.tenants.get(tenant).ok_or_else(|| setup("the config does not have it".to_owned()))?;
        let path = ["api", "v1", "users", "me"];
        let me = asked.client.json(&path, &[]).await?;
        let me =
            me.ok_or_else(|| setup(format!("it does not know `{}`: is `url` that of the tenant?", path.join("/"))))?;
        let me = facts::user(&me);
        match me.tenant_id {
            Some(other) if other != tenant => {
                Err(setup(format!("its `id` is {other}: write that, or its events are not recognised")).into())
            }
            _ => Ok(me.name.or(me.email).unwrap_or_else(|| "somebody without a name".to_owned())),
        }
    }
}

/// Address of an app for people.
pub(crate) fn cloud_app_url(tenant_url: &str, app_id: &str) -> Option<String> {
    address(&Url::parse(tenant_url).ok()?, &["sense", "app", app_id], &[]).map(Into::into)
}

impl Tenant {
    fn new(tenant: &CloudTenant, config: &Config, http: Arc<HttpClients>, events: usize) -> Result<Self, QlikError> {
        let client = Client::new(tenant, http, config.enrich.concurrency)?;
        Ok(Self {
            base: client.base().clone(),
            client,
            events: Semaphore::new(events),
            reloads: kept(),
            apps: kept(),
            items: kept(),
            users: kept(),
            logs: Kept::new(TTL, LOG_BYTES, LOGS, |log| log.text.len() as u64),
            max_log_size: config.script_log.max_size.as_usize(),
        })
    }

    async fn reload(&self, id: &str) -> Result<Option<Arc<Reload>>, QlikError> {
        let call = ["reloads", id];
        let ask = self.ask(&call, &[], |json| Some(facts::reload(json)));
        let reload = self.reloads.once(&exact(id), ask).await?;
        if reload.as_ref().is_none_or(|reload| !reload.is_over()) {
            // The next time it may know more.
            self.reloads.forget(&exact(id));
        }
        Ok(reload)
    }

    async fn app(&self, id: &str) -> Result<Option<Arc<AppInfo>>, QlikError> {
        // Nothing else names an app, and nothing else may get into a path.
        if !is_guid(id) {
            return Ok(None);
        }
        self.apps.once(id, self.ask(&["apps", id], &[], |json| Some(facts::app(id, &self.base, json)))).await
    }

    async fn item(&self, app_id: &str) -> Result<Option<Arc<Item>>, QlikError> {
        if !is_guid(app_id) {
            return Ok(None);
        }
        let query = [("resourceType", "app"), ("resourceId", app_id), ("noActions", "true"), ("limit", "100")];
        self.items.once(app_id, self.ask(&["items"], &query, |json| facts::item(app_id, json))).await
    }

    async fn user(&self, id: &str) -> Result<Option<Arc<User>>, QlikError> {
        self.users.once(&exact(id), self.ask(&["users", id], &[], |json| Some(facts::user(json)))).await
    }

    async fn script_log(&self, app_id: &str, reload_id: &str) -> Result<Option<Arc<Log>>, QlikError> {
        if !is_guid(app_id) {
            return Ok(None);
        }
        let fetch = async {
            let mut clipper = Clipper::new(self.max_log_size);
            let path = ["api", "v1", "apps", app_id, "reloads", "logs", reload_id];
            // Boxed, as all calls: only those that are under way need their room.
            let there =
                Box::pin(self.client.text(&path, |piece| clipper.add(piece))).await.map_err(WithoutLog::Error)?;
            if there { clipper.finish().map(Arc::new).ok_or(WithoutLog::None) } else { Err(WithoutLog::None) }
        };
        match self.logs.once(&exact(reload_id), fetch).await {
            Ok(log) => Ok(Some(log)),
            Err(WithoutLog::None) => Ok(None),
            Err(WithoutLog::Error(error)) => Err(error),
        }
    }

    async fn ask<T>(
        &self,
        call: &[&str],
        query: &[(&str, &str)],
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<Arc<T>>, QlikError> {
        let path: Vec<&str> = ["api", "v1"].into_iter().chain(call.iter().copied()).collect();
        let json = Box::pin(self.client.json(&path, query)).await?;
        Ok(json.as_ref().and_then(read).map(Arc::new))
    }
}

/// Keys of what is kept have no case; ids of Qlik Cloud have.
fn exact(id: &str) -> String {
    let mut text = String::with_capacity(2 * id.len());
    for byte in id.bytes() {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn kept<T: Clone>() -> Kept<T, QlikError> {
    Kept::new(TTL, ENTRIES as u64, ENTRIES, |_| 1)
}
