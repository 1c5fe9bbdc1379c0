//! The thread that writes the log's files, so that a disk that is slow or hangs holds up nobody who logs.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

use super::log_file::DailyFile;

/// Lines that wait for the disk, in bytes. What comes beyond is missing in the file.
const MOST: usize = 4 << 20;
/// A disk that takes longer is said to hang.
const SLOW: Duration = Duration::from_secs(10);
/// The end of the process waits so long for the last lines.
const LAST: Duration = Duration::from_secs(2);

/// Where lines for the files are left.
#[derive(Debug, Clone)]
pub(super) struct LogWriter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Vec<u8>>,
    bytes: usize,
    /// Lines for which there was no room.
    missing: u64,
    /// Since when the thread writes what it has taken.
    writes: Option<Instant>,
    /// That lines wait or are missing has been said.
    told: bool,
}

impl LogWriter {
    /// Starts the thread; it opens no file before the first line.
    pub(super) fn start(file: DailyFile) -> io::Result<Self> {
        let shared =
            Arc::new(Shared { folder: file.folder().to_owned(), state: Mutex::default(), changed: Condvar::new() });
        let writer = Self(shared.clone());
        std::thread::Builder::new().name("log file".to_owned()).spawn(move || shared.write(file))?;
        Ok(writer)
    }

    /// Waits until all is written, but not for ever.
    pub(super) fn flush(&self) {
        let busy = |state: &mut State| !state.waiting.is_empty() || state.writes.is_some();
        drop(self.0.changed.wait_timeout_while(self.0.lock(), LAST, busy));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, lines: &[u8]) {
        let mut state = self.lock();
        let room = state.bytes + lines.len() <= MOST;
        if room {
            state.waiting.push(lines.to_owned());
            state.bytes += lines.len();
            self.changed.notify_all();
        } else {
            state.missing += 1;
        }
        let stuck = !room || state.writes.is_some_and(|since| since.elapsed() > SLOW);
        let tell = stuck && !state.told;
        state.told |= stuck;
        drop(state);
        if tell {
            tracing::warn!(
                "the log file in {} is not written in time (`log.file`): its disk hangs or is too slow; check it, or choose \
                 another folder. Butler works on, its log is on standard error; {} MB of lines wait for the file, more are not in it",
                self.folder.display(),
                MOST >> 20
            );
        }
    }

    fn write(&self, mut file: DailyFile) {
        loop {
            let (lines, missing) = self.next();
            for line in lines {
                file.write(&line);
            }
            match missing {
                None => {}
                Some(0) => tracing::warn!("the log file is written in time again; all lines are in it"),
                Some(missing) => tracing::warn!(
                    missing,
                    "the log file is written in time again; lines for which there was no room are not in it"
                ),
            }
        }
    }

    /// What is to be written, or how many lines are missing once all is.
    fn next(&self) -> (Vec<Vec<u8>>, Option<u64>) {
        let mut state = self.lock();
        state.writes = None;
        loop {
            if !state.waiting.is_empty() {
                state.writes = Some(Instant::now());
                state.bytes = 0;
                return (std::mem::take(&mut state.waiting), None);
            }
            // Whoever waits for the end.
            self.changed.notify_all();
            if std::mem::take(&mut state.told) {
                return (Vec::new(), Some(std::mem::take(&mut state.missing)));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<'w> MakeWriter<'w> for LogWriter {
    type Writer = &'w Self;

    fn make_writer(&'w self) -> Self::Writer {
        self
    }
}

impl Write for &LogWriter {
    /// Never fails: nobody could do anything about it that is not done here.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.0.leave(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_and_what_is_missing_is_counted() {
        let shared = Shared { folder: PathBuf::from("logs"), state: Mutex::default(), changed: Condvar::new() };
        let line = vec![b'x'; 1 << 20];
        for _ in 0..7 {
            shared.leave(&line);
        }
        let (lines, missing) = shared.next();
        assert_eq!((lines.len(), missing), (4, None));
        // There is room again while these are written.
        shared.leave(&line);
        assert_eq!(shared.next(), (vec![line], None));
        assert_eq!(shared.next(), (Vec::new(), Some(3)));
        assert!(!shared.lock().told && shared.lock().missing == 0);

        shared.leave(b"line\n");
        let _ = shared.next();
        shared.lock().writes = Instant::now().checked_sub(2 * SLOW);
        shared.leave(b"line\n");
        assert!(shared.lock().told);
    }
}
