//! What the end-to-end tests share: the real executable as a child process, and a destination that records.
//!
//! Nothing here skips: if the executable or a plugin file is missing, the test fails and says which command builds it.

#[cfg(unix)]
mod alertmanager;
mod apprise;
mod butler;
mod clock;
mod cloud;
mod everything;
mod influx;
mod influxd;
mod launcher;
mod machine;
mod mail;
mod mosquitto;
mod new_relic;
mod past;
mod peer;
pub mod place;
pub mod qlik_script;
#[cfg(unix)]
mod samba;
mod sense;
mod signl4;
mod sink;
mod slack;
mod starting;
mod strangers;
mod teams;
#[cfg(unix)]
mod terminal;
mod wine;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use qlik_simulator as qlik;

#[cfg(unix)]
pub use self::alertmanager::Alertmanager;
pub use self::apprise::{Apprise, AppriseService};
pub use self::butler::{Butler, Killed, Output, command, run, run_command, run_in, run_with, stop_gently};
#[cfg(unix)]
pub use self::butler::{go_on, stand_still};
pub use self::clock::WallClock;
pub use self::cloud::{Tenants, call_webhook, cloud_failure, webhook};
pub use self::everything::Everything;
pub use self::influx::Influx;
pub use self::influxd::Influxd;
pub use self::launcher::Launcher;
pub use self::machine::{Disk, Filler, HangingDisk, StoreLock, peak, resident, sqlite, sqlite_of_dead, take_all_room};
pub use self::mail::MailServer;
pub use self::mosquitto::{Mosquitto, MqttMessage, Subscriber};
pub use self::new_relic::{NewRelic, NewRelicApi, NewRelicCall, NewRelicTrouble};
pub use self::past::{STORE_VERSION, old_store, stopped_store};
pub use self::peer::{WireEvent, WirePeer};
#[cfg(unix)]
pub use self::samba::Samba;
pub use self::sense::{Fields, Sense, datagram, failure, fields};
pub use self::signl4::Signl4;
pub use self::sink::{Answer, Received, Sink};
pub use self::slack::{Slack, SlackCall, SlackMessage, Trouble};
pub use self::starting::Starting;
pub use self::strangers::{Compiler, compiler_of, provide_stranger, stranger_file};
pub use self::teams::{TeamsChannel, TeamsTrouble, fault_of_message};
#[cfg(unix)]
pub use self::terminal::Terminal;
pub use self::wine::Wine;

/// Longest time that a condition may take to come true; generous, since machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// The folder of the executable and of the plugin files: this test's own target folder.
///
/// # Panics
/// When the system does not tell where this test is.
pub fn target_dir() -> PathBuf {
    let mut path = std::env::current_exe().expect("a test has an executable");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path
}

/// The executable under test.
///
/// # Panics
/// When it has not been built.
pub fn butler_exe() -> PathBuf {
    let path = target_dir().join(format!("butler{}", std::env::consts::EXE_SUFFIX));
    assert!(path.is_file(), "{} is missing: run `cargo build --workspace` first", path.display());
    path
}

/// Plugins for tests only. Their files are not named as plugins are, so that no search path finds them by itself.
const TEST_PLUGINS: [&str; 6] = ["probe", "relay", "rogue", "garbage", "other-version", "other-layout"];

/// The file of a plugin, as cargo built it. Those for tests only are to be copied under [`plugin_file_name`].
///
/// # Panics
/// When it has not been built.
pub fn plugin_file(plugin: &str) -> PathBuf {
    let name = if TEST_PLUGINS.contains(&plugin) {
        format!("test-plugin-{plugin}")
    } else {
        format!("butler-plugin-{plugin}")
    };
    let path = target_dir().join(library_name(&name));
    assert!(path.is_file(), "{} is missing: run `cargo build --workspace` first", path.display());
    path
}

/// The name under which a plugin's file is found.
pub fn plugin_file_name(plugin: &str) -> String {
    library_name(&format!("butler-plugin-{plugin}"))
}

fn library_name(package: &str) -> String {
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    format!("{prefix}{}{suffix}", package.replace('-', "_"))
}

/// Copies the test plugins that a config uses into `plugins` in a folder; `pluginDirs: [plugins]` then finds them.
///
/// # Panics
/// When the folder cannot be written.
pub fn provide_test_plugins(folder: &Path, config: &str) {
    provide_plugins_for(&Launcher::Here, folder, config);
}

fn provide_plugins_for(launcher: &Launcher, folder: &Path, config: &str) {
    for plugin in TEST_PLUGINS.iter().filter(|plugin| config.contains(&format!("use: {plugin}"))) {
        let plugins = folder.join("plugins");
        std::fs::create_dir_all(&plugins).expect("the folder of the test can be written");
        let (file, name) = launcher.plugin(plugin);
        let target = plugins.join(name);
        if !target.exists() {
            std::fs::copy(file, target).expect("the folder of the test can be written");
        }
    }
}

/// Waits until a condition holds and returns its value.
///
/// # Panics
/// When it does not come true in time; `what` is in the message.
pub async fn wait_for<T, F>(what: &str, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < until, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A client for plain HTTP on loopback.
///
/// # Panics
/// When the TLS library refuses its own defaults.
pub fn http() -> reqwest::Client {
    client(tls_trusting(None)).build().expect("a client with plain defaults can be built")
}

/// The same from another address of this machine, such as 127.0.0.5: another client for those who tell them apart.
///
/// # Panics
/// When the TLS library refuses its own defaults.
pub fn http_from(address: impl Into<std::net::IpAddr>) -> reqwest::Client {
    let client = client(tls_trusting(None)).local_address(address.into());
    client.build().expect("a client with plain defaults can be built")
}

/// A client that trusts this certificate, as authority or as the server's own, and checks names. PEM.
///
/// # Panics
/// When the certificate cannot be read.
pub fn https(certificate: &str) -> reqwest::Client {
    client(tls_trusting(Some(certificate))).build().expect("a client with plain defaults can be built")
}

/// TLS settings of a client that trusts this certificate in PEM form, or none.
///
/// # Panics
/// When the certificate cannot be read.
pub fn tls_trusting(certificate: Option<&str>) -> rustls::ClientConfig {
    use rustls::pki_types::pem::PemObject as _;

    let mut roots = rustls::RootCertStore::empty();
    if let Some(certificate) = certificate {
        let der = rustls::pki_types::CertificateDer::from_pem_slice(certificate.as_bytes())
            .expect("a certificate in PEM form");
        roots.add(der).expect("a certificate that can be trusted");
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn client(tls: rustls::ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().timeout(Duration::from_secs(20))
}
