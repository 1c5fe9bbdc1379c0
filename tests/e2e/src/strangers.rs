//! Plugins built outside of the workspace, by two compilers (`tests/third-party/build.sh`).

use std::path::{Path, PathBuf};

use crate::{library_name, plugin_file_name, target_dir};

/// Who built a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compiler {
    /// The compiler that builds the host.
    Workspace,
    /// Debian's.
    Debian,
}

/// The file of a stranger's plugin.
///
/// # Panics
/// When it has not been built.
pub fn stranger_file(plugin: &str, compiler: Compiler) -> PathBuf {
    let folder = match compiler {
        Compiler::Workspace => "workspace",
        Compiler::Debian => "debian",
    };
    let target = target_dir().parent().expect("a profile's folder is in the target folder").join("third-party");
    let path = target.join(folder).join("release").join(library_name(&format!("butler-plugin-{plugin}")));
    assert!(path.is_file(), "{} is missing: run `tests/third-party/build.sh` first", path.display());
    path
}

/// Copies a stranger's plugin into `plugins` in a folder.
///
/// # Panics
/// When it has not been built, or the folder cannot be written.
pub fn provide_stranger(folder: &Path, plugin: &str, compiler: Compiler) {
    let plugins = folder.join("plugins");
    std::fs::create_dir_all(&plugins).expect("the folder of the test can be written");
    std::fs::copy(stranger_file(plugin, compiler), plugins.join(plugin_file_name(plugin)))
        .expect("the folder of the test can be written");
}

/// What a library says of its compiler: `rustc version 1.95.0 (59807616e 2026-04-14)`.
///
/// # Panics
/// When it cannot be read, or names none.
pub fn compiler_of(library: &Path) -> String {
    const MARK: &[u8] = b"rustc version ";
    let bytes = std::fs::read(library).expect("the library can be read");
    let start = bytes.windows(MARK.len()).position(|window| window == MARK);
    let start = start.unwrap_or_else(|| panic!("{} does not name its compiler", library.display()));
    let text = bytes[start..].split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}
