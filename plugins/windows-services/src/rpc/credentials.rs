//! The file with the account, in the form that Samba's `-A` reads (man net): `username = …`, `password = …`, `domain = …`. Blanks
//! before a value do not count, those after it do. Samba passes over lines that it does not know; here they are faults, since
//! a slip of the pen would be a refused logon.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// Longest file that is read: something else was meant by a longer one.
const LONGEST: u64 = 64 << 10;

/// What is known of an account without its secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    /// The file's time of change.
    pub(crate) version: SystemTime,
    /// It is one of a domain, the same for all hosts, and no account that each host has by itself.
    pub(crate) of_domain: bool,
}

/// Checks the file; or says what is wrong, and what to do, without anything that stands in the file.
pub(crate) fn check(path: &Path) -> Result<Account, String> {
    let file = path.display();
    let unreadable = |error| {
        format!(
            "the credentials file {file} cannot be read: {error}; it has the lines `username=…`, `password=…` and `domain=…`"
        )
    };
    let found = fs::metadata(path).map_err(unreadable)?;
    // To read a pipe would take for ever.
    if !found.is_file() || found.len() > LONGEST {
        return Err(format!("the credentials file {file} is no text file of at most 64 kB: name another one"));
    }
    refuse_open_to_all(path, &found)?;
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let of_domain = check_lines(&text).map_err(|fault| format!("the credentials file {file} {fault}"))?;
    Ok(Account { version: found.modified().map_err(unreadable)?, of_domain })
}

#[cfg(unix)]
fn refuse_open_to_all(path: &Path, found: &fs::Metadata) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt as _;

    const OTHERS: u32 = 0o007;
    if found.mode() & OTHERS == 0 {
        return Ok(());
    }
    let file = path.display();
    Err(format!("the credentials file {file} is open to every user of this machine: run `chmod o= {file}`"))
}

/// There the back end is refused before.
#[cfg(not(unix))]
fn refuse_open_to_all(_: &Path, _: &fs::Metadata) -> Result<(), String> {
    Ok(())
}

/// Whether the account is one of a domain.
fn check_lines(text: &str) -> Result<bool, String> {
    if text.starts_with('\u{feff}') {
        return Err("begins with a byte order mark: save it without".to_owned());
    }
    let (mut username, mut password, mut of_domain) = (false, false, false);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let (name, value) = line.split_once('=').unwrap_or_default();
        let is_given = !value.trim_start_matches([' ', '\t']).is_empty();
        match name.trim_end().to_ascii_lowercase().as_str() {
            "username" => {
                username = is_given;
                // `EXAMPLE\ann`, `EXAMPLE/ann`, `ann@example.com`.
                of_domain |= value.contains(['\\', '/', '@']);
            }
            "password" => password = is_given,
            "domain" => of_domain |= is_given,
            _ => {
                let number = index + 1;
                return Err(format!("has a line {number} that is none of `username=…`, `password=…`, `domain=…`"));
            }
        }
    }
    let missing = [("username", username), ("password", password)].into_iter().find(|(_, is_given)| !is_given);
    missing.map_or(Ok(of_domain), |(name, _)| Err(format!("has no line `{name}=…`: add it")))
}

#[cfg(test)]
mod tests;
