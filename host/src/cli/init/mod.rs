//! `butler init`: from about six questions to a config, and to what the nodes of Qlik Sense need.
//!
//! What is given by flag is not asked. Everything is tried out before anything is written: the exported files, the config as the
//! daemon would read it, the destination's settings by a start of its plugin.

mod destination;
mod document;
mod next;
mod settings;
mod site;
pub(super) mod terminal;

use std::cell::OnceCell;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use butler_plugin_api::Manifest;
use clap::Args;
use serde_json::Value;
use tokio::runtime::Handle;

use super::doctor::files::everybody_reads;
use super::progress::waiting;
use crate::config::{self, Level, LogFormat, compose};
use crate::daemon::Failure;
use crate::file_rights::Platform;
use crate::log4net::{self, Target};
use crate::new_files::{self, File};
use crate::observe;
use crate::plugins::{SearchPath, open_file};
use crate::qlik::Node;
use destination::{secrets, takes_alerts};
use document::{Connection, Contents, REPOSITORY, SCHEMA};
use next::{SERVICE, Situation};
use settings::{Given, config_text};
use site::{Exported, Unusable};
use terminal::{Question, Terminal};

/// File of the config.
const CONFIG: &str = "butler.yaml";
/// Who may read all that Butler asks for, on every site.
const USER: &str = r"INTERNAL\sa_repository";
/// The UDP port, unless said otherwise.
const UDP: u16 = 9998;
/// File of a passphrase.
const PASSPHRASE: &str = "secrets/qlik-passphrase";
/// Folder of the secrets.
const SECRETS: &str = "secrets";

/// What is known already.
#[derive(Debug, Clone, Args)]
pub(super) struct Init {
    /// Name or address of Qlik Sense's central node.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Port of its repository service.
    #[arg(long, value_name = "PORT", default_value_t = REPOSITORY)]
    repository_port: u16,
    /// Folder with the certificates that the QMC exports: client.pem, client_key.pem and root.pem, or client.pfx and root.cer. They
    /// stay there.
    #[arg(long, value_name = "DIR")]
    certificates: Option<String>,
    /// What the exported key is encrypted with: `${env:NAME}`, `${file:PATH}`, or the passphrase itself, which goes into a file;
    /// written out it stands in the list of processes and in the shell's history.
    #[arg(long, value_name = "TEXT")]
    passphrase: Option<String>,
    /// User of Qlik Sense that Butler acts as [default: INTERNAL\sa_repository].
    #[arg(long, value_name = r"DIRECTORY\ID")]
    user: Option<String>,
    /// How Sense nodes reach Butler: name or address of this machine, and UDP port (default 9998).
    #[arg(long, value_name = "HOST[:PORT]")]
    udp: Option<String>,
    /// Where alerts go: a plugin (`butler plugins list`).
    #[arg(long = "use", value_name = "PLUGIN")]
    destination: Option<String>,
    /// A setting of the destination (`butler plugins settings PLUGIN` has all), parts of its name with dots between; of a list,
    /// several with commas between. A secret is `${env:NAME}`, `${file:PATH}`, or written out, and goes into a file then.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<Given>,
    /// Folder with further plugins; may be repeated.
    #[arg(long = "plugin-dir", value_name = "DIR")]
    plugin_dirs: Vec<PathBuf>,
    /// File of the store, if it is to be elsewhere than in the folder `data` beside the config: `/var/lib/butler/butler.db`.
    /// The account that Butler runs as must be able to write to its folder.
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// Folder that everything is written into; what is there is not overwritten.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

/// What is to be written, and what is said then.
struct Plan {
    files: Vec<File>,
    told: String,
}

impl Init {
    pub(super) async fn run(self, log_level: Option<Level>) -> Result<(), Failure> {
        observe::init_logging(log_level.unwrap_or(Level::Error), LogFormat::Human);
        let out = self.out.clone();
        let interview = Interview { flags: self, terminal: Terminal::of_process(), runtime: Handle::current() };
        // Somebody types: a thread of its own may wait for that, and is left behind when they interrupt.
        let plan = tokio::select! {
            plan = tokio::task::spawn_blocking(move || interview.plan()) => plan.map_err(anyhow::Error::from)??,
            Ok(()) = tokio::signal::ctrl_c() => {
                terminal::show_again();
                eprintln!();
                return Err(Failure::Other(anyhow!("interrupted: nothing was written")));
            }
        };
        new_files::write(&out, &plan.files)?;
        print!("{}", plan.told);
        Ok(())
    }
}

struct Interview {
    flags: Init,
    /// Absent: nobody can be asked.
    terminal: Option<Terminal>,
    runtime: Handle,
}

impl Interview {
    fn plan(&self) -> Result<Plan, Failure> {
        let appenders = PathBuf::from(format!("log-appender/{}/LocalLogConfig.xml", SERVICE.folder().to_lowercase()));
        let flags = &self.flags;
        let manifests = self.manifests();
        let destinations: Vec<&Manifest> = manifests.iter().filter(|manifest| takes_alerts(manifest)).collect();
        new_files::refuse_existing(&flags.out, [Path::new(CONFIG), Path::new(SCHEMA), &appenders])?;
        if self.terminal.is_none() {
            self.refuse_missing(&destinations)?;
        }
        let (connection, qlik) = self.connection()?;
        let nodes = self.nodes(&connection, &qlik);
        let target = self.target(&connection, &nodes)?;
        let manifest = self.destination(&destinations)?;
        let allow_from = site::senders(&connection.host, &nodes, target.host());
        let plugin_dirs: Vec<String> = flags.plugin_dirs.iter().map(|dir| site::written(dir, &flags.out)).collect();
        let store = flags.store.as_deref().map(|store| store_path(store, &flags.out)).transpose()?;
        let contents = Contents {
            connection: &connection,
            store: store.as_deref(),
            target: &target,
            allow_from: &allow_from,
            plugin_dirs: &plugin_dirs,
            plugin: &manifest.name,
            settings: &Value::Null,
        };
        let filled = loop {
            let filled = self.settings(manifest)?;
            match self.try_out(&Contents { settings: &filled.value, ..contents }, &filled, &manifest.name)? {
                None => break filled,
                Some(refusal) if filled.asked => {
                    eprintln!("\nThese settings cannot work: {refusal}\nOnce more:");
                }
                Some(refusal) => return Err(Failure::Config(refusal)),
            }
        };
        let mut files = vec![
            File {
                path: SCHEMA.into(),
                text: serde_json::to_string_pretty(&compose(&manifests)).map_err(anyhow::Error::from)? + "\n",
                private: false,
            },
            File { path: appenders.clone(), text: log4net::document(SERVICE, &target), private: false },
        ];
        let (with_files, settings) = secrets(&flags.out, &connection, &manifest.name, &filled, &mut files);
        let contents = Contents { connection: &with_files, settings: &settings, ..contents };
        let text = contents.text(&new_files::shown(&flags.out, Path::new(CONFIG)));
        files.insert(0, File { path: CONFIG.into(), text, private: false });
        let situation = Situation {
            out: &flags.out,
            written: files.iter().map(|file| file.path.as_path()).collect(),
            config: Path::new(CONFIG),
            appenders: &appenders,
            central: &connection.host,
            nodes: &nodes,
            target: &target,
            repository_port: connection.repository_port,
            instance: &manifest.name,
            key: site::private_key(&qlik),
            secrets: files.iter().any(|file| file.private).then_some(Path::new(SECRETS)),
            platform: Platform::THIS,
        };
        let told = situation.text();
        Ok(Plan { files, told })
    }

