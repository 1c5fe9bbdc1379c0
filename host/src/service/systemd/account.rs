//! The account of a service: which one it is to be, and whether it can read and write what Butler reads and writes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use super::unit::Account;

/// Who a dynamic account is, as far as rights go: nobody in particular.
const NOBODY: &str = "65534";
/// The ids of accounts that systemd makes.
const FLEETING: std::ops::RangeInclusive<u32> = 61184..=65519;

/// The account for a service: the one that is asked for; one that systemd makes, where it has to write nowhere else (`elsewhere`); or
/// the owner of the config's folder.
pub(super) fn choose(asked: Option<&str>, name: &str, config: &Path, elsewhere: &[PathBuf]) -> anyhow::Result<Account> {
    if let Some(account) = asked {
        exists(account).with_context(|| {
            format!(
                "there is no account {account}; make it with `useradd --system --shell /usr/sbin/nologin {account}`"
            )
        })?;
        return Ok(Account::Named(account.to_owned()));
    }
    let Some(place) = elsewhere.first() else { return Ok(Account::Dynamic) };
    let folder = config.parent().unwrap_or(config);
    let owner = std::fs::metadata(folder).with_context(|| format!("{} cannot be looked at", folder.display()))?.uid();
    if owner == 0 {
        bail!(
            "Butler writes to {place}, and systemd makes accounts for {state} and {log} alone. Choose `store.path: \
             {state}/butler.db` (and `log.file.path: {log}/butler.log`) in the config, or name the account that the service is to run as: \
             `--user ACCOUNT`",
            place = place.display(),
            state = state_folder(name).display(),
            log = log_folder(name).display(),
        );
    }
    let name = look_up("passwd", &owner.to_string(), 0)
        .with_context(|| format!("the owner of {} has no name; name an account: `--user ACCOUNT`", folder.display()))?;
    Ok(Account::Named(name))
}

/// The folder that systemd makes for a service's state.
pub(super) fn state_folder(name: &str) -> PathBuf {
    Path::new("/var/lib").join(name)
}

/// The one for its logs.
pub(super) fn log_folder(name: &str) -> PathBuf {
    Path::new("/var/log").join(name)
}

/// An account, as the system knows it.
pub(super) struct Person {
    /// Its name, or what stands for one.
    pub(super) name: String,
    /// It is there for as long as the service runs only.
    pub(super) fleeting: bool,
    switch: Vec<String>,
    ids: Option<(u32, u32)>,
}

impl Person {
    /// Who a service of this name is. A dynamic account is one that there is already, if it has the service's name.
    pub(super) fn of(account: &Account, service: &str) -> anyhow::Result<Self> {
        let name = match account {
            Account::Named(name) => name,
            Account::Dynamic if exists(service).is_none() => {
                let switch = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned()];
                return Ok(Self { name: service.to_owned(), fleeting: true, switch: switch.into(), ids: None });
            }
            Account::Dynamic => service,
        };
        let (uid, gid) = exists(name).with_context(|| format!("there is no account {name}"))?;
        let switch = [format!("--reuid={uid}"), format!("--regid={gid}"), "--init-groups".to_owned()];
        Ok(Self { name: name.to_owned(), fleeting: false, switch: switch.into(), ids: Some((uid, gid)) })
    }

    /// Those of the files that it cannot read.
    pub(super) fn cannot_read(&self, files: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
        self.fails("-r", files)
    }

    /// Those of the files and folders that it cannot write.
    pub(super) fn cannot_write(&self, files: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
        self.fails("-w", files)
    }

    /// Those of the folders that it cannot go through.
    pub(super) fn cannot_enter(&self, folders: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
        self.fails("-x", folders)
    }

    /// Makes it the owner of a folder.
    pub(super) fn own(&self, folder: &Path) -> anyhow::Result<()> {
        let Some((uid, gid)) = self.ids else { return Ok(()) };
        std::os::unix::fs::chown(folder, Some(uid), Some(gid))
            .with_context(|| format!("{} cannot be given to {}", folder.display(), self.name))
    }

    /// Asked of the system as that account: modes, access lists, and the folders on the way.
    fn fails(&self, test: &str, files: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
        let script = format!(r#"for file do test {test} "$file" || printf '%s\0' "$file"; done"#);
        let output = Command::new("setpriv")
            .args(&self.switch)
            .args(["--", "/bin/sh", "-c", &script, "sh"])
            .args(files)
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .context("`setpriv` cannot be run, which tells what an account may read; install util-linux")?;
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr);
            bail!("what {} may read cannot be told: {}", self.name, told.trim());
        }
        let names = output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(|name| PathBuf::from(OsStr::from_bytes(name))).collect())
    }
}

/// User and group id of an account, if it exists. One that systemd has made for a run does not count.
fn exists(account: &str) -> Option<(u32, u32)> {
    let id = |field| look_up("passwd", account, field)?.parse::<u32>().ok();
    Some((id(2).filter(|uid| !FLEETING.contains(uid))?, id(3)?))
}

/// A field of an entry of a database of the system.
fn look_up(database: &str, key: &str, field: usize) -> Option<String> {
    let output = Command::new("getent").args([database, key]).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next()?.split(':').nth(field).map(str::to_owned)
}
