//! systemd: a unit that is written, and `systemctl`.
//!
//! The unit is the package's with other paths. Its account is one that systemd makes for the run (`DynamicUser=`) where Butler writes to
//! `/var/lib/NAME` and `/var/log/NAME` only, and otherwise one that there is. What that account cannot read or write is said before
//! anything is written.

mod account;
mod systemctl;
mod unit;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::{Install, Manager};
use crate::daemon::Failure;
use account::Person;
use systemctl::{call, properties};
use unit::{Account, Unit};

/// Units of the administrator; those of packages lie elsewhere, and these go before them.
const UNITS: &str = "/etc/systemd/system";

/// Writes a unit and has it started with the machine; answers with what comes next.
pub fn install(install: &Install) -> anyhow::Result<String> {
    only_root("install")?;
    // Fails where systemd does not run.
    call(&["show", "--property=Version"])?;
    let name = &install.name;
    let config = &install.setup.loaded.config;
    let own = [account::state_folder(name), account::log_folder(name)];
    let log = config.log.file.as_ref().map(|file| &file.path);
    let written: Vec<&PathBuf> = std::iter::once(&config.store.path)
        .chain(log)
        .filter(|file| !own.iter().any(|own| file.starts_with(own)))
        .collect();
    let writable: Vec<PathBuf> = written.iter().map(|file| file.parent().unwrap_or(file).to_owned()).collect();
    let account = account::choose(install.account.as_deref(), name, &install.config, &writable)?;
    let unit = Unit {
        name: name.clone(),
        executable: install.executable.clone(),
        config: install.config.clone(),
        account,
        writable,
        readable: install.reads(),
    };
    let text = unit.text()?;
    let person = Person::of(&unit.account, name)?;
    may_read(&person, &unit)?;
    may_write(&person, &unit, &written)?;

    let file = Path::new(UNITS).join(systemctl::unit(name));
    let found = existing(name)?;
    let unchanged = found.as_ref().is_some_and(|found| std::fs::read_to_string(found).is_ok_and(|there| there == text));
    if !unchanged {
        write(&file, &text).with_context(|| format!("the unit {} cannot be written", file.display()))?;
    }
    call(&["daemon-reload"])?;
    call(&["enable", &systemctl::unit(name)])?;
    Ok(said(install, &unit, &person, if unchanged { found.as_deref().unwrap_or(&file) } else { &file }))
}

/// Stops the service and removes its unit; that of a package stays.
pub fn uninstall(name: &str) -> anyhow::Result<String> {
    only_root("uninstall")?;
    let Some(file) = existing(name)? else { bail!("there is no service {name}; `--name` says which one is meant") };
    call(&["disable", "--now", &systemctl::unit(name)])?;
    if !file.starts_with(UNITS) {
        return Ok(format!(
            "The service {name} is stopped, and not started with the machine any more. Its unit {} belongs to a package: remove that \
             to be rid of it.",
            file.display()
        ));
    }
    std::fs::remove_file(&file).with_context(|| format!("the unit {} cannot be removed", file.display()))?;
    call(&["daemon-reload"])?;
    // Fails when there was no failure.
    let _ = call(&["reset-failed", &systemctl::unit(name)]);
    Ok(format!("The service {name} is stopped and removed. Config, store and log are where they were."))
}

/// Starts the service, and waits until it is ready.
pub fn start(name: &str) -> anyhow::Result<String> {
    installed(name)?;
    call(&["start", &systemctl::unit(name)])
        .with_context(|| format!("the service {name} does not start; `journalctl -u {name} -n 30` says why"))?;
    status(name)
}

/// Stops the service, and waits until it has ended.
pub fn stop(name: &str) -> anyhow::Result<String> {
    installed(name)?;
    call(&["stop", &systemctl::unit(name)])?;
    Ok(format!("The service {name} is stopped."))
}

/// How the service is; an error when it does not run.
pub fn status(name: &str) -> anyhow::Result<String> {
    installed(name)?;
    let known = properties(
        name,
        &[
            "ActiveState",
            "SubState",
            "Result",
            "StatusText",
            "MainPID",
            "ActiveEnterTimestamp",
            "UnitFileState",
            "NRestarts",
        ],
    )?;
    let of = |name: &str| known.get(name).map_or("", String::as_str);
    let (active, boot) = (of("ActiveState"), of("UnitFileState"));
    if !matches!(active, "active" | "reloading") {
        let result = match of("Result") {
            "" | "success" => String::new(),
            result => format!(", after `{result}`"),
        };
        bail!(
            "the service {name} does not run: {active} ({}){result}; `butler service start --name {name}` starts it, `journalctl -u \
             {name} -n 30` says how it ended",
            of("SubState")
        );
    }
    let mut text =
        format!("The service {name} runs since {} as process {}.\n", of("ActiveEnterTimestamp"), of("MainPID"));
    if active == "reloading" {
        text += "It reads its config anew.\n";
    }
    if !of("StatusText").is_empty() {
        let _ = writeln!(text, "{}.", of("StatusText"));
    }
    if !matches!(of("NRestarts"), "" | "0") {
        let _ = writeln!(text, "It was started again {} times: `journalctl -u {name}` says why.", of("NRestarts"));
    }
    if boot != "enabled" {
        let _ = writeln!(text, "It is not started with the machine ({boot}): `systemctl enable {name}`.");
    }
    Ok(text)
}

