//! Files that a command writes: all or none, and none in place of another.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// A file that is to be written.
#[derive(Debug)]
pub(crate) struct File {
    /// Below the folder that everything goes into.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    /// Whether nobody else may read it.
    pub(crate) private: bool,
}

/// A path below `out` as the user would write it.
pub(crate) fn shown(out: &Path, path: &Path) -> PathBuf {
    if out == Path::new(".") { path.to_owned() } else { out.join(path) }
}

/// Refuses to go on if one of the files is there already.
pub(crate) fn refuse_existing<'a>(out: &Path, paths: impl IntoIterator<Item = &'a Path>) -> anyhow::Result<()> {
    // A link that leads nowhere counts, too.
    let taken = paths.into_iter().map(|path| shown(out, path)).filter(|path| path.symlink_metadata().is_ok());
    let taken: Vec<String> = taken.map(|path| path.display().to_string()).collect();
    match taken.as_slice() {
        [] => Ok(()),
        [one] => bail!("{one} is there already and is kept: remove it, or name another folder (`--out`)"),
        all => {
            bail!("{} are there already and are kept: remove them, or name another folder (`--out`)", all.join(", "))
        }
    }
}

/// Writes the files below `out`. If one cannot be written, those that were are removed again.
pub(crate) fn write(out: &Path, files: &[File]) -> anyhow::Result<()> {
    let mut made = Made::default();
    made.write(out, files)?;
    made.keep();
    Ok(())
}

/// What was made so far. It is removed when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Made(Vec<(PathBuf, bool)>);

impl Made {
    /// Writes files below `out`.
    pub(crate) fn write(&mut self, out: &Path, files: &[File]) -> anyhow::Result<()> {
        refuse_existing(out, files.iter().map(|file| file.path.as_path()))?;
        for file in files {
            let path = out.join(&file.path);
            self.folders(path.parent().unwrap_or(out), file.private)
                .and_then(|()| self.file(&path, file))
                .with_context(|| format!("{} cannot be written, so nothing was", path.display()))?;
        }
        Ok(())
    }

    /// All is there: nothing is removed any more.
    pub(crate) fn keep(mut self) {
        self.0.clear();
    }

    fn folders(&mut self, folder: &Path, private: bool) -> io::Result<()> {
        if folder.as_os_str().is_empty() || folder.is_dir() {
            return Ok(());
        }
        if let Some(around) = folder.parent() {
            self.folders(around, false)?;
        }
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        if private {
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        }
        // Elsewhere a new folder has the access list of the one around it.
        let _ = (private, &mut builder);
        builder.create(folder)?;
        self.0.push((folder.to_owned(), true));
        Ok(())
    }

    fn file(&mut self, path: &Path, file: &File) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        if file.private {
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        }
        let mut opened = options.open(path)?;
        self.0.push((path.to_owned(), false));
        opened.write_all(file.text.as_bytes())?;
        opened.sync_all()
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for (path, is_folder) in self.0.drain(..).rev() {
            // What cannot be removed stays; the error that led here is told.
            let _ = if is_folder { fs::remove_dir(&path) } else { fs::remove_file(&path) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, private: bool) -> File {
        File { path: path.into(), text: format!("text of {path}"), private }
    }

    #[test]
    fn all_are_written_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("new/place");
        // A file where a folder should be: found only while writing.
        let files = [file("a/one", false), file("secrets/two", true), file("a/one/three", false)];
        let error = format!("{:#}", write(&out, &files).unwrap_err());
        assert!(error.contains("three cannot be written, so nothing was"), "{error}");
        assert!(!folder.path().join("new").exists(), "what was made is gone");
        // What came before it is gone as well.
        let mut made = Made::default();
        made.write(&out, &files[..2]).unwrap();
        made.write(&out, &files[2..]).unwrap_err();
        drop(made);
        assert!(!folder.path().join("new").exists(), "what was made before is gone");
        write(&out, &files[..2]).unwrap();
        assert_eq!(fs::read_to_string(out.join("a/one")).unwrap(), "text of a/one");
    }

    #[test]
    fn what_is_there_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b"), "mine").unwrap();
        let error = write(folder.path(), &[file("a", false), file("b", false)]).unwrap_err().to_string();
        assert!(error.contains("b is there already and is kept"), "{error}");
        assert_eq!(fs::read_to_string(folder.path().join("b")).unwrap(), "mine");
        assert!(!folder.path().join("a").exists());
    }

    #[cfg(unix)]
    #[test]
    fn secrets_are_their_owner_s() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[file("open", false), file("secrets/x", true)]).unwrap();
        let mode = |path: &str| folder.path().join(path).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("secrets"), mode("secrets/x")), (0o700, 0o600));
        assert_ne!(mode("open"), 0o600);
    }
}
