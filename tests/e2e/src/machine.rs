//! The machine around a daemon: its disk, its memory, and its store as another program sees it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;

/// A folder on a file system of its own, which is unmounted when this is dropped: declare it before its daemon.
///
/// Mounting needs root; where it is not allowed, the test fails.
pub struct Disk {
    folder: Arc<TempDir>,
    /// File that holds the file system.
    image: Option<TempDir>,
}

impl Disk {
    /// A disk in memory with so much room.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn in_memory(megabytes: u32) -> Self {
        let folder = Arc::new(TempDir::new().expect("a folder can be made"));
        let size = format!("size={megabytes}m");
        command("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", text(folder.path())]);
        Self { folder, image: None }
    }

    /// A disk that can fail under open files: see [`Disk::fail`].
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn in_file(megabytes: u32) -> Self {
        let (folder, image) = (TempDir::new(), TempDir::new());
        let folder = Arc::new(folder.expect("a folder can be made"));
        let image = image.expect("a folder can be made");
        command("truncate", &["-s", &format!("{megabytes}M"), text(&image_file(&image))]);
        command("mkfs.ext4", &["-q", "-F", text(&image_file(&image))]);
        let disk = Self { folder, image: Some(image) };
        disk.mount_image();
        disk
    }

    /// Its folder.
    pub fn folder(&self) -> Arc<TempDir> {
        self.folder.clone()
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Nobody may write any more; refused by the system while a file is open for writing.
    ///
    /// # Panics
    /// When it cannot be remounted.
    pub fn read_only(&self) {
        command("mount", &["-o", "remount,ro", text(self.path())]);
    }

    /// What the system does after an error of the disk: it is read-only from now on, for open files too.
    ///
    /// # Panics
    /// When it cannot be remounted, or is not one [`in_file`](Self::in_file).
    pub fn fail(&self) {
        assert!(self.image.is_some(), "only a disk in a file can fail");
        command("mount", &["-o", "remount,abort", text(self.path())]);
        let error = std::fs::write(self.path().join("probe"), "x").expect_err("the disk is read-only");
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    }

    /// Checks and mounts it again, with nobody using it.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn repair(&self) {
        let image = self.image.as_ref().expect("only a disk in a file can be repaired");
        command("umount", &[text(self.path())]);
        // Its exit code 1: mended.
        let checked = Command::new("fsck.ext4").args(["-f", "-y"]).arg(image_file(image)).output();
        let checked = checked.expect("fsck.ext4 is installed");
        assert!(checked.status.code().is_some_and(|code| code <= 1), "{checked:?}");
        self.mount_image();
    }

    fn mount_image(&self) {
        let image = image_file(self.image.as_ref().expect("the disk has a file"));
        command("mount", &["-o", "loop", text(&image), text(self.path())]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a daemon that is still there must not keep it.
        let _ = Command::new("umount").arg("-l").arg(self.path()).stderr(Stdio::null()).status();
    }
}

/// A folder on a file system that answers nobody, as a share whose server is gone: whoever asks for anything in it waits, until this
/// is dropped. Declare it before its daemon.
pub struct HangingDisk {
    folder: TempDir,
    /// Where its driver would read and answer.
    driver: Option<File>,
}

