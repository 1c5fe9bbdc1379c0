//! The files of a migration. None that is there is replaced.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// Who may read a file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    /// As the system has it.
    Usual,
    /// Its owner alone; on Windows as its folder has it.
    Owner,
}

/// Files to be written, by their names in the folder.
#[derive(Debug, Default)]
pub(super) struct Files(BTreeMap<String, (String, Readers)>);

impl Files {
    /// Adds one. Parts of the name are parted by `/`.
    pub fn add(&mut self, name: &str, text: String, readers: Readers) {
        self.0.insert(name.to_owned(), (text, readers));
    }

    /// Writes them into a folder, or none of them if one is there; their paths. `reserved` is a name that is written later.
    pub fn write(&self, folder: &Path, reserved: &str) -> anyhow::Result<Vec<PathBuf>> {
        let there = self.0.keys().map(String::as_str).chain([reserved]).map(|name| folder.join(name));
        if let Some(path) = there.into_iter().find(|path| path.symlink_metadata().is_ok()) {
            bail!("{} is there already: name another folder with `--out`, or remove it", path.display());
        }
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let mut written = Vec::new();
        for (name, (text, readers)) in &self.0 {
            let path = folder.join(name);
            if let Some(parent) = path.parent().filter(|parent| *parent != folder) {
                make_folder(parent, *readers).with_context(|| format!("{} cannot be made", parent.display()))?;
            }
            write(&path, text, *readers)?;
            written.push(path);
        }
        Ok(written)
    }
}

/// Writes a new file.
pub(super) fn write(path: &Path, text: &str, readers: Readers) -> anyhow::Result<()> {
    let written = create(path, readers).and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("{} cannot be written", path.display()))
}

fn create(path: &Path, readers: Readers) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if readers == Readers::Owner {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    #[cfg(not(unix))]
    let _ = readers;
    options.open(path)
}

fn make_folder(path: &Path, readers: Readers) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    if readers == Readers::Owner {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    #[cfg(not(unix))]
    let _ = readers;
    match builder.create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_replaced_and_secrets_are_their_owners() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("a/b");
        let mut files = Files::default();
        files.add("butler.yaml", "x".to_owned(), Readers::Usual);
        files.add("secrets/token", "s".to_owned(), Readers::Owner);
        let written = files.write(&out, "report.md").unwrap();
        assert_eq!(written, [out.join("butler.yaml"), out.join("secrets/token")]);
        assert_eq!(std::fs::read_to_string(out.join("secrets/token")).unwrap(), "s");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |name: &str| std::fs::metadata(out.join(name)).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode("secrets"), mode("secrets/token")), (0o700, 0o600));
        }
        std::fs::remove_file(out.join("butler.yaml")).unwrap();
        let error = files.write(&out, "report.md").unwrap_err().to_string();
        assert!(error.contains("token is there already: name another folder with `--out`"), "{error}");
        assert!(!out.join("butler.yaml").exists());
        std::fs::remove_dir_all(out.join("secrets")).unwrap();
        std::fs::write(out.join("report.md"), "").unwrap();
        assert!(files.write(&out, "report.md").unwrap_err().to_string().contains("report.md is there already"));
    }
}
