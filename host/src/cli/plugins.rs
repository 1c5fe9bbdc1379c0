//! `butler plugins`: which plugins are there, who uses them, which files are trusted, and how a new one begins.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde::Serialize;

use super::OptionalConfigFile;
use super::new::New;
use super::settings::Settings;
use crate::config::Document;
use crate::plugins::{SearchPath, open_file};

#[derive(Debug, Subcommand)]
pub(super) enum Plugins {
    /// List the plugins in the search path.
    List {
        #[command(flatten)]
        file: OptionalConfigFile,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the settings of a plugin as a table, from its schema.
    Settings(Settings),
    /// Write the SHA-256 of the plugins' files into the config: then no other files are opened. Again after an update.
    Pin(super::pin::Pin),
    /// Write the crate of a new plugin, with tests, into the present folder.
    New(New),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    version: String,
    api_version: String,
    description: String,
    instances: usize,
    file: String,
    /// Files of the same plugin later in the search path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hides: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Plugins {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List { file, json } => list(&file, json),
            Self::Settings(settings) => settings.run(),
            Self::Pin(pin) => pin.run(),
            Self::New(new) => new.run(),
        }
    }
}

fn list(file: &OptionalConfigFile, json: bool) -> anyhow::Result<()> {
    let document = file.config.as_deref().map(Document::read).transpose()?;
    let dirs = document.as_ref().map(Document::plugin_dirs).unwrap_or_default();
    let mut uses: BTreeMap<String, usize> = BTreeMap::new();
    for used in document.iter().flat_map(Document::uses) {
        *uses.entry(used.plugin).or_default() += 1;
    }
    let search = SearchPath::new(&dirs);
    let rows: Vec<Row> = search
        .files()
        .into_iter()
        .map(|(name, path)| {
            let opened = open_file(&path, None);
            let manifest = opened.as_ref().ok().map(|library| library.manifest().clone());
            let (version, api_version, description) =
                manifest.map(|m| (m.version, m.api_version, m.description)).unwrap_or_default();
            Row {
                instances: uses.remove(&name).unwrap_or_default(),
                name,
                version,
                api_version,
                description,
                file: path.display().to_string(),
                hides: search.hidden_by(&path).iter().map(|path| path.display().to_string()).collect(),
                error: opened.err().map(|error| error.to_string()),
            }
        })
        .collect();
    if json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print(&rows);
    }
    for name in uses.keys() {
        eprintln!("the config uses `{name}`, which is not in the search path");
    }
    Ok(())
}

fn print(rows: &[Row]) {
    println!("{:<20} {:<10} {:<8} {:>9}  DESCRIPTION", "NAME", "VERSION", "API", "INSTANCES");
    for row in rows {
        let text = row.error.as_deref().unwrap_or(&row.description);
        println!("{:<20} {:<10} {:<8} {:>9}  {text}", row.name, row.version, row.api_version, row.instances);
        for hidden in &row.hides {
            println!("{:<49}  {} is used and hides {hidden}", "", row.file);
        }
    }
    if rows.is_empty() {
        println!("none found; name their folder in `pluginDirs` of the config");
    }
}