impl HangingDisk {
    /// One that hangs.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a folder can be made");
        let driver = File::options().read(true).write(true).open("/dev/fuse");
        let driver = driver.expect("this test needs root, and a system with FUSE");
        let input = driver.try_clone().expect("a file can be opened twice");
        let options = "fd=0,rootmode=40000,user_id=0,group_id=0,allow_other";
        let output = Command::new("mount")
            .args(["-i", "-t", "fuse", "-o", options, "hangs", text(folder.path())])
            .stdin(input)
            .output()
            .expect("this test needs `mount`");
        assert!(output.status.success(), "it cannot be mounted: {output:?}");
        Self { folder, driver: Some(driver) }
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Default for HangingDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for HangingDisk {
    fn drop(&mut self) {
        // Whoever waits gets an error now; before that `umount` would wait as well.
        self.driver = None;
        let _ = Command::new("umount").arg("-l").arg(self.path()).stderr(Stdio::null()).status();
    }
}

fn image_file(folder: &TempDir) -> PathBuf {
    folder.path().join("disk.img")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

fn command(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("this test needs `{program}`: {error}"));
    assert!(
        output.status.success(),
        "`{program} {}` failed, and the test with it (it needs root and loop devices): {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Writes to a file until its disk has no room left; how many bytes went in.
///
/// # Panics
/// When the file cannot be opened, or fails otherwise than for want of room.
pub fn take_all_room(file: &Path) -> usize {
    let mut file = File::options().create(true).append(true).open(file).expect("the filler can be opened");
    let mut taken = 0;
    for size in [1 << 16, 1 << 12, 1] {
        let block = vec![0x58; size];
        loop {
            match file.write(&block) {
                Ok(count) => taken += count,
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                Err(error) => panic!("the filler cannot be written: {error}"),
            }
        }
    }
    taken
}

/// Takes all room of a disk, and again whatever becomes free, until it is dropped; then it gives it back.
pub struct Filler {
    file: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Filler {
    /// Fills it.
    ///
    /// # Panics
    /// When the filler cannot be written.
    pub fn start(disk: &Disk) -> Self {
        let file = disk.path().join("filler");
        take_all_room(&file);
        let stop = Arc::new(AtomicBool::new(false));
        let (target, stopping) = (file.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !stopping.load(Ordering::Acquire) {
                take_all_room(&target);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self { file, stop, thread: Some(thread) }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.file);
    }
}

/// Runs SQL in a store with the program `sqlite3`, beside a daemon or without one, and returns what it prints.
///
/// # Panics
/// When the program is missing or fails.
pub fn sqlite(store: &Path, sql: &str) -> String {
    let mut child = Command::new("sqlite3")
        .args(["-bail", "-batch", "-cmd", ".timeout 20000"])
        .arg(store)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sqlite3 is installed (tests/packages.txt)");
    child.stdin.take().expect("it has a pipe").write_all(sql.as_bytes()).expect("sqlite3 reads");
    let output = child.wait_with_output().expect("sqlite3 ends");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stderr.is_empty(), "sqlite3: {}\n{stdout}{stderr}\n{sql}", output.status);
    stdout.trim().to_owned()
}

/// Keeps a store from being written by others, until it is dropped.
pub struct StoreLock(Child);

impl StoreLock {
    /// Locks a store; it is locked when this returns.
    ///
    /// # Panics
    /// When the program is missing or does not get the lock.
    pub fn take(store: &Path) -> Self {
        let mut child = Command::new("sqlite3")
            .arg(store)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sqlite3 is installed (tests/packages.txt)");
        let input = child.stdin.as_mut().expect("it has a pipe");
        input.write_all(b".timeout 10000\nBEGIN IMMEDIATE;\n.print locked\n").expect("sqlite3 reads");
        let mut line = String::new();
        let output = child.stdout.take().expect("it has a pipe");
        BufReader::new(output).read_line(&mut line).expect("sqlite3 writes");
        assert_eq!(line.trim(), "locked");
        Self(child)
    }
}

impl Drop for StoreLock {
    fn drop(&mut self) {
        // At the end of its input it ends, and with it the lock.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The same in a copy of what a killed daemon left: the store's own recovery is left to the next daemon.
///
/// # Panics
/// When the store cannot be copied, the program is missing or fails.
pub fn sqlite_of_dead(store: &Path, sql: &str) -> String {
    let folder = TempDir::new().expect("a folder can be made");
    let copy = folder.path().join("copy.db");
    std::fs::copy(store, &copy).expect("the store can be copied");
    let log = |path: &Path| PathBuf::from(format!("{}-wal", text(path)));
    if log(store).exists() {
        std::fs::copy(log(store), log(&copy)).expect("the store's log can be copied");
    }
    sqlite(&copy, sql)
}

/// Memory that a process has in use, in bytes.
///
/// # Panics
/// When there is no such process.
pub fn resident(pid: u32) -> u64 {
    memory(pid, "VmRSS:")
}

/// The most that a process has had in use, in bytes.
///
/// # Panics
/// When there is no such process.
pub fn peak(pid: u32) -> u64 {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a process that lives has memory");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("the system writes numbers") * 1024
}
