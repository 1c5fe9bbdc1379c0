//! Room on disks.

use std::io;
use std::path::Path;

/// Room on the disk of a folder for who has no special rights, in bytes.
pub(crate) fn free_room(folder: &Path) -> io::Result<u64> {
    fs4::available_space(folder)
}
