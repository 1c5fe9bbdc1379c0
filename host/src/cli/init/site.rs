//! Qlik Sense, as far as it can be known before there is a config: the exported files, its nodes, the way to it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, ToSocketAddrs as _, UdpSocket};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::document::Connection;
use crate::config::{self, Document};
use crate::qlik::{ClientChain, Limits, Node, QlikError, Repository, TlsError, check_files, client_chain};

/// Somebody waits for the answers.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(5),
    total: Duration::from_secs(15),
    body: 8 << 20,
    pause: Duration::from_millis(500),
};

/// Exported files, as their paths stand in the config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Exported {
    /// "Platform independent PEM-format".
    Pem { client: String, key: String, ca: String },
    /// "Windows"; without `root.cer` the authority may be in the PFX file.
    Pfx { pfx: String, ca: Option<String> },
}

impl Exported {
    /// Those in a folder; paths below `out` become relative to it. The error says which are missing.
    pub(super) fn find(folder: &Path, out: &Path) -> Result<Self, String> {
        const PEM: [&str; 3] = ["client.pem", "client_key.pem", "root.pem"];
        let path = |name: &str| written(&folder.join(name), out);
        let is_there = |name: &str| folder.join(name).is_file();
        let missing: Vec<&str> = PEM.into_iter().filter(|name| !is_there(name)).collect();
        if missing.is_empty() {
            return Ok(Self::Pem { client: path(PEM[0]), key: path(PEM[1]), ca: path(PEM[2]) });
        }
        if is_there("client.pfx") {
            let ca = ["root.cer", "root.pem"].into_iter().find(|name| is_there(name));
            return Ok(Self::Pfx { pfx: path("client.pfx"), ca: ca.map(path) });
        }
        let folder_text = folder.display();
        if !folder.is_dir() {
            return Err(format!("there is no folder {folder_text}"));
        }
        let export = "export them in the QMC (Certificates, format \"Platform independent PEM-format\")";
        let what = if missing.len() == PEM.len() {
            "neither client.pem, client_key.pem and root.pem nor client.pfx".to_owned()
        } else {
            format!("no {}", missing.join(" and no "))
        };
        Err(format!("{folder_text} has {what} in it: {export}"))
    }

    /// Keys of the config and files.
    pub(super) fn files(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Pem { client, key, ca } => vec![("client", client), ("key", key), ("ca", ca)],
            Self::Pfx { pfx, ca } => {
                let ca = ca.as_deref().map(|ca| ("ca", ca));
                std::iter::once(("pfx", pfx.as_str())).chain(ca).collect()
            }
        }
    }
}

/// A path as it stands in a config in the folder `out`: relative if it is below, else whole.
pub(super) fn written(path: &Path, out: &Path) -> String {
    let (path, out) = (whole(path), whole(out));
    match path.strip_prefix(&out) {
        Ok(below) if !below.as_os_str().is_empty() => {
            below.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
        }
        _ => path.display().to_string(),
    }
}

/// An absolute path without `..`. Links are followed only for that: whoever renews certificates may move them.
fn whole(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let goes_up = path.components().any(|part| part == Component::ParentDir);
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) if goes_up => folder.canonicalize().map_or(path.clone(), |folder| folder.join(name)),
        _ => path,
    }
}

impl Connection {
    /// The section as the daemon would read it from a config at `path`. The error says what is wrong.
    pub(super) fn read(&self, path: &Path) -> Result<config::Qlik, String> {
        let text = format!("version: 1\n{}", self.section());
        let loaded = Document::parse(path, text.as_bytes())
            .and_then(|document| document.validate(&BTreeMap::new(), Vec::new(), &()));
        let faults = |report: config::Report| {
            let faults = report.errors.into_iter().map(|error| match error.suggestion {
                Some(suggestion) => format!("`{}`: {} ({suggestion})", error.path, error.message),
                None => format!("`{}`: {}", error.path, error.message),
            });
            faults.collect::<Vec<_>>().join("; ")
        };
        let qlik = loaded.map_err(faults)?.config.qlik;
        qlik.ok_or_else(|| "the section `qlik` is lost".to_owned())
    }
}

/// The file of the client certificate's key.
pub(super) fn private_key(qlik: &config::Qlik) -> &Path {
    let (config::ClientFiles::Pem { key, .. } | config::ClientFiles::Pfx(key)) = &qlik.certificates.client;
    key
}

/// Why certificates cannot be used.
#[derive(Debug)]
pub(super) enum Unusable {
    /// A passphrase is needed, or another one.
    Passphrase(String),
    /// Anything else.
    Other(String),
}

/// Looks whether the files can be read and belong together.
pub(super) fn check(qlik: &config::Qlik) -> Result<(), Unusable> {
    let chain = check_files(&qlik.certificates, qlik.verify).and_then(|()| client_chain(qlik));
    match chain {
        Ok(ClientChain::Issued | ClientChain::Unchecked) => Ok(()),
        Ok(ClientChain::Foreign) => Err(Unusable::Other(
            "the client certificate is not issued by the authority that lies beside it: take all files from one export of the QMC"
                .to_owned(),
        )),
        Ok(ClientChain::Odd(reason)) => Err(Unusable::Other(format!("the client certificate cannot be used: {reason}"))),
        Err(error @ (TlsError::NoPassphrase { .. } | TlsError::WrongPassphrase { .. })) => {
            Err(Unusable::Passphrase(error.to_string()))
        }
        Err(error) => Err(Unusable::Other(error.to_string())),
    }
}

