//! Whether a plugin file is the one that is meant: who could have changed it, and its hash.

use std::fmt::Write;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::discover::PluginError;

/// Checks that nobody else could have put a file there and, with a pin, that it is the pinned one.
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

/// SHA-256 of a file in hexadecimal digits.
pub fn hash(path: &Path) -> Result<String, PluginError> {
    let bytes = std::fs::read(path).map_err(|cause| PluginError::Unreadable { path: path.to_owned(), cause })?;
    Ok(Sha256::digest(&bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// Refuses a file that every user may change, or replace: in its folder, or together with a folder above.
#[cfg(unix)]
fn refuse_writable(path: &Path) -> Result<(), PluginError> {
    use std::os::unix::fs::MetadataExt;

    const OTHERS_WRITE: u32 = 0o002;
    // In such a folder users may add files, but not rename or remove those of others.
    const STICKY: u32 = 0o1000;
    let unreadable = |path: &Path, cause| PluginError::Unreadable { path: path.to_owned(), cause };
    let mode = |path: &Path| std::fs::metadata(path).map(|file| file.mode()).map_err(|cause| unreadable(path, cause));
    let refuse = |path: &Path| Err(PluginError::Writable { path: path.to_owned() });
    // By links it can be reached by one way and lie on another.
    let absolute = std::path::absolute(path).map_err(|cause| unreadable(path, cause))?;
    let real = path.canonicalize().map_err(|cause| unreadable(path, cause))?;
    for path in [&real, &absolute] {
        // What lies beside a plugin is looked at as well, so nobody may add to its folder either.
        for path in path.ancestors().take(2) {
            if mode(path)? & OTHERS_WRITE != 0 {
                return refuse(path);
            }
        }
        for folder in path.ancestors().skip(2) {
            if mode(folder)? & (OTHERS_WRITE | STICKY) == OTHERS_WRITE {
                return refuse(folder);
            }
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

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// What is refused: a file in `a/b`, some of them with other rights than usual.
    fn refused(modes: &[(&str, u32)], through: Option<&str>) -> Option<String> {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::write(at("a/b/file"), "").unwrap();
        symlink(at("a"), at("link")).unwrap();
        std::fs::create_dir(at("open")).unwrap();
        symlink(at("a/b/file"), at("open/file")).unwrap();
        for (name, mode) in [("a", 0o755), ("a/b", 0o755), ("a/b/file", 0o644), ("open", 0o777)].iter().chain(modes) {
            std::fs::set_permissions(at(name), PermissionsExt::from_mode(*mode)).unwrap();
        }
        match check_file(&at(through.unwrap_or("a/b/file")), None) {
            Ok(()) => None,
            Err(PluginError::Writable { path }) => {
                let root = root.path().canonicalize().unwrap();
                Some(path.strip_prefix(&root).unwrap().display().to_string())
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn what_everybody_may_change_replace_or_move_away_is_refused() {
        assert_eq!(refused(&[], None), None);
        assert_eq!(refused(&[("a/b/file", 0o666)], None).as_deref(), Some("a/b/file"));
        assert_eq!(refused(&[("a/b", 0o777)], None).as_deref(), Some("a/b"));
        assert_eq!(refused(&[("a/b", 0o1777)], None).as_deref(), Some("a/b"), "another file may be put beside it");
        assert_eq!(refused(&[("a", 0o777)], None).as_deref(), Some("a"), "the folder may be replaced");
        assert_eq!(refused(&[("a", 0o1777)], None), None);
        assert_eq!(refused(&[("a", 0o777)], Some("link/b/file")).as_deref(), Some("a"), "where it really lies");
        assert_eq!(refused(&[], Some("open/file")).as_deref(), Some("open"), "the link may be replaced");
    }

    #[test]
    fn a_pin_fits_one_content_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "abc").unwrap();
        let right = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";
        check_file(&path, Some(right)).unwrap();
        std::fs::write(&path, "abd").unwrap();
        let error = check_file(&path, Some(right)).unwrap_err().to_string();
        assert!(error.contains("the config asks for BA78") && error.contains("butler plugins pin"), "{error}");
    }
}
