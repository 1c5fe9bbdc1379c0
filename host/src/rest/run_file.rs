//! The run file: where the running daemon is and a token for it, for the command line on the same machine.
//!
//! It stands beside the store as `<store>.run.json`, can be read only by the account that Butler runs under, and goes when
//! the daemon stops. On Windows its folder's access list decides who may read it.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// What the run file says.
#[derive(Clone, Serialize, Deserialize)]
pub struct RunInfo {
    /// Process id of the daemon.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Where its REST server can be reached from this machine: `http://127.0.0.1:8080`, or `https://…`.
    pub rest: String,
    /// Where it listens for UDP, if it does.
    pub udp: Option<String>,
    /// Where it listens for sessions of users, if they have a port of their own.
    #[serde(default, rename = "udpSessions", skip_serializing_if = "Option::is_none")]
    pub udp_sessions: Option<String>,
    /// With HTTPS: SHA-256 of the REST server's certificate, in hexadecimal digits.
    #[serde(default, rename = "certificateSha256", skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// A token that may do everything, made anew at each start.
    pub token: String,
}

impl std::fmt::Debug for RunInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunInfo").field("pid", &self.pid).field("rest", &self.rest).finish_non_exhaustive()
    }
}

/// Why there is no use of a run file.
#[derive(Debug, thiserror::Error)]
pub enum RunFileError {
    /// It cannot be written.
    #[error(
        "the run file {path} cannot be written: {cause}; Butler must be able to write to the folder of `store.path`"
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// There is none.
    #[error(
        "Butler is not running with this config: there is no {path}; start it, or name the config that it runs with"
    )]
    NotRunning {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error(
        "the run file {path} cannot be read: {cause}; use the account that Butler runs under, or an administrator's"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// It is not what Butler writes.
    #[error("{path} is no run file of this version of Butler ({cause}); start Butler again")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: serde_json::Error,
    },
}

impl RunInfo {
    /// Reads the run file of the daemon that uses this store.
    pub fn read(store: &Path) -> Result<Self, RunFileError> {
        let path = path_of(store);
        let text = fs::read(&path).map_err(|cause| {
            let path = path.clone();
            if cause.kind() == io::ErrorKind::NotFound {
                RunFileError::NotRunning { path }
            } else {
                RunFileError::Read { path, cause }
            }
        })?;
        serde_json::from_slice(&text).map_err(|cause| RunFileError::Content { path, cause })
    }
}

/// The run file of this process; removed when it is dropped.
#[derive(Debug)]
pub struct RunFile {
    path: PathBuf,
    info: RunInfo,
    /// It could not be written at the last renewal, and the log has been told.
    is_outdated: AtomicBool,
}

impl RunFile {
    /// Writes it, with a new token. `rest`, and `udp` with one for sessions, are the addresses that were bound; `certificate`
    /// is the SHA-256 of the REST server's, if it has one.
    pub fn write(
        store: &Path,
        rest: SocketAddr,
        certificate: Option<String>,
        udp: [Option<SocketAddr>; 2],
    ) -> Result<Self, RunFileError> {
        let path = path_of(store);
        let error = |cause| RunFileError::Write { path: path.clone(), cause };
        let [udp, udp_sessions] = udp;
        let info = RunInfo {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            rest: format!("{}://{}", if certificate.is_some() { "https" } else { "http" }, reachable(rest)),
            udp: udp.map(|address| address.to_string()),
            udp_sessions: udp_sessions.map(|address| address.to_string()),
            certificate,
            token: token().map_err(error)?,
        };
        replace(&path, &info).map_err(error)?;
        Ok(Self { path, info, is_outdated: AtomicBool::new(false) })
    }

    /// What it said at the start.
    pub fn info(&self) -> &RunInfo {
        &self.info
    }

    /// The certificate of the REST server is another one now; its SHA-256. Answers whether it could be written: if not, it is
    /// to be tried again.
    pub(super) fn renew(&self, certificate: &str) -> bool {
        let info = RunInfo { certificate: Some(certificate.to_owned()), ..self.info.clone() };
        let written = replace(&self.path, &info);
        let was_outdated = self.is_outdated.swap(written.is_err(), Ordering::Relaxed);
        if let Err(error) = &written
            && !was_outdated
        {
            tracing::warn!(path = %self.path.display(), %error, "the run file cannot be written: until it can, the command \
                line does not know the renewed certificate");
        }
        written.is_ok()
    }
}

