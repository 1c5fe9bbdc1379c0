//! Services of Windows hosts, asked from Linux: by `net rpc service status` of Samba, one call for each service.
//!
//! `net rpc service list` would be one call for all, but tells names without states. A call takes about 50 ms, most of it waiting
//! for the host. The first service of a host is asked for alone, and the others all at once when the host has answered: a host
//! that is dead takes one process and one time-out, and a wrong password is tried once.

mod answer;
mod credentials;
mod refusals;
mod trouble;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use futures_util::future::join_all;

use self::refusals::Refusals;
use self::trouble::{Asked, Trouble};
use crate::backend::{Backend, Failure, Found, Limits};
use crate::program::{self, ProgramError};
use crate::settings::RpcSettings;

/// The back end.
pub(crate) struct Rpc {
    credentials: PathBuf,
    port: u16,
    program: String,
    limits: Limits,
    refusals: Refusals,
}

impl Rpc {
    /// Checks the settings, and the credentials file.
    pub(crate) fn new(settings: &RpcSettings, config_dir: &str, limits: Limits) -> Result<Self, String> {
        if cfg!(windows) {
            return Err(
                "the back end `rpc` needs Samba, which Windows does not have: take the back end `sc`".to_owned()
            );
        }
        let credentials = Path::new(config_dir).join(&settings.credentials);
        credentials::check(&credentials)?;
        Ok(Self {
            credentials,
            port: settings.port.get(),
            program: program::named(config_dir, settings.program.as_deref().unwrap_or("net")),
            limits,
            refusals: Refusals::default(),
        })
    }

    async fn ask(&self, host: &str, service: &str) -> Result<Found, Trouble> {
        let port = self.port.to_string();
        let arguments: [&OsStr; 13] = [
            // Whatever this machine's own Samba is set up for.
            "--configfile=/dev/null".as_ref(),
            // Nobody in the network is asked for names, and so nobody can pretend to be a host and be sent a logon.
            "--option=name resolve order=host".as_ref(),
            "-S".as_ref(),
            host.as_ref(),
            "-p".as_ref(),
            port.as_ref(),
            "-A".as_ref(),
            self.credentials.as_ref(),
            "rpc".as_ref(),
            "service".as_ref(),
            "status".as_ref(),
            // What follows is no option, whatever it begins with.
            "--".as_ref(),
            service.as_ref(),
        ];
        let asked = Asked { host, port: self.port, credentials: &self.credentials };
        let said = self.limits.run(&self.program, &arguments).await.map_err(|error| match error {
            ProgramError::Start { .. } => Trouble::Host(format!(
                "{error}: install Samba's client programs (Debian: `samba-common-bin`), or set `program` to the path of `net`"
            )),
            ProgramError::Timeout { limit, .. } => asked.silent(limit),
        })?;
        answer::read(&said).map_err(|fault| asked.explain(&fault))
    }
}

impl Backend for Rpc {
    async fn look(&self, host: &str, services: &[String]) -> Result<Vec<Result<Found, Failure>>, Failure> {
        let Some((first, others)) = services.split_first() else { return Ok(Vec::new()) };
        // It may have been changed since the start. A file that `net` cannot use would cost a refused logon.
        let version = credentials::check(&self.credentials).map_err(Failure::Host)?;
        self.refusals.check(host, version, Instant::now())?;
        let first = match self.ask(host, first).await {
            Ok(found) => Ok(found),
            Err(Trouble::Service(failure)) => Err(failure),
            Err(Trouble::Host(text)) => return Err(Failure::Host(text)),
            Err(Trouble::Logon(text)) => return Err(self.refusals.note(host, version, &text, Instant::now())),
        };
        let others = others.iter().map(async |service| {
            self.ask(host, service).await.map_err(|trouble| match trouble {
                Trouble::Service(failure) => failure,
                // The first one was told.
                Trouble::Host(text) | Trouble::Logon(text) => Failure::Service(text),
            })
        });
        let others = join_all(others).await;
        Ok(std::iter::once(first).chain(others).collect())
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
