//! From an event of a tenant to all facts of the failed reload.
//!
//! Each look-up may fail by itself: what could not be found out is missing, and the alert goes out.

use std::sync::Arc;
use std::time::Duration;

use butler_plugin_api::{App, Data, Execution, Owner};
use tokio::time::{Instant, timeout_at};

use super::facts::{AppInfo, Item, Reload, User};
use super::{Cloud, CloudError, Tenant, cloud_app_url};
use crate::qlik::enrich::Enriched;
use crate::qlik::error::QlikError;
use crate::qlik::facts::is_guid;

type Found<T> = Result<Option<Arc<T>>, QlikError>;

impl Cloud {
    /// Finds out the facts of a failed reload: `heard` are those that came with its event.
    ///
    /// Needs at most five calls (reload, app, item, owner, who started it) and one for the script log. What is not there after
    /// `patience` is missing, with a transient error; what is there by then is not lost.
    pub async fn enrich(&self, heard: &Data, kind: &str, want_script_log: bool, patience: Duration) -> Enriched {
        let mut out = Enriched { kind: kind.to_owned(), data: heard.clone(), ..Enriched::default() };
        let id = heard.cloud.as_ref().and_then(|cloud| cloud.tenant_id.as_deref()).unwrap_or_default();
        let Some(tenant) = self.tenants.get(id) else {
            tracing::warn!(tenant = id, "an event is of a tenant that the config does not have any more");
            lack(&mut out, &["execution", "app", "tags", "owner", "user"]);
            return out;
        };
        let Ok(_place) = tenant.events.try_acquire() else {
            out.transient = Some(CloudError::Crowded { tenant: id.to_owned() }.into());
            lack(&mut out, &["execution", "app", "tags", "owner", "user"]);
            return out;
        };
        let lookup = Lookup { tenant, until: Instant::now() + patience };
        lookup.all(heard, want_script_log, &mut out).await;
        out.data.missing = out.missing.iter().map(|fact| (*fact).to_owned()).collect();
        out
    }
}

/// Look-ups for one event.
struct Lookup<'a> {
    tenant: &'a Tenant,
    until: Instant,
}

