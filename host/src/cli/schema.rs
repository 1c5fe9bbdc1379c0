//! `butler schema`: the JSON Schemas, for editors and other programs.

use std::path::PathBuf;

use anyhow::Context as _;
use butler_plugin_api::Manifest;
use clap::Args;

use super::OptionalConfigFile;
use crate::config::{Document, compose, published};
use crate::plugins::{SearchPath, open_file};

#[derive(Debug, Args)]
pub(super) struct Schema {
    #[command(flatten)]
    file: OptionalConfigFile,
    /// Write all schemas into this folder, instead of the config's to standard output.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Schema {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let dirs = match &self.file.config {
            Some(path) => Document::read(path)?.plugin_dirs(),
            None => Vec::new(),
        };
        let mut manifests: Vec<Manifest> = Vec::new();
        for (name, path) in SearchPath::new(&dirs).files() {
            match open_file(&path, None) {
                Ok(library) => manifests.push(library.manifest().clone()),
                Err(error) => eprintln!("`{name}` is left out: {error}"),
            }
        }
        let Some(folder) = self.out else {
            println!("{}", serde_json::to_string_pretty(&compose(&manifests))?);
            return Ok(());
        };
        std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        for (name, schema) in published(&manifests) {
            let path = folder.join(name);
            let text = serde_json::to_string_pretty(&schema)? + "\n";
            std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
            println!("{}", path.display());
        }
        Ok(())
    }
}
