//! What the account of a service may do with files, as commands that give it just that.

use std::path::{Path, PathBuf};

use crate::file_rights::{icacls, icacls_written, quoted};

/// Folders and files that the service needs.
pub(super) struct Needs<'a> {
    /// Folder of the executable, its plugins beside it.
    pub(super) program: &'a Path,
    /// Folder of the config.
    pub(super) config: &'a Path,
    /// Folders of the plugins that the config names.
    pub(super) plugins: Vec<PathBuf>,
    /// Folders that are written: store, log.
    pub(super) written: Vec<PathBuf>,
    /// Those of them that are new, and nobody else's.
    pub(super) made: &'a [PathBuf],
    /// Files that are read, wherever they are.
    pub(super) read: Vec<PathBuf>,
    /// Files with secrets.
    pub(super) private: &'a [PathBuf],
}

/// The commands, in this order: others win over the rights of folders around them.
pub(super) fn commands(needs: Needs<'_>, account: &str) -> Vec<String> {
    let Needs { program, config, plugins, mut written, made, read: files, private } = needs;
    let grant =
        |folder: &Path, rights: &str| format!("icacls {} /grant \"{account}:(OI)(CI){rights}\"", quoted(folder));
    let mut run: Vec<&Path> = vec![program];
    for folder in [config].into_iter().chain(plugins.iter().map(PathBuf::as_path)) {
        // Rights of a folder are those of what is in it.
        if !run.iter().any(|known| folder.starts_with(known)) {
            run.push(folder);
        }
    }
    written.sort();
    written.dedup();
    let elsewhere =
        files.iter().filter(|file| !run.iter().any(|folder| file.starts_with(folder)) && !private.contains(file));
    let elsewhere: Vec<String> =
        elsewhere.map(|file| format!("icacls {} /grant \"{account}:R\"", quoted(file))).collect();
    let read = run.into_iter().map(|folder| grant(folder, "RX")).chain(elsewhere);
    // What every user of the machine may read goes for new folders as well: the store, and the token beside it.
    let write = written.iter().map(|folder| {
        if made.contains(folder) { icacls_written(folder).replace("ACCOUNT", account) } else { grant(folder, "M") }
    });
    let secret = private.iter().map(|file| icacls(file, false).replace("ACCOUNT", account));
    read.chain(write).chain(secret).collect()
}

/// Whether one of the folders that are written is that of executable or config, or around it.
pub(super) fn may_replace(written: &[PathBuf], program: &Path, config: &Path) -> bool {
    written.iter().any(|folder| program.starts_with(folder) || config.starts_with(folder))
}

/// The path on a server that a path on a mapped drive stands for; `canonical` is what the system makes of it. Drives are mapped for
/// who is logged on, and services have none.
pub(super) fn behind_mapped_drive(path: &str, canonical: &str) -> Option<String> {
    let drive = path.as_bytes().get(1) == Some(&b':');
    let server = canonical.strip_prefix(r"\\?\UNC\")?;
    drive.then(|| format!(r"\\{server}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_gets_what_it_needs_and_no_more() {
        let needs = Needs {
            program: Path::new("/butler"),
            config: Path::new("/butler/config"),
            plugins: vec![PathBuf::from("/other"), PathBuf::from("/butler/plugins")],
            written: vec![
                PathBuf::from("/butler/data"),
                PathBuf::from("/butler/config/logs"),
                PathBuf::from("/butler/data"),
                PathBuf::from("D:\\"),
            ],
            made: &[PathBuf::from("/butler/config/logs")],
            read: ["/butler/config/client.pem", "/pki/root.pem", "/pki/key.pem"].map(PathBuf::from).to_vec(),
            private: &["/butler/config/key.pem", "/pki/key.pem"].map(PathBuf::from),
        };
        let expected = [
            r#"icacls "/butler" /grant "NT SERVICE\butler:(OI)(CI)RX""#,
            r#"icacls "/other" /grant "NT SERVICE\butler:(OI)(CI)RX""#,
            r#"icacls "/pki/root.pem" /grant "NT SERVICE\butler:R""#,
            r#"icacls "/butler/config/logs" /inheritance:r /grant:r "*S-1-5-18:(OI)(CI)F" "*S-1-5-32-544:(OI)(CI)F" "NT SERVICE\butler:(OI)(CI)M""#,
            r#"icacls "/butler/data" /grant "NT SERVICE\butler:(OI)(CI)M""#,
            r#"icacls "D:\." /grant "NT SERVICE\butler:(OI)(CI)M""#,
            r#"icacls "/butler/config/key.pem" /inheritance:r /grant:r "*S-1-5-18:F" "*S-1-5-32-544:F" "NT SERVICE\butler:R""#,
            r#"icacls "/pki/key.pem" /inheritance:r /grant:r "*S-1-5-18:F" "*S-1-5-32-544:F" "NT SERVICE\butler:R""#,
        ];
        assert_eq!(commands(needs, r"NT SERVICE\butler"), expected);
    }

    #[test]
    fn a_store_beside_executable_or_config_is_noticed() {
        let [program, config] = ["/butler", "/etc/butler"].map(Path::new);
        for (written, expected) in [("/data", false), ("/etc/butler/data", false), ("/etc/butler", true), ("/", true)] {
            assert_eq!(may_replace(&[PathBuf::from(written)], program, config), expected, "{written}");
        }
    }

    #[test]
    fn mapped_drives_are_seen_by_what_is_behind_them() {
        let server = behind_mapped_drive(r"Q:\butler.yaml", r"\\?\UNC\files\qlik\butler.yaml");
        assert_eq!(server.as_deref(), Some(r"\\files\qlik\butler.yaml"));
        assert_eq!(behind_mapped_drive(r"C:\butler.yaml", r"\\?\C:\butler.yaml"), None);
        assert_eq!(behind_mapped_drive(r"\\files\qlik\butler.yaml", r"\\?\UNC\files\qlik\butler.yaml"), None);
    }
}
