//! The way to ask that the settings choose.

use crate::backend::{Asked, Backend, Failure, Found, Limits};
use crate::program;
use crate::rpc::Rpc;
use crate::sc::Sc;
use crate::settings::{BackendSettings, WatchedHost};
use crate::systemd::{self, Systemd};

/// One of the ways.
pub(crate) enum Asks {
    Sc(Sc),
    Rpc(Rpc),
    Systemd(Systemd),
}

impl Asks {
    /// `config_dir`: where relative paths start. The error says what is wrong with the settings.
    pub(crate) fn new(
        settings: &BackendSettings,
        hosts: &[WatchedHost],
        limits: Limits,
        config_dir: &str,
    ) -> Result<Self, String> {
        Ok(match settings {
            BackendSettings::Sc(sc) => {
                let own = sc.program.as_deref().map(|program| program::named(config_dir, program));
                Self::Sc(Sc::new(own.unwrap_or_else(Sc::usual_program), limits))
            }
            BackendSettings::Rpc(rpc) => {
                if let Some(here) = hosts.iter().find(|host| host.address.is_empty()) {
                    let fault =
                        format!("`rpc` asks Windows hosts, but `{}` is this machine: name another host", here.name);
                    return Err(fault);
                }
                Self::Rpc(Rpc::new(rpc, config_dir, limits)?)
            }
            BackendSettings::Systemd(settings) => {
                let mut names = hosts.iter().flat_map(|host| &host.services);
                names.try_for_each(|service| systemd::unit(&service.name).map(drop))?;
                let program = program::named(config_dir, settings.program.as_deref().unwrap_or("systemctl"));
                Self::Systemd(Systemd::new(program, limits))
            }
        })
    }
}

impl Backend for Asks {
    async fn look(
        &self,
        host: &str,
        services: &[String],
        asked: &Asked,
    ) -> Result<Vec<Result<Found, Failure>>, Failure> {
        match self {
            Self::Sc(sc) => sc.look(host, services, asked).await,
            Self::Rpc(rpc) => rpc.look(host, services, asked).await,
            Self::Systemd(systemd) => systemd.look(host, services, asked).await,
        }
    }
}
