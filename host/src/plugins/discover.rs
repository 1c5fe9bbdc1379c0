//! Finds plugin files and checks that they may be opened.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use butler_plugin_api::Manifest;
use butler_plugin_api::abi::host::{Library, OpenError};
use sha2::{Digest, Sha256};

/// The folders that are searched, in order.
#[derive(Debug, Clone)]
pub struct SearchPath(Vec<PathBuf>);

/// Why a plugin cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// No such file.
    #[error(
        "no plugin `{name}`: there is no file {file} in {folders}; install it there, or name its folder in `pluginDirs`{similar}"
    )]
    NotFound {
        /// Name of the plugin.
        name: String,
        /// File name that was looked for.
        file: String,
        /// Folders that were searched.
        folders: String,
        /// What the user may have meant.
        similar: String,
    },
    /// Anybody could have put it there.
    #[error("{path} may be changed by every user of this machine; take that right away (`chmod o-w`)")]
    Writable {
        /// File or folder.
        path: PathBuf,
    },
    /// Not the file that the config asks for.
    #[error("{path} has sha256 {found}, the config asks for {pinned}; install the right file, or correct `sha256`")]
    Pin {
        /// The file.
        path: PathBuf,
        /// Its hash.
        found: String,
        /// The config's.
        pinned: String,
    },
    /// It cannot be read.
    #[error("{path} cannot be read: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// It is not a plugin for this host.
    #[error("{path} {cause}{remedy}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: OpenError,
        /// What to do.
        remedy: &'static str,
    },
    /// The file calls itself otherwise.
    #[error("{path} holds the plugin `{found}`, its file name says `{expected}`; name the file {file}")]
    Name {
        /// The file.
        path: PathBuf,
        /// Name in its manifest.
        found: String,
        /// Name by its file.
        expected: String,
        /// What the file should be called.
        file: String,
    },
}

/// File name of a plugin on this system.
pub fn file_name(plugin: &str) -> String {
    let stem = plugin.replace('-', "_");
    format!("{}butler_plugin_{stem}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
}

/// The plugin name in a file name of this system.
fn plugin_name(file: &str) -> Option<String> {
    let stem = file.strip_prefix(std::env::consts::DLL_PREFIX)?.strip_prefix("butler_plugin_")?;
    Some(stem.strip_suffix(std::env::consts::DLL_SUFFIX)?.replace('_', "-"))
}

impl SearchPath {
    /// The folders of the config, then the executable's folder and `plugins` beside it.
    pub fn new(plugin_dirs: &[PathBuf]) -> Self {
        let mut folders = plugin_dirs.to_vec();
        if let Some(folder) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
            folders.extend([folder.to_owned(), folder.join("plugins")]);
        }
        Self(folders)
    }

    /// Every plugin file, by name; the first folder that has a name wins.
    pub fn files(&self) -> BTreeMap<String, PathBuf> {
        let mut files = BTreeMap::new();
        for folder in &self.0 {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            for entry in entries.flatten() {
                if let Some(name) = entry.file_name().to_str().and_then(plugin_name) {
                    files.entry(name).or_insert_with(|| entry.path());
                }
            }
        }
        files
    }

    /// The file of a plugin.
    pub fn find(&self, plugin: &str) -> Result<PathBuf, PluginError> {
        let file = file_name(plugin);
        if let Some(path) = self.0.iter().map(|folder| folder.join(&file)).find(|path| path.is_file()) {
            return Ok(path);
        }
        let near = self.files().into_keys().map(|name| (strsim::damerau_levenshtein(&name, plugin), name)).min();
        let similar = match near {
            Some((distance, name)) if distance <= 3 => format!("; did you mean `{name}`?"),
            _ => String::new(),
        };
        let folders = self.0.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ");
        Err(PluginError::NotFound { name: plugin.to_owned(), file, folders, similar })
    }

    /// Finds, checks and opens a plugin.
    pub fn open(&self, plugin: &str, sha256: Option<&str>) -> Result<(PathBuf, Library), PluginError> {
        let path = self.find(plugin)?;
        let library = open_file(&path, sha256)?;
        let found = &library.manifest().name;
        if found != plugin {
            let (found, expected) = (found.clone(), plugin.to_owned());
            let file = file_name(&found);
            return Err(PluginError::Name { path, found, expected, file });
        }
        Ok((path, library))
    }
}

