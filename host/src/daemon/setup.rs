//! From a config file to everything that is needed before anything is bound: validated values and opened plugins.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use butler_plugin_api::abi::host::Library;

use crate::config::{Checks, Document, Loaded, PluginSchema, Report, Rule};
use crate::pipeline::check_rule;
use crate::plugins::{SearchPath, manifest_fault};
use crate::rest::check_endpoints;

/// A config without faults, with its plugins.
pub struct Setup {
    /// The config.
    pub loaded: Loaded,
    /// Opened plugins by name.
    pub libraries: BTreeMap<String, Arc<Library>>,
}

struct RuleChecks;

impl Checks for RuleChecks {
    fn rule(&self, rule: &Rule) -> Vec<(String, String)> {
        check_rule(rule)
    }
}

/// Reads a config file and opens the plugins that it uses. All faults are reported at once.
pub fn load(path: &Path) -> Result<Setup, Report> {
    let document = Document::read(path)?;
    let search = SearchPath::new(&document.plugin_dirs());
    let mut libraries: BTreeMap<String, Arc<Library>> = BTreeMap::new();
    let mut unusable = Vec::new();
    let uses = document.uses();
    for used in uses.clone() {
        // A second instance with another pin is checked as well: the file is hashed again, not opened again.
        match search.open(&used.plugin, used.sha256.as_deref()) {
            Ok((path, library)) => match manifest_fault(library.manifest()) {
                Some(fault) => unusable.push((used.index, format!("{}: {fault}", path.display()))),
                None => {
                    libraries.entry(used.plugin).or_insert_with(|| Arc::new(library));
                }
            },
            Err(error) => unusable.push((used.index, error.to_string())),
        }
    }
    let served = uses
        .iter()
        .filter_map(|used| Some((used.index, used.instance.as_str(), libraries.get(&used.plugin)?.manifest())));
    unusable.extend(check_endpoints(served));
    let schemas = libraries
        .iter()
        .map(|(name, library)| {
            let settings_schema = library.manifest().settings_schema.clone();
            (name.clone(), PluginSchema { settings_schema })
        })
        .collect();
    let loaded = document.validate(&schemas, unusable, &RuleChecks)?;
    Ok(Setup { loaded, libraries })
}
