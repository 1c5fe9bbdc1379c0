//! Log appenders: the files by which services of Qlik Sense are told to send log lines to Butler.
//!
//! A service reads `LocalLogConfig.xml` in its folder below `C:\ProgramData\Qlik\Sense`. There is one such file for each
//! service, so that all tools share it: ours is written anew ([`document`]) or merged into what is there ([`merge`]).
//!
//! Sources: Qlik's schema of the file (root `configuration`; in it appenders, then loggers; in an appender filters,
//! parameters, layout), its limit of 1 MB, and that names of appenders must not begin with `$`. log4net takes the last of
//! several loggers of one name and forgets the appenders of the others, so a logger that is there is added to.

mod appenders;
mod merge;
mod write;

#[cfg(test)]
mod tests;

pub use appenders::{Service, Target, TargetError};
pub use merge::{MergeError, merge};
pub use write::document;

/// Longest file that Qlik Sense takes, in bytes. Whether its limit of 1 MB means more is not said.
pub const MAX_SIZE: usize = 1_000_000;