impl Drop for RunFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the run file cannot be removed");
        }
    }
}

fn path_of(store: &Path) -> PathBuf {
    let mut name = OsString::from(store);
    name.push(".run.json");
    name.into()
}

/// An address that listens on all interfaces is reached by loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}

fn token() -> io::Result<String> {
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(URL_SAFE_NO_PAD.encode(random))
}

/// Writes beside the file and renames: so it is never there in part, and never with wider rights.
fn replace(path: &Path, info: &RunInfo) -> io::Result<()> {
    let text = serde_json::to_string_pretty(info)? + "\n";
    let mut part = OsString::from(path);
    part.push(".part");
    // Left over from a start that was killed.
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&part).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let written = written.and_then(|()| fs::rename(&part, path));
    if written.is_err() {
        let _ = fs::remove_file(&part);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_while_the_daemon_runs() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("butler.db");
        let error = RunInfo::read(&store).unwrap_err().to_string();
        assert!(
            error.starts_with("Butler is not running with this config") && error.contains("butler.db.run.json"),
            "{error}"
        );

        // A part of a killed start is no hindrance, and neither are its rights.
        fs::write(folder.path().join("butler.db.run.json.part"), "{").unwrap();
        let udp = ["127.0.0.1:9998", "127.0.0.1:9997"].map(|address| Some(address.parse().unwrap()));
        let file = RunFile::write(&store, "0.0.0.0:8080".parse().unwrap(), None, udp).unwrap();
        let info = RunInfo::read(&store).unwrap();
        assert_eq!((info.rest.as_str(), info.udp.as_deref()), ("http://127.0.0.1:8080", Some("127.0.0.1:9998")));
        assert_eq!(info.udp_sessions.as_deref(), Some("127.0.0.1:9997"));
        assert_eq!((info.pid, &info.token), (std::process::id(), &file.info().token));
        assert!(info.token.len() >= 43);
        assert!(!format!("{info:?} {file:?}").contains(&info.token));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let path = folder.path().join("butler.db.run.json");
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        drop(file);
        assert!(matches!(RunInfo::read(&store), Err(RunFileError::NotRunning { .. })));
    }

    #[test]
    fn each_start_has_another_token_and_ipv6_is_written_as_a_url() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("butler.db");
        let one = RunFile::write(&store, "[::]:1".parse().unwrap(), None, [None; 2]).unwrap();
        assert_eq!(one.info().rest, "http://[::1]:1");
        let token = one.info().token.clone();
        let two = RunFile::write(&store, "[::1]:1".parse().unwrap(), None, [None; 2]).unwrap();
        assert_ne!(token, two.info().token);
    }

    #[test]
    fn a_certificate_is_named_and_may_be_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("butler.db");
        let file = RunFile::write(&store, "127.0.0.1:1".parse().unwrap(), Some("aa".to_owned()), [None; 2]).unwrap();
        let info = RunInfo::read(&store).unwrap();
        assert_eq!((info.rest.as_str(), info.certificate.as_deref()), ("https://127.0.0.1:1", Some("aa")));
        assert!(file.renew("bb"));
        let renewed = RunInfo::read(&store).unwrap();
        assert_eq!((renewed.certificate.as_deref(), renewed.token), (Some("bb"), info.token));
        // Nothing can be written beside it.
        let part = folder.path().join("butler.db.run.json.part");
        fs::create_dir(&part).unwrap();
        assert!(!file.renew("cc") && !file.renew("cc"));
        assert_eq!(RunInfo::read(&store).unwrap().certificate.as_deref(), Some("bb"));
        fs::remove_dir(part).unwrap();
        assert!(file.renew("cc"));
        assert_eq!(RunInfo::read(&store).unwrap().certificate.as_deref(), Some("cc"));
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("no-such-folder/butler.db");
        let error = RunFile::write(&store, "[::1]:1".parse().unwrap(), None, [None; 2]).unwrap_err().to_string();
        assert!(error.contains("cannot be written") && error.contains("`store.path`"), "{error}");
        let store = folder.path().join("butler.db");
        fs::write(folder.path().join("butler.db.run.json"), "{}").unwrap();
        assert!(matches!(RunInfo::read(&store), Err(RunFileError::Content { .. })));
    }
}
