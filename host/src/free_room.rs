//! Room on disks.

use std::io;
use std::path::Path;

/// Room on the disk of a folder for who has no special rights, in bytes.
#[cfg(unix)]
pub(crate) fn free_room(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// The disk whose place leads furthest to the folder is the one that it is on.
#[cfg(windows)]
pub(crate) fn free_room(folder: &Path) -> io::Result<u64> {
    let folder = std::path::absolute(folder)?;
    let disks = sysinfo::Disks::new_with_refreshed_list();
    let ours = disks.list().iter().filter(|disk| folder.starts_with(disk.mount_point()));
    let ours = ours.max_by_key(|disk| disk.mount_point().as_os_str().len());
    ours.map(sysinfo::Disk::available_space)
        .ok_or_else(|| io::Error::other("it is on none of the disks of this machine"))
}
