//! Watches the licences of Qlik Sense: until when that of the server is valid, and how many access licences are left. Takes
//! back those that nobody uses.
//!
//! Each of these is a [`part`], with a schedule and troubles of its own: [`server`], [`access`], [`release`]. What was alerted about is
//! in the instance's storage, so that a restart repeats nothing and forgets nothing.

mod access;
mod import;
mod part;
mod qrs;
mod release;
mod server;
mod settings;
#[cfg(test)]
mod tests;

use std::time::Duration;

use butler_plugin_api::{Health, Host, Manifest, OperationError, Plugin, ServiceError, StartError, kind};
use futures_util::join;
use jiff::Timestamp;
use serde_json::{Value, json};

use part::{Part, Trouble};
use settings::Settings;

/// After a look that failed, until the next.
const LOOK_AGAIN: Duration = Duration::from_mins(5);

struct Licenses {
    settings: Settings,
    host: Host,
    server: Part,
    access: Part,
    release: Part,
}

impl Plugin for Licenses {
    type Settings = Settings;

    fn manifest() -> Manifest {
        Manifest::new("licenses", "Watches the licences of Qlik Sense and releases unused ones")
            .operation("check")
            .operation("import")
            .qlik_writes(&release::WRITES)
            .emits(&[
                kind::SERVER_LICENSE_STATUS,
                kind::SERVER_LICENSE_EXPIRING,
                kind::SERVER_LICENSE_EXPIRED,
                kind::ACCESS_LICENSE_USAGE,
                kind::ACCESS_LICENSE_LOW,
                kind::ACCESS_LICENSE_RELEASED,
            ])
    }

    async fn start(settings: Settings, host: Host) -> Result<Self, StartError> {
        settings.check().map_err(StartError::Config)?;
        for (name, when) in settings.whens() {
            host.schedule().check(when).await.map_err(|error| match error {
                ServiceError::Invalid(text) => StartError::Config(format!("`{name}`: {text}")),
                other => StartError::Unavailable(format!("`{name}` cannot be read: {other}")),
            })?;
        }
        if let Some(unused) = &settings.unused_licenses {
            release::allowed(&host, unused).await.map_err(StartError::Config)?;
        }
        let server = Part::new("server-license", "server licence", LOOK_AGAIN);
        let access = Part::new("access-license", "access licences", LOOK_AGAIN);
        let release = Part::new("unused-licenses", "release of unused licences", LOOK_AGAIN);
        Ok(Self { settings, host, server, access, release })
    }

    async fn run(&self) {
        let host = &self.host;
        let server = async {
            if let Some(settings) = &self.settings.server_license {
                let look =
                    |planned: String| async move { server::look(host, settings, &planned, Timestamp::now()).await };
                self.server.keep(host, &settings.when, look).await;
            }
        };
        let access = async {
            if let Some(settings) = &self.settings.access_licenses {
                let look = |planned: String| async move { access::look(host, settings.low, &planned).await };
                self.access.keep(host, &settings.when, look).await;
            }
        };
        let release = async {
            if let Some(settings) = &self.settings.unused_licenses {
                let run =
                    |planned: String| async move { release::run(host, settings, Timestamp::now(), &planned).await };
                self.release.keep(host, &settings.when, run).await;
            } else {
                self.release.finish(host, || async { release::end(host, Timestamp::now()).await }).await;
            }
        };
        join!(server, access, release);
    }

    async fn invoke(&self, operation: &str, _input: Value) -> Result<Value, OperationError> {
        match operation {
            "check" => self.check().await,
            other => Err(OperationError::Unsupported(other.to_owned())),
        }
    }

    fn import(old: Value) -> Result<Value, OperationError> {
        import::import(old)
    }

    async fn health(&self) -> Health {
        let troubles: Vec<String> =
            [&self.server, &self.access, &self.release].into_iter().filter_map(Part::trouble).collect();
        if troubles.is_empty() { Health::Good } else { Health::Degraded(troubles.join("; ")) }
    }
}

butler_plugin_api::export!(Licenses);

impl Licenses {
    /// Looks once at what there are settings for, and tells nobody but the caller.
    async fn check(&self) -> Result<Value, OperationError> {
        let mut said: Vec<Result<String, Trouble>> = Vec::new();
        if self.settings.server_license.is_some() {
            said.push(server::describe(&self.host, Timestamp::now()).await);
        }
        if self.settings.access_licenses.is_some() {
            said.push(access::describe(&self.host).await);
        }
        if let Some(settings) = &self.settings.unused_licenses {
            said.push(release::describe(&self.host, settings, Timestamp::now()).await);
        }
        let has_failed = said.iter().any(Result::is_err);
        let mut texts: Vec<String> =
            said.into_iter().map(|said| said.unwrap_or_else(|trouble| trouble.to_string())).collect();
        // What hinders all of them is said once.
        texts.dedup();
        let line = texts.join("; ");
        if has_failed { Err(OperationError::Failed(line)) } else { Ok(json!(line)) }
    }
}