/// Checks that a file is the one that is meant.
pub fn check_file(path: &Path, sha256: Option<&str>) -> Result<(), PluginError> {
    refuse_writable(path)?;
    if let Some(pinned) = sha256 {
        let found = hash(path)?;
        if !found.eq_ignore_ascii_case(pinned) {
            return Err(PluginError::Pin { path: path.to_owned(), found, pinned: pinned.to_owned() });
        }
    }
    Ok(())
}

/// Checks a file and opens it.
pub fn open_file(path: &Path, sha256: Option<&str>) -> Result<Library, PluginError> {
    check_file(path, sha256)?;
    Library::open(path).map_err(|cause| {
        if let OpenError::Layout { detail } = &cause {
            tracing::debug!(path = %path.display(), "{detail}");
        }
        let remedy = match &cause {
            OpenError::Version { .. } => {
                "; install the build of the plugin for this Butler, or the Butler that it was built for"
            }
            OpenError::Inspect(_) => "; install the plugin's file for this system again",
            _ => "",
        };
        PluginError::Open { path: path.to_owned(), cause, remedy }
    })
}

/// SHA-256 of a file in hexadecimal digits.
pub fn hash(path: &Path) -> Result<String, PluginError> {
    let bytes = std::fs::read(path).map_err(|cause| PluginError::Unreadable { path: path.to_owned(), cause })?;
    Ok(Sha256::digest(&bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// Refuses a file that every user may change, or replace in its folder.
#[cfg(unix)]
fn refuse_writable(path: &Path) -> Result<(), PluginError> {
    use std::os::unix::fs::MetadataExt;

    const OTHERS_WRITE: u32 = 0o002;
    for path in [Some(path), path.parent()].into_iter().flatten() {
        let unreadable = |cause| PluginError::Unreadable { path: path.to_owned(), cause };
        if std::fs::metadata(path).map_err(unreadable)?.mode() & OTHERS_WRITE != 0 {
            return Err(PluginError::Writable { path: path.to_owned() });
        }
    }
    Ok(())
}

/// On Windows the access lists of the program's folder decide; the installer sets them.
#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps, reason = "the signature of the other systems")]
fn refuse_writable(_: &Path) -> Result<(), PluginError> {
    Ok(())
}

/// Longest time for one call of `deliver` in seconds: a plugin that hangs must be noticed some day.
const MAX_DEADLINE: u32 = 3600;

/// Where the manifest says something that cannot be: the author's fault, told as such.
pub fn manifest_fault(manifest: &Manifest) -> Option<String> {
    if !(1..=1000).contains(&manifest.batch.max) {
        return Some(format!("its manifest asks for batches of {}, 1 to 1000 are possible", manifest.batch.max));
    }
    if !(1..=1000).contains(&manifest.concurrency) {
        return Some(format!("its manifest asks for a concurrency of {}, 1 to 1000 is possible", manifest.concurrency));
    }
    if !(1..=MAX_DEADLINE).contains(&manifest.deadline_seconds) {
        let asked = manifest.deadline_seconds;
        return Some(format!("its manifest asks for a deadline of {asked} s, 1 to {MAX_DEADLINE} are possible"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_files() {
        assert_eq!(plugin_name(&file_name("big-chat")).as_deref(), Some("big-chat"));
        assert_eq!(plugin_name("libother.so"), None);
    }

    #[test]
    fn a_missing_plugin_is_named_with_the_nearest_one() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(file_name("chats")), "").unwrap();
        let search = SearchPath(vec![folder.path().to_owned()]);
        let error = search.find("chat").unwrap_err().to_string();
        assert!(error.contains("did you mean `chats`?") && error.contains(&file_name("chat")), "{error}");
    }

    #[test]
    fn what_is_no_library_is_refused_before_it_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file_name("x"));
        std::fs::write(&path, "no library").unwrap();
        let error = open_file(&path, None).unwrap_err().to_string();
        assert!(error.contains("is not a dynamic library"), "{error}");
        let error = open_file(&path, Some(&"0".repeat(64))).unwrap_err().to_string();
        assert!(error.contains("the config asks for 000"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_everybody_may_change_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file_name("x"));
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(open_file(&path, None), Err(PluginError::Writable { .. })));
    }
}
