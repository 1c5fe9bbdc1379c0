//! Who may read a file: what differs between systems, and the command that keeps others out on Windows.

use std::path::Path;

/// A system, as far as rights of files go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Platform {
    /// Files have modes.
    Unix,
    /// Files have access lists, and new ones that of the folder around them.
    Windows,
}

impl Platform {
    /// This machine's.
    pub(crate) const THIS: Self = if cfg!(windows) { Self::Windows } else { Self::Unix };
}

/// The command for Windows after which only the system, administrators and `ACCOUNT` may read a file, or a folder with all that
/// is in it.
pub(crate) fn icacls(path: &Path, is_folder: bool) -> String {
    let inherited = if is_folder { "(OI)(CI)" } else { "" };
    closed(path, inherited, "R")
}

/// The same of a folder, in which `ACCOUNT` may also write.
#[cfg_attr(not(any(windows, test)), allow(dead_code, reason = "for services of Windows"))]
pub(crate) fn icacls_written(folder: &Path) -> String {
    closed(folder, "(OI)(CI)", "M")
}

/// System and administrators by their well-known ids, since names are in the system's language.
fn closed(path: &Path, inherited: &str, right: &str) -> String {
    format!(
        "icacls {} /inheritance:r /grant:r \"*S-1-5-18:{inherited}F\" \"*S-1-5-32-544:{inherited}F\" \"ACCOUNT:{inherited}{right}\"",
        quoted(path)
    )
}

/// A path for `icacls`, which takes a `\"` at the end of a drive's root for a quote.
pub(crate) fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let end = if path.ends_with('\\') { "." } else { "" };
    format!("\"{path}{end}\"")
}
