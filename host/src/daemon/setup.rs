//! From a config file to everything that is needed before anything is bound: validated values and opened plugins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use butler_plugin_api::abi::host::Library;

use crate::config::{Checks, Document, Level, Loaded, PluginSchema, Report, Rule, RuleRemark, ServerTls};
use crate::pipeline::{Vocabulary, check_rule};
use crate::plugins::{SearchPath, check_file};
use crate::qlik::ServerFiles;
use crate::rest::{Known, check_manifests};
use crate::store::now_ms;

/// A config without faults, with its plugins.
pub struct Setup {
    /// The config.
    pub loaded: Loaded,
    /// Opened plugins by name.
    pub libraries: BTreeMap<String, Opened>,
    /// Plugins of an earlier setup whose file is another one now.
    pub(super) replaced: Vec<String>,
    path: PathBuf,
    log_level: Option<Level>,
}

/// A plugin that was opened. Libraries are never closed, so this is for the life of the process.
#[derive(Clone)]
pub struct Opened {
    /// The plugin.
    pub library: Arc<Library>,
    path: PathBuf,
    changed: Option<SystemTime>,
}

impl Opened {
    fn new(path: PathBuf, library: Library) -> Self {
        Self { library: Arc::new(library), changed: changed(&path), path }
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file at this path is no longer the one that was opened.
    fn is_other(&self, path: &Path) -> bool {
        self.path != path || self.changed != changed(path)
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|file| file.modified()).ok()
}

/// What is needed to read a config anew.
pub(super) struct Again {
    path: PathBuf,
    log_level: Option<Level>,
    libraries: BTreeMap<String, Opened>,
}

impl Setup {
    pub(super) fn again(&self) -> Again {
        Again { path: self.path.clone(), log_level: self.log_level, libraries: self.libraries.clone() }
    }
}

struct HostChecks<'a> {
    /// The folder of the config.
    base_dir: &'a Path,
    /// `None` when a plugin could not be opened: nobody knows what endpoints it has.
    endpoints: Option<Known>,
    vocabulary: Vocabulary,
}

impl Checks for HostChecks<'_> {
    fn rule(&self, rule: &Rule) -> Vec<RuleRemark> {
        check_rule(rule, &self.vocabulary)
    }

    fn endpoint(&self, entry: &str) -> Result<(), Option<String>> {
        self.endpoints.as_ref().map_or(Ok(()), |known| known.check(entry))
    }

    fn server_tls(&self, tls: &ServerTls) -> Result<Option<String>, String> {
        let [certificate, key] = [&tls.certificate, &tls.key].map(|file| self.base_dir.join(file));
        let identity = ServerFiles::read(&certificate, &key).and_then(ServerFiles::open);
        let facts = identity.map_err(|error| error.to_string())?.facts;
        let now = now_ms();
        Ok(facts.filter(|facts| facts.has_expired(now)).map(|facts| facts.message("", now)))
    }
}

/// Reads a config file and opens the plugins that it uses. All faults are reported at once. `log_level` counts instead of
/// the file's.
pub fn load(path: &Path, log_level: Option<Level>) -> Result<Setup, Report> {
    load_again(Again { path: path.to_owned(), log_level, libraries: BTreeMap::new() })
}

/// Takes a config that is not in its file yet, and opens the plugins that it uses.
pub fn take(document: &Document, log_level: Option<Level>) -> Result<Setup, Report> {
    let path = document.path().to_owned();
    open(document, Again { path, log_level, libraries: BTreeMap::new() })
}

/// Reads a config file anew. Plugins that were opened stay as they are.
pub(super) fn load_again(again: Again) -> Result<Setup, Report> {
    open(&Document::read(&again.path)?, again)
}

fn open(document: &Document, again: Again) -> Result<Setup, Report> {
    let Again { path, log_level, libraries: opened } = again;
    let search = SearchPath::new(&document.plugin_dirs());
    let mut libraries: BTreeMap<String, Opened> = BTreeMap::new();
    let mut replaced = Vec::new();
    let mut unusable = Vec::new();
    let uses = document.uses();
    for used in uses.clone() {
        // A second instance with another pin is checked as well: the file is hashed again, not opened again.
        if let Some(known) = opened.get(&used.plugin) {
            match search.find(&used.plugin).and_then(|path| check_file(&path, used.sha256.as_deref()).map(|()| path)) {
                Ok(path) if known.is_other(&path) => replaced.push(format!("the file of the plugin `{}`", used.plugin)),
                Ok(_) => {}
                Err(error) => unusable.push((used.index, error.to_string())),
            }
            libraries.insert(used.plugin, known.clone());
            continue;
        }
        match search.open(&used.plugin, used.sha256.as_deref()) {
            Ok((path, library)) => match library.manifest().fault() {
                Some(fault) => unusable.push((used.index, format!("{}: {fault}", path.display()))),
                None => {
                    libraries.entry(used.plugin).or_insert_with(|| Opened::new(path, library));
                }
            },
            Err(error) => unusable.push((used.index, error.to_string())),
        }
    }
    let served = uses
        .iter()
        .filter_map(|used| Some((used.index, used.instance.as_str(), libraries.get(&used.plugin)?.library.manifest())));
    let manifests = unusable.is_empty().then(|| libraries.values().map(|opened| opened.library.manifest()));
    // What a plugin file emits that took the place of one that is open, a restart tells.
    let emitting = manifests.clone().filter(|_| replaced.is_empty());
    let (endpoints, vocabulary) = (manifests.map(Known::new), Vocabulary::new(emitting));
    unusable.extend(check_manifests(served));
    let schemas = libraries
        .iter()
        .map(|(name, opened)| {
            let settings_schema = opened.library.manifest().settings_schema.clone();
            (name.clone(), PluginSchema { settings_schema })
        })
        .collect();
    let checks = HostChecks { base_dir: document.base_dir(), endpoints, vocabulary };
    let mut loaded = document.validate(&schemas, unusable, &checks)?;
    for (name, opened) in &libraries {
        for hidden in search.hidden_by(&opened.path) {
            loaded.warnings.push(format!(
                "the plugin `{name}` is {}, which hides {}; remove the one that is not meant",
                opened.path.display(),
                hidden.display()
            ));
        }
    }
    let level = &mut loaded.config.log.level;
    *level = log_level.unwrap_or(*level);
    // What was opened once stays open, and known.
    let libraries = opened.into_iter().chain(libraries).collect();
    Ok(Setup { loaded, libraries, replaced, path, log_level })
}
