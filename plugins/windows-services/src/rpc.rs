//! Services of Windows hosts, asked from Linux: by `net rpc service status` of Samba, one call for each service.
//!
//! `net rpc service list` would be one call for all, but tells names without states. A call takes about 50 ms, most of it waiting
//! for the host. The first service of a host is asked for alone, and the others, some at once, when the host has answered: a host
//! that is dead takes one process and one time-out, and a wrong password is tried once.

mod answer;
mod credentials;
mod refusals;
mod trouble;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};

use self::credentials::Account;
use self::refusals::Refusals;
use self::trouble::{Call, Trouble};
use crate::backend::{Asked, Backend, Failure, Found, Limits, Place};
use crate::program::{self, ProgramError};
use crate::settings::RpcSettings;

/// Services of one host that are asked for at once, so that no host takes all programs for itself.
const AT_ONCE: usize = 4;
/// How long one logon holds up the others that wait for what comes of it: hosts that hang must not keep the rest from theirs.
const HOLD: Duration = Duration::from_secs(2);

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

    /// Asks when it may, and notes what the answer says of the account.
    async fn ask(&self, host: &str, service: &str, account: Account, asked: &Asked) -> Result<Found, Trouble> {
        // Before the turn, which must not be over before the logon begins.
        let place = self.limits.place().await;
        let turn = self.refusals.turn(host, account).await.map_err(Trouble::Host)?;
        asked.begins();
        let mut call = pin!(self.call(host, service, place));
        let answer = if let Ok(answer) = tokio::time::timeout(HOLD, &mut call).await {
            answer
        } else {
            drop(turn);
            call.await
        };
        match &answer {
            Ok(_) | Err(Trouble::Service(_)) => self.refusals.accept(host, account, Instant::now()),
            Err(Trouble::Logon(text)) => {
                return Err(Trouble::Logon(self.refusals.refuse(host, account, text, Instant::now())));
            }
            Err(Trouble::Host(_)) => {}
        }
        answer
    }

    async fn call(&self, host: &str, service: &str, place: Place<'_>) -> Result<Found, Trouble> {
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
        let call = Call { host, port: self.port, credentials: &self.credentials };
        let said = place.run(&self.program, &arguments).await.map_err(|error| match error {
            ProgramError::Start { .. } => Trouble::Host(format!(
                "{error}: install Samba's client programs (Debian: `samba-common-bin`), or set `program` to the path of `net`"
            )),
            ProgramError::Timeout { limit, .. } => call.silent(limit),
        })?;
        answer::read(&said).map_err(|fault| call.explain(&fault))
    }
}

impl Backend for Rpc {
    async fn look(
        &self,
        host: &str,
        services: &[String],
        asked: &Asked,
    ) -> Result<Vec<Result<Found, Failure>>, Failure> {
        let Some((first, others)) = services.split_first() else { return Ok(Vec::new()) };
        // It may have been changed since the start. A file that `net` cannot use would cost a refused logon.
        let account = credentials::check(&self.credentials).map_err(Failure::Host)?;
        asked.waits();
        let first = match self.ask(host, first, account, asked).await {
            Ok(found) => Ok(found),
            Err(Trouble::Service(failure)) => Err(failure),
            Err(Trouble::Host(text) | Trouble::Logon(text)) => return Err(Failure::Host(text)),
        };
        let stopped = OnceLock::new();
        let others = others.iter().map(async |service| {
            if let Some(text) = stopped.get() {
                return Err(Failure::Service(String::clone(text)));
            }
            self.ask(host, service, account, asked).await.map_err(|trouble| match trouble {
                Trouble::Service(failure) => failure,
                // The first one was told.
                Trouble::Host(text) | Trouble::Logon(text) => Failure::Service(stopped.get_or_init(|| text).clone()),
            })
        });
        // Futures in a list: one that makes them while it is polled may not go to another thread, says the compiler.
        let others: Vec<_> = others.collect();
        let others: Vec<_> = stream::iter(others).buffered(AT_ONCE).collect().await;
        Ok(std::iter::once(first).chain(others).collect())
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
