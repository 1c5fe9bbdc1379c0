//! Who may read the files that hold secrets: the config, if some are written out in it, those of `${file:…}`, private keys.
//!
//! Plugin files that others may change are refused when the config is read, so nothing is left to say of them but that.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::findings::Findings;
use super::settings;
use crate::config::{ClientFiles, Config, named};
use crate::daemon::Setup;
use crate::file_rights::{Platform, icacls};

const LINK: &str = "file permissions";

/// Parts of names under which settings have secrets, and ends of names that only sound like it: for what no schema calls one.
const SECRET: [&str; 6] = ["password", "passphrase", "secret", "token", "apikey", "authorization"];
const NO_SECRET: [&str; 6] = ["url", "uri", "file", "path", "name", "id"];

/// A file with secrets.
struct Private {
    what: String,
    path: PathBuf,
    remedy: String,
}

/// Looks at all of them.
pub(super) fn check(setup: &Setup, findings: &mut Findings) {
    let private = private(setup);
    if Platform::THIS == Platform::Windows {
        let (detail, remedy) = not_looked_at(&private);
        return findings.note(LINK, detail, &remedy);
    }
    let open: Vec<&Private> = private.iter().filter(|file| everybody_reads(&file.path)).collect();
    for file in &open {
        let detail = format!("{} {} can be read by every user of this machine", file.what, file.path.display());
        findings.failed(LINK, &detail, &file.remedy);
    }
    if open.is_empty() {
        let detail = match private.len() {
            0 => "no file holds a secret".to_owned(),
            1 => "the one file with secrets can be read by its owner's group at most".to_owned(),
            count => format!("{count} files with secrets can be read by their owners' groups at most"),
        };
        findings.ok(LINK, &format!("{detail}; {}", plugins(setup.libraries.len())));
    }
}

/// Access lists of Windows are not read: what is said of them there, and what to do.
fn not_looked_at(private: &[Private]) -> (&'static str, String) {
    let detail =
        "who may read keys and secrets is not looked at here: on Windows the access lists of their folders decide";
    let mut remedy = "let only administrators and Butler's account read the folder of the config".to_owned();
    if !private.is_empty() {
        let commands: Vec<String> = private.iter().map(|file| format!("`{}`", icacls(&file.path, false))).collect();
        remedy = format!("{}, with Butler's account as ACCOUNT, keep others from them", commands.join(", "));
    }
    (detail, remedy)
}

fn plugins(count: usize) -> String {
    match count {
        0 => "no plugin file is used".to_owned(),
        1 => "the plugin file can be changed by nobody else".to_owned(),
        count => format!("the {count} plugin files can be changed by nobody else"),
    }
}

/// Files with secrets, which Butler's account must be able to read.
#[cfg(windows)]
pub(in super::super) fn with_secrets(setup: &Setup) -> Vec<PathBuf> {
    private(setup).into_iter().map(|file| file.path).collect()
}

