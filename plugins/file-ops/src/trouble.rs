//! Why an operation was not done, and how it is told.

use std::io;

use crate::path::Location;

/// Why an operation was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// What it is about does not exist.
    Missing,
    /// On the way to it a link leads out of the approved directory.
    LeadsOut,
    /// It is nothing that may be worked on; a sentence for the caller.
    Refused(String),
    /// The request can never work; a sentence for the caller.
    Invalid(String),
    /// It was tried and failed; why.
    Failed(String),
    /// The instance stops.
    Ending,
}

/// What is said then.
pub(crate) const ENDING: &str = "Butler stops, or the instance does: ask again later";

impl Trouble {
    /// Of an error on the way to something, or at it.
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.kind() {
            // A file in the place of a folder on the way.
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Missing,
            _ => Self::at_work(error),
        }
    }

    /// Of an error where what is needed is known to be there.
    pub(crate) fn at_work(error: &io::Error) -> Self {
        match error.kind() {
            _ if leads_out(error) => Self::LeadsOut,
            io::ErrorKind::InvalidFilename => Self::Invalid(format!("the path cannot be used: {}", explain(error))),
            _ => Self::Failed(explain(error)),
        }
    }

    /// Of an error with something inside of a tree.
    pub(crate) fn inside(name: &str, error: &io::Error) -> Self {
        Self::Failed(format!("`{name}` in it: {}", explain(error)))
    }

    /// An approved directory cannot be used.
    pub(crate) fn directory(directory: &Location, error: &io::Error) -> Self {
        Self::Failed(format!("the approved directory {directory} cannot be opened: {}", explain_directory(error)))
    }
}

/// Whether it is the refusal of a folder's handle, which has no number of the system.
fn leads_out(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none()
}

/// What is wrong and what would help, for people.
pub(crate) fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "there is no room left on the disk".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the disk is read-only".to_owned(),
        io::ErrorKind::PermissionDenied if leads_out(error) => "a link leads out of the approved directory".to_owned(),
        io::ErrorKind::PermissionDenied => "the system does not let Butler's user".to_owned(),
        io::ErrorKind::NotADirectory => "a file is where a directory must be".to_owned(),
        io::ErrorKind::NotFound => "it is gone".to_owned(),
        io::ErrorKind::InvalidFilename => "the file system does not take this name".to_owned(),
        io::ErrorKind::CrossesDevices => "another disk is mounted inside of it".to_owned(),
        _ => error.to_string(),
    }
}

/// The same for an approved directory.
pub(crate) fn explain_directory(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it is not there: make it, or mount what it is on".to_owned(),
        io::ErrorKind::NotADirectory => "it is a file: name a directory in the settings".to_owned(),
        _ => explain(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_becomes_what_a_caller_can_do_about_it() {
        let of = |kind: io::ErrorKind| Trouble::of(&kind.into());
        assert_eq!(of(io::ErrorKind::NotFound), Trouble::Missing);
        assert_eq!(of(io::ErrorKind::NotADirectory), Trouble::Missing);
        // Without a number of the system it is the handle's own refusal.
        assert_eq!(of(io::ErrorKind::PermissionDenied), Trouble::LeadsOut);
        assert!(matches!(of(io::ErrorKind::InvalidFilename), Trouble::Invalid(_)));
        assert_eq!(of(io::ErrorKind::StorageFull), Trouble::Failed("there is no room left on the disk".to_owned()));
        let denied = Trouble::at_work(&io::Error::from_raw_os_error(13));
        assert!(cfg!(windows) || denied == Trouble::Failed("the system does not let Butler's user".to_owned()));
    }
}
