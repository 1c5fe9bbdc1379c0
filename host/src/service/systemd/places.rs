//! Where a service reads and writes: paths as a unit names them, and what of it is there.

use std::path::{Component, Path, PathBuf};

use anyhow::Context as _;

/// A path without `.` and `..`, which systemd passes over in a unit. What `..` means where a folder is a link, the system says; other
/// links stay as they are, since somebody may turn them.
pub(super) fn plain(path: &Path) -> anyhow::Result<PathBuf> {
    let parts: Vec<Component<'_>> = path.components().collect();
    let Some(last) = parts.iter().rposition(|part| *part == Component::ParentDir) else {
        return Ok(parts.iter().collect());
    };
    let (up, rest) = parts.split_at(last + 1);
    let up = std::fs::canonicalize(up.iter().collect::<PathBuf>()).with_context(|| {
        format!("{} leads through a folder that is not there: name it without `..`", path.display())
    })?;
    Ok(up.components().chain(rest.iter().copied()).collect())
}

/// Of a folder and those above it the ones that are not there, the topmost first.
pub(super) fn missing(folder: &Path) -> Vec<&Path> {
    let mut missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    missing.reverse();
    missing
}

/// The folder itself, or the nearest one above it that is there.
pub(super) fn nearest(folder: &Path) -> &Path {
    folder.ancestors().find(|folder| folder.exists()).unwrap_or(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_plain_as_the_system_understands_them() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::create_dir(root.join("etc")).unwrap();
        std::os::unix::fs::symlink(root.join("a/b"), root.join("link")).unwrap();
        for (given, expected) in [
            ("etc/./butler.yaml", "etc/butler.yaml"),
            ("etc/../butler.yaml", "butler.yaml"),
            ("etc/../a/new/butler.db", "a/new/butler.db"),
            ("link/../butler.db", "a/butler.db"),
            ("link/butler.db", "link/butler.db"),
            ("a/b/../..", ""),
        ] {
            let is = plain(&root.join(given)).unwrap();
            assert_eq!(is.as_os_str(), root.join(expected).components().collect::<PathBuf>().as_os_str(), "{given}");
        }
        let error = plain(&root.join("none/../butler.db")).unwrap_err();
        assert!(error.to_string().contains("name it without `..`"), "{error}");
    }

    #[test]
    fn folders_are_missing_from_the_topmost_on() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        assert_eq!(missing(&deep), [&folder.path().join("a"), &deep]);
        assert_eq!(nearest(&deep), folder.path());
        assert_eq!((missing(folder.path()), nearest(folder.path())), (Vec::new(), folder.path()));
    }
}
