//! `butler plugins pin`: writes the hashes of the plugin files into the config, so that no other file is opened.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::Args;

use super::ConfigFile;
use crate::config::Document;
use crate::plugins::{SearchPath, check_file, hash};

#[derive(Debug, Args)]
pub(super) struct Pin {
    #[command(flatten)]
    file: ConfigFile,
    /// Only these plugins; without any, all that the config uses.
    plugins: Vec<String>,
}

impl Pin {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let path = &self.file.config;
        let document = Document::read(path)?;
        let uses = document.uses();
        if let Some(unknown) = self.plugins.iter().find(|name| !uses.iter().any(|used| used.plugin == **name)) {
            bail!("{} does not use the plugin `{unknown}`; nothing was pinned", path.display());
        }
        let search = SearchPath::new(&document.plugin_dirs());
        let mut hashes: BTreeMap<String, String> = BTreeMap::new();
        let mut pins = Vec::new();
        for used in uses.into_iter().filter(|used| self.plugins.is_empty() || self.plugins.contains(&used.plugin)) {
            let sha256 = if let Some(sha256) = hashes.get(&used.plugin) {
                sha256.clone()
            } else {
                let file = search.find(&used.plugin)?;
                check_file(&file, None)?;
                let sha256 = hash(&file)?;
                println!("{:<20} {sha256}  {}", used.plugin, file.display());
                hashes.insert(used.plugin, sha256.clone());
                sha256
            };
            if used.sha256.as_deref().is_none_or(|old| !old.eq_ignore_ascii_case(&sha256)) {
                pins.push((used.index, sha256));
            }
        }
        if pins.is_empty() {
            println!("{} has these pins already", path.display());
            return Ok(());
        }
        let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let edited = document.with_pins(&text, &pins)?;
        replace(path, &edited).with_context(|| format!("{} cannot be written; it is as it was", path.display()))?;
        let noun = if pins.len() == 1 { "instance" } else { "instances" };
        println!("{}: {} {noun} pinned; in force after `butler reload` or a restart", path.display(), pins.len());
        Ok(())
    }
}

/// Puts a text in the place of a file, whole or not at all; rights and owner stay.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    // Where a link leads to is replaced, not the link.
    let path = path.canonicalize()?;
    let folder = path.parent().context("a file lies in a folder")?;
    let before = fs::metadata(&path)?;
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(text.as_bytes())?;
    fs::set_permissions(new.path(), before.permissions())?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        let now = new.as_file().metadata()?;
        if (now.uid(), now.gid()) != (before.uid(), before.gid()) {
            fchown(new.as_file(), Some(before.uid()), Some(before.gid()))?;
        }
    }
    new.as_file().sync_all()?;
    new.persist(&path)?;
    Ok(())
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    use super::*;

    #[test]
    fn a_replaced_file_keeps_rights_owner_and_the_link_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("real.yaml"), folder.path().join("butler.yaml"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&path, &link).unwrap();
        let root = fs::metadata(&path).unwrap().uid() == 0;
        if root {
            chown(&path, Some(4711), Some(4712)).unwrap();
        }
        replace(&link, "new").unwrap();
        let after = fs::metadata(&path).unwrap();
        assert_eq!((fs::read_to_string(&link).unwrap().as_str(), after.mode() & 0o777), ("new", 0o640));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(!root || (after.uid(), after.gid()) == (4711, 4712));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside it");
    }
}