/// What Qlik Sense says about itself: version and nodes.
pub(super) async fn ask(qlik: &config::Qlik) -> Result<(String, Vec<Node>), QlikError> {
    let repository = Repository::with_limits(qlik, LIMITS)?;
    let version = repository.probe().await?;
    Ok((version, repository.nodes().await?))
}

/// The address by which this machine talks to another one; absent if there is no way to it.
pub(super) fn own_address(host: &str, port: u16) -> Option<IpAddr> {
    let there = (host, port).to_socket_addrs().ok()?.next()?;
    let any: IpAddr = if there.is_ipv4() { [0_u8; 4].into() } else { [0_u16; 8].into() };
    // Nothing is sent: the system only chooses the way.
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(there).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Whether a name or address stands for this machine alone.
pub(super) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Which of these machines are others than this one; names are resolved. From there a loopback address leads nowhere.
pub(super) fn elsewhere(mut hosts: Vec<String>) -> Vec<String> {
    // Only addresses of this machine can be bound.
    let is_own = |address: IpAddr| !address.is_unspecified() && UdpSocket::bind((address, 0)).is_ok();
    let is_here = |host: &str| {
        let resolved = || (host, 0).to_socket_addrs().is_ok_and(|mut all| all.any(|there| is_own(there.ip())));
        is_loopback(host) || resolved()
    };
    hosts.retain(|host| !is_here(host));
    hosts
}

/// Who may send: the nodes, without them the central one; and this machine, which tries the way out by itself (`butler doctor`).
pub(super) fn senders(central: &str, nodes: &[Node], target: &str) -> Vec<String> {
    let mut senders: Vec<String> = nodes.iter().map(|node| node.host.clone()).collect();
    if senders.is_empty() {
        senders.push(central.to_owned());
    }
    let own = if target.parse::<Ipv6Addr>().is_ok() { "::1" } else { "127.0.0.1" };
    if !senders.iter().any(|sender| sender == own) {
        senders.push(own.to_owned());
    }
    senders
}

/// Folders in which exports often lie.
pub(super) fn usual_folder(out: &Path) -> Option<PathBuf> {
    let candidates = ["certs", "certificates", "."].map(PathBuf::from);
    candidates.into_iter().find(|folder| Exported::find(folder, out).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_are_found_by_their_usual_names() {
        let folder = tempfile::tempdir().unwrap();
        let certs = folder.path().join("certs");
        let find = || Exported::find(&certs, folder.path());
        assert!(find().unwrap_err().contains("there is no folder"));
        std::fs::create_dir(&certs).unwrap();
        assert!(find().unwrap_err().contains("neither client.pem"), "{find:?}", find = find());
        let put = |name: &str| std::fs::write(certs.join(name), "").unwrap();
        put("client.pem");
        assert!(find().unwrap_err().contains("has no client_key.pem and no root.pem in it"), "{find:?}", find = find());
        put("client.pfx");
        assert_eq!(find(), Ok(Exported::Pfx { pfx: "certs/client.pfx".into(), ca: None }));
        put("root.pem");
        assert_eq!(find(), Ok(Exported::Pfx { pfx: "certs/client.pfx".into(), ca: Some("certs/root.pem".into()) }));
        put("client_key.pem");
        let files = [("client", "certs/client.pem"), ("key", "certs/client_key.pem"), ("ca", "certs/root.pem")];
        assert_eq!(find().unwrap().files(), files, "PEM goes first");
        let elsewhere = Exported::find(&certs, &folder.path().join("other")).unwrap();
        assert_eq!(elsewhere.files()[0].1, certs.join("client.pem").to_str().unwrap());
    }

    #[test]
    fn who_may_send() {
        let node = |host: &str| Node { host: host.to_owned(), central: false, scheduler: true };
        assert_eq!(senders("s1.lab", &[], "butler.lab"), ["s1.lab", "127.0.0.1"]);
        assert_eq!(senders("s1", &[node("s1.lab"), node("s2.lab")], "10.1.2.3"), ["s1.lab", "s2.lab", "127.0.0.1"]);
        assert_eq!(senders("127.0.0.1", &[], "127.0.0.1"), ["127.0.0.1"]);
        assert_eq!(senders("fd00::2", &[], "fd00::1"), ["fd00::2", "::1"]);
    }

    #[test]
    fn only_other_machines_are_elsewhere() {
        let hosts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(elsewhere(hosts(&["localhost", "127.0.0.2", "::1"])), [""; 0]);
        // Addresses for documents: nobody has them.
        let others = hosts(&["no.such.host.invalid", "192.0.2.7"]);
        assert_eq!(elsewhere([&others[..], &hosts(&["LOCALHOST"])].concat()), others);
    }

    #[test]
    fn this_machine_has_an_address_for_another() {
        assert_eq!(own_address("127.0.0.1", 4242), Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(own_address("no.such.host.invalid", 4242), None);
    }
}