impl Lookup<'_> {
    async fn all(&self, heard: &Data, want_script_log: bool, out: &mut Enriched) {
        let reload_id = heard.cloud.as_ref().and_then(|cloud| cloud.reload_id.as_deref());
        let heard_app = heard.app.as_ref().map(|app| app.id.as_str());
        let (reload, early) = tokio::join!(self.reload(reload_id), async {
            match heard_app {
                Some(id) => Some(self.app(Some(id)).await),
                None => None,
            }
        });
        // Asked for again: what was written late may say more.
        out.not_yet |=
            reload_id.is_some() && matches!(&reload, Ok(reload) if !reload.as_ref().is_some_and(|it| it.is_over()));
        let reload = take(out, "execution", reload);
        let app_id = heard_app.or_else(|| reload.as_ref()?.app_id.as_deref());
        let (app, item) = match early {
            Some(found) => found,
            None => self.app(app_id).await,
        };
        let (app, item) = (take(out, "app", app), take(out, "tags", item));
        let heard_owner = heard.app.as_ref().and_then(|app| Some(app.owner.as_ref()?.id.as_str()));
        let owner_id = heard_owner.or_else(|| app.as_ref()?.owner_id.as_deref());
        let user_id = heard.user.as_deref().or_else(|| reload.as_ref()?.user_id.as_deref());
        let (owner, user) = tokio::join!(self.user(owner_id), self.user(user_id));
        let owner = take(out, "owner", owner);
        // Nobody may have started it; but without the reload that is not known.
        let user = if user_id.is_some() || reload.is_none() { take(out, "user", user) } else { None };
        if want_script_log {
            // The last of all: logs are long, and must not wait in memory for other facts.
            let log = match (app_id, reload_id) {
                (Some(app), Some(reload)) => self.by(self.tenant.script_log(app, reload)).await,
                _ => Ok(None),
            };
            out.not_yet |= matches!(log, Ok(None)) && reload_id.is_some() && app_id.is_some_and(is_guid);
            out.script_log = take(out, "scriptLog", log);
        }
        self.set_app(out, app_id, app.as_deref(), item.as_deref(), owner_id.zip(owner.as_deref()));
        set_reload(out, reload.as_deref());
        if let Some(cloud) = &mut out.data.cloud {
            cloud.user_name = user.as_ref().and_then(|user| user.name.clone());
            cloud.owner_picture = owner.as_ref().and_then(|owner| owner.picture.clone());
        }
        out.data.user = user_id.map(str::to_owned);
    }

    async fn reload(&self, id: Option<&str>) -> Found<Reload> {
        match id {
            Some(id) => self.by(self.tenant.reload(id)).await,
            None => Ok(None),
        }
    }

    async fn app(&self, id: Option<&str>) -> (Found<AppInfo>, Found<Item>) {
        match id {
            Some(id) => tokio::join!(self.by(self.tenant.app(id)), self.by(self.tenant.item(id))),
            None => (Ok(None), Ok(None)),
        }
    }

    async fn user(&self, id: Option<&str>) -> Found<User> {
        match id {
            Some(id) => self.by(self.tenant.user(id)).await,
            None => Ok(None),
        }
    }

    /// The outcome of a look-up, or that there was none in time.
    async fn by<T>(&self, look_up: impl Future<Output = Result<T, QlikError>>) -> Result<T, QlikError> {
        timeout_at(self.until, look_up)
            .await
            .unwrap_or_else(|_| Err(CloudError::Late { tenant: self.tenant.client.state().id }.into()))
    }

    fn set_app(
        &self,
        out: &mut Enriched,
        id: Option<&str>,
        info: Option<&AppInfo>,
        item: Option<&Item>,
        owner: Option<(&str, &User)>,
    ) {
        let Some(id) = id else { return };
        let heard = out.data.app.take().map(|app| *app).unwrap_or_default();
        let mut app = info.map_or_else(|| App { id: id.to_owned(), ..App::default() }, |info| info.app.clone());
        if app.name.is_empty() {
            app.name = heard.name;
        }
        app.owner = match owner {
            Some((id, user)) => Some(Owner {
                id: id.to_owned(),
                name: user.name.clone().unwrap_or_default(),
                user_id: id.to_owned(),
                user_directory: String::new(),
                emails: user.email.iter().cloned().collect(),
            }),
            None => heard.owner,
        };
        if let Some(item) = item {
            app.tags.clone_from(&item.tags);
            app.file_size_bytes = item.file_size_bytes;
        }
        out.data.app = Some(Box::new(app));
        let Some(cloud) = &mut out.data.cloud else { return };
        if cloud.app_url.is_none() {
            cloud.app_url = cloud_app_url(self.tenant.base.as_str(), id);
        }
        if let Some(info) = info {
            cloud.app_has_section_access = info.has_section_access;
            cloud.app_thumbnail.clone_from(&info.thumbnail);
            cloud.usage = cloud.usage.take().or_else(|| info.usage.clone());
        }
    }
}

/// What the reload service says counts more than what the event said.
fn set_reload(out: &mut Enriched, reload: Option<&Reload>) {
    let Some(reload) = reload else { return };
    let heard = out.data.execution.take().unwrap_or_default();
    out.data.execution = Some(Execution {
        status_text: reload.status.clone(),
        start_time: reload.start_time.clone().or(heard.start_time),
        stop_time: reload.stop_time.clone().or(heard.stop_time),
        duration_ms: reload.duration_ms().or(heard.duration_ms),
        ..Execution::default()
    });
    if let Some(message) = &reload.error_message {
        out.data.message = Some(message.clone());
    }
    let Some(cloud) = &mut out.data.cloud else { return };
    for (fact, found) in [
        (&mut cloud.reload_trigger, &reload.trigger),
        (&mut cloud.error_code, &reload.error_code),
        (&mut cloud.error_message, &reload.error_message),
        (&mut cloud.log, &reload.log),
    ] {
        if found.is_some() {
            fact.clone_from(found);
        }
    }
    cloud.is_partial_reload = cloud.is_partial_reload.or(reload.partial);
}

fn lack(out: &mut Enriched, facts: &[&'static str]) {
    out.missing.extend(facts);
    out.data.missing = out.missing.iter().map(|fact| (*fact).to_owned()).collect();
}

/// The fact, or a note that it is not there.
fn take<T>(out: &mut Enriched, fact: &'static str, found: Result<Option<T>, QlikError>) -> Option<T> {
    match found {
        Ok(Some(found)) => return Some(found),
        Ok(None) => {}
        Err(error) if error.is_transient() => drop(out.transient.get_or_insert(error)),
        // Told by the client, once for all.
        Err(QlikError::Cloud(error)) if error.is_refusal() => {}
        Err(error) => tracing::warn!(fact, "a fact cannot be found out: {error}"),
    }
    out.missing.push(fact);
    None
}