fn private(setup: &Setup) -> Vec<Private> {
    let loaded = &setup.loaded;
    let mut found: Vec<Private> = keys(&loaded.config)
        .map(|path| Private { remedy: chmod(path), what: "the private key".to_owned(), path: path.to_owned() })
        .collect();
    let mut secrets = Secrets::default();
    secrets.look(&loaded.raw, "", false);
    for (index, entry) in loaded.raw["plugins"].as_array().into_iter().flatten().enumerate() {
        if let Some(opened) = entry["use"].as_str().and_then(|name| setup.libraries.get(name)) {
            secrets.declared(&opened.library.manifest().settings_schema, &entry["settings"], index);
        }
    }
    found.extend(secrets.files.iter().map(|file| {
        let path = loaded.base_dir.join(file);
        Private { remedy: chmod(&path), what: "the secret in".to_owned(), path }
    }));
    if let Some(place) = secrets.written_out.first() {
        let what = format!("`{place}` is written out in the config, and");
        let remedy = format!("put it as `${{env:NAME}}` or `${{file:PATH}}`, or {}", chmod(&loaded.path));
        found.push(Private { what, path: loaded.path.clone(), remedy });
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found.dedup_by(|a, b| a.path == b.path);
    found
}

fn chmod(path: &Path) -> String {
    format!("`chmod 640 {}`, and let Butler's account own it or be in its group", path.display())
}

fn keys(config: &Config) -> impl Iterator<Item = &Path> {
    let qlik = config.qlik.as_ref().map(|qlik| match &qlik.certificates.client {
        ClientFiles::Pem { key, .. } => key.as_path(),
        ClientFiles::Pfx(file) => file.as_path(),
    });
    let rest = config.rest.tls.as_ref().map(|tls| tls.key.as_path());
    qlik.into_iter().chain(rest).chain(config.tls.values().filter_map(|profile| profile.key.as_deref()))
}

/// Secrets in the config as it is written.
#[derive(Debug, Default)]
struct Secrets {
    /// Paths of `${file:…}`.
    files: Vec<String>,
    /// Where a setting that is called a secret has one without a placeholder.
    written_out: Vec<String>,
}

impl Secrets {
    /// Those that the schema of a plugin names, in the settings of the entry with this index.
    fn declared(&mut self, schema: &Value, settings: &Value, index: usize) {
        let declared = settings::secrets(schema, settings).into_iter().filter(|(_, text)| is_written_out(text));
        self.written_out.extend(declared.map(|(place, _)| format!("plugins[{index}].settings.{place}")));
    }

    fn look(&mut self, value: &Value, place: &str, secret: bool) {
        match value {
            Value::String(text) => {
                self.files.extend(named(text, "file").map(str::to_owned));
                if secret && is_written_out(text) {
                    self.written_out.push(place.to_owned());
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.look(item, &format!("{place}[{index}]"), secret);
                }
            }
            Value::Object(entries) => {
                for (name, entry) in entries {
                    let place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                    // Of tokens of the REST server the config has only hashes.
                    if place != "rest.tokens" {
                        self.look(entry, &place, is_secret(name));
                    }
                }
            }
            _ => {}
        }
    }
}

fn is_written_out(text: &str) -> bool {
    !text.is_empty() && !text.contains("${")
}

fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase().replace(['-', '_'], "");
    SECRET.iter().any(|part| name.contains(part)) && !NO_SECRET.iter().any(|end| name.ends_with(end))
}

/// Whether every user may read a file: by its own mode, and those of all folders on the way. What is not there is no risk.
#[cfg(unix)]
pub(in super::super) fn everybody_reads(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    let Ok(real) = path.canonicalize() else { return false };
    let mode = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.mode());
    mode(&real) & 0o004 != 0 && real.ancestors().skip(1).all(|folder| mode(folder) & 0o001 != 0)
}

#[cfg(not(unix))]
pub(in super::super) fn everybody_reads(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_found_by_placeholder_and_by_name() {
        let mut secrets = Secrets::default();
        let config = json!({
            "rest": { "tokens": [{ "name": "a", "sha256": "00" }] },
            "plugins": [
                { "use": "x", "settings": { "smtp": { "auth": { "password": "${file:mail.txt}", "user": "me" } } } },
                { "use": "y", "settings": { "headers": { "Authorization": "Bearer abc" }, "tokenUrl": "https://x",
                  "api_key": "", "botToken": "${env:T}", "secretName": "s", "text": "$${file:none} a ${file:b c} ${file:open" } },
                { "use": "z", "settings": { "clientSecret": "hunter2", "passwords": ["p"] } },
            ],
        });
        secrets.look(&config, "", false);
        secrets.files.sort();
        assert_eq!(secrets.files, ["b c", "mail.txt"]);
        secrets.written_out.sort();
        let expected = [
            "plugins[1].settings.headers.Authorization",
            "plugins[2].settings.clientSecret",
            "plugins[2].settings.passwords[0]",
        ];
        assert_eq!(secrets.written_out, expected);
    }

    #[test]
    fn on_windows_there_is_a_command_for_each_file() {
        let private = ["client_key.pem", "secrets/x"].map(|path| Private {
            what: String::new(),
            path: path.into(),
            remedy: String::new(),
        });
        let (_, remedy) = not_looked_at(&private);
        let rest = "/inheritance:r /grant:r \"*S-1-5-18:F\" \"*S-1-5-32-544:F\" \"ACCOUNT:R\"`";
        let commands =
            format!("`icacls \"client_key.pem\" {rest}, `icacls \"secrets/x\" {rest}, with Butler's account");
        assert!(remedy.starts_with(&commands), "{remedy}");
        assert!(not_looked_at(&[]).1.starts_with("let only administrators"));
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_lets_nobody_through_protects_what_is_in_it() {
        use std::os::unix::fs::PermissionsExt;

        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("key.pem");
        std::fs::write(&file, "").unwrap();
        let set = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        set(&file, 0o644);
        set(root.path(), 0o700);
        assert!(!everybody_reads(&file), "the folder is its owner's alone");
        set(root.path(), 0o755);
        assert!(everybody_reads(&file));
        set(&file, 0o640);
        assert!(!everybody_reads(&file) && !everybody_reads(&root.path().join("none")));
    }
}
