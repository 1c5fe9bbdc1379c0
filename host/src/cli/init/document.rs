//! The text of the config.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::settings::Filled;
use super::site::Exported;
use crate::log4net::Target;

/// The port of the repository service, unless said otherwise.
pub(super) const REPOSITORY: u16 = 4242;

/// File of the schema, beside the config.
pub(super) const SCHEMA: &str = "butler.schema.json";

/// The connection to Qlik Sense, as it stands in the config.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) host: String,
    pub(super) repository_port: u16,
    pub(super) user: String,
    pub(super) certificates: Exported,
    /// As it may stand in the config.
    pub(super) passphrase: Option<String>,
}

/// All that the config says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Contents<'a> {
    pub(super) connection: &'a Connection,
    /// File of the store, as it may stand in the config. Absent: where the daemon has it by default.
    pub(super) store: Option<&'a str>,
    /// Where log appenders send.
    pub(super) target: &'a Target,
    /// Who may send.
    pub(super) allow_from: &'a [String],
    pub(super) plugin_dirs: &'a [String],
    pub(super) plugin: &'a str,
    pub(super) settings: &'a Value,
}

impl Connection {
    /// The section `qlik:`.
    pub(super) fn section(&self) -> String {
        let mut text = format!("qlik:\n  host: {}\n", scalar(&self.host));
        if self.repository_port != REPOSITORY {
            let _ = writeln!(text, "  ports: {{ repository: {} }}", self.repository_port);
        }
        let _ = writeln!(text, "  user: {}\n  certificates:", scalar(&self.user));
        for (key, file) in self.certificates.files() {
            let _ = writeln!(text, "    {key}: {}", scalar(file));
        }
        if let Some(passphrase) = &self.passphrase {
            let _ = writeln!(text, "    passphrase: {}", scalar(passphrase));
        }
        text.push_str(
            "  # `chain`, if the certificate of Qlik Sense has another name than `host`.\n  # verify: full\n",
        );
        text
    }

    /// What users put before the paths of Qlik Sense's pages.
    fn pages(&self) -> String {
        if self.host.contains(':') { format!("https://[{}]", self.host) } else { format!("https://{}", self.host) }
    }
}

impl Contents<'_> {
    /// The whole file, for a folder where commands call it `name`.
    pub(super) fn text(&self, name: &Path) -> String {
        let name = name.display();
        let pages = self.connection.pages();
        let mut text = format!(
            "# yaml-language-server: $schema={SCHEMA}\n\
             #\n\
             # Butler's config. What is absent has a sane default; editors complete and check the file by the schema named above.\n\
             # After a change: butler check -c {name}, then butler reload -c {name}\n\
             version: 1\n\n\
             # Where facts come from: tasks, apps, owners, script logs.\n{}",
            self.connection.section()
        );
        let _ = write!(
            text,
            "\n# Log appenders of the Sense nodes send to {target}. Nobody but these machines is heard (the last is this one itself, for\n\
             # `butler doctor`): a new node is added here.\n\
             udp:\n  listen: {listen}\n  allowFrom:\n",
            target = self.target,
            listen = scalar(&listen(self.target)),
        );
        for machine in self.allow_from {
            let _ = writeln!(text, "    - {}", scalar(machine));
        }
        let _ = write!(
            text,
            "\n# REST API, for load scripts and monitoring. Other machines need a token: butler token new\n\
             rest:\n  listen: 127.0.0.1:8080\n\n\
             # Links in messages, as users reach Qlik Sense.\n\
             links:\n  qmc: {}\n  hub: {}\n  appBaseUrl: {}\n",
            scalar(&format!("{pages}/qmc")),
            scalar(&format!("{pages}/hub")),
            scalar(&format!("{pages}/sense/app")),
        );
        if let Some(store) = self.store {
            let about = "Events and deliveries, until they are old.";
            let _ = write!(text, "\n# {about}\nstore:\n  path: {}\n", scalar(store));
        }
        if !self.plugin_dirs.is_empty() {
            text.push_str("\n# Folders with further plugins.\npluginDirs:\n");
            for folder in self.plugin_dirs {
                let _ = writeln!(text, "  - {}", scalar(folder));
            }
        }
        let _ = write!(
            text,
            "\n# Destinations; further entries for further ones: butler plugins list\n\
             plugins:\n  - use: {}\n    \
             # Without `on:` it gets the usual alerts: whatever failed or was aborted. With it, only what a rule takes:\n    \
             # on:\n    \
             #   - events: [reload-task.failed, reload-task.aborted]\n    \
             #     where: {{ app.stream: \"Finance*\" }}\n    \
             #     throttle: {{ per: task, every: 15m }}\n",
            scalar(self.plugin),
        );
        if self.settings.as_object().is_some_and(|settings| !settings.is_empty()) {
            let _ = write!(text, "    settings:\n{}", block(self.settings, 6));
        }
        text
    }
}

/// Where Butler listens, so that it hears what is sent to `target`.
fn listen(target: &Target) -> String {
    let port = target.port();
    match target.host().parse::<std::net::IpAddr>() {
        Ok(address) if address.is_loopback() => target.to_string(),
        Ok(std::net::IpAddr::V6(_)) => format!("[::]:{port}"),
        _ if target.host().eq_ignore_ascii_case("localhost") => format!("127.0.0.1:{port}"),
        _ => format!("0.0.0.0:{port}"),
    }
}

