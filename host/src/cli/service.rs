//! `butler service`: Butler as a service of the system.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};

#[cfg(windows)]
use super::init::terminal::{Question, Terminal};
use super::{ConfigFile, run_daemon};
use crate::config::Level;
#[cfg(windows)]
use crate::config::text_of_secret_file;
use crate::daemon::{self, Failure};
use crate::service;

#[derive(Debug, Subcommand)]
pub(super) enum Service {
    /// Make a service that runs this executable with a config, at every start of the machine. Run it as root, on Windows as an
    /// administrator. Starts nothing yet, but on macOS, where launchd starts it at once.
    Install(Install),
    /// Stop the service and remove it. Config, store and log stay.
    Uninstall(Name),
    /// Start the service.
    Start(Name),
    /// Stop the service.
    Stop(Name),
    /// Say whether the service runs, and how it is; exit code 1 when it does not run.
    Status(Name),
    /// What the service manager starts: `butler run`, but under its control.
    Run(Run),
}

/// Which service.
#[derive(Debug, Args)]
pub(super) struct Name {
    /// Name of the service; a second one on the same machine needs another.
    #[arg(long, default_value = service::NAME, value_parser = name)]
    name: String,
}

#[derive(Debug, Args)]
pub(super) struct Install {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    name: Name,
    /// Account that the service runs as, instead of the usual one.
    #[arg(long, value_name = "ACCOUNT")]
    user: Option<String>,
    /// File with the password of that account, which is asked for otherwise.
    #[cfg(windows)]
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    name: Name,
}

impl Service {
    pub(super) fn run(self, log_level: Option<Level>) -> Result<(), Failure> {
        let answer = match self {
            Self::Install(install) => install.run()?,
            Self::Uninstall(Name { name }) => service::uninstall(&name)?,
            Self::Start(Name { name }) => service::start(&name)?,
            Self::Stop(Name { name }) => service::stop(&name)?,
            Self::Status(Name { name }) => service::status(&name)?,
            Self::Run(Run { file, name }) => {
                let config = absolute(&file.config)?;
                let daemon = {
                    let config = config.clone();
                    move |manager: &dyn service::Manager| run_daemon(&config, log_level, manager)
                };
                return service::run(&name.name, &config, daemon);
            }
        };
        println!("{}", answer.trim_end());
        Ok(())
    }
}

impl Install {
    fn run(self) -> Result<String, Failure> {
        let config = absolute(&self.file.config)?;
        // A service that cannot start helps nobody.
        let setup = daemon::load(&config, None)?;
        let executable = std::env::current_exe().context("the system does not say where this executable is")?;
        #[cfg(windows)]
        let (password, private) = (self.password()?, super::doctor::files::with_secrets(&setup));
        let (Name { name }, account) = (self.name, self.user);
        Ok(service::install(&service::Install {
            name,
            executable,
            config,
            account,
            setup,
            #[cfg(windows)]
            password,
            #[cfg(windows)]
            private,
        })?)
    }

    /// The password of the account, if it has one.
    #[cfg(windows)]
    fn password(&self) -> anyhow::Result<Option<String>> {
        let Some(account) = self.user.as_deref().filter(|account| service::needs_password(account)) else {
            return Ok(None);
        };
        if let Some(file) = &self.password_file {
            let password = text_of_secret_file(file).map_err(|what| anyhow::anyhow!("{} {what}", file.display()))?;
            if password.is_empty() {
                anyhow::bail!("{} is empty: put the password of {account} into it", file.display());
            }
            return Ok(Some(password));
        }
        let Some(terminal) = Terminal::of_process() else {
            anyhow::bail!("the account {account} has a password: put it into a file, and name it by `--password-file`");
        };
        let about = &format!("Windows logs the service on by the password of {account}.");
        let question = Question { about, name: "password", default: None, hidden: true };
        terminal.ask(question, |password| Ok(password.to_owned())).map(Some)
    }
}

/// A service manager starts Butler in another folder than the one that a command is given in.
fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} is no path of a config", path.display()))
}

/// Names that both systemd and Windows take, that need no quotes anywhere, and that are names of accounts too.
fn name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.len() > 31 || !text.starts_with(|c: char| c.is_ascii_alphabetic()) || !text.chars().all(plain) {
        return Err(
            "a name of a service is a letter and then letters, digits, `-` and `_`, at most 31 in all".to_owned()
        );
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn names_of_services_are_plain() {
        for good in ["butler", "Butler_2", "butler-test"] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        for bad in ["", "-butler", "but ler", "butler@x", "../butler", "büttler", "2butler", &"x".repeat(32)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