/// Runs the daemon as the service of this name. `daemon` loads the config and works until it is asked to stop.
pub fn run(
    _name: &str,
    _config: &Path,
    daemon: impl FnOnce(&dyn Manager) -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    daemon(&*super::manager())
}

fn only_root(command: &str) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("only root makes and removes services: `sudo butler service {command} …`");
    }
    Ok(())
}

/// The file of the service's unit, if there is one; a unit of somebody else is refused.
fn existing(name: &str) -> anyhow::Result<Option<PathBuf>> {
    // One that systemd does not know yet counts as well.
    let own = Path::new(UNITS).join(systemctl::unit(name));
    let known = properties(name, &["FragmentPath"])?.remove("FragmentPath").filter(|path| !path.is_empty());
    let file = if own.symlink_metadata().is_ok() { own } else { known.map(PathBuf::from).unwrap_or(own) };
    match std::fs::read_to_string(&file) {
        Ok(text) if unit::is_ours(&text) => Ok(Some(file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        _ => bail!(
            "{} is a unit of somebody else, and stays as it is: choose another name by `--name`, or remove it first",
            file.display()
        ),
    }
}

fn installed(name: &str) -> anyhow::Result<()> {
    if existing(name)?.is_none() {
        bail!("there is no service {name}; `butler service install` makes one, `--name` says which one is meant");
    }
    Ok(())
}

/// Whole or not at all.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    let mut new = tempfile::NamedTempFile::new_in(UNITS)?;
    new.write_all(text.as_bytes())?;
    new.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    new.as_file().sync_all()?;
    new.persist(file)?;
    Ok(())
}

/// Refuses an account that cannot read what Butler reads.
fn may_read(person: &Person, unit: &Unit) -> anyhow::Result<()> {
    let files: Vec<PathBuf> = [&unit.executable, &unit.config].into_iter().chain(&unit.readable).cloned().collect();
    let closed = person.cannot_read(&files)?;
    if closed.is_empty() {
        return Ok(());
    }
    let name = &person.name;
    let mut text = format!("the account of the service, {name}, cannot read what it needs. Let it:\n");
    if person.fleeting {
        let _ = writeln!(text, "    useradd --system --no-create-home --shell /usr/sbin/nologin {name}");
    }
    for file in &closed {
        let file = quoted(file);
        let _ = writeln!(text, "    chgrp {name} {file} && chmod g+r {file}");
    }
    text += "The folders above must let it through (`chmod g+x` or `o+x`). ";
    if unit.executable.starts_with("/root") || closed.contains(&unit.executable) {
        text += "The executable and its plugins are better off in a folder such as /opt/butler. ";
    }
    text += "Then install again";
    bail!(text)
}

/// Makes the folders that Butler writes to, where they are missing, and refuses those that its account cannot write.
fn may_write(person: &Person, unit: &Unit, written: &[&PathBuf]) -> anyhow::Result<()> {
    for folder in &unit.writable {
        if !folder.exists() {
            std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
            person.own(folder)?;
        }
    }
    // And what somebody else has begun, as root has by `butler run`: the store and what lies beside it under its name, the log.
    let mut files = unit.writable.clone();
    for (file, folder) in written.iter().zip(&unit.writable) {
        let stem = file.file_stem().unwrap_or_default().as_encoded_bytes();
        let entries = std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
        let begun = entries.flatten().filter(|entry| entry.file_name().as_encoded_bytes().starts_with(stem));
        files
            .extend(begun.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())).map(|entry| entry.path()));
    }
    let closed = person.cannot_write(&files)?;
    if closed.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = closed.iter().map(|file| quoted(file)).collect();
    bail!(
        "the account of the service, {name}, cannot write where it must. Let it, and install again:\n    chown -R {name} {list}",
        name = person.name,
        list = list.join(" ")
    )
}

/// A path for a shell.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@".contains(c);
    if text.chars().all(plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// What has been done and what comes next.
fn said(install: &Install, unit: &Unit, person: &Person, file: &Path) -> String {
    let name = &unit.name;
    let option = if name == super::NAME { String::new() } else { format!(" --name {name}") };
    let account = match &unit.account {
        Account::Dynamic if person.fleeting => "an account that systemd makes for the run".to_owned(),
        _ => format!("the account {}", person.name),
    };
    let mut text = format!("The service {name} is installed as {}, and runs as {account}.\n", file.display());
    let taken: Vec<String> = install.environment().into_iter().collect();
    if !taken.is_empty() {
        let _ = writeln!(
            text,
            "\nThe config takes {} from the environment, and a service has not that of your shell: write lines NAME=VALUE into {} (chmod \
             600).",
            taken.join(", "),
            unit.environment_file().display()
        );
    }
    let _ = write!(
        text,
        "\nNext:\n    butler service start{option}\n    butler service status{option}\n    journalctl -u {name} -f        the log\n\
         A plugin that writes files needs their folder in the unit: `systemctl edit {name}`, with\n    [Service]\n    \
         ReadWritePaths=/the/folder\n"
    );
    text
}