    /// What the plugins in the search path say of themselves. One that cannot be opened is told of.
    fn manifests(&self) -> Vec<Manifest> {
        let absolute = |dir: &PathBuf| std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
        let dirs: Vec<PathBuf> = self.flags.plugin_dirs.iter().map(absolute).collect();
        let mut manifests = Vec::new();
        for (name, path) in SearchPath::new(&dirs).files() {
            match open_file(&path, None) {
                Ok(library) => manifests.push(library.manifest().clone()),
                Err(error) => eprintln!("`{name}` is left out: {error}"),
            }
        }
        manifests
    }

    /// Says all that is missing at once.
    fn refuse_missing(&self, destinations: &[&Manifest]) -> Result<(), Failure> {
        let flags = &self.flags;
        let needed = [
            (&flags.host, "--host HOST", "Qlik Sense's central node"),
            (&flags.certificates, "--certificates DIR", "the folder with the certificates that the QMC exports"),
            (&flags.udp, "--udp HOST[:PORT]", "this machine as Sense nodes reach it, and the UDP port"),
            (&flags.destination, "--use PLUGIN", "where alerts go (`butler plugins list`)"),
        ];
        let mut missing: Vec<(String, String)> = needed
            .into_iter()
            .filter(|(value, ..)| value.is_none())
            .map(|(_, flag, about)| (flag.to_owned(), about.to_owned()))
            .collect();
        let named = flags.destination.as_deref();
        let manifest = named.and_then(|name| destinations.iter().find(|manifest| manifest.name == name));
        let lacking =
            manifest.map(|manifest| settings::fill(&manifest.settings_schema, &flags.set, None)).transpose()?;
        if let Some(Err(lacking)) = lacking {
            missing.extend(lacking.missing);
        }
        if missing.is_empty() { Ok(()) } else { Err(no_terminal(&missing)) }
    }

