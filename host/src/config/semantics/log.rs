//! Where the log's files are.

use super::Semantics;
use crate::config::LogFile;

impl Semantics<'_> {
    /// `log.file`. Whether it can be written is no matter of the config: it is told by the daemon, which works on without it. So the
    /// disk is not even looked at, which might hang.
    pub(super) fn log(&mut self) {
        let Some(file) = self.section::<LogFile>("/log/file") else { return };
        self.size("/log/file/maxSize", file.max_size);
        let text = file.path.to_string_lossy();
        if file.path.file_name().is_none() || text.ends_with(['/', '\\']) {
            self.suggest("/log/file/path", "must name a file", "write the name as well, such as `logs/butler.log`");
        }
    }
}
