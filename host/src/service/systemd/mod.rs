//! systemd: a unit that is written, and `systemctl`.
//!
//! The unit is the package's with other paths. Its account is one that systemd makes for the run (`DynamicUser=`) where Butler writes to
//! `/var/lib/NAME` and `/var/log/NAME` only, and otherwise one that there is. What that account cannot read or write is said before
//! anything is made or written.

mod account;
mod places;
mod systemctl;
mod unit;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::{Install, Manager};
use crate::daemon::Failure;
use crate::{observe, store};
use account::Person;
use places::plain;
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
    let settings = &install.setup.loaded.config;
    let own = [account::state_folder(name), account::log_folder(name)];
    let elsewhere = |file: &PathBuf| !own.iter().any(|own| file.starts_with(own));
    let store = Some(plain(&settings.store.path)?).filter(elsewhere);
    let log = settings.log.file.as_ref().map(|file| plain(&file.path)).transpose()?.filter(elsewhere);
    let writable: Vec<PathBuf> =
        store.iter().chain(&log).map(|file| file.parent().unwrap_or(file).to_owned()).collect();
    let config = plain(&install.config)?;
    let account = account::choose(install.account.as_deref(), name, &config, &writable)?;
    let unit = Unit {
        name: name.clone(),
        executable: plain(&install.executable)?,
        config,
        account,
        writable,
        readable: install.reads().iter().map(|file| plain(file)).collect::<anyhow::Result<_>>()?,
    };
    let text = unit.text()?;
    let person = Person::of(&unit.account, name)?;
    may_read(&person, &unit)?;
    // What somebody else has begun, as root has by `butler run`.
    let begun = store.iter().flat_map(|store| store::written_files(store));
    let begun = begun.chain(log.iter().map(|log| observe::todays_log_file(log))).filter(|file| file.is_file());
    may_write(&person, &unit, begun.collect())?;

    let file = Path::new(UNITS).join(systemctl::unit(name));
    let found = existing(name)?;
    let unchanged = found.as_ref().is_some_and(|found| std::fs::read_to_string(found).is_ok_and(|there| there == text));
    make_folders(&person, &unit)?;
    if !unchanged {
        write(&file, &text).with_context(|| format!("the unit {} cannot be written", file.display()))?;
    }
    call(&["daemon-reload"])?;
    call(&["enable", &systemctl::unit(name)])?;
    let known = properties(name, &["ActiveState"])?;
    let runs = known.get("ActiveState").is_some_and(|state| matches!(&**state, "active" | "activating" | "reloading"));
    let file = if unchanged { found.as_deref().unwrap_or(&file) } else { &file };
    Ok(said(install, &unit, &person, file, runs && !unchanged))
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
    let log = format!("`journalctl -u {name} -n 30`");
    match (active, of("SubState")) {
        // It waits to be started again.
        (_, "auto-restart") => {}
        ("activating", _) => bail!("the service {name} is starting, and does not work yet; {log} says how far it is"),
        ("deactivating", _) => bail!("the service {name} is stopping; {log} says why"),
        _ => {}
    }
    if !matches!(active, "active" | "reloading") {
        let result = match of("Result") {
            "" | "success" => String::new(),
            result => format!(", after `{result}`"),
        };
        bail!(
            "the service {name} does not run: {active} ({}){result}; `butler service start --name {name}` starts it, {log} says \
             how it ended",
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
    if std::fs::canonicalize(&file).is_ok_and(|file| file == Path::new("/dev/null")) {
        bail!("the service {name} is masked, which keeps it from being started: `systemctl unmask {name}`");
    }
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

/// Refuses an account that cannot write the folders that Butler writes to, or the files there that it goes on with. Folders that are
/// missing will be made.
fn may_write(person: &Person, unit: &Unit, begun: Vec<PathBuf>) -> anyhow::Result<()> {
    let listed = |files: &[PathBuf]| files.iter().map(|file| quoted(file)).collect::<Vec<_>>().join(" ");
    let name = &person.name;
    let (there, missing): (Vec<&PathBuf>, Vec<&PathBuf>) = unit.writable.iter().partition(|folder| folder.exists());
    let above: Vec<PathBuf> = missing.into_iter().map(|folder| places::nearest(folder).to_owned()).collect();
    let barred = person.cannot_enter(&above)?;
    if !barred.is_empty() {
        bail!(
            "the account of the service, {name}, does not get to where it must write. Let it through there and \
             through the folders above, and install again:\n    chmod o+x {}",
            listed(&barred)
        );
    }
    let mut files: Vec<PathBuf> = there.into_iter().cloned().chain(begun).collect();
    files.sort();
    files.dedup();
    let closed = person.cannot_write(&files)?;
    if closed.is_empty() {
        return Ok(());
    }
    let mut text = format!("the account of the service, {name}, cannot write where it must. ");
    if [&unit.executable, &unit.config]
        .iter()
        .any(|file| closed.iter().any(|closed| file.parent() == Some(closed.as_path())))
    {
        text += "Who may write the folder of executable or config may replace them: better give store and log one of their own \
                 (`store: { path: data/butler.db }`). ";
    }
    let _ = write!(text, "Let it, and install again:\n    chown {name} {}", listed(&closed));
    bail!(text)
}

/// Makes the folders that Butler writes to, where they are missing, for its account alone; those above them remain root's.
fn make_folders(person: &Person, unit: &Unit) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    for folder in unit.writable.iter().flat_map(|folder| places::missing(folder)) {
        let written = unit.writable.iter().any(|one| one == folder);
        let mode = std::fs::Permissions::from_mode(if written { 0o700 } else { 0o755 });
        std::fs::create_dir(folder)
            .and_then(|()| std::fs::set_permissions(folder, mode))
            .with_context(|| format!("{} cannot be made", folder.display()))?;
        if written {
            person.own(folder)?;
        }
    }
    Ok(())
}

/// A path for a shell.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@".contains(c);
    if text.chars().all(plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// What has been done and what comes next; `runs`: as it was before.
fn said(install: &Install, unit: &Unit, person: &Person, file: &Path, runs: bool) -> String {
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
    let stop = if runs {
        text += "\nIt runs as it was before, until it is stopped and started again.\n";
        format!("    butler service stop{option}\n")
    } else {
        String::new()
    };
    let _ = write!(
        text,
        "\nNext:\n{stop}    butler service start{option}\n    butler service status{option}\n    journalctl -u {name} -f        the log\n\
         A plugin that writes files needs their folder in the unit: `systemctl edit {name}`, with\n    [Service]\n    \
         ReadWritePaths=/the/folder\n"
    );
    text
}
