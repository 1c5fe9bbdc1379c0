//! A wall clock that jumps, for daemons under test: the library of the program `faketime`, and a file that says how far
//! the clock is off. The steady clock goes on as it does.

use std::path::PathBuf;

use tempfile::TempDir;

/// The wall clock of a daemon.
pub struct WallClock {
    folder: TempDir,
    /// Path of the file in it.
    file: String,
    library: String,
}

impl WallClock {
    /// One that shows the right time.
    ///
    /// # Panics
    /// When the library is not installed.
    pub fn right() -> Self {
        let folder = TempDir::new().expect("a folder can be made");
        let library = library().to_str().expect("paths of libraries are UTF-8").to_owned();
        let file = folder.path().join("clock").to_str().expect("paths of tests are UTF-8").to_owned();
        let clock = Self { folder, file, library };
        clock.set(0);
        clock
    }

    /// What a daemon with this clock needs in its environment.
    pub fn environment(&self) -> Vec<(&str, &str)> {
        vec![
            ("LD_PRELOAD", &self.library),
            ("FAKETIME_TIMESTAMP_FILE", &self.file),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DISABLE_SHM", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ]
    }

    /// From now on the clock is so many seconds off.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn set(&self, seconds: i64) {
        // Replaced as a whole: the daemon reads it whenever it looks at the clock.
        let new = self.folder.path().join("new");
        std::fs::write(&new, format!("{seconds:+}\n")).expect("the folder of the test can be written");
        std::fs::rename(new, &self.file).expect("the folder of the test can be written");
    }
}

/// The library, wherever this system keeps it.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).filter(|file| file.is_file());
    found.next().expect("the program faketime is installed (tests/packages.txt)")
}