/// The settings with placeholders for those that stand in files: `file` makes the path of one from its JSON pointer.
pub(super) fn with_files(filled: &Filled, file: impl Fn(&str) -> String) -> Value {
    let mut value = filled.value.clone();
    for pointer in filled.secrets.keys() {
        if let Some(place) = value.pointer_mut(pointer) {
            *place = format!("${{file:{}}}", file(pointer)).into();
        }
    }
    value
}

/// A list or mapping that is not empty, in lines of their own.
fn block(value: &Value, indent: usize) -> String {
    let pad = " ".repeat(indent);
    let mut text = String::new();
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                let _ = write!(text, "{pad}{}:{}", scalar(key), after(value, indent + 2));
            }
        }
        Value::Array(items) => {
            for item in items {
                let inner = after(item, indent + 2);
                // A list or mapping begins behind the hyphen.
                match inner.strip_prefix('\n') {
                    Some(lines) => {
                        let _ = write!(text, "{pad}- {}", lines.trim_start_matches(' '));
                    }
                    None => {
                        let _ = write!(text, "{pad}-{inner}");
                    }
                }
            }
        }
        _ => {}
    }
    text
}

/// What stands behind a key or hyphen.
fn after(value: &Value, indent: usize) -> String {
    match value {
        Value::Object(entries) if entries.is_empty() => " {}\n".to_owned(),
        Value::Array(items) if items.is_empty() => " []\n".to_owned(),
        Value::Object(_) | Value::Array(_) => format!("\n{}", block(value, indent)),
        Value::String(text) => format!(" {}\n", scalar(text)),
        other => format!(" {other}\n"),
    }
}

/// A text as a scalar of YAML: without quotes where nobody could take it for anything else.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '\\' | '-' | '@' | ':');
    let words = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    // An address with its port begins with a digit, and is no number.
    let address = text.parse::<std::net::SocketAddrV4>().is_ok() || text.parse::<std::net::Ipv4Addr>().is_ok();
    if (begins || address)
        && text.chars().all(plain)
        && !text.ends_with(':')
        && !words.contains(&text.to_lowercase().as_str())
    {
        return text.to_owned();
    }
    // Backslashes of paths stay as they are between single quotes.
    if !text.is_empty() && text.chars().all(|c| !c.is_control() && c != '\'' && (c.is_ascii() || c.is_alphanumeric())) {
        return format!("'{text}'");
    }
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::config::yaml;

    fn read(text: &str) -> Value {
        yaml::parse(text).unwrap().unwrap().value
    }

    #[test]
    fn texts_stand_without_quotes_where_they_can() {
        for (text, written) in [
            (r"INTERNAL\sa_repository", r"INTERNAL\sa_repository"),
            ("certs/client.pem", "certs/client.pem"),
            ("https://sense.example.com/qmc", "https://sense.example.com/qmc"),
            (r"C:\certs\client.pem", r"C:\certs\client.pem"),
            (r"C:\my certs\client.pem", r"'C:\my certs\client.pem'"),
            ("0.0.0.0:9998", "0.0.0.0:9998"),
            ("10.1.2.3", "10.1.2.3"),
            ("[::]:9998", "'[::]:9998'"),
            ("${file:secrets/x}", "'${file:secrets/x}'"),
            ("No", "'No'"),
            ("17", "'17'"),
            ("1e3", "'1e3'"),
            ("it's", "\"it's\""),
            ("", "\"\""),
        ] {
            assert_eq!(scalar(text), written);
            assert_eq!(read(&format!("k: {written}"))["k"], text, "{written}");
        }
    }

    #[test]
    fn lists_and_mappings_are_read_back() {
        let settings = json!({
            "accounts": [{ "apiKey": "${file:secrets/a}", "accountId": 12, "tags": [] }, { "name": "b" }],
            "smtp": { "host": "mail", "auth": { "user": "u" }, "verify": true, "more": {} },
            "urls": ["http://a:1", "http://b:2"], "odd key": null, "nested": [["a", ["b"]], [{ "c": 1.5 }]],
        });
        let text = format!("settings:\n{}", block(&settings, 2));
        assert_eq!(read(&text)["settings"], settings, "{text}");
        assert!(text.contains("  urls:\n    - http://a:1\n"), "{text}");
    }

    #[test]
    fn butler_listens_where_the_appenders_send() {
        for (target, heard) in [
            ("butler.lab:9998", "0.0.0.0:9998"),
            ("10.1.2.3:9000", "0.0.0.0:9000"),
            ("127.0.0.1:9998", "127.0.0.1:9998"),
            ("localhost:9998", "127.0.0.1:9998"),
            ("[fd00::1]:9998", "[::]:9998"),
        ] {
            assert_eq!(listen(&target.parse().unwrap()), heard);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_back(text in "\\PC{0,40}|[\\x00-\\x7f]{0,12}|[a-z0-9:#&*!|>'\"%@`{}\\[\\], -]{0,20}") {
            // What YAML itself cannot hold, no file can.
            prop_assume!(!text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r')));
            let written = format!("a:\n{}", block(&json!({ "k": [text], "l": { "m": text } }), 2));
            let value = read(&written);
            prop_assert_eq!(value["a"]["k"][0].as_str(), Some(text.as_str()), "{}", written);
            prop_assert_eq!(value["a"]["l"]["m"].as_str(), Some(text.as_str()), "{}", written);
        }
    }
}