    /// What a flag says or, without it, what is answered. The name of the question is that of the flag.
    fn answer<T>(
        &self,
        flag: Option<&str>,
        question: Question<'_>,
        mut take: impl FnMut(&str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        match (flag, self.terminal) {
            (Some(text), _) => take(text).map_err(|reason| Failure::Config(format!("--{}: {reason}", question.name))),
            (None, Some(terminal)) => Ok(terminal.ask(question, take)?),
            (None, None) => Err(no_terminal(&[(format!("--{}", question.name), question.about.to_owned())])),
        }
    }

    /// Host, certificates, user.
    fn connection(&self) -> Result<(Connection, config::Qlik), Failure> {
        let flags = &self.flags;
        let about = "Qlik Sense's central node: its name or address.";
        let question = Question { about, name: "host", default: None, hidden: false };
        let host = self.answer(flags.host.as_deref(), question, host)?;

        let usual = site::usual_folder(&flags.out).map(|folder| folder.display().to_string());
        let about = "Folder with the certificates that the QMC exports: client.pem, client_key.pem and root.pem, or client.pfx \
                     and root.cer. They stay there, the config names them.";
        let question = Question { about, name: "certificates", default: usual.as_deref(), hidden: false };
        let path = new_files::shown(&flags.out, Path::new(CONFIG));
        let passphrase = flags.passphrase.as_deref().map(config_text);
        let (mut connection, locked) = self.answer(flags.certificates.as_deref(), question, |folder| {
            let connection = Connection {
                host: host.clone(),
                repository_port: flags.repository_port,
                user: USER.to_owned(),
                certificates: Exported::find(Path::new(folder), &flags.out)?,
                passphrase: passphrase.clone(),
            };
            match site::check(&connection.read(&path)?) {
                Ok(()) => Ok((connection, false)),
                Err(Unusable::Passphrase(_)) if self.terminal.is_some() && passphrase.is_none() => {
                    Ok((connection, true))
                }
                Err(Unusable::Passphrase(reason)) => Err(format!("{reason} (here by --passphrase)")),
                Err(Unusable::Other(reason)) => Err(reason),
            }
        })?;
        if let (true, Some(terminal)) = (locked, self.terminal) {
            let about = "The key is encrypted: the password that was given when it was exported.";
            let question = Question { about, name: "passphrase", default: None, hidden: true };
            connection.passphrase = Some(terminal.ask(question, |text| {
                let passphrase = Some(config_text(text));
                let tried = Connection { passphrase: passphrase.clone(), ..connection.clone() };
                match site::check(&tried.read(&path)?) {
                    Ok(()) => Ok(config_text(text)),
                    Err(Unusable::Passphrase(reason) | Unusable::Other(reason)) => Err(reason),
                }
            })?);
        }

        let complete =
            [&flags.host, &flags.certificates, &flags.udp, &flags.destination].iter().all(|flag| flag.is_some());
        let given = flags.user.as_deref().or((complete || self.terminal.is_none()).then_some(USER));
        let about = "User of Qlik Sense that Butler acts as: it must be allowed to read tasks, apps, users and execution results.";
        let question = Question { about, name: "user", default: Some(USER), hidden: false };
        connection.user = self.answer(given, question, user)?;
        let qlik = connection.read(&path).map_err(Failure::Config)?;
        let key = site::private_key(&qlik);
        if everybody_reads(key) {
            let key = key.display();
            eprintln!("The private key {key} can be read by every user of this machine: chmod 640 {key}");
        }
        Ok((connection, qlik))
    }

    /// The nodes that Qlik Sense names. Why there are none is told, and no obstacle.
    fn nodes(&self, connection: &Connection, qlik: &config::Qlik) -> Vec<Node> {
        let (host, port) = (&connection.host, connection.repository_port);
        if self.terminal.is_some() {
            eprintln!("\nAsking Qlik Sense at {host}, port {port} …");
        }
        let alone = format!("Going on with {host} alone: add further nodes to `udp.allowFrom` in the config.");
        match self.runtime.block_on(site::ask(qlik)) {
            Ok((version, nodes)) if nodes.is_empty() => {
                let user = &connection.user;
                eprintln!("Qlik Sense {version} answers, but shows no node to {user}: may it read them? {alone}");
                nodes
            }
            Ok((version, nodes)) => {
                let names: Vec<&str> = nodes.iter().map(|node| node.host.as_str()).collect();
                eprintln!("Qlik Sense {version} answers; its nodes: {}", names.join(", "));
                nodes
            }
            Err(error) => {
                eprintln!("{error}\n{alone} `butler doctor` asks again.");
                Vec::new()
            }
        }
    }

    /// Where log appenders send.
    fn target(&self, connection: &Connection, nodes: &[Node]) -> Result<Target, Failure> {
        let (central, port) = (connection.host.clone(), connection.repository_port);
        let address = match self.flags.udp {
            Some(_) => None,
            None => self.resolved(move || site::own_address(&central, port)),
        };
        let elsewhere = OnceCell::new();
        // Whom an address of this machine alone would leave out.
        let left_out = |host: &str| -> &[String] {
            if !site::is_loopback(host) {
                return &[];
            }
            elsewhere.get_or_init(|| {
                let hosts: Vec<String> = nodes.iter().map(|node| node.host.clone()).collect();
                let hosts = if hosts.is_empty() { vec![connection.host.clone()] } else { hosts };
                self.resolved(|| site::elsewhere(hosts))
            })
        };
        let default = address.filter(|address| left_out(&address.to_string()).is_empty());
        let default = default.map(|address| std::net::SocketAddr::new(address, UDP).to_string());
        let about = "This machine as Sense nodes reach it: its name or address, and the UDP port that Butler listens on (9998, if \
                     it is left out).";
        let question = Question { about, name: "udp", default: default.as_deref(), hidden: false };
        self.answer(self.flags.udp.as_deref(), question, |text| {
            let target = target(text)?;
            match left_out(target.host()) {
                [] => Ok(target),
                hosts => Err(format!(
                    "`{}` means this machine alone: it must be what {} can reach",
                    target.host(),
                    hosts.join(", ")
                )),
            }
        })
    }

    /// Asks the system's resolver, which may take long.
    fn resolved<T: Default + Send + 'static>(&self, ask: impl FnOnce() -> T + Send + 'static) -> T {
        let asking = self.runtime.spawn_blocking(ask);
        // An error would be a panic in there.
        self.runtime.block_on(waiting("the names of Qlik Sense's nodes", asking)).unwrap_or_default()
    }
}

/// Where the store is, as it stands in the config.
fn store_path(store: &Path, out: &Path) -> Result<String, Failure> {
    // A store is a file. A folder may be one that the first start makes: it is known by how it is written.
    let written_as_folder = store.to_string_lossy().ends_with(std::path::is_separator);
    if store.is_dir() || store.file_name().is_none() || written_as_folder {
        let (folder, remedy) = (store.display(), store.join("butler.db"));
        return Err(Failure::Config(format!(
            "--store: {folder} is a folder: name a file, such as {}",
            remedy.display()
        )));
    }
    Ok(config_text(&site::written(store, out)))
}

fn no_terminal(missing: &[(String, String)]) -> Failure {
    let widest = missing.iter().map(|(flag, _)| flag.chars().count()).max().unwrap_or_default();
    let lines: Vec<String> = missing.iter().map(|(flag, about)| format!("  {flag:<widest$}  {about}")).collect();
    Failure::Config(format!(
        "nobody can be asked here, for this is no terminal, and there is missing:\n{}",
        lines.join("\n")
    ))
}

fn host(text: &str) -> Result<String, String> {
    let sound = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    if text.parse::<Ipv6Addr>().is_ok() || (!text.is_empty() && text.chars().all(sound)) {
        return Ok(text.to_owned());
    }
    Err(format!("`{text}` is no name of a machine: write its name or address alone, without `https://`, port or path"))
}

fn user(text: &str) -> Result<String, String> {
    match text.split_once('\\') {
        Some((directory, id)) if !directory.is_empty() && !id.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is not directory and user id, such as `{USER}`")),
    }
}

/// A target whose port may be left out.
fn target(text: &str) -> Result<Target, String> {
    let with_port = if text.parse::<Ipv6Addr>().is_ok() {
        format!("[{text}]:{UDP}")
    } else if text.contains(':') && !text.ends_with(']') {
        text.to_owned()
    } else {
        format!("{text}:{UDP}")
    };
    with_port.parse().map_err(|error: log4net::TargetError| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_may_leave_its_port_out() {
        for (text, target_text) in [
            ("butler.lab", "butler.lab:9998"),
            ("10.1.2.3:9000", "10.1.2.3:9000"),
            ("fd00::1", "[fd00::1]:9998"),
            ("[fd00::1]", "[fd00::1]:9998"),
            ("[fd00::1]:7", "[fd00::1]:7"),
        ] {
            assert_eq!(target(text).unwrap().to_string(), target_text);
        }
        for wrong in ["", "a b", "butler:x", "0.0.0.0", "https://butler", "butler:0"] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn hosts_and_users_have_their_form() {
        for right in ["sense1.example.com", "10.1.2.3", "fd00::1", "sense_1"] {
            assert_eq!(host(right).unwrap(), right);
        }
        for wrong in ["https://sense", "sense:4242", "sense/qmc", "a b", ""] {
            assert!(host(wrong).unwrap_err().contains("without `https://`"), "{wrong}");
        }
        assert_eq!(user(r"LAB\butler").unwrap(), r"LAB\butler");
        for wrong in ["butler", r"\butler", r"LAB\", ""] {
            assert!(user(wrong).is_err(), "{wrong}");
        }
    }
}
